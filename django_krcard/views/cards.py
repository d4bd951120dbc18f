"""What a customer has agreed to, and the way out of it."""

from __future__ import annotations

from django.contrib import messages
from django.contrib.auth.mixins import LoginRequiredMixin
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import ValidationError
from django.db.models import Prefetch, QuerySet
from django.http import Http404, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import get_language
from django.utils.translation import gettext as _

from django_krcard.models import Charge, Mandate, Refund, Subscription
from django_krcard.services import amendments, present
from django_krcard.services.evidence_pack import FORMS, customers_copy
from django_krcard.services.gate import day_of
from django_krcard.services.terms import text_for
from django_krcard.services.unsubscribing import pro_rata, withdraw
from django_krcard.standing import next_payment_on
from django_krcard.views.base import PageView

#: Money that is to go back to the customer and may not have arrived.
ON_THE_WAY = Refund.COUNTED - {Refund.Status.SUCCEEDED}


class CardsView(LoginRequiredMixin, PageView):
    """GET ``""``: my cards, what I agreed to, what was charged."""

    template_name = "krcard/cards.html"
    charges_shown = 5

    def get(self, request):
        return self.show(mandates=self.get_mandates(request))

    def get_mandates(self, request) -> list[Mandate]:
        """The customer's mandates, newest first. A pending one without a card is a try, not an agreement to show."""
        mandates = (
            Mandate.objects.filter(**self.theirs(request), payment_method__isnull=False)
            .select_related("customer", "consent__terms", "payment_method")
            .prefetch_related(
                Prefetch("charges", shown_charges(), to_attr="all_charges"),
                "amendments__terms",
                "consent__terms__texts",
                "subscriptions",
            )
        )
        for mandate in mandates:
            add_payments(mandate, mandate.all_charges)
            add_subscriptions(mandate)
            mandate.recent_charges = mandate.past_charges[: self.charges_shown]
            mandate.change = amendments.of_interest(mandate)
            mandate.current_text = text_for(mandate.consent.terms, mandate.consent.language)
        return list(mandates)


def shown_charges() -> QuerySet[Charge]:
    """What a customer may see, newest first: what the terms refused never left the house."""
    return Charge.objects.exclude(status=Charge.Status.REFUSED).order_by("-created_at").prefetch_related("refunds")


def add_payments(mandate: Mandate, charges: list[Charge]) -> None:
    """Sort ``charges`` for the pages: what is planned, what waits for the customer, what was."""
    now = timezone.now()
    planned = [charge for charge in charges if charge.status == Charge.Status.SCHEDULED]
    for charge in charges:
        charge.mandate = mandate
        charge.due_on = day_of(charge.due_at)
        charge.waits = not mandate.has_ended and present.waits_for_customer(charge) and not present.is_late(charge, now)
        on_the_way = (refund.amount for refund in charge.refunds.all() if refund.status in ON_THE_WAY)
        charge.refunding_amount = sum(on_the_way)
    mandate.planned_charges = sorted(planned, key=lambda charge: charge.due_at)
    mandate.waiting_charges = [charge for charge in charges if charge.waits]
    mandate.past_charges = [charge for charge in charges if charge not in planned]
    mandate.next_payment_on = None if planned else next_payment_on(mandate)


def add_subscriptions(mandate: Mandate, *, unused: bool = False) -> None:
    """What charges under a mandate by itself, for the pages; ``unused``: and what cancelling now gives back."""
    mandate.running_subscriptions = [row for row in mandate.subscriptions.all() if row.status not in Subscription.OVER]
    for row in mandate.running_subscriptions:
        row.mandate = mandate
        row.unused = pro_rata(row) if unused else 0
        row.next_on = row.current_period_end and day_of(row.current_period_end)


class OneMandateView(LoginRequiredMixin, PageView):
    def get_mandate(self, request, public_id: str) -> Mandate:
        mandates = Mandate.objects.select_related("customer", "consent__terms", "payment_method")
        try:
            return mandates.get(public_id=public_id, **self.theirs(request))
        except (Mandate.DoesNotExist, ValidationError, ValueError):
            raise Http404("No such mandate.") from None


class MandateView(OneMandateView):
    """GET ``mandates/<public_id>/``: one agreement, with its text as agreed. Printable."""

    template_name = "krcard/mandate.html"

    def get(self, request, public_id):
        mandate = self.get_mandate(request, public_id)
        add_payments(mandate, list(shown_charges().filter(mandate=mandate)))
        mandate.change = amendments.of_interest(mandate)
        add_subscriptions(mandate, unused=True)
        return self.show(
            mandate=mandate,
            consent=mandate.consent,
            charges=mandate.past_charges,
            can_revoke=not mandate.has_ended,
        )


class MandateCopyView(OneMandateView):
    """GET ``mandates/<public_id>/copy/``: the customer's own copy of what proves the agreement, to keep.

    ``?form=html`` (a page to print or save, shown at once), ``json`` or ``zip`` (all of it, with a program that
    verifies it).
    """

    form = "html"

    def get(self, request, public_id):
        mandate = self.get_mandate(request, public_id)
        form = request.GET.get("form", self.form)
        if form not in FORMS:
            raise Http404("No such form.")
        pack = customers_copy(mandate, language=get_language())
        response = HttpResponse(pack.as_bytes(form), content_type=FORMS[form])
        where = "inline" if form == "html" else "attachment"
        response.headers["Content-Disposition"] = f'{where}; filename="{mandate.reference}.{form}"'
        return response


class RevokeView(OneMandateView):
    """POST ``mandates/<public_id>/revoke/``: withdraw. Charges stop at once."""

    #: Of a subscription that ends with it what was not used is paid back.
    refund_unused = True

    http_method_names = ["post", "options"]

    def handle_no_permission(self):
        # Signed out meanwhile: this address takes no GET.
        page = reverse("krcard:mandate", args=[self.kwargs["public_id"]])
        return redirect_to_login(page, self.get_login_url(), self.get_redirect_field_name())

    def post(self, request, public_id):
        mandate = self.get_mandate(request, public_id)
        mandate = withdraw(mandate, by="customer", reason="withdrawn by the customer", refund_unused=self.refund_unused)
        messages.success(request, _("The agreement has ended. Nothing more will be charged."), fail_silently=True)
        return redirect("krcard:mandate", mandate.public_id)
