"""Which consent rules on which day: the one in force, or one that was agreed to beforehand and whose day has come."""

from __future__ import annotations

from datetime import date, datetime, time

from django.utils import timezone

from django_krcard.conf import conf
from django_krcard.models import Consent, Mandate
from django_krcard.rules import Rule
from django_krcard.services.timeline import record


def day_of(moment: datetime) -> date:
    """The calendar day where the terms rule."""
    return moment.astimezone(conf.TIME_ZONE).date()


def midnight(day: date) -> datetime:
    return datetime.combine(day, time.min, conf.TIME_ZONE)


def next_rules_on(mandate: Mandate, day: date) -> bool:
    """Whether on ``day`` the consent agreed to beforehand is the one that rules."""
    return mandate.next_consent_on is not None and day >= mandate.next_consent_on


def consent_on(mandate: Mandate, day: date) -> Consent:
    """Asked of the two pointers and not of a job that moves them: nothing depends on a scheduler being on time."""
    return mandate.next_consent if next_rules_on(mandate, day) else mandate.consent


def rule_on(mandate: Mandate, day: date) -> Rule:
    return Rule.from_dict(consent_on(mandate, day).rule)


def rule_today(mandate: Mandate) -> Rule:
    return rule_on(mandate, day_of(timezone.now()))


def covers_today(mandate: Mandate, amount: int) -> bool:
    """Whether an invoice of Stripe's over ``amount`` won was agreed. Who is free has agreed to pay nothing yet."""
    if mandate.is_free and not next_rules_on(mandate, day_of(timezone.now())):
        return amount == 0
    return rule_today(mandate).covers(amount)


def put_in_force(mandate: Mandate, consent: Consent) -> Mandate:
    """Let a locked mandate be ruled by ``consent`` from now on. Periods go on being counted from where they were."""
    mandate.consent, mandate.next_consent, mandate.next_consent_on, mandate.is_free = consent, None, None, False
    mandate.save(update_fields=["consent", "next_consent", "next_consent_on", "is_free"])
    if mandate.activated_at:
        record(mandate, "consent_in_force", actor="system", consent=str(consent.public_id), terms=str(consent.terms))
    return mandate
