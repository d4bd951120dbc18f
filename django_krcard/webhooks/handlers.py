"""Which message leads to which act: one table, each line with its reason.

A handler gets the message's object as a dict, takes from it only *where to look*, and asks Stripe for the truth.
A site adds its own in ``AppConfig.ready()``: ``HANDLERS["customer.updated"] = my_function``.
"""

import time
from collections.abc import Callable
from typing import Any
from uuid import UUID

from django.db import transaction

from django_krcard.exceptions import KrcardError
from django_krcard.gateway import retrieve_mandate_status
from django_krcard.models import CardSetup, Charge, Mandate, PaymentMethod, lock
from django_krcard.services import charges, checkout, mandates

WAIT_FOR_OUR_COMMIT = 15 * 60  # seconds


class NotHereYet(KrcardError):
    """The message names a row of ours that we do not have, or not yet. It waits and is tried again."""


def checkout_session(session: dict[str, Any]) -> None:
    setup = _setup(session.get("client_reference_id"), checkout_session_id=session["id"])
    if setup:
        checkout.complete(setup, session_id=session["id"])


def setup_intent(intent: dict[str, Any]) -> None:
    setup = _setup(_metadata(intent, "krcard_setup"), setup_intent_id=intent["id"])
    if setup is None:
        return
    if not setup.checkout_session_id:
        raise NotHereYet(f"Attempt {setup.public_id} does not know its session yet.")
    checkout.complete(setup)


def payment_method_detached(card: dict[str, Any]) -> None:
    ours = PaymentMethod.objects.filter(stripe_id=card["id"]).first()
    if ours:
        mandates.card_detached(ours)


def mandate_updated(mandate: dict[str, Any]) -> None:
    ours = Mandate.objects.filter(stripe_id=mandate["id"]).first()
    if ours is None:
        return
    status = retrieve_mandate_status(mandate["id"])
    with transaction.atomic():
        mandates.apply_stripe_status(lock(ours), status)


def payment_intent(intent: dict[str, Any]) -> None:
    mandate = _metadata(intent, "krcard_mandate")
    ours = Charge.objects.filter(stripe_id=intent["id"]).first()
    if ours is None and mandate:
        reference = _metadata(intent, "krcard_reference")
        ours = Charge.objects.filter(mandate__public_id=_uuid(mandate), reference=reference).first()
        if ours is None and _is_recent(intent):
            raise NotHereYet(f"There is no charge {reference!r} under mandate {mandate}.")
    if ours:
        charges.sync(ours, stripe_id=intent["id"])


HANDLERS: dict[str, Callable[[dict[str, Any]], None]] = {
    # The customer is through with the hosted page; usually faster than the customer's own way back.
    "checkout.session.completed": checkout_session,
    # The customer did not finish in time. The attempt is over and its mandate with it.
    "checkout.session.expired": checkout_session,
    # The card is saved. Says the same as the completed session and may come before it.
    "setup_intent.succeeded": setup_intent,
    # The issuer said no; the session stays open and the customer may try another card. The result page says why.
    "setup_intent.setup_failed": setup_intent,
    # Stripe gave the attempt up.
    "setup_intent.canceled": setup_intent,
    # The card was removed: by us, in the dashboard, or by the customer at the issuer.
    "payment_method.detached": payment_method_detached,
    # The issuer or the customer withdrew the permission, or a pending one came into force.
    "mandate.updated": mandate_updated,
    # The result of a charge, when our own answer was lost or said "processing".
    "payment_intent.succeeded": payment_intent,
    "payment_intent.payment_failed": payment_intent,
    "payment_intent.requires_action": payment_intent,
    "payment_intent.processing": payment_intent,
    "payment_intent.canceled": payment_intent,
}


def _setup(public_id: str | None, **stripe_id: str) -> CardSetup | None:
    """The attempt by Stripe's id; or by ours, if the message is faster than our own commit."""
    return CardSetup.objects.filter(**stripe_id).first() or CardSetup.objects.filter(public_id=_uuid(public_id)).first()


def _is_recent(thing: dict[str, Any]) -> bool:
    """Our own commit is never this late. What is older belongs to another site on the same Stripe account."""
    created = thing.get("created")
    return isinstance(created, int) and time.time() - created < WAIT_FOR_OUR_COMMIT


def _metadata(thing: dict[str, Any], name: str) -> str | None:
    return (thing.get("metadata") or {}).get(name)


def _uuid(value: Any) -> UUID | None:
    """Other integrations of the same account write what they like into these fields."""
    try:
        return UUID(value)
    except (TypeError, ValueError, AttributeError):
        return None
