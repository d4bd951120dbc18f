"""The saved card, as Stripe shows it: issuers send new numbers and expiry dates for the same card."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Any

from django.db import transaction
from django.utils import timezone

from django_krcard import gateway
from django_krcard.models import PaymentMethod, lock
from django_krcard.rules import ENDED
from django_krcard.services import mandates
from django_krcard.services.timeline import record

logger = logging.getLogger(__name__)

#: What a customer recognises the card by.
SHOWN = ("brand", "last4", "exp_month", "exp_year")


def heard(stripe_id: str) -> Callable[[], Any] | None:
    """Ask Stripe about a card that a message speaks of, and return what writes the answer down; ``None``: not ours."""
    card = PaymentMethod.objects.select_related("customer").filter(stripe_id=stripe_id, detached_at=None).first()
    if card is None:
        return None
    asked_at = timezone.now()
    return partial(follow, card, gateway.retrieve_payment_method(stripe_id), asked_at)


def follow(card: PaymentMethod, told: gateway.Card, asked_at: datetime) -> None:
    """Let a saved card follow what Stripe says of it. Twice, late, in any order: same row, one entry for each change.

    ``asked_at`` is taken before Stripe is asked: an answer to an earlier question than the row's changes nothing.
    A card that Stripe has for nobody was removed.
    """
    if told.id != card.stripe_id or told.customer not in ("", *card.customer.stripe_ids):
        logger.error("Stripe's card %s is not our card %s: not applied", told.id, card.stripe_id)
        return
    if not told.customer:
        mandates.card_detached(card)
        return
    with transaction.atomic():
        card = lock(card, "customer")
        if not card.detached_at and (card.told_at is None or asked_at >= card.told_at):
            _follow(card, told, asked_at)


def _follow(card: PaymentMethod, told: gateway.Card, asked_at: datetime) -> None:
    now = {name: getattr(told, name) for name in SHOWN}
    before = {name: getattr(card, name) for name in SHOWN if getattr(card, name) != now[name]}
    for name, value in now.items():
        setattr(card, name, value)
    card.told_at = asked_at
    card.save(update_fields=[*SHOWN, "told_at"])
    if before:
        for mandate in card.mandates.exclude(status__in=ENDED).order_by("pk"):
            record(mandate, "card_updated", actor="stripe", payment_method=card.stripe_id, **now, before=before)
