from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from django.core.management.base import CommandParser
from django.db import Error
from django.utils import translation

from django_krcard.management.base import KrcardCommand, as_json, could_not_run, not_all_well
from django_krcard.services import findings, health, setup_at_stripe
from django_krcard.services.findings import ERROR, WARNING, Finding
from django_krcard.webhooks.handlers import HANDLERS


class Report(NamedTuple):
    """What one check saw. ``others`` is what is well, or cannot be known; told in place of figures."""

    figures: dict[str, Any]
    findings: list[Finding]
    others: Sequence[Finding] = ()


def own_records() -> Report:
    """Our own database, in the mode of the key. Stripe is not asked."""
    seen = health.look()
    return Report(seen.as_dict(), findings.of(seen))


def at_stripe() -> Report:
    """The account at Stripe: key, capability, webhook endpoint and so on."""
    seen = setup_at_stripe.examine(HANDLERS)
    wrong = sorted((each for each in seen if each.level in (ERROR, WARNING)), key=lambda each: each.level != ERROR)
    others = [each for each in seen if each not in wrong]
    return Report({"looked_at": [each._asdict() for each in others]}, wrong, others)


#: What is looked at, in this order, and under which name it is reported.
CHECKS: dict[str, Callable[[], Report]] = {"records": own_records}
CHECKS_AT_STRIPE: dict[str, Callable[[], Report]] = {"stripe": at_stripe}


class Command(KrcardCommand):
    help = (
        "Looks at this site's own records, for the mode of its key (test or live), and says what needs a person: "
        "webhook messages that come late, fail or stay away; charges and refunds that are due and not sent, or whose "
        "outcome is unknown; notices and cards left over; commands that do not run. Then asks Stripe how the account "
        "is set up: the key and what it may do, Korean cards, the webhook endpoint with its events and version, the "
        "clock. Changes nothing. Exit code 0: all is well; 1: something needs a look; 2: it could not run."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="One JSON object, for a machine to read.")
        parser.add_argument("--offline", action="store_true", help="Look at the records only, and ask Stripe nothing.")

    def handle(self, *, json: bool, offline: bool, **options: Any) -> None:
        # Commands speak English, whatever the site speaks: their output is compared, and searched for.
        with translation.override("en"):
            reports = examine(CHECKS if offline else CHECKS | CHECKS_AT_STRIPE)
            found = [finding for report in reports.values() for finding in report.findings]
            if json:
                self.stdout.write(as_json(told(reports, found)))
            else:
                for line in lines_of(reports):
                    self.stdout.write(line)
        if found:
            raise not_all_well(f"{len(found)} to look at: {', '.join(finding.code for finding in found)}.")


def examine(checks: dict[str, Callable[[], Report]]) -> dict[str, Report]:
    try:
        return {name: check() for name, check in checks.items()}
    except Error as error:
        raise could_not_run(f"The database does not answer ({type(error).__name__}). Is it migrated?") from error


def told(reports: dict[str, Report], found: list[Finding]) -> dict[str, Any]:
    figures = {name: report.figures for name, report in reports.items()}
    return {"ok": not found, "findings": [finding._asdict() for finding in found], **figures}


def lines_of(reports: dict[str, Report]) -> Iterator[str]:
    for report in reports.values():
        if not report.others:
            for name, value in flat(report.figures):
                yield f"{name}: {value}"
        for finding in (*report.others, *report.findings):
            yield f"{finding.level.upper()} {finding.code}: {finding.sentence} {finding.hint}".rstrip()


def flat(figures: dict[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    """``{"charges": {"due": {"count": 2, "oldest_seconds": 7200}}}`` → ``("charges due", "2, the oldest 2 hours")``."""
    for name, value in figures.items():
        full = f"{above} {name.replace('_', ' ')}".strip()
        if isinstance(value, dict) and "oldest_seconds" in value:
            yield full, backlog(**value)
        elif isinstance(value, dict):
            yield from flat(value, full)
        else:
            yield full, text_of(value)


def backlog(count: int, oldest_seconds: int | None) -> str:
    return f"{count:,}" if oldest_seconds is None else f"{count:,}, the oldest {findings.age(oldest_seconds)}"


def text_of(value: Any) -> str:
    match value:
        case None | []:
            return "none"
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}"
        case list():
            return ", ".join(value)
    return str(value)
