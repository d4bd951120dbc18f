"""Signatures as Stripe writes them. Nothing but Python's own library is needed."""

import hashlib
import hmac
import time

#: What the fixtures sign with; `krcard_sandbox` makes it the site's STRIPE_WEBHOOK_SECRET.
WEBHOOK_SECRET = "whsec_krcard_testing"


def sign(body: bytes | str, secret: str = WEBHOOK_SECRET, *, at: int | None = None) -> str:
    """The `Stripe-Signature` header for these bytes, signed now or `at` (seconds since 1970).

    https://docs.stripe.com/webhooks/signatures
    """
    body = body.encode() if isinstance(body, str) else body
    at = int(time.time()) if at is None else at
    mac = hmac.new(secret.encode(), b"%d." % at + body, hashlib.sha256).hexdigest()
    return f"t={at},v1={mac}"
