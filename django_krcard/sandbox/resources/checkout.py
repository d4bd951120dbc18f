"""Checkout Sessions that save a card, or are paid, from the API's side and from the customer's."""

from typing import Any

from .. import events, objects
from ..errors import ApiError, SandboxError, no_such
from ..faults import take
from ..issuers import ISSUERS
from ..params import (
    NEW_TYPES,
    Params,
    array,
    choice,
    currency,
    integer,
    invalid,
    mapping,
    metadata,
    missing,
    positive,
    text,
    url,
)
from ..store import Act, Body, aside, find, of_kind, put_aside, save, schedule
from . import attempts, first_time, payments
from .lists import PAGING, listed
from .owners import living
from .pages import hosted_page
from .types import effective

HALF_AN_HOUR, A_DAY = 30 * 60, 24 * 60 * 60
LOCALES = (
    "auto bg cs da de el en en-GB es es-419 et fi fil fr fr-CA hi-IN hr hu id it ja ko lt lv ms mt nb "
    "nl pl pt pt-BR ro ru sk sl sv th tr vi zh zh-HK zh-TW"
)
MESSAGE = mapping(message=text(1200))


def no_subscription(value: Any, name: str) -> str:
    mode: str = choice("payment", "setup", "subscription")(value, name)
    if mode == "subscription":
        raise invalid("The sandbox models mode=setup and mode=payment, and not subscription.", name)
    return mode


def fits_mode(given: Body) -> None:
    other = "setup_intent_data" if given["mode"] == "payment" else "payment_intent_data"
    if other in given:
        raise invalid(f"You can not pass `{other}` in `{given['mode']}` mode.", other)
    if given["mode"] == "payment":
        priced(given)
        return
    if "line_items" in given:
        raise invalid("You can not pass `line_items` in `setup` mode.", "line_items")
    if "currency" not in given and NEW_TYPES not in given:
        message = f"In setup mode, `currency` is required when `{NEW_TYPES}` is not set."
        raise invalid(message, "currency", "parameter_missing")


def priced(given: Body) -> None:
    """What is paid is the sum of its lines, all in one currency."""
    lines = given.get("line_items")
    if not lines:
        raise missing("line_items")
    currencies = {line["price_data"]["currency"] for line in lines}
    if len(currencies) > 1:
        raise invalid("All line items must have the same currency.", "line_items")
    given["currency"] = currencies.pop()
    given["amount"] = sum(line["price_data"]["unit_amount"] * line.get("quantity", 1) for line in lines)
    if not payments.MINIMUM <= given["amount"] <= payments.MAXIMUM:
        code = "amount_too_small" if given["amount"] < payments.MINIMUM else "amount_too_large"
        raise invalid(f"The total is ₩{given['amount']:,}: not a possible amount.", "line_items", code)


PRODUCT = mapping("name", description=text(), metadata=metadata, name=text())
PRICE = mapping("currency", "product_data", "unit_amount", currency=currency, product_data=PRODUCT, unit_amount=integer)
CREATE = Params(
    {
        "cancel_url": url,
        "client_reference_id": text(200),
        "currency": currency,
        "custom_text": mapping(after_submit=MESSAGE, submit=MESSAGE),
        "customer": text(),
        "expires_at": integer,
        "integration_identifier": text(),
        "locale": choice(*LOCALES.split()),
        "metadata": metadata,
        "line_items": array(mapping("price_data", price_data=PRICE, quantity=positive)),
        "mode": no_subscription,
        "payment_intent_data": mapping(
            capture_method=choice("automatic"),
            description=text(1000),
            metadata=metadata,
            receipt_email=text(),
            setup_future_usage=choice("off_session", "on_session"),
        ),
        "setup_intent_data": mapping(description=text(), metadata=metadata),
        "success_url": url,
        "ui_mode": choice("hosted_page"),
    },
    # Stripe would take a Session without a customer; its card could not be charged later.
    requires=("mode", "success_url", "customer"),
    allowed_types_since="2026-09-30",
    together=fits_mode,
)
RETRIEVE = EXPIRE = Params({})
LIST = Params({**PAGING, "customer": text(), "status": choice("open", "complete", "expired")})


def create(act: Act, given: Body) -> Body:
    living(given["customer"])
    given["expires_at"] = expiry(act, given.get("expires_at"))
    session = objects.session(act, given, effective(act, given))
    if given["mode"] == "payment":
        # Its PaymentIntent comes with the customer's first try.
        session |= totals(given["amount"])
    else:
        intent = objects.setup_intent(act, session, session["payment_method_types"], given.get("setup_intent_data", {}))
        session["setup_intent"] = save(act, intent)["id"]
    session["url"] = hosted_page(act, session["success_url"], "checkout", session["id"])
    save(act, session)
    put_aside(session, given.get("payment_intent_data", {}))
    schedule(session, session["expires_at"])
    return session


def totals(amount: int) -> Body:
    details = dict.fromkeys(("amount_discount", "amount_shipping", "amount_tax"), 0)
    return {"amount_subtotal": amount, "amount_total": amount, "total_details": details}


def expiry(act: Act, wanted: int | None) -> int:
    if wanted is None:
        return act.now + A_DAY
    # A minute's grace, for a clock that ticked between the caller's reckoning and ours.
    if not act.now + HALF_AN_HOUR - 60 <= wanted <= act.now + A_DAY + 60:
        message = "The `expires_at` timestamp must be from 30 minutes to 24 hours after creation."
        raise ApiError(400, message, param="expires_at")
    return wanted


def retrieve(act: Act, wanted: Body, id: str) -> Body:
    body = find("checkout.session", id)
    if body is None:
        raise no_such("checkout.session", id, param="session")
    return body


def list_(act: Act, wanted: Body) -> Body:
    return listed("checkout.session", wanted, "/v1/checkout/sessions")


def expire(act: Act, given: Body, id: str) -> Body:
    session = retrieve(act, {}, id)
    if session["status"] != "open":
        message = f"This Session is {session['status']}: only open Sessions can be expired."
        raise ApiError(400, message, param="session")
    for kind in ("setup_intent", "payment_intent"):
        intent = find(kind, session[kind])
        if intent and intent["status"] == "requires_payment_method":
            intent |= {"status": "canceled", "cancellation_reason": "abandoned"}
            intent |= {"canceled_at": act.now} if kind == "payment_intent" else {}
            events.emit(act, f"{kind}.canceled", save(act, intent))
    session = save(act, session | {"status": "expired", "url": None})
    schedule(session, None)
    events.emit(act, "checkout.session.expired", session)
    return session


def run_out(act: Act, session: Body) -> None:
    expire(act, {}, session["id"])


def open_session(id: str) -> Body:
    session = find("checkout.session", id)
    if session is None:
        raise SandboxError(f"There is no Session {id}.")
    if session["status"] != "open":
        raise SandboxError(f"Session {id} is {session['status']}, not open.")
    return session


def authorise(act: Act, id: str, type: str, brand: str, last4: str | None, **online: Any) -> Body:
    """The customer chose a card and the issuer said yes."""
    session = open_session(id)
    if type not in session["payment_method_types"]:
        raise SandboxError(f"Session {id} does not offer {type}.")
    if type == "kr_card" and brand not in ISSUERS:
        raise SandboxError(f"There is no issuer {brand!r}.")
    details = first_time.details_of(type, brand, last4, session["customer"])
    if session["mode"] == "payment":
        return pay(act, session, type, details, **online)
    method, mandate = saved(act, session, type, details, **online)
    intent = find("setup_intent", session["setup_intent"]) or {}
    intent |= {
        "last_setup_error": None,
        "mandate": mandate["id"],
        "payment_method": method["id"],
        "status": "succeeded",
    }
    save(act, intent)
    events.emit(act, "payment_method.attached", method)
    events.emit(act, "setup_intent.succeeded", intent)
    return complete(act, session)


def saved(act: Act, session: Body, type: str, details: Body, **online: Any) -> tuple[Body, Body]:
    customer = find("customer", session["customer"]) or {"id": session["customer"]}
    method = save(act, objects.payment_method(act, customer, type, details))
    status = "pending" if take("mandate_pending") else "active"
    return method, save(act, objects.mandate(act, method, status, **online))


def pay(act: Act, session: Body, type: str, details: Body, **online: Any) -> Body:
    intent = intent_of(act, session)
    if intent["setup_future_usage"]:
        method, _mandate = saved(act, session, type, details, **online)
        events.emit(act, "payment_method.attached", method)
    else:
        method = save(act, objects.payment_method(act, {"id": None}, type, details))
    intent |= {"payment_method": method["id"]}
    processing = take("processing")
    attempts.process(act, intent, method) if processing else attempts.succeed(act, intent, method)
    paid = {"payment_intent": intent["id"], "payment_status": "unpaid" if processing else "paid"}
    return complete(act, session | paid)


def intent_of(act: Act, session: Body) -> Body:
    """The PaymentIntent of a Session, made when the customer first tries to pay."""
    if session["payment_intent"]:
        return find("payment_intent", session["payment_intent"]) or {}
    asked = {"amount": session["amount_total"], "currency": session["currency"], "customer": session["customer"]}
    return objects.payment_intent(act, asked | aside(session), session["payment_method_types"])


def complete(act: Act, session: Body) -> Body:
    session = save(act, session | {"status": "complete", "url": None})
    schedule(session, None)
    events.emit(act, "checkout.session.completed", session)
    return session


def payment_settled(act: Act, intent: Body) -> None:
    """The late answer to a payment that was processing when its Session was completed."""
    row = of_kind("checkout.session").filter(body__payment_intent=intent["id"], status="complete").first()
    if row is None:
        return
    succeeded = intent["status"] == "succeeded"
    session = save(act, row.body | ({"payment_status": "paid"} if succeeded else {}))
    events.emit(act, f"checkout.session.async_payment_{'succeeded' if succeeded else 'failed'}", session)


def fail(act: Act, id: str, type: str) -> Body:
    """The issuer said no. The Session stays open for another try."""
    session = open_session(id)
    kind, what = ("payment_intent", "payment") if session["mode"] == "payment" else ("setup_intent", "setup")
    intent = intent_of(act, session) if what == "payment" else find(kind, session[kind]) or {}
    error = ApiError(
        402,
        "The customer could not be authenticated by the issuer of the card.",
        code=f"{kind}_authentication_failure",
        payment_method_type=type,
    )
    intent |= {f"last_{what}_error": error.error, "status": "requires_payment_method"}
    events.emit(act, f"{kind}.{what}_failed", save(act, intent))
    return save(act, session | {kind: intent["id"]})
