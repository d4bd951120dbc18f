"""What time does to subscriptions, and what their invoices do to them."""

from .. import billing_objects
from ..errors import no_such
from ..events import emit
from ..periods import end_after
from ..store import Act, Body, changed, find, save, schedule
from . import invoices

UPCOMING_BEFORE = 7 * invoices.DAY
INCOMPLETE_FOR = 23 * invoices.HOUR
OVER = ("canceled", "incomplete_expired")


def begin(act: Act, subscription: Body) -> Body:
    """The first period is charged at once."""
    start, end = period(subscription)
    invoice = invoices.close(act, invoices.draft(act, subscription, "subscription_create", start, end))
    invoices.attempt(act, invoice)
    subscription |= {"latest_invoice": invoice["id"]}
    invoice = invoices.retrieve(act, {}, invoice["id"])
    subscription |= {"status": status_after(subscription, invoice)}
    save(act, subscription)
    schedule_next(act, subscription)
    return subscription


def subscription_due(act: Act, subscription: Body) -> None:
    end = period(subscription)[1]
    if subscription["status"] == "incomplete":
        give_up(act, subscription)
    elif act.now < end:
        announce(act, subscription)
    elif subscription["cancel_at_period_end"]:
        finish(act, subscription)
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


def intent_settled(act: Act, intent: Body) -> None:
    """The issuer's late answer may be to an invoice."""
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
    announced = end - UPCOMING_BEFORE
    will_be = announced > act.now and not subscription["cancel_at_period_end"]
    schedule(subscription, announced if will_be else end)
