"""How Stripe itself is set up: the account, what is switched on, and where messages go."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from django_krcard.gateway.client import ask, in_order, keyed, pages
from django_krcard.gateway.messages import MOST_TYPES

KR_CARD = "kr_card_payments"


@dataclass(frozen=True, slots=True)
class Account:
    """``kr_card`` is active, inactive or pending; empty: not told. ``asked`` is Stripe's own clock, if it was told."""

    id: str
    country: str
    kr_card: str
    charges_enabled: bool | None
    asked: datetime | None


@dataclass(frozen=True, slots=True)
class Configuration:
    """Which payment methods are offered, by the dashboard's settings."""

    id: str
    is_default: bool
    active: bool
    kr_card: bool | None


@dataclass(frozen=True, slots=True)
class WebhookEndpoint:
    """``secret`` is told once, when it is made. ``api_version`` is empty where the account's own one is meant."""

    id: str
    url: str
    enabled: bool
    events: frozenset[str]
    api_version: str = ""
    secret: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class NewestEvent:
    id: str
    type: str
    created: datetime


def retrieve_account() -> Account:
    """The account that calls are made for. https://docs.stripe.com/api/accounts/retrieve"""
    told: datetime | None = None

    def request(stripe: Any) -> Any:
        nonlocal told
        answer = stripe.accounts.retrieve_current()
        told = _moment(answer.last_response.headers.get("Date"))
        return answer

    return ask(
        "GET /v1/account",
        request,
        lambda data: Account(
            id=data["id"],
            country=data.get("country") or "",
            kr_card=(data.get("capabilities") or {}).get(KR_CARD) or "",
            charges_enabled=data.get("charges_enabled"),
            asked=told,
        ),
    )


def payment_method_configurations() -> Iterator[Configuration]:
    """https://docs.stripe.com/api/payment_method_configurations/list"""
    yield from pages(
        "GET /v1/payment_method_configurations (list)",
        lambda stripe: stripe.payment_method_configurations,
        {},
        lambda data: Configuration(
            id=data["id"],
            is_default=data.get("is_default") is True,
            active=data.get("active") is True,
            kr_card=(data.get("kr_card") or {}).get("available"),
        ),
    )


def webhook_endpoints() -> Iterator[WebhookEndpoint]:
    """Those of the key's own account: messages of connected accounts come through it, too.

    https://docs.stripe.com/api/webhook_endpoints/list
    """
    yield from pages(
        "GET /v1/webhook_endpoints (list)", lambda stripe: stripe.webhook_endpoints, {}, _endpoint, of_the_key=True
    )


def retrieve_webhook_endpoint(endpoint_id: str) -> WebhookEndpoint:
    """https://docs.stripe.com/api/webhook_endpoints/retrieve"""
    return ask(
        "GET /v1/webhook_endpoints",
        lambda stripe: stripe.webhook_endpoints.retrieve(endpoint_id),
        _endpoint,
        of_the_key=True,
    )


def create_webhook_endpoint(params: dict[str, Any], *, key: str) -> WebhookEndpoint:
    """https://docs.stripe.com/api/webhook_endpoints/create"""
    sdk_log, without_secrets = logging.getLogger("stripe"), WithoutSecrets()
    sdk_log.addFilter(without_secrets)
    try:
        return ask(
            "POST /v1/webhook_endpoints",
            lambda stripe: stripe.webhook_endpoints.create(in_order(params), keyed(key)),
            _endpoint,
            of_the_key=True,
        )
    finally:
        sdk_log.removeFilter(without_secrets)


class WithoutSecrets(logging.Filter):
    """On a site that logs at DEBUG, Stripe's SDK writes down whole answers."""

    def filter(self, record: logging.LogRecord) -> bool:
        return "whsec_" not in record.getMessage()


def update_webhook_endpoint(endpoint_id: str, params: dict[str, Any], *, key: str) -> WebhookEndpoint:
    """https://docs.stripe.com/api/webhook_endpoints/update"""
    return ask(
        "POST /v1/webhook_endpoints/{id}",
        lambda stripe: stripe.webhook_endpoints.update(endpoint_id, in_order(params), keyed(key)),
        _endpoint,
        of_the_key=True,
    )


def thin_destinations() -> list[WebhookEndpoint]:
    """Webhook addresses that get thin events, as endpoints: their events are named ``v1.…`` here as there.

    https://docs.stripe.com/api/v2/core/event_destinations/list
    """
    wanted = {"limit": 100, "include": ["webhook_endpoint.url"]}
    return ask(
        "GET /v2/core/event_destinations (list)",
        lambda stripe: stripe.core.event_destinations.list(wanted),
        lambda page: [
            WebhookEndpoint(
                id=data["id"],
                url=(data.get("webhook_endpoint") or {}).get("url") or "",
                enabled=data.get("status") == "enabled",
                events=frozenset(data.get("enabled_events") or ()),
            )
            for data in page["data"]
            if data.get("type") == "webhook_endpoint" and data.get("event_payload") == "thin"
        ],
        of_the_key=True,
        api="v2",
        # Not every key, nor the sandbox, has this list.
        may_be_missing=True,
    )


def newest_event(types: Iterable[str]) -> NewestEvent | None:
    """The last thing of these types that happened at Stripe. https://docs.stripe.com/api/events/list"""
    types, newest = sorted(types), []
    for at in range(0, len(types), MOST_TYPES):
        wanted = {"limit": 1, "types": types[at : at + MOST_TYPES]}
        newest += ask(
            "GET /v1/events (list)",
            lambda stripe, wanted=wanted: stripe.events.list(wanted),
            lambda page: [
                NewestEvent(data["id"], data["type"], datetime.fromtimestamp(data["created"], UTC))
                for data in page["data"]
            ],
        )
    return max(newest, key=lambda event: event.created, default=None)


def _endpoint(data: dict[str, Any]) -> WebhookEndpoint:
    return WebhookEndpoint(
        id=data["id"],
        url=data["url"],
        enabled=data.get("status") == "enabled",
        events=frozenset(data["enabled_events"]),
        api_version=data.get("api_version") or "",
        secret=data.get("secret") or "",
    )


def _moment(header: str | None) -> datetime | None:
    try:
        return parsedate_to_datetime(header or "")
    except ValueError:
        # A proxy leaves it out or writes what it likes; then the clock is not compared.
        return None
