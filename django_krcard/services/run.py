"""Everything that is due, once through. Safe to run twice at once, and on several machines."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

from django.db.models import F, Q
from django.utils import timezone

from django_krcard.conf import conf
from django_krcard.exceptions import StripeRefusedKey
from django_krcard.models import Charge, Notice, Refund, Subscription, SubscriptionChange
from django_krcard.services import (
    above_agreed,
    amendment_steps,
    backup,
    mandates,
    notices,
    refunds,
    setups,
    steps,
    subscribing,
    unsubscribing,
)
from django_krcard.services.acts import Act, finish, finish_all

logger = logging.getLogger(__name__)

#: Rows read at a time.
CHUNK = 500

#: What has a next step, and who takes it.
WORK: dict[type, Callable[[int], Act]] = {
    Charge: steps.step,
    Refund: refunds.step,
    Subscription: subscribing.step,
    SubscriptionChange: unsubscribing.step,
}

#: Where a row says when it is due.
DUE_AT = dict.fromkeys(WORK, "next_step_at") | {Notice: "next_attempt_at"}

#: A task that has not begun after this time may be lost: another one is made. Long, because in a full queue they wait.
QUEUED_FOR = timedelta(minutes=30)


def run_due() -> Iterator[Any]:
    """Take the next step of everything that is due, send the notices that wait, remove cards left over.

    Gives each charge, refund, subscription and change of one as its step ends, or the exception that ended it. Many
    calls are on their way at a time (``KRCARD_IN_FLIGHT``), at the pace that Stripe allows. Raises
    ``DatabaseIsBehind`` before anything is sent, and ``StripeRefusedKey`` at the end: with such a key nothing more is
    begun.
    """
    backup.refuse_if_behind(again=True)
    with notices.postponed():
        # First: what customers have agreed to for today rules the charges of today.
        failed = list(amendment_steps.take_due_steps())
        above_agreed.settle()
    yield from failed
    refused: list[StripeRefusedKey] = []
    results = finish_all(_acts(refused), in_flight=conf.IN_FLIGHT)
    while True:
        # Not around the yield: what the caller does with a result is not ours to postpone.
        with notices.postponed():
            result = next(results, None)
        if result is None:
            break
        if isinstance(result, StripeRefusedKey):
            refused.append(result)
        yield result
    notices.deliver_due()
    # Also with a key that may not do everything: what was withdrawn is cleared away.
    setups.close_overdue()
    mandates.remove_leftover_cards()
    if refused:
        raise refused[0]


def hand_over(queues: Mapping[type, Callable[[int], Any]]) -> int:
    """In place of ``run_due``: give the id of every row that is due to the queue for its kind. Returns how many.

    Each step is given once, however often and wherever this runs, and once more when its task may be lost. A task too
    many does no harm: when it comes, nothing is due. Raises ``DatabaseIsBehind`` before anything is given.
    """
    backup.refuse_if_behind(again=True)
    for error in amendment_steps.take_due_steps():
        logger.error("A change of terms waits for the next run", exc_info=error)
    above_agreed.settle()
    now, given = timezone.now(), 0
    for model, enqueue in queues.items():
        free = not_queued(DUE_AT[model])
        for pk in due(model, now, free):
            if model.objects.filter(free, pk=pk).update(queued_at=timezone.now()):
                enqueue(pk)
                given += 1
    setups.close_overdue()
    mandates.remove_leftover_cards()
    return given


def not_queued(due_at: str) -> Q:
    """Rows that no task is made for: queued before the time in ``due_at`` came was for an earlier step."""
    return Q(queued_at=None) | Q(queued_at__lt=F(due_at)) | Q(queued_at__lt=timezone.now() - QUEUED_FOR)


def take_step(model: type, pk: int) -> Any:
    """What a task does: the step of one row, if it is still due. Its notices wait for tasks of their own.

    Raises ``DatabaseIsBehind``, and ``StripeRefusedKey``: the row is due again later.
    """
    backup.refuse_if_behind()
    with notices.postponed():
        return finish(WORK[model](pk))


def count_due() -> int:
    now = timezone.now()
    return sum(model.objects.filter(next_step_at__lte=now).count() for model in WORK)


def due(model: type, now: datetime, which: Q | None = None) -> Iterator[int]:
    """The rows whose next step was due at ``now``, each once, in the order of their steps. In flat memory."""
    at_field, after = DUE_AT[model], Q()
    while True:
        rows = model.objects.filter(which or Q(), after, **{f"{at_field}__lte": now}).order_by(at_field, "pk")
        chunk = list(rows.values_list("pk", at_field)[:CHUNK])
        if not chunk:
            return
        yield from (pk for pk, _at in chunk)
        pk, at = chunk[-1]
        after = Q(**{f"{at_field}__gt": at}) | Q(**{at_field: at, "pk__gt": pk})


def _acts(refused: list[StripeRefusedKey]) -> Iterator[Act]:
    now = timezone.now()
    for charge in _charges(due(Charge, now)):
        if refused:
            return
        yield _named(steps.step_of(charge), f"charge {charge.pk}")
    for model in (Refund, Subscription, SubscriptionChange):
        for pk in due(model, now):
            if refused:
                return
            yield _named(WORK[model](pk), f"{model._meta.model_name} {pk}")


def _charges(pks: Iterator[int]) -> Iterator[Charge]:
    while chunk := list(islice(pks, CHUNK)):
        rows = steps.read(chunk)
        yield from (rows[pk] for pk in chunk)


def _named(act: Act, name: str) -> Act:
    """What goes wrong says of what it speaks."""
    try:
        return (yield from act)
    except Exception as error:
        error.add_note(name)
        raise
