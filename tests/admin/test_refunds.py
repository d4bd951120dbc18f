"""Paying back, calling off and finding out, from the page of a charge."""

from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.urls import reverse
from django.utils import timezone

from django_krcard import gateway, services
from django_krcard.admin.charge_actions import RefundForm
from django_krcard.models import Charge, Refund
from django_krcard.sandbox import control
from django_krcard.services import refunded
from django_krcard.testing.sandbox import books
from tests.admin.pages import act, page
from tests.factories import PublishedTerms, as_used_terms

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("krcard_clock", "no_waiting")]


@pytest.fixture
def paid(mandate):
    return services.charge(mandate, 12_900, reference="2026-11")


def back():
    return [row["amount"] for row in books("refund")]


def buttons(client, row):
    return [label for _url, label in client.get(page(row)).context["krcard_tools"]]


# --- paying back -----------------------------------------------------------------------------------


def test_paying_back_with_a_reason(boss, paid):
    answer = act(boss, paid, "refund", reason="she was ill")

    refund = Refund.objects.get()
    assert (refund.status, refund.amount, refund.requested_by, refund.reason) == (
        "succeeded",
        12_900,
        "staff:boss",
        "she was ill",
    )
    assert back() == [12_900]
    assert "₩12,900 paid back to Shinhan Card ****-1234." in answer.text
    assert page(refund) in answer.text
    assert "she was ill" in LogEntry.objects.get().change_message


def test_the_page_says_what_will_happen_and_offers_what_is_left(boss, paid):
    services.refund(paid, 10_000, reference="a")
    shown = boss.get(page(paid, "refund"), follow=True)
    assert "The money goes back to Shinhan Card ****-1234." in shown.text
    assert "Of this payment ₩2,900 is left." in shown.text
    assert shown.context["form"]["amount"].value() == 2_900


def test_sending_the_same_page_twice_pays_back_once(boss, paid):
    here = boss.get(page(paid, "refund"))["Location"]
    reference = boss.get(here).context["form"]["reference"].value()
    data = {"reference": reference, "amount": 1, "reason": "a won too much"}
    for _time in range(2):
        answer = boss.post(here, data, follow=True)
    assert "nothing was paid back anew. ₩1 paid back" in answer.text
    answer = boss.post(here, data | {"amount": 2}, follow=True)
    assert "already used to pay back another amount" in answer.text
    assert back() == [1]


def test_what_cannot_be_paid_back_is_said_in_a_sentence(boss, paid):
    answer = act(boss, paid, "refund", amount=12_901, reason="more")
    assert "Not paid back. This is more than what is left of the payment." in answer.text
    Charge.objects.update(last_sent_at=timezone.now() - timedelta(days=366))
    answer = act(boss, paid, "refund", reason="late")
    assert "within 365 days only. Transfer the money by other means." in answer.text
    assert back() == []


@pytest.mark.parametrize(
    ("status", "effect", "times", "sentence"),
    [
        ("timeout", "after", 3, "Nobody knows yet whether ₩12,900 went back."),
        (429, "before", 3, "Not paid back yet: Stripe turned ₩12,900 away"),
        (401, "before", 1, "Stripe did not do this"),
    ],
)
def test_each_outcome_has_its_sentence(boss, paid, status, effect, times, sentence):
    control.set_delivery("dropped")
    for _ in range(times):
        control.fail_next("POST", "refunds", effect=effect, status=status)
    assert sentence in act(boss, paid, "refund", reason="x").text


def test_on_its_way_and_refused_have_theirs(boss, paid, monkeypatch):
    told = {"payment_intent": paid.stripe_id, "metadata": refunded.names_of(paid, "by-hand")}
    refunded.apply(paid, gateway.Refund(id="re_1", status="pending", amount=900, **told))
    monkeypatch.setattr(gateway, "refunds_of", lambda intent: iter([]))
    assert "₩900 is on its way back." in act(boss, Refund.objects.get(), "ask").text

    monkeypatch.setattr(
        gateway,
        "refunds_of",
        lambda intent: iter(
            [gateway.Refund(id="re_1", status="failed", amount=900, failure_code="lost_or_stolen_card", **told)]
        ),
    )
    answer = act(boss, Refund.objects.get(), "ask")
    assert "Not paid back: ₩900. The card was reported lost or stolen. (lost_or_stolen_card)" in answer.text


@pytest.mark.parametrize("wrong", [{"amount": "0"}, {"amount": "1.5"}, {"reason": " "}, {"reference": "mine"}])
def test_a_form_filled_in_wrongly_does_nothing(boss, paid, wrong):
    answer = act(boss, paid, "refund", **{"reason": "x"} | wrong)
    assert "Nothing was done yet." in answer.text
    assert (back(), Refund.objects.count()) == ([], 0)


def test_the_form_takes_a_single_won():
    data = {"reference": f"admin-{'0' * 32}", "reason": "x"}
    assert [RefundForm(data | {"amount": amount}).is_valid() for amount in (0, 1, 99_999_999)] == [False, True, True]


def test_when_all_is_paid_back_there_is_no_button(boss, paid):
    assert buttons(boss, paid) == ["Pay back"]
    services.refund(paid, reference="a")
    assert buttons(boss, paid) == []


def test_finding_out_what_became_of_a_refund(boss, paid):
    control.set_delivery("dropped")
    for _ in range(3):
        control.fail_next("POST", "refunds", effect="after", status="timeout")
    act(boss, paid, "refund", reason="x")

    answer = act(boss, Refund.objects.get(), "ask")
    assert "₩12,900 paid back" in answer.text
    assert back() == [12_900]
    assert buttons(boss, Refund.objects.get()) == []


def test_finding_out_often_does_not_make_it_given_up_early(boss, paid, krcard_clock):
    control.set_delivery("dropped")
    for _ in range(20):
        control.fail_next("POST", "refunds", effect="before", status=500)
    act(boss, paid, "refund", reason="x")
    krcard_clock.advance(days=2)
    for _ in range(3):
        answer = act(boss, Refund.objects.get(), "ask")
    assert "Nobody knows yet" in answer.text
    assert Refund.objects.get().empty_looks == 0


# --- calling off -----------------------------------------------------------------------------------


def test_a_scheduled_charge_is_called_off(boss, mandate, ledger):
    due_at = timezone.now() + timedelta(days=3)
    charge = services.schedule_charge(mandate, 12_900, reference="r", due_at=due_at)
    assert "Cancel charge" in buttons(boss, charge)
    answer = act(boss, charge, "cancel", reason="she called")

    charge.refresh_from_db()
    assert charge.status == "cancelled"
    assert "Called off, no money moved: ₩12,900." in answer.text
    entry = mandate.timeline.get(kind="charge_cancel_requested")
    assert (entry.actor, entry.data["reason"]) == ("staff:boss", "she called")
    assert ledger() == []
    assert buttons(boss, charge) == []


def test_what_waits_for_the_customer_is_called_off_at_stripe(boss, mandate, ledger):
    control.require_action_next()
    charge = services.charge(mandate, 12_900, reference="r")
    act(boss, charge, "cancel", reason="she called")
    assert [paid["status"] for paid in ledger()] == ["canceled"]
    charge.refresh_from_db()
    assert charge.status == "cancelled"


def test_a_charge_that_waits_for_its_retry_is_called_off(boss, save_card, ledger):
    mandate = save_card(PublishedTerms(max_retries=2, retry_after_days=1))
    control.decline_next("insufficient_funds")
    charge = services.charge(mandate, 12_900, reference="r")
    assert charge.next_step_at
    act(boss, charge, "cancel", reason="she called")
    assert [paid["status"] for paid in ledger()] == ["canceled"]


def test_too_late_to_call_off_is_said(boss, mandate):
    control.set_delivery("dropped")
    control.require_action_next()
    charge = services.charge(mandate, 12_900, reference="r")
    here = gateway.confirm_params(
        card=charge.payment_method.stripe_id, card_type="kr_card", return_url="http://testserver/"
    )
    gateway.confirm_payment_intent(charge.stripe_id, here, key="by the customer")
    control.finish_payment(charge.stripe_id)
    answer = act(boss, charge, "cancel", reason="she called")
    assert "It was too late. ₩12,900 charged to Shinhan Card ****-1234." in answer.text
    assert Charge.objects.get().status == "succeeded"


def test_what_is_over_cannot_be_called_off(boss, save_card):
    mandate = save_card(as_used_terms())
    paid = services.charge(mandate, 9_000, reference="paid")
    control.decline_next("lost_card")
    declined = services.charge(mandate, 9_000, reference="declined")
    for charge in (paid, declined):
        assert "Cancel charge" not in buttons(boss, charge)
        answer = boss.post(page(charge, "cancel"), {"reason": "x"}, follow=True)
        assert "This cannot be done now." in answer.text
        charge.refresh_from_db()
        assert charge.status in ("succeeded", "declined")


# --- finding out about a charge ----------------------------------------------------------------------


def test_a_charge_whose_sender_is_gone_can_be_sent_again(boss, paid, ledger):
    Charge.objects.update(status="sending", stripe_id=None, next_step_at=timezone.now())
    answer = act(boss, paid, "send", reason="it hangs")
    assert "₩12,900 charged" in answer.text
    assert len(ledger()) == 1


def test_a_charge_that_somebody_sends_now_cannot(boss, paid):
    later = timezone.now() + timedelta(minutes=1)
    Charge.objects.update(status="sending", stripe_id=None, next_step_at=later)
    assert buttons(boss, paid) == []


def test_after_the_key_has_run_out_stripes_list_is_looked_through(boss, save_card, ledger, krcard_clock):
    mandate = save_card(as_used_terms())
    control.set_delivery("dropped")
    for _ in range(3):
        control.fail_next("POST", "payment_intents", effect="after", status="timeout")
    charge = services.charge(mandate, 9_000, reference="r")
    krcard_clock.advance(days=2)

    answer = act(boss, charge, "send", reason="what became of it?")
    assert "₩9,000 charged" in answer.text
    assert len(ledger()) == 1


def test_what_a_dispute_took_back_is_not_offered_to_be_paid_back(boss, paid):
    control.dispute(paid.stripe_id)
    answer = boss.get(page(paid, "refund"), follow=True)
    assert "A disputed payment cannot be paid back." in answer.text
    assert "krcard-effects" not in answer.text
    control.close_dispute(Charge.objects.get().dispute_id, False)
    assert "it would be paid back twice" in boss.get(page(paid, "refund"), follow=True).text
    assert back() == []


def test_nothing_is_said_to_come_under_an_agreement_that_has_ended(boss, paid):
    words = "what comes next is charged all the same"
    assert words in boss.get(page(paid, "refund"), follow=True).text
    services.revoke(paid.mandate, by="customer", reason="enough")
    assert words not in boss.get(page(paid, "refund"), follow=True).text


# --- to read ---------------------------------------------------------------------------------------


def test_the_page_of_a_charge_shows_what_went_back_and_its_dispute(boss, paid):
    services.refund(paid, 900, reference="goodwill")
    control.dispute(paid.stripe_id)
    shown = boss.get(page(paid)).text
    assert "goodwill" in shown
    assert "₩900" in shown
    assert "dispute open" in shown
    assert "needs_response" in shown


def test_refunds_are_found_and_cannot_be_changed(boss, paid):
    refund = services.refund(paid, 900, reference="goodwill")
    services.refund(paid, 800, reference="other")
    listed = reverse("admin:krcard_refund_changelist")
    for words in ("goodwill", refund.stripe_id, str(refund.public_id)):
        found = boss.get(listed, {"q": words}).context["cl"].queryset
        assert [row.reference for row in found] == ["goodwill"]
    for words in (paid.reference, paid.mandate.reference, paid.stripe_id, "minji"):
        assert len(boss.get(listed, {"q": words}).context["cl"].queryset) == 2
    shown = boss.get(page(refund)).text
    assert refund.stripe_id in shown
    assert boss.post(page(refund), {"amount": 1}).status_code == 403
    assert boss.get(page(refund, "delete")).status_code == 403


@pytest.mark.parametrize(
    ("permission", "wanted"),
    [("refund_charge", ["Pay back"]), ("cancel_charge", []), ("charge_mandate", [])],
)
def test_each_act_has_its_permission(staff, paid, permission, wanted):
    somebody = staff("view_charge", permission)
    assert buttons(somebody, paid) == wanted
    answer = somebody.post(page(paid, "refund"), {"amount": 1, "reason": "x", "reference": f"admin-{'0' * 32}"})
    assert answer.status_code == (302 if wanted else 403)
    assert back() == ([1] if wanted else [])
