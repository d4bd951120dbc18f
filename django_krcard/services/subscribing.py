"""A subscription at Stripe on a mandate: write the row and commit, ask Stripe, write down the answer.

The gate is asked as for a charge, because Stripe charges the first period at once. What follows each answer is what
``sending`` says of it, with one difference: a card that is declined leaves no subscription behind.
"""

from __future__ import annotations

import hashlib
import json
import logging
import random
import time
from datetime import timedelta
from functools import partial
from typing import Any

from django.db import transaction
from django.utils import timezone

from django_krcard import gateway, rules
from django_krcard.exceptions import (
    CardDeclined,
    GatewayError,
    KeyReused,
    ReferenceConflict,
    StripeRefusedKey,
    StripeRefusedRequest,
    SubscriptionRefused,
)
from django_krcard.models import Mandate, Subscription, lock
from django_krcard.services import backup, changes, gate, invoices, subscription_rows, subscriptions
from django_krcard.services.acts import Act, finish
from django_krcard.services.charges import LEASE, MAX_SENDS, NOT_CREATED, PAUSES, SAME_KEY_FOR
from django_krcard.services.in_force import rule_today
from django_krcard.services.outcomes import LOOK_AGAIN, SEND_AGAIN_LATER
from django_krcard.services.sending import SPENT
from django_krcard.services.steps import ASK_AGAIN, BETWEEN_LOOKS, CERTAIN_AFTER
from django_krcard.services.timeline import record
from django_krcard.transactions import refuse_inside_transaction

logger = logging.getLogger(__name__)

MAX_REFERENCE = Subscription._meta.get_field("reference").max_length


def subscribe(
    mandate: Mandate, *, price: str, quantity: int = 1, reference: str = "", by: str = "system", reason: str = ""
) -> Subscription:
    """Have Stripe charge ``quantity`` times a Price to the card of ``mandate``: now, and in each period to come.

    Once for each ``reference``; without one the subscription that runs with this price is returned, if there is one.
    Returns the subscription in whatever state it ended: ``not_started`` when the first payment was declined,
    ``starting`` while nobody knows. One whose outcome is unknown is asked for again under its one key, after the terms
    were asked again.

    Raises ``SubscriptionRefused`` when the agreed terms do not cover it (nothing is made), ``ReferenceConflict`` when
    the reference was used for another price, ``GatewayError`` when Stripe could not say what the price is.
    https://docs.stripe.com/api/subscriptions/create
    """
    if len(reference) > MAX_REFERENCE or quantity < 1:
        raise ValueError(f"reference takes up to {MAX_REFERENCE} characters, quantity is 1 or more.")
    refuse_inside_transaction()
    if mandate.customer.is_of_this_key:
        backup.refuse_if_behind()
    told = _retrieve(price)
    refused = ""
    with transaction.atomic():
        mandate = gate.locked(mandate)
        row = _existing(mandate, reference, price, quantity)
        if row is None:
            refused = _why_not(mandate, told, quantity)
            if refused:
                record(mandate, "subscription_refused", actor=by, code=refused, price=price, reason=reason)
            else:
                row = _new(mandate, told, quantity, reference, by=by, reason=reason)
        taken = bool(row) and _take(row, mandate)
    if refused:
        raise SubscriptionRefused(refused, str(subscriptions.MESSAGES[refused]))
    return _send_while_waiting(row) if taken else row


def step(pk: int) -> Act[Subscription]:
    """What is due for a subscription whose outcome is unknown: look it up, or ask once more under its one key."""
    row = Subscription.objects.select_related("mandate__customer").get(pk=pk)
    now = timezone.now()
    if row.status != Subscription.STARTING or row.next_step_at is None or row.next_step_at > now:
        return row
    rests = not row.mandate.customer.is_of_this_key
    as_read = Subscription.objects.filter(pk=pk, status=row.status, next_step_at=row.next_step_at)
    if not as_read.update(next_step_at=now + (ASK_AGAIN if rests else LEASE)) or rests:
        return row
    try:
        found = yield partial(_at_stripe, row)
        if found:
            return (yield from _arrived(row, found, now))
    except StripeRefusedKey:
        raise
    except GatewayError as error:
        # A look that failed says nothing.
        logger.warning("Subscription %s: Stripe was asked in vain (%s)", row.public_id, error)
        return row
    with transaction.atomic():
        mandate = gate.locked(row.mandate)
        row = _fresh(row, mandate)
        taken = _take(row, mandate, at_once=True)
        if not taken and row.status == Subscription.STARTING:
            _looked_in_vain(row)
    return (yield from _send(row)) if taken else row


# --- before the call -----------------------------------------------------------------------------


def _retrieve(price: str) -> gateway.Price | None:
    try:
        return gateway.retrieve_price(price)
    except StripeRefusedRequest as error:
        if error.code == "resource_missing":
            return None
        raise


def _existing(mandate: Mandate, reference: str, price: str, quantity: int) -> Subscription | None:
    rows = mandate.subscriptions
    if reference:
        row = rows.filter(reference=reference).first()
    else:
        row = rows.exclude(status__in=Subscription.OVER).filter(price=price).first()
    if row and row.params and row.params["items"] != [{"price": price, "quantity": quantity}]:
        raise ReferenceConflict(f"{row.reference!r} was used for another price or quantity under mandate {mandate}.")
    if row:
        row.mandate = mandate
    return row


def _why_not(mandate: Mandate, price: gateway.Price | None, quantity: int) -> str:
    """The code of the first thing that speaks against it, or nothing. The mandate is locked."""
    rule = rule_today(mandate)
    if rule.frequency != rules.Frequency.RECURRING:
        return "not_recurring"
    if price is None:
        return "price_not_found"
    if not price.active:
        return "price_inactive"
    if price.currency != "krw":
        return "price_not_won"
    if price.interval is None:
        return "price_not_recurring"
    if not price.is_plain or price.unit_amount is None:
        return "price_varies"
    if (price.interval, price.interval_count) != (rule.period, rule.period_count):
        return "price_period"
    if mandate.subscriptions.exclude(status__in=Subscription.OVER).exists():
        return "served_by_subscription"
    return gate.judge(mandate, price.unit_amount * quantity, timezone.now()).code


def _new(
    mandate: Mandate, price: gateway.Price, quantity: int, reference: str, *, by: str, reason: str
) -> Subscription:
    reference = reference or f"subscription-{mandate.subscriptions.count() + 1}"
    row = Subscription(
        mandate=mandate,
        reference=reference,
        status=Subscription.STARTING,
        price=price.id,
        amount=price.unit_amount * quantity,
        interval=price.interval,
        interval_count=price.interval_count,
        requested_by=by,
        reason=reason,
        idempotency_key=_key(mandate, reference),
    )
    row.params = _params(row, quantity)
    row.save()
    asked = {"subscription": reference, "amount": row.amount, "price": price.id, "reason": reason}
    record(mandate, "subscription_requested", actor=by, **asked)
    return row


def _key(mandate: Mandate, reference: str) -> str:
    """What the subscription *is*, so that a row lost with a restored backup gets the same key again."""
    mode = "live" if mandate.customer.livemode else "test"
    identity = json.dumps([mode, str(mandate.public_id), reference])
    return f"krc1-subscribe-{hashlib.sha256(identity.encode()).hexdigest()[:40]}"


def _params(row: Subscription, quantity: int) -> dict[str, Any]:
    mandate, card = row.mandate, row.mandate.payment_method
    return gateway.subscription_params(
        customer=mandate.customer.stripe_id,
        price=row.price,
        quantity=quantity,
        card=card.stripe_id,
        card_type=card.type,
        cancel_at=changes.last_moment(row),
        metadata={
            "krcard_mandate": str(mandate.public_id),
            subscription_rows.REFERENCE: row.reference,
            "krcard_consent": str(mandate.consent.public_id),
            "krcard_consent_hash": mandate.consent.record_hash,
        },
    )


def _take(row: Subscription, mandate: Mandate, *, at_once: bool = False) -> bool:
    """Make a subscription the caller's to send, if it may be sent now. Its mandate is locked.

    ``at_once``: the caller has it already, and does not wait for its own claim to lapse.
    """
    now = timezone.now()
    if row.status != Subscription.STARTING or (row.sends and not at_once and row.next_step_at > now):
        return False
    # A clock that was turned back makes a negative age: then nobody knows how old the key is.
    young = row.first_sent_at is None or timedelta() <= now - row.first_sent_at < SAME_KEY_FOR
    same_card = mandate.payment_method and row.params["default_payment_method"] == mandate.payment_method.stripe_id
    verdict = gate.judge(mandate, row.amount, now, subscription=row)
    is_wanted = same_card and not changes.is_wanted(row, changes.Kind.CANCEL)
    if not row.sends and not (verdict.allowed and is_wanted):
        _give_up(row, verdict.code or "not_wanted")
        return False
    if not (young and is_wanted and verdict.allowed and row.sends < MAX_SENDS):
        return False
    row.first_sent_at = row.first_sent_at or now
    row.last_sent_at, row.next_step_at, row.failure_code = now, now + LEASE, ""
    row.sends += 1
    row.save()
    return True


# --- the call ------------------------------------------------------------------------------------


def _send(row: Subscription) -> Act[Subscription]:
    """Send a subscription that was taken, and write down the answer. Raises ``StripeRefusedKey``."""
    asked_at = timezone.now()
    try:
        told = yield partial(gateway.create_subscription, row.params, key=row.idempotency_key)
    except GatewayError as error:
        return _not_answered(row, error)
    return (yield from _arrived(row, told, asked_at))


def _arrived(row: Subscription, told: gateway.Subscription, asked_at: Any) -> Act[Subscription]:
    """It is there. Its first payment was made at once, and counts from now on."""
    row = subscriptions.apply(row.mandate, told, asked_at) or row
    try:
        yield from invoices.compare(row)
    except StripeRefusedKey:
        raise
    except GatewayError as error:
        logger.warning("Subscription %s: its invoices come by message (%s)", row.stripe_id, error)
    row.refresh_from_db()
    return row


def _not_answered(row: Subscription, error: GatewayError) -> Subscription:
    # After a first request whose outcome nobody knows, a second that was not executed says nothing.
    executed = error.executed if row.sends == 1 else None
    with transaction.atomic():
        seen = _fresh(row, lock(row.mandate, "customer"))
        if (seen.status, seen.sends) == (Subscription.STARTING, row.sends):
            # Still ours. The webhook may have been faster, or somebody took over when our claim had lapsed.
            if isinstance(error, CardDeclined):
                # Whichever request it was that Stripe executed under this key: declined, and nothing is there.
                seen.decline_code = error.decline_code
                _give_up(seen, error.code or "card_declined")
            elif isinstance(error, StripeRefusedRequest) and executed is False:
                _give_up(seen, error.code or "invalid_request")
            else:
                _wait(seen, error, never_sent=executed is False)
    if isinstance(error, KeyReused):
        logger.critical("Subscription %s: Stripe knows its key with other parameters", row.public_id)
    if isinstance(error, StripeRefusedKey):
        logger.critical("Stripe refuses this site's key (%s): nothing is charged", error.http_status)
        raise error
    return seen


def _wait(row: Subscription, error: GatewayError, *, never_sent: bool) -> None:
    row.failure_code = error.code
    if never_sent:
        row.sends, row.first_sent_at = 0, None
        row.next_step_at = timezone.now() + SEND_AGAIN_LATER
    else:
        row.next_step_at = timezone.now() + LOOK_AGAIN[min(row.sends, len(LOOK_AGAIN)) - 1]
        row.sends = SPENT if isinstance(error, KeyReused) else row.sends
    row.save()


def _give_up(row: Subscription, code: str) -> None:
    row.status, row.failure_code, row.next_step_at = Subscription.NOT_STARTED, code, None
    row.save()
    codes = {"code": code, "decline_code": row.decline_code}
    subscription_rows.note(row, "subscription_not_started", actor="system", **codes)
    waiting = row.changes.filter(status=changes.Status.READY)
    waiting.update(status=changes.Status.OVERTAKEN, next_step_at=None)


def _send_while_waiting(row: Subscription) -> Subscription:
    """Send, and after an answer that says nothing once more and again, each time after the terms were asked."""
    row = finish(_send(row))
    for pause in PAUSES:
        if row.status != Subscription.STARTING:
            break
        time.sleep(pause * random.uniform(0.75, 1.25))
        with transaction.atomic():
            mandate, sends = gate.locked(row.mandate), row.sends
            row = _fresh(row, mandate)
            taken = row.sends == sends and _take(row, mandate, at_once=True)
        if not taken:
            break
        row = finish(_send(row))
    return row


def _fresh(row: Subscription, mandate: Mandate) -> Subscription:
    fresh = Subscription.objects.get(pk=row.pk)
    fresh.mandate = mandate
    return fresh


# --- when nobody waits ---------------------------------------------------------------------------


def _at_stripe(row: Subscription) -> gateway.Subscription | None:
    """By list, not by search, which lags behind."""
    wanted = {"krcard_mandate": str(row.mandate.public_id), subscription_rows.REFERENCE: row.reference}
    of_customer = gateway.subscriptions_of(row.mandate.customer.stripe_id)
    return next((told for told in of_customer if wanted.items() <= told.metadata.items()), None)


def _looked_in_vain(row: Subscription) -> None:
    """Not created: when Stripe's list is complete for sure and was looked through twice, with a pause between."""
    now = timezone.now()
    row.next_step_at = now + BETWEEN_LOOKS
    row.empty_looks += now - row.last_sent_at >= CERTAIN_AFTER
    row.save()
    if row.empty_looks >= 2:
        _give_up(row, NOT_CREATED)
