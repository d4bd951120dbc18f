"""Lists: newest first, with a cursor in either direction."""

from typing import Any

from django.db.models import QuerySet

from ..errors import ApiError, no_such
from ..models import Resource
from ..params import Check, integer, moment, text
from ..store import Body, of_kind

COLUMNS = ("customer", "payment_method", "status")


def limit(value: Any, name: str) -> int:
    number = integer(value, name)
    if not 1 <= number <= 100:
        raise ApiError(400, "Invalid limit: must be between 1 and 100", param=name)
    return number


CURSOR: dict[str, Check] = {"limit": limit, "starting_after": text(), "ending_before": text()}
PAGING = {**CURSOR, "created": moment}


def listed(kind: str, wanted: Body, url: str) -> Body:
    """A list of the objects of one kind. Whatever is wanted besides the page is a field to filter by."""
    everything = of_kind(kind)
    rows = everything.filter(**{place(name): wanted[name] for name in wanted.keys() - PAGING.keys()})
    found, body = page(everything, rows, wanted, url)
    body["data"] = [row.body for row in found]
    return body


def page(everything: QuerySet[Any], rows: QuerySet[Any], wanted: Body, url: str) -> tuple[list[Any], Body]:
    """The rows of one page, and the list object that they go into as `data`."""
    for operator, time in wanted.get("created", {}).items():
        rows = rows.filter(**{f"created__{operator}": time})
    size = wanted.get("limit", 10)
    after, before = wanted.get("starting_after"), wanted.get("ending_before")
    if after and before:
        raise ApiError(400, "You may pass only one of starting_after and ending_before.", param="ending_before")
    if before:
        rows = rows.filter(pk__gt=position(everything, before, "ending_before")).order_by("pk")
    else:
        rows = rows.order_by("-pk")
    if after:
        rows = rows.filter(pk__lt=position(everything, after, "starting_after"))
    found = list(rows[: size + 1])
    shown = found[:size][::-1] if before else found[:size]
    return shown, {"object": "list", "url": url, "has_more": len(found) > size, "data": []}


def place(name: str) -> str:
    return name if name.partition("__")[0] in COLUMNS else f"body__{name}"


def position(everything: QuerySet[Any], cursor: str, param: str) -> int:
    row: Resource | None = everything.filter(stripe_id=cursor).first()
    if row is None:
        raise no_such("object", cursor, param=param, status=400)
    return row.pk
