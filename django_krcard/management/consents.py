"""What a CSV file of consents that were taken elsewhere says, line by line, and what becomes of each."""

from __future__ import annotations

import mimetypes
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.db import transaction

from django_krcard import services
from django_krcard.conf import conf
from django_krcard.exceptions import KrcardError
from django_krcard.management import lines
from django_krcard.management.lines import BadLine
from django_krcard.management.orders import moment
from django_krcard.models import Consent, Customer, Terms
from django_krcard.services import elsewhere
from django_krcard.services.consents import Attachment, Evidence

REQUIRED = ("reference", "customer", "terms", "version", "language", "ticked", "given_at")
OPTIONAL = ("source", "note", "attachment")

MAX_REFERENCE = Consent._meta.get_field("source_reference").max_length


class Outcome(NamedTuple):
    """What became of one line: ``recorded``, ``known`` (by its reference), ``refused`` or ``bad``."""

    line: int
    outcome: str
    reference: str = ""
    consent: str = ""
    message: str = ""

    @property
    def is_fine(self) -> bool:
        return self.outcome in ("recorded", "known")

    def __str__(self) -> str:
        if self.outcome == "bad":
            return f"line {self.line} {self.message}"
        return f"line {self.line}: {self.reference}: {self.outcome} {self.message or self.consent}".rstrip()


def outcomes(file: BinaryIO, folder: Path, by: str, *, dry_run: bool) -> Iterator[Outcome]:
    """Record each line once. With ``dry_run`` nothing stays."""
    for number, given in lines.read(file, REQUIRED, OPTIONAL):
        if isinstance(given, BadLine):
            yield Outcome(number, "bad", message=str(given))
            continue
        reference = given["reference"]
        try:
            with transaction.atomic():
                consent, is_new = _recorded(given, folder, by)
                transaction.set_rollback(dry_run)
        except BadLine as problem:
            yield Outcome(number, "bad", reference, message=str(problem))
        except KrcardError as refusal:
            yield Outcome(number, "refused", reference, message=str(refusal))
        else:
            public_id = "" if dry_run and is_new else str(consent.public_id)
            yield Outcome(number, "recorded" if is_new else "known", reference, public_id)


def _recorded(given: dict[str, str], folder: Path, by: str) -> tuple[Consent, bool]:
    if len(given["reference"]) > MAX_REFERENCE:
        raise BadLine(f"has a reference of more than {MAX_REFERENCE} characters.")
    evidence = Evidence(
        source=given.get("source") or Consent.Source.IMPORT,
        given_at=moment(given["given_at"], "given_at"),
        recorded_by=by,
        note=given.get("note", ""),
        reference=given["reference"],
        attachment=_attachment(folder, given["attachment"]) if given.get("attachment") else None,
    )
    if evidence.source == Consent.Source.WEB:
        raise BadLine("has the source 'web': that is what customers agree to here.")
    return elsewhere.record(
        _customer(given["customer"]),
        _terms(given["terms"], given["version"]),
        language=given["language"],
        ticked=given["ticked"].split(),
        evidence=evidence,
    )


def _customer(name: str) -> Customer:
    """By the customer's reference; or the user with that key, who becomes one."""
    if known := Customer.objects.filter(reference=name, livemode=conf.LIVEMODE).first():
        return known
    try:
        user = get_user_model()._default_manager.filter(pk=name).first()
    except (ValueError, ValidationError):
        user = None
    if user is None:
        raise BadLine(f"has the customer {name!r}, whom nobody knows.")
    return services.get_or_create_customer(user)


def _terms(slug: str, version: str) -> Terms:
    found = Terms.objects.filter(slug=slug, version=int(version)).first() if version.isdecimal() else None
    if found is None:
        raise BadLine(f"has the terms {slug!r} version {version!r}, which are not there.")
    return found


def _attachment(folder: Path, name: str) -> Attachment:
    """A file beside the CSV file, or below it."""
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise BadLine(f"has the attachment {name!r}, which is not below the file's own folder.")
    try:
        with path.open("rb") as file:
            # One byte more than allowed is enough to know that it is too large.
            content = file.read(conf.MAX_ATTACHMENT_BYTES + 1)
    except OSError as error:
        raise BadLine(f"has the attachment {name!r}, which cannot be read: {error.strerror}.") from None
    return Attachment(path.name, mimetypes.guess_type(path.name)[0] or "application/octet-stream", content)
