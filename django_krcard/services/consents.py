"""The record of a customer's written agreement."""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from django_krcard import signals
from django_krcard.conf import conf
from django_krcard.exceptions import ConsentRefused
from django_krcard.models import (
    Consent,
    ConsentAttachment,
    ConsentErasure,
    ConsentOrigin,
    Customer,
    Terms,
    TermsText,
    lock,
)
from django_krcard.services.terms import rendered, sha256

#: Of the record's form. What is hashed, and how, never changes under one number.
FORMAT = 1


@dataclass(frozen=True, slots=True)
class Attachment:
    """A scan or a recording."""

    name: str
    content_type: str
    content: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Evidence:
    """How an agreement reached us. All of it goes into the record as it is.

    One that was taken elsewhere (``source`` is "paper", "phone" or "import") names who recorded it here, and may have
    an attachment, a note, and a ``reference`` of its own, under which it is recorded once.
    """

    ip_address: str | None = None
    user_agent: str = ""
    page_url: str = ""
    source: str = Consent.Source.WEB
    given_at: datetime | None = None
    recorded_by: str = ""
    note: str = ""
    reference: str | None = None
    attachment: Attachment | None = None


def give(customer: Customer, terms: Terms, *, language: str, ticked: Iterable[str], evidence: Evidence) -> Consent:
    """Record that ``customer`` agreed to ``terms`` as they read in ``language``, with the boxes ``ticked``.

    Raises ``ConsentRefused`` when the terms are not in force, have no text in that language, or a required box is
    missing. Nothing is recorded then. Terms that are retired will do for a consent that was taken elsewhere: the
    customer agreed back then.
    """
    now = timezone.now()
    _check_evidence(evidence, now)
    with transaction.atomic():
        customer = lock(customer)
        text = _text_in_force(terms, language, evidence.source)
        ticked = _checked(text, set(ticked))
        last = customer.consents.order_by("-pk").first()
        words = rendered(text)
        origin = ConsentOrigin(
            salt=secrets.token_hex(32),
            # As the database will give it back, because the hash is made of it.
            ip_address=ConsentOrigin._meta.get_field("ip_address").get_prep_value(evidence.ip_address),
            user_agent=evidence.user_agent,
            page_url=evidence.page_url,
            note=evidence.note,
        )
        parts: list[ConsentOrigin | ConsentAttachment] = [origin]
        if attached := evidence.attachment:
            # As long as there is room for: both come from somebody's computer.
            named = {"name": attached.name[:255], "content_type": attached.content_type[:127]}
            parts.append(ConsentAttachment(salt=secrets.token_hex(32), content=attached.content, **named))
        consent = Consent(
            created_at=to_milliseconds(now),
            customer=customer,
            terms=terms,
            language=text.language,
            rule=terms.rule.as_dict(),
            text=words,
            text_sha256=sha256(words),
            ticked=ticked,
            given_at=to_milliseconds(evidence.given_at or now),
            source=evidence.source,
            source_reference=evidence.reference,
            recorded_by=evidence.recorded_by,
            origin_sha256=origin_sha256(origin),
            attachment_sha256=attachment_sha256(parts[1]) if attached else "",
            key_id=list(conf.EVIDENCE_KEYS)[-1],
            previous_hash=last.record_hash if last else "",
        )
        consent.record_hash = _hash(consent, conf.EVIDENCE_KEYS[consent.key_id])
        consent.save()
        for part in parts:
            part.consent = consent
            part.save()
        signals.send_on_commit(signals.consent_given, Consent, consent=consent)
    return consent


def erase_origin(consent: Consent, *, by: str, reason: str) -> ConsentErasure:
    """Remove what is personal of a consent: address, browser, page, note and attachment. The record still holds.

    Says first that it does so, by whom and why; that stays, and the first time counts. ``by`` is "staff:<name>",
    "customer" or "system".
    """
    with transaction.atomic():
        # Of two at once the second one waits here, and finds it done.
        lock(consent.customer)
        erasure = ConsentErasure.objects.filter(consent=consent).first()
        if erasure is None:
            erasure = ConsentErasure.objects.create(consent=consent, by=by, reason=reason)
        for model in (ConsentAttachment, ConsentOrigin):
            # The one way past the model's refusal. The database lets it through because of the row above.
            model.objects.filter(consent=consent).erase()
    for name in ("origin", "attachment"):
        consent._state.fields_cache.pop(name, None)
    return erasure


def is_intact(consent: Consent) -> bool:
    """Whether the record still says what it said when it was written. Asks the database nothing.

    Every known key is tried: a site that rotates ``SECRET_KEY`` keeps its old key under another name.
    """
    if sha256(consent.text) != consent.text_sha256:
        return False
    return any(hmac.compare_digest(_hash(consent, secret), consent.record_hash) for secret in _secrets(consent))


def origin_is_intact(consent: Consent) -> bool:
    """Whether address, browser and page are still those that the record was made with. What was erased is not wrong."""
    origin = getattr(consent, "origin", None)
    return origin is None or origin_sha256(origin) == consent.origin_sha256


def attachment_is_intact(consent: Consent) -> bool:
    """Whether the attachment is the one that the record was made with. What was erased is not wrong."""
    attachment = getattr(consent, "attachment", None)
    return attachment is None or attachment_sha256(attachment) == consent.attachment_sha256


def canonical(consent: Consent) -> str:
    """The record as canonical JSON: what its hash is made of."""
    return _canonical(
        {
            "format": FORMAT,
            "public_id": str(consent.public_id),
            "customer": str(consent.customer.public_id),
            "terms": consent.terms.slug,
            "version": consent.terms.version,
            "language": consent.language,
            "rule": consent.rule,
            "text_sha256": consent.text_sha256,
            "ticked": consent.ticked,
            "given_at": _moment(consent.given_at),
            "created_at": _moment(consent.created_at),
            "source": str(consent.source),
            "source_reference": consent.source_reference,
            "recorded_by": consent.recorded_by,
            "origin_sha256": consent.origin_sha256,
            "attachment_sha256": consent.attachment_sha256,
            "key_id": consent.key_id,
            "previous_hash": consent.previous_hash,
        }
    )


def origin_sha256(origin: ConsentOrigin) -> str:
    """Salted, because there are few enough addresses to try them all."""
    named = {name: getattr(origin, name) for name in ("salt", "ip_address", "user_agent", "page_url", "note")}
    return sha256(_canonical(named))


def attachment_sha256(attachment: ConsentAttachment) -> str:
    """Salted as well, because of the name. The content goes in as its own SHA-256."""
    named = {name: getattr(attachment, name) for name in ("salt", "name", "content_type")}
    return sha256(_canonical(named | {"sha256": hashlib.sha256(attachment.content).hexdigest()}))


def record_key(consent: Consent, secret: str) -> bytes:
    """The key of one record's hash. Whoever is given it can check this record, and forge no other."""
    return hmac.digest(secret.encode(), f"krcard.consent.{FORMAT}|{consent.public_id}".encode(), "sha256")


def to_milliseconds(moment: datetime) -> datetime:
    """More than that does not survive ``dumpdata``, and a restored record must still match its hash."""
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def _moment(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="microseconds")


def _check_evidence(evidence: Evidence, now: datetime) -> None:
    if evidence.source not in Consent.Source.values:
        raise ConsentRefused(_("Nobody knows the source %(source)s.") % {"source": evidence.source})
    if evidence.given_at and evidence.given_at > now:
        raise ConsentRefused(_("An agreement cannot be given in the future."))
    if evidence.source == Consent.Source.WEB:
        if evidence.attachment or evidence.reference or evidence.recorded_by:
            raise ConsentRefused(_("Only an agreement that was taken elsewhere has these: attachment, reference, who."))
        return
    if not evidence.recorded_by.strip():
        raise ConsentRefused(_("Say who took this agreement."))
    if (attached := evidence.attachment) and not 0 < len(attached.content) <= conf.MAX_ATTACHMENT_BYTES:
        most = conf.MAX_ATTACHMENT_BYTES
        raise ConsentRefused(_("An attachment has from 1 to %(most)s bytes.") % {"most": f"{most:,}"})


def statuses_for(source: str) -> set[str]:
    """The states in which terms can be agreed to. Whoever agreed elsewhere may have done so to older ones."""
    return {Terms.Status.PUBLISHED} | ({Terms.Status.RETIRED} if source != Consent.Source.WEB else set())


def _text_in_force(terms: Terms, language: str, source: str) -> TermsText:
    # Asked again under the lock: the terms in hand may have been retired meanwhile.
    if not Terms.objects.filter(pk=terms.pk, status__in=statuses_for(source)).exists():
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


def _secrets(consent: Consent) -> Iterator[str]:
    """The one under whose name it was made comes first, and mostly it is that one."""
    keys = conf.EVIDENCE_KEYS
    if consent.key_id in keys:
        yield keys[consent.key_id]
    yield from (secret for name, secret in keys.items() if name != consent.key_id)


def _hash(consent: Consent, secret: str) -> str:
    """HMAC-SHA256. The secret is not in the database, so the hash cannot be redone there."""
    return hmac.digest(record_key(consent, secret), canonical(consent).encode(), "sha256").hex()


def _canonical(data: dict[str, Any]) -> str:
    return json.dumps(data, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
