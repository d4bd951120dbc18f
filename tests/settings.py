"""The site that the suite runs in."""

import atexit
import shutil
import tempfile
from pathlib import Path

import environ

env = environ.Env()


def sqlite_in_a_file():
    # A file and not memory: threads and the live server share the database through connections of their own.
    folder = Path(tempfile.mkdtemp(prefix="krcard-tests-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": folder / "site.sqlite3",
        "OPTIONS": {
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
        },
        "TEST": {"NAME": str(folder / "test.sqlite3")},
    }


def named_by_a_url():
    found = env.db(DATABASE)
    if "postgresql" in found["ENGINE"]:
        # Workers are killed here, and never the server: what was committed is there, also if it is not on the disk yet.
        found.setdefault("OPTIONS", {})["options"] = "-c synchronous_commit=off"
    return found


SECRET_KEY = "krcard-tests"
DEBUG = False
ALLOWED_HOSTS = ["testserver", "localhost", "127.0.0.1"]

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django_krcard",
    "django_krcard.sandbox",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]
ROOT_URLCONF = "tests.urls"
STATIC_URL = "static/"
LOGIN_URL = "/admin/login/"

DATABASE = "KRCARD_TEST_DATABASE_URL"
DATABASES = {"default": named_by_a_url() if env.str(DATABASE, default="") else sqlite_in_a_file()}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

LANGUAGE_CODE = "ko"
LANGUAGES = [("ko", "한국어"), ("en", "English")]
TIME_ZONE = "UTC"
USE_TZ = True

# Fast, and secret from nobody.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

# From Django 6.1 on; before it nobody reads this, and the tests' mail goes nowhere anyway.
MAILERS = {"default": {"BACKEND": "django.core.mail.backends.locmem.EmailBackend"}}

STRIPE_SECRET_KEY = "sk_test_krcard_tests"
STRIPE_WEBHOOK_SECRET = "whsec_krcard_tests"
KRCARD_MERCHANT_NAME = "한강 멤버십"
if STRIPE_API_VERSION := env.str("KRCARD_TEST_STRIPE_API_VERSION", default=""):
    # The same suite as an older version of Stripe's API answers it: before payment_method_types was renamed, say.
    KRCARD_STRIPE_API_VERSION = STRIPE_API_VERSION
KRCARD_SANDBOX = True
KRCARD_SANDBOX_WITHOUT_DEBUG_I_KNOW_NO_MONEY_MOVES = True

# Stories are about one thing each: what tells of the agreement itself is in tests/evidence.
KRCARD_CONFIRM_AGREEMENT = False
