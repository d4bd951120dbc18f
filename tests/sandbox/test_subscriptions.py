from datetime import UTC, datetime, timedelta

import pytest
import stripe

from django_krcard.sandbox import control, periods

from .conftest import charge_params, types_of

MONTH = timedelta(days=31)


@pytest.fixture
def price(api):
    return api.prices.create(
        {
            "currency": "krw",
            "unit_amount": 12_900,
            "recurring": {"interval": "month"},
            "product_data": {"name": "달빛 회원권"},
        }
    )


def subscription_params(saved, price, **more):
    return {
        "customer": saved.customer,
        "items": [{"price": price.id}],
        "default_payment_method": saved.card,
        "payment_settings": {"payment_method_types": ["kr_card"]},
        "off_session": True,
        "metadata": {"mandate": "m1"},
        **more,
    }


@pytest.fixture
def subscription(api, saved, price, heard):
    made = api.subscriptions.create(subscription_params(saved, price))
    heard.clear()
    return made


def statuses(api, subscription):
    return [invoice.status for invoice in api.invoices.list({"subscription": subscription.id})]


def test_the_first_period_is_charged_at_once(api, saved, price, heard):
    heard.clear()
    made = api.subscriptions.create(subscription_params(saved, price))

    assert (made.status, made["items"].data[0].price.id) == ("active", price.id)
    invoice = api.invoices.retrieve(
        made.latest_invoice, {"expand": ["payments", "parent.subscription_details.subscription"]}
    )
    assert (invoice.status, invoice.amount_paid, invoice.billing_reason) == ("paid", 12_900, "subscription_create")
    assert invoice.parent.subscription_details.subscription.metadata.to_dict() == {"mandate": "m1"}
    [payment] = invoice.payments.data
    assert api.payment_intents.retrieve(payment.payment.payment_intent).amount == 12_900
    assert types_of(heard) == [
        "invoice.created",
        "invoice.finalized",
        "charge.succeeded",
        "payment_intent.succeeded",
        "invoice_payment.paid",
        "invoice.paid",
        "invoice.payment_succeeded",
        "customer.subscription.created",
    ]


def test_the_customers_default_card_will_do(api, saved, price):
    params = subscription_params(saved, price)
    del params["default_payment_method"]
    with pytest.raises(stripe.InvalidRequestError, match="no attached payment source"):
        api.subscriptions.create(params)

    api.customers.update(saved.customer, {"invoice_settings": {"default_payment_method": saved.card}})

    assert api.subscriptions.create(params).status == "active"


def test_a_month_later_it_is_charged_again(api, subscription, heard):
    control.advance(MONTH)

    assert statuses(api, subscription) == ["paid", "paid"]
    assert types_of(heard) == [
        "invoice.upcoming",
        "invoice.created",
        "customer.subscription.updated",
        "invoice.finalized",
        "charge.succeeded",
        "payment_intent.succeeded",
        "invoice_payment.paid",
        "invoice.paid",
        "invoice.payment_succeeded",
    ]
    start = subscription["items"].data[0].current_period_end
    upcoming, created, updated, finalized = heard[:4]
    assert upcoming["created"] - (start - 7 * 86_400) in (0, 1, 2)
    assert "id" not in upcoming["data"]["object"]
    assert created["created"] - start in (0, 1, 2)
    assert finalized["created"] - start - 3600 in (0, 1, 2)
    assert created["data"]["object"]["status"] == "draft"
    assert updated["data"]["object"]["items"]["data"][0]["current_period_start"] == start


def test_time_goes_month_by_month(api, subscription):
    control.advance(MONTH * 6)

    assert statuses(api, subscription) == ["paid"] * 7


def test_a_decline_makes_it_past_due_and_another_try_heals_it(api, subscription, heard):
    control.decline_next("insufficient_funds")
    control.advance(MONTH)

    assert api.subscriptions.retrieve(subscription.id).status == "past_due"
    [invoice] = api.invoices.list({"status": "open"})
    assert (invoice.attempt_count, invoice.next_payment_attempt > invoice.created) == (1, True)
    assert types_of(heard)[-2:] == ["invoice.payment_failed", "customer.subscription.updated"]

    control.advance(timedelta(days=3))

    assert api.subscriptions.retrieve(subscription.id).status == "active"
    assert api.invoices.retrieve(invoice.id).status == "paid"


def test_the_fourth_decline_ends_it(api, subscription, heard):
    for _ in range(4):
        control.decline_next()
    control.advance(timedelta(days=45))

    ended = api.subscriptions.retrieve(subscription.id)
    assert (ended.status, ended.cancellation_details.reason) == ("canceled", "payment_failed")
    assert types_of(heard)[-1] == "customer.subscription.deleted"
    assert types_of(heard).count("invoice.payment_failed") == 4


@pytest.mark.parametrize("lose", ["detach", "deactivate_mandate"])
def test_a_lost_permission_fails_the_next_invoice(api, saved, subscription, lose):
    getattr(control, lose)(saved.card)
    control.advance(MONTH)

    assert api.subscriptions.retrieve(subscription.id).status == "past_due"
    assert len(api.payment_intents.list().data) == 1


def test_a_declined_first_invoice(api, saved, price, heard):
    control.decline_next()
    made = api.subscriptions.create(subscription_params(saved, price))
    assert made.status == "incomplete"

    control.decline_next("lost_card")
    with pytest.raises(stripe.CardError) as declined:
        api.invoices.pay(made.latest_invoice)
    assert declined.value.error.decline_code == "lost_card"
    assert api.invoices.pay(made.latest_invoice).status == "paid"

    assert api.subscriptions.retrieve(made.id).status == "active"


def test_an_incomplete_subscription_is_given_up_after_a_day(api, saved, price):
    control.decline_next()
    made = api.subscriptions.create(subscription_params(saved, price))

    control.advance(timedelta(hours=24))

    assert api.subscriptions.retrieve(made.id).status == "incomplete_expired"
    assert api.invoices.retrieve(made.latest_invoice).status == "void"
    assert api.subscriptions.list().data == []
    assert [each.id for each in api.subscriptions.list({"status": "ended"})] == [made.id]


def test_a_slow_payment_settles(api, subscription):
    control.processing_next()
    control.advance(MONTH)
    [intent] = [each for each in api.payment_intents.list() if each.status == "processing"]
    assert statuses(api, subscription) == ["open", "paid"]
    assert api.subscriptions.retrieve(subscription.id).status == "active"

    control.settle(intent.id)

    assert statuses(api, subscription) == ["paid", "paid"]


def test_a_slow_payment_fails(api, subscription):
    control.processing_next()
    control.advance(MONTH)
    [intent] = [each for each in api.payment_intents.list() if each.status == "processing"]

    control.settle(intent.id, succeeded=False)

    assert api.subscriptions.retrieve(subscription.id).status == "past_due"


def test_a_slow_first_payment_fails(api, saved, price):
    control.processing_next()
    made = api.subscriptions.create(subscription_params(saved, price))
    assert made.status == "active"
    [intent] = api.payment_intents.list()

    control.settle(intent.id, succeeded=False)

    assert api.subscriptions.retrieve(made.id).status == "past_due"


def test_cancelled_at_once(api, subscription, heard):
    ended = api.subscriptions.cancel(subscription.id, {"cancellation_details": {"comment": "이사"}})

    assert (ended.status, ended.cancellation_details.comment) == ("canceled", "이사")
    assert types_of(heard) == ["customer.subscription.deleted"]
    control.advance(MONTH)
    assert statuses(api, subscription) == ["paid"]
    with pytest.raises(stripe.InvalidRequestError) as refused:
        api.subscriptions.cancel(subscription.id)
    assert refused.value.code == "resource_missing"


def test_cancelled_at_the_end_of_the_period(api, subscription, heard):
    leaving = api.subscriptions.update(subscription.id, {"cancel_at_period_end": True})
    assert (leaving.status, leaving.cancel_at) == ("active", subscription["items"].data[0].current_period_end)
    assert heard[0]["data"]["previous_attributes"]["cancel_at_period_end"] is False

    control.advance(MONTH)

    assert api.subscriptions.retrieve(subscription.id).status == "canceled"
    assert types_of(heard) == ["customer.subscription.updated", "customer.subscription.deleted"]


def test_staying_after_all(api, subscription):
    api.subscriptions.update(subscription.id, {"cancel_at_period_end": True})
    api.subscriptions.update(subscription.id, {"cancel_at_period_end": False})
    control.advance(MONTH)

    assert statuses(api, subscription) == ["paid", "paid"]


@pytest.mark.parametrize(
    ("behavior", "status"), [("void", "void"), ("mark_uncollectible", "uncollectible"), ("keep_as_draft", "draft")]
)
def test_collection_is_paused(api, subscription, behavior, status):
    api.subscriptions.update(subscription.id, {"pause_collection": {"behavior": behavior}})
    control.advance(MONTH)
    assert statuses(api, subscription) == [status, "paid"]

    api.subscriptions.update(subscription.id, {"pause_collection": ""})
    control.advance(MONTH)

    assert statuses(api, subscription) == ["paid", status, "paid"]


def test_a_raised_price_can_be_stopped_before_it_is_charged(api, price, subscription, site):
    """The shop hears of the draft, holds it, asks the customer, and collects it later."""
    dear = api.prices.create(
        {"currency": "krw", "unit_amount": 19_900, "recurring": {"interval": "month"}, "product": price.product}
    )
    item = subscription["items"].data[0].id
    api.subscriptions.update(subscription.id, {"items": [{"id": item, "price": dear.id}], "proration_behavior": "none"})

    def hold():
        if site.heard[-1]["type"] == "invoice.created":
            api.invoices.update(site.heard[-1]["data"]["object"]["id"], {"auto_advance": False})
        return 200

    site.answers.extend([hold] * 20)
    control.advance(MONTH)

    [draft] = api.invoices.list({"status": "draft"})
    assert draft.amount_due == 19_900
    api.invoices.finalize_invoice(draft.id)
    assert api.invoices.pay(draft.id).status == "paid"


def test_an_open_invoice_is_voided(api, subscription):
    control.decline_next()
    control.advance(MONTH)
    [invoice] = api.invoices.list({"status": "open"})

    assert api.invoices.void_invoice(invoice.id).status == "void"

    control.advance(timedelta(days=4))
    assert len(api.payment_intents.list().data) == 2


def test_a_deleted_customer_has_no_subscription(api, saved, subscription, heard):
    api.customers.delete(saved.customer)

    assert api.subscriptions.retrieve(subscription.id).status == "canceled"
    assert types_of(heard)[0] == "customer.subscription.deleted"


def test_another_card_from_now_on(api, saved, subscription):
    with pytest.raises(stripe.InvalidRequestError) as refused:
        api.subscriptions.update(subscription.id, {"default_payment_method": "pm_x"})
    assert refused.value.param == "default_payment_method"

    changed = api.subscriptions.update(subscription.id, {"default_payment_method": saved.card, "metadata": {"a": "b"}})

    assert changed.metadata.to_dict() == {"mandate": "m1", "a": "b"}


def test_prices_and_products(api, price):
    product = api.products.retrieve(price.product)
    assert product.name == "달빛 회원권"
    api.products.update(product.id, {"description": "매달 한 권"})
    api.prices.update(price.id, {"active": False, "nickname": "old"})

    assert api.prices.list({"product": product.id, "active": True}).data == []
    [found] = api.prices.list({"expand": ["data.product"]})
    assert found.product.description == "매달 한 권"
    assert [each.id for each in api.products.list({"active": True})] == [product.id]


def test_a_charge_beside_a_subscription_is_no_invoice(api, saved, subscription):
    control.processing_next()
    intent = api.payment_intents.create(charge_params(saved))

    assert control.settle(intent.id)["status"] == "succeeded"
    assert statuses(api, subscription) == ["paid"]


@pytest.mark.parametrize(
    ("start", "interval", "count", "ends"),
    [
        ((2026, 1, 31), "month", 1, [(2026, 2, 28), (2026, 3, 31), (2026, 4, 30)]),
        ((2024, 2, 29), "year", 1, [(2025, 2, 28), (2026, 2, 28)]),
        ((2026, 11, 23), "month", 3, [(2027, 2, 23), (2027, 5, 23)]),
        ((2026, 12, 28), "week", 1, [(2027, 1, 4)]),
        ((2026, 12, 31), "day", 1, [(2027, 1, 1)]),
    ],
)
def test_periods_keep_their_day(start, interval, count, ends):
    anchor = moment = int(datetime(*start, tzinfo=UTC).timestamp())
    for end in ends:
        moment = periods.end_after(anchor, moment, interval, count)
        assert datetime.fromtimestamp(moment, UTC) == datetime(*end, tzinfo=UTC)
