"""Our mandates and Stripe's, compared."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from django.db.models import QuerySet

from django_krcard import gateway
from django_krcard.models import Mandate, of_this_key
from django_krcard.rules import ENDED
from django_krcard.services import mandates
from django_krcard.services.acts import Act
from django_krcard.services.reconcile.finding import Finding, or_unanswered

Status = Mandate.Status

#: What a mandate may be here while Stripe's is in a state. Those that ended here are not asked about.
AGREES = {"pending": {Status.PENDING}, "active": {Status.ACTIVE, Status.ON_HOLD}, "inactive": ENDED}


def at_stripe() -> QuerySet[Mandate]:
    """The living mandates that Stripe has one for."""
    rows = Mandate.objects.filter(**of_this_key("customer"), stripe_id__isnull=False)
    return rows.exclude(status__in=ENDED).select_related("customer")


def compare(mandate: Mandate, *, fix: bool) -> Act[list[Finding]]:
    names = mandate.reference, mandate.customer.stripe_id, mandate.stripe_id
    return (yield from or_unanswered(_compare(mandate, fix), *names, str(mandate.status)))


def _compare(mandate: Mandate, fix: bool) -> Act[list[Finding]]:
    there = yield partial(gateway.patiently, gateway.retrieve_mandate_status, mandate.stripe_id)
    return list(_differences(mandate, there, fix))


def _differences(mandate: Mandate, there: str, fix: bool) -> Iterator[Finding]:
    asked = mandate.stripe_id
    mandate.refresh_from_db()
    before = mandate.status
    if mandate.has_ended or mandate.stripe_id != asked or before in AGREES.get(there, ()):
        return
    if fix:
        mandates.follow_stripe(mandate, there)
        mandate.refresh_from_db()
    agree = mandate.status in AGREES.get(there, ())
    yield Finding("mandate", mandate.reference, mandate.customer.stripe_id, asked, str(before), there, agree)
