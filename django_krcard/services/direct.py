"""Saving a card by the Direct API: the server confirms, and the customer is sent to the card processor's page.

No card field and no script of Stripe's is needed for that. The address of that page and the client secret are kept
nowhere: whoever comes once more is told by Stripe again.
"""

from __future__ import annotations

import logging
from typing import Any

from django.db import transaction

from django_krcard import gateway
from django_krcard.exceptions import CardDeclined, SetupNotAllowed, StripeBusy, StripeRefusedRequest
from django_krcard.models import CardSetup, Charge, Consent, freeze_params, lock
from django_krcard.services import attempts, first_payments, setups
from django_krcard.services.closing import cancel_setup
from django_krcard.services.customers import ensure_at_stripe
from django_krcard.services.opening import metadata_of, opening, start_anew
from django_krcard.services.timeline import record

logger = logging.getLogger(__name__)

#: What can be saved without a card field on the page.
METHOD_TYPES = ("kr_card", "naver_pay", "kakao_pay")


def start(consent: Consent, *, return_url: str, method_type: str = "kr_card") -> CardSetup:
    """Create and confirm a SetupIntent under ``consent`` and return the attempt; send the customer to its
    ``redirect_url``. Empty: nothing is left to confirm, and the attempt says what came of it.

    Stripe is told of the very acceptance that the consent records: when, from which address, with which browser.
    Raises ``ConsentRefused`` and ``GatewayError`` as ``start_checkout`` does, and ``SetupNotAllowed`` for a consent
    that has no address or browser. https://docs.stripe.com/payments/kr-card/set-up-future-payments?payment-ui=direct-api
    """
    way = attempts.Way(CardSetup.Flow.DIRECT, method_type)
    return open_intent(attempts.under(consent, way), return_url=return_url)


def open_intent(setup: CardSetup, *, return_url: str) -> CardSetup:
    """Give the attempt its SetupIntent, or the PaymentIntent that pays as well, and only one however often this is
    called. Retired terms and deleted Customers are met as by ``checkout.open_session``."""
    try:
        return _open_intent(setup, return_url=return_url)
    except StripeRefusedRequest as error:
        setup = start_anew(setup, error)
    return _open_intent(setup, return_url=return_url)


def _open_intent(setup: CardSetup, *, return_url: str) -> CardSetup:
    payment = first_payments.of(setup)
    if not setup.is_open:
        return setup
    if payment and setup.attempt > 1:
        # The last answer was an error, under a key that is not used any more. The payment may be there all the same.
        setups.find_payment(setup, payment)
    if seen := setups.look(setup):
        return _go_on(setup, seen)
    setup = attempts.close_if_retired(setup)
    if not setup.is_open:
        return setup
    acceptance = _acceptance(setup.consent)
    asked = {
        "customer": ensure_at_stripe(setup.consent.customer),
        "method_type": setup.method_type,
        "return_url": return_url,
        "metadata": metadata_of(setup, payment),
    }
    # The acceptance is not kept a second time: it is read from the consent, which never changes either.
    try:
        with opening(setup):
            if payment:
                params = gateway.first_payment_params(amount=payment.amount, description=payment.description, **asked)
                params = freeze_params(setup, params) | acceptance
                seen = setups.seen_in_payment(gateway.create_first_payment(params, key=setup.idempotency_key))
            else:
                params = freeze_params(setup, gateway.setup_intent_params(**asked)) | acceptance
                seen = setups.seen_in_setup_intent(gateway.create_setup_intent(params, key=setup.idempotency_key))
    except CardDeclined as error:
        return _declined(setup, payment, error)
    except StripeBusy:
        # The same click once more has the key right now, and may be through already.
        setup.refresh_from_db()
        if seen := setups.look(setup):
            return _go_on(setup, seen)
        raise
    return _opened(setup, seen)


def _acceptance(consent: Consent) -> dict[str, Any]:
    if not (consent.ip_address and consent.user_agent):
        logger.error(
            "Consent %s has no address or no browser, which Stripe wants to know. Behind a proxy set "
            "KRCARD_TRUSTED_PROXY_COUNT.",
            consent.public_id,
        )
        raise SetupNotAllowed("The Direct API needs to know from where, and with which browser, the customer agreed.")
    return gateway.mandate_data(
        accepted_at=consent.given_at, ip_address=consent.ip_address, user_agent=consent.user_agent
    )


def _opened(setup: CardSetup, seen: setups.Seen) -> CardSetup:
    """Keep the id first, so that whoever comes next asks for this one."""
    with transaction.atomic():
        setup = lock(setup, "consent")
        # A message may have been faster than this answer, and told us of it.
        known = setup.setup_intent_id or (seen.payment and first_payments.of(setup).stripe_id)
        if not known:
            setup.setup_intent_id = seen.setup_intent_id or None
            setup.save(update_fields=["setup_intent_id"])
            if seen.payment:
                Charge.objects.filter(setup=setup, stripe_id=None).update(stripe_id=seen.payment.id)
            stripe_id = seen.payment.id if seen.payment else seen.setup_intent_id
            record(setup.mandate, "setup_intent_created", actor="system", intent=stripe_id)
            if not setup.is_open:
                # Closed while Stripe was asked. Nobody is sent there.
                cancel_setup(setup)
        if not setup.is_open:
            return setup
    return _go_on(setup, seen)


def _go_on(setup: CardSetup, seen: setups.Seen) -> CardSetup:
    if seen.status == CardSetup.Status.OPEN and seen.redirect_url:
        setup.redirect_url = seen.redirect_url
        return setup
    # Nothing is left to confirm, as with what needs no redirect. What was made of it is asked for in full.
    setups.complete(setup)
    setup.refresh_from_db()
    if setup.is_open and seen.is_waiting:
        logger.error("Attempt %s: Stripe wants an action of the customer and gives no address for it", setup.public_id)
        raise SetupNotAllowed("Stripe gives no address to send the customer to.")
    return setup


def _declined(setup: CardSetup, payment: Charge | None, error: CardDeclined) -> CardSetup:
    """Stripe executed it and said no at once."""
    if payment and error.payment_intent:
        Charge.objects.filter(pk=payment.pk, stripe_id=None).update(stripe_id=error.payment_intent)
        setups.complete(setup)
    else:
        setups.follow(setup, setups.Seen(CardSetup.Status.FAILED, failure_code=error.code))
    setup.refresh_from_db()
    return setup
