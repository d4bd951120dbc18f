"""A payment that its customer makes while the card is saved: under the same consent, and the same gate."""

from __future__ import annotations

from typing import NamedTuple

from django.utils import timezone

from django_krcard.exceptions import ChargeRefused, ReferenceConflict
from django_krcard.models import CardSetup, Charge
from django_krcard.services import gate
from django_krcard.services.timeline import record

Status = Charge.Status

#: Nothing was paid, and nothing can be any more: Stripe has called it off, or was never asked.
WITHOUT_MONEY = frozenset({Status.CANCELLED, Status.REFUSED})


class Payment(NamedTuple):
    """What is paid: whole won, under the site's own reference. The customer sees the description."""

    amount: int
    reference: str
    description: str = ""


def begin(setup: CardSetup, payment: Payment) -> Charge:
    """Make the row of the payment before anybody is sent to Stripe, and keep its place in the limits of the terms.

    It is judged as if the mandate were active under the consent of ``setup`` already: the payment is what makes it so.
    Its customer is here and confirms it, so no notice has to be given before. Raises ``ChargeRefused``, and
    ``ReferenceConflict`` when the reference was used for something else, or may still be paid elsewhere.
    """
    mandate, now = gate.locked(setup.mandate), timezone.now()
    row = mandate.charges.filter(reference=payment.reference).first()
    if row and (row.amount != payment.amount or row.status not in WITHOUT_MONEY):
        raise ReferenceConflict(f"{payment.reference!r} was used for {row.amount} won, which is {row.status}.")
    row = row or Charge(mandate=mandate, reference=payment.reference, amount=payment.amount, attempt=0)
    verdict = gate.judge_first(mandate, setup.consent, payment.amount, now, charge=row)
    if not verdict.allowed:
        raise ChargeRefused(verdict.code, verdict.message)
    row.mandate, row.consent, row.setup = mandate, setup.consent, setup
    row.description = payment.description
    row.attempt += 1
    row.stripe_id, row.payment_method = None, None
    row.status, row.next_step_at = Status.ACTION_REQUIRED, setup.expires_at
    row.refusal_code = row.failure_code = row.decline_code = ""
    # What is asked, and under which key, stands in the attempt: it is one request for both.
    row.idempotency_key, row.params = f"krc1-first-{setup.public_id}", {}
    row.requested_by, row.reason = "customer", ""
    row.due_at = row.first_sent_at = row.last_sent_at = now
    row.sends, row.empty_looks = 1, 0
    row.save()
    record(mandate, "charge_requested", actor="customer", reference=row.reference, amount=row.amount)
    return row


def of(setup: CardSetup) -> Charge | None:
    """The payment that is made with this attempt, if there is one."""
    if setup.mode == CardSetup.Mode.SETUP:
        return None
    return Charge.objects.filter(setup=setup).select_related("mandate__customer").first()
