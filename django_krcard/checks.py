"""Wrong settings, found before the first customer finds them."""

from difflib import get_close_matches
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from django.apps import apps
from django.conf import settings
from django.core.checks import Error, Warning
from django.db import DEFAULT_DB_ALIAS, router

from django_krcard.conf import KNOWN_SETTINGS, conf

#: Stripe offers these in Checkout, but they cannot be saved for later.
CANNOT_BE_SAVED = {"payco", "samsung_pay"}


def check_secret_key(**kwargs):
    if conf.SANDBOX or getattr(settings, "STRIPE_SECRET_KEY", ""):
        return []
    hint = (
        "Copy a secret key (sk_…) or, better, a restricted key (rk_…) from Stripe's dashboard, or set KRCARD_SANDBOX."
    )
    return [Error("STRIPE_SECRET_KEY is not set.", hint=hint, id="krcard.E001")]


def check_webhook_secret(**kwargs):
    if conf.STRIPE_WEBHOOK_SECRETS:
        return []
    hint = "Copy the endpoint's signing secret (whsec_…) from Stripe's dashboard. Until then every message is refused."
    return [Error("STRIPE_WEBHOOK_SECRET is not set.", hint=hint, id="krcard.E002")]


def check_sandbox(**kwargs):
    if not conf.SANDBOX:
        return []
    if "django_krcard.sandbox" not in settings.INSTALLED_APPS:
        hint = "Add 'django_krcard.sandbox' to INSTALLED_APPS and include django_krcard.sandbox.urls."
        return [Error("KRCARD_SANDBOX is on, but the sandbox is not installed.", hint=hint, id="krcard.E003")]
    if conf.LIVEMODE:
        hint = "Use a test key, or turn KRCARD_SANDBOX off."
        return [Error("KRCARD_SANDBOX is on together with a live key.", hint=hint, id="krcard.E004")]
    return []


def check_payment_method_types(**kwargs):
    types = set(conf.PAYMENT_METHOD_TYPES)
    if unusable := sorted(types & CANNOT_BE_SAVED):
        hint = "Stripe cannot save these for later payments. Remove them from KRCARD_PAYMENT_METHOD_TYPES."
        return [Error(f"{', '.join(unusable)} cannot be saved.", hint=hint, id="krcard.E005")]
    if "kr_card" not in types:
        hint = "Add 'kr_card', or customers will not be offered a Korean local card."
        return [Warning("KRCARD_PAYMENT_METHOD_TYPES does not name kr_card.", hint=hint, id="krcard.W001")]
    return []


def check_base_url(**kwargs):
    base = conf.BASE_URL
    if base is None:
        return []
    parts = urlsplit(base)
    if parts.scheme in ("http", "https") and parts.netloc and parts.path in ("", "/") and not parts.query:
        return []
    hint = 'Give scheme and host only, for example "https://shop.example".'
    return [Error(f"KRCARD_BASE_URL is {base!r}.", hint=hint, id="krcard.E006")]


def check_time_zone(**kwargs):
    name = getattr(settings, "KRCARD_TIME_ZONE", "Asia/Seoul")
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, TypeError):
        hint = 'Use a name of the IANA time zone database, for example "Asia/Seoul".'
        return [Error(f"KRCARD_TIME_ZONE is {name!r}.", hint=hint, id="krcard.E007")]
    return []


def check_use_tz(**kwargs):
    if settings.USE_TZ:
        return []
    hint = "Set USE_TZ = True: the periods of the terms are counted in KRCARD_TIME_ZONE."
    return [Error("USE_TZ is off.", hint=hint, id="krcard.E008")]


def check_database(**kwargs):
    charge = apps.get_model("krcard", "Charge")
    if router.db_for_read(charge) == router.db_for_write(charge) == DEFAULT_DB_ALIAS:
        return []
    hint = "Route the apps krcard and krcard_sandbox to 'default' for reading and writing."
    text = "A database router sends krcard elsewhere. On a replica that lags, one period could be charged twice."
    return [Error(text, hint=hint, id="krcard.E009")]


def check_mode(**kwargs):
    if settings.DEBUG and not conf.SANDBOX and getattr(settings, "STRIPE_SECRET_KEY", "") and conf.LIVEMODE:
        hint = "Use a test key while you develop."
        return [Warning("A live Stripe key is used together with DEBUG.", hint=hint, id="krcard.W002")]
    return []


def check_evidence_keys(**kwargs):
    if getattr(settings, "KRCARD_EVIDENCE_KEYS", None):
        return []
    hint = "Set KRCARD_EVIDENCE_KEYS = {'2026': '<a long random secret>'} and keep old keys when you add new ones."
    text = "The proof of every consent depends on SECRET_KEY: once that is changed, no old consent verifies."
    return [Warning(text, hint=hint, id="krcard.W004")]


def check_sqlite(**kwargs):
    for alias, database in settings.DATABASES.items():
        sqlite = database.get("ENGINE", "").endswith("sqlite3")
        if sqlite and database.get("OPTIONS", {}).get("transaction_mode") != "IMMEDIATE":
            hint = 'Give it "OPTIONS": {"transaction_mode": "IMMEDIATE", "timeout": 20}, see the README.'
            text = f"Database {alias!r} is SQLite in its default mode: visitors at the same moment can meet an error."
            return [Warning(text, hint=hint, id="krcard.W005")]
    return []


def check_hosts(**kwargs):
    if conf.BASE_URL or "*" not in settings.ALLOWED_HOSTS:
        return []
    hint = 'Set KRCARD_BASE_URL, for example "https://shop.example", or name the hosts in ALLOWED_HOSTS.'
    return [Warning("Any host may be given to Stripe as the customer's way back.", hint=hint, id="krcard.W006")]


def check_unknown_settings(**kwargs):
    unknown = [
        name
        for name in dir(settings)
        if name.startswith("KRCARD_") and not name.startswith("KRCARD_TEST_") and name not in KNOWN_SETTINGS
    ]
    return [Warning(f"Unknown setting {name}.", hint=_did_you_mean(name), id="krcard.W003") for name in unknown]


def _did_you_mean(name: str) -> str:
    close = get_close_matches(name, KNOWN_SETTINGS, n=1)
    return f"Did you mean {close[0]}?" if close else "It is not read by django_krcard. Remove it."


CHECKS = [
    check_secret_key,
    check_webhook_secret,
    check_sandbox,
    check_payment_method_types,
    check_base_url,
    check_time_zone,
    check_use_tz,
    check_database,
    check_mode,
    check_unknown_settings,
]

#: Only with ``check --deploy``.
DEPLOY_CHECKS = [check_evidence_keys, check_sqlite, check_hosts]
