"""Webhooks as Stripe would post them, right or wrong."""

import json
import secrets
import time
from typing import Any

from django.http import HttpResponse
from django.test import Client
from django.urls import reverse

from django_krcard.conf import conf
from django_krcard.testing.signing import sign


class Events:
    def post(self, type: str, object: dict[str, Any], **changes: Any) -> HttpResponse:
        """Post a snapshot event about `object`. `changes` replace fields of the event: `id=`, `livemode=`, …"""
        event = {
            "id": f"evt_sandbox_{secrets.token_hex(12)}",
            "object": "event",
            "api_version": conf.STRIPE_API_VERSION,
            "created": int(time.time()),
            "data": {"object": object},
            "livemode": False,
            "pending_webhooks": 1,
            "request": {"id": None, "idempotency_key": None},
            "type": type,
        }
        if conf.STRIPE_ACCOUNT:
            event["account"] = conf.STRIPE_ACCOUNT
        return self.post_raw(json.dumps(event | changes))

    def post_raw(
        self, body: bytes | str, *, header: str | None = None, secret: str | None = None, at: int | None = None
    ) -> HttpResponse:
        """Post these bytes as they are. `header` replaces the signature; `secret` and `at` make another one."""
        return Client(enforce_csrf_checks=True, raise_request_exception=False).post(
            reverse("krcard:webhook"),
            body,
            content_type="application/json",
            headers={"Stripe-Signature": self.sign(body, secret, at=at) if header is None else header},
            secure=True,  # as Stripe does; a site with SECURE_SSL_REDIRECT would send it away
        )

    def sign(self, body: bytes | str, secret: str | None = None, *, at: int | None = None) -> str:
        """The `Stripe-Signature` header that the site accepts, unless another `secret` is given."""
        return sign(body, conf.STRIPE_WEBHOOK_SECRETS[0] if secret is None else secret, at=at)
