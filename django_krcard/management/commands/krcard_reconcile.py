from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import partial
from typing import Any

from django.core.management.base import CommandParser

from django_krcard.management.base import KrcardCommand, as_json, day, not_all_well
from django_krcard.management.progress import Progress
from django_krcard.models import Event
from django_krcard.services import reconcile
from django_krcard.services.reconcile import Finding
from django_krcard.webhooks import inbox, missed


class Command(KrcardCommand):
    help = (
        "Reads Stripe's messages that never came, then compares our charges, cards and mandates with Stripe's, both "
        "ways. What is on its way follows what Stripe says and takes the step that is due; everything else changes "
        "with --fix only. Stopped, it goes on where it was. "
        "Exit code 0: nothing is left; 1: something is; 2: it could not run."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--fix", action="store_true", help="Let our rows follow Stripe, and take in what is missing."
        )
        parser.add_argument("--json", action="store_true", help="One JSON object a finding, and one with the sums.")
        parser.add_argument(
            "--since",
            type=day,
            metavar="DATE",
            help=f"Look at payments made on or after this day. Default: {reconcile.DAYS} days back.",
        )
        parser.add_argument(
            "--all", action="store_true", help="Also customers with whom all was well less than a day ago."
        )

    def handle(self, *, fix: bool, json: bool, since: datetime | None, all: bool, **options: Any) -> None:
        began, counts = time.monotonic(), Counter()
        for found, bar in findings(counts, fix=fix, since=since, everybody=all):
            counts["settled" if found.fixed else "left"] += 1
            bar.clear()
            self.stdout.write(as_json(found._asdict()) if json else line_of(found))
        sums = {name: counts[name] for name in ("events", "payments", "customers", "settled", "left")}
        sums["seconds"] = round(time.monotonic() - began, 1)
        self.stdout.write(as_json(sums) if json else SUMS.format(**sums))
        if counts["left"]:
            raise not_all_well(f"{counts['left']:,} left. {HINT if not fix else HINT_AFTER_FIX}")


SUMS = (
    "{events:,} events, {payments:,} payments and {customers:,} customers looked at, "
    "{settled:,} differences settled, {left:,} left; {seconds} s"
)
HINT = "--fix settles what can be settled."
HINT_AFTER_FIX = "What is unknown is asked about again by krcard_run_due; the rest is for a person to look at."


def findings(counts: Counter, **wanted: Any) -> Iterator[tuple[Finding, Progress]]:
    """All that is not in order, with the bar that is on the screen. What was looked at is counted."""

    def look_at(what: str, bar: Progress) -> None:
        counts[what] += 1
        bar.advance()

    waiting: list[int] = []
    with Progress() as bar:
        yield from ((found, bar) for found in _missed(waiting, partial(look_at, "events", bar)))
    count = reconcile.count(wanted["since"], everybody=wanted["everybody"])
    with Progress(count) as bar:
        for found in reconcile.reconcile(**wanted, looked=lambda what: look_at(what, bar)):
            yield found, bar
        # What a message waited for may be here by now.
        yield from ((_message(inbox.process(pk)), bar) for pk in waiting)


def _missed(waiting: list[int], looked: Callable[[], object]) -> Iterator[Finding]:
    """Messages that never came, and were worked off. Those that were not are put on the list."""
    for event in missed.read(looked):
        if event.status in Event.OPEN:
            waiting.append(event.pk)
        else:
            yield _message(event)


def _message(event: Event) -> Finding:
    settled = event.status in (Event.Status.DONE, Event.Status.IGNORED, Event.Status.FOREIGN)
    there = f"made {event.created:%Y-%m-%d %H:%M} UTC"
    return Finding("event", "", event.type, event.stripe_id, str(event.status), there, settled)


def line_of(found: Finding) -> str:
    about = " ".join(filter(None, (found.mandate, found.reference, f"({found.stripe_id or 'no payment'})")))
    here, there = found.here or "nothing", found.there or "nothing"
    end = "settled" if found.fixed else "left"
    return f"{found.kind}: {about}: here {here}, at Stripe {there}; {end}"
