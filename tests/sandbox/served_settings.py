"""A site with nothing but the sandbox, for one that is served by another process."""

import os

SECRET_KEY = "krcard-served"
DEBUG = True
INSTALLED_APPS = ["django_krcard.sandbox"]
MIDDLEWARE = []
ROOT_URLCONF = "tests.sandbox.urls"
STRIPE_WEBHOOK_SECRET = "whsec_krcard_tests"
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ["KRCARD_SERVED_DATABASE"],
        "OPTIONS": {
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
        },
    }
}
