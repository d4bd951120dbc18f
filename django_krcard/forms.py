"""The form with which a customer agrees."""

from __future__ import annotations

import uuid
from dataclasses import asdict, dataclass

from django import forms
from django.core import signing
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from django_krcard.models import TermsText
from django_krcard.services.terms import rendered, sha256

SALT = "krcard.offer"
#: A page may stay open over night, not over a week.
MAX_AGE = 24 * 60 * 60

CHANGED = _("The terms were changed while this page was open. Please read them again.")
REPLACED = _("You agreed again in another window meanwhile. Go on there, or start once more here.")
NOT_OURS = _("This form could not be verified. Please read the terms and agree again.")


@dataclass(frozen=True, slots=True)
class Offer:
    """What a page showed to whom, signed into the form: exactly this can be agreed to, once."""

    text: int
    sha256: str
    user: str
    attempt: str

    @classmethod
    def of(cls, text: TermsText, request: HttpRequest) -> Offer:
        return cls(text=text.pk, sha256=sha256(rendered(text)), user=str(request.user.pk), attempt=str(uuid.uuid4()))

    def is_for(self, text: TermsText, request: HttpRequest) -> bool:
        fresh = Offer.of(text, request)
        return (self.text, self.sha256, self.user) == (fresh.text, fresh.sha256, fresh.user)

    def signed(self) -> str:
        return signing.dumps(asdict(self), salt=SALT)

    @classmethod
    def from_signed(cls, token: str) -> Offer | None:
        """The offer, or ``None`` when it was not signed here or is too old."""
        try:
            return cls(**signing.loads(token, salt=SALT, max_age=MAX_AGE))
        except (signing.BadSignature, TypeError):
            return None


class ConsentForm(forms.Form):
    """The boxes of one text, none of them ticked, and the signed offer that says which text it was."""

    #: Only to find the page again when the offer does not hold; nothing is decided by it.
    terms = forms.CharField(widget=forms.HiddenInput)
    token = forms.CharField(widget=forms.HiddenInput)

    required_message = _("Please tick this box: without it the card cannot be saved.")

    def __init__(self, data=None, *, text: TermsText, **kwargs):
        super().__init__(data, **kwargs)
        self.text = text
        for item in text.items:
            self.fields[f"agree_{item['key']}"] = forms.BooleanField(
                label=item["label"],
                required=item["required"],
                error_messages={"required": self.required_message},
            )

    @classmethod
    def for_request(cls, request: HttpRequest, text: TermsText) -> ConsentForm:
        """An empty form for the signed-in customer, with a new offer."""
        initial = {"terms": text.terms.slug, "token": Offer.of(text, request).signed()}
        return cls(text=text, initial=initial)

    def item_fields(self) -> list[forms.BoundField]:
        return [self[f"agree_{item['key']}"] for item in self.text.items]

    def ticked(self) -> list[str]:
        return [item["key"] for item in self.text.items if self.cleaned_data[f"agree_{item['key']}"]]
