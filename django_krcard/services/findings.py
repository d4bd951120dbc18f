"""What of a site's health needs a person: what is wrong, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Any, NamedTuple

from django.utils import timezone
from django.utils.timesince import timesince
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext, ngettext_lazy

from django_krcard.services.health import MISSED, Health

ERROR, WARNING = "error", "warning"

AT_ONCE = timedelta(0)
#: No queue of charges is that long at the pace Stripe allows, unless nobody works on it.
NOBODY_WORKS = timedelta(hours=2)
#: By then an event was tried four times and a charge five times: what passes by itself has passed.
NOT_PASSING = timedelta(hours=1)
#: A charge is asked for eight times in four hours. Stripe's list is certain 25 hours later, and looked at twice.
SHOULD_BE_KNOWN = timedelta(hours=32)
#: Messages come within seconds. Half of them later than this: the webhook address is slow, or fails at first.
SLOW = timedelta(minutes=5)
#: A daily krcard_reconcile was left out, and half a day has passed.
NOT_RECONCILED = timedelta(hours=36)
LONG_AGO = timedelta(days=36_500)


class Finding(NamedTuple):
    """One thing to look at. ``code`` is for machines and stays; the words are in the active language."""

    level: str
    code: str
    sentence: str
    hint: str


class Rule(NamedTuple):
    """When a backlog becomes a finding, by the age of its oldest row. ``None``: never."""

    code: str
    backlog: str
    warning_after: timedelta
    error_after: timedelta | None
    sentence: Any
    hint: Any


RUNS = gettext_lazy("Does krcard_run_due run every few minutes? Look how it ends, too.")

RULES = [
    Rule(
        "events_dead",
        "webhook.dead",
        AT_ONCE,
        AT_ONCE,
        ngettext_lazy(
            "%(count)d webhook event was given up; it came %(age)s ago.",
            "%(count)d webhook events were given up; the oldest came %(age)s ago.",
            "count",
        ),
        gettext_lazy("Its error says what went wrong. Put that right, then process it again."),
    ),
    Rule(
        "events_failed",
        "webhook.failed",
        NOT_PASSING,
        None,
        ngettext_lazy(
            "%(count)d webhook event keeps failing; it came %(age)s ago.",
            "%(count)d webhook events have failed and are tried again; the oldest came %(age)s ago.",
            "count",
        ),
        gettext_lazy("Its error says what went wrong. It is tried again by itself for three days."),
    ),
    Rule(
        "events_waiting",
        "webhook.overdue",
        AT_ONCE,
        NOBODY_WORKS,
        ngettext_lazy(
            "%(count)d webhook event waits and nobody works it off; it came %(age)s ago.",
            "%(count)d webhook events wait and nobody works them off; the oldest came %(age)s ago.",
            "count",
        ),
        gettext_lazy(
            "Does krcard_process_events run every few minutes? With KRCARD_TASK_BACKEND look at its workers, too."
        ),
    ),
    Rule(
        "messages_unusable",
        "webhook.unusable",
        AT_ONCE,
        None,
        ngettext_lazy(
            "%(count)d signed message could not be read; it came %(age)s ago.",
            "%(count)d signed messages could not be read; the oldest came %(age)s ago.",
            "count",
        ),
        gettext_lazy("It is kept as it came. Stripe sends nothing like it: find out who else has the signing secret."),
    ),
    Rule(
        "messages_foreign",
        "webhook.foreign",
        AT_ONCE,
        None,
        ngettext_lazy(
            "%(count)d message of another account or mode came in the last day. It was kept and not applied.",
            "%(count)d messages of another account or mode came in the last day. They were kept and not applied.",
            "count",
        ),
        gettext_lazy("STRIPE_WEBHOOK_SECRET should hold only secrets of endpoints for this key's account and mode."),
    ),
    Rule(
        "charges_due",
        "charges.due",
        AT_ONCE,
        NOBODY_WORKS,
        ngettext_lazy(
            "%(count)d charge is due and was not sent; it is %(age)s late.",
            "%(count)d charges are due and were not sent; the oldest is %(age)s late.",
            "count",
        ),
        RUNS,
    ),
    Rule(
        "charges_unknown",
        "charges.unknown",
        NOT_PASSING,
        SHOULD_BE_KNOWN,
        ngettext_lazy(
            "Nobody knows what became of %(count)d charge; it was sent %(age)s ago.",
            "Nobody knows what became of %(count)d charges; the oldest was sent %(age)s ago.",
            "count",
        ),
        gettext_lazy("krcard_run_due goes on asking Stripe. Until it is known, do not take this money in another way."),
    ),
    Rule(
        "refunds_due",
        "refunds.due",
        AT_ONCE,
        NOBODY_WORKS,
        ngettext_lazy(
            "%(count)d refund is due and was not sent; it is %(age)s late.",
            "%(count)d refunds are due and were not sent; the oldest is %(age)s late.",
            "count",
        ),
        RUNS,
    ),
    Rule(
        "refunds_unknown",
        "refunds.unknown",
        NOT_PASSING,
        SHOULD_BE_KNOWN,
        ngettext_lazy(
            "Nobody knows what became of %(count)d refund; it was sent %(age)s ago.",
            "Nobody knows what became of %(count)d refunds; the oldest was sent %(age)s ago.",
            "count",
        ),
        gettext_lazy("krcard_run_due goes on asking Stripe. Until it is known, do not pay this back in another way."),
    ),
    Rule(
        "notices_due",
        "notices.due",
        AT_ONCE,
        None,
        ngettext_lazy(
            "%(count)d notice waits to be sent; it is %(age)s late.",
            "%(count)d notices wait to be sent; the oldest is %(age)s late.",
            "count",
        ),
        RUNS,
    ),
    Rule(
        "notices_given_up",
        "notices.given_up",
        AT_ONCE,
        None,
        ngettext_lazy(
            "%(count)d notice could not be sent; it was written %(age)s ago.",
            "%(count)d notices could not be sent; the oldest was written %(age)s ago.",
            "count",
        ),
        gettext_lazy("Is the customer's address right, and does the mail server answer? Then send it again."),
    ),
    Rule(
        "cards_not_removed",
        "cards.not_removed",
        AT_ONCE,
        None,
        ngettext_lazy(
            "%(count)d card that nobody uses could not be removed at Stripe yet.",
            "%(count)d cards that nobody uses could not be removed at Stripe yet.",
            "count",
        ),
        gettext_lazy("krcard_run_due tries again. The timeline of the mandate has Stripe's answer."),
    ),
    Rule(
        "subscriptions_above_agreed",
        "subscriptions.above_agreed",
        AT_ONCE,
        AT_ONCE,
        ngettext_lazy(
            "%(count)d subscription asks for more than its customer agreed to; it was paused %(age)s ago.",
            "%(count)d subscriptions ask for more than their customers agreed to; the oldest was paused %(age)s ago.",
            "count",
        ),
        gettext_lazy("Ask the customer to agree to the new price, or lower it at Stripe. Then resume the collection."),
    ),
    Rule(
        "subscriptions_not_done",
        "subscriptions.not_done",
        AT_ONCE,
        NOT_PASSING,
        ngettext_lazy(
            "%(count)d change of a subscription was not carried out yet; it was asked for %(age)s ago.",
            "%(count)d changes of subscriptions were not carried out yet; the oldest was asked for %(age)s ago.",
            "count",
        ),
        gettext_lazy("krcard_run_due tries again. If Stripe refuses it, do it in Stripe's dashboard."),
    ),
    Rule(
        "subscriptions_not_paid_back",
        "subscriptions.not_paid_back",
        AT_ONCE,
        AT_ONCE,
        ngettext_lazy(
            "Unused days of %(count)d cancelled subscription could not be paid back; it ended %(age)s ago.",
            "Unused days of %(count)d cancelled subscriptions could not be paid back; the oldest ended %(age)s ago.",
            "count",
        ),
        gettext_lazy("The customer was promised it. The timeline of the mandate says why: pay back by other means."),
    ),
    Rule(
        "subscriptions_unknown",
        "subscriptions.unknown",
        NOT_PASSING,
        SHOULD_BE_KNOWN,
        ngettext_lazy(
            "Nobody knows whether %(count)d subscription was made; it was asked for %(age)s ago.",
            "Nobody knows whether %(count)d subscriptions were made; the oldest was asked for %(age)s ago.",
            "count",
        ),
        gettext_lazy("krcard_run_due goes on asking Stripe. Until it is known, do not take this money in another way."),
    ),
    Rule(
        "amendments_due",
        "amendments.due",
        AT_ONCE,
        NOBODY_WORKS,
        ngettext_lazy(
            "%(count)d change of terms waits for its next step; it is %(age)s late.",
            "%(count)d changes of terms wait for their next step; the oldest is %(age)s late.",
            "count",
        ),
        RUNS,
    ),
    Rule(
        "amendments_unanswered",
        "amendments.unanswered",
        AT_ONCE,
        None,
        ngettext_lazy(
            "%(count)d agreement is on hold: its customer was asked %(age)s ago and has not agreed to a change.",
            "%(count)d agreements are on hold: their customers have not agreed to a change. The first was asked "
            "%(age)s ago.",
            "count",
        ),
        gettext_lazy("Nothing is charged there. Talk to the customer, cancel the change, or end the agreement."),
    ),
]


def of(health: Health) -> list[Finding]:
    """Everything that a person should look at, errors first."""
    found = [*_of_the_webhook(health), *_of_rules(health), *_of_the_site(health)]
    return sorted(found, key=lambda finding: finding.level != ERROR)


def age(seconds: float) -> str:
    """``40 seconds``, ``3 hours``, in the active language."""
    # Messages can tell of any year, and there are not so many before ours.
    whole = int(min(max(seconds, 0), LONG_AGO.total_seconds()))
    if whole < 60:
        return ngettext("%(count)d second", "%(count)d seconds", whole) % {"count": whole}
    now = timezone.now()
    # With plain spaces: on a phone the line may break there.
    return timesince(now - timedelta(seconds=whole), now, depth=1).replace("\xa0", " ")


def _of_rules(health: Health) -> Iterator[Finding]:
    for rule in RULES:
        backlog = attrgetter(rule.backlog)(health)
        if backlog.has_lasted(rule.warning_after):
            is_error = rule.error_after is not None and backlog.has_lasted(rule.error_after)
            words = {"count": backlog.count, "age": age(backlog.oldest_seconds or 0)}
            yield Finding(ERROR if is_error else WARNING, rule.code, rule.sentence % words, str(rule.hint))


def _of_the_webhook(health: Health) -> Iterator[Finding]:
    """Whether Stripe's messages come, and in time."""
    webhook = health.webhook
    if webhook.silent_since:
        yield Finding(
            ERROR,
            "webhook_silent",
            _("Something was saved or paid at Stripe %(age)s ago, and no message has come since.")
            % {"age": _since(webhook.silent_since, health.at)},
            _("Is the endpoint enabled in Stripe's dashboard, and its address right? It shows there what we answer."),
        )
    median, worst = webhook.lag_median_seconds or 0, webhook.lag_worst_seconds or 0
    if median > SLOW.total_seconds() or worst > MISSED.total_seconds():
        yield Finding(
            WARNING,
            "webhook_lag",
            _("Stripe's messages come late: half of them after %(median)s or more, the slowest after %(worst)s.")
            % {"median": age(median), "worst": age(worst)},
            _("Stripe's dashboard shows at the endpoint what we answer, and which events are sent there."),
        )


def _of_the_site(health: Health) -> Iterator[Finding]:
    """Whether its evidence is guarded, it may charge, and those commands run that everything else relies on."""
    runs = health.runs
    if missing := health.evidence.missing_triggers:
        yield Finding(
            ERROR,
            "triggers_missing",
            _("The database has lost triggers that protect the evidence: %(names)s.") % {"names": ", ".join(missing)},
            _("Find out who removed them, run krcard_verify, then migrate: it puts them back."),
        )
    if health.charging_paused:
        yield Finding(
            WARNING,
            "charges_paused",
            _("Charging is paused for the whole site."),
            _("It goes on when KRCARD_CHARGING_PAUSED is taken back."),
        )
    # While charging is paused it does not compare.
    elif _is_stale(runs.payments_compared_at or runs.needed_since, health.at, NOT_PASSING):
        yield Finding(
            ERROR,
            "run_due_stale",
            _("krcard_run_due does not get through. Last time: %(when)s.")
            % {"when": _when(runs.payments_compared_at, health.at)},
            _("Is it scheduled every few minutes? Run it by hand and read how it ends."),
        )
    if _is_stale(runs.events_read_at or runs.needed_since, health.at, NOT_RECONCILED):
        yield Finding(
            WARNING,
            "reconcile_stale",
            _("krcard_reconcile does not get through. Last time: %(when)s.")
            % {"when": _when(runs.events_read_at, health.at)},
            _("Is it scheduled every day? It finds what no message told of, and Stripe keeps events for 30 days only."),
        )


def _is_stale(at: datetime | None, now: datetime, limit: timedelta) -> bool:
    return at is not None and now - at > limit


def _when(at: datetime | None, now: datetime) -> str:
    return _("%(age)s ago") % {"age": _since(at, now)} if at else _("never")


def _since(at: datetime, now: datetime) -> str:
    return age((now - at).total_seconds())
