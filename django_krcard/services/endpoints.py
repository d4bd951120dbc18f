"""The webhook endpoint at Stripe: where messages come to, which ones, and in which version."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection
from typing import Any
from urllib.parse import urljoin, urlsplit

from django.urls import reverse

from django_krcard import gateway
from django_krcard.conf import conf
from django_krcard.exceptions import StripeRefusedRequest, StripeUnavailable
from django_krcard.gateway import WebhookEndpoint

#: So often an answer may be one that Stripe only repeats.
MOST_REPEATS = 10


def our_path() -> str:
    return reverse("krcard:webhook")


def our_url() -> str:
    """Where messages should come to; empty without KRCARD_BASE_URL."""
    return urljoin(conf.BASE_URL, our_path()) if conf.BASE_URL else ""


def is_ours(url: str) -> bool:
    """Whether messages sent there reach this site. Without KRCARD_BASE_URL only the path says so."""
    return url == our_url() if conf.BASE_URL else urlsplit(url).path == our_path()


def create(url: str, events: Collection[str]) -> WebhookEndpoint:
    """Make the endpoint, with the version that this package reads. Its ``secret`` is told here, and never again."""
    params = {"url": url, "enabled_events": sorted(events), "api_version": conf.STRIPE_API_VERSION}
    if conf.STRIPE_ACCOUNT:
        # Messages of connected accounts come through an endpoint of the platform's.
        params["connect"] = True
    return _done(params, lambda key: gateway.create_webhook_endpoint(params, key=key), lambda made: True)


def update(endpoint: WebhookEndpoint, events: Collection[str]) -> WebhookEndpoint:
    """Let an endpoint get exactly ``events``, and switch it on. Its version cannot be changed."""
    params: dict[str, Any] = {"enabled_events": sorted(events), "disabled": False}
    return _done(
        {"id": endpoint.id, **params},
        lambda key: gateway.update_webhook_endpoint(endpoint.id, params, key=key),
        lambda seen: seen.enabled and seen.events == set(events),
    )


def _done(
    what: dict[str, Any], request: Callable[[str], WebhookEndpoint], as_wanted: Callable[[WebhookEndpoint], bool]
) -> WebhookEndpoint:
    """Ask under a key made of what is asked, and look whether it is so.

    There is no row to commit a key to, and none is needed: run again after a crash, the same request has the same key.
    For a day Stripe repeats its first answer under a key, also after somebody has changed or deleted the endpoint. So
    what cannot be found as answered is asked for once more, under the next key.
    """
    digest = hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:40]
    for repeat in range(1, MOST_REPEATS + 1):
        answer = request(f"krc1-endpoint-{digest}-{repeat}")
        try:
            if as_wanted(gateway.retrieve_webhook_endpoint(answer.id)):
                return answer
        except StripeRefusedRequest as error:
            if error.code != "resource_missing":
                raise
    raise StripeUnavailable("The endpoint is not as it was asked for. Look at it in Stripe's dashboard.")
