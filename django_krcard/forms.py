"""The form with which a customer agrees."""

from __future__ import annotations

import uuid
from dataclasses import asdict, dataclass

from django import forms
from django.core import signing
from django.http import HttpRequest
from django.urls import reverse
from django.utils.translation import gettext_lazy as _

from django_krcard.conf import conf
from django_krcard.models import Amendment, CardSetup, TermsText
from django_krcard.services.direct import METHOD_TYPES
from django_krcard.services.first_payments import Payment
from django_krcard.services.terms import rendered, sha256

SALT = "krcard.offer"
PAY_SALT = "krcard.pay"
#: A page may stay open over night, not over a week.
MAX_AGE = 24 * 60 * 60

CHANGED = _("The terms were changed while this page was open. Please read them again.")
REPLACED = _("You agreed again in another window meanwhile. Go on there, or start once more here.")
ANSWERED = _("Something was answered or changed meanwhile, maybe in another window. This is how it stands now.")
UNDER_WAY = _("This payment was made already, or is under way in another window.")
NOT_OURS = _("This form could not be verified. Please read the terms and agree again.")


#: Where the terms are agreed to, by the way to Stripe; and where the form is sent.
PAGES = {CardSetup.Flow.CHECKOUT: "krcard:consent", CardSetup.Flow.DIRECT: "krcard:consent-direct"}
ACTIONS = {
    CardSetup.Flow.CHECKOUT: "krcard:create-checkout-session",
    CardSetup.Flow.DIRECT: "krcard:create-setup-intent",
}

#: As the choice on our own page names them.
METHOD_NAMES = {"kr_card": _("Korean card"), "naver_pay": _("Naver Pay"), "kakao_pay": _("Kakao Pay")}


def direct_types() -> list[str]:
    """What the site wants saved that the Direct API can save."""
    return [name for name in METHOD_TYPES if name in conf.PAYMENT_METHOD_TYPES]


def number_of(request: HttpRequest) -> int:
    """Of a form of ours on the page that answers ``request``, counted from 1: no two of them share an id."""
    request.krcard_forms = getattr(request, "krcard_forms", 0) + 1
    return request.krcard_forms


def can_be_saved(flow: str) -> bool:
    return flow != CardSetup.Flow.DIRECT or bool(direct_types())


def sign_payment(payment: Payment, user: str) -> str:
    """A payment as part of an address of ours, for one user."""
    return signing.dumps([user, *payment], salt=PAY_SALT)


def read_payment(token: str, user: str) -> Payment | None:
    """The payment, or ``None`` when it was not signed here for this user, or is too old."""
    try:
        signed_for, *payment = signing.loads(token, salt=PAY_SALT, max_age=MAX_AGE)
    except signing.BadSignature:
        return None
    return Payment(*payment) if signed_for == user else None


@dataclass(frozen=True, slots=True)
class Offer:
    """What a page showed to whom, signed into the form: exactly this can be agreed to, once."""

    text: int
    sha256: str
    user: str
    attempt: str
    #: What is paid at once, as (amount, reference, description): never what a browser says.
    pay: tuple[int, str, str] | None = None

    @classmethod
    def of(cls, text: TermsText, request: HttpRequest, payment: Payment | None = None, attempt: str = "") -> Offer:
        attempt = attempt or str(uuid.uuid4())
        if payment and not payment.reference:
            payment = payment._replace(reference=f"first-{attempt}")
        return cls(
            text=text.pk,
            sha256=sha256(rendered(text)),
            user=str(request.user.pk),
            attempt=attempt,
            pay=payment and tuple(payment),
        )

    @property
    def payment(self) -> Payment | None:
        return Payment(*self.pay) if self.pay else None

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

    #: With what, where the Direct API leaves the choice to this page.
    method_type = forms.ChoiceField(widget=forms.RadioSelect, label=_("Payment method"))

    required_message = _("Please tick this box: without it the card cannot be saved.")

    def __init__(
        self,
        data=None,
        *,
        text: TermsText,
        flow: str = CardSetup.Flow.CHECKOUT,
        payment: Payment | None = None,
        number: int = 1,
        **kwargs,
    ):
        another = f"-{number}" if number > 1 else ""
        kwargs.setdefault("auto_id", f"krcard-{text.terms.slug}-{flow}{another}-%s")
        super().__init__(data, **kwargs)
        self.text, self.flow, self.payment = text, flow, payment
        self.method_types = direct_types() if flow == CardSetup.Flow.DIRECT else []
        if len(self.method_types) > 1:
            self.fields["method_type"].choices = [(name, METHOD_NAMES[name]) for name in self.method_types]
            self.fields["method_type"].initial = self.method_types[0]
        else:
            del self.fields["method_type"]
        for item in text.items:
            self.fields[f"agree_{item['key']}"] = forms.BooleanField(
                label=item["label"],
                required=item["required"],
                error_messages={"required": self.required_message},
            )

    @classmethod
    def for_request(
        cls,
        request: HttpRequest,
        text: TermsText,
        *,
        flow: str = CardSetup.Flow.CHECKOUT,
        payment: Payment | None = None,
    ) -> ConsentForm:
        """An empty form for the signed-in customer, with a new offer."""
        initial = {"terms": text.terms.slug, "token": Offer.of(text, request, payment).signed()}
        return cls(text=text, flow=flow, payment=payment, number=number_of(request), initial=initial)

    @property
    def action(self) -> str:
        """Where it is sent."""
        return reverse(ACTIONS[self.flow])

    @property
    def chosen_type(self) -> str:
        """What is saved, if that is decided on this page."""
        if len(self.method_types) > 1:
            return self.cleaned_data["method_type"]
        return self.method_types[0] if self.method_types else ""

    @property
    def summary_id(self) -> str:
        """Of the summary that stands beside this form."""
        return self.auto_id % "summary"

    def item_fields(self) -> list[forms.BoundField]:
        return [self[f"agree_{item['key']}"] for item in self.text.items]

    def ticked(self) -> list[str]:
        return [item["key"] for item in self.text.items if self.cleaned_data[f"agree_{item['key']}"]]


class AmendmentForm(ConsentForm):
    """The boxes of changed terms. The signed offer also says which change it was, and how it stood when shown."""

    required_message = _("Please tick this box: without it you have not agreed.")

    @classmethod
    def for_amendment(cls, request: HttpRequest, text: TermsText, amendment: Amendment) -> AmendmentForm:
        token = Offer.of(text, request, attempt=standing_of(amendment)).signed()
        return cls(text=text, number=number_of(request), initial={"terms": text.terms.slug, "token": token})


def standing_of(amendment: Amendment) -> str:
    """Which change it is, whether it was answered, and what it would change."""
    status = "open" if amendment.is_open else amendment.status
    return f"{amendment.public_id} {status} {amendment.mandate.consent_id}"
