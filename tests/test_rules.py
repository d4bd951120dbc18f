"""The gate: facts in, verdict out."""

from datetime import date

import pytest
from django.utils import translation

from django_krcard.rules import MESSAGES, WAITING, Facts, Rule, is_amount, judge, period_around, worse_in

MONTHLY = Rule(frequency="recurring", period="month", amount_kind="fixed", amount=12_900)
AS_USED = Rule(frequency="as_used", period="month", amount_kind="maximum", amount=30_000, max_amount_per_period=100_000)
ONCE = Rule(frequency="one_time", amount_kind="fixed", amount=50_000)


def facts(rule=MONTHLY, **changes):
    usual = Facts(
        rule=rule,
        day=date(2026, 11, 22),
        began_on=date(2026, 11, 1),
        agreed_on=date(2026, 11, 1),
        mandate_status="active",
    )
    return usual._replace(**changes)


@pytest.mark.parametrize(
    ("code", "changes", "amount"),
    [
        ("charging_paused", {"charging_paused": True}, 12_900),
        ("mode_mismatch", {"same_mode": False}, 12_900),
        ("amount_invalid", {}, 12_900.0),
        ("mandate_not_active", {"mandate_status": "pending"}, 12_900),
        ("mandate_not_active", {"mandate_status": "on_hold"}, 12_900),
        ("mandate_not_active", {"mandate_status": "inactive"}, 12_900),
        ("mandate_not_active", {"mandate_status": "a word of tomorrow"}, 12_900),
        ("mandate_not_active", {"began_on": None}, 12_900),
        ("consent_withdrawn", {"mandate_status": "revoked"}, 12_900),
        ("dispute_open", {"dispute_open": True}, 12_900),
        ("dispute_open", {"dispute_open": True, "mandate_status": "on_hold"}, 12_900),
        ("consent_record_broken", {"consent_intact": False}, 12_900),
        ("consent_source_not_accepted", {"source_accepted": False}, 12_900),
        ("terms_changed", {"terms_match": False}, 12_900),
        ("card_missing", {"card_saved": False, "card_attached": False}, 12_900),
        ("card_detached", {"card_attached": False}, 12_900),
        ("before_start", {"day": date(2026, 10, 31)}, 12_900),
        ("after_end", {"rule": MONTHLY._replace(valid_for_days=21)}, 12_900),
        ("overdue", {"overdue": True}, 12_900),
        ("price_change_not_agreed", {"raised_to": 15_000}, 15_000),
        ("amount_not_agreed", {}, 12_800),
        ("amount_not_agreed", {}, 13_000),
        ("amount_over_limit", {"rule": AS_USED}, 30_001),
        ("already_used", {"rule": ONCE, "charges_ever": 1}, 50_000),
        ("period_count_reached", {"charges_in_period": 1}, 12_900),
        ("period_count_reached", {"rule": AS_USED._replace(max_charges_per_period=3), "charges_in_period": 3}, 100),
        ("period_amount_reached", {"rule": AS_USED, "amount_in_period": 90_000}, 10_001),
        ("notice_not_given", {"rule": MONTHLY._replace(notice_days=7)}, 12_900),
        (
            "notice_not_given",
            {"rule": MONTHLY._replace(notice_days=7), "notice_given_on": date(2026, 11, 16)},
            12_900,
        ),
    ],
)
def test_refused_because(code, changes, amount):
    assert judge(facts(**changes), amount).code == code


@pytest.mark.parametrize(
    ("changes", "amount"),
    [
        ({}, 12_900),
        ({"day": date(2026, 11, 1)}, 12_900),
        ({"rule": AS_USED}, 30_000),
        ({"rule": AS_USED, "amount_in_period": 90_000, "charges_in_period": 40}, 10_000),
        ({"rule": ONCE}, 50_000),
        ({"raised_to": 15_000}, 12_900),
        ({"rule": MONTHLY._replace(max_charges_per_period=2), "charges_in_period": 1}, 12_900),
        ({"rule": MONTHLY._replace(valid_for_days=22)}, 12_900),
        ({"rule": MONTHLY._replace(notice_days=7), "notice_given_on": date(2026, 11, 15)}, 12_900),
    ],
)
def test_allowed(changes, amount):
    verdict = judge(facts(**changes), amount)
    assert verdict.allowed
    assert verdict.code == ""


@pytest.mark.parametrize("amount", [True, 12_900.0, "12900", None, 99, 0, -100, 100_000_000])
def test_only_whole_won_in_range_are_an_amount(amount):
    assert not is_amount(amount)
    assert judge(facts(), amount).code == "amount_invalid"


@pytest.mark.parametrize("amount", [100, 12_900, 99_999_999])
def test_whole_won_are_an_amount(amount):
    assert is_amount(amount)


@pytest.mark.parametrize(
    ("unit", "count", "anchor", "day", "start", "end"),
    [
        ("day", 1, "2026-11-01", "2026-11-22", "2026-11-22", "2026-11-23"),
        ("week", 1, "2026-11-02", "2026-11-22", "2026-11-16", "2026-11-23"),
        ("week", 2, "2026-11-02", "2026-11-22", "2026-11-16", "2026-11-30"),
        ("month", 1, "2026-11-01", "2026-11-22", "2026-11-01", "2026-12-01"),
        ("month", 1, "2026-01-31", "2026-02-27", "2026-01-31", "2026-02-28"),
        ("month", 1, "2026-01-31", "2026-02-28", "2026-02-28", "2026-03-31"),
        ("month", 1, "2026-01-31", "2026-03-30", "2026-02-28", "2026-03-31"),
        ("month", 1, "2028-01-31", "2028-02-29", "2028-02-29", "2028-03-31"),
        ("month", 3, "2026-11-15", "2027-02-14", "2026-11-15", "2027-02-15"),
        ("year", 1, "2028-02-29", "2029-02-28", "2029-02-28", "2030-02-28"),
        ("year", 1, "2028-02-29", "2032-02-28", "2031-02-28", "2032-02-29"),
        ("month", 1, "2026-11-15", "2026-11-14", "2026-10-15", "2026-11-15"),
    ],
)
def test_periods_are_counted_from_the_day_it_began(unit, count, anchor, day, start, end):
    rule = MONTHLY._replace(period=unit, period_count=count)
    found = period_around(date.fromisoformat(day), anchor=date.fromisoformat(anchor), rule=rule)
    assert found == (date.fromisoformat(start), date.fromisoformat(end))


def test_one_time_has_no_periods():
    assert period_around(date(2026, 11, 22), anchor=date(2026, 11, 1), rule=ONCE) is None


@pytest.mark.parametrize(
    ("rule", "field"),
    [
        (MONTHLY._replace(amount=99), "amount"),
        (MONTHLY._replace(period=None), "period"),
        (ONCE._replace(period="month"), "period"),
        (ONCE._replace(max_amount_per_period=50_000), "period"),
        (AS_USED._replace(max_amount_per_period=None), "max_amount_per_period"),
        (AS_USED._replace(max_amount_per_period=29_999), "max_amount_per_period"),
        (MONTHLY._replace(valid_for_days=36_501), "valid_for_days"),
        (MONTHLY._replace(period_count=0), "period_count"),
        (MONTHLY._replace(max_retries=4), "max_retries"),
        (MONTHLY._replace(retry_after_days=0), "retry_after_days"),
        (MONTHLY._replace(retry_after_days=31), "retry_after_days"),
    ],
)
def test_a_rule_that_is_no_rule_says_where(rule, field):
    assert field in rule.problems()


@pytest.mark.parametrize("rule", [MONTHLY, AS_USED, ONCE])
def test_a_rule_survives_being_kept_as_data(rule):
    assert not rule.problems()
    assert Rule.from_dict(rule.as_dict()) == rule


def test_the_codes_that_sites_rely_on_are_there():
    promised = """
        charging_paused mode_mismatch amount_invalid mandate_not_active consent_withdrawn terms_changed
        consent_record_broken card_missing card_detached before_start after_end already_used amount_not_agreed
        amount_over_limit period_count_reached period_amount_reached notice_not_given price_change_not_agreed
        dispute_open overdue consent_source_not_accepted served_by_subscription
    """
    assert set(MESSAGES) == {"", *promised.split()}


def test_a_charge_waits_for_a_reason_that_has_a_sentence():
    assert set(MESSAGES) > WAITING


@pytest.mark.parametrize("code", MESSAGES)
def test_every_code_is_a_sentence_in_korean_and_english(code):
    with translation.override("ko"):
        korean = str(MESSAGES[code])
    with translation.override("en"):
        english = str(MESSAGES[code])
    assert korean != english
    assert any("가" <= sign <= "힣" for sign in korean)


# --- who must agree again ----------------------------------------------------------------------------

MEMBERSHIP = MONTHLY._replace(notice_days=7)


@pytest.mark.parametrize(
    ("rule", "changes", "worse"),
    [
        (MEMBERSHIP, {}, []),
        (MEMBERSHIP, {"amount": 14_900}, ["amount"]),
        (MEMBERSHIP, {"amount": 9_900}, []),
        (MEMBERSHIP, {"period": "week"}, ["period"]),
        (MEMBERSHIP, {"period": "year"}, []),
        (MEMBERSHIP, {"period_count": 3}, []),
        (MEMBERSHIP, {"amount_kind": "maximum"}, ["amount_kind"]),
        (MEMBERSHIP, {"max_charges_per_period": 2}, ["max_charges_per_period"]),
        (MEMBERSHIP, {"notice_days": 3}, ["notice_days"]),
        (MEMBERSHIP, {"notice_days": 14, "amount": 12_900}, []),
        (MEMBERSHIP, {"max_retries": 1}, ["max_retries"]),
        (MEMBERSHIP._replace(max_retries=2, retry_after_days=3), {"retry_after_days": 1}, ["retry_after_days"]),
        (MEMBERSHIP._replace(max_retries=2, retry_after_days=3), {"max_retries": 0, "retry_after_days": 1}, []),
        (MEMBERSHIP._replace(valid_for_days=365), {"valid_for_days": None}, ["valid_for_days"]),
        (MEMBERSHIP, {"valid_for_days": 365}, []),
        (MEMBERSHIP, {"frequency": "one_time", "period": None}, []),
        (MEMBERSHIP, {"frequency": "as_used"}, ["frequency", "max_charges_per_period"]),
        (AS_USED, {"max_amount_per_period": 120_000}, ["max_amount_per_period"]),
        (AS_USED, {"max_amount_per_period": 90_000, "max_charges_per_period": 9}, []),
        (AS_USED, {"amount_kind": "fixed"}, []),
    ],
)
def test_what_goes_against_the_customer_must_be_agreed_to_again(rule, changes, worse):
    assert worse_in(rule, rule._replace(**changes)) == worse
