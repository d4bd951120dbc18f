"""A PaymentIntent is tried again: while the customer is away, or with the customer's help."""

from types import SimpleNamespace

import pytest
import stripe

from django_krcard.sandbox import control
from django_krcard.sandbox.errors import SandboxError

from .conftest import charge_params, session_params, types_of

RETURN_URL = "http://127.0.0.1:8000/shop/back/?order=7"


def away(saved, **more):
    return {"payment_method": saved.card, "off_session": True, **more}


def here(saved, **more):
    return {"payment_method": saved.card, "return_url": RETURN_URL, **more}


def declined(call, *args):
    with pytest.raises(stripe.CardError) as refused:
        call(*args)
    assert refused.value.http_status == 402
    return refused.value.error


def refused(call, *args):
    with pytest.raises(stripe.InvalidRequestError) as no:
        call(*args)
    assert no.value.http_status == 400
    return no.value.error


@pytest.fixture
def intent(api, saved, heard):
    """The card was declined yesterday."""
    control.decline_next("insufficient_funds")
    made = declined(api.payment_intents.create, charge_params(saved, metadata={"charge": "1"})).payment_intent
    heard.clear()
    return made.id


@pytest.fixture
def waiting(api, saved, intent, heard):
    """Minji was sent to her issuer and has decided nothing yet."""
    api.payment_intents.confirm(intent, here(saved))
    heard.clear()
    return intent


# --- while the customer is away ---------------------------------------------------------------------


def test_the_same_payment_intent_is_paid_by_another_try(api, saved, intent, heard):
    before = api.payment_intents.retrieve(intent)

    paid = api.payment_intents.confirm(intent, away(saved))

    assert (paid.id, paid.status, paid.amount_received) == (intent, "succeeded", 12_900)
    assert (paid.last_payment_error, paid.payment_method) == (None, saved.card)
    assert paid.metadata.to_dict() == {"charge": "1"}
    assert paid.latest_charge != before.latest_charge
    assert types_of(heard) == ["charge.succeeded", "payment_intent.succeeded"]
    assert len(api.payment_intents.list().data) == 1
    statuses = [charge.status for charge in api.charges.list({"payment_intent": intent})]
    assert statuses == ["succeeded", "failed"]


def test_declined_again(api, saved, intent, heard):
    control.decline_next("lost_card")

    error = declined(api.payment_intents.confirm, intent, away(saved))

    assert (error.code, error.decline_code, error.payment_intent.id) == ("card_declined", "lost_card", intent)
    found = api.payment_intents.retrieve(intent)
    assert (found.status, found.last_payment_error.decline_code) == ("requires_payment_method", "lost_card")
    assert found.latest_charge == error.charge
    assert types_of(heard) == ["charge.failed", "payment_intent.payment_failed"]


def test_the_customer_is_needed_after_all(api, saved, intent):
    control.require_action_next()

    error = declined(api.payment_intents.confirm, intent, away(saved))

    assert (error.code, error.payment_intent.status) == ("authentication_required", "requires_payment_method")


def test_another_try_may_take_its_time(api, saved, intent, heard):
    control.processing_next()

    assert api.payment_intents.confirm(intent, away(saved)).last_payment_error is None
    assert types_of(heard) == ["charge.pending", "payment_intent.processing"]
    assert control.settle(intent)["status"] == "succeeded"


def test_a_repeat_under_the_same_key_is_the_same_try(api, saved, intent):
    key = {"idempotency_key": "try-2"}
    control.decline_next("lost_card")
    for _ in range(2):
        assert declined(api.payment_intents.confirm, intent, away(saved), key).decline_code == "lost_card"

    assert len(api.charges.list({"payment_intent": intent}).data) == 2
    with pytest.raises(stripe.IdempotencyError):
        api.payment_intents.confirm(intent, here(saved), key)


def test_another_card_of_hers(api, saved, intent):
    session = api.checkout.sessions.create(session_params(SimpleNamespace(id=saved.customer)))
    control.authorise(session.id, "bc", "9876")
    other = api.customers.payment_methods.list(saved.customer).data[0].id

    paid = api.payment_intents.confirm(intent, away(saved, payment_method=other, expand=["latest_charge"]))

    assert paid.payment_method == other != saved.card
    assert paid.latest_charge.payment_method_details.kr_card.last4 == "9876"


def test_an_unconfirmed_payment_intent_has_its_card(api, saved):
    params = charge_params(saved)
    del params["confirm"], params["off_session"]
    made = api.payment_intents.create(params)

    paid = api.payment_intents.confirm(made.id, {"off_session": True, "receipt_email": "minji@example.com"})

    assert (paid.status, paid.payment_method, paid.receipt_email) == ("succeeded", saved.card, "minji@example.com")


# --- with the customer's help -----------------------------------------------------------------------


def test_the_customer_is_sent_to_the_issuer(api, saved, intent, heard):
    waiting = api.payment_intents.confirm(intent, here(saved))

    assert (waiting.id, waiting.status, waiting.amount_received) == (intent, "requires_action", 0)
    assert (waiting.next_action.type, waiting.last_payment_error) == ("redirect_to_url", None)
    redirect = waiting.next_action.redirect_to_url
    assert redirect.return_url == RETURN_URL
    assert redirect.url.startswith("http://127.0.0.1:8000/stripe-sandbox/pay/")
    assert types_of(heard) == ["payment_intent.requires_action"]
    assert [charge.status for charge in api.charges.list({"payment_intent": intent})] == ["failed"]


def test_the_hosted_page_may_be_elsewhere(api, saved, intent):
    control.set_pages_at("http://127.0.0.1:9000")

    action = api.payment_intents.confirm(intent, here(saved)).next_action

    assert action.redirect_to_url.url.startswith("http://127.0.0.1:9000/stripe-sandbox/pay/")


def test_the_customer_authorises(api, waiting, heard):
    control.finish_payment(waiting)

    paid = api.payment_intents.retrieve(waiting, {"expand": ["latest_charge"]})
    assert (paid.status, paid.amount_received, paid.next_action) == ("succeeded", 12_900, None)
    assert (paid.latest_charge.status, paid.latest_charge.paid) == ("succeeded", True)
    assert types_of(heard) == ["charge.succeeded", "payment_intent.succeeded"]
    with pytest.raises(SandboxError, match="does not wait"):
        control.finish_payment(waiting)


def test_the_customer_fails(api, saved, waiting, heard):
    before = api.payment_intents.retrieve(waiting).latest_charge

    control.finish_payment(waiting, succeeded=False)

    found = api.payment_intents.retrieve(waiting)
    assert (found.status, found.next_action, found.payment_method) == ("requires_payment_method", None, None)
    assert found.last_payment_error.code == "payment_intent_authentication_failure"
    assert found.last_payment_error.payment_method.id == saved.card
    assert found.latest_charge == before
    assert types_of(heard) == ["payment_intent.payment_failed"]
    assert api.payment_intents.confirm(waiting, here(saved)).status == "requires_action"


def test_what_could_not_be_charged_without_her_she_finishes(api, saved):
    control.require_action_next()
    intent = declined(api.payment_intents.create, charge_params(saved)).payment_intent.id

    api.payment_intents.confirm(intent, here(saved))
    control.finish_payment(intent)

    assert api.payment_intents.retrieve(intent).status == "succeeded"


def test_her_answer_is_hers_and_what_comes_next_still_comes(api, saved, intent):
    control.decline_next("lost_card")
    api.payment_intents.confirm(intent, here(saved))

    assert control.finish_payment(intent)["status"] == "succeeded"
    assert declined(api.payment_intents.create, charge_params(saved)).decline_code == "lost_card"


def test_she_may_be_sent_once_more_and_pays_once(api, saved, waiting):
    again = api.payment_intents.confirm(waiting, here(saved, return_url="http://127.0.0.1:8000/other/"))

    assert again.next_action.redirect_to_url.return_url == "http://127.0.0.1:8000/other/"
    assert api.payment_intents.confirm(waiting, away(saved)).next_action is None
    with pytest.raises(SandboxError, match="does not wait"):
        control.finish_payment(waiting)


def test_who_cannot_send_her_anywhere_says_so(api, saved, intent):
    error = declined(api.payment_intents.confirm, intent, here(saved, error_on_requires_action=True))

    assert (error.code, error.payment_intent.status) == ("authentication_required", "requires_payment_method")


def test_an_ordinary_card_is_sent_too(api, saved):
    session = api.checkout.sessions.create(session_params(SimpleNamespace(id=saved.customer)))
    control.authorise(session.id, type="card")
    visa = api.customers.payment_methods.list(saved.customer, {"type": "card"}).data[0].id
    intent = api.payment_intents.create({"amount": 100, "currency": "krw", "customer": saved.customer})

    api.payment_intents.confirm(intent.id, here(saved, payment_method=visa))

    assert control.finish_payment(intent.id)["status"] == "succeeded"


def test_the_card_she_removed_meanwhile_does_not_stop_her(api, saved, waiting):
    api.payment_methods.detach(saved.card)

    paid = control.finish_payment(waiting)

    charge = api.charges.retrieve(paid["latest_charge"])
    assert charge.payment_method_details.kr_card.buyer_id == f"sandbox_{saved.customer}"


# --- what is refused --------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["succeeded", "canceled", "processing"])
@pytest.mark.parametrize("how", [away, here])
def test_what_is_over_is_not_confirmed(api, saved, intent, heard, end, how):
    if end == "canceled":
        api.payment_intents.cancel(intent)
    else:
        if end == "processing":
            control.processing_next()
        api.payment_intents.confirm(intent, away(saved))
    heard.clear()

    error = refused(api.payment_intents.confirm, intent, how(saved))

    assert (error.code, error.payment_intent.id) == ("payment_intent_unexpected_state", intent)
    assert error.payment_intent.status == end
    assert heard == []


@pytest.mark.parametrize("how", [away, here])
@pytest.mark.parametrize(
    ("lose", "code"),
    [
        (control.detach, "payment_method_unexpected_state"),
        (control.deactivate_mandate, "payment_intent_mandate_invalid"),
    ],
)
def test_a_card_that_was_lost_meanwhile(api, saved, intent, lose, code, how):
    lose(saved.card)
    before = api.payment_intents.retrieve(intent).to_dict()

    assert refused(api.payment_intents.confirm, intent, how(saved)).code == code
    assert api.payment_intents.retrieve(intent).to_dict() == before


@pytest.mark.parametrize(
    ("change", "code", "param"),
    [
        ({"payment_method": "pm_nothing"}, "resource_missing", "payment_method"),
        ({"payment_method": None}, "payment_intent_unexpected_state", None),
        ({"mandate": "mandate_nothing"}, "resource_missing", "mandate"),
        ({"off_session": False}, "parameter_missing", "return_url"),
        ({"off_session": "perhaps"}, None, "off_session"),
        ({"return_url": RETURN_URL}, None, "return_url"),
        ({"off_session": None, "return_url": "shop"}, "url_invalid", "return_url"),
        ({"capture_method": "manual"}, None, "capture_method"),
        ({"allowed_payment_method_types": ["card"]}, "payment_intent_incompatible_payment_method", "payment_method"),
        ({"payment_method_types": ["kr_card"]}, "payment_method_types_no_longer_supported", "payment_method_types"),
        ({"amount": 100}, "parameter_unknown", "amount"),
        ({"metadata": {"a": "b"}}, "parameter_unknown", "metadata"),
        ({"confirm": True}, "parameter_unknown", "confirm"),
    ],
)
def test_a_wrong_confirmation_is_refused(api, saved, intent, change, code, param):
    params = {name: value for name, value in away(saved, **change).items() if value is not None}

    error = refused(api.payment_intents.confirm, intent, params)

    assert (getattr(error, "code", None), getattr(error, "param", None)) == (code, param)
    assert api.payment_intents.retrieve(intent).status == "requires_payment_method"


def test_somebody_elses_card_cannot_be_taken(api, saved, intent):
    session = api.checkout.sessions.create(session_params(api.customers.create({"name": "박서준"})))
    control.authorise(session.id)
    done = api.checkout.sessions.retrieve(session.id, {"expand": ["setup_intent"]})

    error = refused(api.payment_intents.confirm, intent, away(saved, payment_method=done.setup_intent.payment_method))

    assert (error.code, error.param) == ("resource_missing", "payment_method")


def test_who_is_gone_pays_nothing(api, saved, intent):
    api.customers.delete(saved.customer)

    assert refused(api.payment_intents.confirm, intent, away(saved)).code == "resource_missing"


def test_what_does_not_exist(api, saved):
    with pytest.raises(stripe.InvalidRequestError) as missing:
        api.payment_intents.confirm("pi_x", away(saved))
    assert missing.value.http_status == 404


def test_the_list_of_types_may_be_said_anew(api, old_api, saved, intent):
    control.decline_next()
    declined(api.payment_intents.confirm, intent, away(saved, allowed_payment_method_types=["card", "kr_card", "blik"]))
    assert api.payment_intents.retrieve(intent).payment_method_types == ["card", "kr_card"]

    paid = old_api.payment_intents.confirm(intent, away(saved, payment_method_types=["kr_card"]))

    assert (paid.status, paid.payment_method_types) == ("succeeded", ["kr_card"])


# --- cancelled --------------------------------------------------------------------------------------


def test_the_shop_does_not_wait_for_ever(api, saved, waiting, heard):
    cancelled = api.payment_intents.cancel(waiting, {"cancellation_reason": "abandoned"})

    assert (cancelled.status, cancelled.next_action) == ("canceled", None)
    assert types_of(heard) == ["payment_intent.canceled"]
    with pytest.raises(SandboxError, match="does not wait"):
        control.finish_payment(waiting)


def test_what_is_processing_cannot_be_cancelled(api, saved, intent):
    control.processing_next()
    api.payment_intents.confirm(intent, away(saved))

    error = refused(api.payment_intents.cancel, intent)

    assert (error.code, error.payment_intent.status) == ("payment_intent_unexpected_state", "processing")


# --- the payment of an invoice ----------------------------------------------------------------------


@pytest.fixture
def incomplete(api, saved, heard):
    """A subscription whose first payment needs the customer, and that payment."""
    price = {"currency": "krw", "unit_amount": 100, "recurring": {"interval": "month"}, "product_data": {"name": "a"}}
    items = [{"price": api.prices.create(price).id}]
    control.require_action_next()
    made = api.subscriptions.create({"customer": saved.customer, "default_payment_method": saved.card, "items": items})
    intent = api.payment_intents.list().data[0].id
    heard.clear()
    return SimpleNamespace(id=made.id, intent=intent)


def test_the_customer_finishes_the_payment_of_an_invoice(api, saved, incomplete, heard):
    api.payment_intents.confirm(incomplete.intent, here(saved))
    assert api.subscriptions.retrieve(incomplete.id).status == "incomplete"

    control.finish_payment(incomplete.intent)

    assert api.subscriptions.retrieve(incomplete.id).status == "active"
    assert "invoice.paid" in types_of(heard)


def test_another_try_at_the_payment_of_an_invoice(api, saved, incomplete, heard):
    control.decline_next()
    declined(api.payment_intents.confirm, incomplete.intent, away(saved))
    assert types_of(heard)[-1] == "invoice.payment_failed"

    api.payment_intents.confirm(incomplete.intent, away(saved))

    assert api.subscriptions.retrieve(incomplete.id).status == "active"
