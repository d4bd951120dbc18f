"""The demo shop. Without keys it runs on the sandbox; with Stripe's test keys in .env it talks to Stripe."""

import secrets
from pathlib import Path

import environ
from django.core.exceptions import ImproperlyConfigured

BASE_DIR = Path(__file__).resolve().parent.parent

env = environ.FileAwareEnv()
env.read_env(BASE_DIR / ".env")

DEBUG = env.bool("DEBUG", default=True)
SECRET_KEY = env.str("SECRET_KEY", default="only-for-the-demo")
ALLOWED_HOSTS = ["127.0.0.1", "localhost"]

# --- Stripe and django_krcard -------------------------------------------------------------------

STRIPE_SECRET_KEY = env.str("STRIPE_SECRET_KEY", default="")
if STRIPE_SECRET_KEY and not STRIPE_SECRET_KEY.startswith(("sk_test_", "rk_test_")):
    raise ImproperlyConfigured("The demo takes test keys only (sk_test_… or rk_test_…). Look at STRIPE_SECRET_KEY.")

KRCARD_SANDBOX = not STRIPE_SECRET_KEY
if KRCARD_SANDBOX:
    STRIPE_WEBHOOK_SECRET = "whsec_only_for_the_demo"
else:
    # Without a secret no message of Stripe's is accepted: one that nobody knows keeps it that way.
    # The result page asks Stripe itself, so cards are saved all the same.
    STRIPE_WEBHOOK_SECRET = env.str("STRIPE_WEBHOOK_SECRET", default="") or f"whsec_{secrets.token_hex()}"

KRCARD_BASE_TEMPLATE = "shop/base.html"
KRCARD_MERCHANT_NAME = "달나루 책방"

# --- Django -------------------------------------------------------------------------------------

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django_krcard",
    "shop",
]
if KRCARD_SANDBOX:
    INSTALLED_APPS.append("django_krcard.sandbox")
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
                "shop.context_processors.sandbox",
            ],
        },
    },
]
ROOT_URLCONF = "config.urls"
WSGI_APPLICATION = "config.wsgi.application"
ASGI_APPLICATION = "config.asgi.application"

if env.str("DATABASE_URL", default=""):
    database = env.db("DATABASE_URL")
else:
    # A file for each, so that ids of the sandbox never meet Stripe.
    file = BASE_DIR / ("demo-sandbox.sqlite3" if KRCARD_SANDBOX else "demo-stripe.sqlite3")
    database = {"ENGINE": "django.db.backends.sqlite3", "NAME": file}
if database["ENGINE"] == "django.db.backends.sqlite3":
    database["OPTIONS"] = {
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
    }
DATABASES = {"default": database}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

LANGUAGE_CODE = "ko"
LANGUAGES = [("ko", "한국어"), ("en", "English")]
TIME_ZONE = "Asia/Seoul"
USE_TZ = True

STATIC_URL = "static/"
LOGIN_URL = "shop:login"
LOGIN_REDIRECT_URL = "shop:member"
LOGOUT_REDIRECT_URL = "shop:home"
EMAIL_BACKEND = "django.core.mail.backends.console.EmailBackend"
