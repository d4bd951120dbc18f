"""Whether a subscription that runs at Stripe is what its customer agreed to."""

from __future__ import annotations

from django.utils import timezone

from django_krcard import rules
from django_krcard.models import Mandate, Subscription
from django_krcard.services.in_force import consent_on, covers_today, day_of


def why_not_agreed(row: Subscription) -> str:
    """The code of the first thing in which it goes beyond the agreement of today, or nothing."""
    today = day_of(timezone.now())
    consent = consent_on(row.mandate, today)
    rule = rules.Rule.from_dict(consent.rule)
    # Whoever agreed to pay as used has agreed to no rhythm and no one amount: each invoice is judged by itself.
    as_used = rule.frequency == rules.Frequency.AS_USED
    if today >= rule.ends_before(day_of(consent.given_at)):
        return "after_end"
    if row.amount is None and not as_used:
        return "amount_invalid"
    if row.amount is not None and not covers_today(row.mandate, row.amount):
        return "amount_over_limit"
    if rule.frequency == rules.Frequency.ONE_TIME:
        return "not_recurring"
    if not as_used and (row.interval, row.interval_count) != (rule.period, rule.period_count):
        return "price_period"
    return "served_by_subscription" if _is_one_too_many(row, rule) else ""


def why_not_collected(row: Subscription) -> str:
    """The same, and whether its mandate is in use."""
    return "mandate_not_active" if row.mandate.status != Mandate.Status.ACTIVE else why_not_agreed(row)


def _is_one_too_many(row: Subscription, rule: rules.Rule) -> bool:
    """There are more of them than payments in a period: those that came later are."""
    older = row.mandate.subscriptions.exclude(status__in=Subscription.OVER).filter(pk__lt=row.pk)
    return rule.charges_per_period is not None and older.count() >= rule.charges_per_period
