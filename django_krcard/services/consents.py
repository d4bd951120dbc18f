"""The record of a customer's written agreement."""

from __future__ import annotations

import hmac
import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from django.db import transaction
from django.utils import timezone
from django.utils.crypto import salted_hmac
from django.utils.translation import gettext as _

from django_krcard import signals
from django_krcard.conf import conf
from django_krcard.exceptions import ConsentRefused
from django_krcard.models import Consent, Customer, Terms, TermsText, lock
from django_krcard.services.terms import rendered, sha256

HASH_SALT = "krcard.consent.1"


@dataclass(frozen=True, slots=True)
class Evidence:
    """How an agreement reached us. All of it goes into the record as it is."""

    ip_address: str | None = None
    user_agent: str = ""
    page_url: str = ""
    source: str = Consent.Source.WEB
    given_at: datetime | None = None


def give(customer: Customer, terms: Terms, *, language: str, ticked: Iterable[str], evidence: Evidence) -> Consent:
    """Record that ``customer`` agreed to ``terms`` as they read in ``language``, with the boxes ``ticked``.

    Raises ``ConsentRefused`` when the terms are not in force, have no text in that language, or a required box is
    missing. Nothing is recorded then.
    """
    with transaction.atomic():
        customer = lock(customer)
        text = _text_in_force(terms, language)
        ticked = _checked(text, set(ticked))
        last = customer.consents.order_by("-pk").first()
        words = rendered(text)
        consent = Consent(
            customer=customer,
            terms=terms,
            language=text.language,
            rule=terms.rule.as_dict(),
            text=words,
            text_sha256=sha256(words),
            ticked=ticked,
            given_at=_to_milliseconds(evidence.given_at or timezone.now()),
            # As the database will give it back, because the hash is made of it.
            ip_address=Consent._meta.get_field("ip_address").get_prep_value(evidence.ip_address),
            user_agent=evidence.user_agent,
            page_url=evidence.page_url,
            source=evidence.source,
            key_id=list(conf.EVIDENCE_KEYS)[-1],
            previous_hash=last.record_hash if last else "",
        )
        consent.record_hash = _hash(consent, conf.EVIDENCE_KEYS[consent.key_id])
        consent.save()
        signals.send_on_commit(signals.consent_given, Consent, consent=consent)
    return consent


def is_intact(consent: Consent) -> bool:
    """Whether the record still says what it said when it was written.

    Every known key is tried: a site that rotates ``SECRET_KEY`` keeps its old key under another name.
    """
    if sha256(consent.text) != consent.text_sha256:
        return False
    return any(
        hmac.compare_digest(_hash(consent, secret), consent.record_hash) for secret in conf.EVIDENCE_KEYS.values()
    )


def _to_milliseconds(moment: datetime) -> datetime:
    """More than that does not survive ``dumpdata``, and a restored record must still match its hash."""
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def _text_in_force(terms: Terms, language: str) -> TermsText:
    # Asked again under the lock: the terms in hand may have been retired meanwhile.
    if not Terms.objects.filter(pk=terms.pk, status=Terms.Status.PUBLISHED).exists():
        raise ConsentRefused(_("These terms are not in force any more. Please read the new ones."))
    text = terms.texts.select_related("terms").filter(language=language).first()
    if text is None:
        raise ConsentRefused(_("These terms have no text in this language."))
    return text


def _checked(text: TermsText, ticked: set[str]) -> list[str]:
    known = [item["key"] for item in text.items]
    if unknown := ticked - set(known):
        raise ConsentRefused(_("These terms have no box named %(names)s.") % {"names": ", ".join(sorted(unknown))})
    if text.required_keys - ticked:
        raise ConsentRefused(_("Please agree to the required items."))
    return [key for key in known if key in ticked]


def _hash(consent: Consent, secret: str) -> str:
    """HMAC-SHA256 over the record as canonical JSON. The key is not in the database, so the hash cannot be redone."""
    record = {
        "public_id": str(consent.public_id),
        "customer": str(consent.customer.public_id),
        "terms": consent.terms.slug,
        "version": consent.terms.version,
        "language": consent.language,
        "rule": consent.rule,
        "text_sha256": consent.text_sha256,
        "ticked": consent.ticked,
        "given_at": consent.given_at.astimezone(UTC).isoformat(timespec="microseconds"),
        "ip_address": consent.ip_address,
        "user_agent": consent.user_agent,
        "page_url": consent.page_url,
        "source": str(consent.source),
        "key_id": consent.key_id,
        "previous_hash": consent.previous_hash,
    }
    canonical = json.dumps(record, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return salted_hmac(HASH_SALT, canonical, secret=secret, algorithm="sha256").hexdigest()
