"""How far we have read what Stripe keeps, in the mode of the key."""

from __future__ import annotations

from datetime import datetime

from django.utils import timezone

from django_krcard.conf import conf
from django_krcard.models import Mandate, Watermark

PAYMENTS = "payment_intents"
EVENTS = "events"


def since(name: str) -> datetime:
    """From when on it has to be read."""
    if at := all_of_them().get(name):
        return at
    # Never read: nothing of ours can be older than the first mandate.
    first = Mandate.objects.order_by("created_at").first()
    return first.created_at if first else timezone.now()


def all_of_them() -> dict[str, datetime]:
    """How far each was read; what never was is missing."""
    marks = Watermark.objects.filter(name__endswith=_of_this_mode(""))
    return {mark.name.removesuffix(_of_this_mode("")): mark.at for mark in marks}


def move(name: str, at: datetime) -> None:
    """Everything up to ``at`` was read, and what came of it is committed."""
    Watermark.objects.update_or_create(name=_of_this_mode(name), defaults={"at": at})


def _of_this_mode(name: str) -> str:
    account = f":{conf.STRIPE_ACCOUNT}" if conf.STRIPE_ACCOUNT else ""
    return f"{name}:{'live' if conf.LIVEMODE else 'test'}{account}"
