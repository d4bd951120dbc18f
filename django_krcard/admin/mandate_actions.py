"""What staff may do to a mandate. Every act has an actor and, where it is a decision, a reason."""

from __future__ import annotations

from datetime import datetime, time, timedelta
from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.admin.widgets import AdminIntegerFieldWidget
from django.core.exceptions import ValidationError
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from django_krcard import services
from django_krcard.admin.actions import Outcome, PageAction, ReasonForm
from django_krcard.admin.mandate_page import head_of
from django_krcard.admin.wording import why
from django_krcard.conf import conf
from django_krcard.exceptions import ChargeRefused, ReferenceConflict
from django_krcard.formatting import card_label, kst, won
from django_krcard.models import Charge, Mandate
from django_krcard.rules import MAX_AMOUNT, MIN_AMOUNT, AmountKind, Rule
from django_krcard.services.mandates import sync_with_stripe


class ChargeForm(ReasonForm):
    #: From the address of the page: however often it is sent, it is one charge.
    reference = forms.RegexField(r"^admin-[0-9a-f]{32}\Z", widget=forms.HiddenInput)
    amount = forms.IntegerField(
        label=gettext_lazy("Amount (won)"),
        min_value=MIN_AMOUNT,
        max_value=MAX_AMOUNT,
        widget=AdminIntegerFieldWidget(attrs={"class": "krcard-won"}),
    )

    field_order = ["reference", "amount", "reason"]


class LocalDateTimeField(forms.DateTimeField):
    """A moment where the terms rule, wherever the admin's own clock stands."""

    widget = forms.DateTimeInput(attrs={"type": "datetime-local", "class": "krcard-when"}, format="%Y-%m-%dT%H:%M")

    def prepare_value(self, value: Any) -> Any:
        with timezone.override(conf.TIME_ZONE):
            return super().prepare_value(value)

    def to_python(self, value: Any) -> datetime | None:
        with timezone.override(conf.TIME_ZONE):
            return super().to_python(value)


class ScheduleForm(ChargeForm):
    due_at = LocalDateTimeField(
        label=gettext_lazy("Date and time"), help_text=gettext_lazy("In the time zone of the terms (Korea: KST).")
    )

    field_order = ["reference", "amount", "due_at", "reason"]

    def clean_due_at(self) -> datetime:
        due_at = self.cleaned_data["due_at"]
        if due_at <= timezone.now():
            raise ValidationError(_("This moment is over. To charge now, use “Charge”."))
        return due_at


class MandateAction(PageAction):
    def context(self, mandate: Mandate) -> dict:
        return head_of(mandate)


class ChargeMandate(MandateAction):
    name = "charge"
    label = gettext_lazy("Charge")
    permission = "krcard.charge_mandate"
    form_class = ChargeForm
    has_page_id = True

    def is_possible(self, mandate: Mandate) -> bool:
        return mandate.status == Mandate.Status.ACTIVE

    def effects(self, mandate: Mandate) -> list[str]:
        label = card_label(mandate.payment_method)
        return [
            _("The amount is taken from %(card)s now, while the customer is away.") % {"card": label},
            _("If the agreed terms do not cover it, it is refused and Stripe is not asked."),
            _("Sending this page twice charges once."),
        ]

    def initial(self, mandate: Mandate) -> dict:
        return {"amount": usual_amount(mandate)}

    def perform(self, mandate: Mandate, *, by: str, amount: int, reference: str, reason: str) -> Outcome:
        sent_before = mandate.charges.filter(reference=reference).exclude(status=Charge.Status.REFUSED).exists()
        try:
            charge = services.charge(mandate, amount, reference=reference, by=by, reason=reason)
        except ChargeRefused as refusal:
            return Outcome(_("Not charged. %(why)s") % {"why": refusal.message}, messages.ERROR)
        except ReferenceConflict:
            text = _("This page was already used to charge another amount. Nothing was sent now. Open it again.")
            return Outcome(text, messages.ERROR)
        outcome = outcome_of(charge)
        if not sent_before:
            return outcome
        text = _("This page was sent before, and nothing was charged anew. %(outcome)s")
        return Outcome(text % {"outcome": outcome.text}, messages.INFO)


class ScheduleCharge(MandateAction):
    name = "schedule"
    label = gettext_lazy("Schedule a charge")
    permission = "krcard.charge_mandate"
    form_class = ScheduleForm
    has_page_id = True

    def is_possible(self, mandate: Mandate) -> bool:
        return mandate.status in (Mandate.Status.ACTIVE, Mandate.Status.ON_HOLD)

    def effects(self, mandate: Mandate) -> list[str]:
        return [
            _("At that time krcard_run_due takes the amount, while the customer is away."),
            _("The agreed terms are asked now, and again then. What they cannot cover is refused at once."),
            *self.notice(mandate),
            _("Sending this page twice plans one charge."),
        ]

    def notice(self, mandate: Mandate) -> list[str]:
        days = sorted({Rule.from_dict(mandate.consent.rule).notice_days, *conf.NOTICE_DAYS} - {0}, reverse=True)
        text = _("The customer is told in advance. Days before: %(days)s.")
        return [text % {"days": ", ".join(map(str, days))}] if days else []

    def initial(self, mandate: Mandate) -> dict:
        tomorrow = timezone.localdate(timezone=conf.TIME_ZONE) + timedelta(days=1)
        day = max(services.next_payment_on(mandate) or tomorrow, tomorrow)
        return {"amount": usual_amount(mandate), "due_at": datetime.combine(day, time(10), conf.TIME_ZONE)}

    def perform(
        self, mandate: Mandate, *, by: str, amount: int, due_at: datetime, reference: str, reason: str
    ) -> Outcome:
        asked = {"reference": reference, "due_at": due_at, "by": by, "reason": reason}
        try:
            charge = services.schedule_charge(mandate, amount, **asked)
        except ChargeRefused as refusal:
            return Outcome(_("Not planned. %(why)s") % {"why": refusal.message}, messages.ERROR)
        except ReferenceConflict:
            text = _("This page was already used to plan another charge. Nothing was planned now. Open it again.")
            return Outcome(text, messages.ERROR)
        if charge.status != Charge.Status.SCHEDULED:
            return outcome_of(charge)
        return Outcome(_("%(amount)s will be charged on %(when)s.") % {"amount": won(amount), "when": kst(due_at)})


def usual_amount(mandate: Mandate) -> int | None:
    """What a form begins with: the one amount that the terms allow."""
    rule = Rule.from_dict(mandate.consent.rule)
    return rule.amount if rule.amount_kind == AmountKind.FIXED else None


def outcome_of(charge: Charge) -> Outcome:
    names = {"amount": won(charge.amount), "card": card_label(charge.payment_method)}
    Status = Charge.Status
    if charge.status == Status.SUCCEEDED:
        return Outcome(_("%(amount)s charged to %(card)s.") % names)
    if charge.status == Status.CANCELLED:
        return Outcome(_("Called off, no money moved: %(amount)s.") % names, messages.WARNING)
    if charge.status == Status.DECLINED:
        code, sentence = why(charge)
        text = _("Declined, no money moved: %(amount)s, %(card)s. %(sentence)s (%(code)s)")
        return Outcome(text % {**names, "sentence": sentence, "code": code}, messages.ERROR)
    if charge.status == Status.ACTION_REQUIRED:
        text = _("Not charged: the issuer wants the customer to be present for %(amount)s.")
        return Outcome(text % names, messages.WARNING)
    if charge.status == Status.PROCESSING:
        return Outcome(_("%(amount)s is being processed. The result will be shown here.") % names, messages.INFO)
    if charge.status == Status.READY:
        text = _("Not charged yet: Stripe turned %(amount)s away for the moment. krcard_run_due sends it again.")
        return Outcome(text % names, messages.WARNING)
    if charge.status == Status.SCHEDULED:
        text = _("Planned, not charged yet: %(amount)s on %(when)s.")
        return Outcome(text % {**names, "when": kst(charge.due_at)}, messages.INFO)
    text = _("Nobody knows yet whether %(amount)s was charged. Do not charge anew: send the charge below again.")
    return Outcome(text % names, messages.WARNING)


class EndMandate(MandateAction):
    name = "end"
    label = gettext_lazy("End agreement")
    permission = "krcard.cancel_mandate"
    is_destructive = True

    def is_possible(self, mandate: Mandate) -> bool:
        return not mandate.has_ended

    def effects(self, mandate: Mandate) -> list[str]:
        found = [_("From now on nothing can be charged under this agreement. This cannot be undone.")]
        if mandate.payment_method and not mandate.payment_method.detached_at:
            text = _("%(card)s is removed at Stripe, unless another living agreement uses it.")
            found.append(text % {"card": card_label(mandate.payment_method)})
        return [
            *found,
            _("What was charged stays charged. Nothing is paid back."),
            _("The records stay: text, consent, timeline and charges."),
        ]

    def perform(self, mandate: Mandate, *, by: str, reason: str) -> Outcome:
        services.revoke(mandate, by=by, reason=reason)
        return Outcome(_("The agreement has ended. Nothing can be charged any more."))


class HoldMandate(MandateAction):
    name = "hold"
    label = gettext_lazy("Put on hold")
    permission = "krcard.cancel_mandate"

    def is_possible(self, mandate: Mandate) -> bool:
        return mandate.can_be_held

    def effects(self, mandate: Mandate) -> list[str]:
        return [
            _("Every charge is refused until someone resumes the agreement."),
            _("The card stays saved. The customer is not told."),
        ]

    def perform(self, mandate: Mandate, *, by: str, reason: str) -> Outcome:
        services.hold(mandate, by=by, reason=reason)
        return Outcome(_("The agreement is on hold. Charges are refused until it is resumed."))


class ResumeMandate(MandateAction):
    name = "resume"
    label = gettext_lazy("Resume")
    permission = "krcard.cancel_mandate"

    def is_possible(self, mandate: Mandate) -> bool:
        return mandate.status == Mandate.Status.ON_HOLD

    def effects(self, mandate: Mandate) -> list[str]:
        return [_("What the agreed terms cover can be charged again, at once.")]

    def perform(self, mandate: Mandate, *, by: str, reason: str) -> Outcome:
        services.resume(mandate, by=by, reason=reason)
        return Outcome(_("The agreement is active again."))


class CompareWithStripe(MandateAction):
    name = "compare"
    label = gettext_lazy("Compare with Stripe")
    # What Stripe says may end the mandate.
    permission = "krcard.cancel_mandate"
    form_class = forms.Form

    def is_possible(self, mandate: Mandate) -> bool:
        return bool(mandate.payment_method_id or mandate.stripe_id)

    def effects(self, mandate: Mandate) -> list[str]:
        return [
            _("Stripe is asked whether the card is still saved and its mandate still valid."),
            _("If it says no, that is written down here, and nothing can be charged any more."),
        ]

    def perform(self, mandate: Mandate, *, by: str) -> Outcome:
        before = _state(mandate)
        after = _state(sync_with_stripe(mandate))
        if after == before:
            return Outcome(_("Stripe says the same: nothing has changed."))
        return Outcome(_("Stripe says otherwise: this page now shows what it says."), messages.WARNING)


def _state(mandate: Mandate) -> tuple:
    card = mandate.payment_method
    return mandate.status, card and card.detached_at
