import json
import logging

import pytest
import stripe
from django.core.exceptions import SuspiciousOperation

from django_krcard.sandbox import control, delivery
from django_krcard.sandbox.models import Event

from .conftest import charge_params


def test_a_message_is_what_stripe_sends(api, saved, heard):
    intent = api.payment_intents.create(charge_params(saved), {"idempotency_key": "charge-1"})

    message = heard[-1]
    assert message["object"] == "event"
    assert message["data"]["object"]["id"] == intent.id
    assert message["livemode"] is False
    assert message["pending_webhooks"] == 1
    assert message["request"]["idempotency_key"] == "charge-1"
    assert message["request"]["id"].startswith("req_sandbox_")
    assert api.events.retrieve(message["id"]).type == "payment_intent.succeeded"
    assert [event.id for event in api.events.list({"type": "payment_intent.succeeded"})] == [message["id"]]
    assert len(api.events.list({"types": ["charge.succeeded", "payment_intent.succeeded"]}).data) == 2


def test_messages_are_held_back(api, saved, heard):
    control.set_delivery("held")
    api.payment_intents.create(charge_params(saved))
    assert heard == []

    assert control.deliver() == 2
    assert len(heard) == 2
    assert control.deliver() == 0


def test_messages_get_lost(api, saved, heard):
    control.set_delivery("dropped")
    api.payment_intents.create(charge_params(saved))

    assert control.deliver() == 0
    assert heard == []
    assert api.events.list().data[0].type == "payment_intent.succeeded"


@pytest.mark.parametrize(
    ("answer", "status"), [(500, 500), (302, 302), (ValueError("oops"), 500), (SuspiciousOperation(), 400)]
)
def test_a_message_that_is_not_taken_waits(api, saved, site, answer, status, caplog):
    site.answers.extend([answer, 200])

    intent = api.payment_intents.create(charge_params(saved))

    assert intent.status == "succeeded"
    [waiting] = Event.objects.filter(state="waiting")
    assert (waiting.attempts, waiting.last_status) == (1, status)
    assert any(record.levelno == logging.WARNING for record in caplog.records)
    assert api.events.retrieve(waiting.stripe_id).pending_webhooks == 1
    assert control.deliver() == 1


@pytest.mark.parametrize(
    "missing",
    [{"ROOT_URLCONF": "django_krcard.sandbox.urls"}, {"STRIPE_WEBHOOK_SECRET": ""}, {"STRIPE_WEBHOOK_SECRET": []}],
)
def test_with_nowhere_to_send_it_a_message_waits(api, saved, settings, missing, caplog):
    control.set_delivery("held")
    api.payment_intents.create(charge_params(saved))
    for name, value in missing.items():
        setattr(settings, name, value)

    assert control.deliver() == 0
    assert "nowhere to send it" in caplog.text
    assert set(Event.objects.filter(state="waiting").values_list("attempts", flat=True)) == {0}


def test_the_first_secret_of_a_list_signs(api, saved, settings, heard):
    settings.STRIPE_WEBHOOK_SECRET = ["", "whsec_krcard_tests", "whsec_old"]
    api.payment_intents.create(charge_params(saved))

    assert len(heard) == 2


def test_a_view_that_calls_stripe_gets_each_message_once(api, saved, site):
    """The webhook view asks Stripe, and detaches the card, while a message is on its way."""

    def ask_stripe():
        api.payment_methods.detach(saved.card)
        control.deliver()
        return 200

    site.answers.append(ask_stripe)
    api.payment_intents.create(charge_params(saved))

    ids = [event["id"] for event in site.heard]
    assert len(ids) == len(set(ids)) == 4
    assert not Event.objects.filter(state="waiting").exists()


def test_the_stored_bytes_are_the_sent_bytes(api, saved, heard):
    api.payment_intents.create(charge_params(saved))

    event = Event.objects.get(stripe_id=heard[-1]["id"])
    assert json.loads(event.raw) == heard[-1]


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: control.set_delivery("sometimes"), "now, held, dropped"),
        (lambda: control.fail_next("GET", "customers", effect="never"), "before"),
        (lambda: control.fail_next("GET", "customers", status=404), "timeout"),
        (lambda: control.fail_next("POST", "customers", effect="after", status=429), "no effect"),
    ],
)
def test_a_wrong_wish_is_refused(call, said):
    with pytest.raises(ValueError, match=said):
        call()


def test_reset_forgets_everything(api, saved):
    control.set_delivery("held")
    control.decline_next()
    control.reset()

    assert api.customers.list().data == []
    assert not Event.objects.exists()


def test_what_was_undone_is_not_sent_in_the_name_of_another(api, customer, heard, monkeypatch):
    """On SQLite the next message gets the number of the undone one; here it is held."""
    heard.clear()
    send = delivery.deliver_new

    def meanwhile(act):
        monkeypatch.setattr(delivery, "deliver_new", send)
        control.set_delivery("held")
        api.customers.update(customer.id, {"name": "held"})
        send(act)

    monkeypatch.setattr(delivery, "deliver_new", meanwhile)
    with pytest.raises(stripe.InvalidRequestError):
        api.customers.update(customer.id, {"name": "undone", "expand": ["nonsense"]})

    assert heard == []
    assert control.deliver() == 1
