"""The sandbox takes no money, so a site that believes it does must never run on it."""

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error
from django.core.exceptions import ImproperlyConfigured

SETTING = "KRCARD_SANDBOX_WITHOUT_DEBUG_I_KNOW_NO_MONEY_MOVES"
REFUSAL = "The Stripe sandbox runs only with DEBUG = True: it accepts every card and moves no money."
HINT = (
    "Take 'django_krcard.sandbox' out of INSTALLED_APPS in production. For a test suite or a public "
    f"demo, where nobody is to be charged, set {SETTING} = True."
)


def may_run() -> bool:
    return settings.DEBUG is True or getattr(settings, SETTING, False) is True


def refuse_in_production() -> None:
    if not may_run():
        raise ImproperlyConfigured(f"{REFUSAL} {HINT}")


def check_not_in_production(**kwargs: Any) -> list[CheckMessage]:
    if may_run():
        return []
    return [Error(REFUSAL, hint=HINT, id="krcard.E090")]
