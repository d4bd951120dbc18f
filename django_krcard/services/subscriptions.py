"""Subscriptions that run on a mandate: Stripe decides about them, our rows follow, and the agreement is above both.

Other sites may use the same Stripe account. A subscription is ours when its metadata names one of our mandates, and
that mandate's customer is the subscription's.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from django_krcard import gateway, rules
from django_krcard.exceptions import SubscriptionRefused
from django_krcard.models import Mandate, Subscription, SubscriptionChange, lock
from django_krcard.services import changes, subscription_rows
from django_krcard.services.acts import Act
from django_krcard.services.agreed import why_not_agreed, why_not_collected
from django_krcard.services.timeline import record

logger = logging.getLogger(__name__)

Kind = SubscriptionChange.Kind

#: What speaks against a price, or a subscription that runs. For the rest see ``rules.MESSAGES``.
MESSAGES = rules.MESSAGES | {
    "not_recurring": _("The customer did not agree to regular payments."),
    "price_not_found": _("Stripe does not know this price."),
    "price_inactive": _("This price is not offered any more."),
    "price_not_recurring": _("This price is paid once and not regularly."),
    "price_not_won": _("This price is not in won."),
    "price_varies": _("This price has no one amount: the customer could not know what they pay."),
    "price_period": _("This price is charged in another rhythm than the customer agreed to."),
}

#: Why a collection is paused that is resumed with its agreement.
ON_HOLD = "the agreement is on hold"


def heard(stripe_id: str, mandate_id: UUID | None) -> Callable[[], Any] | None:
    """Ask Stripe about a subscription that a message speaks of, and return what writes the answer down.

    ``mandate_id`` is the one that the message's metadata names. ``None``: it is not ours.
    """
    mandate = mandate_of(stripe_id, mandate_id)
    if mandate is None:
        return None
    asked_at = timezone.now()
    return partial(apply, mandate, gateway.retrieve_subscription(stripe_id), asked_at)


def compare(subscription: Subscription) -> Act[None]:
    """Ask Stripe about one of our rows, and let it follow."""
    asked_at = timezone.now()
    told = yield partial(gateway.retrieve_subscription, subscription.stripe_id)
    apply(subscription.mandate, told, asked_at)


def mandate_of(stripe_id: str, mandate_id: UUID | None) -> Mandate | None:
    """Whose subscription it is; or, at the first sight of it, whose it says to be."""
    mandates = Mandate.objects.select_related("customer")
    known = mandates.filter(subscriptions__stripe_id=stripe_id).first()
    return known or (mandates.filter(public_id=mandate_id).first() if mandate_id else None)


def apply(mandate: Mandate, told: gateway.Subscription, asked_at: datetime) -> Subscription | None:
    """Let the row follow Stripe, at the first sight make it, and hold it to the agreement. ``None``: the subscription
    is not of this mandate."""
    with transaction.atomic():
        mandate = lock(mandate, "customer")
        row = subscription_rows.row_of(mandate, told)
        if row is None:
            logger.error("Subscription %s is not one of mandate %s: not applied", told.id, mandate.reference)
            return None
        subscription_rows.follow(row, told, asked_at)
        if not row.is_over:
            _hold_to_the_agreement(row)
    return row


def end_all(mandate: Mandate, *, by: str, reason: str) -> None:
    """A locked mandate has just ended, and so must what charges under it: at Stripe, once this is committed."""
    unsent = mandate.subscriptions.filter(status=Subscription.STARTING, sends=0)
    unsent.update(status=Subscription.NOT_STARTED, next_step_at=None)
    for row in mandate.subscriptions.exclude(status__in=Subscription.OVER):
        row.mandate = mandate
        changes.ask(row, Kind.CANCEL, by=by, reason=reason)


def hold_all(mandate: Mandate) -> None:
    """A locked mandate was put on hold: neither does Stripe charge under it by itself."""
    for row in mandate.subscriptions.exclude(status__in=Subscription.OVER):
        row.mandate = mandate
        _hold_to_the_agreement(row)


def release_all(mandate: Mandate) -> None:
    """A locked mandate was resumed, and with it what was paused for that and for no other reason."""
    for row in mandate.subscriptions.exclude(status__in=Subscription.OVER).filter(above_agreed_at=None):
        row.mandate = mandate
        last = row.changes.filter(kind__in=[Kind.PAUSE, Kind.RESUME]).first()
        if last and last.kind == Kind.PAUSE and last.reason == ON_HOLD:
            _go_on(row, by="system", reason="the agreement was resumed")


def use_card(mandate: Mandate) -> None:
    """A locked mandate has got another card. Stripe must charge that one from now on."""
    for row in mandate.subscriptions.exclude(status__in=Subscription.OVER):
        row.mandate = mandate
        changes.ask(row, Kind.CARD, by="customer", reason="another card", target=mandate.payment_method.stripe_id)


def use_card_again(row: Subscription) -> None:
    """At Stripe somebody chose another card than the one of the agreement."""
    with transaction.atomic():
        row.mandate = lock(row.mandate, "customer")
        card = row.mandate.payment_method
        changes.ask(row, Kind.CARD, by="system", reason="the card of the agreement", target=card.stripe_id)


def stop_above_agreed(row: Subscription, amount: int | None) -> None:
    """Its mandate is locked, and it asks for more than was agreed: nothing is collected until the customer has agreed.
    ``amount`` is what it asks for; ``None``: not won. ``above_agreed`` asks for the consent."""
    if row.is_over:
        return
    if row.above_agreed_at is None:
        row.above_agreed_at = timezone.now()
        row.save(update_fields=["above_agreed_at"])
        record(row.mandate, "consent_needed", actor="system", subscription=row.stripe_id, amount=amount)
    _pause(row, "more than the customer agreed to")


def resume_collection(mandate: Mandate, *, by: str = "system", reason: str = "") -> list[Subscription]:
    """Have Stripe collect again what was paused for asking for more than was agreed, now that it is covered.

    Also what was stopped meanwhile goes on, if the agreement covers it. Nothing is paused: nothing happens. Raises
    ``SubscriptionRefused`` while the agreement in force covers none of them.
    """
    return _resume(mandate, by=by, reason=reason, by_itself=False)


def resume_by_itself(mandate: Mandate) -> None:
    """The same when nobody has asked for it: what is not covered waits, and so does what a person has paused."""
    _resume(mandate, by="system", reason="the customer has agreed", by_itself=True)


def _resume(mandate: Mandate, *, by: str, reason: str, by_itself: bool) -> list[Subscription]:
    with transaction.atomic():
        mandate = lock(mandate, "customer", "consent")
        running = mandate.subscriptions.exclude(status__in=Subscription.OVER)
        wanted = Q(changes__kind=Kind.PAUSE, changes__status=SubscriptionChange.Status.READY)
        stopped = list(running.filter(~Q(paused="") | Q(above_agreed_at__isnull=False) | wanted).distinct())
        for row in stopped:
            row.mandate = mandate
        codes = [why_not_collected(row) for row in stopped]
        if stopped and all(codes) and not by_itself:
            raise SubscriptionRefused(codes[0], str(MESSAGES[codes[0]]))
        covered = [row for row, code in zip(stopped, codes, strict=True) if not code]
        for row in covered:
            row.above_agreed_at = None
            row.save(update_fields=["above_agreed_at"])
            # Whoever has paused it in the dashboard knows why.
            if not by_itself or _was_paused_by_us(row):
                _go_on(row, by=by, reason=reason)
    for row in covered:
        row.refresh_from_db()
    return covered


def _go_on(row: Subscription, *, by: str, reason: str) -> None:
    changes.ask(row, Kind.RESUME, by=by, reason=reason)
    for invoice in _held_invoices(row):
        changes.ask(row, Kind.FREE_INVOICE, by=by, reason=reason, target=invoice)


def _hold_to_the_agreement(row: Subscription) -> None:
    if row.mandate.has_ended:
        changes.ask(row, Kind.CANCEL, by="system", reason="the agreement has ended")
        return
    last = changes.last_moment(row)
    if last and last <= timezone.now():
        changes.ask(row, Kind.CANCEL, by="system", reason="the agreement has run out")
        return
    if why_not_agreed(row):
        stop_above_agreed(row, row.amount)
    elif row.mandate.status != Mandate.Status.ACTIVE:
        _pause(row, ON_HOLD)
    if last and not row.cancel_at_period_end and (row.cancel_at is None or row.cancel_at > last):
        changes.ask(row, Kind.UNTIL, by="system", reason="the agreement runs out")


def _pause(row: Subscription, reason: str) -> None:
    if not row.paused or changes.is_wanted(row, Kind.RESUME):
        changes.ask(row, Kind.PAUSE, by="system", reason=reason)


def _was_paused_by_us(row: Subscription) -> bool:
    last = row.changes.filter(kind__in=[Kind.PAUSE, Kind.RESUME]).first()
    return last is not None and last.kind == Kind.PAUSE


def _held_invoices(row: Subscription) -> set[str]:
    """What was stopped and not let go. Whether it is covered by now is asked when it is to go on."""
    entries = row.mandate.timeline.filter(kind="invoice_above_agreed", data__subscription=row.stripe_id)
    last = {entry.data["invoice"]: None for entry in entries}
    for change in row.changes.filter(kind__in=changes.OF_INVOICES).order_by("pk"):
        if change.failure_code == changes.NOT_COVERED or change.status != SubscriptionChange.Status.OVERTAKEN:
            last[change.target] = change
    # One that was let go, or is about to be; and one that a person has to look at.
    done_with = {invoice for invoice, change in last.items() if change and change.kind == Kind.FREE_INVOICE}
    left = row.changes.filter(failure_code=changes.NOT_COVERED).values_list("target", flat=True)
    return last.keys() - done_with - set(left)
