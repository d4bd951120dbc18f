"""Work for a queue, one task for each row, by Django's tasks (``KRCARD_TASK_BACKEND``): ids go in, services are called.

https://docs.djangoproject.com/en/stable/topics/tasks/
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.utils import timezone

from django_krcard.conf import conf
from django_krcard.models import Charge, Event, Notice, Refund, Subscription, SubscriptionChange
from django_krcard.services import notices, run
from django_krcard.webhooks import inbox

try:
    from django.tasks import DEFAULT_TASK_QUEUE_NAME, task, task_backends
except ImportError:
    try:
        # The same for Django 5.2: https://pypi.org/project/django-tasks/
        from django_tasks import DEFAULT_TASK_QUEUE_NAME, task, task_backends
    except ImportError:
        task_backends = None


def of_this_site(function: Callable[[int], str]) -> Any:
    """Make a task for the site's backend. Where there is none the function stays what it is, and is not used.

    Django looks for backend and queue here and not when the task is enqueued, and neither needs to be "default".
    """
    if task_backends is None or conf.TASK_BACKEND not in task_backends.settings:
        return function
    queues = task_backends[conf.TASK_BACKEND].queues
    has_default = not queues or DEFAULT_TASK_QUEUE_NAME in queues
    return task(backend=conf.TASK_BACKEND, queue_name=DEFAULT_TASK_QUEUE_NAME if has_default else min(queues))(function)


@of_this_site
def step_charge(pk: int) -> str:
    """The next step of one charge, and the status it led to."""
    return str(run.take_step(Charge, pk).status)


@of_this_site
def step_refund(pk: int) -> str:
    """The next step of one refund, and the status it led to."""
    return str(run.take_step(Refund, pk).status)


@of_this_site
def step_subscription(pk: int) -> str:
    """Find out what became of one subscription that was asked for, and the status it led to."""
    return str(run.take_step(Subscription, pk).status)


@of_this_site
def step_change(pk: int) -> str:
    """Carry out one change of a subscription, and the status it led to."""
    return str(run.take_step(SubscriptionChange, pk).status)


@of_this_site
def deliver_notice(pk: int) -> str:
    """Bring one notice to its customer. What went wrong, if it did: the row knows when it is tried again."""
    return notices.deliver(pk).last_error


@of_this_site
def process_event(pk: int) -> str:
    """Work off one of Stripe's messages, and the status it led to."""
    return str(inbox.process(pk).status)


def enqueue_due() -> int:
    """Enqueue one task for everything that is due, and say how many. In place of ``run_due``."""
    _require_backend()
    queues = {
        Charge: step_charge.enqueue,
        Refund: step_refund.enqueue,
        Subscription: step_subscription.enqueue,
        SubscriptionChange: step_change.enqueue,
        Notice: deliver_notice.enqueue,
    }
    return run.hand_over(queues)


def keep_event(body: bytes) -> Event:
    """Store a verified message and make a task of it. In place of ``inbox.receive``.

    When the queue does not take it, its exception is raised: Stripe knocks again, and the message is queued then.
    """
    _require_backend()
    event, is_new = inbox.keep(body, queued=True)
    if event.status not in Event.OPEN:
        return event
    if is_new or _mark_queued(event.pk):
        _enqueue(event.pk)
    return event


def enqueue_events() -> int:
    """Enqueue one task for every message of Stripe's that is due, and say how many. In place of ``inbox.process``."""
    _require_backend()
    given = 0
    for pk in inbox.due(timezone.now(), run.not_queued("next_attempt_at")):
        if _mark_queued(pk):
            _enqueue(pk)
            given += 1
    return given


def _mark_queued(pk: int) -> bool:
    """By whoever is first."""
    return Event.objects.filter(run.not_queued("next_attempt_at"), pk=pk).update(queued_at=timezone.now()) == 1


def _enqueue(pk: int) -> None:
    try:
        process_event.enqueue(pk)
    except Exception:
        Event.objects.filter(pk=pk).update(queued_at=None)
        raise


def _require_backend() -> None:
    if not hasattr(process_event, "enqueue"):
        needed = "an alias of TASKS, and Django 6.0 or the package django-tasks"
        raise ImproperlyConfigured(f"KRCARD_TASK_BACKEND is {conf.TASK_BACKEND!r}. Needed: {needed}.")
