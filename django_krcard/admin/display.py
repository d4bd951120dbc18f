"""How things read in the admin: badges, moments, ids of Stripe."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from django.contrib import admin
from django.db.models import Model
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from django_krcard.conf import conf
from django_krcard.models import Customer

NOTHING = "–"

#: Never colour alone: each tone has its sign.
SIGNS = {"good": "✓", "wait": "…", "warn": "!", "bad": "✕", "over": "■"}

#: The tone of every status of every model. What is not here still has to become something.
TONES = {
    "active": "good",
    "agreed": "good",
    "complete": "good",
    "done": "good",
    "published": "good",
    "succeeded": "good",
    "action_required": "warn",
    "on_hold": "warn",
    "unanswered": "warn",
    "unknown": "warn",
    "dead": "bad",
    "declined": "bad",
    "failed": "bad",
    "inactive": "bad",
    "quarantined": "bad",
    "refused": "bad",
    "cancelled": "over",
    "expired": "over",
    "foreign": "over",
    "ignored": "over",
    "retired": "over",
    "revoked": "over",
    "superseded": "over",
}

#: Where Stripe's dashboard shows what. Cards, mandates and sessions have no page of their own.
DASHBOARD_PAGES = {
    "cus": "customers",
    "evt": "events",
    "pi": "payments",
    "seti": "setup_intents",
    "sub": "subscriptions",
}


def badge(tone: str, text: Any) -> SafeString:
    html = '<span class="krcard-status krcard-{}"><span aria-hidden="true">{}</span>&nbsp;{}</span>'
    return format_html(html, tone, SIGNS[tone], text)


def badge_of(status: str, label: Any) -> SafeString:
    return badge(TONES.get(status, "wait"), label)


@admin.display(description=gettext_lazy("status"), ordering="status")
def status_badge(row: Model) -> SafeString:
    return badge_of(row.status, row.get_status_display())


def mode_badges(customer: Customer) -> list[SafeString]:
    """What keeps a reviewer from taking play money for real."""
    badges = [] if customer.livemode else [format_html('<span class="krcard-mode">{}</span>', _("TEST"))]
    return badges + ([format_html('<span class="krcard-mode">{}</span>', _("SANDBOX"))] if conf.SANDBOX else [])


def moment(when: datetime | None) -> str:
    """A moment where the terms rule (Seoul, unless the site says otherwise), with UTC on hovering."""
    if when is None:
        return NOTHING
    local, utc = when.astimezone(conf.TIME_ZONE), when.astimezone(UTC)
    return format_html(
        '<time class="krcard-moment" datetime="{}" title="{} · {}"><span>{}</span> <span>{}</span></time>',
        utc.isoformat(timespec="seconds"),
        local.strftime("%Y-%m-%d %H:%M:%S %Z"),
        utc.strftime("%Y-%m-%d %H:%M:%S UTC"),
        local.strftime("%Y-%m-%d"),
        local.strftime("%H:%M"),
    )


def moment_of(field: str, description: Any) -> Callable[[Model], str]:
    """A column with the moment in ``field``."""

    @admin.display(description=description, ordering=field)
    def column(row):
        return moment(getattr(row, field))

    column.__name__ = field
    return column


def stripe_id(value: str | None, *, livemode: bool) -> str:
    """An id of Stripe's, to copy, and where there is one with a link to its page in the dashboard."""
    if not value:
        return NOTHING
    shown = format_html('<code class="krcard-id">{}</code>', value)
    page = DASHBOARD_PAGES.get(value.partition("_")[0])
    if conf.SANDBOX or page is None or not re.fullmatch(r"[A-Za-z0-9_]+", value):
        return shown
    return format_html(
        '{} <a href="https://dashboard.stripe.com/{}{}/{}" target="_blank" rel="noopener noreferrer">{}</a>',
        shown,
        "" if livemode else "test/",
        page,
        value,
        _("dashboard"),
    )


def link_to(row: Model, text: Any = None) -> SafeString:
    url = reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_change", args=[row.pk])
    return format_html('<a href="{}">{}</a>', url, row if text is None else text)


def as_json(data: Any) -> str:
    return json.dumps(data, ensure_ascii=False, indent=2)
