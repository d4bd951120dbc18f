"""The terms, the boxes, and the way to Stripe."""

from __future__ import annotations

import logging
import uuid

from django.contrib.auth.mixins import LoginRequiredMixin
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import ValidationError
from django.core.validators import validate_slug
from django.http import Http404, HttpRequest, HttpResponseRedirect
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.cache import patch_cache_control
from django.utils.translation import get_language

from django_krcard.exceptions import ConsentRefused, GatewayError, SetupNotAllowed
from django_krcard.forms import CHANGED, NOT_OURS, REPLACED, ConsentForm, Offer
from django_krcard.models import CardSetup, Customer, Terms, TermsText
from django_krcard.services import checkout
from django_krcard.services.consents import Evidence
from django_krcard.services.customers import get_or_create
from django_krcard.services.terms import in_force, text_for
from django_krcard.views.base import PageView, absolute, client_ip

logger = logging.getLogger(__name__)


class HttpResponseSeeOther(HttpResponseRedirect):
    """After a POST, 303 makes every browser fetch the next page with GET."""

    status_code = 303


class ConsentView(LoginRequiredMixin, PageView):
    """GET ``agree/<slug>/``: what is agreed to, and the boxes."""

    template_name = "krcard/consent.html"

    def get(self, request, slug):
        text = _text_in_force(slug)
        if text is None:
            raise Http404("There are no such terms in force.")
        return self.show_form(ConsentForm.for_request(request, text))

    def show_form(self, form: ConsentForm, **context):
        response = self.show(form=form, text=form.text, terms=form.text.terms, **context)
        # Nothing on it is secret, and the browser may keep it for its own "back": without that, whoever comes back
        # from Stripe to a form with an error meets the browser's own error page.
        patch_cache_control(response, private=True, no_cache=True)
        return response


class CheckoutSessionView(ConsentView):
    """POST ``create-checkout-session``: record the agreement, open the session, go to Stripe."""

    http_method_names = ["post", "options"]
    locales = {"ko", "en"}

    def handle_no_permission(self):
        # Signed out meanwhile. After the log-in comes the page with the terms: this address takes no GET.
        slug = self.request.POST.get("terms", "")
        page = reverse("krcard:consent", args=[slug]) if _text_in_force(slug) else reverse("krcard:cards")
        return redirect_to_login(page, self.get_login_url(), self.get_redirect_field_name())

    def post(self, request):
        text = _text_in_force(request.POST.get("terms", ""))
        if text is None:
            return self.show(status=404, template="krcard/no_terms.html")
        offer = Offer.from_signed(request.POST.get("token", ""))
        if offer:
            # The page may have been open in another language than the browser's present one.
            text = text.terms.texts.select_related("terms").filter(pk=offer.text).first() or text
        if offer is None or not offer.is_for(text, request):
            return self.show_again(request, text, CHANGED if offer else NOT_OURS)
        form = ConsentForm(request.POST, text=text)
        if not form.is_valid():
            return self.show_form(form)
        try:
            setup = self.agree(request, form, offer)
        except ConsentRefused as refused:
            return self.show_again(request, text, str(refused))
        return self.go_to_stripe(request, setup, form)

    def agree(self, request: HttpRequest, form: ConsentForm, offer: Offer) -> CardSetup:
        return checkout.agree(
            self.get_customer(request),
            form.text.terms,
            language=form.text.language,
            ticked=form.ticked(),
            evidence=Evidence(
                ip_address=client_ip(request),
                user_agent=request.headers.get("User-Agent", ""),
                page_url=absolute(request, reverse("krcard:consent", args=[form.text.terms.slug])),
            ),
            attempt=uuid.UUID(offer.attempt),
        )

    def get_customer(self, request: HttpRequest) -> Customer:
        """Who pays. Override it when an organisation pays for the user."""
        return get_or_create(request.user)

    def go_to_stripe(self, request, setup: CardSetup, form: ConsentForm):
        success = reverse("krcard:success", args=[setup.public_id])
        if setup.status == CardSetup.Status.COMPLETE:
            return redirect(success)
        language = (get_language() or "").split("-")[0]
        try:
            setup = checkout.open_session(
                setup,
                # Stripe puts the id in; an encoded brace would stay as it is.
                success_url=absolute(request, success) + "?session_id={CHECKOUT_SESSION_ID}",
                cancel_url=absolute(request, reverse("krcard:cancel", args=[setup.public_id])),
                locale=language if language in self.locales else "auto",
            )
        except GatewayError:
            # Already logged at the door. What the customer agreed to is kept and the same form goes on from there.
            return self.show(status=503, template="krcard/unavailable.html", form=form, text=form.text)
        except SetupNotAllowed:
            return self.show(status=409, template="krcard/unavailable.html", form=form, text=form.text)
        if not setup.is_open and setup.status != CardSetup.Status.COMPLETE:
            # Replaced by a newer agreement of the same customer, in another tab.
            return self.show_again(request, form.text, REPLACED)
        return HttpResponseSeeOther(setup.redirect_url or success)

    def show_again(self, request, text: TermsText, why: str):
        """The page as new, with a sentence. Boxes are empty again: this text was not agreed to yet."""
        form = ConsentForm.for_request(request, text)
        return self.show_form(form, notice=str(why))


def _text_in_force(slug: str) -> TermsText | None:
    try:
        validate_slug(slug)
        return text_for(in_force(slug), get_language() or "")
    except (ValidationError, Terms.DoesNotExist, TermsText.DoesNotExist):
        return None
