"""For sites that run Celery, in place of Django's tasks: the same work, one Celery task for each row.

Leave ``KRCARD_TASK_BACKEND`` as it is, name this module to Celery (``app.autodiscover_tasks(["django_krcard.contrib"],
related_name="celery")``) and let its beat call ``krcard.enqueue_due`` each minute.
"""

from celery import shared_task

from django_krcard.models import Charge, Notice, Refund, Subscription, SubscriptionChange
from django_krcard.services import notices, run


# Results are in our own rows, and nobody needs Celery's.
@shared_task(name="krcard.step_charge", ignore_result=True)
def step_charge(pk: int) -> None:
    """The next step of one charge."""
    run.take_step(Charge, pk)


@shared_task(name="krcard.step_refund", ignore_result=True)
def step_refund(pk: int) -> None:
    """The next step of one refund."""
    run.take_step(Refund, pk)


@shared_task(name="krcard.step_subscription", ignore_result=True)
def step_subscription(pk: int) -> None:
    """Find out what became of one subscription that was asked for."""
    run.take_step(Subscription, pk)


@shared_task(name="krcard.step_change", ignore_result=True)
def step_change(pk: int) -> None:
    """Carry out one change of a subscription."""
    run.take_step(SubscriptionChange, pk)


@shared_task(name="krcard.deliver_notice", ignore_result=True)
def deliver_notice(pk: int) -> None:
    """Bring one notice to its customer."""
    notices.deliver(pk)


@shared_task(name="krcard.enqueue_due", ignore_result=True)
def enqueue_due() -> int:
    """One task for everything that is due."""
    queues = {
        Charge: step_charge.delay,
        Refund: step_refund.delay,
        Subscription: step_subscription.delay,
        SubscriptionChange: step_change.delay,
        Notice: deliver_notice.delay,
    }
    return run.hand_over(queues)
