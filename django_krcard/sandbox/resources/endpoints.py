"""Webhook endpoints as records. Messages go to the site itself all the same: see `delivery`."""

import re
from typing import Any

from ..errors import no_such
from ..objects import webhook_endpoint
from ..params import Params, array, flag, invalid, metadata, text, url
from ..store import Act, Body, find, merged, remove, save, suffix
from .lists import CURSOR, listed


def event_type(value: Any, name: str) -> str:
    type: str = text()(value, name)
    if type != "*" and not re.fullmatch(r"[a-z0-9_]+(\.[a-z0-9_]+)+", type):
        raise invalid(f"Invalid {name}: {type} is not an event type", name)
    return type


def some_events(given: Body) -> None:
    if given.get("enabled_events") == []:
        raise invalid("You must enable at least one event.", "enabled_events", "parameter_invalid_empty")


FIELDS = {
    "description": text(clearable=True),
    "enabled_events": array(event_type),
    "metadata": metadata,
    "url": url,
}
CREATE = Params(
    {**FIELDS, "api_version": text(), "connect": flag}, requires=("enabled_events", "url"), together=some_events
)
UPDATE = Params({**FIELDS, "disabled": flag}, together=some_events)
RETRIEVE = DELETE = Params({})
LIST = Params(CURSOR)


def create(act: Act, given: Body) -> Body:
    """The secret is told once, here."""
    body = save(act, webhook_endpoint(act, given))
    return body | {"secret": f"whsec_sandbox_{suffix()}"}


def retrieve(act: Act, wanted: Body, id: str) -> Body:
    body = find("webhook_endpoint", id)
    if body is None:
        raise no_such("webhook endpoint", id)
    return body


def list_(act: Act, wanted: Body) -> Body:
    return listed("webhook_endpoint", wanted, "/v1/webhook_endpoints")


def update(act: Act, given: Body, id: str) -> Body:
    before = retrieve(act, {}, id)
    if "disabled" in given:
        given["status"] = "disabled" if given.pop("disabled") else "enabled"
    return save(act, merged(before, given))


def delete(act: Act, given: Body, id: str) -> Body:
    retrieve(act, {}, id)
    remove(id)
    return {"id": id, "object": "webhook_endpoint", "deleted": True}
