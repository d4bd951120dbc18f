"""The way out of a subscription, and the money for what was not used."""

from __future__ import annotations

import logging
from datetime import datetime
from fractions import Fraction
from math import ceil

from django.db import transaction
from django.utils import timezone

from django_krcard.exceptions import (
    GatewayError,
    KrcardError,
    ReferenceConflict,
    RefundRefused,
    StripeRefusedKey,
)
from django_krcard.models import Charge, Mandate, Refund, Subscription, SubscriptionChange, lock
from django_krcard.services import changes, invoices, refunds
from django_krcard.services.acts import Act, finish
from django_krcard.services.changes import AGAIN_LATER, Kind, Status
from django_krcard.services.gate import day_of
from django_krcard.services.mandates import revoke
from django_krcard.services.refunded import left_of
from django_krcard.services.steps import AFTER_FAILURE
from django_krcard.services.subscription_rows import note
from django_krcard.transactions import refuse_inside_transaction

logger = logging.getLogger(__name__)


def cancel_subscription(
    subscription: Subscription, *, by: str, reason: str, at_period_end: bool = False, refund_unused: bool = False
) -> Subscription:
    """Cancel a subscription: at once, or when the period that is paid for ends.

    With ``refund_unused`` the unused days are paid back as soon as Stripe has cancelled it. It is written down first
    and then asked for; should Stripe not answer, ``krcard_run_due`` goes on until both are done. Cancelled twice is
    cancelled once. ``by`` is "customer" or "staff:<name>".
    """
    refuse_inside_transaction()
    with transaction.atomic():
        row = _locked(subscription)
        is_leaving = row.cancel_at_period_end and not changes.is_wanted(row, Kind.STAY)
        if row.is_over or (at_period_end and (is_leaving or changes.is_wanted(row, Kind.CANCEL))):
            return row
        pay_back = pro_rata(row) if refund_unused and not at_period_end else 0
        kind = Kind.LEAVE if at_period_end else Kind.CANCEL
        change = changes.ask(row, kind, by=by, reason=reason, pay_back=pay_back, charge=paid_charge(row))
    if pay_back:
        _go_on_with(change)
    row.refresh_from_db()
    return row


def withdraw(mandate: Mandate, *, by: str, reason: str, refund_unused: bool = False) -> Mandate:
    """``revoke``, and pay back the unused days of what ran under the agreement, as ``cancel_subscription`` does."""
    refuse_inside_transaction()
    owed = []
    with transaction.atomic():
        if not lock(mandate).has_ended:
            mandate = revoke(mandate, by=by, reason=reason)
            for row in mandate.subscriptions.exclude(status__in=Subscription.OVER):
                row.mandate = mandate
                if refund_unused and (pay_back := pro_rata(row)):
                    promised = {"pay_back": pay_back, "charge": paid_charge(row)}
                    owed.append(changes.ask(row, Kind.CANCEL, by=by, reason=reason, **promised))
    for change in owed:
        _go_on_with(change)
    mandate.refresh_from_db()
    return mandate


def _go_on_with(change: SubscriptionChange) -> None:
    """The money at once, if it can be."""
    try:
        finish(step(change.pk))
    except GatewayError as error:
        logger.warning("Subscription change %s goes on with krcard_run_due (%s)", change.public_id, error)


def keep_subscription(subscription: Subscription, *, by: str, reason: str = "") -> Subscription:
    """Take back that a subscription ends with its period, as long as it has not ended. Raises ``KrcardError``."""
    refuse_inside_transaction()
    with transaction.atomic():
        row = _locked(subscription)
        if row.is_over or row.mandate.has_ended or changes.is_wanted(row, Kind.CANCEL):
            raise KrcardError(f"Subscription {row.stripe_id} has ended: a new one is needed.")
        if row.cancel_at_period_end or changes.is_wanted(row, Kind.LEAVE):
            changes.ask(row, Kind.STAY, by=by, reason=reason)
    row.refresh_from_db()
    return row


def pro_rata(subscription: Subscription, *, at: datetime | None = None) -> int:
    """Whole won of the current paid period that are for days not used: those after today.

    Days are calendar days where the terms rule, and today counts as used. A part of a won is rounded up, in the
    customer's favour; more than is left of the payment it never is. 0: the period is not paid, or over.
    """
    charge, at = paid_charge(subscription), at or timezone.now()
    if charge is None:
        return 0
    first, last = day_of(subscription.current_period_start), day_of(subscription.current_period_end)
    unused = min(max((last - day_of(at)).days - 1, 0), (last - first).days)
    return min(ceil(Fraction(charge.amount * unused, (last - first).days)), left_of(charge))


def refund_unused(
    subscription: Subscription,
    *,
    at: datetime | None = None,
    reference: str = "unused",
    by: str = "system",
    reason: str = "requested_by_customer",
) -> Refund | None:
    """Pay back what ``pro_rata`` says of the current period, once for each ``reference``. ``None``: that is nothing.

    Raises as ``refund`` does.
    """
    charge = paid_charge(subscription)
    if charge is None:
        return None
    known = charge.refunds.filter(reference=reference).first()
    amount = known.amount if known else pro_rata(subscription, at=at)
    return refunds.refund(charge, amount, reference=reference, by=by, reason=reason) if amount else None


def paid_charge(subscription: Subscription) -> Charge | None:
    """What was paid for the current period."""
    if not (subscription.current_period_start and subscription.current_period_end):
        return None
    began = subscription.current_period_start - changes.CLOCKS_DIFFER
    paid = subscription.charges.filter(status=Charge.Status.SUCCEEDED, due_at__gte=began)
    return paid.order_by("-due_at").first()


def step(pk: int) -> Act[SubscriptionChange]:
    """Carry out a change that is due, and pay back what is owed with it. Raises ``StripeRefusedKey``."""
    change = yield from changes.step(pk)
    now = timezone.now()
    if change.status != Status.OWED or change.next_step_at is None or change.next_step_at > now:
        return change
    row = change.subscription
    # In the other mode this key knows nothing of it.
    rests = not row.mandate.customer.is_of_this_key
    as_read = SubscriptionChange.objects.filter(pk=pk, status=Status.OWED, next_step_at=change.next_step_at)
    if not as_read.update(next_step_at=now + (AGAIN_LATER if rests else changes.LEASE)) or rests:
        return change
    change.failure_code, change.next_step_at = "", now + AGAIN_LATER
    try:
        if changes.is_late(change, row.current_period_start):
            # What was charged meanwhile: its message may be on the way, or lost.
            yield from invoices.compare(row)
        if _paid_back(change):
            change.status, change.next_step_at, change.paid_back_at = Status.DONE, None, timezone.now()
    except (RefundRefused, ReferenceConflict) as error:
        _not_paid_back(change, getattr(error, "code", "reference_conflict"))
    except GatewayError as error:
        change.failure_code, change.next_step_at = error.code or type(error).__name__, now + AFTER_FAILURE
        if isinstance(error, StripeRefusedKey):
            raise
    finally:
        change.save(update_fields=["status", "failure_code", "next_step_at", "paid_back_at"])
    return change


def _paid_back(change: SubscriptionChange) -> bool:
    """Whether all that is owed is on its way; otherwise nobody knows yet, and it is asked for again."""
    owed = {change.charge: change.pay_back} if change.charge and change.pay_back else {}
    if change.wanted_at:
        # Whoever wanted out before a period began gets all of it back.
        paid = change.subscription.charges.filter(status=Charge.Status.SUCCEEDED)
        owed |= dict.fromkeys(paid.filter(due_at__gt=change.wanted_at))
    is_known = [_refunded(change, charge, amount) for charge, amount in owed.items()]
    return all(is_known)


def _refunded(change: SubscriptionChange, charge: Charge, amount: int | None) -> bool:
    """``amount``: ``None`` is all of it."""
    reference = f"unused:{change.public_id}"
    known = charge.refunds.filter(reference=reference).first()
    amount = known.amount if known else min(amount or charge.amount, left_of(charge))
    if not amount:
        # It went back already, by somebody's hand.
        return True
    refund = refunds.refund(charge, amount, reference=reference, by=change.requested_by, reason=change.reason)
    if refund.status in (Refund.Status.FAILED, Refund.Status.CANCELLED):
        raise RefundRefused(refund.failure_code or str(refund.status), "The refund failed.")
    # What Stripe turns out never to have heard of is asked for once more.
    return refund.status not in refunds.UNANSWERED


def _not_paid_back(change: SubscriptionChange, code: str) -> None:
    """A person must look: the customer was promised it."""
    row = change.subscription
    logger.error("Subscription %s: %s won are not paid back (%s)", row.stripe_id, change.pay_back, code)
    note(row, "subscription_not_paid_back", actor="system", code=code, pay_back=change.pay_back)
    change.status, change.failure_code, change.next_step_at = Status.NOT_PAID_BACK, code, None


def _locked(subscription: Subscription) -> Subscription:
    mandate = lock(subscription.mandate, "customer")
    row = Subscription.objects.get(pk=subscription.pk)
    row.mandate = mandate
    return row
