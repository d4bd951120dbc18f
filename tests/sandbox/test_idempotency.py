import uuid
from datetime import timedelta

import pytest
import stripe
from django.db import transaction
from django.utils import timezone

from django_krcard.sandbox import control
from django_krcard.sandbox.api import handle
from django_krcard.sandbox.models import IdempotencyKey

from .conftest import charge_params, session_params

KEY = {"Authorization": "Bearer sk_test_x"}


def create_customer(key="k1", name="Minji"):
    return handle("POST", "/v1/customers", {"name": name}, {**KEY, "Idempotency-Key": key})


def test_the_first_answer_is_given_again(api):
    first = create_customer()
    second = create_customer()

    assert second.content == first.content
    assert second.headers["Idempotent-Replayed"] == "true"
    assert second.headers["Original-Request"] == first.headers["Request-Id"]
    assert "Idempotent-Replayed" not in first.headers
    assert len(api.customers.list().data) == 1


def test_other_parameters_under_the_same_key_are_an_error(api, customer):
    options = {"idempotency_key": "k1"}
    api.customers.create({"name": "a"}, options)

    with pytest.raises(stripe.IdempotencyError) as other_name:
        api.customers.create({"name": "b"}, options)
    with pytest.raises(stripe.IdempotencyError):
        api.customers.update(customer.id, {"name": "a"}, options)

    assert other_name.value.http_status == 400


def test_a_decline_is_kept(api, saved):
    control.decline_next()
    intents = []
    for _ in range(2):
        with pytest.raises(stripe.CardError) as declined:
            api.payment_intents.create(charge_params(saved), {"idempotency_key": "charge-1"})
        intents.append(declined.value.error.payment_intent.id)

    assert intents[0] == intents[1]


def test_an_error_of_validation_is_not_kept(api, customer):
    with pytest.raises(stripe.InvalidRequestError):
        api.checkout.sessions.create(session_params(customer, locale="xx"), {"idempotency_key": "s1"})

    assert api.checkout.sessions.create(session_params(customer), {"idempotency_key": "s1"}).status == "open"


def test_a_500_is_kept(api):
    control.fail_next("POST", "customers")
    first, second = create_customer(), create_customer()

    assert (first.status, second.status) == (500, 500)
    assert second.headers["Idempotent-Replayed"] == "true"
    assert api.customers.list().data == []


def test_a_500_may_hide_an_effect(api):
    control.fail_next("POST", "customers", effect="after")

    assert create_customer().status == 500
    assert len(api.customers.list().data) == 1


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (401, stripe.AuthenticationError),
        (403, stripe.PermissionError),
        (409, stripe.APIError),
        (429, stripe.RateLimitError),
    ],
)
def test_a_refusal_at_the_door_is_not_kept(api, status, error):
    control.fail_next("POST", "customers", status=status)
    with pytest.raises(error):
        api.customers.create({"name": "a"}, {"idempotency_key": "k1"})

    assert api.customers.create({"name": "a"}, {"idempotency_key": "k1"}).name == "a"


def test_an_answer_lost_after_the_effect_is_found_under_the_key(api, saved):
    control.fail_next("POST", "payment_intents", effect="after", status="timeout")
    options = {"idempotency_key": "charge-1"}
    with pytest.raises(stripe.APIConnectionError):
        api.payment_intents.create(charge_params(saved), options)

    intent = api.payment_intents.create(charge_params(saved), options)

    assert intent.status == "succeeded"
    assert [each.id for each in api.payment_intents.list()] == [intent.id]


def test_a_request_lost_on_the_way_had_no_effect(api, saved):
    control.fail_next("POST", "payment_intents", effect="before", status="timeout")
    with pytest.raises(stripe.APIConnectionError):
        api.payment_intents.create(charge_params(saved))

    assert api.payment_intents.list().data == []


def test_the_sdk_repeats_a_lost_request_under_one_key(stripe_client):
    control.fail_next("POST", "customers", effect="after", status="timeout")

    stripe_client.v1.customers.create({"name": "a"}, {"max_network_retries": 1})

    assert len(stripe_client.v1.customers.list().data) == 1


def test_reading_can_fail_too(api, session):
    control.fail_next("GET", "checkout/sessions", status=503)
    with pytest.raises(stripe.APIError):
        api.checkout.sessions.retrieve(session.id)

    assert api.checkout.sessions.retrieve(session.id).id == session.id


def test_a_key_is_fresh_after_a_day(api):
    create_customer()
    control.advance(timedelta(hours=24, seconds=1))

    assert "Idempotent-Replayed" not in create_customer(name="Jun").headers
    assert len(api.customers.list().data) == 2


@pytest.fixture
def executing():
    """Somebody else took the key k1 for the same request and is not done yet."""
    create_customer()
    keys = IdempotencyKey.objects.filter(key="k1")
    keys.update(status=None, answer="", token=uuid.uuid4().hex)
    return keys


def test_two_at_once_are_a_conflict(executing):
    response = create_customer()

    assert response.status == 409
    assert response.body["error"]["code"] == "idempotency_key_in_use"
    assert response.body["error"]["type"] == "idempotency_error"


def test_a_key_of_a_killed_process_comes_free(executing):
    executing.update(claimed_at=timezone.now() - timedelta(seconds=61))

    assert create_customer().status == 200
    assert create_customer().headers["Idempotent-Replayed"] == "true"


def test_it_works_inside_a_test_that_is_one_transaction(api, saved, heard):
    with transaction.atomic():
        first, second = create_customer(), create_customer()
        intent = api.payment_intents.create(charge_params(saved))

    assert first.content == second.content
    assert heard[-1]["data"]["object"]["id"] == intent.id


def test_a_key_has_a_length():
    assert create_customer(key="k" * 256).status == 400
