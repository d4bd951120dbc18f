"""Lists: newest first, with a cursor."""

from typing import Any

from django.db.models import Model, QuerySet

from ..errors import ApiError, no_such
from ..params import Check, integer, moment, text
from ..store import Body


def limit(value: Any, name: str) -> int:
    number = integer(value, name)
    if not 1 <= number <= 100:
        raise ApiError(400, "Invalid limit: must be between 1 and 100", param=name)
    return number


PAGING: dict[str, Check] = {"limit": limit, "starting_after": text(), "created": moment}


def page(rows: QuerySet[Any], wanted: Body, url: str) -> tuple[list[Any], Body]:
    """The rows of one page, and the list object that they go into as `data`."""
    for operator, time in wanted.get("created", {}).items():
        rows = rows.filter(**{f"created__{operator}": time})
    rows = after(rows, wanted.get("starting_after"))
    size = wanted.get("limit", 10)
    found = list(rows.order_by("-pk")[: size + 1])
    return found[:size], {"object": "list", "url": url, "has_more": len(found) > size, "data": []}


def after(rows: QuerySet[Any], cursor: str | None) -> QuerySet[Any]:
    if cursor is None:
        return rows
    last: Model | None = rows.model._default_manager.filter(stripe_id=cursor).first()
    if last is None:
        raise no_such("object", cursor, param="starting_after", status=400)
    return rows.filter(pk__lt=last.pk)
