"""What a test wants to know of money."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest

from django_krcard.exceptions import ChargeRefused
from django_krcard.models import Charge, Mandate
from django_krcard.testing.sandbox import books


def assert_charged(mandate: Mandate, amount: int, *, times: int = 1) -> None:
    """`amount` whole won were charged under `mandate` exactly so often, by Stripe's books and by the site's.

    `times=0`: not at all.
    """
    __tracebackhide__ = True
    intents = [pi for pi in books("payment_intent") if pi["metadata"].get("krcard_mandate") == str(mandate.public_id)]
    rows = list(mandate.charges.order_by("pk"))
    at_stripe = [(pi["amount"], pi["status"]) for pi in intents]
    in_site = [(row.amount, row.status) for row in rows]
    paid = (at_stripe.count((amount, "succeeded")), in_site.count((amount, Charge.Status.SUCCEEDED)))
    assert paid == (times, times), (
        f"Expected {times} × {amount:,} won under mandate {mandate}.\n"
        f"  At Stripe:   {told(at_stripe)}\n  In the site: {told(in_site)}"
    )


def told(payments: list[tuple[int, str]]) -> str:
    return ", ".join(f"{amount:,} won {status}" for amount, status in payments) or "nothing"


def assert_refused(code: str, call: Callable | None = None, *args: Any, **kwargs: Any) -> AbstractContextManager | None:
    """A charge is refused with `code`, and Stripe was not asked. With a `call`, or as a context manager:

    with assert_refused("period_count_reached") as refusal:
        services.charge(mandate, 12_900, reference="again")
    assert refusal.value.message
    """
    __tracebackhide__ = True
    if call is None:
        return refusal_with(code)
    with refusal_with(code):
        call(*args, **kwargs)
    return None


@contextmanager
def refusal_with(code: str) -> Iterator[pytest.ExceptionInfo[ChargeRefused]]:
    __tracebackhide__ = True
    before = len(books("payment_intent"))
    with pytest.raises(ChargeRefused) as refusal:
        yield refusal
    assert refusal.value.code == code, f"Refused with {refusal.value.code!r}, not with {code!r}."
    assert len(books("payment_intent")) == before, "Stripe was asked all the same."
