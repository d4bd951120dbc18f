"""The facts of this moment, for the rules to judge. Reads and asks nobody."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from copy import copy
from datetime import date, datetime, timedelta
from typing import Any, NamedTuple

from django.db.models import Max, Q, prefetch_related_objects
from django.utils import timezone

from django_krcard import rules
from django_krcard.conf import conf
from django_krcard.models import Amendment, Charge, Consent, Mandate, Notice, Subscription, Terms, lock_all
from django_krcard.services.consents import is_intact
from django_krcard.services.in_force import consent_on, day_of, midnight, next_rules_on, put_in_force, rule_on

Status = Charge.Status

#: What the gate looks at beside the mandate, for those who read many at a time.
RELATED = ("customer", "consent__terms", "consent__customer", "payment_method")

COUNTED_IN_PLANS = Charge.COUNTED | {Status.SCHEDULED}
STILL_OPEN = COUNTED_IN_PLANS - {Status.SUCCEEDED}

IN_DISPUTE = ~Q(dispute_id="") & ~Q(dispute_status__in=Charge.DISPUTE_OVER)


def can_charge(mandate: Mandate, amount: int, *, at: datetime | None = None) -> rules.Verdict:
    """Say whether ``amount`` whole won may be charged under ``mandate`` (now, or ``at``), and if not, why.

    The same question that ``charge`` asks. Sends and changes nothing.
    """
    mandate.refresh_from_db()
    return judge(mandate, amount, at or timezone.now())


def next_payment_on(mandate: Mandate) -> date | None:
    """The first day on which the next regular payment may be charged, or ``None`` if there is none to come."""
    rule = rule_on(mandate, day_of(timezone.now()))
    if mandate.status != Mandate.Status.ACTIVE or mandate.is_free or rule.frequency != rules.Frequency.RECURRING:
        return None
    facts = _facts(mandate, rule.amount, timezone.now())
    if facts.served_by_subscription:
        # Stripe charges by itself, on days of its own.
        return None
    day = facts.day
    if facts.charges_in_period >= rule.charges_per_period:
        _start, day = rules.period_around(facts.day, anchor=facts.began_on, rule=rule)
    return day if day < rule.ends_before(facts.agreed_on) else None


def locked(mandate: Mandate) -> Mandate:
    """The mandate as it is now. No other charge under it is judged until the transaction ends.

    A consent never changes and a customer stays who they are; card and status are read anew.
    """
    (mandate,) = locked_all([mandate])
    return mandate


def locked_all(mandates: Sequence[Mandate]) -> list[Mandate]:
    """``locked`` for many at a time. A consent whose day has come is put in force on the way."""
    fresh, today = lock_all(mandates, "customer", "consent"), day_of(timezone.now())
    for mandate in fresh:
        if not mandate.customer.stripe_id:
            # Read before the card was saved. Since then Stripe has a customer, or there would be nothing to charge.
            mandate.customer.refresh_from_db()
    prefetch_related_objects(fresh, "payment_method")
    for mandate in fresh:
        if next_rules_on(mandate, today) and not mandate.has_ended:
            put_in_force(mandate, mandate.next_consent)
    return fresh


def judge(
    mandate: Mandate,
    amount: Any,
    at: datetime,
    *,
    charge: Charge | None = None,
    due_at: datetime | None = None,
    planned: bool = False,
    history: History | None = None,
    subscription: Subscription | None = None,
) -> rules.Verdict:
    """Ask the rules about ``amount`` won at the moment ``at``.

    ``charge`` is the row in question, which does not count against itself; ``due_at`` says when it should have been
    sent; ``planned`` counts what is only scheduled as well; ``history`` is for those who judge many at a time.
    ``subscription`` is the one that asks for its first payment, and is not served by itself.
    """
    facts = _facts(
        mandate,
        amount,
        at,
        charge=charge,
        due_at=due_at,
        planned=planned,
        history=history,
        subscription=subscription,
    )
    return rules.judge(facts, amount)


def judge_first(mandate: Mandate, consent: Consent, amount: Any, at: datetime, *, charge: Charge) -> rules.Verdict:
    """Ask the rules about a payment that its customer makes while the card is saved under ``consent``.

    The mandate is taken for what the payment makes of it: active, under this consent, with this card. As the customer
    is here and confirms it, the notice that the terms promise has nothing to announce.
    """
    as_if = copy(mandate)
    as_if.consent, as_if.activated_at = consent, mandate.activated_at or at
    facts = _facts(as_if, amount, at, charge=charge)
    if facts.mandate_status == Mandate.Status.PENDING:
        facts = facts._replace(mandate_status=Mandate.Status.ACTIVE)
    rule = facts.rule._replace(notice_days=0)
    return rules.judge(facts._replace(rule=rule, card_saved=True, card_attached=True), amount)


def same_period(mandate: Mandate, one: datetime, other: datetime) -> bool:
    """Whether two moments lie in one period of the terms. Without periods all of them do."""
    rule = rule_on(mandate, day_of(other))
    first, last = _period(mandate, rule, one) or (date.min, date.max)
    return first <= day_of(other) < last


def _facts(
    mandate: Mandate,
    amount: Any,
    at: datetime,
    *,
    charge: Charge | None = None,
    due_at: datetime | None = None,
    planned: bool = False,
    history: History | None = None,
    subscription: Subscription | None = None,
) -> rules.Facts:
    day = day_of(at)
    consent, card = consent_on(mandate, day), mandate.payment_method
    rule = rules.Rule.from_dict(consent.rule)
    free = mandate.is_free and not next_rules_on(mandate, day)
    more = rules.is_amount(amount) and (free or amount > rule.amount)
    period = _period(mandate, rule, at)
    history = history or History([mandate], at)
    others = history.of(mandate, but=charge)
    counted = [row for row in others if row.status in (COUNTED_IN_PLANS if planned else Charge.COUNTED)]
    inside = [row for row in counted if period and period[0] <= day_of(row.due_at) < period[1]]
    announced = announced_at(charge) if rule.notice_days and charge else None
    serving = history.serving(mandate, at, but=subscription)
    paid = {row.subscription_id for row in inside}
    to_come = [each for each in serving if each.pk not in paid]
    return rules.Facts(
        rule=rule,
        day=day,
        began_on=day_of(mandate.activated_at) if mandate.activated_at else None,
        agreed_on=day_of(consent.given_at),
        mandate_status=mandate.status,
        same_mode=mandate.customer.is_of_this_key,
        charging_paused=conf.CHARGING_PAUSED,
        consent_intact=is_intact(consent),
        source_accepted=consent.source in conf.CHARGEABLE_SOURCES,
        terms_match=consent.terms.rule == rule,
        card_saved=card is not None,
        card_attached=card is not None and card.detached_at is None,
        dispute_open=any(row.is_disputed for row in others),
        raised_to=_raised_to(mandate, consent.terms) if more else None,
        later_up_to=_later_up_to(mandate, day) if more else None,
        free=free,
        overdue=due_at is not None and at - _expected(due_at, announced, rule) > timedelta(days=conf.MAX_DAYS_LATE),
        notice_given_on=announced and day_of(announced),
        charges_ever=sum(row.consent_id == consent.pk or row.status != Status.SUCCEEDED for row in counted),
        charges_in_period=len(inside),
        amount_in_period=sum(row.amount for row in inside),
        served_by_subscription=bool(serving),
        charges_to_come=len(to_come),
        amount_to_come=sum(each.amount or rule.amount for each in to_come),
    )


class _Row(NamedTuple):
    mandate_id: int
    reference: str
    status: str
    due_at: datetime
    amount: int
    consent_id: int
    dispute_id: str
    dispute_status: str
    subscription_id: int | None

    @property
    def is_disputed(self) -> bool:
        return bool(self.dispute_id) and self.dispute_status not in Charge.DISPUTE_OVER


class _Serving(NamedTuple):
    pk: int
    mandate_id: int
    amount: int | None
    cancel_at: datetime | None


class History:
    """What the limits look at: the subscriptions that run, and the charges of the period around ``at``, and those of
    any that are open or disputed; without periods all of them. Of many mandates, and maybe more of each than it needs.

    Rows and not an aggregate: they are few, and building that question costs Django more than all the others here.
    """

    def __init__(self, mandates: Iterable[Mandate], at: datetime) -> None:
        periods = {m.pk: _period(m, rule_on(m, day_of(at)), at) for m in mandates}
        rows = Charge.objects.filter(mandate__in=periods)
        if begun := [period[0] for period in periods.values() if period]:
            counts = Q(due_at__gte=midnight(min(begun))) | Q(status__in=STILL_OPEN) | Q(dispute_id__gt="")
            if without := [pk for pk, period in periods.items() if not period]:
                counts |= Q(mandate__in=without)
            rows = rows.filter(counts)
        self._rows: dict[int, dict[str, _Row]] = {pk: {} for pk in periods}
        for row in map(_Row._make, rows.values_list(*_Row._fields)):
            self._rows[row.mandate_id][row.reference] = row
        running = Subscription.objects.filter(mandate__in=periods).exclude(status__in=Subscription.OVER)
        self._serving = [_Serving(*row) for row in running.values_list(*_Serving._fields)]

    def serving(self, mandate: Mandate, at: datetime, *, but: Subscription | None = None) -> list[_Serving]:
        """What charges under the mandate by itself at that moment."""
        return [
            each
            for each in self._serving
            if each.mandate_id == mandate.pk
            and (but is None or each.pk != but.pk)
            and (each.cancel_at is None or at < each.cancel_at)
        ]

    def of(self, mandate: Mandate, *, but: Charge | None = None) -> list[_Row]:
        rows = self._rows[mandate.pk].values()
        return [row for row in rows if but is None or row.reference != but.reference]

    def count(self, charge: Charge) -> None:
        """From now on as it is in hand: what is judged after it and before it is written must see it."""
        self._rows[charge.mandate_id][charge.reference] = _Row(*(getattr(charge, name) for name in _Row._fields))


def _period(mandate: Mandate, rule: rules.Rule, at: datetime) -> tuple[date, date] | None:
    if mandate.activated_at is None:
        return None
    return rules.period_around(day_of(at), anchor=day_of(mandate.activated_at), rule=rule)


def _raised_to(mandate: Mandate, terms: Terms) -> int | None:
    """The most that a newer version asks for: the one published, or one that this customer was asked to agree to."""
    asked = Q(amendments__mandate=mandate, amendments__status__in=Amendment.NOT_AGREED)
    newer = Terms.objects.filter(slug=terms.slug, version__gt=terms.version)
    return newer.filter(Q(status=Terms.Status.PUBLISHED) | asked).aggregate(most=Max("amount"))["most"]


def _later_up_to(mandate: Mandate, day: date) -> int | None:
    """The amount agreed to beforehand, while its day has not come."""
    if mandate.next_consent_on is None or next_rules_on(mandate, day):
        return None
    return rules.Rule.from_dict(mandate.next_consent.rule).amount


def announced_at(charge: Charge) -> datetime | None:
    """When the customer was first told of this very charge. The notice of one is no notice of another, also if it is
    like it: the customer would pay twice and have been told once. Nor is that of a charge that was refused and is
    planned anew for another day."""
    if charge.pk is None:
        return None
    told = charge.notices.filter(kind=Notice.Kind.CHARGE_UPCOMING, sent_at__isnull=False)
    if charge.status in (Status.SCHEDULED, Status.REFUSED):
        told = told.filter(about__startswith=announcement_of(charge))
    return told.order_by("sent_at").values_list("sent_at", flat=True).first()


def announcement_of(charge: Charge) -> str:
    """How the names of its announcements begin."""
    return f"upcoming:{charge.public_id}:{day_of(charge.due_at):%Y%m%d}:"


def _expected(due_at: datetime, announced: datetime | None, rule: rules.Rule) -> datetime:
    """When the customer expects a scheduled charge: if it was announced late, they were told of a later day."""
    if announced is None:
        return due_at
    return max(due_at, midnight(day_of(announced) + timedelta(days=rule.notice_days)))
