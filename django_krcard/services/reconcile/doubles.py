"""Customers that Stripe has twice: both bear the name of one of ours, and only one is used."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from django.core.exceptions import ValidationError

from django_krcard import gateway
from django_krcard.models import Customer, of_this_key
from django_krcard.services.reconcile.finding import Finding


def found(since: datetime) -> Iterator[Finding]:
    """Made at Stripe since a moment with our metadata, and not the one that our row knows. By list, not by search:
    Stripe's search is minutes late."""
    for seen in gateway.customers_since(since):
        ours = _named_by(seen)
        if ours and seen.id not in ours.stripe_ids:
            yield Finding("double_customer", "", ours.stripe_id or "", seen.id, ours.reference, "not used")


def _named_by(seen: gateway.Customer) -> Customer | None:
    public_id = seen.metadata.get("krcard_customer")
    if not public_id:
        return None
    try:
        return Customer.objects.filter(**of_this_key(), public_id=public_id).first()
    except ValidationError:
        # Other integrations write what they like into their metadata.
        return None
