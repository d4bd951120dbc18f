from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from django.core.management.base import CommandParser
from django.utils import timezone

from django_krcard.management.base import KrcardCommand, as_json, could_not_run, day, not_all_well
from django_krcard.management.progress import Progress
from django_krcard.services import verify, witness
from django_krcard.services.verify import Finding


class Command(KrcardCommand):
    help = (
        "Checks that every consent is as it was written: its text, its hash, where it came from, the chain of its "
        "customer, the seals, and the triggers that protect all that. Changes nothing. "
        "Exit code 0: all is well; 1: something is not; 2: it could not run."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="One JSON object a finding, and one with the sums.")
        parser.add_argument(
            "--seal", metavar="LINE", action="append", default=[], help="Compare with a line that krcard_seal printed."
        )
        parser.add_argument("--expect", metavar="FILE", help="Compare with all lines in this file.")
        parser.add_argument(
            "--with-stripe",
            action="store_true",
            help="Also compare with the ids and hashes of consents that Stripe was told with each session and payment.",
        )
        parser.add_argument(
            "--since",
            type=day,
            metavar="DATE",
            help=f"With --with-stripe: what was made on or after this day. Default: {witness.DAYS} days back.",
        )

    def handle(self, *, json: bool, **options: Any) -> None:
        began, counts = time.monotonic(), Counter()
        for found, bar in findings(counts, **options):
            counts["findings"] += 1
            bar.clear()
            self.stdout.write(as_json(found._asdict()) if json else f"{found.kind}: {found.about}: {found.message}")
        sums = {name: counts[name] for name in ("records", "at_stripe", "findings")}
        sums["seconds"] = round(time.monotonic() - began, 1)
        self.stdout.write(as_json(sums) if json else SUMS.format(**sums))
        if counts["findings"]:
            raise not_all_well(f"{counts['findings']:,} findings. Touch nothing, and see docs/proof.md for what to do.")


SUMS = "{records:,} records looked at, {at_stripe:,} objects at Stripe, {findings:,} findings; {seconds} s"


def findings(
    counts: Counter, *, seal: list[str], expect: str | None, with_stripe: bool, since: datetime | None, **options: Any
) -> Iterator[tuple[Finding, Progress]]:
    def look_at(what: str, bar: Progress) -> None:
        counts[what] += 1
        bar.advance()

    with Progress(verify.count()) as bar:
        try:
            yield from ((found, bar) for found in verify.compare_lines([*seal, *_lines(expect)]))
        except verify.BadLine as problem:
            raise could_not_run(str(problem)) from problem
        yield from ((found, bar) for found in verify.verify(looked=lambda: look_at("records", bar)))
    if with_stripe:
        since = since or timezone.now() - timedelta(days=witness.DAYS)
        with Progress() as bar:
            yield from ((found, bar) for found in witness.compare(since, looked=lambda: look_at("at_stripe", bar)))


def _lines(expect: str | None) -> list[str]:
    if not expect:
        return []
    try:
        return Path(expect).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise could_not_run(f"{expect} cannot be read: {error}.") from error
