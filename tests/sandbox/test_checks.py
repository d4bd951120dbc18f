import subprocess
import sys

import pytest
from django.core.checks import run_checks
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command

from django_krcard.sandbox.checks import SETTING

from .conftest import client_for


def errors():
    return [message for message in run_checks(include_deployment_checks=True) if message.id == "krcard.E090"]


def test_a_site_in_production_is_told_at_start(settings):
    setattr(settings, SETTING, False)

    [error] = errors()
    assert "moves no money" in error.msg
    assert SETTING in error.hint


@pytest.mark.parametrize("setting", ["DEBUG", SETTING])
def test_a_site_that_says_so_may(settings, setting):
    setattr(settings, SETTING, False)
    setattr(settings, setting, True)

    assert errors() == []


@pytest.mark.parametrize("almost", ["False", "yes", 1, None])
def test_only_true_is_true(settings, almost):
    setattr(settings, SETTING, almost)

    assert len(errors()) == 1


def test_in_production_nothing_answers(settings, api, session, client):
    setattr(settings, SETTING, False)

    with pytest.raises(ImproperlyConfigured, match="DEBUG"):
        api.customers.list()
    assert client.get(f"/stripe-sandbox/checkout/{session.id}/").status_code == 404
    assert client.post(f"/stripe-sandbox/checkout/{session.id}/authorise/").status_code == 404


@pytest.mark.parametrize("key", ["sk_live_x", "rk_live_x"])
def test_live_keys_are_refused(key):
    with pytest.raises(ImproperlyConfigured, match="never runs with live keys"):
        client_for(key=key).v1.customers.list()


def test_installing_it_does_not_import_stripe():
    program = (
        "import sys, django; django.setup();"
        "import django_krcard.sandbox.urls, django_krcard.sandbox.control;"
        "assert not {'stripe', 'requests'} & set(sys.modules)"
    )
    settings = (
        "from django.conf import settings;"
        "apps = ['django.contrib.auth', 'django.contrib.contenttypes', 'django_krcard.sandbox'];"
        "settings.configure(DEBUG=True, INSTALLED_APPS=apps);"
    )
    subprocess.run([sys.executable, "-c", settings + program], check=True)


def test_its_addresses_without_the_app_say_what_to_take_out():
    program = "import django; django.setup(); import django_krcard.sandbox.urls"
    settings = (
        "from django.conf import settings;"
        "apps = ['django.contrib.auth', 'django.contrib.contenttypes', 'django_krcard'];"
        "settings.configure(INSTALLED_APPS=apps, USE_TZ=True);"
    )
    ended = subprocess.run([sys.executable, "-c", settings + program], capture_output=True, text=True)
    assert ended.returncode == 1
    assert "ImproperlyConfigured" in ended.stderr
    assert 'include("django_krcard.sandbox.urls")' in ended.stderr


@pytest.mark.parametrize("key", ["sk_live_x", "rk_live_x"])
def test_beside_a_live_key_it_never_runs(settings, api, session, client, key):
    settings.DEBUG = True
    settings.STRIPE_SECRET_KEY = key

    [error] = errors()
    assert "STRIPE_SECRET_KEY is a live key" in error.msg
    assert "test key" in error.hint
    with pytest.raises(ImproperlyConfigured, match="live key"):
        api.customers.list()
    for action in ("reset", "serve"):
        with pytest.raises(CommandError, match="live key"):
            call_command("krcard_sandbox", action)
    assert client.get(f"/stripe-sandbox/checkout/{session.id}/").status_code == 404
    assert client.get("/stripe-sandbox/panel/").status_code == 404


@pytest.mark.parametrize("key", ["sk_test_x", "", None])
def test_any_other_key_of_the_site_is_no_hindrance(settings, key):
    settings.DEBUG = True
    settings.STRIPE_SECRET_KEY = key

    assert errors() == []
