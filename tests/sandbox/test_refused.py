"""A wrong request is refused as Stripe refuses it, and leaves nothing behind."""

import pytest

from django_krcard.sandbox import control
from django_krcard.sandbox.api import handle
from django_krcard.sandbox.models import Event, Resource

from .conftest import DAHLIA, ENDIVE, charge_params, session_params

MANY = {f"k{n}": "v" for n in range(51)}

# what is asked, with which wrong parameters → code, param
WRONG = [
    # metadata, everywhere the same
    ("POST customers", {"metadata": MANY}, None, "metadata"),
    ("POST customers", {"metadata": {"k" * 41: "v"}}, None, "metadata"),
    ("POST customers", {"metadata": {"k": "v" * 501}}, None, "metadata"),
    ("POST customers", {"metadata": "flat"}, None, "metadata"),
    ("POST payment_intents", {"charge": {"metadata": MANY}}, None, "metadata"),
    ("POST checkout/sessions", {"session": {"metadata": MANY}}, None, "metadata"),
    ("POST refunds", {"payment_intent": "{paid}", "metadata": MANY}, None, "metadata"),
    ("POST subscriptions", {"subscription": {"metadata": MANY}}, None, "metadata"),
    ("POST products", {"name": "a", "metadata": MANY}, None, "metadata"),
    # names and kinds
    ("POST customers", {"nmae": "a"}, "parameter_unknown", "nmae"),
    ("POST customers", {"name": "n" * 257}, "parameter_invalid_string", "name"),
    ("POST customers", {"address": {"planet": "Mars"}}, "parameter_unknown", "address[planet]"),
    ("POST customers/{customer}", {"invoice_settings": {"default_payment_method": "pm_x"}}, "resource_missing",
     "invoice_settings[default_payment_method]"),
    ("GET customers", {"limit": "101"}, None, "limit"),
    ("GET customers", {"limit": "many"}, "parameter_invalid_integer", "limit"),
    ("GET customers", {"starting_after": "{paid}"}, "resource_missing", "starting_after"),
    ("GET customers", {"starting_after": "{customer}", "ending_before": "{customer}"}, None, "ending_before"),
    ("GET charges", {"expand": {"0": "data.amount"}}, None, "expand"),
    # sessions
    ("POST checkout/sessions", {"session": {"mode": "setpu"}}, None, "mode"),
    ("POST checkout/sessions", {"session": {"locale": "korean"}}, None, "locale"),
    ("POST checkout/sessions", {"session": {"success_url": "/done/"}}, "url_invalid", "success_url"),
    ("POST checkout/sessions", {"session": {"success_url": None}}, "parameter_missing", "success_url"),
    ("POST checkout/sessions", {"session": {"customer": "cus_x"}}, "resource_missing", "customer"),
    ("POST checkout/sessions", {"session": {"client_reference_id": "c" * 201}}, "parameter_invalid_string",
     "client_reference_id"),
    ("POST checkout/sessions", {"session": {"payment_method_types": {"0": "kr_card"}}},
     "payment_method_types_no_longer_supported", "payment_method_types"),
    # charges
    ("POST payment_intents", {"charge": {"amount": "99"}}, "amount_too_small", "amount"),
    ("POST payment_intents", {"charge": {"amount": "100000000"}}, "amount_too_large", "amount"),
    ("POST payment_intents", {"charge": {"amount": "129.00"}}, "parameter_invalid_integer", "amount"),
    ("POST payment_intents", {"charge": {"currency": "usd"}}, "payment_method_currency_mismatch", "currency"),
    ("POST payment_intents", {"charge": {"payment_method": "pm_x"}}, "resource_missing", "payment_method"),
    ("POST payment_intents", {"charge": {"customer": None}}, "parameter_missing", "customer"),
    ("POST payment_intents", {"charge": {"allowed_payment_method_types": {"0": "card"}}},
     "payment_intent_incompatible_payment_method", "payment_method"),
    # refunds
    ("POST refunds", {}, "parameter_missing", "payment_intent"),
    ("POST refunds", {"payment_intent": "pi_x"}, "resource_missing", "payment_intent"),
    ("POST refunds", {"charge": "ch_x"}, "resource_missing", "charge"),
    ("POST refunds", {"payment_intent": "{paid}", "amount": "0"}, "parameter_invalid_integer", "amount"),
    ("POST refunds", {"payment_intent": "{paid}", "amount": "-5"}, "parameter_invalid_integer", "amount"),
    ("POST refunds", {"payment_intent": "{paid}", "amount": "12901"}, None, "amount"),
    ("POST refunds", {"payment_intent": "{paid}", "reason": "regret"}, None, "reason"),
    ("POST refunds", {"payment_intent": "{paid}", "charge": "{other_charge}"}, None, "charge"),
    # prices
    ("POST prices", {"unit_amount": "100", "product_data": {"name": "a"}}, "parameter_missing", "currency"),
    ("POST prices", {"unit_amount": "100", "currency": "usd", "product_data": {"name": "a"}}, None, "currency"),
    ("POST prices", {"unit_amount": "100", "currency": "krw"}, "parameter_missing", "product"),
    ("POST prices", {"unit_amount": "100", "currency": "krw", "product": "prod_x"}, "resource_missing", "product"),
    ("POST prices", {"unit_amount": "100", "currency": "krw", "product_data": {"metadata": {"a": "b"}}},
     "parameter_missing", "product_data[name]"),
    ("POST prices", {"unit_amount": "100", "currency": "krw", "product_data": {"name": "a"},
                     "recurring": {"interval": "decade"}}, None, "recurring[interval]"),
    ("POST prices", {"unit_amount": "100", "currency": "krw", "product_data": {"name": "a"},
                     "recurring": {"interval_count": "2"}}, "parameter_missing", "recurring[interval]"),
    # subscriptions
    ("POST subscriptions", {"subscription": {"customer": None}}, "parameter_missing", "customer"),
    ("POST subscriptions", {"subscription": {"customer": "cus_x"}}, "resource_missing", "customer"),
    ("POST subscriptions", {"subscription": {"items": None}}, "parameter_missing", "items"),
    ("POST subscriptions", {"subscription": {"items": {"0": {"quantity": "1"}}}}, "parameter_missing",
     "items[0][price]"),
    ("POST subscriptions", {"subscription": {"items": {"0": {"price": "price_x"}}}}, "resource_missing",
     "items[0][price]"),
    ("POST subscriptions", {"subscription": {"items": {"0": {"price": "{one_time}"}}}}, None, "items[0]"),
    ("POST subscriptions", {"subscription": {"default_payment_method": "pm_x"}}, "resource_missing",
     "default_payment_method"),
    ("POST subscriptions", {"subscription": {"payment_settings": {"payment_method_types": {"0": "card"}}}},
     "payment_intent_incompatible_payment_method", "payment_method"),
    ("POST subscriptions", {"subscription": {"payment_settings": {"payment_method_types": {"0": "payco"}}}}, None,
     "payment_method_types"),
    # names that are no payment method type
    ("POST checkout/sessions", {"session": {"allowed_payment_method_types": {"0": "kr_card", "1": "krcard"}}}, None,
     "allowed_payment_method_types[1]"),
    ("POST payment_intents", {"charge": {"allowed_payment_method_types": {"0": "kr_card", "1": "krcard"}}}, None,
     "allowed_payment_method_types[1]"),
    # webhook endpoints
    ("POST webhook_endpoints", {"url": "https://a.example.com/"}, "parameter_missing", "enabled_events"),
    ("POST webhook_endpoints", {"url": "shop", "enabled_events": {"0": "*"}}, "url_invalid", "url"),
    ("POST webhook_endpoints", {"url": "https://a.example.com/", "enabled_events": {"0": "everything"}}, None,
     "enabled_events[0]"),
]  # fmt: skip


@pytest.fixture
def known(api, saved):
    """A customer with a card, two charges and two prices."""
    paid, other = (api.payment_intents.create(charge_params(saved)) for _ in range(2))
    price = {"currency": "krw", "unit_amount": 100, "product_data": {"name": "a"}}
    return {
        "customer": saved.customer,
        "card": saved.card,
        "paid": paid.id,
        "other_charge": other.latest_charge,
        "one_time": api.prices.create(price).id,
        "monthly": api.prices.create({**price, "recurring": {"interval": "month"}}).id,
    }


def filled(value, known):
    if isinstance(value, dict):
        return {name: filled(each, known) for name, each in value.items() if each is not None}
    return value.format(**known) if value.startswith("{") else value


def whole(params, saved, customer):
    """`{"charge": {…}}`: a charge that would be right, but for this."""
    subscription = {
        "customer": "{customer}",
        "default_payment_method": "{card}",
        "items": {"0": {"price": "{monthly}"}},
    }
    right = {"charge": charge_params(saved), "session": session_params(customer), "subscription": subscription}
    for name, change in params.items():
        if name in right and isinstance(change, dict):
            return as_sent(right[name]) | change
    return params


def as_sent(value):
    if isinstance(value, dict):
        return {name: as_sent(each) for name, each in value.items()}
    if isinstance(value, list):
        return {str(place): as_sent(each) for place, each in enumerate(value)}
    return str(value).lower() if isinstance(value, bool) else str(value).replace("{CHECKOUT_SESSION_ID}", "x")


@pytest.mark.parametrize(("asked", "params", "code", "param"), WRONG)
def test_a_wrong_request(known, saved, customer, asked, params, code, param):
    method, path = asked.split()
    before = Resource.objects.count(), Event.objects.count()
    sent = filled(whole(params, saved, customer), known)

    response = handle(method, "/v1/" + path.format(**known), sent, headers())

    error = response.body.get("error", {})
    assert (response.status, error.get("code"), error.get("param")) == (400, code, param)
    assert error["type"] == "invalid_request_error"
    assert error["message"]
    assert ("doc_url" in error) == (code is not None)
    assert (Resource.objects.count(), Event.objects.count()) == before


def headers(version=ENDIVE):
    return {"Authorization": "Bearer sk_test_x", "Stripe-Version": version}


def test_the_other_name_of_the_types_is_wrong_before_its_time(saved, customer):
    sent = as_sent(session_params(customer))

    response = handle("POST", "/v1/checkout/sessions", sent, headers(DAHLIA))

    assert response.body["error"]["code"] == "parameter_unknown"
    assert response.body["error"]["param"] == "allowed_payment_method_types"


def test_a_decline_tells_everything(known, saved):
    control.decline_next("insufficient_funds")

    response = handle("POST", "/v1/payment_intents", as_sent(charge_params(saved)), headers())

    error = response.body["error"]
    assert response.status == 402
    assert error.keys() == {
        "charge", "code", "decline_code", "doc_url", "message", "payment_intent", "payment_method", "type",
    }  # fmt: skip
    assert error["payment_intent"]["last_payment_error"]["decline_code"] == "insufficient_funds"
    assert error["doc_url"] == "https://stripe.com/docs/error-codes/card-declined"
