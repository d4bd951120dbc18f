"""PaymentIntents, and what may come after them: refunds and disputes."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from django_krcard.gateway.answers import Dispute, PaymentIntent, Refund, read_dispute, read_intent, read_refund
from django_krcard.gateway.cards import types_name
from django_krcard.gateway.client import ask, forgo_turn, in_order, keyed, once, pages, take_turn, wait_for_turn


def payment_intent_params(
    *, amount: int, customer: str, card: str, card_type: str, description: str, metadata: dict[str, str]
) -> dict[str, Any]:
    """What Stripe is asked for an off-session payment of ``amount`` whole won with a saved card."""
    params = {
        "amount": amount,
        "currency": "krw",
        "customer": customer,
        "payment_method": card,
        types_name(): [card_type],
        "off_session": True,
        "confirm": True,
        # Korean cards cannot be captured later when the customer is away.
        "capture_method": "automatic",
        "metadata": metadata,
    }
    return params | ({"description": description} if description else {})


def confirm_params(*, card: str, card_type: str, return_url: str = "") -> dict[str, Any]:
    """What Stripe is asked to try a payment once more with a saved card: while the customer is away, or here, in which
    case Stripe sends them to ``return_url`` afterwards."""
    present = {"return_url": return_url} if return_url else {"off_session": True}
    return {"payment_method": card, types_name(): [card_type]} | present


CREATE = "POST /v1/payment_intents"


def take_turn_to_charge() -> bool:
    """Whether ``create_payment_intent`` may be called at once, with ``in_turn``. If not, ``wait_to_charge``."""
    return take_turn(CREATE)


def wait_to_charge() -> None:
    wait_for_turn(CREATE)


def give_turn_back() -> None:
    """Nothing is charged after all."""
    forgo_turn(CREATE)


def create_payment_intent(params: dict[str, Any], *, key: str, in_turn: bool = False) -> PaymentIntent:
    """Charge. https://docs.stripe.com/api/payment_intents/create

    Raises ``CardDeclined`` when Stripe executed it and it failed, ``StripeUnavailable`` when nobody knows. One request
    and no more: before it is made again the terms must be asked again.
    """
    return ask(
        CREATE,
        lambda stripe: stripe.payment_intents.create(in_order(params), once(key)),
        read_intent,
        in_turn=in_turn,
    )


def confirm_payment_intent(payment_intent_id: str, params: dict[str, Any], *, key: str) -> PaymentIntent:
    """Try a declined payment again. A PaymentIntent succeeds once, so this can never charge twice.

    https://docs.stripe.com/api/payment_intents/confirm
    """
    return ask(
        "POST /v1/payment_intents/confirm",
        lambda stripe: stripe.payment_intents.confirm(payment_intent_id, in_order(params), once(key)),
        read_intent,
    )


def cancel_payment_intent(payment_intent_id: str, *, key: str) -> PaymentIntent:
    """From now on this payment can never be made. https://docs.stripe.com/api/payment_intents/cancel"""
    return ask(
        "POST /v1/payment_intents/cancel",
        lambda stripe: stripe.payment_intents.cancel(payment_intent_id, {}, keyed(key)),
        read_intent,
    )


def retrieve_payment_intent(payment_intent_id: str) -> PaymentIntent:
    """With what it was paid with, and what was paid back of it. https://docs.stripe.com/api/payment_intents/retrieve"""
    params = {"expand": ["latest_charge", "payment_method"]}
    return ask(
        "GET /v1/payment_intents",
        lambda stripe: stripe.payment_intents.retrieve(payment_intent_id, params),
        read_intent,
    )


def payment_intents_since(moment: datetime, *, customer: str = "") -> Iterator[PaymentIntent]:
    """All PaymentIntents made at or after ``moment``, newest first, page by page.

    By list and not by search, which lags behind. https://docs.stripe.com/api/payment_intents/list
    """
    wanted = {"created": {"gte": int(moment.timestamp())}, "expand": ["data.latest_charge"]}
    wanted |= {"customer": customer} if customer else {}
    yield from pages("GET /v1/payment_intents (list)", lambda stripe: stripe.payment_intents, wanted, read_intent)


def create_refund(params: dict[str, Any], *, key: str) -> Refund:
    """Pay back. One request and no more. https://docs.stripe.com/api/refunds/create"""
    return ask("POST /v1/refunds", lambda stripe: stripe.refunds.create(in_order(params), once(key)), read_refund)


def retrieve_refund(refund_id: str) -> Refund:
    """https://docs.stripe.com/api/refunds/retrieve"""
    return ask("GET /v1/refunds", lambda stripe: stripe.refunds.retrieve(refund_id), read_refund)


def refunds_of(payment_intent_id: str) -> Iterator[Refund]:
    """All refunds of one payment, newest first. https://docs.stripe.com/api/refunds/list"""
    wanted = {"payment_intent": payment_intent_id}
    yield from pages("GET /v1/refunds (list)", lambda stripe: stripe.refunds, wanted, read_refund)


def retrieve_dispute(dispute_id: str) -> Dispute:
    """https://docs.stripe.com/api/disputes/retrieve"""
    return ask("GET /v1/disputes", lambda stripe: stripe.disputes.retrieve(dispute_id), read_dispute)


def disputes_of(payment_intent_id: str) -> Iterator[Dispute]:
    """All disputes of one payment, newest first. https://docs.stripe.com/api/disputes/list"""
    wanted = {"payment_intent": payment_intent_id}
    yield from pages("GET /v1/disputes (list)", lambda stripe: stripe.disputes, wanted, read_dispute)
