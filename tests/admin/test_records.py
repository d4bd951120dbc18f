"""Who may do what, the lists, and the records that stay as they are."""

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from django_krcard import services
from django_krcard.models import Charge, Consent, Customer, Event, Mandate
from tests.admin.pages import act, page
from tests.factories import UserFactory

pytestmark = pytest.mark.django_db(transaction=True)

ACTS = ["charge", "hold", "end", "compare"]
RECORDS = ["mandate", "consent", "charge", "cardsetup", "paymentmethod", "customer", "event"]


# --- who may do what -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ACTS)
def test_looking_is_not_acting(staff, mandate, name):
    reviewer = staff("view_mandate")

    text = reviewer.get(page(mandate)).text
    assert page(mandate, name) not in text
    assert reviewer.get(page(mandate, name)).status_code == 403
    assert reviewer.post(page(mandate, name), {"reason": "x", "amount": 12_900}).status_code == 403
    assert not Charge.objects.exists()
    assert Mandate.objects.get().status == "active"


def test_a_permission_opens_its_own_acts_only(staff, mandate):
    reviewer = staff("view_mandate", "charge_mandate")
    assert reviewer.get(page(mandate, "charge"), follow=True).status_code == 200
    assert reviewer.get(page(mandate, "end")).status_code == 403


def test_acting_needs_the_right_to_look_and_a_login(staff, mandate):
    assert staff("charge_mandate").get(page(mandate, "charge")).status_code == 403
    assert Client().get(page(mandate, "charge")).status_code == 302


@pytest.mark.parametrize("model", RECORDS)
def test_records_are_not_made_changed_or_removed_by_hand(boss, mandate, model):
    services.charge(mandate, 12_900, reference="2026-11")
    rows = {row._meta.model_name: row for row in (mandate, mandate.consent, mandate.payment_method, mandate.customer)}
    rows |= {row._meta.model_name: row for row in (*mandate.charges.all(), *mandate.setups.all(), *Event.objects.all())}
    row = rows[model]

    assert boss.get(page(row)).status_code == 200
    assert boss.post(page(row), {}).status_code == 403
    assert boss.post(page(row, "delete"), {"post": "yes"}).status_code == 403
    assert boss.get(reverse(f"admin:krcard_{model}_add")).status_code == 403
    assert "delete_selected" not in boss.get(reverse(f"admin:krcard_{model}_changelist")).text


# --- lists ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["mandate", "consent", "charge", "cardsetup", "paymentmethod", "customer"])
def test_a_longer_list_asks_no_more_questions(boss, save_card, membership, model):
    def questions():
        with CaptureQueriesContext(connection) as queries:
            assert boss.get(reverse(f"admin:krcard_{model}_changelist")).status_code == 200
        return len(queries)

    def someone_pays():
        customer = services.get_or_create_customer(UserFactory())
        services.charge(save_card(membership, customer=customer), 12_900, reference="2026-11")

    someone_pays()
    before = questions()
    for _each in range(3):
        someone_pays()
    assert questions() == before


def test_a_mandate_is_found_by_what_a_caller_can_tell(boss, mandate, user):
    url = reverse("admin:krcard_mandate_changelist")
    for told in (
        mandate.reference,
        str(mandate.public_id),
        mandate.stripe_id,
        mandate.customer.stripe_id,
        mandate.payment_method.stripe_id,
        user.email,
        "1234",
    ):
        assert mandate.reference in boss.get(url, {"q": told}).text, told
    assert mandate.reference not in boss.get(url, {"q": "nobody"}).text


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"mode": "test"}, True),
        ({"mode": "live"}, False),
        ({"brand": "shinhan"}, True),
        ({"brand": "lotte"}, False),
        ({"status__exact": "active"}, True),
        ({"status__exact": "revoked"}, False),
    ],
)
def test_filters(boss, mandate, query, found):
    assert (page(mandate) in boss.get(reverse("admin:krcard_mandate_changelist"), query).text) is found


# --- events --------------------------------------------------------------------------------------


def test_an_event_is_processed_again(boss, mandate):
    event = Event.objects.filter(status="done").first()
    assert "Processed: done." in act(boss, event, "replay").text
    event.refresh_from_db()
    assert event.attempts == 2

    answer = boss.post(
        reverse("admin:krcard_event_changelist"),
        {"action": "process_again", "_selected_action": [event.pk]},
        follow=True,
    )
    assert "1 of 1 event processed." in answer.text


def test_processing_again_needs_its_permission(staff, mandate):
    event, reviewer = Event.objects.first(), staff("view_event")

    assert reviewer.get(page(event, "replay")).status_code == 403
    assert "process_again" not in reviewer.get(reverse("admin:krcard_event_changelist")).text


def test_the_page_of_an_event_keeps_its_secrets(boss, mandate):
    Event.objects.update(body=b'{"client_secret": "seti_1_secret_2"}')

    assert "secret_2" not in boss.get(page(Event.objects.first())).text


def test_a_customer_shows_the_mandates(boss, mandate):
    assert mandate.reference in boss.get(page(Customer.objects.get())).text
    assert str(Consent.objects.get().public_id) in boss.get(page(Consent.objects.get())).text
