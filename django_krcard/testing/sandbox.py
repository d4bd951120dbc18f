"""The sandbox in the hands of a test."""

from datetime import timedelta
from typing import Any

from django_krcard.sandbox import checks, control
from django_krcard.sandbox.models import Resource
from django_krcard.testing.signing import WEBHOOK_SECRET

SECRET_KEY = "sk_test_krcard_testing"


def switch_on(settings):
    """Turn the sandbox on through pytest-django's `settings`, which turns it off again, and empty it."""
    settings.KRCARD_SANDBOX = True
    setattr(settings, checks.SETTING, True)
    settings.STRIPE_SECRET_KEY = SECRET_KEY
    settings.STRIPE_WEBHOOK_SECRET = WEBHOOK_SECRET
    control.reset()
    return Sandbox()


class Sandbox:
    """Every function of `django_krcard.sandbox.control`, and what the sandbox has in its books."""

    def __getattr__(self, name: str) -> Any:
        return getattr(control, name)

    def advance(self, by: timedelta | None = None, **units: float) -> None:
        """Turn Stripe's clock forward, not the site's: `advance(hours=25)`. For both, see `krcard_clock`."""
        control.advance(timedelta(**units) if by is None else by)

    def payment_intents(self) -> list[dict[str, Any]]:
        return books("payment_intent")

    def charges(self) -> list[dict[str, Any]]:
        return books("charge")

    def setup_intents(self) -> list[dict[str, Any]]:
        return books("setup_intent")

    def sessions(self) -> list[dict[str, Any]]:
        return books("checkout.session")


def books(kind: str) -> list[dict[str, Any]]:
    """Stripe's objects of this kind, oldest first: what really happened."""
    return [row.body for row in Resource.objects.filter(kind=kind).order_by("pk")]
