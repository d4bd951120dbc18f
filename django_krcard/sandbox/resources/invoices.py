"""Invoices of subscriptions: drafted, finalised an hour later, charged to the saved card, tried again."""

from .. import billing_objects, objects
from ..errors import ApiError, no_such
from ..events import emit
from ..params import Params, choice, flag, metadata, text
from ..store import Act, Body, changed, find, merged, of_kind, save, schedule
from . import attempts, payments
from .lists import PAGING, listed
from .owners import owned

HOUR, DAY = 60 * 60, 24 * 60 * 60
# Stripe chooses its own days for another try; here it is every third day, four tries in all.
RETRY_AFTER, TRIES = 3 * DAY, 4
# What becomes of the invoices of a subscription whose collection is paused.
PAUSED = {
    "mark_uncollectible": ("invoice.marked_uncollectible", "marked_uncollectible_at", "uncollectible"),
    "void": ("invoice.voided", "voided_at", "void"),
}

RETRIEVE = FINALIZE = VOID = Params({})
UPDATE = Params({"auto_advance": flag, "metadata": metadata})
PAY = Params({"off_session": flag, "payment_method": text()})
LIST = Params(
    {
        **PAGING,
        "customer": text(),
        "status": choice("draft", "open", "paid", "uncollectible", "void"),
        "subscription": text(),
    }
)
LIST_PAYMENTS = Params({**PAGING, "invoice": text(), "status": choice("canceled", "open", "paid")})


def retrieve(act: Act, wanted: Body, id: str) -> Body:
    body = find("invoice", id)
    if body is None:
        raise no_such("invoice", id, param="invoice")
    return body


def list_(act: Act, wanted: Body) -> Body:
    if "subscription" in wanted:
        wanted["parent__subscription_details__subscription"] = wanted.pop("subscription")
    return listed("invoice", wanted, "/v1/invoices")


def list_payments(act: Act, wanted: Body) -> Body:
    return listed("invoice_payment", wanted, "/v1/invoice_payments")


def retrieve_payment(act: Act, wanted: Body, id: str) -> Body:
    body = find("invoice_payment", id)
    if body is None:
        raise no_such("invoice_payment", id, param="invoice_payment")
    return body


# --- the life of an invoice -------------------------------------------------------------------------


def draft(act: Act, subscription: Body, reason: str, start: int, end: int) -> Body:
    invoice = save(act, billing_objects.invoice(act, subscription, reason, start, end))
    pause = (subscription["pause_collection"] or {}).get("behavior")
    if pause == "keep_as_draft":
        invoice["auto_advance"] = False
    elif pause is None and reason != "subscription_create":
        invoice["automatically_finalizes_at"] = act.now + HOUR
    save(act, invoice)
    schedule(invoice, invoice["automatically_finalizes_at"])
    emit(act, "invoice.created", invoice)
    # The pause is judged when the invoice is made: one that was there before it is collected all the same.
    return transition(act, close(act, invoice), *PAUSED[pause]) if pause in PAUSED else invoice


def close(act: Act, invoice: Body) -> Body:
    """The draft is final and gets its number."""
    number = of_kind("invoice").exclude(status="draft").count() + 1
    numbered = {"effective_at": act.now, "number": f"SANDBOX1-{number:04}"}
    return transition(act, invoice | numbered, "invoice.finalized", "finalized_at", "open")


def transition(act: Act, invoice: Body, event: str, moment: str, status: str) -> Body:
    times = invoice["status_transitions"] | {moment: act.now}
    over = {"auto_advance": False, "next_payment_attempt": None} if status != "open" else {}
    after = invoice | over | {"automatically_finalizes_at": None, "status": status, "status_transitions": times}
    save(act, after)
    schedule(after, None)
    emit(act, event, after)
    return after


def attempt(act: Act, invoice: Body, method_id: str | None = None) -> ApiError | None:
    """Charges the card. Returns the refusal, if there is one; by then the invoice knows of it."""
    tried = {"attempt_count": invoice["attempt_count"] + 1, "attempted": True, "next_payment_attempt": None}
    invoice = save(act, invoice | tried)
    schedule(invoice, None)
    try:
        method = card_for(invoice, method_id)
        payments.check_mandate(None, method)
        intent = attempts.off_session(act, intent_for(act, invoice, method), method)
    except ApiError as refusal:
        failed(act, invoice)
        return refusal
    if intent["status"] == "succeeded":
        paid(act, invoice)
    return None


def card_for(invoice: Body, named: str | None) -> Body:
    subscription = subscription_of(invoice) or {}
    customer = find("customer", invoice["customer"]) or {}
    default = (customer.get("invoice_settings") or {}).get("default_payment_method")
    chosen = named or subscription.get("default_payment_method") or default
    if chosen is None:
        message = "This customer has no default payment method."
        raise ApiError(400, message, code="resource_missing", param="payment_method")
    return owned(chosen, invoice["customer"])


def intent_for(act: Act, invoice: Body, method: Body) -> Body:
    """The invoice's one PaymentIntent, ready for this card."""
    types = invoice["payment_settings"]["payment_method_types"] or [method["type"]]
    payments.check_type({"payment_method_types": types}, method)
    link = payment_of(invoice)
    if link:
        intent = find("payment_intent", link["payment"]["payment_intent"]) or {}
        return intent | {"payment_method": method["id"], "payment_method_types": types}
    given = {
        "amount": invoice["amount_due"],
        "currency": invoice["currency"],
        "customer": invoice["customer"],
        "description": invoice["lines"]["data"][0]["description"],
        "payment_method": method["id"],
    }
    intent = save(act, objects.payment_intent(act, given, types))
    save(act, billing_objects.invoice_payment(act, invoice, intent))
    return intent


def paid(act: Act, invoice: Body) -> None:
    amount = invoice["amount_due"]
    after = invoice | {"amount_paid": amount, "amount_remaining": 0}
    if link := payment_of(invoice):
        times = link["status_transitions"] | {"paid_at": act.now}
        link |= {"amount_paid": amount, "status": "paid", "status_transitions": times}
        emit(act, "invoice_payment.paid", save(act, link))
    after = transition(act, after, "invoice.paid", "paid_at", "paid")
    emit(act, "invoice.payment_succeeded", after)


def failed(act: Act, invoice: Body) -> None:
    again = None
    if invoice["auto_advance"] and invoice["billing_reason"] != "subscription_create":
        again = act.now + RETRY_AFTER if invoice["attempt_count"] < TRIES else None
    after = save(act, invoice | {"next_payment_attempt": again})
    schedule(after, again)
    emit(act, "invoice.payment_failed", after)


def subscription_of(invoice: Body) -> Body | None:
    return find("subscription", invoice["parent"]["subscription_details"]["subscription"])


def payment_of(invoice: Body) -> Body | None:
    row = of_kind("invoice_payment").filter(body__invoice=invoice["id"]).first()
    return row.body if row else None


def is_processing(invoice: Body) -> bool:
    link = payment_of(invoice)
    intent = find("payment_intent", link["payment"]["payment_intent"]) if link else None
    return intent is not None and intent["status"] == "processing"


def of_intent(intent: Body) -> Body | None:
    row = of_kind("invoice_payment").filter(body__payment__payment_intent=intent["id"]).first()
    return find("invoice", row.body["invoice"]) if row else None


# --- what the shop does by hand ---------------------------------------------------------------------


def update(act: Act, given: Body, id: str) -> Body:
    before = retrieve(act, {}, id)
    after = merged(before, given)
    if after["status"] == "draft" and "auto_advance" in given:
        after["automatically_finalizes_at"] = act.now + HOUR if given["auto_advance"] else None
        schedule(after, after["automatically_finalizes_at"])
    elif given.get("auto_advance") is False:
        after["next_payment_attempt"] = None
        schedule(after, None)
    save(act, after)
    emit(act, "invoice.updated", after, changed(before, after))
    return after


def finalize(act: Act, given: Body, id: str) -> Body:
    invoice = close(act, in_status(act, id, "draft"))
    schedule(invoice, act.now + HOUR if invoice["auto_advance"] else None)
    return invoice


def void(act: Act, given: Body, id: str) -> Body:
    invoice = in_status(act, id, "open", "uncollectible")
    return transition(act, invoice, *PAUSED["void"])


def in_status(act: Act, id: str, *statuses: str) -> Body:
    invoice = retrieve(act, {}, id)
    if invoice["status"] not in statuses:
        message = f"This invoice is {invoice['status']}: that can be done only when it is {' or '.join(statuses)}."
        raise ApiError(400, message, code="invoice_not_editable", param="invoice")
    return invoice
