import pytest
import stripe

from django_krcard.sandbox import control

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


def test_a_detached_card_is_no_default_any_more(api, saved, heard):
    api.customers.update(saved.customer, {"invoice_settings": {"default_payment_method": saved.card}})
    heard.clear()

    api.payment_methods.detach(saved.card)

    assert api.customers.retrieve(saved.customer).invoice_settings.default_payment_method is None
    told = heard[-1]
    assert [event["type"] for event in heard] == ["mandate.updated", "payment_method.detached", "customer.updated"]
    assert told["data"]["previous_attributes"]["invoice_settings"]["default_payment_method"] == saved.card
    assert told["data"]["object"]["name"] == "김민지"


def test_another_card_stays_the_default(api, saved, customer, heard):
    other = api.checkout.sessions.create(session_params(customer)).id
    control.authorise(other)
    [default] = {card.id for card in api.customers.payment_methods.list(customer.id)} - {saved.card}
    api.customers.update(customer.id, {"invoice_settings": {"default_payment_method": default}})
    heard.clear()

    api.payment_methods.detach(saved.card)

    assert api.customers.retrieve(customer.id).invoice_settings.default_payment_method == default
    assert "customer.updated" not in [event["type"] for event in heard]
