"""The settings of the package, read each time they are asked for."""

from zoneinfo import ZoneInfo

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

#: The newest API version whose facts this package was written against.
PINNED_API_VERSION = "2026-10-28.endive"

KNOWN_SETTINGS = frozenset(
    {
        "KRCARD_BASE_TEMPLATE",
        "KRCARD_BASE_URL",
        "KRCARD_CHARGING_PAUSED",
        "KRCARD_EVIDENCE_KEYS",
        "KRCARD_MERCHANT_NAME",
        "KRCARD_PAYMENT_METHOD_TYPES",
        "KRCARD_SANDBOX",
        "KRCARD_SANDBOX_WITHOUT_DEBUG_I_KNOW_NO_MONEY_MOVES",
        "KRCARD_STRIPE_API_BASE",
        "KRCARD_STRIPE_API_VERSION",
        "KRCARD_TIME_ZONE",
        "KRCARD_TRUSTED_PROXY_COUNT",
    }
)


class Conf:
    """One property for each setting. Nothing is cached, so ``override_settings`` works."""

    @property
    def STRIPE_SECRET_KEY(self) -> str:
        key = getattr(settings, "STRIPE_SECRET_KEY", "")
        if key:
            return key
        if self.SANDBOX:
            return "sk_test_sandbox"
        raise ImproperlyConfigured(
            "STRIPE_SECRET_KEY is not set. Copy a secret or restricted key from Stripe's dashboard."
        )

    @property
    def STRIPE_WEBHOOK_SECRETS(self) -> list[str]:
        """The signing secrets that count. Blank ones never do: an empty secret would let everybody sign."""
        value = getattr(settings, "STRIPE_WEBHOOK_SECRET", None) or []
        secrets = [value] if isinstance(value, str) else value
        return [secret for secret in secrets if isinstance(secret, str) and secret.strip()]

    @property
    def LIVEMODE(self) -> bool:
        """Whether the key moves real money. A key of unknown kind counts as live."""
        return not self.STRIPE_SECRET_KEY.startswith(("sk_test_", "rk_test_"))

    @property
    def STRIPE_API_BASE(self) -> str | None:
        return getattr(settings, "KRCARD_STRIPE_API_BASE", None)

    @property
    def STRIPE_API_VERSION(self) -> str:
        return getattr(settings, "KRCARD_STRIPE_API_VERSION", PINNED_API_VERSION)

    @property
    def PAYMENT_METHOD_TYPES(self) -> list[str]:
        return list(getattr(settings, "KRCARD_PAYMENT_METHOD_TYPES", ["card", "kr_card"]))

    @property
    def SANDBOX(self) -> bool:
        return getattr(settings, "KRCARD_SANDBOX", False)

    @property
    def BASE_URL(self) -> str | None:
        return getattr(settings, "KRCARD_BASE_URL", None)

    @property
    def BASE_TEMPLATE(self) -> str:
        return getattr(settings, "KRCARD_BASE_TEMPLATE", "krcard/base.html")

    @property
    def MERCHANT_NAME(self) -> str:
        return getattr(settings, "KRCARD_MERCHANT_NAME", "")

    @property
    def TIME_ZONE(self) -> ZoneInfo:
        return ZoneInfo(getattr(settings, "KRCARD_TIME_ZONE", "Asia/Seoul"))

    @property
    def TRUSTED_PROXY_COUNT(self) -> int:
        return getattr(settings, "KRCARD_TRUSTED_PROXY_COUNT", 0)

    @property
    def EVIDENCE_KEYS(self) -> dict[str, str]:
        """``{key id: secret}``. The last one signs new consents, all of them verify old ones."""
        keys = getattr(settings, "KRCARD_EVIDENCE_KEYS", None)
        if keys:
            return keys
        fallbacks = {f"secret-key-fallback-{n}": key for n, key in enumerate(settings.SECRET_KEY_FALLBACKS)}
        return fallbacks | {"secret-key": settings.SECRET_KEY}

    @property
    def CHARGING_PAUSED(self) -> bool:
        return getattr(settings, "KRCARD_CHARGING_PAUSED", False)


conf = Conf()
