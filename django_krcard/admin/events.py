"""Webhook events: what Stripe told, and whether it was applied."""

from __future__ import annotations

from datetime import timedelta

from django.contrib import admin, messages
from django.utils.html import format_html, format_html_join
from django.utils.safestring import mark_safe
from django.utils.text import Truncator
from django.utils.timesince import timesince
from django.utils.translation import gettext, gettext_lazy, ngettext

from django_krcard.admin.actions import PageActionsMixin
from django_krcard.admin.display import NOTHING, moment, moment_of, status_badge, stripe_id
from django_krcard.admin.filters import ModeFilter
from django_krcard.admin.health import HealthPageMixin
from django_krcard.admin.mixins import KrcardAdmin, ReadOnlyMixin
from django_krcard.models import Event
from django_krcard.transactions import never_atomic

ON_TIME = timedelta(minutes=1)


@admin.register(Event)
class EventAdmin(HealthPageMixin, PageActionsMixin, ReadOnlyMixin, KrcardAdmin):
    page_actions = ["django_krcard.admin.event_actions.ProcessAgain"]
    actions = ["process_again"]

    list_display = [
        "stripe_id",
        "kind",
        "received",
        status_badge,
        "attempts",
        "error",
    ]
    list_filter = ["status", ModeFilter, "type"]
    date_hierarchy = "received_at"
    search_fields = ["=stripe_id", "type"]
    search_help_text = gettext_lazy("Id at Stripe (whole), type")

    # Not the body: it holds addresses, and secrets of sessions that are still open.
    fields = readonly_fields = [
        "at_stripe",
        "type",
        status_badge,
        "attempts",
        "last_error",
        "livemode",
        "account",
        "api_version",
        moment_of("created", gettext_lazy("made at Stripe")),
        moment_of("received_at", gettext_lazy("received")),
        "late",
        moment_of("next_attempt_at", gettext_lazy("next attempt")),
    ]

    # The action below asks Stripe, and that is done outside of transactions only.
    @never_atomic
    def changelist_view(self, request, extra_context=None):
        return super().changelist_view(request, extra_context)

    @admin.action(description=gettext_lazy("Process again"), permissions=["replay"])
    def process_again(self, request, queryset) -> None:
        [action] = self.loaded_page_actions
        done = 0
        for event in filter(action.is_possible, queryset):
            outcome = self.act(request, action, event)
            done += outcome.level == messages.SUCCESS
        text = ngettext("%(done)d of %(all)d event processed.", "%(done)d of %(all)d events processed.", len(queryset))
        level = messages.SUCCESS if done == len(queryset) else messages.WARNING
        self.message_user(request, text % {"done": done, "all": len(queryset)}, level)

    def has_replay_permission(self, request) -> bool:
        return request.user.has_perm("krcard.replay_event")

    @admin.display(description=gettext_lazy("Stripe event"))
    def at_stripe(self, event: Event) -> str:
        return stripe_id(event.stripe_id, livemode=event.livemode)

    @admin.display(description=gettext_lazy("type"), ordering="type")
    def kind(self, event: Event) -> str:
        # May break after a dot: the column is the widest of the list.
        return format_html_join(mark_safe(".<wbr>"), "{}", ((part,) for part in event.type.split(".")))

    @admin.display(description=gettext_lazy("received"), ordering="received_at")
    def received(self, event: Event) -> str:
        at, late = moment(event.received_at), self.late(event)
        if late == NOTHING:
            return at
        return format_html("{}<br><small>{}</small>", at, gettext("%(age)s late") % {"age": late})

    @admin.display(description=gettext_lazy("late by"))
    def late(self, event: Event) -> str:
        """Messages come within seconds. Only what took longer is worth reading."""
        if event.received_at - event.created < ON_TIME:
            return NOTHING
        return timesince(event.created, event.received_at, depth=1)

    @admin.display(description=gettext_lazy("error"))
    def error(self, event: Event) -> str:
        return Truncator(event.last_error).chars(80)
