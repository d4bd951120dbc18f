"""Which message leads to which act: one table, each line with its reason.

A handler gets the message's object, takes from it only *where to look*, and asks Stripe for the truth, at most once and
with no transaction open; an invoice whose payment is seen for the first time is asked about what came after it, too.
So it is an act (``services.acts``): up to its first question it shares the transaction that stores the message, and
what it returns is called to write the answer down, in the one transaction that also ends the message; refunds alone, of
which there may be many, write by themselves. A site adds its own in ``AppConfig.ready()``:
``HANDLERS["customer.updated"] = my_function``, which is called once the message is stored; it may return nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID

from django.db.models import Q
from django.utils import timezone

from django_krcard import gateway
from django_krcard.exceptions import KrcardError
from django_krcard.models import CardSetup, Charge, Customer, Mandate, PaymentMethod
from django_krcard.services import cards, disputes, invoices, mandates, outcomes, refunds, setups, subscriptions
from django_krcard.services.acts import Act
from django_krcard.webhooks.messages import text

logger = logging.getLogger(__name__)

WAIT_FOR_OUR_COMMIT = 15 * 60  # seconds
SAVED_WITHIN = 2 * 60  # seconds; who has asked Stripe and not written by then is dead

Thing = dict[str, Any]
Write = Callable[[], Any]
Handling = Act[Write | None]


class NotHereYet(KrcardError):
    """The message names a row of ours that we do not have, or not yet. It waits and is tried again."""


def checkout_session(session: Thing) -> Handling:
    setup = _setup(text(session, "client_reference_id"), checkout_session_id=session["id"])
    return (yield from _completion(setup, session["id"])) if setup else None


def setup_intent(intent: Thing) -> Handling:
    setup = _setup(text(intent, "metadata", "krcard_setup"), setup_intent_id=intent["id"])
    if setup is None:
        return None
    if setup.flow == CardSetup.Flow.DIRECT:
        return (yield from _completion(setup, intent["id"]))
    if not setup.checkout_session_id:
        raise NotHereYet(f"Attempt {setup.public_id} does not know its session yet.")
    return (yield from _completion(setup))


def payment_method_attached(card: Thing) -> Handling:
    if PaymentMethod.objects.filter(stripe_id=card["id"]).exists():
        return None
    newest = _newest(
        setups.ASKABLE, mandate__customer__stripe_id=text(card, "customer") or None, status=CardSetup.Status.OPEN
    )
    return (yield from _completion(newest)) if newest else None


def payment_method(card: Thing) -> Handling:
    return (yield partial(cards.heard, card["id"]))


def mandate_updated(mandate: Thing) -> Handling:
    rows = Mandate.objects.filter(Q(stripe_id=mandate["id"]) | _is_unnamed(text(mandate, "payment_method")))
    ours = rows.first()
    if ours is None:
        yield from _wait_if_being_saved(text(mandate, "payment_method"))
        # It may have been saved between these two questions.
        ours = rows.first()
    if ours is None or ours.has_ended or _is_no_news(ours, text(mandate, "status")):
        return None
    status = yield partial(gateway.retrieve_mandate_status, mandate["id"])
    if ours.stripe_id is None:
        return partial(mandates.name_and_follow, ours, mandate["id"], status)
    return partial(mandates.follow_stripe, ours, status)


def payment_intent(intent: Thing) -> Handling:
    ours = _charge(intent["id"], intent)
    if ours is None or ours.status == Charge.Status.SUCCEEDED:
        return None
    if ours.setup_id:
        return (yield from _payment_with_card(ours, intent))
    seen = yield partial(gateway.retrieve_payment_intent, intent["id"])
    if not ours.stripe_id and not _is_named_in(seen.metadata, ours):
        # Only the message says so. Somebody else may charge the same customer as much.
        logger.error("Payment intent %s does not name charge %s: not applied", seen.id, ours.public_id)
        return None
    return partial(outcomes.apply, ours, seen)


def refund(thing: Thing) -> Handling:
    """For a refund, and for a charge of Stripe's that was refunded: both name the payment."""
    ours = _charge(text(thing, "payment_intent"), thing)
    if ours is None:
        return
    if not ours.stripe_id:
        raise NotHereYet(f"Charge {ours.public_id} does not know its payment yet.")
    yield from refunds.sync(ours)


def dispute(dispute: Thing) -> Handling:
    intent_id = text(dispute, "payment_intent")
    ours = _charge(intent_id, dispute)
    if ours is None:
        yield from _wait_if_unheard(intent_id)
        # It may have been written down between these two questions.
        ours = _charge(intent_id, dispute)
    if ours is None:
        return None
    return partial(disputes.apply, ours, (yield partial(gateway.retrieve_dispute, dispute["id"])))


def subscription(thing: Thing) -> Handling:
    mandate = _uuid(text(thing, "metadata", "krcard_mandate"))
    return (yield partial(subscriptions.heard, thing["id"], mandate))


def invoice(thing: Thing) -> Handling:
    """Stripe copies the metadata of its subscription into it. A message looks as its endpoint's API version says."""
    parent = thing.get("parent") or thing
    mandate = _uuid(text(parent, "subscription_details", "metadata", "krcard_mandate"))
    subscription = text(parent, "subscription_details", "subscription") or text(thing, "subscription")
    return (yield partial(invoices.heard, thing["id"], subscription, mandate))


def customer_deleted(customer: Thing) -> Handling:
    ours = Customer.objects.filter(stripe_id=customer["id"]).first()
    if ours is None or not (yield partial(gateway.customer_is_deleted, customer["id"])):
        return None
    return partial(mandates.customer_deleted, ours)


HANDLERS: dict[str, Callable[[Thing], Any]] = {
    # The customer is through with the hosted page; usually faster than the customer's own way back.
    "checkout.session.completed": checkout_session,
    # What was paid on the hosted page took its time, and here is the result.
    "checkout.session.async_payment_succeeded": checkout_session,
    "checkout.session.async_payment_failed": checkout_session,
    # The customer did not finish in time. The attempt is over and its mandate with it.
    "checkout.session.expired": checkout_session,
    # The card is saved. Says the same as the completed session and may come before it.
    "setup_intent.succeeded": setup_intent,
    # The issuer said no. A session stays open and the customer may try another card. The result page says why.
    "setup_intent.setup_failed": setup_intent,
    # The Direct API sends the customer on. Only if our own answer was lost is it news which attempt that is.
    "setup_intent.requires_action": setup_intent,
    # Stripe gave the attempt up, or we called it off.
    "setup_intent.canceled": setup_intent,
    # A card came to a customer of ours. It belongs to the attempt that is open, whose own message may be lost.
    "payment_method.attached": payment_method_attached,
    # The card was removed: by us, in the dashboard, or by the customer at the issuer.
    "payment_method.detached": payment_method,
    # The dashboard or the issuer changed what the customer knows the card by: a new number, a new expiry date.
    "payment_method.updated": payment_method,
    "payment_method.automatically_updated": payment_method,
    # The issuer or the customer withdrew the permission, or a pending one came into force.
    "mandate.updated": mandate_updated,
    # The result of a charge, when our own answer was lost or said "processing".
    "payment_intent.succeeded": payment_intent,
    "payment_intent.payment_failed": payment_intent,
    "payment_intent.requires_action": payment_intent,
    "payment_intent.processing": payment_intent,
    "payment_intent.canceled": payment_intent,
    # Money went back: by us, when our own answer was lost, or in the dashboard.
    "charge.refunded": refund,
    "refund.created": refund,
    # A refund that was pending has its result, or somebody changed it.
    "refund.updated": refund,
    "charge.refund.updated": refund,
    # The money came back: the customer's account is gone. It counts as not refunded again.
    "refund.failed": refund,
    # The customer disputes a payment: nothing more is charged until it is over.
    "charge.dispute.created": dispute,
    # An inquiry became a dispute, or our evidence is being looked at.
    "charge.dispute.updated": dispute,
    # The issuer has decided.
    "charge.dispute.closed": dispute,
    # Money of a dispute moved. Says the same as the three above, and may come before them.
    "charge.dispute.funds_withdrawn": dispute,
    "charge.dispute.funds_reinstated": dispute,
    # A subscription that runs on a mandate, made here or in the dashboard: from now on it may charge.
    "customer.subscription.created": subscription,
    # Its status, amount or period changed: a payment is overdue, or somebody raised the price.
    "customer.subscription.updated": subscription,
    # A change that waited for its payment has it, or was dropped.
    "customer.subscription.pending_update_applied": subscription,
    "customer.subscription.pending_update_expired": subscription,
    # Nothing is charged until it is resumed.
    "customer.subscription.paused": subscription,
    "customer.subscription.resumed": subscription,
    # It is over, also when Stripe gave it up after payments that failed.
    "customer.subscription.deleted": subscription,
    # What a subscription is about to ask for: more than was agreed is seen before it is paid.
    "invoice.created": invoice,
    # Somebody puts more on a draft that was looked at already.
    "invoice.updated": invoice,
    "invoice.finalized": invoice,
    # What came of it. Stripe charges by itself, so the timeline has it from here alone.
    "invoice.paid": invoice,
    "invoice.payment_failed": invoice,
    "invoice.payment_action_required": invoice,
    # It will never be paid.
    "invoice.voided": invoice,
    "invoice.marked_uncollectible": invoice,
    # Somebody removed the customer in the dashboard, and every card with it: none can be charged again.
    "customer.deleted": customer_deleted,
}


def _setup(public_id: str, **stripe_id: str) -> CardSetup | None:
    """The attempt, if it is not through, by Stripe's id; or by ours, if the message is faster than our own commit."""
    return _newest(Q(**stripe_id) | Q(public_id=_uuid(public_id)), ~Q(status=CardSetup.Status.COMPLETE))


def _newest(*which: Q, **fields: Any) -> CardSetup | None:
    """The newest of these attempts, with all that is read of it. Most messages find none, so that is asked first."""
    pk = CardSetup.objects.filter(*which, **fields).order_by("-pk").values_list("pk", flat=True).first()
    if pk is None:
        return None
    setup = CardSetup.objects.select_related("mandate__customer", "consent").get(pk=pk)
    setup.consent.customer = setup.mandate.customer
    return setup


def _is_no_news(mandate: Mandate, status: str) -> bool:
    """That it is in force we know, if we know it at all. If it is not any more, there is a message that says so."""
    return status == "active" and mandate.status != Mandate.Status.PENDING and mandate.stripe_id is not None


def _wait_if_being_saved(card_id: str) -> Act[None]:
    """Who is saving this card right now may have asked Stripe before the news, and write what was true then. With a
    payment nobody else tells which mandate it is."""
    asked_lately = Q(checked_at__gte=timezone.now() - timedelta(seconds=SAVED_WITHIN))
    asking = CardSetup.objects.filter(asked_lately | Q(charge__isnull=False), status=CardSetup.Status.OPEN)
    if not card_id or not asking.exists():
        return
    customer = (yield partial(gateway.retrieve_payment_method, card_id)).customer
    if customer and (setup := asking.filter(consent__customer__stripe_id=customer).first()):
        raise NotHereYet(f"Attempt {setup.public_id} may be about to save the card of this mandate.")


def _completion(setup: CardSetup, stripe_id: str = "") -> Handling:
    question = setups.question(setup, stripe_id)
    return partial(setups.follow, setup, (yield question)) if question else None


def _payment_with_card(charge: Charge, intent: Thing) -> Handling:
    """A payment that saves a card: both follow together."""
    setup = _newest(pk=charge.setup_id)
    if text(intent, "metadata", "krcard_setup") not in ("", str(setup.public_id)):
        # An earlier try under the same reference, which was called off before this one began.
        return None
    if setup.flow == CardSetup.Flow.CHECKOUT and not setup.checkout_session_id:
        raise NotHereYet(f"Attempt {setup.public_id} does not know its session yet.")
    return (yield from _completion(setup, intent["id"]))


def _is_unnamed(card_id: str) -> Q:
    """Of a payment that saved a card Stripe does not say which mandate it made: the mandate's own news does."""
    if not card_id:
        return Q(pk=None)
    return Q(stripe_id=None, payment_method__stripe_id=card_id)


def _charge(intent_id: str, thing: Thing) -> Charge | None:
    """Our charge that a payment of Stripe's is, or ``None``: other sites use the same account.

    By Stripe's id; or by our own names in ``thing``, if the message is faster than our own commit.
    """
    charges = Charge.objects.select_related("mandate__customer")
    ours = charges.filter(stripe_id=intent_id).first() if intent_id else None
    mandate, reference = text(thing, "metadata", "krcard_mandate"), text(thing, "metadata", "krcard_reference")
    if ours or not mandate:
        return ours
    ours = charges.filter(mandate__public_id=_uuid(mandate), reference=reference).first()
    if ours is None and (_is_recent(thing) or (reference and _is_ours(mandate))):
        raise NotHereYet(f"There is no charge {reference!r} under mandate {mandate}.")
    if ours and ours.stripe_id and _is_of_earlier_try(ours, thing):
        return None
    if ours and ours.stripe_id:
        logger.critical("Charge %s is payment %s at Stripe, and %s as well", ours.public_id, ours.stripe_id, intent_id)
        return None
    return ours


def _is_of_earlier_try(charge: Charge, thing: Thing) -> bool:
    """A payment that saves a card may be begun anew under its reference, once Stripe has called off the first."""
    named = text(thing, "metadata", "krcard_setup")
    return bool(charge.setup_id and named) and named != str(charge.setup.public_id)


def _wait_if_unheard(intent_id: str) -> Act[None]:
    """A dispute does not bear our names. While Stripe's answer to a charge is missing, it may be about that one."""
    unheard = Charge.objects.filter(stripe_id=None, status__in=[Charge.Status.SENDING, Charge.Status.UNKNOWN])
    if not intent_id or not unheard.exists():
        return
    metadata = (yield partial(gateway.retrieve_payment_intent, intent_id)).metadata
    if ours := _charge(intent_id, {"metadata": metadata}):
        raise NotHereYet(f"Charge {ours.public_id} does not know its payment yet.")


def _is_named_in(metadata: dict[str, str], charge: Charge) -> bool:
    names = {"krcard_mandate": str(charge.mandate.public_id), "krcard_reference": charge.reference}
    return names.items() <= metadata.items()


def _is_ours(mandate: str) -> bool:
    """Then a restored backup has lost the charge, and ``krcard_reconcile`` takes it in."""
    return Mandate.objects.filter(public_id=_uuid(mandate)).exists()


def _is_recent(thing: Thing) -> bool:
    """Our own commit is never this late. What is older, and names no mandate of ours, is another site's."""
    created = thing.get("created")
    return isinstance(created, int) and created > timezone.now().timestamp() - WAIT_FOR_OUR_COMMIT


def _uuid(value: str) -> UUID | None:
    """Other integrations of the same account write what they like into these fields."""
    try:
        return UUID(value)
    except ValueError:
        return None
