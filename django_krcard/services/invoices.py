"""Invoices of subscriptions that run on a mandate: what Stripe asked for by itself, and what came of it.

What happens to an invoice is on the mandate's timeline, each thing once. Its payment is a ``Charge`` as any other
under the mandate: it counts against the limits, can be paid back and disputed, and belongs to the evidence.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any, NamedTuple
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from django_krcard import gateway
from django_krcard.models import Charge, Mandate, Subscription, SubscriptionChange
from django_krcard.rules import is_amount
from django_krcard.services import changes, disputes, outcomes, refunded, subscriptions
from django_krcard.services.acts import Act
from django_krcard.services.agreed import why_not_collected
from django_krcard.services.in_force import consent_on, covers_today, day_of, rule_today
from django_krcard.services.timeline import record

logger = logging.getLogger(__name__)

#: What happens to an invoice once, and where Stripe says when. Stripe takes none of it back.
MOMENTS = {
    "invoice_finalized": "finalized_at",
    "invoice_paid": "paid_at",
    "invoice_voided": "voided_at",
    "invoice_uncollectible": "uncollectible_at",
}


def heard(invoice_id: str, subscription_id: str, mandate_id: UUID | None) -> Callable[[], Any] | None:
    """Ask Stripe about an invoice that a message speaks of, and return what writes the answer down.

    ``mandate_id`` is the one that the metadata of its subscription names. ``None``: it is not ours.
    """
    mandate = subscriptions.mandate_of(subscription_id, mandate_id) if subscription_id else None
    if mandate is None:
        return None
    asked_at = timezone.now()
    told, aftermath = look(invoice_id, is_known=_is_known(invoice_id))
    return partial(apply, mandate, told, asked_at, aftermath)


class Aftermath(NamedTuple):
    """What came after a payment that is seen for the first time: its messages found nobody whom they were about."""

    refunds: Sequence[gateway.Refund] = ()
    disputes: Sequence[gateway.Dispute] = ()


NOTHING_SINCE = Aftermath()


def _is_known(invoice_id: str) -> bool:
    return Charge.objects.filter(invoice_id=invoice_id).exists()


def look(invoice_id: str, *, is_known: bool) -> tuple[gateway.Invoice, Aftermath]:
    """Ask Stripe about an invoice, and at the first sight of its payment about that, too. Only of Stripe: it may run
    in a thread without a database."""
    told = gateway.retrieve_invoice(invoice_id)
    intent = told.payment_intent
    if is_known or intent is None or intent.status != "succeeded":
        return told, NOTHING_SINCE
    seen = gateway.retrieve_payment_intent(intent.id)
    back = list(gateway.refunds_of(intent.id)) if seen.refunded else []
    return told, Aftermath(back, list(gateway.disputes_of(intent.id)) if seen.disputed else [])


def compare(row: Subscription, *, fix: bool = True) -> Act[list[str]]:
    """Go through a subscription's invoices at Stripe, and write down (with ``fix``) what is not known here.

    Returns the ids of those.
    """
    asked_at = timezone.now()
    listed = yield partial(gateway.patiently, _all_of, row.stripe_id)
    unknown = [told.id for told in listed if _is_news(row, told)]
    for invoice_id in reversed(unknown if fix else []):
        told, aftermath = yield partial(look, invoice_id, is_known=_is_known(invoice_id))
        apply(row.mandate, told, asked_at, aftermath)
    return unknown


def _all_of(subscription_id: str) -> list[gateway.Invoice]:
    return list(gateway.invoices_of(subscription_id))


def _is_news(row: Subscription, told: gateway.Invoice) -> bool:
    """What the list says of it: all but its payments."""
    known = _known(row.mandate, told)
    return any((kind, None) not in known for kind, _data in _moments(told))


def apply(mandate: Mandate, told: gateway.Invoice, asked_at: datetime, aftermath: Aftermath = NOTHING_SINCE) -> None:
    """Write down what Stripe says of an invoice. Its subscription came along with it, and the row follows that, too."""
    if told.subscription is None:
        logger.error("Invoice %s is of no subscription: not one of mandate %s", told.id, mandate.reference)
        return
    with transaction.atomic():
        row = subscriptions.apply(mandate, told.subscription, asked_at)
        if row is None:
            return
        mandate = row.mandate
        known, before = _known(mandate, told), _asked_before(mandate, told)
        news = [(kind, data) for kind, data in _history(told) if (kind, data.get("attempt")) not in known]
        for kind, data in news:
            _record(mandate, kind, told, **data)
        # What the customer agreed to later does not judge what was over by then: without news there is no verdict. But
        # somebody may put more on an invoice that was judged.
        if news or told.status == "draft" or _asked(told) not in before:
            _judge(row, told)
        charge = _charge_of(row, told)
        if charge is None:
            return
        for refund in reversed(aftermath.refunds):
            refunded.apply(charge, refund)
        for dispute in reversed(aftermath.disputes):
            disputes.apply(charge, dispute)


#: Older news is no news: the customer was told by others, or has seen the payment long ago.
WORTH_TELLING = timedelta(days=4)


def _charge_of(row: Subscription, told: gateway.Invoice) -> Charge | None:
    """The charge that the payment of an invoice is, at the first sight made, and let it follow. One for each invoice,
    whatever order the messages come in. ``None``: there is no payment, or it is not in won."""
    intent = told.payment_intent
    if intent is None or intent.currency != "krw" or not is_amount(intent.amount):
        return None
    charge = Charge.objects.filter(invoice_id=told.id).first() or _adopted(row, told, intent)
    charge.mandate = row.mandate
    happened_at = told.paid_at or told.finalized_at or timezone.now()
    return outcomes.apply(charge, intent, ours=True, tell=timezone.now() - happened_at < WORTH_TELLING)


def _adopted(row: Subscription, told: gateway.Invoice, intent: gateway.PaymentIntent) -> Charge:
    mandate = row.mandate
    began = told.created or timezone.now()
    return Charge.objects.create(
        mandate=mandate,
        # The one that the invoice is judged by.
        consent=consent_on(mandate, day_of(timezone.now())),
        subscription=row,
        invoice_id=told.id,
        reference=f"invoice:{told.id}",
        amount=intent.amount,
        status=Charge.Status.UNKNOWN,
        # Of its own period, also when Stripe gets the money days later.
        due_at=began,
        first_sent_at=began,
        last_sent_at=told.paid_at or began,
        next_step_at=timezone.now(),
        sends=1,
        payment_method=mandate.customer.payment_methods.filter(stripe_id=intent.payment_method).first(),
        idempotency_key=f"invoice-{told.id}",
        stripe_id=intent.id,
        requested_by="stripe",
    )


def _known(mandate: Mandate, told: gateway.Invoice) -> set[tuple[str, int | None]]:
    """What the timeline says of this invoice, as (kind, attempt)."""
    entries = mandate.timeline.filter(kind__startswith="invoice_", data__invoice=told.id)
    return {(entry.kind, entry.data.get("attempt")) for entry in entries}


def _history(told: gateway.Invoice) -> list[tuple[str, dict[str, Any]]]:
    """All that has happened to an invoice, so that it does not matter which of its messages came first, or at all.

    Only of the tries to charge the card Stripe keeps no more than the last.
    """
    failure = _failure(told)
    return [*_moments(told), *([(failure, _last_try(told))] if failure else [])]


def _moments(told: gateway.Invoice) -> list[tuple[str, dict[str, Any]]]:
    moments = {kind: getattr(told, name) for kind, name in MOMENTS.items()}
    return [(kind, {"happened_at": when.isoformat()}) for kind, when in moments.items() if when]


def _failure(told: gateway.Invoice) -> str:
    """What became of the last try to charge the card, or nothing if there was none or nothing is wrong with it."""
    intent = told.payment_intent
    if told.status != "open" or (intent and intent.status in ("processing", "succeeded")):
        return ""
    if intent and (intent.status == "requires_action" or intent.failure_code == "authentication_required"):
        return "invoice_action_required"
    return "invoice_payment_failed" if told.attempts or (intent and intent.failure_code) else ""


def _last_try(told: gateway.Invoice) -> dict[str, Any]:
    intent = told.payment_intent
    codes = {"code": intent.failure_code, "decline_code": intent.decline_code} if intent else {}
    return {"attempt": told.attempts, **codes}


def _judge(row: Subscription, told: gateway.Invoice) -> None:
    """Whoever raises a price at Stripe goes around our gate. Here it is seen, and stopped if it is not too late."""
    mandate = row.mandate
    is_unpaid = told.status in ("draft", "open")
    if told.currency != "krw" or not covers_today(mandate, told.amount):
        if _asked(told) not in _asked_before(mandate, told, "invoice_above_agreed"):
            _tell_above_agreed(row, told)
        subscriptions.stop_above_agreed(row, told.amount if told.currency == "krw" else None)
    elif not (is_unpaid and why_not_collected(row)):
        return
    if told.auto_advance and is_unpaid:
        # To pause the subscription stops the invoices to come, but not one that is there.
        reason = "more than the customer agreed to"
        changes.ask(row, SubscriptionChange.Kind.HOLD_INVOICE, by="system", reason=reason, target=told.id)


def _tell_above_agreed(row: Subscription, told: gateway.Invoice) -> None:
    agreed = rule_today(row.mandate).amount
    _record(row.mandate, "invoice_above_agreed", told, agreed=agreed)
    logger.critical(
        "Invoice %s of mandate %s asks for %s %s. The customer agreed to %s won.",
        told.id,
        row.mandate.reference,
        told.amount,
        told.currency,
        agreed,
    )


def _asked(told: gateway.Invoice) -> int | str:
    return told.amount if told.currency == "krw" else f"{told.amount} {told.currency}"


def _asked_before(mandate: Mandate, told: gateway.Invoice, kind: str = "") -> set[int | str]:
    """What this invoice was seen to ask for, in entries of this ``kind``."""
    entries = mandate.timeline.filter(kind__startswith=kind or "invoice_", data__invoice=told.id)
    return {entry.data.get("amount", entry.data.get("asked")) for entry in entries}


def _record(mandate: Mandate, kind: str, told: gateway.Invoice, **data: Any) -> None:
    # What is not won has no place where won are read.
    amount = {"amount" if told.currency == "krw" else "asked": _asked(told)}
    about = {"invoice": told.id, "number": told.number, "subscription": told.subscription.id}
    payment = {"payment_intent": told.payment_intent.id} if told.payment_intent else {}
    record(mandate, kind, actor="stripe", **about, billing_reason=told.billing_reason, **payment, **amount, **data)
