"""Bytes to proof: did Stripe sign this?"""

import re
import time

from django_krcard import gateway
from django_krcard.conf import conf
from django_krcard.exceptions import InvalidSignature

TOLERANCE = 300  # seconds, Stripe's default
MAX_HEADER = 8 * 1024

TIMESTAMP = re.compile(r"t=(\d{1,12})")


def verify(body: bytes, header: str) -> None:
    """Raise ``InvalidSignature`` unless one of the site's secrets signed ``body``. Touches no database.

    https://docs.stripe.com/webhooks/signatures
    """
    if not header:
        raise InvalidSignature("missing")
    if len(header) > MAX_HEADER or not header.isascii():
        raise InvalidSignature("malformed")
    secrets = conf.STRIPE_WEBHOOK_SECRETS
    if not secrets:
        raise InvalidSignature("no_secret")
    if not any(_signed_with(secret, body, header) for secret in secrets):
        raise InvalidSignature("mismatch")
    # Stripe's check refuses what is old and lets pass what is dated in the future.
    if _timestamp(header) > time.time() + TOLERANCE:
        raise InvalidSignature("future")


def _timestamp(header: str) -> int:
    """The one time in ``header``, in plain digits.

    Stripe's check takes the first of several, and all that ``int()`` takes for a number: then the time that was
    signed and the time that is looked at here could be two.
    """
    times = [part for part in header.split(",") if part.strip().startswith("t=")]
    timestamp = TIMESTAMP.fullmatch(times[0]) if len(times) == 1 else None
    if timestamp is None:
        raise InvalidSignature("malformed")
    return int(timestamp[1])


def _signed_with(secret: str, body: bytes, header: str) -> bool:
    try:
        gateway.verify_signature(body, header, secret, TOLERANCE)
    except Exception:
        # Stripe's check raises more than it documents (TypeError, UnicodeDecodeError, …), and its own exception
        # carries the body. Whatever it is, the message is not proved, and nothing of it may reach a log.
        return False
    return True
