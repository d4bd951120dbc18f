"""PaymentIntents: charging a saved card while the customer is away."""

from typing import Any

from .. import events, objects
from ..errors import ApiError, SandboxError, no_such
from ..faults import take_payment_fault
from ..params import (
    Params,
    choice,
    currency,
    flag,
    integer,
    invalid,
    metadata,
    text,
)
from ..store import Act, Body, find, mandate_of, save
from .lists import PAGING, listed
from .owners import living, owned
from .types import KRW_ONLY, effective

MINIMUM, MAXIMUM = 100, 99_999_999


def amount(value: Any, name: str) -> int:
    won = integer(value, name)
    if won < MINIMUM:
        raise invalid(f"Amount must be at least ₩{MINIMUM} krw", name, "amount_too_small")
    if won > MAXIMUM:
        raise invalid(f"Amount must be no more than ₩{MAXIMUM:,}", name, "amount_too_large")
    return won


def off_session(value: Any, name: str) -> bool:
    return value in ("one_off", "recurring") or flag(value, name)


def confirmed_together(given: Body) -> None:
    confirm = given.get("confirm", False)
    if given.get("off_session") and not confirm:
        raise invalid("You cannot set `off_session` without `confirm=true`.", "off_session")
    if confirm and not given.get("off_session"):
        raise invalid("The sandbox confirms only with `off_session=true`.", "off_session")
    if "mandate" in given and not confirm:
        raise invalid("You cannot set `mandate` without `confirm=true`.", "mandate")
    if confirm and "payment_method" not in given:
        message = "You cannot confirm this PaymentIntent because it's missing a payment method."
        raise invalid(message, "payment_method", "parameter_missing")
    if "payment_method" in given and "customer" not in given:
        message = "A saved PaymentMethod can only be charged together with its customer."
        raise invalid(message, "customer", "parameter_missing")


CREATE = Params(
    {
        "amount": amount,
        "capture_method": choice("automatic"),
        "confirm": flag,
        "currency": currency,
        "customer": text(),
        "description": text(1000),
        "error_on_requires_action": flag,
        "mandate": text(),
        "metadata": metadata,
        "off_session": off_session,
        "payment_method": text(),
        "receipt_email": text(),
        "statement_descriptor": text(22),
        "statement_descriptor_suffix": text(22),
    },
    requires=("amount", "currency"),
    allowed_types_since="2026-07-29",
    together=confirmed_together,
)
RETRIEVE = Params({})
CANCEL = Params({"cancellation_reason": choice("abandoned", "duplicate", "fraudulent", "requested_by_customer")})
LIST = Params({**PAGING, "customer": text()})


def create(act: Act, given: Body) -> Body:
    customer = given.get("customer")
    if customer:
        living(customer)
    method = owned(given["payment_method"], customer) if "payment_method" in given else None
    if method:
        check_currency(given, method)
    intent = objects.payment_intent(act, given, effective(act, given))
    if method:
        check_type(intent, method)
    if not given.get("confirm") or method is None:
        return save(act, intent)
    check_mandate(given.get("mandate"), method)
    return confirm(act, intent, method)


def check_currency(given: Body, method: Body) -> None:
    if method["type"] in KRW_ONLY and given["currency"] != "krw":
        message = f"The currency {given['currency']} cannot be used with {method['type']}: only krw can."
        raise ApiError(400, message, code="payment_method_currency_mismatch", param="currency")


def check_type(intent: Body, method: Body) -> None:
    if method["type"] not in intent["payment_method_types"]:
        message = f"The PaymentMethod provided ({method['type']}) is not allowed for this PaymentIntent."
        code = "payment_intent_incompatible_payment_method"
        raise ApiError(400, message, code=code, param="payment_method")


def check_mandate(named: str | None, method: Body) -> None:
    mandate = find("mandate", named) if named else mandate_of(method["id"])
    if named and mandate is None:
        raise no_such("mandate", named, param="mandate", status=400)
    fits = mandate and mandate["payment_method"] == method["id"] and mandate["status"] == "active"
    if not fits:
        message = "The provided mandate is invalid and can not be used for the payment intent."
        raise ApiError(400, message, code="payment_intent_mandate_invalid", param="mandate")


def confirm(act: Act, intent: Body, method: Body) -> Body:
    fault = take_payment_fault()
    if fault is None:
        return succeed(act, intent, method)
    if fault.kind == "processing":
        return process(act, intent, method)
    if fault.kind == "action":
        message = "The payment requires additional steps of the customer, who is not there."
        code = "authentication_required"
        raise decline(act, intent, method, code=code, decline_code=code, message=message)
    raise decline(act, intent, method, message="The card was declined.", **fault.data)


def succeed(act: Act, intent: Body, method: Body, charge: Body | None = None) -> Body:
    charge = save(act, charged(act, intent, method, "succeeded", charge))
    intent |= {
        "amount_received": intent["amount"],
        "last_payment_error": None,
        "latest_charge": charge["id"],
        "processing": None,
        "status": "succeeded",
    }
    save(act, intent)
    events.emit(act, "charge.succeeded", charge)
    events.emit(act, "payment_intent.succeeded", intent)
    return intent


def process(act: Act, intent: Body, method: Body) -> Body:
    charge = save(act, charged(act, intent, method, "pending"))
    intent |= {"latest_charge": charge["id"], "status": "processing"}
    save(act, intent)
    events.emit(act, "charge.pending", charge)
    events.emit(act, "payment_intent.processing", intent)
    return intent


def decline(
    act: Act,
    intent: Body,
    method: Body,
    *,
    code: str,
    decline_code: str | None,
    message: str,
    charge: Body | None = None,
) -> ApiError:
    """Writes the failure down and returns the 402 that tells of it."""
    charge = charged(act, intent, method, "failed", charge)
    charge |= {"failure_code": code, "failure_message": message}
    save(act, charge)
    error: Body = {"type": "card_error", "decline_code": decline_code, "charge": charge["id"]}
    last = ApiError(402, message, code=code, payment_method=method, **error)
    intent |= {
        "last_payment_error": last.error,
        "latest_charge": charge["id"],
        "payment_method": None,
        "processing": None,
        "status": "requires_payment_method",
    }
    save(act, intent)
    events.emit(act, "charge.failed", charge)
    events.emit(act, "payment_intent.payment_failed", intent)
    return ApiError(402, message, code=code, payment_method=method, payment_intent=intent, **error)


def charged(act: Act, intent: Body, method: Body, status: str, before: Body | None = None) -> Body:
    charge = objects.charge(act, intent, method, status)
    if before:
        charge |= {"id": before["id"], "created": before["created"]}
    return charge


def settle(act: Act, id: str, succeeded: bool) -> Body:
    """The issuer's late answer to a PaymentIntent that was processing."""
    intent = find("payment_intent", id)
    if intent is None or intent["status"] != "processing":
        raise SandboxError(f"PaymentIntent {id} is not processing.")
    method = find("payment_method", intent["payment_method"]) or {}
    charge = find("charge", intent["latest_charge"])
    if succeeded:
        return succeed(act, intent, method, charge)
    message = "The payment attempt failed."
    code = "payment_intent_payment_attempt_failed"
    decline(act, intent, method, code=code, decline_code=None, message=message, charge=charge)
    return intent


def retrieve(act: Act, wanted: Body, id: str) -> Body:
    body = find("payment_intent", id)
    if body is None:
        raise no_such("payment_intent", id, param="intent")
    return body


def list_(act: Act, wanted: Body) -> Body:
    return listed("payment_intent", wanted, "/v1/payment_intents")


def cancel(act: Act, given: Body, id: str) -> Body:
    intent = retrieve(act, {}, id)
    if intent["status"] not in ("requires_payment_method", "requires_confirmation"):
        message = f"You cannot cancel this PaymentIntent because it has a status of {intent['status']}."
        code = "payment_intent_unexpected_state"
        raise ApiError(400, message, code=code, payment_intent=intent)
    intent |= {
        "canceled_at": act.now,
        "cancellation_reason": given.get("cancellation_reason"),
        "status": "canceled",
    }
    events.emit(act, "payment_intent.canceled", save(act, intent))
    return intent
