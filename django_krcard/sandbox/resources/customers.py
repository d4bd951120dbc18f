from ..errors import ApiError, no_such
from ..objects import customer
from ..params import Params, mapping, metadata, text, texts
from ..store import Act, Body, find, of_kind, save
from .lists import PAGING, page

ADDRESS = mapping(
    city=text(clearable=True),
    country=text(clearable=True),
    line1=text(clearable=True),
    line2=text(clearable=True),
    postal_code=text(clearable=True),
    state=text(clearable=True),
)
FIELDS = {
    "address": ADDRESS,
    "description": text(clearable=True),
    "email": text(512, clearable=True),
    "metadata": metadata,
    "name": text(256, clearable=True),
    "phone": text(20, clearable=True),
    "preferred_locales": texts,
}
CREATE = Params(FIELDS)
UPDATE = Params({**FIELDS, "invoice_settings": mapping(default_payment_method=text(clearable=True))})
RETRIEVE = Params({})
LIST = Params({**PAGING, "email": text()})
LIST_METHODS = Params({**PAGING, "type": text()})


def create(act: Act, given: Body) -> Body:
    return save(act, customer(act, given))


def update(act: Act, given: Body, id: str) -> Body:
    body = retrieve(act, {}, id)
    settings = given.pop("invoice_settings", {})
    if method := settings.get("default_payment_method"):
        owned(method, id, param="invoice_settings[default_payment_method]")
    body["invoice_settings"] |= settings
    if "metadata" in given:
        merged = body["metadata"] | given.pop("metadata")
        body["metadata"] = {key: value for key, value in merged.items() if value}
    return save(act, body | given)


def retrieve(act: Act, wanted: Body, id: str) -> Body:
    body = find("customer", id)
    if body is None:
        raise no_such("customer", id)
    return body


def list_(act: Act, wanted: Body) -> Body:
    rows = of_kind("customer")
    if "email" in wanted:
        rows = rows.filter(body__email=wanted["email"])
    found, body = page(rows, wanted, "/v1/customers")
    body["data"] = [row.body for row in found]
    return body


def list_methods(act: Act, wanted: Body, id: str) -> Body:
    retrieve(act, {}, id)
    rows = of_kind("payment_method").filter(customer=id)
    if "type" in wanted:
        rows = rows.filter(body__type=wanted["type"])
    found, body = page(rows, wanted, f"/v1/customers/{id}/payment_methods")
    body["data"] = [row.body for row in found]
    return body


def owned(method_id: str, customer_id: str | None, param: str = "payment_method") -> Body:
    """The PaymentMethod, when this customer may pay with it."""
    method = find("payment_method", method_id)
    if method is None:
        raise no_such("PaymentMethod", method_id, param=param, status=400)
    if method["customer"] is None:
        message = f"The PaymentMethod {method_id} was detached from a Customer. It may not be used again."
        raise ApiError(400, message, code="payment_method_unexpected_state", param=param)
    if method["customer"] != customer_id:
        message = (
            f"The customer does not have a payment method with the ID {method_id}. "
            "The payment method must be attached to the customer."
        )
        raise ApiError(400, message, code="resource_missing", param=param)
    return method
