"""What became of an attempt to save a card. Result page, webhook and reconcile all come through here, whichever of
Stripe's flows the customer took."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import NamedTuple

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from django_krcard import gateway
from django_krcard.exceptions import GatewayError, SetupNotAllowed
from django_krcard.models import CardSetup, Charge, Mandate, lock, of_this_key
from django_krcard.services import first_payments, outcomes
from django_krcard.services.acts import Act, finish
from django_krcard.services.amendments import answer_by
from django_krcard.services.closing import close_at_stripe
from django_krcard.services.mandates import card_detached, fail, keep_card, remove_unused_cards_later, use_card
from django_krcard.services.timeline import record

logger = logging.getLogger(__name__)

Status = CardSetup.Status

#: Stripe dates a payment by its own clock.
CLOCKS_DIFFER = timedelta(minutes=5)
#: One that ran out and cannot be called off, as its payment is being processed.
ASK_AGAIN = timedelta(minutes=15)
#: Attempts that ran out, called off at a time.
CHUNK = 100


#: Attempts that Stripe can be asked about.
ASKABLE = Q(checkout_session_id__isnull=False) | Q(setup_intent_id__isnull=False) | Q(charge__stripe_id__isnull=False)


class Seen(NamedTuple):
    """What Stripe says of an attempt: still open, the card saved, or over without one."""

    status: str
    card: gateway.Card | None = None
    mandate: str = ""
    mandate_status: str = ""
    failure_code: str = ""
    session_id: str = ""
    setup_intent_id: str = ""
    #: The payment made with it. Then the card is saved when that has succeeded, and not before.
    payment: gateway.PaymentIntent | None = None
    #: Where the customer goes to confirm it, kept nowhere; and whether it waits for them.
    redirect_url: str = ""
    is_waiting: bool = False


def complete(setup: CardSetup, *, stripe_id: str = "") -> Mandate | None:
    """Ask Stripe what became of the attempt and write it down. Return the mandate if the card is saved.

    Twice, late or in any order it ends in the same rows and one ``card_saved``. ``stripe_id`` is for a message that is
    here before our own answer from Stripe. Raises ``SetupNotAllowed`` when Stripe says that it is not this attempt's,
    ``GatewayError`` when Stripe does not answer.
    """
    if setup.status == Status.COMPLETE:
        return setup.mandate
    seen = look(setup, stripe_id=stripe_id)
    return follow(setup, seen) if seen else None


def look(setup: CardSetup, *, stripe_id: str = "") -> Seen | None:
    """The first half of ``complete``: what Stripe says of the attempt, or ``None`` if there is nothing to ask."""
    ask = question(setup, stripe_id)
    return ask() if ask else None


def completing(setup: CardSetup) -> Act[Mandate | None]:
    """``complete`` for whoever has many attempts to ask about, and can wait."""
    ask = question(setup)
    if ask is None:
        return None
    return follow(setup, (yield partial(gateway.patiently, ask)))


def closing(setup: CardSetup) -> Act[Mandate | None]:
    """Make sure that nothing comes of an attempt any more. If it came already, that is what is written down."""
    payment = first_payments.of(setup)
    if payment and payment.stripe_id is None and setup.flow == CardSetup.Flow.DIRECT:
        yield partial(find_payment, setup, payment)
    yield partial(close_at_stripe, setup)
    ask = question(setup)
    if ask:
        return follow(setup, (yield ask))
    # Stripe never answered, so nobody was sent there.
    return follow(setup, Seen(Status.EXPIRED))


def close_overdue() -> int:
    """Call off the attempts by the Direct API whose time is over: at Stripe they never end by themselves. Returns how
    many were tried. Called by ``krcard_run_due``."""
    rested = Q(checked_at=None) | Q(checked_at__lt=timezone.now() - ASK_AGAIN)
    overdue = CardSetup.objects.filter(
        rested,
        status=Status.OPEN,
        flow=CardSetup.Flow.DIRECT,
        expires_at__lte=timezone.now(),
        **of_this_key("consent__customer"),
    )
    setups = list(overdue.select_related("mandate__customer", "consent__customer").order_by("pk")[:CHUNK])
    for setup in setups:
        try:
            finish(closing(setup))
        except (GatewayError, SetupNotAllowed) as error:
            logger.warning("Attempt %s could not be called off: %s", setup.public_id, error)
    return len(setups)


def follow(setup: CardSetup, seen: Seen) -> Mandate | None:
    """The second half of ``complete``: write it down."""
    with transaction.atomic(savepoint=False):
        mandate, setup = lock(setup.mandate, "customer"), lock(setup, "consent")
        setup.mandate = mandate
        return _apply(setup, mandate, seen)


# --- what is so here ------------------------------------------------------------------------------


def _apply(setup: CardSetup, mandate: Mandate, seen: Seen) -> Mandate | None:
    """Let our rows follow Stripe. The one place where that is written; both rows are locked."""
    payment = first_payments.of(setup)
    if payment:
        _follow_payment(payment, seen)
    if setup.status == Status.COMPLETE:
        return mandate
    setup.checkout_session_id = seen.session_id or setup.checkout_session_id
    setup.setup_intent_id = seen.setup_intent_id or setup.setup_intent_id
    if seen.status == Status.COMPLETE and seen.card:
        return _saved(setup, mandate, seen, seen.card)
    failed_again, setup.failure_code = seen.failure_code != setup.failure_code, seen.failure_code
    if failed_again and seen.failure_code:
        record(mandate, "setup_failed", actor="stripe", code=seen.failure_code)
    if seen.status not in ENDS:
        setup.save()
        return None
    status, reason = ENDS[seen.status]
    if not setup.is_open:
        setup.save()
        if mandate.payment_method_id is None:
            # Closed by us, and now for certain: no card comes of it any more.
            fail(mandate, MANDATE_ENDS[status], reason=reason)
        return None
    if seen.status == Status.CANCELLED and setup.expires_at <= timezone.now():
        # We called it off, because its time was over.
        status, reason = ENDS[Status.EXPIRED]
    _finish(setup, status)
    if status == Status.EXPIRED:
        record(mandate, "setup_expired", actor="stripe")
    fail(mandate, MANDATE_ENDS[status], reason=reason)
    return None


#: An attempt that is over without a card: what it is here, and why its mandate ends with it.
ENDS = {
    Status.EXPIRED: (Status.EXPIRED, "no card was saved in time"),
    Status.CANCELLED: (Status.FAILED, "the attempt was cancelled at Stripe"),
    Status.FAILED: (Status.FAILED, "the card was not authorised"),
}
MANDATE_ENDS = {Status.EXPIRED: Mandate.Status.EXPIRED, Status.FAILED: Mandate.Status.FAILED}


def _saved(setup: CardSetup, mandate: Mandate, seen: Seen, told: gateway.Card) -> Mandate | None:
    setup.failure_code = ""
    card = keep_card(mandate.customer, told)
    if mandate.has_ended:
        # Withdrawn while the customer was at Stripe: what was withdrawn stays so, and the card goes.
        _finish(setup, Status.CANCELLED)
        remove_unused_cards_later(mandate.customer)
        return None
    _finish(setup, Status.COMPLETE)
    if setup.mode == CardSetup.Mode.PAYMENT:
        Charge.objects.filter(setup=setup).update(payment_method=card)
    if _is_newest_complete(setup):
        consent = answer_by(mandate, setup.consent)
        use_card(mandate, consent, card, stripe_id=seen.mandate, status=seen.mandate_status)
    else:
        remove_unused_cards_later(mandate.customer)
    if not told.customer:
        # Removed again, and the message about that may have come when we did not know the card yet.
        card_detached(card)
    return mandate


def _follow_payment(charge: Charge, seen: Seen) -> None:
    """While the customer may still try, a try that failed is no outcome: the payment keeps its place in the limits."""
    told = seen.payment
    if told and (told.status in HAS_OUTCOME or seen.status == Status.FAILED):
        outcomes.apply(charge, told, ours=True, tell=told.status == "succeeded")
    elif seen.status in ENDS:
        stripe_id = told.id if told else ""
        outcomes.settle(charge, Charge.Status.CANCELLED, ours=True, stripe_id=stripe_id, code="expired", tell=False)
    elif told and charge.stripe_id is None:
        Charge.objects.filter(pk=charge.pk, stripe_id=None).update(stripe_id=told.id)


HAS_OUTCOME = frozenset({"succeeded", "processing", "canceled"})


def _is_newest_complete(setup: CardSetup) -> bool:
    """An attempt that finishes late does not undo what the customer agreed to and saved after it."""
    later = setup.mandate.setups.filter(status=Status.COMPLETE, pk__gt=setup.pk)
    return not later.exists()


def _finish(setup: CardSetup, status: str) -> None:
    setup.status = status
    setup.redirect_url = ""
    setup.save()


# --- what Stripe says -----------------------------------------------------------------------------


def question(setup: CardSetup, stripe_id: str = "") -> Callable[[], Seen] | None:
    """How Stripe is asked about an attempt; ``None`` if it is through, or we do not know what to ask for."""
    if setup.status == Status.COMPLETE:
        return None
    payment = first_payments.of(setup)
    if setup.flow == CardSetup.Flow.CHECKOUT:
        known, ask = setup.checkout_session_id or stripe_id, _ask_session
    elif payment:
        known, ask = payment.stripe_id or stripe_id, _ask_payment
    else:
        known, ask = setup.setup_intent_id or stripe_id, _ask_setup_intent
    if not known:
        return None
    CardSetup.objects.filter(pk=setup.pk).update(checked_at=timezone.now())
    return partial(ask, setup, known)


def stripe_id_of(setup: CardSetup) -> str:
    """What the attempt is at Stripe."""
    if known := setup.checkout_session_id or setup.setup_intent_id:
        return known
    payment = first_payments.of(setup)
    return (payment and payment.stripe_id) or ""


def _ask_session(setup: CardSetup, session_id: str) -> Seen:
    session = gateway.retrieve_checkout_session(session_id)
    refuse_strange(setup, session.id, session.customer, session.client_reference_id, session.livemode)
    return seen_in_session(session)


def _ask_setup_intent(setup: CardSetup, intent_id: str) -> Seen:
    intent = gateway.retrieve_setup_intent(intent_id)
    refuse_strange(setup, intent.id, intent.customer, intent.metadata.get("krcard_setup", ""), intent.livemode)
    return seen_in_setup_intent(intent)


def _ask_payment(setup: CardSetup, intent_id: str) -> Seen:
    intent = gateway.retrieve_payment_intent(intent_id)
    refuse_strange(setup, intent.id, intent.customer, intent.metadata.get("krcard_setup", ""), intent.livemode)
    return seen_in_payment(intent)


def refuse_strange(setup: CardSetup, stripe_id: str, customer: str, named: str, livemode: bool | None) -> None:
    ours = setup.consent.customer
    if (named, livemode) != (str(setup.public_id), ours.livemode) or customer not in ours.stripe_ids:
        logger.error("%s is not that of attempt %s: refused", stripe_id, setup.public_id)
        raise SetupNotAllowed(f"Stripe says that {stripe_id} belongs to somebody else.")


def seen_in_session(session: gateway.CheckoutSession) -> Seen:
    ids = {"session_id": session.id, "setup_intent_id": session.setup_intent}
    if session.payment:
        within = seen_in_payment(session.payment)
        if session.status == "open":
            # A try that failed: on Stripe's page the customer may try again.
            within = within._replace(status=Status.OPEN)
        elif session.status == "expired" and within.status != Status.COMPLETE:
            within = within._replace(status=Status.EXPIRED)
        return within._replace(**ids)
    status = Status.OPEN
    if session.status == "complete" and session.setup_status == "succeeded" and session.card:
        status = Status.COMPLETE
    elif session.status == "expired":
        status = Status.EXPIRED
    elif session.setup_status == "canceled":
        status = Status.CANCELLED
    return Seen(status, session.card, session.mandate, session.mandate_status, session.failure_code, **ids)


def seen_in_setup_intent(intent: gateway.SetupIntent) -> Seen:
    status = STATUS_OF_INTENT.get(intent.status, Status.OPEN)
    return Seen(
        status,
        intent.card,
        intent.mandate,
        intent.mandate_status,
        intent.failure_code,
        setup_intent_id=intent.id,
        redirect_url=intent.redirect_url,
        is_waiting=intent.status == "requires_action",
    )


def seen_in_payment(intent: gateway.PaymentIntent) -> Seen:
    """A payment does not name the mandate that Stripe made of it."""
    status = STATUS_OF_INTENT.get(intent.status, Status.OPEN)
    return Seen(
        status,
        intent.card,
        failure_code=intent.failure_code,
        payment=intent,
        redirect_url=intent.redirect_url,
        is_waiting=intent.status == "requires_action",
    )


#: Of a SetupIntent and of a PaymentIntent: both were confirmed when they were made. Without a card field of ours there
#: is no second try with the same one.
STATUS_OF_INTENT = {
    "succeeded": Status.COMPLETE,
    "canceled": Status.CANCELLED,
    "requires_payment_method": Status.FAILED,
}


def find_payment(setup: CardSetup, charge: Charge) -> None:
    """The answer that would have named it was lost. By list, and not by search."""
    since = charge.first_sent_at - CLOCKS_DIFFER
    for intent in gateway.payment_intents_since(since, customer=setup.consent.customer.stripe_id):
        if intent.metadata.get("krcard_setup") == str(setup.public_id):
            Charge.objects.filter(pk=charge.pk, stripe_id=None).update(stripe_id=intent.id)
