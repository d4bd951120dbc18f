"""How the site is doing, from its own rows: Stripe's messages, charges, refunds, notices, and who was here last.

Changes nothing and asks nobody. However full the tables are, it is the same few questions, each answered by an index.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from functools import reduce
from operator import or_
from typing import Any

from django.db.models import Count, F, Max, Min, Q, QuerySet
from django.utils import timezone

from django_krcard import triggers
from django_krcard.conf import conf
from django_krcard.models import (
    Amendment,
    Charge,
    Consent,
    Event,
    Mandate,
    Notice,
    PaymentMethod,
    Refund,
    Subscription,
    SubscriptionChange,
    TimelineEntry,
    of_this_key,
)
from django_krcard.services import watermarks
from django_krcard.services.charges import LEASE

DAY = timedelta(days=1)

#: The commands run every five minutes: three runs in a row have left it.
LATE = timedelta(minutes=15)
#: A message that did not get through is sent again by Stripe within a few hours.
MISSED = timedelta(hours=6)
#: What nobody set right in a month is history; Stripe's own copy of an event is gone then, too.
REMEMBERED = timedelta(days=30)

#: How many charges are named.
NAMED = 5

#: Of each of these Stripe sends a message.
TOLD_BY_STRIPE = ["card_saved", "charge_succeeded", "charge_declined", "charge_action_required"]


@dataclass(frozen=True)
class Backlog:
    """Rows that should not be there for long; ``oldest_seconds`` is how long the first of them is, if that counts."""

    count: int
    oldest_seconds: int | None = None

    def has_lasted(self, time: timedelta) -> bool:
        return self.count > 0 and max(self.oldest_seconds or 0, 0) >= time.total_seconds()


@dataclass(frozen=True)
class Webhook:
    last_received_at: datetime | None
    #: In the last day; without those of another account or mode, and those nobody could read.
    received_last_day: int
    #: From the moment the event was made at Stripe to the moment it was here. A clock that is behind makes it negative.
    lag_median_seconds: float | None
    lag_worst_seconds: float | None
    #: A card was saved or a payment made at this time, and no message at all has come since.
    silent_since: datetime | None
    #: To be worked off now or later, and of these the ones that nobody works off although it is time.
    waiting: Backlog
    overdue: Backlog
    failed: Backlog
    #: In the last month.
    dead: Backlog
    unusable: Backlog
    #: In the last day.
    foreign: Backlog


@dataclass(frozen=True)
class Charges:
    #: Ready, scheduled or to be tried again, and nobody does.
    due: Backlog
    #: Sent, and nobody knows what came of it.
    unknown: Backlog
    unknown_references: list[str]


@dataclass(frozen=True)
class Refunds:
    due: Backlog
    unknown: Backlog


@dataclass(frozen=True)
class Notices:
    due: Backlog
    given_up: Backlog


@dataclass(frozen=True)
class Cards:
    #: Nobody uses them any more, and they could not be removed at Stripe.
    not_removed: Backlog


@dataclass(frozen=True)
class Subscriptions:
    #: Asked for, and nobody knows whether Stripe has it.
    unknown: Backlog
    #: Ask for more than the customer agreed to: paused until somebody has agreed, or lowered the price.
    above_agreed: Backlog
    #: A cancellation, a pause, or money that was promised with it: not done yet.
    not_done: Backlog
    #: In the last month: unused days that were promised back and could not be paid back.
    not_paid_back: Backlog


@dataclass(frozen=True)
class Amendments:
    #: To be asked, reminded of, put in force or closed, and nobody does.
    due: Backlog
    #: Not agreed to by their day: nothing is charged there until the customer agrees or a person decides.
    unanswered: Backlog


@dataclass(frozen=True)
class Evidence:
    #: Gone from the database, or altered: rows that prove agreements can be changed with SQL.
    missing_triggers: list[str]


@dataclass(frozen=True)
class Runs:
    #: Since the first card was saved there is something to look after.
    needed_since: datetime | None
    #: ``krcard_run_due`` compares with Stripe's list of payments whenever it begins.
    payments_compared_at: datetime | None
    #: ``krcard_reconcile`` reads Stripe's list of events.
    events_read_at: datetime | None


@dataclass(frozen=True)
class Health:
    at: datetime
    mode: str
    charging_paused: bool
    webhook: Webhook
    charges: Charges
    refunds: Refunds
    notices: Notices
    cards: Cards
    subscriptions: Subscriptions
    amendments: Amendments
    evidence: Evidence
    runs: Runs

    def as_dict(self) -> dict[str, Any]:
        """For JSON. Moments are told where the terms rule: in Seoul, unless the site says otherwise."""
        return asdict(self, dict_factory=_plain)


def look(now: datetime | None = None) -> Health:
    """The state of everything in the mode of the key, test or live. What of it needs a person: ``findings.of``."""
    now = now or timezone.now()
    return Health(
        at=now,
        mode=_mode(),
        charging_paused=conf.CHARGING_PAUSED,
        webhook=_webhook(now),
        charges=_charges(now),
        refunds=_refunds(now),
        notices=_notices(now),
        cards=_cards(now),
        subscriptions=_subscriptions(now),
        amendments=_amendments(now),
        evidence=Evidence(triggers.missing(Consent.objects.db)),
        runs=_runs(),
    )


# --- figures -------------------------------------------------------------------------------------


def _webhook(now: datetime) -> Webhook:
    events = Event.objects.filter(livemode=conf.LIVEMODE).exclude(status__in=Event.NEVER)
    last_received_at = events.order_by("-received_at").values_list("received_at", flat=True).first()
    return Webhook(
        last_received_at=last_received_at,
        silent_since=_silent_since(now, last_received_at),
        **_lag(now),
        **_inbox(now),
    )


def _lag(now: datetime) -> dict[str, Any]:
    """Over the last day. The index on ``received_at`` carries this, and the newest message."""
    today = Event.objects.filter(received_at__gt=now - DAY).annotate(lag=F("received_at") - F("created"))
    foreign = Q(status=Event.Status.FOREIGN)
    ours = Q(livemode=conf.LIVEMODE) & ~Q(status__in=Event.NEVER)
    sums = today.aggregate(
        received=Count("pk", filter=ours), foreign=Count("pk", filter=foreign), worst=Max("lag", filter=ours)
    )
    middle = sums["received"] // 2
    median = today.filter(ours).order_by("lag").values_list("lag", flat=True)[middle : middle + 1]
    return {
        "received_last_day": sums["received"],
        "foreign": Backlog(sums["foreign"]),
        "lag_median_seconds": _seconds(median[0]) if sums["received"] else None,
        "lag_worst_seconds": _seconds(sums["worst"]),
    }


def _inbox(now: datetime) -> dict[str, Backlog]:
    """By the index on the status: nearly all events are done, and those are not looked at."""
    Status = Event.Status
    is_open, remembered = Q(status__in=Event.OPEN), Q(received_at__gt=now - REMEMBERED)
    free = Q(lease_until=None) | Q(lease_until__lt=now)
    its_time = Q(next_attempt_at__lte=now - LATE) | Q(next_attempt_at=None, received_at__lte=now - LATE)
    # What nobody could read names no mode.
    ours = Q(livemode=conf.LIVEMODE) | Q(status=Status.QUARANTINED)
    return _backlogs(
        Event.objects.filter(ours),
        now,
        waiting=("received_at", is_open),
        overdue=("received_at", is_open & free & its_time),
        failed=("received_at", Q(status=Status.FAILED)),
        dead=("received_at", Q(status=Status.DEAD) & remembered),
        unusable=("received_at", Q(status=Status.QUARANTINED) & remembered),
    )


def _silent_since(now: datetime, last_received_at: datetime | None) -> datetime | None:
    """Only what is so long ago that its message must have come, also if Stripe had to send it again."""
    if last_received_at and last_received_at > now - MISSED:
        return None
    told = TimelineEntry.objects.filter(kind__in=TOLD_BY_STRIPE, **of_this_key("mandate__customer"))
    # Declined at once, before there was a payment: that is no news.
    told = told.filter(Q(kind="card_saved") | ~Q(data__payment_intent=None))
    # Entries are only ever added: the newest is found from the end.
    at = told.filter(at__lte=now - MISSED).order_by("-pk").values_list("at", flat=True).first()
    # A message may be faster than our own entry, and then it was the last one.
    return at if at and (last_received_at is None or at > last_received_at + LATE) else None


def _charges(now: datetime) -> Charges:
    Status = Charge.Status
    charges = Charge.objects.filter(**of_this_key("mandate__customer"))
    unsent = Q(status__in=[Status.SCHEDULED, Status.READY, Status.DECLINED], next_step_at__lte=now - LATE)
    unknown = _unknown(Status, now)
    rows = charges.filter(unknown).order_by("first_sent_at").values_list("mandate__reference", "reference")
    return Charges(
        unknown_references=[" ".join(names) for names in rows[:NAMED]],
        **_backlogs(charges, now, due=("next_step_at", unsent), unknown=("first_sent_at", unknown)),
    )


def _refunds(now: datetime) -> Refunds:
    Status = Refund.Status
    refunds = Refund.objects.filter(**of_this_key("charge__mandate__customer"))
    unsent = Q(status=Status.READY, next_step_at__lte=now - LATE)
    unknown = _unknown(Status, now)
    return Refunds(**_backlogs(refunds, now, due=("next_step_at", unsent), unknown=("first_sent_at", unknown)))


def _unknown(Status: Any, now: datetime) -> Q:
    """Also what a sender has had for itself for longer than a call takes: it died."""
    return Q(status=Status.UNKNOWN) | Q(status=Status.SENDING, next_step_at__lte=now)


def _notices(now: datetime) -> Notices:
    notices = Notice.objects.filter(**of_this_key("mandate__customer"))
    due = Q(sent_at=None, next_attempt_at__lte=now - LATE)
    given_up = Q(sent_at=None, next_attempt_at=None, created_at__gt=now - REMEMBERED)
    return Notices(**_backlogs(notices, now, due=("next_attempt_at", due), given_up=("created_at", given_up)))


def _cards(now: datetime) -> Cards:
    # Only a card that no living mandate uses is ever tried; one tried a moment ago is being tried.
    left = PaymentMethod.objects.filter(detached_at=None, removal_tried_at__lte=now - LEASE)
    return Cards(not_removed=Backlog(left.filter(**of_this_key("customer")).count()))


def _subscriptions(now: datetime) -> Subscriptions:
    rows = Subscription.objects.filter(**of_this_key("mandate__customer"))
    changes = SubscriptionChange.objects.filter(**of_this_key("subscription__mandate__customer"))
    Status = SubscriptionChange.Status
    waits = Q(status__in=[Status.READY, Status.OWED], created_at__lte=now - LATE)
    lost = Q(status=Status.NOT_PAID_BACK, created_at__gt=now - REMEMBERED)
    return Subscriptions(
        **_backlogs(
            rows,
            now,
            unknown=("first_sent_at", Q(status=Subscription.STARTING)),
            above_agreed=("above_agreed_at", Q(above_agreed_at__lte=now)),
        ),
        **_backlogs(changes, now, not_done=("created_at", waits), not_paid_back=("done_at", lost)),
    )


def _amendments(now: datetime) -> Amendments:
    """Those that hold payments are not agreed to, on a mandate that is on hold, with no next step of their own."""
    rows = Amendment.objects.filter(**of_this_key("mandate__customer"))
    Status = Amendment.Status
    over = Q(status__in=[Status.UNANSWERED, Status.REFUSED], next_step_at=None)
    # Where the site lets the old terms rule on, a hold has another reason.
    holds = over & Q(mandate__status=Mandate.Status.ON_HOLD) if conf.ON_AMENDMENT_UNANSWERED != "keep" else Q(pk=None)
    due = Q(next_step_at__lte=now - LATE)
    return Amendments(**_backlogs(rows, now, due=("next_step_at", due), unanswered=("asked_at", holds)))


def _runs() -> Runs:
    read_until = watermarks.all_of_them()
    mandates = Mandate.objects.filter(**of_this_key("customer"), activated_at__isnull=False)
    return Runs(
        needed_since=mandates.order_by("pk").values_list("activated_at", flat=True).first(),
        payments_compared_at=read_until.get(watermarks.PAYMENTS),
        events_read_at=read_until.get(watermarks.EVENTS),
    )


def _mode() -> str:
    return "live" if conf.LIVEMODE else "test"


def _backlogs(rows: QuerySet, now: datetime, **kinds: tuple[str, Q]) -> dict[str, Backlog]:
    """For each name how many of ``rows`` these are, and since when, in one question."""
    sums = rows.filter(reduce(or_, (which for _since, which in kinds.values()))).aggregate(
        **{f"{name}_count": Count("pk", filter=which) for name, (_since, which) in kinds.items()},
        **{f"{name}_since": Min(since, filter=which) for name, (since, which) in kinds.items()},
    )
    return {name: _backlog(sums[f"{name}_count"], sums[f"{name}_since"], now) for name in kinds}


def _backlog(count: int, since: datetime | None, now: datetime) -> Backlog:
    return Backlog(count, int((now - since).total_seconds()) if since else None)


def _seconds(lag: timedelta | None) -> float | None:
    return None if lag is None else round(lag.total_seconds(), 1)


def _plain(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return {name: _local(value) if isinstance(value, datetime) else value for name, value in pairs}


def _local(when: datetime) -> str:
    return when.astimezone(conf.TIME_ZONE).isoformat(timespec="seconds")
