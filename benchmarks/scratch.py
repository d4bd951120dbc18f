"""A site for one measurement: a PostgreSQL database of its own, and a stand-in for Stripe."""

import argparse
import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import urlopen

import django
import environ
from django.conf import settings
from django.core.management import call_command
from django.db import connection

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

SERVER = "KRCARD_TEST_DATABASE_URL"


def arguments(description):
    """Those that all benchmarks with a database share."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        "--server",
        default=os.environ.get(SERVER, "postgres://postgres@127.0.0.1:5432/postgres"),
        metavar="URL",
        help=f"of a PostgreSQL on which databases may be made; default: {SERVER}, or %(default)s",
    )
    return parser


def configure(database, **changes):
    """Django's settings for a site with nothing but the package in it. ``database`` is a URL."""
    options = {
        "SECRET_KEY": "krcard-benchmarks",
        "DATABASES": {"default": environ.Env.db_url_config(database)},
        "DEFAULT_AUTO_FIELD": "django.db.models.BigAutoField",
        "INSTALLED_APPS": ["django.contrib.auth", "django.contrib.contenttypes", "django_krcard"],
        "USE_TZ": True,
        "TEMPLATES": [{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}],
        "EMAIL_BACKEND": "django.core.mail.backends.dummy.EmailBackend",
        "STRIPE_SECRET_KEY": "sk_test_krcard_benchmarks",
        "STRIPE_WEBHOOK_SECRET": "whsec_krcard_benchmarks",
        # As many as come: the pace is measured by itself.
        "KRCARD_REQUESTS_PER_SECOND": 1_000_000,
        "LOGGING": {"version": 1, "disable_existing_loggers": False, "root": {"level": "ERROR"}},
    }
    settings.configure(**options | changes)
    django.setup()


@contextmanager
def site(server, **changes):
    """Django, set up on a migrated database of its own."""
    with database(server) as url:
        configure(url, **changes)
        call_command("migrate", verbosity=0)
        with connection.cursor() as cursor:
            cursor.execute("SHOW synchronous_commit")
            if cursor.fetchone() != ("on",):
                raise SystemExit("This PostgreSQL does not write through (synchronous_commit): not what we measure.")
        try:
            yield url
        finally:
            connection.close()


@contextmanager
def database(server):
    """The URL of a new, empty database, which is gone afterwards."""
    url = urlsplit(server)._replace(path=f"/krcard_scratch_{os.getpid()}").geturl()
    name = environ.Env.db_url_config(url)["NAME"]
    # Whoever ends us politely does not leave a database behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    on(server, f'CREATE DATABASE "{name}"')
    try:
        yield url
    finally:
        on(server, f'DROP DATABASE "{name}" WITH (FORCE)')


def on(server, statement):
    import psycopg

    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(statement)


@contextmanager
def stand_in(latency=0.0, limit=None):
    """The address of a fresh stand-in for Stripe in a process of its own."""
    command = [sys.executable, str(ROOT / "benchmarks" / "standin.py"), "--latency", str(latency)]
    command += ["--limit", str(limit)] if limit else []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            yield server.stdout.readline().strip()
        finally:
            server.terminate()


def ledger(address):
    with urlopen(f"{address}/ledger") as answer:
        return json.load(answer)
