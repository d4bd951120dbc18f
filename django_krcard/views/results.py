"""Back from Stripe: saved, not yet, or not saved and why.

Korean card apps often come back in another browser, without the cookie. So these pages need no login; who is not
signed in as the owner sees the state and nothing else. What the query string says is not read at all.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from urllib.parse import urlencode

from django.contrib.auth.decorators import login_not_required
from django.core.exceptions import ValidationError
from django.http import Http404, JsonResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone
from django.utils.decorators import method_decorator

from django_krcard.exceptions import GatewayError, SetupNotAllowed
from django_krcard.forms import PAGES, sign_payment
from django_krcard.models import CardSetup
from django_krcard.services import first_payments, setups
from django_krcard.standing import next_payment_on
from django_krcard.views.base import PageView

logger = logging.getLogger(__name__)

Status = CardSetup.Status

#: How often Stripe is asked on behalf of somebody who is not signed in as the owner.
STRANGERS_ASK_EVERY = timedelta(seconds=10)


@method_decorator(login_not_required, name="dispatch")
class SetupView(PageView):
    """Find the attempt, ask Stripe how it stands, and hand it to ``answer``."""

    def get(self, request, public_id):
        setup = self.get_setup(public_id)
        self.is_owner = self.is_theirs(request, setup.consent.customer)
        if request.user.is_authenticated and not self.is_owner:
            raise Http404("No such attempt.")
        return self.answer(self.ask_stripe(setup))

    def get_setup(self, public_id: str) -> CardSetup:
        rows = CardSetup.objects.select_related("consent__customer", "consent__terms", "mandate__payment_method")
        try:
            return rows.get(public_id=public_id)
        except (CardSetup.DoesNotExist, ValidationError, ValueError):
            # Unknown, malformed and somebody else's are answered alike, and Stripe is not asked.
            raise Http404("No such attempt.") from None

    def ask_stripe(self, setup: CardSetup) -> CardSetup:
        recently = setup.checked_at and timezone.now() - setup.checked_at < STRANGERS_ASK_EVERY
        if setup.status == Status.COMPLETE or (recently and not self.is_owner):
            return setup
        try:
            setups.complete(setup)
        except GatewayError:
            # Logged at the door. The page says what we know; the webhook or the next look brings the rest.
            return setup
        except SetupNotAllowed:
            raise Http404("No such attempt.") from None
        return self.get_setup(setup.public_id)

    def answer(self, setup: CardSetup):
        raise NotImplementedError

    def state(self, setup: CardSetup) -> str:
        if setup.status == Status.COMPLETE:
            # The agreement may have ended since, and the card was removed with it.
            return "cancelled" if setup.mandate.has_ended else "saved"
        if setup.status == Status.EXPIRED or (setup.is_open and setup.expires_at < timezone.now()):
            return "expired"
        if setup.status == Status.CANCELLED:
            return "cancelled"
        if setup.status == Status.FAILED or setup.failure_code:
            return "failed"
        return "processing"


class SuccessView(SetupView):
    """GET ``success/<public_id>/``. Being here proves nothing; only Stripe's answer does."""

    template_name = "krcard/result.html"

    def answer(self, setup):
        state = self.state(setup)
        mine = self.is_owner and state == "saved"
        if mine:
            setup.mandate.next_payment_on = next_payment_on(setup.mandate)
        return self.show(
            setup=setup,
            state=state,
            is_owner=self.is_owner,
            mandate=setup.mandate if mine else None,
            payment_method=setup.mandate.payment_method if mine else None,
            failure_code=setup.failure_code if self.is_owner else "",
            charge=first_payments.of(setup) if self.is_owner else None,
            retry_url=self.retry_url(setup),
            continue_url=setup.redirect_url if self.is_owner and setup.is_open else "",
        )

    def retry_url(self, setup: CardSetup) -> str:
        """The same page as before, and what was to be paid there."""
        page = reverse(PAGES[setup.flow], args=[setup.consent.terms.slug])
        payment = first_payments.of(setup) if self.is_owner else None
        if payment is None:
            return page
        wanted = first_payments.Payment(payment.amount, payment.reference, payment.description)
        return f"{page}?{urlencode({'pay': sign_payment(wanted, str(self.request.user.pk))})}"


class ReturnView(SuccessView):
    """GET ``return/<public_id>/``: back from the Direct API.

    Stripe adds a client secret to the address. It is not read, and does not stay in the browser's address or history.
    """

    def get(self, request, public_id):
        if request.GET:
            return redirect(request.path)
        return super().get(request, public_id)


class CancelView(SuccessView):
    """GET ``cancel/<public_id>/``: the customer turned back. Changes nothing; if Stripe says saved, it is saved."""

    def state(self, setup):
        state = super().state(setup)
        return "cancelled" if state == "processing" else state


class StatusView(SetupView):
    """GET ``status/<public_id>/``: the state as JSON, for pages that wait with a script of their own."""

    def answer(self, setup):
        return JsonResponse({"status": self.state(setup)})
