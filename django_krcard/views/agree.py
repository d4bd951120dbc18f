"""The terms, the boxes, and the way to Stripe."""

from __future__ import annotations

import logging
import uuid

from django.contrib import messages
from django.contrib.auth.mixins import LoginRequiredMixin
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import ValidationError
from django.core.validators import validate_slug
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponseRedirect
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.cache import patch_cache_control
from django.utils.translation import get_language
from django.utils.translation import gettext as _

from django_krcard.exceptions import (
    AmendmentRefused,
    ChargeRefused,
    ConsentRefused,
    GatewayError,
    ReferenceConflict,
    SetupNotAllowed,
)
from django_krcard.forms import (
    CHANGED,
    NOT_OURS,
    PAGES,
    REPLACED,
    UNDER_WAY,
    ConsentForm,
    Offer,
    can_be_saved,
    number_of,
    read_payment,
)
from django_krcard.models import CardSetup, Customer, Mandate, Terms, TermsText
from django_krcard.services import amendment_steps, amendments, checkout, direct
from django_krcard.services.attempts import Way, agree
from django_krcard.services.consents import Evidence
from django_krcard.services.customers import get_or_create
from django_krcard.services.first_payments import Payment
from django_krcard.services.mandates import living_for, under_older
from django_krcard.services.start import make_room
from django_krcard.services.terms import in_force, text_for
from django_krcard.standing import living
from django_krcard.views.base import PageView, absolute, client_ip, is_safe

logger = logging.getLogger(__name__)

#: Where it is shown what came of an attempt.
RESULTS = {CardSetup.Flow.CHECKOUT: "krcard:success", CardSetup.Flow.DIRECT: "krcard:return"}


class HttpResponseSeeOther(HttpResponseRedirect):
    """After a POST, 303 makes every browser fetch the next page with GET."""

    status_code = 303


class ConsentView(LoginRequiredMixin, PageView):
    """GET ``agree/<slug>/``: what is agreed to, and the boxes."""

    template_name = "krcard/consent.html"
    #: The way to Stripe: Checkout, or the Direct API.
    flow = CardSetup.Flow.CHECKOUT

    def get(self, request, slug):
        text = _text_in_force(slug)
        if text is None or not can_be_saved(self.flow):
            raise Http404("There are no such terms in force, or nothing can be saved that way.")
        return self.show_form(
            ConsentForm.for_request(request, text, flow=self.flow, payment=self.get_payment(request, text))
        )

    def get_payment(self, request: HttpRequest, text: TermsText) -> Payment | None:
        """What is paid at once. Override it to say so for these terms; the browser only brings back what was signed."""
        return read_payment(request.GET.get("pay", ""), str(request.user.pk))

    def show_form(self, form: ConsentForm, **context):
        terms = form.text.terms
        context |= {"kept": self.get_kept(terms), "living": living(self.get_mandates(), terms)}
        response = self.show(form=form, text=form.text, terms=terms, **context)
        # Nothing on it is secret, and the browser may keep it for its own "back": without that, whoever comes back
        # from Stripe to a form with an error meets the browser's own error page.
        patch_cache_control(response, private=True, no_cache=True)
        return response

    def get_mandates(self) -> QuerySet[Mandate]:
        return Mandate.objects.filter(**self.theirs(self.request))

    def get_kept(self, terms: Terms) -> Mandate | None:
        """The customer's agreement to an older version: from when these terms will rule, and whether the card can be
        kept."""
        mandate = under_older(self.get_mandates(), terms)
        if mandate:
            asked = amendments.asked_for(mandate, terms)
            mandate.new_terms_from = asked.effective_on if asked and not amendment_steps.has_come(asked) else None
            mandate.keeps_card = amendments.keeps_card(mandate) and (not asked or amendments.can_be_answered(asked))
        return mandate


class CheckoutSessionView(ConsentView):
    """POST ``create-checkout-session``: record the agreement, open the session, go to Stripe."""

    http_method_names = ["post", "options"]
    locales = {"ko", "en"}

    def handle_no_permission(self):
        # Signed out meanwhile. After the log-in comes the page with the terms: this address takes no GET.
        slug = self.request.POST.get("terms", "")
        page = reverse(PAGES[self.flow], args=[slug]) if _text_in_force(slug) else reverse("krcard:cards")
        return redirect_to_login(page, self.get_login_url(), self.get_redirect_field_name())

    def post(self, request):
        text = _text_in_force(request.POST.get("terms", ""))
        if text is None or not can_be_saved(self.flow):
            return self.show(status=404, template="krcard/no_terms.html")
        offer = Offer.from_signed(request.POST.get("token", ""))
        if offer:
            # The page may have been open in another language than the browser's present one.
            text = text.terms.texts.select_related("terms").filter(pk=offer.text).first() or text
        if offer is None or not offer.is_for(text, request):
            return self.show_again(request, text, CHANGED if offer else NOT_OURS, self.payment_of(request, offer))
        number = number_of(request)
        form = ConsentForm(request.POST, text=text, flow=self.flow, payment=offer.payment, number=number)
        if not form.is_valid():
            return self.show_form(form)
        try:
            if "keep_card" in request.POST:
                return self.keep_card(request, form)
            setup = self.agree(request, form, offer)
        except (AmendmentRefused, ConsentRefused) as refused:
            return self.show_again(request, text, str(refused), offer.payment)
        except ChargeRefused as refused:
            logger.error("A first payment of %s won was refused: %s", offer.payment.amount, refused.code)
            return self.show_again(request, text, refused.message, offer.payment)
        except ReferenceConflict:
            return self.show_again(request, text, UNDER_WAY, offer.payment)
        except GatewayError:
            # Another payment could not be called off, so this one was not begun.
            return self.show(status=503, template="krcard/unavailable.html", form=form, text=form.text)
        return self.go_to_stripe(request, setup, form)

    def payment_of(self, request: HttpRequest, offer: Offer | None) -> Payment | None:
        return offer.payment if offer and offer.user == str(request.user.pk) else None

    def agree(self, request: HttpRequest, form: ConsentForm, offer: Offer) -> CardSetup:
        customer, way = self.payer(request), Way(self.flow, form.chosen_type, offer.payment)
        if way.payment and (made := make_room(customer, form.text.terms.slug, way)):
            return made
        return agree(
            customer,
            form.text.terms,
            language=form.text.language,
            ticked=form.ticked(),
            evidence=self.evidence(request, form),
            attempt=uuid.UUID(offer.attempt),
            way=way,
        )

    def payer(self, request: HttpRequest) -> Customer:
        return self.get_customer(request) or get_or_create(request.user)

    def keep_card(self, request: HttpRequest, form: ConsentForm) -> HttpResponseRedirect:
        """The same agreement without another card: nothing has to be asked of Stripe."""
        mandate = living_for(self.payer(request), form.text.terms.slug)
        if mandate is None:
            raise AmendmentRefused(_("The saved card cannot be used any more. Please save a card."))
        agreed = {"language": form.text.language, "ticked": form.ticked(), "evidence": self.evidence(request, form)}
        mandate = amendments.agree_again(mandate, form.text.terms, **agreed)
        messages.success(request, _("You have agreed to the new terms. Your card stays."), fail_silently=True)
        return HttpResponseSeeOther(reverse("krcard:mandate", args=[mandate.public_id]))

    def evidence(self, request: HttpRequest, form: ConsentForm) -> Evidence:
        return Evidence(
            ip_address=client_ip(request),
            user_agent=request.headers.get("User-Agent", ""),
            page_url=absolute(request, reverse(PAGES[self.flow], args=[form.text.terms.slug])),
        )

    def go_to_stripe(self, request, setup: CardSetup, form: ConsentForm):
        result = reverse(RESULTS[setup.flow], args=[setup.public_id])
        if setup.status == CardSetup.Status.COMPLETE:
            return redirect(result)
        try:
            setup = self.open(request, setup)
        except GatewayError:
            # Already logged at the door. What the customer agreed to is kept and the same form goes on from there.
            return self.show(status=503, template="krcard/unavailable.html", form=form, text=form.text)
        except SetupNotAllowed:
            return self.show(status=409, template="krcard/unavailable.html", form=form, text=form.text)
        if not setup.is_open and setup.status != CardSetup.Status.COMPLETE:
            return self.not_open(request, setup, form)
        if setup.redirect_url and not is_safe(setup.redirect_url):
            logger.critical("Attempt %s: the address of its page is not https", setup.public_id)
            return self.show(status=503, template="krcard/unavailable.html", form=form, text=form.text)
        return HttpResponseSeeOther(setup.redirect_url or result)

    def open(self, request: HttpRequest, setup: CardSetup) -> CardSetup:
        success = reverse("krcard:success", args=[setup.public_id])
        language = (get_language() or "").split("-")[0]
        return checkout.open_session(
            setup,
            # Stripe puts the id in; an encoded brace would stay as it is.
            success_url=absolute(request, success) + "?session_id={CHECKOUT_SESSION_ID}",
            cancel_url=absolute(request, reverse("krcard:cancel", args=[setup.public_id])),
            locale=language if language in self.locales else "auto",
        )

    def not_open(self, request, setup: CardSetup, form: ConsentForm):
        newer = _text_in_force(form.text.terms.slug)
        if newer and newer.terms != form.text.terms:
            return self.show_again(request, newer, CHANGED, form.payment)
        # Replaced by a newer agreement of the same customer, in another tab.
        return self.show_again(request, form.text, REPLACED, form.payment)

    def show_again(self, request, text: TermsText, why: str, payment: Payment | None = None):
        """The page as new, with a sentence. Boxes are empty again: this text was not agreed to yet."""
        form = ConsentForm.for_request(request, text, flow=self.flow, payment=payment)
        return self.show_form(form, notice=str(why))


class SetupIntentView(CheckoutSessionView):
    """POST ``create-setup-intent``: the same by the Direct API, without a page of Stripe's in between."""

    flow = CardSetup.Flow.DIRECT

    def open(self, request: HttpRequest, setup: CardSetup) -> CardSetup:
        back = reverse("krcard:return", args=[setup.public_id])
        return direct.open_intent(setup, return_url=absolute(request, back))

    def not_open(self, request, setup: CardSetup, form: ConsentForm):
        if setup.status == CardSetup.Status.FAILED:
            # Stripe said no at once. The page of the result says why.
            return redirect("krcard:return", setup.public_id)
        return super().not_open(request, setup, form)


def _text_in_force(slug: str) -> TermsText | None:
    try:
        validate_slug(slug)
        return text_for(in_force(slug), get_language() or "")
    except (ValidationError, Terms.DoesNotExist, TermsText.DoesNotExist):
        return None
