"""How a customer stands who reads the terms: the agreement there is already, and when its next payment may come."""

from __future__ import annotations

from copy import copy
from datetime import date, timedelta
from typing import NamedTuple

from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.module_loading import import_string

from django_krcard.conf import conf
from django_krcard.models import Customer, Mandate, Subscription, Terms, of_this_key
from django_krcard.rules import ENDED, Rule, period_around
from django_krcard.services import amendment_steps, amendments, gate


def payer_of(request: HttpRequest) -> Customer | None:
    """Who pays by ``KRCARD_GET_CUSTOMER``, if it is not the signed-in user."""
    return import_string(conf.GET_CUSTOMER)(request) if conf.GET_CUSTOMER else None


def mandates_of(request: HttpRequest) -> QuerySet[Mandate]:
    """The visitor's, or the payer's: for what stands on a page of the site's own."""
    payer = payer_of(request)
    return Mandate.objects.filter(**({"customer": payer} if payer else {"customer__user": request.user}))


def living(mine: QuerySet[Mandate], terms: Terms) -> Mandate | None:
    """The living one of somebody's mandates under ``terms``, whatever their version. Without a card it is only a try.

    ``applies_from``: the day from which ``terms`` rule for it, if that is still to come. ``is_same_version``: they were
    agreed to already.
    """
    mine = mine.filter(**of_this_key("customer"), consent__terms__slug=terms.slug, payment_method__isnull=False)
    mandate = mine.exclude(status__in=ENDED).select_related(*gate.RELATED).first()
    if mandate:
        asked = amendments.asked_for(mandate, terms)
        mandate.applies_from = asked.effective_on if asked and not amendment_steps.has_come(asked) else None
        mandate.is_same_version = mandate.consent.terms == terms
    return mandate


class Dates(NamedTuple):
    #: For whom there is no payment yet, or who pays each time anew.
    first_on: date | None
    next_on: date | None
    #: What the next payment is, where the terms do not rule yet.
    next_amount: int | None = None


def dates(terms: Terms, mandate: Mandate | None) -> Dates:
    """When somebody pays who agrees to ``terms`` today; ``mandate`` is what ``living`` has found."""
    rule = terms.rule
    today = timezone.localdate(timezone=conf.TIME_ZONE)
    first_on = today + timedelta(days=rule.notice_days)
    if mandate is None:
        period = period_around(first_on, anchor=today, rule=rule)
        return Dates(first_on, period and period[1])
    starts = mandate.applies_from
    if rule.frequency != "recurring":
        return Dates(max(first_on, starts or first_on), None)
    next_on = next_payment_on(_once_agreed(mandate))
    if next_on is None or starts is None or next_on >= starts:
        return Dates(None, next_on)
    if mandate.is_free:
        return Dates(None, starts)
    return Dates(None, next_on, Rule.from_dict(mandate.consent.rule).amount)


def next_payment_on(mandate: Mandate) -> date | None:
    """As the gate says, but for one thing: where only a subscription ever paid, nothing comes after its end."""
    return None if _paid_by_subscription_alone(mandate) else gate.next_payment_on(mandate)


def _paid_by_subscription_alone(mandate: Mandate) -> bool:
    # .all(): the pages have them already.
    started = any(row.status != Subscription.NOT_STARTED for row in mandate.subscriptions.all())
    return started and not mandate.charges.filter(subscription=None, setup=None).exists()


def _once_agreed(mandate: Mandate) -> Mandate:
    """The mandate as if its customer had agreed: that ends a hold for want of it, and what was free."""
    agreed = copy(mandate)
    agreed.status, agreed.is_free = Mandate.Status.ACTIVE, False
    return agreed
