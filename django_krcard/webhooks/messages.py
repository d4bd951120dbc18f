"""Bytes to a message: what happened, and to what. In both of Stripe's formats.

https://docs.stripe.com/webhooks and https://docs.stripe.com/event-destinations#events-overview (thin events)
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from django.utils import timezone
from django.utils.dateparse import parse_datetime

from django_krcard import gateway
from django_krcard.exceptions import KrcardError

#: Stripe's numbers of seconds are in this century; others do not fit into a date or a database.
LAST_SECOND = 2**32


class Unusable(KrcardError):
    """Stripe signed it, but it does not say what happened to what. No retry would change that."""


@dataclass(frozen=True, slots=True)
class Message:
    """``id`` and ``type`` are those of the snapshot also for a thin event, so the two count as one.

    ``told`` is the object as it was when the message was made; a thin event has none.
    """

    id: str
    type: str
    livemode: bool
    account: str
    api_version: str
    created: datetime
    object_id: str
    object_kind: str
    told: dict[str, Any] | None = field(repr=False)

    def subject(self) -> dict[str, Any]:
        """The object that the message is about. Asks Stripe for it when the message does not carry it."""
        return gateway.retrieve_object(self.object_kind, self.object_id) if self.told is None else self.told


def read(body: bytes, needed: Collection[str] = ()) -> Message:
    """Raises ``Unusable``. A message of a type in ``needed`` must name an object that can be looked for."""
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        raise Unusable("not JSON") from None
    match data:
        case {"object": "event"}:
            message = _snapshot(data)
        case {"object": "v2.core.event"}:
            message = _thin(data)
        case _:
            raise Unusable("not an event")
    if not _is_name(message.id):
        raise Unusable("no usable id")
    if not _is_name(message.type):
        raise Unusable("no usable type")
    if not isinstance(message.livemode, bool):
        raise Unusable("no mode")
    if message.type in needed and not (
        message.object_id and (message.told or gateway.can_retrieve(message.object_kind))
    ):
        raise Unusable("no object")
    return message


def text(thing: Any, *path: str) -> str:
    """What stands there, if it is a text that a database can be asked for; otherwise nothing."""
    for name in path:
        thing = thing.get(name) if isinstance(thing, dict) else None
    return thing if _is_name(thing) else ""


def _snapshot(data: dict[str, Any]) -> Message:
    parts = data.get("data")
    told = parts.get("object") if isinstance(parts, dict) else None
    if not isinstance(told, dict):
        raise Unusable("no object")
    return Message(
        id=data.get("id"),
        type=data.get("type"),
        livemode=data.get("livemode"),
        account=_other_account(data.get("account")),
        api_version=text(data, "api_version")[:64],
        created=_moment(data.get("created")),
        object_id=text(told, "id"),
        object_kind=text(told, "object"),
        told=told,
    )


def _thin(data: dict[str, Any]) -> Message:
    kind = data.get("type")
    return Message(
        id=data.get("snapshot_event") or data.get("id"),
        # What API v2 alone knows keeps its name, and nobody here handles it.
        type=kind.removeprefix("v1.") if isinstance(kind, str) else kind,
        livemode=data.get("livemode"),
        account=_other_account(data.get("context")),
        api_version="",
        created=_moment(data.get("created")),
        object_id=text(data, "related_object", "id"),
        object_kind=text(data, "related_object", "type"),
        told=None,
    )


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= 255 and value.isprintable()


def _other_account(value: Any) -> str:
    """Messages of the key's own account name none. One that cannot be read is another's."""
    if value is None:
        return ""
    return value if _is_name(value) else "?"


def _moment(value: Any) -> datetime:
    try:
        moment = parse_datetime(value) if isinstance(value, str) else None
    except ValueError:
        moment = None
    seconds = moment.timestamp() if moment and moment.tzinfo else value
    if isinstance(seconds, int | float) and 0 < seconds < LAST_SECOND:
        return datetime.fromtimestamp(seconds, UTC)
    return timezone.now()
