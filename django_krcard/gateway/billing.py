"""What Stripe charges by itself: subscriptions and their invoices."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from django_krcard.gateway.answers import (
    Invoice,
    Price,
    Subscription,
    read_invoice,
    read_price,
    read_subscription,
)
from django_krcard.gateway.client import ask, in_order, keyed, once, pages

#: Deeper than this Stripe does not expand.
EXPAND_INVOICE = ["parent.subscription_details.subscription", "payments.data.payment.payment_intent"]


def retrieve_price(price_id: str) -> Price:
    """https://docs.stripe.com/api/prices/retrieve"""
    return ask("GET /v1/prices", lambda stripe: stripe.prices.retrieve(price_id), read_price)


def subscription_params(
    *,
    customer: str,
    price: str,
    quantity: int,
    card: str,
    card_type: str,
    metadata: dict[str, str],
    cancel_at: datetime | None = None,
) -> dict[str, Any]:
    """What Stripe is asked for a subscription that charges a saved card, the first period at once."""
    params = {
        "customer": customer,
        "currency": "krw",
        "items": [{"price": price, "quantity": quantity}],
        "collection_method": "charge_automatically",
        # Of this subscription alone: the customer's default is not ours to change, other sites may rely on it.
        "default_payment_method": card,
        # This list is still valid where that of the Intents is not. Not together with a configuration of methods.
        "payment_settings": {"payment_method_types": [card_type], "save_default_payment_method": "off"},
        "off_session": True,
        # Paid or not there: one that is incomplete could be paid for another 23 hours, by surprise.
        "payment_behavior": "error_if_incomplete",
        "proration_behavior": "none",
        "metadata": metadata,
    }
    return params | ({"cancel_at": int(cancel_at.timestamp())} if cancel_at else {})


def create_subscription(params: dict[str, Any], *, key: str) -> Subscription:
    """Charge the first period and those to come. One request and no more: the terms are asked before each.

    Raises ``CardDeclined`` when the first payment failed: then there is no subscription.
    https://docs.stripe.com/api/subscriptions/create
    """
    return ask(
        "POST /v1/subscriptions",
        lambda stripe: stripe.subscriptions.create(in_order(params), once(key)),
        read_subscription,
    )


def update_subscription(subscription_id: str, params: dict[str, Any], *, key: str) -> Subscription:
    """https://docs.stripe.com/api/subscriptions/update"""
    return ask(
        "POST /v1/subscriptions",
        lambda stripe: stripe.subscriptions.update(subscription_id, in_order(params), keyed(key)),
        read_subscription,
    )


def cancel_subscription(subscription_id: str) -> Subscription:
    """At once, and nothing more is invoiced. It is a DELETE and takes no key: what is over cannot end twice.

    https://docs.stripe.com/api/subscriptions/cancel
    """
    params = {"invoice_now": False, "prorate": False}
    return ask(
        "DELETE /v1/subscriptions",
        lambda stripe: stripe.subscriptions.cancel(subscription_id, params),
        read_subscription,
    )


def retrieve_subscription(subscription_id: str) -> Subscription:
    """https://docs.stripe.com/api/subscriptions/retrieve"""
    return ask(
        "GET /v1/subscriptions", lambda stripe: stripe.subscriptions.retrieve(subscription_id), read_subscription
    )


def subscriptions_of(customer: str) -> Iterator[Subscription]:
    """All of one customer's, also those that are over, newest first. https://docs.stripe.com/api/subscriptions/list"""
    wanted = {"customer": customer, "status": "all"}
    yield from pages("GET /v1/subscriptions (list)", lambda stripe: stripe.subscriptions, wanted, read_subscription)


def retrieve_invoice(invoice_id: str) -> Invoice:
    """With its subscription and its payment. https://docs.stripe.com/api/invoices/retrieve"""
    params = {"expand": EXPAND_INVOICE}
    return ask("GET /v1/invoices", lambda stripe: stripe.invoices.retrieve(invoice_id, params), read_invoice)


def invoices_of(subscription_id: str) -> Iterator[Invoice]:
    """All invoices of a subscription, newest first, without their payments. https://docs.stripe.com/api/invoices/list"""
    wanted = {"subscription": subscription_id}
    yield from pages("GET /v1/invoices (list)", lambda stripe: stripe.invoices, wanted, read_invoice)


def update_invoice(invoice_id: str, *, auto_advance: bool, key: str) -> str:
    """Whether Stripe goes on with an invoice by itself. https://docs.stripe.com/api/invoices/update"""
    return ask(
        "POST /v1/invoices",
        lambda stripe: stripe.invoices.update(invoice_id, {"auto_advance": auto_advance}, keyed(key)),
        lambda data: data["status"] or "",
    )
