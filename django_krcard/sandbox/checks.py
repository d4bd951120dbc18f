"""The sandbox takes no money, so a site that believes it does must never run on it."""

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error
from django.core.exceptions import ImproperlyConfigured

SETTING = "KRCARD_SANDBOX_WITHOUT_DEBUG_I_KNOW_NO_MONEY_MOVES"
LIVE_KEYS = ("sk_live_", "rk_live_")

# Why it does not run, and what helps.
LIVE_KEY = (
    "The Stripe sandbox does not run on a site whose STRIPE_SECRET_KEY is a live key: it moves no money.",
    "Take 'django_krcard.sandbox' out of INSTALLED_APPS in production, or set STRIPE_SECRET_KEY to a test key.",
)
NO_DEBUG = (
    "The Stripe sandbox runs only with DEBUG = True: it accepts every card and moves no money.",
    "Take 'django_krcard.sandbox' out of INSTALLED_APPS in production. For a test suite or a public "
    f"demo, where nobody is to be charged, set {SETTING} = True.",
)


def reason_not_to_run() -> tuple[str, str] | None:
    if str(getattr(settings, "STRIPE_SECRET_KEY", "")).strip().startswith(LIVE_KEYS):
        return LIVE_KEY
    if settings.DEBUG is True or getattr(settings, SETTING, False) is True:
        return None
    return NO_DEBUG


def may_run() -> bool:
    return reason_not_to_run() is None


def refuse_in_production() -> None:
    if reason := reason_not_to_run():
        raise ImproperlyConfigured(" ".join(reason))


def check_not_in_production(**kwargs: Any) -> list[CheckMessage]:
    if reason := reason_not_to_run():
        message, hint = reason
        return [Error(message, hint=hint, id="krcard.E090")]
    return []
