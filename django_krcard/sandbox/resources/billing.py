"""What time does to subscriptions, and what their invoices do to them."""

from .. import billing_objects
from ..errors import ApiError, no_such
from ..events import emit
from ..periods import end_after
from ..store import Act, Body, changed, find, of_kind, save, schedule
from . import invoices, payments

UPCOMING_BEFORE = 7 * invoices.DAY
INCOMPLETE_FOR = 23 * invoices.HOUR
OVER = ("canceled", "incomplete_expired")


def begin(act: Act, subscription: Body) -> tuple[Body, ApiError | None]:
    """The first period is charged at once. Also returns the refusal, if there is one."""
    start, end = period(subscription)
    invoice = invoices.close(act, invoices.draft(act, subscription, "subscription_create", start, end))
    refusal = invoices.attempt(act, invoice)
    subscription |= {"latest_invoice": invoice["id"]}
    invoice = invoices.retrieve(act, {}, invoice["id"])
    subscription |= {"status": status_after(subscription, invoice)}
    save(act, subscription)
    schedule_next(act, subscription)
    return subscription, refusal


def subscription_due(act: Act, subscription: Body) -> None:
    end = period(subscription)[1]
    if subscription["status"] == "incomplete":
        give_up(act, subscription)
    elif subscription["cancel_at"] is not None and act.now >= subscription["cancel_at"]:
        finish(act, subscription)
    elif act.now < end:
        announce(act, subscription)
    else:
        renew(act, subscription)


def announce(act: Act, subscription: Body) -> None:
    """A week before: what the next invoice will be. It does not exist yet and has no id."""
    end = period(subscription)[1]
    invoice = billing_objects.invoice(act, subscription, "upcoming", end, next_end(subscription, end))
    del invoice["id"]
    for line in invoice["lines"]["data"]:
        line["invoice"] = None
    invoice["next_payment_attempt"] = end + invoices.HOUR
    emit(act, "invoice.upcoming", invoice)
    schedule(subscription, end)


def renew(act: Act, subscription: Body) -> None:
    start = period(subscription)[1]
    end = next_end(subscription, start)
    items = [item | {"current_period_start": start, "current_period_end": end} for item in items_of(subscription)]
    after = subscription | {"items": subscription["items"] | {"data": items}}
    after["latest_invoice"] = invoices.draft(act, after, "subscription_cycle", start, end)["id"]
    change(act, subscription, after)


def give_up(act: Act, subscription: Body) -> None:
    """Nobody paid the first invoice within its 23 hours."""
    invoice = find("invoice", subscription["latest_invoice"])
    if invoice and invoice["status"] == "open":
        invoices.transition(act, invoice, *invoices.PAUSED["void"])
    change(act, subscription, subscription | {"ended_at": act.now, "status": "incomplete_expired"})


def finish(act: Act, subscription: Body, **details: str | None) -> Body:
    details = {"reason": "cancellation_requested", **details}
    after = subscription | {
        "cancellation_details": subscription["cancellation_details"] | details,
        "canceled_at": subscription["canceled_at"] or act.now,
        "ended_at": act.now,
        "status": "canceled",
    }
    save(act, after)
    schedule(after, None)
    for row in of_kind("invoice").filter(status__in=["draft", "open"]):
        if row.body["parent"]["subscription_details"]["subscription"] == after["id"] and row.body["auto_advance"]:
            # What was not paid by then is not collected any more.
            invoices.update(act, {"auto_advance": False}, row.stripe_id)
    emit(act, "customer.subscription.deleted", after)
    return after


def change(act: Act, before: Body, after: Body) -> Body:
    save(act, after)
    schedule_next(act, after)
    emit(act, "customer.subscription.updated", after, changed(before, after))
    return after


# --- invoices ---------------------------------------------------------------------------------------


def invoice_due(act: Act, invoice: Body) -> None:
    """An hour after the draft, and whenever the card is to be tried again."""
    if invoice["status"] == "draft":
        invoice = invoices.close(act, invoice)
    invoices.attempt(act, invoice)
    follow(act, invoice["id"])


def pay(act: Act, given: Body, id: str) -> Body:
    """The shop asks for it now: POST /v1/invoices/{id}/pay."""
    invoice = invoices.in_status(act, id, "open")
    refusal = invoices.attempt(act, invoice, given.get("payment_method"))
    invoice = follow(act, id)
    if refusal:
        raise refusal
    return invoice


def confirm(act: Act, given: Body, id: str) -> Body:
    """The shop has a payment tried again, which may be that of an invoice: POST /v1/payment_intents/{id}/confirm."""
    try:
        intent = payments.confirm(act, given, id)
    except ApiError as refusal:
        if refusal.effect_stays:
            intent_settled(act, payments.retrieve(act, {}, id))
        raise
    intent_settled(act, intent)
    return intent


def intent_settled(act: Act, intent: Body) -> None:
    """The payment that is over, or not yet, may be that of an invoice."""
    if intent["status"] not in ("succeeded", "requires_payment_method"):
        return
    invoice = invoices.of_intent(intent)
    if invoice is None or invoice["status"] != "open":
        return
    if intent["status"] == "succeeded":
        invoices.paid(act, invoice)
    else:
        invoices.failed(act, invoice)
    follow(act, invoice["id"])


def follow(act: Act, invoice_id: str) -> Body:
    """The subscription takes the state that its invoice gives it."""
    invoice = invoices.retrieve(act, {}, invoice_id)
    subscription = invoices.subscription_of(invoice)
    if subscription is None:
        raise no_such("subscription", invoice["parent"]["subscription_details"]["subscription"])
    if subscription["status"] in OVER:
        return invoice
    status = status_after(subscription, invoice)
    if status == "canceled":
        finish(act, subscription, reason="payment_failed")
    elif status != subscription["status"]:
        change(act, subscription, subscription | {"status": status})
    return invoice


def status_after(subscription: Body, invoice: Body) -> str:
    now = str(subscription["status"])
    first = invoice["billing_reason"] == "subscription_create"
    if invoice["status"] == "paid" or (first and invoices.is_processing(invoice)):
        return "active"
    undecided = invoice["status"] != "open" or not invoice["attempted"] or invoices.is_processing(invoice)
    if undecided or (first and now == "incomplete"):
        return now
    return "canceled" if invoice["attempt_count"] >= invoices.TRIES else "past_due"


# --- periods ----------------------------------------------------------------------------------------


def items_of(subscription: Body) -> list[Body]:
    items: list[Body] = subscription["items"]["data"]
    return items


def period(subscription: Body) -> tuple[int, int]:
    item = items_of(subscription)[0]
    return item["current_period_start"], item["current_period_end"]


def next_end(subscription: Body, moment: int) -> int:
    recurring = items_of(subscription)[0]["price"]["recurring"]
    anchor = subscription["billing_cycle_anchor"]
    return end_after(anchor, moment, recurring["interval"], recurring["interval_count"])


def schedule_next(act: Act, subscription: Body) -> None:
    if subscription["status"] in OVER:
        return schedule(subscription, None)
    if subscription["status"] == "incomplete":
        return schedule(subscription, subscription["created"] + INCOMPLETE_FOR)
    end = period(subscription)[1]
    last = subscription["cancel_at"]
    announced = end - UPCOMING_BEFORE
    will_be = announced > act.now and (last is None or last > end)
    schedule(subscription, announced if will_be else min(end, last or end))
