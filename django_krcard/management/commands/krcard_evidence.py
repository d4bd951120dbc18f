from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, BinaryIO
from uuid import UUID

from django.conf import settings
from django.core.management.base import CommandParser

from django_krcard.management.base import KrcardCommand, could_not_run, not_all_well
from django_krcard.models import Mandate
from django_krcard.services.evidence_pack import FORMS, evidence, hand_out


class Command(KrcardCommand):
    help = (
        "Writes what proves one agreement: texts, ticks, times, hashes, charges, notices. The ZIP has all of it and a "
        "program that verifies it offline. What was handed out stands in the mandate's timeline, with its SHA-256. "
        "Exit code 0: written; 1: written, and a record in it does not match its hash; 2: it could not be written."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("mandate", metavar="MANDATE", help="Its reference, or its public id.")
        parser.add_argument("--format", choices=sorted(FORMS), default="zip")
        parser.add_argument("--output", metavar="PATH", help="Default: KR-….zip right here. “-” is stdout.")
        parser.add_argument(
            "--language",
            choices=[code for code, _name in settings.LANGUAGES],
            help="Of the page. Default: the one in which the customer agreed.",
        )
        parser.add_argument(
            "--without-personal",
            action="store_true",
            help="Leave out who and where the customer is. What is left still verifies.",
        )
        parser.add_argument("--by", metavar="NAME", help="Who takes it: staff:NAME in the timeline.")
        parser.add_argument("--reason", default="", help="What it is for, for the timeline.")

    def handle(self, *, mandate: str, format: str, output: str | None, **options: Any) -> None:
        row = mandate_named(mandate)
        how = {"personal": not options["without_personal"], "language": options["language"]}
        by = f"staff:{options['by']}" if options["by"] else "system"
        path = output or f"{row.reference}.{format}"
        # Opened before it is written down that somebody has it.
        with opened(path) as file:
            file.write(hand_out(row, format, by=by, reason=options["reason"], **how))
        if path != "-":
            self.stdout.write(path)
        broken = [each["public_id"] for each in evidence(row).facts["consents"] if not each["intact"]]
        if broken:
            raise not_all_well(f"The record of {', '.join(broken)} DOES NOT match its hash.")


def mandate_named(name: str) -> Mandate:
    try:
        wanted = {"public_id": UUID(name)}
    except ValueError:
        wanted = {"reference": name.upper()}
    mandate = Mandate.objects.filter(**wanted).first()
    if mandate is None:
        raise could_not_run(f"There is no mandate {name}.")
    return mandate


def opened(path: str) -> AbstractContextManager[BinaryIO]:
    """A new file: evidence is not replaced by accident."""
    if path == "-":
        return nullcontext(sys.stdout.buffer)
    try:
        return Path(path).open("xb")
    except FileExistsError as error:
        raise could_not_run(f"{path} is there already. Name another with --output.") from error
    except OSError as error:
        raise could_not_run(f"{path} cannot be written: {error.strerror}.") from error
