"""Taking the evidence of a mandate out of the house."""

from __future__ import annotations

from django import forms
from django.conf import settings
from django.http import HttpResponse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from django_krcard.admin.actions import Outcome, PageAction, ReasonForm
from django_krcard.models import Mandate
from django_krcard.services.evidence_pack import FORMS, hand_out

CHOICES = [
    ("html", gettext_lazy("Page to print")),
    ("zip", gettext_lazy("ZIP with everything, and a program that verifies it")),
    ("json", gettext_lazy("JSON")),
]


class EvidenceForm(ReasonForm):
    form = forms.ChoiceField(
        label=gettext_lazy("Form"),
        choices=CHOICES,
        initial="html",
        widget=forms.RadioSelect(attrs={"class": "radiolist"}),
    )
    personal = forms.BooleanField(
        label=gettext_lazy("With personal data"),
        required=False,
        initial=True,
        help_text=gettext_lazy("Address, browser, the customer's name at this site, what notices said."),
    )
    language = forms.ChoiceField(label=gettext_lazy("Language"), choices=lambda: settings.LANGUAGES)

    field_order = ["form", "language", "personal", "reason"]


class TakeEvidence(PageAction):
    name = "evidence"
    label = gettext_lazy("Take evidence")
    permission = "krcard.export_evidence"
    form_class = EvidenceForm

    def initial(self, mandate: Mandate) -> dict:
        return {"language": mandate.consent.language}

    def effects(self, mandate: Mandate) -> list[str]:
        return [
            _("What was agreed, with its hashes, and what was charged, paid back and told, as of this moment."),
            _("That you took it, why, and the SHA-256 of what you took stand in the timeline."),
        ]

    def perform(self, mandate: Mandate, *, by: str, form: str, reason: str, **how) -> Outcome:
        content = hand_out(mandate, form, by=by, reason=reason, **how)
        return Outcome(_("Evidence taken (%(form)s).") % {"form": form}, response=pack_response(mandate, form, content))


def pack_response(mandate: Mandate, form: str, content: bytes) -> HttpResponse:
    """To look at when it is a page, else to save."""
    response = HttpResponse(content, content_type=FORMS[form])
    place = "inline" if form == "html" else "attachment"
    response.headers["Content-Disposition"] = f'{place}; filename="{mandate.reference}.{form}"'
    response.headers["Cache-Control"] = "no-store"
    return response
