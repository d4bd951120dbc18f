from __future__ import annotations

import os
import stat
import sys
import time
from collections import Counter
from contextlib import AbstractContextManager, nullcontext
from typing import Any, BinaryIO

from django.core.management.base import CommandParser

from django_krcard.management.base import KrcardCommand, as_json, could_not_run, not_all_well
from django_krcard.management.orders import BadFile
from django_krcard.management.outcomes import outcomes, verdicts
from django_krcard.management.progress import Progress
from django_krcard.models import Charge

MAX_BY = Charge._meta.get_field("requested_by").max_length


class Command(KrcardCommand):
    help = (
        "Charges what a CSV file asks for, each line once, however often the file is run. "
        "Its first line is: mandate,amount,reference[,due_at][,description]. "
        "Exit code 0: all lines are charged or scheduled; 1: a line was bad, refused or declined, or its outcome is "
        "unknown; 2: it could not run."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", metavar="FILE.csv", help="In UTF-8, commas between the columns; - is stdin.")
        parser.add_argument("--dry-run", action="store_true", help="Only say what the terms say. Changes nothing.")
        parser.add_argument("--json", action="store_true", help="One JSON object a line, and one with the sums.")
        parser.add_argument("--by", metavar="NAME", default="", help="Who asks for it, for the timeline.")

    def handle(self, *, file: str, by: str, **options: Any) -> None:
        by = f"staff:{by}" if by else "system"
        if len(by) > MAX_BY:
            raise could_not_run(f"--by takes up to {MAX_BY - len('staff:')} characters.")
        with opened(file) as lines:
            try:
                self.tell(lines, by, **options)
            except BadFile as problem:
                raise could_not_run(f"{file}: {problem}") from problem

    def tell(self, lines: BinaryIO, by: str, *, dry_run: bool, json: bool, verbosity: int, **options: Any) -> None:
        began, counts = time.monotonic(), Counter()
        size = size_of(lines)
        with Progress(size, position=lines.tell if size else None) as bar:
            for outcome in bar.over(verdicts(lines) if dry_run else outcomes(lines, by)):
                counts["fine" if outcome.is_fine else "left"] += 1
                counts[outcome.outcome] += 1
                if json or dry_run or verbosity > 1 or not outcome.is_fine:
                    bar.clear()
                    self.stdout.write(as_json(outcome._asdict()) if json else str(outcome))
        fine, left = counts.pop("fine", 0), counts.pop("left", 0)
        seconds = round(time.monotonic() - began, 1)
        if json:
            self.stdout.write(as_json({"summary": counts, "seconds": seconds}))
        else:
            sums = ", ".join(f"{number:,} {name}" for name, number in counts.most_common()) or "no lines"
            self.stdout.write(f"{sums}; {seconds} s")
        if left:
            raise not_all_well(
                f"{left:,} of {fine + left:,} lines need a look. To run the file again charges none twice."
            )


def opened(file: str) -> AbstractContextManager[BinaryIO]:
    try:
        return nullcontext(sys.stdin.buffer) if file == "-" else open(file, "rb")
    except OSError as error:
        raise could_not_run(f"{file} cannot be opened: {error.strerror}.") from error


def size_of(file: BinaryIO) -> int | None:
    """In bytes; ``None`` for what comes through a pipe."""
    about = os.fstat(file.fileno())
    return about.st_size if stat.S_ISREG(about.st_mode) else None
