"""Charging from the page of a mandate."""

import pytest
from django.contrib.admin.models import LogEntry
from django.db import connections
from django.urls import reverse

from django_krcard.models import Charge, Event
from django_krcard.sandbox import control
from tests.admin.pages import act, page
from tests.factories import as_used_terms

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
            "unknown",
            "Nobody knows yet",
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
