"""What staff may do with a webhook event."""

from __future__ import annotations

from django import forms
from django.contrib import messages
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from django_krcard.admin.actions import Outcome, PageAction
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
        return event.status not in Event.NEVER

    def perform(self, event: Event, *, by: str) -> Outcome:
        event = inbox.process(event.pk, again=True)
        if event.status in (Event.Status.DONE, Event.Status.IGNORED):
            return Outcome(_("Processed: %(status)s.") % {"status": event.get_status_display()})
        text = _("Not processed: %(status)s. %(error)s")
        names = {"status": event.get_status_display(), "error": event.last_error}
        return Outcome(text % names, messages.ERROR)
