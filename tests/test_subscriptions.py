"""Subscriptions and their invoices follow Stripe, in whatever order it speaks; so do cards that were renewed."""

import logging
from datetime import timedelta

import pytest
from django.utils import timezone
from stripe import StripeClient

from django_krcard import gateway, services
from django_krcard.models import Event, PaymentMethod, Subscription
from django_krcard.sandbox import control
from django_krcard.sandbox.delivery import acting
from django_krcard.sandbox.events import emit
from django_krcard.sandbox.http import SandboxHTTPClient
from django_krcard.sandbox.store import find, save
from django_krcard.services import cards, invoices, subscriptions
from django_krcard.services.acts import finish
from django_krcard.testing.sandbox import SECRET_KEY, books
from tests.factories import PublishedTerms, consent_of
from tests.test_concurrency import all_at_once

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("krcard_clock", "no_waiting")]

MONTH = timedelta(days=31)


@pytest.fixture
def stripe():
    """The shop's own hands at Stripe: what a person does in the dashboard."""
    return StripeClient(SECRET_KEY, http_client=SandboxHTTPClient()).v1


@pytest.fixture
def price(stripe):
    def make(amount=12_900):
        product = {"name": "달빛 회원권"}
        return stripe.prices.create(
            {
                "currency": "krw",
                "unit_amount": amount,
                "recurring": {"interval": "month"},
                "product_data": product,
            }
        ).id

    return make


@pytest.fixture
def subscribe(stripe, price):
    def begin(mandate, amount=12_900, **changes):
        params = {
            "customer": mandate.customer.stripe_id,
            "items": [{"price": price(amount)}],
            "default_payment_method": mandate.payment_method.stripe_id,
            "payment_settings": {"payment_method_types": ["kr_card"]},
            "off_session": True,
            "metadata": {"krcard_mandate": str(mandate.public_id)},
        }
        return stripe.subscriptions.create(params | changes).id

    return begin


def told_of(mandate, *kinds):
    """The timeline since the card was saved, oldest first: (kind, amount)."""
    entries = mandate.timeline.order_by("pk")
    entries = entries.filter(kind__in=kinds) if kinds else entries.filter(kind__regex="^(subscription|invoice|card_up)")
    return [(entry.kind, entry.data.get("amount")) for entry in entries]


def kinds_of(mandate, *kinds):
    return [kind for kind, _amount in told_of(mandate, *kinds)]


def told(row, **changes):
    """What Stripe might say of a row of ours."""
    mandate = row.mandate
    usual = {
        "id": row.stripe_id,
        "status": "active",
        "customer": mandate.customer.stripe_id,
        "livemode": mandate.customer.livemode,
        "amount": row.amount,
        "interval": row.interval,
        "interval_count": row.interval_count,
        "metadata": {"krcard_mandate": str(mandate.public_id)},
    }
    return gateway.Subscription(**usual | changes)


# --- the row ---------------------------------------------------------------------------------------


def test_a_subscription_on_a_mandate_gets_a_row(mandate, subscribe):
    stripe_id = subscribe(mandate)

    row = Subscription.objects.get()
    assert (row.mandate, row.stripe_id, row.status, row.amount) == (mandate, stripe_id, "active", 12_900)
    assert timedelta(days=27) < row.current_period_end - timezone.now() < MONTH
    assert row.is_fine
    assert not row.is_over
    assert (row.cancel_at, row.canceled_at, row.ended_at) == (None, None, None)
    assert sorted(told_of(mandate)) == [
        ("invoice_finalized", 12_900),
        ("invoice_paid", 12_900),
        ("subscription_started", 12_900),
    ]
    assert not Event.objects.filter(status__in=["failed", "dead", "quarantined"]).exists()


def test_the_next_period_is_told_with_its_payment(mandate, subscribe, krcard_clock):
    subscribe(mandate)
    first = Subscription.objects.get().current_period_end
    krcard_clock.advance(days=31)

    row = Subscription.objects.get()
    assert (row.status, row.current_period_end > first) == ("active", True)
    assert kinds_of(mandate, "invoice_paid") == ["invoice_paid"] * 2
    paid = mandate.timeline.filter(kind="invoice_paid").first().data
    invoice = books("invoice")[-1]
    assert (paid["invoice"], paid["number"], paid["billing_reason"]) == (
        invoice["id"],
        invoice["number"],
        "subscription_cycle",
    )
    assert paid["payment_intent"] == books("payment_intent")[-1]["id"]


def test_other_subscriptions_of_the_same_account_are_not_ours(mandate, save_card, subscribe, caplog):
    stranger = save_card(PublishedTerms(slug="other"), customer=services.get_or_create_customer(reference="org-7"))
    subscribe(mandate, metadata={})
    subscribe(mandate, metadata={"krcard_mandate": "not a uuid"})
    subscribe(mandate, metadata={"krcard_mandate": "00000000-0000-4000-8000-000000000000"})
    assert "not one of mandate" not in caplog.text
    # Another customer's mandate: somebody has mixed up two people.
    subscribe(mandate, metadata={"krcard_mandate": str(stranger.public_id)})

    assert not Subscription.objects.exists()
    assert kinds_of(mandate) == kinds_of(stranger) == []
    assert f"not one of mandate {stranger.reference}" in caplog.text
    assert not Event.objects.filter(status__in=["failed", "dead", "quarantined"]).exists()


def test_one_of_the_other_mode_is_not_ours(mandate, caplog):
    row = Subscription(mandate=mandate, stripe_id="sub_1", amount=12_900)
    assert subscriptions.apply(mandate, told(row, livemode=True), timezone.now()) is None
    assert not Subscription.objects.exists()
    assert "not applied" in caplog.text


def test_what_counts_is_what_stripe_says_now_and_not_what_a_message_said(mandate, subscribe, caplog):
    stripe_id = subscribe(mandate, metadata={})
    subscriptions.heard(stripe_id, mandate.public_id)()
    assert not Subscription.objects.exists()
    assert "not applied" in caplog.text


def test_once_ours_it_stays_ours_whatever_becomes_of_its_metadata(mandate, subscribe, stripe):
    stripe_id = subscribe(mandate)
    stripe.subscriptions.update(stripe_id, {"metadata": {"krcard_mandate": ""}})
    assert books("subscription")[0]["metadata"] == {}

    stripe.subscriptions.cancel(stripe_id)
    assert Subscription.objects.get().status == "canceled"


def test_two_mandates_do_not_share_one(mandate, save_card, subscribe):
    other = save_card(PublishedTerms(slug="other"))
    subscribe(mandate)
    row = Subscription.objects.get()

    names_other = told(row, status="past_due", metadata={"krcard_mandate": str(other.public_id)})
    assert subscriptions.apply(other, names_other, timezone.now()) is None
    row.refresh_from_db()
    assert (row.mandate, row.status) == (mandate, "active")


def test_a_new_price_is_told_before_it_is_charged(mandate, subscribe, stripe, price):
    stripe_id = subscribe(mandate)
    item = books("subscription")[0]["items"]["data"][0]["id"]
    stripe.subscriptions.update(stripe_id, {"items": [{"id": item, "price": price(9_900)}]})

    assert Subscription.objects.get().amount == 9_900
    entry = mandate.timeline.get(kind="subscription_amount")
    assert (entry.data["amount"], entry.data["before"]) == (9_900, 12_900)


def test_cancelled_for_the_end_of_the_period(mandate, subscribe, stripe, krcard_clock):
    stripe_id = subscribe(mandate)
    stripe.subscriptions.update(stripe_id, {"cancel_at_period_end": True})
    row = Subscription.objects.get()
    assert row.cancel_at == row.current_period_end
    assert (bool(row.canceled_at), row.ended_at, row.status) == (True, None, "active")

    krcard_clock.advance(days=31)
    row.refresh_from_db()
    assert (row.status, bool(row.ended_at), row.is_over, row.is_fine) == ("canceled", True, True, False)
    assert kinds_of(mandate, "subscription_ended", "subscription_status") == ["subscription_ended"]


# --- order -----------------------------------------------------------------------------------------


def test_an_answer_to_an_earlier_question_changes_nothing(mandate, subscribe):
    subscribe(mandate)
    row = Subscription.objects.get()
    now = timezone.now()
    subscriptions.apply(mandate, told(row, status="past_due"), now)
    subscriptions.apply(mandate, told(row, status="active", amount=1), now - timedelta(microseconds=1))

    row.refresh_from_db()
    assert (row.status, row.amount, row.told_at) == ("past_due", 12_900, now)
    subscriptions.apply(mandate, told(row, status="active"), now + timedelta(microseconds=1))
    row.refresh_from_db()
    assert row.status == "active"
    changes = mandate.timeline.filter(kind="subscription_status").order_by("pk")
    assert [(entry.data["before"], entry.data["status"]) for entry in changes] == [
        ("active", "past_due"),
        ("past_due", "active"),
    ]


@pytest.mark.parametrize("over", sorted(Subscription.OVER))
def test_what_is_over_stays_over_and_is_believed_whenever_it_was_asked(mandate, subscribe, over):
    subscribe(mandate)
    row = Subscription.objects.get()
    later = row.told_at
    subscriptions.apply(mandate, told(row, status=over), later - timedelta(hours=1))
    row.refresh_from_db()
    assert (row.status, row.told_at) == (over, later)

    for status in ("active", "canceled", "incomplete_expired", "reborn"):
        subscriptions.apply(mandate, told(row, status=status), timezone.now() + timedelta(hours=1))
    row.refresh_from_db()
    assert row.status == over
    assert kinds_of(mandate, "subscription_ended") == ["subscription_ended"]


def test_an_unknown_status_is_kept_and_is_not_fine(mandate, subscribe, caplog):
    subscribe(mandate)
    row = Subscription.objects.get()
    for _time in range(2):
        subscriptions.apply(mandate, told(row, status="snoozed"), timezone.now())
    row.refresh_from_db()
    assert (row.status, row.is_fine, row.is_over) == ("snoozed", False, False)
    assert caplog.text.count("'snoozed' is unknown") == 1
    assert mandate.timeline.get(kind="subscription_status").data["status"] == "snoozed"


def test_seen_for_the_first_time_by_many_at_once(mandate, subscribe):
    control.set_delivery("dropped")
    stripe_id = subscribe(mandate)
    invoice = books("invoice")[0]["id"]
    writes = [subscriptions.heard(stripe_id, mandate.public_id) for _ in range(4)]
    writes += [invoices.heard(invoice, stripe_id, mandate.public_id) for _ in range(4)]

    answers = all_at_once(lambda number: writes[number](), len(writes))
    assert not [answer for answer in answers if isinstance(answer, Exception)]
    assert sorted(kinds_of(mandate)) == ["invoice_finalized", "invoice_paid", "subscription_started"]
    assert Subscription.objects.get().status == "active"


def story(mandate, subscribe, stripe, clock):
    """A year in short: paid, declined once and paid at the second try, a new price, the end."""
    stripe_id = subscribe(mandate)
    control.decline_next("insufficient_funds")
    clock.advance(days=31)
    clock.advance(days=4)
    stripe.subscriptions.update(stripe_id, {"cancel_at_period_end": True})
    clock.advance(days=31)


ONCE = ["subscription_started", "subscription_ended", "invoice_finalized", "invoice_paid", "invoice_above_agreed"]


def outcome(mandate):
    row = Subscription.objects.get()
    state = row.status, row.amount, bool(row.current_period_end), bool(row.canceled_at), bool(row.ended_at)
    # Stripe keeps no more than the last try of an invoice, so what was in between is told if somebody looked in time.
    payments = list(mandate.charges.order_by("due_at").values_list("status", "amount"))
    return state, sorted(told_of(mandate, *ONCE)), payments


EXPECTED = (
    ("canceled", 12_900, True, True, True),
    sorted(
        [
            ("subscription_started", 12_900),
            ("subscription_ended", 12_900),
            *[("invoice_finalized", 12_900)] * 2,
            *[("invoice_paid", 12_900)] * 2,
        ]
    ),
    [("succeeded", 12_900)] * 2,
)


def test_the_story_in_order(mandate, subscribe, stripe, krcard_clock):
    story(mandate, subscribe, stripe, krcard_clock)
    assert outcome(mandate) == EXPECTED
    assert told_of(mandate, "invoice_payment_failed") == [("invoice_payment_failed", 12_900)]
    failed = mandate.timeline.get(kind="invoice_payment_failed").data
    assert (failed["decline_code"], failed["attempt"]) == ("insufficient_funds", 1)
    states = mandate.timeline.filter(kind="subscription_status").order_by("pk")
    assert [entry.data["status"] for entry in states] == ["past_due", "active"]


@pytest.mark.parametrize("format", ["snapshot", "thin", "both"])
@pytest.mark.parametrize("seed", range(4))
def test_the_story_shuffled_and_doubled_ends_the_same(mandate, subscribe, stripe, krcard_clock, seed, format):
    control.set_event_format(format)
    control.set_delivery("held")
    story(mandate, subscribe, stripe, krcard_clock)
    assert not Subscription.objects.exists()

    control.deliver(shuffled=True, copies=2, seed=seed)
    assert outcome(mandate) == EXPECTED
    assert not Event.objects.filter(status__in=["received", "failed", "dead", "quarantined"]).exists()


@pytest.mark.parametrize("seed", range(4))
def test_each_chapter_shuffled_and_doubled_ends_the_same(mandate, subscribe, stripe, krcard_clock, seed):
    """As it happens in life: what is late is late by hours, not by months."""
    control.set_delivery("held")

    def deliver():
        control.deliver(shuffled=True, copies=2, seed=seed)

    stripe_id = subscribe(mandate)
    deliver()
    control.decline_next("insufficient_funds")
    krcard_clock.advance(days=31)
    deliver()
    assert kinds_of(mandate, "invoice_payment_failed") == ["invoice_payment_failed"]
    assert Subscription.objects.get().status == "past_due"
    krcard_clock.advance(days=4)
    deliver()
    stripe.subscriptions.update(stripe_id, {"cancel_at_period_end": True})
    krcard_clock.advance(days=31)
    deliver()
    assert outcome(mandate) == EXPECTED


# --- agreements that have ended --------------------------------------------------------------------


def alarms(caplog, words):
    return [entry for entry in caplog.records if entry.levelno == logging.CRITICAL and words in entry.getMessage()]


def test_a_withdrawal_ends_it_at_stripe_at_once(mandate, subscribe, krcard_clock, caplog):
    subscribe(mandate)
    services.revoke(mandate, by="customer", reason="enough")

    assert [each["status"] for each in books("subscription")] == ["canceled"]
    assert Subscription.objects.get().status == "canceled"
    krcard_clock.advance(days=31)
    assert [each["status"] for each in books("invoice")] == ["paid"]
    assert kinds_of(mandate, "subscription_cancel_requested", "subscription_left_running") == [
        "subscription_cancel_requested"
    ]
    assert not alarms(caplog, "sub_")


def test_what_cannot_be_ended_is_told_once_and_tried_until_it_is(mandate, subscribe, krcard_clock, caplog):
    stripe_id = subscribe(mandate)
    # Longer than the SDK repeats it by itself: at the first try, and at the second.
    for _time in range(6):
        control.fail_next("DELETE", "/v1/subscriptions")
    services.revoke(mandate, by="customer", reason="enough")
    assert kinds_of(mandate, "subscription_left_running") == ["subscription_left_running"]
    assert books("subscription")[0]["status"] == "active"

    krcard_clock.advance(minutes=20)
    list(services.run_due())
    assert books("subscription")[0]["status"] == "active"
    krcard_clock.advance(minutes=20)
    list(services.run_due())
    assert books("subscription")[0]["status"] == Subscription.objects.get().status == "canceled"
    assert kinds_of(mandate, "subscription_left_running") == ["subscription_left_running"]
    assert len(alarms(caplog, stripe_id)) == 1


def test_one_made_on_an_agreement_that_has_ended_is_ended_at_the_first_sight(mandate, save_card, subscribe):
    # The customer has a card that is still saved, under another agreement.
    other = save_card(PublishedTerms(slug="other"))
    services.revoke(mandate, by="customer", reason="enough")
    subscribe(other, metadata={"krcard_mandate": str(mandate.public_id)})

    row = Subscription.objects.get()
    assert (row.mandate, row.status, books("subscription")[0]["status"]) == (mandate, "canceled", "canceled")
    # What Stripe took at once is a charge of this mandate, to be seen and paid back.
    assert mandate.charges.get().status == "succeeded"


def test_one_that_is_over_leaves_nothing_running(mandate, subscribe, stripe, caplog):
    stripe.subscriptions.cancel(subscribe(mandate))
    services.revoke(mandate, by="customer", reason="enough")
    [row] = Subscription.objects.all()
    subscriptions.apply(mandate, told(row, id="sub_2", status="canceled"), timezone.now())
    assert kinds_of(mandate, "subscription_left_running") == []
    assert not alarms(caplog, "sub_")


# --- invoices --------------------------------------------------------------------------------------


def test_an_invoice_above_what_was_agreed_is_told_while_it_is_a_draft(mandate, subscribe, stripe, price, caplog):
    stripe_id = subscribe(mandate)
    item = books("subscription")[0]["items"]["data"][0]["id"]
    stripe.subscriptions.update(stripe_id, {"items": [{"id": item, "price": price(15_900)}]})
    end = books("subscription")[0]["items"]["data"][0]["current_period_end"]
    control.advance(timedelta(seconds=end - control.now().timestamp() + 60))

    assert books("invoice")[-1]["status"] == "draft"
    entry = mandate.timeline.get(kind="invoice_above_agreed")
    assert (entry.data["amount"], entry.data["agreed"], entry.data["invoice"]) == (
        15_900,
        12_900,
        books("invoice")[-1]["id"],
    )
    control.advance(timedelta(days=2))
    assert books("invoice")[-1]["status"] == "draft"
    assert kinds_of(mandate, "invoice_above_agreed") == ["invoice_above_agreed"]
    assert len(alarms(caplog, "asks for 15900 krw. The customer agreed to 12900 won.")) == 1


@pytest.mark.parametrize(("amount", "agreed"), [(12_900, True), (12_901, False), (100, True)])
def test_what_was_agreed_is_a_line_that_may_be_reached(mandate, subscribe, amount, agreed):
    subscribe(mandate, amount)
    assert bool(kinds_of(mandate, "invoice_above_agreed")) is not agreed


def test_another_currency_was_not_agreed(mandate, subscribe, caplog):
    subscribe(mandate)
    row = Subscription.objects.get()
    dollars = gateway.Invoice("in_1", "draft", 50, "usd", subscription=told(row, amount=None))
    invoices.apply(mandate, dollars, timezone.now())
    entry = mandate.timeline.get(kind="invoice_above_agreed")
    assert (entry.data["asked"], "amount" in entry.data) == ("50 usd", False)
    assert alarms(caplog, "asks for 50 usd. The customer agreed to 12900 won.")


def test_a_later_agreement_does_not_judge_an_old_invoice(mandate, subscribe, save_card):
    subscribe(mandate)
    paid = books("invoice")[0]["id"]
    save_card(PublishedTerms(slug=mandate.consent.terms.slug, version=2, amount=9_900), customer=mandate.customer)
    mandate.refresh_from_db()
    assert mandate.consent.rule["amount"] == 9_900

    invoices.apply(mandate, gateway.retrieve_invoice(paid), timezone.now())
    assert kinds_of(mandate, "invoice_above_agreed") == []


def test_each_declined_try_is_told_with_its_reason(mandate, subscribe, krcard_clock):
    subscribe(mandate)
    for code in ("insufficient_funds", "lost_card", "insufficient_funds", "generic_decline"):
        control.decline_next(code)
    krcard_clock.advance(days=45)

    failed = mandate.timeline.filter(kind="invoice_payment_failed").order_by("pk")
    assert [(entry.data["attempt"], entry.data["decline_code"]) for entry in failed] == [
        (1, "insufficient_funds"),
        (2, "lost_card"),
        (3, "insufficient_funds"),
        (4, "generic_decline"),
    ]
    assert Subscription.objects.get().status == "canceled"


def test_a_payment_that_waits_for_the_customer_is_not_called_declined(mandate, subscribe, krcard_clock):
    subscribe(mandate)
    control.require_action_next()
    krcard_clock.advance(days=31)
    assert kinds_of(mandate, "invoice_action_required", "invoice_payment_failed") == ["invoice_action_required"]


def test_a_payment_that_is_being_processed_is_not_called_declined(mandate, subscribe, krcard_clock):
    subscribe(mandate)
    control.processing_next()
    krcard_clock.advance(days=31)
    assert kinds_of(mandate, "invoice_action_required", "invoice_payment_failed") == []
    assert kinds_of(mandate, "invoice_finalized") == ["invoice_finalized"] * 2

    control.settle(books("payment_intent")[-1]["id"])
    assert kinds_of(mandate, "invoice_paid") == ["invoice_paid"] * 2


def test_without_a_card_the_invoice_fails_without_a_payment(mandate, subscribe, krcard_clock):
    subscribe(mandate)
    # That the card is gone nobody tells: otherwise the agreement would end, and the subscription with it.
    control.set_delivery("dropped")
    control.detach(mandate.payment_method.stripe_id)
    control.set_delivery("now")
    krcard_clock.advance(days=31)
    failed = mandate.timeline.filter(kind="invoice_payment_failed").first().data
    assert (failed["attempt"], failed.get("code", "")) == (1, "")
    assert Subscription.objects.get().status == "past_due"


@pytest.mark.parametrize(
    ("behavior", "kind"), [("void", "invoice_voided"), ("mark_uncollectible", "invoice_uncollectible")]
)
def test_an_invoice_that_nobody_collects(mandate, subscribe, stripe, krcard_clock, behavior, kind):
    stripe_id = subscribe(mandate)
    stripe.subscriptions.update(stripe_id, {"pause_collection": {"behavior": behavior}})
    krcard_clock.advance(days=31)
    assert kinds_of(mandate)[-2:] == ["invoice_finalized", kind]
    assert kinds_of(mandate, "invoice_paid") == ["invoice_paid"]


@pytest.mark.parametrize("status", ["draft", "paid", "void", "uncollectible"])
def test_what_nobody_tries_to_collect_any_more_has_not_just_failed(mandate, subscribe, status):
    """Paid by bank transfer, say, after the card was declined twice."""
    subscribe(mandate)
    declined = gateway.PaymentIntent("pi_1", "canceled", 9, "krw", "cus_1", failure_code="card_declined")
    row = Subscription.objects.get()
    by_hand = gateway.Invoice("in_1", status, 9, "krw", attempts=2, subscription=told(row), payment_intent=declined)
    invoices.apply(mandate, by_hand, timezone.now())
    assert kinds_of(mandate, "invoice_payment_failed") == []


def test_an_invoice_of_no_subscription_is_not_ours(mandate, caplog):
    invoices.apply(mandate, gateway.Invoice("in_1", "paid", 99_000, "krw"), timezone.now())
    assert "is of no subscription" in caplog.text
    assert kinds_of(mandate) == []


def test_what_is_not_ours_is_not_asked_for(mandate, subscribe, monkeypatch):
    subscribe(mandate)
    monkeypatch.setattr(gateway, "retrieve_invoice", lambda name: pytest.fail(name))
    monkeypatch.setattr(gateway, "retrieve_subscription", lambda name: pytest.fail(name))
    monkeypatch.setattr(gateway, "retrieve_payment_method", lambda name: pytest.fail(name))
    assert invoices.heard("in_other", "", mandate.public_id) is None
    assert invoices.heard("in_other", "sub_other", None) is None
    assert subscriptions.heard("sub_other", None) is None
    assert cards.heard("pm_other") is None


def test_an_invoice_alone_brings_its_subscription_along(mandate, subscribe):
    control.set_delivery("dropped")
    stripe_id = subscribe(mandate)
    write = invoices.heard(books("invoice")[0]["id"], stripe_id, mandate.public_id)
    assert not Subscription.objects.exists()
    write()
    write()
    assert Subscription.objects.get().status == "active"
    assert kinds_of(mandate) == ["subscription_started", "invoice_finalized", "invoice_paid"]


def test_comparing_a_row_with_stripe(mandate, subscribe, stripe):
    subscribe(mandate)
    control.set_delivery("dropped")
    row = Subscription.objects.get()
    stripe.subscriptions.cancel(row.stripe_id)

    finish(subscriptions.compare(row))
    row.refresh_from_db()
    assert row.status == "canceled"


# --- what Stripe's shapes may hold -------------------------------------------------------------------


ITEM = {"quantity": 2, "current_period_end": 2_000_000_000, "price": {"unit_amount": 5_000}}


@pytest.mark.parametrize(
    ("changes", "amount"),
    [
        ({}, 10_000),
        ({"items": {"data": [ITEM, ITEM]}}, 20_000),
        ({"items": {"data": [ITEM, ITEM | {"price": {"unit_amount": None}}]}}, None),
        ({"items": {"data": [{name: ITEM[name] for name in ("price", "current_period_end")}]}}, None),
        ({"items": {"data": [ITEM | {"price": {"unit_amount": 1, "transform_quantity": {"divide_by": 10}}}]}}, None),
        ({"currency": "usd"}, None),
    ],
)
def test_the_amount_of_a_period_or_none_if_only_the_invoice_will_tell(changes, amount):
    body = {
        "id": "sub_1",
        "status": "active",
        "customer": "cus_1",
        "livemode": False,
        "currency": "krw",
        "items": {"data": [ITEM]},
    }
    assert gateway.answers.read_subscription(body | changes).amount == amount


def test_of_several_payments_of_an_invoice_stripes_own_is_read():
    def link(intent, is_default):
        payment = {"id": intent, "status": "succeeded", "amount": 1, "currency": "krw", "customer": "cus_1"}
        return {"is_default": is_default, "payment": {"payment_intent": payment}}

    out_of_band = {"is_default": True, "payment": {"type": "payment_record"}}
    body = {"id": "in_1", "amount_due": 1, "currency": "krw", "payments": {"data": [link("pi_1", False)]}}
    assert gateway.answers.read_invoice(body).payment_intent is None
    body["payments"]["data"] += [out_of_band, link("pi_2", True)]
    assert gateway.answers.read_invoice(body).payment_intent.id == "pi_2"
    assert gateway.answers.read_invoice(body | {"payments": None}).subscription is None


def test_the_period_ends_where_its_first_item_does():
    items = [ITEM | {"current_period_end": end} for end in (2_000_000_500, 2_000_000_000)]
    body = {"id": "s", "status": "active", "customer": {"id": "cus_1"}, "livemode": False, "currency": "krw"}
    read = gateway.answers.read_subscription(body | {"items": {"data": items}})
    assert (read.current_period_end.timestamp(), read.customer) == (2_000_000_000, "cus_1")


# --- cards -----------------------------------------------------------------------------------------


@pytest.fixture
def visa(user, membership):
    """The mandate of a customer who chose an ordinary card, which has an expiry date."""
    consent = consent_of(services.get_or_create_customer(user), membership)
    setup = services.start_checkout(consent, success_url="http://testserver/ok", cancel_url="http://testserver/no")
    control.authorise(setup.checkout_session_id, type="card", last4="4242")
    return services.complete_setup(setup)


def renew(card, event="payment_method.automatically_updated", **changes):
    """The network tells Stripe of a new number or date for the card."""
    with acting() as act:
        before = find("payment_method", card.stripe_id)
        after = save(act, before | {card.type: before[card.type] | changes})
        emit(act, event, after)


def test_a_renewed_card_shows_its_new_number_and_date(visa):
    card = visa.payment_method
    before = {"last4": "4242", "exp_year": card.exp_year}
    renew(card, last4="9876", exp_year=card.exp_year + 5)

    card.refresh_from_db()
    assert (card.last4, card.exp_year, card.brand) == ("9876", before["exp_year"] + 5, "visa")
    entry = visa.timeline.get(kind="card_updated")
    assert entry.data["before"] == before
    assert (entry.data["last4"], entry.data["payment_method"]) == ("9876", card.stripe_id)


def test_a_card_of_which_nothing_is_seen_to_change_is_not_worth_an_entry(mandate):
    renew(mandate.payment_method, "payment_method.updated")
    mandate.payment_method.refresh_from_db()
    assert mandate.payment_method.told_at
    assert kinds_of(mandate) == []


def test_renewed_twice_and_told_in_any_order(mandate):
    control.set_delivery("held")
    renew(mandate.payment_method, last4="1111")
    renew(mandate.payment_method, last4="2222")
    control.deliver(shuffled=True, copies=3, seed=1)
    mandate.payment_method.refresh_from_db()
    assert mandate.payment_method.last4 == "2222"
    assert kinds_of(mandate) == ["card_updated"]


def card_told(card, **changes):
    usual = {"id": card.stripe_id, "type": card.type, "customer": card.customer.stripe_id, "brand": card.brand}
    return gateway.Card(**usual | changes)


def test_an_older_answer_does_not_undo_a_card(mandate):
    card, now = mandate.payment_method, timezone.now()
    cards.follow(card, card_told(card, last4="2222"), now)
    cards.follow(card, card_told(card, last4="1111"), now - timedelta(microseconds=1))
    card.refresh_from_db()
    assert (card.last4, card.told_at) == ("2222", now)
    cards.follow(card, card_told(card, last4="3333"), now + timedelta(microseconds=1))
    card.refresh_from_db()
    assert card.last4 == "3333"


@pytest.mark.parametrize("changes", [{"id": "pm_other"}, {"customer": "cus_other"}])
def test_another_card_is_not_taken_for_ours(mandate, changes, caplog):
    card = mandate.payment_method
    cards.follow(card, card_told(card, last4="6666", **changes), timezone.now())
    card.refresh_from_db()
    assert (card.last4, card.detached_at) == ("1234", None)
    assert "not applied" in caplog.text


def test_a_card_that_is_nobodys_any_more_was_removed(mandate):
    card = mandate.payment_method
    cards.follow(card, card_told(card, last4="6666", customer=""), timezone.now() - timedelta(hours=1))
    card.refresh_from_db()
    assert (bool(card.detached_at), card.last4) == (True, "1234")
    cards.follow(card, card_told(card, last4="7777"), timezone.now())
    assert PaymentMethod.objects.get(pk=card.pk).last4 == "1234"


def test_only_living_agreements_hear_of_a_renewed_card(mandate):
    card = mandate.payment_method
    services.revoke(mandate, by="customer", reason="enough")
    PaymentMethod.objects.filter(pk=card.pk).update(detached_at=None)
    card.refresh_from_db()
    cards.follow(card, card_told(card, last4="2222"), timezone.now())
    card.refresh_from_db()
    assert card.last4 == "2222"
    assert kinds_of(mandate) == []
