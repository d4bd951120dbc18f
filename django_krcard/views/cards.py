"""What a customer has agreed to, and the way out of it."""

from __future__ import annotations

from django.contrib import messages
from django.contrib.auth.mixins import LoginRequiredMixin
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import ValidationError
from django.db.models import Prefetch
from django.http import Http404
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.translation import gettext as _

from django_krcard.models import Charge, Mandate
from django_krcard.services.charges import next_payment_on
from django_krcard.services.mandates import revoke
from django_krcard.services.terms import text_for
from django_krcard.views.base import PageView


class CardsView(LoginRequiredMixin, PageView):
    """GET ``""``: my cards, what I agreed to, what was charged."""

    template_name = "krcard/cards.html"
    charges_shown = 5

    def get(self, request):
        return self.show(mandates=self.get_mandates(request))

    def get_mandates(self, request) -> list[Mandate]:
        """The customer's mandates, newest first. A pending one without a card is a try, not an agreement to show."""
        charges = Charge.objects.exclude(status=Charge.Status.REFUSED).order_by("-created_at")
        mandates = (
            Mandate.objects.filter(customer__user=request.user, payment_method__isnull=False)
            .select_related("customer", "consent__terms", "payment_method")
            .prefetch_related(Prefetch("charges", charges, to_attr="all_charges"), "consent__terms__texts")
        )
        for mandate in mandates:
            mandate.recent_charges = mandate.all_charges[: self.charges_shown]
            mandate.next_payment_on = next_payment_on(mandate)
            mandate.current_text = text_for(mandate.consent.terms, mandate.consent.language)
        return list(mandates)


class OneMandateView(LoginRequiredMixin, PageView):
    def get_mandate(self, request, public_id: str) -> Mandate:
        mandates = Mandate.objects.select_related("customer", "consent__terms", "payment_method")
        try:
            return mandates.get(public_id=public_id, customer__user=request.user)
        except (Mandate.DoesNotExist, ValidationError, ValueError):
            raise Http404("No such mandate.") from None


class MandateView(OneMandateView):
    """GET ``mandates/<public_id>/``: one agreement, with its text as agreed. Printable."""

    template_name = "krcard/mandate.html"

    def get(self, request, public_id):
        mandate = self.get_mandate(request, public_id)
        mandate.next_payment_on = next_payment_on(mandate)
        return self.show(
            mandate=mandate,
            consent=mandate.consent,
            charges=mandate.charges.exclude(status=Charge.Status.REFUSED),
            can_revoke=not mandate.has_ended,
        )


class RevokeView(OneMandateView):
    """POST ``mandates/<public_id>/revoke/``: withdraw. Charges stop at once."""

    http_method_names = ["post", "options"]

    def handle_no_permission(self):
        # Signed out meanwhile: this address takes no GET.
        page = reverse("krcard:mandate", args=[self.kwargs["public_id"]])
        return redirect_to_login(page, self.get_login_url(), self.get_redirect_field_name())

    def post(self, request, public_id):
        mandate = revoke(self.get_mandate(request, public_id), by="customer", reason="withdrawn by the customer")
        messages.success(request, _("The agreement has ended. Nothing more will be charged."), fail_silently=True)
        return redirect("krcard:mandate", mandate.public_id)
