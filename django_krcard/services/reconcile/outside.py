"""Payments that nobody agreed to: Stripe has them for a customer or a card of ours, and they are no charge of ours."""

from __future__ import annotations

from collections.abc import Iterator

from django.db.models import Q

from django_krcard import gateway
from django_krcard.models import Customer, Mandate, PaymentMethod, TimelineEntry, of_this_key
from django_krcard.services.reconcile.finding import Finding

#: No money moved, and none is on its way. Every cart that was left behind ends like this.
NO_MONEY = frozenset({"canceled", "requires_confirmation", "requires_payment_method"})

#: Whoever has looked at such a payment and finds it right says why, in this field of its metadata at Stripe.
EXPLAINED = "krcard_outside_mandate"


def outside(intents: list[gateway.PaymentIntent]) -> Iterator[Finding]:
    """Those of ``intents``, none of which has a row, that a person should look at."""
    suspects = _of_ours([intent for intent in intents if _is_worth_a_word(intent)])
    if not suspects:
        return
    named, invoiced = _named(suspects), _invoiced(suspects)
    users = _users_of({intent.payment_method for intent in suspects})
    for intent in suspects:
        # With a reference it is a charge's, and whoever compares charges has seen it.
        name = intent.customer, intent.metadata.get("krcard_mandate")
        is_a_charge = name in named and intent.metadata.get("krcard_reference")
        if not is_a_charge and intent.id not in invoiced:
            mandate = users.get(intent.payment_method, "")
            yield Finding("outside_mandate", mandate, intent.customer, intent.id, "", _in_words(intent))


def _is_worth_a_word(intent: gateway.PaymentIntent) -> bool:
    paid_back = intent.status == "succeeded" and intent.refunded == intent.amount
    return intent.status not in NO_MONEY and not paid_back and not intent.metadata.get(EXPLAINED)


def _of_ours(intents: list[gateway.PaymentIntent]) -> list[gateway.PaymentIntent]:
    """Other sites use the same Stripe account: their customers are none of ours."""
    customers = Customer.objects.filter(**of_this_key(), stripe_id__in={each.customer for each in intents})
    cards = PaymentMethod.objects.filter(stripe_id__in={each.payment_method for each in intents})
    known = set(customers.values_list("stripe_id", flat=True))
    saved = set(cards.filter(**of_this_key("customer")).values_list("stripe_id", flat=True))
    return [each for each in intents if each.customer in known or each.payment_method in saved]


def _named(intents: list[gateway.PaymentIntent]) -> set[tuple[str, str]]:
    """The mandates that these payments may name, each with its customer."""
    rows = Mandate.objects.filter(_paid_by("customer", intents)).select_related("customer")
    return {(name, str(mandate.public_id)) for mandate in rows for name in mandate.customer.stripe_ids}


def _invoiced(intents: list[gateway.PaymentIntent]) -> set[str]:
    """What Stripe charged for a subscription on a mandate: the timeline has its invoice."""
    entries = TimelineEntry.objects.filter(
        _paid_by("mandate__customer", intents),
        kind__startswith="invoice_",
        data__payment_intent__in=[each.id for each in intents],
    )
    return set(entries.values_list("data__payment_intent", flat=True))


def _paid_by(path: str, intents: list[gateway.PaymentIntent]) -> Q:
    """By Stripe's customer, or, once that was deleted, by the card."""
    cards = {each.payment_method for each in intents}
    by_card = PaymentMethod.objects.filter(stripe_id__in=cards).values("customer")
    return Q(**{f"{path}__stripe_id__in": {each.customer for each in intents}}) | Q(**{f"{path}__in": by_card})


def _users_of(cards: set[str]) -> dict[str, str]:
    """The reference of the newest mandate that was given for each card."""
    rows = Mandate.objects.filter(payment_method__stripe_id__in=cards).order_by("pk")
    return dict(rows.values_list("payment_method__stripe_id", "reference"))


def _in_words(intent: gateway.PaymentIntent) -> str:
    currency = "won" if intent.currency == "krw" else intent.currency
    back = f", {intent.refunded:,} of it paid back" if intent.refunded else ""
    return f"{intent.status}, {intent.amount:,} {currency}{back}"
