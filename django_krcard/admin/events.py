"""Webhook events: what Stripe told, and whether it was applied."""

from __future__ import annotations

from django import forms
from django.contrib import admin, messages
from django.db.transaction import non_atomic_requests
from django.utils.html import format_html_join
from django.utils.safestring import mark_safe
from django.utils.text import Truncator
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from django_krcard.admin.actions import Outcome, PageAction, PageActionsMixin
from django_krcard.admin.display import moment_of, status_badge, stripe_id
from django_krcard.admin.filters import ModeFilter
from django_krcard.admin.mixins import KrcardAdmin, ReadOnlyMixin
from django_krcard.models import Event
from django_krcard.webhooks import inbox


class ProcessAgain(PageAction):
    name = "replay"
    label = gettext_lazy("Process again")
    permission = "krcard.replay_event"
    form_class = forms.Form

    def effects(self, event: Event) -> list[str]:
        return [
            _("The event is applied as if it had just arrived. Stripe is asked for the present state."),
            _("What was applied before stays: nothing happens twice."),
        ]

    def is_possible(self, event: Event) -> bool:
        return event.status not in (Event.Status.QUARANTINED, Event.Status.FOREIGN)

    def perform(self, event: Event, *, by: str) -> Outcome:
        event = inbox.process(event.pk, again=True)
        if event.status in (Event.Status.DONE, Event.Status.IGNORED):
            return Outcome(_("Processed: %(status)s.") % {"status": event.get_status_display()})
        text = _("Not processed: %(status)s. %(error)s")
        names = {"status": event.get_status_display(), "error": event.last_error}
        return Outcome(text % names, messages.ERROR)


@admin.register(Event)
class EventAdmin(PageActionsMixin, ReadOnlyMixin, KrcardAdmin):
    page_actions = [ProcessAgain()]
    actions = ["process_again"]

    list_display = [
        "stripe_id",
        "kind",
        moment_of("received_at", gettext_lazy("received")),
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
        moment_of("received_at", gettext_lazy("received")),
        moment_of("next_attempt_at", gettext_lazy("next attempt")),
    ]

    # The action below asks Stripe, and that is done outside of transactions only.
    @non_atomic_requests
    def changelist_view(self, request, extra_context=None):
        return super().changelist_view(request, extra_context)

    @admin.action(description=gettext_lazy("Process again"), permissions=["replay"])
    def process_again(self, request, queryset) -> None:
        action = self.page_actions[0]
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

    @admin.display(description=gettext_lazy("error"))
    def error(self, event: Event) -> str:
        return Truncator(event.last_error).chars(80)
