"""Charging from the page of a mandate, now and later."""

from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.db import connections
from django.urls import reverse
from django.utils import timezone

from django_krcard import services
from django_krcard.models import Charge, Event
from django_krcard.sandbox import control
from tests.admin.pages import act, page
from tests.factories import PublishedTerms, as_used_terms

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def used_by_minji(save_card):
    """An agreement to pay what was used: up to 30,000 won a time, 100,000 a month."""
    return save_card(as_used_terms())


def test_charging_with_a_reason(boss, mandate, ledger):
    answer = act(boss, mandate, "charge", reason="asked by phone")

    charge = Charge.objects.get()
    assert (charge.status, charge.amount, charge.requested_by, charge.reason) == (
        Charge.Status.SUCCEEDED,
        12_900,
        "staff:boss",
        "asked by phone",
    )
    assert len(ledger()) == 1
    assert "₩12,900 charged to Shinhan Card ****-1234." in answer.text
    assert "staff: boss" in answer.text
    assert "asked by phone" in LogEntry.objects.get().change_message


def test_sending_the_same_page_twice_charges_once(boss, used_by_minji, ledger):
    form = boss.get(page(used_by_minji, "charge"), follow=True).context["form"]
    data = {"reference": form["reference"].value(), "amount": 9_000, "reason": "taxi"}
    for _time in range(2):
        boss.post(page(used_by_minji, "charge"), data)
    answer = boss.post(page(used_by_minji, "charge"), data | {"amount": 8_000}, follow=True)

    assert len(ledger()) == Charge.objects.count() == 1
    assert "already used to charge another amount" in answer.text


def test_going_back_finds_the_same_page_and_charges_nothing_anew(boss, used_by_minji, ledger):
    here = boss.get(page(used_by_minji, "charge"))["Location"]
    for _time in range(2):  # the browser asks for the page again when somebody goes back to it
        reference = boss.get(here).context["form"]["reference"].value()
        data = {"reference": reference, "amount": 9_000, "reason": "taxi"}
        answer = boss.post(here, data, follow=True)

    assert len(ledger()) == 1
    assert "nothing was charged anew" in answer.text


def test_what_the_terms_do_not_cover_is_refused_with_the_reason(boss, mandate, ledger):
    answer = act(boss, mandate, "charge", amount=13_900, reason="a bit more")

    assert "Not charged. The customer agreed to another amount." in answer.text
    assert Charge.objects.get().refusal_code == "amount_not_agreed"
    assert ledger() == []


@pytest.mark.parametrize(
    ("prepare", "status", "sentence"),
    [
        (lambda: control.decline_next("card_declined", "insufficient_funds"), "declined", "too little money"),
        (control.require_action_next, "action_required", "wants the customer to be present"),
        (control.processing_next, "processing", "is being processed"),
        (
            lambda: [control.fail_next("POST", "payment_intents", effect="after", status="timeout") for _try in "123"],
            "unknown",
            "Nobody knows yet",
        ),
        (
            lambda: [control.fail_next("POST", "payment_intents", status=429) for _try in "123"],
            "ready",
            "Not charged yet: Stripe turned ₩12,900 away",
        ),
    ],
)
def test_each_outcome_has_its_sentence(boss, mandate, no_waiting, prepare, status, sentence):
    control.set_delivery("dropped")
    prepare()
    answer = act(boss, mandate, "charge", reason="monthly")

    assert Charge.objects.get().status == status
    assert sentence in answer.text


def test_an_unknown_outcome_is_cleared_by_sending_again(boss, mandate, no_waiting, ledger):
    control.set_delivery("dropped")
    for _try in range(3):
        control.fail_next("POST", "payment_intents", effect="after", status="timeout")
    act(boss, mandate, "charge", reason="monthly")

    answer = act(boss, Charge.objects.get(), "send", reason="no answer before")

    assert Charge.objects.get().status == "succeeded"
    assert len(ledger()) == 1
    assert "₩12,900 charged" in answer.text


@pytest.mark.parametrize(
    "wrong", [{"amount": "99"}, {"amount": "12900.5"}, {"amount": "x"}, {"reason": " "}, {"reference": "admin-1"}]
)
def test_a_form_filled_in_wrongly_does_nothing(boss, mandate, wrong):
    answer = act(boss, mandate, "charge", **{"reason": "monthly"} | wrong)

    assert "Nothing was done yet." in answer.text
    assert not Charge.objects.exists()


def test_charging_works_on_a_site_that_wraps_every_request_in_a_transaction(boss, mandate, monkeypatch):
    monkeypatch.setitem(connections.settings["default"], "ATOMIC_REQUESTS", True)
    act(boss, mandate, "charge", reason="monthly")
    assert Charge.objects.get().status == Charge.Status.SUCCEEDED

    again = {"action": "process_again", "_selected_action": [event.pk for event in Event.objects.all()]}
    boss.post(reverse("admin:krcard_event_changelist"), again)
    assert set(Event.objects.values_list("status", flat=True)) <= {"done", "ignored"}


# --- later ----------------------------------------------------------------------------------------


@pytest.fixture
def morning():
    """Nine o'clock in Seoul, a few days from now, as a form says it and as the database does."""
    day = timezone.now().date() + timedelta(days=5)
    return f"{day}T09:00", datetime(day.year, day.month, day.day, tzinfo=UTC)


def test_scheduling_in_the_time_of_the_terms(boss, used_by_minji, ledger, morning):
    typed, moment = morning
    answer = act(boss, used_by_minji, "schedule", amount=9_000, due_at=typed, reason="as agreed by phone")

    charge = Charge.objects.get()
    assert (charge.status, charge.amount, charge.due_at) == ("scheduled", 9_000, moment)
    assert (charge.requested_by, charge.reason) == ("staff:boss", "as agreed by phone")
    assert f"₩9,000 will be charged on {moment.day} {moment:%b %Y} 09:00 KST." in answer.text
    assert ledger() == []


def test_the_form_begins_with_what_the_terms_say(boss, mandate):
    services.charge(mandate, 12_900, reference="2026-11")
    form = boss.get(page(mandate, "schedule"), follow=True).context["form"]

    next_on = services.next_payment_on(mandate)
    assert (form["amount"].value(), form["due_at"].value().isoformat()[:16]) == (12_900, f"{next_on}T10:00")
    assert f'value="{next_on}T10:00"' in str(form["due_at"])


def test_sending_the_page_twice_plans_one_charge(boss, used_by_minji, morning):
    here = boss.get(page(used_by_minji, "schedule"))["Location"]
    reference = boss.get(here).context["form"]["reference"].value()
    data = {"reference": reference, "amount": 9_000, "due_at": morning[0], "reason": "taxi"}
    for _time in range(2):
        boss.post(here, data)
    answer = boss.post(here, data | {"amount": 8_000}, follow=True)

    assert Charge.objects.count() == 1
    assert "already used to plan another charge" in answer.text


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"amount": 13_900}, "Not planned. The customer agreed to another amount."),
        ({"due_at": "2020-01-01T09:00"}, "This moment is over."),
        ({"due_at": "tomorrow"}, "Enter a valid date/time."),
        ({"reason": " "}, "This field is required."),
    ],
)
def test_what_cannot_be_planned_is_explained(boss, mandate, morning, changed, sentence):
    answer = act(boss, mandate, "schedule", **{"due_at": morning[0], "reason": "monthly"} | changed)

    assert sentence in answer.text
    assert not Charge.objects.filter(status="scheduled").exists()


def test_the_page_tells_when_the_customer_hears_of_it(boss, save_card):
    mandate = save_card(PublishedTerms(notice_days=7))
    assert "Days before: 7." in boss.get(page(mandate, "schedule"), follow=True).text


def test_planning_is_charging(staff, mandate):
    reviewer = staff("view_mandate", "charge_mandate")
    assert reviewer.get(page(mandate, "schedule"), follow=True).status_code == 200

    services.revoke(mandate, by="customer", reason="enough")
    assert page(mandate, "schedule") not in reviewer.get(page(mandate)).text


def test_looking_is_not_planning(staff, mandate, morning):
    reviewer = staff("view_mandate")
    data = {"reference": "admin-" + "0" * 32, "amount": 12_900, "due_at": morning[0], "reason": "x"}

    assert reviewer.get(page(mandate, "schedule")).status_code == 403
    assert reviewer.post(page(mandate, "schedule"), data).status_code == 403
    assert not Charge.objects.exists()
