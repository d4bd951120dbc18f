"""Customers, one by one: the cards, mandates and subscriptions that Stripe has of theirs, compared with our rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from functools import partial

from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils import timezone

from django_krcard import gateway
from django_krcard.exceptions import GatewayError, StripeRefusedKey
from django_krcard.models import Customer, Mandate, PaymentMethod, Subscription, of_this_key
from django_krcard.rules import ENDED
from django_krcard.services import mandates
from django_krcard.services.acts import Act
from django_krcard.services.reconcile import cards, permissions, subscribed
from django_krcard.services.reconcile.finding import Finding, is_missing, unanswered
from django_krcard.services.reconcile.rows import CHUNK

#: A customer with whom all was well is left alone so long. Less than a day, so that a daily run leaves out nobody.
COMPARED_FOR = timedelta(hours=20)


def compared(began: datetime, fix: bool, everybody: bool, looked: Callable[[], object]) -> Iterator[Act[list[Finding]]]:
    """An act for each customer that waits to be compared."""
    for pk in _keys(waiting(began, everybody)):
        yield _compare(pk, fix, looked)


def waiting(now: datetime, everybody: bool) -> QuerySet[Customer]:
    """Who never had a card or a mandate is not asked about."""
    before = now if everybody else now - COMPARED_FOR
    theirs = {"customer": OuterRef("pk")}
    return Customer.objects.filter(
        Exists(PaymentMethod.objects.filter(**theirs)) | Exists(Mandate.objects.filter(**theirs)),
        Q(compared_at=None) | Q(compared_at__lt=before),
        **of_this_key(),
        stripe_id__isnull=False,
    )


def _keys(customers: QuerySet[Customer]) -> Iterator[int]:
    """Each once. Who was compared longest ago comes first: runs that never get to their end reach everybody all the
    same, one after the other."""
    last = 0
    while chunk := list(
        customers.filter(compared_at=None, pk__gt=last).order_by("pk").values_list("pk", flat=True)[:CHUNK]
    ):
        yield from chunk
        last = chunk[-1]
    after = Q(compared_at__isnull=False)
    while chunk := list(customers.filter(after).order_by("compared_at", "pk").values_list("compared_at", "pk")[:CHUNK]):
        yield from (pk for _at, pk in chunk)
        at, pk = chunk[-1]
        after = Q(compared_at__gt=at) | Q(compared_at=at, pk__gt=pk)


def _compare(pk: int, fix: bool, looked: Callable[[], object]) -> Act[list[Finding]]:
    """Compare all of one customer's, and write down that all is well, or that it is not."""
    customer, began, found = Customer.objects.get(pk=pk), timezone.now(), []
    try:
        yield from _look(customer, fix, found)
    except StripeRefusedKey:
        raise
    except GatewayError as error:
        found.append(unanswered(error, "", customer.stripe_id, customer.stripe_id, ""))
    clean = all(each.fixed for each in found)
    Customer.objects.filter(pk=pk).update(compared_at=began if clean else None)
    looked()
    return found


def _look(customer: Customer, fix: bool, found: list[Finding]) -> Act[None]:
    try:
        found += yield from cards.compare(customer, fix=fix)
    except GatewayError as error:
        # Of a customer that was deleted Stripe lists nothing. One that it never had is another account's.
        asking = partial(gateway.patiently, gateway.customer_is_deleted, customer.stripe_id)
        if not is_missing(error) or not (yield asking):
            raise
        found += _deleted(customer, fix)
        return
    living = permissions.at_stripe().filter(customer=customer).exclude(status=Mandate.Status.PENDING)
    for mandate in living.order_by("pk"):
        found += yield from permissions.compare(mandate, fix=fix)
    running = Subscription.objects.filter(mandate__customer=customer).exclude(status__in=Subscription.OVER)
    running = running.exclude(stripe_id=None)
    for subscription in running.select_related("mandate__customer").order_by("pk"):
        found += yield from subscribed.compare(subscription, fix=fix)
    found += yield from subscribed.unknown(customer, fix=fix)


def _deleted(customer: Customer, fix: bool) -> list[Finding]:
    here = _what_is_left(customer)
    if not here:
        return []
    if fix:
        mandates.customer_deleted(customer)
    names = customer.stripe_id, customer.stripe_id
    return [Finding("customer_deleted", "", *names, here, "deleted", not _what_is_left(customer))]


def _what_is_left(customer: Customer) -> str:
    living = customer.mandates.exclude(status__in=ENDED).count()
    attached = customer.payment_methods.filter(detached_at=None).count()
    return f"{living} mandates, {attached} cards" if living or attached else ""
