from __future__ import annotations

import time
from typing import Any

from django.core.management.base import CommandParser

from django_krcard.conf import RETENTION, conf
from django_krcard.management.base import KrcardCommand, as_json
from django_krcard.management.progress import Progress
from django_krcard.services.privacy import due, prune


class Command(KrcardCommand):
    help = (
        "Takes away personal data whose time is over (KRCARD_RETENTION). Begin with --dry-run, which tells for each "
        "class how many rows would go and changes nothing. What a legal hold keeps stays. Stopped, it goes on where it "
        "was; two at once are no trouble. Exit code 0: done; 2: it could not run."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="Tell what would go, and change nothing.")
        parser.add_argument("--json", action="store_true", help="One JSON object, for a machine to read.")
        parser.add_argument(
            "--only", action="append", choices=list(RETENTION), metavar="CLASS", help=f"One of {', '.join(RETENTION)}."
        )

    def handle(self, *, dry_run: bool, json: bool, only: list[str] | None, **options: Any) -> None:
        began, counts = time.monotonic(), {}
        for name in only or RETENTION:
            counts[name] = due(name).count() if dry_run else pruned(name)
            if not json:
                self.stdout.write(line_of(name, counts[name], dry_run))
        if json:
            seconds = round(time.monotonic() - began, 1)
            self.stdout.write(as_json({"dry_run": dry_run, "rows": counts, "seconds": seconds}))


def pruned(name: str) -> int:
    with Progress(due(name).count()) as bar:

        def done(count: int) -> None:
            for _row in range(count):
                bar.advance()

        return prune(name, done=done)


def line_of(name: str, count: int, dry_run: bool) -> str:
    days = conf.RETENTION[name]
    kept = "kept for ever" if days is None else f"kept {days:,} days"
    return f"{name}: {count:,} {'would go' if dry_run else 'gone'} ({kept})"
