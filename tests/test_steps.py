"""What happens to a charge that nobody waits for."""

from datetime import timedelta

import pytest
from django.utils import timezone

from django_krcard import gateway, services
from django_krcard.exceptions import (
    ChargeRefused,
    DatabaseIsBehind,
    KrcardError,
    ReferenceConflict,
    StripeRefusedKey,
    StripeUnavailable,
)
from django_krcard.models import Charge, Mandate, Notice, Watermark
from django_krcard.sandbox import control
from django_krcard.sandbox.models import Resource
from django_krcard.services import backup, charges, steps
from django_krcard.services.acts import finish
from tests.factories import PublishedTerms, as_used_terms

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("krcard_clock", "no_waiting")]


@pytest.fixture
def run():
    """Everything that is due now."""
    return lambda: list(services.run_due())


def the_charge():
    return Charge.objects.get()


def in_days(days):
    return timezone.now() + timedelta(days=days)


def lose_answers(*effects):
    for effect in effects:
        control.fail_next("POST", "/v1/payment_intents", effect=effect, status="timeout")


def unknown_charge(mandate, *effects):
    """A charge that was sent three times, and no answer came."""
    control.set_delivery("dropped")
    lose_answers(*(effects or ["before"] * 3))
    assert services.charge(mandate, 12_900, reference="r").status == "unknown"
    return the_charge()


# --- scheduled ------------------------------------------------------------------------------------


def test_a_scheduled_charge_is_sent_when_it_is_due_and_not_before(mandate, ledger, krcard_clock, run):
    charge = services.schedule_charge(mandate, 12_900, reference="r", due_at=in_days(3), description="12월 이용료")
    assert charge.status == "scheduled"
    assert (run(), ledger()) == ([], [])

    krcard_clock.advance(days=3, minutes=1)
    (sent,) = run()
    assert (sent.pk, sent.status) == (charge.pk, "succeeded")
    assert [paid["description"] for paid in ledger()] == ["12월 이용료"]
    assert run() == []


def test_the_same_schedule_twice_is_one_and_another_time_is_a_conflict(mandate):
    due = in_days(3)
    first = services.schedule_charge(mandate, 12_900, reference="r", due_at=due)
    assert services.schedule_charge(mandate, 12_900, reference="r", due_at=due) == first
    with pytest.raises(ReferenceConflict):
        services.schedule_charge(mandate, 12_900, reference="r", due_at=due + timedelta(days=1))
    with pytest.raises(ReferenceConflict):
        services.schedule_charge(mandate, 13_000, reference="r", due_at=due)


def test_a_moment_without_a_zone_is_no_moment(mandate):
    with pytest.raises(ValueError, match="time zone"):
        services.schedule_charge(mandate, 12_900, reference="r", due_at=in_days(1).replace(tzinfo=None))


def test_what_the_terms_can_never_cover_is_not_scheduled(mandate):
    with pytest.raises(ChargeRefused) as refused:
        services.schedule_charge(mandate, 15_000, reference="r", due_at=in_days(1))
    assert refused.value.code == "amount_not_agreed"
    assert the_charge().status == "refused"


def test_two_plans_for_one_period_are_one_too_many(mandate):
    services.schedule_charge(mandate, 12_900, reference="first", due_at=in_days(1))
    with pytest.raises(ChargeRefused) as refused:
        services.schedule_charge(mandate, 12_900, reference="second", due_at=in_days(2))
    assert refused.value.code == "period_count_reached"
    services.schedule_charge(mandate, 12_900, reference="next month", due_at=in_days(40))


def test_a_scheduled_charge_waits_while_the_mandate_is_on_hold(mandate, ledger, krcard_clock, run):
    services.schedule_charge(mandate, 12_900, reference="r", due_at=in_days(1))
    services.hold(mandate, by="staff:han", reason="a question")
    krcard_clock.advance(days=1, minutes=1)
    run()
    assert (the_charge().status, ledger()) == ("scheduled", [])

    services.resume(mandate, by="staff:han", reason="answered")
    krcard_clock.advance(hours=2)
    run()
    assert the_charge().status == "succeeded"


def test_what_waited_too_long_is_not_charged_by_surprise(mandate, ledger, krcard_clock, run, settings):
    services.schedule_charge(mandate, 12_900, reference="r", due_at=in_days(1))
    krcard_clock.advance(days=9)
    run()
    assert (the_charge().status, the_charge().refusal_code) == ("refused", "overdue")
    assert ledger() == []


def test_a_withdrawal_cancels_what_is_scheduled(mandate, ledger, krcard_clock, run):
    services.schedule_charge(mandate, 12_900, reference="r", due_at=in_days(1))
    services.revoke(mandate, by="customer", reason="enough")
    krcard_clock.advance(days=2)
    assert (run(), the_charge().status, ledger()) == ([], "cancelled", [])


def test_a_plan_can_be_cancelled_and_a_payment_cannot(mandate, ledger, krcard_clock, run):
    plan = services.schedule_charge(mandate, 12_900, reference="r", due_at=in_days(1))
    assert services.cancel_charge(plan, by="staff:han", reason="ordered twice").status == "cancelled"
    krcard_clock.advance(days=2)
    assert (run(), ledger()) == ([], [])

    paid = services.charge(mandate, 12_900, reference="paid")
    with pytest.raises(KrcardError):
        services.cancel_charge(paid, by="staff:han", reason="too late")


def test_what_was_to_be_cancelled_is_not_tried_again_though_stripe_did_not_answer(save_card, ledger, krcard_clock, run):
    mandate = save_card(PublishedTerms(slug="patient", max_retries=2, retry_after_days=2))
    control.decline_next("insufficient_funds")
    declined = services.charge(mandate, 12_900, reference="r")
    for _ in range(3):  # as often as the SDK tries
        control.fail_next("POST", "/v1/payment_intents", status="timeout")
    with pytest.raises(StripeUnavailable):
        services.cancel_charge(declined, by="staff:han", reason="a complaint")
    krcard_clock.advance(days=3)
    run()
    assert [paid["status"] for paid in ledger()] == ["requires_payment_method"]


def test_the_kill_switch_stops_the_run_and_loses_nothing(mandate, ledger, krcard_clock, run, settings):
    services.schedule_charge(mandate, 12_900, reference="r", due_at=in_days(1))
    krcard_clock.advance(days=1, minutes=1)
    settings.KRCARD_CHARGING_PAUSED = True
    run()
    assert (the_charge().status, ledger()) == ("scheduled", [])


def test_a_key_that_is_refused_stops_the_run(save_card, ledger, krcard_clock, run):
    for number in range(3):
        customer = services.get_or_create_customer(reference=f"org-{number}")
        mandate = save_card(PublishedTerms(slug=f"plan-{number}"), customer=customer)
        services.schedule_charge(mandate, 12_900, reference="r", due_at=in_days(1))
    krcard_clock.advance(days=1, minutes=1)
    control.fail_next("POST", "/v1/payment_intents", status=401)
    with pytest.raises(StripeRefusedKey):
        run()
    assert sorted(Charge.objects.values_list("status", flat=True)) == ["ready", "scheduled", "scheduled"]

    krcard_clock.advance(minutes=2)
    run()
    assert {paid["status"] for paid in ledger()} == {"succeeded"}
    assert len(ledger()) == 3


# --- declined -------------------------------------------------------------------------------------


@pytest.fixture
def patient(save_card):
    """A mandate whose terms allow two more tries, two days apart."""
    return save_card(PublishedTerms(slug="patient", max_retries=2, retry_after_days=2))


def test_a_soft_decline_is_tried_again_as_the_terms_say(patient, ledger, krcard_clock, run):
    for _ in range(3):
        control.decline_next("insufficient_funds")
    assert services.charge(patient, 12_900, reference="r").status == "declined"
    for day in range(1, 10):
        krcard_clock.advance(days=1)
        run()
        assert the_charge().attempt == min(1 + day // 2, 3)
    # One payment at Stripe, however often it was tried: it can succeed only once.
    assert [(paid["status"], paid["amount"]) for paid in ledger()] == [("requires_payment_method", 12_900)]
    assert the_charge().next_step_at is None


def test_a_retry_that_succeeds_is_the_same_payment(patient, ledger, krcard_clock, run):
    control.decline_next("insufficient_funds")
    declined = services.charge(patient, 12_900, reference="r")
    krcard_clock.advance(days=2, minutes=1)
    run()
    assert [(paid["id"], paid["status"]) for paid in ledger()] == [(declined.stripe_id, "succeeded")]
    assert (the_charge().status, the_charge().attempt, the_charge().failure_code) == ("succeeded", 2, "")


@pytest.mark.parametrize("code", ["lost_card", "stolen_card", "invalid_account", "fraudulent"])
def test_a_hard_decline_is_never_tried_again(patient, krcard_clock, run, code):
    control.decline_next(code)
    services.charge(patient, 12_900, reference="r")
    assert the_charge().next_step_at is None


def test_terms_that_say_nothing_of_retries_allow_none(mandate):
    control.decline_next("insufficient_funds")
    services.charge(mandate, 12_900, reference="r")
    assert the_charge().next_step_at is None


def test_no_retry_after_a_withdrawal(patient, ledger, krcard_clock, run):
    control.decline_next("insufficient_funds")
    services.charge(patient, 12_900, reference="r")
    services.revoke(patient, by="customer", reason="enough")
    krcard_clock.advance(days=3)
    run()
    assert [paid["status"] for paid in ledger()] == ["requires_payment_method"]


def test_no_retry_in_another_period(patient, ledger, krcard_clock, run):
    krcard_clock.advance(days=29)
    control.decline_next("insufficient_funds")
    services.charge(patient, 12_900, reference="r")
    assert the_charge().next_step_at is None


def test_no_retry_when_the_period_was_paid_otherwise(patient, ledger, krcard_clock, run):
    control.decline_next("insufficient_funds")
    services.charge(patient, 12_900, reference="r")
    services.charge(patient, 12_900, reference="another way")
    krcard_clock.advance(days=3)
    run()
    assert sorted(paid["status"] for paid in ledger()) == ["requires_payment_method", "succeeded"]
    assert patient.timeline.filter(kind="charge_retry_refused", data__code="period_count_reached").exists()


def test_a_customer_who_told_the_issuer_to_stop_puts_the_mandate_on_hold(patient):
    control.decline_next("revocation_of_authorization")
    services.charge(patient, 12_900, reference="r")
    patient.refresh_from_db()
    assert patient.status == Mandate.Status.ON_HOLD


def test_a_card_removed_at_stripe_is_a_decline_and_is_noticed(mandate, ledger):
    control.set_delivery("dropped")
    control.detach(mandate.payment_method.stripe_id)
    charge = services.charge(mandate, 12_900, reference="r")
    mandate.payment_method.refresh_from_db()
    assert (charge.status, ledger()) == ("declined", [])
    assert mandate.payment_method.detached_at
    assert not services.can_charge(mandate, 12_900).allowed


# --- no answer ------------------------------------------------------------------------------------


def test_what_was_never_heard_of_is_sent_again_under_its_key(mandate, ledger, krcard_clock, run):
    unknown_charge(mandate)
    krcard_clock.advance(hours=1)
    run()
    assert the_charge().status == "succeeded"
    assert len(ledger()) == 1


def test_a_stored_500_is_asked_for_a_few_times_and_then_looked_up(mandate, ledger, krcard_clock, run):
    control.set_delivery("dropped")
    control.fail_next("POST", "/v1/payment_intents", effect="after", status=500)
    assert services.charge(mandate, 12_900, reference="r").status == "unknown"
    for _ in range(12):
        krcard_clock.advance(hours=2)
        run()
    assert the_charge().status == "succeeded"
    assert the_charge().sends <= charges.MAX_SENDS
    assert len(ledger()) == 1


def test_after_a_day_it_is_looked_up_and_taken_over(mandate, ledger, krcard_clock, run):
    unknown_charge(mandate, "after", "before", "before")
    krcard_clock.advance(hours=30)
    run()
    assert (the_charge().status, the_charge().stripe_id) == ("succeeded", ledger()[0]["id"])
    assert the_charge().sends == 3


def test_what_is_not_in_the_list_twice_was_never_created_and_may_be_asked_for_anew(mandate, ledger, krcard_clock, run):
    unknown_charge(mandate)
    krcard_clock.advance(hours=26)
    run()
    assert the_charge().status == "unknown"
    assert services.can_charge(mandate, 12_900).code == "period_count_reached"
    krcard_clock.advance(hours=1, minutes=1)
    run()
    assert (the_charge().status, the_charge().failure_code) == ("cancelled", "not_created")

    assert services.charge(mandate, 12_900, reference="r").status == "succeeded"
    assert len(ledger()) == 1


def test_a_look_that_failed_says_nothing(mandate, krcard_clock, run):
    unknown_charge(mandate)
    krcard_clock.advance(hours=26)
    for _ in range(3):  # as often as the SDK tries
        control.fail_next("GET", "/v1/payment_intents", status=500)
    finish(steps.step(the_charge().pk))
    assert (the_charge().status, the_charge().empty_looks) == ("unknown", 0)


def test_what_was_withdrawn_is_looked_up_and_not_sent(mandate, ledger, krcard_clock, run):
    unknown_charge(mandate)
    services.revoke(mandate, by="customer", reason="enough")
    for _ in range(30):
        krcard_clock.advance(hours=1, minutes=1)
        run()
    assert ledger() == []
    assert (the_charge().status, the_charge().failure_code) == ("cancelled", "not_created")


def test_found_open_and_not_covered_any_more_is_cancelled_at_stripe(mandate, ledger, krcard_clock, run):
    control.set_delivery("dropped")
    control.require_action_next()
    lose_answers("after", "before", "before")
    assert services.charge(mandate, 12_900, reference="r").status == "unknown"
    services.revoke(mandate, by="customer", reason="enough")
    krcard_clock.advance(hours=2)
    run()
    assert [paid["status"] for paid in ledger()] == ["canceled"]
    assert the_charge().status == "cancelled"


def test_a_retry_without_an_answer_is_asked_about_by_its_id(patient, ledger, krcard_clock, run):
    control.set_delivery("dropped")
    control.decline_next("insufficient_funds")
    services.charge(patient, 12_900, reference="r")
    krcard_clock.advance(days=2, minutes=1)
    control.fail_next("POST", "/v1/payment_intents", effect="after", status="timeout")
    run()
    assert the_charge().status == "unknown"
    krcard_clock.advance(hours=1)
    run()
    assert the_charge().status == "succeeded"
    assert len(ledger()) == 1


def test_429_leaves_the_charge_ready_and_it_is_sent_later(mandate, ledger, krcard_clock, run):
    for _ in range(3):
        control.fail_next("POST", "/v1/payment_intents", status=429)
    assert services.charge(mandate, 12_900, reference="r").status == "ready"
    krcard_clock.advance(minutes=2)
    run()
    assert the_charge().status == "succeeded"


# --- not over yet ---------------------------------------------------------------------------------


def test_a_payment_in_process_is_asked_about(mandate, krcard_clock, run):
    control.set_delivery("dropped")
    control.processing_next()
    charge = services.charge(mandate, 12_900, reference="r")
    control.settle(charge.stripe_id)
    krcard_clock.advance(hours=2)
    run()
    assert the_charge().status == "succeeded"


def test_a_customer_who_does_not_come_cannot_pay_by_surprise_later(mandate, ledger, krcard_clock, run):
    control.require_action_next()
    assert services.charge(mandate, 12_900, reference="r").status == "action_required"
    krcard_clock.advance(hours=71)
    run()
    assert the_charge().status == "action_required"
    krcard_clock.advance(hours=2)
    run()
    assert the_charge().status == "cancelled"
    assert [paid["status"] for paid in ledger()] == ["canceled"]
    assert services.charge(mandate, 12_900, reference="next").status == "succeeded"


@pytest.mark.parametrize("stop", [services.revoke, services.hold])
def test_what_is_stopped_while_stripe_makes_us_wait_is_not_sent(mandate, ledger, krcard_clock, run, monkeypatch, stop):
    """After a 429 a turn may be half a minute away."""
    services.schedule_charge(mandate, 12_900, reference="r", due_at=in_days(1))
    krcard_clock.advance(days=1, minutes=1)
    given_back = []
    monkeypatch.setattr(gateway, "take_turn_to_charge", lambda: False)
    monkeypatch.setattr(gateway, "wait_to_charge", lambda: stop(mandate, by="customer", reason="enough"))
    monkeypatch.setattr(gateway, "give_turn_back", lambda: given_back.append(1))
    run()
    assert (ledger(), given_back) == ([], [1])
    assert the_charge().first_sent_at is None


@pytest.mark.parametrize("stop", [services.revoke, services.hold])
def test_nor_is_what_somebody_asks_for_at_once(mandate, ledger, monkeypatch, stop):
    given_back = []
    monkeypatch.setattr(gateway, "take_turn_to_charge", lambda: False)
    monkeypatch.setattr(gateway, "wait_to_charge", lambda: stop(mandate, by="customer", reason="enough"))
    monkeypatch.setattr(gateway, "give_turn_back", lambda: given_back.append(1))
    with pytest.raises(ChargeRefused):
        services.charge(mandate, 12_900, reference="r")
    assert (ledger(), given_back) == ([], [1])
    assert the_charge().first_sent_at is None


def test_what_has_its_answer_waits_for_no_turn(mandate, ledger, monkeypatch):
    paid = services.charge(mandate, 12_900, reference="r")
    monkeypatch.setattr(gateway, "take_turn_to_charge", lambda: pytest.fail("It waits."))
    monkeypatch.setattr(gateway, "give_turn_back", lambda: pytest.fail("It had none."))
    assert services.charge(mandate, 12_900, reference="r") == paid
    assert len(ledger()) == 1


def test_nor_is_what_is_asked_for_again_after_an_answer_that_said_nothing(mandate, ledger, monkeypatch, no_waiting):
    control.fail_next("POST", "/v1/payment_intents", effect="before", status=500)
    monkeypatch.setattr(gateway, "wait_to_charge", lambda: services.revoke(mandate, by="customer", reason="enough"))
    assert services.charge(mandate, 12_900, reference="r").status == "unknown"
    assert (ledger(), the_charge().sends) == ([], 1)


@pytest.mark.parametrize("amount", [12_900.0, "12900", True, 99])
def test_what_is_no_amount_is_not_planned_either_while_charging_is_paused(mandate, settings, amount):
    settings.KRCARD_CHARGING_PAUSED = True
    with pytest.raises(ChargeRefused) as refused:
        services.schedule_charge(mandate, amount, reference="r", due_at=in_days(1))
    assert (refused.value.code, mandate.charges.count()) == ("amount_invalid", 0)


# --- a restored backup ----------------------------------------------------------------------------


def restore_yesterday():
    """The rows of today are gone, and the process was started anew."""
    Notice.objects.all().delete()
    Charge.objects.all().delete()
    backup._looked.clear()


@pytest.mark.parametrize("later", [timedelta(minutes=1), timedelta(days=3)])
def test_a_restored_database_charges_nothing_twice(save_card, ledger, krcard_clock, run, later):
    mandate = save_card(as_used_terms(period="month", max_charges_per_period=3))
    backup.refuse_if_behind(again=True)
    services.charge(mandate, 1_000, reference="r")
    krcard_clock.advance(later)
    restore_yesterday()

    with pytest.raises(DatabaseIsBehind):
        services.charge(mandate, 1_000, reference="r")
    with pytest.raises(DatabaseIsBehind):
        run()
    for orphan in list(backup.orphans()):
        assert backup.adopt(orphan).status == "succeeded"
    assert services.charge(mandate, 1_000, reference="r").status == "succeeded"
    assert len(ledger()) == 1


def test_also_under_a_process_that_goes_on(save_card, ledger, krcard_clock):
    """Web workers are not started anew when somebody restores the database. In memory they have looked."""
    mandate = save_card(as_used_terms(period="month", max_charges_per_period=3))
    services.charge(mandate, 1_000, reference="before")
    marks = list(Watermark.objects.all())
    krcard_clock.advance(hours=2)
    services.charge(mandate, 1_000, reference="r")
    Notice.objects.all().delete()
    Charge.objects.filter(reference="r").delete()
    Watermark.objects.all().delete()
    Watermark.objects.bulk_create(marks)
    krcard_clock.advance(days=2)

    with pytest.raises(DatabaseIsBehind):
        services.charge(mandate, 1_000, reference="r")
    assert len(ledger()) == 2


def test_a_database_that_was_compared_within_the_hour_is_not_compared_again(mandate, krcard_clock, monkeypatch):
    looks = []
    kept = backup.orphans
    monkeypatch.setattr(backup, "orphans", lambda *since: looks.append(1) or kept(*since))
    backup.refuse_if_behind(again=True)
    for minutes, looked in ((1, 1), (50, 1), (15, 2), (1, 2)):
        krcard_clock.advance(minutes=minutes)
        backup.refuse_if_behind()
        assert len(looks) == looked


@pytest.mark.parametrize(("unanswered", "at_first"), [(0, "succeeded"), (3, "unknown")])  # as often as the SDK tries
def test_a_retry_of_what_was_paid_before_the_backup_was_restored_is_no_failure(
    patient, ledger, krcard_clock, run, mailoutbox, unanswered, at_first
):
    control.set_delivery("dropped")
    control.decline_next("insufficient_funds")
    charge = services.charge(patient, 12_900, reference="r")
    yesterday = Charge.objects.filter(pk=charge.pk).values().get()
    krcard_clock.advance(days=2, minutes=1)
    run()
    assert [paid["status"] for paid in ledger()] == ["succeeded"]
    Charge.objects.filter(pk=charge.pk).update(**yesterday)
    told = len(mailoutbox)
    for _ in range(unanswered):
        control.fail_next("GET", f"/v1/payment_intents/{charge.stripe_id}")
    krcard_clock.advance(days=1)
    run()
    assert (the_charge().status, the_charge().failure_code) == (
        at_first,
        "" if at_first == "succeeded" else "payment_intent_unexpected_state",
    )
    krcard_clock.advance(hours=1)
    run()
    assert (the_charge().status, the_charge().failure_code) == ("succeeded", "")
    assert len(mailoutbox) == told, "that it was paid they know, and that it failed is not so"


def test_a_row_that_was_not_sent_yet_when_the_backup_was_made_is_no_proof(mandate, ledger, krcard_clock, run):
    backup.refuse_if_behind(again=True)
    services.schedule_charge(mandate, 12_900, reference="r", due_at=in_days(0.1))
    yesterday = the_charge()
    krcard_clock.advance(hours=3)
    run()
    krcard_clock.advance(days=3)
    restore_yesterday()
    Charge.objects.bulk_create([yesterday])

    with pytest.raises(DatabaseIsBehind):
        run()
    (orphan,) = backup.orphans()
    assert backup.adopt(orphan).status == "succeeded"
    run()
    assert (len(ledger()), the_charge().stripe_id) == (1, ledger()[0]["id"])


def test_what_was_refused_when_the_backup_was_made_is_taken_over_all_the_same(mandate, ledger, krcard_clock):
    backup.refuse_if_behind(again=True)
    services.hold(mandate, by="staff:han", reason="a question")
    with pytest.raises(ChargeRefused):
        services.charge(mandate, 12_900, reference="r")
    yesterday = the_charge()
    services.resume(mandate, by="staff:han", reason="answered")
    services.charge(mandate, 12_900, reference="r")
    krcard_clock.advance(days=2)
    restore_yesterday()
    Charge.objects.bulk_create([yesterday])

    with pytest.raises(DatabaseIsBehind):
        services.charge(mandate, 12_900, reference="r")
    (orphan,) = backup.orphans()
    assert backup.adopt(orphan).status == "succeeded"
    assert len(ledger()) == 1


def test_payments_of_other_sites_on_the_account_are_not_ours(mandate, run):
    theirs = Resource.objects.filter(kind="payment_intent")
    services.charge(mandate, 12_900, reference="r")
    row = theirs.get()
    row.body["metadata"]["krcard_mandate"] = "00000000-0000-4000-8000-000000000000"
    row.save()
    restore_yesterday()
    run()


# --- cards nobody uses any more -------------------------------------------------------------------


def test_a_card_that_stripe_did_not_remove_is_removed_by_a_later_run(mandate, krcard_clock, run):
    for _ in range(3):  # as often as the SDK tries
        control.fail_next("POST", "/v1/payment_methods", status="timeout")
    services.revoke(mandate, by="customer", reason="enough")
    card = mandate.payment_method
    card.refresh_from_db()
    assert card.detached_at is None
    run()
    card.refresh_from_db()
    assert card.detached_at is None, "not at once again"

    krcard_clock.advance(minutes=16)
    run()
    card.refresh_from_db()
    assert card.detached_at


def test_what_is_taken_over_is_not_told_to_the_customer_again(mandate, mailoutbox, krcard_clock):
    backup.refuse_if_behind(again=True)
    services.charge(mandate, 12_900, reference="r")
    restore_yesterday()
    (orphan,) = backup.orphans()
    backup.adopt(orphan)
    assert the_charge().status == "succeeded"
    assert len(mailoutbox) == 1


def test_a_key_of_the_other_mode_is_not_asked_about_charges_it_cannot_know(mandate, krcard_clock, run, settings):
    charge = unknown_charge(mandate)
    mandate.customer.livemode = True
    mandate.customer.save()
    for _ in range(30):
        krcard_clock.advance(hours=1)
        run()
    charge.refresh_from_db()
    assert (charge.status, charge.empty_looks) == ("unknown", 0)
