"""Consent taken elsewhere: on paper, by phone, or brought along from another system."""

from __future__ import annotations

from collections.abc import Iterable

from django.db import IntegrityError, transaction
from django.utils.translation import gettext as _

from django_krcard.exceptions import ConsentRefused
from django_krcard.models import Consent, Customer, Terms, lock
from django_krcard.services.consents import Evidence, give, to_milliseconds


def record(
    customer: Customer, terms: Terms, *, language: str, ticked: Iterable[str], evidence: Evidence
) -> tuple[Consent, bool]:
    """``consents.give``, once for each ``evidence.reference``. Returns the consent, and whether it is new.

    Raises ``ConsentRefused``, also when the reference was used for another agreement.
    """
    ticked = set(ticked)
    try:
        with transaction.atomic():
            customer = lock(customer)
            known = evidence.reference and Consent.objects.filter(source_reference=evidence.reference).first()
            if not known:
                return give(customer, terms, language=language, ticked=ticked, evidence=evidence), True
    except IntegrityError as error:
        # At the same moment, for another customer.
        raise _conflict(evidence) from error
    if not _is_same(known, customer, terms, language, ticked, evidence):
        raise _conflict(evidence)
    return known, False


def _is_same(
    consent: Consent, customer: Customer, terms: Terms, language: str, ticked: set[str], evidence: Evidence
) -> bool:
    attached, kept = evidence.attachment, getattr(consent, "attachment", None)
    if kept and (attached is None or bytes(kept.content) != attached.content):
        return False
    if evidence.given_at and consent.given_at != to_milliseconds(evidence.given_at):
        return False
    said = (customer.pk, terms.pk, language, ticked, evidence.source)
    return said == (consent.customer_id, consent.terms_id, consent.language, set(consent.ticked), consent.source)


def _conflict(evidence: Evidence) -> ConsentRefused:
    return ConsentRefused(
        _("The reference %(reference)s was used for another agreement.") % {"reference": evidence.reference}
    )
