"""Wrong settings, found before the first customer finds them."""

import re
from difflib import get_close_matches
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from django.apps import apps
from django.conf import settings
from django.core.checks import ERROR, Error, Warning
from django.db import DEFAULT_DB_ALIAS, connections, router
from django.urls import NoReverseMatch, reverse
from django.utils.module_loading import import_string

from django_krcard import triggers
from django_krcard.conf import KNOWN_SETTINGS, MAX_MESSAGE, RETENTION, conf

#: Stripe offers these in Checkout, but they cannot be saved for later.
CANNOT_BE_SAVED = {"payco", "samsung_pay"}
#: What this package knows how to save, show and charge.
CAN_BE_SAVED = {"card", "kr_card", "kakao_pay", "naver_pay"}


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
    try:
        reverse("krcard_sandbox:panel")
    except NoReverseMatch:
        hint = 'Add path("stripe-sandbox/", include("django_krcard.sandbox.urls")) to your urls.py.'
        return [Error("KRCARD_SANDBOX is on, but its pages have no address.", hint=hint, id="krcard.E003")]
    if conf.LIVEMODE:
        hint = "Use a test key, or turn KRCARD_SANDBOX off."
        return [Error("KRCARD_SANDBOX is on together with a live key.", hint=hint, id="krcard.E004")]
    return []


def check_payment_method_types(**kwargs):
    types = set(conf.PAYMENT_METHOD_TYPES)
    if unusable := sorted(types & CANNOT_BE_SAVED):
        hint = (
            "Stripe takes PAYCO and Samsung Pay for a payment at once, and cannot save them for a later one. "
            "Remove them from KRCARD_PAYMENT_METHOD_TYPES."
        )
        return [Error(f"{', '.join(unusable)} cannot be saved.", hint=hint, id="krcard.E005")]
    if unknown := sorted(types - CAN_BE_SAVED):
        hint = f"Known are {', '.join(sorted(CAN_BE_SAVED))}. Stripe refuses a type that it does not know."
        text = f"KRCARD_PAYMENT_METHOD_TYPES names {', '.join(unknown)}."
        return [Warning(text, hint=hint, id="krcard.W009")]
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


def check_get_customer(**kwargs):
    try:
        usable = conf.GET_CUSTOMER is None or callable(import_string(conf.GET_CUSTOMER))
    except (ImportError, AttributeError):
        usable = False
    if usable:
        return []
    hint = "Give the dotted path of a function that takes a request and returns a Customer, or None: the user pays."
    return [Error(f"KRCARD_GET_CUSTOMER is {conf.GET_CUSTOMER!r}.", hint=hint, id="krcard.E023")]


def check_stripe_account(**kwargs):
    account = conf.STRIPE_ACCOUNT
    if not account or (isinstance(account, str) and re.fullmatch(r"acct_\w+", account)):
        return []
    hint = "Give the id of one connected account (acct_…), or leave it out: then it is the account of the key."
    return [Error(f"KRCARD_STRIPE_ACCOUNT is {account!r}.", hint=hint, id="krcard.E024")]


def check_notifier(**kwargs):
    try:
        usable = callable(import_string(conf.NOTIFIER))
    except (ImportError, AttributeError):
        usable = False
    if usable:
        return []
    hint = "Give the dotted path of a function that takes a Notice and raises when it could not be sent."
    return [Error(f"KRCARD_NOTIFIER is {conf.NOTIFIER!r}.", hint=hint, id="krcard.E010")]


def check_task_backend(**kwargs):
    alias, backends = conf.TASK_BACKEND, getattr(settings, "TASKS", {})
    if alias is None:
        return []
    if alias not in backends:
        hint = "Name an alias of Django's TASKS setting, or None to work without a queue."
        return [Error(f"KRCARD_TASK_BACKEND is {alias!r}.", hint=hint, id="krcard.E011")]
    hint = "Install the package that it comes from, add its app to INSTALLED_APPS and migrate: see docs/tasks.md."
    text = f"The backend of KRCARD_TASK_BACKEND = {alias!r} cannot work: "
    return [Error(text + why, hint=hint, id="krcard.E011") for why in _wrong_with(alias, backends[alias])]


def _wrong_with(alias, params):
    """What a backend of Django's tasks says of itself. Where it cannot be loaded, why not."""
    try:
        backend = import_string(params["BACKEND"])(alias=alias, params=params)
        return [message.msg for message in backend.check() if message.level >= ERROR]
    except Exception as error:  # of any kind: it is somebody else's code
        return [f"{type(error).__name__}: {error}"]


#: Settings that are numbers, with the least that makes sense.
NUMBERS = {
    "REQUESTS_PER_SECOND": 0.01,
    "IN_FLIGHT": 1,
    "MAX_DAYS_LATE": 0,
    "ACTION_REQUIRED_HOURS": 1,
    "ARCHIVE_AFTER_DAYS": 0,
    "AMENDMENT_WINDOW_DAYS": 1,
    "AMENDMENT_MIN_NOTICE_DAYS": 1,
}
#: Stripe can be asked for a message for so long.
LEAST_WEBHOOK_DAYS = 30
AFTER_DISPUTE = {"won", "lost"}, {"resume", "hold", "end"}


def check_charging_settings(**kwargs):
    hint = "See django_krcard.conf for what it means."
    found = []
    for name, least in NUMBERS.items():
        value = getattr(conf, name)
        if type(value) not in (int, float) or not value >= least:
            found.append(Error(f"KRCARD_{name} is {value!r}.", hint=hint, id="krcard.E012"))
    outcomes, acts = AFTER_DISPUTE
    if not (conf.AFTER_DISPUTE.keys() <= outcomes and set(conf.AFTER_DISPUTE.values()) <= acts):
        hint = 'Give {"won": …, "lost": …}, each "resume", "hold" or "end".'
        found.append(Error("KRCARD_AFTER_DISPUTE is not understood.", hint=hint, id="krcard.E012"))
    for name in ("NOTICE_DAYS", "AMENDMENT_NOTICE_DAYS"):
        days = getattr(conf, name)
        if not isinstance(days, list | tuple) or not all(type(day) is int and 0 < day <= 90 for day in days):
            hint = "Give a list of whole days, for example [7, 1]."
            found.append(Error(f"KRCARD_{name} is {days!r}.", hint=hint, id="krcard.E012"))
    return found


def check_amendment_settings(**kwargs):
    found = []
    if conf.ON_AMENDMENT_UNANSWERED not in ("pause", "keep", "end"):
        hint = 'Give "pause", "keep" or "end". Silence never counts as agreement.'
        text = f"KRCARD_ON_AMENDMENT_UNANSWERED is {conf.ON_AMENDMENT_UNANSWERED!r}."
        found.append(Error(text, hint=hint, id="krcard.E016"))
    window, least = conf.AMENDMENT_WINDOW_DAYS, conf.AMENDMENT_MIN_NOTICE_DAYS
    days = [value for value in (window, least) if type(value) is int]
    if len(days) < 2 or least > window:
        hint = "Both are whole days, and the window is at least as long as the notice: nobody could be asked in time."
        text = f"KRCARD_AMENDMENT_WINDOW_DAYS is {window!r}, KRCARD_AMENDMENT_MIN_NOTICE_DAYS is {least!r}."
        found.append(Error(text, hint=hint, id="krcard.E016"))
    return found


def check_retention(**kwargs):
    hint = f"Give days by class, or None to keep for ever. The classes: {', '.join(RETENTION)}."
    found = []
    for name, days in getattr(settings, "KRCARD_RETENTION", {}).items():
        if name not in RETENTION or not (days is None or (type(days) is int and days >= 1)):
            text = f"KRCARD_RETENTION has {name!r}: {days!r}."
            found.append(Error(text, hint=hint, id="krcard.E031"))
    days = conf.RETENTION["webhook_body"]
    if type(days) is int and 1 <= days < LEAST_WEBHOOK_DAYS:
        hint = f"Keep them {LEAST_WEBHOOK_DAYS} days: so long Stripe can be asked for one, and you can compare."
        found.append(Warning("Webhook messages are erased very soon.", hint=hint, id="krcard.W031"))
    return found


#: Of ``Consent.Source``, which checks do not import.
SOURCES = {"web", "import", "phone", "paper"}


def check_consent_settings(**kwargs):
    found = []
    sources = getattr(settings, "KRCARD_CHARGEABLE_SOURCES", ["web"])
    if not isinstance(sources, list | tuple | set | frozenset) or not SOURCES.issuperset(sources):
        hint = f"Give a list of some of these: {', '.join(sorted(SOURCES))}."
        found.append(Error(f"KRCARD_CHARGEABLE_SOURCES is {sources!r}.", hint=hint, id="krcard.E020"))
    most = conf.MAX_ATTACHMENT_BYTES
    if type(most) is not int or most < 1:
        hint = "Give a whole number of bytes."
        found.append(Error(f"KRCARD_MAX_ATTACHMENT_BYTES is {most!r}.", hint=hint, id="krcard.E021"))
    keys = getattr(settings, "KRCARD_EVIDENCE_KEYS", None) or {}
    if not isinstance(keys, dict) or not all(isinstance(key, str) and key for key in keys.values()):
        # An empty secret would let everybody who has the database make records that hold.
        hint = "Give {'2026': '<a long random secret>'}; none of the secrets may be empty."
        found.append(Error("KRCARD_EVIDENCE_KEYS is not understood.", hint=hint, id="krcard.E022"))
    return found


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


SQLITE_OPTIONS = '{"transaction_mode": "IMMEDIATE", "timeout": 20, "init_command": "PRAGMA journal_mode=WAL;"}'


def check_sqlite(**kwargs):
    for alias, database in settings.DATABASES.items():
        sqlite = database.get("ENGINE", "").endswith("sqlite3")
        if sqlite and database.get("OPTIONS", {}).get("transaction_mode") != "IMMEDIATE":
            hint = f'Give it "OPTIONS": {SQLITE_OPTIONS}, see the README.'
            text = f"Database {alias!r} is SQLite in its default mode: visitors at the same moment can meet an error."
            return [Warning(text, hint=hint, id="krcard.W005")]
    return []


def check_hosts(**kwargs):
    if conf.BASE_URL or "*" not in settings.ALLOWED_HOSTS:
        return []
    hint = 'Set KRCARD_BASE_URL, for example "https://shop.example", or name the hosts in ALLOWED_HOSTS.'
    return [Warning("Any host may be given to Stripe as the customer's way back.", hint=hint, id="krcard.W006")]


def check_links_in_notices(**kwargs):
    if conf.BASE_URL:
        return []
    hint = 'Set KRCARD_BASE_URL, for example "https://shop.example".'
    text = "Notices to customers carry no links: nobody knows this site's address outside of a request."
    return [Warning(text, hint=hint, id="krcard.W007")]


def check_upload_size(**kwargs):
    limit = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
    if limit is None or limit >= MAX_MESSAGE:
        return []
    hint = f"Set it to {MAX_MESSAGE} or more: Django refuses larger messages of Stripe's, however often they come."
    return [Warning(f"DATA_UPLOAD_MAX_MEMORY_SIZE is {limit}.", hint=hint, id="krcard.W008")]


def check_triggers(databases=None, **kwargs):
    # Warnings and no errors: migrate asks for the checks first, and it is what puts triggers back.
    found = []
    for alias in databases or []:
        vendor = connections[alias].vendor
        if router.allow_migrate_model(alias, apps.get_model("krcard", "Consent")) is False:
            continue
        if vendor not in triggers.VENDORS:
            hint = (
                "Use PostgreSQL (or SQLite), or give the site's database role only INSERT and SELECT on these tables."
            )
            text = f"Database {alias!r} is {vendor}: nothing in it keeps consents from being changed by SQL."
            found.append(Warning(text, hint=hint, id="krcard.W020"))
        elif missing := triggers.missing(alias):
            hint = "Find out who removed them, run krcard_verify, then migrate: it puts them back."
            text = f"Database {alias!r} has lost triggers that protect consents: {', '.join(missing)}."
            found.append(Warning(text, hint=hint, id="krcard.W021"))
    return found


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
    check_get_customer,
    check_stripe_account,
    check_notifier,
    check_task_backend,
    check_charging_settings,
    check_retention,
    check_consent_settings,
    check_amendment_settings,
    check_mode,
    check_upload_size,
    check_unknown_settings,
]

#: Only with ``check --deploy``.
DEPLOY_CHECKS = [check_evidence_keys, check_sqlite, check_hosts, check_links_in_notices]

#: Only with ``check --database`` and ``migrate``.
DATABASE_CHECKS = [check_triggers]
