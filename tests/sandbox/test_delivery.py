import pytest
import stripe

from django_krcard.sandbox import control
from django_krcard.sandbox.errors import SandboxError
from django_krcard.sandbox.models import Event

from .conftest import charge_params


@pytest.fixture
def held(api, saved, heard):
    """Six messages wait."""
    control.set_delivery("held")
    for _ in range(3):
        api.payment_intents.create(charge_params(saved))
    return list(Event.objects.filter(state="waiting").order_by("pk").values_list("stripe_id", flat=True))


def ids(heard):
    return [event["id"] for event in heard]


def test_in_order(held, heard):
    assert control.deliver() == 6
    assert ids(heard) == held


def test_in_a_disorder_that_can_be_had_again(held, heard):
    assert control.deliver(shuffled=True, seed=7) == 6
    first = ids(heard)
    heard.clear()
    Event.objects.filter(state="delivered", stripe_id__in=held).update(state="waiting")
    control.deliver(shuffled=True, seed=7)

    assert sorted(first) == sorted(held)
    assert first != held
    assert ids(heard) == first


def test_every_message_three_times(held, heard):
    assert control.deliver(copies=3, shuffled=True, seed=1) == 18
    assert all(ids(heard).count(each) == 3 for each in held)
    assert control.deliver() == 0


def test_one_message_again(held, heard, site):
    control.deliver()
    heard.clear()

    assert control.redeliver(held[0]) is True
    assert ids(heard) == [held[0]]
    site.answers.append(500)
    assert control.redeliver(held[0]) is False
    assert Event.objects.get(stripe_id=held[0]).state == "delivered"
    with pytest.raises(SandboxError, match="no event"):
        control.redeliver("evt_nothing")


def test_only_what_failed_is_tried_again(held, heard, site):
    site.answers.extend([200, 500, 503])
    assert control.deliver() == 4
    heard.clear()

    assert control.retry_failed() == 2
    assert ids(heard) == held[1:3]
    assert control.retry_failed() == 0


def test_a_lost_message_can_be_fetched_or_sent_after_all(api, saved, heard):
    control.set_delivery("dropped")
    api.payment_intents.create(charge_params(saved))
    newest = api.events.list().data[0]

    assert heard == []
    assert control.redeliver(newest.id) is True


def test_thin_messages(api, saved, heard, stripe_client):
    control.set_event_format("thin")
    intent = api.payment_intents.create(charge_params(saved), {"idempotency_key": "charge-1"})

    message = heard[-1]
    assert (message["object"], message["type"]) == ("v2.core.event", "v1.payment_intent.succeeded")
    assert message["related_object"] == {
        "id": intent.id,
        "type": "payment_intent",
        "url": f"/v1/payment_intents/{intent.id}",
    }
    assert message["reason"]["request"]["idempotency_key"] == "charge-1"
    assert "data" not in message
    twin = api.events.retrieve(message["snapshot_event"])
    assert twin.data.object.id == intent.id
    assert message["id"] not in ids(api.events.list().data)


def test_the_sdk_reads_a_thin_message(api, saved, stripe_client):
    control.set_event_format("thin")
    control.set_delivery("held")
    intent = api.payment_intents.create(charge_params(saved))
    raw = Event.objects.filter(format="thin").latest("pk").raw.decode()
    header = stripe.WebhookSignature.generate_signature_header(raw, "whsec_x")

    notification = stripe_client.parse_event_notification(raw, header, "whsec_x")

    assert notification.type == "v1.payment_intent.succeeded"
    assert notification.fetch_related_object().id == intent.id
    assert notification.fetch_event().id == notification.id


def test_both_formats_at_once(api, saved, heard):
    control.set_event_format("both")
    api.payment_intents.create(charge_params(saved))

    pairs = {event["snapshot_event"] for event in heard if event["object"] == "v2.core.event"}
    assert pairs == {event["id"] for event in heard if event["object"] == "event"}
    assert len(pairs) == 2
    with pytest.raises(ValueError, match="snapshot, thin, both"):
        control.set_event_format("fat")


def test_a_rate_limit(api, saved):
    control.rate_limit_next(2)

    for call in (api.customers.list, lambda: api.payment_intents.create(charge_params(saved))):
        with pytest.raises(stripe.RateLimitError) as limited:
            call()
        assert limited.value.error.code == "rate_limit"
    assert api.payment_intents.create(charge_params(saved)).status == "succeeded"
