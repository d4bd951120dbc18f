"""What the page about the site's health shows: every figure, and a way to the rows behind it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple
from urllib.parse import urlencode

from django.contrib.admin import AdminSite
from django.db.models import Model
from django.http import HttpRequest
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from django_krcard.admin.display import NOTHING, badge, moment
from django_krcard.conf import conf
from django_krcard.models import Amendment, Charge, Event, Notice, Refund, Subscription
from django_krcard.services import findings, health
from django_krcard.services.health import Backlog, Health

#: The tone and the word of each level, so that it is never colour alone.
LEVELS = {findings.ERROR: ("bad", gettext_lazy("error")), findings.WARNING: ("warn", gettext_lazy("to check"))}


class Row(NamedTuple):
    label: str
    value: Any
    note: str = ""
    url: str = ""


def page_of(request: HttpRequest, site: AdminSite) -> dict[str, Any]:
    seen = health.look()
    lists = Lists(request, site, seen)
    return {
        "at": moment(seen.at),
        "mode": _("live") if seen.mode == "live" else _("test"),
        "sandbox": conf.SANDBOX,
        "findings": [_with_badge(finding) for finding in findings.of(seen)],
        "sections": [
            (_("Webhook messages"), list(_webhook(seen, lists))),
            (_("Charges"), list(_charges(seen, lists))),
            (_("Refunds"), list(_refunds(seen, lists))),
            (_("Subscriptions"), list(_subscriptions(seen, lists))),
            (_("Changes of terms"), list(_amendments(seen, lists))),
            (_("Notices, cards and evidence"), list(_the_rest(seen, lists))),
            (_("Commands"), list(_runs(seen))),
        ],
    }


class Lists:
    """Addresses of filtered lists, empty where there is no such list or this person may not see it."""

    def __init__(self, request: HttpRequest, site: AdminSite, seen: Health) -> None:
        self.request, self.site, self.mode = request, site, seen.mode

    def may_see(self, model: type[Model]) -> bool:
        return self.site.is_registered(model) and self.site.get_model_admin(model).has_view_permission(self.request)

    def of(self, model: type[Model], **query: str) -> str:
        if not self.may_see(model):
            return ""
        url = reverse(f"admin:krcard_{model._meta.model_name}_changelist", current_app=self.site.name)
        return f"{url}?{urlencode(query)}"

    def here(self, model: type[Model], **query: str) -> str:
        """In the mode that the page speaks of."""
        return self.of(model, **query, mode=self.mode)


def _with_badge(finding: findings.Finding) -> dict[str, Any]:
    tone, word = LEVELS[finding.level]
    return {"badge": badge(tone, word), "tone": tone, **finding._asdict()}


def _webhook(seen: Health, lists: Lists) -> Iterator[Row]:
    Status, webhook = Event.Status, seen.webhook
    yield Row(_("last message"), moment(webhook.last_received_at), _ago(seen, webhook.last_received_at))
    yield Row(_("in the last day"), webhook.received_last_day)
    yield Row(_("delay, median"), _time(webhook.lag_median_seconds))
    yield Row(_("delay, the longest"), _time(webhook.lag_worst_seconds))
    yield _backlog(_("to be worked off"), webhook.waiting, lists.here(Event, status__in=",".join(Event.OPEN)))
    yield _backlog(_("nobody works them off"), webhook.overdue, lists.here(Event, status__in=",".join(Event.OPEN)))
    yield _backlog(_("failed, tried again"), webhook.failed, lists.here(Event, status__exact=Status.FAILED))
    yield _backlog(_("given up, in the last month"), webhook.dead, lists.here(Event, status__exact=Status.DEAD))
    quarantined = lists.of(Event, status__exact=Status.QUARANTINED)
    yield _backlog(_("unusable, in the last month"), webhook.unusable, quarantined)
    foreign = lists.of(Event, status__exact=Status.FOREIGN)
    yield _backlog(_("of another account or mode, in the last day"), webhook.foreign, foreign)


def _charges(seen: Health, lists: Lists) -> Iterator[Row]:
    Status, charges = Charge.Status, seen.charges
    late = (seen.at - health.LATE).isoformat(timespec="seconds")
    unsent = ",".join([Status.SCHEDULED, Status.READY, Status.DECLINED])
    yield _backlog(_("due and not sent"), charges.due, lists.here(Charge, status__in=unsent, next_step_at__lte=late))
    unknown = lists.here(Charge, status__in=",".join([Status.UNKNOWN, Status.SENDING]))
    yield _backlog(_("outcome unknown"), charges.unknown, unknown)
    if charges.unknown_references and lists.may_see(Charge):
        yield Row(_("charges with unknown outcome"), ", ".join(charges.unknown_references))
    yield Row(_("charging as a whole"), _("paused") if seen.charging_paused else _("not paused"))


def _refunds(seen: Health, lists: Lists) -> Iterator[Row]:
    Status, refunds = Refund.Status, seen.refunds
    yield _backlog(_("due and not sent"), refunds.due, lists.here(Refund, status__exact=Status.READY))
    unknown = lists.here(Refund, status__in=",".join([Status.UNKNOWN, Status.SENDING]))
    yield _backlog(_("outcome unknown"), refunds.unknown, unknown)


def _subscriptions(seen: Health, lists: Lists) -> Iterator[Row]:
    figures = seen.subscriptions
    unknown = lists.here(Subscription, status=Subscription.STARTING)
    yield _backlog(_("outcome unknown"), figures.unknown, unknown)
    above = lists.here(Subscription, above_agreed_at__isnull="False")
    yield _backlog(_("asking for more than agreed"), figures.above_agreed, above)
    yield _backlog(_("changes not carried out yet"), figures.not_done)
    yield _backlog(_("not paid back, in the last month"), figures.not_paid_back)


def _amendments(seen: Health, lists: Lists) -> Iterator[Row]:
    Status, figures = Amendment.Status, seen.amendments
    yield _backlog(_("next step not taken"), figures.due, lists.here(Amendment, next_step_at__isnull="False"))
    unanswered = lists.here(Amendment, status__in=",".join([Status.UNANSWERED, Status.REFUSED]))
    yield _backlog(_("not agreed to, and payments on hold"), figures.unanswered, unanswered)


def _the_rest(seen: Health, lists: Lists) -> Iterator[Row]:
    notices = seen.notices
    yield _backlog(_("notices that wait"), notices.due, lists.here(Notice, sent="waits"))
    yield _backlog(_("notices not sent, in the last month"), notices.given_up, lists.here(Notice, sent="no"))
    yield _backlog(_("cards not removed at Stripe"), seen.cards.not_removed)
    yield Row(_("missing triggers"), len(seen.evidence.missing_triggers), ", ".join(seen.evidence.missing_triggers))


def _runs(seen: Health) -> Iterator[Row]:
    payments, events = seen.runs.payments_compared_at, seen.runs.events_read_at
    yield Row("krcard_run_due", moment(payments), _ago(seen, payments))
    yield Row("krcard_reconcile", moment(events), _ago(seen, events))


def _backlog(label: str, backlog: Backlog, url: str = "") -> Row:
    note = ""
    if backlog.count and backlog.oldest_seconds is not None:
        words = ngettext("for %(age)s", "the oldest for %(age)s", backlog.count)
        note = words % {"age": findings.age(backlog.oldest_seconds)}
    return Row(label, backlog.count, note, url if backlog.count else "")


def _time(seconds: float | None) -> str:
    return NOTHING if seconds is None else findings.age(seconds)


def _ago(seen: Health, at: Any) -> str:
    return _("%(age)s ago") % {"age": findings.age((seen.at - at).total_seconds())} if at else ""
