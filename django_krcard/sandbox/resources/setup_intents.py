"""SetupIntents without Checkout: the shop confirms, and the customer authorises on the processor's page."""

from django.core import signing

from .. import events, objects
from ..errors import ApiError, SandboxError, no_such
from ..faults import take
from ..params import Params, choice, flag, invalid, metadata, missing, text, url
from ..store import Act, Body, find, of_kind, save
from . import first_time
from .lists import PAGING, listed
from .owners import living
from .pages import hosted_page
from .types import effective

BEFORE_AN_ATTEMPT = ("requires_payment_method", "requires_confirmation", "requires_action")

# What every attempt leaves behind of the one before it: nothing.
FORGOTTEN = {"last_setup_error": None, "next_action": None}


def confirmed_together(given: Body) -> None:
    first_time.only_when_confirmed(given, "mandate_data", "return_url")
    if given.get("confirm"):
        needs_method_and_way_back(given)
    if given.get("confirm") and "customer" not in given:
        # Stripe would save it for nobody; it could not be charged later.
        raise missing("customer")


def needs_method_and_way_back(given: Body) -> None:
    if "payment_method_data" not in given:
        message = "You cannot confirm this SetupIntent because it's missing a payment method."
        raise invalid(message, "payment_method", "parameter_missing")
    if "return_url" not in given:
        raise missing("return_url")


CREATE = Params(
    {
        "confirm": flag,
        "customer": text(),
        "description": text(1000),
        "mandate_data": first_time.MANDATE_DATA,
        "metadata": metadata,
        "payment_method_data": first_time.METHOD_DATA,
        "return_url": url,
        "usage": choice("off_session", "on_session"),
    },
    allowed_types_since="2026-07-29",
    together=confirmed_together,
)
CONFIRM = Params(
    {
        "mandate_data": first_time.MANDATE_DATA,
        "payment_method_data": first_time.METHOD_DATA,
        "return_url": url,
    },
    allowed_types_since="2026-07-29",
    together=needs_method_and_way_back,
)
CANCEL = Params({"cancellation_reason": choice("abandoned", "duplicate", "requested_by_customer")})
LIST = Params({**PAGING, "customer": text(), "payment_method": text()})


def create(act: Act, given: Body) -> Body:
    if "customer" in given:
        living(given["customer"])
    intent = objects.setup_intent(act, given, effective(act, given), given)
    intent["usage"] = given.get("usage", "off_session")
    save(act, intent)
    events.emit(act, "setup_intent.created", intent)
    return attempt(act, intent, given) if given.get("confirm") else intent


def retrieve(act: Act, wanted: Body, id: str) -> Body:
    body = find("setup_intent", id)
    if body is None:
        raise no_such("setupintent", id, param="intent")
    return body


def list_(act: Act, wanted: Body) -> Body:
    return listed("setup_intent", wanted, "/v1/setup_intents")


def confirm(act: Act, given: Body, id: str) -> Body:
    intent = retrieve(act, {}, id)
    refuse_unless_open(intent, "confirm")
    return attempt(act, intent, given)


def cancel(act: Act, given: Body, id: str) -> Body:
    intent = retrieve(act, {}, id)
    refuse_unless_open(intent, "cancel")
    if intent["payment_method"]:
        first_time.refused(act, find("payment_method", intent["payment_method"]) or {"id": ""})
    intent |= {
        "cancellation_reason": given.get("cancellation_reason"),
        "next_action": None,
        "status": "canceled",
    }
    events.emit(act, "setup_intent.canceled", save(act, intent))
    return intent


def refuse_unless_open(intent: Body, what: str) -> None:
    if of_kind("checkout.session").filter(body__setup_intent=intent["id"]).exists():
        message = f"You cannot {what} this SetupIntent: it belongs to a Checkout Session. Expire the Session instead."
        raise ApiError(400, message, setup_intent=intent)
    if intent["status"] not in BEFORE_AN_ATTEMPT:
        message = (
            f"You cannot {what} this SetupIntent because it has a status of {intent['status']}. "
            f"That can be done only when it is {', '.join(BEFORE_AN_ATTEMPT)}."
        )
        raise ApiError(400, message, code="setup_intent_unexpected_state", setup_intent=intent)


# --- an attempt, and what the customer makes of it --------------------------------------------------


def attempt(act: Act, intent: Body, given: Body) -> Body:
    """The customer is sent to the processor's page. Nothing is saved before `finish`."""
    type = given["payment_method_data"]["type"]
    if type not in intent["payment_method_types"]:
        message = f"The PaymentMethod provided ({type}) is not allowed for this SetupIntent."
        raise ApiError(400, message, param="payment_method_data[type]")
    method = first_time.method(act, given["payment_method_data"])
    intent |= FORGOTTEN | {"mandate": first_time.permission(act, method, given)["id"], "payment_method": method["id"]}
    if take("no_redirect"):
        return succeed(act, intent)
    page = hosted_page(act, given["return_url"], "setup", sign(intent["id"], given["return_url"]))
    redirect = {"return_url": given["return_url"], "url": page}
    intent |= {"next_action": {"redirect_to_url": redirect, "type": "redirect_to_url"}, "status": "requires_action"}
    events.emit(act, "setup_intent.requires_action", save(act, intent))
    return intent


def sign(intent_id: str, return_url: str) -> str:
    """The address knows where to go back to, so that a second click finds the way when nothing is left to do."""
    return signing.dumps([intent_id, return_url], salt=__name__, compress=True)


def read_attempt(attempt: str) -> tuple[str, str]:
    """The SetupIntent's id and the `return_url`. Raises BadSignature when the address was not made here."""
    intent_id, return_url = signing.loads(attempt, salt=__name__)
    return intent_id, return_url


def finish(act: Act, id: str, succeeded: bool, **card: str | None) -> Body:
    """What the customer did on the processor's page."""
    intent = find("setup_intent", id)
    if intent is None or intent["status"] != "requires_action":
        raise SandboxError(f"SetupIntent {id} does not wait for its customer.")
    return succeed(act, intent, **card) if succeeded else fail(act, intent)


def succeed(act: Act, intent: Body, **card: str | None) -> Body:
    method = find("payment_method", intent["payment_method"]) or {}
    first_time.authorised(act, method, intent["customer"], **card)
    intent |= FORGOTTEN | {"status": "succeeded"}
    events.emit(act, "setup_intent.succeeded", save(act, intent))
    return intent


def fail(act: Act, intent: Body) -> Body:
    method = find("payment_method", intent["payment_method"]) or {}
    first_time.refused(act, method)
    error = ApiError(
        402,
        "The customer could not be authenticated. Provide a new payment method to try again.",
        code="setup_intent_authentication_failure",
        payment_method=method,
        payment_method_type=method["type"],
    )
    intent |= FORGOTTEN | {
        "last_setup_error": error.error,
        "mandate": None,
        "payment_method": None,
        "status": "requires_payment_method",
    }
    events.emit(act, "setup_intent.setup_failed", save(act, intent))
    return intent
