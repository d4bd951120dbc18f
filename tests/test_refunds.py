"""Money back: once for each reference, never more than was paid, whatever Stripe's answers do."""

import itertools
import json
import random
from datetime import timedelta

import pytest
from django.db import transaction
from django.utils import timezone

from django_krcard import gateway, services
from django_krcard.exceptions import (
    GatewayError,
    InsideTransaction,
    KeyReused,
    RateLimited,
    ReferenceConflict,
    RefundRefused,
    StripeRefusedKey,
    StripeUnavailable,
)
from django_krcard.models import Charge, Event, Notice, Refund
from django_krcard.sandbox import control
from django_krcard.sandbox.models import Event as Message
from django_krcard.services import refunded, refunds
from django_krcard.services.acts import finish
from django_krcard.signals import charge_refunded
from django_krcard.testing.sandbox import books
from django_krcard.webhooks.handlers import HANDLERS
from tests.factories import as_used_terms
from tests.test_concurrency import AT_ONCE, all_at_once

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("krcard_clock", "no_waiting")]

PAID = 12_900


@pytest.fixture
def paid(mandate):
    """What Minji has paid."""
    return services.charge(mandate, PAID, reference="2026-11")


@pytest.fixture
def heard():
    """Every ``charge_refunded`` that was sent, as (reference, amount)."""
    told = []

    def hear(sender, charge, refund, **kwargs):
        told.append((refund.reference, refund.amount))

    charge_refunded.connect(hear)
    yield told
    charge_refunded.disconnect(hear)


def back(charge):
    """What went back at Stripe, oldest first."""
    return [row["amount"] for row in books("refund") if row["payment_intent"] == charge.stripe_id]


def refusal(charge, amount=None, reference="r"):
    with pytest.raises(RefundRefused) as refused:
        services.refund(charge, amount, reference=reference)
    assert str(refused.value)
    return refused.value.code


def in_dashboard(charge, amount):
    """Somebody pays back in Stripe's dashboard, and no message reaches us."""
    control.set_delivery("dropped")
    made = gateway.create_refund({"payment_intent": charge.stripe_id, "amount": amount}, key=f"dashboard-{amount}")
    control.set_delivery("now")
    return made


def fail(status, effect="before", times=1):
    for _ in range(times):
        control.fail_next("POST", "/v1/refunds", effect=effect, status=status)


def step(refund):
    return finish(refunds.step(refund.pk))


def agrees_with_stripe(charge):
    charge.refresh_from_db()
    return charge.refunded_amount == gateway.retrieve_payment_intent(charge.stripe_id).refunded


# --- paying back ----------------------------------------------------------------------------------


def test_all_of_it_goes_back_once_and_everybody_is_told_once(paid, heard):
    refund = services.refund(paid, reference="goodwill", reason="the service was down", by="staff:han")

    (at_stripe,) = books("refund")
    assert (refund.status, refund.amount, refund.stripe_id) == ("succeeded", PAID, at_stripe["id"])
    assert at_stripe["amount"] == PAID
    assert at_stripe["metadata"] == {
        "krcard_refund_reference": "goodwill",
        "krcard_mandate": str(paid.mandate.public_id),
        "krcard_reference": "2026-11",
    }
    assert agrees_with_stripe(paid)
    assert heard == [("goodwill", PAID)]
    timeline = paid.mandate.timeline
    asked = timeline.get(kind="refund_requested")
    assert (asked.actor, asked.data["reason"]) == ("staff:han", "the service was down")
    assert timeline.get(kind="charge_refunded").data["amount"] == PAID
    assert Notice.objects.filter(kind=Notice.Kind.CHARGE_REFUNDED).count() == 1


def test_in_parts_and_then_the_rest(paid, heard):
    for number, amount in enumerate([5_000, 1, None]):
        services.refund(paid, amount, reference=str(number))
    assert back(paid) == [5_000, 1, 7_899]
    assert agrees_with_stripe(paid)
    assert heard == [("0", 5_000), ("1", 1), ("2", 7_899)]
    assert refusal(paid) == "too_much"
    assert refusal(paid, 1) == "too_much"


def test_never_more_than_what_is_left(paid):
    services.refund(paid, 10_000, reference="a")
    assert refusal(paid, 2_901) == "too_much"
    assert back(paid) == [10_000]
    assert Refund.objects.count() == 1


@pytest.mark.parametrize("again", [5_000, None])
def test_the_same_reference_is_the_same_refund(paid, again, heard):
    first = services.refund(paid, 5_000, reference="a")
    assert services.refund(paid, again, reference="a") == first
    assert back(paid) == [5_000]
    assert heard == [("a", 5_000)]


def test_the_same_reference_for_another_amount_is_a_conflict(paid):
    services.refund(paid, 5_000, reference="a")
    with pytest.raises(ReferenceConflict):
        services.refund(paid, 5_001, reference="a")
    assert back(paid) == [5_000]


def test_the_same_reference_of_another_charge_is_another_refund(save_card):
    mandate = save_card(as_used_terms())
    for number in "12":
        charge = services.charge(mandate, 1_000, reference=number)
        services.refund(charge, reference="a")
        assert back(charge) == [1_000]


def test_signs_in_the_references_make_no_two_refunds_one(save_card):
    mandate = save_card(as_used_terms())
    for charge, refund in [("a|b", "c"), ("a", "b|c"), ('a", "b', "c")]:
        services.refund(services.charge(mandate, 1_000, reference=charge), reference=refund)
    assert [row["amount"] for row in books("refund")] == [1_000] * 3
    assert len(set(Refund.objects.values_list("idempotency_key", flat=True))) == 3


@pytest.mark.parametrize("amount", [True, 5_000.0, "5000", 0, -1])
def test_what_is_no_amount_is_refused(paid, amount):
    assert refusal(paid, amount) == "amount_invalid"
    assert (Refund.objects.count(), back(paid)) == (0, [])


@pytest.mark.parametrize("reference", ["", "x" * 192])
def test_a_reference_that_does_not_fit_is_an_error(paid, reference):
    with pytest.raises(ValueError, match="characters"):
        services.refund(paid, reference=reference)
    assert Refund.objects.count() == 0


@pytest.mark.parametrize(("reason", "told"), [("duplicate", "duplicate"), ("she moved away", None)])
def test_stripe_hears_the_reasons_that_it_knows(paid, reason, told):
    assert services.refund(paid, reference="a", reason=reason).reason == reason
    assert [row["reason"] for row in books("refund")] == [told]


def test_what_was_not_paid_is_not_paid_back(mandate):
    control.decline_next()
    charge = services.charge(mandate, PAID, reference="2026-11")
    assert refusal(charge) == "not_succeeded"


@pytest.mark.parametrize(("days", "code"), [(364, ""), (366, "too_old")])
def test_to_korean_cards_within_a_year(paid, krcard_clock, days, code):
    krcard_clock.advance(days=days)
    if code:
        assert refusal(paid) == code
        assert (Refund.objects.count(), back(paid)) == (0, [])
    else:
        assert services.refund(paid, reference="a").status == "succeeded"


def test_for_other_cards_stripe_says_until_when(save_card, membership, krcard_clock):
    charge = services.charge(save_card(membership), PAID, reference="2026-11")
    charge.payment_method.type = "card"
    charge.payment_method.save()
    krcard_clock.advance(days=366)
    # The sandbox knows that it is a Korean card all the same.
    assert services.refund(charge, reference="a").failure_code == "charge_not_refundable"


def test_the_sentence_for_an_old_payment_says_what_to_do(paid, krcard_clock):
    krcard_clock.advance(days=366)
    with pytest.raises(RefundRefused, match=r"365.*") as refused:
        services.refund(paid, reference="a")
    assert refused.value.code == "too_old"


@pytest.mark.parametrize(
    "prepare",
    [
        lambda mandate, settings: services.revoke(mandate, by="customer", reason="enough"),
        lambda mandate, settings: services.hold(mandate, by="staff:han", reason="a complaint"),
        lambda mandate, settings: setattr(settings, "KRCARD_CHARGING_PAUSED", True),
    ],
)
def test_the_gate_for_charges_does_not_stop_money_from_going_back(paid, settings, prepare):
    prepare(paid.mandate, settings)
    assert services.refund(paid, reference="a").status == "succeeded"


def test_not_with_the_key_of_the_other_mode(paid, settings):
    settings.KRCARD_SANDBOX = False
    settings.STRIPE_SECRET_KEY = "sk_live_not_a_key"
    assert refusal(paid) == "mode_mismatch"


def test_never_inside_a_transaction(paid):
    with transaction.atomic(), pytest.raises(InsideTransaction):
        services.refund(paid, reference="a")
    assert back(paid) == []


@pytest.mark.parametrize(
    ("status", "code"),
    [
        ("needs_response", "disputed"),
        ("under_review", "disputed"),
        ("a_new_word", "disputed"),
        ("lost", "disputed"),
        ("warning_needs_response", ""),
        ("won", ""),
    ],
)
def test_what_a_dispute_took_back_is_not_paid_back_once_more(paid, status, code):
    Charge.objects.update(dispute_id="du_1", dispute_status=status)
    if code:
        assert refusal(paid) == code
        assert back(paid) == []
    else:
        assert services.refund(paid, reference="a").status == "succeeded"


# --- what Stripe knows and we do not ---------------------------------------------------------------


def test_what_went_back_in_the_dashboard_is_not_left(paid, heard):
    made = in_dashboard(paid, 10_000)
    assert refusal(paid, 3_000) == "too_much"
    assert services.refund(paid, reference="rest").amount == 2_900

    row = Refund.objects.get(stripe_id=made.id)
    assert (row.reference, row.amount, row.requested_by) == (made.id, 10_000, "stripe")
    assert heard == [(made.id, 10_000), ("rest", 2_900)]
    assert Notice.objects.filter(kind=Notice.Kind.CHARGE_REFUNDED).count() == 2
    assert agrees_with_stripe(paid)


@pytest.mark.parametrize("days", [0, 2])
def test_a_restored_backup_pays_nothing_back_twice(paid, krcard_clock, days):
    services.refund(paid, 5_000, reference="a")
    Refund.objects.all().delete()
    Charge.objects.update(refunded_amount=0)
    krcard_clock.advance(days=days)  # after one day the key has run out

    again = services.refund(paid, 5_000, reference="a")
    assert (again.status, again.reference) == ("succeeded", "a")
    assert back(paid) == [5_000]
    assert agrees_with_stripe(paid)
    # The customer was told when it happened.
    assert Notice.objects.filter(kind=Notice.Kind.CHARGE_REFUNDED).count() == 1


def test_a_backup_from_before_it_was_sent_pays_nothing_back_twice(paid, krcard_clock):
    sent = services.refund(paid, 5_000, reference="a")
    restored = {"status": "ready", "stripe_id": None, "first_sent_at": None, "sends": 0, "next_step_at": timezone.now()}
    Refund.objects.update(**restored)
    krcard_clock.advance(days=2)

    assert step(sent).status == "succeeded"
    assert back(paid) == [5_000]


def test_without_an_answer_to_what_went_back_nothing_is_sent(paid):
    control.fail_next("GET", "/v1/refunds", status="timeout")
    for _ in range(2):
        control.fail_next("GET", "/v1/refunds", status="timeout")
    with pytest.raises(GatewayError):
        services.refund(paid, reference="a")
    assert (Refund.objects.count(), back(paid)) == (0, [])


def test_what_has_its_answer_is_returned_without_asking_stripe(paid):
    first = services.refund(paid, reference="a")
    for _ in range(3):
        control.fail_next("GET", "/v1/refunds", status="timeout")
    assert services.refund(paid, reference="a") == first


def test_a_second_refund_under_one_reference_is_kept_apart_and_loud(paid, caplog):
    first = services.refund(paid, 5_000, reference="a")
    twin = gateway.create_refund({**first.params, "amount": 1_000}, key="somebody's")
    refunds.sync_refunds(paid)
    assert Refund.objects.get(stripe_id=twin.id).reference == twin.id
    assert "bears the reference of another" in caplog.text
    assert agrees_with_stripe(paid)


def test_names_of_another_charge_do_not_fit(paid):
    names = {"krcard_refund_reference": "a", "krcard_mandate": str(paid.mandate.public_id), "krcard_reference": "other"}
    made = gateway.create_refund({"payment_intent": paid.stripe_id, "amount": 1_000, "metadata": names}, key="other")
    refunds.sync_refunds(paid)
    assert Refund.objects.get().reference == made.id


# --- answers that do not come ----------------------------------------------------------------------

FAULTS = [
    *itertools.product(["timeout", 500, 503], ["before", "after"]),
    *((status, "before") for status in (429, 409, 401, 403)),
]


@pytest.mark.parametrize(("status", "effect"), FAULTS)
@pytest.mark.parametrize("times", [1, 3, 10])
def test_every_fault_ends_in_one_refund_or_an_explained_none(paid, krcard_clock, heard, status, effect, times):
    control.set_delivery("dropped")
    fail(status, effect, times)
    if status in (401, 403):
        with pytest.raises(StripeRefusedKey):
            services.refund(paid, 5_000, reference="a")
    else:
        refund = services.refund(paid, 5_000, reference="a")
        assert refund.status in ("succeeded", "unknown", "ready")
        if status == 429:
            assert refund.status != "unknown"
    refund = Refund.objects.get()
    assert refund.amount + refunded.left_of(paid) == PAID

    for _round in range(60):
        if refund.next_step_at is None:
            break
        krcard_clock.advance(hours=1)
        try:
            refund = step(refund)
        except StripeRefusedKey:
            refund.refresh_from_db()
    assert refund.next_step_at is None
    sent = {"succeeded": [5_000], "failed": []}[refund.status]
    assert back(paid) == sent
    assert heard == [("a", 5_000) for _ in sent]
    # Not done: what Stripe keeps under the key as a failure, and what went wrong as often as anybody tries.
    kept = status in (500, 503) and effect == "before"
    used_up = (status, effect) in (("timeout", "before"), (409, "before")) and times > refunds.MAX_SENDS
    assert (refund.status == "failed") == (kept or used_up)
    assert agrees_with_stripe(paid)


def test_refused_by_stripe_is_failed_and_tells_why(paid, caplog):
    in_dashboard(paid, 1_000)
    control.set_delivery("dropped")
    control.dispute(paid.stripe_id)
    refund = services.refund(paid, reference="a")
    assert (refund.status, refund.failure_code, refund.next_step_at) == ("failed", "charge_disputed", None)
    assert paid.mandate.timeline.get(kind="refund_failed").data["code"] == "charge_disputed"
    assert "failed (charge_disputed)" in caplog.text
    # It is over under this reference; what it would have paid back is left again.
    assert services.refund(paid, reference="a") == refund
    assert refunded.left_of(paid) == PAID - 1_000


def test_a_refusal_after_an_unknown_outcome_says_nothing(paid, monkeypatch):
    answers = iter([StripeUnavailable("lost"), RateLimited("slow down"), RateLimited("slow down")])

    def create_refund(params, *, key):
        raise next(answers)

    monkeypatch.setattr(gateway, "create_refund", create_refund)
    assert services.refund(paid, reference="a").status == "unknown"


def test_a_key_with_other_parameters_is_only_looked_up(paid, monkeypatch, krcard_clock, caplog):
    asked = []

    def create_refund(params, *, key):
        asked.append(key)
        raise KeyReused("other parameters")

    monkeypatch.setattr(gateway, "create_refund", create_refund)
    refund = services.refund(paid, reference="a")
    assert refund.status == "unknown"
    assert "other parameters" in caplog.text

    for _hour in range(30):
        krcard_clock.advance(hours=1)
        refund = step(refund)
    assert len(asked) == 1
    assert (refund.status, refund.failure_code) == ("failed", "not_created")


def test_not_created_only_when_it_is_certain_and_counted_until_then(paid, krcard_clock):
    fail(500, times=10)
    refund = services.refund(paid, reference="a")
    looks = []
    while refund.next_step_at:
        assert refusal(paid, 1, "b") == "too_much"
        krcard_clock.advance(refund.next_step_at - timezone.now())
        refund = step(refund)
        looks.append((refund.status, refund.empty_looks, timezone.now() - refund.last_sent_at))
    assert (refund.status, refund.failure_code) == ("failed", "not_created")
    (_unknown, _one, first), (_failed, _two, second) = [look for look in looks if look[1]]
    assert first >= timedelta(hours=25)
    assert second - first >= timedelta(hours=1)
    assert refund.sends <= refunds.MAX_SENDS

    assert back(paid) == []


def test_what_stripe_never_heard_of_can_be_asked_for_again_under_its_reference(paid, krcard_clock, heard):
    fail("timeout", times=refunds.MAX_SENDS)
    refund = services.refund(paid, 5_000, reference="a")
    while refund.next_step_at:
        krcard_clock.advance(hours=1)
        refund = step(refund)
    assert refund.failure_code == "not_created"
    services.refund(paid, 10_000, reference="b")
    assert refusal(paid, 5_000, "a") == "too_much"
    control.fail_refund(Refund.objects.get(reference="b").stripe_id)

    again = services.refund(paid, reference="a", by="staff:han", reason="once more")
    assert (again.pk, again.status, again.amount, again.sends) == (refund.pk, "succeeded", 5_000, 1)
    assert again.requested_by == "staff:han"
    assert heard == [("b", 10_000), ("a", 5_000)]


def test_found_although_given_up_the_money_is_the_truth(paid):
    refund = services.refund(paid, 5_000, reference="a")
    Refund.objects.update(status="failed", failure_code="not_created", stripe_id=None)
    refunds.sync_refunds(paid)
    refund.refresh_from_db()
    assert (refund.status, refund.failure_code) == ("succeeded", "")


def test_a_key_is_never_sent_after_a_day(paid, krcard_clock):
    control.set_delivery("dropped")
    fail("timeout", times=3)
    refund = services.refund(paid, reference="a")
    Refund.objects.update(first_sent_at=timezone.now() - timedelta(hours=23))
    assert services.refund(paid, reference="a").status == "unknown"
    krcard_clock.advance(hours=1)
    assert step(refund).status == "unknown"
    assert back(paid) == []


def test_a_clock_turned_back_makes_nobody_send(paid):
    fail("timeout", times=3)
    services.refund(paid, reference="a")
    Refund.objects.update(first_sent_at=timezone.now() + timedelta(hours=1))
    assert services.refund(paid, reference="a").status == "unknown"
    assert back(paid) == []


def test_a_dispute_that_came_meanwhile_ends_what_was_not_sent(paid, krcard_clock):
    fail(429, times=3)
    refund = services.refund(paid, reference="a")
    assert refund.status == "ready"
    control.dispute(paid.stripe_id)
    krcard_clock.advance(minutes=2)
    refund = step(refund)
    assert (refund.status, refund.failure_code) == ("failed", "disputed")
    assert back(paid) == []


def test_a_sender_that_died_leaves_its_refund_to_the_next(paid):
    refund = services.refund(paid, reference="a")
    now = timezone.now()
    Refund.objects.update(status="sending", stripe_id=None, next_step_at=now + timedelta(minutes=1))
    control.set_delivery("dropped")
    # Somebody is at it: nothing is sent. But Stripe is asked, and it knows.
    assert services.refund(paid, reference="a").status == "succeeded"
    assert back(paid) == [PAID]
    assert refund.amount == PAID


def test_a_late_answer_does_not_undo_what_others_did_meanwhile(paid):
    fail("timeout", times=3)
    refund = services.refund(paid, reference="a")
    Refund.objects.update(status="sending", sends=2, next_step_at=timezone.now() + timedelta(minutes=1))
    refund.sends = 1
    refunds._not_answered(refund, RateLimited("slow down"))
    refund.refresh_from_db()
    assert (refund.status, refund.sends) == ("sending", 2)


# --- the next step ---------------------------------------------------------------------------------


def test_nothing_is_done_before_it_is_due(paid):
    fail("timeout", times=3)
    refund = services.refund(paid, reference="a")
    control.fail_next("GET", "/v1/refunds", status="timeout")
    assert step(refund).status == "unknown"
    assert back(paid) == []


def test_a_look_that_fails_changes_nothing_but_the_time_of_the_next(paid, krcard_clock):
    fail("timeout", times=3)
    refund = services.refund(paid, reference="a")
    krcard_clock.advance(hours=2)
    for _ in range(3):
        control.fail_next("GET", "/v1/refunds", status="timeout")
    after = step(refund)
    assert (after.status, after.empty_looks, after.sends) == ("unknown", 0, refund.sends)
    assert after.next_step_at > timezone.now()
    krcard_clock.advance(hours=1)
    assert step(refund).status == "succeeded"


def test_the_key_of_the_other_mode_asks_nothing(paid, krcard_clock, settings, monkeypatch):
    fail("timeout", times=3)
    refund = services.refund(paid, reference="a")
    krcard_clock.advance(hours=2)
    monkeypatch.setattr(gateway, "refunds_of", lambda intent: pytest.fail("Stripe was asked"))
    settings.STRIPE_SECRET_KEY = "sk_live_not_a_key"
    settings.KRCARD_SANDBOX = False
    assert step(refund).status == "unknown"
    refund.refresh_from_db()
    assert refund.next_step_at > timezone.now()


def test_krcard_run_due_takes_the_step(paid, krcard_clock):
    control.set_delivery("dropped")
    fail("timeout", "after", times=3)
    refund = services.refund(paid, reference="a")
    assert refund.status == "unknown"
    krcard_clock.advance(hours=1)
    (done,) = services.run_due()
    assert (done.pk, done.status) == (refund.pk, "succeeded")


def test_two_steps_at_once_are_one(paid, krcard_clock):
    fail("timeout", times=3)
    refund = services.refund(paid, reference="a")
    krcard_clock.advance(hours=1)
    first, second = refunds.step(refund.pk), refunds.step(refund.pk)
    looks = [next(first)(), next(second)()]
    send = first.send(looks[0])
    with pytest.raises(StopIteration) as end:
        second.send(looks[1])
    assert end.value.value.status == "sending"
    with pytest.raises(StopIteration) as end:
        first.send(send())
    assert end.value.value.status == "succeeded"


# --- what Stripe says later ------------------------------------------------------------------------


def told(charge, status, *, id="re_1", amount=5_000, **more):
    return gateway.Refund(id=id, status=status, amount=amount, payment_intent=charge.stripe_id, **more)


@pytest.mark.parametrize("order", list(itertools.permutations(["pending", "succeeded", "failed"])))
def test_in_any_order_the_end_is_the_same(paid, heard, order):
    for status in order:
        refunded.apply(paid, told(paid, status, failure_code="lost_or_stolen_card" if status == "failed" else ""))
    refund = Refund.objects.get()
    assert (refund.status, refund.failure_code, refund.next_step_at) == ("failed", "lost_or_stolen_card", None)
    paid.refresh_from_db()
    assert paid.refunded_amount == 0
    # Who hears of the success only after the failure hears nothing.
    assert len(heard) == (order.index("succeeded") < order.index("failed"))


def test_what_is_pending_counts_and_is_asked_about(paid, monkeypatch, krcard_clock, heard):
    refund = refunded.apply(paid, told(paid, "requires_action"))
    paid.refresh_from_db()
    assert (refund.status, paid.refunded_amount, heard) == ("pending", 5_000, [])

    krcard_clock.advance(hours=2)
    monkeypatch.setattr(gateway, "refunds_of", lambda intent: iter([told(paid, "pending")]))
    assert step(refund).next_step_at > timezone.now()
    krcard_clock.advance(hours=2)
    monkeypatch.setattr(gateway, "refunds_of", lambda intent: iter([told(paid, "succeeded")]))
    assert (step(refund).status, heard) == ("succeeded", [("re_1", 5_000)])


def test_a_word_that_nobody_knows_counts_as_pending(paid, caplog):
    assert refunded.apply(paid, told(paid, "teleported")).status == "pending"
    assert "'teleported' is unknown" in caplog.text


def test_money_that_came_back_can_be_paid_back_by_another_refund(paid, heard, caplog):
    refund = services.refund(paid, reference="a")
    control.fail_refund(refund.stripe_id)
    refund.refresh_from_db()
    assert (refund.status, refund.failure_code) == ("failed", "lost_or_stolen_card")
    assert agrees_with_stripe(paid)
    assert paid.refunded_amount == 0
    assert paid.mandate.timeline.filter(kind="refund_failed").count() == 1
    assert "failed (lost_or_stolen_card)" in caplog.text

    assert services.refund(paid, reference="b").status == "succeeded"
    assert heard == [("a", PAID), ("b", PAID)]


# --- webhook and reconcile -------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_messages_twice_and_in_disorder_are_the_same_rows_and_one_signal_each(paid, heard, seed):
    control.set_delivery("held")
    dice = random.Random(seed)
    for number in range(4):
        refund = services.refund(paid, dice.randint(1, 3_000), reference=str(number))
        if dice.random() < 0.5:
            control.fail_refund(refund.stripe_id)
    made = gateway.create_refund({"payment_intent": paid.stripe_id, "amount": 500}, key="dashboard")
    control.deliver(shuffled=True, copies=3, seed=seed)

    assert set(Event.objects.exclude(status="ignored").values_list("status", flat=True)) == {"done"}
    by_webhook = set(Refund.objects.values_list("stripe_id", "status", "amount"))
    assert {(row["id"], row["status"], row["amount"]) for row in books("refund")} == by_webhook
    assert agrees_with_stripe(paid)
    assert sorted(reference for reference, _amount in heard) == ["0", "1", "2", "3", made.id]

    refunds.sync_refunds(paid)
    assert set(Refund.objects.values_list("stripe_id", "status", "amount")) == by_webhook
    assert len(heard) == 5


def test_reconcile_without_any_message_comes_to_the_same(paid):
    control.set_delivery("dropped")
    refund = services.refund(paid, 5_000, reference="a")
    control.fail_refund(refund.stripe_id)
    in_dashboard(paid, 700)
    refunds.sync_refunds(paid)
    assert agrees_with_stripe(paid)
    assert paid.refunded_amount == 700


def test_each_message_of_a_refund_leads_to_the_payment(paid):
    for number, kind in enumerate(
        ["charge.refunded", "refund.created", "refund.updated", "refund.failed", "charge.refund.updated"]
    ):
        in_dashboard(paid, 100 + number)
        finish(HANDLERS[kind]({"id": "x", "payment_intent": paid.stripe_id}))
        assert Refund.objects.count() == number + 1


def message(kind, thing):
    return {
        "id": f"evt_{kind}",
        "object": "event",
        "type": kind,
        "livemode": False,
        "data": {"object": {"id": "re_other", "created": int(timezone.now().timestamp()), **thing}},
    }


def test_refunds_of_others_are_ignored(paid, krcard_events, monkeypatch):
    monkeypatch.setattr(gateway, "refunds_of", lambda intent: pytest.fail("Stripe was asked"))
    for number, thing in enumerate(
        [{"payment_intent": "pi_other"}, {"payment_intent": None}, {}, {"payment_intent": {}}]
    ):
        body = message("refund.created", thing) | {"id": f"evt_{number}"}
        assert krcard_events.post_raw(json.dumps(body)).status_code == 200
    assert not Refund.objects.exists()


def test_a_refund_faster_than_our_own_commit_waits(paid, krcard_events):
    names = {"krcard_mandate": str(paid.mandate.public_id), "krcard_reference": "not-here-yet"}
    body = message("charge.refunded", {"payment_intent": "pi_new", "metadata": names})
    assert krcard_events.post_raw(json.dumps(body)).status_code == 500
    assert "NotHereYet" in Event.objects.get(stripe_id=body["id"]).last_error


def test_a_refund_of_a_charge_that_does_not_know_its_payment_waits(paid, krcard_events):
    Charge.objects.update(stripe_id=None, status="unknown")
    names = {"krcard_mandate": str(paid.mandate.public_id), "krcard_reference": paid.reference}
    body = message("charge.refunded", {"payment_intent": paid.stripe_id, "metadata": names})
    assert krcard_events.post_raw(json.dumps(body)).status_code == 500


def test_a_second_payment_under_one_reference_is_loud_and_changes_nothing(paid, caplog):
    names = {"krcard_mandate": str(paid.mandate.public_id), "krcard_reference": paid.reference}
    finish(HANDLERS["payment_intent.succeeded"]({"id": "pi_second", "metadata": names}))
    assert f"{paid.stripe_id} at Stripe, and pi_second as well" in caplog.text
    paid.refresh_from_db()
    assert paid.status == "succeeded"


# --- many at once ----------------------------------------------------------------------------------


def test_one_reference_many_callers_one_refund(paid, heard):
    results = all_at_once(lambda number: services.refund(paid, 5_000, reference="a"))
    assert {type(result) for result in results} == {Refund}, results
    assert {result.pk for result in results} == {Refund.objects.get().pk}
    assert back(paid) == [5_000]
    assert heard == [("a", 5_000)]


def test_many_references_never_more_than_what_is_left(paid, heard):
    results = all_at_once(lambda number: services.refund(paid, 5_000, reference=str(number)))
    refused = [result for result in results if isinstance(result, RefundRefused)]
    assert len(refused) == AT_ONCE - 2, results
    assert {refusal.code for refusal in refused} == {"too_much"}
    assert back(paid) == [5_000, 5_000]
    assert len(heard) == 2
    assert agrees_with_stripe(paid)


def test_answer_message_and_look_at_once_are_one_signal(paid, heard):
    control.set_delivery("held")

    def act(number):
        if number % 2:
            return refunds.sync_refunds(paid)
        return services.refund(paid, 5_000, reference="a")

    results = all_at_once(act, 16)
    assert not [result for result in results if isinstance(result, Exception)]
    for sent in Message.objects.all():
        control.redeliver(sent.stripe_id)
    assert back(paid) == [5_000]
    assert heard == [("a", 5_000)]
