"""Stripe's messages: whether one is Stripe's, what it is about, and which there were."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import Any

from django_krcard.conf import conf
from django_krcard.gateway.client import ask, pages

MOST_TYPES = 20  # of events in one question for a list of them


def verify_signature(body: bytes, header: str, secret: str, tolerance: int) -> None:
    """Raise whatever Stripe's own check raises unless ``header`` signs ``body`` with ``secret``."""
    import stripe

    stripe.WebhookSignature.verify_header(body, header, secret, tolerance)


#: The objects that messages are about, and where each is asked for.
RETRIEVED_FROM: dict[str, Callable[[Any], Any]] = {
    "charge": lambda stripe: stripe.charges,
    "checkout.session": lambda stripe: stripe.checkout.sessions,
    "customer": lambda stripe: stripe.customers,
    "dispute": lambda stripe: stripe.disputes,
    "invoice": lambda stripe: stripe.invoices,
    "mandate": lambda stripe: stripe.mandates,
    "payment_intent": lambda stripe: stripe.payment_intents,
    "payment_method": lambda stripe: stripe.payment_methods,
    "refund": lambda stripe: stripe.refunds,
    "setup_intent": lambda stripe: stripe.setup_intents,
    "subscription": lambda stripe: stripe.subscriptions,
}


def can_retrieve(kind: str) -> bool:
    return kind in RETRIEVED_FROM


def retrieve_object(kind: str, object_id: str) -> dict[str, Any]:
    """An object as Stripe has it now, for a thin event, which carries none. ``kind`` is Stripe's name of its class."""
    resource = RETRIEVED_FROM[kind]
    return ask(f"GET {kind}", lambda stripe: resource(stripe).retrieve(object_id), dict)


def events_since(moment: datetime, types: Iterable[str]) -> Iterator[dict[str, Any]]:
    """All events of these types made at or after ``moment``, as their messages would be, newest first for each part.

    Stripe keeps them for 30 days. https://docs.stripe.com/api/events/list
    """
    types = sorted(types)
    for at in range(0, len(types), MOST_TYPES):
        wanted = {"created": {"gte": int(moment.timestamp())}, "types": types[at : at + MOST_TYPES]}
        yield from pages("GET /v1/events (list)", lambda stripe: stripe.events, wanted, _with_account)


def _with_account(event: dict[str, Any]) -> dict[str, Any]:
    """A message of a connected account names it. Asked for by that account, an event may leave it out."""
    return event | {"account": conf.STRIPE_ACCOUNT} if conf.STRIPE_ACCOUNT else dict(event)
