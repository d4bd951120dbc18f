"""Permission to charge a card: how it begins, changes and ends."""

from __future__ import annotations

import logging
import secrets
from datetime import timedelta
from functools import partial
from itertools import takewhile

from django.db import transaction
from django.db.models import F, Q, QuerySet
from django.utils import timezone

from django_krcard import gateway, signals
from django_krcard.conf import conf
from django_krcard.exceptions import GatewayError, KrcardError, StripeRefusedRequest
from django_krcard.models import (
    Amendment,
    CardSetup,
    Charge,
    Consent,
    Customer,
    Mandate,
    Notice,
    PaymentMethod,
    Terms,
    lock,
    lock_all,
    of_this_key,
)
from django_krcard.rules import ENDED
from django_krcard.services import notices, subscriptions
from django_krcard.services.acts import Act, finish
from django_krcard.services.closing import cancel_setup
from django_krcard.services.terms import text_for
from django_krcard.services.timeline import record

logger = logging.getLogger(__name__)

#: No I, L, O, U, 0, 1: read out on the phone, nothing is mistaken.
REFERENCE_ALPHABET = "ABCDEFGHJKMNPQRSTVWXYZ23456789"

#: A card that could not be removed at Stripe is tried again so often.
TRY_REMOVAL_AGAIN = timedelta(minutes=15)

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
    living = living_for(consent.customer, consent.terms.slug)
    # Locked and looked at again: it may be ending at this moment, in another tab or by a message of Stripe's.
    if living and not (living := lock(living)).has_ended:
        return living
    return Mandate.objects.create(reference=_new_reference(), customer=consent.customer, consent=consent)


def living_for(customer: Customer, slug: str) -> Mandate | None:
    return Mandate.objects.filter(customer=customer, consent__terms__slug=slug).exclude(status__in=ENDED).first()


def under_older(mine: QuerySet[Mandate], terms: Terms) -> Mandate | None:
    """The living one of somebody's mandates under an older version of ``terms``, of this key."""
    versions = {"consent__terms__slug": terms.slug, "consent__terms__version__lt": terms.version}
    mine = mine.filter(**of_this_key("customer"), **versions)
    return mine.exclude(status__in=ENDED).select_related("payment_method").first()


def active_for(user, slug: str) -> Mandate | None:
    """The active mandate of ``user`` under the terms ``slug`` in the key's mode. What a site looks up to charge.

    In place of a user give the ``Customer`` of an organisation.
    """
    if user.pk is None:
        # Nobody is signed in. Asking for the mandates of "no user" would find those of deleted accounts.
        return None
    return (
        Mandate.objects.select_related("payment_method")
        .filter(
            **{"customer" if isinstance(user, Customer) else "customer__user": user},
            **of_this_key("customer"),
            consent__terms__slug=slug,
            status=Mandate.Status.ACTIVE,
        )
        .first()
    )


def keep_card(customer: Customer, card: gateway.Card) -> PaymentMethod:
    """Write down a card that Stripe has saved. If no mandate comes to use it, call ``remove_unused_cards_later``."""
    row = PaymentMethod(
        stripe_id=card.id,
        customer=customer,
        type=card.type,
        brand=card.brand,
        last4=card.last4,
        exp_month=card.exp_month,
        exp_year=card.exp_year,
    )
    # Unless it is here.
    PaymentMethod.objects.bulk_create([row], ignore_conflicts=True)
    return PaymentMethod.objects.get(stripe_id=card.id)


def use_card(
    mandate: Mandate, consent: Consent, payment_method: PaymentMethod, *, stripe_id: str, status: str
) -> Mandate:
    """Move a locked mandate to the card just saved and the consent it was saved under, and activate it.

    ``stripe_id`` and ``status`` are those of Stripe's mandate, empty when there is none.
    """
    is_another_card = mandate.payment_method_id not in (None, payment_method.pk)
    if is_another_card:
        remove_unused_cards_later(mandate.customer)
    mandate.consent = consent
    mandate.payment_method = payment_method
    mandate.stripe_id = stripe_id or None
    if STATUS_AT_STRIPE.get(status) == Mandate.Status.PENDING and mandate.status == Mandate.Status.ACTIVE:
        # The permission for the new card is not in force yet, and the old card is not the one agreed on any more.
        mandate.status = Mandate.Status.PENDING
    mandate.save(update_fields=["consent", "payment_method", "stripe_id", "status"])
    if is_another_card:
        subscriptions.use_card(mandate)
        if mandate.status == Mandate.Status.PENDING:
            subscriptions.hold_all(mandate)
    card = {"payment_method": payment_method.stripe_id, "brand": payment_method.brand, "last4": payment_method.last4}
    record(mandate, "card_saved", actor="customer", **card)
    signals.send_on_commit(signals.card_saved, PaymentMethod, mandate=mandate, payment_method=payment_method)
    was_active = mandate.status == Mandate.Status.ACTIVE
    mandate = apply_stripe_status(mandate, status)
    if was_active and mandate.status == Mandate.Status.ACTIVE:
        _confirm(mandate)
    return mandate


def apply_stripe_status(mandate: Mandate, stripe_status: str) -> Mandate:
    """Let a locked mandate follow what Stripe says of its own. Only upward; an ended mandate stays ended."""
    status = STATUS_AT_STRIPE.get(stripe_status)
    if status is None:
        # Fail closed, and loudly: a word we do not know must not keep a mandate chargeable.
        logger.error("Mandate %s: Stripe's status %r is unknown", mandate.reference, stripe_status)
        if mandate.can_be_held:
            return hold(mandate, by="system", reason=f"unknown status at Stripe: {stripe_status}")
        return mandate
    if status == Mandate.Status.INACTIVE:
        return _end(mandate, status, by="stripe", reason="inactive at Stripe")
    if status == Mandate.Status.ACTIVE and mandate.status == Mandate.Status.PENDING:
        mandate.status = status
        mandate.activated_at = mandate.activated_at or timezone.now()
        mandate.save(update_fields=["status", "activated_at"])
        # What was paid while the card was saved belongs to the first period, also when midnight was in between.
        paid = mandate.charges.filter(setup__isnull=False, due_at__lt=mandate.activated_at)
        paid.update(due_at=mandate.activated_at)
        record(mandate, "mandate_activated", actor="stripe")
        signals.send_on_commit(signals.mandate_activated, Mandate, mandate=mandate)
        subscriptions.release_all(mandate)
        _confirm(mandate)
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
    """Stop charges until ``resume``. Held once more by somebody else, or for another reason, that is written down too.

    Raises ``KrcardError`` unless the mandate is active or on hold.
    """
    return _switch(mandate, Mandate.Status.ACTIVE, Mandate.Status.ON_HOLD, "mandate_held", by=by, reason=reason)


def resume(mandate: Mandate, *, by: str, reason: str) -> Mandate:
    """Allow charges again after ``hold``. Raises ``KrcardError`` unless the mandate is on hold or active."""
    return _switch(mandate, Mandate.Status.ON_HOLD, Mandate.Status.ACTIVE, "mandate_resumed", by=by, reason=reason)


def release(mandate: Mandate, *, by: str, reason: str) -> Mandate:
    """Take back the hold of ``by`` for ``reason``. Charges are allowed again if nobody else wants them stopped."""
    with transaction.atomic():
        mandate = lock(mandate)
        holds = holds_on(mandate)
        if mandate.status != Mandate.Status.ON_HOLD or (by, reason) not in holds:
            return mandate
        if holds == {(by, reason)}:
            return resume(mandate, by=by, reason=reason)
        record(mandate, "mandate_hold_released", actor=by, reason=reason)
    return mandate


def holds_on(mandate: Mandate) -> set[tuple[str, str]]:
    """Who has put a mandate on hold since it was last resumed and not taken that back, and why."""
    kinds = ["mandate_held", "mandate_hold_released", "mandate_resumed"]
    entries = mandate.timeline.filter(kind__in=kinds).order_by("-pk")
    since = list(takewhile(lambda entry: entry.kind != "mandate_resumed", entries))
    holds: set[tuple[str, str]] = set()
    for entry in reversed(since):
        hold = entry.actor, entry.data["reason"]
        holds = holds | {hold} if entry.kind == "mandate_held" else holds - {hold}
    return holds


def sync_with_stripe(mandate: Mandate) -> Mandate:
    """Ask Stripe about this mandate's card and mandate, and write down what it says."""
    finish(compare(mandate))
    mandate.refresh_from_db()
    return mandate


def compare(mandate: Mandate) -> Act[None]:
    """Let card and mandate follow what Stripe says of them now."""
    card = mandate.payment_method
    if card and not card.detached_at and not (yield partial(_is_attached, card)):
        card_detached(card)
    if mandate.stripe_id:
        follow_stripe(mandate, (yield partial(_status_at_stripe, mandate.stripe_id)))


def follow_stripe(mandate: Mandate, status: str) -> None:
    """Write down what Stripe says of its mandate, the one that ``mandate`` had when Stripe was asked."""
    with transaction.atomic(savepoint=False):
        fresh = lock(mandate)
        # Another card may have come meanwhile, and another mandate at Stripe with it.
        if fresh.stripe_id == mandate.stripe_id:
            apply_stripe_status(fresh, status)


def name_and_follow(mandate: Mandate, stripe_id: str, status: str) -> None:
    """Stripe's mandate is known for the first time, of a card that was saved without its name."""
    with transaction.atomic():
        fresh = lock(mandate)
        if fresh.stripe_id or fresh.payment_method_id != mandate.payment_method_id:
            return
        fresh.stripe_id = stripe_id
        fresh.save(update_fields=["stripe_id"])
        apply_stripe_status(fresh, status)


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


def customer_deleted(customer: Customer) -> None:
    """Write down that Stripe has deleted a customer: its cards are gone, and no permission outlives them.

    The next card is saved to a new Customer at Stripe. Does nothing if ``customer`` has got one since it was read.
    """
    with transaction.atomic():
        fresh = lock(customer)
        if fresh.stripe_id is None or fresh.stripe_id != customer.stripe_id:
            return
        for mandate in lock_all(list(fresh.mandates.exclude(status__in=ENDED))):
            _end(mandate, Mandate.Status.INACTIVE, by="stripe", reason="the customer was deleted at Stripe")
        for card in fresh.payment_methods.filter(detached_at=None).order_by("pk"):
            card_detached(card)
        fresh.former_stripe_ids = [*fresh.former_stripe_ids, fresh.stripe_id]
        # Another attempt is another key: under the old one Stripe would answer with the old Customer for a day.
        fresh.stripe_id, fresh.params, fresh.attempt = None, {}, fresh.attempt + 1
        fresh.save(update_fields=["former_stripe_ids", "stripe_id", "params", "attempt"])


def remove_unused_cards(customer: Customer) -> None:
    """Detach at Stripe each of the customer's cards that no living mandate uses.

    Which ones is read from the rows, so a call that failed is made up for by the next.
    """
    for card in _unused_cards().filter(customer=customer):
        _remove(card)


def remove_unused_cards_later(customer: Customer) -> None:
    """Once this transaction has committed: Stripe is not asked before."""
    transaction.on_commit(lambda: remove_unused_cards(customer), robust=True)


def remove_leftover_cards() -> int:
    """What ``remove_unused_cards`` could not do, because Stripe did not answer or the process died. Returns how many
    cards were tried. Called by ``krcard_run_due``."""
    now = timezone.now()
    rested = Q(removal_tried_at=None) | Q(removal_tried_at__lte=now - TRY_REMOVAL_AGAIN)
    cards = list(_unused_cards().filter(rested, **of_this_key("customer")))
    for card in cards:
        _remove(card)
    return len(cards)


def _confirm(mandate: Mandate) -> None:
    """Send the customer what they agreed to, once for each agreement."""
    if conf.CONFIRM_AGREEMENT and notices.are_sent(Notice.Kind.AGREEMENT_CONFIRMED):
        about = f"confirmed:{mandate.consent.public_id}"
        text = text_for(mandate.consent.terms, mandate.consent.language)
        notices.write(mandate, Notice.Kind.AGREEMENT_CONFIRMED, about=about, consent=mandate.consent, terms=text)


def _unused_cards() -> QuerySet[PaymentMethod]:
    living = Mandate.objects.exclude(status__in=ENDED).exclude(payment_method=None)
    return PaymentMethod.objects.filter(detached_at=None).exclude(pk__in=living.values("payment_method"))


def _remove(card: PaymentMethod) -> None:
    tries = F("removal_tries") + 1
    PaymentMethod.objects.filter(pk=card.pk).update(removal_tried_at=timezone.now(), removal_tries=tries)
    try:
        gateway.detach_payment_method(card.stripe_id, key=f"krc1-detach-{card.public_id}-{card.removal_tries}")
    except StripeRefusedRequest as error:
        # Already gone at Stripe, or never there: asking for it is what tells.
        logger.warning("Card %s could not be detached: %s", card.stripe_id, error.code)
        try:
            attached = _is_attached(card)
        except GatewayError:
            attached = True
        if attached:
            _note_failed_removal(card, error)
            return
    except GatewayError as error:
        _note_failed_removal(card, error)
        return
    card_detached(card)


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
    subscriptions.end_all(mandate, by=by, reason=reason)
    for setup in mandate.setups.filter(status=CardSetup.Status.OPEN):
        cancel_setup(setup)
    _close_amendments(mandate)
    charges = mandate.charges
    unsent = charges.filter(status__in=[Charge.Status.SCHEDULED, Charge.Status.READY], first_sent_at=None)
    unsent.update(status=Charge.Status.CANCELLED, next_step_at=None)
    # No retry comes after this, and what waits for the customer is called off at Stripe with the next step.
    charges.filter(status=Charge.Status.DECLINED).update(next_step_at=None)
    charges.filter(status=Charge.Status.ACTION_REQUIRED, invoice_id=None).update(next_step_at=timezone.now())
    if mandate.activated_at:
        notices.write(mandate, Notice.Kind.MANDATE_ENDED, about=f"ended:{mandate.public_id}")
    signals.send_on_commit(signals.mandate_ended, Mandate, mandate=mandate)
    transaction.on_commit(lambda: _call_off(mandate), robust=True)
    remove_unused_cards_later(mandate.customer)
    return mandate


def _close_amendments(mandate: Mandate) -> None:
    """Nobody is asked any more about an agreement that has ended."""
    for amendment in mandate.amendments.filter(status__in=Amendment.OPEN):
        about = {"amendment": str(amendment.public_id), "terms": str(amendment.terms)}
        record(mandate, "amendment_cancelled", actor=mandate.ended_by, **about)
    mandate.amendments.filter(status__in=Amendment.OPEN).update(status=Amendment.Status.CANCELLED)
    mandate.amendments.update(next_step_at=None)


def _call_off(mandate: Mandate) -> None:
    """What waits for the customer at the issuer can be paid even without a saved card, unless it is cancelled."""
    # What is paid while a card is saved is closed with its attempt, and a subscription's invoice with that.
    for charge in mandate.charges.filter(status=Charge.Status.ACTION_REQUIRED, setup=None, invoice_id=None):
        try:
            gateway.cancel_payment_intent(charge.stripe_id, key=f"krc1-cancel-{charge.public_id}")
        except GatewayError as error:
            logger.warning("Charge %s could not be called off: %s. krcard_run_due does it.", charge.public_id, error)


def _switch(mandate: Mandate, source: str, target: str, kind: str, *, by: str, reason: str) -> Mandate:
    with transaction.atomic():
        mandate = lock(mandate)
        if mandate.status not in (source, target):
            raise KrcardError(f"Mandate {mandate.reference} is {mandate.status}, not {source}.")
        if mandate.status == target and (kind != "mandate_held" or (by, reason) in holds_on(mandate)):
            return mandate
        mandate.status = target
        mandate.save(update_fields=["status"])
        record(mandate, kind, actor=by, reason=reason)
        if target == Mandate.Status.ON_HOLD:
            subscriptions.hold_all(mandate)
        else:
            subscriptions.release_all(mandate)
    return mandate


def _new_reference() -> str:
    """Eight signs are enough: about 10¹² references, and the unique constraint has the last word."""
    signs = "".join(secrets.choice(REFERENCE_ALPHABET) for _ in range(8))
    return f"KR-{signs[:4]}-{signs[4:]}"
