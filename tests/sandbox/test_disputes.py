from datetime import timedelta

import pytest
import stripe

from django_krcard.sandbox import control
from django_krcard.sandbox.errors import SandboxError

from .conftest import charge_params, types_of


@pytest.fixture
def paid(api, saved):
    return api.payment_intents.create(charge_params(saved, 10_000))


@pytest.fixture
def dispute(api, paid, heard):
    heard.clear()
    return api.disputes.retrieve(control.dispute(paid.id, "subscription_canceled")["id"])


def test_a_customer_disputes(api, paid, dispute, heard):
    assert (dispute.status, dispute.reason, dispute.amount) == ("needs_response", "subscription_canceled", 10_000)
    assert dispute.evidence_details.due_by == dispute.created + timedelta(days=7).total_seconds()
    assert types_of(heard) == ["charge.updated", "charge.dispute.created", "charge.dispute.funds_withdrawn"]
    assert api.charges.retrieve(paid.latest_charge).disputed is True
    assert [each.id for each in api.disputes.list({"payment_intent": paid.id})] == [dispute.id]
    with pytest.raises(stripe.InvalidRequestError) as refused:
        api.refunds.create({"payment_intent": paid.id})
    assert refused.value.code == "charge_disputed"
    with pytest.raises(SandboxError, match="disputed already"):
        control.dispute(paid.id)


def test_what_is_left_of_a_refunded_charge_is_disputed(api, paid):
    api.refunds.create({"payment_intent": paid.id, "amount": 4_000})

    assert control.dispute(paid.id)["amount"] == 6_000


def test_disputes_of_one_payment_are_listed(api, saved, dispute, paid):
    other = api.payment_intents.create(charge_params(saved))
    of_other = control.dispute(other.id)["id"]

    page = api.disputes.list({"payment_intent": other.id, "limit": 1})

    assert ([each.id for each in page.data], page.has_more) == ([of_other], False)
    everything = api.disputes.list({"limit": 1})
    assert [each.id for each in everything.auto_paging_iter()] == [of_other, dispute.id]


def test_the_shop_answers_once(api, dispute, heard):
    draft = api.disputes.update(dispute.id, {"evidence": {"customer_name": "김민지"}, "submit": False})
    assert (draft.status, draft.evidence_details.has_evidence) == ("needs_response", True)

    sent = api.disputes.update(dispute.id, {"evidence": {"uncategorized_text": "She agreed on 2 May."}})

    assert (sent.status, sent.evidence.customer_name) == ("under_review", "김민지")
    assert types_of(heard)[-1] == "charge.dispute.updated"
    with pytest.raises(stripe.InvalidRequestError, match="already submitted"):
        api.disputes.update(dispute.id, {"evidence": {"uncategorized_text": "And on 3 May."}})


@pytest.mark.parametrize(
    ("won", "status", "news"),
    [
        (True, "won", ["charge.dispute.funds_reinstated", "charge.dispute.closed"]),
        (False, "lost", ["charge.dispute.closed"]),
    ],
)
def test_the_issuer_decides(api, dispute, heard, won, status, news):
    heard.clear()
    control.close_dispute(dispute.id, won=won)

    assert api.disputes.retrieve(dispute.id).status == status
    assert types_of(heard) == news
    with pytest.raises(SandboxError, match="no open dispute"):
        control.close_dispute(dispute.id, won=won)
    with pytest.raises(stripe.InvalidRequestError, match="already closed"):
        api.disputes.update(dispute.id, {"evidence": {"customer_name": "a"}})


def test_the_shop_gives_in(api, dispute, heard):
    assert api.disputes.close(dispute.id).status == "lost"
    assert types_of(heard)[-1] == "charge.dispute.closed"
    with pytest.raises(stripe.InvalidRequestError):
        api.disputes.close(dispute.id)


def test_what_cannot_be_disputed(api, paid):
    with pytest.raises(SandboxError, match="reason"):
        control.dispute(paid.id, "boredom")
    with pytest.raises(SandboxError, match="succeeded"):
        control.dispute("pi_nothing")
    api.refunds.create({"payment_intent": paid.id})
    with pytest.raises(SandboxError, match="refunded already"):
        control.dispute(paid.id)
