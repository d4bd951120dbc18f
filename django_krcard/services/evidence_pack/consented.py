"""One consent as evidence: what was agreed, and what somebody needs to check the record of it."""

from __future__ import annotations

import hashlib
import hmac
import re
from datetime import UTC, datetime
from typing import Any

from django_krcard.conf import conf
from django_krcard.models import Consent, ConsentAttachment, ConsentErasure, ConsentOrigin, Customer
from django_krcard.services.consents import attachment_is_intact, canonical, origin_is_intact, record_key
from django_krcard.services.seals import proof_of
from django_krcard.services.terms import sha256

#: Of a file's name only its ending comes along: the name itself may be anything.
ENDING = re.compile(r"\.[A-Za-z0-9]{1,8}\Z")


def utc(moment: datetime | None) -> str | None:
    return moment and moment.astimezone(UTC).isoformat(timespec="microseconds")


def consent_facts(consent: Consent, witnesses: list[dict[str, Any]]) -> dict[str, Any]:
    text = consent.terms.texts.filter(language=consent.language).first()
    items = text.items if text else []
    key = _key_of(consent)
    return {
        "public_id": str(consent.public_id),
        "terms": consent.terms.slug,
        "version": consent.terms.version,
        "title": text.title if text else "",
        "points": {name: getattr(text, name) for name in text.POINTS} if text else {},
        "language": consent.language,
        "text": consent.text,
        "text_sha256": consent.text_sha256,
        "ticked": [item for item in items if item["key"] in consent.ticked],
        "not_ticked": [item for item in items if item["key"] not in consent.ticked],
        "rule": consent.rule,
        "given_at": utc(consent.given_at),
        "given_at_local": consent.given_at.astimezone(conf.TIME_ZONE).isoformat(timespec="microseconds"),
        "created_at": utc(consent.created_at),
        "source": str(consent.source),
        "source_reference": consent.source_reference,
        "recorded_by": consent.recorded_by,
        "origin": _origin(getattr(consent, "origin", None)),
        "origin_sha256": consent.origin_sha256,
        "attachment": _attachment(getattr(consent, "attachment", None)),
        "attachment_sha256": consent.attachment_sha256,
        "erasure": _erasure(getattr(consent, "erasure", None)),
        "key_id": consent.key_id,
        "record_hash": consent.record_hash,
        "previous_hash": consent.previous_hash,
        # What exactly was hashed, and the key of this one record: whoever has both can redo the hash.
        "canonical": canonical(consent),
        "record_key": key and key.hex(),
        "intact": _is_intact(consent, key),
        "seal": proof_of(consent),
        "witnesses": witnesses,
    }


def chain_of(customer: Customer, consents: list[Consent]) -> list[dict[str, str]]:
    """The customer's records up to the newest of ``consents``, as links: what they are about is not told."""
    links = customer.consents.filter(pk__lte=consents[-1].pk).order_by("pk")
    return list(links.values("record_hash", "previous_hash"))


def document_of(consent: Consent) -> tuple[str, bytes] | None:
    """The scan or the recording that belongs to a consent, under a name that is safe in a ZIP."""
    attachment = getattr(consent, "attachment", None)
    return attachment and (_file_of(attachment), bytes(attachment.content))


def _file_of(attachment: ConsentAttachment) -> str:
    ending = ENDING.search(attachment.name)
    return f"{attachment.consent.public_id}{ending[0] if ending else ''}"


def _origin(origin: ConsentOrigin | None) -> dict[str, Any] | None:
    return origin and {
        "salt": origin.salt,
        "ip_address": origin.ip_address,
        "user_agent": origin.user_agent,
        "page_url": origin.page_url,
        "note": origin.note,
    }


def _attachment(attachment: ConsentAttachment | None) -> dict[str, Any] | None:
    return attachment and {
        "salt": attachment.salt,
        "name": attachment.name,
        "content_type": attachment.content_type,
        "sha256": hashlib.sha256(attachment.content).hexdigest(),
        "file": _file_of(attachment),
    }


def _erasure(erasure: ConsentErasure | None) -> dict[str, Any] | None:
    return erasure and {"at": utc(erasure.at), "by": erasure.by, "reason": erasure.reason}


def _key_of(consent: Consent) -> bytes | None:
    """The key that the record holds under. ``None``: it holds under none, so it was changed or its secret is lost."""
    words = canonical(consent).encode()
    for secret in conf.EVIDENCE_KEYS.values():
        key = record_key(consent, secret)
        if hmac.compare_digest(hmac.digest(key, words, "sha256").hex(), consent.record_hash):
            return key
    return None


def _is_intact(consent: Consent, key: bytes | None) -> bool:
    text_holds = sha256(consent.text) == consent.text_sha256
    return key is not None and text_holds and origin_is_intact(consent) and attachment_is_intact(consent)
