"""Disputes: the customer tells the issuer that a payment was not theirs, or not right.

Which disputes a mandate has had, and what was last heard of each, is read from its timeline: that is where every
opening and closing is written down, once.
"""

from __future__ import annotations

import logging

from django.db import transaction

from django_krcard import gateway, signals
from django_krcard.conf import conf
from django_krcard.models import Charge, Mandate, TimelineEntry, lock
from django_krcard.services.gate import IN_DISPUTE
from django_krcard.services.mandates import hold, holds_on, resume, revoke
from django_krcard.services.timeline import record

logger = logging.getLogger(__name__)

#: How far a dispute is. It never goes back, so what ranks lower was seen before. An inquiry that is over may still
#: become a dispute, and one that was won may be lost in the end. A word that is not here is one of an open dispute.
RANK = {
    "warning_needs_response": 0,
    "warning_under_review": 0,
    "warning_closed": 1,
    "needs_response": 2,
    "under_review": 2,
    "prevented": 3,
    "won": 3,
    "lost": 4,
}
OPEN_RANK = 2

#: How the reason of a hold begins that only a dispute asked for.
HELD_FOR = "dispute "


def apply(charge: Charge, dispute: gateway.Dispute) -> Charge:
    """Let a charge and its mandate follow a dispute. Twice, late, in any order: same rows, one signal for each step."""
    if dispute.payment_intent != charge.stripe_id:
        logger.error("Dispute %s is not one of charge %s: not applied", dispute.id, charge.public_id)
        return charge
    with transaction.atomic():
        # The mandate before the charge, as everywhere: two orders would be a deadlock.
        mandate = lock(charge.mandate)
        charge = lock(charge)
        before = _last_heard(mandate).get(dispute.id)
        known = before.data["status"] if before else None
        if _is_over(known) and _rank(dispute.status) <= _rank(known):
            # Told already, or what Stripe said a while ago.
            return charge
        if _is_over(dispute.status):
            _closed(charge, mandate, dispute)
        elif known is None or _is_over(known):
            _opened(charge, mandate, dispute)
        elif charge.dispute_id != dispute.id or _rank(dispute.status) >= _rank(charge.dispute_status):
            _show(charge, mandate, dispute)
    return charge


def _opened(charge: Charge, mandate: Mandate, dispute: gateway.Dispute) -> None:
    _record(mandate, "dispute_opened", charge, dispute)
    _show(charge, mandate, dispute)
    if mandate.can_be_held:
        mandate = hold(mandate, by="stripe", reason=f"{HELD_FOR}{dispute.id}")
    signals.send_on_commit(signals.dispute_opened, Charge, mandate=mandate, charge=charge)


def _closed(charge: Charge, mandate: Mandate, dispute: gateway.Dispute) -> None:
    _record(mandate, "dispute_closed", charge, dispute)
    _show(charge, mandate, dispute)
    mandate = _after(mandate, dispute)
    signals.send_on_commit(signals.dispute_closed, Charge, mandate=mandate, charge=charge)


def _rank(status: str) -> int:
    return RANK.get(status, OPEN_RANK)


def _is_over(status: str | None) -> bool:
    return status in Charge.DISPUTE_OVER


def _last_heard(mandate: Mandate) -> dict[str, TimelineEntry]:
    """The newest entry of each dispute of a mandate."""
    entries = mandate.timeline.filter(kind__in=["dispute_opened", "dispute_closed"]).order_by("pk")
    return {entry.data["dispute"]: entry for entry in entries}


def _record(mandate: Mandate, kind: str, charge: Charge, dispute: gateway.Dispute) -> None:
    at_stripe = {"dispute": dispute.id, "status": dispute.status, "reason": dispute.reason}
    if dispute.respond_by:
        at_stripe["respond_by"] = dispute.respond_by.isoformat()
    record(mandate, kind, actor="stripe", reference=charge.reference, amount=dispute.amount, **at_stripe)


def _show(charge: Charge, mandate: Mandate, dispute: gateway.Dispute) -> None:
    """Keep on the charge the dispute that counts: should there be several, one that is open."""
    shown = dispute.id, dispute.status
    if _is_over(dispute.status):
        heard = [entry for entry in _last_heard(mandate).values() if entry.data["reference"] == charge.reference]
        still_open = [entry.data for entry in heard if not _is_over(entry.data["status"])]
        shown = next(((data["dispute"], data["status"]) for data in still_open), shown)
    charge.dispute_id, charge.dispute_status = shown
    charge.save(update_fields=["dispute_id", "dispute_status"])


def _after(mandate: Mandate, dispute: gateway.Dispute) -> Mandate:
    """What becomes of the agreement when a dispute is over, as the site wants it."""
    wish = conf.AFTER_DISPUTE["lost" if dispute.status == "lost" else "won"]
    reason = f"{HELD_FOR}{dispute.id}: {dispute.status}"
    if wish == "end":
        return revoke(mandate, by="stripe", reason=reason)
    if wish == "resume":
        may = mandate.status == Mandate.Status.ON_HOLD and _only_disputes_hold(mandate)
        return resume(mandate, by="stripe", reason=reason) if may else mandate
    if mandate.can_be_held:
        # By another name, so that the next dispute that is won does not decide what a person shall decide.
        return hold(mandate, by="system", reason=reason)
    return mandate


def _only_disputes_hold(mandate: Mandate) -> bool:
    """Whether nobody else wants the mandate on hold, and no other dispute under it is open."""
    for_disputes = all(by == "stripe" and reason.startswith(HELD_FOR) for by, reason in holds_on(mandate))
    return for_disputes and not mandate.charges.filter(IN_DISPUTE).exists()
