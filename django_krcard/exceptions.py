"""What can go wrong, named once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.core.exceptions import SuspiciousOperation

if TYPE_CHECKING:
    from django_krcard.models import Charge


class KrcardError(Exception):
    """The parent of every error this package raises on purpose."""


class ConsentRefused(KrcardError):
    """The customer's agreement is incomplete or is not to the terms in force. Nothing was recorded."""


class ErasureRefused(KrcardError):
    """A person cannot be erased now: ``reasons`` has a sentence for each thing that forbids it. Nothing was changed."""

    def __init__(self, reasons: list[str]) -> None:
        super().__init__(" ".join(reasons))
        self.reasons = reasons


class RecordIsFinal(KrcardError):
    """Evidence is written once. Consents, timelines and published terms are never changed or removed."""


class AmendmentRefused(KrcardError):
    """The change of terms cannot be asked for, answered or cancelled like that. Nothing was changed."""


class SetupNotAllowed(KrcardError):
    """The attempt to save a card cannot go on: it is over, or Stripe says that it is somebody else's."""


class CustomerNotLinked(KrcardError):
    """The Customer at Stripe cannot be this site's customer. Nothing was changed; the sentence says why."""


# --- charging ---------------------------------------------------------------------------------


class ChargeRefused(KrcardError):
    """The agreed terms do not cover this charge. Stripe was not asked and no money moved.

    ``code`` is one of the refusal codes, ``message`` a sentence for people,
    ``charge`` the recorded refusal (``None`` when the amount itself is no amount).
    """

    def __init__(self, code: str, message: str, charge: Charge | None = None) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.charge = charge


class ReferenceConflict(KrcardError):
    """This reference was already used on this mandate for another amount. Nothing was sent."""


class DatabaseIsBehind(KrcardError):
    """Stripe knows charges that this database does not: a backup was restored. Nothing is sent until
    ``krcard_reconcile --fix`` has taken them in."""


class RefundRefused(KrcardError):
    """The refund cannot be made as asked. Nothing was sent. ``code`` says why in a word."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class SubscriptionRefused(KrcardError):
    """The agreed terms do not cover this subscription. Nothing was made at Stripe and no money moved.

    ``code`` says why in a word, ``message`` in a sentence for people.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


class ChargeNotSucceeded(KrcardError):
    """The parent of what ``Charge.raise_for_status()`` raises. ``charge`` is the charge."""

    def __init__(self, charge: Charge) -> None:
        super().__init__(f"Charge {charge.public_id} is {charge.status} {charge.failure_code}".rstrip())
        self.charge = charge


class Declined(ChargeNotSucceeded):
    """Stripe or the issuer said no. ``charge.decline_code`` may say why."""


class ActionRequired(ChargeNotSucceeded):
    """The issuer wants the customer to be present."""


class OutcomeUnknown(ChargeNotSucceeded):
    """Nobody knows yet whether the money moved. Do not charge again under another reference."""


# --- Stripe -----------------------------------------------------------------------------------


class InsideTransaction(KrcardError):
    """Stripe was about to be called while a database transaction was open. See law 2 of the design."""


class GatewayError(KrcardError):
    """Stripe did not do what was asked.

    Carries Stripe's ``code``, ``http_status`` and ``request_id``; never the body, which may hold secrets.
    ``executed`` says whether a POST was carried out all the same; ``None``: nobody knows.
    """

    executed: bool | None = None

    def __init__(self, message: str, *, code: str = "", http_status: int | None = None, request_id: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.http_status = http_status
        self.request_id = request_id


class StripeUnavailable(GatewayError):
    """No usable answer: time-out, reset, 5xx. The request may or may not have been executed."""


class StripeBusy(GatewayError):
    """409: the same key is at work in another request. Ask again with the same key."""


class RateLimited(StripeBusy):
    """429: too many requests. Not executed; ask again later with the same key."""

    executed = False


class StripeRefusedKey(GatewayError):
    """401 or 403: the key is wrong or may not do this. Not executed."""

    executed = False


class StripeRefusedRequest(GatewayError):
    """400 or 404: the request cannot be executed as it stands."""

    executed = False


class KeyReused(GatewayError):
    """The idempotency key was used with other parameters before: a bug, and the outcome is unknown."""


class CardDeclined(GatewayError):
    """402. Stripe executed the payment and it failed for good; ``payment_intent`` names it."""

    executed = True

    def __init__(self, message: str, *, decline_code: str = "", payment_intent: str = "", **kwargs) -> None:
        super().__init__(message, **kwargs)
        self.decline_code = decline_code
        self.payment_intent = payment_intent


# --- webhooks ---------------------------------------------------------------------------------


class InvalidSignature(KrcardError, SuspiciousOperation):
    """The message does not prove that Stripe sent it. Django answers 400 by itself.

    ``reason`` is a short code for the log; nothing of the message is kept.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(f"Webhook signature refused: {reason}")
        self.reason = reason
