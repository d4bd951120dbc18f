"""After the question: what Stripe says of a subscription, and our row of it. Answer, webhook and reconcile all come
through here, with the mandate locked.

A subscription's status goes up and down, so no rank tells what is newer. What counts is when Stripe was asked:
``asked_at`` is taken before the question. Twice, late, in any order: same row, one entry for each change.
"""

from __future__ import annotations

import logging
from datetime import datetime
from typing import Any

from django_krcard import gateway
from django_krcard.models import Mandate, Subscription
from django_krcard.services.timeline import record

logger = logging.getLogger(__name__)

#: What we called it when we asked for it. Not the name that charges use: their messages are sorted by that.
REFERENCE = "krcard_subscription_reference"


def row_of(mandate: Mandate, told: gateway.Subscription) -> Subscription | None:
    """The row of a subscription of Stripe's; or a new one, not saved yet. ``None``: it is not of this mandate."""
    row = Subscription.objects.filter(stripe_id=told.id).first()
    reference = told.metadata.get(REFERENCE, "")
    if row is None and reference:
        # Its answer was lost, or is on its way.
        row = mandate.subscriptions.filter(reference=reference, stripe_id=None).first()
    if not _is_of(mandate, row, told):
        return None
    if row is None:
        taken = not reference or mandate.subscriptions.filter(reference=reference).exists()
        row = Subscription(reference=told.id if taken else reference)
    row.mandate = mandate
    return row


def follow(row: Subscription, told: gateway.Subscription, asked_at: datetime) -> None:
    """Let the row say what Stripe says, unless it knows better. What it is over stays so, and that it is over is
    believed whenever it was asked."""
    if row.is_over and row.stripe_id:
        return
    if told.status not in Subscription.OVER and row.told_at is not None and asked_at < row.told_at:
        return
    is_new = row.stripe_id is None
    before = {name: getattr(row, name) for name in NEWS}
    row.stripe_id, row.next_step_at, row.failure_code = told.id, None, ""
    for name in FOLLOWED:
        setattr(row, name, getattr(told, name))
    if row.is_over:
        row.above_agreed_at = None
    row.told_at = max(asked_at, row.told_at or asked_at)
    row.save()
    if row.status not in Subscription.STATUSES and row.status != before["status"]:
        logger.error("Subscription %s: status %r is unknown", row.stripe_id, row.status)
    _tell(row, before, is_new=is_new)


#: What our row takes over as it is.
FOLLOWED = [
    "status",
    "amount",
    "price",
    "interval",
    "interval_count",
    "current_period_start",
    "current_period_end",
    "cancel_at_period_end",
    "cancel_at",
    "canceled_at",
    "ended_at",
    "paused",
    "payment_method",
]

#: What of it is worth an entry of its own when it changes.
NEWS = {
    "amount": "subscription_amount",
    "cancel_at_period_end": "subscription_leaving",
    "paused": "subscription_paused",
    "payment_method": "subscription_card",
    "status": "subscription_status",
}


def _tell(row: Subscription, before: dict[str, Any], *, is_new: bool) -> None:
    if is_new:
        note(row, "subscription_started")
    for name, kind in NEWS.items():
        if is_new or getattr(row, name) == before[name] or (name == "status" and row.is_over):
            continue
        if row.is_over and name == "cancel_at_period_end":
            # Over is more than about to be.
            continue
        note(row, kind, before=before[name], **({} if name in ("status", "amount") else {name: getattr(row, name)}))
    if row.is_over:
        note(row, "subscription_ended")


def note(row: Subscription, kind: str, *, actor: str = "stripe", **data: Any) -> None:
    about = {"subscription": row.stripe_id or row.reference, "status": row.status, "amount": row.amount}
    record(row.mandate, kind, actor=actor, **about, **data)


def _is_of(mandate: Mandate, row: Subscription | None, told: gateway.Subscription) -> bool:
    customer = mandate.customer
    if told.customer not in customer.stripe_ids or told.livemode != customer.livemode:
        return False
    # Once ours, always ours: it goes on charging, whatever somebody does to its metadata.
    return row.mandate_id == mandate.pk if row else told.metadata.get("krcard_mandate") == str(mandate.public_id)
