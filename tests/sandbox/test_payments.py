from types import SimpleNamespace

import pytest
import stripe

from django_krcard.sandbox import control
from django_krcard.sandbox.errors import SandboxError

from .conftest import charge_params, session_params, types_of


def test_a_saved_card_is_charged(api, saved, heard):
    intent = api.payment_intents.create(
        charge_params(saved, metadata={"charge": "1"}, description="11월 회비", expand=["latest_charge"])
    )

    assert (intent.status, intent.amount_received) == ("succeeded", 12_900)
    assert intent.metadata.to_dict() == {"charge": "1"}
    assert intent.latest_charge.payment_method_details.kr_card.last4 == "1234"
    assert api.payment_intents.retrieve(intent.id).latest_charge == intent.latest_charge.id
    assert api.payment_intents.retrieve(intent.id, {"expand": ["latest_charge"]}).latest_charge.amount_refunded == 0
    assert types_of(heard) == ["charge.succeeded", "payment_intent.succeeded"]


def test_a_decline_is_a_402_that_leaves_a_payment_intent(api, saved, heard):
    control.decline_next(decline_code="insufficient_funds")

    with pytest.raises(stripe.CardError) as declined:
        api.payment_intents.create(charge_params(saved))

    error = declined.value.error
    assert declined.value.http_status == 402
    assert (error.type, error.code, error.decline_code) == ("card_error", "card_declined", "insufficient_funds")
    assert error.doc_url.endswith("card-declined")
    intent = api.payment_intents.retrieve(error.payment_intent.id)
    assert intent.status == "requires_payment_method"
    assert intent.last_payment_error.decline_code == "insufficient_funds"
    assert intent.last_payment_error.payment_method.id == saved.card
    assert types_of(heard) == ["charge.failed", "payment_intent.payment_failed"]


@pytest.mark.parametrize("name", control.DECLINES)
def test_every_decline_has_a_name(api, saved, name):
    control.decline_next(name)

    with pytest.raises(stripe.CardError) as declined:
        api.payment_intents.create(charge_params(saved))

    assert (declined.value.code, declined.value.error.decline_code) == control.DECLINES[name]


def test_only_the_next_charge_is_declined(api, saved):
    control.decline_next()
    with pytest.raises(stripe.CardError):
        api.payment_intents.create(charge_params(saved))

    assert api.payment_intents.create(charge_params(saved)).status == "succeeded"


def test_the_customer_is_needed(api, saved):
    control.require_action_next()

    with pytest.raises(stripe.CardError) as needed:
        api.payment_intents.create(charge_params(saved))

    assert needed.value.code == "authentication_required"
    assert needed.value.error.payment_intent.status == "requires_payment_method"


@pytest.mark.parametrize(
    ("succeeded", "status", "last"),
    [
        (True, "succeeded", "payment_intent.succeeded"),
        (False, "requires_payment_method", "payment_intent.payment_failed"),
    ],
)
def test_a_charge_settles_later(api, saved, heard, succeeded, status, last):
    control.processing_next()
    intent = api.payment_intents.create(charge_params(saved))
    assert intent.status == "processing"

    control.settle(intent.id, succeeded=succeeded)

    settled = api.payment_intents.retrieve(intent.id)
    assert settled.status == status
    assert settled.latest_charge == intent.latest_charge
    assert types_of(heard)[-1] == last
    with pytest.raises(SandboxError, match="not processing"):
        control.settle(intent.id)


@pytest.mark.parametrize(
    ("change", "code", "param"),
    [
        ({"amount": 99}, "amount_too_small", "amount"),
        ({"amount": 100_000_000}, "amount_too_large", "amount"),
        ({"amount": "12900.5"}, "parameter_invalid_integer", "amount"),
        ({"amount": None}, "parameter_missing", "amount"),
        ({"currency": "usd"}, "payment_method_currency_mismatch", "currency"),
        ({"currency": "won!"}, None, "currency"),
        ({"customer": "cus_nobody"}, "resource_missing", "customer"),
        ({"payment_method": "pm_nothing"}, "resource_missing", "payment_method"),
        ({"payment_method": None}, "parameter_missing", "payment_method"),
        ({"confirm": False}, None, "off_session"),
        ({"off_session": False}, "parameter_missing", "return_url"),
        ({"mandate": "mandate_nothing"}, "resource_missing", "mandate"),
        ({"capture_method": "manual"}, None, "capture_method"),
        ({"allowed_payment_method_types": ["card"]}, "payment_intent_incompatible_payment_method", "payment_method"),
        ({"amuont": 100}, "parameter_unknown", "amuont"),
    ],
)
def test_a_wrong_charge_is_refused(api, saved, change, code, param):
    params = {name: value for name, value in charge_params(saved, **change).items() if value is not None}

    with pytest.raises(stripe.InvalidRequestError) as refused:
        api.payment_intents.create(params)

    assert (refused.value.http_status, refused.value.code, refused.value.param) == (400, code, param)
    assert api.payment_intents.list().data == []


def test_the_smallest_and_the_largest_amount(api, saved):
    assert api.payment_intents.create(charge_params(saved, 100)).status == "succeeded"
    assert api.payment_intents.create(charge_params(saved, 99_999_999)).status == "succeeded"


def test_somebody_elses_card_cannot_be_charged(api, saved):
    other = api.customers.create({})

    with pytest.raises(stripe.InvalidRequestError, match="does not have a payment method"):
        api.payment_intents.create(charge_params(saved, customer=other.id))


def test_a_permission_withdrawn_at_the_issuer(api, saved, heard):
    control.deactivate_mandate(saved.card)

    assert types_of(heard) == ["mandate.updated"]
    assert api.mandates.retrieve(saved.mandate).status == "inactive"
    with pytest.raises(stripe.InvalidRequestError) as refused:
        api.payment_intents.create(charge_params(saved))
    assert refused.value.code == "payment_intent_mandate_invalid"


def test_a_mandate_may_take_its_time(api, customer, heard):
    control.mandate_pending_next()
    session = api.checkout.sessions.create(session_params(customer))
    control.authorise(session.id)
    intent = api.checkout.sessions.retrieve(session.id, {"expand": ["setup_intent"]}).setup_intent
    saved = SimpleNamespace(customer=customer.id, card=intent.payment_method)
    assert api.mandates.retrieve(intent.mandate).status == "pending"
    with pytest.raises(stripe.InvalidRequestError) as refused:
        api.payment_intents.create(charge_params(saved))
    assert refused.value.code == "payment_intent_mandate_invalid"
    heard.clear()

    control.activate_mandate(saved.card)

    assert heard[0]["data"]["previous_attributes"] == {"status": "pending"}
    assert api.payment_intents.create(charge_params(saved)).status == "succeeded"
    with pytest.raises(SandboxError, match="active already"):
        control.activate_mandate(saved.card)


def test_a_detached_card_is_gone_for_good(api, saved, heard):
    api.payment_methods.detach(saved.card)

    assert api.payment_methods.retrieve(saved.card).customer is None
    assert api.customers.payment_methods.list(saved.customer).data == []
    assert types_of(heard) == ["mandate.updated", "payment_method.detached"]
    detached = heard[1]["data"]
    assert detached["object"]["customer"] is None
    assert detached["previous_attributes"] == {"customer": saved.customer}
    with pytest.raises(stripe.InvalidRequestError) as refused:
        api.payment_intents.create(charge_params(saved))
    assert refused.value.code == "payment_method_unexpected_state"
    with pytest.raises(stripe.InvalidRequestError, match="not attached"):
        api.payment_methods.detach(saved.card)
    with pytest.raises(SandboxError, match="no attached PaymentMethod"):
        control.detach(saved.card)


def test_a_payment_intent_is_cancelled(api, saved, heard):
    control.decline_next()
    with pytest.raises(stripe.CardError) as declined:
        api.payment_intents.create(charge_params(saved))
    intent = declined.value.error.payment_intent.id

    cancelled = api.payment_intents.cancel(intent, {"cancellation_reason": "abandoned"})

    assert (cancelled.status, cancelled.cancellation_reason) == ("canceled", "abandoned")
    assert types_of(heard)[-1] == "payment_intent.canceled"
    with pytest.raises(stripe.InvalidRequestError) as refused:
        api.payment_intents.cancel(intent)
    assert refused.value.code == "payment_intent_unexpected_state"


def test_an_unconfirmed_payment_intent_waits(api, saved):
    params = charge_params(saved)
    del params["confirm"], params["off_session"]

    assert api.payment_intents.create(params).status == "requires_confirmation"
