"""Thousands of messages at once, in any order, some twice, to processes that are killed while they work.

Stripe's side of it is played honestly: what was not answered with 2xx, or not at all, is delivered again.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from itertools import cycle, islice
from multiprocessing.connection import Connection, Listener, wait
from pathlib import Path

from django.core.management import call_command
from django.db import connection
from django.db.models import Max
from django.utils import timezone

from django_krcard.models import Event, Notice, PaymentMethod
from django_krcard.sandbox import control
from django_krcard.sandbox.models import Fault, IdempotencyKey
from django_krcard.services import mandates, notices
from tests.factories import as_used_terms
from tests.webhooks import worlds
from tests.webhooks.stories import STORIES, Act
from tests.webhooks.worlds import Message

ROOT = Path(__file__).parents[2]

WORKERS = 3
DUPLICATES = 0.1
#: What a customer's messages are like. Half of them hear everything twice, in both formats.
FORMATS = ("snapshot", "both", "thin", "both")
#: Of those that are not of this account, or of a kind that nobody has heard of.
STRANGE = 0.04
MOST_AT_ONCE = 5
#: Answers between two kills, and between two failures of Stripe's; on average.
KILL_EVERY, FAIL_EVERY = 60, 80
#: A message takes about so long; the killer strikes somewhere in it.
LONGEST = 0.01
#: How long a worker may think about one message before something is wrong with the storm itself.
PATIENCE = 60
SWEEPS = 2

#: What Stripe fails to answer. Nothing that we only do once: see `krcard_run_due` for that.
ASKED = ("checkout/sessions/", "payment_intents/", "mandates/", "refunds", "disputes/", "payment_methods/")

#: What there is to see meanwhile.
Told = Callable[[str], None]


@dataclass
class Figures:
    """What the storm was like."""

    customers: int = 0
    messages: int = 0
    deliveries: int = 0
    duplicates: int = 0
    killed: int = 0
    not_taken: int = 0
    failures: int = 0
    left_to_the_sweeps: int = 0
    seconds: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        words = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in self.seconds.items())
        pace = self.deliveries / self.seconds["storm"] if self.seconds["storm"] else 0
        return (
            f"{self.customers:,} customers, {self.messages:,} messages, {self.deliveries:,} deliveries "
            f"({self.duplicates:,} duplicates, {self.not_taken:,} answered with 500, {self.failures:,} failures of "
            f"Stripe's, {self.killed:,} workers killed), {self.left_to_the_sweeps:,} left to the sweeps; "
            f"{words}; {pace:,.0f} deliveries/s"
        )


@dataclass
class Worker:
    pid: int
    line: Connection
    job: tuple | None = None


class Site:
    """Worker processes on the database of this one."""

    def __init__(self, folder: Path, workers: int) -> None:
        self.folder, self.size = folder, workers

    def __enter__(self) -> Site:
        with ExitStack() as stack:
            address = str(self.folder / "site")
            self.listener = stack.enter_context(Listener(address))
            command = [sys.executable, "-m", "tests.webhooks.worker", str(connection.settings_dict["NAME"]), address]
            # What the killed leave lying about goes with the folder of the test.
            env = os.environ | {"TMPDIR": str(self.folder)}
            pipe = {"stdin": subprocess.PIPE, "text": True, "bufsize": 1}
            self.first = stack.enter_context(subprocess.Popen(command, cwd=ROOT, env=env, **pipe))
            self.workers = [self.begin() for _ in range(self.size)]
            self.ends = stack.pop_all()
        return self

    def __exit__(self, *error) -> None:
        for worker in self.workers:
            # With nobody to ask, a worker ends.
            worker.line.close()
        self.ends.__exit__(*error)

    def begin(self) -> Worker:
        print(file=self.first.stdin)
        line = self.listener.accept()
        return Worker(line.recv(), line)

    def kill(self, worker: Worker) -> None:
        os.kill(worker.pid, signal.SIGKILL)
        worker.line.close()
        self.workers.remove(worker)
        self.workers.append(self.begin())


class Storm:
    """``deliver`` is for `worlds.play`."""

    def __init__(self, seed: int, site: Site, told: Told = lambda words: None) -> None:
        self.random, self.site, self.told = random.Random(seed), site, told
        self.figures, self.sent = Figures(), dict[str, list[Message]]()
        self.knocked: set[str] = set()
        self.complaints: list[str] = []
        self.strange = cycle((of_another_mode, of_another_account, of_another_kind))

    def deliver(self, messages: list[Message], acts: list[Act]) -> None:
        messages = messages + [next(self.strange)(m) for m in messages if self.random.random() < STRANGE]
        for message in messages:
            self.sent.setdefault(message.row, []).append(message)
        self.figures.messages += len(messages)
        with self._timed("storm"):
            self._rage(self._shuffled(messages, acts))
        with self._timed("sweeps"):
            self._sweep()

    # --- the order of things ----------------------------------------------------------------------

    def _shuffled(self, messages: list[Message], acts: list[Act]) -> deque[tuple]:
        jobs: list[tuple] = [("message", message) for message in messages]
        again = [job for job in jobs if self.random.random() < DUPLICATES]
        self.figures.duplicates += len(again)
        # Every other one hard on the heels of the first, so that two workers have the same message in hand.
        close, far = {id(job) for job in again[::2]}, again[1::2]
        bursts = [*self._bursts(jobs), *([job] for job in [*far, *acts])]
        self.random.shuffle(bursts)
        return deque(each for burst in bursts for job in burst for each in [job] * (1 + (id(job) in close)))

    def _bursts(self, jobs: list[tuple]) -> Iterator[list[tuple]]:
        """Most messages come by themselves. Some that tell of the same moment come together, in any order, so that
        several workers have the same customer in hand."""
        rest = iter(jobs)
        while burst := list(islice(rest, self.random.choice([1, 1, 1, MOST_AT_ONCE]))):
            self.random.shuffle(burst)
            yield burst

    def _once_more(self, jobs: deque[tuple], job: tuple) -> None:
        jobs.insert(self.random.randrange(len(jobs) + 1), job)

    # --- deliveries -------------------------------------------------------------------------------

    def _rage(self, jobs: deque[tuple]) -> None:
        next_kill, next_failure = self._soon(KILL_EVERY), self._soon(FAIL_EVERY)
        while jobs or any(worker.job for worker in self.site.workers):
            for worker in self.site.workers:
                if jobs and not worker.job:
                    self._give(worker, jobs.popleft())
            for worker in self._answered():
                self._note(jobs, worker)
                next_kill, next_failure = next_kill - 1, next_failure - 1
            if next_kill <= 0 and (busy := [worker for worker in self.site.workers if worker.job]):
                self._kill(jobs, self.random.choice(busy))
                next_kill = self._soon(KILL_EVERY)
            if next_failure <= 0:
                self._fail()
                next_failure = self._soon(FAIL_EVERY)
        Fault.objects.all().delete()

    def _soon(self, every: int) -> int:
        return 1 + int(self.random.expovariate(1 / every))

    def _give(self, worker: Worker, job: tuple) -> None:
        name, what = worker.job = job
        worker.line.send((name, what.body if name == "message" else what))
        self.figures.deliveries += name == "message"
        if self.figures.deliveries % 100 == 0:
            self.told(f"{self.figures.deliveries:,} deliveries")

    def _answered(self) -> list[Worker]:
        lines = {worker.line: worker for worker in self.site.workers if worker.job}
        ready = wait(list(lines), timeout=PATIENCE)
        assert ready, f"Nobody has answered for {PATIENCE} s: {[worker.job for worker in lines.values()]}"
        return [lines[line] for line in ready]

    def _note(self, jobs: deque[tuple], worker: Worker) -> None:
        status, job, worker.job = worker.line.recv(), worker.job, None
        if status == 500:
            self.figures.not_taken += 1
            # Stripe knocks again after minutes and hours. That may be before the end of the storm, but not often.
            name, what = job
            if name == "message" and what.row not in self.knocked and self.random.random() < 0.5:
                self.knocked.add(what.row)
                self._once_more(jobs, job)
        elif status != 200:
            self.complaints.append(f"{job} was answered with {status}")

    def _kill(self, jobs: deque[tuple], worker: Worker) -> None:
        time.sleep(self.random.uniform(0, LONGEST))
        self.site.kill(worker)
        self.figures.killed += 1
        # Nobody has heard an answer, even if one was given.
        self._once_more(jobs, worker.job)

    def _fail(self) -> None:
        status = self.random.choice([500, 503, 429, "timeout"])
        control.fail_next("GET", self.random.choice(ASKED), status=status)
        self.figures.failures += 1

    # --- afterwards -------------------------------------------------------------------------------

    def _sweep(self) -> None:
        """What the site's timer does: `krcard_process_events`, and what else the dead had begun: notices that were not
        sent, cards that were not removed. Both belong to `krcard_run_due`; the steps of its charges are left out,
        because they would find out by themselves what a lost message told.

        Nobody waits here until a next attempt is due: the harness moves it to now. Leases are waited for.
        """
        # Our Stripe lives in the processes that are killed. The real one goes on with a request that it has.
        IdempotencyKey.objects.filter(status=None).delete()
        self.figures.left_to_the_sweeps += Event.objects.filter(status__in=Event.OPEN).count()
        for _sweep in range(SWEEPS):
            waits_until = Event.objects.aggregate(latest=Max("lease_until"))["latest"]
            if waits_until:
                time.sleep(max((waits_until - timezone.now()).total_seconds(), 0))
            now = timezone.now()
            for model in (Event, Notice):
                model.objects.exclude(next_attempt_at=None).update(next_attempt_at=now)
            PaymentMethod.objects.exclude(removal_tried_at=None).update(removal_tried_at=None)
            with open(os.devnull, "w") as nowhere:
                call_command("krcard_process_events", stdout=nowhere)
            notices.deliver_due()
            mandates.remove_leftover_cards()
        for event in Event.objects.filter(status__in=[*Event.OPEN, Event.Status.DEAD]):
            self.complaints.append(f"{event} is {event.status} after {SWEEPS} sweeps: {event.last_error}")

    @contextmanager
    def _timed(self, name: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        self.figures.seconds[name] += time.monotonic() - began


def run(*, deliveries: int, workers: int, seed: int, folder: Path, told: Told = lambda words: None):
    """The whole of it. Returns figures and complaints; with none of these all is well."""
    terms = as_used_terms(period="month", max_amount_per_period=90_000_000)
    began = time.monotonic()
    told("in order")
    ordered = worlds.in_order(terms)
    # A little more than that: how many copies there are, and in which formats, is left to chance.
    wanted, people = 1.08 * deliveries / (1 + DUPLICATES) / (1 + STRANGE), {}
    each = 1 + FORMATS.count("both") / len(FORMATS)
    for number, story in enumerate(cycle(STORIES.values())):
        if wanted <= 0:
            break
        wanted -= each * ordered.messages[story.name]
        people[worlds.arrives(f"{story.name} {number}")] = story
    in_order_took = time.monotonic() - began
    before = set(Event.objects.values_list("stripe_id", flat=True))
    with Site(folder, workers) as site:
        storm = Storm(seed, site, told)
        storm.figures.customers = len(people)
        began = time.monotonic()
        worlds.play(people, storm.deliver, terms=terms, format=lambda: storm.random.choice(FORMATS))
    figures = storm.figures
    figures.seconds["in order"] = in_order_took
    figures.seconds["stories"] = time.monotonic() - began - figures.seconds["storm"] - figures.seconds["sweeps"]
    told("looking at the rows")
    began = time.monotonic()
    complaints = [*storm.complaints, *kept_once(storm.sent, before)]
    for customer, story in people.items():
        complaints += worlds.complaints_about(customer, story, ordered.ends[story.name])
    figures.seconds["rows"] = time.monotonic() - began
    return figures, complaints


def kept_once(sent: dict[str, list[Message]], before: set[str]) -> Iterator[str]:
    """Every message is one row, as it came, and its row says what became of it. That there are not two with the same
    name is the database's promise."""
    missing = set(sent)
    for event in Event.objects.exclude(stripe_id__in=before).iterator():
        if event.stripe_id not in missing:
            yield f"{event} was never sent"
            continue
        missing.remove(event.stripe_id)
        messages = sent[event.stripe_id]
        if bytes(event.body) not in {message.body for message in messages}:
            yield f"{event} is not kept as it came"
        if event.status != messages[0].end:
            yield f"{event} is {event.status} and should be {messages[0].end}: {event.last_error}"
    yield from (f"LOST: {sent[name][0]}" for name in missing)


# --- messages that are not for us -----------------------------------------------------------------


def of_another_mode(message: Message) -> Message:
    return changed(message, "foreign", livemode=True)


def of_another_account(message: Message) -> Message:
    return changed(message, "foreign", account="acct_other", context="acct_other")


def of_another_kind(message: Message) -> Message:
    return changed(message, "ignored", type="krcard.unheard_of")


def changed(message: Message, end: str, **changes) -> Message:
    """A copy under a name of its own."""
    data = json.loads(message.body)
    name = f"evt_strange_{data['id']}"
    changes |= {"id": name} | ({"snapshot_event": None} if "snapshot_event" in data else {})
    return replace(message, row=name, end=end, body=json.dumps(data | changes).encode())
