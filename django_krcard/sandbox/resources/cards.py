"""Saved cards and what belongs to them: PaymentMethods and Mandates."""

from ..errors import ApiError, SandboxError, no_such
from ..events import emit
from ..params import Params, text
from ..store import Act, Body, changed, find, mandate_of, save
from .lists import PAGING

NOTHING = Params({})
LIST_SETUP_INTENTS = Params({**PAGING, "customer": text(), "payment_method": text()})


def retrieve_method(act: Act, wanted: Body, id: str) -> Body:
    body = find("payment_method", id)
    if body is None:
        raise no_such("PaymentMethod", id, param="payment_method")
    return body


def retrieve_mandate(act: Act, wanted: Body, id: str) -> Body:
    body = find("mandate", id)
    if body is None:
        raise no_such("mandate", id, param="mandate")
    return body


def detach(act: Act, given: Body, id: str) -> Body:
    method = retrieve_method(act, {}, id)
    owner = method["customer"]
    if owner is None:
        message = "The payment method you provided is not attached to a customer so detachment is impossible."
        raise ApiError(400, message, param="payment_method")
    save(act, method | {"customer": None})
    method["customer"] = None
    mandate = mandate_of(id)
    if mandate and mandate["status"] != "inactive":
        turn(act, mandate, "inactive")
    emit(act, "payment_method.detached", method, {"customer": owner})
    forget_default(act, owner, id)
    return method


def forget_default(act: Act, owner: str, card: str) -> None:
    """A card that is no longer the customer's is not what invoices are charged to either."""
    customer = find("customer", owner) or {}
    invoicing = customer.get("invoice_settings", {})
    if invoicing.get("default_payment_method") == card:
        after = save(act, customer | {"invoice_settings": invoicing | {"default_payment_method": None}})
        emit(act, "customer.updated", after, changed(customer, after))


def turn(act: Act, mandate: Body, status: str) -> Body:
    """pending → active → inactive, and never back."""
    order = ("pending", "active", "inactive")
    if order.index(mandate["status"]) >= order.index(status):
        raise SandboxError(f"Mandate {mandate['id']} is {mandate['status']} already.")
    body = save(act, mandate | {"status": status})
    emit(act, "mandate.updated", body, {"status": mandate["status"]})
    return body
