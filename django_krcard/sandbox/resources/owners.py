"""Who is still there, and whose card is whose."""

from ..errors import ApiError, no_such
from ..store import Body, find


def living(id: str, *, param: str = "customer", status: int = 400) -> Body:
    body = find("customer", id)
    if body is None or body.get("deleted"):
        raise no_such("customer", id, param=param, status=status)
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
