"""What changes, before and after, and the customer's answer: yes or no, as big as each other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.contrib.auth.mixins import LoginRequiredMixin
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import ValidationError
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.translation import get_language, gettext_lazy, ngettext
from django.utils.translation import gettext as _

from django_krcard.conf import conf
from django_krcard.exceptions import AmendmentRefused, ConsentRefused
from django_krcard.formatting import each_period, how_much, how_often, how_retried, won
from django_krcard.forms import ANSWERED, CHANGED, NOT_OURS, AmendmentForm, Offer, standing_of
from django_krcard.models import Amendment, Terms, TermsText
from django_krcard.rules import Rule
from django_krcard.services import amendment_steps, amendments
from django_krcard.services.consents import Evidence
from django_krcard.services.terms import text_for
from django_krcard.views.agree import HttpResponseSeeOther
from django_krcard.views.base import PageView, absolute, client_ip

Status = Amendment.Status


class AmendmentView(LoginRequiredMixin, PageView):
    """GET ``changes/<public_id>/``: what changes for this customer, and what they have answered."""

    template_name = "krcard/amendment.html"

    def get(self, request, public_id):
        return self.show_change(self.get_amendment(public_id))

    def get_amendment(self, public_id: str) -> Amendment:
        related = ["mandate__customer", "mandate__consent__terms", "mandate__payment_method"]
        rows = Amendment.objects.select_related("terms", "before", *related)
        try:
            return rows.get(public_id=public_id, **self.theirs(self.request, "mandate__customer"))
        except (Amendment.DoesNotExist, ValidationError, ValueError):
            raise Http404("No such change.") from None

    def show_change(self, amendment: Amendment, *, form: AmendmentForm | None = None, notice: str = "") -> HttpResponse:
        text = form.text if form else text_for(amendment.terms, get_language() or "")
        can_answer = amendments.can_be_answered(amendment)
        if form is None and can_answer:
            form = AmendmentForm.for_amendment(self.request, text, amendment)
        return self.show(
            amendment=amendment,
            mandate=amendment.mandate,
            text=text,
            form=form if can_answer else None,
            state=state_of(amendment),
            rows=list(compared(amendment)),
            has_come=amendment_steps.has_come(amendment),
            unanswered=conf.ON_AMENDMENT_UNANSWERED,
            notice=str(notice),
        )


class AnswerView(AmendmentView):
    """POST an answer to exactly what was shown, and come back to the page with 303."""

    http_method_names = ["post", "options"]
    status = ""

    def handle_no_permission(self):
        # Signed out meanwhile: this address takes no GET.
        return redirect_to_login(self.page(), self.get_login_url(), self.get_redirect_field_name())

    def page(self) -> str:
        return reverse("krcard:amendment", args=[self.kwargs["public_id"]])

    def post(self, request, public_id):
        amendment = self.get_amendment(public_id)
        if amendment.status == self.status:
            # Sent twice: once is enough.
            return HttpResponseSeeOther(self.page())
        offer = Offer.from_signed(request.POST.get("token", ""))
        text = offer and amendment.terms.texts.select_related("terms").filter(pk=offer.text).first()
        if not text or not offer.is_for(text, request):
            return self.show_change(amendment, notice=CHANGED if text else NOT_OURS)
        if offer.attempt != standing_of(amendment):
            return self.show_change(amendment, notice=ANSWERED)
        try:
            shown_again = self.answer(request, amendment, text)
        except (AmendmentRefused, ConsentRefused) as refused:
            return self.show_change(self.get_amendment(public_id), notice=str(refused))
        return shown_again or HttpResponseSeeOther(self.page())

    def answer(self, request: HttpRequest, amendment: Amendment, text: TermsText) -> HttpResponse | None:
        raise NotImplementedError


class AgreeToAmendmentView(AnswerView):
    """POST ``changes/<public_id>/agree/``: a separate consent, recorded like every other."""

    status = Status.AGREED

    def answer(self, request, amendment, text):
        form = AmendmentForm(request.POST, text=text)
        if not form.is_valid():
            return self.show_change(amendment, form=form)
        evidence = Evidence(
            ip_address=client_ip(request),
            user_agent=request.headers.get("User-Agent", ""),
            page_url=absolute(request, self.page()),
        )
        amendments.agree(amendment, language=text.language, ticked=form.ticked(), evidence=evidence)


class RefuseAmendmentView(AnswerView):
    """POST ``changes/<public_id>/refuse/``: no. Nothing has to be ticked or explained for it."""

    status = Status.REFUSED

    def answer(self, request, amendment, text):
        amendments.refuse(amendment)


def state_of(amendment: Amendment) -> str:
    """planned, open, refused, unanswered, coming, agreed, or over: what the page says first."""
    if amendment.status == Status.AGREED:
        return "coming" if amendment.is_coming and not amendment_steps.has_come(amendment) else "agreed"
    if amendment.mandate.has_ended or amendment.terms.status != Terms.Status.PUBLISHED:
        return "over"
    if amendment.is_open:
        return "open" if amendments.can_be_answered(amendment) else "planned"
    return amendment.status if amendment.status in (Status.REFUSED, Status.UNANSWERED) else "over"


def compared(amendment: Amendment) -> Iterator[dict[str, Any]]:
    """The rule before and after, side by side: amount and frequency, and whatever else is not the same."""
    free = amendment.kind == Amendment.Kind.FREE_TO_PAID
    before, after = Rule.from_dict(amendment.before.rule), amendment.terms.rule
    for words_of, label in WORDS.items():
        old, new = str(words_of(before)), str(words_of(after))
        if free:
            old = _("Free") if words_of is how_much else ""
        if old != new or words_of in (how_much, how_often):
            yield {"label": label, "before": old, "after": new, "differs": old != new}


def _limit(rule: Rule) -> str:
    return f"{won(rule.max_amount_per_period)} {each_period(rule)}" if rule.max_amount_per_period else ""


def _number(rule: Rule) -> str:
    number = rule.max_charges_per_period
    return _("at most %(number)d %(every)s") % {"number": number, "every": each_period(rule)} if number else ""


def _notice(rule: Rule) -> str:
    days = rule.notice_days
    return ngettext("%(number)d day before", "%(number)d days before", days) % {"number": days} if days else ""


def _validity(rule: Rule) -> str:
    days = rule.valid_for_days
    return ngettext("%(number)d day", "%(number)d days", days) % {"number": days} if days else _("until cancelled")


#: Each line of the comparison, and what it is called.
WORDS = {
    how_much: gettext_lazy("Amount"),
    how_often: gettext_lazy("Frequency"),
    _limit: gettext_lazy("Payment limit"),
    _number: gettext_lazy("Number of payments"),
    _notice: gettext_lazy("Advance notice"),
    how_retried: gettext_lazy("If a payment is declined"),
    _validity: gettext_lazy("Valid for"),
}
