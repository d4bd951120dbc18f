"""The one door to Stripe: plain values in, frozen dataclasses out.

Above this file nobody knows that Stripe has an SDK. ``stripe`` is imported at the first call, because importing it
costs a site more than all of Django's own start.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import Any

from django.utils.module_loading import import_string

from django_krcard.conf import conf
from django_krcard.exceptions import (
    CardDeclined,
    GatewayError,
    KeyReused,
    StripeBusy,
    StripeRefusedKey,
    StripeRefusedRequest,
    StripeUnavailable,
)
from django_krcard.transactions import refuse_inside_transaction

logger = logging.getLogger(__name__)

CONNECT_TIMEOUT, READ_TIMEOUT = 3, 10  # seconds: a person is waiting
MAX_NETWORK_RETRIES = 2  # of the same request under the same key, after time-outs, 409 and 5xx

#: From here on Checkout Sessions and Intents take ``allowed_payment_method_types`` in place of the guide's
#: ``payment_method_types``. https://docs.stripe.com/changelog/endive
TYPES_RENAMED_IN = "2026-09-30"

SANDBOX_HTTP_CLIENT = "django_krcard.sandbox.http.SandboxHTTPClient"


@dataclass(frozen=True, slots=True)
class Card:
    """A PaymentMethod. ``brand`` is the issuer of a ``kr_card``, the network of a ``card``."""

    id: str
    type: str
    customer: str
    brand: str = ""
    last4: str | None = None
    exp_month: int | None = None
    exp_year: int | None = None


@dataclass(frozen=True, slots=True)
class CheckoutSession:
    id: str
    status: str
    customer: str
    client_reference_id: str
    livemode: bool
    payment_method_types: tuple[str, ...]
    url: str = field(default="", repr=False)
    setup_intent: str = ""
    setup_status: str = ""
    card: Card | None = None
    mandate: str = ""
    mandate_status: str = ""
    failure_code: str = ""

    @property
    def offers_korean_cards(self) -> bool:
        return "kr_card" in self.payment_method_types


@dataclass(frozen=True, slots=True)
class PaymentIntent:
    id: str
    status: str
    amount: int
    currency: str
    customer: str
    charge: str = ""
    failure_code: str = ""
    decline_code: str = ""


def create_customer(params: dict[str, Any], *, key: str) -> str:
    """Make a Customer and return its id. https://docs.stripe.com/api/customers/create"""
    return _ask(lambda stripe: stripe.customers.create(params, {"idempotency_key": key})).id


def create_checkout_session(params: dict[str, Any], *, key: str) -> CheckoutSession:
    """Open a Checkout Session. https://docs.stripe.com/api/checkout/sessions/create

    ``params`` come from ``checkout_session_params`` and are sent as they are, so that a repeat under ``key`` is equal.
    """
    return _session(_ask(lambda stripe: stripe.checkout.sessions.create(params, {"idempotency_key": key})))


def checkout_session_params(
    *,
    customer: str,
    public_id: str,
    success_url: str,
    cancel_url: str,
    locale: str,
    expires_at: datetime,
    metadata: dict[str, str],
) -> dict[str, Any]:
    """What Stripe is asked for a session in ``setup`` mode, as its configured API version wants it."""
    types = "allowed_payment_method_types" if conf.STRIPE_API_VERSION >= TYPES_RENAMED_IN else "payment_method_types"
    return {
        "mode": "setup",
        types: conf.PAYMENT_METHOD_TYPES,
        # Optional beside a list of types, but Stripe drops kr_card silently when it does not know that won are meant.
        "currency": "krw",
        "customer": customer,
        "client_reference_id": public_id,
        "success_url": success_url,
        "cancel_url": cancel_url,
        "locale": locale,
        "expires_at": int(expires_at.timestamp()),
        "metadata": metadata,
        # A session's metadata does not reach its SetupIntent.
        "setup_intent_data": {"metadata": metadata},
    }


def retrieve_checkout_session(session_id: str) -> CheckoutSession:
    """https://docs.stripe.com/api/checkout/sessions/retrieve"""
    params = {"expand": ["setup_intent", "setup_intent.payment_method", "setup_intent.mandate"]}
    return _session(_ask(lambda stripe: stripe.checkout.sessions.retrieve(session_id, params)))


def expire_checkout_session(session_id: str, *, key: str) -> None:
    """https://docs.stripe.com/api/checkout/sessions/expire"""
    _ask(lambda stripe: stripe.checkout.sessions.expire(session_id, {}, {"idempotency_key": key}))


def retrieve_payment_method(payment_method_id: str) -> Card:
    """https://docs.stripe.com/api/payment_methods/retrieve"""
    return _card(_ask(lambda stripe: stripe.payment_methods.retrieve(payment_method_id)).to_dict())


def detach_payment_method(payment_method_id: str, *, key: str) -> None:
    """https://docs.stripe.com/api/payment_methods/detach"""
    _ask(lambda stripe: stripe.payment_methods.detach(payment_method_id, {}, {"idempotency_key": key}))


def retrieve_mandate_status(mandate_id: str) -> str:
    """active, inactive or pending. https://docs.stripe.com/api/mandates/retrieve"""
    return _ask(lambda stripe: stripe.mandates.retrieve(mandate_id)).status


def payment_intent_params(
    *, amount: int, customer: str, card: str, card_type: str, description: str, metadata: dict[str, str]
) -> dict[str, Any]:
    """What Stripe is asked for an off-session payment of ``amount`` whole won with a saved card."""
    types = "allowed_payment_method_types" if conf.STRIPE_API_VERSION >= TYPES_RENAMED_IN else "payment_method_types"
    params = {
        "amount": amount,
        "currency": "krw",
        "customer": customer,
        "payment_method": card,
        types: [card_type],
        "off_session": True,
        "confirm": True,
        # Korean cards cannot be captured later when the customer is away.
        "capture_method": "automatic",
        "metadata": metadata,
    }
    return params | ({"description": description} if description else {})


def create_payment_intent(params: dict[str, Any], *, key: str) -> PaymentIntent:
    """Charge. https://docs.stripe.com/api/payment_intents/create

    Raises ``CardDeclined`` when Stripe executed it and it failed, ``StripeUnavailable`` when nobody knows.
    """
    return _intent(_ask(lambda stripe: stripe.payment_intents.create(params, {"idempotency_key": key})))


def retrieve_payment_intent(payment_intent_id: str) -> PaymentIntent:
    """https://docs.stripe.com/api/payment_intents/retrieve"""
    return _intent(_ask(lambda stripe: stripe.payment_intents.retrieve(payment_intent_id)))


def verify_signature(body: bytes, header: str, secret: str, tolerance: int) -> None:
    """Raise whatever Stripe's own check raises unless ``header`` signs ``body`` with ``secret``."""
    import stripe

    stripe.WebhookSignature.verify_header(body, header, secret, tolerance)


# --- the client ---------------------------------------------------------------------------------


def _client():
    refuse_inside_transaction()
    return _client_for(conf.STRIPE_SECRET_KEY, conf.STRIPE_API_VERSION, conf.STRIPE_API_BASE, conf.SANDBOX)


@cache
def _client_for(secret_key: str, api_version: str, api_base: str | None, sandbox: bool):
    import stripe

    # The only global of the SDK that is touched: telemetry has no switch on the client, and it would write an id
    # into the home directory of the site's user.
    stripe.enable_telemetry = False
    if sandbox:
        http_client = import_string(SANDBOX_HTTP_CLIENT)()
    else:
        http_client = stripe.RequestsClient(timeout=(CONNECT_TIMEOUT, READ_TIMEOUT))
    return stripe.StripeClient(
        secret_key,
        stripe_version=api_version,
        base_addresses={"api": api_base} if api_base else None,
        max_network_retries=MAX_NETWORK_RETRIES,
        http_client=http_client,
    )


def _ask(request: Callable[[Any], Any]) -> Any:
    """Make one request of the v1 API and return Stripe's object; its errors become ours."""
    import stripe

    try:
        return request(_client().v1)
    except stripe.StripeError as error:
        translated = _translated(error)
    # Out here, so that Stripe's error does not travel along: its body may hold client secrets and addresses.
    raise translated


def _translated(error) -> GatewayError:
    """Our error for Stripe's."""
    import stripe

    # Not error.code: for a 409 the SDK leaves it out.
    body = error.json_body if isinstance(error.json_body, dict) else {}
    data = body.get("error") if isinstance(body.get("error"), dict) else {}
    details = {
        "code": data.get("code") or "",
        "http_status": error.http_status,
        "request_id": error.request_id or "",
    }
    message = f"{type(error).__name__} {details['http_status'] or ''} {details['code']}".strip()
    logger.warning("Stripe answered %s (request %s)", message, details["request_id"] or "none")
    if isinstance(error, stripe.CardError):
        intent = data.get("payment_intent") or {}
        return CardDeclined(
            message, decline_code=data.get("decline_code") or "", payment_intent=intent.get("id", ""), **details
        )
    if isinstance(error, stripe.IdempotencyError):
        return KeyReused(message, **details)
    if isinstance(error, (stripe.AuthenticationError, stripe.PermissionError)):
        return StripeRefusedKey(message, **details)
    if isinstance(error, stripe.RateLimitError) or error.http_status in (409, 429):
        return StripeBusy(message, **details)
    if isinstance(error, stripe.InvalidRequestError):
        return StripeRefusedRequest(message, **details)
    # A lost connection, a 5xx, an unreadable answer, and whatever Stripe adds: executed or not, nobody knows.
    return StripeUnavailable(message, **details)


# --- Stripe's objects into ours -----------------------------------------------------------------


def _id(value: Any) -> str:
    """The id of a field that Stripe gives as an id, as the expanded object, or not at all."""
    if isinstance(value, dict):
        return value["id"]
    return value or ""


def _session(answer) -> CheckoutSession:
    data = answer.to_dict()
    intent = data.get("setup_intent")
    # Not expanded, as after a create: the intent has nothing to tell yet.
    expanded = intent if isinstance(intent, dict) else {}
    card = expanded.get("payment_method")
    mandate = expanded.get("mandate")
    return CheckoutSession(
        id=data["id"],
        status=data.get("status") or "",
        customer=_id(data.get("customer")),
        client_reference_id=data.get("client_reference_id") or "",
        livemode=data["livemode"],
        payment_method_types=tuple(data.get("payment_method_types") or ()),
        url=data.get("url") or "",
        setup_intent=_id(intent),
        setup_status=expanded.get("status") or "",
        card=_card(card) if isinstance(card, dict) else None,
        mandate=_id(mandate),
        mandate_status=mandate["status"] if isinstance(mandate, dict) else "",
        failure_code=(expanded.get("last_setup_error") or {}).get("code") or "",
    )


def _card(data: dict[str, Any]) -> Card:
    details = data.get(data["type"]) or {}
    return Card(
        id=data["id"],
        type=data["type"],
        customer=_id(data.get("customer")),
        brand=details.get("brand") or "",
        last4=details.get("last4"),
        exp_month=details.get("exp_month"),
        exp_year=details.get("exp_year"),
    )


def _intent(answer) -> PaymentIntent:
    data = answer.to_dict()
    failure = data.get("last_payment_error") or {}
    return PaymentIntent(
        id=data["id"],
        status=data["status"],
        amount=data["amount"],
        currency=data["currency"],
        customer=_id(data.get("customer")),
        charge=_id(data.get("latest_charge")),
        failure_code=failure.get("code") or "",
        decline_code=failure.get("decline_code") or "",
    )
