"""Attempts to save a card that are over here, and shall be over at Stripe."""

from __future__ import annotations

import logging

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from django_krcard import gateway
from django_krcard.exceptions import GatewayError, StripeRefusedRequest
from django_krcard.models import CardSetup, Charge, Terms, lock_all
from django_krcard.services.timeline import record

logger = logging.getLogger(__name__)


def cancel_setup(setup: CardSetup) -> None:
    """Close an open attempt, here and, once this is committed, at Stripe.

    Should the customer be through with it all the same, that counts: see ``setups.follow``.
    """
    setup.status = CardSetup.Status.CANCELLED
    setup.redirect_url = ""
    setup.save(update_fields=["status", "redirect_url"])
    Charge.objects.filter(setup=setup, status=Charge.Status.ACTION_REQUIRED).update(next_step_at=timezone.now())
    transaction.on_commit(lambda: _close_at_stripe(setup), robust=True)


def open_under_older(terms: Terms) -> QuerySet[CardSetup]:
    """Attempts that are open under an older version of the same terms."""
    attempts = CardSetup.objects.filter(status=CardSetup.Status.OPEN, consent__terms__slug=terms.slug)
    return attempts.filter(consent__terms__version__lt=terms.version).select_related("mandate")


def close_under_older(terms: Terms, *, by: str) -> int:
    """Close them all: nobody goes on to Stripe under words that are not in force any more. Returns how many.

    The mandates stay as they are. One that is pending is taken up when its customer agrees to the new words, and ends
    when Stripe says that its session is over.
    """
    with transaction.atomic():
        # Mandate before attempt, as everywhere.
        mandates = lock_all([setup.mandate for setup in open_under_older(terms)])
        setups = lock_all(open_under_older(terms).filter(mandate__in=mandates), "mandate")
        closed = [setup for setup in setups if setup.is_open]
        for setup in closed:
            cancel_setup(setup)
            record(setup.mandate, "setup_closed", actor=by, terms=str(terms), session=setup.checkout_session_id)
    return len(closed)


def close_at_stripe(setup: CardSetup) -> None:
    """Nothing can be saved or paid with it any more, unless that has happened already. Raises ``GatewayError``.

    One that Stripe's answer was never heard of has no address that anybody knows.
    """
    try:
        if setup.checkout_session_id:
            gateway.expire_checkout_session(setup.checkout_session_id, key=f"krc1-expire-{setup.public_id}")
        elif setup.setup_intent_id:
            gateway.cancel_setup_intent(setup.setup_intent_id, key=f"krc1-cancel-setup-{setup.public_id}")
        elif payment := Charge.objects.filter(setup=setup).exclude(stripe_id=None).first():
            gateway.cancel_payment_intent(payment.stripe_id, key=f"krc1-cancel-{setup.public_id}")
    except StripeRefusedRequest:
        # It is over there as well, one way or the other: whoever wants to know asks.
        return


def _close_at_stripe(setup: CardSetup) -> None:
    try:
        close_at_stripe(setup)
    except GatewayError as error:
        # A session ends by itself at expires_at; a card that is saved all the same is removed again.
        logger.warning("Attempt %s could not be closed at Stripe: %s", setup.public_id, error)
