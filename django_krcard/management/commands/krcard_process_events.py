from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable
from typing import Any

from django.core.management.base import CommandParser
from django.utils import timezone

from django_krcard import tasks
from django_krcard.conf import conf
from django_krcard.management.base import KrcardCommand, as_json, could_not_run, not_all_well
from django_krcard.management.progress import Progress
from django_krcard.models import Event
from django_krcard.webhooks import inbox


class Command(KrcardCommand):
    help = (
        "Works off Stripe's messages that wait: what failed is tried again when its time has come, and what a process "
        "left behind when it died. Safe to run twice at once, and on several machines. With KRCARD_TASK_BACKEND it "
        "makes one task for each. "
        "Exit code 0: all done, or waiting for a row that is still to come; 1: some failed; 2: it could not run."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        what = parser.add_mutually_exclusive_group()
        what.add_argument(
            "--replay",
            nargs="+",
            metavar="EVENT",
            default=[],
            help="Work off these once more (evt_…), whatever became of them and whether or not their time has come.",
        )
        what.add_argument("--dry-run", action="store_true", help="Only say what is due. Asks and changes nothing.")
        parser.add_argument("--json", action="store_true", help="For a machine to read.")

    def handle(self, *, replay: list[str], dry_run: bool, json: bool, **options: Any) -> None:
        if replay:
            self.work_off(rows_of(replay), json, again=True)
        elif dry_run:
            for pk in inbox.due(timezone.now()):
                self.tell(Event.objects.get(pk=pk), json)
        elif conf.TASK_BACKEND:
            enqueued = tasks.enqueue_events()
            self.stdout.write(as_json({"enqueued": enqueued}) if json else f"{enqueued:,} tasks enqueued")
        else:
            self.work_off(list(inbox.due(timezone.now())), json)

    def work_off(self, pks: list[int], json: bool, *, again: bool = False) -> None:
        began, counts = time.monotonic(), Counter()
        with Progress(len(pks)) as bar:
            for pk in bar.over(pks):
                event = inbox.process(pk, again=again)
                counts[str(event.status)] += 1
                if again or event.last_error:
                    bar.clear()
                    self.tell(event, json)
        seconds = round(time.monotonic() - began, 1)
        told = ", ".join(f"{number:,} {status}" for status, number in counts.most_common()) or "nothing was due"
        self.stdout.write(as_json({"events": counts, "seconds": seconds}) if json else f"{told}; {seconds} s")
        if left := counts["failed"] + counts["dead"]:
            raise not_all_well(f"{left:,} failed. What is dead is tried again with --replay, or in the admin.")

    def tell(self, event: Event, json: bool) -> None:
        facts = {"event": event.stripe_id, "type": event.type, "status": str(event.status), "error": event.last_error}
        line = f"{event.stripe_id} {event.type}: {event.status} {event.last_error}".rstrip()
        self.stdout.write(as_json(facts | {"attempts": event.attempts}) if json else line)


def rows_of(names: Iterable[str]) -> list[int]:
    """All of them, or it is said which one is not here or can never be worked off."""
    rows = {event.stripe_id: event for event in Event.objects.filter(stripe_id__in=names).defer("body")}
    if strange := [name for name in names if name not in rows]:
        raise could_not_run(f"No such event here: {', '.join(strange)}. krcard_reconcile reads what never came.")
    never = [str(event) for event in rows.values() if event.status in Event.NEVER]
    if never:
        raise could_not_run(f"Unusable, or of another account or mode: {', '.join(never)}.")
    return [rows[name].pk for name in dict.fromkeys(names)]
