"""What a CSV file of charges asks for, line by line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from typing import BinaryIO, NamedTuple
from uuid import UUID

from django.utils import timezone

from django_krcard import rules
from django_krcard.conf import conf
from django_krcard.management import lines
from django_krcard.management.lines import BadFile, BadLine
from django_krcard.services.charges import MAX_DESCRIPTION, MAX_REFERENCE

REQUIRED = ("mandate", "amount", "reference")
OPTIONAL = ("due_at", "description")

__all__ = ["BadFile", "BadLine", "Order", "moment", "read"]

#: Nobody agreed to anything before, and nothing is agreed for longer.
FIRST_YEAR, LAST_YEAR = 2000, 2199

# Only these ten digits: Python would also read "１２９００" and "12_900".
DIGITS = re.compile(r"[0-9]+")


class Order(NamedTuple):
    """One charge that is asked for: now, or at ``due_at``. ``mandate`` is a mandate's reference or its public id."""

    mandate: str | UUID
    amount: int
    reference: str
    due_at: datetime | None = None
    description: str = ""


def read(file: BinaryIO) -> Iterator[tuple[int, Order | BadLine]]:
    """Each line that is not empty, with its number, as what it asks for or as what is wrong with it."""
    for number, given in lines.read(file, REQUIRED, OPTIONAL):
        try:
            yield number, given if isinstance(given, BadLine) else _order(given)
        except BadLine as problem:
            yield number, problem


def _order(given: dict[str, str]) -> Order:
    for name, longest in (("reference", MAX_REFERENCE), ("description", MAX_DESCRIPTION)):
        if len(given.get(name, "")) > longest:
            raise BadLine(f"has a {name} of more than {longest} characters.")
    return Order(
        _mandate(given["mandate"]),
        _amount(given["amount"]),
        given["reference"],
        moment(given["due_at"], "due_at") if given.get("due_at") else None,
        given.get("description", ""),
    )


def _mandate(value: str) -> str | UUID:
    try:
        return UUID(value)
    except ValueError:
        return value.upper()


def _amount(value: str) -> int:
    amount = int(value) if DIGITS.fullmatch(value) and len(value) <= len(str(rules.MAX_AMOUNT)) else None
    if not rules.is_amount(amount):
        least, most = f"{rules.MIN_AMOUNT:,}", f"{rules.MAX_AMOUNT:,}"
        raise BadLine(f"has the amount {value!r}: whole won are written 12900, and go from {least} to {most}.")
    return amount


def moment(value: str, name: str) -> datetime:
    """Without a zone it is one of the terms, and a day alone is its midnight."""
    try:
        at = datetime.fromisoformat(value)
    except ValueError:
        raise BadLine(f"has the {name} {value!r}: write 2026-12-01T09:00 or 2026-12-01.") from None
    if not FIRST_YEAR <= at.year <= LAST_YEAR:
        raise BadLine(f"has the {name} {value!r}: that is too far away.")
    return at if timezone.is_aware(at) else at.replace(tzinfo=conf.TIME_ZONE)
