"""Saving a card: Checkout Sessions, PaymentMethods and Mandates."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from functools import partial
from types import SimpleNamespace
from typing import Any

from django_krcard.conf import conf
from django_krcard.gateway.answers import Card, CheckoutSession, its_id, read_card, read_session
from django_krcard.gateway.client import ask, in_order, keyed, pages

#: From here on Checkout Sessions and Intents take ``allowed_payment_method_types`` in place of the guide's
#: ``payment_method_types``. https://docs.stripe.com/changelog/endive
TYPES_RENAMED_IN = "2026-09-30"


def types_name() -> str:
    return "allowed_payment_method_types" if conf.STRIPE_API_VERSION >= TYPES_RENAMED_IN else "payment_method_types"


def checkout_session_params(
    *,
    customer: str,
    public_id: str,
    success_url: str,
    cancel_url: str,
    locale: str,
    expires_at: datetime,
    metadata: dict[str, str],
) -> dict[str, Any]:
    """What Stripe is asked for a session in ``setup`` mode, as its configured API version wants it."""
    return {
        "mode": "setup",
        types_name(): conf.PAYMENT_METHOD_TYPES,
        # Optional beside a list of types, but Stripe drops kr_card silently when it does not know that won are meant.
        "currency": "krw",
        "customer": customer,
        "client_reference_id": public_id,
        "success_url": success_url,
        "cancel_url": cancel_url,
        "locale": locale,
        "expires_at": int(expires_at.timestamp()),
        "metadata": metadata,
        # A session's metadata does not reach its SetupIntent.
        "setup_intent_data": {"metadata": metadata},
    }


def with_payment(params: dict[str, Any], *, amount: int, name: str, description: str) -> dict[str, Any]:
    """The same session in ``payment`` mode: ``amount`` whole won are paid with what is saved."""
    kept = {key: params[key] for key in params.keys() - {"mode", "currency", "setup_intent_data"}}
    price = {"currency": "krw", "unit_amount": amount, "product_data": {"name": name}}
    intent = {"setup_future_usage": "off_session", "capture_method": "automatic", "metadata": params["metadata"]}
    return kept | {
        "mode": "payment",
        "line_items": [{"price_data": price, "quantity": 1}],
        "payment_intent_data": intent | ({"description": description} if description else {}),
    }


def create_checkout_session(params: dict[str, Any], *, key: str) -> CheckoutSession:
    """Open a Checkout Session. https://docs.stripe.com/api/checkout/sessions/create

    ``params`` come from ``checkout_session_params`` and are sent as they are, so that a repeat under ``key`` is equal.
    """
    return ask(
        "POST /v1/checkout/sessions",
        lambda stripe: stripe.checkout.sessions.create(in_order(params), keyed(key)),
        read_session,
    )


def retrieve_checkout_session(session_id: str) -> CheckoutSession:
    """https://docs.stripe.com/api/checkout/sessions/retrieve"""
    params = {
        "expand": [
            "setup_intent",
            "setup_intent.payment_method",
            "setup_intent.mandate",
            "payment_intent",
            "payment_intent.payment_method",
        ]
    }
    return ask(
        "GET /v1/checkout/sessions", lambda stripe: stripe.checkout.sessions.retrieve(session_id, params), read_session
    )


def expire_checkout_session(session_id: str, *, key: str) -> None:
    """https://docs.stripe.com/api/checkout/sessions/expire"""
    ask(
        "POST /v1/checkout/sessions/expire",
        lambda stripe: stripe.checkout.sessions.expire(session_id, {}, keyed(key)),
        its_id,
    )


def retrieve_payment_method(payment_method_id: str) -> Card:
    """https://docs.stripe.com/api/payment_methods/retrieve"""
    return ask("GET /v1/payment_methods", lambda stripe: stripe.payment_methods.retrieve(payment_method_id), read_card)


def payment_methods_of(customer_id: str) -> Iterator[Card]:
    """All cards that Stripe has for a customer, newest first.

    https://docs.stripe.com/api/payment_methods/customer_list
    """

    def resource(stripe: Any) -> Any:
        return SimpleNamespace(list=partial(stripe.customers.payment_methods.list, customer_id))

    yield from pages("GET /v1/customers/payment_methods (list)", resource, {}, read_card)


def detach_payment_method(payment_method_id: str, *, key: str) -> None:
    """https://docs.stripe.com/api/payment_methods/detach"""
    ask(
        "POST /v1/payment_methods/detach",
        lambda stripe: stripe.payment_methods.detach(payment_method_id, {}, keyed(key)),
        its_id,
    )


def retrieve_mandate_status(mandate_id: str) -> str:
    """active, inactive or pending. https://docs.stripe.com/api/mandates/retrieve"""
    return ask("GET /v1/mandates", lambda stripe: stripe.mandates.retrieve(mandate_id), lambda data: data["status"])
