"""What the sandbox answers fits Stripe's own types: required fields, types, enums, all the way down."""

import json
import re
from datetime import timedelta

import pytest
import stripe

from django_krcard.sandbox import control
from django_krcard.sandbox.api import handle
from django_krcard.sandbox.events import ADDRESSES
from django_krcard.sandbox.models import Event, Resource
from django_krcard.sandbox.routes import ROUTES
from tests.contract.documents import FOLDER, document

from .conftest import charge_params
from .test_setup_intents import paying_session, payment_params, setup_params

DOCUMENT = document("endive")

pytestmark = pytest.mark.skipif(
    not DOCUMENT.path.exists(), reason=f"Stripe's API documents are not in {FOLDER} (KRCARD_TEST_STRIPE_OPENAPI)"
)


def schemas():
    return DOCUMENT.schemas


def misfits(value, schema, where):
    return DOCUMENT.misfits(value, schema, where)


@pytest.fixture
def lived(api, saved, customer):
    """A bit of everything has happened."""
    api.payment_intents.create(charge_params(saved))
    for mishap in (control.decline_next, control.require_action_next):
        mishap()
        with pytest.raises(stripe.CardError):
            api.payment_intents.create(charge_params(saved))
    control.processing_next()
    api.payment_intents.create(charge_params(saved))
    with_her_help(api, saved)
    session = {"mode": "setup", "currency": "krw", "customer": customer.id, "success_url": "http://127.0.0.1/"}
    for act in (control.expire, control.fail, lambda id: control.authorise(id, type="card")):
        act(api.checkout.sessions.create(session).id)
    [visa] = api.customers.payment_methods.list(customer.id, {"type": "card"})
    api.payment_intents.create(charge_params(saved, payment_method=visa.id, allowed_payment_method_types=["card"]))
    money_back(api, api.payment_intents.create(charge_params(saved)), api.payment_intents.create(charge_params(saved)))
    month_by_month(api, saved)
    without_checkout(api, customer)
    endpoint = {"url": "http://127.0.0.1/krcard/webhook/", "enabled_events": ["mandate.updated"]}
    api.webhook_endpoints.create(endpoint)
    control.mandate_pending_next()
    control.authorise(api.checkout.sessions.create(session).id)
    control.detach(saved.card)
    control.set_event_format("both")
    api.customers.delete(api.customers.create({"name": "gone"}).id)


def without_checkout(api, customer):
    for type in ("kr_card", "naver_pay", "kakao_pay"):
        wallet = {"allowed_payment_method_types": [type], "payment_method_data": {"type": type}}
        [saved, refused] = [api.setup_intents.create(setup_params(customer, **wallet)).id for _ in range(2)]
        control.finish_setup(saved)
        control.finish_setup(refused, succeeded=False)
        control.finish_payment(api.payment_intents.create(payment_params(customer, **wallet)).id)
        session = api.checkout.sessions.create(paying_session(customer, allowed_payment_method_types=[type]))
        control.fail(session.id, type=type)
        control.authorise(session.id, type=type)
    api.setup_intents.cancel(api.setup_intents.create(setup_params(customer)).id)
    control.processing_next()
    session = api.checkout.sessions.create(paying_session(customer)).id
    control.authorise(session)
    control.settle(api.checkout.sessions.retrieve(session).payment_intent)


def with_her_help(api, saved):
    params = {"amount": 100, "currency": "krw", "customer": saved.customer}
    intents = [api.payment_intents.create(params).id for _ in range(4)]
    for intent in intents:
        api.payment_intents.confirm(intent, {"payment_method": saved.card, "return_url": "http://127.0.0.1/"})
    control.finish_payment(intents[0])
    control.finish_payment(intents[1], succeeded=False)
    api.payment_intents.cancel(intents[2])


def money_back(api, refunded, disputed):
    api.refunds.create({"payment_intent": refunded.id, "amount": 100, "metadata": {"a": "b"}})
    control.fail_refund(api.refunds.create({"payment_intent": refunded.id, "reason": "duplicate"}).id)
    dispute = control.dispute(disputed.id)
    api.disputes.update(dispute["id"], {"evidence": {"customer_name": "김민지"}})
    control.close_dispute(dispute["id"], won=True)


def month_by_month(api, saved):
    price = {"currency": "krw", "unit_amount": 100, "recurring": {"interval": "month"}, "product_data": {"name": "a"}}
    item = {"price": api.prices.create(price).id}
    params = {"customer": saved.customer, "default_payment_method": saved.card, "items": [item]}
    paid = api.subscriptions.create(params)
    leaving = api.subscriptions.create(params)
    api.subscriptions.update(leaving.id, {"cancel_at_period_end": True})
    held = api.subscriptions.create(params)
    api.subscriptions.update(held.id, {"pause_collection": {"behavior": "void"}})
    control.decline_next()
    api.subscriptions.create(params)
    control.advance(timedelta(days=31))
    control.decline_next()
    control.advance(timedelta(days=31))
    api.subscriptions.cancel(paid.id, {"cancellation_details": {"feedback": "unused"}})


KINDS = (
    "charge checkout.session customer dispute invoice invoice_payment mandate payment_intent payment_method price "
    "product refund setup_intent subscription webhook_endpoint"
)


def test_every_object_fits(lived):
    found = [each for row in Resource.objects.all() for each in misfits(row.body, schema_of(row), row.kind)]

    assert sorted(set(found)) == []
    assert sorted(set(Resource.objects.values_list("kind", flat=True))) == KINDS.split()


def schema_of(row):
    return schemas()["deleted_customer" if row.body.get("deleted") else row.kind]


def test_every_event_fits(lived):
    known = DOCUMENT.content["x-event-types"]
    for event in Event.objects.filter(format="snapshot"):
        body = json.loads(event.raw)
        assert misfits(body, schemas()["event"], event.type) == []
        assert event.type in known
        subject = body["data"]["object"]
        found = misfits(subject, schemas()[subject["object"]], event.type)
        # An invoice to come has no id yet.
        assert [each for each in found if each != "invoice.upcoming.id is missing"] == []


def test_every_event_can_be_thin(lived):
    """What the news is about has an address that answers."""
    for event in Event.objects.filter(format="snapshot").exclude(type="invoice.upcoming"):
        subject = json.loads(event.raw)["data"]["object"]
        address = ADDRESSES[subject["object"]].format(id=subject["id"])
        assert handle("GET", address, {}, {"Authorization": "Bearer sk_test_x"}).status == 200


def test_every_list_fits(lived):
    for route in ROUTES:
        if route.method != "GET" or "{id}" in route.address or route.address == "/v1/account":
            continue
        body = handle("GET", route.address, {"limit": "100"}, {"Authorization": "Bearer sk_test_x"}).body
        assert body["data"], route.address
        kind = body["data"][0]["object"]
        list_ = {
            "type": "object",
            "required": ["object", "data", "has_more", "url"],
            "properties": {
                "data": {"type": "array", "items": schemas()[kind]},
                "has_more": {"type": "boolean"},
                "object": {"type": "string", "enum": ["list"]},
                "url": {"type": "string", "enum": [route.address]},
            },
        }
        assert misfits(body, list_, route.address) == []


def test_what_is_not_kept_fits_too(api, lived):
    account = api.accounts.retrieve_current().to_dict()
    assert misfits(account, schemas()["account"], "account") == []
    assert account["capabilities"]["kr_card_payments"] == "active"
    [kept] = api.webhook_endpoints.list()
    gone = api.webhook_endpoints.delete(kept.id).to_dict()
    assert misfits(gone, schemas()["deleted_webhook_endpoint"], "gone") == []


def test_every_address_and_its_parameters_are_stripes():
    paths = DOCUMENT.content["paths"]
    shapes = {re.sub(r"\{[^}]*\}", "{id}", path): path for path in paths}
    for route in ROUTES:
        if route.address.startswith("/v2/"):
            continue
        operation = paths[shapes[route.address]][route.method.lower()]
        unknown = set(route.params.accepts) - parameters(operation)
        assert unknown == set(), f"{route.method} {route.address}"


def parameters(operation):
    content = operation.get("requestBody", {}).get("content", {}).get("application/x-www-form-urlencoded", {})
    names = set(content.get("schema", {}).get("properties", {}))
    return names | {each["name"] for each in operation.get("parameters", [])}


def test_the_reader_of_schemas_sees_a_misfit():
    schema = {"type": "object", "required": ["id"], "properties": {"id": {"type": "string"}}}

    assert misfits({}, schema, "it") == ["it.id is missing"]
    assert misfits({"id": 1}, schema, "it") == ["it.id is int, not string"]
    assert misfits({"id": None}, schema, "it") == ["it.id is null"]
