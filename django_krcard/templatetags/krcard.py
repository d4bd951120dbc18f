"""``{% load krcard %}``: the button, the terms, and won, times and cards as people in Korea read them."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

from django import template
from django.utils import timezone
from django.utils.translation import get_language

from django_krcard.conf import conf
from django_krcard.formatting import card_aloud, card_label, each_period, how_much, how_often, kst, won
from django_krcard.forms import ConsentForm
from django_krcard.models import Terms, TermsText
from django_krcard.rules import Rule, period_around
from django_krcard.services.terms import in_force, text_for

register = template.Library()

# --- blocks of a page -------------------------------------------------------------------------


@register.inclusion_tag("krcard/includes/checkout_button.html", takes_context=True)
def krcard_checkout_button(context, slug: str) -> dict[str, Any]:
    """The form that leads to Stripe: boxes and button. Who is not logged in gets a link to the consent page."""
    request = context.get("request")
    text = _text_in_force(slug)
    user = getattr(request, "user", None)
    may_agree_here = text and user and user.is_authenticated
    return {"slug": slug, "text": text, "form": ConsentForm.for_request(request, text) if may_agree_here else None}


@register.inclusion_tag("krcard/includes/terms.html")
def krcard_terms(slug: str) -> dict[str, Any]:
    """The terms in force, in the active language where there is a text in it."""
    return {"text": _text_in_force(slug)}


@register.inclusion_tag("krcard/includes/summary.html")
def krcard_summary(text: TermsText) -> dict[str, Any]:
    """What the terms come to for someone who agrees today: how much, how often, from when, up to where."""
    rule = text.terms.rule
    today = timezone.localdate(timezone=conf.TIME_ZONE)
    return {"text": text, "rule": rule, "first_on": _first_on(rule, today), "next_on": _next_on(rule, today)}


def _text_in_force(slug: str) -> TermsText | None:
    try:
        terms = in_force(slug)
    except Terms.DoesNotExist:
        return None
    return text_for(terms, get_language() or "")


def _first_on(rule: Rule, today: date) -> date:
    return today + timedelta(days=rule.notice_days)


def _next_on(rule: Rule, today: date) -> date | None:
    period = period_around(_first_on(rule, today), anchor=today, rule=rule)
    return period and period[1]


for _filter in (won, kst, card_label, card_aloud, how_much, how_often, each_period):
    register.filter(_filter)
