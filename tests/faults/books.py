"""The auditor: Stripe's ledger beside our rows, after everything has come to rest."""

from collections import Counter, defaultdict

from django_krcard import rules
from django_krcard.models import Charge, Mandate, Notice, PaymentMethod, Refund
from django_krcard.testing.sandbox import books

Status = Charge.Status

#: What our row may say when the payment at Stripe has come to this. ``None``: Stripe never made one.
FITS = {
    None: {Status.SCHEDULED, Status.REFUSED, Status.CANCELLED, Status.DECLINED},
    "succeeded": {Status.SUCCEEDED},
    "processing": {Status.PROCESSING},
    "requires_action": {Status.ACTION_REQUIRED},
    "requires_payment_method": {Status.DECLINED, Status.ACTION_REQUIRED},
    "canceled": {Status.CANCELLED},
}
#: Not over: somebody has to look at it again, and so it must say when.
OPEN = {Status.SCHEDULED, Status.PROCESSING, Status.ACTION_REQUIRED}
AT_REST = {Refund.Status.PENDING, Refund.Status.SUCCEEDED, Refund.Status.FAILED, Refund.Status.CANCELLED}


def complaints() -> list[str]:
    """Everything that is wrong with the money, in words. Empty: 0 double, 0 lost, every row explained."""
    return [*_payments(), *_refunds(), *_cards(), *_terms(), *_told()]


def _payments():
    at_stripe = defaultdict(list)
    for intent in books("payment_intent"):
        at_stripe[intent["metadata"].get("krcard_mandate"), intent["metadata"].get("krcard_reference")].append(intent)
    rows = {
        (str(row.mandate.public_id), row.reference): row for row in Charge.objects.select_related("mandate__customer")
    }
    for name, intents in at_stripe.items():
        statuses = [intent["status"] for intent in intents]
        if len(intents) > 1:
            yield f"DOUBLE: {name[1]!r} has {len(intents)} payments at Stripe: {statuses}"
        if name not in rows:
            yield f"LOST: {name[1]!r} is at Stripe ({statuses}) and has no row"
    for name, row in rows.items():
        yield from _payment(row, at_stripe.get(name, []))


def _payment(row, intents):
    told = f"charge {row.reference!r} is {row.status}"
    intent = next((intent for intent in intents if intent["id"] == row.stripe_id), None)
    if intents and intent is None:
        yield f"{told} and does not know its payment ({intents[0]['status']})"
    elif row.stripe_id and intent is None:
        yield f"{told} and names a payment that Stripe does not have"
    if row.status not in FITS[intent and intent["status"]]:
        yield f"{told}, at Stripe it is {intent and intent['status']}"
    if intent and (intent["amount"], intent["currency"]) != (row.amount, "krw"):
        yield f"{told} over {row.amount} won, at Stripe over {intent['amount']} {intent['currency']}"
    if row.status in OPEN and row.next_step_at is None:
        yield f"{told} and nobody will look at it again"
    if row.status in Charge.FINAL and row.next_step_at is not None:
        yield f"{told} and still has a next step"
    unexplained = row.status == Status.DECLINED and not row.failure_code
    if unexplained or (row.status == Status.REFUSED and not row.refusal_code):
        yield f"{told} and does not say why"


def _refunds():
    at_stripe = {refund["id"]: refund for refund in books("refund")}
    ours = list(Refund.objects.select_related("charge"))
    for row in ours:
        told = f"refund {row.reference!r} is {row.status}"
        there = at_stripe.get(row.stripe_id)
        if row.status not in AT_REST:
            yield f"{told} and that is no end"
        if there and (there["status"], there["amount"]) != (row.status, row.amount):
            yield f"{told} over {row.amount} won, at Stripe {there['status']} over {there['amount']}"
        if row.status == Refund.Status.SUCCEEDED and not there:
            yield f"{told}, and Stripe has none"
    for lost in at_stripe.keys() - {row.stripe_id for row in ours}:
        yield f"LOST: refund {lost} of {at_stripe[lost]['amount']} won is at Stripe and has no row"
    made = Counter((r["payment_intent"], r["metadata"].get("krcard_refund_reference")) for r in at_stripe.values())
    for (_payment, reference), times in made.items():
        if times > 1:
            yield f"DOUBLE: refund {reference!r} was made {times} times"
    for charge in Charge.objects.all():
        back = sum(r["amount"] for r in at_stripe.values() if r["payment_intent"] == charge.stripe_id)
        if charge.refunded_amount != back:
            yield f"charge {charge.reference!r} says {charge.refunded_amount} won went back; it was {back}"


def _cards():
    attached = {card["id"] for card in books("payment_method") if card["customer"]}
    for card in PaymentMethod.objects.all():
        wanted = card.mandates.exclude(status__in=rules.ENDED).exists()
        if (card.stripe_id in attached) != (card.detached_at is None):
            yield f"card {card.last4}: we say detached at {card.detached_at}, Stripe says {card.stripe_id in attached}"
        if card.detached_at is None and not wanted:
            yield f"card {card.last4} is still attached, and no living agreement uses it"


def _terms():
    """Nothing that counts is more than was agreed, by the simplest reckoning: all of it lies in one period."""
    for mandate in Mandate.objects.all():
        rule = rules.Rule.from_dict(mandate.consent.rule)
        paid = [
            intent["amount"]
            for intent in books("payment_intent")
            if intent["metadata"].get("krcard_mandate") == str(mandate.public_id) and intent["status"] == "succeeded"
        ]
        most = rule.charges_per_period
        if most is not None and len(paid) > most:
            yield f"OUTSIDE THE TERMS: {len(paid)} payments in one period, {most} were agreed"
        if any(amount > rule.amount for amount in paid):
            yield f"OUTSIDE THE TERMS: {paid}, agreed were {rule.amount} won"


def _told():
    """Each thing is told once, and what was to be told was sent."""
    for row in Charge.objects.filter(status=Status.SUCCEEDED):
        if row.mandate.timeline.filter(kind="charge_succeeded", data__reference=row.reference).count() != 1:
            yield f"the timeline does not tell once that {row.reference!r} succeeded"
        if row.notices.filter(kind=Notice.Kind.CHARGE_SUCCEEDED).count() != 1:
            yield f"the customer was not told once that {row.reference!r} was paid"
    for notice in Notice.objects.filter(sent_at=None):
        yield f"notice {notice.kind} was never sent: {notice.last_error}"
