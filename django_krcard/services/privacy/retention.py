"""How long each class of personal data is kept, and what takes it away afterwards.

Which rows are due is asked anew for each batch and again in the statement that clears them: two runs at once, or one
that was stopped and started again, clear each row once.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import NamedTuple

from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils import timezone

from django_krcard.conf import conf
from django_krcard.models import CardSetup, Charge, Consent, Customer, Event, Mandate, Notice, PaymentMethod
from django_krcard.services.consents import erase_origin
from django_krcard.services.gate import IN_DISPUTE
from django_krcard.services.privacy.holds import held
from django_krcard.services.privacy.mentions import naming

#: Rows in one transaction.
BATCH = 500

#: Stands where words were: a notice without words is one that was never written.
ERASED = "[erased]"


class DataClass(NamedTuple):
    """One class: which rows of those older than a moment are due, and what clears a batch of them."""

    rows: Callable[[datetime], QuerySet]
    clear: Callable[[QuerySet], int]


def due(name: str, now: datetime | None = None) -> QuerySet:
    """The rows of class ``name`` whose time is over. Empty where the site keeps them for ever."""
    days = conf.RETENTION[name]
    now = now or timezone.now()
    rows = CLASSES[name].rows(now if days is None else now - timedelta(days=days))
    return rows.none() if days is None else rows


def prune(name: str, *, done: Callable[[int], object] = lambda count: None) -> int:
    """Clear what is due in class ``name``. Returns how many rows; ``done`` hears of each batch."""
    now, cleared, last = timezone.now(), 0, 0
    while batch := list(due(name, now).filter(pk__gt=last).order_by("pk").values_list("pk", flat=True)[:BATCH]):
        with transaction.atomic():
            count = CLASSES[name].clear(due(name, now).filter(pk__in=batch))
        cleared, last = cleared + count, batch[-1]
        done(count)
    return cleared


# --- which rows -----------------------------------------------------------------------------------


def webhook_bodies(before: datetime) -> QuerySet[Event]:
    """Raw messages that nobody will work off any more. Id, type, times and outcome stay."""
    rows = Event.objects.filter(received_at__lt=before).exclude(status__in=Event.OPEN).exclude(body=b"")
    its_mandates = Mandate.objects.filter(customer=OuterRef("pk"))
    on_hold = Customer.objects.filter(~Q(legal_hold="") | Exists(its_mandates.exclude(legal_hold="")))
    for customer in on_hold:
        rows = rows.exclude(naming(customer))
    return rows


def setups(before: datetime) -> QuerySet[CardSetup]:
    """Attempts to save a card that are over: where they were sent, and why they failed."""
    empty = Q(failure_code="", redirect_url="", params={})
    rows = CardSetup.objects.filter(expires_at__lt=before).exclude(status=CardSetup.Status.OPEN).exclude(empty)
    return rows.exclude(held("mandate__customer", "mandate"))


def cards(before: datetime) -> QuerySet[PaymentMethod]:
    """Cards that were removed so long ago that no dispute about them is to come. The id at Stripe stays."""
    empty = Q(brand="", last4=None, exp_month=None, exp_year=None)
    rows = PaymentMethod.objects.filter(detached_at__lt=before).exclude(empty).exclude(held("customer"))
    # Which mandate a card was replaced under is in its timeline only, so any of the customer's counts.
    on_hold = Mandate.objects.filter(customer=OuterRef("customer")).exclude(legal_hold="")
    disputed = Charge.objects.filter(IN_DISPUTE, payment_method=OuterRef("pk"))
    return rows.exclude(Exists(disputed)).exclude(Exists(on_hold))


def notices(before: datetime) -> QuerySet[Notice]:
    """What was told, and where it went, under mandates that ended. That it was told, and when, stays."""
    rows = Notice.objects.filter(mandate__ended_at__lt=before, next_attempt_at=None).exclude(text=ERASED)
    return rows.exclude(held("mandate__customer", "mandate"))


def consent_origins(before: datetime) -> QuerySet[Consent]:
    """Consents whose agreement ended: from where they came, with note and attachment. The record stays and holds."""
    rows = Consent.objects.filter(given_at__lt=before, erasure=None).exclude(held("customer"))
    same_agreement = Mandate.objects.filter(customer=OuterRef("customer"), consent__terms__slug=OuterRef("terms__slug"))
    return rows.exclude(Exists(same_agreement.filter(still_kept(before))))


def customers(before: datetime) -> QuerySet[Customer]:
    """Those whose last agreement ended: who they are at this site."""
    rows = Customer.objects.filter(created_at__lt=before, erased_at=None).exclude(held(""))
    kept = Mandate.objects.filter(customer=OuterRef("pk"))
    return rows.exclude(Exists(kept.filter(still_kept(before))))


def still_kept(before: datetime) -> Q:
    """Mandates that live, ended later, or are on hold."""
    return Q(ended_at=None) | Q(ended_at__gte=before) | ~Q(legal_hold="")


# --- what clears them -----------------------------------------------------------------------------


def clear_bodies(rows: QuerySet[Event]) -> int:
    return rows.update(body=b"")


def clear_setups(rows: QuerySet[CardSetup]) -> int:
    return rows.update(failure_code="", redirect_url="", params={})


def clear_cards(rows: QuerySet[PaymentMethod]) -> int:
    return rows.update(brand="", last4=None, exp_month=None, exp_year=None)


def clear_notices(rows: QuerySet[Notice]) -> int:
    return rows.update(address="", subject=ERASED, text=ERASED)


def clear_origins(rows: QuerySet[Consent]) -> int:
    consents = list(rows.select_related("customer"))
    for consent in consents:
        erase_origin(consent, by="system", reason="its retention is over")
    return len(consents)


def clear_customers(rows: QuerySet[Customer]) -> int:
    """The row stays, because records of payments point to it; nobody is found by it any more."""
    count = 0
    for customer in rows:
        pseudonym = f"erased-{customer.public_id}"
        still = Customer.objects.filter(pk=customer.pk, erased_at=None)
        count += still.update(user=None, notice_address="", reference=pseudonym, params={}, erased_at=timezone.now())
    return count


CLASSES = {
    "webhook_body": DataClass(webhook_bodies, clear_bodies),
    "setup": DataClass(setups, clear_setups),
    "card": DataClass(cards, clear_cards),
    "notice": DataClass(notices, clear_notices),
    "consent_origin": DataClass(consent_origins, clear_origins),
    "customer": DataClass(customers, clear_customers),
}
