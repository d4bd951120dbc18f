"""What staff may do for a customer: record an agreement that was taken on paper or by phone."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib.admin.widgets import AdminTextareaWidget
from django.template.defaultfilters import filesizeformat
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from django_krcard.admin.actions import Outcome, PageAction, ReasonForm
from django_krcard.admin.mandate_actions import LocalDateTimeField
from django_krcard.conf import conf
from django_krcard.models import Consent, Customer, TermsText
from django_krcard.services import elsewhere
from django_krcard.services.consents import Attachment, Evidence, statuses_for
from django_krcard.services.terms import rendered

ELSEWHERE = [choice for choice in Consent.Source.choices if choice[0] != Consent.Source.WEB]


def texts() -> Any:
    """Every text that a customer may have agreed to elsewhere, the newest version first."""
    agreed_to = TermsText.objects.filter(terms__status__in=statuses_for(Consent.Source.PAPER))
    return agreed_to.select_related("terms").order_by("terms__slug", "-terms__version", "pk")


class RecordConsentForm(ReasonForm):
    """For one text: the boxes to tick are its own."""

    field_order = ["source", "given_at", "ticked", "attachment", "reason"]

    source = forms.ChoiceField(label=gettext_lazy("How the customer agreed"), choices=ELSEWHERE, initial="paper")
    given_at = LocalDateTimeField(
        label=gettext_lazy("When the customer agreed"),
        help_text=gettext_lazy("In the time zone of the terms (Korea: KST)."),
    )
    ticked = forms.MultipleChoiceField(
        label=gettext_lazy("Agreed to"), widget=forms.CheckboxSelectMultiple, required=False
    )
    attachment = forms.FileField(label=gettext_lazy("Scan or recording"), required=False)
    reason = forms.CharField(
        label=gettext_lazy("Note"),
        max_length=500,
        widget=AdminTextareaWidget(attrs={"rows": 3}),
        help_text=gettext_lazy("Who took it, and where the original is kept. Part of the record."),
    )
    reference = forms.CharField(widget=forms.HiddenInput, max_length=64)

    def __init__(self, text: TermsText | None, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.text = text
        self.texts = texts()
        self.words = rendered(text) if text else ""
        self.fields["ticked"].choices = [(item["key"], item["label"]) for item in text.items] if text else []
        most = filesizeformat(conf.MAX_ATTACHMENT_BYTES)
        self.fields["attachment"].help_text = _("Up to %(most)s.") % {"most": most}

    def clean_given_at(self) -> Any:
        given_at = self.cleaned_data["given_at"]
        if given_at > timezone.now():
            raise forms.ValidationError(_("An agreement cannot be given in the future."))
        return given_at

    def clean_ticked(self) -> list[str]:
        ticked = self.cleaned_data["ticked"]
        if self.text is None:
            raise forms.ValidationError(_("These terms have no text in any language."))
        if missing := self.text.required_keys - set(ticked):
            text = ngettext("A required box is not ticked.", "%(count)s required boxes are not ticked.", len(missing))
            raise forms.ValidationError(text % {"count": len(missing)})
        return ticked

    def clean_attachment(self) -> Any:
        file = self.cleaned_data["attachment"]
        if file and file.size > conf.MAX_ATTACHMENT_BYTES:
            raise forms.ValidationError(self.fields["attachment"].help_text)
        return file

    def clean(self) -> dict[str, Any]:
        return super().clean() | {"text": self.text}


class RecordConsent(PageAction):
    name = "record-consent"
    label = gettext_lazy("Record an agreement")
    permission = "krcard.record_consent"
    form_class = RecordConsentForm
    detail_template = "admin/krcard/includes/text_to_record.html"
    # Sent twice, it is recorded once.
    has_page_id = True

    def is_possible(self, row: Customer) -> bool:
        return texts().exists()

    def effects(self, row: Customer) -> list[str]:
        found = [
            _("The text below is kept as what the customer agreed to, with your name as who recorded it."),
            _("It cannot be changed or removed afterwards. No card is saved by it: send the customer a link for that."),
        ]
        if not set(dict(ELSEWHERE)) & set(conf.CHARGEABLE_SOURCES):
            found.append(_("Nothing is charged under it: KRCARD_CHARGEABLE_SOURCES names only web pages."))
        return found

    def form_for(self, row: Customer, request: Any, initial: dict[str, Any]) -> RecordConsentForm:
        chosen = request.GET.get("text", "")
        text = texts().filter(pk=chosen).first() if chosen.isdecimal() else texts().first()
        files = [request.POST, request.FILES] if request.method == "POST" else []
        return RecordConsentForm(text, *files, initial=initial)

    def perform(self, row: Customer, *, by: str, text: TermsText, **data: Any) -> Outcome:
        file = data["attachment"]
        evidence = Evidence(
            source=data["source"],
            given_at=data["given_at"],
            recorded_by=by,
            note=data["reason"],
            reference=data["reference"],
            attachment=Attachment(file.name, file.content_type or "", file.read()) if file else None,
        )
        consent, _is_new = elsewhere.record(
            row, text.terms, language=text.language, ticked=data["ticked"], evidence=evidence
        )
        return Outcome(
            _("Agreement %(id)s to %(terms)s is recorded.") % {"id": consent.public_id, "terms": consent.terms}
        )
