"""What staff may do with a notice."""

from __future__ import annotations

from django import forms
from django.contrib import messages
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from django_krcard.admin.actions import Outcome, PageAction
from django_krcard.models import Notice
from django_krcard.services import notices


class SendAgain(PageAction):
    name = "send"
    label = gettext_lazy("Send again")
    permission = "krcard.send_notice"
    form_class = forms.Form

    def effects(self, notice: Notice) -> list[str]:
        return [
            _("The notice goes to the customer's address as it is known today."),
            _("Nothing is sent if it reached the customer meanwhile."),
        ]

    def is_possible(self, notice: Notice) -> bool:
        return notices.is_given_up(notice)

    def perform(self, notice: Notice, *, by: str) -> Outcome:
        notice = notices.send_again(notice)
        if notice.sent_at:
            return Outcome(_("The notice was sent."))
        text = _("The notice could not be sent (%(error)s).")
        return Outcome(text % {"error": notice.last_error}, messages.ERROR)
