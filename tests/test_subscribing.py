# ruff: noqa: F811
"""Subscriptions asked for here: under the gate, once, held to the agreement, and left as easily as they began."""

from contextlib import suppress
from datetime import timedelta

import pytest
from django.utils import timezone, translation

from django_krcard import gateway, services
from django_krcard.exceptions import GatewayError, KrcardError, ReferenceConflict, StripeRefusedKey, SubscriptionRefused
from django_krcard.models import Charge, Customer, Event, Notice, Refund, Subscription, SubscriptionChange
from django_krcard.sandbox import control
from django_krcard.sandbox.delivery import acting
from django_krcard.sandbox.store import find, save
from django_krcard.services import changes, invoices
from django_krcard.services.acts import finish
from django_krcard.testing.sandbox import books
from tests.factories import PublishedTerms, UserFactory
from tests.test_concurrency import all_at_once
from tests.test_subscriptions import kinds_of, price, stripe, subscribe  # noqa: F401

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("krcard_clock", "no_waiting")]


@pytest.fixture
def subscription(mandate, price):
    return services.subscribe(mandate, price=price())


def at_stripe(kind="subscription"):
    return [each["status"] for each in books(kind)]


def run_due():
    return list(services.run_due())


# --- what the terms cover ----------------------------------------------------------------------------


def test_a_subscription_charges_at_once_and_its_payment_is_a_charge_like_any_other(mandate, price):
    row = services.subscribe(mandate, price=price(), by="staff:boss", reason="on the phone")

    assert (row.status, row.amount, row.is_fine, row.reference) == ("active", 12_900, True, "subscription-1")
    [there] = books("subscription")
    assert there["default_payment_method"] == mandate.payment_method.stripe_id
    assert there["payment_settings"]["payment_method_types"] == ["kr_card"]
    assert there["metadata"] == {
        "krcard_mandate": str(mandate.public_id),
        "krcard_subscription_reference": "subscription-1",
        "krcard_consent": str(mandate.consent.public_id),
        "krcard_consent_hash": mandate.consent.record_hash,
    }
    charge = mandate.charges.get()
    [intent] = books("payment_intent")
    assert (charge.status, charge.amount, charge.stripe_id) == ("succeeded", 12_900, intent["id"])
    assert (charge.subscription, charge.invoice_id) == (row, books("invoice")[0]["id"])
    assert mandate.notices.get().kind == "charge_succeeded"
    assert Customer.objects.get().stripe_id == there["customer"]
    # The customer's own default is left alone.
    assert books("customer")[0]["invoice_settings"]["default_payment_method"] is None


def changed_price(price_id, **changes):
    with acting() as act:
        body = find("price", price_id)
        save(act, body | changes | {"recurring": body["recurring"] | changes.get("recurring", {})})
    return price_id


REFUSED_PRICES = [
    ({"active": False}, "price_inactive"),
    ({"currency": "usd"}, "price_not_won"),
    ({"recurring": {"interval": None}}, "price_not_recurring"),
    ({"recurring": {"usage_type": "metered"}}, "price_varies"),
    ({"billing_scheme": "tiered", "unit_amount": None}, "price_varies"),
    ({"transform_quantity": {"divide_by": 10, "round": "up"}}, "price_varies"),
    ({"unit_amount": None}, "price_varies"),
    ({"recurring": {"interval": "year"}}, "price_period"),
    ({"recurring": {"interval_count": 3}}, "price_period"),
    ({"unit_amount": 12_901}, "amount_not_agreed"),
    ({"unit_amount": 12_899}, "amount_not_agreed"),
]


def test_a_price_that_was_not_agreed_is_refused_and_nothing_is_made(mandate, price):
    for wrong, code in REFUSED_PRICES:
        with translation.override("ko"), pytest.raises(SubscriptionRefused) as refusal:
            services.subscribe(mandate, price=changed_price(price(), **wrong))
        assert refusal.value.code == code
        assert refusal.value.message.isascii() is False
    assert (Subscription.objects.count(), books("subscription"), books("payment_intent")) == (0, [], [])
    assert kinds_of(mandate, "subscription_refused") == ["subscription_refused"] * len(REFUSED_PRICES)


def test_a_price_that_stripe_does_not_know(mandate):
    with pytest.raises(SubscriptionRefused, match="price_not_found"):
        services.subscribe(mandate, price="price_nobody")


@pytest.mark.parametrize(
    ("rule", "quantity", "code"),
    [
        ({"amount_kind": "maximum", "amount": 30_000}, 2, ""),
        ({"amount_kind": "maximum", "amount": 25_799}, 2, "amount_over_limit"),
        ({"amount": 25_800}, 2, ""),
        ({"notice_days": 7}, 1, "notice_not_given"),
        ({"frequency": "one_time"}, 1, "not_recurring"),
        ({"frequency": "as_used", "max_amount_per_period": 50_000}, 1, "not_recurring"),
        ({"period_count": 2}, 1, "price_period"),
    ],
)
def test_the_terms_have_the_say(save_card, price, rule, quantity, code):
    mandate = save_card(PublishedTerms(**rule))
    if code:
        with pytest.raises(SubscriptionRefused, match=code):
            services.subscribe(mandate, price=price(), quantity=quantity)
        assert books("subscription") == []
    else:
        row = services.subscribe(mandate, price=price(), quantity=quantity)
        assert (row.status, row.amount, mandate.charges.get().amount) == ("active", 25_800, 25_800)


def test_what_was_charged_in_this_period_counts(mandate, price, krcard_clock):
    services.charge(mandate, 12_900, reference="first")
    with pytest.raises(SubscriptionRefused, match="period_count_reached"):
        services.subscribe(mandate, price=price())
    krcard_clock.advance(days=32)
    assert services.subscribe(mandate, price=price()).status == "active"


def test_one_that_ends_with_the_agreement(save_card, price, krcard_clock):
    mandate = save_card(PublishedTerms(valid_for_days=40))
    row = services.subscribe(mandate, price=price())
    assert row.cancel_at == changes.last_moment(row)
    krcard_clock.advance(days=32)
    krcard_clock.advance(days=68)
    assert at_stripe() == ["canceled"]
    assert len(books("payment_intent")) == 2


# --- once --------------------------------------------------------------------------------------------


def test_asked_for_twice_it_is_one(mandate, price):
    monthly = price()
    assert services.subscribe(mandate, price=monthly) == services.subscribe(mandate, price=monthly)
    assert services.subscribe(mandate, price=monthly, reference="subscription-1").reference == "subscription-1"
    with pytest.raises(ReferenceConflict):
        services.subscribe(mandate, price=price(), reference="subscription-1")
    with pytest.raises(SubscriptionRefused, match="served_by_subscription"):
        services.subscribe(mandate, price=price())
    assert len(books("subscription")) == len(books("payment_intent")) == 1


def test_many_at_once_are_one(mandate, price):
    monthly = price()
    answers = all_at_once(lambda _number: services.subscribe(mandate, price=monthly).pk, 4)
    assert {type(answer) for answer in answers} == {int}
    assert len(set(answers)) == len(books("subscription")) == len(books("payment_intent")) == 1


@pytest.mark.parametrize(
    ("status", "effect"),
    # With 409 Stripe turns away before it does anything.
    [(500, "before"), (500, "after"), ("timeout", "before"), ("timeout", "after"), (409, "before")],
)
@pytest.mark.parametrize("times", [1, 5])
def test_an_answer_that_is_lost(mandate, price, krcard_clock, status, effect, times):
    monthly = price()
    for _time in range(times):
        control.fail_next("POST", "/v1/subscriptions", effect=effect, status=status)
    row = services.subscribe(mandate, price=monthly)
    for _time in range(12):
        krcard_clock.advance(minutes=61)
        run_due()
    row.refresh_from_db()
    stored_500_forever = status == 500 and effect == "before"
    assert at_stripe() == ([] if stored_500_forever else ["active"])
    assert row.status == ("starting" if stored_500_forever else "active")
    assert mandate.charges.count() == len(books("payment_intent")) == (0 if stored_500_forever else 1)
    if stored_500_forever:
        krcard_clock.advance(days=2)
        run_due()
        krcard_clock.advance(hours=2)
        run_due()
        row.refresh_from_db()
        assert (row.status, row.failure_code) == ("not_started", "not_created")
        assert services.subscribe(mandate, price=monthly).status == "active"


def test_a_lost_answer_is_found_by_the_message_first(mandate, price):
    control.set_delivery("held")
    for _time in range(3):
        control.fail_next("POST", "/v1/subscriptions", effect="after", status="timeout")
    row = services.subscribe(mandate, price=price())
    assert row.status == "starting"
    control.deliver(shuffled=True, copies=2, seed=3)
    row.refresh_from_db()
    assert (row.status, Subscription.objects.count(), Charge.objects.count()) == ("active", 1, 1)
    assert not Event.objects.filter(status__in=["received", "failed", "dead", "quarantined"]).exists()


@pytest.mark.parametrize("mishap", ["decline_next", "require_action_next"])
def test_a_card_that_is_declined_leaves_nothing_behind(mandate, price, mishap):
    getattr(control, mishap)()
    monthly = price()
    row = services.subscribe(mandate, price=monthly)
    assert (row.status, row.is_over, bool(row.failure_code)) == ("not_started", True, True)
    assert books("subscription") == books("invoice") == []
    # Asked again it is another try; with the reference it is the same one.
    assert services.subscribe(mandate, price=monthly, reference=row.reference) == row
    assert services.subscribe(mandate, price=monthly).status == "active"


@pytest.mark.parametrize(("status", "is_raised"), [(401, True), (429, False)])
def test_turned_away_it_waits(mandate, price, krcard_clock, status, is_raised):
    monthly = price()
    for _time in range(3):
        control.fail_next("POST", "/v1/subscriptions", status=status)
    if is_raised:
        with pytest.raises(StripeRefusedKey):
            services.subscribe(mandate, price=monthly)
    else:
        services.subscribe(mandate, price=monthly)
    row = Subscription.objects.get()
    assert (row.status, row.sends) == ("starting", 0)
    for _time in range(3):
        krcard_clock.advance(minutes=5)
        with suppress(StripeRefusedKey):
            run_due()
    row.refresh_from_db()
    assert (row.status, at_stripe()) == ("active", ["active"])


def test_withdrawn_while_nobody_knows(mandate, price, krcard_clock):
    control.set_delivery("dropped")
    for _time in range(3):
        control.fail_next("POST", "/v1/subscriptions", effect="after", status="timeout")
    row = services.subscribe(mandate, price=price())
    services.revoke(mandate, by="customer", reason="enough")
    assert at_stripe() == ["active"]
    for _time in range(3):
        krcard_clock.advance(minutes=5)
        run_due()
    row.refresh_from_db()
    assert (at_stripe(), row.status) == (["canceled"], "canceled")


# --- our own path ------------------------------------------------------------------------------------


def test_our_own_path_does_not_charge_what_a_subscription_does(mandate, subscription, krcard_clock):
    assert services.can_charge(mandate, 12_900).code == "served_by_subscription"
    krcard_clock.advance(days=31)
    assert services.can_charge(mandate, 12_900).code == "served_by_subscription"
    assert services.next_payment_on(mandate) is None
    services.cancel_subscription(subscription, at_period_end=True, by="customer", reason="enough")
    assert services.can_charge(mandate, 12_900).code == "served_by_subscription"
    subscription.refresh_from_db()
    after = subscription.cancel_at + timedelta(days=2)
    assert services.can_charge(mandate, 12_900, at=after).allowed


def test_beside_a_subscription_there_may_be_room(save_card, price, krcard_clock):
    terms = PublishedTerms(amount_kind="maximum", amount=20_000, max_charges_per_period=2, max_amount_per_period=20_000)
    mandate = save_card(terms)
    services.subscribe(mandate, price=price())
    assert services.can_charge(mandate, 7_100).allowed
    assert services.can_charge(mandate, 7_101).code == "served_by_subscription"
    krcard_clock.advance(days=31)
    control.set_delivery("dropped")
    krcard_clock.advance(days=31)
    # The payment of this period was not heard of yet: its place is kept.
    assert services.can_charge(mandate, 7_100).allowed
    assert services.can_charge(mandate, 7_101).code == "served_by_subscription"


def test_an_invoices_payment_is_never_tried_or_called_off_here(mandate, subscription, krcard_clock):
    control.require_action_next()
    krcard_clock.advance(days=31)
    charge = mandate.charges.order_by("pk").last()
    assert (charge.status, charge.next_step_at) == ("action_required", None)
    with pytest.raises(KrcardError, match="cannot be cancelled"):
        services.cancel_charge(charge, by="staff:boss", reason="no")
    with pytest.raises(ReferenceConflict):
        services.charge(mandate, 12_900, reference=charge.reference)
    run_due()
    services.revoke(mandate, by="customer", reason="enough")
    run_due()
    assert books("payment_intent")[-1]["status"] == "requires_payment_method"
    assert at_stripe() == ["canceled"]


# --- more than was agreed ----------------------------------------------------------------------------


def raise_price(stripe, amount, price):
    [there] = books("subscription")
    item = there["items"]["data"][0]["id"]
    stripe.subscriptions.update(there["id"], {"items": [{"id": item, "price": price(amount)}]})


def test_a_raised_price_is_paused_at_once_and_goes_on_when_it_is_agreed(
    mandate,
    subscription,
    stripe,
    price,
    save_card,
    krcard_clock,
):
    PublishedTerms(slug="membership", version=2, amount=15_900)
    raise_price(stripe, 15_900, price)
    assert books("subscription")[0]["pause_collection"]["behavior"] == "keep_as_draft"
    subscription.refresh_from_db()
    assert (subscription.paused, bool(subscription.above_agreed_at)) == ("keep_as_draft", True)
    needed = mandate.timeline.get(kind="consent_needed")
    assert needed.data["amount"] == 15_900
    assert not [each for each in services.run_due() if isinstance(each, Exception)]
    asked = mandate.amendments.get()
    assert (asked.status, asked.amount_after, asked.terms.version) == ("asked", 15_900, 2)
    with pytest.raises(SubscriptionRefused, match="amount_over_limit"):
        services.resume_collection(mandate)

    krcard_clock.advance(days=31)
    assert at_stripe("invoice") == ["paid", "draft"]
    save_card(mandate.consent.terms.__class__.objects.get(version=2), customer=mandate.customer)
    services.resume_collection(mandate, by="customer")
    services.resume_collection(mandate, by="customer")
    subscription.refresh_from_db()
    assert (subscription.paused, subscription.above_agreed_at) == ("", None)
    krcard_clock.advance(hours=2)
    assert at_stripe("invoice") == ["paid", "paid"]
    # Agreed again with another card: that is the one which is charged.
    mandate.refresh_from_db()
    assert books("payment_intent")[-1]["payment_method"] == mandate.payment_method.stripe_id
    assert kinds_of(mandate, "subscription_resume_requested") == ["subscription_resume_requested"]


def test_one_of_two_that_is_not_covered_holds_up_neither_the_other_nor_the_run(
    mandate, subscription, subscribe, stripe, price, save_card
):
    # Begun by hand in the dashboard, and above what was agreed from its first day.
    control.set_delivery("held")
    dear = subscribe(mandate, 99_000)
    control.set_delivery("now")
    control.deliver()
    assert Subscription.objects.get(stripe_id=dear).above_agreed_at
    [cheap_item] = next(each for each in books("subscription") if each["id"] == subscription.stripe_id)["items"]["data"]
    for amount in (15_900, 12_900):
        # Raised, and lowered again: this one would be covered.
        item = {"id": cheap_item["id"], "price": price(amount)}
        stripe.subscriptions.update(subscription.stripe_id, {"items": [item]})
    hanas = save_card(mandate.consent.terms, customer=services.get_or_create_customer(UserFactory()))
    due = services.schedule_charge(hanas, 12_900, reference="november", due_at=timezone.now())

    assert not [each for each in run_due() if isinstance(each, Exception)]

    subscription.refresh_from_db()
    assert (subscription.amount, subscription.paused) == (12_900, "")
    assert Subscription.objects.get(stripe_id=dear).paused == "keep_as_draft"
    due.refresh_from_db()
    assert due.status == "succeeded"


@pytest.mark.parametrize("status", [500, "timeout"])
@pytest.mark.parametrize("effect", ["before", "after"])
def test_a_pause_is_tried_until_it_is_made(mandate, subscription, stripe, price, krcard_clock, status, effect):
    control.set_delivery("held")
    raise_price(stripe, 15_900, price)
    for _time in range(3):
        control.fail_next("POST", f"/v1/subscriptions/{subscription.stripe_id}", effect=effect, status=status)
    control.set_delivery("now")
    control.deliver()
    for _time in range(3):
        krcard_clock.advance(minutes=5)
        run_due()
    assert books("subscription")[0]["pause_collection"]["behavior"] == "keep_as_draft"
    change = SubscriptionChange.objects.get()
    assert (change.kind, change.status) == ("pause", "done")


def test_an_extra_on_one_invoice_stops_that_draft(mandate, subscription, krcard_clock):
    control.set_delivery("held")
    krcard_clock.advance(days=30, hours=23)
    end = books("subscription")[0]["items"]["data"][0]["current_period_end"]
    control.advance(timedelta(seconds=max(end - control.now().timestamp(), 0) + 60))
    draft = next(each for each in books("invoice") if each["status"] == "draft")
    with acting() as act:
        save(act, find("invoice", draft["id"]) | {"amount_due": 99_000})
    control.set_delivery("now")
    control.deliver()
    assert find("invoice", draft["id"])["auto_advance"] is False
    control.advance(timedelta(days=1))
    assert find("invoice", draft["id"])["status"] == "draft"
    assert books("subscription")[0]["pause_collection"]["behavior"] == "keep_as_draft"


def test_a_hold_pauses_it_and_resuming_sets_it_going(mandate, subscription, stripe, price, krcard_clock):
    services.hold(mandate, by="staff:boss", reason="a question")
    assert books("subscription")[0]["pause_collection"]["behavior"] == "keep_as_draft"
    krcard_clock.advance(days=31)
    assert at_stripe("invoice") == ["paid", "draft"]
    services.resume(mandate, by="staff:boss", reason="answered")
    assert books("subscription")[0]["pause_collection"] is None

    services.hold(mandate, by="staff:boss", reason="a question")
    raise_price(stripe, 15_900, price)
    services.resume(mandate, by="staff:boss", reason="answered")
    # It is still above what was agreed.
    assert books("subscription")[0]["pause_collection"]["behavior"] == "keep_as_draft"


def test_cancelled_before_it_was_ever_made_it_is_never_made(mandate, price, krcard_clock):
    control.fail_next("POST", "/v1/subscriptions", status=429)
    control.fail_next("POST", "/v1/subscriptions", status=429)
    control.fail_next("POST", "/v1/subscriptions", status=429)
    row = services.subscribe(mandate, price=price())
    assert (row.status, row.sends) == ("starting", 0)
    services.cancel_subscription(row, by="customer", reason="enough")
    krcard_clock.advance(minutes=5)
    run_due()
    row.refresh_from_db()
    assert (row.status, books("subscription"), books("payment_intent")) == ("not_started", [], [])
    assert row.changes.get().status == "overtaken"


def test_wanted_otherwise_while_stripe_was_asked(mandate, subscription):
    """A pause was on its way when it was taken back: what was asked for last counts."""
    control.set_delivery("dropped")
    with acting() as act:
        save(act, find("subscription", subscription.stripe_id) | {"pause_collection": {"behavior": "void"}})
    pause = SubscriptionChange.objects.create(
        subscription=subscription, kind="pause", requested_by="system", next_step_at=timezone.now()
    )
    act = changes.step(pause.pk)
    seen = next(act)()
    done = SubscriptionChange.objects.create(
        subscription=subscription, kind="resume", requested_by="system", status="done", done_at=timezone.now()
    )
    SubscriptionChange.objects.filter(pk=pause.pk).update(status="overtaken", next_step_at=None)
    finish(act, lambda: seen)
    done.refresh_from_db()
    assert (done.status, done.attempt) == ("ready", 2)
    run_due()
    assert books("subscription")[0]["pause_collection"] is None


# --- leaving -----------------------------------------------------------------------------------------


def test_cancelled_at_the_end_of_the_period_and_taken_back(mandate, subscription, krcard_clock):
    row = services.cancel_subscription(subscription, at_period_end=True, by="customer", reason="enough")
    assert (row.status, row.cancel_at_period_end, row.cancel_at) == ("active", True, row.current_period_end)
    services.cancel_subscription(subscription, at_period_end=True, by="customer", reason="enough")
    row = services.keep_subscription(subscription, by="customer")
    assert (row.cancel_at_period_end, books("subscription")[0]["cancel_at"]) == (False, None)
    assert kinds_of(mandate, "subscription_leaving") == ["subscription_leaving"] * 2

    services.cancel_subscription(subscription, at_period_end=True, by="customer", reason="enough")
    krcard_clock.advance(days=31)
    with pytest.raises(KrcardError, match="has ended"):
        services.keep_subscription(subscription, by="customer")
    assert (at_stripe(), len(books("payment_intent"))) == (["canceled"], 1)


@pytest.mark.parametrize("days", [0, 10, 29])
def test_unused_days_are_paid_back_once(mandate, subscription, krcard_clock, days):
    krcard_clock.advance(days=days)
    total = (subscription.current_period_end - subscription.current_period_start).days
    expected = -(-12_900 * (total - days - 1) // total)
    assert services.pro_rata(subscription) == expected
    for _time in range(2):
        services.cancel_subscription(subscription, by="customer", reason="enough", refund_unused=True)
    run_due()
    assert at_stripe() == ["canceled"]
    assert [each["amount"] for each in books("refund")] == ([expected] if expected else [])
    assert mandate.charges.get().refunded_amount == expected


def test_paid_back_although_the_process_died_or_stripe_was_silent(mandate, subscription, krcard_clock):
    for _time in range(3):
        control.fail_next("DELETE", "/v1/subscriptions", effect="after", status="timeout")
    control.fail_next("GET", "/v1/refunds", status=500)
    control.set_delivery("dropped")
    unused = services.pro_rata(subscription)
    services.cancel_subscription(subscription, by="customer", reason="enough", refund_unused=True)
    assert books("refund") == []
    for _time in range(4):
        krcard_clock.advance(minutes=6)
        run_due()
    assert [each["amount"] for each in books("refund")] == [unused]
    change = SubscriptionChange.objects.get()
    assert (change.status, bool(change.paid_back_at), change.next_step_at) == ("done", True, None)


def test_refund_unused_by_hand(mandate, subscription, krcard_clock):
    krcard_clock.advance(days=5)
    refund = services.refund_unused(subscription)
    krcard_clock.advance(days=5)
    assert services.refund_unused(subscription) == refund
    assert Refund.objects.count() == len(books("refund")) == 1
    # Of what is left no more is unused than is left.
    services.refund(mandate.charges.get(), reference="rest")
    assert services.pro_rata(subscription) == 0
    assert services.refund_unused(subscription, reference="more") is None


def test_nothing_is_unused_of_what_was_not_paid(mandate, subscription, krcard_clock):
    control.decline_next()
    krcard_clock.advance(days=31)
    subscription.refresh_from_db()
    assert (subscription.status, services.pro_rata(subscription)) == ("past_due", 0)
    assert services.refund_unused(subscription) is None


def test_another_card_is_charged_from_now_on(mandate, subscription, save_card, krcard_clock):
    save_card(mandate.consent.terms, customer=mandate.customer, brand="kookmin", last4="5678")
    mandate.refresh_from_db()
    assert books("subscription")[0]["default_payment_method"] == mandate.payment_method.stripe_id
    krcard_clock.advance(days=31)
    assert mandate.charges.order_by("pk").last().payment_method == mandate.payment_method


# --- any order ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_refund_and_dispute_lead_to_the_same_charge_in_any_order(mandate, subscribe, stripe, seed):
    control.set_delivery("held")
    subscribe(mandate)
    [intent] = books("payment_intent")
    stripe.refunds.create({"payment_intent": intent["id"], "amount": 900})
    control.dispute(intent["id"])
    control.deliver(shuffled=True, copies=2, seed=seed)
    charge = mandate.charges.get()
    assert (charge.stripe_id, charge.refunded_amount, charge.is_disputed) == (intent["id"], 900, True)
    mandate.refresh_from_db()
    assert mandate.status == "on_hold"


def test_a_lost_invoice_is_found_by_comparing(mandate, subscription, krcard_clock):
    control.set_delivery("dropped")
    krcard_clock.advance(days=31)
    assert mandate.charges.count() == 1
    [unknown] = finish(invoices.compare(subscription, fix=False))
    assert (unknown, mandate.charges.count()) == (books("invoice")[-1]["id"], 1)
    finish(invoices.compare(subscription))
    assert (mandate.charges.count(), finish(invoices.compare(subscription))) == (2, [])


def test_a_row_lost_with_a_backup_is_made_again(mandate, subscription):
    Notice.objects.all().delete()
    Charge.objects.all().delete()
    SubscriptionChange.objects.all().delete()
    Subscription.objects.all().delete()
    [there] = books("subscription")
    from_list = next(gateway.subscriptions_of(mandate.customer.stripe_id))
    assert from_list.id == there["id"]
    again = services.subscribe(mandate, price=there["items"]["data"][0]["price"]["id"])
    assert (again.stripe_id, again.reference, len(books("subscription"))) == (there["id"], "subscription-1", 1)


def test_what_is_no_reference(mandate):
    for wrong in ({"reference": "x" * 192}, {"quantity": 0}):
        with pytest.raises(ValueError, match="quantity"):
            services.subscribe(mandate, price="price_1", **wrong)


def test_a_price_that_cannot_be_asked_for_makes_nothing(mandate):
    for _time in range(3):
        control.fail_next("GET", "/v1/prices", status=500)
    with pytest.raises(GatewayError):
        services.subscribe(mandate, price="price_1")
    assert not Subscription.objects.exists()
