"""Our books and Stripe's compared, both ways.

What only Stripe knows of a thing that is on its way is written down always: that is what asking is for. What differs
although it seemed settled is told, and changed with ``fix`` only. Safe to stop at any time, and to run again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta
from functools import partial
from itertools import takewhile

from django.utils import timezone

from django_krcard.conf import conf
from django_krcard.exceptions import StripeUnavailable
from django_krcard.services import backup
from django_krcard.services.acts import Act, finish_all
from django_krcard.services.reconcile import customers, doubles, on_their_way, orphans, payments, rows
from django_krcard.services.reconcile.finding import Finding

__all__ = ["DAYS", "Finding", "count", "reconcile"]

#: How far back we look at payments unless we are told.
DAYS = 30
#: So many questions in a row without an answer are an answer.
MOST_IN_VAIN = 50


def reconcile(
    *,
    fix: bool = False,
    since: datetime | None = None,
    everybody: bool = False,
    looked: Callable[[str], object] = lambda what: None,
) -> Iterator[Finding]:
    """Compare every charge since a moment (30 days ago) with its payment, and every customer with what Stripe has of
    theirs, and give what is not in order.

    Charges, refunds, attempts to save a card and mandates on their way follow Stripe, and take the step that is due.
    With ``fix`` payments without a row are taken in and all other rows follow too. A customer with whom all was well
    is left alone for most of a day, so that a run that was stopped goes on where it was; with ``everybody`` nobody is.
    ``looked`` is called with "payments" or "customers" for each that was looked at. Raises ``GatewayError`` when
    Stripe cannot be asked.
    """
    began = timezone.now()
    since = since or began - timedelta(days=DAYS)
    complete = True
    for finding in map(partial(orphans.adopt, fix=fix), backup.orphans(since)):
        complete = complete and finding.fixed
        yield finding
    if fix and complete:
        backup.taken_in(began)
    yield from _all(payments.compared(since, began, fix, partial(looked, "payments")))
    # What is sent again is judged by what was charged before, so all of that must be here.
    yield from _all(on_their_way.settled(may_step=complete))
    yield from _all(customers.compared(began, fix, everybody, partial(looked, "customers")))
    yield from doubles.found(since)


def count(since: datetime | None, *, everybody: bool = False) -> int:
    """About how many payments and customers ``reconcile`` will look at."""
    now = timezone.now()
    sent = rows.charges().filter(first_sent_at__gte=since or now - timedelta(days=DAYS))
    return sent.count() + customers.waiting(now, everybody).count()


def _all(acts: Iterable[Act[list[Finding]]]) -> Iterator[Finding]:
    """Finish them. After an error nothing more is begun, and what is on its way comes to its end."""
    failed: list[Exception] = []
    in_vain = 0
    for result in finish_all(takewhile(lambda _act: not failed, acts), in_flight=conf.IN_FLIGHT):
        if isinstance(result, Exception):
            failed.append(result)
            continue
        yield from result
        # Nothing found: nothing was asked, or Stripe answered.
        in_vain = in_vain + 1 if any(each.kind == "unanswered" for each in result) else 0
        if in_vain == MOST_IN_VAIN:
            failed.append(StripeUnavailable(f"{in_vain} questions in a row"))
    if failed:
        raise failed[0]
