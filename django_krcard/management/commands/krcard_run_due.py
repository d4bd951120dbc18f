from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from typing import Any, NamedTuple

from django.core.management.base import CommandParser
from django.utils import timezone

from django_krcard import tasks
from django_krcard.conf import conf
from django_krcard.exceptions import KrcardError, StripeRefusedKey
from django_krcard.management.base import KrcardCommand, as_json, not_all_well
from django_krcard.management.progress import Progress
from django_krcard.models import Amendment, Charge, Refund, Subscription, SubscriptionChange
from django_krcard.services import amendment_steps, gate, run

logger = logging.getLogger(__name__)

Status = Charge.Status

#: Of these somebody may want to know at once.
TOLD = {Status.UNKNOWN, Status.DECLINED, Status.ACTION_REQUIRED, Status.REFUSED, Status.CANCELLED, "failed"}

#: What the next step of a charge is, in a word, and whether the terms are asked before it.
STEPS = {
    Status.SCHEDULED: ("send", True),
    Status.READY: ("send", True),
    Status.DECLINED: ("retry", True),
    Status.SENDING: ("find out", True),
    Status.UNKNOWN: ("find out", True),
    Status.PROCESSING: ("ask", False),
    Status.ACTION_REQUIRED: ("call off", False),
}


#: What the next step of a change of terms is, in a word.
CHANGES = {Amendment.Status.PLANNED: "ask", Amendment.Status.AGREED: "put in force"}


class Command(KrcardCommand):
    help = (
        "Takes the next step of every change of terms, charge, refund and subscription that is due: ask, remind, "
        "put in force; announce, send, retry, find out, call off. "
        "Safe to run twice at once, and on several machines. With KRCARD_TASK_BACKEND it makes one task for each. "
        "Exit code 0: all done; 1: something ended in an error or with an unknown outcome; 2: nothing can be sent."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="Only say what is due. Sends and changes nothing.")
        parser.add_argument("--json", action="store_true", help="For a machine to read.")

    def handle(self, *, dry_run: bool, json: bool, **options: Any) -> None:
        if dry_run:
            self.tell_what_is_due(json)
        elif conf.TASK_BACKEND:
            self.enqueue(json)
        else:
            self.run_due(json)

    def tell_what_is_due(self, json: bool) -> None:
        for due in what_is_due():
            self.stdout.write(as_json(due._asdict()) if json else str(due))

    def enqueue(self, json: bool) -> None:
        enqueued = tasks.enqueue_due()
        self.stdout.write(as_json({"enqueued": enqueued}) if json else f"{enqueued:,} tasks enqueued")

    def run_due(self, json: bool) -> None:
        began, sums, refused = time.monotonic(), Sums(), None
        with Progress(run.count_due()) as bar:
            try:
                for result in bar.over(run.run_due()):
                    sums.add(result)
                    if not json and (line := line_of(result)):
                        bar.clear()
                        self.stdout.write(line)
            except StripeRefusedKey as error:
                refused = error
        seconds = round(time.monotonic() - began, 1)
        self.stdout.write(as_json(sums.as_dict() | {"seconds": seconds}) if json else f"{sums}; {seconds} s")
        if refused:
            raise refused
        if sums.errors:
            raise not_all_well(f"{len(sums.errors):,} ended in an error or with an unknown outcome, and are due again.")


# --- what happened -------------------------------------------------------------------------------


class Sums:
    def __init__(self) -> None:
        self.charges, self.refunds, self.subscriptions, self.errors = Counter(), Counter(), Counter(), []

    def add(self, result: Charge | Refund | Exception) -> None:
        if isinstance(result, Exception):
            logger.error("A step ended in an error", exc_info=result)
            self.errors.append(line_of(result))
            return
        self.sums_of(result)[str(result.status)] += 1
        if result.status in (Status.UNKNOWN, Subscription.STARTING):
            self.errors.append(line_of(result))

    def sums_of(self, row: Any) -> Counter:
        return {Charge: self.charges, Refund: self.refunds}.get(type(row), self.subscriptions)

    def as_dict(self) -> dict[str, Any]:
        sums = {"charges": self.charges, "refunds": self.refunds, "subscriptions": self.subscriptions}
        return sums | {"errors": self.errors}

    def __str__(self) -> str:
        parts = [f"{number:,} {status}" for status, number in self.charges.most_common()]
        parts += [f"{number:,} refunds {status}" for status, number in self.refunds.most_common()]
        parts += [f"{number:,} subscriptions {status}" for status, number in self.subscriptions.most_common()]
        return ", ".join(parts) or "nothing was due"


def line_of(result: Charge | Refund | Exception) -> str:
    """A line about what somebody should know; empty for what went well."""
    if isinstance(result, Exception):
        # What others raise may hold anything. Ours is made to be read.
        words = f"{type(result).__name__}: {result}" if isinstance(result, KrcardError) else type(result).__name__
        return " ".join([words, *getattr(result, "__notes__", ())])
    if result.status not in TOLD:
        return ""
    codes = (getattr(result, name, "") for name in ("refusal_code", "failure_code", "decline_code"))
    return " ".join(filter(None, (f"{result}:", str(result.status), *codes)))


# --- what would happen ---------------------------------------------------------------------------


class Due(NamedTuple):
    """The next step of a change, charge or refund; ``code`` and ``message`` what the terms say now."""

    reference: str
    amount: int
    due_at: str
    status: str
    step: str
    code: str = ""
    message: str = ""

    def __str__(self) -> str:
        line = f"{self.reference} {self.amount:,} won, {self.status}, due {self.due_at}: {self.step}"
        return f"{line}. {self.code} {self.message}".rstrip()


def what_is_due() -> Iterator[Due]:
    """Everything that is due now, each judged by itself."""
    now = timezone.now()
    for row in amendment_steps.due().select_related("mandate", "terms"):
        step = CHANGES.get(row.status, "remind or close")
        yield Due(str(row), row.amount_after or 0, local(row.next_step_at), str(row.status), step)
    charges = Charge.objects.select_related("mandate", *(f"mandate__{name}" for name in gate.RELATED))
    for pk in run.due(Charge, now):
        yield due_charge(charges.get(pk=pk), now)
    refunds = Refund.objects.select_related("charge__mandate")
    for pk in run.due(Refund, now):
        refund = refunds.get(pk=pk)
        yield Due(str(refund), refund.amount, local(refund.next_step_at), str(refund.status), "refund")
    for pk in run.due(Subscription, now):
        row = Subscription.objects.select_related("mandate").get(pk=pk)
        yield Due(str(row), row.amount or 0, local(row.next_step_at), row.status, "find out")
    for pk in run.due(SubscriptionChange, now):
        change = SubscriptionChange.objects.select_related("subscription__mandate").get(pk=pk)
        yield Due(str(change), change.pay_back, local(change.next_step_at), str(change.status), change.kind)


def due_charge(charge: Charge, now: datetime) -> Due:
    step, asks_the_terms = STEPS.get(charge.status, ("none", False))
    if charge.status == Status.SCHEDULED and charge.due_at > now:
        step = "announce"
    due = Due(str(charge), charge.amount, local(charge.due_at), str(charge.status), step)
    if not asks_the_terms:
        return due
    due_at = charge.due_at if step == "send" else None
    verdict = gate.judge(charge.mandate, charge.amount, now, charge=charge, due_at=due_at)
    return due._replace(code=verdict.code, message=verdict.message)


def local(moment: datetime) -> str:
    return moment.astimezone(conf.TIME_ZONE).isoformat(timespec="minutes")
