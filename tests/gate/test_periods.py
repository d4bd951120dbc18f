"""Periods against a list of them, one after the other."""

from datetime import date, timedelta
from itertools import islice, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from django_krcard.rules import Rule, period_around
from tests.effort import tries
from tests.gate.oracle import first_days, period_of
from tests.gate.strategies import UNITS, counts, days

ONE_DAY = timedelta(days=1)

thorough = settings(deadline=None, max_examples=tries(1_000, short=50, long=20_000))
units = st.sampled_from(UNITS)
apart = st.integers(-40, 40) | st.integers(-1_500, 1_500) | st.integers(-40_000, 40_000)
shifts = st.builds(timedelta, apart)


def period(day, anchor, unit, count):
    rule = Rule(frequency="recurring", amount_kind="fixed", amount=12_900, period=unit, period_count=count)
    return period_around(day, anchor=anchor, rule=rule)


@thorough
@given(days, shifts, units, counts)
def test_a_day_is_in_the_period_that_the_list_says(anchor, shift, unit, count):
    found = period(anchor + shift, anchor, unit, count)
    assert found == period_of(anchor + shift, anchor=anchor, unit=unit, count=count)


@thorough
@given(days, shifts, units, counts, st.data())
def test_periods_follow_each_other_without_gap_or_overlap(anchor, shift, unit, count, data):
    day = anchor + shift
    first, following = period(day, anchor, unit, count)
    assert first <= day < following
    other = data.draw(st.dates(first, following - ONE_DAY))
    assert period(other, anchor, unit, count) == (first, following)
    assert period(following, anchor, unit, count)[0] == following
    assert period(first - ONE_DAY, anchor, unit, count)[1] == first


@thorough
@given(days, units, counts)
def test_the_first_period_begins_on_the_first_day(anchor, unit, count):
    assert period(anchor, anchor, unit, count)[0] == anchor
    assert period(anchor - ONE_DAY, anchor, unit, count)[1] == anchor


@thorough
@given(days, shifts, st.sampled_from(["month", "year"]), counts)
def test_a_period_begins_on_the_same_day_or_on_the_last_of_a_shorter_month(anchor, shift, unit, count):
    first, _ = period(anchor + shift, anchor, unit, count)
    last_of_its_month = (first + ONE_DAY).month != first.month
    assert first.day == anchor.day or (first.day < anchor.day and last_of_its_month)


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("count", [1, 2, 3, 12])
@pytest.mark.parametrize("anchor", ["2024-01-31", "2024-02-29", "2024-02-28", "2023-12-30", "2024-12-31", "2025-03-01"])
def test_every_day_of_nine_years_is_in_its_one_period(anchor, unit, count):
    anchor = date.fromisoformat(anchor)
    listed = {}
    for first, following in pairwise(islice(first_days(anchor, unit, count), 3_500)):
        listed |= dict.fromkeys(every_day(first, min(following, date(2033, 1, 1))), (first, following))
        if following >= date(2033, 1, 1):
            break
    assert list(listed) == list(every_day(anchor, date(2033, 1, 1)))
    assert {day: period(day, anchor, unit, count) for day in listed} == listed


def every_day(first, following):
    return (first + timedelta(n) for n in range((following - first).days))


# --- the list itself ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("anchor", "unit", "count", "listed"),
    [
        ("2024-01-31", "month", 1, ["2024-01-31", "2024-02-29", "2024-03-31", "2024-04-30", "2024-05-31"]),
        ("2025-01-30", "month", 1, ["2025-01-30", "2025-02-28", "2025-03-30"]),
        ("2025-11-30", "month", 3, ["2025-11-30", "2026-02-28", "2026-05-30"]),
        ("2024-02-29", "year", 1, ["2024-02-29", "2025-02-28", "2026-02-28", "2027-02-28", "2028-02-29"]),
        ("2024-02-28", "week", 2, ["2024-02-28", "2024-03-13"]),
        ("2024-02-28", "day", 2, ["2024-02-28", "2024-03-01", "2024-03-03"]),
    ],
)
def test_the_list_was_checked_by_hand(anchor, unit, count, listed):
    found = islice(first_days(date.fromisoformat(anchor), unit, count), len(listed))
    assert [day.isoformat() for day in found] == listed


def test_the_list_goes_back_as_well():
    found = islice(first_days(date(2024, 3, 31), "month", 1, backwards=True), 3)
    assert list(found) == [date(2024, 3, 31), date(2024, 2, 29), date(2024, 1, 31)]
