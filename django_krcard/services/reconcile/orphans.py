"""Stripe has a payment of ours, and we have no row of it: a backup was restored."""

from __future__ import annotations

from django.db import transaction
from django.utils import timezone

from django_krcard import gateway, rules
from django_krcard.models import Charge, Mandate
from django_krcard.services import backup, gate
from django_krcard.services.reconcile.finding import Finding


def adopt(intent: gateway.PaymentIntent, *, fix: bool) -> Finding:
    mandate = Mandate.objects.get(public_id=intent.metadata["krcard_mandate"])
    reference = intent.metadata.get("krcard_reference", "")
    charge = backup.adopt(intent) if fix else None
    if charge and charge.status == Charge.Status.ACTION_REQUIRED and not _is_covered(charge):
        # Its next step is that it is called off, and now it is due.
        Charge.objects.filter(pk=charge.pk, status=charge.status).update(next_step_at=timezone.now())
    adopted = charge is not None and charge.stripe_id == intent.id
    there = f"{intent.status}, {intent.amount:,} won"
    return Finding("orphan", mandate.reference, reference, intent.id, "", there, adopted)


def _is_covered(charge: Charge) -> bool:
    """Whether the terms, as they are now, cover a payment that was not made yet."""
    with transaction.atomic():
        verdict = gate.judge(gate.locked(charge.mandate), charge.amount, timezone.now(), charge=charge)
    return verdict.allowed or verdict.code in rules.WAITING
