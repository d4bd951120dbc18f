"""What becomes of each line of a file of charges."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from itertools import takewhile
from typing import BinaryIO, NamedTuple
from uuid import UUID

from django.utils import timezone

from django_krcard import rules, services
from django_krcard.conf import conf
from django_krcard.exceptions import ChargeRefused, DatabaseIsBehind, ReferenceConflict, StripeRefusedKey
from django_krcard.management.orders import BadLine, Order, read
from django_krcard.models import Charge, Mandate
from django_krcard.services import backup, gate, notices
from django_krcard.services.acts import Act, finish_all
from django_krcard.services.charges import charging

logger = logging.getLogger(__name__)

Status = Charge.Status

#: Nobody has to look at these. What follows on "processing" comes by itself.
FINE = frozenset({Status.SUCCEEDED, Status.SCHEDULED, Status.PROCESSING, "allowed"})
#: Such a charge is asked for again with its line; any other is as it is.
ASKED_AGAIN = frozenset({Status.READY, Status.REFUSED})


class Outcome(NamedTuple):
    """What became of one line. ``outcome`` is the charge's status, or ``bad``, ``refused``, ``conflict``, ``error``."""

    line: int
    outcome: str
    mandate: str = ""
    reference: str = ""
    amount: int | None = None
    code: str = ""
    message: str = ""
    charge: str = ""

    @property
    def is_fine(self) -> bool:
        return self.outcome in FINE

    def __str__(self) -> str:
        if self.outcome == "bad":
            return f"line {self.line} {self.message}"
        words = (f"{self.mandate} {self.reference} {self.amount:,} won: {self.outcome}", self.code, self.message)
        return f"line {self.line}: {' '.join(filter(None, words))}"


def outcomes(lines: BinaryIO, by: str) -> Iterator[Outcome]:
    """Charge or schedule what each line asks for, many at a time, and tell what became of it as it ends."""
    backup.refuse_if_behind(again=True)
    failed: list[Exception] = []
    acts = (_charged(number, order, by) for number, order in read(lines))
    with notices.postponed():
        for result in finish_all(takewhile(lambda _act: not failed, acts), in_flight=conf.IN_FLIGHT):
            if isinstance(result, Exception):
                failed.append(result)
            else:
                yield result
    notices.deliver_due()
    if failed:
        raise failed[0]


def _charged(number: int, order: Order | BadLine, by: str) -> Act[Outcome]:
    """Raises only what stops the whole file."""
    try:
        mandate = _mandate_of(order)
    except BadLine as problem:
        return Outcome(number, "bad", message=str(problem))
    try:
        return _as_it_is(number, (yield from _ask(mandate, order, by)))
    except ChargeRefused as refused:
        return _told(number, mandate, order, "refused", refused.code, refused.message)
    except ReferenceConflict as conflict:
        return _told(number, mandate, order, "conflict", message=str(conflict))
    except (StripeRefusedKey, DatabaseIsBehind):
        raise
    except Exception as error:
        logger.exception("Line %d was not charged, or its charge is left to krcard_run_due", number)
        return _told(number, mandate, order, "error", message=type(error).__name__)


def _ask(mandate: Mandate, order: Order, by: str) -> Act[Charge]:
    words = {"reference": order.reference, "description": order.description, "by": by}
    if order.due_at:
        return services.schedule_charge(mandate, order.amount, due_at=order.due_at, **words)
    return (yield from charging(mandate, order.amount, **words))


def verdicts(lines: BinaryIO) -> Iterator[Outcome]:
    """What each line would come to now, judged by itself. Changes nothing and asks nobody."""
    for number, order in read(lines):
        try:
            mandate = _mandate_of(order)
        except BadLine as problem:
            yield Outcome(number, "bad", message=str(problem))
        else:
            yield _judged(number, mandate, order)


def _judged(number: int, mandate: Mandate, order: Order) -> Outcome:
    charge, now = mandate.charges.filter(reference=order.reference).first(), timezone.now()
    if charge and charge.amount != order.amount:
        return _told(number, mandate, order, "conflict", message=f"It was used for {charge.amount:,} won.")
    if charge and charge.status not in ASKED_AGAIN:
        return _as_it_is(number, charge)
    at = max(order.due_at or now, now)
    verdict = gate.judge(mandate, order.amount, at, charge=charge, due_at=order.due_at, planned=bool(order.due_at))
    waits = order.due_at and verdict.code in rules.WAITING
    return _told(
        number,
        mandate,
        order,
        "allowed" if verdict.allowed or waits else "refused",
        verdict.code,
        "" if verdict.allowed else verdict.message,
    )


def _mandate_of(order: Order | BadLine) -> Mandate:
    if isinstance(order, BadLine):
        raise order
    name = "public_id" if isinstance(order.mandate, UUID) else "reference"
    mandate = Mandate.objects.select_related(*gate.RELATED).filter(**{name: order.mandate}).first()
    if mandate is None:
        raise BadLine(f"names a mandate that does not exist: {order.mandate}.")
    return mandate


def _as_it_is(number: int, charge: Charge) -> Outcome:
    code = " ".join(filter(None, (charge.refusal_code, charge.failure_code, charge.decline_code)))
    return Outcome(
        number,
        str(charge.status),
        charge.mandate.reference,
        charge.reference,
        charge.amount,
        code,
        charge=str(charge.public_id),
    )


def _told(number: int, mandate: Mandate, order: Order, outcome: str, code: str = "", message: str = "") -> Outcome:
    return Outcome(number, outcome, mandate.reference, order.reference, order.amount, code, message)
