"""A payment that stopped and is finished by its customer: offered, confirmed at the issuer's, paid once."""

import uuid
from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from django_krcard import gateway, services
from django_krcard.exceptions import CardDeclined, ChargeRefused, StripeBusy
from django_krcard.models import Charge
from django_krcard.sandbox import control
from django_krcard.services import present
from django_krcard.services.acts import finish
from django_krcard.services.mandates import card_detached
from django_krcard.services.steps import step
from django_krcard.views.charges import is_safe
from tests.factories import UserFactory, as_used_terms
from tests.test_concurrency import all_at_once

pytestmark = pytest.mark.django_db(transaction=True)

PAGES = ["charge", "charge-return"]


def charged(mandate, reference="2026-11", amount=12_900, **words):
    return services.charge(mandate, amount, reference=reference, **words)


@pytest.fixture
def stopped(mandate):
    """12,900 won for November: the issuer wants to see Minji."""
    control.require_action_next()
    return charged(mandate, description="멤버십 11월")


@pytest.fixture
def declined(mandate):
    """12,900 won for November: the issuer said no, and that is for Minji to put right."""
    control.decline_next("card_declined", "do_not_honor")
    return charged(mandate)


@pytest.fixture
def calls(monkeypatch):
    """Every call to Stripe from now on."""
    made, client = [], gateway.client.client

    def counting():
        made.append(1)
        return client()

    monkeypatch.setattr(gateway.client, "client", counting)
    return made


def address(name, charge):
    return reverse(f"krcard:{name}", args=[charge.public_id])


def press(client, charge):
    return client.post(address("finish-charge", charge))


def offers(client, charge):
    return address("finish-charge", charge) in client.get(address("charge", charge)).text


# --- the way through ------------------------------------------------------------------------------


@pytest.mark.parametrize("delivery", ["now", "dropped"])
def test_seen_confirmed_paid_once(minji, stopped, ledger, delivery):
    page = minji.get(address("charge", stopped))
    for shown in ("12,900원", "멤버십 11월", "신한카드", stopped.mandate.reference):
        assert shown in page.text

    control.set_delivery(delivery)
    answer = press(minji, stopped)
    assert answer.status_code == 303
    assert "/stripe-sandbox/pay/" in answer["Location"]
    assert minji.get(address("charge-return", stopped)).context["state"] == "open"

    control.finish_payment(stopped.stripe_id)
    assert minji.get(address("charge-return", stopped)).context["state"] == "paid"
    stopped.refresh_from_db()
    assert stopped.status == "succeeded"
    assert [(paid["id"], paid["status"]) for paid in ledger()] == [(stopped.stripe_id, "succeeded")]
    assert not offers(minji, stopped)


def test_clicking_twice_leads_to_the_same_place(minji, stopped, ledger):
    first, second = press(minji, stopped), press(minji, stopped)

    assert first["Location"] == second["Location"]
    stopped.refresh_from_db()
    assert (stopped.attempt, stopped.sends) == (2, 2)
    assert len(ledger()) == 1


def test_eight_clicks_at_once_are_one_try(stopped):
    there = all_at_once(lambda number: present.finish_charge(stopped, return_url="http://testserver/back"), 8)

    assert len(set(there)) == 1
    assert "/stripe-sandbox/pay/" in there[0]
    stopped.refresh_from_db()
    assert stopped.attempt == 2


def test_a_later_click_is_a_new_try_under_a_new_key(krcard_clock, minji, stopped, ledger):
    press(minji, stopped)
    before = Charge.objects.get()
    krcard_clock.advance(minutes=5)
    assert press(minji, stopped).status_code == 303

    after = Charge.objects.get()
    assert after.attempt == before.attempt + 1
    assert after.idempotency_key != before.idempotency_key
    assert after.next_step_at == before.next_step_at
    assert len(ledger()) == 1


def test_failing_at_the_issuer_moves_nothing_and_can_be_tried_again(minji, stopped, ledger):
    press(minji, stopped)
    control.finish_payment(stopped.stripe_id, succeeded=False)

    assert minji.get(address("charge-return", stopped)).context["state"] == "failed"
    assert "카드사" in minji.get(address("charge", stopped)).text
    assert press(minji, stopped).status_code == 303
    control.finish_payment(stopped.stripe_id)
    assert Charge.objects.get().status == "succeeded"
    assert len(ledger()) == 1


def test_what_was_declined_is_finished_too_and_counts_meanwhile(minji, mandate, declined):
    assert press(minji, declined).status_code == 303
    with pytest.raises(ChargeRefused) as refused:
        charged(mandate, "2026-11-again")
    assert refused.value.code == "period_count_reached"

    control.finish_payment(declined.stripe_id)
    assert Charge.objects.get(pk=declined.pk).status == "succeeded"


def test_the_card_is_the_one_that_was_saved_since(minji, stopped, save_card, membership, ledger):
    save_card(membership, customer=stopped.mandate.customer, brand="hyundai", last4="7777")
    assert "현대카드" in minji.get(address("charge", stopped)).text

    press(minji, stopped)
    control.finish_payment(stopped.stripe_id)
    stopped.refresh_from_db()
    assert (stopped.status, stopped.payment_method.brand) == ("succeeded", "hyundai")
    assert ledger()[0]["payment_method"] == stopped.payment_method.stripe_id


def test_what_was_paid_while_the_message_got_lost_is_not_paid_again(krcard_clock, minji, stopped, ledger):
    control.set_delivery("dropped")
    press(minji, stopped)
    control.finish_payment(stopped.stripe_id)
    krcard_clock.advance(minutes=5)

    assert press(minji, stopped)["Location"] == address("charge-return", stopped)
    assert Charge.objects.get().status == "succeeded"
    assert len(ledger()) == 1


def test_an_issuer_that_says_no_at_once_is_heard(minji, stopped, monkeypatch):
    def no(*args, **kwargs):
        raise CardDeclined("no", code="card_declined", decline_code="lost_card", payment_intent=stopped.stripe_id)

    monkeypatch.setattr(gateway, "confirm_payment_intent", no)
    assert press(minji, stopped)["Location"] == address("charge-return", stopped)
    stopped.refresh_from_db()
    assert (stopped.status, stopped.decline_code) == ("declined", "lost_card")
    assert not offers(minji, stopped)


# --- what is not offered --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "decline_code", "offered"),
    [
        ("card_declined", "do_not_honor", True),
        ("card_declined", "expired_card", True),
        ("card_declined", "insufficient_funds", False),
        ("card_declined", "lost_card", False),
    ],
)
def test_only_what_the_customer_can_put_right(minji, mandate, code, decline_code, offered):
    control.decline_next(code, decline_code)
    charge = charged(mandate)

    assert offers(minji, charge) is offered
    if not offered:
        assert press(minji, charge)["Location"] == address("charge-return", charge)
        assert Charge.objects.get().status == "declined"


@pytest.mark.parametrize("which", ["stopped", "declined"])
def test_after_the_end_nothing_is_offered(minji, request, which, calls):
    charge = request.getfixturevalue(which)
    control.set_delivery("dropped")
    services.revoke(charge.mandate, by="customer", reason="enough")
    calls.clear()

    assert not offers(minji, charge)
    assert reverse("krcard:consent", args=["membership"]) not in minji.get(address("charge", charge)).text
    assert press(minji, charge).status_code == 409
    assert calls == []


def test_after_the_deadline_nothing_is_offered(krcard_clock, minji, stopped):
    krcard_clock.advance(hours=73)

    assert not offers(minji, stopped)
    assert press(minji, stopped).status_code == 409


def test_a_declined_payment_is_finished_in_its_own_period_or_never(krcard_clock, minji, declined):
    krcard_clock.advance(days=32)
    minji.force_login(declined.mandate.customer.user)

    assert not offers(minji, declined)
    assert press(minji, declined).status_code == 409
    assert Charge.objects.get().status == "declined"


def test_the_terms_are_asked_again(minji, mandate, declined, ledger):
    charged(mandate, "2026-11-another")

    answer = press(minji, declined)
    assert answer.status_code == 409
    assert answer.context["why_not"]
    assert [paid["status"] for paid in ledger()] == ["requires_payment_method", "succeeded"]


def test_a_removed_card_leads_to_another_one(minji, stopped):
    card_detached(stopped.mandate.payment_method)

    assert not offers(minji, stopped)
    assert reverse("krcard:consent", args=["membership"]) in minji.get(address("charge", stopped)).text


@pytest.mark.parametrize("delivery", ["now", "dropped"])
def test_withdrawing_at_the_issuers_page_calls_the_payment_off(minji, stopped, ledger, delivery):
    press(minji, stopped)
    control.set_delivery(delivery)
    services.revoke(stopped.mandate, by="customer", reason="enough")

    assert finish(step(stopped.pk)).status == "cancelled"
    assert [paid["status"] for paid in ledger()] == ["canceled"]


# --- Stripe in trouble ----------------------------------------------------------------------------


@pytest.mark.parametrize("effect", ["before", "after"])
def test_no_answer_and_once_more(minji, stopped, ledger, effect):
    control.fail_next("POST", f"/v1/payment_intents/{stopped.stripe_id}/confirm", effect=effect, status="timeout")
    answer = press(minji, stopped)
    assert answer.status_code == 503
    assert offers(minji, stopped)

    assert press(minji, stopped).status_code == 303
    control.finish_payment(stopped.stripe_id)
    stopped.refresh_from_db()
    assert (stopped.status, stopped.attempt) == ("succeeded", 2)
    assert len(ledger()) == 1


def test_the_other_click_of_a_double_click_is_waited_for(minji, stopped, monkeypatch, no_waiting):
    confirm, answers = gateway.confirm_payment_intent, [StripeBusy("409"), StripeBusy("409")]

    def busy(*args, **kwargs):
        if answers:
            raise answers.pop()
        return confirm(*args, **kwargs)

    monkeypatch.setattr(gateway, "confirm_payment_intent", busy)
    assert press(minji, stopped).status_code == 303
    assert Charge.objects.get().attempt == 2


def test_what_is_withdrawn_while_waiting_is_not_sent(mandate, stopped, monkeypatch, no_waiting):
    sent = []
    control.set_delivery("dropped")

    def busy(*args, **kwargs):
        sent.append(1)
        services.revoke(mandate, by="customer", reason="just now")
        raise StripeBusy("409")

    monkeypatch.setattr(gateway, "confirm_payment_intent", busy)
    with pytest.raises(ChargeRefused):
        present.finish_charge(stopped, return_url="http://testserver/back")
    assert sent == [1]


@pytest.mark.parametrize(
    ("url", "stand_in", "safe"),
    [
        ("https://hooks.stripe.com/redirect/1", False, True),
        ("http://hooks.stripe.com/redirect/1", False, False),
        ("http://127.0.0.1:8000/stripe-sandbox/pay/1/", True, True),
        ("javascript:alert(1)", True, False),
        ("//evil.example/", True, False),
    ],
)
def test_nobody_is_sent_to_an_address_in_the_clear(settings, url, stand_in, safe):
    settings.KRCARD_SANDBOX = stand_in
    assert is_safe(url) is safe


# --- who sees what --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PAGES)
def test_unknown_foreign_and_malformed_ids_get_one_and_the_same_404(minji, stopped, calls, name):
    stranger = Client()
    stranger.force_login(UserFactory())
    calls.clear()
    answers = [
        minji.get(reverse(f"krcard:{name}", args=[uuid.uuid4()])),
        minji.get(reverse(f"krcard:{name}", args=["not-an-id"])),
        stranger.get(address(name, stopped)),
    ]
    assert {answer.status_code for answer in answers} == {404}
    assert len({answer.content for answer in answers}) == 1
    assert press(stranger, stopped).status_code == 404
    assert calls == []


def test_what_the_terms_refused_is_nothing_a_customer_sees(minji, mandate):
    with pytest.raises(ChargeRefused) as refused:
        charged(mandate, amount=13_900)
    assert minji.get(address("charge", refused.value.charge)).status_code == 404


def test_who_is_signed_out_signs_in_first(client, stopped):
    page = address("charge", stopped)
    assert client.get(page)["Location"].endswith(f"next={page}")
    assert press(client, stopped)["Location"].endswith(f"next={page}")


def test_another_browser_without_the_cookie_sees_the_state_and_nothing_else(minji, stopped, user):
    press(minji, stopped)
    control.finish_payment(stopped.stripe_id)

    page = Client().get(address("charge-return", stopped))
    assert page.context["state"] == "paid"
    for secret in ("12,900", "1234", "신한", "멤버십 11월", user.username, stopped.mandate.reference):
        assert secret not in page.text


@pytest.mark.parametrize("browser", ["minji", "client"])
def test_the_client_secret_does_not_stay_in_the_address(request, browser, stopped, calls):
    page = address("charge-return", stopped)
    query = {"payment_intent": stopped.stripe_id, "payment_intent_client_secret": "pi_1_secret_2"}
    assert request.getfixturevalue(browser).get(page, query)["Location"] == page
    assert calls == []


def test_strangers_make_stripe_be_asked_rarely_and_the_owner_always(minji, stopped, calls):
    press(minji, stopped)
    calls.clear()
    for _ in range(5):
        Client().get(address("charge-return", stopped))
    assert len(calls) == 1
    minji.get(address("charge-return", stopped))
    assert len(calls) == 2


def test_stripe_down_shows_what_we_know(minji, stopped, no_waiting):
    press(minji, stopped)
    for _ in range(3):
        control.fail_next("GET", "/v1/payment_intents", effect="before", status="timeout")
    assert minji.get(address("charge-return", stopped)).context["state"] == "open"


@pytest.mark.parametrize("name", PAGES)
def test_the_pages_are_kept_nowhere(minji, stopped, name):
    answer = minji.get(address(name, stopped))
    assert "no-store" in answer["Cache-Control"]
    assert answer["Referrer-Policy"] == "same-origin"


def test_it_works_when_the_site_wraps_every_view_in_a_transaction(minji, stopped, monkeypatch):
    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", True)
    assert press(minji, stopped).status_code == 303
    control.finish_payment(stopped.stripe_id)
    assert minji.get(address("charge-return", stopped)).context["state"] == "paid"


# --- my cards -------------------------------------------------------------------------------------


@pytest.fixture
def used(save_card):
    """An agreement to pay what was used: up to 30,000 won a time, 100,000 a month."""
    return save_card(as_used_terms())


@pytest.fixture
def pages(minji):
    def both(mandate):
        urls = reverse("krcard:cards"), reverse("krcard:mandate", args=[mandate.public_id])
        return [minji.get(url).text for url in urls]

    return both


def test_a_payment_that_waits_cannot_be_overlooked(minji, stopped, pages):
    for text in pages(stopped.mandate):
        assert text.count(address("charge", stopped)) == 2

    services.revoke(stopped.mandate, by="customer", reason="enough")
    assert address("charge", stopped) not in minji.get(reverse("krcard:cards")).text


def test_what_is_planned_is_told_with_amount_and_day(used, pages):
    due_at = timezone.now() + timedelta(days=3)
    services.schedule_charge(used, 7_700, reference="later", due_at=due_at)

    for text in pages(used):
        assert "7,700원" in text
        assert "다음 결제 예정" in text


def test_what_went_back_is_shown(used, pages):
    services.refund(charged(used, "taxi", 9_000), 4_000, reference="too much")
    for text in pages(used):
        assert "4,000원 환불" in text


def test_a_dispute_is_told_in_neutral_words(used, pages):
    charge = charged(used, "taxi", 9_000)
    control.dispute(charge.stripe_id)

    for text in pages(used):
        assert "카드사 확인 중" in text
