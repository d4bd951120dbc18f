"""Our rows, as far as they can be asked for with this key."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

from django.db.models import QuerySet
from django.utils import timezone

from django_krcard.models import Charge, Refund, of_this_key

#: Rows and payments looked at together.
CHUNK = 100

Item = TypeVar("Item")


def charges() -> QuerySet[Charge]:
    rows = Charge.objects.filter(**of_this_key("mandate__customer"))
    return rows.select_related("mandate__customer")


def refunds() -> QuerySet[Refund]:
    rows = Refund.objects.filter(**of_this_key("charge__mandate__customer"))
    return rows.select_related("charge__mandate__customer")


def is_being_sent(row: Charge | Refund) -> bool:
    """Somebody has it for themselves at this moment."""
    return row.status == Charge.Status.SENDING and row.next_step_at > timezone.now()


def keys(rows: QuerySet) -> Iterator[int]:
    """No cursor stays open: on SQLite nobody could write meanwhile."""
    last = 0
    while chunk := list(rows.filter(pk__gt=last).order_by("pk").values_list("pk", flat=True)[:CHUNK]):
        yield from chunk
        last = chunk[-1]


def chunks(items: Iterable[Item]) -> Iterator[list[Item]]:
    items = iter(items)
    while chunk := list(islice(items, CHUNK)):
        yield chunk
