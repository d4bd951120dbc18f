"""Refunds: in full, in parts, never more than was paid; to Korean cards within a year."""

from ..errors import ApiError, SandboxError, no_such
from ..events import emit
from ..objects import refund
from ..params import Params, choice, invalid, metadata, positive, text
from ..store import Act, Body, changed, find, merged, save
from . import charges
from .lists import PAGING, listed

# Says Stripe's page about South Korea, but not with which code it refuses later: `charge_not_refundable` is a guess.
REFUNDABLE_SECONDS = 365 * 24 * 60 * 60


def one_payment(given: Body) -> None:
    if "charge" not in given and "payment_intent" not in given:
        message = "One of the following params should be provided for this request: payment_intent or charge."
        raise invalid(message, "payment_intent", "parameter_missing")


CREATE = Params(
    {
        "amount": positive,
        "charge": text(),
        "metadata": metadata,
        "payment_intent": text(),
        "reason": choice("duplicate", "fraudulent", "requested_by_customer"),
    },
    together=one_payment,
)
UPDATE = Params({"metadata": metadata})
RETRIEVE = Params({})
LIST = Params({**PAGING, "charge": text(), "payment_intent": text()})


def create(act: Act, given: Body) -> Body:
    charge = refundable(act, paid(given))
    left = charge["amount_captured"] - charge["amount_refunded"]
    amount = given.get("amount", left)
    if amount > left:
        message = f"Refund amount (₩{amount:,}) is greater than unrefunded amount on charge (₩{left:,})"
        raise ApiError(400, message, param="amount")
    body = save(act, refund(act, charge, given | {"amount": amount}))
    total = charge["amount_refunded"] + amount
    complete = total == charge["amount_captured"]
    charges.change(act, charge, "charge.refunded", amount_refunded=total, refunded=complete)
    emit(act, "refund.created", body)
    return body


def paid(given: Body) -> Body:
    """The charge that is meant, by its own id or by its PaymentIntent's."""
    intent = None
    if named := given.get("payment_intent"):
        intent = find("payment_intent", named)
        if intent is None:
            raise no_such("payment_intent", named, param="payment_intent", status=400)
        if intent["status"] != "succeeded":
            message = f"This PaymentIntent ({named}) does not have a successful charge to refund."
            raise ApiError(400, message, code="payment_intent_unexpected_state", param="payment_intent")
    id = given.get("charge") or (intent or {})["latest_charge"]
    charge = find("charge", id)
    if charge is None:
        raise no_such("charge", id, param="charge", status=400)
    if intent and charge["payment_intent"] != intent["id"]:
        raise ApiError(400, f"The charge {id} is not one of the PaymentIntent {named}.", param="charge")
    return charge


def refundable(act: Act, charge: Body) -> Body:
    def refusal(code: str, reason: str) -> ApiError:
        return ApiError(400, f"Charge {charge['id']} {reason}", code=code, charge=charge["id"])

    if charge["status"] != "succeeded":
        raise refusal("charge_not_refundable", f"is {charge['status']}: only a succeeded charge can be refunded.")
    if charge["refunded"]:
        raise refusal("charge_already_refunded", "has already been refunded.")
    if charge["disputed"]:
        raise refusal("charge_disputed", "has been charged back; cannot issue a refund.")
    is_korean = charge["payment_method_details"]["type"] == "kr_card"
    if is_korean and charge["created"] + REFUNDABLE_SECONDS < act.now:
        raise refusal("charge_not_refundable", "is older than 365 days and can no longer be refunded.")
    return charge


def retrieve(act: Act, wanted: Body, id: str) -> Body:
    body = find("refund", id)
    if body is None:
        raise no_such("refund", id, param="refund")
    return body


def list_(act: Act, wanted: Body) -> Body:
    return listed("refund", wanted, "/v1/refunds")


def update(act: Act, given: Body, id: str) -> Body:
    before = retrieve(act, {}, id)
    after = save(act, merged(before, given))
    emit(act, "refund.updated", after, changed(before, after))
    return after


def fail(act: Act, id: str) -> Body:
    """The bank sends the money back: the account is gone. The charge is not refunded after all."""
    before = find("refund", id)
    if before is None or before["status"] != "succeeded":
        raise SandboxError(f"There is no Refund {id} that succeeded.")
    after = save(act, before | {"status": "failed", "failure_reason": "lost_or_stolen_card"})
    charge = find("charge", after["charge"]) or {}
    left = charge["amount_refunded"] - after["amount"]
    charges.change(act, charge, "charge.updated", amount_refunded=left, refunded=False)
    emit(act, "refund.updated", after, changed(before, after))
    emit(act, "refund.failed", after)
    return after
