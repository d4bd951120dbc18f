"""What time does at Stripe by itself; here, whoever comes next after it."""

from collections.abc import Callable

from django.db.models import F, QuerySet

from .delivery import acting
from .models import Resource, State
from .resources import billing, checkout
from .store import Act, Body, read_state, schedule, writing

HANDLERS: dict[str, Callable[[Act, Body], object]] = {
    # Nobody finished it within its time.
    "checkout.session": checkout.run_out,
    # A period ends, or an invoice is a week away, or nobody paid the first one.
    "subscription": billing.subscription_due,
    # A draft becomes final and is charged; a declined card is tried again.
    "invoice": billing.invoice_due,
}


def waiting() -> QuerySet[Resource]:
    return Resource.objects.exclude(due_at=None).order_by("due_at", "pk")


def catch_up() -> None:
    """Does what is due by now, one thing after another, each told to the site before the next."""
    while waiting().filter(due_at__lte=Act(read_state()).now).exists():
        with acting() as act:
            # Somebody else may have done it, between the question and the lock.
            row = waiting().filter(due_at__lte=act.now).first()
            if row is None:
                return
            schedule(row.body, None)
            HANDLERS[row.kind](act, row.body)


def advance(seconds: int) -> None:
    """Turns the clock forward, and stops at every moment at which something is due."""
    now = Act(read_state()).now
    target = now + seconds
    while row := waiting().filter(due_at__lte=target).first():
        step = max((row.due_at or 0) - now, 0)
        turn(step)
        now, seconds = now + step, seconds - step
        catch_up()
    turn(seconds)
    catch_up()


def turn(seconds: int) -> None:
    with writing():
        State.objects.filter(pk=1).update(clock_offset=F("clock_offset") + seconds)
