"""After the call: what Stripe says of a refund. Answer, webhook and reconcile all come through here.

All refunds of one payment are changed under the lock of their charge.
"""

from __future__ import annotations

import hashlib
import json
import logging
from datetime import datetime
from functools import partial

from django.db import transaction
from django.db.models import Sum
from django.utils import timezone

from django_krcard import gateway, signals
from django_krcard.models import Charge, Notice, Refund, lock
from django_krcard.services import notices
from django_krcard.services.acts import Act
from django_krcard.services.outcomes import LOOK_AGAIN, SEND_AGAIN_LATER
from django_krcard.services.steps import ASK_AGAIN
from django_krcard.services.timeline import record

logger = logging.getLogger(__name__)

Status = Refund.Status

#: A Refund's status in our words. Pending is also what we do not know: the money may be on its way.
STATUS_AT_STRIPE = {
    "pending": Status.PENDING,
    "requires_action": Status.PENDING,
    "succeeded": Status.SUCCEEDED,
    "failed": Status.FAILED,
    "canceled": Status.CANCELLED,
}

#: How much Stripe has said of a refund. It never takes back what ranks higher; that a succeeded one fails, it may say.
RANK = {Status.PENDING: 1, Status.SUCCEEDED: 2, Status.FAILED: 3, Status.CANCELLED: 3}

MAX_REFERENCE = Refund._meta.get_field("reference").max_length


def sync(charge: Charge) -> Act[list[Refund]]:
    """Ask Stripe for all refunds of a charge, and let our rows follow. One made in the dashboard gets a row, too."""
    found = yield partial(_all_of, charge.stripe_id)
    return [apply(charge, told) for told in reversed(found)]


def _all_of(payment_intent: str) -> list[gateway.Refund]:
    return list(gateway.refunds_of(payment_intent))


def apply(charge: Charge, told: gateway.Refund) -> Refund:
    """Let our row follow a refund of Stripe's. Twice, late, in any order: same row, one signal."""
    status = STATUS_AT_STRIPE.get(told.status)
    if status is None:
        logger.error("Refund %s: status %r is unknown", told.id, told.status)
        status = Status.PENDING
    with transaction.atomic():
        row = _row_of(lock(charge, "mandate", "payment_method"), told)
        # Without Stripe's id all that the row says is what we thought.
        if not row.stripe_id or RANK[status] > RANK[row.status]:
            # Ours, and its row was lost: the customer was told when it happened.
            is_news = row.pk is not None or row.reference == told.id
            row.stripe_id = told.id
            settle(row, status, code=told.failure_code, tell=is_news)
    return row


def _row_of(charge: Charge, told: gateway.Refund) -> Refund:
    """The row of a refund of Stripe's. A new one, not saved yet, if it was made in the dashboard, or its row was lost
    with a restored backup."""
    row = charge.refunds.filter(stripe_id=told.id).first()
    if row:
        return row
    reference = told.metadata.get("krcard_refund_reference", "")
    ours = 1 <= len(reference) <= MAX_REFERENCE and names_of(charge, reference).items() <= told.metadata.items()
    row = charge.refunds.filter(reference=reference).first() if ours else None
    if row and not row.stripe_id and row.amount == told.amount:
        return row
    if row:
        logger.critical("Refund %s at Stripe bears the reference of another, %s", told.id, row.public_id)
    names = {"reference": told.id, "idempotency_key": f"stripe-{told.id}"}
    if ours and not row:
        names = {"reference": reference, "idempotency_key": key_of(charge, reference)}
    return Refund(charge=charge, amount=told.amount, requested_by="stripe", **names)


def settle(row: Refund, status: str, *, code: str = "", tell: bool = True) -> None:
    """Write down the state of a refund, with all that follows from it. Its charge is locked.

    ``tell``: the customer gets a notice when the money went back.
    """
    row.status, row.failure_code = status, code
    row.next_step_at = _next_step(row)
    row.save()
    # Counted as Stripe counts: what is pending is on its way, what failed came back.
    back = row.charge.refunds.filter(status__in=[Status.PENDING, Status.SUCCEEDED])
    row.charge.refunded_amount = back.aggregate(amount=Sum("amount"))["amount"] or 0
    row.charge.save(update_fields=["refunded_amount"])
    _record(row)
    if tell and row.status == Status.SUCCEEDED:
        left = row.charge.amount - row.charge.refunded_amount
        words = {"about": f"refunded:{row.public_id}", "charge": row.charge, "refund": row, "left": left}
        notices.write(row.charge.mandate, Notice.Kind.CHARGE_REFUNDED, **words)


def _next_step(row: Refund) -> datetime | None:
    now = timezone.now()
    match row.status:
        case Status.READY:
            return now + SEND_AGAIN_LATER
        case Status.UNKNOWN:
            return now + LOOK_AGAIN[min(row.sends, len(LOOK_AGAIN)) - 1]
        case Status.PENDING:
            return now + ASK_AGAIN
    return None


def _record(row: Refund) -> None:
    """Timeline and signal."""
    charge, mandate = row.charge, row.charge.mandate
    data = {"reference": charge.reference, "refund": row.reference, "amount": row.amount}
    actor = "stripe" if row.stripe_id else "system"
    if row.status == Status.SUCCEEDED:
        record(mandate, "charge_refunded", actor=actor, stripe_refund=row.stripe_id, **data)
        signals.send_on_commit(signals.charge_refunded, Charge, charge=charge, refund=row)
    if row.status in (Status.FAILED, Status.CANCELLED):
        # A person must look: the customer does not have the money, or not any more.
        why = row.failure_code or "no reason given"
        logger.error("Refund %s of %s won failed (%s)", row.public_id, row.amount, why)
        record(mandate, "refund_failed", actor=actor, stripe_refund=row.stripe_id, code=row.failure_code, **data)


def left_of(charge: Charge) -> int:
    """Whole won of a charge that can still be paid back. What may be on its way back is not left."""
    counted = charge.refunds.filter(status__in=Refund.COUNTED).aggregate(amount=Sum("amount"))["amount"]
    return charge.amount - (counted or 0)


def key_of(charge: Charge, reference: str) -> str:
    """What the refund *is*, so that a row lost with a restored backup gets the same key again."""
    mode = "live" if charge.mandate.customer.livemode else "test"
    # As JSON, because both references are the site's and may contain any sign that could stand between them.
    identity = json.dumps([mode, str(charge.mandate.public_id), charge.reference, reference])
    return f"krc1-refund-{hashlib.sha256(identity.encode()).hexdigest()[:40]}"


def names_of(charge: Charge, reference: str) -> dict[str, str]:
    """What Stripe keeps of a refund, so that we know it again."""
    return {
        "krcard_refund_reference": reference,
        "krcard_mandate": str(charge.mandate.public_id),
        "krcard_reference": charge.reference,
    }
