import time
from datetime import timedelta

import pytest
import stripe

from django_krcard.sandbox import control
from django_krcard.sandbox.errors import SandboxError
from django_krcard.sandbox.issuers import ISSUERS

from .conftest import session_params

EXPAND = {"expand": ["setup_intent.payment_method", "setup_intent.mandate", "customer"]}


def types_of(heard):
    return [event["type"] for event in heard]


def test_a_card_is_saved(api, customer, session, heard):
    assert session.status == "open"
    assert session.payment_status == "no_payment_required"
    assert session.livemode is False

    control.authorise(session.id, brand="kookmin", last4="0077")

    done = api.checkout.sessions.retrieve(session.id, EXPAND)
    assert done.status == "complete"
    assert done.url is None
    assert done.customer.name == "김민지"
    assert done.setup_intent.status == "succeeded"
    card = done.setup_intent.payment_method
    assert (card.type, card.kr_card.brand, card.kr_card.last4) == ("kr_card", "kookmin", "0077")
    assert card.customer == customer.id
    assert done.setup_intent.mandate.status == "active"
    assert done.setup_intent.mandate.payment_method == card.id
    assert types_of(heard) == ["payment_method.attached", "setup_intent.succeeded", "checkout.session.completed"]


def test_an_ordinary_card_is_saved(api, customer, session):
    control.authorise(session.id, type="card", last4="4242")

    [card] = api.customers.payment_methods.list(customer.id)
    assert (card.type, card.card.brand, card.card.last4) == ("card", "visa", "4242")


@pytest.mark.parametrize("brand", ISSUERS)
def test_every_issuer_can_be_had(api, customer, session, brand):
    control.authorise(session.id, brand=brand)

    [card] = api.customers.payment_methods.list(customer.id, {"type": "kr_card"})
    assert card.kr_card.brand == brand
    assert len(card.kr_card.last4) == 4


def test_the_issuer_refuses_and_the_customer_tries_again(api, session, heard):
    control.fail(session.id)

    tried = api.checkout.sessions.retrieve(session.id, {"expand": ["setup_intent"]})
    assert tried.status == "open"
    assert tried.setup_intent.status == "requires_payment_method"
    assert tried.setup_intent.last_setup_error.code == "setup_intent_authentication_failure"
    assert types_of(heard) == ["setup_intent.setup_failed"]

    control.authorise(session.id)
    assert api.setup_intents.retrieve(session.setup_intent).last_setup_error is None


def test_metadata_and_references_come_back(api, customer):
    session = api.checkout.sessions.create(
        session_params(
            customer,
            client_reference_id="attempt-1",
            metadata={"0": "a number may be a name"},
            setup_intent_data={"metadata": {"consent": "c1"}, "description": "Membership"},
            locale="ko",
        )
    )

    assert session.client_reference_id == "attempt-1"
    assert session.metadata.to_dict() == {"0": "a number may be a name"}
    intent = api.setup_intents.retrieve(session.setup_intent)
    assert intent.metadata.to_dict() == {"consent": "c1"}


def test_the_address_of_the_hosted_page_is_on_the_site_that_asked(api, customer):
    session = api.checkout.sessions.create(session_params(customer, success_url="https://shop.example:8443/done"))

    assert session.url == f"https://shop.example:8443/stripe-sandbox/checkout/{session.id}/"


@pytest.mark.parametrize(
    ("change", "code", "param"),
    [
        ({"mode": None}, "parameter_missing", "mode"),
        ({"success_url": None}, "parameter_missing", "success_url"),
        ({"success_url": "not an address"}, "url_invalid", "success_url"),
        ({"currency": None, "allowed_payment_method_types": None}, "parameter_missing", "currency"),
        ({"customer": "cus_nobody"}, "resource_missing", "customer"),
        ({"client_reference_id": "x" * 201}, "parameter_invalid_string", "client_reference_id"),
        ({"metadata": {"k" * 41: "v"}}, None, "metadata"),
        ({"metadata": {"k": "v" * 501}}, None, "metadata"),
        ({"metadata": {f"k{n}": "v" for n in range(51)}}, None, "metadata"),
        ({"locale": "kr"}, None, "locale"),
        ({"mode": "subscription"}, None, "mode"),
        ({"mode": "payment"}, "parameter_missing", "line_items"),
        ({"line_itemz": [{"price": "p"}]}, "parameter_unknown", "line_itemz"),
        ({"setup_intent_data": {"usage": "off_session"}}, "parameter_unknown", "setup_intent_data[usage]"),
    ],
)
def test_a_wrong_session_is_refused(api, customer, change, code, param):
    params = session_params(customer) | change
    params = {name: value for name, value in params.items() if value is not None}

    with pytest.raises(stripe.InvalidRequestError) as refused:
        api.checkout.sessions.create(params)

    assert (refused.value.http_status, refused.value.code, refused.value.param) == (400, code, param)


@pytest.mark.parametrize("seconds", [60, 29 * 60 - 60, 25 * 60 * 60])
def test_a_session_lives_from_half_an_hour_to_a_day(api, customer, seconds):
    with pytest.raises(stripe.InvalidRequestError, match="expires_at"):
        api.checkout.sessions.create(session_params(customer, expires_at=int(time.time()) + seconds))


def test_a_session_runs_out_of_time(api, session, heard):
    control.advance(timedelta(hours=24, minutes=1))

    assert api.checkout.sessions.retrieve(session.id).status == "expired"
    assert types_of(heard) == ["setup_intent.canceled", "checkout.session.expired"]
    with pytest.raises(SandboxError, match="expired, not open"):
        control.authorise(session.id)


def test_a_session_is_expired_by_the_site(api, session):
    expired = api.checkout.sessions.expire(session.id)

    assert (expired.status, expired.url) == ("expired", None)
    with pytest.raises(stripe.InvalidRequestError, match="only open Sessions"):
        api.checkout.sessions.expire(session.id)


def test_a_session_completes_once(session):
    control.authorise(session.id)

    with pytest.raises(SandboxError, match="complete, not open"):
        control.authorise(session.id)
    with pytest.raises(SandboxError, match="complete, not open"):
        control.expire(session.id)


@pytest.mark.parametrize("choice", [{"brand": "visa"}, {"type": "naver_pay"}])
def test_a_card_that_is_not_offered_cannot_be_authorised(session, choice):
    with pytest.raises(SandboxError):
        control.authorise(session.id, **choice)


def test_ids_are_never_mistaken_for_stripes(session, saved):
    for stripe_id in (session.id, session.setup_intent, saved.customer, saved.card, saved.mandate):
        assert "_sandbox_" in stripe_id
        assert stripe_id.replace("_", "").isalnum()


@pytest.mark.parametrize("address", ["http://127.0.0.1:8000", " https://django.example/ ", "http://[::1]:8000"])
def test_the_hosted_page_is_on_this_site_when_the_shop_is_another(api, customer, address):
    elsewhere = session_params(customer, success_url="http://localhost:3000/done")
    control.set_pages_at(address)
    session = api.checkout.sessions.create(elsewhere)

    assert session.url == f"{address.strip().rstrip('/')}/stripe-sandbox/checkout/{session.id}/"
    assert session.success_url == "http://localhost:3000/done"
    control.set_pages_at("")
    assert api.checkout.sessions.create(elsewhere).url.startswith("http://localhost:3000/")


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1:8000", "ftp://a", "http://", "http://a/b", "http://a?b", "http://u@a", "http://a:port", "http://a\0",
     "http://" + "a" * 200],
)  # fmt: skip
def test_the_hosted_page_is_at_a_site_and_nowhere_else(address):
    with pytest.raises(SandboxError, match="Not the address of a site"):
        control.set_pages_at(address)
