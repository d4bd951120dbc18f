"""What staff may do about personal data: hand it over, erase it, or keep it for a court."""

from __future__ import annotations

import json

from django import forms
from django.contrib import messages
from django.http import HttpResponse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from django_krcard.admin.actions import Outcome, PageAction, ReasonForm
from django_krcard.models import Customer, Mandate
from django_krcard.services.privacy import erase_customer, export_customer, lift_hold, plan_erasure, set_hold


class EraseForm(ReasonForm):
    force_personal = forms.BooleanField(
        label=gettext_lazy("Also from where the consents came"),
        required=False,
        help_text=gettext_lazy("It is part of the proof, and the law keeps proof for years. Ask a lawyer first."),
    )

    field_order = ["force_personal", "reason"]


class ExportPerson(PageAction):
    name = "export"
    label = gettext_lazy("Export personal data")
    permission = "krcard.export_person"

    def effects(self, customer: Customer) -> list[str]:
        return [_("All that is known here about this person, as JSON, to hand to them.")]

    def perform(self, customer: Customer, *, by: str, reason: str) -> Outcome:
        words = json.dumps(export_customer(customer), ensure_ascii=False, indent=2)
        response = HttpResponse(words, content_type="application/json")
        response.headers["Content-Disposition"] = f'attachment; filename="{customer.public_id}.json"'
        response.headers["Cache-Control"] = "no-store"
        return Outcome(_("Personal data exported."), response=response)


class ErasePerson(PageAction):
    name = "erase"
    label = gettext_lazy("Erase person")
    permission = "krcard.erase_person"
    form_class = EraseForm
    is_destructive = True

    def effects(self, customer: Customer) -> list[str]:
        plan = plan_erasure(customer)
        if plan.forbidden:
            return [_("This cannot be done now."), *plan.forbidden]
        names = {"mandates": plan.mandates, "cards": plan.cards, "notices": plan.notices, "kept": plan.origins_kept}
        return [
            _("Agreements that end: %(mandates)d. Cards that are removed at Stripe: %(cards)d.") % names,
            _("Notices whose words and addresses are erased: %(notices)d.") % names,
            _("The customer is cut loose from the user, and gets a name that says nothing."),
            _("Payments and consents stay as the law requires. Their hashes still hold."),
            _("Consents whose origin is kept as proof for now: %(kept)d.") % names,
            _("This cannot be undone. The customer at Stripe stays: erase it there."),
        ]

    def perform(self, customer: Customer, *, by: str, reason: str, force_personal: bool) -> Outcome:
        did = erase_customer(customer, by=by, reason=reason, force_personal=force_personal)
        if did.cards_left:
            text = _("Erased. Cards that Stripe did not remove yet: %(left)d. krcard_run_due goes on trying.")
            return Outcome(text % {"left": did.cards_left}, messages.WARNING)
        return Outcome(_("The person was erased."))


class SetHold(PageAction):
    name = "legal-hold"
    label = gettext_lazy("Set legal hold")
    permission = "krcard.set_legal_hold"

    def is_possible(self, row: Customer | Mandate) -> bool:
        return not row.legal_hold

    def effects(self, row: Customer | Mandate) -> list[str]:
        return [_("Until the hold is lifted nothing about this is erased: not by age, and not because somebody asks.")]

    def perform(self, row: Customer | Mandate, *, by: str, reason: str) -> Outcome:
        set_hold(row, by=by, reason=reason)
        return Outcome(_("The legal hold is set."))


class LiftHold(PageAction):
    name = "lift-hold"
    label = gettext_lazy("Lift legal hold")
    permission = "krcard.set_legal_hold"

    def is_possible(self, row: Customer | Mandate) -> bool:
        return bool(row.legal_hold)

    def effects(self, row: Customer | Mandate) -> list[str]:
        return [
            _("It is held for: %(reason)s") % {"reason": row.legal_hold},
            _("What is due by age goes with the next krcard_prune."),
        ]

    def perform(self, row: Customer | Mandate, *, by: str, reason: str) -> Outcome:
        lift_hold(row, by=by, reason=reason)
        return Outcome(_("The legal hold is lifted."))
