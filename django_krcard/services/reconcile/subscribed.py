"""Our rows of subscriptions, and what Stripe says of them: both ways, with their invoices."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from functools import partial

from django.utils import timezone

from django_krcard import gateway
from django_krcard.models import Customer, Mandate, Subscription
from django_krcard.services import invoices, subscriptions
from django_krcard.services.acts import Act
from django_krcard.services.reconcile.finding import Finding, or_unanswered
from django_krcard.services.reconcile.outside import EXPLAINED


def compare(row: Subscription, *, fix: bool) -> Act[list[Finding]]:
    names = row.mandate.reference, row.mandate.customer.stripe_id, row.stripe_id
    return (yield from or_unanswered(_compare(row, names, fix), *names, _in_words(row)))


def unknown(customer: Customer, *, fix: bool) -> Act[list[Finding]]:
    """What Stripe has for a customer of ours that no row knows of. With our mandate's name it is taken in; without it
    somebody went around the agreement."""
    found = []
    asked_at = timezone.now()
    listed = yield partial(gateway.patiently, _all_of, customer.stripe_id)
    known = set(
        Subscription.objects.filter(stripe_id__in=[told.id for told in listed]).values_list("stripe_id", flat=True)
    )
    mandates = {str(mandate.public_id): mandate for mandate in Mandate.objects.filter(customer=customer)}
    for told in listed:
        if told.id in known or told.status in Subscription.OVER:
            continue
        mandate = mandates.get(told.metadata.get("krcard_mandate", ""))
        row = subscriptions.apply(mandate, told, asked_at) if mandate and fix else None
        if row:
            yield from invoices.compare(row)
        if mandate or not told.metadata.get(EXPLAINED):
            names = mandate.reference if mandate else "", customer.stripe_id, told.id
            found.append(Finding("subscription", *names, "", _in_words(told), row is not None))
    return found


def _all_of(customer_id: str) -> list[gateway.Subscription]:
    return list(gateway.subscriptions_of(customer_id))


def _compare(row: Subscription, names: tuple[str, str, str], fix: bool) -> Act[list[Finding]]:
    asked_at = timezone.now()
    told = yield partial(gateway.patiently, gateway.retrieve_subscription, row.stripe_id)
    found = list(_differences(row, told, names, asked_at, fix))
    for invoice in (yield from invoices.compare(row, fix=fix)):
        found.append(Finding("invoice", names[0], names[1], invoice, "", "not known here", fix))
    return found


def _differences(
    row: Subscription, told: gateway.Subscription, names: tuple[str, str, str], asked_at: datetime, fix: bool
) -> Iterator[Finding]:
    row.refresh_from_db()
    here, there = _in_words(row), _in_words(told)
    if here != there:
        if fix:
            subscriptions.apply(row.mandate, told, asked_at)
            row.refresh_from_db()
        yield Finding("subscription", *names, here, there, _in_words(row) == there)
    card = row.mandate.payment_method
    if row.mandate.has_ended and told.status not in Subscription.OVER:
        # It is cancelled at once and then again and again: a person should know that it did not help.
        yield Finding("subscription", *names, f"mandate {row.mandate.status}", there, row.is_over)
    elif card and told.payment_method != card.stripe_id:
        # Another card than the one agreed on. With the answer to another card's saving it is set right by itself.
        if fix:
            subscriptions.use_card_again(row)
            row.refresh_from_db()
        charged = told.payment_method or "the customer's default"
        yield Finding("subscription", *names, card.stripe_id, charged, row.payment_method == card.stripe_id)


def _in_words(told: Subscription | gateway.Subscription) -> str:
    amount = "amount varies" if told.amount is None else f"{told.amount:,} won"
    until = f" until {told.current_period_end:%Y-%m-%d %H:%M} UTC" if told.current_period_end else ""
    paused = f", paused ({told.paused})" if told.paused else ""
    return f"{told.status}, {amount}{until}{paused}"
