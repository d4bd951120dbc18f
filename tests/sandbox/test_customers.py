import pytest
import stripe

from .conftest import charge_params, session_params


def test_a_default_card_is_remembered(api, saved, heard):
    api.customers.update(saved.customer, {"invoice_settings": {"default_payment_method": saved.card}})

    found = api.customers.retrieve(saved.customer, {"expand": ["invoice_settings.default_payment_method"]})
    assert found.invoice_settings.default_payment_method.kr_card.last4 == "1234"
    [message] = heard
    assert message["type"] == "customer.updated"
    assert message["data"]["previous_attributes"].keys() == {"invoice_settings"}


def test_a_deleted_customer_takes_everything_along(api, saved, heard):
    gone = api.customers.delete(saved.customer)

    assert gone.deleted is True
    assert [event["type"] for event in heard] == ["mandate.updated", "payment_method.detached", "customer.deleted"]
    assert heard[-1]["data"]["object"]["name"] == "김민지"
    assert api.customers.retrieve(saved.customer).deleted is True
    assert api.customers.list().data == []
    assert api.payment_methods.retrieve(saved.card).customer is None


def test_a_deleted_customer_is_no_customer(api, saved, customer):
    api.customers.delete(saved.customer)

    for call in (
        lambda: api.customers.update(saved.customer, {"name": "a"}),
        lambda: api.customers.delete(saved.customer),
        lambda: api.customers.payment_methods.list(saved.customer),
        lambda: api.checkout.sessions.create(session_params(customer)),
        lambda: api.payment_intents.create(charge_params(saved)),
    ):
        with pytest.raises(stripe.InvalidRequestError) as refused:
            call()
        assert refused.value.code == "resource_missing"


def test_metadata_has_its_limit_after_merging_too(api):
    made = api.customers.create({"metadata": {f"a{n}": "1" for n in range(30)}})

    with pytest.raises(stripe.InvalidRequestError, match="50 keys"):
        api.customers.update(made.id, {"metadata": {f"b{n}": "1" for n in range(21)}})

    assert api.customers.update(made.id, {"metadata": ""}).metadata.to_dict() == {}
