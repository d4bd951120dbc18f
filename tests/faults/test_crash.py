"""The process is stopped before and after each statement, each commit and each request, and started again."""

import itertools

import pytest
from django.db import connection, transaction

from django_krcard.models import Customer
from django_krcard.services import charges
from tests.effort import part_of
from tests.faults import crash
from tests.faults.crash import Killed, Process
from tests.faults.play import play
from tests.faults.scenarios import STORIES

pytestmark = [pytest.mark.faults, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def world():
    with crash.world() as made:
        yield made


@pytest.mark.parametrize("story", STORIES, ids=str)
def test_wherever_it_stops_no_money_is_moved_twice_and_none_is_lost(world, story):
    played = play(world, story, part_of)
    print(f"{story}: {played}")
    assert not played.complaints, "\n".join(played.complaints[:20])


# --- whether we would notice ----------------------------------------------------------------------


def story(name):
    return next(story for story in STORIES if story.name == name)


def test_the_auditor_notices_a_key_that_is_never_the_same(world, monkeypatch):
    """A resend under another key is another payment."""
    kept, number = crash.SandboxHTTPClient.request, itertools.count()

    def with_a_new_key(self, method, url, headers, post_data=None, **kwargs):
        return kept(self, method, url, {**headers, "Idempotency-Key": f"new-{next(number)}"}, post_data, **kwargs)

    monkeypatch.setattr(crash.SandboxHTTPClient, "request", with_a_new_key)
    assert any("DOUBLE" in wrong for wrong in play(world, story("charge")).complaints)


def test_the_auditor_notices_a_charge_that_nobody_looks_at_again(world, monkeypatch):
    monkeypatch.setattr(charges, "LEASE", crash.LONG * 9)
    assert any("is sending" in wrong for wrong in play(world, story("charge")).complaints)


@pytest.mark.parametrize(("moment", "left"), [("before COMMIT", 0), ("after COMMIT", 1)])
def test_of_a_dead_process_only_what_was_committed_is_left(moment, left):
    told = []

    def act():
        with transaction.atomic():
            Customer.objects.create(reference="r", livemode=False)
            transaction.on_commit(lambda: told.append("committed"))

    trail = Process().run(act).trail
    Customer.objects.all().delete()
    told.clear()

    dead = Process(trail.index(moment)).run(act)
    assert (dead.end, dead.ghosts, told) == (moment, [], [])
    assert Customer.objects.count() == left
    assert not connection.in_atomic_block


def test_whoever_goes_on_after_the_end_is_found_out():
    def act():
        try:
            Customer.objects.count()
        except Killed:
            Customer.objects.count()

    assert Process(0).run(act).ghosts
