"""A payment that its customer finishes: the issuer wants to see them, or they have to do something first."""

from __future__ import annotations

import time
from datetime import datetime, timedelta

from django.db import transaction
from django.utils import timezone

from django_krcard import declines, gateway, rules
from django_krcard.conf import conf
from django_krcard.declines import Family
from django_krcard.exceptions import CardDeclined, ChargeRefused, StripeBusy, StripeRefusedRequest
from django_krcard.models import Charge, Mandate, lock
from django_krcard.services import gate
from django_krcard.services.acts import finish
from django_krcard.services.charges import PAUSES, describe
from django_krcard.services.mandates import compare
from django_krcard.services.outcomes import apply, settle
from django_krcard.services.timeline import record

Status = Charge.Status

#: A click within this time is the same click once more. A later one is a new try, with a key of its own.
SAME_CLICK = timedelta(minutes=1)


def waits_for_customer(charge: Charge) -> bool:
    """Whether this payment is for its customer to finish. Whether they may is for ``may_finish`` to say.

    One that saves a card is finished with its attempt, or begun once more from the terms; for a subscription's Stripe
    has a page of its own, and its own tries.
    """
    if charge.setup_id or charge.invoice_id:
        return False
    if charge.status == Status.DECLINED:
        family = declines.family_of(charge.failure_code, charge.decline_code)
        return bool(charge.stripe_id) and family == Family.ASK_CUSTOMER
    return charge.status == Status.ACTION_REQUIRED


def is_late(charge: Charge, at: datetime) -> bool:
    """Whether the time to finish it is over: the deadline, or for a declined payment the period it was due in."""
    if charge.status == Status.ACTION_REQUIRED:
        return charge.next_step_at is not None and charge.next_step_at <= at
    return not gate.same_period(charge.mandate, charge.due_at, at)


def may_finish(charge: Charge, at: datetime) -> rules.Verdict:
    """Ask the terms whether the customer may finish this payment at the moment ``at``."""
    verdict = gate.judge(charge.mandate, charge.amount, at, charge=charge)
    return rules.Verdict("overdue") if verdict.allowed and is_late(charge, at) else verdict


def finish_charge(charge: Charge, *, return_url: str) -> str:
    """Try a payment once more while its customer is here, and return the address at Stripe where they confirm it.

    Empty when nothing is left to confirm: then the charge's row says what became of it. It is the same PaymentIntent,
    so it can never charge twice; clicking twice leads to the same address. The card is the one the mandate has now.
    Stripe sends the customer to ``return_url`` afterwards, which proves nothing: ``look`` asks.

    Raises ``ChargeRefused`` when the terms do not cover it (any more), ``GatewayError`` when Stripe does not answer.
    https://docs.stripe.com/api/payment_intents/confirm
    """
    for pause in PAUSES:
        try:
            return _try(charge, return_url)
        except StripeBusy:
            # The other click of a double click has the key right now.
            time.sleep(pause)
    return _try(charge, return_url)


def look(charge: Charge) -> Charge:
    """Ask Stripe what became of a payment that its customer went to finish, and write it down."""
    return apply(charge, gateway.retrieve_payment_intent(charge.stripe_id))


def _try(charge: Charge, return_url: str) -> str:
    charge = _begin(charge, return_url)
    if not waits_for_customer(charge):
        return ""
    try:
        intent = gateway.confirm_payment_intent(charge.stripe_id, charge.params, key=charge.idempotency_key)
    except CardDeclined as error:
        settle(charge, Status.DECLINED, ours=True, code=error.code, decline_code=error.decline_code)
        return ""
    except StripeRefusedRequest as error:
        # Paid or called off meanwhile, or the card is gone: Stripe says what is so.
        intent = gateway.retrieve_payment_intent(charge.stripe_id)
        if declines.is_card_in_doubt(error.code):
            finish(compare(charge.mandate))
    charge = apply(charge, intent, ours=True)
    return intent.redirect_url if charge.status == Status.ACTION_REQUIRED else ""


def _begin(charge: Charge, return_url: str) -> Charge:
    """Ask the terms, and keep the payment's place in them: until its deadline it counts, wherever the customer is.

    What is asked, and under which key, is committed before the call. One that does not wait for its customer is left
    alone.
    """
    with transaction.atomic():
        mandate = gate.locked(charge.mandate)
        charge = lock(charge)
        charge.mandate, now = mandate, timezone.now()
        if not waits_for_customer(charge):
            return charge
        verdict = may_finish(charge, now)
        if verdict.allowed:
            _take(charge, mandate, now, return_url)
    if not verdict.allowed:
        raise ChargeRefused(verdict.code, verdict.message, charge)
    return charge


def _take(charge: Charge, mandate: Mandate, now: datetime, return_url: str) -> None:
    if _is_same_click(charge, mandate, now):
        charge.sends += 1
    else:
        charge.attempt += 1
        describe(charge, mandate)
        card = mandate.payment_method
        charge.params = gateway.confirm_params(card=card.stripe_id, card_type=card.type, return_url=return_url)
        charge.first_sent_at, charge.sends = now, 1
        record(mandate, "charge_requested", actor="customer", reference=charge.reference, amount=charge.amount)
    if charge.status == Status.DECLINED:
        charge.status, charge.next_step_at = Status.ACTION_REQUIRED, now + timedelta(hours=conf.ACTION_REQUIRED_HOURS)
    charge.last_sent_at = now
    charge.save()


def _is_same_click(charge: Charge, mandate: Mandate, now: datetime) -> bool:
    """Only while the try is open: what the issuer said no to is over, and so is a try with a card that was replaced."""
    return (
        charge.status == Status.ACTION_REQUIRED
        and "return_url" in charge.params
        and charge.payment_method_id == mandate.payment_method_id
        and timedelta() <= now - charge.first_sent_at < SAME_CLICK
    )
