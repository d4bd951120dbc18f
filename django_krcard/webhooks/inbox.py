"""Each message is stored once, as it came, and worked off under a claim."""

from __future__ import annotations

import hashlib
import logging
import random
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from copy import copy
from datetime import datetime, timedelta
from functools import partial
from inspect import isgenerator, isgeneratorfunction
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import F, Q
from django.utils import timezone

from django_krcard import signals
from django_krcard.conf import conf
from django_krcard.exceptions import SetupNotAllowed, StripeRefusedRequest
from django_krcard.models import Event
from django_krcard.services.acts import finish
from django_krcard.webhooks import messages
from django_krcard.webhooks.handlers import HANDLERS, Handling, NotHereYet, Write

logger = logging.getLogger(__name__)

Status = Event.Status

#: Whoever has claimed an event is given so long; then it is taken for dead, and the event is anybody's again.
LEASE = timedelta(minutes=2)
#: After each failure, give or take a fifth; the last one again and again.
RETRY_AFTER = [timedelta(minutes=m) for m in (1, 5, 30, 120, 360, 720, 1440)]
#: So long Stripe knocks by itself. Then the event is given up and waits for a person.
GIVE_UP_AFTER = timedelta(days=3)
#: Rows read at a time.
CHUNK = 500


def receive(body: bytes) -> Event:
    """Store a verified message, work it off, and return its row. The same message again finds the same row.

    What goes wrong while it is worked off is written to the row and tried again later; it is not raised.
    """
    event, message = _read(body)
    handler = HANDLERS.get(event.type)
    if event.status == Status.RECEIVED and message.told is not None and isgeneratorfunction(handler):
        act = handler(message.told)
        try:
            is_over, question = _begun(event, act)
        except Exception as error:
            # Nothing of it is written: mostly it is here already, or waits for something. Below it is stored by
            # itself, and should it fail again, its row says why.
            logger.info("Event %s is stored first: %s", message.id, type(error).__name__)
            here = isinstance(error, IntegrityError) and Event.objects.filter(stripe_id=message.id).first()
            if here:
                return process(here.pk) if here.status in Event.OPEN else here
        else:
            return event if is_over else _work_off(event, partial(finish, act, question))
    event, is_new = keep(body, claimed=True)
    if event.status not in Event.OPEN:
        return event
    return _work_off(event) if is_new else process(event.pk)


def keep(body: bytes, *, claimed: bool = False, queued: bool = False) -> tuple[Event, bool]:
    """Store a verified message once. Returns its row, and whether it is new.

    ``claimed``: the caller will work it off; ``queued``: will make a task of it. Until then nobody else does.
    """
    event, _message = _read(body)
    if event.status == Status.RECEIVED and claimed:
        _claim_here(event)
    if event.status == Status.RECEIVED and queued:
        event.queued_at = event.received_at
    try:
        with _savepoint():
            event.save(force_insert=True)
    except IntegrityError:
        return Event.objects.get(stripe_id=event.stripe_id), False
    return event, True


def process(pk: int, *, again: bool = False) -> Event:
    """Work off one stored message, unless somebody else is at it. ``again`` replays one that is done or given up.

    What goes wrong is written to the row and tried again later; it is not raised.
    """
    claimed = _claim(pk, again=again)
    event = Event.objects.get(pk=pk)
    return _work_off(event) if claimed else event


def due(now: datetime, which: Q | None = None) -> Iterator[int]:
    """The events that wait to be worked off, the oldest first, each once. In flat memory."""
    waiting = Event.objects.filter(which or Q(), _free(now), status__in=Event.OPEN)
    waiting = waiting.filter(Q(next_attempt_at=None) | Q(next_attempt_at__lte=now)).order_by("created", "pk")
    after = Q()
    while chunk := list(waiting.filter(after).values_list("created", "pk")[:CHUNK]):
        yield from (pk for _created, pk in chunk)
        created, pk = chunk[-1]
        after = Q(created__gt=created) | Q(created=created, pk__gt=pk)


def _read(body: bytes) -> tuple[Event, messages.Message | None]:
    """The row of a message, not stored yet, and what the message says, if it can be used."""
    now = timezone.now()
    try:
        message = messages.read(body, HANDLERS)
    except messages.Unusable as problem:
        # Stripe signed it, so it is kept, but no retry would make it readable.
        logger.error("A signed message could not be used: %s", problem)
        name = f"unusable-{hashlib.sha256(body).hexdigest()}"
        unusable = {"status": Status.QUARANTINED, "last_error": str(problem)}
        return Event(stripe_id=name, body=body, received_at=now, **unusable), None
    is_ours = (message.livemode, message.account) == (conf.LIVEMODE, conf.STRIPE_ACCOUNT)
    status = Status.RECEIVED if message.type in HANDLERS else Status.IGNORED
    event = Event(
        stripe_id=message.id,
        type=message.type,
        livemode=message.livemode,
        account=message.account,
        api_version=message.api_version,
        created=message.created,
        status=status if is_ours else Status.FOREIGN,
        body=body,
        received_at=now,
    )
    return event, message


def _begun(event: Event, act: Handling) -> tuple[bool, Any]:
    """Store a message and work it off in the same transaction, up to a question to Stripe: before anybody is asked it
    is stored, and claimed. Returns whether it is through, and the question. Of what raises, nothing is left."""
    with transaction.atomic():
        event.status, event.attempts = Status.DONE, 1
        event.save(force_insert=True)
        try:
            question = next(act)
        except StopIteration as end:
            if callable(end.value):
                end.value()
            signals.send_on_commit(signals.event_processed, Event, event=event)
            return True, None
        event.status, event.attempts = Status.RECEIVED, 0
        _claim_here(event)
        event.save(update_fields=["status", "attempts", "lease_until", "next_attempt_at"])
    return False, question


def _claim_here(event: Event) -> None:
    event.lease_until = event.next_attempt_at = event.received_at + LEASE
    event.attempts += 1


def _claim(pk: int, *, again: bool) -> bool:
    now = timezone.now()
    # Where the retention is over there is nothing left to work off.
    events = Event.objects.filter(_free(now), pk=pk).exclude(status__in=Event.NEVER).exclude(body=b"")
    if not again:
        events = events.filter(status__in=Event.OPEN)
    lease = {"lease_until": now + LEASE, "next_attempt_at": now + LEASE}
    return events.update(**lease, attempts=F("attempts") + 1) == 1


def _free(now: datetime) -> Q:
    return Q(lease_until=None) | Q(lease_until__lt=now)


class Overtaken(Exception):
    """Our claim has run out, and somebody else has the event, or is through with it."""


def _work_off(event: Event, handling: Callable[[], Write | None] | None = None) -> Event:
    """Let the handler look and ask, then write what it returns, in one transaction with the end of the event.

    ``handling`` is what is left of that, if it has begun.
    """
    try:
        left = _carried_out(event, handling or partial(_handled, event))
    except Overtaken:
        logger.warning("Event %s (%s) took too long: somebody else took it over", event.stripe_id, event.type)
        return Event.objects.get(pk=event.pk)
    if left.status == Status.DONE:
        signals.send_on_commit(signals.event_processed, Event, event=left)
    return left


def _handled(event: Event) -> Write | None:
    handled = HANDLERS[event.type](messages.read(bytes(event.body)).subject())
    return finish(handled) if isgenerator(handled) else handled


def _carried_out(event: Event, handling: Callable[[], Write | None]) -> Event:
    if event.type not in HANDLERS:
        return _leave(event, Status.IGNORED)
    try:
        write = handling()
        if not callable(write):
            return _leave(event, Status.DONE)
        with transaction.atomic():
            # Before it is written: whoever was overtaken ends here.
            left = _leave(event, Status.DONE)
            write()
        return left
    except Overtaken:
        raise
    except NotHereYet as reason:
        logger.info("Event %s (%s) waits: %s", event.stripe_id, event.type, reason)
        return _try_again(event, Status.RECEIVED, reason)
    except Exception as error:
        # Whatever it is, one bad message must not stop the others; the row keeps it, and Stripe hears a 500.
        logger.exception("Event %s (%s) failed", event.stripe_id, event.type)
        if _is_hopeless(error):
            return _leave(event, Status.DEAD, error)
        return _try_again(event, Status.FAILED, error)


def _is_hopeless(error: Exception) -> bool:
    """Stripe has told us of what Stripe does not have, or what is somebody else's: a person must look."""
    missing = isinstance(error, StripeRefusedRequest) and error.code == "resource_missing"
    return missing or isinstance(error, SetupNotAllowed)


def _try_again(event: Event, status: str, error: Exception) -> Event:
    now = timezone.now()
    if now - event.received_at > GIVE_UP_AFTER:
        return _leave(event, Status.DEAD, error)
    # Stripe's own knocks are tries, too, so there may be many. Not all at the same moment: what failed together would
    # fail together again.
    pause = RETRY_AFTER[min(event.attempts, len(RETRY_AFTER)) - 1] * random.uniform(0.8, 1.2)
    return _leave(event, status, error, now + pause)


def _leave(event: Event, status: str, error: Exception | None = None, next_attempt_at: datetime | None = None) -> Event:
    """Give the claim back, and write down what became of the event. Raises ``Overtaken``."""
    words = f"{type(error).__name__}: {error}"[:1000] if error else ""
    end = {
        "status": status,
        "lease_until": None,
        "next_attempt_at": next_attempt_at,
        # What others raise may hold what no database takes.
        "last_error": words.encode("utf-8", "backslashreplace").decode().replace("\0", ""),
    }
    if not Event.objects.filter(pk=event.pk, lease_until=event.lease_until).update(**end):
        raise Overtaken
    left = copy(event)
    for name, value in end.items():
        setattr(left, name, value)
    return left


def _savepoint() -> AbstractContextManager:
    """Around a statement that may fail inside of a transaction. Alone it needs none, and each would be two more."""
    return transaction.atomic() if transaction.get_connection().in_atomic_block else nullcontext()
