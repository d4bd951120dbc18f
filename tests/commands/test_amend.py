"""krcard_amend: everybody who must agree again, once."""

from datetime import timedelta

import pytest
from django.utils import timezone

from django_krcard import services
from django_krcard.models import Amendment, Notice
from django_krcard.services import amendments
from django_krcard.services.in_force import day_of
from tests.factories import PublishedTerms, UserFactory

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def three(save_card, membership):
    people = [services.get_or_create_customer(UserFactory()) for _ in range(3)]
    mandates = [save_card(membership, customer=customer) for customer in people]
    PublishedTerms(amount=14_900)
    return mandates


def in_days(days):
    return day_of(timezone.now()) + timedelta(days=days)


def test_a_dry_run_counts_and_asks_nobody(play, three):
    ended = play("krcard_amend", "membership", "--effective-on", in_days(20), "--dry-run", "--json")
    assert ended.objects == [{"terms": "membership v2", "must_agree": 3, "need_not": 0, "to_ask": 3}]
    assert (ended.code, Amendment.objects.count()) == (0, 0)


def test_all_are_asked_once_and_told_by_the_run(play, three):
    ended = play("krcard_amend", "membership", "--effective-on", in_days(20), "--reason", "costs")
    assert (ended.code, ended.lines) == (0, ["membership v2: must_agree 3, need_not 0, to_ask 3, asked 3, refused 0"])
    assert not Notice.objects.exclude(sent_at=None).filter(kind="amendment_asked").exists()
    list(services.run_due())
    assert Notice.objects.exclude(sent_at=None).filter(kind="amendment_asked").count() == 3
    again = play("krcard_amend", "membership", "--effective-on", in_days(20), "--json")
    assert (again.objects[0]["asked"], Amendment.objects.count()) == (0, 3)


def test_stopped_half_way_it_goes_on(play, three, monkeypatch):
    request = amendments.request

    def stop(mandate, *args, **kwargs):
        if mandate == three[1]:
            raise KeyboardInterrupt
        return request(mandate, *args, **kwargs)

    monkeypatch.setattr(amendments, "request", stop)
    assert play("krcard_amend", "membership", "--effective-on", in_days(20)).code == 130
    monkeypatch.undo()
    assert play("krcard_amend", "membership", "--effective-on", in_days(20), "--json").objects[0]["asked"] == 2


def test_one_who_cannot_be_asked_is_told_and_does_not_stop_the_others(play, three, monkeypatch):
    services.request_amendment(
        three[0],
        three[0].consent.terms.__class__.objects.get(version=2),
        effective_on=in_days(9),
        by="system",
        reason="",
    )
    amendments.cancel(Amendment.objects.get(), by="system", reason="")
    request = amendments.request

    def refuse_one(mandate, *args, **kwargs):
        if mandate == three[0]:
            raise amendments.AmendmentRefused("not now")
        return request(mandate, *args, **kwargs)

    monkeypatch.setattr(amendments, "request", refuse_one)
    ended = play("krcard_amend", "membership", "--effective-on", in_days(20), "--json")
    assert ended.code == 1
    assert f"not now {three[0].reference}" in ended.out


@pytest.mark.parametrize(("slug", "days"), [("membership", 3), ("membership", -1), ("no-such-thing", 20)])
def test_what_cannot_be_asked_like_that(play, three, slug, days):
    ended = play("krcard_amend", slug, "--effective-on", in_days(days))
    assert (ended.code, Amendment.objects.count()) == (2, 0)
