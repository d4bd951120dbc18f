from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import Any, BinaryIO

from django.core.management.base import CommandParser

from django_krcard.management.base import KrcardCommand, as_json, could_not_run, not_all_well
from django_krcard.management.commands.krcard_charge import opened, size_of
from django_krcard.management.consents import outcomes
from django_krcard.management.lines import BadFile
from django_krcard.management.progress import Progress
from django_krcard.models import Consent

MAX_BY = Consent._meta.get_field("recorded_by").max_length


class Command(KrcardCommand):
    help = (
        "Records consents that were taken elsewhere, each line once, however often the file is run. Its first line is: "
        "reference,customer,terms,version,language,ticked,given_at[,source][,note][,attachment]. "
        "Exit code 0: all lines are recorded; 1: a line was bad or refused; 2: it could not run."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", metavar="FILE.csv", help="In UTF-8, commas between the columns; - is stdin.")
        parser.add_argument("--by", metavar="NAME", required=True, help="Who vouches for it. Kept in each record.")
        parser.add_argument("--dry-run", action="store_true", help="Only say what would become of each line.")
        parser.add_argument("--json", action="store_true", help="One JSON object a line, and one with the sums.")

    def handle(self, *, file: str, by: str, **options: Any) -> None:
        by = f"staff:{by}"
        if len(by) > MAX_BY:
            raise could_not_run(f"--by takes up to {MAX_BY - len('staff:')} characters.")
        folder = Path() if file == "-" else Path(file).parent
        with opened(file) as lines:
            try:
                self.tell(lines, folder, by, **options)
            except BadFile as problem:
                raise could_not_run(f"{file}: {problem}") from problem

    def tell(
        self, lines: BinaryIO, folder: Path, by: str, *, dry_run: bool, json: bool, verbosity: int, **options: Any
    ) -> None:
        began, counts = time.monotonic(), Counter()
        size = size_of(lines)
        with Progress(size, position=lines.tell if size else None) as bar:
            for outcome in bar.over(outcomes(lines, folder, by, dry_run=dry_run)):
                counts[outcome.outcome] += 1
                if json or dry_run or verbosity > 1 or not outcome.is_fine:
                    bar.clear()
                    self.stdout.write(as_json(outcome._asdict()) if json else str(outcome))
        seconds = round(time.monotonic() - began, 1)
        if json:
            self.stdout.write(as_json({"summary": counts, "seconds": seconds}))
        else:
            sums = ", ".join(f"{number:,} {name}" for name, number in counts.most_common()) or "no lines"
            self.stdout.write(f"{sums}; {seconds} s")
        if left := counts["bad"] + counts["refused"]:
            raise not_all_well(
                f"{left:,} of {counts.total():,} lines need a look. To run the file again records none twice."
            )
