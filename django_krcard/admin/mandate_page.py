"""Everything a reviewer needs to answer "may I charge this customer, and why (not)?" on one page."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any

from django.utils import timezone
from django.utils.translation import gettext_lazy

from django_krcard import services
from django_krcard.admin.amendments import prices_of
from django_krcard.admin.display import as_json, badge, mode_badges, moment, status_badge, stripe_id
from django_krcard.admin.notices import STATES, state_of
from django_krcard.admin.subscriptions import words_of
from django_krcard.admin.wording import sentence_for, why
from django_krcard.conf import conf
from django_krcard.formatting import actor, won
from django_krcard.models import (
    Amendment,
    CardSetup,
    Charge,
    Consent,
    ConsentAttachment,
    ConsentErasure,
    Mandate,
    Notice,
    Refund,
    Subscription,
    TimelineEntry,
)
from django_krcard.rules import ENDED, Rule, period_around
from django_krcard.services.consents import attachment_is_intact, is_intact, origin_is_intact
from django_krcard.timeline_words import TIMELINE

#: What one page shows of what can grow without end. The lists have the rest.
NEWEST = 100

#: A step that is due for so long: nobody runs krcard_run_due.
LATE = timedelta(hours=2)

#: Stripe's words for a dispute, with what they mean to staff. An unknown one is shown as it is.
DISPUTES = {
    "warning_needs_response": ("warn", gettext_lazy("inquiry: an answer is needed")),
    "warning_under_review": ("wait", gettext_lazy("inquiry: being reviewed")),
    "warning_closed": ("over", gettext_lazy("inquiry closed")),
    "needs_response": ("warn", gettext_lazy("disputed: an answer is needed")),
    "under_review": ("wait", gettext_lazy("disputed: being reviewed")),
    "won": ("good", gettext_lazy("dispute won")),
    "lost": ("bad", gettext_lazy("dispute lost")),
    "prevented": ("over", gettext_lazy("dispute prevented")),
}

#: What happens to a charge at its next step.
NEXT_STEPS = {
    Charge.Status.SCHEDULED: gettext_lazy("announced or sent"),
    Charge.Status.READY: gettext_lazy("sent again"),
    Charge.Status.SENDING: gettext_lazy("Stripe is asked what became of it"),
    Charge.Status.UNKNOWN: gettext_lazy("Stripe is asked what became of it"),
    Charge.Status.PROCESSING: gettext_lazy("Stripe is asked what became of it"),
    Charge.Status.ACTION_REQUIRED: gettext_lazy("called off, unless the customer finishes it"),
    Charge.Status.DECLINED: gettext_lazy("tried again"),
}


def head_of(mandate: Mandate) -> dict[str, Any]:
    """Which mandate this is and whether it may be charged: for its page and every page that asks about it."""
    rule = Rule.from_dict(mandate.consent.rule)
    # First, because it reads the mandate anew: verdict and page speak of the same moment.
    verdict = services.can_charge(mandate, rule.amount)
    return {
        "mandate": mandate,
        "rule": rule,
        "verdict": verdict,
        "next_on": _next_on(mandate, rule) if verdict.code.startswith("period_") else None,
        "status": status_badge(mandate),
        "modes": mode_badges(mandate.customer),
    }


def page_of(mandate: Mandate) -> dict[str, Any]:
    """The context of a mandate's page."""
    head = head_of(mandate)
    customer, card = mandate.customer, mandate.payment_method
    return {
        **head,
        "created": moment(mandate.created_at),
        "consented": moment(mandate.consent.given_at),
        "activated": moment(mandate.activated_at),
        "ended": moment(mandate.ended_at),
        "ended_by": actor(mandate.ended_by),
        "card_removed": moment(card.detached_at) if card and card.detached_at else "",
        "stripe_customer": stripe_id(customer.stripe_id, livemode=customer.livemode),
        "stripe_card": stripe_id(card.stripe_id if card else None, livemode=customer.livemode),
        "stripe_mandate": stripe_id(mandate.stripe_id, livemode=customer.livemode),
        "korean_cards_missing": _korean_cards_missing(mandate),
        "subscriptions": [subscription_row(row) for row in _newest(mandate.subscriptions)],
        "charges": [charge_row(charge) for charge in _newest(mandate.charges).prefetch_related("refunds")],
        "notices": [notice_row(notice) for notice in _newest(mandate.notices).select_related("charge")],
        "amendments": [_amendment_row(row) for row in _newest(mandate.amendments).select_related("terms")],
        "timeline": [timeline_row(entry) for entry in _newest(mandate.timeline)],
        "setups": [_setup_row(setup) for setup in _newest(mandate.setups)],
        "newest": NEWEST,
        **evidence_of(mandate.consent),
    }


def consent_page_of(consent: Consent) -> dict[str, Any]:
    """The context of a consent's own page."""
    return evidence_of(consent) | {"mandates": consent.mandates.all()}


def evidence_of(consent: Consent) -> dict[str, Any]:
    """What proves the agreement, and whether the proof still holds."""
    text = consent.terms.texts.filter(language=consent.language).first()
    labels = {item["key"]: item["label"] for item in text.items} if text else {}
    return {
        "consent": consent,
        "intact": is_intact(consent) and origin_is_intact(consent) and attachment_is_intact(consent),
        "attachment": ConsentAttachment.objects.filter(consent=consent).defer("content").first(),
        "erasure": ConsentErasure.objects.filter(consent=consent).first(),
        "given": moment(consent.given_at),
        "ticked": [(key, labels.get(key, "")) for key in consent.ticked],
    }


def subscription_row(row: Subscription) -> dict[str, Any]:
    return {"row": row, "badge": badge(*words_of(row.status)), "end": moment(row.current_period_end)}


def charge_row(charge: Charge) -> dict[str, Any]:
    code, sentence = why(charge)
    return {
        "charge": charge,
        "at": moment(charge.created_at),
        "status": status_badge(charge),
        "code": code,
        "sentence": sentence,
        "by": actor(charge.requested_by),
        "stripe": stripe_id(charge.stripe_id, livemode=charge.mandate.customer.livemode),
        "due": moment(charge.due_at) if charge.status == Charge.Status.SCHEDULED else "",
        "next_step": next_step_of(charge),
        "refunds": [refund_row(refund) for refund in charge.refunds.all()],
        "dispute": dispute_of(charge),
    }


def next_step_of(charge: Charge) -> dict[str, Any] | None:
    """What happens next by itself, and when; ``None`` if nothing does."""
    if charge.next_step_at is None or charge.status not in NEXT_STEPS:
        return None
    return {
        "at": moment(charge.next_step_at),
        "words": NEXT_STEPS[charge.status],
        "is_late": charge.next_step_at < timezone.now() - LATE,
    }


def refund_row(refund: Refund) -> dict[str, Any]:
    return {"refund": refund, "at": moment(refund.created_at), "status": status_badge(refund)}


def dispute_of(charge: Charge) -> dict[str, Any] | None:
    if not charge.dispute_id:
        return None
    tone, words = DISPUTES.get(charge.dispute_status, ("warn", charge.dispute_status))
    stripe = stripe_id(charge.dispute_id, livemode=charge.mandate.customer.livemode)
    return {"badge": badge(tone, words), "is_open": charge.is_disputed, "stripe": stripe}


def notice_row(notice: Notice) -> dict[str, Any]:
    state = state_of(notice)
    tone, words, _rows = STATES[state]
    return {
        "notice": notice,
        "at": moment(notice.sent_at or notice.created_at),
        "result": badge(tone, words),
        "again": moment(notice.next_attempt_at) if state == "waits" else "",
        "masked": masked(notice.address),
    }


def masked(address: str) -> str:
    """``mi…@example.com``, ``010…``: enough to recognise, not enough to write to."""
    name, at, host = address.partition("@")
    return f"{name[:2]}…{at}{host}" if at else f"{name[:3]}…" if name else ""


def timeline_row(entry: TimelineEntry) -> dict[str, Any]:
    tone, words = TIMELINE.get(entry.kind, ("wait", entry.kind))
    details = {name: value for name, value in entry.data.items() if name != "reason" and value not in ("", None)}
    return {
        "at": moment(entry.at),
        "badge": badge(tone, words),
        "actor": actor(entry.actor),
        "note": " · ".join(_note(entry.data)),
        "reason": entry.data.get("reason", ""),
        "details": as_json({"kind": entry.kind, **details}),
    }


def _note(data: dict[str, Any]) -> Iterator[str]:
    """What a reader looks for first: how much, under which reference, why not."""
    if type(data.get("amount")) is int:
        yield won(data["amount"])
    if data.get("reference"):
        yield data["reference"]
    if sentence := sentence_for(data.get("decline_code"), data.get("code")):
        yield sentence


def _setup_row(setup: CardSetup) -> dict[str, Any]:
    livemode = setup.mandate.customer.livemode
    return {
        "setup": setup,
        "at": moment(setup.created_at),
        "status": status_badge(setup),
        "session": stripe_id(setup.checkout_session_id, livemode=livemode),
        "intent": stripe_id(setup.setup_intent_id, livemode=livemode),
    }


def _amendment_row(amendment: Amendment) -> dict[str, Any]:
    return {
        "amendment": amendment,
        "status": status_badge(amendment),
        "prices": prices_of(amendment),
        "answered": moment(amendment.answered_at),
        "by": actor(amendment.by),
    }


def _newest(rows):
    return rows.order_by("-pk")[:NEWEST]


def _korean_cards_missing(mandate: Mandate) -> str:
    """When Stripe last left Korean cards out, if it ever did."""
    entry = mandate.timeline.filter(kind="korean_cards_missing").first()
    return moment(entry.at) if entry else ""


def _next_on(mandate: Mandate, rule: Rule) -> date | None:
    """The first day of the next period: what was used up is there again."""
    if mandate.status in ENDED or mandate.activated_at is None:
        return None
    began_on = timezone.localdate(mandate.activated_at, conf.TIME_ZONE)
    period = period_around(timezone.localdate(timezone=conf.TIME_ZONE), anchor=began_on, rule=rule)
    return period and period[1]
