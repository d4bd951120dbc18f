"""Who pays: customers from before, customers that move, customers that Stripe has lost, and organisations."""

import pytest
from django.core import mail
from django.test import Client
from django.urls import reverse

from django_krcard import gateway, services
from django_krcard.exceptions import CustomerNotLinked
from django_krcard.models import CardSetup, Charge, Consent, Customer, Mandate, Notice
from django_krcard.sandbox import control
from django_krcard.sandbox.models import Resource
from django_krcard.services import customers, mandates, notices, steps
from django_krcard.services.reconcile import reconcile
from tests.factories import UserFactory

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def stripe():
    return gateway.client.client().v1


@pytest.fixture
def unheard():
    """Nobody tells the site what happens at Stripe."""
    control.set_delivery("dropped")


# --- deleted at Stripe ------------------------------------------------------------------------------


def test_whoever_was_deleted_at_stripe_agrees_and_saves_a_card_again(mandate, agree, stripe):
    former = mandate.customer.stripe_id
    stripe.customers.delete(former)

    assert agree().status_code == 303

    setup = CardSetup.objects.order_by("pk").last()
    control.authorise(setup.checkout_session_id)
    customer = Customer.objects.get()
    assert customer.former_stripe_ids == [former]
    assert customer.stripe_id not in (None, former)
    assert stripe.customers.retrieve(customer.stripe_id).metadata["krcard_reference"] == customer.reference
    old, new = Mandate.objects.order_by("pk")
    assert (old.status, new.status) == ("inactive", "active")
    assert services.charge(new, 12_900, reference="again").status == "succeeded"


@pytest.mark.parametrize("lost", ["deleted", "never there"])
def test_a_loss_that_no_message_told_is_noticed_with_the_click(mandate, agree, stripe, unheard, lost):
    """The one page with the button leads to Stripe all the same, with one click."""
    former = mandate.customer.stripe_id
    if lost == "deleted":
        stripe.customers.delete(former)
    else:
        Resource.objects.all().delete()

    response = agree()

    assert (response.status_code, "sandbox" in response.url) == (303, True)
    control.set_delivery("now")
    setup = CardSetup.objects.order_by("pk").last()
    control.authorise(setup.checkout_session_id)
    mandate.refresh_from_db()
    assert (mandate.status, mandate.end_reason) == ("inactive", "the customer was deleted at Stripe")
    setup.refresh_from_db()
    assert setup.mandate.status == "active"
    assert setup.mandate.consent == Consent.objects.order_by("pk").last()
    assert services.active_mandate(mandate.customer.user, "membership") == setup.mandate
    assert services.can_charge(mandate, 12_900).code == "mandate_not_active"


def test_a_first_try_is_not_lost_either(agree, stripe, unheard, user):
    customer = services.get_or_create_customer(user)
    stripe.customers.delete(services.ensure_at_stripe(customer))

    assert agree().status_code == 303

    assert Consent.objects.count() == 1
    assert Mandate.objects.get(status="pending") == CardSetup.objects.get().mandate


def test_the_key_of_another_account_ends_nothing(mandate, stripe, settings, monkeypatch):
    Resource.objects.filter(kind="customer").delete()
    Customer.objects.update(livemode=True)
    mandate.customer.refresh_from_db()

    assert customers.is_gone(mandate.customer) is False

    Mandate.objects.update(status="inactive")
    assert customers.is_gone(mandate.customer) is True


def test_a_late_message_about_the_former_customer_does_not_touch_the_new_one(mandate, agree, stripe):
    control.set_delivery("held")
    stripe.customers.delete(mandate.customer.stripe_id)
    agree()
    present = Customer.objects.get().stripe_id

    control.deliver()
    mandates.customer_deleted(mandate.customer)

    assert Customer.objects.get().stripe_id == present
    assert Mandate.objects.filter(status="pending").count() == 1


def test_a_payment_of_the_former_customer_still_follows(mandate, stripe):
    charge = services.charge(mandate, 12_900, reference="2026-11")
    stripe.customers.delete(mandate.customer.stripe_id)

    refund = services.refund(charge, 1_000, reference="r")

    assert refund.status == "succeeded"
    charge.refresh_from_db()
    assert charge.refunded_amount == 1_000


def test_an_unknown_charge_of_the_former_customer_is_found(mandate, stripe):
    charge = services.charge(mandate, 12_900, reference="2026-11")
    stripe.customers.delete(mandate.customer.stripe_id)
    charge = Charge.objects.get()
    assert charge.mandate.customer.former_stripe_ids

    found = list(steps._payments_of(charge, charge.first_sent_at))

    assert [intent.amount for intent in found] == [12_900]


# --- linked -------------------------------------------------------------------------------------------


def test_a_customer_from_before_is_linked_and_may_not_be_charged_before_agreeing(user, agree, stripe):
    theirs = stripe.customers.create({"name": "김민지"}).id

    customer = services.link_customer(user, theirs)

    assert (customer.user, customer.stripe_id) == (user, theirs)
    assert services.link_customer(user, theirs) == customer
    assert services.active_mandate(user, "membership") is None
    agree()
    session = stripe.checkout.sessions.retrieve(CardSetup.objects.get().checkout_session_id)
    assert session.customer == theirs


def test_an_organisation_is_linked_by_its_reference(stripe):
    theirs = stripe.customers.create({}).id
    assert services.link_customer("org-7", theirs).reference == "org-7"


def test_what_is_not_theirs_is_not_linked(user, stripe):
    theirs, other = (stripe.customers.create({"name": name}).id for name in "ab")
    services.link_customer(user, theirs)

    with pytest.raises(CustomerNotLinked, match="somebody else's"):
        services.link_customer(UserFactory(), theirs)
    with pytest.raises(CustomerNotLinked, match="already"):
        services.link_customer(user, other)
    with pytest.raises(CustomerNotLinked, match="no customer"):
        services.link_customer(UserFactory(), "cus_unknown")
    stripe.customers.delete(other)
    with pytest.raises(CustomerNotLinked, match="deleted"):
        services.link_customer(UserFactory(), other)
    assert Customer.objects.exclude(stripe_id=None).count() == 1


def test_a_live_customer_is_not_linked_in_test_mode(user, stripe):
    theirs = stripe.customers.create({}).id
    row = Resource.objects.get(stripe_id=theirs)
    row.body["livemode"] = True
    row.save()
    with pytest.raises(CustomerNotLinked, match="other mode"):
        services.link_customer(user, theirs)


# --- addresses ----------------------------------------------------------------------------------------


def test_a_new_address_is_ours_at_once_and_stripes_when_the_site_says_so(mandate, stripe, user):
    there = stripe.customers.retrieve(mandate.customer.stripe_id)
    assert there.email == user.email
    addresses = ["new@example.com", "newer@example.com", "new@example.com"]
    for address in addresses:
        user.email = address
        user.save()
        customer = Customer.objects.get()
        services.update_customer(customer)
        assert stripe.customers.retrieve(customer.stripe_id).email == address

    stripe.customers.update(customer.stripe_id, {"email": "dashboard@example.com"})
    mail.outbox.clear()
    services.charge(mandate, 12_900, reference="2026-11")
    assert {tuple(each.to) for each in mail.outbox} == {("new@example.com",)}


def test_an_organisation_is_told_by_what_is_given(stripe):
    customer = services.get_or_create_customer(reference="org-7")
    services.update_customer(customer, email="pay@org.example")
    assert not Resource.objects.exists()
    services.ensure_at_stripe(customer)
    services.update_customer(customer, email="pay@org.example", name="한강 상사")
    there = stripe.customers.retrieve(customer.stripe_id)
    assert (there.email, there.name) == ("pay@org.example", "한강 상사")


def test_a_notice_that_waited_goes_to_where_the_customer_is_now(mandate, user):
    with notices.postponed():
        services.charge(mandate, 12_900, reference="2026-11")
    user.email = "moved@example.com"
    user.save()
    mail.outbox.clear()
    notices.deliver_due()
    assert {tuple(each.to) for each in mail.outbox} == {("moved@example.com",)}
    assert Notice.objects.filter(kind="charge_succeeded", address="moved@example.com").exists()


# --- an organisation ------------------------------------------------------------------------------------


def hangang(request):
    """The site's own word: people at hangang.example pay with their company's card."""
    if request.user.email.endswith("@hangang.example"):
        return services.get_or_create_customer(reference="org-hangang")
    return None


@pytest.fixture
def members(settings):
    settings.KRCARD_GET_CUSTOMER = "tests.test_customers.hangang"
    clients = []
    for name in ("boss", "clerk"):
        client = Client()
        client.force_login(UserFactory(username=name, email=f"{name}@hangang.example"))
        clients.append(client)
    return clients


def test_members_see_and_end_what_one_of_them_agreed_to_for_the_organisation(members, minji, agree):
    boss, clerk = members
    assert agree(boss).status_code == 303
    setup = CardSetup.objects.get()
    control.authorise(setup.checkout_session_id)
    mandate = Mandate.objects.get()
    assert (mandate.customer.reference, mandate.customer.user) == ("org-hangang", None)
    charge = services.charge(mandate, 12_900, reference="2026-11")

    pages = [
        reverse("krcard:success", args=[setup.public_id]),
        reverse("krcard:mandate", args=[mandate.public_id]),
        reverse("krcard:charge", args=[charge.public_id]),
    ]
    for page in pages:
        assert clerk.get(page).status_code == 200
        assert minji.get(page).status_code == 404
    assert mandate.reference in clerk.get(reverse("krcard:cards")).content.decode()
    assert mandate.reference not in minji.get(reverse("krcard:cards")).content.decode()
    assert clerk.get(pages[0]).context["mandate"] == mandate
    assert services.active_mandate(mandate.customer, "membership") == mandate

    revoke = reverse("krcard:revoke", args=[mandate.public_id])
    assert minji.post(revoke).status_code == 404
    assert clerk.post(revoke).status_code == 302
    mandate.refresh_from_db()
    assert mandate.status == "revoked"


def test_what_a_member_had_before_is_not_the_organisations(members, minji, mandate, user):
    boss, _clerk = members
    assert boss.get(reverse("krcard:mandate", args=[mandate.public_id])).status_code == 404
    assert minji.get(reverse("krcard:mandate", args=[mandate.public_id])).status_code == 200
    user.email = "minji@hangang.example"
    user.save()
    assert minji.get(reverse("krcard:mandate", args=[mandate.public_id])).status_code == 404


def test_a_result_page_without_a_login_asks_for_no_organisation(members, agree):
    agree(members[0])
    page = reverse("krcard:success", args=[CardSetup.objects.get().public_id])
    assert Client().get(page).status_code == 200


# --- doubles --------------------------------------------------------------------------------------------


def test_a_second_customer_of_the_same_person_is_reported_and_left(mandate, stripe):
    ours = mandate.customer
    names = {"krcard_customer": str(ours.public_id), "krcard_reference": ours.reference}
    double = stripe.customers.create({"metadata": names}).id
    stripe.customers.create({"metadata": {"krcard_customer": "not one of ours"}})
    stripe.customers.create({})

    found = [each for each in reconcile(fix=True) if each.kind == "double_customer"]

    assert [(each.reference, each.stripe_id, each.fixed) for each in found] == [(ours.stripe_id, double, False)]
    stripe.customers.delete(double)
    assert [each for each in reconcile() if each.kind == "double_customer"] == []


def test_a_customer_who_was_replaced_is_no_double(mandate):
    Customer.objects.update(former_stripe_ids=[mandate.customer.stripe_id], stripe_id=None)
    services.ensure_at_stripe(Customer.objects.get())
    assert [each for each in reconcile() if each.kind == "double_customer"] == []
