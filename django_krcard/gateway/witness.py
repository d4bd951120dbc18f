"""What Stripe was told of our consents: the metadata of sessions, setups, payments and subscriptions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django_krcard.gateway.answers import id_of
from django_krcard.gateway.client import pages


@dataclass(frozen=True, slots=True)
class Witness:
    """An object of Stripe's that may name a consent."""

    id: str
    customer: str
    consent: str = ""
    consent_hash: str = ""


def sessions_since(moment: datetime) -> Iterator[Witness]:
    """https://docs.stripe.com/api/checkout/sessions/list"""
    yield from _since(moment, "GET /v1/checkout/sessions (list)", lambda stripe: stripe.checkout.sessions)


def setup_intents_since(moment: datetime) -> Iterator[Witness]:
    """https://docs.stripe.com/api/setup_intents/list"""
    yield from _since(moment, "GET /v1/setup_intents (list)", lambda stripe: stripe.setup_intents)


def payments_named_since(moment: datetime) -> Iterator[Witness]:
    """https://docs.stripe.com/api/payment_intents/list"""
    yield from _since(moment, "GET /v1/payment_intents (list)", lambda stripe: stripe.payment_intents)


def subscriptions_named_since(moment: datetime) -> Iterator[Witness]:
    """Also those that are over. https://docs.stripe.com/api/subscriptions/list"""
    every = {"status": "all"}
    yield from _since(moment, "GET /v1/subscriptions (list)", lambda stripe: stripe.subscriptions, **every)


def _since(moment: datetime, endpoint: str, resource: Callable[[Any], Any], **wanted: str) -> Iterator[Witness]:
    yield from pages(endpoint, resource, {"created": {"gte": int(moment.timestamp())}, **wanted}, _read)


def _read(data: dict[str, Any]) -> Witness:
    metadata = data.get("metadata") or {}
    return Witness(
        id=data["id"],
        customer=id_of(data.get("customer")),
        consent=metadata.get("krcard_consent", ""),
        consent_hash=metadata.get("krcard_consent_hash", ""),
    )
