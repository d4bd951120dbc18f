"""One attempt to pay a PaymentIntent, and what becomes of it: its status, its Charge, the news of both."""

from django.core import signing

from .. import events, objects
from ..errors import ApiError, SandboxError
from ..faults import take, take_payment_fault
from ..store import Act, Body, find, save
from . import first_time
from .pages import hosted_page

# What every attempt leaves behind of the one before it: nothing.
FORGOTTEN = {"last_payment_error": None, "next_action": None, "processing": None}


def off_session(act: Act, intent: Body, method: Body) -> Body:
    """The customer is away: the card is charged, unless something else comes next (see `control.decline_next`)."""
    fault = take_payment_fault()
    if fault is None:
        return succeed(act, intent, method)
    if fault.kind == "processing":
        return process(act, intent, method)
    if fault.kind == "action":
        raise customer_needed(act, intent, method)
    raise decline(act, intent, method, message="The card was declined.", **fault.data)


def on_session(act: Act, intent: Body, method: Body, return_url: str) -> Body:
    """The customer is here, and goes to the issuer's page. Nothing is charged before `finish`."""
    # The address knows where to go back to, so that a second click finds the way when nothing is left to do.
    attempt = signing.dumps([intent["id"], return_url], salt=__name__, compress=True)
    redirect = {"return_url": return_url, "url": hosted_page(act, return_url, "payment", attempt)}
    next_action = {"redirect_to_url": redirect, "type": "redirect_to_url"}
    intent |= FORGOTTEN | {
        "next_action": next_action,
        "payment_method": method["id"],
        "status": "requires_action",
    }
    events.emit(act, "payment_intent.requires_action", save(act, intent))
    return intent


def read_attempt(attempt: str) -> tuple[str, str]:
    """The PaymentIntent's id and the `return_url`. Raises BadSignature when the address was not made here."""
    intent_id, return_url = signing.loads(attempt, salt=__name__)
    return intent_id, return_url


def finish(act: Act, id: str, succeeded: bool, **card: str | None) -> Body:
    """What the customer did on the issuer's page."""
    intent = find("payment_intent", id)
    if intent is None or intent["status"] != "requires_action":
        raise SandboxError(f"PaymentIntent {id} does not wait for its customer.")
    method = find("payment_method", intent["payment_method"]) or {}
    if succeeded:
        return paid_by_customer(act, intent, method, **card)
    if first_time.is_new(method):
        first_time.refused(act, method)
    # Nobody asked the card for money, so there is no Charge.
    error = ApiError(
        402,
        "The provided PaymentMethod has failed authentication. Provide a new one to attempt to pay again.",
        code="payment_intent_authentication_failure",
        payment_method=method,
    )
    return fail(act, intent, error)


def paid_by_customer(act: Act, intent: Body, method: Body, **card: str | None) -> Body:
    """With a saved card, or with something new that may become one."""
    is_new = first_time.is_new(method)
    if is_new and intent["setup_future_usage"]:
        first_time.authorised(act, method, intent["customer"], **card)
    return process(act, intent, method) if is_new and take("processing") else succeed(act, intent, method)


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


# --- the outcomes -----------------------------------------------------------------------------------


def succeed(act: Act, intent: Body, method: Body, charge: Body | None = None) -> Body:
    charge = save(act, charged(act, intent, method, "succeeded", charge))
    intent |= FORGOTTEN | {
        "amount_received": intent["amount"],
        "latest_charge": charge["id"],
        "status": "succeeded",
    }
    save(act, intent)
    events.emit(act, "charge.succeeded", charge)
    events.emit(act, "payment_intent.succeeded", intent)
    return intent


def process(act: Act, intent: Body, method: Body) -> Body:
    charge = save(act, charged(act, intent, method, "pending"))
    intent |= FORGOTTEN | {"latest_charge": charge["id"], "status": "processing"}
    save(act, intent)
    events.emit(act, "charge.pending", charge)
    events.emit(act, "payment_intent.processing", intent)
    return intent


def customer_needed(act: Act, intent: Body, method: Body) -> ApiError:
    message = "The payment requires additional steps of the customer, who is not there."
    code = "authentication_required"
    return decline(act, intent, method, code=code, decline_code=code, message=message)


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
    intent["latest_charge"] = charge["id"]
    events.emit(act, "charge.failed", charge)
    error: Body = {"type": "card_error", "decline_code": decline_code, "charge": charge["id"]}
    fail(act, intent, ApiError(402, message, code=code, payment_method=method, **error))
    return ApiError(402, message, code=code, payment_method=method, payment_intent=intent, **error)


def fail(act: Act, intent: Body, error: ApiError) -> Body:
    """The PaymentIntent waits for another try, with this card or another one."""
    intent |= FORGOTTEN | {
        "last_payment_error": error.error,
        "payment_method": None,
        "status": "requires_payment_method",
    }
    events.emit(act, "payment_intent.payment_failed", save(act, intent))
    return intent


def charged(act: Act, intent: Body, method: Body, status: str, before: Body | None = None) -> Body:
    charge = objects.charge(act, intent, method, status)
    if before:
        charge |= {"id": before["id"], "created": before["created"]}
    return charge
