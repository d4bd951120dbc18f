"""The pack as one page: to read, to print, to hand over."""

from __future__ import annotations

import json
from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

from django.template.loader import render_to_string
from django.utils import translation

from django_krcard.formatting import actor
from django_krcard.models import (
    Amendment,
    CardSetup,
    Charge,
    Consent,
    Mandate,
    Notice,
    PaymentMethod,
    Refund,
    SubscriptionChange,
    TermsText,
)
from django_krcard.timeline_words import TIMELINE

TEMPLATE = "krcard/evidence/page.html"
CODES = ("refusal_code", "failure_code", "decline_code")
#: Those whose name does not end as moments' do.
MOMENTS = ("at", "as_of", "current_period_start", "current_period_end")


def render(facts: dict[str, Any], language: str) -> str:
    """The page in ``language``. Everything on it comes from ``facts``."""
    with translation.override(language):
        return render_to_string(TEMPLATE, _context(facts, language))


def _context(facts: dict[str, Any], language: str) -> dict[str, Any]:
    cards = {card["stripe_id"]: PaymentMethod(**_card(card)) for card in facts["cards"]}
    shown = _with_moments(facts)
    zone = ZoneInfo(facts["time_zone"])
    shown["mandate"]["label"] = Mandate.Status(facts["mandate"]["status"]).label
    shown["mandate"]["ended_by"] = actor(shown["mandate"]["ended_by"])
    shown["card"] = cards.get(facts["mandate"]["card"])
    for consent in shown["consents"]:
        # Not by a filter of the template: those show moments where the site's own clock stands.
        consent["given_at_utc"] = f"{consent['given_at']:%Y-%m-%d %H:%M:%S.%f} UTC"
        consent["given_at_here"] = f"{consent['given_at'].astimezone(zone):%Y-%m-%d %H:%M:%S.%f %Z}"
        consent["source_label"] = Consent.Source(consent["source"]).label
        consent["points"] = [
            (TermsText._meta.get_field(name).verbose_name, consent["points"][name])
            for name in TermsText.POINTS
            if name in consent["points"]
        ]
    rules = {consent["public_id"]: consent["rule"] for consent in facts["consents"]}
    for charge in shown["charges"]:
        charge["label"] = Charge.Status(charge["status"]).label
        charge["card"] = cards.get(charge["card"])
        charge["rule"] = rules[charge["agreed"]["consent"]]
        charge["codes"] = [charge[name] for name in CODES if charge[name]]
        if charge["agreed"]["period"]:
            charge["agreed"]["period"] = [date.fromisoformat(day) for day in charge["agreed"]["period"]]
        for refund in charge["refunds"]:
            refund["label"] = Refund.Status(refund["status"]).label
    for setup in shown["setups"]:
        setup["label"] = CardSetup.Status(setup["status"]).label
    numbers = {consent["public_id"]: number for number, consent in enumerate(facts["consents"], 1)}
    shown["mandate"]["next_number"] = numbers.get(facts["mandate"]["next_consent"])
    for amendment in shown["amendments"]:
        amendment["label"] = Amendment.Kind(amendment["kind"]).label
        amendment["answer"] = Amendment.Status(amendment["status"]).label
        amendment["number"] = numbers.get(amendment["consent"])
    for subscription in shown["subscriptions"]:
        for change in subscription["changes"]:
            change["label"] = SubscriptionChange.Kind(change["kind"]).label
            change["result"] = SubscriptionChange.Status(change["status"]).label
            change["by"] = actor(change["requested_by"] or "")
    for notice in shown["notices"]:
        notice["label"] = Notice.Kind(notice["kind"]).label
    for entry in shown.get("timeline", []):
        _tone, entry["label"] = TIMELINE.get(entry["kind"], ("", entry["kind"]))
        entry["actor"] = actor(entry["actor"])
        entry["data"] = json.dumps(entry["data"], ensure_ascii=False, sort_keys=True) if entry["data"] else ""
    return {"pack": shown, "page_language": language}


def _card(card: dict[str, Any]) -> dict[str, Any]:
    return {name: card[name] for name in ("stripe_id", "type", "brand", "last4")}


def _with_moments(facts: Any, name: str = "") -> Any:
    """JSON has no days and no moments; a page shows them where the terms rule."""
    if isinstance(facts, list):
        return [_with_moments(each) for each in facts]
    if isinstance(facts, dict):
        return {key: value if key == "data" else _with_moments(value, key) for key, value in facts.items()}
    if isinstance(facts, str) and name.endswith("_on"):
        return date.fromisoformat(facts)
    is_moment = isinstance(facts, str) and (name in MOMENTS or name.endswith("_at"))
    return datetime.fromisoformat(facts) if is_moment else facts
