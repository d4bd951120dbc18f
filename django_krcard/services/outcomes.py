"""After the call: what Stripe's answer means for a charge. Answer, webhook and reconcile all come through here."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any, NamedTuple

from django.db import transaction
from django.utils import timezone

from django_krcard import declines, gateway, rules, signals
from django_krcard.conf import conf
from django_krcard.declines import Family
from django_krcard.models import Charge, Notice, TimelineEntry, lock_all, save_all
from django_krcard.services import notices
from django_krcard.services.gate import same_period
from django_krcard.services.mandates import hold
from django_krcard.services.timeline import entry, record_all

logger = logging.getLogger(__name__)

Status = Charge.Status

#: A PaymentIntent's status in our words. What is missing here is unknown to us and changes nothing.
STATUS_OF_INTENT = {
    "succeeded": Status.SUCCEEDED,
    "processing": Status.PROCESSING,
    "requires_action": Status.ACTION_REQUIRED,
    "requires_payment_method": Status.DECLINED,
    "canceled": Status.CANCELLED,
}

#: How much is known of a charge that was sent. Its state never falls back to a lower rank.
RANK = {
    Status.SCHEDULED: 0,
    Status.READY: 0,
    Status.SENDING: 0,
    Status.UNKNOWN: 0,
    Status.PROCESSING: 1,
    Status.ACTION_REQUIRED: 2,
    Status.DECLINED: 2,
    Status.SUCCEEDED: 3,
    Status.CANCELLED: 3,
}

#: When a charge whose outcome is unknown is looked at again, after so many tries.
LOOK_AGAIN = [timedelta(minutes=m) for m in (1, 5, 15, 30, 60)]
ASK_WHILE_PROCESSING = timedelta(hours=1)
SEND_AGAIN_LATER = timedelta(minutes=1)


class News(NamedTuple):
    """What became of a charge. ``ours``: this is the answer to our own request, and not what somebody saw while we
    were waiting for it. ``executed``: not so, says Stripe, of this one request. ``tell``: the customer gets a notice.
    """

    charge: Charge
    status: str
    ours: bool = False
    stripe_id: str = ""
    code: str = ""
    decline_code: str = ""
    tell: bool = True
    executed: bool = True


def apply(charge: Charge, intent: gateway.PaymentIntent, *, ours: bool = False, tell: bool = True) -> Charge:
    """Let a charge follow its PaymentIntent. Twice, late, in any order: same row, one signal."""
    news = read(charge, intent, ours=ours, tell=tell)
    return settle(*news) if news else charge


def read(charge: Charge, intent: gateway.PaymentIntent, *, ours: bool = False, tell: bool = True) -> News | None:
    """What a PaymentIntent says of a charge; ``None`` if it is that of another one."""
    told = (intent.amount, intent.currency)
    if told != (charge.amount, "krw") or intent.customer not in charge.mandate.customer.stripe_ids:
        logger.error("Payment intent %s is not that of charge %s: not applied", intent.id, charge.public_id)
        return None
    status = STATUS_OF_INTENT.get(intent.status)
    if status is None:
        logger.error("Payment intent %s: status %r is unknown", intent.id, intent.status)
        status = Status.UNKNOWN
    if status == Status.DECLINED and intent.failure_code == "authentication_required":
        status = Status.ACTION_REQUIRED
    return News(charge, status, ours, intent.id, intent.failure_code, intent.decline_code, tell)


def settle(charge: Charge, status: str, *args: Any, **news: Any) -> Charge:
    """``settle_all`` for one, given the fields of its ``News``."""
    (charge,) = settle_all([News(charge, status, *args, **news)])
    return charge


def settle_all(many: Sequence[News]) -> list[Charge]:
    """Write down the state of charges under their locks, with all that follows from it; what is final stays."""
    with transaction.atomic(savepoint=False):
        # Before the charges, as everywhere: two orders would be a deadlock.
        lock_all([news.charge.mandate for news in many if declines.REVOKED & {news.code, news.decline_code}])
        # Unless they succeeded, what follows depends on the mandate as it is now.
        known = ["mandate"] if all(news.status == Status.SUCCEEDED for news in many) else []
        charges = lock_all([news.charge for news in many], "payment_method", *known)
        # The webhook may have been faster, or this is what Stripe said a while ago.
        written = [(charge, news) for charge, news in zip(charges, many, strict=True) if _may_become(charge, news)]
        changed = [(charge, news) for charge, news in written if charge.status != news.status]
        for charge, news in written:
            _become(charge, news)
        save_all([charge for charge, _news in written], WRITTEN)
        record_all(entry for charge, _news in changed for entry in _entries(charge))
        for charge, news in changed:
            _follow(charge)
            if news.tell:
                _tell(charge)
    return charges


#: What ``settle_all`` writes.
WRITTEN = [
    "status",
    "stripe_id",
    "failure_code",
    "decline_code",
    "first_sent_at",
    "sends",
    "next_step_at",
]


def _become(charge: Charge, news: News) -> None:
    changed = charge.status != news.status
    charge.status = news.status
    charge.stripe_id = news.stripe_id or charge.stripe_id
    charge.failure_code = "" if news.status == Status.SUCCEEDED else news.code
    charge.decline_code = "" if news.status == Status.SUCCEEDED else news.decline_code
    if news.status == Status.READY:
        # Not executed, and nothing before it was: as if it had never been sent.
        charge.first_sent_at, charge.sends = None, 0
    if changed or news.status == Status.UNKNOWN:
        charge.next_step_at = _next_step(charge)


def _may_become(charge: Charge, news: News) -> bool:
    falls_back = RANK[news.status] < RANK[charge.status] and not _was_waiting_for_stripe(charge, news)
    if charge.status in Charge.FINAL or falls_back:
        return False
    if charge.status == Status.SENDING and not news.ours and charge.next_step_at > timezone.now():
        # Somebody waits for the answer right now. Only what no answer can change is taken before it.
        return news.status in Charge.FINAL
    # Somebody has sent it once more, because this request took so long: what became of theirs it does not say.
    return news.executed or (charge.attempt, charge.sends) == (news.charge.attempt, news.charge.sends)


def _was_waiting_for_stripe(charge: Charge, news: News) -> bool:
    """What saves a card waits for its customer from the beginning, before Stripe has heard of it."""
    return bool(charge.setup_id) and (charge.status, news.status) == (Status.ACTION_REQUIRED, Status.PROCESSING)


def _next_step(charge: Charge) -> datetime | None:
    """When somebody has to look at the charge again; ``None`` if nothing more happens by itself."""
    now = timezone.now()
    if charge.invoice_id and charge.status not in (Status.UNKNOWN, Status.PROCESSING):
        # Stripe tries by itself again, and tells.
        return None
    match charge.status:
        case Status.READY:
            return now + SEND_AGAIN_LATER
        case Status.UNKNOWN:
            return now + LOOK_AGAIN[min(charge.sends, len(LOOK_AGAIN)) - 1]
        case Status.PROCESSING:
            return now + ASK_WHILE_PROCESSING
        case Status.ACTION_REQUIRED:
            return now if charge.mandate.has_ended else now + timedelta(hours=conf.ACTION_REQUIRED_HOURS)
        case Status.DECLINED:
            return _retry_at(charge, now)
    return None


def _retry_at(charge: Charge, now: datetime) -> datetime | None:
    """When a declined charge is tried again: only if the terms say so, only after a soft decline, in its period."""
    rule = rules.Rule.from_dict(charge.mandate.consent.rule)
    at = now + timedelta(days=rule.retry_after_days)
    may = (
        charge.attempt <= rule.max_retries
        and charge.stripe_id
        # Of one that was to save the card there is no card.
        and not charge.setup_id
        and not charge.mandate.has_ended
        and declines.family_of(charge.failure_code, charge.decline_code) == Family.RETRY_LATER
        and same_period(charge.mandate, charge.due_at, at)
    )
    return at if may else None


def _entries(charge: Charge) -> Iterator[TimelineEntry]:
    data = {"reference": charge.reference, "amount": charge.amount, "payment_intent": charge.stripe_id}
    if charge.failure_code:
        data |= {"code": charge.failure_code, "decline_code": charge.decline_code}
    yield entry(charge.mandate, f"charge_{charge.status}", actor="stripe", **data)
    if charge.status == Status.DECLINED and charge.next_step_at:
        yield entry(charge.mandate, "charge_retry_planned", actor="system", reference=charge.reference)


def _follow(charge: Charge) -> None:
    """Signals, and the mandate on hold when its customer told the issuer to stop."""
    if charge.status == Status.SUCCEEDED:
        signals.send_on_commit(signals.charge_succeeded, Charge, charge=charge)
    if charge.status in (Status.DECLINED, Status.ACTION_REQUIRED, Status.CANCELLED):
        signals.send_on_commit(signals.charge_failed, Charge, charge=charge)
    if declines.REVOKED & {charge.failure_code, charge.decline_code} and charge.mandate.can_be_held:
        reason = f"the issuer says that the customer revoked it: {charge.decline_code}"
        hold(charge.mandate, by="stripe", reason=reason)


def _tell(charge: Charge) -> None:
    """What the customer hears of it."""
    told = partial(notices.write, charge.mandate, charge=charge)
    about = f"{charge.public_id}:{charge.attempt}"
    if charge.status == Status.SUCCEEDED:
        told(Notice.Kind.CHARGE_SUCCEEDED, about=f"succeeded:{about}")
    if charge.status == Status.DECLINED:
        family = str(declines.family_of(charge.failure_code, charge.decline_code))
        told(Notice.Kind.CHARGE_FAILED, about=f"failed:{about}", family=family, retry_at=charge.next_step_at)
    if charge.status == Status.ACTION_REQUIRED and not charge.invoice_id:
        # For an invoice Stripe itself writes to the customer, with a link to its own page.
        told(Notice.Kind.ACTION_REQUIRED, about=f"action:{about}", hours=conf.ACTION_REQUIRED_HOURS)
