"""Packs with less in them. What is left out is named, and what is left still verifies."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

#: Where the customer is, who they are at this site, and free words in which somebody may have named them.
PERSONAL = {
    "consents": ("origin", "attachment"),
    "customer": ("reference", "address"),
    "mandate": ("end_reason",),
    "charges": ("description", "reason"),
    "refunds": ("reason",),
    "amendments": ("reason",),
    "subscriptions": ("reason",),
    "changes": ("reason",),
    "notices": ("address", "subject", "text"),
}

#: Between the site, its staff and the card companies. Stripe asks not to tell customers why exactly a card was
#: declined: it may have been reported stolen.
INTERNAL = {
    "setups": ("failure_code",),
    "charges": ("refusal_code", "failure_code", "decline_code", "requested_by", "reason"),
    "refunds": ("requested_by", "reason"),
    "amendments": ("requested_by", "reason"),
    "subscriptions": ("requested_by", "reason", "failure_code", "decline_code"),
    "changes": ("requested_by", "reason", "failure_code"),
}

#: What hangs on other rows: where it is found.
NESTED = {"refunds": "charges", "changes": "subscriptions"}


def without_personal(facts: dict[str, Any]) -> dict[str, Any]:
    """Without what tells who and where the customer is, and the names of staff."""
    facts = deepcopy(facts)
    _leave_out(facts, PERSONAL)
    facts["mandate"]["ended_by"] = _role(facts["mandate"]["ended_by"])
    for place in ("charges", "refunds", "amendments", "subscriptions", "changes"):
        for row in _rows(facts, place):
            row["requested_by"] = _role(row["requested_by"])
    _leave_out_who_erased(facts)
    for entry in facts["timeline"]:
        entry["actor"] = _role(entry["actor"])
        entry["data"] = {name: value for name, value in entry["data"].items() if name != "reason"}
    facts["personal"] = False
    return facts | {"left_out": [*_names(PERSONAL), "timeline.data.reason"]}


def for_customer(facts: dict[str, Any]) -> dict[str, Any]:
    """Without what is not for the customer. Charges that the terms refused never left the house, and neither did
    changes that nobody was asked about."""
    facts = deepcopy(facts)
    _leave_out(facts, INTERNAL)
    facts["charges"] = [charge for charge in facts["charges"] if charge["status"] != "refused"]
    facts["amendments"] = [amendment for amendment in facts["amendments"] if amendment["asked_at"]]
    _leave_out_who_erased(facts)
    mandate = facts["mandate"]
    mandate["ended_by"] = _role(mandate["ended_by"])
    if mandate["ended_by"] != "customer":
        mandate["end_reason"] = None
    del facts["timeline"]
    return facts | {"left_out": [*_names(INTERNAL), "timeline"]}


def _leave_out(facts: dict[str, Any], names: dict[str, tuple[str, ...]]) -> None:
    for place, fields in names.items():
        for row in _rows(facts, place):
            row.update(dict.fromkeys(fields))


def _rows(facts: dict[str, Any], place: str) -> list[dict[str, Any]]:
    if place in NESTED:
        return [row for outer in facts[NESTED[place]] for row in outer[place]]
    rows = facts[place]
    return [rows] if isinstance(rows, dict) else rows


def _leave_out_who_erased(facts: dict[str, Any]) -> None:
    for erasure in filter(None, (consent["erasure"] for consent in facts["consents"])):
        erasure |= {"by": _role(erasure["by"]), "reason": None}


def _names(names: dict[str, tuple[str, ...]]) -> list[str]:
    return [f"{place}.{field}" for place, fields in names.items() for field in fields]


def _role(actor: str) -> str:
    """``staff:<name>`` → ``staff``."""
    return actor.partition(":")[0]
