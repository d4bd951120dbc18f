"""``{% load krcard %}``: the button, the terms, and won, times and cards as people in Korea read them."""

from __future__ import annotations

from typing import Any

from django import template
from django.contrib.auth.views import redirect_to_login
from django.urls import reverse
from django.utils.translation import get_language

from django_krcard.conf import conf
from django_krcard.formatting import (
    card_aloud,
    card_label,
    each_period,
    how_much,
    how_often,
    how_retried,
    kst,
    won,
)
from django_krcard.forms import PAGES, ConsentForm, can_be_saved
from django_krcard.models import CardSetup, Mandate, Terms, TermsText
from django_krcard.rules import is_amount
from django_krcard.services.first_payments import Payment
from django_krcard.services.terms import in_force, text_for
from django_krcard.standing import dates, living, mandates_of

register = template.Library()

# --- blocks of a page -------------------------------------------------------------------------


@register.inclusion_tag("krcard/includes/checkout_button.html", takes_context=True)
def krcard_checkout_button(
    context, slug: str, pay: int | None = None, reference: str = "", description: str = ""
) -> dict[str, Any]:
    """The form that leads to Stripe: boxes and button. Who is not logged in gets a link to the consent page.

    ``pay`` whole won are paid at once, under the site's own ``reference``; both are signed into the form.
    """
    return _button(context, slug, CardSetup.Flow.CHECKOUT, pay, reference, description)


@register.inclusion_tag("krcard/includes/checkout_button.html", takes_context=True)
def krcard_direct_button(
    context, slug: str, pay: int | None = None, reference: str = "", description: str = ""
) -> dict[str, Any]:
    """The same form, by the Direct API: straight to the card processor, with the notice that is due then."""
    return _button(context, slug, CardSetup.Flow.DIRECT, pay, reference, description)


def _button(context, slug: str, flow: str, pay: int | None, reference: str, description: str) -> dict[str, Any]:
    if pay is not None and not is_amount(pay):
        raise template.TemplateSyntaxError(f"pay is {pay!r}, and takes whole won.")
    request, text = context.get("request"), _text_in_force(slug) if can_be_saved(flow) else None
    user = getattr(request, "user", None)
    found = {"slug": slug, "text": text, "form": None, "merchant_name": conf.MERCHANT_NAME}
    payment = None if pay is None else Payment(pay, reference, description)
    if text and user and user.is_authenticated:
        found["form"] = ConsentForm.for_request(request, text, flow=flow, payment=payment)
        found["living"] = living(mandates_of(request), text.terms)
    elif payment and request:
        # What is to be paid stands on this page, so that is where the customer comes back to.
        found["page"] = redirect_to_login(request.get_full_path()).url
    else:
        found["page"] = reverse(PAGES[flow], args=[slug])
    return found


@register.inclusion_tag("krcard/includes/terms.html")
def krcard_terms(slug: str) -> dict[str, Any]:
    """The terms in force, in the active language where there is a text in it."""
    return {"text": _text_in_force(slug)}


@register.inclusion_tag("krcard/includes/summary.html")
def krcard_summary(text: TermsText, mandate: Mandate | None = None, id: str = "") -> dict[str, Any]:
    """What the terms come to for someone who agrees today: how much, how often, from when, up to where.

    ``mandate`` is the agreement that this customer has already; ``id`` is for the heading, once on a page.
    """
    # A page that does not know of any says "".
    mandate = mandate or None
    about = {"text": text, "rule": text.terms.rule, "mandate": mandate}
    return about | dates(text.terms, mandate)._asdict() | {"id": id or f"krcard-summary-{text.terms.slug}"}


def _text_in_force(slug: str) -> TermsText | None:
    try:
        terms = in_force(slug)
    except Terms.DoesNotExist:
        return None
    return text_for(terms, get_language() or "")


for _filter in (won, kst, card_label, card_aloud, how_much, how_often, how_retried, each_period):
    register.filter(_filter)
