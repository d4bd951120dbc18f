"""PaymentIntents: what the shop may ask of them. What an attempt to pay comes to is in `attempts`."""

from typing import Any

from .. import events, objects
from ..errors import ApiError, no_such
from ..faults import take
from ..params import (
    NEW_TYPES,
    OLD_TYPES,
    Params,
    choice,
    currency,
    flag,
    integer,
    invalid,
    metadata,
    missing,
    text,
    url,
)
from ..store import Act, Body, find, mandate_of, of_kind, save
from . import attempts, first_time
from .lists import PAGING, listed
from .owners import living, owned
from .types import KRW_ONLY, effective

MINIMUM, MAXIMUM = 100, 99_999_999

BEFORE_AN_ATTEMPT = ("requires_payment_method", "requires_confirmation", "requires_action")


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
    first_time.only_when_confirmed(given, "mandate_data", "return_url")
    if confirm and not given.get("off_session") and "return_url" not in given:
        raise missing("return_url")
    if "mandate" in given and not confirm:
        raise invalid("You cannot set `mandate` without `confirm=true`.", "mandate")
    if "payment_method" in given and "payment_method_data" in given:
        raise invalid("You may pass only one of payment_method and payment_method_data.", "payment_method_data")
    if "payment_method_data" in given and (not confirm or given.get("off_session")):
        message = "The sandbox takes `payment_method_data` only from a customer who is there, with `confirm=true`."
        raise invalid(message, "payment_method_data")
    if confirm and "payment_method" not in given and "payment_method_data" not in given:
        message = "You cannot confirm this PaymentIntent because it's missing a payment method."
        raise invalid(message, "payment_method", "parameter_missing")
    if "payment_method" in given and "customer" not in given:
        message = "A saved PaymentMethod can only be charged together with its customer."
        raise invalid(message, "customer", "parameter_missing")


def here_or_away(given: Body) -> None:
    """The customer is away, or comes back from the issuer's page to `return_url`."""
    away = given.get("off_session", False)
    if away and "return_url" in given:
        message = "The sandbox takes `return_url` only from a customer who is there: not with `off_session=true`."
        raise invalid(message, "return_url")
    if not away and "return_url" not in given:
        raise missing("return_url")


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
        "mandate_data": first_time.MANDATE_DATA,
        "metadata": metadata,
        "off_session": off_session,
        "payment_method": text(),
        "payment_method_data": first_time.METHOD_DATA,
        "receipt_email": text(),
        "return_url": url,
        "setup_future_usage": choice("off_session", "on_session"),
        "statement_descriptor": text(22),
        "statement_descriptor_suffix": text(22),
    },
    requires=("amount", "currency"),
    allowed_types_since="2026-07-29",
    together=confirmed_together,
)
CONFIRM = Params(
    {
        "capture_method": choice("automatic"),
        "error_on_requires_action": flag,
        "mandate": text(),
        "off_session": off_session,
        "payment_method": text(),
        "receipt_email": text(clearable=True),
        "return_url": url,
    },
    allowed_types_since="2026-07-29",
    together=here_or_away,
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
    if "payment_method_data" in given:
        return for_the_first_time(act, intent, given)
    if not given.get("confirm") or method is None:
        return save(act, intent)
    check_mandate(given.get("mandate"), method)
    if not given.get("off_session"):
        return attempts.on_session(act, intent, method, given["return_url"])
    return attempts.off_session(act, intent, method)


def for_the_first_time(act: Act, intent: Body, given: Body) -> Body:
    """The customer is here and pays with something new, which is saved as well if the shop says for what."""
    type = given["payment_method_data"]["type"]
    check_currency(given, {"type": type})
    check_type(intent, {"type": type})
    method = first_time.method(act, given["payment_method_data"])
    if given.get("setup_future_usage"):
        if "customer" not in given:
            raise missing("customer")
        first_time.permission(act, method, given)
    if take("no_redirect"):
        intent |= {"payment_method": method["id"]}
        return attempts.paid_by_customer(act, intent, method)
    return attempts.on_session(act, intent, method, given["return_url"])


def confirm(act: Act, given: Body, id: str) -> Body:
    """The same PaymentIntent is tried again: while the customer is away, or with the customer's help."""
    intent = retrieve(act, {}, id)
    refuse_unless(BEFORE_AN_ATTEMPT, intent, "confirm")
    if intent["customer"]:
        living(intent["customer"])
    intent |= changes(act, intent, given)
    if intent["payment_method"] is None:
        message = "You cannot confirm this PaymentIntent because it's missing a payment method."
        raise unexpected_state(message, intent)
    method = owned(intent["payment_method"], intent["customer"])
    check_currency(intent, method)
    check_type(intent, method)
    check_mandate(given.get("mandate"), method)
    if given.get("off_session"):
        return attempts.off_session(act, intent, method)
    if given.get("error_on_requires_action"):
        raise attempts.customer_needed(act, intent, method)
    return attempts.on_session(act, intent, method, given["return_url"])


def changes(act: Act, intent: Body, given: Body) -> Body:
    """What a confirmation says anew about the PaymentIntent."""
    found = {name: given[name] for name in ("payment_method", "receipt_email") if name in given}
    if OLD_TYPES in given or NEW_TYPES in given:
        types = effective(act, given | {"currency": intent["currency"]})
        found |= {"allowed_payment_method_types": given.get(NEW_TYPES), "payment_method_types": types}
    return found


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


def retrieve(act: Act, wanted: Body, id: str) -> Body:
    body = find("payment_intent", id)
    if body is None:
        raise no_such("payment_intent", id, param="intent")
    return body


def list_(act: Act, wanted: Body) -> Body:
    return listed("payment_intent", wanted, "/v1/payment_intents")


def cancel(act: Act, given: Body, id: str) -> Body:
    """From now on nobody can pay it. What is processing is out of the shop's hands, but for "rare cases" at Stripe."""
    intent = retrieve(act, {}, id)
    if of_kind("checkout.session").filter(body__payment_intent=id, status="open").exists():
        message = "You cannot cancel this PaymentIntent: it belongs to a Checkout Session. Expire the Session instead."
        raise ApiError(400, message, payment_intent=intent)
    refuse_unless(BEFORE_AN_ATTEMPT, intent, "cancel")
    intent |= {
        "canceled_at": act.now,
        "cancellation_reason": given.get("cancellation_reason"),
        "next_action": None,
        "status": "canceled",
    }
    events.emit(act, "payment_intent.canceled", save(act, intent))
    return intent


def refuse_unless(statuses: tuple[str, ...], intent: Body, what: str) -> None:
    if intent["status"] not in statuses:
        message = (
            f"You cannot {what} this PaymentIntent because it has a status of {intent['status']}. "
            f"That can be done only when it is {', '.join(statuses)}."
        )
        raise unexpected_state(message, intent)


def unexpected_state(message: str, intent: Body) -> ApiError:
    return ApiError(400, message, code="payment_intent_unexpected_state", payment_intent=intent)
