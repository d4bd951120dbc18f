"""Which payment method types a Session or a PaymentIntent ends up with."""

from ..errors import ApiError
from ..params import NEW_TYPES, OLD_TYPES
from ..store import Act, Body

KRW_ONLY = {"kr_card", "naver_pay", "kakao_pay"}


def effective(act: Act, given: Body) -> list[str]:
    """The old parameter is an order: what cannot be had is an error. The new one is a filter."""
    usable = [name for name in act.state.enabled_types if fits(name, given.get("currency"))]
    if OLD_TYPES in given:
        for name in given[OLD_TYPES]:
            if name not in usable:
                message = (
                    f"The payment method type provided: {name} is invalid. Please ensure the provided type "
                    "is activated in your dashboard and that it can be used with the currency."
                )
                raise ApiError(400, message, param=OLD_TYPES)
        return list(given[OLD_TYPES])
    types = [name for name in given.get(NEW_TYPES, usable) if name in usable]
    if not types:
        raise ApiError(400, "No valid payment method types for this request.", param=NEW_TYPES)
    return types


def fits(name: str, currency: str | None) -> bool:
    return name not in KRW_ONLY or currency in (None, "krw")
