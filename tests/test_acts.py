"""Acts: one in this thread, or many with their questions on their way at the same time."""

import threading

import pytest
from django.db import connection, transaction

from django_krcard.exceptions import InsideTransaction, StripeUnavailable
from django_krcard.services.acts import Together, finish, finish_all


def echo(answer):
    """Ask for one thing and return it."""
    return (yield lambda: answer)


def fail(error):
    def question():
        raise error

    yield question


def forgiving():
    try:
        yield from fail(StripeUnavailable("no answer"))
    except StripeUnavailable as error:
        return f"forgave {error}"


def test_an_act_gets_its_answers_and_returns():
    def act():
        first = yield lambda: 1
        second = yield lambda: first + 1
        return first, second

    assert finish(act()) == (1, 2)


def test_an_error_of_stripes_goes_into_the_act():
    assert finish(forgiving()) == "forgave no answer"
    with pytest.raises(StripeUnavailable):
        finish(fail(StripeUnavailable("no answer")))


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("in_flight", [1, 3])
def test_nothing_is_asked_while_a_transaction_is_open(in_flight):
    asked = []

    def act():
        with transaction.atomic():
            yield lambda: asked.append("never")

    with pytest.raises(InsideTransaction):
        finish(act())
    (result,) = finish_all([act()], in_flight=in_flight)
    assert isinstance(result, InsideTransaction)
    assert asked == []


@pytest.mark.parametrize("in_flight", [1, 2, 50])
def test_every_act_ends_whatever_becomes_of_the_others(in_flight):
    broken = ValueError("a bug")
    acts = [act for _ in range(10) for act in (echo(1), fail(broken), forgiving(), echo(2))]
    results = list(finish_all(acts, in_flight=in_flight))
    assert sorted(str(result) for result in results) == sorted(["1", "a bug", "forgave no answer", "2"] * 10)


def test_as_many_questions_as_allowed_are_on_their_way_and_the_rest_stays_here():
    together = threading.Barrier(4, timeout=20)
    here = threading.current_thread()
    resumed = set()

    def act(number):
        yield together.wait
        resumed.add(threading.current_thread() is here)
        return number

    assert sorted(finish_all((act(number) for number in range(8)), in_flight=4)) == list(range(8))
    assert resumed == {True}


def test_acts_are_begun_only_when_there_is_room():
    begun, seen = [], []

    def acts():
        for number in range(100):
            begun.append(number)
            yield echo(number)

    for result in finish_all(acts(), in_flight=5):
        seen.append(result)
        assert len(begun) <= len(seen) + 10
    assert sorted(seen) == list(range(100))
    assert not connection.in_atomic_block


# --- together -------------------------------------------------------------------------------------


def doubled(items):
    """Work with the database, many at a time: all or nothing."""
    if None in items:
        raise ValueError("a broken one")
    return [2 * item for item in items]


def doubling(item):
    return (yield Together(doubled, item))


def test_alone_it_is_asked_for_one():
    assert finish(doubling(4)) == 8
    assert list(finish_all([doubling(1), doubling(2)], in_flight=1)) == [2, 4]
    with pytest.raises(ValueError, match="broken"):
        finish(doubling(None))


def test_what_many_acts_come_to_is_asked_once_for_all_of_them():
    asked = []

    def work(items):
        asked.append(items)
        assert threading.current_thread() is threading.main_thread()
        return items

    def act(number):
        begun = yield Together(work, number)
        answer = yield lambda: begun + 100
        return (yield Together(work, answer))

    assert sorted(finish_all((act(number) for number in range(6)), in_flight=3)) == list(range(100, 106))
    assert asked[0] == [0, 1, 2]
    assert max(map(len, asked)) == 3
    assert sorted(item for items in asked for item in items) == [*range(6), *range(100, 106)]


def test_one_that_is_broken_does_not_hold_up_those_beside_it():
    results = list(finish_all([doubling(1), doubling(None), doubling(3), echo("other")], in_flight=4))
    assert sorted(map(str, results)) == ["2", "6", "a broken one", "other"]


def test_an_act_may_forgive_what_was_done_together():
    def act():
        try:
            yield Together(doubled, None)
        except ValueError:
            return "forgiven"

    assert sorted(map(str, finish_all([act(), doubling(1)], in_flight=2))) == ["2", "forgiven"]
