"""SetupIntents without Checkout, and payments that save what they were made with."""

import re
from urllib.parse import parse_qs, urlsplit

import pytest
import stripe
from django.test import Client

from django_krcard.sandbox import control

from .conftest import types_of

RETURN_URL = "http://127.0.0.1:8000/krcard/return/a/?order=7"
ONLINE = {"ip_address": "203.0.113.7", "user_agent": "Test browser"}
ACCEPTANCE = {"customer_acceptance": {"type": "online", "accepted_at": 1_790_000_000, "online": ONLINE}}


def setup_params(to, **more):
    return {
        "customer": to.id,
        "allowed_payment_method_types": ["kr_card"],
        "payment_method_data": {"type": "kr_card"},
        "usage": "off_session",
        "confirm": True,
        "return_url": RETURN_URL,
        "mandate_data": ACCEPTANCE,
        "metadata": {"krcard_setup": "7"},
        **more,
    }


def payment_params(to, **more):
    more = {"amount": 12_900, "currency": "krw", "setup_future_usage": "off_session"} | more
    params = setup_params(to, **more)
    del params["usage"]
    return params


@pytest.fixture
def intent(api, customer):
    return api.setup_intents.create(setup_params(customer))


def page_of(intent):
    return urlsplit(intent.next_action.redirect_to_url.url).path


def told(address):
    return {name: value[0] for name, value in parse_qs(urlsplit(address).query).items()}


def test_the_customer_is_sent_to_the_processor(intent, heard):
    assert (intent.status, intent.usage, intent.last_setup_error) == ("requires_action", "off_session", None)
    assert intent.next_action.redirect_to_url.return_url == RETURN_URL
    assert types_of(heard) == ["setup_intent.created", "setup_intent.requires_action"]


def test_the_customer_authorises(client, api, customer, intent, heard):
    answer = client.post(f"{page_of(intent)}authorise/", {"brand": "lotte"})

    assert answer.status_code == 303
    assert told(answer["Location"]) == {
        "order": "7",
        "setup_intent": intent.id,
        "setup_intent_client_secret": intent.client_secret,
        "redirect_status": "succeeded",
    }
    done = api.setup_intents.retrieve(intent.id, {"expand": ["payment_method", "mandate"]})
    assert (done.status, done.next_action) == ("succeeded", None)
    assert (done.payment_method.kr_card.brand, done.payment_method.customer) == ("lotte", customer.id)
    assert done.mandate.status == "active"
    assert done.mandate.customer_acceptance.to_dict() == ACCEPTANCE["customer_acceptance"]
    assert types_of(heard)[2:] == ["payment_method.attached", "mandate.updated", "setup_intent.succeeded"]


def test_what_was_saved_can_be_charged_without_the_customer(api, customer, intent):
    control.finish_setup(intent.id)
    card = api.setup_intents.retrieve(intent.id).payment_method

    params = {"payment_method": card, "allowed_payment_method_types": ["kr_card"], "off_session": True}
    paid = api.payment_intents.create(
        params | {"amount": 100, "currency": "krw", "customer": customer.id, "confirm": True}
    )

    assert paid.status == "succeeded"


def test_the_customer_fails_and_the_shop_confirms_once_more(client, api, customer, intent, heard):
    answer = client.post(f"{page_of(intent)}fail/")

    assert told(answer["Location"])["redirect_status"] == "failed"
    failed = api.setup_intents.retrieve(intent.id)
    assert (failed.status, failed.payment_method, failed.mandate) == ("requires_payment_method", None, None)
    assert failed.last_setup_error.code == "setup_intent_authentication_failure"
    assert types_of(heard)[-1] == "setup_intent.setup_failed"
    assert list(api.customers.payment_methods.list(customer.id)) == []

    again = {"payment_method_data": {"type": "kr_card"}, "return_url": RETURN_URL, "mandate_data": ACCEPTANCE}
    assert api.setup_intents.confirm(intent.id, again).status == "requires_action"


def test_the_page_asks_for_an_issuer_and_is_over_afterwards(client, intent):
    page = page_of(intent)
    assert "Shinhan Card" in client.get(page).content.decode()
    assert client.post(f"{page}authorise/", {"brand": "moon"}).status_code == 422
    [back] = re.findall(r'<a class="back" href="([^"]+)">', client.get(page).content.decode())
    assert told(back.replace("&amp;", "&"))["redirect_status"] == "pending"

    first = client.post(f"{page}authorise/", {"brand": "lotte"})

    assert client.post(f"{page}fail/")["Location"] == first["Location"]
    assert "<form" not in client.get(page).content.decode()
    assert client.get("/stripe-sandbox/setup/seti_x/").status_code == 404
    assert Client(enforce_csrf_checks=True).post(f"{page}fail/").status_code == 403


def test_cancelled_by_the_shop_nothing_can_be_saved(client, api, intent, heard):
    assert api.setup_intents.cancel(intent.id, {"cancellation_reason": "abandoned"}).status == "canceled"
    assert types_of(heard)[-1] == "setup_intent.canceled"

    assert (
        told(client.post(f"{page_of(intent)}authorise/", {"brand": "lotte"})["Location"])["redirect_status"] == "failed"
    )
    with pytest.raises(stripe.InvalidRequestError) as refused:
        api.setup_intents.cancel(intent.id)
    assert refused.value.code == "setup_intent_unexpected_state"


def test_one_that_needs_no_redirect(api, customer):
    control.no_redirect_next()
    intent = api.setup_intents.create(setup_params(customer))

    assert (intent.status, intent.next_action) == ("succeeded", None)


def test_a_mandate_may_stay_pending(api, intent):
    control.mandate_pending_next()
    control.finish_setup(intent.id)

    assert api.setup_intents.retrieve(intent.id, {"expand": ["mandate"]}).mandate.status == "pending"


@pytest.mark.parametrize("type", ["naver_pay", "kakao_pay"])
def test_wallets_can_be_saved(client, api, customer, type):
    wallet = {"allowed_payment_method_types": [type], "payment_method_data": {"type": type}}
    intent = api.setup_intents.create(setup_params(customer, **wallet))

    client.post(f"{page_of(intent)}authorise/")

    [saved] = api.customers.payment_methods.list(customer.id)
    assert saved.type == type


@pytest.mark.parametrize(
    ("change", "code", "param"),
    [
        ({"confirm": None}, None, "mandate_data"),
        ({"confirm": None, "mandate_data": None}, None, "return_url"),
        ({"return_url": None}, "parameter_missing", "return_url"),
        ({"payment_method_data": None}, "parameter_missing", "payment_method"),
        ({"payment_method_data": {"type": "payco"}}, None, "payment_method_data[type]"),
        ({"allowed_payment_method_types": ["card"]}, None, "payment_method_data[type]"),
        ({"payment_method_types": ["kr_card"]}, "payment_method_types_no_longer_supported", "payment_method_types"),
        ({"usage": "sometimes"}, None, "usage"),
        (
            {"mandate_data": {"customer_acceptance": {"type": "online", "online": {"ip_address": "203.0.113.7"}}}},
            "parameter_missing",
            "mandate_data[customer_acceptance][online][user_agent]",
        ),
        ({"customer": "cus_nobody"}, "resource_missing", "customer"),
    ],
)
def test_a_wrong_request_is_refused_and_leaves_nothing(api, customer, change, code, param):
    params = {name: value for name, value in setup_params(customer, **change).items() if value is not None}

    with pytest.raises(stripe.InvalidRequestError) as refused:
        api.setup_intents.create(params)

    assert (refused.value.http_status, refused.value.code, refused.value.param) == (400, code, param)
    assert list(api.setup_intents.list()) == []


def test_types_that_are_switched_off_vanish_silently_or_by_the_old_name_loudly(api, old_api, customer):
    control.set_enabled_types(["kr_card"])
    both = setup_params(customer, allowed_payment_method_types=["kr_card", "naver_pay"])
    assert api.setup_intents.create(both).payment_method_types == ["kr_card"]

    named = setup_params(customer, payment_method_types=["kr_card", "naver_pay"])
    for types in ({}, {"allowed_payment_method_types": None}):
        with pytest.raises(stripe.InvalidRequestError):
            old_api.setup_intents.create({name: value for name, value in (named | types).items() if value is not None})


def test_the_setup_intent_of_a_session_is_the_sessions(api, session):
    with pytest.raises(stripe.InvalidRequestError, match="Expire the Session"):
        api.setup_intents.cancel(session.setup_intent)


# --- paid and saved at once -------------------------------------------------------------------------


def test_a_payment_that_saves_its_card(client, api, customer, heard):
    intent = api.payment_intents.create(payment_params(customer))
    assert (intent.status, intent.setup_future_usage) == ("requires_action", "off_session")
    page = page_of(intent)
    assert "₩12,900" in client.get(page).content.decode()

    answer = client.post(f"{page}authorise/", {"brand": "lotte"})

    assert told(answer["Location"])["redirect_status"] == "succeeded"
    [card] = api.customers.payment_methods.list(customer.id)
    done = api.payment_intents.retrieve(intent.id, {"expand": ["latest_charge"]})
    assert (done.status, done.payment_method, done.amount_received) == ("succeeded", card.id, 12_900)
    assert done.latest_charge.payment_method_details.kr_card.brand == "lotte"
    assert types_of(heard)[1:] == [
        "payment_method.attached",
        "mandate.updated",
        "charge.succeeded",
        "payment_intent.succeeded",
    ]


def test_a_payment_that_fails_saves_nothing(client, api, customer):
    intent = api.payment_intents.create(payment_params(customer))

    assert client.post(f"{page_of(intent)}authorise/", {"brand": ""}).status_code == 422
    client.post(f"{page_of(intent)}fail/")

    assert api.payment_intents.retrieve(intent.id).status == "requires_payment_method"
    assert list(api.customers.payment_methods.list(customer.id)) == []


def test_a_payment_that_saves_nothing(api, customer):
    intent = api.payment_intents.create(payment_params(customer))
    only_paid = {name: value for name, value in payment_params(customer).items() if name != "setup_future_usage"}
    once = api.payment_intents.create(only_paid)
    for each in (intent, once):
        control.finish_payment(each.id)

    assert len(api.customers.payment_methods.list(customer.id).data) == 1


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"return_url": None}, "return_url"),
        ({"off_session": True}, "payment_method_data"),
        ({"currency": "usd"}, "currency"),
        ({"customer": None}, "customer"),
        ({"confirm": None, "mandate_data": None, "return_url": None}, "payment_method_data"),
    ],
)
def test_a_wrong_first_payment_is_refused(api, customer, change, param):
    params = {name: value for name, value in payment_params(customer, **change).items() if value is not None}

    with pytest.raises(stripe.InvalidRequestError) as refused:
        api.payment_intents.create(params | {"allowed_payment_method_types": ["kr_card", "card"]})

    assert refused.value.param == param


def line(**price):
    return {"price_data": {"currency": "krw", "unit_amount": 12_900, "product_data": {"name": "멤버십"}} | price}


def paying_session(customer, **more):
    return {
        "mode": "payment",
        "customer": customer.id,
        "allowed_payment_method_types": ["card", "kr_card"],
        "line_items": [line() | {"quantity": 1}],
        "payment_intent_data": {"setup_future_usage": "off_session", "metadata": {"order": "7"}},
        "success_url": "http://127.0.0.1:8000/ok/",
        **more,
    }


def test_a_session_is_paid_and_the_card_saved(client, api, customer, heard):
    session = api.checkout.sessions.create(paying_session(customer))
    assert (session.amount_total, session.payment_status, session.payment_intent) == (12_900, "unpaid", None)
    assert "₩12,900" in client.get(urlsplit(session.url).path).content.decode()

    control.authorise(session.id, "lotte")

    done = api.checkout.sessions.retrieve(session.id, {"expand": ["payment_intent.payment_method"]})
    assert (done.status, done.payment_status) == ("complete", "paid")
    assert done.payment_intent.payment_method.kr_card.brand == "lotte"
    assert done.payment_intent.metadata.to_dict() == {"order": "7"}
    assert types_of(heard) == [
        "payment_method.attached",
        "charge.succeeded",
        "payment_intent.succeeded",
        "checkout.session.completed",
    ]


def test_a_session_that_is_not_paid_at_first(api, customer, heard):
    session = api.checkout.sessions.create(paying_session(customer))
    control.fail(session.id)
    tried = api.checkout.sessions.retrieve(session.id)
    with pytest.raises(stripe.InvalidRequestError, match="Expire the Session"):
        api.payment_intents.cancel(tried.payment_intent)

    control.authorise(session.id)

    assert api.checkout.sessions.retrieve(session.id).payment_intent == tried.payment_intent
    assert len(api.payment_intents.list().data) == 1
    other = api.checkout.sessions.create(paying_session(customer))
    control.fail(other.id)
    control.expire(other.id)
    assert types_of(heard)[-2:] == ["payment_intent.canceled", "checkout.session.expired"]


@pytest.mark.parametrize("succeeded", [True, False])
def test_a_session_whose_payment_takes_its_time(api, customer, heard, succeeded):
    session = api.checkout.sessions.create(paying_session(customer))
    control.processing_next()
    control.authorise(session.id)
    done = api.checkout.sessions.retrieve(session.id)
    assert (done.status, done.payment_status) == ("complete", "unpaid")

    control.settle(done.payment_intent, succeeded)

    assert types_of(heard)[-1] == f"checkout.session.async_payment_{'succeeded' if succeeded else 'failed'}"


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"setup_intent_data": {"metadata": {"a": "b"}}}, "setup_intent_data"),
        ({"mode": "setup", "line_items": None, "currency": "krw"}, "payment_intent_data"),
        ({"line_items": [{"price_data": {"currency": "krw"}}]}, "line_items[0][price_data][product_data]"),
        ({"line_items": [line(unit_amount=1)]}, "line_items"),
        ({"line_items": [line(), line(currency="usd")]}, "line_items"),
    ],
)
def test_a_wrong_paying_session_is_refused(api, customer, change, param):
    params = {name: value for name, value in paying_session(customer, **change).items() if value is not None}

    with pytest.raises(stripe.InvalidRequestError) as refused:
        api.checkout.sessions.create(params)

    assert refused.value.param == param
