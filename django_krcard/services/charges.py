"""Charging a saved card later, and only as agreed."""

from __future__ import annotations

import hashlib
import logging
from datetime import date, datetime, time, timedelta
from typing import Any

from django.db import transaction
from django.db.models import Count, F, Q, Sum
from django.db.models.functions import Coalesce
from django.utils import timezone

from django_krcard import gateway, rules, signals
from django_krcard.conf import conf
from django_krcard.exceptions import (
    CardDeclined,
    ChargeRefused,
    KeyReused,
    ReferenceConflict,
    StripeBusy,
    StripeRefusedKey,
    StripeRefusedRequest,
    StripeUnavailable,
)
from django_krcard.models import Charge, Mandate, lock
from django_krcard.services.consents import is_intact
from django_krcard.services.timeline import record

logger = logging.getLogger(__name__)

Status = Charge.Status

#: How long one sender has a charge for itself. Longer than the slowest call with all its retries.
LEASE = timedelta(minutes=2)
#: Stripe keeps the answer to a key for 24 hours at least; after that the same key would charge again.
SAME_KEY_FOR = timedelta(hours=23)

MAX_REFERENCE = Charge._meta.get_field("reference").max_length
MAX_DESCRIPTION = Charge._meta.get_field("description").max_length

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


def can_charge(mandate: Mandate, amount: int, *, at: datetime | None = None) -> rules.Verdict:
    """Say whether ``amount`` whole won may be charged under ``mandate`` (now, or ``at``), and if not, why.

    The same question that ``charge`` asks. Sends and changes nothing.
    """
    mandate.refresh_from_db()
    return rules.judge(_facts(mandate, at or timezone.now()), amount)


def charge(
    mandate: Mandate, amount: int, *, reference: str, description: str = "", by: str = "system", reason: str = ""
) -> Charge:
    """Charge ``amount`` whole won to the card of ``mandate``, once for each ``reference``.

    Returns the charge in whatever state it ended; the same reference again returns the same charge. One whose
    outcome is unknown, or that was never sent, is sent (again) under its one key, after the terms were asked again.

    Raises ``ChargeRefused`` when the agreed terms do not cover it (Stripe is not asked), ``ReferenceConflict`` when
    the reference was used for another amount, ``StripeRefusedKey`` when the site's key may not charge.
    ``by`` and ``reason`` go to the timeline; the customer sees ``description``. https://docs.stripe.com/api/payment_intents/create
    """
    if not 1 <= len(reference) <= MAX_REFERENCE or len(description) > MAX_DESCRIPTION:
        raise ValueError(f"reference takes 1 to {MAX_REFERENCE} characters, description up to {MAX_DESCRIPTION}.")
    prepared, verdict = _prepare(mandate, amount, reference, description, by, reason)
    if verdict is None or (prepared and prepared.first_sent_at and not verdict.allowed):
        # It has its answer, somebody is sending it now, or it must not be sent a second time.
        return prepared
    if not verdict.allowed:
        raise ChargeRefused(verdict.code, verdict.message, prepared)
    if _claim(prepared):
        # Read again: what is sent is what was committed, also when another caller prepared it once more.
        prepared.refresh_from_db()
        _send(prepared)
    prepared.refresh_from_db()
    return prepared


def next_payment_on(mandate: Mandate) -> date | None:
    """The first day on which the next regular payment may be charged, or ``None`` if there is none to come."""
    rule = rules.Rule.from_dict(mandate.consent.rule)
    if mandate.status != Mandate.Status.ACTIVE or rule.frequency != rules.Frequency.RECURRING:
        return None
    facts = _facts(mandate, timezone.now())
    day = facts.day
    if facts.charges_in_period >= rule.charges_per_period:
        _start, day = rules.period_around(facts.day, anchor=facts.began_on, rule=rule)
    return day if day < rule.ends_before(facts.agreed_on) else None


def sync(charge: Charge, *, stripe_id: str = "") -> Charge:
    """Ask Stripe about a charge that was sent, and write down what it says."""
    return _apply(charge, gateway.retrieve_payment_intent(charge.stripe_id or stripe_id))


# --- before the call -----------------------------------------------------------------------------


def _prepare(
    mandate: Mandate, amount: Any, reference: str, description: str, by: str, reason: str
) -> tuple[Charge | None, rules.Verdict | None]:
    """Judge and reserve in one transaction, with the mandate locked. Commits before anything is sent.

    No verdict means that nobody had to be asked: this reference has its charge, and it is not to be sent now.
    """
    now = timezone.now()
    with transaction.atomic():
        mandate = lock(mandate)
        existing = mandate.charges.filter(reference=reference).first()
        if existing and (type(amount) is not int or existing.amount != amount):
            raise ReferenceConflict(f"{reference!r} was used for {existing.amount} won under mandate {mandate}.")
        if existing and not _may_be_sent(existing, now):
            return existing, None
        if existing and existing.first_sent_at and existing.payment_method_id != mandate.payment_method_id:
            # The card was replaced meanwhile. What was asked of the old one is never asked of it again.
            return existing, None
        verdict = rules.judge(_facts(mandate, now, besides=existing), amount)
        if existing and existing.first_sent_at:
            # Sent before with no answer. The terms say whether it may be sent again; what it was stays as it is.
            return existing, verdict
        prepared = None
        if rules.is_amount(amount):
            prepared = existing or Charge(mandate=mandate, reference=reference, amount=amount, description=description)
            prepared.status = Status.READY if verdict.allowed else Status.REFUSED
            prepared.refusal_code = verdict.code
            prepared.consent = mandate.consent
            prepared.payment_method = mandate.payment_method
            prepared.due_at = now
            prepared.idempotency_key = _key(mandate, reference, prepared.attempt)
            prepared.params = _params(prepared) if verdict.allowed else {}
            prepared.requested_by, prepared.reason = by, reason
            prepared.save()
        # What is no amount may be anything at all, and the timeline keeps JSON.
        asked = {"reference": reference, "amount": amount if prepared else repr(amount), "reason": reason}
        if verdict.allowed:
            record(mandate, "charge_requested", actor=by, **asked)
        else:
            record(mandate, "charge_refused", actor=by, code=verdict.code, **asked)
            refused = {"mandate": mandate, "charge": prepared, "code": verdict.code}
            signals.send_on_commit(signals.charge_refused, Charge, **refused)
    return prepared, verdict


def _may_be_sent(charge: Charge, now: datetime) -> bool:
    if charge.first_sent_at and now - charge.first_sent_at >= SAME_KEY_FOR:
        return False
    if charge.status == Status.SENDING:
        return charge.lease_until < now
    return charge.status in (Status.READY, Status.UNKNOWN, Status.REFUSED)


def _facts(mandate: Mandate, at: datetime, *, besides: Charge | None = None) -> rules.Facts:
    rule = rules.Rule.from_dict(mandate.consent.rule)
    day = _day(at)
    began_on = _day(mandate.activated_at) if mandate.activated_at else None
    period = rules.period_around(day, anchor=began_on, rule=rule) if began_on else None
    counted = mandate.charges.filter(status__in=Charge.COUNTED)
    if besides:
        counted = counted.exclude(pk=besides.pk)
    inside = Q(due_at__gte=_midnight(period[0]), due_at__lt=_midnight(period[1])) if period else Q(pk=None)
    under_this_consent = Q(consent=mandate.consent) | ~Q(status=Status.SUCCEEDED)
    used = counted.aggregate(
        ever=Count("pk", filter=under_this_consent),
        in_period=Count("pk", filter=inside),
        amount=Coalesce(Sum("amount", filter=inside), 0),
    )
    card = mandate.payment_method
    return rules.Facts(
        rule=rule,
        day=day,
        began_on=began_on,
        agreed_on=_day(mandate.consent.given_at),
        mandate_status=mandate.status,
        same_mode=mandate.customer.livemode == conf.LIVEMODE,
        charging_paused=conf.CHARGING_PAUSED,
        consent_intact=is_intact(mandate.consent),
        card_saved=card is not None,
        card_attached=card is not None and card.detached_at is None,
        charges_ever=used["ever"],
        charges_in_period=used["in_period"],
        amount_in_period=used["amount"],
    )


def _day(moment: datetime) -> date:
    return moment.astimezone(conf.TIME_ZONE).date()


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time.min, conf.TIME_ZONE)


def _key(mandate: Mandate, reference: str, attempt: int) -> str:
    """What the charge *is*, so that a row lost with a restored backup gets the same key again."""
    mode = "live" if mandate.customer.livemode else "test"
    identity = f"{mode}|{mandate.public_id}|{reference}|{attempt}"
    return f"krc1-{hashlib.sha256(identity.encode()).hexdigest()[:40]}"


def _params(charge: Charge) -> dict[str, Any]:
    return gateway.payment_intent_params(
        amount=charge.amount,
        customer=charge.mandate.customer.stripe_id,
        card=charge.payment_method.stripe_id,
        card_type=charge.payment_method.type,
        description=charge.description,
        # Nothing of the row itself: a row made again after a restored backup must ask for the very same thing.
        metadata={
            "krcard_mandate": str(charge.mandate.public_id),
            "krcard_reference": charge.reference,
            "krcard_consent": str(charge.consent.public_id),
            "krcard_consent_hash": charge.consent.record_hash,
        },
    )


# --- the call ------------------------------------------------------------------------------------


def _claim(charge: Charge) -> bool:
    """Take the charge for sending, if nobody else has and the mandate was not ended since it was judged.

    Compare-and-set on the charge alone: PostgreSQL does not look again at what stands in a subquery after it waited
    for a lock. So the mandate is asked first, under its own.
    """
    now = timezone.now()
    free = Q(status__in=[Status.READY, Status.UNKNOWN]) | Q(status=Status.SENDING, lease_until__lt=now)
    with transaction.atomic():
        if lock(charge.mandate).status != Mandate.Status.ACTIVE:
            return False
        claimed = Charge.objects.filter(free, pk=charge.pk).update(
            status=Status.SENDING,
            lease_until=now + LEASE,
            first_sent_at=Coalesce(F("first_sent_at"), now),
            last_sent_at=now,
        )
    return claimed == 1


def _send(charge: Charge) -> None:
    try:
        intent = gateway.create_payment_intent(charge.params, key=charge.idempotency_key)
    except CardDeclined as error:
        needs_customer = error.code == "authentication_required"
        status = Status.ACTION_REQUIRED if needs_customer else Status.DECLINED
        _settle(charge, status, stripe_id=error.payment_intent, code=error.code, decline_code=error.decline_code)
    except StripeRefusedRequest as error:
        # A detached card or a dead mandate comes as 400 too: not executed, and no reason to break the caller's page.
        _settle(charge, Status.DECLINED, code=error.code or "invalid_request")
    except StripeRefusedKey as error:
        if charge.first_sent_at == charge.last_sent_at:
            # The only request so far, and it was not executed: as if it had never been sent.
            Charge.objects.filter(pk=charge.pk, status=Status.SENDING).update(first_sent_at=None)
            _settle(charge, Status.READY, code=error.code)
        else:
            _settle(charge, Status.UNKNOWN, code=error.code)
        raise
    except (StripeUnavailable, StripeBusy, KeyReused) as error:
        # Also 409 and 429: the SDK tries again by itself, and an earlier try may have been executed.
        _settle(charge, Status.UNKNOWN, code=error.code)
    else:
        _apply(charge, intent)


# --- after the call ------------------------------------------------------------------------------


def _apply(charge: Charge, intent: gateway.PaymentIntent) -> Charge:
    """Let a charge follow its PaymentIntent. Answer, webhook and reconcile all come through here."""
    told = (intent.amount, intent.currency, intent.customer)
    if told != (charge.amount, "krw", charge.mandate.customer.stripe_id):
        logger.error("Payment intent %s is not that of charge %s: not applied", intent.id, charge.public_id)
        return charge
    status = STATUS_OF_INTENT.get(intent.status)
    if status is None:
        logger.error("Payment intent %s: status %r is unknown", intent.id, intent.status)
        status = Status.UNKNOWN
    if status == Status.DECLINED and intent.failure_code == "authentication_required":
        status = Status.ACTION_REQUIRED
    return _settle(charge, status, stripe_id=intent.id, code=intent.failure_code, decline_code=intent.decline_code)


def _settle(charge: Charge, status: str, *, stripe_id: str = "", code: str = "", decline_code: str = "") -> Charge:
    """Write down the state of a charge under its lock, once; what is final stays."""
    with transaction.atomic():
        charge = lock(charge)
        if charge.status in Charge.FINAL or RANK[status] < RANK[charge.status]:
            # The webhook was faster, or this is what Stripe said a while ago.
            return charge
        changed = charge.status != status
        charge.status = status
        charge.stripe_id = stripe_id or charge.stripe_id
        charge.failure_code = "" if status == Status.SUCCEEDED else code
        charge.decline_code = "" if status == Status.SUCCEEDED else decline_code
        charge.lease_until = None
        charge.save()
        if changed:
            _tell(charge)
    return charge


def _tell(charge: Charge) -> None:
    data = {"reference": charge.reference, "amount": charge.amount, "payment_intent": charge.stripe_id}
    if charge.failure_code:
        data |= {"code": charge.failure_code, "decline_code": charge.decline_code}
    record(charge.mandate, f"charge_{charge.status}", actor="stripe", **data)
    if charge.status == Status.SUCCEEDED:
        signals.send_on_commit(signals.charge_succeeded, Charge, charge=charge)
    if charge.status in (Status.DECLINED, Status.ACTION_REQUIRED, Status.CANCELLED):
        signals.send_on_commit(signals.charge_failed, Charge, charge=charge)
