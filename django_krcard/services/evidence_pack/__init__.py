"""The evidence pack: all that proves one agreement, for a customer, an auditor, a card company or a dispute."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from django_krcard.models import Mandate
from django_krcard.services.evidence_pack import archive, dispute, page, reduced
from django_krcard.services.evidence_pack.facts import gather
from django_krcard.services.evidence_pack.snapshot import snapshot
from django_krcard.services.timeline import record

#: The forms in which a pack is handed out, with their media types.
FORMS = {"html": "text/html; charset=utf-8", "json": "application/json", "zip": "application/zip"}


@dataclass(frozen=True)
class EvidencePack:
    """What the database said of one mandate at one moment, in three forms.

    Made again from the same database, each form is the same to the last byte: nothing in it tells when it was made.
    """

    language: str
    json: str
    #: (name, content) of each document that belongs to a consent.
    attachments: tuple[tuple[str, bytes], ...] = ()

    @property
    def facts(self) -> dict[str, Any]:
        """The data, as ``docs/evidence.md`` describes it. A copy: the pack itself stays what it is."""
        return json.loads(self.json)

    @property
    def reference(self) -> str:
        return self.facts["mandate"]["reference"]

    def as_json(self) -> str:
        return self.json

    def as_html(self) -> str:
        """A page to read and print. It loads nothing from anywhere and runs no script."""
        return page.render(self.facts, self.language)

    def as_zip(self) -> bytes:
        """Data, page, texts, attachments, and a program that verifies them offline."""
        return archive.write(self.facts, self.as_json(), self.as_html(), self.attachments)

    def as_bytes(self, form: str) -> bytes:
        """``html``, ``json`` or ``zip``."""
        if form == "zip":
            return self.as_zip()
        return {"html": self.as_html, "json": self.as_json}[form]().encode()

    def for_dispute(self, reference: str) -> dict[str, Any]:
        """What to answer when the charge ``reference`` is disputed, by Stripe's names. Nothing is sent."""
        return dispute.answer(self.facts, reference, self.language)


def evidence(mandate: Mandate, *, personal: bool = True, language: str | None = None) -> EvidencePack:
    """Gather what proves ``mandate``. Asks the database only, and changes nothing.

    ``personal=False`` leaves out what tells who and where the customer is; such a pack still verifies.
    ``language`` is that of the page, by default the one in which the customer agreed.
    """
    mandate, facts, attachments = _read(mandate)
    language = language or mandate.consent.language
    if not personal:
        return _pack(reduced.without_personal(facts), language)
    disputed = mandate.charges.exclude(dispute_id="").order_by("pk")
    facts["disputes"] = {charge.reference: dispute.answer(facts, charge.reference, language) for charge in disputed}
    return _pack(facts, language, attachments)


def customers_copy(mandate: Mandate, *, language: str | None = None) -> EvidencePack:
    """The pack as the customer may have it: without what is between the site, its staff and the card companies."""
    mandate, facts, attachments = _read(mandate)
    return _pack(reduced.for_customer(facts), language or mandate.consent.language, attachments)


def hand_out(
    mandate: Mandate, form: str, *, by: str, reason: str, personal: bool = True, language: str | None = None
) -> bytes:
    """A pack for somebody outside. Who took it, why, and which bytes they got stands in the timeline.

    The pack does not have that entry: two that are handed out one after the other are equal.
    """
    content = evidence(mandate, personal=personal, language=language).as_bytes(form)
    digest = hashlib.sha256(content).hexdigest()
    record(mandate, "evidence_exported", actor=by, reason=reason, form=form, personal=personal, sha256=digest)
    return content


def _read(mandate: Mandate) -> tuple[Mandate, dict[str, Any], tuple[tuple[str, bytes], ...]]:
    with snapshot():
        with_it = ("customer", "consent__terms", "next_consent", "payment_method")
        mandate = Mandate.objects.select_related(*with_it).get(pk=mandate.pk)
        facts, attachments = gather(mandate)
    return mandate, facts, attachments


def _pack(facts: dict[str, Any], language: str, attachments: tuple[tuple[str, bytes], ...] = ()) -> EvidencePack:
    # Sorted, because PostgreSQL gives JSON back in an order of its own.
    text = json.dumps(facts, ensure_ascii=False, indent=2, sort_keys=True) + "\n"
    return EvidencePack(language, text, attachments)
