"""Saving a card on Stripe's hosted page: the attempt, the session, and what came of it."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterable
from datetime import timedelta

from django.db import transaction
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext as _

from django_krcard import gateway
from django_krcard.conf import conf
from django_krcard.exceptions import (
    ConsentRefused,
    SetupNotAllowed,
    StripeBusy,
    StripeRefusedRequest,
    StripeUnavailable,
)
from django_krcard.models import CardSetup, Consent, Customer, Mandate, Terms, freeze_params, lock
from django_krcard.services.consents import Evidence, give
from django_krcard.services.customers import ensure_at_stripe
from django_krcard.services.mandates import cancel_setup, fail, for_consent, keep_card, use_card
from django_krcard.services.timeline import record

logger = logging.getLogger(__name__)

#: A session that ends sooner than this is not offered again.
WORTH_REUSING = timedelta(minutes=5)


def start(consent: Consent, *, success_url: str, cancel_url: str, locale: str = "auto") -> CardSetup:
    """Open a Checkout Session under ``consent`` and return the attempt; send the customer to its ``redirect_url``.

    Raises ``ConsentRefused`` unless it is the customer's newest consent, to terms in force, and not withdrawn;
    ``InsideTransaction``; and ``GatewayError`` when Stripe does not do it: then the same consent may be tried again
    and reuses its attempt. Stripe fills ``{CHECKOUT_SESSION_ID}`` in the addresses.
    """
    with transaction.atomic():
        customer = lock(consent.customer)
        _refuse_spent(consent)
        setup = _open_attempts(customer).filter(consent=consent).first() or _new_attempt(consent, uuid.uuid4())
    return open_session(setup, success_url=success_url, cancel_url=cancel_url, locale=locale)


def agree(
    customer: Customer,
    terms: Terms,
    *,
    language: str,
    ticked: Iterable[str],
    evidence: Evidence,
    attempt: uuid.UUID,
) -> CardSetup:
    """Record the consent and the attempt to save a card in one transaction. Does not talk to Stripe.

    ``attempt`` is the id made with the form: sending the form twice is one agreement and one attempt. An attempt of
    the same customer that is open under an equal agreement is returned in place of a new one; one that is open under
    another agreement is closed. Raises ``ConsentRefused``.
    """
    ticked = sorted(ticked)
    with transaction.atomic():
        customer = lock(customer)
        same_form = CardSetup.objects.filter(public_id=attempt, consent__customer=customer).first()
        if same_form and _still_stands(same_form) and _is_equal(same_form.consent, terms, language, ticked):
            return same_form
        others = _open_attempts(customer).filter(consent__terms__slug=terms.slug)
        for other in others:
            if _is_equal(other.consent, terms, language, ticked):
                return other
        consent = give(customer, terms, language=language, ticked=ticked, evidence=evidence)
        setup = _new_attempt(consent, uuid.uuid4() if same_form else attempt)
        for other in others:
            cancel_setup(other)
    return setup


def open_session(setup: CardSetup, *, success_url: str, cancel_url: str, locale: str = "auto") -> CardSetup:
    """Give the attempt its Checkout Session, and only one however often this is called."""
    if setup.checkout_session_id:
        return setup
    params = freeze_params(
        setup,
        gateway.checkout_session_params(
            customer=ensure_at_stripe(setup.consent.customer),
            public_id=str(setup.public_id),
            success_url=success_url,
            cancel_url=cancel_url,
            locale=locale,
            expires_at=setup.expires_at,
            metadata={
                "krcard_setup": str(setup.public_id),
                "krcard_consent": str(setup.consent.public_id),
                "krcard_consent_hash": setup.consent.record_hash,
            },
        ),
    )
    try:
        session = gateway.create_checkout_session(params, key=setup.idempotency_key)
    except StripeBusy:
        # The same click once more has the key right now, and may be through already.
        setup.refresh_from_db()
        if setup.checkout_session_id:
            return setup
        raise
    except StripeRefusedRequest as error:
        # What is wrong with the request stays wrong under this key. The next try is a new attempt.
        failed = {"status": CardSetup.Status.FAILED, "failure_code": error.code, "redirect_url": ""}
        CardSetup.objects.filter(pk=setup.pk, status=CardSetup.Status.OPEN).update(**failed)
        raise
    except StripeUnavailable as error:
        if error.http_status:
            # An answer, and Stripe repeats it under this key for a day. A session that was made all the same is
            # nobody's: its address was never handed out.
            CardSetup.objects.filter(pk=setup.pk, attempt=setup.attempt).update(attempt=setup.attempt + 1)
        raise
    return _session_opened(setup, session)


def complete(setup: CardSetup, *, session_id: str = "") -> Mandate | None:
    """Ask Stripe what became of the attempt and write it down. Return the mandate if the card is saved.

    Result page and webhook both call this; twice, late or in any order it ends in the same rows and one ``card_saved``.
    ``session_id`` is for a message that is here before our own answer from Stripe. Raises ``SetupNotAllowed`` when
    Stripe says that the session is not this attempt's, ``GatewayError`` when Stripe does not answer.
    """
    session_id = setup.checkout_session_id or session_id
    if setup.status == CardSetup.Status.COMPLETE:
        return setup.mandate
    if not session_id:
        return None
    CardSetup.objects.filter(pk=setup.pk).update(checked_at=timezone.now())
    session = gateway.retrieve_checkout_session(session_id)
    _refuse_strange(setup, session)
    with transaction.atomic():
        mandate, setup = lock(setup.mandate), lock(setup)
        return _apply(setup, mandate, session)


def _apply(setup: CardSetup, mandate: Mandate, session: gateway.CheckoutSession) -> Mandate | None:
    """Let our rows follow Stripe's session. The one place where that is written; both rows are locked."""
    if setup.status == CardSetup.Status.COMPLETE:
        return mandate
    setup.checkout_session_id = session.id
    setup.setup_intent_id = session.setup_intent or None
    if session.status == "complete" and session.setup_status == "succeeded" and session.card:
        setup.failure_code = ""
        card = keep_card(mandate.customer, session.card)
        if mandate.has_ended:
            # Withdrawn while the customer was at Stripe: what was withdrawn stays so, and the card goes.
            _finish(setup, CardSetup.Status.CANCELLED)
            return None
        _finish(setup, CardSetup.Status.COMPLETE)
        if _is_newest_complete(setup):
            use_card(mandate, setup.consent, card, stripe_id=session.mandate, status=session.mandate_status)
        return mandate
    failed_again, setup.failure_code = session.failure_code != setup.failure_code, session.failure_code
    if failed_again and session.failure_code:
        record(mandate, "setup_failed", actor="stripe", code=session.failure_code)
    if session.status == "expired" and setup.is_open:
        _finish(setup, CardSetup.Status.EXPIRED)
        record(mandate, "setup_expired", actor="stripe")
        fail(mandate, Mandate.Status.EXPIRED, reason="no card was saved in time")
    elif session.setup_status == "canceled" and setup.is_open:
        _finish(setup, CardSetup.Status.FAILED)
        fail(mandate, Mandate.Status.FAILED, reason="the attempt was cancelled at Stripe")
    else:
        setup.save()
    return None


def _is_newest_complete(setup: CardSetup) -> bool:
    """An attempt that finishes late does not undo what the customer agreed to and saved after it."""
    later = setup.mandate.setups.filter(status=CardSetup.Status.COMPLETE, pk__gt=setup.pk)
    return not later.exists()


def _open_attempts(customer: Customer):
    """Attempts whose session is open, or can still be asked for."""
    now = timezone.now()
    with_session = Q(checkout_session_id__isnull=False, expires_at__gt=now + WORTH_REUSING)
    without = Q(checkout_session_id=None, expires_at__gt=now + CardSetup.SHORTEST_SESSION)
    open_ones = CardSetup.objects.filter(consent__customer=customer, status=CardSetup.Status.OPEN)
    return open_ones.filter(with_session | without).select_related("consent__terms", "mandate")


def _still_stands(setup: CardSetup) -> bool:
    return setup.is_open or (setup.status == CardSetup.Status.COMPLETE and not setup.mandate.has_ended)


def _refuse_spent(consent: Consent) -> None:
    """A consent carries a new attempt only while it is the customer's last word and nothing came after it."""
    same_terms = Consent.objects.filter(customer=consent.customer, terms__slug=consent.terms.slug)
    withdrawn = [Mandate.Status.REVOKED, Mandate.Status.INACTIVE]
    # Asked of the database: the terms in the caller's hand may have been retired since.
    if not Terms.objects.filter(pk=consent.terms_id, status=Terms.Status.PUBLISHED).exists():
        raise ConsentRefused(_("These terms are not in force any more. Please read the new ones."))
    if same_terms.filter(pk__gt=consent.pk).exists() or consent.setups.filter(mandate__status__in=withdrawn).exists():
        raise ConsentRefused(_("This agreement was withdrawn or replaced. Please agree again."))


def _is_equal(consent: Consent, terms: Terms, language: str, ticked: list[str]) -> bool:
    return (consent.terms_id, consent.language, sorted(consent.ticked)) == (terms.pk, language, ticked)


def _new_attempt(consent: Consent, public_id: uuid.UUID) -> CardSetup:
    mandate = for_consent(consent)
    record(mandate, "consent_given", actor="customer", consent=str(consent.public_id), terms=str(consent.terms))
    return CardSetup.objects.create(
        public_id=public_id,
        mandate=mandate,
        consent=consent,
        expires_at=timezone.now() + CardSetup.LIFETIME,
    )


def _session_opened(setup: CardSetup, session: gateway.CheckoutSession) -> CardSetup:
    _refuse_strange(setup, session)
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


def _refuse_strange(setup: CardSetup, session: gateway.CheckoutSession) -> None:
    customer = setup.consent.customer
    told = (session.customer, session.client_reference_id, session.livemode)
    if told != (customer.stripe_id, str(setup.public_id), customer.livemode):
        logger.error("Session %s is not that of attempt %s: refused", session.id, setup.public_id)
        raise SetupNotAllowed(f"Stripe says that session {session.id} belongs to somebody else.")


def _finish(setup: CardSetup, status: str) -> None:
    setup.status = status
    setup.redirect_url = ""
    setup.save()
