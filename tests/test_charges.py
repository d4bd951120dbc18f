"""Charging: the gate asked first, the row written first, the money moved once."""

from datetime import UTC, datetime, timedelta

import pytest
from django.db import transaction
from django.utils import timezone

from django_krcard import gateway, services
from django_krcard.exceptions import (
    ActionRequired,
    ChargeRefused,
    Declined,
    InsideTransaction,
    OutcomeUnknown,
    ReferenceConflict,
    StripeRefusedKey,
)
from django_krcard.models import Charge
from django_krcard.sandbox import control
from django_krcard.services import outcomes
from tests.factories import PublishedTerms, as_used_terms
from tests.unguarded import tamper

pytestmark = pytest.mark.django_db(transaction=True)


def refusal(mandate, amount, reference="r"):
    with pytest.raises(ChargeRefused) as refused:
        services.charge(mandate, amount, reference=reference)
    return refused.value


def test_a_charge_moves_whole_won_once(mandate, ledger):
    charge = services.charge(mandate, 12_900, reference="2026-11", description="11월 이용료")

    (paid,) = ledger()
    assert charge.status == "succeeded"
    assert charge.stripe_id == paid["id"]
    assert (paid["amount"], paid["currency"], paid["description"]) == (12_900, "krw", "11월 이용료")
    assert paid["metadata"]["krcard_consent_hash"] == mandate.consent.record_hash
    charge.raise_for_status()


def test_a_mandate_reached_from_a_customer_read_before_the_card_was_saved(save_card, user, membership, ledger):
    customer = services.get_or_create_customer(user)
    save_card(membership)
    assert services.charge(customer.mandates.get(), 12_900, reference="r").status == "succeeded"
    assert len(ledger()) == 1


def test_the_same_reference_is_the_same_charge(mandate, ledger):
    first = services.charge(mandate, 12_900, reference="2026-11")
    second = services.charge(mandate, 12_900, reference="2026-11")
    assert first == second
    assert len(ledger()) == 1


def test_the_same_reference_for_another_amount_is_a_conflict(save_card, ledger):
    mandate = save_card(as_used_terms(period="month"))
    services.charge(mandate, 4_500, reference="order-1")
    with pytest.raises(ReferenceConflict):
        services.charge(mandate, 4_600, reference="order-1")
    assert len(ledger()) == 1


@pytest.mark.parametrize("amount", [True, 12_900.0, "12900", 99, 100_000_000, -1, None])
def test_what_is_no_amount_is_refused(mandate, ledger, amount):
    refused = refusal(mandate, amount)
    assert refused.code == "amount_invalid"
    assert refused.charge is None
    assert mandate.timeline.filter(kind="charge_refused").exists()
    assert ledger() == []


@pytest.mark.parametrize(("reference", "description"), [("", ""), ("x" * 192, ""), ("r", "x" * 501)])
def test_words_that_do_not_fit_are_an_error_and_nothing_is_written(mandate, ledger, reference, description):
    with pytest.raises(ValueError, match="characters"):
        services.charge(mandate, 12_900, reference=reference, description=description)
    assert (Charge.objects.count(), ledger()) == (0, [])


def test_a_refusal_is_kept_with_its_reason_and_asks_nobody(mandate, ledger):
    refused = refusal(mandate, 15_000)
    assert refused.code == "amount_not_agreed"
    assert refused.charge.status == "refused"
    assert refused.charge.refusal_code == "amount_not_agreed"
    with pytest.raises(ChargeRefused):
        refused.charge.raise_for_status()
    assert ledger() == []


def test_a_refused_charge_may_be_asked_for_again_when_the_facts_have_changed(mandate, ledger):
    services.hold(mandate, by="staff:han", reason="a complaint")
    assert refusal(mandate, 12_900, "2026-11").code == "mandate_not_active"

    services.resume(mandate, by="staff:han", reason="settled")
    assert services.charge(mandate, 12_900, reference="2026-11").status == "succeeded"
    assert Charge.objects.count() == 1


def test_once_a_period(mandate, ledger):
    services.charge(mandate, 12_900, reference="first")
    assert refusal(mandate, 12_900, "second").code == "period_count_reached"
    assert len(ledger()) == 1


def test_the_next_period_begins_on_the_day_of_the_month_in_seoul(mandate):
    # 15:30 UTC on the 21st is half past midnight on the 22nd in Seoul.
    mandate.activated_at = datetime(2026, 11, 21, 15, 30, tzinfo=UTC)
    mandate.save()
    services.charge(mandate, 12_900, reference="first")
    Charge.objects.update(due_at=mandate.activated_at)

    def code(*moment):
        return services.can_charge(mandate, 12_900, at=datetime(*moment, tzinfo=UTC)).code

    assert code(2026, 12, 21, 14, 59) == "period_count_reached"
    assert code(2026, 12, 21, 15, 0) == ""


def test_one_time_is_used_once(save_card):
    mandate = save_card(PublishedTerms(slug="once", frequency="one_time", period=None, amount=50_000))
    services.charge(mandate, 50_000, reference="only")
    assert refusal(mandate, 50_000, "again").code == "already_used"


def test_up_to_the_limit_of_the_period_and_not_above(save_card):
    mandate = save_card(as_used_terms(period="month"))
    for number in range(3):
        services.charge(mandate, 30_000, reference=f"order-{number}")
    assert refusal(mandate, 10_001, "too-much").code == "period_amount_reached"
    assert services.charge(mandate, 10_000, reference="exactly").status == "succeeded"


def test_a_declined_charge_is_a_state_and_frees_the_period(mandate):
    control.decline_next("card_declined", "insufficient_funds")
    declined = services.charge(mandate, 12_900, reference="first")

    assert (declined.status, declined.failure_code, declined.decline_code) == (
        "declined",
        "card_declined",
        "insufficient_funds",
    )
    with pytest.raises(Declined):
        declined.raise_for_status()
    assert services.charge(mandate, 12_900, reference="second").status == "succeeded"


def test_the_issuer_wants_the_customer_to_be_there(mandate):
    control.require_action_next()
    waiting = services.charge(mandate, 12_900, reference="first")
    assert waiting.status == "action_required"
    with pytest.raises(ActionRequired):
        waiting.raise_for_status()
    # It may still be paid, so it keeps its place in the period.
    assert refusal(mandate, 12_900, "second").code == "period_count_reached"


def test_processing_is_settled_by_the_webhook(mandate):
    control.processing_next()
    charge = services.charge(mandate, 12_900, reference="first")
    assert charge.status == "processing"

    control.settle(charge.stripe_id)
    charge.refresh_from_db()
    assert charge.status == "succeeded"


def test_a_card_gone_at_stripe_is_a_decline_and_not_a_crash(mandate):
    control.set_delivery("dropped")
    control.detach(mandate.payment_method.stripe_id)
    charge = services.charge(mandate, 12_900, reference="first")
    assert charge.status == "declined"
    assert charge.failure_code


@pytest.mark.parametrize("effects", [["before"] * 3, ["after", "before", "before"]])
def test_an_answer_that_never_comes_is_unknown_and_settled_under_the_same_key(mandate, ledger, no_waiting, effects):
    control.set_delivery("dropped")
    for effect in effects:  # as often as the SDK tries
        control.fail_next("POST", "/v1/payment_intents", effect=effect, status="timeout")
    unknown = services.charge(mandate, 12_900, reference="first")
    assert unknown.status == "unknown"
    with pytest.raises(OutcomeUnknown):
        unknown.raise_for_status()
    assert refusal(mandate, 12_900, "second").code == "period_count_reached"

    assert services.charge(mandate, 12_900, reference="first").status == "succeeded"
    assert len(ledger()) == 1


def test_after_a_day_the_key_is_never_used_again(mandate, ledger, no_waiting):
    for _ in range(3):
        control.fail_next("POST", "/v1/payment_intents", effect="before", status="timeout")
    services.charge(mandate, 12_900, reference="first")
    Charge.objects.update(first_sent_at=timezone.now() - timedelta(hours=23))

    assert services.charge(mandate, 12_900, reference="first").status == "unknown"
    assert ledger() == []


def test_what_was_withdrawn_meanwhile_is_not_sent_again(mandate, ledger, no_waiting):
    for _ in range(3):
        control.fail_next("POST", "/v1/payment_intents", effect="before", status="timeout")
    services.charge(mandate, 12_900, reference="first")
    services.revoke(mandate, by="customer", reason="enough")

    assert services.charge(mandate, 12_900, reference="first").status == "unknown"
    assert ledger() == []


def test_a_sender_that_died_leaves_its_charge_to_the_next(mandate, ledger):
    charge = services.charge(mandate, 12_900, reference="first")
    now = timezone.now()
    held = {"status": "sending", "stripe_id": None, "next_step_at": now + timedelta(minutes=1)}
    Charge.objects.filter(pk=charge.pk).update(**held)
    assert services.charge(mandate, 12_900, reference="first").status == "sending"

    Charge.objects.filter(pk=charge.pk).update(next_step_at=now - timedelta(seconds=1))
    assert services.charge(mandate, 12_900, reference="first").status == "succeeded"
    assert len(ledger()) == 1


def test_a_key_that_may_not_charge_is_said_to_the_caller(mandate):
    control.fail_next("POST", "/v1/payment_intents", status=401)
    with pytest.raises(StripeRefusedKey):
        services.charge(mandate, 12_900, reference="first")
    assert Charge.objects.get().status == "ready"

    assert services.charge(mandate, 12_900, reference="first").status == "succeeded"


def test_never_inside_a_transaction(mandate, ledger):
    with transaction.atomic(), pytest.raises(InsideTransaction):
        services.charge(mandate, 12_900, reference="first")
    assert ledger() == []


def test_the_kill_switch(mandate, settings):
    settings.KRCARD_CHARGING_PAUSED = True
    assert refusal(mandate, 12_900).code == "charging_paused"


def test_a_mandate_of_test_mode_is_not_charged_with_a_live_key(mandate, settings):
    settings.KRCARD_SANDBOX = False
    settings.STRIPE_SECRET_KEY = "sk_live_not_a_key"
    assert refusal(mandate, 12_900).code == "mode_mismatch"


def test_a_consent_whose_record_was_changed_carries_no_charge(mandate, ledger):
    tamper("UPDATE krcard_consent SET text = 'Anything goes.'")
    assert refusal(mandate, 12_900).code == "consent_record_broken"
    assert ledger() == []


def test_asking_changes_nothing(mandate, ledger):
    before = mandate.timeline.count()
    assert services.can_charge(mandate, 12_900).allowed
    assert services.can_charge(mandate, 1_000).code == "amount_not_agreed"
    assert (mandate.timeline.count(), Charge.objects.count(), ledger()) == (before, 0, [])


def test_a_payment_intent_that_is_not_this_charges_is_not_applied(mandate, caplog):
    charge = services.charge(mandate, 12_900, reference="first")
    Charge.objects.filter(pk=charge.pk).update(amount=13_000, status="processing")
    charge.refresh_from_db()
    assert outcomes.apply(charge, gateway.retrieve_payment_intent(charge.stripe_id)).status == "processing"
    assert "is not that of charge" in caplog.text
