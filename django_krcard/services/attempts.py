"""Attempts to save a card: the consent recorded, and one open attempt under it. Does not talk to Stripe."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from datetime import timedelta
from typing import NamedTuple

from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _

from django_krcard.exceptions import ConsentRefused
from django_krcard.models import CardSetup, Consent, Customer, Mandate, Terms, lock
from django_krcard.services import first_payments
from django_krcard.services.closing import cancel_setup
from django_krcard.services.consents import Evidence, give, statuses_for
from django_krcard.services.first_payments import Payment
from django_krcard.services.mandates import for_consent
from django_krcard.services.timeline import record

#: An attempt that ends sooner than this is not offered again.
WORTH_REUSING = timedelta(minutes=5)


class Way(NamedTuple):
    """How a customer goes about it: by which of Stripe's flows, with what, and what is paid at once."""

    flow: str = CardSetup.Flow.CHECKOUT
    #: Only the Direct API is told before.
    method_type: str = ""
    payment: Payment | None = None

    def is_that_of(self, setup: CardSetup) -> bool:
        charge = first_payments.of(setup)
        paid = charge and Payment(charge.amount, charge.reference, charge.description)
        return (self.flow, self.method_type, self.payment) == (setup.flow, setup.method_type, paid)


def agree(
    customer: Customer,
    terms: Terms,
    *,
    language: str,
    ticked: Iterable[str],
    evidence: Evidence,
    attempt: uuid.UUID,
    way: Way | None = None,
) -> CardSetup:
    """Record the consent and the attempt to save a card in one transaction. Does not talk to Stripe.

    ``attempt`` is the id made with the form: sending the form twice is one agreement and one attempt. An attempt of
    the same customer that is open under an equal agreement and goes the same way is returned in place of a new one;
    one that is open under another agreement is closed. Raises ``ConsentRefused``; with a payment ``ChargeRefused``
    and ``ReferenceConflict``, and then nothing is recorded.
    """
    ticked, way = sorted(ticked), way or Way()
    with transaction.atomic():
        customer = lock(customer)
        same_form = CardSetup.objects.filter(public_id=attempt, consent__customer=customer).first()
        if (
            same_form
            and _still_stands(same_form)
            and _is_equal(same_form.consent, terms, language, ticked)
            and way.is_that_of(same_form)
        ):
            return same_form
        others = list(open_attempts(customer).filter(consent__terms__slug=terms.slug))
        for other in others:
            if _is_equal(other.consent, terms, language, ticked) and way.is_that_of(other):
                return other
        consent = give(customer, terms, language=language, ticked=ticked, evidence=evidence)
        # First, so that a mandate is not ended that the new attempt goes on with.
        setup = _new_attempt(consent, uuid.uuid4() if same_form else attempt, way)
        for other in others:
            cancel_setup(other)
    return setup


def under(consent: Consent, way: Way) -> CardSetup:
    """The open attempt under ``consent`` that goes this way, or a new one. Raises as ``agree``."""
    with transaction.atomic():
        customer = lock(consent.customer)
        _refuse_spent(consent)
        attempts = open_attempts(customer).filter(consent=consent)
        same = next((setup for setup in attempts if way.is_that_of(setup)), None)
        return same or _new_attempt(consent, uuid.uuid4(), way)


def open_attempts(customer: Customer) -> QuerySet[CardSetup]:
    """Attempts whose page at Stripe is open, or can still be asked for."""
    now = timezone.now()
    lasting = Q(expires_at__gt=now + WORTH_REUSING)
    to_be_asked_for = Q(flow=CardSetup.Flow.CHECKOUT, checkout_session_id=None)
    soon_over = to_be_asked_for & Q(expires_at__lte=now + CardSetup.SHORTEST_SESSION)
    open_ones = CardSetup.objects.filter(lasting, consent__customer=customer, status=CardSetup.Status.OPEN)
    return open_ones.exclude(soon_over).select_related("consent__terms", "mandate")


def _still_stands(setup: CardSetup) -> bool:
    return setup.is_open or (setup.status == CardSetup.Status.COMPLETE and not setup.mandate.has_ended)


def _refuse_spent(consent: Consent) -> None:
    """A consent carries a new attempt only while it is the customer's last word and nothing came after it."""
    same_terms = Consent.objects.filter(customer=consent.customer, terms__slug=consent.terms.slug)
    # By when it was given: what is on paper may be recorded long after that.
    after_it = Q(given_at__gt=consent.given_at) | Q(given_at=consent.given_at, pk__gt=consent.pk)
    withdrawn = [Mandate.Status.REVOKED, Mandate.Status.INACTIVE]
    # Asked of the database: the terms in the caller's hand may have been retired since.
    if not is_in_force(consent):
        raise ConsentRefused(_("These terms are not in force any more. Please read the new ones."))
    ended = Mandate.objects.filter(customer=consent.customer, consent__terms__slug=consent.terms.slug)
    # A record keeps milliseconds only: who withdraws and agrees again within one has agreed again.
    after = consent.given_at + timedelta(milliseconds=1)
    ended_since = ended.filter(status__in=withdrawn, ended_at__gte=after).exists()
    if (
        ended_since
        or same_terms.filter(after_it).exists()
        or consent.setups.filter(mandate__status__in=withdrawn).exists()
    ):
        raise ConsentRefused(_("This agreement was withdrawn or replaced. Please agree again."))


def is_in_force(consent: Consent) -> bool:
    """Whether terms that were agreed to where this consent was given can carry a new card."""
    return Terms.objects.filter(pk=consent.terms_id, status__in=statuses_for(consent.source)).exists()


def close_if_retired(setup: CardSetup) -> CardSetup:
    """Nobody is sent to Stripe under terms that were retired after the customer agreed."""
    if is_in_force(setup.consent):
        return setup
    with transaction.atomic():
        setup = lock(setup)
        if setup.is_open:
            cancel_setup(setup)
    return setup


def _is_equal(consent: Consent, terms: Terms, language: str, ticked: list[str]) -> bool:
    return (consent.terms_id, consent.language, sorted(consent.ticked)) == (terms.pk, language, ticked)


def _new_attempt(consent: Consent, public_id: uuid.UUID, way: Way) -> CardSetup:
    mandate = for_consent(consent)
    record_consent(mandate, consent)
    setup = CardSetup.objects.create(
        public_id=public_id,
        mandate=mandate,
        consent=consent,
        flow=way.flow,
        mode=CardSetup.Mode.PAYMENT if way.payment else CardSetup.Mode.SETUP,
        method_type=way.method_type,
        expires_at=timezone.now() + CardSetup.LIFETIME,
    )
    if way.payment:
        first_payments.begin(setup, way.payment)
    return setup


def record_consent(mandate: Mandate, consent: Consent) -> None:
    by = consent.recorded_by or "customer"
    record(mandate, "consent_given", actor=by, consent=str(consent.public_id), terms=str(consent.terms))
