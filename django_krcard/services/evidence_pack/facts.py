"""What the database says of one mandate, as plain data. Asks nobody else, and has no clock."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import date, datetime
from typing import Any

from django_krcard.conf import conf
from django_krcard.models import (
    Amendment,
    CardSetup,
    Charge,
    Consent,
    Mandate,
    Notice,
    PaymentMethod,
    Refund,
    Subscription,
    SubscriptionChange,
    TimelineEntry,
)
from django_krcard.rules import Rule, period_around
from django_krcard.services.evidence_pack.consented import chain_of, consent_facts, document_of, utc
from django_krcard.services.gate import day_of
from django_krcard.services.terms import sha256

FORMAT, VERSION = "krcard-evidence", 1

#: Who took a pack is no part of it: taking it would change it.
NOT_IN_THE_PACK = "evidence_exported"

#: May lie ahead, and are no facts of the past.
AHEAD = {"due_at", "opens_at", "cancel_at"}


def gather(mandate: Mandate) -> tuple[dict[str, Any], tuple[tuple[str, bytes], ...]]:
    """All of it, and the documents that belong to consents."""
    timeline = list(mandate.timeline.exclude(kind=NOT_IN_THE_PACK).order_by("pk"))
    with_it = ("consent", "payment_method", "setup", "subscription")
    charges = list(mandate.charges.select_related(*with_it).prefetch_related("refunds"))
    charges.sort(key=lambda charge: charge.pk)
    setups = list(mandate.setups.select_related("consent").order_by("pk"))
    amendments = list(mandate.amendments.select_related("terms", "before", "consent").order_by("pk"))
    subscriptions = list(mandate.subscriptions.prefetch_related("changes").order_by("pk"))
    consents = _consents(mandate, timeline, [*charges, *setups, *amendments])
    facts = {
        "format": FORMAT,
        "version": VERSION,
        "personal": True,
        "left_out": [],
        "livemode": mandate.customer.livemode,
        "merchant": conf.MERCHANT_NAME,
        "time_zone": str(conf.TIME_ZONE),
        "customer": _customer(mandate),
        "mandate": _mandate(mandate),
        "consents": [consent_facts(each, _witnesses(each, setups, charges, subscriptions)) for each in consents],
        "chain": chain_of(mandate.customer, consents),
        "cards": [_card(card) for card in _cards(mandate, timeline, charges)],
        "setups": [_setup(setup) for setup in setups],
        "charges": [_charge(charge, mandate) for charge in charges],
        "amendments": [_amendment(row) for row in amendments],
        "subscriptions": [_subscription(row) for row in subscriptions],
        "notices": [_notice(row) for row in mandate.notices.select_related("charge").order_by("pk")],
        "timeline": [_entry(row) for row in timeline],
    }
    facts["as_of"] = utc(max(_past_moments(facts)))
    return facts, tuple(filter(None, map(document_of, consents)))


def _consents(mandate: Mandate, timeline: list[TimelineEntry], rows: Iterable[Any]) -> list[Consent]:
    """Each one that the mandate ever had or will have, the oldest first. Also those that never got as far as Stripe."""
    named = [entry.data["consent"] for entry in timeline if "consent" in entry.data]
    known = {mandate.consent_id, mandate.next_consent_id, *(row.consent_id for row in rows)}
    known |= {row.before_id for row in rows if isinstance(row, Amendment)}
    known |= set(Consent.objects.filter(public_id__in=named).values_list("pk", flat=True))
    wanted = Consent.objects.filter(pk__in=known - {None}, customer=mandate.customer).order_by("pk")
    return list(wanted.select_related("customer", "terms", "origin", "attachment", "erasure"))


def _witnesses(
    consent: Consent, setups: list[CardSetup], charges: list[Charge], subscriptions: list[Subscription]
) -> list[dict[str, str]]:
    """Objects at Stripe that were given the consent's id and hash when they were made."""
    found = []
    for setup in setups:
        if setup.consent_id == consent.pk:
            found += [("checkout.session", setup.checkout_session_id), ("setup_intent", setup.setup_intent_id)]
    # A first payment was asked for together with the attempt, which told Stripe of its consent.
    found += [
        ("payment_intent", row.stripe_id)
        for row in charges
        if _was_told(row, consent) or (row.setup_id and row.consent_id == consent.pk)
    ]
    found += [("subscription", row.stripe_id) for row in subscriptions if _was_told(row, consent)]
    metadata = {"krcard_consent": str(consent.public_id), "krcard_consent_hash": consent.record_hash}
    return [{"object": kind, "id": stripe_id, "metadata": metadata} for kind, stripe_id in found if stripe_id]


def _was_told(row: Charge | Subscription, consent: Consent) -> bool:
    """Read from what was asked: Stripe makes payments of invoices by itself, and they have no metadata of ours."""
    return row.params.get("metadata", {}).get("krcard_consent") == str(consent.public_id)


def _customer(mandate: Mandate) -> dict[str, Any]:
    customer = mandate.customer
    return {
        "public_id": str(customer.public_id),
        "reference": customer.reference,
        "stripe_id": customer.stripe_id,
        "former_stripe_ids": customer.former_stripe_ids,
        "address": customer.address,
    }


def _mandate(mandate: Mandate) -> dict[str, Any]:
    return {
        "public_id": str(mandate.public_id),
        "reference": mandate.reference,
        "status": str(mandate.status),
        "stripe_id": mandate.stripe_id,
        "consent": str(mandate.consent.public_id),
        "next_consent": mandate.next_consent and str(mandate.next_consent.public_id),
        "next_consent_on": _day(mandate.next_consent_on),
        "is_free": mandate.is_free,
        "card": mandate.payment_method and mandate.payment_method.stripe_id,
        "created_at": utc(mandate.created_at),
        "activated_at": utc(mandate.activated_at),
        "ended_at": utc(mandate.ended_at),
        "end_reason": mandate.end_reason,
        "ended_by": mandate.ended_by,
    }


def _cards(mandate: Mandate, timeline: list[TimelineEntry], charges: Iterable[Charge]) -> Iterable[PaymentMethod]:
    """Also those that were replaced before anything was charged to them."""
    saved = [entry.data.get("payment_method") for entry in timeline if entry.kind == "card_saved"]
    known = {mandate.payment_method_id, *(charge.payment_method_id for charge in charges)} - {None}
    cards = PaymentMethod.objects.filter(customer=mandate.customer)
    return (cards.filter(pk__in=known) | cards.filter(stripe_id__in=saved)).order_by("pk")


def _card(card: PaymentMethod) -> dict[str, Any]:
    names = {"stripe_id": card.stripe_id, "type": card.type, "brand": card.brand, "last4": card.last4}
    return names | {"created_at": utc(card.created_at), "detached_at": utc(card.detached_at)}


def _setup(setup: CardSetup) -> dict[str, Any]:
    return {
        "public_id": str(setup.public_id),
        "consent": str(setup.consent.public_id),
        "flow": str(setup.flow),
        "method_type": setup.method_type,
        "status": str(setup.status),
        "checkout_session_id": setup.checkout_session_id,
        "setup_intent_id": setup.setup_intent_id,
        "failure_code": setup.failure_code,
        "created_at": utc(setup.created_at),
    }


def _charge(charge: Charge, mandate: Mandate) -> dict[str, Any]:
    return {
        "public_id": str(charge.public_id),
        "reference": charge.reference,
        "description": charge.description,
        "amount": charge.amount,
        "currency": "krw",
        "status": str(charge.status),
        "attempt": charge.attempt,
        "stripe_id": charge.stripe_id,
        # The attempt to save a card with which the customer paid, or the invoice by which Stripe charged by itself.
        "setup": charge.setup and str(charge.setup.public_id),
        "subscription": charge.subscription and (charge.subscription.stripe_id or charge.subscription.reference),
        "invoice": charge.invoice_id,
        "card": charge.payment_method and charge.payment_method.stripe_id,
        "agreed": _agreed(charge, mandate),
        "refusal_code": charge.refusal_code,
        "failure_code": charge.failure_code,
        "decline_code": charge.decline_code,
        "requested_by": charge.requested_by,
        "reason": charge.reason,
        "refunded_amount": charge.refunded_amount,
        "refunds": [_refund(refund) for refund in sorted(charge.refunds.all(), key=lambda refund: refund.pk)],
        "dispute": {"id": charge.dispute_id, "status": charge.dispute_status} if charge.dispute_id else None,
        "created_at": utc(charge.created_at),
        "due_at": utc(charge.due_at),
        "first_sent_at": utc(charge.first_sent_at),
        "last_sent_at": utc(charge.last_sent_at),
    }


def _agreed(charge: Charge, mandate: Mandate) -> dict[str, Any]:
    """The clause that the charge was made under, and the period of it that it used up."""
    rule = Rule.from_dict(charge.consent.rule)
    began = mandate.activated_at
    period = period_around(day_of(charge.due_at), anchor=day_of(began), rule=rule) if began else None
    return {
        "consent": str(charge.consent.public_id),
        "amount_kind": rule.amount_kind,
        "amount": rule.amount,
        "frequency": rule.frequency,
        # First day, and first day of the next one, where the terms rule.
        "period": period and [_day(day) for day in period],
    }


def _refund(refund: Refund) -> dict[str, Any]:
    return {
        "reference": refund.reference,
        "amount": refund.amount,
        "status": str(refund.status),
        "reason": refund.reason,
        "requested_by": refund.requested_by,
        "stripe_id": refund.stripe_id,
        "created_at": utc(refund.created_at),
    }


def _amendment(row: Amendment) -> dict[str, Any]:
    return {
        "public_id": str(row.public_id),
        "terms": row.terms.slug,
        "version": row.terms.version,
        "kind": str(row.kind),
        "status": str(row.status),
        # ``None``: free until then.
        "amount_before": row.amount_before,
        "amount_after": row.amount_after,
        "effective_on": _day(row.effective_on),
        "before": str(row.before.public_id),
        "consent": row.consent and str(row.consent.public_id),
        "requested_by": row.by,
        "reason": row.reason,
        "created_at": utc(row.created_at),
        "opens_at": utc(row.opens_at),
        "asked_at": utc(row.asked_at),
        "answered_at": utc(row.answered_at),
    }


def _subscription(row: Subscription) -> dict[str, Any]:
    changes = sorted(row.changes.all(), key=lambda change: change.pk)
    return {
        "stripe_id": row.stripe_id,
        "reference": row.reference,
        "price": row.price,
        "status": row.status,
        "amount": row.amount,
        "paused": row.paused,
        "cancel_at_period_end": row.cancel_at_period_end,
        "requested_by": row.requested_by,
        "reason": row.reason,
        "failure_code": row.failure_code,
        "decline_code": row.decline_code,
        "created_at": utc(row.created_at),
        "above_agreed_at": utc(row.above_agreed_at),
        "current_period_start": utc(row.current_period_start),
        "current_period_end": utc(row.current_period_end),
        "cancel_at": utc(row.cancel_at),
        "canceled_at": utc(row.canceled_at),
        "ended_at": utc(row.ended_at),
        "changes": [_change(change) for change in changes],
    }


def _change(change: SubscriptionChange) -> dict[str, Any]:
    return {
        "kind": str(change.kind),
        "target": change.target,
        "status": str(change.status),
        "requested_by": change.requested_by,
        "reason": change.reason,
        "pay_back": change.pay_back,
        "failure_code": change.failure_code,
        "created_at": utc(change.created_at),
        "done_at": utc(change.done_at),
        "paid_back_at": utc(change.paid_back_at),
    }


def _notice(notice: Notice) -> dict[str, Any]:
    return {
        "kind": str(notice.kind),
        "charge": notice.charge and notice.charge.reference,
        "address": notice.address,
        "language": notice.language,
        "subject": notice.subject,
        "text": notice.text,
        "text_sha256": sha256(notice.text),
        "created_at": utc(notice.created_at),
        "sent_at": utc(notice.sent_at),
    }


def _entry(entry: TimelineEntry) -> dict[str, Any]:
    return {"at": utc(entry.at), "kind": entry.kind, "actor": entry.actor, "data": entry.data}


def _day(day: date | None) -> str | None:
    return day and day.isoformat()


def _past_moments(facts: Any) -> Iterator[datetime]:
    if isinstance(facts, list):
        for each in facts:
            yield from _past_moments(each)
    elif isinstance(facts, dict):
        for name, value in facts.items():
            if isinstance(value, list | dict):
                # What a timeline entry tells is not ours to read.
                yield from _past_moments(value) if name != "data" else ()
            elif value and (name == "at" or name.endswith("_at")) and name not in AHEAD:
                yield datetime.fromisoformat(value)
