"""What staff may do to a subscription. Every act has an actor and a reason, and is carried out at Stripe."""

from __future__ import annotations

from django import forms
from django.contrib import messages
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from django_krcard import services
from django_krcard.admin.actions import Outcome, PageAction, ReasonForm
from django_krcard.exceptions import SubscriptionRefused
from django_krcard.formatting import kst, won
from django_krcard.models import Subscription
from django_krcard.services.acts import finish
from django_krcard.services.subscribing import step
from django_krcard.services.subscriptions import compare

PERMISSION = "krcard.change_at_stripe"


class CancelForm(ReasonForm):
    refund_unused = forms.BooleanField(label=gettext_lazy("Pay back the unused days"), required=False, initial=True)

    field_order = ["refund_unused", "reason"]


class CancelNow(PageAction):
    name = "cancel"
    label = gettext_lazy("Cancel at once")
    permission = PERMISSION
    form_class = CancelForm
    is_destructive = True

    def is_possible(self, row: Subscription) -> bool:
        return not row.is_over

    def effects(self, row: Subscription) -> list[str]:
        return [
            _("Stripe charges nothing more for it. This cannot be undone."),
            _("Of the period that is paid, %(amount)s are for unused days.") % {"amount": won(services.pro_rata(row))},
            _("The agreement and the card stay."),
        ]

    def perform(self, row: Subscription, *, by: str, reason: str, refund_unused: bool) -> Outcome:
        row = services.cancel_subscription(row, by=by, reason=reason, refund_unused=refund_unused)
        return outcome_of(row)


class CancelAtPeriodEnd(PageAction):
    name = "leave"
    label = gettext_lazy("Cancel at the end of the period")
    permission = PERMISSION

    def is_possible(self, row: Subscription) -> bool:
        return not row.is_over and not row.cancel_at_period_end and row.current_period_end is not None

    def effects(self, row: Subscription) -> list[str]:
        return [
            _("It goes on until %(when)s, and then nothing more is charged.") % {"when": kst(row.current_period_end)},
            _("Until then this can be taken back."),
        ]

    def perform(self, row: Subscription, *, by: str, reason: str) -> Outcome:
        return outcome_of(services.cancel_subscription(row, at_period_end=True, by=by, reason=reason))


class Keep(PageAction):
    name = "keep"
    label = gettext_lazy("Take the cancellation back")
    permission = PERMISSION

    def is_possible(self, row: Subscription) -> bool:
        return not row.is_over and row.cancel_at_period_end and not row.mandate.has_ended

    def effects(self, row: Subscription) -> list[str]:
        return [_("Stripe goes on charging in each period, as was agreed.")]

    def perform(self, row: Subscription, *, by: str, reason: str) -> Outcome:
        return outcome_of(services.keep_subscription(row, by=by, reason=reason))


class Resume(PageAction):
    name = "resume"
    label = gettext_lazy("Resume collection")
    permission = PERMISSION

    def is_possible(self, row: Subscription) -> bool:
        return not row.is_over and bool(row.paused or row.above_agreed_at)

    def effects(self, row: Subscription) -> list[str]:
        return [
            _("Stripe collects again, also the invoices that were stopped."),
            _("Only if the agreement in force covers the price. Otherwise nothing happens."),
        ]

    def perform(self, row: Subscription, *, by: str, reason: str) -> Outcome:
        try:
            services.resume_collection(row.mandate, by=by, reason=reason)
        except SubscriptionRefused as refusal:
            return Outcome(_("Not resumed. %(why)s") % {"why": refusal.message}, messages.ERROR)
        row.refresh_from_db()
        return outcome_of(row)


class AskStripe(PageAction):
    name = "ask"
    label = gettext_lazy("Compare with Stripe")
    permission = PERMISSION
    form_class = forms.Form

    def effects(self, row: Subscription) -> list[str]:
        return [
            _("Stripe is asked what it knows of this subscription, and this page follows."),
            _("If it is not certain that Stripe has it, it is looked for; the same request is never a second one."),
        ]

    def perform(self, row: Subscription, *, by: str) -> Outcome:
        finish(compare(row) if row.stripe_id else step(row.pk))
        row.refresh_from_db()
        return outcome_of(row)


def outcome_of(row: Subscription) -> Outcome:
    """What Stripe has made of it, or that it is still to be done."""
    if row.changes.filter(status="ready").exists():
        text = _("Noted, and not carried out at Stripe yet. krcard_run_due goes on until it is.")
        return Outcome(text, messages.WARNING)
    if row.status == Subscription.STARTING:
        return Outcome(_("Nobody knows yet whether Stripe has it. krcard_run_due goes on asking."), messages.WARNING)
    if row.is_over:
        return Outcome(_("The subscription is over. Nothing more is charged."))
    if row.cancel_at_period_end:
        return Outcome(_("The subscription ends on %(when)s.") % {"when": kst(row.current_period_end)})
    if row.paused:
        return Outcome(_("The subscription runs, and its collection is paused."), messages.INFO)
    return Outcome(_("The subscription runs."))
