"""What is kept how long: each class goes when its time is over, and not a day before."""

from datetime import timedelta

import pytest
from django.core.management import call_command
from django.utils import timezone

from django_krcard.checks import check_retention
from django_krcard.conf import RETENTION
from django_krcard.models import CardSetup, Consent, ConsentErasure, Customer, Event, Notice, PaymentMethod
from django_krcard.services.consents import is_intact
from django_krcard.services.evidence_pack import evidence
from django_krcard.services.privacy import due, lift_hold, prune, retention, set_hold
from django_krcard.services.run import run_due
from django_krcard.webhooks import inbox
from tests.commands.conftest import play

__all__ = ["play"]

pytestmark = pytest.mark.django_db


@pytest.fixture
def later(monkeypatch):
    """`later(90)`: that many days have passed."""
    now = timezone.now()

    def days(count):
        monkeypatch.setattr("django.utils.timezone.now", lambda: now + timedelta(days=count))

    return days


def waiting():
    return {name for name in RETENTION if due(name).exists()}


def test_nothing_is_due_while_its_time_runs(ended, later):
    assert waiting() == set()
    later(89)
    assert waiting() == set()


def test_each_class_is_due_when_its_time_is_over(ended, later):
    later(91)
    assert waiting() == {"webhook_body", "setup"}
    later(366)
    assert waiting() == {"webhook_body", "setup", "card"}
    later(1828)
    assert waiting() == set(RETENTION)


def test_while_the_agreement_lives_its_proof_stays(paid, later):
    later(5000)
    assert waiting() == {"webhook_body", "setup", "consent_origin"}
    assert {consent.terms.slug for consent in due("consent_origin")} == {"other"}


def test_a_dry_run_tells_what_a_run_does_and_changes_nothing(ended, later, play):
    later(1828)
    before = snapshot()
    told = play("krcard_prune", "--dry-run", "--json")
    assert told.objects[0]["dry_run"] is True
    assert snapshot() == before

    done = play("krcard_prune", "--json")
    assert done.objects[0]["rows"] == told.objects[0]["rows"]
    assert all(count >= 1 for count in done.objects[0]["rows"].values())
    assert waiting() == set()
    assert all(count == 0 for count in play("krcard_prune", "--json").objects[0]["rows"].values())


def snapshot():
    models = (CardSetup, Consent, ConsentErasure, Customer, Event, Notice, PaymentMethod)
    return [list(model.objects.order_by("pk").values()) for model in models]


def test_after_it_nobody_is_named_and_all_records_hold(ended, later, user, unpack):
    later(1828)
    call_command("krcard_prune", verbosity=0)

    customer, notice = Customer.objects.get(), Notice.objects.first()
    assert (customer.user, customer.address) == (None, "")
    assert customer.reference == f"erased-{customer.public_id}"
    assert (notice.address, notice.text) == ("", retention.ERASED)
    assert notice.sent_at is not None
    assert {card.last4 for card in PaymentMethod.objects.all()} == {None}
    assert {bytes(event.body) for event in Event.objects.all()} == {b""}
    pack = evidence(ended)
    for gone in (user.email, "203.0.113.7", "****-1234"):
        assert gone not in pack.as_html()
    assert all(is_intact(consent) for consent in Consent.objects.select_related("customer"))
    assert unpack(pack.as_zip()).verify().returncode == 0


def test_a_hold_wins_until_it_is_lifted(ended, later):
    later(1828)
    set_hold(ended.customer, by="staff:boss", reason="case 2026-17")
    assert waiting() == set()
    lift_hold(ended.customer, by="staff:boss", reason="settled")
    assert waiting() == set(RETENTION)

    set_hold(ended, by="staff:boss", reason="case 2026-18")
    # Of another agreement, which is not on hold.
    assert waiting() == {"consent_origin"}
    assert {consent.terms.slug for consent in due("consent_origin")} == {"other"}
    lift_hold(ended, by="staff:boss", reason="settled")
    assert waiting() == set(RETENTION)
    kinds = list(ended.timeline.order_by("pk").values_list("kind", "data__reason"))
    assert kinds[-2:] == [("legal_hold_set", "case 2026-18"), ("legal_hold_lifted", "settled")]


def test_a_hold_keeps_messages_of_a_customer_who_was_deleted_at_stripe(ended, later):
    Customer.objects.update(stripe_id=None, former_stripe_ids=["cus_1"])
    set_hold(ended.customer, by="staff:boss", reason="case 2026-19")
    later(91)
    assert not due("webhook_body").exists()


def test_an_open_dispute_keeps_the_card(ended, later):
    ended.charges.update(dispute_id="dp_1", dispute_status="needs_response")
    later(1828)
    assert [card.brand for card in due("card")] == ["shinhan"]


def test_a_site_sets_its_own_times(ended, later, settings):
    settings.KRCARD_RETENTION = {"setup": 10, "webhook_body": None}
    later(11)
    assert waiting() == {"setup"}
    later(5000)
    assert "webhook_body" not in waiting()


def test_it_goes_in_batches_and_on_where_it_was(ended, later, monkeypatch):
    monkeypatch.setattr(retention, "BATCH", 1)
    first = Notice.objects.order_by("pk").first()
    assert Notice.objects.count() > 1
    later(1828)

    def stop(count):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prune("notice", done=stop)
    assert list(Notice.objects.filter(text=retention.ERASED)) == [first]
    assert prune("notice") == Notice.objects.count() - 1


def test_a_message_whose_body_is_gone_is_not_worked_off_again(ended, later):
    later(91)
    prune("webhook_body")
    event = Event.objects.first()
    before = Event.objects.values().get(pk=event.pk)
    inbox.process(event.pk, again=True)
    assert Event.objects.values().get(pk=event.pk) == before


def test_a_message_that_still_waits_keeps_its_body(ended, later):
    Event.objects.update(status=Event.Status.FAILED)
    later(91)
    assert "webhook_body" not in waiting()


def test_pruning_disturbs_nothing_that_runs(ended, later):
    later(1828)
    call_command("krcard_prune", verbosity=0)
    run_due()
    assert ended.charges.get().status == "succeeded"


@pytest.mark.parametrize(
    ("retention", "ids"),
    [
        ({}, []),
        ({"card": None, "setup": 1}, []),
        ({"cards": 10}, ["krcard.E031"]),
        ({"card": 0}, ["krcard.E031"]),
        ({"card": "365"}, ["krcard.E031"]),
        ({"webhook_body": 7}, ["krcard.W031"]),
    ],
)
def test_wrong_times_are_found(settings, retention, ids):
    settings.KRCARD_RETENTION = retention
    assert [found.id for found in check_retention()] == ids
