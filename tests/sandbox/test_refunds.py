from datetime import timedelta

import pytest
import stripe

from django_krcard.sandbox import control
from django_krcard.sandbox.errors import SandboxError

from .conftest import charge_params, types_of


@pytest.fixture
def paid(api, saved, heard):
    intent = api.payment_intents.create(charge_params(saved, 10_000))
    heard.clear()
    return intent


def test_a_refund_in_full(api, paid, heard):
    refund = api.refunds.create({"payment_intent": paid.id, "reason": "requested_by_customer"})

    assert (refund.status, refund.amount, refund.charge) == ("succeeded", 10_000, paid.latest_charge)
    charge = api.charges.retrieve(paid.latest_charge)
    assert (charge.refunded, charge.amount_refunded) == (True, 10_000)
    assert types_of(heard) == ["charge.refunded", "refund.created"]
    assert heard[0]["data"]["previous_attributes"] == {"amount_refunded": 0, "refunded": False}
    assert [each.id for each in api.refunds.list({"payment_intent": paid.id})] == [refund.id]


def test_a_refund_in_parts(api, paid):
    for amount in (3_000, 6_000):
        api.refunds.create({"charge": paid.latest_charge, "amount": amount})
    with pytest.raises(stripe.InvalidRequestError) as refused:
        api.refunds.create({"charge": paid.latest_charge, "amount": 1_001})
    assert refused.value.param == "amount"
    assert api.charges.retrieve(paid.latest_charge).refunded is False

    last = api.refunds.create({"charge": paid.latest_charge})

    assert last.amount == 1_000
    assert api.charges.retrieve(paid.latest_charge).refunded is True
    with pytest.raises(stripe.InvalidRequestError) as refused:
        api.refunds.create({"charge": paid.latest_charge})
    assert refused.value.code == "charge_already_refunded"


@pytest.mark.parametrize(("days", "code"), [(364, None), (366, "charge_not_refundable")])
def test_a_refund_has_a_year(api, paid, days, code):
    control.advance(timedelta(days=days))

    if code is None:
        assert api.refunds.create({"payment_intent": paid.id}).status == "succeeded"
        return
    with pytest.raises(stripe.InvalidRequestError, match="365 days") as refused:
        api.refunds.create({"payment_intent": paid.id})
    assert refused.value.code == code


def test_only_korean_cards_have_that_year(api, customer, session):
    control.authorise(session.id, type="card")
    [visa] = api.customers.payment_methods.list(customer.id)
    params = {"amount": 100, "currency": "krw", "customer": customer.id, "payment_method": visa.id}
    paid = api.payment_intents.create({**params, "off_session": True, "confirm": True})
    control.advance(timedelta(days=366))

    assert api.refunds.create({"payment_intent": paid.id}).status == "succeeded"


def test_refunds_of_one_payment_turn_pages(api, saved, paid):
    other = api.payment_intents.create(charge_params(saved))
    api.refunds.create({"payment_intent": other.id})
    made = [api.refunds.create({"payment_intent": paid.id, "amount": 100 + n}).id for n in range(3)]

    first = api.refunds.list({"payment_intent": paid.id, "limit": 2})

    assert ([each.id for each in first.data], first.has_more) == ([made[2], made[1]], True)
    assert [each.id for each in first.auto_paging_iter()] == made[::-1]


def test_what_was_not_paid_is_not_refunded(api, saved):
    control.decline_next()
    with pytest.raises(stripe.CardError) as declined:
        api.payment_intents.create(charge_params(saved))
    error = declined.value.error

    with pytest.raises(stripe.InvalidRequestError) as refused:
        api.refunds.create({"payment_intent": error.payment_intent.id})
    assert refused.value.code == "payment_intent_unexpected_state"
    with pytest.raises(stripe.InvalidRequestError) as refused:
        api.refunds.create({"charge": error.charge})
    assert refused.value.code == "charge_not_refundable"


def test_a_refund_is_labelled(api, paid, heard):
    refund = api.refunds.create({"payment_intent": paid.id, "metadata": {"why": "late"}})

    api.refunds.update(refund.id, {"metadata": {"who": "staff"}})

    assert api.refunds.retrieve(refund.id).metadata.to_dict() == {"why": "late", "who": "staff"}
    assert types_of(heard)[-1] == "refund.updated"


def test_a_refund_comes_back(api, paid, heard):
    refund = api.refunds.create({"payment_intent": paid.id, "amount": 4_000})

    control.fail_refund(refund.id)

    assert api.refunds.retrieve(refund.id).status == "failed"
    assert api.charges.retrieve(paid.latest_charge).amount_refunded == 0
    assert types_of(heard)[-2:] == ["refund.updated", "refund.failed"]
    with pytest.raises(SandboxError, match="succeeded"):
        control.fail_refund(refund.id)


def test_charges_are_listed(api, saved, paid):
    other = api.payment_intents.create(charge_params(saved))

    assert [each.id for each in api.charges.list({"payment_intent": paid.id})] == [paid.latest_charge]
    assert [each.id for each in api.charges.list({"customer": saved.customer})] == [
        other.latest_charge,
        paid.latest_charge,
    ]
    [found] = api.charges.list({"payment_intent": paid.id, "expand": ["data.payment_intent", "data.customer"]})
    assert (found.payment_intent.amount, found.customer.name) == (10_000, "김민지")
