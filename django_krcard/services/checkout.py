"""Saving a card on Stripe's hosted page, and paying there at once where that is wanted."""

from __future__ import annotations

import logging

from django.db import transaction

from django_krcard import gateway
from django_krcard.conf import conf
from django_krcard.exceptions import StripeBusy, StripeRefusedRequest
from django_krcard.models import CardSetup, Consent, freeze_params, lock
from django_krcard.services import attempts, first_payments
from django_krcard.services.closing import cancel_setup
from django_krcard.services.customers import ensure_at_stripe
from django_krcard.services.opening import metadata_of, opening, start_anew
from django_krcard.services.setups import refuse_strange
from django_krcard.services.timeline import record

logger = logging.getLogger(__name__)


def start(consent: Consent, *, success_url: str, cancel_url: str, locale: str = "auto") -> CardSetup:
    """Open a Checkout Session under ``consent`` and return the attempt; send the customer to its ``redirect_url``.

    Raises ``ConsentRefused`` unless it is the customer's newest consent, to terms in force, and not withdrawn;
    ``InsideTransaction``; and ``GatewayError`` when Stripe does not do it: then the same consent may be tried again
    and reuses its attempt. Stripe fills ``{CHECKOUT_SESSION_ID}`` in the addresses.
    """
    setup = attempts.under(consent, attempts.Way())
    return open_session(setup, success_url=success_url, cancel_url=cancel_url, locale=locale)


def open_session(setup: CardSetup, *, success_url: str, cancel_url: str, locale: str = "auto") -> CardSetup:
    """Give the attempt its Checkout Session, and only one however often this is called.

    It gets none, and is closed, when its terms were retired after the customer agreed. If Stripe has no such Customer
    any more, what hung on it ends and the attempt goes on with a new one.
    """
    if setup.checkout_session_id:
        return setup
    setup = attempts.close_if_retired(setup)
    if not setup.is_open:
        return setup
    addresses = {"success_url": success_url, "cancel_url": cancel_url, "locale": locale}
    try:
        return _open_session(setup, **addresses)
    except StripeRefusedRequest as error:
        setup = start_anew(setup, error)
    return _open_session(setup, **addresses)


def _open_session(setup: CardSetup, *, success_url: str, cancel_url: str, locale: str) -> CardSetup:
    payment = first_payments.of(setup)
    metadata = metadata_of(setup, payment)
    params = gateway.checkout_session_params(
        customer=ensure_at_stripe(setup.consent.customer),
        public_id=str(setup.public_id),
        success_url=success_url,
        cancel_url=cancel_url,
        locale=locale,
        expires_at=setup.expires_at,
        metadata=metadata,
    )
    if payment:
        name = payment.description or conf.MERCHANT_NAME or payment.reference
        params = gateway.with_payment(params, amount=payment.amount, name=name, description=payment.description)
    params = freeze_params(setup, params)
    try:
        with opening(setup):
            session = gateway.create_checkout_session(params, key=setup.idempotency_key)
    except StripeBusy:
        # The same click once more has the key right now, and may be through already.
        setup.refresh_from_db()
        if setup.checkout_session_id:
            return setup
        raise
    return _session_opened(setup, session)


def _session_opened(setup: CardSetup, session: gateway.CheckoutSession) -> CardSetup:
    refuse_strange(setup, session.id, session.customer, session.client_reference_id, session.livemode)
    with transaction.atomic():
        setup = lock(setup)
        if setup.checkout_session_id:
            return setup
        setup.checkout_session_id = session.id
        setup.setup_intent_id = session.setup_intent or None
        setup.redirect_url = session.url
        setup.save()
        if not setup.is_open:
            # Closed while Stripe was asked. Nobody is sent to this session.
            cancel_setup(setup)
            return setup
        record(setup.mandate, "session_created", actor="system", session=session.id)
        if "kr_card" in conf.PAYMENT_METHOD_TYPES and not session.offers_korean_cards:
            # Newer API versions drop without a word what the account cannot use; the customer sees a plain card form.
            types = list(session.payment_method_types)
            record(setup.mandate, "korean_cards_missing", actor="stripe", session=session.id, offered=types)
            logger.error(
                "Stripe did not offer Korean cards in session %s, only %s. Is kr_card active on the account?",
                session.id,
                types,
            )
    return setup
