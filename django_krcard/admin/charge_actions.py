"""What staff may do with a charge."""

from __future__ import annotations

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from django_krcard import services
from django_krcard.admin.actions import Outcome, PageAction
from django_krcard.admin.mandate_actions import outcome_of
from django_krcard.models import Charge


class SendAgain(PageAction):
    name = "send"
    label = gettext_lazy("Send again")
    permission = "krcard.charge_mandate"

    def is_possible(self, charge: Charge) -> bool:
        return charge.status in (Charge.Status.READY, Charge.Status.UNKNOWN)

    def effects(self, charge: Charge) -> list[str]:
        return [
            _("The terms are asked again. Then the same request is sent under the same key: it can charge only once."),
            _("A day after the first try the key has run out, and nothing is sent."),
        ]

    def perform(self, charge: Charge, *, by: str, reason: str) -> Outcome:
        again = services.charge(charge.mandate, charge.amount, reference=charge.reference, by=by, reason=reason)
        return outcome_of(again)
