"""Rules, facts and amounts as Hypothesis makes them: near the edges, where gates leak."""

from datetime import date, timedelta
from decimal import Decimal

from hypothesis import strategies as st

from django_krcard.rules import Facts, Rule

MOST = 99_999_999
UNITS = ["day", "week", "month", "year"]

days = st.dates(date(2023, 12, 1), date(2033, 3, 1)) | st.sampled_from(
    [date(2024, 2, 29), date(2024, 1, 31), date(2024, 12, 31), date(2026, 8, 30), date(2028, 2, 29), date(2027, 3, 31)]
)
counts = st.integers(1, 4) | st.integers(1, 366)


class Won(int):
    """Looks like whole won, and may print, compare or multiply in its own way."""


whole_won = st.integers(100, 1_000) | st.integers(100, MOST) | st.sampled_from([100, 101, MOST - 1, MOST])

no_amounts = st.one_of(
    st.booleans(),
    st.floats(),
    st.text(max_size=8),
    st.decimals(),
    st.integers(max_value=99),
    st.integers(min_value=MOST + 1),
    st.none(),
    st.binary(max_size=4),
    st.sampled_from([99, MOST + 1, 0, -100, 12_900.0, "12900", Decimal(12_900), Won(12_900)]),
)

#: What stops a charge by itself, as it is then.
TROUBLES = {
    "charging_paused": True,
    "same_mode": False,
    "consent_intact": False,
    "source_accepted": False,
    "terms_match": False,
    "card_saved": False,
    "card_attached": False,
    "dispute_open": True,
    "overdue": True,
    "free": True,
    "began_on": None,
    "notice_given_on": None,
}
STATUSES = ["pending", "on_hold", "revoked", "inactive", "expired", "failed", "", "a word of tomorrow"]


@st.composite
def rules(draw, **fixed):
    """A rule that may be published."""
    frequency = draw(st.sampled_from(["one_time", "recurring", "as_used"]))
    amount = draw(whole_won)
    rule = {
        "frequency": frequency,
        "amount_kind": draw(st.sampled_from(["fixed", "maximum"])),
        "amount": amount,
        "notice_days": draw(st.just(0) | st.integers(0, 40)),
        "valid_for_days": draw(st.none() | st.integers(1, 60) | st.integers(1, 36_500)),
    }
    if frequency != "one_time":
        in_a_period = st.integers(amount, amount * 6)
        rule["period"] = draw(st.sampled_from(UNITS))
        rule["period_count"] = draw(counts)
        rule["max_charges_per_period"] = draw(st.none() | st.integers(1, 5))
        rule["max_amount_per_period"] = draw(in_a_period if frequency == "as_used" else st.none() | in_a_period)
    return Rule(**rule | fixed)


@st.composite
def facts_under(draw, rule):
    """What may be so under ``rule``: all is well, but for some things at their limits, and now and then a trouble."""
    agreed_on = draw(days)
    agreed_for = rule.valid_for_days or 400
    day = agreed_on + timedelta(draw(st.integers(0, min(agreed_for, 90) - 1)))
    payments = rule.charges_per_period or 3
    limit = rule.max_amount_per_period or rule.amount * 3
    well = Facts(
        rule=rule,
        agreed_on=agreed_on,
        day=day,
        began_on=day - timedelta(draw(st.integers(0, 90))),
        mandate_status="active",
        notice_given_on=day - timedelta(rule.notice_days),
    )
    limits = {
        "day": st.integers(-1, 1).map(lambda apart: agreed_on + timedelta(agreed_for + apart)),
        "began_on": st.integers(-1, 1).map(lambda apart: day + timedelta(apart)),
        "mandate_status": st.sampled_from(STATUSES),
        "raised_to": st.integers(rule.amount - 1, rule.amount * 2),
        "later_up_to": st.integers(rule.amount - 1, rule.amount * 2),
        "notice_given_on": st.integers(-1, 1).map(lambda apart: day - timedelta(rule.notice_days + apart)),
        "charges_ever": st.integers(0, 3),
        "charges_in_period": st.integers(max(payments - 2, 0), payments + 1),
        "served_by_subscription": st.just(True),
        "charges_to_come": st.integers(0, 2),
        "amount_to_come": st.integers(0, limit),
        "amount_in_period": st.integers(max(limit - rule.amount - 1, 0), limit + 1),
    }
    at_limits = draw(st.sets(st.sampled_from(sorted(limits)), min_size=draw(st.integers(0, 3)), max_size=3))
    in_trouble = draw(st.sets(st.sampled_from(sorted(TROUBLES)), max_size=2)) if draw(st.integers(0, 2)) == 2 else ()
    changes = {name: draw(limits[name]) for name in sorted(at_limits)} | {name: TROUBLES[name] for name in in_trouble}
    return well._replace(**changes)


@st.composite
def amounts_under(draw, facts):
    """What somebody may ask for: what was agreed, something close to one of the limits, or anything at all."""
    agreed = facts.rule.amount
    kind = draw(st.sampled_from(["agreed", "agreed", "agreed", "less", "at an edge", "at an edge", "no amount"]))
    if kind == "agreed":
        return agreed
    if kind == "less":
        return draw(st.integers(100, agreed))
    if kind == "no amount":
        return draw(no_amounts)
    left = (facts.rule.max_amount_per_period or agreed) - facts.amount_in_period
    edges = [facts.raised_to or agreed, facts.later_up_to or agreed, left]
    return draw(st.sampled_from(edges)) + draw(st.integers(-1, 1))


#: (facts, amount)
questions = rules().flatmap(facts_under).flatmap(lambda facts: st.tuples(st.just(facts), amounts_under(facts)))
