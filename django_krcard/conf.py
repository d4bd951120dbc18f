"""The settings of the package, read each time they are asked for."""

from zoneinfo import ZoneInfo

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

#: The newest API version whose facts this package was written against.
PINNED_API_VERSION = "2026-10-28.endive"

#: Days that each class of data is kept, and since when: see docs/privacy.md. Five years have up to two leap days.
RETENTION = {
    "webhook_body": 90,
    "setup": 90,
    "card": 365,
    "notice": 1827,
    "consent_origin": 1827,
    "customer": 1827,
}

#: Bytes of a webhook message; Stripe's are far smaller.
MAX_MESSAGE = 512 * 1024

KNOWN_SETTINGS = frozenset(
    {
        "KRCARD_ACTION_REQUIRED_HOURS",
        "KRCARD_AFTER_DISPUTE",
        "KRCARD_AMENDMENT_MIN_NOTICE_DAYS",
        "KRCARD_AMENDMENT_NOTICE_DAYS",
        "KRCARD_AMENDMENT_WINDOW_DAYS",
        "KRCARD_ARCHIVE_AFTER_DAYS",
        "KRCARD_BASE_TEMPLATE",
        "KRCARD_BASE_URL",
        "KRCARD_CHARGEABLE_SOURCES",
        "KRCARD_CHARGING_PAUSED",
        "KRCARD_CONFIRM_AGREEMENT",
        "KRCARD_EVIDENCE_KEYS",
        "KRCARD_GET_CUSTOMER",
        "KRCARD_IN_FLIGHT",
        "KRCARD_MAX_ATTACHMENT_BYTES",
        "KRCARD_MAX_DAYS_LATE",
        "KRCARD_MERCHANT_NAME",
        "KRCARD_NOTICE_DAYS",
        "KRCARD_NOTICE_KINDS",
        "KRCARD_NOTIFIER",
        "KRCARD_ON_AMENDMENT_UNANSWERED",
        "KRCARD_PAYMENT_METHOD_TYPES",
        "KRCARD_REQUESTS_PER_SECOND",
        "KRCARD_RETENTION",
        "KRCARD_SANDBOX",
        "KRCARD_SANDBOX_WITHOUT_DEBUG_I_KNOW_NO_MONEY_MOVES",
        "KRCARD_STRIPE_ACCOUNT",
        "KRCARD_STRIPE_API_BASE",
        "KRCARD_STRIPE_API_VERSION",
        "KRCARD_TASK_BACKEND",
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
    def STRIPE_ACCOUNT(self) -> str:
        """The connected account that the whole site acts for; empty: the key's own."""
        return getattr(settings, "KRCARD_STRIPE_ACCOUNT", None) or ""

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
    def GET_CUSTOMER(self) -> str | None:
        """Dotted path of what says who pays, from a request; ``None``: the signed-in user."""
        return getattr(settings, "KRCARD_GET_CUSTOMER", None)

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
    def CHARGEABLE_SOURCES(self) -> list[str]:
        """The sources of consents under which charges are made. What was taken on paper or by phone, or imported, is
        charged when the site says so."""
        return list(getattr(settings, "KRCARD_CHARGEABLE_SOURCES", ["web"]))

    @property
    def MAX_ATTACHMENT_BYTES(self) -> int:
        """Of a scan or a recording that comes with a consent taken elsewhere."""
        return getattr(settings, "KRCARD_MAX_ATTACHMENT_BYTES", 5 * 1024 * 1024)

    @property
    def REQUESTS_PER_SECOND(self) -> float:
        """To one endpoint of Stripe, from one process. https://docs.stripe.com/rate-limits"""
        return getattr(settings, "KRCARD_REQUESTS_PER_SECOND", 25)

    @property
    def IN_FLIGHT(self) -> int:
        """Calls on their way at the same time, where many are made.

        One with the sandbox: it lives in this process and its database, and would be asked from other connections.
        """
        return 1 if self.SANDBOX else getattr(settings, "KRCARD_IN_FLIGHT", 32)

    @property
    def MAX_DAYS_LATE(self) -> int:
        """A scheduled charge that could not be sent for so many days is refused: nobody expects it any more."""
        return getattr(settings, "KRCARD_MAX_DAYS_LATE", 7)

    @property
    def ACTION_REQUIRED_HOURS(self) -> int:
        """How long a customer may take to finish a payment that the issuer wants confirmed."""
        return getattr(settings, "KRCARD_ACTION_REQUIRED_HOURS", 72)

    @property
    def AFTER_DISPUTE(self) -> dict[str, str]:
        """What becomes of the mandate when a dispute is over: ``resume``, ``hold`` (a person decides) or ``end``."""
        return {"won": "resume", "lost": "end"} | getattr(settings, "KRCARD_AFTER_DISPUTE", {})

    @property
    def RETENTION(self) -> dict[str, int | None]:
        """Days that each class of data is kept; ``None``: for ever. What is not named keeps its default."""
        return RETENTION | getattr(settings, "KRCARD_RETENTION", {})

    @property
    def ARCHIVE_AFTER_DAYS(self) -> int:
        """So long after its end a mandate leaves the lists of staff without the permission ``view_archived``."""
        return getattr(settings, "KRCARD_ARCHIVE_AFTER_DAYS", 90)

    @property
    def AMENDMENT_WINDOW_DAYS(self) -> int:
        """A change of terms can be agreed to at most so many days before it takes effect."""
        return getattr(settings, "KRCARD_AMENDMENT_WINDOW_DAYS", 30)

    @property
    def AMENDMENT_MIN_NOTICE_DAYS(self) -> int:
        """The least days between asking a customer to pay more, or to pay at all, and the day it takes effect."""
        return getattr(settings, "KRCARD_AMENDMENT_MIN_NOTICE_DAYS", 7)

    @property
    def AMENDMENT_NOTICE_DAYS(self) -> list[int]:
        """Days before a change on which a customer who has not answered is reminded, after being asked once."""
        return getattr(settings, "KRCARD_AMENDMENT_NOTICE_DAYS", [7, 1])

    @property
    def ON_AMENDMENT_UNANSWERED(self) -> str:
        """The day has come and the customer has not agreed: ``pause``, ``keep`` the old terms, or ``end``."""
        return getattr(settings, "KRCARD_ON_AMENDMENT_UNANSWERED", "pause")

    @property
    def TASK_BACKEND(self) -> str | None:
        """An alias in Django's ``TASKS``; ``None``: work is done where it arises."""
        return getattr(settings, "KRCARD_TASK_BACKEND", None)

    @property
    def NOTIFIER(self) -> str:
        """Dotted path of what brings a notice to the customer."""
        return getattr(settings, "KRCARD_NOTIFIER", "django_krcard.services.notices.by_email")

    @property
    def NOTICE_KINDS(self) -> list[str] | None:
        """The kinds of notices that are sent; ``None``: all. Advance notice that terms promise is always sent."""
        return getattr(settings, "KRCARD_NOTICE_KINDS", None)

    @property
    def CONFIRM_AGREEMENT(self) -> bool:
        """Whether customers are sent what they agreed to, once their card is saved."""
        return getattr(settings, "KRCARD_CONFIRM_AGREEMENT", True)

    @property
    def NOTICE_DAYS(self) -> list[int]:
        """Days before a scheduled charge on which the customer is reminded, beside the notice the terms promise."""
        return getattr(settings, "KRCARD_NOTICE_DAYS", [])

    @property
    def CHARGING_PAUSED(self) -> bool:
        return getattr(settings, "KRCARD_CHARGING_PAUSED", False)


conf = Conf()
