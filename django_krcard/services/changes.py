"""What we want of Stripe for a subscription: written down with the reason, carried out after the commit, and tried
again by ``krcard_run_due`` until it is done.

Each change sets a state, so it may be carried out twice. Stripe is asked first whether it is so already; then comes
the request, under a key that was committed with the change.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from itertools import islice
from typing import Any

from django.db import transaction
from django.utils import timezone

from django_krcard import gateway, rules
from django_krcard.exceptions import GatewayError, StripeRefusedKey, StripeRefusedRequest
from django_krcard.models import Charge, Subscription, SubscriptionChange, lock
from django_krcard.services import gate, subscription_rows
from django_krcard.services.acts import Act, finish
from django_krcard.services.agreed import why_not_collected
from django_krcard.services.in_force import covers_today

logger = logging.getLogger(__name__)

Kind, Status = SubscriptionChange.Kind, SubscriptionChange.Status

#: How long one worker has a change for itself. Longer than the slowest calls.
LEASE = timedelta(minutes=2)
#: After a request whose outcome nobody knows, and after one that Stripe refused: a person may set that right.
AGAIN_SOON, AGAIN_LATER = timedelta(minutes=1), timedelta(minutes=15)

#: Of these the last one asked for counts.
GROUPS = [{Kind.LEAVE, Kind.STAY}, {Kind.PAUSE, Kind.RESUME}, {Kind.CARD}, {Kind.HOLD_INVOICE, Kind.FREE_INVOICE}]
OF_INVOICES = GROUPS[-1]
OUT = {Kind.LEAVE, Kind.CANCEL}

#: Stripe makes an invoice when its period begins, by clocks that may differ a little.
CLOCKS_DIFFER = timedelta(hours=1)

#: Invoices of one subscription.
LOOKED_AT = 20

#: No more can become of an invoice.
SETTLED = frozenset({"paid", "uncollectible", "void"})


def ask(
    row: Subscription,
    kind: str,
    *,
    by: str,
    reason: str,
    target: str = "",
    pay_back: int = 0,
    charge: Charge | None = None,
) -> SubscriptionChange:
    """Write down what is wanted of a subscription whose mandate is locked, and have it done after the commit.

    Asked for twice it is one change. What it makes pointless is overtaken. ``pay_back`` won of ``charge`` are promised.
    """
    ready = row.changes.filter(status=Status.READY)
    if same := ready.filter(kind=kind, target=target).first():
        if pay_back > same.pay_back:
            # Whoever asked first did not think of the money.
            same.pay_back, same.charge = pay_back, charge
            same.save(update_fields=["pay_back", "charge"])
        return same
    pointless = ready.filter(kind__in=_overtaken_by(kind))
    if kind in OF_INVOICES:
        pointless = pointless.filter(target=target)
    overtaken = list(pointless)
    pointless.update(status=Status.OVERTAKEN, next_step_at=None)
    change = SubscriptionChange.objects.create(
        subscription=row,
        kind=kind,
        target=target,
        requested_by=by,
        reason=reason,
        pay_back=pay_back,
        charge=charge,
        wanted_at=_wanted_at(row, kind, overtaken),
        next_step_at=timezone.now(),
    )
    about = {"reason": reason} | ({"target": target} if target else {}) | ({"pay_back": pay_back} if pay_back else {})
    subscription_rows.note(row, f"subscription_{kind}_requested", actor=by, **about)
    transaction.on_commit(lambda: finish(step(change.pk)), robust=True)
    for free in overtaken:
        if free.kind == Kind.FREE_INVOICE and kind != Kind.HOLD_INVOICE:
            # It may be on its way already.
            ask(row, Kind.HOLD_INVOICE, by=by, reason=reason, target=free.target)
    return change


def _wanted_at(row: Subscription, kind: str, overtaken: list[SubscriptionChange]) -> datetime | None:
    """Whoever leaves what is not there yet wants its first period; who cancels it does not."""
    if kind not in OUT or (kind == Kind.LEAVE and not row.stripe_id):
        return None
    return min([timezone.now(), *(each.wanted_at for each in overtaken if each.wanted_at)])


def is_wanted(row: Subscription, kind: str) -> bool:
    return row.changes.filter(status=Status.READY, kind=kind).exists()


def step(pk: int) -> Act[SubscriptionChange]:
    """Carry out one change, if it is due and nobody else is at it. Raises ``StripeRefusedKey``."""
    change = SubscriptionChange.objects.select_related("subscription__mandate__customer").get(pk=pk)
    now = timezone.now()
    if change.status != Status.READY or change.next_step_at is None or change.next_step_at > now:
        return change
    row = change.subscription
    # In the other mode this key knows nothing of it; and what is not there yet cannot be changed.
    rests = not row.mandate.customer.is_of_this_key or not row.stripe_id
    as_read = SubscriptionChange.objects.filter(pk=pk, status=Status.READY, next_step_at=change.next_step_at)
    if not as_read.update(next_step_at=now + (AGAIN_SOON if rests else LEASE)) or rests:
        return change
    try:
        told = yield from (_of_invoice(change) if change.kind in OF_INVOICES else _of_subscription(change))
    except NotAgreed:
        _not_agreed(change)
    except GatewayError as error:
        _failed(change, error)
        if isinstance(error, StripeRefusedKey):
            raise
    else:
        _done(change, told, now)
    change.refresh_from_db()
    return change


# --- the calls -----------------------------------------------------------------------------------


def _of_subscription(change: SubscriptionChange) -> Act[gateway.Subscription]:
    stripe_id = change.subscription.stripe_id
    told = yield partial(gateway.retrieve_subscription, stripe_id)
    # At the end of a period that is over already: at once.
    at_once = change.kind == Kind.CANCEL or is_late(change, told.current_period_start)
    if told.status in Subscription.OVER:
        return told
    if at_once:
        return (yield partial(gateway.cancel_subscription, stripe_id))
    if not IS_SO[change.kind](change, told):
        told = yield partial(gateway.update_subscription, stripe_id, _params(change), key=change.key)
    if change.kind == Kind.PAUSE:
        # That stops the invoices to come, but not one that is there.
        change.going_on = yield partial(_going_on, stripe_id)
    return told


def is_late(change: SubscriptionChange, began: datetime | None) -> bool:
    """Whether a period began after somebody wanted to leave before it."""
    return change.wanted_at is not None and began is not None and began > change.wanted_at


def _going_on(stripe_id: str) -> list[str]:
    """The invoices, among the newest, that Stripe would go on with by itself."""
    newest = islice(gateway.invoices_of(stripe_id), LOOKED_AT)
    return [told.id for told in newest if told.status not in SETTLED and told.auto_advance]


IS_SO: dict[str, Callable[[SubscriptionChange, gateway.Subscription], bool]] = {
    Kind.CANCEL: lambda change, told: False,
    Kind.LEAVE: lambda change, told: told.cancel_at_period_end,
    Kind.STAY: lambda change, told: not told.cancel_at_period_end,
    Kind.PAUSE: lambda change, told: told.paused != "",
    Kind.RESUME: lambda change, told: told.paused == "",
    Kind.CARD: lambda change, told: told.payment_method == change.target,
    Kind.UNTIL: lambda change, told: _ends_with_the_agreement(change.subscription, told),
}


def _ends_with_the_agreement(row: Subscription, told: gateway.Subscription) -> bool:
    last = last_moment(row)
    return last is None or told.cancel_at_period_end or (told.cancel_at is not None and told.cancel_at <= last)


def _params(change: SubscriptionChange) -> dict[str, Any]:
    match change.kind:
        case Kind.LEAVE:
            return {"cancel_at_period_end": True}
        case Kind.STAY:
            last = last_moment(change.subscription)
            return {"cancel_at": int(last.timestamp())} if last else {"cancel_at_period_end": False}
        case Kind.PAUSE:
            return {"pause_collection": {"behavior": "keep_as_draft"}}
        case Kind.RESUME:
            return {"pause_collection": ""}
        case Kind.UNTIL:
            return {"cancel_at": int(last_moment(change.subscription).timestamp())}
    return {"default_payment_method": change.target}


def last_moment(row: Subscription) -> datetime | None:
    """When the agreement runs out, if it does: from then on Stripe must not charge by itself either."""
    consent = row.mandate.consent
    rule = rules.Rule.from_dict(consent.rule)
    return gate.midnight(rule.ends_before(gate.day_of(consent.given_at))) if rule.valid_for_days is not None else None


def _of_invoice(change: SubscriptionChange) -> Act[None]:
    goes_on = change.kind == Kind.FREE_INVOICE
    if goes_on and not _may_go_on(change, (yield partial(gateway.retrieve_invoice, change.target))):
        raise NotAgreed
    try:
        yield partial(gateway.update_invoice, change.target, auto_advance=goes_on, key=change.key)
    except StripeRefusedRequest:
        told = yield partial(gateway.retrieve_invoice, change.target)
        if told.status not in SETTLED and told.auto_advance != goes_on:
            raise


#: ``failure_code`` of an invoice that was to go on. It waits for a person.
NOT_COVERED = "not_covered"


class NotAgreed(Exception):
    """What was covered when it was asked for is not any more, or asks for more by now."""


def _may_go_on(change: SubscriptionChange, told: gateway.Invoice) -> bool:
    """Asked as late as can be: since then it may have been withdrawn, put on hold, or been raised."""
    row = Subscription.objects.select_related("mandate").get(pk=change.subscription_id)
    return (
        told.currency == "krw"
        and not row.is_over
        and not why_not_collected(row)
        and covers_today(row.mandate, told.amount)
        and _is_of_this_period(told)
    )


def _is_of_this_period(told: gateway.Invoice) -> bool:
    """All that was not collected in months that are over, on one day: nobody agreed to that. A person has to look."""
    began = told.subscription.current_period_start if told.subscription else None
    return began is None or told.created is None or told.created >= began - CLOCKS_DIFFER


# --- after the call ------------------------------------------------------------------------------


def _done(change: SubscriptionChange, told: gateway.Subscription | None, asked_at: datetime) -> None:
    with transaction.atomic():
        mandate = lock(change.subscription.mandate, "customer")
        row, fresh = Subscription.objects.get(pk=change.subscription_id), lock(change)
        row.mandate = mandate
        if told:
            subscription_rows.follow(row, told, asked_at)
        if fresh.status != Status.READY:
            # While Stripe was asked somebody wanted the opposite, and this may have come after that.
            _once_more(row, fresh)
            return
        if fresh.attempt != change.attempt:
            # The opposite, asked for before, may have come after this: once more, and then it is so.
            fresh.next_step_at = timezone.now()
            fresh.save(update_fields=["next_step_at"])
            return
        owes = bool(fresh.pay_back) or is_late(fresh, row.current_period_start)
        fresh.status = Status.OWED if owes else Status.DONE
        fresh.done_at, fresh.failure_code = timezone.now(), ""
        fresh.next_step_at = fresh.done_at if owes else None
        fresh.save(update_fields=["status", "done_at", "failure_code", "next_step_at"])
        for invoice in getattr(change, "going_on", []):
            ask(row, Kind.HOLD_INVOICE, by=fresh.requested_by, reason=fresh.reason, target=invoice)
        if fresh.kind == Kind.UNTIL and told and not told.cancel_at_period_end:
            _leave_again(row)


def _leave_again(row: Subscription) -> None:
    """To set the day of the end takes back, at Stripe, that it ends with its period."""
    last = row.changes.filter(kind__in=[Kind.LEAVE, Kind.STAY]).first()
    if last and (last.kind, last.status) == (Kind.LEAVE, Status.DONE):
        _open_again(last)


def _not_agreed(change: SubscriptionChange) -> None:
    with transaction.atomic():
        row = change.subscription
        row.mandate = lock(row.mandate, "customer")
        rows = SubscriptionChange.objects.filter(pk=change.pk, status=Status.READY)
        if rows.update(status=Status.OVERTAKEN, next_step_at=None, failure_code=NOT_COVERED):
            subscription_rows.note(row, "subscription_invoice_left", actor="system", invoice=change.target)
            # The change that stopped it may have been overtaken by this one before it was carried out.
            ask(row, Kind.HOLD_INVOICE, by="system", reason="it is not covered", target=change.target)


def _once_more(row: Subscription, overtaken: SubscriptionChange) -> None:
    later = row.changes.filter(pk__gt=overtaken.pk, kind__in=_group_of(overtaken.kind))
    if overtaken.kind in OF_INVOICES:
        later = later.filter(target=overtaken.target)
    last = later.order_by("pk").last()
    if last and last.status in (Status.READY, Status.DONE):
        _open_again(last)


def _open_again(change: SubscriptionChange) -> None:
    if change.status == Status.DONE:
        change.status, change.done_at, change.next_step_at = Status.READY, None, timezone.now()
    # Also of one that somebody is at: then it is not done with that.
    change.attempt += 1
    change.save(update_fields=["status", "done_at", "next_step_at", "attempt"])


def _failed(change: SubscriptionChange, error: GatewayError) -> None:
    """It stays to be done. Under a new key where Stripe may repeat an answer: to set a state twice does no harm."""
    logger.warning("Subscription %s: %s failed (%s)", change.subscription.stripe_id, change.kind, error)
    refused = isinstance(error, StripeRefusedRequest)
    rows = SubscriptionChange.objects.filter(pk=change.pk, status=Status.READY)
    if refused and change.kind in OF_INVOICES and error.code == "resource_missing":
        # A draft that somebody has deleted.
        rows.update(status=Status.OVERTAKEN, next_step_at=None, failure_code=error.code)
        return
    rows.update(
        attempt=change.attempt + (error.executed is not False or refused),
        failure_code=error.code or type(error).__name__,
        next_step_at=timezone.now() + (AGAIN_LATER if refused else AGAIN_SOON),
    )
    if change.kind != Kind.CANCEL or not change.subscription.mandate.has_ended:
        return
    with transaction.atomic():
        mandate = lock(change.subscription.mandate)
        told = mandate.timeline.filter(
            kind="subscription_left_running", data__subscription=change.subscription.stripe_id
        )
        if told.exists():
            return
        subscription_rows.note(change.subscription, "subscription_left_running", actor="system", code=error.code)
    logger.critical(
        "Mandate %s has ended, and its subscription %s could not be cancelled (%s). It is tried again.",
        mandate.reference,
        change.subscription.stripe_id,
        error,
    )


def _group_of(kind: str) -> set[str]:
    return next((group for group in GROUPS if kind in group), {kind})


def _overtaken_by(kind: str) -> set[str]:
    if kind == Kind.CANCEL:
        # Only to stop an invoice is still worth something.
        return set(Kind) - {Kind.HOLD_INVOICE}
    return _group_of(kind) | ({Kind.FREE_INVOICE} if kind == Kind.PAUSE else set())
