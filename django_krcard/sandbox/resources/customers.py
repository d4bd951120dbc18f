"""Customers: made, changed, and deleted with all that is theirs."""

from .. import objects
from ..errors import no_such
from ..events import emit
from ..params import Params, mapping, metadata, text, texts
from ..store import Act, Body, changed, find, merged, of_kind, save
from . import billing, cards
from .lists import CURSOR, PAGING, listed
from .owners import living, owned

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
RETRIEVE = DELETE = Params({})
LIST = Params({**PAGING, "email": text()})
LIST_METHODS = Params({**CURSOR, "type": text()})


def create(act: Act, given: Body) -> Body:
    return save(act, objects.customer(act, given))


def update(act: Act, given: Body, id: str) -> Body:
    before = living(id, param="id", status=404)
    settings = given.pop("invoice_settings", {})
    if method := settings.get("default_payment_method"):
        owned(method, id, param="invoice_settings[default_payment_method]")
    after = merged(before, given) | {"invoice_settings": before["invoice_settings"] | settings}
    save(act, after)
    emit(act, "customer.updated", after, changed(before, after))
    return after


def retrieve(act: Act, wanted: Body, id: str) -> Body:
    """A deleted one is found too, with nothing but its id."""
    body = find("customer", id)
    if body is None:
        raise no_such("customer", id)
    return body


def delete(act: Act, given: Body, id: str) -> Body:
    """For good: subscriptions end, cards are detached, and nothing but the id stays."""
    living(id, param="id", status=404)
    for row in of_kind("subscription").filter(customer=id).exclude(status__in=billing.OVER):
        billing.finish(act, row.body)
    for row in of_kind("payment_method").filter(customer=id):
        cards.detach(act, {}, row.stripe_id)
    emit(act, "customer.deleted", living(id))
    return save(act, {"id": id, "object": "customer", "deleted": True})


def list_(act: Act, wanted: Body) -> Body:
    return listed("customer", {**wanted, "status": ""}, "/v1/customers")


def list_methods(act: Act, wanted: Body, id: str) -> Body:
    living(id, param="id", status=404)
    return listed("payment_method", {**wanted, "customer": id}, f"/v1/customers/{id}/payment_methods")
