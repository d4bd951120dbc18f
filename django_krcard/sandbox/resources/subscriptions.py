"""Subscriptions: a Price, charged to a saved card, period by period, while the customer is away."""

from typing import Any

from django.db import transaction

from .. import billing_objects
from ..errors import ApiError, no_such
from ..events import emit
from ..faults import take_payment_fault
from ..params import Params, array, choice, flag, integer, invalid, mapping, metadata, missing, positive, text, texts
from ..periods import end_after
from ..store import Act, Body, find, merged, save
from . import payments
from .billing import OVER, begin, change, finish, items_of, period
from .lists import PAGING, listed
from .owners import living, owned
from .types import effective

SETTINGS = mapping(payment_method_types=texts, save_default_payment_method=choice("off", "on_subscription"))
COMMENT = mapping(
    comment=text(clearable=True),
    feedback=choice(
        "customer_service",
        "low_quality",
        "missing_features",
        "other",
        "switched_service",
        "too_complex",
        "too_expensive",
        "unused",
    ),
)


def pause(value: Any, name: str) -> Body | None:
    if value == "":
        return None
    behaviors = choice("keep_as_draft", "mark_uncollectible", "void")
    return {"resumes_at": None, **mapping("behavior", behavior=behaviors)(value, name)}


CREATE = Params(
    {
        "cancel_at": integer,
        "collection_method": choice("charge_automatically"),
        "currency": choice("krw"),
        "customer": text(),
        "default_payment_method": text(),
        "description": text(500),
        "items": array(mapping("price", price=text(), quantity=positive)),
        "metadata": metadata,
        "off_session": flag,
        "payment_behavior": choice("allow_incomplete", "error_if_incomplete"),
        "payment_settings": SETTINGS,
        "proration_behavior": choice("none"),
    },
    requires=("customer", "items"),
)
UPDATE = Params(
    {
        "cancel_at": integer,
        "cancel_at_period_end": flag,
        "cancellation_details": COMMENT,
        "default_payment_method": text(),
        "description": text(500, clearable=True),
        "items": array(mapping("id", id=text(), price=text(), quantity=positive)),
        "metadata": metadata,
        "off_session": flag,
        "pause_collection": pause,
        "proration_behavior": choice("none"),
    }
)
RETRIEVE = Params({})
CANCEL = Params({"cancellation_details": COMMENT, "invoice_now": flag, "prorate": flag})
STATUSES = ("active", "all", "canceled", "ended", "incomplete", "incomplete_expired", "past_due")
LIST = Params({**PAGING, "customer": text(), "status": choice(*STATUSES)})


def create(act: Act, given: Body) -> Body:
    customer = living(given["customer"])
    prices = [recurring_price(item, f"items[{place}]") for place, item in enumerate(given["items"])]
    if not prices:
        raise missing("items")
    intervals = {(price["recurring"]["interval"], price["recurring"]["interval_count"]) for price in prices}
    if len(intervals) > 1:
        raise invalid("All prices of a subscription must have the same interval.", "items")
    check_card(act, given, customer)
    if given.get("cancel_at", act.now + 1) <= act.now:
        raise invalid("`cancel_at` must be in the future.", "cancel_at")
    subscription = billing_objects.subscription(act, given, "krw")
    [(interval, count)] = intervals
    end = end_after(act.now, act.now, interval, count)
    subscription["items"]["data"] = [
        billing_objects.item(act, subscription, price, item.get("quantity", 1), act.now, end)
        for price, item in zip(prices, given["items"], strict=True)
    ]
    subscription = begun(act, subscription, given.get("payment_behavior", "allow_incomplete"))
    emit(act, "customer.subscription.created", subscription)
    return subscription


def begun(act: Act, subscription: Body, behavior: str) -> Body:
    """With ``error_if_incomplete`` a first invoice that cannot be paid leaves no subscription behind, nor its news."""
    told = len(act.events)
    try:
        with transaction.atomic():
            subscription, refusal = begin(act, save(act, subscription))
            if refusal and behavior == "error_if_incomplete":
                raise refusal
    except ApiError as refusal:
        del act.events[told:]
        if refusal.effect_stays:
            # The mishap has happened, although all else was undone.
            take_payment_fault()
            refusal.error.pop("payment_intent", None)
        raise
    return subscription


def recurring_price(item: Body, name: str) -> Body:
    price = find("price", item["price"])
    if price is None:
        raise no_such("price", item["price"], param=f"{name}[price]", status=400)
    if price["type"] != "recurring":
        raise invalid("The price specified is set to `type=one_time` but this field only accepts recurring.", name)
    if not price["active"]:
        raise invalid("The price specified is inactive. This field only accepts active prices.", name)
    return price


def check_card(act: Act, given: Body, customer: Body) -> None:
    default = customer["invoice_settings"]["default_payment_method"]
    chosen = given.get("default_payment_method") or default
    if chosen is None:
        message = (
            "This customer has no attached payment source or default payment method. "
            "Please consider adding a default payment method."
        )
        raise ApiError(400, message, code="resource_missing")
    method = owned(chosen, customer["id"], param="default_payment_method")
    types = given.get("payment_settings", {}).get("payment_method_types")
    if types:
        effective(act, {"currency": "krw", "payment_method_types": types})
        payments.check_type({"payment_method_types": types}, method)


def retrieve(act: Act, wanted: Body, id: str) -> Body:
    body = find("subscription", id)
    if body is None:
        raise no_such("subscription", id)
    return body


def list_(act: Act, wanted: Body) -> Body:
    """Without a status: all that are not over."""
    status = wanted.pop("status", None)
    if status is None:
        wanted["status__in"] = ["active", "incomplete", "past_due"]
    elif status == "ended":
        wanted["status__in"] = list(OVER)
    elif status != "all":
        wanted["status"] = status
    return listed("subscription", wanted, "/v1/subscriptions")


def update(act: Act, given: Body, id: str) -> Body:
    before = retrieve(act, {}, id)
    if before["status"] in OVER and given.keys() - {"metadata", "cancellation_details"}:
        message = "A canceled subscription can only update its cancellation_details and metadata."
        raise ApiError(400, message, code="resource_missing", param="id")
    if "default_payment_method" in given:
        owned(given["default_payment_method"], before["customer"], param="default_payment_method")
    for instruction in ("off_session", "proration_behavior"):
        given.pop(instruction, None)
    if {"cancel_at", "cancel_at_period_end"} <= given.keys():
        raise invalid("You may pass only one of cancel_at and cancel_at_period_end.", "cancel_at")
    apart = given.keys() & {"items", "cancel_at", "cancel_at_period_end", "cancellation_details"}
    wishes = {name: given.pop(name) for name in apart}
    after = merged(before, given)
    after["cancellation_details"] = before["cancellation_details"] | wishes.get("cancellation_details", {})
    if "items" in wishes:
        after["items"] = before["items"] | {"data": repriced(before, wishes["items"])}
    if "cancel_at_period_end" in wishes:
        after |= leaving(act, after, wishes["cancel_at_period_end"])
    if "cancel_at" in wishes:
        after |= leaving(act, after, False) | {"cancel_at": wishes["cancel_at"]}
    return change(act, before, after)


def repriced(subscription: Body, changes: list[Body]) -> list[Body]:
    """Another price from the next period on. It must have the same interval, and nothing is prorated."""
    items = {item["id"]: item for item in items_of(subscription)}
    for place, wish in enumerate(changes):
        name = f"items[{place}]"
        item = items.get(wish["id"])
        if item is None:
            raise no_such("subscription item", wish["id"], param=f"{name}[id]", status=400)
        if "price" in wish:
            price = recurring_price(wish, name)
            if price["recurring"]["interval"] != item["price"]["recurring"]["interval"]:
                raise invalid("The sandbox does not change a subscription's interval.", f"{name}[price]")
            item |= {"plan": billing_objects.plan(price), "price": price}
        item |= {"quantity": wish.get("quantity", item["quantity"])}
    return list(items.values())


def leaving(act: Act, subscription: Body, wanted: bool) -> Body:
    reason = "cancellation_requested" if wanted else None
    return {
        "cancel_at": period(subscription)[1] if wanted else None,
        "cancel_at_period_end": wanted,
        "canceled_at": act.now if wanted else None,
        "cancellation_details": subscription["cancellation_details"] | {"reason": reason},
    }


def cancel(act: Act, given: Body, id: str) -> Body:
    subscription = retrieve(act, {}, id)
    if subscription["status"] in OVER:
        raise no_such("subscription", id)
    return finish(act, subscription, **given.get("cancellation_details", {}))
