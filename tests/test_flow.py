"""The whole job through the front door: agree, save a Korean card, charge it."""

import pytest
from django.urls import reverse

from django_krcard import services
from django_krcard.models import CardSetup, Charge, Consent, Customer, Event, Mandate, PaymentMethod, TimelineEntry
from django_krcard.sandbox import control
from django_krcard.signals import card_saved, charge_succeeded, consent_given, mandate_activated

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def heard():
    """What a site that listens to our signals hears, in order."""
    names, signals = [], (consent_given, card_saved, mandate_activated, charge_succeeded)
    receivers = []
    for name, signal in zip(
        ("consent_given", "card_saved", "mandate_activated", "charge_succeeded"), signals, strict=True
    ):
        receiver = lambda sender, _name=name, **kwargs: names.append(_name)  # noqa: E731
        signal.connect(receiver)
        receivers.append((signal, receiver))
    yield names
    for signal, receiver in receivers:
        signal.disconnect(receiver)


def look(client, setup, name="success"):
    return client.get(reverse(f"krcard:{name}", args=[setup.public_id]))


def test_agree_save_look_charge(minji, agree, heard, ledger):
    answer = agree()
    setup = CardSetup.objects.get()
    assert answer.status_code == 303
    assert answer["Location"] == setup.redirect_url

    control.authorise(setup.checkout_session_id, brand="shinhan", last4="1234")
    page = look(minji, setup)
    assert page.context["state"] == "saved"
    assert "신한카드" in page.text
    assert "1234" in page.text

    mandate = Mandate.objects.get()
    charge = services.charge(mandate, 12_900, reference="2026-11")
    assert charge.status == Charge.Status.SUCCEEDED
    assert [(paid["amount"], paid["currency"], paid["status"]) for paid in ledger()] == [(12_900, "krw", "succeeded")]
    assert heard == ["consent_given", "card_saved", "mandate_activated", "charge_succeeded"]


@pytest.mark.parametrize("delivery", ["now", "held", "dropped"])
def test_page_and_webhook_agree_whichever_comes_first_or_never(minji, agree, heard, delivery):
    agree()
    control.set_delivery(delivery)
    setup = CardSetup.objects.get()
    control.authorise(setup.checkout_session_id)

    look(minji, setup)
    control.deliver()
    look(minji, setup)

    setup.refresh_from_db()
    mandate = Mandate.objects.get()
    assert (setup.status, mandate.status) == ("complete", "active")
    assert mandate.payment_method == PaymentMethod.objects.get()
    assert heard.count("card_saved") == 1
    assert TimelineEntry.objects.filter(kind="card_saved").count() == 1
    assert not Event.objects.filter(status="failed").exists()


def test_the_webhook_alone_saves_the_card(agree):
    agree()
    control.authorise(CardSetup.objects.get().checkout_session_id)

    assert Mandate.objects.get().status == "active"


def test_failing_at_the_issuer_saves_nothing_and_says_why(minji, agree):
    agree()
    setup = CardSetup.objects.get()
    control.fail(setup.checkout_session_id)

    page = look(minji, setup)
    assert page.context["state"] == "failed"
    assert Mandate.objects.get().status == "pending"
    assert not PaymentMethod.objects.exists()

    control.authorise(setup.checkout_session_id, brand="kookmin")
    assert look(minji, setup).context["state"] == "saved"


def test_turning_back_saves_nothing_and_the_same_session_goes_on(minji, agree):
    agree()
    setup = CardSetup.objects.get()

    page = look(minji, setup, "cancel")
    assert page.context["state"] == "cancelled"
    assert page.context["continue_url"] == setup.redirect_url

    agree()
    assert CardSetup.objects.get() == setup


def test_the_cancel_page_tells_the_truth_when_the_card_was_saved_after_all(minji, agree):
    agree()
    setup = CardSetup.objects.get()
    control.authorise(setup.checkout_session_id)

    assert look(minji, setup, "cancel").context["state"] == "saved"


def test_too_late_is_expired_and_ends_the_mandate(minji, agree):
    agree()
    setup = CardSetup.objects.get()
    control.expire(setup.checkout_session_id)

    assert look(minji, setup).context["state"] == "expired"
    assert Mandate.objects.get().status == "expired"

    agree()
    assert Mandate.objects.filter(status="pending").count() == 1


def test_the_query_string_proves_nothing(minji, agree):
    agree()
    setup = CardSetup.objects.get()
    url = reverse("krcard:success", args=[setup.public_id])

    page = minji.get(url, {"session_id": "cs_test_other", "status": "complete", "redirect_status": "succeeded"})
    assert page.context["state"] == "processing"


def test_agreeing_again_keeps_the_mandate_and_moves_it_to_the_new_card(minji, mandate, agree):
    old_card, old_consent = mandate.payment_method, mandate.consent
    agree()
    setup = CardSetup.objects.get(status="open")
    control.authorise(setup.checkout_session_id, brand="hyundai")
    look(minji, setup)

    mandate.refresh_from_db()
    old_card.refresh_from_db()
    assert mandate.consent != old_consent
    assert mandate.payment_method.brand == "hyundai"
    assert mandate.status == "active"
    assert old_card.detached_at
    assert services.can_charge(mandate, 12_900).allowed


def test_withdrawing_stops_charges_and_removes_the_card(minji, mandate, ledger):
    answer = minji.post(reverse("krcard:revoke", args=[mandate.public_id]), follow=True)

    mandate.refresh_from_db()
    mandate.payment_method.refresh_from_db()
    assert answer.status_code == 200
    assert (mandate.status, mandate.ended_by) == ("revoked", "customer")
    assert mandate.payment_method.detached_at
    assert services.can_charge(mandate, 12_900).code == "consent_withdrawn"
    assert ledger() == []


def test_a_card_finished_after_the_withdrawal_is_removed_again(minji, agree, no_waiting):
    agree()
    setup = CardSetup.objects.get()
    for _ in range(3):  # Stripe does not hear that the session is over, as often as the SDK tries
        control.fail_next("POST", f"/v1/checkout/sessions/{setup.checkout_session_id}/expire", status="timeout")
    services.revoke(Mandate.objects.get(), by="customer", reason="changed my mind")
    control.authorise(setup.checkout_session_id)

    mandate = Mandate.objects.get()
    assert (mandate.status, mandate.payment_method) == ("revoked", None)
    assert PaymentMethod.objects.get().detached_at


def test_my_cards_shows_what_is_mine_and_only_that(minji, client, mandate, admin_client):
    services.charge(mandate, 12_900, reference="2026-11")

    mine = minji.get(reverse("krcard:cards"))
    assert "신한카드" in mine.text
    assert "12,900원" in mine.text
    assert minji.get(reverse("krcard:mandate", args=[mandate.public_id])).status_code == 200

    assert mandate.reference not in admin_client.get(reverse("krcard:cards")).text
    assert admin_client.get(reverse("krcard:mandate", args=[mandate.public_id])).status_code == 404
    assert admin_client.post(reverse("krcard:revoke", args=[mandate.public_id])).status_code == 404
    assert client.get(reverse("krcard:cards")).status_code == 302


def test_one_customer_one_consent_for_one_story(agree):
    agree()

    consent = Consent.objects.get()
    assert Customer.objects.count() == 1
    assert consent.ticked == ["autopay", "save_card"]
    assert consent.ip_address == "127.0.0.1"
    assert "매회 12,900원(부가세 포함)입니다." in consent.text
