"""What the gate must say, told a second time and in another way, so that a mistake would have to be made twice.

Written from the words of the design and not from ``rules``, of which it imports nothing. Days are counted one by one
and periods listed one after the other, where the gate calculates.
"""

from datetime import date, timedelta
from itertools import pairwise

ONE_DAY = timedelta(days=1)

# --- the calendar ---------------------------------------------------------------------------------


def period_of(day, *, anchor, unit, count):
    """The (first day, first day of the next) of the period of ``count`` ``unit``s in which ``day`` lies."""
    if day < anchor:
        earlier = pairwise(first_days(anchor, unit, count, backwards=True))
        return next((first, following) for following, first in earlier if first <= day)
    return next((first, following) for first, following in pairwise(first_days(anchor, unit, count)) if day < following)


def first_days(anchor, unit, count, *, backwards=False):
    """The first days of the periods in their order, beginning with ``anchor``."""
    step = -1 if backwards else 1
    if unit in ("day", "week"):
        length = count * {"day": 1, "week": 7}[unit]
        first = anchor
        while True:
            yield first
            first += step * length * ONE_DAY
    year, month = anchor.year, anchor.month
    while True:
        yield same_day_or_last(year, month, anchor.day)
        for _ in range(count * {"month": 1, "year": 12}[unit]):
            month += step
            if month not in range(1, 13):
                year, month = year + step, 1 if step > 0 else 12


def same_day_or_last(year, month, number):
    """The 31st, or what comes closest to it in this month."""
    while True:
        try:
            return date(year, month, number)
        except ValueError:
            number -= 1


def days_between(first, last):
    """How many midnights lie between two days."""
    return last.toordinal() - first.toordinal()


# --- the table ------------------------------------------------------------------------------------


def is_whole_won(amount):
    return amount.__class__ is int and amount in range(100, 100_000_000)


def payments_per_period(rule):
    if rule.max_charges_per_period is not None:
        return rule.max_charges_per_period
    return 1 if rule.frequency == "recurring" else float("inf")


def won_per_period(rule):
    return float("inf") if rule.max_amount_per_period is None else rule.max_amount_per_period


def days_agreed(rule):
    return float("inf") if rule.valid_for_days is None else rule.valid_for_days


def notice_came_in_time(rule, facts):
    told_on = facts.notice_given_on
    return rule.notice_days == 0 or (told_on is not None and days_between(told_on, facts.day) >= rule.notice_days)


def agreed_now(rule, facts):
    """The most that one payment may be today. Who was free until now has agreed to pay nothing yet."""
    return 0 if facts.free else rule.amount


def agreed_for_later(rule, facts, amount):
    """Nothing that is agreed today covers it, and what the customer agreed to for a later day does."""
    later = facts.later_up_to
    return later is not None and amount in range(agreed_now(rule, facts) + 1, later + 1)


def never_agreed(rule, facts, amount):
    """Only what was asked for covers it. Of somebody who is free, that is every amount."""
    asked = facts.raised_to
    return facts.free or (asked is not None and amount in range(rule.amount + 1, asked + 1))


def fits_beside(rule, facts, amount):
    """One payment more, after all that a subscription is still going to take in this period."""
    if rule.frequency == "one_time" or payments_per_period(rule) == 1:
        return False
    payments = facts.charges_in_period + facts.charges_to_come + 1
    won = facts.amount_in_period + facts.amount_to_come + amount
    return payments <= payments_per_period(rule) and won <= won_per_period(rule)


#: The first row that holds is the answer. First what stops everything, then the agreement, the card, the amount, and
#: last what was charged before.
TABLE = [
    # Everything stands still, or this is the wrong world.
    ("charging_paused", lambda rule, facts, amount: facts.charging_paused),
    ("mode_mismatch", lambda rule, facts, amount: not facts.same_mode),
    ("amount_invalid", lambda rule, facts, amount: not is_whole_won(amount)),
    # The agreement: withdrawn for ever is said before what may pass.
    ("consent_withdrawn", lambda rule, facts, amount: facts.mandate_status == "revoked"),
    ("dispute_open", lambda rule, facts, amount: facts.dispute_open),
    ("mandate_not_active", lambda rule, facts, amount: facts.mandate_status != "active"),
    ("mandate_not_active", lambda rule, facts, amount: facts.began_on is None),
    ("consent_record_broken", lambda rule, facts, amount: not facts.consent_intact),
    ("consent_source_not_accepted", lambda rule, facts, amount: not facts.source_accepted),
    ("terms_changed", lambda rule, facts, amount: not facts.terms_match),
    # The card.
    ("card_missing", lambda rule, facts, amount: not facts.card_saved),
    ("card_detached", lambda rule, facts, amount: not facts.card_attached),
    # The time: from the day it began, for as many days as were agreed, the day of agreement being the first.
    ("before_start", lambda rule, facts, amount: days_between(facts.began_on, facts.day) < 0),
    ("after_end", lambda rule, facts, amount: days_between(facts.agreed_on, facts.day) + 1 > days_agreed(rule)),
    ("overdue", lambda rule, facts, amount: facts.overdue),
    # The amount.
    ("before_start", agreed_for_later),
    ("price_change_not_agreed", never_agreed),
    ("amount_not_agreed", lambda rule, facts, amount: rule.amount_kind == "fixed" and amount != rule.amount),
    ("amount_over_limit", lambda rule, facts, amount: rule.amount_kind == "maximum" and amount > rule.amount),
    # What Stripe charges by itself.
    (
        "served_by_subscription",
        lambda rule, facts, amount: facts.served_by_subscription and not fits_beside(rule, facts, amount),
    ),
    # What was charged before, and last what was promised before charging.
    ("already_used", lambda rule, facts, amount: rule.frequency == "one_time" and facts.charges_ever > 0),
    ("period_count_reached", lambda rule, facts, amount: facts.charges_in_period + 1 > payments_per_period(rule)),
    ("period_amount_reached", lambda rule, facts, amount: facts.amount_in_period + amount > won_per_period(rule)),
    ("notice_not_given", lambda rule, facts, amount: not notice_came_in_time(rule, facts)),
]


def expected(facts, amount):
    """The code that the gate must give: empty when the charge is covered."""
    return next((code for code, holds in TABLE if holds(facts.rule, facts, amount)), "")
