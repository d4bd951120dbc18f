"""Asking customers to agree to other terms: one of them, or everybody who must."""

from __future__ import annotations

from collections import Counter
from datetime import date

from django import forms
from django.contrib import messages
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from django_krcard import services
from django_krcard.admin.actions import Outcome, PageAction, ReasonForm
from django_krcard.admin.mandate_actions import MandateAction
from django_krcard.conf import conf
from django_krcard.exceptions import AmendmentRefused
from django_krcard.formatting import how_much, how_often, kst
from django_krcard.models import Amendment, Mandate, Terms
from django_krcard.services import amendments

#: So many are asked while a browser waits. More is for the command.
AT_ONCE = 1_000


class EffectiveForm(ReasonForm):
    effective_on = forms.DateField(
        label=gettext_lazy("In force from"),
        widget=forms.DateInput(attrs={"type": "date", "class": "krcard-when"}, format="%Y-%m-%d"),
        help_text=gettext_lazy("The first day of the new terms, in the time zone of the terms (Korea: KST)."),
    )

    field_order = ["effective_on", "reason"]


class RequestForm(EffectiveForm):
    free_until_now = forms.BooleanField(
        label=gettext_lazy("Free until now"),
        required=False,
        help_text=gettext_lazy("From free to paid: nothing is charged before the customer agrees to pay."),
    )

    field_order = ["effective_on", "free_until_now", "reason"]


def what_follows() -> list[str]:
    without = {
        "keep": _("Without an agreement the old terms go on."),
        "end": _("Without an agreement by that day the agreement to automatic payments ends."),
    }
    window = _("The customer is told, and can answer, from %(days)d days before that day.")
    return [
        window % {"days": conf.AMENDMENT_WINDOW_DAYS},
        without.get(conf.ON_AMENDMENT_UNANSWERED, _("Without an agreement payments are paused from that day.")),
        _("Silence is never an agreement: the price does not rise by it."),
    ]


class RequestAmendment(MandateAction):
    name = "request-amendment"
    label = gettext_lazy("Ask to agree to a change")
    permission = "krcard.request_amendment"
    form_class = RequestForm

    def is_possible(self, mandate: Mandate) -> bool:
        return mandate.can_be_held and self.terms_for(mandate) is not None

    def terms_for(self, mandate: Mandate) -> Terms | None:
        return Terms.objects.filter(slug=mandate.consent.terms.slug, status=Terms.Status.PUBLISHED).first()

    def effects(self, mandate: Mandate) -> list[str]:
        terms = self.terms_for(mandate)
        words = {"terms": terms, "amount": how_much(terms.rule), "often": how_often(terms.rule)}
        return [_("The customer is asked to agree to %(terms)s: %(amount)s %(often)s.") % words, *what_follows()]

    def perform(self, mandate: Mandate, *, by: str, effective_on: date, free_until_now: bool, reason: str) -> Outcome:
        asked = {"effective_on": effective_on, "free_until_now": free_until_now, "by": by, "reason": reason}
        amendment = services.request_amendment(mandate, self.terms_for(mandate), **asked)
        if amendment.status == Amendment.Status.PLANNED:
            text = _("The customer will be asked on %(when)s.")
            return Outcome(text % {"when": kst(amendment.opens_at)})
        return Outcome(_("The customer is asked, and can answer now."))


class CancelAmendment(MandateAction):
    name = "cancel-amendment"
    label = gettext_lazy("Take back the change")
    permission = "krcard.request_amendment"
    is_destructive = True

    def is_possible(self, mandate: Mandate) -> bool:
        return not mandate.has_ended and self.pending(mandate) is not None

    def pending(self, mandate: Mandate) -> Amendment | None:
        for amendment in mandate.amendments.select_related("terms").order_by("-pk"):
            amendment.mandate = mandate
            if amendment.status in Amendment.NOT_AGREED or amendment.is_coming:
                return amendment
        return None

    def effects(self, mandate: Mandate) -> list[str]:
        return [
            _("The change to %(terms)s is taken back, and the old terms go on.")
            % {"terms": self.pending(mandate).terms},
            _("If payments are paused because the customer has not agreed, they go on."),
            _("The customer is not told."),
        ]

    def perform(self, mandate: Mandate, *, by: str, reason: str) -> Outcome:
        amendments.cancel(self.pending(mandate), by=by, reason=reason)
        return Outcome(_("The change is taken back. The old terms go on."))


class AskAll(PageAction):
    name = "ask-all"
    label = gettext_lazy("Ask all who must agree")
    permission = "krcard.request_amendment"
    form_class = EffectiveForm

    def is_possible(self, terms: Terms) -> bool:
        return terms.status == Terms.Status.PUBLISHED and amendments.to_ask(terms).exists()

    def effects(self, terms: Terms) -> list[str]:
        number = amendments.to_ask(terms).count()
        return [
            who_must(terms),
            _("Not asked yet: %(number)d. They are asked now, each once.") % {"number": number},
            *what_follows(),
        ]

    def perform(self, terms: Terms, *, by: str, effective_on: date, reason: str) -> Outcome:
        if amendments.to_ask(terms)[AT_ONCE:].exists():
            command = f"krcard_amend {terms.slug} --effective-on {effective_on}"
            text = _("These are too many for a browser to wait for. Nobody was asked: use %(command)s.")
            return Outcome(text % {"command": command}, messages.ERROR)
        results = Counter(
            isinstance(result, AmendmentRefused)
            for result in amendments.ask_all(terms, effective_on=effective_on, by=by, reason=reason)
        )
        text = _("Asked: %(asked)d. Could not be asked: %(refused)d.")
        level = messages.WARNING if results[True] else messages.SUCCESS
        return Outcome(text % {"asked": results[False], "refused": results[True]}, level)


def who_must(terms: Terms) -> str:
    must, others = amendments.who_must_agree(terms)
    return _("Must agree again: %(must)d customers. Need not: %(others)d.") % {"must": must, "others": others}
