"""Saving a card without a page of Stripe's: SetupIntents, and payments that save what they are made with.

The customer accepts on our page and is sent to the card processor's, so both are confirmed when they are made.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django_krcard.gateway.answers import PaymentIntent, SetupIntent, its_id, read_intent, read_setup_intent
from django_krcard.gateway.cards import types_name
from django_krcard.gateway.client import ask, in_order, keyed


def mandate_data(*, accepted_at: datetime, ip_address: str, user_agent: str) -> dict[str, Any]:
    """How the customer accepted, to go along with either request."""
    online = {"ip_address": ip_address, "user_agent": user_agent}
    acceptance = {"type": "online", "accepted_at": int(accepted_at.timestamp()), "online": online}
    return {"mandate_data": {"customer_acceptance": acceptance}}


def setup_intent_params(
    *, customer: str, method_type: str, return_url: str, metadata: dict[str, str]
) -> dict[str, Any]:
    """What Stripe is asked to save ``method_type`` for later, beside ``mandate_data``."""
    return _confirmed(customer, method_type, return_url, metadata) | {"usage": "off_session"}


def first_payment_params(
    *, amount: int, description: str, customer: str, method_type: str, return_url: str, metadata: dict[str, str]
) -> dict[str, Any]:
    """What Stripe is asked for a payment of ``amount`` whole won that saves ``method_type``, beside the same."""
    params = _confirmed(customer, method_type, return_url, metadata) | {
        "amount": amount,
        "currency": "krw",
        # What is saved for payments without the customer cannot be captured later.
        "capture_method": "automatic",
        "setup_future_usage": "off_session",
    }
    return params | ({"description": description} if description else {})


def _confirmed(customer: str, method_type: str, return_url: str, metadata: dict[str, str]) -> dict[str, Any]:
    return {
        "customer": customer,
        types_name(): [method_type],
        "payment_method_data": {"type": method_type},
        "confirm": True,
        "return_url": return_url,
        "metadata": metadata,
    }


def create_setup_intent(params: dict[str, Any], *, key: str) -> SetupIntent:
    """https://docs.stripe.com/api/setup_intents/create"""
    return ask(
        "POST /v1/setup_intents",
        lambda stripe: stripe.setup_intents.create(in_order(params), keyed(key)),
        read_setup_intent,
    )


def retrieve_setup_intent(setup_intent_id: str) -> SetupIntent:
    """With the card and the mandate. https://docs.stripe.com/api/setup_intents/retrieve"""
    params = {"expand": ["payment_method", "mandate"]}
    return ask(
        "GET /v1/setup_intents",
        lambda stripe: stripe.setup_intents.retrieve(setup_intent_id, params),
        read_setup_intent,
    )


def cancel_setup_intent(setup_intent_id: str, *, key: str) -> None:
    """From now on nothing can be saved with it. https://docs.stripe.com/api/setup_intents/cancel"""
    ask(
        "POST /v1/setup_intents/cancel",
        lambda stripe: stripe.setup_intents.cancel(setup_intent_id, {}, keyed(key)),
        its_id,
    )


def create_first_payment(params: dict[str, Any], *, key: str) -> PaymentIntent:
    """Its customer is here and confirms it, so it may be asked for again under its key.

    https://docs.stripe.com/api/payment_intents/create
    """
    return ask(
        "POST /v1/payment_intents",
        lambda stripe: stripe.payment_intents.create(in_order(params), keyed(key)),
        read_intent,
    )
