"""A platform's site that acts for one connected account."""

import json

import pytest
from django.urls import reverse

from django_krcard import gateway, services
from django_krcard.checks import check_get_customer, check_stripe_account
from django_krcard.models import CardSetup, Charge, Customer, Event, Mandate
from django_krcard.sandbox import control
from django_krcard.sandbox.models import Event as SandboxEvent
from django_krcard.sandbox.models import Resource
from django_krcard.testing.assertions import assert_refused
from django_krcard.webhooks import missed
from tests.factories import PublishedTerms

pytestmark = pytest.mark.django_db(transaction=True)

ACCOUNT = "acct_hangang"


@pytest.fixture
def connected(settings):
    settings.KRCARD_STRIPE_ACCOUNT = ACCOUNT
    return settings


@pytest.mark.parametrize("format", ["snapshot", "thin"])
def test_a_card_is_saved_charged_and_paid_back_at_the_connected_account(connected, agree, format):
    control.set_event_format(format)
    agree()
    control.authorise(CardSetup.objects.get().checkout_session_id)
    # By the message alone: nobody has come back.
    mandate = Mandate.objects.get()
    assert (mandate.status, mandate.customer.account) == ("active", ACCOUNT)
    charge = services.charge(mandate, 12_900, reference="2026-11")
    assert charge.status == "succeeded"
    assert services.refund(charge, 1_000, reference="r").status == "succeeded"

    assert set(Resource.objects.values_list("account", flat=True)) == {ACCOUNT}
    assert set(Event.objects.values_list("account", "status")) <= {(ACCOUNT, "done"), (ACCOUNT, "ignored")}
    assert Event.objects.filter(type="checkout.session.completed", status="done").exists()


def test_messages_of_other_accounts_are_kept_and_not_applied(connected, mandate, krcard_events):
    card = {"id": mandate.payment_method.stripe_id, "object": "payment_method"}
    for account in ({"account": None}, {"account": "acct_other"}):
        krcard_events.post("payment_method.detached", card, **account)
    assert (
        list(Event.objects.filter(type="payment_method.detached").values_list("status", flat=True)) == ["foreign"] * 2
    )


def test_without_an_account_those_of_connected_ones_are_foreign(mandate, krcard_events):
    krcard_events.post("mandate.updated", {"id": mandate.stripe_id, "object": "mandate"}, account=ACCOUNT)
    assert Event.objects.get(account=ACCOUNT).status == "foreign"


def test_what_was_agreed_under_another_account_is_refused_and_left_alone(settings, mandate, user):
    scheduled = services.charge(mandate, 12_900, reference="before")
    settings.KRCARD_STRIPE_ACCOUNT = ACCOUNT

    assert_refused("mode_mismatch", services.charge, mandate, 12_900, reference="after")
    with pytest.raises(services.refunds.RefundRefused) as refused:
        services.refund(scheduled, 1_000, reference="r")
    assert refused.value.code == "mode_mismatch"
    assert services.active_mandate(user, "membership") is None
    Charge.objects.update(status="unknown", next_step_at="2026-01-01T00:00Z")
    list(services.run_due())
    assert Charge.objects.get(reference="before").status == "unknown"

    there = services.get_or_create_customer(user)
    assert there != mandate.customer
    assert (there.reference, there.account) == (mandate.customer.reference, ACCOUNT)


def test_the_same_person_may_be_customer_of_both(settings, save_card, user):
    terms = PublishedTerms()
    here = save_card(terms)
    settings.KRCARD_STRIPE_ACCOUNT = ACCOUNT
    there = save_card(terms, customer=services.get_or_create_customer(user))
    assert here.customer.stripe_id != there.customer.stripe_id
    assert services.charge(there, 12_900, reference="a").status == "succeeded"
    assert {row.account for row in Customer.objects.all()} == {"", ACCOUNT}


def test_an_account_does_not_see_what_another_one_has(settings, mandate):
    settings.KRCARD_STRIPE_ACCOUNT = ACCOUNT
    stripe = gateway.client.client().v1
    assert stripe.customers.list().data == []
    with pytest.raises(gateway.client.StripeRefusedRequest):
        gateway.retrieve_customer(mandate.customer.stripe_id)


def test_the_keys_own_account_may_be_named_too(settings, mandate):
    settings.KRCARD_STRIPE_ACCOUNT = "acct_sandbox_1"
    assert gateway.retrieve_customer(mandate.customer.stripe_id).id == mandate.customer.stripe_id


def test_messages_that_never_came_are_read_from_the_account(connected, mandate):
    control.set_delivery("dropped")
    control.detach(mandate.payment_method.stripe_id)
    event = SandboxEvent.objects.filter(type="payment_method.detached").last()
    assert json.loads(event.raw)["account"] == ACCOUNT

    list(missed.read())

    mandate.payment_method.refresh_from_db()
    assert mandate.payment_method.detached_at
    assert Event.objects.get(stripe_id=event.stripe_id).status == "done"


def test_a_header_that_is_no_account_is_refused(connected):
    connected.KRCARD_STRIPE_ACCOUNT = "hangang"
    with pytest.raises(gateway.client.StripeRefusedKey):
        gateway.create_customer({}, key="k")


@pytest.mark.parametrize(("value", "found"), [("", 0), (None, 0), (ACCOUNT, 0), ("hangang", 1), (["acct_1"], 1)])
def test_the_account_is_checked(settings, value, found):
    settings.KRCARD_STRIPE_ACCOUNT = value
    assert [each.id for each in check_stripe_account()] == ["krcard.E024"] * found


def test_who_pays_is_checked(settings):
    assert check_get_customer() == []
    settings.KRCARD_GET_CUSTOMER = "tests.test_connect.nobody"
    assert [each.id for each in check_get_customer()] == ["krcard.E023"]
    settings.KRCARD_GET_CUSTOMER = "tests.test_customers.hangang"
    assert check_get_customer() == []


def test_the_pages_work_as_before(connected, minji, mandate):
    assert mandate.reference in minji.get(reverse("krcard:cards")).content.decode()
