"""Leaving a subscription, and staying after all."""

from __future__ import annotations

from django.contrib import messages
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import ValidationError
from django.http import Http404
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.translation import gettext as _

from django_krcard.exceptions import KrcardError
from django_krcard.formatting import kst
from django_krcard.models import Mandate, Subscription
from django_krcard.services.unsubscribing import cancel_subscription, keep_subscription
from django_krcard.views.cards import OneMandateView


class OneSubscriptionView(OneMandateView):
    http_method_names = ["post", "options"]

    def get_subscription(self, request, public_id: str) -> Subscription:
        rows = Subscription.objects.select_related("mandate__customer")
        try:
            return rows.get(public_id=public_id, **self.theirs(request, "mandate__customer"))
        except (Subscription.DoesNotExist, ValidationError, ValueError):
            raise Http404("No such subscription.") from None

    def handle_no_permission(self):
        # Signed out meanwhile: this address takes no GET.
        return redirect_to_login(reverse("krcard:cards"), self.get_login_url(), self.get_redirect_field_name())

    def back(self, mandate: Mandate):
        return redirect("krcard:mandate", mandate.public_id)


class CancelSubscriptionView(OneSubscriptionView):
    """POST ``subscriptions/<public_id>/cancel/``: ``when`` is ``period_end``, or ``now`` with money back."""

    #: Cancelled at once, what was not used is paid back. Korean customers are entitled to it.
    refund_unused = True

    def post(self, request, public_id):
        row = self.get_subscription(request, public_id)
        at_period_end = request.POST.get("when", "period_end") == "period_end"
        row = cancel_subscription(
            row,
            by="customer",
            reason="cancelled by the customer",
            at_period_end=at_period_end,
            refund_unused=self.refund_unused,
        )
        messages.success(request, self.words(row, at_period_end), fail_silently=True)
        return self.back(row.mandate)

    def words(self, row: Subscription, at_period_end: bool) -> str:
        if row.is_over:
            return _("The regular payment has ended. Nothing more will be charged.")
        if at_period_end and row.current_period_end:
            words = _("The regular payment ends on %(when)s. Nothing more will be charged.")
            return words % {"when": kst(row.current_period_end)}
        return _("We have noted your cancellation and are carrying it out. Nothing more is for you to do.")


class KeepSubscriptionView(OneSubscriptionView):
    """POST ``subscriptions/<public_id>/keep/``: take back a cancellation at the end of the period."""

    def post(self, request, public_id):
        row = self.get_subscription(request, public_id)
        try:
            keep_subscription(row, by="customer", reason="kept by the customer")
        except KrcardError:
            messages.error(request, _("It has ended already. To go on, agree again."), fail_silently=True)
        else:
            messages.success(request, _("The regular payment goes on as agreed."), fail_silently=True)
        return self.back(row.mandate)
