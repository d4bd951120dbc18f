"""What the sandbox answers fits Stripe's own types: required fields, types, enums, all the way down."""

import json
import os
from functools import cache
from pathlib import Path

import pytest
import stripe

from django_krcard.sandbox import control
from django_krcard.sandbox.models import Event, Resource

from .conftest import charge_params

FOLDER = Path(os.environ.get("KRCARD_TEST_STRIPE_OPENAPI") or Path(__file__).parents[3] / "shared" / "stripe-openapi")
DOCUMENT = FOLDER / "endive.json"

pytestmark = pytest.mark.skipif(
    not DOCUMENT.exists(), reason=f"Stripe's API documents are not in {FOLDER} (KRCARD_TEST_STRIPE_OPENAPI)"
)

TYPES = {"string": str, "integer": int, "boolean": bool, "array": list, "object": dict, "number": (int, float)}


@cache
def schemas():
    return json.loads(DOCUMENT.read_text())["components"]["schemas"]


def misfits(value, schema, where):
    """Everything about the value that the schema forbids, as sentences."""
    if "$ref" in schema:
        schema = schemas()[schema["$ref"].rpartition("/")[2]]
    if value is None:
        return [] if schema.get("nullable") else [f"{where} is null"]
    if "anyOf" in schema:
        tries = [misfits(value, each, where) for each in schema["anyOf"]]
        return min(tries, key=len)
    kind = schema.get("type")
    right_type = isinstance(value, TYPES[kind]) and isinstance(value, bool) == (kind == "boolean") if kind else True
    if not right_type:
        return [f"{where} is {type(value).__name__}, not {kind}"]
    if "enum" in schema and value not in schema["enum"]:
        return [f"{where} is {value!r}, not one of the enum"]
    if kind == "array":
        return [
            each for place, item in enumerate(value) for each in misfits(item, schema["items"], f"{where}[{place}]")
        ]
    if kind == "object":
        return object_misfits(value, schema, where)
    return []


def object_misfits(value, schema, where):
    properties = schema.get("properties", {})
    found = [f"{where}.{name} is missing" for name in schema.get("required", []) if name not in value]
    if properties and "additionalProperties" not in schema:
        found += [f"{where}.{name} is not Stripe's" for name in value if name not in properties]
    for name, inner in value.items():
        if name in properties:
            found += misfits(inner, properties[name], f"{where}.{name}")
    return found


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
    session = {"mode": "setup", "currency": "krw", "customer": customer.id, "success_url": "http://127.0.0.1/"}
    for act in (control.expire, control.fail, lambda id: control.authorise(id, type="card")):
        act(api.checkout.sessions.create(session).id)
    [visa] = api.customers.payment_methods.list(customer.id, {"type": "card"})
    api.payment_intents.create(charge_params(saved, payment_method=visa.id, allowed_payment_method_types=["card"]))
    control.detach(saved.card)


def test_every_object_fits(lived):
    found = [each for row in Resource.objects.all() for each in misfits(row.body, schemas()[row.kind], row.kind)]

    assert sorted(set(found)) == []
    assert len(set(Resource.objects.values_list("kind", flat=True))) == 7


def test_every_event_fits(lived):
    for event in Event.objects.all():
        body = json.loads(event.raw)
        assert misfits(body, schemas()["event"], event.type) == []
        assert event.type in json.loads(DOCUMENT.read_text())["x-event-types"]


def test_the_reader_of_schemas_sees_a_misfit():
    schema = {"type": "object", "required": ["id"], "properties": {"id": {"type": "string"}}}

    assert misfits({}, schema, "it") == ["it.id is missing"]
    assert misfits({"id": 1}, schema, "it") == ["it.id is int, not string"]
    assert misfits({"id": None}, schema, "it") == ["it.id is null"]
