"""Checkout Sessions in setup mode, from the API's side and from the customer's."""

import random
from typing import Any
from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured
from django.urls import NoReverseMatch, reverse

from .. import events, objects
from ..errors import ApiError, SandboxError, no_such
from ..faults import take
from ..issuers import ISSUERS
from ..params import (
    NEW_TYPES,
    Params,
    choice,
    currency,
    integer,
    invalid,
    mapping,
    metadata,
    text,
    url,
)
from ..store import Act, Body, find, save, schedule
from .lists import PAGING, listed
from .owners import living
from .types import effective

HALF_AN_HOUR, A_DAY = 30 * 60, 24 * 60 * 60
LOCALES = (
    "auto bg cs da de el en en-GB es es-419 et fi fil fr fr-CA hi-IN hr hu id it ja ko lt lv ms mt nb "
    "nl pl pt pt-BR ro ru sk sl sv th tr vi zh zh-HK zh-TW"
)
MESSAGE = mapping(message=text(1200))


def setup_only(value: Any, name: str) -> str:
    mode: str = choice("payment", "setup", "subscription")(value, name)
    if mode != "setup":
        raise invalid(f"The sandbox models mode=setup only, not {mode}.", name)
    return mode


def currency_or_types(given: Body) -> None:
    if "currency" not in given and NEW_TYPES not in given:
        message = f"In setup mode, `currency` is required when `{NEW_TYPES}` is not set."
        raise invalid(message, "currency", "parameter_missing")


CREATE = Params(
    {
        "cancel_url": url,
        "client_reference_id": text(200),
        "currency": currency,
        "custom_text": mapping(after_submit=MESSAGE, submit=MESSAGE),
        "customer": text(),
        "expires_at": integer,
        "integration_identifier": text(),
        "locale": choice(*LOCALES.split()),
        "metadata": metadata,
        "mode": setup_only,
        "setup_intent_data": mapping(description=text(), metadata=metadata),
        "success_url": url,
        "ui_mode": choice("hosted_page"),
    },
    # Stripe would take a Session without a customer; its card could not be charged later.
    requires=("mode", "success_url", "customer"),
    allowed_types_since="2026-09-30",
    together=currency_or_types,
)
RETRIEVE = EXPIRE = Params({})
LIST = Params({**PAGING, "customer": text(), "status": choice("open", "complete", "expired")})


def create(act: Act, given: Body) -> Body:
    living(given["customer"])
    given["expires_at"] = expiry(act, given.get("expires_at"))
    session = objects.session(act, given, effective(act, given))
    intent = objects.setup_intent(act, session, given.get("setup_intent_data", {}))
    session["setup_intent"] = save(act, intent)["id"]
    session["url"] = hosted_page(act, session)
    save(act, session)
    schedule(session, session["expires_at"])
    return session


def expiry(act: Act, wanted: int | None) -> int:
    if wanted is None:
        return act.now + A_DAY
    # A minute's grace, for a clock that ticked between the caller's reckoning and ours.
    if not act.now + HALF_AN_HOUR - 60 <= wanted <= act.now + A_DAY + 60:
        message = "The `expires_at` timestamp must be from 30 minutes to 24 hours after creation."
        raise ApiError(400, message, param="expires_at")
    return wanted


def hosted_page(act: Act, session: Body) -> str:
    # Unless told otherwise, the site to return to is the site that serves the sandbox, on whatever port.
    site = urlsplit(act.state.pages_at or session["success_url"])
    try:
        path = reverse("krcard_sandbox:checkout", args=[session["id"]])
    except NoReverseMatch as missing:
        how = 'path("stripe-sandbox/", include("django_krcard.sandbox.urls"))'
        raise ImproperlyConfigured(f"The sandbox has no hosted page. Add {how} to the URLs.") from missing
    return f"{site.scheme}://{site.netloc}{path}"


def retrieve(act: Act, wanted: Body, id: str) -> Body:
    body = find("checkout.session", id)
    if body is None:
        raise no_such("checkout.session", id, param="session")
    return body


def list_(act: Act, wanted: Body) -> Body:
    return listed("checkout.session", wanted, "/v1/checkout/sessions")


def expire(act: Act, given: Body, id: str) -> Body:
    session = retrieve(act, {}, id)
    if session["status"] != "open":
        message = f"This Session is {session['status']}: only open Sessions can be expired."
        raise ApiError(400, message, param="session")
    intent = find("setup_intent", session["setup_intent"])
    if intent and intent["status"] == "requires_payment_method":
        intent |= {"status": "canceled", "cancellation_reason": "abandoned"}
        events.emit(act, "setup_intent.canceled", save(act, intent))
    session = save(act, session | {"status": "expired", "url": None})
    schedule(session, None)
    events.emit(act, "checkout.session.expired", session)
    return session


def run_out(act: Act, session: Body) -> None:
    expire(act, {}, session["id"])


def open_session(id: str) -> Body:
    session = find("checkout.session", id)
    if session is None:
        raise SandboxError(f"There is no Session {id}.")
    if session["status"] != "open":
        raise SandboxError(f"Session {id} is {session['status']}, not open.")
    return session


def authorise(act: Act, id: str, type: str, brand: str, last4: str | None, **online: Any) -> Body:
    """The customer chose a card and the issuer said yes."""
    session = open_session(id)
    if type not in session["payment_method_types"]:
        raise SandboxError(f"Session {id} does not offer {type}.")
    if type == "kr_card" and brand not in ISSUERS:
        raise SandboxError(f"There is no issuer {brand!r}.")
    last4 = last4 or f"{random.randrange(10000):04}"
    details = {"brand": brand, "last4": last4} if type == "kr_card" else objects.visa(last4)
    customer = find("customer", session["customer"]) or {"id": session["customer"]}
    method = save(act, objects.payment_method(act, customer, type, details))
    status = "pending" if take("mandate_pending") else "active"
    mandate = save(act, objects.mandate(act, method, status, **online))
    intent = find("setup_intent", session["setup_intent"]) or {}
    intent |= {
        "last_setup_error": None,
        "mandate": mandate["id"],
        "payment_method": method["id"],
        "status": "succeeded",
    }
    save(act, intent)
    session = save(act, session | {"status": "complete", "url": None})
    schedule(session, None)
    events.emit(act, "payment_method.attached", method)
    events.emit(act, "setup_intent.succeeded", intent)
    events.emit(act, "checkout.session.completed", session)
    return session


def fail(act: Act, id: str, type: str) -> Body:
    """The issuer said no. The Session stays open for another try."""
    session = open_session(id)
    intent = find("setup_intent", session["setup_intent"]) or {}
    error = ApiError(
        402,
        "The customer could not be authenticated by the issuer of the card.",
        code="setup_intent_authentication_failure",
        payment_method_type=type,
    )
    intent |= {"last_setup_error": error.error, "status": "requires_payment_method"}
    events.emit(act, "setup_intent.setup_failed", save(act, intent))
    return session
