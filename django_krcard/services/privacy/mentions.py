"""Which webhook messages speak of somebody."""

from __future__ import annotations

from collections.abc import Iterator
from functools import reduce
from operator import or_
from typing import Any

from django.db.models import BinaryField, F, Func, IntegerField, Q, Value
from django.db.models.lookups import GreaterThan

from django_krcard.models import Charge, Customer


class BytesIndex(Func):
    """Where in the bytes some others begin, counted from 1; 0 where they are not."""

    function = "INSTR"
    output_field = IntegerField()

    def as_postgresql(self, compiler: Any, connection: Any, **context: Any) -> tuple[str, Any]:
        body, needle = self.source_expressions
        swapped = self.copy()
        swapped.set_source_expressions([needle, body])
        return swapped.as_sql(
            compiler, connection, function="POSITION", arg_joiner=" IN ", template="%(function)s(%(expressions)s)"
        )


def naming(customer: Customer) -> Q:
    """Messages in whose body one of the customer's ids at Stripe stands."""
    return reduce(or_, (Q(GreaterThan(_place_of(stripe_id), 0)) for stripe_id in _ids(customer)), Q(pk=None))


def _place_of(stripe_id: str) -> BytesIndex:
    """In quotes, as JSON has it: no id is taken for a longer one."""
    return BytesIndex(F("body"), Value(f'"{stripe_id}"'.encode(), output_field=BinaryField()))


def _ids(customer: Customer) -> Iterator[str]:
    """Most objects name their customer. Cards that were removed, mandates, refunds and disputes do not."""
    yield from customer.stripe_ids
    yield from customer.payment_methods.order_by("pk").values_list("stripe_id", flat=True)
    yield from customer.mandates.exclude(stripe_id=None).order_by("pk").values_list("stripe_id", flat=True)
    came_back = Charge.objects.filter(Q(refunds__isnull=False) | Q(refunded_amount__gt=0) | ~Q(dispute_id=""))
    of_theirs = came_back.filter(mandate__customer=customer).exclude(stripe_id=None)
    yield from of_theirs.order_by("pk").values_list("stripe_id", flat=True).distinct()
