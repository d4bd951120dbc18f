from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.mail import send_mail
from django.core.management.base import CommandParser

from django_krcard.management.base import KrcardCommand, as_json, could_not_run
from django_krcard.models import Seal
from django_krcard.services import seals


class Command(KrcardCommand):
    help = (
        "Makes one hash over all consents that came since the last time, and prints it as one line. Keep the line "
        "where nobody who can change this database can change it: krcard_verify --seal compares. "
        "Exit code 0: sealed, or there was nothing new; 2: it could not run."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="One JSON object.")
        parser.add_argument("--file", metavar="FILE", help="Add the line to this file as well.")
        parser.add_argument("--mail", metavar="ADDRESS", action="append", default=[], help="Mail it as well.")
        parser.add_argument("--last", action="store_true", help="Make none: only say the newest one again.")

    def handle(self, *, json: bool, file: str | None, mail: list[str], last: bool, **options: Any) -> None:
        seal = Seal.objects.order_by("-number").first() if last else seals.make()
        if seal is None:
            self.stdout.write(as_json({"number": None}) if json else "Nothing to seal.")
            return
        line = seals.line_of(seal)
        self.stdout.write(as_json(_data(seal, line)) if json else line)
        # The seal is made and printed. What fails from here on can be done again with --last.
        if file:
            _append(file, line)
        if mail:
            _send(mail, seal, line)


def _data(seal: Seal, line: str) -> dict[str, Any]:
    names = {name: getattr(seal, name) for name in ("number", "count", "root", "previous_root")}
    return names | {"made_at": seals.moment(seal.made_at), "line": line}


def _append(file: str, line: str) -> None:
    try:
        with Path(file).open("a", encoding="ascii") as lines:
            lines.write(f"{line}\n")
    except OSError as error:
        raise could_not_run(f"{file} cannot be written: {error.strerror}. krcard_seal --last says it again.") from error


def _send(addresses: list[str], seal: Seal, line: str) -> None:
    try:
        send_mail(f"Seal {seal.number} over {seal.count:,} consents", f"{line}\n", None, addresses)
    except OSError as error:
        raise could_not_run(f"It could not be mailed ({error}). krcard_seal --last says it again.") from error
