"""A payment that waits for its customer: what it is about, the way to the issuer's page, and what came of it."""

from __future__ import annotations

import logging

from django.contrib.auth.decorators import login_not_required
from django.contrib.auth.mixins import LoginRequiredMixin
from django.contrib.auth.views import redirect_to_login
from django.core.cache import cache
from django.core.exceptions import ValidationError
from django.http import Http404
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.utils.translation import get_language
from django.utils.translation import gettext_lazy as _

from django_krcard.exceptions import ChargeRefused, GatewayError
from django_krcard.models import Charge, Terms
from django_krcard.services import gate, present
from django_krcard.services.terms import in_force, text_for
from django_krcard.views.agree import HttpResponseSeeOther
from django_krcard.views.base import PageView, absolute, is_safe

logger = logging.getLogger(__name__)

Status = Charge.Status

#: A charge in the customer's words. What is not here is on its way, and being checked.
STATES = {
    Status.SCHEDULED: "planned",
    Status.SUCCEEDED: "paid",
    Status.ACTION_REQUIRED: "open",
    Status.DECLINED: "failed",
    Status.CANCELLED: "failed",
}

#: Seconds between two questions to Stripe on behalf of somebody who is not signed in as the owner.
STRANGERS_ASK_EVERY = 10

#: Why a payment stopped, to the customer. By Stripe's more precise word, then by the other one.
STOPPED = {
    "authentication_required": _("Your card company wants you to confirm this payment yourself."),
    "payment_intent_authentication_failure": _("Your card company did not get your confirmation."),
    "payment_intent_payment_attempt_expired": _("The time to confirm at your card company ran out."),
    "payment_method_customer_decline": _("The payment was declined in your card company's app."),
    "expired_card": _("Your card has expired."),
    "expired_payment_method": _("Your card has expired."),
}
STOPPED_SOMEHOW = _("Your card company did not approve this payment.")

ENDED = _("The agreement has ended. Nothing is charged under it any more.")
AGREE_AGAIN = _("The terms were changed. Please read them and agree again; then you can pay.")
NO_CARD = _("Your card was removed. Please save another card; then you can pay.")
USED_UP = _("What you agreed to pay for this period is paid already.")
#: Why it cannot be finished now, to the customer. By the gate's codes; the site's own business is none of theirs.
WHY_NOT = {
    "consent_withdrawn": ENDED,
    "after_end": ENDED,
    "overdue": _("The time to finish this payment is over."),
    "terms_changed": AGREE_AGAIN,
    "amount_not_agreed": AGREE_AGAIN,
    "amount_over_limit": AGREE_AGAIN,
    "price_change_not_agreed": AGREE_AGAIN,
    "card_missing": NO_CARD,
    "card_detached": NO_CARD,
    "already_used": USED_UP,
    "period_count_reached": USED_UP,
    "period_amount_reached": USED_UP,
}
#: What agreeing again, with this card or another one, puts right.
MENDED_BY_AGREEING = ("", AGREE_AGAIN, NO_CARD)
NOT_NOW = _("This payment cannot be made at the moment. Please ask our customer service.")
NO_ANSWER = _("Our payment provider did not answer in time. Please try again: you never pay twice.")


class ChargeView(LoginRequiredMixin, PageView):
    """GET ``charges/<public_id>/``: what is to be paid, why it stopped, and what to do about it."""

    template_name = "krcard/charge.html"

    def get(self, request, public_id):
        return self.show_charge(self.get_charge(public_id))

    def get_charge(self, public_id: str) -> Charge:
        return find_charge(public_id, **self.theirs(self.request, "mandate__customer"))

    def show_charge(self, charge: Charge, *, status: int = 200, notice: str = ""):
        waits = present.waits_for_customer(charge)
        why_not = self.why_not(charge) if waits else ""
        mandate = charge.mandate
        return self.show(
            status=status,
            charge=charge,
            mandate=mandate,
            # The card that would be asked now, which may be another than the one that was.
            payment_method=mandate.payment_method,
            text=text_for(mandate.consent.terms, get_language() or ""),
            state="open" if waits else STATES.get(charge.status, "processing"),
            why=why_stopped(charge),
            why_not=why_not,
            notice=notice,
            another_card_url=consent_url(mandate.consent.terms) if waits and why_not in MENDED_BY_AGREEING else "",
        )

    def why_not(self, charge: Charge) -> str:
        """Why the customer cannot finish the payment now. Empty: they can."""
        verdict = present.may_finish(charge, timezone.now())
        if verdict.allowed:
            return ""
        return ENDED if charge.mandate.has_ended else WHY_NOT.get(verdict.code, NOT_NOW)


class FinishChargeView(ChargeView):
    """POST ``charges/<public_id>/finish/``: the same payment once more, confirmed by its customer at the issuer's."""

    http_method_names = ["post", "options"]

    def handle_no_permission(self):
        # Signed out meanwhile: this address takes no GET.
        page = reverse("krcard:charge", args=[self.kwargs["public_id"]])
        return redirect_to_login(page, self.get_login_url(), self.get_redirect_field_name())

    def post(self, request, public_id):
        charge = self.get_charge(public_id)
        back = reverse("krcard:charge-return", args=[charge.public_id])
        try:
            address = present.finish_charge(charge, return_url=absolute(request, back))
        except ChargeRefused:
            return self.show_charge(self.get_charge(public_id), status=409)
        except GatewayError:
            # Already logged at the door. The next click goes on where this one stopped.
            return self.show_charge(self.get_charge(public_id), status=503, notice=NO_ANSWER)
        if not address:
            return redirect(back)
        if not is_safe(address):
            logger.critical("Charge %s: Stripe's address to confirm it is not https", charge.public_id)
            return self.show_charge(self.get_charge(public_id), status=503, notice=NOT_NOW)
        return HttpResponseSeeOther(address)


@method_decorator(login_not_required, name="dispatch")
class ChargeReturnView(PageView):
    """GET ``charges/<public_id>/return/``: back from the issuer's page. Being here proves nothing.

    Card apps often come back in another browser, without the cookie: who is not signed in as the owner sees the state
    and nothing else. Stripe adds a client secret to the address. It is not read, and does not stay in the browser's
    address or history.
    """

    template_name = "krcard/charge_result.html"

    def get(self, request, public_id):
        if request.GET:
            return redirect(request.path)
        charge = find_charge(public_id)
        is_owner = self.is_theirs(request, charge.mandate.customer)
        if request.user.is_authenticated and not is_owner:
            raise Http404("No such charge.")
        charge = self.ask_stripe(charge, is_owner=is_owner)
        return self.show(
            state=STATES.get(charge.status, "processing"),
            is_owner=is_owner,
            charge_url=reverse("krcard:charge", args=[charge.public_id]),
            charge=charge if is_owner else None,
            payment_method=charge.payment_method if is_owner else None,
        )

    def ask_stripe(self, charge: Charge, *, is_owner: bool) -> Charge:
        is_over = charge.status not in (Status.ACTION_REQUIRED, Status.PROCESSING)
        if is_over or not (cache.add(f"krcard-asked-{charge.public_id}", True, STRANGERS_ASK_EVERY) or is_owner):
            return charge
        try:
            present.look(charge)
        except GatewayError:
            # Logged at the door. The page says what we know; the webhook or the next look brings the rest.
            return charge
        return find_charge(charge.public_id)


def find_charge(public_id, **owner) -> Charge:
    """A charge that a customer may see: what the terms refused never left the house."""
    rows = Charge.objects.exclude(status=Status.REFUSED).select_related(
        "payment_method", "mandate", *(f"mandate__{name}" for name in gate.RELATED)
    )
    try:
        return rows.get(public_id=public_id, **owner)
    except (Charge.DoesNotExist, ValidationError, ValueError):
        # Unknown, malformed and somebody else's are answered alike, and Stripe is not asked.
        raise Http404("No such charge.") from None


def why_stopped(charge: Charge) -> str:
    codes = (charge.decline_code, charge.failure_code)
    return next((STOPPED[code] for code in codes if code in STOPPED), STOPPED_SOMEHOW)


def consent_url(terms: Terms) -> str:
    """Where the customer agrees anew and saves another card, if these terms are still offered."""
    try:
        return reverse("krcard:consent", args=[in_force(terms.slug).slug])
    except Terms.DoesNotExist:
        return ""
