"""A disputed charge in the words that Stripe's API has for evidence. Prepared here; a person submits it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.utils import translation
from django.utils.translation import gettext as _

from django_krcard.conf import conf
from django_krcard.exceptions import KrcardError
from django_krcard.models import Notice

#: Signs in one text, and in all of them together, says Stripe's reference of ``Dispute.evidence``.
MAX_TEXT, MAX_ALL_TEXTS = 20_000, 150_000

#: What Stripe also has a name for, and this package cannot know.
FOR_YOU_TO_ADD = (
    "billing_address",
    "customer_name",
    "access_activity_log",
    "refund_policy",
    "refund_policy_disclosure",
)


def answer(facts: dict[str, Any], reference: str, language: str) -> dict[str, Any]:
    """``{"texts": …, "files": …}`` for the charge ``reference``; names and limits are those of Stripe's API.

    What stands under ``files`` is text to be made a PDF of: Stripe takes files by the id of an upload. Since September
    2026 it also refuses more pages than the card's network reads (``dispute_evidence_page_limit_exceeded``).
    """
    charge = next((each for each in facts["charges"] if each["reference"] == reference), None)
    if charge is None:
        raise KrcardError(f"{facts['mandate']['reference']} has no charge {reference!r}.")
    consent = next(each for each in facts["consents"] if each["public_id"] == charge["agreed"]["consent"])
    with translation.override(language):
        texts = _texts(facts, charge, consent)
        files = _files(facts, charge, consent)
    return {
        "dispute": charge["dispute"],
        "payment_intent": charge["stripe_id"],
        "texts": {name: words[:MAX_TEXT] for name, words in texts.items() if words},
        "files": {name: words for name, words in files.items() if words},
        "for_you_to_add": list(FOR_YOU_TO_ADD),
        "limits": {"characters_per_text": MAX_TEXT, "characters_of_all_texts": MAX_ALL_TEXTS},
    }


def _texts(facts: dict[str, Any], charge: dict[str, Any], consent: dict[str, Any]) -> dict[str, str]:
    origin = consent["origin"] or {}
    period = charge["agreed"]["period"]
    return {
        "customer_purchase_ip": origin.get("ip_address") or "",
        "customer_email_address": facts["customer"]["address"] if "@" in facts["customer"]["address"] else "",
        "product_description": " – ".join(filter(None, (consent["title"], charge["description"]))),
        "service_date": period[0] if period else charge["due_at"][:10],
        "cancellation_policy_disclosure": _disclosure(consent, origin),
        "cancellation_rebuttal": _rebuttal(facts["mandate"], charge),
        "uncategorized_text": _how_it_was_agreed(facts, charge, consent),
    }


def _files(facts: dict[str, Any], charge: dict[str, Any], consent: dict[str, Any]) -> dict[str, str]:
    sent = [notice for notice in facts["notices"] if notice["sent_at"]]
    about = [notice for notice in sent if notice["charge"] == charge["reference"]]
    receipt = [notice for notice in about if notice["kind"] == Notice.Kind.CHARGE_SUCCEEDED]
    return {
        "service_documentation": consent["text"],
        "cancellation_policy": consent["points"].get("cancellation", ""),
        "customer_communication": "\n\n---\n\n".join(_letter(notice) for notice in sent),
        "receipt": "\n\n---\n\n".join(_letter(notice) for notice in receipt),
    }


def _disclosure(consent: dict[str, Any], origin: dict[str, Any]) -> str:
    words = _("The customer read how to cancel before agreeing, in the terms %(terms)s, and agreed on %(when)s.") % {
        "terms": f"{consent['terms']} v{consent['version']}",
        "when": _when(consent["given_at"]),
    }
    page = origin.get("page_url")
    ticked = [f"✓ {item['label']}" for item in consent["ticked"]]
    return "\n".join(filter(None, [words, page, consent["points"].get("cancellation"), *ticked]))


def _rebuttal(mandate: dict[str, Any], charge: dict[str, Any]) -> str:
    sent_at = charge["first_sent_at"]
    if sent_at is None:
        return ""
    if mandate["ended_at"] is None:
        return _("The agreement was not cancelled before this payment, and is not cancelled to this day.")
    if mandate["ended_at"] > sent_at:
        text = _("The agreement ended on %(end)s, after this payment of %(payment)s.")
        return text % {"end": _when(mandate["ended_at"]), "payment": _when(sent_at)}
    # Nothing to be said for the site here, and nothing is made up.
    return ""


def _how_it_was_agreed(facts: dict[str, Any], charge: dict[str, Any], consent: dict[str, Any]) -> str:
    # An invoice's payment is made by Stripe itself: then its subscription may have been told, or nobody.
    told = {each["id"] for each in consent["witnesses"]}
    witness = next((each for each in (charge["stripe_id"], charge["subscription"]) if each in told), "")
    names = {
        "number": facts["mandate"]["reference"],
        "when": _when(consent["given_at"]),
        "text": consent["text_sha256"],
        "record": consent["record_hash"],
        "witness": witness,
    }
    # What Stripe took beyond the agreement by itself, the agreement does not defend.
    covers = charge["amount"] <= charge["agreed"]["amount"]
    lines = [
        _("Agreement %(number)s of %(when)s covers this payment.") if covers else "",
        _("SHA-256 of the text that was agreed: %(text)s"),
        _("Hash of the record, also in the metadata of %(witness)s: %(record)s")
        if witness
        else _("Hash of the record: %(record)s"),
    ]
    return "\n".join(filter(None, lines)) % names


def _letter(notice: dict[str, Any]) -> str:
    return f"{_when(notice['sent_at'])}\n{notice['address']}\n{notice['subject']}\n\n{notice['text']}".strip()


def _when(moment: str) -> str:
    return f"{datetime.fromisoformat(moment).astimezone(conf.TIME_ZONE):%Y-%m-%d %H:%M:%S %Z}"
