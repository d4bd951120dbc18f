"""Each message is stored once, as it came, and worked off under a claim."""

from __future__ import annotations

import json
import logging
import uuid
from datetime import timedelta
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import F, Q
from django.utils import timezone

from django_krcard import signals
from django_krcard.conf import conf
from django_krcard.models import Event
from django_krcard.webhooks.handlers import HANDLERS

logger = logging.getLogger(__name__)

Status = Event.Status

LEASE = timedelta(minutes=2)
#: After each failure; when they are used up, the event is given up and waits for a person.
RETRY_AFTER = [timedelta(minutes=m) for m in (1, 5, 30, 120, 360, 720, 1440)]


def receive(body: bytes) -> Event:
    """Store a verified message, work it off, and return its row. The same message again finds the same row."""
    event = _store(body)
    if event.status in Event.OPEN:
        event = process(event.pk)
    return event


def process(pk: int, *, again: bool = False) -> Event:
    """Work off one stored message, unless somebody else is at it. ``again`` replays one that is done or given up.

    What goes wrong is written to the row and tried again later; it is not raised.
    """
    if not _claim(pk, again=again):
        return Event.objects.get(pk=pk)
    event = Event.objects.get(pk=pk)
    handler = HANDLERS.get(event.type)
    if handler is None:
        return _close(event, Status.IGNORED)
    try:
        handler(_parsed(bytes(event.body))["data"]["object"])
    except Exception as error:
        # Whatever it is, one bad message must not stop the others; the row keeps it, and Stripe hears a 500.
        logger.exception("Event %s (%s) failed", event.stripe_id, event.type)
        return _failed(event, error)
    event = _close(event, Status.DONE)
    signals.send_on_commit(signals.event_processed, Event, event=event)
    return event


def _store(body: bytes) -> Event:
    message = _parsed(body)
    if problem := _unusable(message):
        # Stripe signed it, so it is kept, but no retry would make it readable.
        logger.error("A signed message could not be used: %s", problem)
        return Event.objects.create(
            stripe_id=f"unusable-{uuid.uuid4()}", body=body, status=Status.QUARANTINED, last_error=problem
        )
    foreign = message["livemode"] != conf.LIVEMODE or bool(message.get("account"))
    row = {
        "type": message["type"],
        "livemode": message["livemode"],
        "account": _printable(message.get("account"), 255),
        "api_version": _printable(message.get("api_version"), 64),
        "body": body,
        "status": Status.FOREIGN if foreign else Status.RECEIVED,
    }
    try:
        with transaction.atomic():
            return Event.objects.create(stripe_id=message["id"], **row)
    except IntegrityError:
        return Event.objects.get(stripe_id=message["id"])


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _unusable(message: Any) -> str:
    """Why a message cannot be used, or nothing. Only an event that says what and about what is one."""
    if not isinstance(message, dict) or message.get("object") != "event":
        return "not an event"
    event_id, kind, data = message.get("id"), message.get("type"), message.get("data")
    if not (isinstance(event_id, str) and 0 < len(event_id) <= 255 and event_id.isprintable()):
        return "no usable id"
    if not (isinstance(kind, str) and 0 < len(kind) <= 255 and kind.isprintable()):
        return "no usable type"
    if not isinstance(message.get("livemode"), bool):
        return "no mode"
    subject = data.get("object") if isinstance(data, dict) else None
    if not isinstance(subject, dict) or (kind in HANDLERS and not isinstance(subject.get("id"), str)):
        return "no object"
    return ""


def _printable(value: Any, length: int) -> str:
    """For columns that only inform: databases refuse some of what JSON can hold."""
    return value[:length] if isinstance(value, str) and value.isprintable() else ""


def _claim(pk: int, *, again: bool) -> bool:
    now = timezone.now()
    free = Q(lease_until=None) | Q(lease_until__lt=now)
    events = Event.objects.filter(free, pk=pk).exclude(status__in=[Status.QUARANTINED, Status.FOREIGN])
    if not again:
        events = events.filter(status__in=Event.OPEN)
    return events.update(lease_until=now + LEASE, attempts=F("attempts") + 1) == 1


def _close(event: Event, status: str) -> Event:
    event.status, event.lease_until, event.next_attempt_at, event.last_error = status, None, None, ""
    event.save(update_fields=["status", "lease_until", "next_attempt_at", "last_error"])
    return event


def _failed(event: Event, error: Exception) -> Event:
    more = event.attempts <= len(RETRY_AFTER)
    event.status = Status.FAILED if more else Status.DEAD
    event.next_attempt_at = timezone.now() + RETRY_AFTER[event.attempts - 1] if more else None
    event.lease_until = None
    event.last_error = f"{type(error).__name__}: {error}"[:1000]
    event.save(update_fields=["status", "lease_until", "next_attempt_at", "last_error"])
    return event
