"""Permission to charge a card: how it begins, changes and ends."""

from __future__ import annotations

import logging
import secrets

from django.db import transaction
from django.utils import timezone

from django_krcard import gateway, signals
from django_krcard.conf import conf
from django_krcard.exceptions import GatewayError, KrcardError, StripeRefusedRequest
from django_krcard.models import CardSetup, Charge, Consent, Customer, Mandate, PaymentMethod, lock
from django_krcard.rules import ENDED
from django_krcard.services.timeline import record

logger = logging.getLogger(__name__)

#: No I, L, O, U, 0, 1: read out on the phone, nothing is mistaken.
REFERENCE_ALPHABET = "ABCDEFGHJKMNPQRSTVWXYZ23456789"

#: What Stripe says of its mandate, in our words.
STATUS_AT_STRIPE = {
    "active": Mandate.Status.ACTIVE,
    "pending": Mandate.Status.PENDING,
    "inactive": Mandate.Status.INACTIVE,
    # For some payment methods Stripe makes no mandate at all. Then the saved card and our consent are the permission.
    "": Mandate.Status.ACTIVE,
}


def for_consent(consent: Consent) -> Mandate:
    """The customer's living mandate under these terms, whatever their version, or a new pending one.

    Call it with the customer locked: that is what keeps it one.
    """
    living = (
        Mandate.objects.filter(customer=consent.customer, consent__terms__slug=consent.terms.slug)
        .exclude(status__in=ENDED)
        .first()
    )
    # Locked and looked at again: it may be ending at this moment, in another tab or by a message of Stripe's.
    if living and not (living := lock(living)).has_ended:
        return living
    return Mandate.objects.create(reference=_new_reference(), customer=consent.customer, consent=consent)


def active_for(user, slug: str) -> Mandate | None:
    """The active mandate of ``user`` under the terms ``slug`` in the key's mode. What a site looks up to charge."""
    if user.pk is None:
        # Nobody is signed in. Asking for the mandates of "no user" would find those of deleted accounts.
        return None
    return (
        Mandate.objects.select_related("payment_method")
        .filter(
            customer__user=user,
            customer__livemode=conf.LIVEMODE,
            consent__terms__slug=slug,
            status=Mandate.Status.ACTIVE,
        )
        .first()
    )


def keep_card(customer: Customer, card: gateway.Card) -> PaymentMethod:
    """Write down a card that Stripe has saved. If no mandate comes to use it, it is removed there again."""
    payment_method, _new = PaymentMethod.objects.get_or_create(
        stripe_id=card.id,
        defaults={
            "customer": customer,
            "type": card.type,
            "brand": card.brand,
            "last4": card.last4,
            "exp_month": card.exp_month,
            "exp_year": card.exp_year,
        },
    )
    transaction.on_commit(lambda: remove_unused_cards(customer), robust=True)
    return payment_method


def use_card(
    mandate: Mandate, consent: Consent, payment_method: PaymentMethod, *, stripe_id: str, status: str
) -> Mandate:
    """Move a locked mandate to the card just saved and the consent it was saved under, and activate it.

    ``stripe_id`` and ``status`` are those of Stripe's mandate, empty when there is none.
    """
    mandate.consent = consent
    mandate.payment_method = payment_method
    mandate.stripe_id = stripe_id or None
    if STATUS_AT_STRIPE.get(status) == Mandate.Status.PENDING and mandate.status == Mandate.Status.ACTIVE:
        # The permission for the new card is not in force yet, and the old card is not the one agreed on any more.
        mandate.status = Mandate.Status.PENDING
    mandate.save(update_fields=["consent", "payment_method", "stripe_id", "status"])
    card = {"payment_method": payment_method.stripe_id, "brand": payment_method.brand, "last4": payment_method.last4}
    record(mandate, "card_saved", actor="customer", **card)
    signals.send_on_commit(signals.card_saved, PaymentMethod, mandate=mandate, payment_method=payment_method)
    return apply_stripe_status(mandate, status)


def apply_stripe_status(mandate: Mandate, stripe_status: str) -> Mandate:
    """Let a locked mandate follow what Stripe says of its own. Only upward; an ended mandate stays ended."""
    status = STATUS_AT_STRIPE.get(stripe_status)
    if status is None:
        # Fail closed, and loudly: a word we do not know must not keep a mandate chargeable.
        logger.error("Mandate %s: Stripe's status %r is unknown", mandate.reference, stripe_status)
        if mandate.status == Mandate.Status.ACTIVE:
            return hold(mandate, by="system", reason=f"unknown status at Stripe: {stripe_status}")
        return mandate
    if status == Mandate.Status.INACTIVE:
        return _end(mandate, status, by="stripe", reason="inactive at Stripe")
    if status == Mandate.Status.ACTIVE and mandate.status == Mandate.Status.PENDING:
        mandate.status = status
        mandate.activated_at = mandate.activated_at or timezone.now()
        mandate.save(update_fields=["status", "activated_at"])
        record(mandate, "mandate_activated", actor="stripe")
        signals.send_on_commit(signals.mandate_activated, Mandate, mandate=mandate)
    return mandate


def revoke(mandate: Mandate, *, by: str, reason: str) -> Mandate:
    """Withdraw the permission. Charges stop in the same transaction; the card is removed at Stripe after it.

    ``by`` is "customer" or "staff:<name>". Withdrawing twice changes nothing. If Stripe does not answer, the
    timeline says so and ``remove_unused_cards`` does it later; nothing can be charged in between.
    """
    with transaction.atomic():
        return _end(lock(mandate), Mandate.Status.REVOKED, by=by, reason=reason)


def fail(mandate: Mandate, status: str, *, reason: str) -> Mandate:
    """End a locked mandate that never got a card."""
    if mandate.status != Mandate.Status.PENDING or mandate.setups.filter(status=CardSetup.Status.OPEN).exists():
        return mandate
    return _end(mandate, status, by="stripe", reason=reason)


def hold(mandate: Mandate, *, by: str, reason: str) -> Mandate:
    """Stop charges until ``resume``. Raises ``KrcardError`` unless the mandate is active or on hold."""
    return _switch(mandate, Mandate.Status.ACTIVE, Mandate.Status.ON_HOLD, "mandate_held", by=by, reason=reason)


def resume(mandate: Mandate, *, by: str, reason: str) -> Mandate:
    """Allow charges again after ``hold``. Raises ``KrcardError`` unless the mandate is on hold or active."""
    return _switch(mandate, Mandate.Status.ON_HOLD, Mandate.Status.ACTIVE, "mandate_resumed", by=by, reason=reason)


def sync_with_stripe(mandate: Mandate) -> Mandate:
    """Ask Stripe about this mandate's card and mandate, and write down what it says."""
    card = mandate.payment_method
    if card and not card.detached_at and not _is_attached(card):
        card_detached(card)
    if mandate.stripe_id:
        status = _status_at_stripe(mandate.stripe_id)
        with transaction.atomic():
            apply_stripe_status(lock(mandate), status)
    mandate.refresh_from_db()
    return mandate


def card_detached(card: PaymentMethod) -> None:
    """Write down that a card is no longer saved at Stripe."""
    with transaction.atomic():
        card = lock(card)
        if card.detached_at:
            return
        card.detached_at = timezone.now()
        card.save(update_fields=["detached_at"])
        for mandate in card.mandates.all():
            record(mandate, "card_removed", actor="stripe", payment_method=card.stripe_id)
        signals.send_on_commit(signals.card_removed, PaymentMethod, payment_method=card)


def cancel_setup(setup: CardSetup) -> None:
    """Close an open attempt, and its session at Stripe once this is committed.

    Should the customer be through with it all the same, the card is removed again.
    """
    setup.status = CardSetup.Status.CANCELLED
    setup.redirect_url = ""
    setup.save(update_fields=["status", "redirect_url"])
    if setup.checkout_session_id:
        transaction.on_commit(lambda: _expire_session(setup), robust=True)


def remove_unused_cards(customer: Customer) -> None:
    """Detach at Stripe each of the customer's cards that no living mandate uses.

    Which ones is read from the rows, so a call that failed is made up for by the next.
    """
    unused = customer.payment_methods.filter(detached_at=None).exclude(
        mandates__in=customer.mandates.exclude(status__in=ENDED)
    )
    for card in unused:
        try:
            gateway.detach_payment_method(card.stripe_id, key=f"krc1-detach-{card.public_id}")
        except StripeRefusedRequest as error:
            # Already gone at Stripe, or never there: asking for it is what tells.
            logger.warning("Card %s could not be detached: %s", card.stripe_id, error.code)
            if _is_attached(card):
                _note_failed_removal(card, error)
                continue
        except GatewayError as error:
            _note_failed_removal(card, error)
            continue
        card_detached(card)


def _expire_session(setup: CardSetup) -> None:
    try:
        gateway.expire_checkout_session(setup.checkout_session_id, key=f"krc1-expire-{setup.public_id}")
    except GatewayError as error:
        # It ends by itself at expires_at.
        logger.warning("Session %s could not be closed: %s", setup.checkout_session_id, error)


def _status_at_stripe(stripe_id: str) -> str:
    try:
        return gateway.retrieve_mandate_status(stripe_id)
    except StripeRefusedRequest as error:
        if error.code == "resource_missing":
            return "inactive"
        raise


def _is_attached(card: PaymentMethod) -> bool:
    try:
        return bool(gateway.retrieve_payment_method(card.stripe_id).customer)
    except StripeRefusedRequest as error:
        if error.code == "resource_missing":
            return False
        raise


def _note_failed_removal(card: PaymentMethod, error: GatewayError) -> None:
    for mandate in card.mandates.all():
        record(mandate, "detach_failed", actor="system", payment_method=card.stripe_id, error=str(error))


def _end(mandate: Mandate, status: str, *, by: str, reason: str) -> Mandate:
    if mandate.has_ended:
        return mandate
    mandate.status = status
    mandate.ended_at = timezone.now()
    mandate.ended_by = by
    mandate.end_reason = reason
    mandate.save(update_fields=["status", "ended_at", "ended_by", "end_reason"])
    record(mandate, "mandate_ended", actor=by, status=str(status), reason=reason)
    for setup in mandate.setups.filter(status=CardSetup.Status.OPEN):
        cancel_setup(setup)
    unsent = mandate.charges.filter(status__in=[Charge.Status.SCHEDULED, Charge.Status.READY], first_sent_at=None)
    unsent.update(status=Charge.Status.CANCELLED)
    signals.send_on_commit(signals.mandate_ended, Mandate, mandate=mandate)
    transaction.on_commit(lambda: remove_unused_cards(mandate.customer), robust=True)
    return mandate


def _switch(mandate: Mandate, source: str, target: str, kind: str, *, by: str, reason: str) -> Mandate:
    with transaction.atomic():
        mandate = lock(mandate)
        if mandate.status == target:
            return mandate
        if mandate.status != source:
            raise KrcardError(f"Mandate {mandate.reference} is {mandate.status}, not {source}.")
        mandate.status = target
        mandate.save(update_fields=["status"])
        record(mandate, kind, actor=by, reason=reason)
    return mandate


def _new_reference() -> str:
    """Eight signs are enough: about 10¹² references, and the unique constraint has the last word."""
    signs = "".join(secrets.choice(REFERENCE_ALPHABET) for _ in range(8))
    return f"KR-{signs[:4]}-{signs[4:]}"
