"""Charges: what a PaymentIntent did to the card. Made by `payments`, changed by refunds and disputes."""

from ..errors import no_such
from ..events import emit
from ..params import Params, text
from ..store import Act, Body, changed, find, save
from .lists import PAGING, listed

RETRIEVE = Params({})
LIST = Params({**PAGING, "customer": text(), "payment_intent": text()})


def retrieve(act: Act, wanted: Body, id: str) -> Body:
    body = find("charge", id)
    if body is None:
        raise no_such("charge", id)
    return body


def list_(act: Act, wanted: Body) -> Body:
    return listed("charge", wanted, "/v1/charges")


def change(act: Act, charge: Body, event: str, **changes: object) -> Body:
    after = save(act, charge | changes)
    emit(act, event, after, changed(charge, after))
    return after
