"""The way out of a subscription, and the money for what was not used."""

from __future__ import annotations

import logging
from datetime import datetime
from fractions import Fraction
from math import ceil

from django.db import transaction
from django.utils import timezone

from django_krcard.exceptions import GatewayError, KrcardError, RefundRefused, StripeRefusedKey
from django_krcard.models import Charge, Mandate, Refund, Subscription, SubscriptionChange, lock
from django_krcard.services import changes, invoices, refunds
from django_krcard.services.acts import Act, finish
from django_krcard.services.changes import Kind, Status
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
        change = changes.ask(row, kind, by=by, reason=reason, pay_back=pay_back)
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
                    owed.append(changes.ask(row, Kind.CANCEL, by=by, reason=reason, pay_back=pay_back))
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
    """Carry out a change that is due, and pay back what was promised with it. Raises ``StripeRefusedKey``."""
    change = yield from changes.step(pk)
    now = timezone.now()
    is_due = change.next_step_at is not None and change.next_step_at <= now
    if change.status == Status.OWED and is_due:
        if paid_charge(change.subscription) is None:
            # Its message may be on the way, or lost.
            yield from invoices.compare(change.subscription)
        _pay_back(change)
    return change


def _pay_back(change: SubscriptionChange) -> None:
    row, refused = change.subscription, None
    charge = paid_charge(row)
    change.status, change.failure_code, change.next_step_at = Status.DONE, "", None
    try:
        if charge is None:
            raise RefundRefused("not_succeeded", "There is no payment.")
        amount = None if _known(change, charge) else min(change.pay_back, left_of(charge))
        refund = refunds.refund(
            charge, amount, reference=_reference(change), by=change.requested_by, reason=change.reason
        )
        if refund.status in (Refund.Status.FAILED, Refund.Status.CANCELLED):
            raise RefundRefused(refund.failure_code or str(refund.status), "The refund failed.")
        if refund.status in refunds.UNANSWERED:
            # Nobody knows yet. What Stripe turns out never to have heard of is asked for once more.
            change.status, change.next_step_at = Status.OWED, timezone.now() + changes.AGAIN_LATER
        else:
            change.paid_back_at = timezone.now()
    except RefundRefused as error:
        # A person must look: the customer was promised it.
        logger.error("Subscription %s: %s won are not paid back (%s)", row.stripe_id, change.pay_back, error.code)
        note(row, "subscription_not_paid_back", actor="system", code=error.code, pay_back=change.pay_back)
        change.status, change.failure_code = Status.NOT_PAID_BACK, error.code
    except GatewayError as error:
        change.status, change.failure_code = Status.OWED, error.code or type(error).__name__
        change.next_step_at = timezone.now() + AFTER_FAILURE
        if isinstance(error, StripeRefusedKey):
            refused = error
    change.save(update_fields=["status", "failure_code", "next_step_at", "paid_back_at"])
    if refused:
        raise refused


def _known(change: SubscriptionChange, charge: Charge) -> bool:
    return charge.refunds.filter(reference=_reference(change)).exists()


def _reference(change: SubscriptionChange) -> str:
    return f"unused:{change.public_id}"


def _locked(subscription: Subscription) -> Subscription:
    mandate = lock(subscription.mandate, "customer")
    row = Subscription.objects.get(pk=subscription.pk)
    row.mandate = mandate
    return row
