"""Charging a saved card later, and only as agreed: before the call."""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from django.db import transaction
from django.utils import timezone

from django_krcard import gateway, rules, signals
from django_krcard.conf import conf
from django_krcard.exceptions import ChargeRefused, KrcardError, ReferenceConflict
from django_krcard.models import Charge, Mandate, save_all
from django_krcard.services import backup, gate, setups
from django_krcard.services.acts import Act, finish
from django_krcard.services.in_force import rule_on
from django_krcard.services.sending import cancel_at_stripe, send
from django_krcard.services.timeline import entry, record, record_all
from django_krcard.transactions import refuse_inside_transaction

Status = Charge.Status

#: How long one sender has a charge for itself. Longer than the slowest call.
LEASE = timedelta(minutes=2)
#: Stripe keeps the answer to a key for 24 hours at least; after that the same key would charge again.
SAME_KEY_FOR = timedelta(hours=23)
#: An answer like 500 is kept under the key, and asking again gives the same. After so many tries only looking helps.
MAX_SENDS = 8
#: Seconds between the tries while the caller waits.
PAUSES = (0.5, 1.0)

#: ``failure_code`` of a charge that Stripe never heard of. Asked for again, it is a new attempt.
NOT_CREATED = "not_created"

#: Asked for in these, it may be sent. In any other there is nothing to wait for.
WITHOUT_ANSWER = frozenset({Status.SCHEDULED, Status.READY, Status.SENDING, Status.UNKNOWN, Status.REFUSED})

MAX_REFERENCE = Charge._meta.get_field("reference").max_length
MAX_DESCRIPTION = Charge._meta.get_field("description").max_length


def charge(
    mandate: Mandate, amount: int, *, reference: str, description: str = "", by: str = "system", reason: str = ""
) -> Charge:
    """Charge ``amount`` whole won to the card of ``mandate``, once for each ``reference``.

    Returns the charge in whatever state it ended; the same reference again returns the same charge. One whose
    outcome is unknown, or that was never sent, is sent (again) under its one key, after the terms were asked again.

    Raises ``ChargeRefused`` when the agreed terms do not cover it (Stripe is not asked), ``ReferenceConflict`` when
    the reference was used for another amount, ``StripeRefusedKey`` when the site's key may not charge,
    ``DatabaseIsBehind`` after a backup was restored. ``by`` and ``reason`` go to the timeline; the customer sees
    ``description``. https://docs.stripe.com/api/payment_intents/create
    """
    charge = finish(charging(mandate, amount, reference=reference, description=description, by=by, reason=reason))
    return _try_again(charge)


def charging(
    mandate: Mandate, amount: int, *, reference: str, description: str = "", by: str = "system", reason: str = ""
) -> Act[Charge]:
    """``charge`` as an act, for those who have many on their way. Asks once; ``krcard_run_due`` asks again."""
    _check_words(reference, description)
    # Before anything is written: at the call it would be too late.
    refuse_inside_transaction()
    if mandate.customer.is_of_this_key:
        backup.refuse_if_behind()
    # First its turn, and then what is taken is sent at once: while Stripe makes us wait, it can still be stopped.
    known = _existing(mandate, reference, amount)
    has_turn = known is None or known.status in WITHOUT_ANSWER
    if has_turn and not gateway.take_turn_to_charge():
        yield gateway.wait_to_charge
    in_turn = False
    try:
        row, taken = _asked_for(mandate, amount, reference=reference, description=description, by=by, reason=reason)
        # Tried once more, it is another endpoint's turn.
        in_turn = has_turn and taken and not row.stripe_id
    finally:
        if has_turn and not in_turn:
            gateway.give_turn_back()
    if taken:
        return (yield from send(row, in_turn=in_turn))
    # It has its answer, somebody is sending it now, or it must not be sent a second time.
    row.refresh_from_db()
    return row


def _asked_for(
    mandate: Mandate, amount: int, *, reference: str, description: str, by: str, reason: str
) -> tuple[Charge, bool]:
    """The row of a charge, and whether it is the caller's to send. Raises ``ChargeRefused``, and that is kept."""
    with transaction.atomic():
        mandate = gate.locked(mandate)
        row = _existing(mandate, reference, amount)
        if row is None or row.status == Status.REFUSED:
            row = row or Charge(mandate=mandate, reference=reference, amount=amount, description=description)
            # Asked for anew, and for now: of this day nobody was told.
            row.requested_by, row.reason, row.due_at = by, reason, timezone.now()
        never_sent = row.first_sent_at is None
        verdict = take(row, mandate)
        refused = never_sent and verdict is not None and not verdict.allowed
        if refused and not (row.status == Status.SCHEDULED and verdict.code in rules.WAITING):
            refuse(row, mandate, verdict, amount=amount)
    if refused:
        raise ChargeRefused(verdict.code, verdict.message, row if row.pk else None)
    return row, verdict is not None and verdict.allowed


def schedule_charge(
    mandate: Mandate,
    amount: int,
    *,
    reference: str,
    due_at: datetime,
    description: str = "",
    by: str = "system",
    reason: str = "",
) -> Charge:
    """Write down that ``amount`` whole won are to be charged at ``due_at``. ``krcard_run_due`` sends it then.

    The terms are asked now, as of ``due_at``, and again before it is sent. What they can never cover raises
    ``ChargeRefused`` at once; what only has to wait (a mandate on hold, say) is kept. Where the terms promise advance
    notice, the customer is told in time. The same reference again returns the same charge; for another amount or
    another time it raises ``ReferenceConflict``. ``due_at`` is an aware datetime, or ``ValueError``.
    """
    _check_words(reference, description)
    if timezone.is_naive(due_at):
        raise ValueError("due_at needs a time zone.")
    with transaction.atomic():
        mandate = gate.locked(mandate)
        row = _existing(mandate, reference, amount)
        if row and row.status != Status.REFUSED:
            if row.status == Status.SCHEDULED and row.due_at != due_at:
                raise ReferenceConflict(f"{reference!r} is scheduled for {row.due_at:%Y-%m-%d %H:%M %Z}. Cancel it.")
            return row
        row = row or Charge(mandate=mandate, reference=reference, amount=amount, description=description)
        row.requested_by, row.reason = by, reason
        row.due_at = due_at
        at = max(due_at, timezone.now())
        verdict = gate.judge(mandate, amount, at, charge=row, due_at=due_at, planned=True)
        if not rules.is_amount(amount):
            # Said after what only has to wait. But what is no amount now will be none then.
            verdict = rules.Verdict("amount_invalid")
        if verdict.allowed or verdict.code in rules.WAITING:
            describe(row, mandate)
            row.status, row.refusal_code = Status.SCHEDULED, ""
            row.next_step_at = first_step(row)
            row.save()
            asked = {"reference": reference, "amount": amount, "due_at": due_at.isoformat(), "reason": reason}
            record(mandate, "charge_scheduled", actor=by, **asked)
            return row
        refuse(row, mandate, verdict, amount=amount)
    raise ChargeRefused(verdict.code, verdict.message, row if row.pk else None)


def cancel_charge(charge: Charge, *, by: str, reason: str) -> Charge:
    """Call off a charge that moved no money: scheduled, waiting for a retry, or for the customer.

    Raises ``KrcardError`` when it is too late, ``GatewayError`` when Stripe has to be asked and does not answer.
    """
    with transaction.atomic():
        gate.locked(charge.mandate)
        charge.refresh_from_db()
        unsent = charge.status in (Status.SCHEDULED, Status.READY) and charge.first_sent_at is None
        at_stripe = (
            charge.status in (Status.ACTION_REQUIRED, Status.DECLINED)
            and (charge.stripe_id or charge.setup_id)
            and not charge.invoice_id
        )
        if charge.status == Status.CANCELLED:
            return charge
        if not (unsent or at_stripe):
            raise KrcardError(f"Charge {charge.reference} is {charge.status} and cannot be cancelled.")
        record(charge.mandate, "charge_cancel_requested", actor=by, reference=charge.reference, reason=reason)
        # Should Stripe not answer, nothing is tried again, and krcard_run_due calls off what still can be paid.
        charge.next_step_at = timezone.now() if charge.status == Status.ACTION_REQUIRED else None
        if unsent:
            charge.status = Status.CANCELLED
        charge.save(update_fields=["status", "next_step_at"])
    if charge.setup_id:
        # It is paid while a card is saved, and called off with that.
        finish(setups.closing(charge.setup))
        charge.refresh_from_db()
        return charge
    return charge if unsent else finish(cancel_at_stripe(charge))


# --- under the mandate's lock --------------------------------------------------------------------


class Claim(NamedTuple):
    """A charge as it was read a moment ago, its locked mandate, and when it should have been sent."""

    charge: Charge
    mandate: Mandate
    due_at: datetime | None = None


def take(charge: Charge, mandate: Mandate, *, due_at: datetime | None = None) -> rules.Verdict | None:
    """``take_all`` for one."""
    (verdict,) = take_all([Claim(charge, mandate, due_at)])
    return verdict


def take_all(claims: Sequence[Claim]) -> list[rules.Verdict | None]:
    """Judge charges, and make those that the terms cover the caller's to send. Their mandates are locked.

    ``None``: it is not to be sent now, whatever the terms say. Somebody is at it, it has its answer, or only a look at
    Stripe can tell. Row, verdict and claim are one transaction: what is committed as ``sending`` was allowed then.
    """
    now, taken, entries = timezone.now(), [], []
    history = gate.History([claim.mandate for claim in claims], now)
    unchanged = _unchanged([claim.charge for claim in claims])

    def verdict_on(charge: Charge, mandate: Mandate, due_at: datetime | None) -> rules.Verdict | None:
        again = charge.status in (Status.SENDING, Status.UNKNOWN)
        if not (_may_be_sent_again(charge, mandate, now) if again else _may_be_sent(charge, now)):
            return None
        verdict = gate.judge(mandate, charge.amount, now, charge=charge, due_at=due_at, history=history)
        if not verdict.allowed:
            return verdict
        if charge.pk and charge.pk not in unchanged:
            return None
        _claim(charge, mandate, now, again=again)
        history.count(charge)
        taken.append(charge)
        if not again:
            asked = {"reference": charge.reference, "amount": charge.amount, "reason": charge.reason}
            entries.append(entry(mandate, "charge_requested", actor=charge.requested_by, **asked))
        return verdict

    verdicts = [verdict_on(*claim) for claim in claims]
    save_all(taken, WRITTEN)
    record_all(entries)
    return verdicts


def _claim(charge: Charge, mandate: Mandate, now: datetime, *, again: bool) -> None:
    if not again:
        if charge.status in (Status.DECLINED, Status.CANCELLED):
            charge.attempt += 1
        describe(charge, mandate)
        charge.params = _params(charge)
        charge.due_at = now
        charge.first_sent_at, charge.sends, charge.empty_looks = now, 0, 0
        charge.refusal_code = charge.failure_code = charge.decline_code = ""
    charge.status = Status.SENDING
    charge.last_sent_at = now
    charge.sends += 1
    charge.next_step_at = now + LEASE


def refuse(charge: Charge, mandate: Mandate, verdict: rules.Verdict, *, amount: Any) -> None:
    """Keep a refusal with its reason. What is no amount has no row."""
    if valid := rules.is_amount(amount):
        describe(charge, mandate)
        charge.status, charge.refusal_code, charge.next_step_at = Status.REFUSED, verdict.code, None
        charge.due_at = charge.due_at or timezone.now()
        charge.save()
    # What is no amount may be anything at all, and the timeline keeps JSON.
    asked = {"reference": charge.reference, "amount": amount if valid else repr(amount), "reason": charge.reason}
    record(mandate, "charge_refused", actor=charge.requested_by, code=verdict.code, **asked)
    refused = {"mandate": mandate, "charge": charge if valid else None, "code": verdict.code}
    signals.send_on_commit(signals.charge_refused, Charge, **refused)


def first_step(charge: Charge) -> datetime:
    """When a scheduled charge is first looked at: in time to announce it."""
    rule = rule_on(charge.mandate, gate.day_of(charge.due_at))
    days = max([rule.notice_days, *conf.NOTICE_DAYS])
    if not days:
        return charge.due_at
    return gate.midnight(gate.day_of(charge.due_at) - timedelta(days=days))


def _may_be_sent(charge: Charge, now: datetime) -> bool:
    match charge.status:
        case "" | Status.READY | Status.REFUSED:
            return True
        case Status.SCHEDULED:
            return charge.due_at <= now
        case Status.DECLINED:
            return charge.next_step_at is not None and charge.next_step_at <= now
        case Status.CANCELLED:
            return charge.failure_code == NOT_CREATED
    return False


def _may_be_sent_again(charge: Charge, mandate: Mandate, now: datetime) -> bool:
    """The same request once more. What was asked of a card that was replaced is never asked of it again."""
    free = charge.status == Status.UNKNOWN or charge.next_step_at <= now
    # A clock that was turned back makes a negative age: then nobody knows how old the key is.
    young = timedelta() <= now - charge.first_sent_at < SAME_KEY_FOR
    return free and young and charge.sends < MAX_SENDS and charge.payment_method_id == mandate.payment_method_id


def _existing(mandate: Mandate, reference: str, amount: Any) -> Charge | None:
    row = mandate.charges.filter(reference=reference).first()
    if row and row.invoice_id:
        raise ReferenceConflict(f"{reference!r} is an invoice of a subscription under mandate {mandate}.")
    if row and (type(amount) is not int or row.amount != amount):
        raise ReferenceConflict(f"{reference!r} was used for {row.amount} won under mandate {mandate}.")
    if row:
        row.mandate = mandate
    return row


def describe(charge: Charge, mandate: Mandate) -> None:
    """By what the charge is judged, what it is asked of, and under which key."""
    charge.mandate, charge.consent, charge.payment_method = mandate, mandate.consent, mandate.payment_method
    charge.idempotency_key = _key(mandate, charge.reference, charge.attempt)


def _unchanged(charges: Iterable[Charge]) -> set[int]:
    """Compare, for those that will be set: which are still as they were read, and locked from now on.

    A message of Stripe's may have been faster, and it does not ask for the mandate's lock.
    """
    seen = {(charge.pk, charge.status, charge.attempt, charge.next_step_at) for charge in charges}
    rows = Charge.objects.select_for_update(no_key=True).filter(pk__in={pk for pk, *_rest in seen if pk})
    return {row[0] for row in rows.order_by("pk").values_list("pk", "status", "attempt", "next_step_at") if row in seen}


#: What ``take`` and ``describe`` write.
WRITTEN = [
    "status",
    "attempt",
    "consent",
    "payment_method",
    "idempotency_key",
    "params",
    "due_at",
    "first_sent_at",
    "last_sent_at",
    "sends",
    "empty_looks",
    "next_step_at",
    "refusal_code",
    "failure_code",
    "decline_code",
    "requested_by",
    "reason",
]


def _key(mandate: Mandate, reference: str, attempt: int) -> str:
    """What the charge *is*, so that a row lost with a restored backup gets the same key again."""
    mode = "live" if mandate.customer.livemode else "test"
    identity = f"{mode}|{mandate.public_id}|{reference}|{attempt}"
    return f"krc1-{hashlib.sha256(identity.encode()).hexdigest()[:40]}"


def _params(charge: Charge) -> dict[str, Any]:
    """What Stripe is asked. A payment that was declined is confirmed once more and not made anew."""
    card = charge.payment_method
    if charge.stripe_id:
        return gateway.confirm_params(card=card.stripe_id, card_type=card.type)
    return gateway.payment_intent_params(
        amount=charge.amount,
        customer=charge.mandate.customer.stripe_id,
        card=card.stripe_id,
        card_type=card.type,
        description=charge.description,
        # Nothing of the row itself: a row made again after a restored backup must ask for the very same thing.
        metadata={
            "krcard_mandate": str(charge.mandate.public_id),
            "krcard_reference": charge.reference,
            "krcard_consent": str(charge.consent.public_id),
            "krcard_consent_hash": charge.consent.record_hash,
        },
    )


# --- while the caller waits ----------------------------------------------------------------------


def _try_again(charge: Charge) -> Charge:
    """After an answer that says nothing: once more and again, each time after the terms were asked."""
    for pause in PAUSES:
        if charge.status not in (Status.READY, Status.UNKNOWN):
            break
        time.sleep(pause * random.uniform(0.75, 1.25))
        gateway.wait_to_charge()
        in_turn = False
        try:
            with transaction.atomic():
                mandate = gate.locked(charge.mandate)
                charge.refresh_from_db()
                verdict = take(charge, mandate)
            taken = verdict is not None and verdict.allowed
            in_turn = taken and not charge.stripe_id
        finally:
            if not in_turn:
                gateway.give_turn_back()
        if not taken:
            break
        charge = finish(send(charge, in_turn=in_turn))
    return charge


def _check_words(reference: str, description: str) -> None:
    if not 1 <= len(reference) <= MAX_REFERENCE or len(description) > MAX_DESCRIPTION:
        raise ValueError(f"reference takes 1 to {MAX_REFERENCE} characters, description up to {MAX_DESCRIPTION}.")
