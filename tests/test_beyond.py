# ruff: noqa: F811
"""A subscription does not go beyond the agreement: not after a withdrawal, by an old verdict, or in another rhythm."""

import pytest
from django.db import transaction
from django.urls import reverse
from django.utils import timezone

from django_krcard import services
from django_krcard.exceptions import SubscriptionRefused
from django_krcard.models import Customer, Subscription, SubscriptionChange
from django_krcard.sandbox import control
from django_krcard.sandbox.delivery import acting
from django_krcard.sandbox.events import emit
from django_krcard.sandbox.store import find, save
from django_krcard.services import changes
from django_krcard.services.acts import finish
from django_krcard.services.agreed import why_not_agreed
from django_krcard.services.unsubscribing import withdraw
from django_krcard.testing.sandbox import books
from tests.factories import PublishedTerms
from tests.test_subscribing import at_stripe, raise_price, run_due, subscription  # noqa: F401
from tests.test_subscriptions import kinds_of, price, stripe, subscribe  # noqa: F401

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("krcard_clock", "no_waiting")]

KIND = SubscriptionChange.Kind


def paid():
    return [each["amount"] for each in books("payment_intent") if each["status"] == "succeeded"]


def is_paused():
    return [each["pause_collection"] is not None for each in books("subscription")]


def change(**which):
    return SubscriptionChange.objects.filter(**which).first()


# --- withdrawal comes first --------------------------------------------------------------------------


@pytest.mark.parametrize("status", [401, 403, 500, "timeout"])
def test_withdrawing_is_written_down_before_stripe_is_asked_for_anything(
    minji, mandate, subscription, krcard_clock, status
):
    krcard_clock.advance(days=3)
    for path in ("/v1/refunds", f"/v1/subscriptions/{subscription.stripe_id}"):
        for method in ("GET", "POST", "DELETE"):
            control.fail_next(method, path, status=status)
    answer = minji.post(reverse("krcard:revoke", args=[mandate.public_id]))
    assert answer.status_code == 302
    mandate.refresh_from_db()
    assert mandate.status == "revoked"
    assert not services.can_charge(mandate, 12_900).allowed

    for pause in (6, 20, 20, 20, *[9 * 60] * 8):
        # Of a 500, which Stripe repeats under its key, only Stripe's list tells on the next day that nothing was done.
        krcard_clock.advance(minutes=pause)
        for _result in _until_refused():
            pass
    assert at_stripe() == ["canceled"]
    owed = change(kind=KIND.CANCEL)
    assert owed.status == "done"
    assert sum(refund["amount"] for refund in books("refund")) == owed.pay_back > 0


def _until_refused():
    try:
        yield from services.run_due()
    except Exception as error:
        yield error


def test_withdrawn_twice_is_paid_back_once(mandate, subscription, krcard_clock):
    krcard_clock.advance(days=3)
    why = {"by": "customer", "reason": "enough", "refund_unused": True}
    withdraw(mandate, **why)
    withdraw(mandate, **why)
    assert len(books("refund")) == 1


# --- an invoice that was stopped ---------------------------------------------------------------------


@pytest.fixture
def stopped_invoice(mandate, subscription, stripe, price, krcard_clock):
    """Raised to 15,900, its draft stopped, and agreed to afterwards."""
    raise_price(stripe, 15_900, price)
    krcard_clock.advance(days=31)
    draft = next(each for each in books("invoice") if each["status"] == "draft")
    control.fail_next("POST", f"/v1/invoices/{draft['id']}", status=429)
    return draft["id"]


@pytest.fixture
def agreed(mandate, save_card):
    save_card(PublishedTerms(slug="membership", version=2, amount=15_900), customer=mandate.customer)
    mandate.refresh_from_db()


def later(krcard_clock):
    for _time in range(3):
        krcard_clock.advance(minutes=20)
        run_due()
    krcard_clock.advance(hours=2)


@pytest.mark.parametrize("stop", ["cancel", "hold", "revoke"])
def test_it_is_not_let_go_after_everything_was_stopped(
    mandate, subscription, stopped_invoice, agreed, krcard_clock, stop
):
    services.resume_collection(mandate, by="customer")
    assert change(kind=KIND.FREE_INVOICE).status == "ready"
    why = {"by": "customer", "reason": "enough"}
    if stop == "cancel":
        services.cancel_subscription(Subscription.objects.get(), **why)
    else:
        getattr(services, stop)(mandate, **why)
    later(krcard_clock)
    assert paid() == [12_900]
    assert find("invoice", stopped_invoice)["auto_advance"] is False
    assert change(kind=KIND.FREE_INVOICE).status == "overtaken"


@pytest.mark.parametrize("when", ["before it is let go", "after"])
def test_what_somebody_adds_to_it_is_judged_again(mandate, subscription, stopped_invoice, agreed, krcard_clock, when):
    if when == "after":
        services.resume_collection(mandate, by="customer")
        krcard_clock.advance(minutes=5)
        run_due()
        assert change(kind=KIND.FREE_INVOICE).status == "done"
    with acting() as act:
        before = find("invoice", stopped_invoice)
        emit(act, "invoice.updated", save(act, before | {"amount_due": 99_000}), {"amount_due": before["amount_due"]})
    if when != "after":
        services.resume_collection(mandate, by="customer")
    later(krcard_clock)
    assert paid() == [12_900]
    assert find("invoice", stopped_invoice)["auto_advance"] is False


def test_of_three_months_that_were_not_collected_only_the_last_is_let_go(
    mandate, subscription, stripe, price, save_card, krcard_clock
):
    raise_price(stripe, 15_900, price)
    for _month in range(3):
        krcard_clock.advance(days=31)
    assert at_stripe("invoice").count("draft") == 3
    save_card(PublishedTerms(slug="membership", version=2, amount=15_900), customer=mandate.customer)
    mandate.refresh_from_db()
    services.resume_collection(mandate, by="customer")
    later(krcard_clock)
    assert paid() == [12_900, 15_900]
    assert len(kinds_of(mandate, "subscription_invoice_left")) == 2


@pytest.mark.parametrize("effect", ["before", "after"])
@pytest.mark.parametrize("stop", ["hold", "cancel"])
def test_what_was_let_go_with_no_answer_is_stopped_again(
    mandate, subscription, stopped_invoice, agreed, krcard_clock, effect, stop
):
    for _time in range(3):
        control.fail_next("POST", f"/v1/invoices/{stopped_invoice}", effect=effect, status="timeout")
    services.resume_collection(mandate, by="customer")
    # Turned away at first, and then without an answer.
    krcard_clock.advance(minutes=5)
    run_due()
    assert change(kind=KIND.FREE_INVOICE).status == "ready"
    assert find("invoice", stopped_invoice)["auto_advance"] is (effect == "after")
    why = {"by": "staff:boss", "reason": "a question"}
    if stop == "hold":
        services.hold(mandate, **why)
    else:
        services.cancel_subscription(Subscription.objects.get(), **why)
    later(krcard_clock)
    later(krcard_clock)
    assert (paid(), find("invoice", stopped_invoice)["auto_advance"]) == ([12_900], False)

    if stop == "hold":
        services.resume(mandate, by="staff:boss", reason="answered")
        later(krcard_clock)
        assert paid() == [12_900, 15_900]


@pytest.mark.parametrize("stop", ["hold", "cancel"])
def test_what_is_let_go_at_the_very_moment_everything_is_stopped_is_stopped_again(
    mandate, subscription, stopped_invoice, agreed, krcard_clock, stop
):
    services.resume_collection(mandate, by="customer")
    krcard_clock.advance(minutes=5)
    slow = changes.step(change(kind=KIND.FREE_INVOICE).pk)
    let_go = slow.send(next(slow)())
    control.set_delivery("dropped")
    why = {"by": "staff:boss", "reason": "a question"}
    if stop == "hold":
        services.hold(mandate, **why)
    else:
        services.cancel_subscription(Subscription.objects.get(), **why)
    finish(slow, let_go)
    assert find("invoice", stopped_invoice)["auto_advance"] is True
    run_due()
    assert find("invoice", stopped_invoice)["auto_advance"] is False


def test_lowered_agreed_to_and_raised_again_it_is_stopped_again(
    mandate, subscription, stopped_invoice, save_card, krcard_clock
):
    def ask_for(amount):
        with acting() as act:
            before = find("invoice", stopped_invoice)
            emit(act, "invoice.updated", save(act, before | {"amount_due": amount}), {"amount_due": 0})

    ask_for(99_000)
    ask_for(15_900)
    save_card(PublishedTerms(slug="membership", version=2, amount=15_900), customer=mandate.customer)
    mandate.refresh_from_db()
    services.resume_collection(mandate, by="customer")
    krcard_clock.advance(minutes=5)
    run_due()
    assert change(kind=KIND.FREE_INVOICE).status == "done"
    ask_for(99_000)
    later(krcard_clock)
    assert (paid(), find("invoice", stopped_invoice)["auto_advance"]) == ([12_900], False)


@pytest.mark.parametrize("which", ["hold", "pending"])
def test_the_invoice_that_is_there_already_is_stopped_as_well(mandate, subscription, save_card, krcard_clock, which):
    end = books("subscription")[0]["items"]["data"][0]["current_period_end"]
    krcard_clock.advance(seconds=end - control.now().timestamp() + 60)
    assert at_stripe("invoice") == ["paid", "draft"]
    if which == "hold":
        services.hold(mandate, by="staff:boss", reason="a question")
    else:
        control.mandate_pending_next()
        save_card(mandate.consent.terms, customer=mandate.customer)
    krcard_clock.advance(hours=3)
    assert (at_stripe("invoice"), paid()) == (["paid", "draft"], [12_900])

    mandate.refresh_from_db()
    if which == "hold":
        services.resume(mandate, by="staff:boss", reason="answered")
    else:
        control.activate_mandate(mandate.payment_method.stripe_id)
    later(krcard_clock)
    assert paid() == [12_900, 12_900]


def test_a_draft_that_somebody_has_deleted_is_not_asked_for_for_ever(mandate, subscription, krcard_clock):
    with_mandate = Subscription.objects.get()
    with_mandate.mandate = mandate
    with transaction.atomic():
        changes.ask(with_mandate, KIND.HOLD_INVOICE, by="system", reason="x", target="in_sandbox_gone")
    assert (change().status, change().failure_code) == ("overtaken", "resource_missing")


# --- what was asked for last counts ------------------------------------------------------------------


def test_who_leaves_keeps_and_leaves_again_leaves(mandate, subscription, krcard_clock):
    why = {"by": "customer", "reason": "moved"}
    services.cancel_subscription(subscription, at_period_end=True, **why)
    for _time in range(3):
        control.fail_next("POST", f"/v1/subscriptions/{subscription.stripe_id}", status=500)
    services.keep_subscription(subscription, by="customer")
    services.cancel_subscription(subscription, at_period_end=True, **why)
    later(krcard_clock)
    assert books("subscription")[0]["cancel_at_period_end"] is True
    krcard_clock.advance(days=31)
    assert (at_stripe(), paid()) == (["canceled"], [12_900])


def test_held_resumed_and_held_again_it_is_held(mandate, subscription, krcard_clock):
    why = {"by": "staff:boss", "reason": "a question"}
    services.hold(mandate, **why)
    control.set_delivery("held")
    for _time in range(3):
        control.fail_next("POST", f"/v1/subscriptions/{subscription.stripe_id}", status=500)
    services.resume(mandate, **why)
    services.hold(mandate, **why)
    for _time in range(3):
        krcard_clock.advance(minutes=5)
        run_due()
    assert is_paused() == [True]


def test_what_was_carried_out_after_its_opposite_is_set_right(mandate, subscription, krcard_clock):
    """The pause looks, the resume looks and finds nothing to do, the pause is made, and both are written down."""
    control.set_delivery("held")
    with_mandate = Subscription.objects.get()
    pause = SubscriptionChange.objects.create(
        subscription=with_mandate, kind=KIND.PAUSE, requested_by="system", next_step_at=timezone.now()
    )
    slow = changes.step(pause.pk)
    look = next(slow)
    make = slow.send(look())
    resume = SubscriptionChange.objects.create(
        subscription=with_mandate, kind=KIND.RESUME, requested_by="system", next_step_at=timezone.now()
    )
    SubscriptionChange.objects.filter(pk=pause.pk).update(status="overtaken", next_step_at=None)
    quick = changes.step(resume.pk)
    seen = next(quick)()
    finish(slow, make)
    finish(quick, lambda: seen)
    resume.refresh_from_db()
    assert resume.status == "ready"
    finish(changes.step(resume.pk))
    assert is_paused() == [False]


@pytest.mark.parametrize("how", ["leave", "cancel"])
def test_a_period_that_began_while_stripe_did_not_answer_is_paid_back(mandate, subscription, krcard_clock, how):
    krcard_clock.advance(days=29)
    end = books("subscription")[0]["items"]["data"][0]["current_period_end"]
    krcard_clock.advance(seconds=end - control.now().timestamp() - 3600)
    control.set_delivery("held")
    for _time in range(4):
        for method in ("POST", "DELETE"):
            control.fail_next(method, f"/v1/subscriptions/{subscription.stripe_id}", status=500)
    why = {"by": "customer", "reason": "enough"}
    later_or_now = {"at_period_end": True} if how == "leave" else {"refund_unused": True}
    services.cancel_subscription(subscription, **why, **later_or_now)
    krcard_clock.advance(hours=3)
    assert paid() == [12_900, 12_900]
    for _time in range(4):
        run_due()
        krcard_clock.advance(minutes=6)
    assert at_stripe() == ["canceled"]
    assert sum(refund["amount"] for refund in books("refund")) == 12_900


@pytest.mark.parametrize("then", ["cancel", "revoke"])
def test_who_wanted_out_before_and_says_so_once_more_has_it_back_too(mandate, subscription, krcard_clock, then):
    _nobody_answers_until_the_next_period(subscription, krcard_clock)
    assert paid() == [12_900, 12_900]
    why = {"by": "customer", "reason": "at last"}
    if then == "cancel":
        services.cancel_subscription(Subscription.objects.get(), **why)
    else:
        services.revoke(mandate, **why)
    for _time in range(4):
        run_due()
        krcard_clock.advance(minutes=20)
    assert at_stripe() == ["canceled"]
    assert sum(refund["amount"] for refund in books("refund")) == 12_900


def _nobody_answers_until_the_next_period(subscription, krcard_clock):
    krcard_clock.advance(days=29)
    end = books("subscription")[0]["items"]["data"][0]["current_period_end"]
    krcard_clock.advance(seconds=end - control.now().timestamp() - 3600)
    control.set_delivery("held")
    for _time in range(4):
        control.fail_next("POST", f"/v1/subscriptions/{subscription.stripe_id}", status=500)
    services.cancel_subscription(subscription, by="customer", reason="enough", at_period_end=True)
    krcard_clock.advance(hours=3)


def test_a_late_end_pays_back_both_what_was_promised_and_what_came_after(mandate, subscription, krcard_clock):
    krcard_clock.advance(days=20)
    control.set_delivery("held")
    for _time in range(20):
        control.fail_next("DELETE", f"/v1/subscriptions/{subscription.stripe_id}", status=500)
    services.cancel_subscription(subscription, by="customer", reason="enough", refund_unused=True)
    promised = change(kind=KIND.CANCEL).pay_back
    assert promised > 0
    krcard_clock.advance(days=12)
    for _time in range(12):
        run_due()
        krcard_clock.advance(minutes=20)
    assert (at_stripe(), paid()) == (["canceled"], [12_900, 12_900])
    assert sorted(refund["amount"] for refund in books("refund")) == [promised, 12_900]
    assert change(kind=KIND.CANCEL).status == "done"


def test_a_late_end_of_what_was_not_charged_owes_nothing(mandate, subscription, krcard_clock):
    control.decline_next()
    _nobody_answers_until_the_next_period(subscription, krcard_clock)
    for _time in range(6):
        run_due()
        krcard_clock.advance(minutes=20)
    assert (at_stripe(), paid(), books("refund")) == (["canceled"], [12_900], [])
    assert change(kind=KIND.LEAVE).status == "done"
    assert kinds_of(mandate, "subscription_not_paid_back") == []


def test_setting_the_day_of_the_end_does_not_take_back_that_somebody_leaves(
    mandate, subscription, save_card, krcard_clock
):
    control.set_delivery("held")
    row = Subscription.objects.get()
    save_card(PublishedTerms(slug="membership", version=2, valid_for_days=90), customer=mandate.customer)
    until = SubscriptionChange.objects.create(
        subscription=row, kind=KIND.UNTIL, requested_by="system", next_step_at=timezone.now()
    )
    slow = changes.step(until.pk)
    make = slow.send(next(slow)())
    services.cancel_subscription(row, by="customer", reason="enough", at_period_end=True)
    finish(slow, make)
    later(krcard_clock)
    assert books("subscription")[0]["cancel_at_period_end"] is True


def test_with_the_other_key_money_that_is_owed_waits(mandate, subscription, krcard_clock, settings):
    krcard_clock.advance(days=3)
    control.fail_next("POST", "/v1/refunds", status=401)
    services.cancel_subscription(subscription, by="customer", reason="enough", refund_unused=True)
    assert change(kind=KIND.CANCEL).status == "owed"
    Customer.objects.update(livemode=True)
    krcard_clock.advance(hours=1)
    run_due()
    assert change(kind=KIND.CANCEL).status == "owed"
    Customer.objects.update(livemode=False)
    krcard_clock.advance(hours=1)
    run_due()
    assert change(kind=KIND.CANCEL).status == "done"
    assert len(books("refund")) == 1


# --- more than the amount ----------------------------------------------------------------------------


NEW_TERMS = [
    ({"valid_for_days": 40}, "after_end"),
    ({"amount": 99_000, "period": "year"}, "price_period"),
    ({"frequency": "one_time", "period": None}, "not_recurring"),
]


@pytest.mark.parametrize(("terms", "code"), NEW_TERMS, ids=[code for _terms, code in NEW_TERMS])
def test_agreeing_to_something_else_stops_it(mandate, subscription, save_card, krcard_clock, terms, code):
    save_card(PublishedTerms(slug="membership", version=2, **terms), customer=mandate.customer)
    for _month in range(4):
        krcard_clock.advance(days=31)
        run_due()
    row = Subscription.objects.get()
    # The first and, where the agreement holds for forty days, the second.
    assert paid() == [12_900] * (2 if code == "after_end" else 1)
    if not row.is_over:
        assert why_not_agreed(row) == code
        with pytest.raises(SubscriptionRefused, match=code):
            services.resume_collection(mandate)


def test_a_second_one_from_the_dashboard_is_paused_and_not_the_first(mandate, subscription, subscribe, krcard_clock):
    subscribe(mandate)
    krcard_clock.advance(days=31)
    assert is_paused().count(True) == 1
    assert Subscription.objects.get(pk=subscription.pk).paused == ""
    # What is charged in the act of making it cannot be stopped.
    assert paid() == [12_900] * 3


def test_an_amount_that_nobody_knows_is_paused(mandate, subscription, krcard_clock):
    row = Subscription.objects.get()
    row.amount = None
    assert why_not_agreed(row) == "amount_invalid"


def test_a_pause_of_a_person_is_left_alone(mandate, subscription, stripe, price, save_card, krcard_clock):
    [there] = books("subscription")
    stripe.subscriptions.update(there["id"], {"pause_collection": {"behavior": "void"}})
    raise_price(stripe, 15_900, price)
    save_card(PublishedTerms(slug="membership", version=2, amount=15_900), customer=mandate.customer)
    run_due()
    assert books("subscription")[0]["pause_collection"]["behavior"] == "void"
    assert Subscription.objects.get().above_agreed_at is None
    mandate.refresh_from_db()
    services.resume_collection(mandate, by="staff:boss", reason="it was me")
    assert is_paused() == [False]


def test_while_the_new_card_is_not_in_force_nothing_is_collected(mandate, subscription, save_card, krcard_clock):
    control.mandate_pending_next()
    save_card(mandate.consent.terms, customer=mandate.customer)
    mandate.refresh_from_db()
    assert (mandate.status, is_paused()) == ("pending", [True])
    control.activate_mandate(mandate.payment_method.stripe_id)
    assert is_paused() == [False]
    krcard_clock.advance(days=31)
    assert paid() == [12_900, 12_900]
