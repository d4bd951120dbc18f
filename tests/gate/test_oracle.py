"""The gate against an independent oracle, over the whole decision table."""

from datetime import date, timedelta

import pytest
from hypothesis import assume, event, given, settings
from hypothesis import strategies as st

from django_krcard.rules import MESSAGES, Facts, Rule, is_amount, judge
from tests.effort import tries
from tests.gate.oracle import TABLE, expected
from tests.gate.strategies import TROUBLES, amounts_under, facts_under, no_amounts, questions, rules

thorough = settings(deadline=None, max_examples=tries(2_000, short=100, long=50_000))
usual = settings(deadline=None, max_examples=tries(300, short=30, long=10_000))


@thorough
@given(questions)
def test_the_gate_says_what_the_oracle_says(question):
    facts, amount = question
    assert not facts.rule.problems()
    code = judge(facts, amount).code
    event(code or "allowed")
    assert code == expected(facts, amount)


# --- the oracle itself ----------------------------------------------------------------------------

MONTHLY = Rule(frequency="recurring", period="month", amount_kind="fixed", amount=12_900)
TAXI = Rule(frequency="as_used", period="month", amount_kind="maximum", amount=30_000, max_amount_per_period=100_000)
ONCE = Rule(frequency="one_time", amount_kind="fixed", amount=50_000)
WELL = Facts(
    rule=MONTHLY,
    day=date(2026, 11, 22),
    began_on=date(2026, 11, 1),
    agreed_on=date(2026, 11, 1),
    mandate_status="active",
)

#: Checked by hand, so that oracle and gate cannot be wrong together: (code, facts that differ, amount).
BY_HAND = [
    ("", {}, 12_900),
    ("charging_paused", {"charging_paused": True, "same_mode": False}, "12900"),
    ("mode_mismatch", {"same_mode": False, "mandate_status": "revoked"}, True),
    ("amount_invalid", {"mandate_status": "revoked"}, 12_900.0),
    ("consent_withdrawn", {"mandate_status": "revoked", "dispute_open": True}, 12_900),
    ("dispute_open", {"mandate_status": "on_hold", "dispute_open": True}, 12_900),
    ("mandate_not_active", {"mandate_status": "on_hold", "consent_intact": False}, 12_900),
    ("mandate_not_active", {"began_on": None}, 12_900),
    ("consent_record_broken", {"consent_intact": False, "source_accepted": False}, 12_900),
    ("consent_source_not_accepted", {"source_accepted": False, "terms_match": False}, 12_900),
    ("terms_changed", {"terms_match": False, "card_saved": False}, 12_900),
    ("card_missing", {"card_saved": False, "card_attached": False}, 12_900),
    ("card_detached", {"card_attached": False, "overdue": True}, 12_900),
    ("before_start", {"began_on": date(2026, 11, 23)}, 12_900),
    ("", {"began_on": date(2026, 11, 22)}, 12_900),
    # Agreed on the 1st for 21 days: the 21st is the last.
    ("after_end", {"rule": MONTHLY._replace(valid_for_days=21)}, 12_900),
    ("", {"rule": MONTHLY._replace(valid_for_days=22)}, 12_900),
    ("overdue", {"overdue": True}, 12_900),
    ("overdue", {"overdue": True, "charges_in_period": 1}, 13_000),
    ("price_change_not_agreed", {"raised_to": 15_000}, 15_000),
    ("price_change_not_agreed", {"raised_to": 15_000}, 12_901),
    ("amount_not_agreed", {"raised_to": 15_000}, 15_001),
    ("amount_not_agreed", {"raised_to": 15_000}, 12_899),
    ("amount_over_limit", {"rule": TAXI}, 30_001),
    ("price_change_not_agreed", {"rule": TAXI, "raised_to": 40_000}, 30_001),
    ("", {"rule": TAXI, "raised_to": 40_000}, 30_000),
    # Agreed to 15,000 for a later day: until then the old price, and no won between the two.
    ("before_start", {"later_up_to": 15_000}, 15_000),
    ("before_start", {"later_up_to": 15_000, "raised_to": 15_000}, 15_000),
    ("price_change_not_agreed", {"later_up_to": 15_000, "raised_to": 16_000}, 15_001),
    ("", {"later_up_to": 15_000, "raised_to": 15_000}, 12_900),
    ("amount_not_agreed", {"later_up_to": 9_900}, 9_900),
    # Free until now: nothing at all, and from the day on what was agreed to (then free is over).
    ("price_change_not_agreed", {"free": True}, 12_900),
    ("price_change_not_agreed", {"free": True, "raised_to": 15_000}, 100),
    ("before_start", {"free": True, "later_up_to": 12_900}, 12_900),
    ("price_change_not_agreed", {"free": True, "later_up_to": 12_900}, 12_901),
    ("card_detached", {"free": True, "card_attached": False}, 12_900),
    ("served_by_subscription", {"served_by_subscription": True}, 12_900),
    ("served_by_subscription", {"served_by_subscription": True, "charges_in_period": 1}, 12_900),
    ("amount_not_agreed", {"served_by_subscription": True}, 12_901),
    ("", {"rule": TAXI, "served_by_subscription": True, "amount_to_come": 70_000}, 30_000),
    ("served_by_subscription", {"rule": TAXI, "served_by_subscription": True, "amount_to_come": 70_001}, 30_000),
    ("", {"rule": TAXI, "amount_to_come": 70_001}, 30_000),
    (
        "served_by_subscription",
        {"rule": MONTHLY._replace(max_charges_per_period=2), "served_by_subscription": True, "charges_in_period": 2},
        12_900,
    ),
    (
        "served_by_subscription",
        {
            "rule": MONTHLY._replace(max_charges_per_period=2),
            "served_by_subscription": True,
            "charges_in_period": 1,
            "charges_to_come": 1,
        },
        12_900,
    ),
    (
        "",
        {
            "rule": MONTHLY._replace(max_charges_per_period=2),
            "served_by_subscription": True,
            "charges_to_come": 1,
            "amount_to_come": 12_900,
        },
        12_900,
    ),
    ("served_by_subscription", {"rule": ONCE, "served_by_subscription": True}, 50_000),
    ("already_used", {"rule": ONCE, "charges_ever": 1}, 50_000),
    ("", {"rule": ONCE}, 50_000),
    ("period_count_reached", {"charges_in_period": 1}, 12_900),
    ("", {"charges_ever": 7}, 12_900),
    ("period_count_reached", {"rule": TAXI._replace(max_charges_per_period=3), "charges_in_period": 3}, 100),
    ("", {"rule": TAXI._replace(max_charges_per_period=3), "charges_in_period": 2}, 100),
    ("period_amount_reached", {"rule": TAXI, "amount_in_period": 90_000}, 10_001),
    ("", {"rule": TAXI, "amount_in_period": 90_000, "charges_in_period": 40}, 10_000),
    ("notice_not_given", {"rule": MONTHLY._replace(notice_days=7)}, 12_900),
    ("notice_not_given", {"rule": MONTHLY._replace(notice_days=7), "notice_given_on": date(2026, 11, 16)}, 12_900),
    ("", {"rule": MONTHLY._replace(notice_days=7), "notice_given_on": date(2026, 11, 15)}, 12_900),
]


@pytest.mark.parametrize(("code", "changes", "amount"), BY_HAND)
def test_gate_and_oracle_agree_with_what_was_checked_by_hand(code, changes, amount):
    facts = WELL._replace(**changes)
    assert (judge(facts, amount).code, expected(facts, amount)) == (code, code)


def test_every_code_was_checked_by_hand_and_is_in_the_table():
    assert {code for code, _, _ in BY_HAND} == {"", *(code for code, _ in TABLE)} == set(MESSAGES)


# --- what must hold whatever the table says ---------------------------------------------------------


@usual
@given(questions, no_amounts)
def test_what_is_no_amount_is_never_allowed(question, amount):
    facts, _ = question
    assert not is_amount(amount)
    assert not judge(facts, amount).allowed


@usual
@given(rules(amount_kind="maximum").flatmap(facts_under), st.data())
def test_less_than_an_allowed_amount_is_allowed_up_to_a_maximum(facts, data):
    amount = data.draw(amounts_under(facts))
    assume(judge(facts, amount).allowed)
    assert judge(facts, data.draw(st.integers(100, amount))).allowed


@usual
@given(questions, st.integers(0, 3), st.integers(0, 3), st.integers(0, 200_000))
def test_more_charges_never_allow_more(question, ever, in_period, amount_in_period):
    facts, amount = question
    more = facts._replace(
        charges_to_come=facts.charges_to_come + ever,
        amount_to_come=facts.amount_to_come + amount_in_period,
        charges_ever=facts.charges_ever + ever,
        charges_in_period=facts.charges_in_period + in_period,
        amount_in_period=facts.amount_in_period + amount_in_period,
    )
    assert not judge(more, amount).allowed or judge(facts, amount).allowed


@usual
@given(questions, st.none() | st.integers(1, 40))
def test_no_notice_or_a_later_one_never_allows_more(question, days_later):
    facts, amount = question
    assume(facts.notice_given_on)
    later = facts.notice_given_on + timedelta(days_later) if days_later else None
    assert not judge(facts._replace(notice_given_on=later), amount).allowed or judge(facts, amount).allowed


@usual
@given(questions, st.sampled_from(sorted(TROUBLES)))
def test_trouble_never_allows_more(question, trouble):
    facts, amount = question
    worse = facts._replace(**{trouble: TROUBLES[trouble]})
    assert not judge(worse, amount).allowed or judge(facts, amount).allowed


@usual
@given(questions, st.text(max_size=12).filter(lambda status: status != "active"))
def test_only_an_active_mandate_is_charged(question, status):
    facts, amount = question
    assert not judge(facts._replace(mandate_status=status), amount).allowed


@usual
@given(rules(amount_kind="fixed").flatmap(facts_under), st.data())
def test_a_fixed_amount_is_that_amount(facts, data):
    amount = data.draw(amounts_under(facts))
    assert not judge(facts, amount).allowed or amount == facts.rule.amount


@usual
@given(questions)
def test_what_is_allowed_stays_within_the_rule(question):
    facts, amount = question
    assume(judge(facts, amount).allowed)
    rule = facts.rule
    assert amount <= rule.amount
    assert rule.frequency != "one_time" or facts.charges_ever == 0
    assert rule.frequency != "recurring" or facts.charges_in_period < (rule.max_charges_per_period or 1)
    assert rule.max_amount_per_period is None or facts.amount_in_period + amount <= rule.max_amount_per_period
