"""What staff may do with a charge, and with a refund of one."""

from __future__ import annotations

from django import forms
from django.contrib import messages
from django.contrib.admin.widgets import AdminIntegerFieldWidget
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from django_krcard import services
from django_krcard.admin.actions import Outcome, PageAction
from django_krcard.admin.mandate_actions import ChargeForm, outcome_of
from django_krcard.admin.wording import sentence_for
from django_krcard.exceptions import ReferenceConflict, RefundRefused
from django_krcard.formatting import card_label, won
from django_krcard.models import Charge, Refund
from django_krcard.rules import MAX_AMOUNT
from django_krcard.services.acts import finish
from django_krcard.services.refunded import left_of
from django_krcard.services.refunds import MESSAGES, sync_refunds
from django_krcard.services.steps import step

Status = Charge.Status


class SendAgain(PageAction):
    name = "send"
    label = gettext_lazy("Send again")
    permission = "krcard.charge_mandate"

    def is_possible(self, charge: Charge) -> bool:
        return not charge.invoice_id and (charge.status in (Status.READY, Status.UNKNOWN) or _was_left(charge))

    def effects(self, charge: Charge) -> list[str]:
        return [
            _("The terms are asked again. Then the same request is sent under the same key: it can charge only once."),
            _("A day after the first try the key has run out, and nothing is sent: Stripe's list is looked through."),
        ]

    def perform(self, charge: Charge, *, by: str, reason: str) -> Outcome:
        again = services.charge(charge.mandate, charge.amount, reference=charge.reference, by=by, reason=reason)
        if again.status == Status.UNKNOWN:
            # Too late for the key. What is due is done; a look that was in vain is not repeated within the hour.
            again = finish(step(again.pk))
        return outcome_of(again)


class CancelCharge(PageAction):
    name = "cancel"
    label = gettext_lazy("Cancel charge")
    permission = "krcard.cancel_charge"
    is_destructive = True

    def is_possible(self, charge: Charge) -> bool:
        if charge.invoice_id:
            # A subscription's: Stripe tries it by itself. To stop that, the subscription is cancelled.
            return False
        unsent = charge.status in (Status.SCHEDULED, Status.READY) and charge.first_sent_at is None
        waits = charge.status == Status.ACTION_REQUIRED or (
            charge.status == Status.DECLINED and charge.next_step_at is not None
        )
        return unsent or (waits and bool(charge.stripe_id))

    def effects(self, charge: Charge) -> list[str]:
        return [
            _("This payment is never made: it is not sent, not tried again, and the customer cannot finish it."),
            _("No money has moved. The agreement stays as it is."),
        ]

    def perform(self, charge: Charge, *, by: str, reason: str) -> Outcome:
        charge = services.cancel_charge(charge, by=by, reason=reason)
        if charge.status == Status.CANCELLED:
            return Outcome(_("Called off, no money moved: %(amount)s.") % {"amount": won(charge.amount)})
        return Outcome(_("It was too late. %(outcome)s") % {"outcome": outcome_of(charge).text}, messages.WARNING)


class RefundForm(ChargeForm):
    # One won may be all that is left; what was paid was never so little.
    amount = forms.IntegerField(
        label=gettext_lazy("Amount (won)"),
        min_value=1,
        max_value=MAX_AMOUNT,
        widget=AdminIntegerFieldWidget(attrs={"class": "krcard-won"}),
    )


class PayBack(PageAction):
    name = "refund"
    label = gettext_lazy("Pay back")
    permission = "krcard.refund_charge"
    form_class = RefundForm
    has_page_id = True

    def is_possible(self, charge: Charge) -> bool:
        return charge.status == Status.SUCCEEDED and left_of(charge) > 0

    def why_not(self, charge: Charge) -> str:
        if not charge.was_taken_back:
            return ""
        return str(_("A disputed payment cannot be paid back.") if charge.is_disputed else MESSAGES["disputed"])

    def effects(self, charge: Charge) -> list[str]:
        names = {"card": card_label(charge.payment_method), "left": won(left_of(charge))}
        goes_on = [_("The agreement stays as it is: what comes next is charged all the same.")]
        return [
            _("The money goes back to %(card)s. This cannot be undone.") % names,
            _("Of this payment %(left)s is left. A part can be paid back, and the rest later.") % names,
            *([] if charge.mandate.has_ended else goes_on),
            _("Sending this page twice pays back once."),
        ]

    def initial(self, charge: Charge) -> dict:
        return {"amount": left_of(charge)}

    def perform(self, charge: Charge, *, by: str, amount: int, reference: str, reason: str) -> Outcome:
        sent_before = charge.refunds.filter(reference=reference).exists()
        try:
            refund = services.refund(charge, amount, reference=reference, by=by, reason=reason)
        except RefundRefused as refusal:
            return Outcome(_("Not paid back. %(why)s") % {"why": refusal}, messages.ERROR)
        except ReferenceConflict:
            text = _("This page was already used to pay back another amount. Nothing was sent now. Open it again.")
            return Outcome(text, messages.ERROR)
        outcome = outcome_of_refund(refund)
        if not sent_before:
            return outcome
        text = _("This page was sent before, and nothing was paid back anew. %(outcome)s")
        return Outcome(text % {"outcome": outcome.text}, messages.INFO)


class AskAboutRefund(PageAction):
    name = "ask"
    label = gettext_lazy("Find out now")
    permission = "krcard.refund_charge"
    form_class = forms.Form

    def is_possible(self, refund: Refund) -> bool:
        return refund.next_step_at is not None

    def effects(self, refund: Refund) -> list[str]:
        return [
            _("Stripe is asked what became of this refund."),
            _("If it knows nothing of it, the same request is sent under the same key: it can pay back only once."),
        ]

    def perform(self, refund: Refund, *, by: str) -> Outcome:
        sync_refunds(refund.charge)
        return outcome_of_refund(
            services.refund(refund.charge, refund.amount, reference=refund.reference, by=by),
        )


def outcome_of_refund(refund: Refund) -> Outcome:
    amount = won(refund.amount)
    names = {"amount": amount, "card": card_label(refund.charge.payment_method)}
    if refund.status == Refund.Status.SUCCEEDED:
        return Outcome(_("%(amount)s paid back to %(card)s.") % names)
    if refund.status == Refund.Status.PENDING:
        return Outcome(_("%(amount)s is on its way back. The result will be shown here.") % names, messages.INFO)
    if refund.status in (Refund.Status.FAILED, Refund.Status.CANCELLED):
        text = _("Not paid back: %(amount)s. %(sentence)s (%(code)s)")
        code = refund.failure_code
        return Outcome(text % {**names, "sentence": sentence_for(code), "code": code}, messages.ERROR)
    if refund.status == Refund.Status.READY:
        text = _("Not paid back yet: Stripe turned %(amount)s away for the moment. krcard_run_due sends it again.")
        return Outcome(text % names, messages.WARNING)
    text = _("Nobody knows yet whether %(amount)s went back. Do not pay back anew: look at the refund below.")
    return Outcome(text % names, messages.WARNING)


def _was_left(charge: Charge) -> bool:
    """Who was sending it is gone."""
    return charge.status == Status.SENDING and charge.next_step_at <= timezone.now()
