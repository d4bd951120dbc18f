"""The pace at which Stripe is asked."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from django_krcard import throttle
from django_krcard.throttle import Throttle


class FakeTime:
    """Time that passes only when somebody sleeps."""

    def __init__(self):
        self.now = 100.0
        self.lock = threading.Lock()

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        with self.lock:
            self.now = max(self.now, self.now + seconds)


@pytest.fixture
def time(monkeypatch):
    fake = FakeTime()
    monkeypatch.setattr(throttle, "time", fake)
    return fake


def turns(limit, endpoint, count, time):
    moments = []
    for _ in range(count):
        limit.wait(endpoint)
        moments.append(time.now)
    return moments


def test_requests_are_evenly_spaced_and_a_lonely_one_never_waits(time):
    limit = Throttle(25)
    assert turns(limit, "a", 4, time) == pytest.approx([100, 100.04, 100.08, 100.12])
    time.now = 200
    assert turns(limit, "a", 2, time) == pytest.approx([200, 200.04])


def test_a_turn_is_taken_if_it_is_here(time):
    limit = Throttle(25)
    assert limit.take("a")
    assert not limit.take("a")
    time.now += 0.04
    assert limit.take("a")
    assert turns(limit, "a", 1, time) == pytest.approx([100.08])


def test_a_turn_that_is_given_back_is_for_the_next(time):
    limit = Throttle(25)
    limit.wait("a")
    limit.wait("a")
    limit.give_back("a")
    assert turns(limit, "a", 2, time) == pytest.approx([100.04, 100.08])


def test_each_endpoint_has_a_pace_of_its_own(time):
    limit = Throttle(1)
    limit.wait("a")
    limit.wait("b")
    assert time.now == 100


def test_turned_away_twice_is_a_longer_pause_and_one_success_ends_it(time):
    limit = Throttle(1000)
    pauses = []
    for _ in range(8):
        limit.turned_away("a")
        before = time.now
        limit.wait("a")
        pauses.append(time.now - before)
    assert pauses[0] == pytest.approx(1, rel=0.26)
    assert pauses[1] == pytest.approx(2, rel=0.26)
    assert max(pauses) <= 30 * 1.26
    limit.let_in("a")
    limit.turned_away("a")
    before = time.now
    limit.wait("a")
    assert time.now - before == pytest.approx(1, rel=0.26)


def test_threads_share_the_pace():
    limit, real = Throttle(200), throttle.time.monotonic
    began = real()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: limit.wait("a"), range(40)))
    assert real() - began >= 39 / 200
