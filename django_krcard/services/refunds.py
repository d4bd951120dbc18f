"""Money back, in full or in part, once for each reference.

The order of work is that of a charge: write the row and commit, ask Stripe, write down the answer; and each answer
means what ``sending`` says of it. Two things are different. The gate has no say: what was paid can go back when the
agreement has ended, is on hold, or charging is paused. And Stripe is always asked first what went back already, so
that neither a restored backup nor a refund made in the dashboard can make it too much.
"""

from __future__ import annotations

import logging
import random
import time
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from django_krcard import gateway
from django_krcard.exceptions import (
    CardDeclined,
    GatewayError,
    KeyReused,
    ReferenceConflict,
    RefundRefused,
    StripeRefusedKey,
    StripeRefusedRequest,
)
from django_krcard.models import Charge, Refund, lock
from django_krcard.services.acts import Act, finish
from django_krcard.services.charges import LEASE, MAX_SENDS, NOT_CREATED, PAUSES, SAME_KEY_FOR
from django_krcard.services.refunded import MAX_REFERENCE, apply, key_of, left_of, names_of, settle, sync
from django_krcard.services.sending import SPENT
from django_krcard.services.steps import AFTER_FAILURE, ASK_AGAIN, BETWEEN_LOOKS, CERTAIN_AFTER
from django_krcard.services.timeline import record
from django_krcard.transactions import refuse_inside_transaction

logger = logging.getLogger(__name__)

Status = Refund.Status

#: How long Stripe and the card network can pay back to a Korean card.
REFUNDABLE_FOR = timedelta(days=365)

#: What is read together with a charge.
RELATED = ("mandate__customer__user", "payment_method")

#: Only the row knows of these; what Stripe has is still to be found out.
UNANSWERED = frozenset({Status.READY, Status.SENDING, Status.UNKNOWN})

#: Stripe takes these words for a reason and no others.
STRIPE_REASONS = frozenset({"duplicate", "fraudulent", "requested_by_customer"})

MESSAGES = {
    "amount_invalid": _("The amount must be whole won, at least 1."),
    "disputed": _("The customer disputed this payment and has the money back already: it would be paid back twice."),
    "mode_mismatch": _("This payment was made in the other mode (test or live) or under another Stripe account."),
    "not_succeeded": _("Only a payment that succeeded can be paid back."),
    "too_much": _("This is more than what is left of the payment."),
    "too_old": _(
        "Stripe and the card network pay back to Korean cards within 365 days only. Transfer the money by other means."
    ),
}


def refund(
    charge: Charge, amount: int | None = None, *, reference: str, reason: str = "", by: str = "system"
) -> Refund:
    """Pay back ``amount`` whole won of a charge, or all that is left of it, once for each ``reference``.

    Returns the refund in whatever state it ended; the same reference again returns the same refund, also one that
    failed. One whose outcome is unknown, or that was never sent, is sent (again) under its one key; so is one that
    Stripe, for certain, never heard of.

    Raises ``RefundRefused`` when it cannot be paid back, ``ReferenceConflict`` when the reference was used for another
    amount, ``GatewayError`` when Stripe could not say what was paid back already: then nothing was sent.
    ``by`` and ``reason`` go to the timeline. https://docs.stripe.com/api/refunds/create
    """
    if not 1 <= len(reference) <= MAX_REFERENCE:
        raise ValueError(f"reference takes 1 to {MAX_REFERENCE} characters.")
    refuse_inside_transaction()
    if amount is not None and (type(amount) is not int or amount < 1):
        raise _refused("amount_invalid")
    charge = Charge.objects.select_related(*RELATED).get(pk=charge.pk)
    row = _existing(charge, reference, amount)
    if row and row.status not in UNANSWERED and row.failure_code != NOT_CREATED:
        return row
    if not _is_in_this_mode(charge):
        raise _refused("mode_mismatch")
    if charge.stripe_id:
        sync_refunds(charge)
    with transaction.atomic():
        charge = lock(charge, "mandate", "payment_method")
        row = _existing(charge, reference, amount)
        if row is None or row.failure_code == NOT_CREATED:
            row = row or _new(charge, amount, reference)
            _ask_for(row, by=by, reason=reason)
        taken = _take(row)
    return _send_while_waiting(row) if taken else row


def sync_refunds(charge: Charge) -> list[Refund]:
    """Ask Stripe for all refunds of a charge, and let our rows follow. One made in the dashboard gets a row, too."""
    return finish(sync(charge))


def step(pk: int) -> Act[Refund]:
    """Do what is due for one refund, and return it. Nothing is due, or somebody else is at it: nothing happens.

    Raises ``StripeRefusedKey``; any other failure of Stripe's leaves the refund as it is, to be looked at again.
    """
    row = Refund.objects.select_related(*(f"charge__{name}" for name in RELATED)).get(pk=pk)
    if not _is_due(row):
        return row
    if not _is_in_this_mode(row.charge):
        # With this key Stripe would say that there is no such payment, and that would be no news.
        _postpone(row, ASK_AGAIN)
        return row
    try:
        yield from sync(row.charge)
        row, taken = _after_the_look(row)
        return (yield from _send(row)) if taken else row
    except StripeRefusedKey:
        raise
    except GatewayError as error:
        # A look that failed says nothing. What was sent has been written down where it was sent.
        logger.warning("Refund %s: Stripe was asked in vain (%s)", row.public_id, error)
        _postpone(row, AFTER_FAILURE)
    row.refresh_from_db()
    return row


# --- before the call -----------------------------------------------------------------------------


def _existing(charge: Charge, reference: str, amount: int | None) -> Refund | None:
    row = charge.refunds.filter(reference=reference).first()
    if row and amount not in (None, row.amount):
        raise ReferenceConflict(f"{reference!r} was used to pay back {row.amount} won of charge {charge}.")
    return row


def _new(charge: Charge, amount: int | None, reference: str) -> Refund:
    amount = left_of(charge) if amount is None else amount
    return Refund(charge=charge, reference=reference, amount=amount, idempotency_key=key_of(charge, reference))


def _ask_for(row: Refund, *, by: str, reason: str) -> None:
    """Have a refund made that was not asked for before, or that never reached Stripe. Its charge is locked."""
    charge = row.charge
    if code := _why_not(charge, row.amount):
        raise _refused(code)
    row.status, row.requested_by, row.reason = Status.READY, by, reason
    row.params = row.params or _params(row)
    asked = {"reference": charge.reference, "refund": row.reference, "amount": row.amount, "reason": reason}
    record(charge.mandate, "refund_requested", actor=by, **asked)


def _why_not(charge: Charge, amount: int) -> str:
    """The code of what speaks against paying back, or nothing."""
    if charge.status != Charge.Status.SUCCEEDED:
        return "not_succeeded"
    if charge.was_taken_back:
        return "disputed"
    if not 1 <= amount <= left_of(charge):
        return "too_much"
    card = charge.payment_method
    if card and card.type == "kr_card" and timezone.now() - charge.last_sent_at > REFUNDABLE_FOR:
        return "too_old"
    return ""


def _refused(code: str) -> RefundRefused:
    return RefundRefused(code, str(MESSAGES[code]))


def _is_in_this_mode(charge: Charge) -> bool:
    return charge.mandate.customer.is_of_this_key


def _params(row: Refund) -> dict[str, Any]:
    known = {"reason": row.reason} if row.reason in STRIPE_REASONS else {}
    names = names_of(row.charge, row.reference)
    return {"payment_intent": row.charge.stripe_id, "amount": row.amount, "metadata": names} | known


def _take(row: Refund) -> bool:
    """Make a refund the caller's to send, if it may be sent now. Its charge is locked.

    It may not while somebody is at it, when it has its answer, or when only a look at Stripe can tell.
    """
    now = timezone.now()
    if not _may_be_sent(row, now):
        return False
    if row.status == Status.READY:
        row.first_sent_at, row.sends, row.empty_looks = now, 0, 0
    row.status, row.failure_code = Status.SENDING, ""
    row.last_sent_at = now
    row.sends += 1
    row.next_step_at = now + LEASE
    row.save()
    return True


def _may_be_sent(row: Refund, now: datetime) -> bool:
    if row.charge.was_taken_back:
        # Also a repeat can be the first that is executed.
        return False
    if row.status == Status.READY:
        return True
    free = row.status == Status.UNKNOWN or (row.status == Status.SENDING and row.next_step_at <= now)
    # A clock that was turned back makes a negative age: then nobody knows how old the key is.
    return free and timedelta() <= now - row.first_sent_at < SAME_KEY_FOR and row.sends < MAX_SENDS


def _locked(row: Refund) -> Refund:
    """A fresh copy of a refund whose charge is locked until the transaction ends."""
    return lock(row.charge, "mandate", "payment_method").refunds.get(pk=row.pk)


# --- the call ------------------------------------------------------------------------------------


def _send(row: Refund) -> Act[Refund]:
    """Send a refund that was taken, and write down the answer. Raises ``StripeRefusedKey``."""
    try:
        told = yield partial(gateway.create_refund, row.params, key=row.idempotency_key)
    except GatewayError as error:
        return _not_answered(row, error)
    return apply(row.charge, told)


def _not_answered(row: Refund, error: GatewayError) -> Refund:
    # After a first request whose outcome nobody knows, a second that was not executed says nothing.
    executed = error.executed if row.sends == 1 else None
    if executed is None:
        status = Status.UNKNOWN
    elif isinstance(error, (StripeRefusedRequest, CardDeclined)):
        status = Status.FAILED
    else:
        status = Status.READY
    with transaction.atomic():
        seen = _locked(row)
        if (seen.status, seen.sends) == (Status.SENDING, row.sends):
            # Still ours. The webhook may have been faster, or somebody took over when our claim had lapsed.
            seen.sends = SPENT if isinstance(error, KeyReused) else seen.sends
            settle(seen, status, code=error.code or ("invalid_request" if status == Status.FAILED else ""))
    if isinstance(error, KeyReused):
        logger.critical("Refund %s: Stripe knows its key with other parameters", row.public_id)
    if isinstance(error, StripeRefusedKey):
        logger.critical("Stripe refuses this site's key (%s): nothing is paid back", error.http_status)
        raise error
    return seen


def _send_while_waiting(row: Refund) -> Refund:
    """Send, and after an answer that says nothing once more and again."""
    row = finish(_send(row))
    for pause in PAUSES:
        if row.status not in (Status.READY, Status.UNKNOWN):
            break
        time.sleep(pause * random.uniform(0.75, 1.25))
        with transaction.atomic():
            row = _locked(row)
            taken = _take(row)
        if not taken:
            break
        row = finish(_send(row))
    return row


# --- when nobody waits ---------------------------------------------------------------------------


def _after_the_look(row: Refund) -> tuple[Refund, bool]:
    """What follows when Stripe was just asked. The refund as it is now, and whether it is the caller's to send."""
    with transaction.atomic():
        row = _locked(row)
        if not _is_due(row):
            return row, False
        if _take(row):
            return row, True
        if row.status in (Status.SENDING, Status.UNKNOWN):
            _looked_in_vain(row)
        elif row.status == Status.READY:
            settle(row, Status.FAILED, code="disputed")
        else:
            row.next_step_at = timezone.now() + ASK_AGAIN
            row.save(update_fields=["next_step_at"])
    return row, False


def _looked_in_vain(row: Refund) -> None:
    """Not created: when Stripe's list is complete for sure and was looked through twice, with a pause between."""
    now = timezone.now()
    row.status, row.next_step_at = Status.UNKNOWN, now + BETWEEN_LOOKS
    row.empty_looks += now - row.last_sent_at >= CERTAIN_AFTER
    row.save()
    if row.empty_looks >= 2:
        settle(row, Status.FAILED, code=NOT_CREATED)


def _is_due(row: Refund) -> bool:
    return row.next_step_at is not None and row.next_step_at <= timezone.now()


def _postpone(row: Refund, by: timedelta) -> None:
    """Look again later, if it is still as it was."""
    rows = Refund.objects.filter(pk=row.pk, status=row.status, next_step_at=row.next_step_at)
    rows.update(next_step_at=timezone.now() + by)
