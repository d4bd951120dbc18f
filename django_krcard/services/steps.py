"""The next step of a charge that nobody waits for: announce it, send it, find out what became of it, give it up."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from copy import copy
from datetime import datetime, timedelta
from functools import partial

from django.db import transaction
from django.utils import timezone

from django_krcard import gateway, rules
from django_krcard.conf import conf
from django_krcard.exceptions import GatewayError, StripeRefusedKey
from django_krcard.models import CardSetup, Charge, Mandate, lock
from django_krcard.services import gate, notices, setups
from django_krcard.services.acts import Act, Together
from django_krcard.services.charges import LEASE, NOT_CREATED, Claim, refuse, take, take_all
from django_krcard.services.in_force import rule_on
from django_krcard.services.outcomes import apply, settle
from django_krcard.services.sending import cancel_at_stripe, send
from django_krcard.services.timeline import record

logger = logging.getLogger(__name__)

Status = Charge.Status

#: A charge that has to wait (mandate on hold, charging paused) is asked about so often.
ASK_AGAIN = timedelta(hours=1)
#: Stripe's list is complete long before. After this, and looking twice with a pause between, there is no payment.
CERTAIN_AFTER = timedelta(hours=25)
BETWEEN_LOOKS = timedelta(hours=1)
#: Stripe dates a payment by its own clock.
CLOCKS_DIFFER = timedelta(minutes=5)
AFTER_FAILURE = timedelta(minutes=5)


def read(pks: Sequence[int]) -> dict[int, Charge]:
    """Charges by their ids, with what the gate looks at and does not change. The card is read with the lock.

    Many at a time: one by one that costs more than the call to Stripe.
    """
    # One question for the terms: many customers have agreed to the same.
    charges = Charge.objects.select_related("mandate__customer__user", "mandate__consent")
    rows = charges.prefetch_related("mandate__consent__terms").in_bulk(pks)
    for charge in rows.values():
        charge.mandate.consent.customer = charge.mandate.customer
    return rows


def step(pk: int) -> Act[Charge]:
    """Do what is due for one charge, and return it. Nothing is due, or somebody else is at it: nothing happens.

    Raises ``StripeRefusedKey``; any other failure of Stripe's leaves the charge as it is, to be looked at again.
    """
    charge = read([pk]).get(pk)
    if charge is None:
        raise Charge.DoesNotExist(f"There is no charge {pk}.")
    return (yield from step_of(charge))


def step_of(charge: Charge) -> Act[Charge]:
    """``step`` for a charge that was ``read`` a moment ago. What counts is read anew."""
    # What Stripe charges for a subscription is only ever asked about.
    act = _ask if charge.invoice_id else _ask_with_its_card if charge.setup_id else STEPS.get(charge.status)
    if act is None or not _is_due(charge):
        return charge
    if not charge.mandate.customer.is_of_this_key:
        # With this key Stripe knows nothing of the charge, and that would be no news.
        _postpone(charge, ASK_AGAIN)
        return charge
    try:
        after = yield from act(charge)
    except StripeRefusedKey:
        raise
    except GatewayError as error:
        # A look that failed says nothing. What was sent has been written down where it was sent.
        logger.warning("Charge %s: Stripe was asked in vain (%s)", charge.public_id, error)
        _postpone(charge, AFTER_FAILURE)
        after = None
    if after is None:
        charge.refresh_from_db()
    return after or charge


def _is_due(charge: Charge) -> bool:
    return charge.next_step_at is not None and charge.next_step_at <= timezone.now()


# --- not sent yet --------------------------------------------------------------------------------


def _announce_or_send(charge: Charge) -> Act[Charge | None]:
    now = timezone.now()
    for days in _days_of_notice(charge):
        if _days_before(charge, days) <= now and (now < charge.due_at or _is_promised(charge, days)):
            notices.announce(charge, days=days, promised=_is_promised(charge, days))
    if now < charge.due_at:
        coming = [_days_before(charge, days) for days in _days_of_notice(charge)]
        Charge.objects.filter(pk=charge.pk, status=Status.SCHEDULED).update(
            next_step_at=min([charge.due_at, *(moment for moment in coming if moment > now)])
        )
        return None
    return (yield from _send(charge))


def _send(charge: Charge) -> Act[Charge | None]:
    if charge.stripe_id:
        taken = yield Together(_take_due, charge)
        return (yield from send(taken)) if taken else None
    # First its turn, and then what is taken is sent at once: while Stripe makes us wait, it can still be stopped.
    if not gateway.take_turn_to_charge():
        yield gateway.wait_to_charge
    taken = None
    try:
        taken = yield Together(_take_due, charge)
    finally:
        if taken is None:
            gateway.give_turn_back()
    return (yield from send(taken, in_turn=True)) if taken else None


def _take_due(charges: list[Charge]) -> list[Charge | None]:
    """Each charge as it was read a moment ago, taken; ``None`` for those that changed since, have to wait or are
    refused. Copies are taken: should one of them be broken, the others are as they were.
    """
    charges = [copy(charge) for charge in charges]
    with transaction.atomic():
        mandates = gate.locked_all([charge.mandate for charge in charges])
        claims = [Claim(charge, mandate, charge.due_at) for charge, mandate in zip(charges, mandates, strict=True)]
        verdicts = take_all(claims)
        for (charge, mandate, _due_at), verdict in zip(claims, verdicts, strict=True):
            if verdict and not verdict.allowed:
                charge.refresh_from_db()
                if _is_due(charge):
                    _wait_or_refuse(charge, mandate, verdict)
    return [charge if verdict and verdict.allowed else None for charge, verdict in zip(charges, verdicts, strict=True)]


def _wait_or_refuse(charge: Charge, mandate: Mandate, verdict: rules.Verdict) -> None:
    if verdict.code in rules.WAITING:
        charge.next_step_at = _when_to_ask_again(charge, mandate, verdict)
        charge.save(update_fields=["next_step_at"])
    else:
        refuse(charge, mandate, verdict, amount=charge.amount)


def _when_to_ask_again(charge: Charge, mandate: Mandate, verdict: rules.Verdict) -> datetime:
    soon = timezone.now() + ASK_AGAIN
    told = gate.announced_at(charge) if verdict.code == "notice_not_given" else None
    if told is None:
        return soon
    rule = rule_on(mandate, gate.day_of(charge.due_at))
    return max(soon, gate.midnight(gate.day_of(told) + timedelta(days=rule.notice_days)))


def _retry(charge: Charge) -> Act[Charge | None]:
    """A declined charge once more, as the terms say, and never in another period than its own."""
    now = timezone.now()
    with transaction.atomic():
        mandate = gate.locked(charge.mandate)
        charge.refresh_from_db()
        if not _is_due(charge) or charge.status != Status.DECLINED:
            return
        first_due = charge.due_at
        verdict = take(charge, mandate) if gate.same_period(mandate, charge.due_at, now) else None
        if verdict is None or not verdict.allowed:
            code = verdict.code if verdict else "period_over"
            Charge.objects.filter(pk=charge.pk, status=Status.DECLINED).update(next_step_at=None, due_at=first_due)
            record(mandate, "charge_retry_refused", actor="system", reference=charge.reference, code=code)
    if verdict and verdict.allowed:
        yield from send(charge)


# --- sent, with no answer ------------------------------------------------------------------------


def _find_out(charge: Charge) -> Act[Charge | None]:
    """The same request under the same key while Stripe keeps it, after the terms were asked; later only looking."""
    if charge.stripe_id:
        # Confirmed once more, with no answer. Stripe can be asked about this very payment.
        intent = yield partial(gateway.retrieve_payment_intent, charge.stripe_id)
        if intent.status != "requires_payment_method":
            apply(charge, intent, ours=True)
            return
    with transaction.atomic():
        mandate = gate.locked(charge.mandate)
        charge.refresh_from_db()
        if not _is_due(charge) or charge.status not in (Status.SENDING, Status.UNKNOWN):
            return
        verdict = take(charge, mandate)
        allowed = verdict is None or verdict.allowed
        if not (verdict and verdict.allowed):
            _claim_look(charge)
    if verdict and verdict.allowed:
        yield from send(charge)
    elif charge.stripe_id:
        # The payment is known and was not made: what was asked last did not change that.
        settle(charge, Status.DECLINED, ours=True, stripe_id=charge.stripe_id, code=intent.failure_code)
    else:
        yield from _look_up(charge, allowed=allowed)


def _look_up(charge: Charge, *, allowed: bool) -> Act[Charge | None]:
    """By list, not by search. Found: adopted, and called off if it is open and the terms do not cover it any more."""
    since = charge.first_sent_at - CLOCKS_DIFFER
    found = yield partial(_payments_of, charge, since)
    if found:
        # There is one. Should there ever be two, the one that moved money is the truth.
        intent = next((intent for intent in found if intent.status == "succeeded"), found[0])
        if len(found) > 1:
            logger.critical("Charge %s has %d payments at Stripe", charge.public_id, len(found))
        charge = apply(charge, intent, ours=True)
        if charge.status == Status.ACTION_REQUIRED and not allowed:
            yield from cancel_at_stripe(charge)
    elif timezone.now() - charge.last_sent_at >= CERTAIN_AFTER:
        _looked_in_vain(charge)


def _payments_of(charge: Charge, since: datetime) -> list[gateway.PaymentIntent]:
    wanted = {"krcard_mandate": str(charge.mandate.public_id), "krcard_reference": charge.reference}
    customer = charge.mandate.customer
    # Of a Customer that was deleted since, Stripe might list nothing, and that would be no news of the payment.
    wanted_of = {} if customer.former_stripe_ids else {"customer": customer.stripe_id}
    intents = gateway.payment_intents_since(since, **wanted_of)
    return [intent for intent in intents if wanted.items() <= intent.metadata.items()]


def _looked_in_vain(charge: Charge) -> None:
    with transaction.atomic():
        seen = lock(charge)
        if seen.status not in (Status.SENDING, Status.UNKNOWN):
            return
        seen.empty_looks += 1
        seen.next_step_at = timezone.now() + BETWEEN_LOOKS
        seen.save(update_fields=["empty_looks", "next_step_at"])
        if seen.empty_looks >= 2:
            record(seen.mandate, "charge_not_created", actor="system", reference=seen.reference)
            settle(seen, Status.CANCELLED, ours=True, code=NOT_CREATED)


def _claim_look(charge: Charge) -> None:
    """Nobody else looks meanwhile. The claim of a sender that died becomes what it is: an unknown outcome."""
    charge.status = Status.UNKNOWN
    charge.next_step_at = timezone.now() + max(LEASE, BETWEEN_LOOKS)
    charge.save(update_fields=["status", "next_step_at"])


# --- sent, and not over --------------------------------------------------------------------------


def _ask(charge: Charge) -> Act[Charge | None]:
    _postpone(charge, ASK_AGAIN)
    apply(charge, (yield partial(gateway.retrieve_payment_intent, charge.stripe_id)))


def _call_off(charge: Charge) -> Act[Charge | None]:
    """The customer did not come in time, or the agreement ended: it can never be paid later, by surprise."""
    _postpone(charge, ASK_AGAIN)
    yield from cancel_at_stripe(charge)


def _ask_with_its_card(charge: Charge) -> Act[Charge | None]:
    """A payment that saves a card has no step of its own: it follows the attempt, and is called off with it."""
    setup = CardSetup.objects.select_related("mandate__customer", "consent__customer").get(pk=charge.setup_id)
    _postpone(charge, ASK_AGAIN)
    over = not setup.is_open or setup.expires_at <= timezone.now()
    yield from setups.closing(setup) if over and charge.status == Status.ACTION_REQUIRED else setups.completing(setup)


def _postpone(charge: Charge, by: timedelta) -> None:
    """Look again later, if it is still as it was."""
    rows = Charge.objects.filter(pk=charge.pk, status=charge.status, next_step_at=charge.next_step_at)
    rows.update(next_step_at=timezone.now() + by)


STEPS: dict[str, Callable[[Charge], Act[Charge | None]]] = {
    Status.SCHEDULED: _announce_or_send,
    Status.READY: _send,
    Status.SENDING: _find_out,
    Status.UNKNOWN: _find_out,
    Status.PROCESSING: _ask,
    Status.ACTION_REQUIRED: _call_off,
    Status.DECLINED: _retry,
}


# --- days ----------------------------------------------------------------------------------------


def _days_of_notice(charge: Charge) -> set[int]:
    return {days for days in (_promised(charge), *conf.NOTICE_DAYS) if days}


def _is_promised(charge: Charge, days: int) -> bool:
    return days == _promised(charge)


def _promised(charge: Charge) -> int:
    return rule_on(charge.mandate, gate.day_of(charge.due_at)).notice_days


def _days_before(charge: Charge, days: int) -> datetime:
    return gate.midnight(gate.day_of(charge.due_at) - timedelta(days=days))
