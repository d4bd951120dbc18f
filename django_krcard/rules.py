"""The gate as pure functions: facts in, verdict out. No database, no clock, no Stripe.

Stripe's guide asks to "only submit charges in accordance with the agreed terms". What was agreed is a ``Rule``;
what is so at this moment are the ``Facts``; ``judge`` says whether a charge may be sent, and if not, why.
"""

from __future__ import annotations

import calendar
from datetime import date, timedelta
from typing import Any, NamedTuple

from django.db.models import TextChoices
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

#: Whole won. Stripe's minimum for ``kr_card`` and the API's ceiling of eight digits.
MIN_AMOUNT = 100
MAX_AMOUNT = 99_999_999

#: Beyond these the calendar ends before the agreement does.
MAX_PERIOD_COUNT = 366
MAX_VALID_FOR_DAYS = 36_500

#: After a declined payment. The networks' own ceilings are higher; a customer's patience is not.
MAX_RETRIES = 3
MAX_RETRY_AFTER_DAYS = 30


class Frequency(TextChoices):
    ONE_TIME = "one_time", _("one time")
    RECURRING = "recurring", _("recurring")
    AS_USED = "as_used", _("as used")


class Period(TextChoices):
    DAY = "day", _("day")
    WEEK = "week", _("week")
    MONTH = "month", _("month")
    YEAR = "year", _("year")


class AmountKind(TextChoices):
    FIXED = "fixed", _("fixed amount")
    MAXIMUM = "maximum", _("up to a maximum")


class MandateStatus(TextChoices):
    PENDING = "pending", _("pending")
    # Django has this word for users, and all catalogs of a site are one: ours would replace it.
    ACTIVE = "active", pgettext_lazy("krcard", "active")
    ON_HOLD = "on_hold", _("on hold")
    REVOKED = "revoked", _("revoked")
    INACTIVE = "inactive", _("inactive")
    EXPIRED = "expired", _("expired")
    FAILED = "failed", _("failed")


#: A mandate in one of these states has ended and never comes back; a new agreement makes a new mandate.
ENDED = frozenset({MandateStatus.REVOKED, MandateStatus.INACTIVE, MandateStatus.EXPIRED, MandateStatus.FAILED})


# Named tuples and not dataclasses here: models import this file, so every site pays for it at its start.


class Rule(NamedTuple):
    """What was agreed, as data. Amounts are whole won."""

    frequency: str
    amount_kind: str
    amount: int
    period: str | None = None
    period_count: int = 1
    max_charges_per_period: int | None = None
    max_amount_per_period: int | None = None
    notice_days: int = 0
    valid_for_days: int | None = None
    #: How often a declined payment is tried again by itself, and how many days apart.
    max_retries: int = 0
    retry_after_days: int = 1

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Rule:
        """The rule that a consent keeps. What an older one does not name was not agreed; unknown names are errors."""
        return cls(**data)

    def as_dict(self) -> dict[str, Any]:
        return self._asdict()

    @property
    def charges_per_period(self) -> int | None:
        """A recurring payment happens once per period unless the terms say a number."""
        if self.frequency == Frequency.RECURRING and self.max_charges_per_period is None:
            return 1
        return self.max_charges_per_period

    def covers(self, amount: int) -> bool:
        """Whether an invoice of Stripe's over ``amount`` won was agreed. It may be less than a fixed amount: for a part
        of a period, say."""
        return amount <= self.amount

    def ends_before(self, agreed_on: date) -> date:
        """The first day on which an agreement made on ``agreed_on`` does not hold any more."""
        return date.max if self.valid_for_days is None else agreed_on + timedelta(days=self.valid_for_days)

    def problems(self) -> dict[str, Any]:
        """``{field: sentence}`` for everything that makes this rule no rule."""
        found = {}
        if not is_amount(self.amount):
            found["amount"] = MESSAGES["amount_invalid"]
        if not 1 <= self.period_count <= MAX_PERIOD_COUNT:
            found["period_count"] = _("From 1 to 366.")
        if self.valid_for_days is not None and not 1 <= self.valid_for_days <= MAX_VALID_FOR_DAYS:
            found["valid_for_days"] = _("From 1 to 36,500 days.")
        if not 0 <= self.max_retries <= MAX_RETRIES:
            found["max_retries"] = _("From 0 to 3.")
        if not 1 <= self.retry_after_days <= MAX_RETRY_AFTER_DAYS:
            found["retry_after_days"] = _("From 1 to 30 days.")
        if self.frequency == Frequency.ONE_TIME and self.period:
            found["period"] = _("A one-time payment has no period.")
        if self.frequency == Frequency.RECURRING and not self.period:
            found["period"] = _("A recurring payment needs a period.")
        if not self.period and (self.max_charges_per_period or self.max_amount_per_period):
            found["period"] = _("A limit per period needs a period.")
        if self.frequency == Frequency.AS_USED and not self.max_amount_per_period:
            found["max_amount_per_period"] = _("Payments as used need a limit per period.")
        if self.max_amount_per_period and self.max_amount_per_period < self.amount:
            found["max_amount_per_period"] = _("The limit per period is below the amount of one payment.")
        return found


class Facts(NamedTuple):
    """What is so at the moment of a charge. Days are calendar days where the terms rule."""

    rule: Rule
    day: date
    #: When the mandate became active. Periods are counted from here, also after agreeing again.
    began_on: date | None
    #: When the consent in force was given: it holds for so many days from here.
    agreed_on: date
    mandate_status: str
    same_mode: bool = True
    charging_paused: bool = False
    consent_intact: bool = True
    #: Whether the site charges under consents that came in this way: here, on paper, by phone, or imported.
    source_accepted: bool = True
    card_saved: bool = True
    card_attached: bool = True
    #: Whether the published terms still say what the customer agreed to.
    terms_match: bool = True
    dispute_open: bool = False
    #: The amount of a newer version in force, if it is higher than what this customer agreed to.
    raised_to: int | None = None
    #: The amount that this customer agreed to for a later day, if it is higher than what rules now.
    later_up_to: int | None = None
    #: Free until now: whatever the consent says, a separate one to pay at all is not in force yet.
    free: bool = False
    #: A scheduled charge that nobody sent for so long that the customer does not expect it any more.
    overdue: bool = False
    notice_given_on: date | None = None
    #: Charges that moved money or still may: ready, sending, unknown, processing, action_required, succeeded.
    #: Under this consent, or still open under one before it.
    charges_ever: int = 0  # asked of one-time terms only: those with periods look at their period
    charges_in_period: int = 0
    #: A subscription charges under this mandate by itself; what it is still going to take in this period.
    served_by_subscription: bool = False
    charges_to_come: int = 0
    amount_to_come: int = 0
    amount_in_period: int = 0


class Verdict(NamedTuple):
    """Whether a charge may be sent. ``code`` is empty when it may."""

    code: str = ""

    @property
    def allowed(self) -> bool:
        return not self.code

    @property
    def message(self) -> str:
        """A sentence for people, in the active language."""
        return str(MESSAGES[self.code])


MESSAGES = {
    "": _("The agreed terms cover this charge."),
    "charging_paused": _("Charging is paused for the whole site."),
    "mode_mismatch": _("This agreement was made in the other mode (test or live) or under another Stripe account."),
    "amount_invalid": _("The amount must be whole won, from 100 to 99,999,999."),
    "dispute_open": _("The customer disputes an earlier payment under this agreement."),
    "mandate_not_active": _("The agreement is not active."),
    "consent_withdrawn": _("The customer has withdrawn the agreement."),
    "consent_record_broken": _("The record of the customer's agreement does not match its hash."),
    "consent_source_not_accepted": _("This site does not charge under an agreement that was taken in this way."),
    "terms_changed": _("The published terms do not say any more what the customer agreed to."),
    "card_missing": _("No card is saved under this agreement."),
    "card_detached": _("The saved card was removed."),
    "before_start": _("The agreement has not begun on that day."),
    "after_end": _("The agreement has run out on that day."),
    "overdue": _("The charge was due too long ago: the customer does not expect it any more."),
    "served_by_subscription": _("A subscription charges for this period by itself."),
    "already_used": _("The agreement covers one payment, and it was used."),
    "amount_not_agreed": _("The customer agreed to another amount."),
    "amount_over_limit": _("The amount is above what the customer agreed to for one payment."),
    "price_change_not_agreed": _("The price was raised, and the customer has not agreed to the new one."),
    "period_count_reached": _("All payments agreed for this period were made."),
    "period_amount_reached": _("With this payment the limit agreed for this period would be passed."),
    "notice_not_given": _("The advance notice promised in the terms was not given in time."),
}


#: Time or a person may lift these: a scheduled charge waits. Whatever else the gate says ends it.
WAITING = frozenset(
    {
        "charging_paused",
        "mode_mismatch",
        "dispute_open",
        "mandate_not_active",
        "consent_record_broken",
        "consent_source_not_accepted",
        "terms_changed",
        "before_start",
        "notice_not_given",
    }
)


def is_amount(amount: Any) -> bool:
    """Money is an ``int`` of whole won and nothing else: ``True`` and ``12900.0`` are no amounts."""
    return type(amount) is int and MIN_AMOUNT <= amount <= MAX_AMOUNT


def judge(facts: Facts, amount: Any) -> Verdict:
    """Say whether ``amount`` whole won may be charged, given ``facts``.

    The first reason found is the answer: what stops everything comes first, then the agreement, the card, the amount,
    and last what was charged before.
    """
    return Verdict(next(_refusals(facts, amount), ""))


def _refusals(facts: Facts, amount: Any):
    rule = facts.rule
    if facts.charging_paused:
        yield "charging_paused"
    if not facts.same_mode:
        yield "mode_mismatch"
    if not is_amount(amount):
        yield "amount_invalid"
    if facts.mandate_status == MandateStatus.REVOKED:
        yield "consent_withdrawn"
    if facts.dispute_open:
        yield "dispute_open"
    if facts.mandate_status != MandateStatus.ACTIVE or facts.began_on is None:
        yield "mandate_not_active"
    if not facts.consent_intact:
        yield "consent_record_broken"
    if not facts.source_accepted:
        yield "consent_source_not_accepted"
    if not facts.terms_match:
        yield "terms_changed"
    if not facts.card_saved:
        yield "card_missing"
    if not facts.card_attached:
        yield "card_detached"
    if facts.day < facts.began_on:
        yield "before_start"
    if facts.day >= rule.ends_before(facts.agreed_on):
        yield "after_end"
    if facts.overdue:
        yield "overdue"
    covered_up_to = 0 if facts.free else rule.amount
    if facts.later_up_to is not None and covered_up_to < amount <= facts.later_up_to:
        yield "before_start"
    if facts.free or (facts.raised_to is not None and covered_up_to < amount <= facts.raised_to):
        yield "price_change_not_agreed"
    if rule.amount_kind == AmountKind.FIXED and amount != rule.amount:
        yield "amount_not_agreed"
    if amount > rule.amount:
        yield "amount_over_limit"
    if facts.served_by_subscription and not _has_room_beside(facts, amount):
        yield "served_by_subscription"
    if rule.frequency == Frequency.ONE_TIME and facts.charges_ever:
        yield "already_used"
    if rule.charges_per_period is not None and facts.charges_in_period >= rule.charges_per_period:
        yield "period_count_reached"
    if rule.max_amount_per_period is not None and facts.amount_in_period + amount > rule.max_amount_per_period:
        yield "period_amount_reached"
    if rule.notice_days and not _notice_is_old_enough(facts):
        yield "notice_not_given"


def _has_room_beside(facts: Facts, amount: int) -> bool:
    """Whether the terms allow another payment in a period that a subscription charges for, what it is still going to
    take included. By itself one payment a period is the subscription's."""
    rule = facts.rule
    if rule.frequency == Frequency.ONE_TIME or rule.charges_per_period == 1:
        return False
    most, limit = rule.charges_per_period, rule.max_amount_per_period
    if most is not None and facts.charges_in_period + facts.charges_to_come >= most:
        return False
    return limit is None or facts.amount_in_period + facts.amount_to_come + amount <= limit


def _notice_is_old_enough(facts: Facts) -> bool:
    given = facts.notice_given_on
    return given is not None and facts.day >= given + timedelta(days=facts.rule.notice_days)


#: Days, as far as lengths are compared.
LENGTHS = {Period.DAY: 1, Period.WEEK: 7, Period.MONTH: 30.44, Period.YEAR: 365.25}


def worse_in(before: Rule, after: Rule) -> list[str]:
    """In which fields a change of the rule goes against the customer: whoever agreed to ``before`` must agree again.

    Compared field by field and in doubt against the change: what is better in one field does not outweigh another.
    A lower price, a smaller limit, a longer notice or fewer tries are for nobody to agree to.
    """
    fixed, once = AmountKind.FIXED, after.frequency == Frequency.ONE_TIME
    worse = {
        "frequency": after.frequency not in (before.frequency, Frequency.ONE_TIME),
        "period": _length(after) < _length(before),
        "amount_kind": before.amount_kind == fixed != after.amount_kind,
        "amount": after.amount > before.amount,
        "max_charges_per_period": not once and _most(after.charges_per_period) > _most(before.charges_per_period),
        "max_amount_per_period": not once and _most(after.max_amount_per_period) > _most(before.max_amount_per_period),
        "notice_days": after.notice_days < before.notice_days,
        "valid_for_days": _most(after.valid_for_days) > _most(before.valid_for_days),
        "max_retries": after.max_retries > before.max_retries,
        "retry_after_days": bool(before.max_retries and after.max_retries)
        and after.retry_after_days < before.retry_after_days,
    }
    return [name for name, is_worse in worse.items() if is_worse]


def _most(limit: int | None) -> float:
    return float("inf") if limit is None else limit


def _length(rule: Rule) -> float:
    """Without periods: for ever."""
    return LENGTHS[rule.period] * rule.period_count if rule.period else float("inf")


def period_around(day: date, *, anchor: date, rule: Rule) -> tuple[date, date] | None:
    """The period of ``rule`` in which ``day`` lies, as (first day, first day of the next), or ``None`` without periods.

    Periods are counted from ``anchor``, the day the agreement began: the 31st becomes the last day of a shorter month
    and is the 31st again afterwards.
    """
    if not rule.period:
        return None
    if rule.period in (Period.DAY, Period.WEEK):
        length = timedelta(days=rule.period_count * (7 if rule.period == Period.WEEK else 1))
        start = anchor + (day - anchor) // length * length
        return start, start + length
    months = rule.period_count * (12 if rule.period == Period.YEAR else 1)
    passed = (day.year - anchor.year) * 12 + day.month - anchor.month
    number = passed // months
    if _add_months(anchor, number * months) > day:
        number -= 1
    return _add_months(anchor, number * months), _add_months(anchor, (number + 1) * months)


def _add_months(day: date, months: int) -> date:
    years, month = divmod(day.month - 1 + months, 12)
    year = day.year + years
    return date(year, month + 1, min(day.day, calendar.monthrange(year, month + 1)[1]))
