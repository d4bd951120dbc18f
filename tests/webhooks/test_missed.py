"""What never came by webhook is read from Stripe's list of events."""

from datetime import timedelta

import pytest
from django.utils import timezone

from django_krcard import services
from django_krcard.exceptions import StripeUnavailable
from django_krcard.models import Event, Mandate, Watermark
from django_krcard.sandbox import control
from django_krcard.sandbox.models import Event as SandboxEvent
from django_krcard.webhooks import missed
from tests.factories import as_used_terms

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("krcard_clock", "no_waiting")]


@pytest.fixture
def mandate(save_card):
    return save_card(as_used_terms())


@pytest.fixture
def deaf(mandate):
    """From now on no message comes."""
    list(missed.read())
    control.set_delivery("dropped")


def mark():
    return Watermark.objects.get(name="events:test").at


def test_what_came_is_not_read_again(mandate):
    assert list(missed.read()) == []


def test_what_never_came_is_worked_off_in_its_order(deaf, mandate, krcard_clock):
    charge = services.charge(mandate, 5_000, reference="r")
    krcard_clock.advance(hours=3)
    dispute = control.dispute(charge.stripe_id)
    krcard_clock.advance(hours=3)
    control.close_dispute(dispute["id"], won=True)
    control.deactivate_mandate(mandate.payment_method.stripe_id)
    found = list(missed.read())
    assert [event.created for event in found] == sorted(event.created for event in found)
    assert found[-1].created - found[0].created >= timedelta(hours=6)
    assert {"charge.dispute.created", "charge.dispute.closed", "mandate.updated"} <= {event.type for event in found}
    assert {str(event.status) for event in found} == {"done"}
    assert Mandate.objects.get().status == "inactive"
    # The card went with the mandate, and that is news, too.
    assert [event.type for event in missed.read()] == ["payment_method.detached"]
    assert list(missed.read()) == []


def test_a_message_that_comes_after_all_is_a_duplicate(deaf, mandate):
    control.deactivate_mandate(mandate.payment_method.stripe_id)
    (event,) = missed.read()
    assert control.redeliver(event.stripe_id)
    assert Event.objects.filter(type="mandate.updated").count() == 1
    assert mandate.timeline.filter(kind="mandate_ended").count() == 1


def test_also_when_the_late_one_is_thin(deaf, mandate):
    control.set_event_format("both")
    control.deactivate_mandate(mandate.payment_method.stripe_id)
    (event,) = missed.read()
    twin = SandboxEvent.objects.get(format="thin", type=event.type)
    assert control.redeliver(twin.stripe_id)
    assert Event.objects.filter(type="mandate.updated").count() == 1


def test_the_mark_moves_only_when_all_is_stored(deaf, mandate, monkeypatch, krcard_clock):
    before = mark()
    krcard_clock.advance(hours=2)
    for number in range(3):
        services.charge(mandate, 5_000, reference=f"r{number}")
    monkeypatch.setattr("django_krcard.gateway.PAGE", 1)
    stored = Event.objects.filter(status="received")

    def stop_at_the_second():
        if stored.count() == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(missed.read(stop_at_the_second))
    assert mark() == before
    assert len(list(missed.read())) == 1
    assert mark() > before


def test_when_stripe_does_not_answer_the_mark_stays(deaf, krcard_clock):
    before = mark()
    krcard_clock.advance(hours=2)
    for _ in range(3):
        control.fail_next("GET", "/v1/events", status=503)
    with pytest.raises(StripeUnavailable):
        list(missed.read())
    assert mark() == before


def test_it_asks_for_30_days_at_most_and_for_an_hour_more_than_needed(deaf, krcard_clock, monkeypatch):
    asked = []
    monkeypatch.setattr("django_krcard.gateway.events_since", lambda since, types: asked.append(since) or iter(()))
    before = mark()
    list(missed.read())
    krcard_clock.advance(days=100)
    list(missed.read())
    assert asked[0] == before - timedelta(hours=1)
    assert abs(timezone.now() - timedelta(days=30) - asked[1]) < timedelta(minutes=1)


def test_only_types_that_we_handle_are_asked_for_and_all_of_them(deaf, mandate):
    services.charge(mandate, 5_000, reference="r")
    told = {event.type for event in missed.read()}
    assert told <= set(missed.HANDLERS)
    assert "payment_intent.succeeded" in told
