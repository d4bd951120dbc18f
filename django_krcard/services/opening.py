"""The request that opens an attempt to save a card at Stripe, and what follows when Stripe does not do it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import transaction

from django_krcard.exceptions import StripeRefusedRequest, StripeUnavailable
from django_krcard.models import CardSetup, Charge, lock
from django_krcard.services import first_payments
from django_krcard.services.attempts import record_consent
from django_krcard.services.customers import is_gone
from django_krcard.services.mandates import customer_deleted, for_consent
from django_krcard.services.outcomes import settle


def metadata_of(setup: CardSetup, payment: Charge | None) -> dict[str, str]:
    """What Stripe is told of an attempt, and tells again with all that comes of it."""
    told = {
        "krcard_setup": str(setup.public_id),
        "krcard_consent": str(setup.consent.public_id),
        "krcard_consent_hash": setup.consent.record_hash,
    }
    if payment is None:
        return told
    return told | {"krcard_mandate": str(setup.mandate.public_id), "krcard_reference": payment.reference}


@contextmanager
def opening(setup: CardSetup) -> Iterator[None]:
    """Around the request: what a failure means for the next try. It is raised all the same."""
    try:
        yield
    except StripeRefusedRequest as error:
        # What is wrong with the request stays wrong under this key. The next try is a new attempt.
        give_up(setup, error.code)
        raise
    except StripeUnavailable as error:
        if error.http_status:
            # An answer, and Stripe repeats it under this key for a day. What was made all the same is nobody's: its
            # address was never handed out.
            CardSetup.objects.filter(pk=setup.pk, attempt=setup.attempt).update(attempt=setup.attempt + 1)
        raise


def start_anew(setup: CardSetup, error: StripeRefusedRequest) -> CardSetup:
    """If Stripe has deleted the customer of an attempt: end what hung on that, and let the attempt go on without it.

    What the customer has just agreed to stands, and gets a mandate of its own. Otherwise ``error`` is raised, and also
    when something was to be paid: that was judged under the mandate before, and the next click begins it anew.
    """
    if error.code != "resource_missing" or not is_gone(setup.consent.customer):
        raise error
    with transaction.atomic():
        customer = lock(setup.consent.customer)
        customer_deleted(setup.consent.customer)
        setup = lock(setup, "consent")
        setup.consent.customer = customer
        if not first_payments.of(setup):
            setup.mandate = for_consent(setup.consent)
            setup.status, setup.failure_code = CardSetup.Status.OPEN, ""
            # Nothing was made under the old key, and other parameters need another one.
            setup.params, setup.attempt = {}, setup.attempt + 1
            setup.save(update_fields=["mandate", "status", "failure_code", "params", "attempt"])
            record_consent(setup.mandate, setup.consent)
    if not setup.is_open:
        raise error
    customer.refresh_from_db()
    return setup


def give_up(setup: CardSetup, code: str) -> None:
    failed = {"status": CardSetup.Status.FAILED, "failure_code": code, "redirect_url": ""}
    CardSetup.objects.filter(pk=setup.pk, status=CardSetup.Status.OPEN).update(**failed)
    if payment := first_payments.of(setup):
        settle(payment, Charge.Status.CANCELLED, ours=True, code=code or "invalid_request", tell=False)
