"""Subscriptions that ask for more than was agreed: their customers are asked, and who has agreed is charged again."""

from __future__ import annotations

import logging
from datetime import timedelta

from django.utils import timezone

from django_krcard.conf import conf
from django_krcard.exceptions import AmendmentRefused
from django_krcard.models import Amendment, Subscription, Terms, of_this_key
from django_krcard.services import amendments, subscriptions
from django_krcard.services.agreed import why_not_collected
from django_krcard.services.in_force import day_of

logger = logging.getLogger(__name__)


def settle() -> None:
    """Called by ``krcard_run_due``. What the agreement covers by now is collected again; where published terms would
    cover it, the customer is asked for a separate consent to them. Until then nothing is collected."""
    stopped = Subscription.objects.filter(above_agreed_at__isnull=False).exclude(status__in=Subscription.OVER)
    for row in stopped.filter(**of_this_key("mandate__customer")).select_related("mandate__consent__terms"):
        why = why_not_collected(row)
        if not why:
            subscriptions.resume_by_itself(row.mandate)
        elif why == "amount_over_limit" and (terms := _covering(row)):
            _ask(row, terms)


def _covering(row: Subscription) -> Terms | None:
    mine = row.mandate.consent.terms
    newer = Terms.objects.filter(slug=mine.slug, status=Terms.Status.PUBLISHED, version__gt=mine.version)
    return newer.filter(amount__gte=row.amount).first()


def _ask(row: Subscription, terms: Terms) -> None:
    # Once for these terms, whatever was answered: who has said no is not asked again by itself.
    closed = [Amendment.Status.CANCELLED, Amendment.Status.SUPERSEDED]
    if row.mandate.amendments.filter(terms=terms).exclude(status__in=closed).exists():
        return
    day = day_of(timezone.now()) + timedelta(days=conf.AMENDMENT_MIN_NOTICE_DAYS)
    reason = f"subscription {row.stripe_id} asks for {row.amount:,} won"
    try:
        amendments.request(row.mandate, terms, effective_on=day, by="system", reason=reason)
    except AmendmentRefused as refused:
        logger.warning("Mandate %s could not be asked to agree to %s: %s", row.mandate.reference, terms, refused)
