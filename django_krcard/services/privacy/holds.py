"""A legal hold: while a case is open nothing about a customer or a mandate is erased, however old it is."""

from __future__ import annotations

from django.db import transaction
from django.db.models import Q

from django_krcard.models import Customer, Mandate, lock
from django_krcard.services.timeline import record


def set_hold(row: Customer | Mandate, *, by: str, reason: str) -> None:
    """Keep everything about ``row``. Retention and erasure wait until ``lift_hold``."""
    if not reason:
        raise ValueError("A legal hold needs a reason.")
    _write(row, reason, "legal_hold_set", by=by, reason=reason)


def lift_hold(row: Customer | Mandate, *, by: str, reason: str) -> None:
    _write(row, "", "legal_hold_lifted", by=by, reason=reason)


def held(to_customer: str, to_mandate: str | None = None) -> Q:
    """Rows on hold; the arguments are the ways to their customer and mandate, empty for the row itself."""
    ways = [to_customer] if to_mandate is None else [to_customer, to_mandate]
    found = Q()
    for way in ways:
        found |= ~Q(**{f"{way}__legal_hold".removeprefix("__"): ""})
    return found


def _write(row: Customer | Mandate, hold: str, kind: str, *, by: str, reason: str) -> None:
    with transaction.atomic():
        row.legal_hold = hold
        fresh = lock(row)
        if fresh.legal_hold == hold:
            return
        fresh.legal_hold = hold
        fresh.save(update_fields=["legal_hold"])
        for mandate in [fresh] if isinstance(fresh, Mandate) else fresh.mandates.all():
            record(mandate, kind, actor=by, reason=reason)
