from __future__ import annotations

from datetime import date
from typing import Any

from django.core.management.base import CommandParser

from django_krcard.exceptions import AmendmentRefused
from django_krcard.management.base import KrcardCommand, as_json, could_not_run, not_all_well
from django_krcard.management.progress import Progress
from django_krcard.models import Terms
from django_krcard.services import amendments, terms


class Command(KrcardCommand):
    help = (
        "Asks every customer who must agree again to the version of TERMS_SLUG that is in force, from a day on. "
        "Who has been asked is not asked again: stopped and run once more it goes on. krcard_run_due tells them. "
        "Exit code 0: all asked; 1: somebody could not be asked; 2: nobody can be asked like that."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("slug", metavar="TERMS_SLUG", help="The terms' name in addresses.")
        parser.add_argument(
            "--effective-on", required=True, type=date.fromisoformat, metavar="DATE", help="For example 2027-03-01."
        )
        parser.add_argument("--reason", default="", help="Kept with each request and in the timelines.")
        parser.add_argument("--dry-run", action="store_true", help="Only say how many must agree. Asks nobody.")
        parser.add_argument("--json", action="store_true", help="For a machine to read.")

    def handle(self, *, slug: str, effective_on: date, reason: str, dry_run: bool, json: bool, **options: Any) -> None:
        try:
            newest = terms.in_force(slug)
        except Terms.DoesNotExist:
            raise could_not_run(f"There are no terms {slug!r} in force.") from None
        must, others = amendments.who_must_agree(newest)
        sums = {"must_agree": must, "need_not": others, "to_ask": amendments.to_ask(newest).count()}
        sums |= {} if dry_run else self.ask(newest, effective_on, reason, sums["to_ask"])
        if json:
            self.stdout.write(as_json({"terms": str(newest), **sums}))
        else:
            self.stdout.write(f"{newest}: {', '.join(f'{name} {number:,}' for name, number in sums.items())}")
        if sums.get("refused"):
            raise not_all_well(f"{sums['refused']:,} could not be asked.")

    def ask(self, newest: Terms, effective_on: date, reason: str, number: int) -> dict[str, int]:
        sums = {"asked": 0, "refused": 0}
        results = amendments.ask_all(newest, effective_on=effective_on, by="system", reason=reason)
        try:
            with Progress(number) as bar:
                for result in bar.over(results):
                    refused = isinstance(result, AmendmentRefused)
                    sums["refused" if refused else "asked"] += 1
                    if refused:
                        bar.clear()
                        self.stderr.write(" ".join([str(result), *getattr(result, "__notes__", ())]))
        except AmendmentRefused as refused:
            raise could_not_run(str(refused)) from None
        return sums
