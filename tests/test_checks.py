"""Wrong settings are found at breakfast."""

from types import SimpleNamespace

import pytest
from django.core.checks import run_checks

from django_krcard import checks


def found(**kwargs):
    return {message.id for message in run_checks(tags=["krcard"], **kwargs)}


def test_the_suites_own_settings_are_fine():
    assert found() == set()


@pytest.mark.parametrize(
    ("check", "changes"),
    [
        ("krcard.E001", {"KRCARD_SANDBOX": False, "STRIPE_SECRET_KEY": ""}),
        ("krcard.E002", {"STRIPE_WEBHOOK_SECRET": ""}),
        ("krcard.E002", {"STRIPE_WEBHOOK_SECRET": ["", " "]}),
        ("krcard.E003", {"INSTALLED_APPS": ["django.contrib.auth", "django.contrib.contenttypes", "django_krcard"]}),
        ("krcard.E004", {"STRIPE_SECRET_KEY": "sk_live_x"}),
        ("krcard.E005", {"KRCARD_PAYMENT_METHOD_TYPES": ["kr_card", "payco"]}),
        ("krcard.W001", {"KRCARD_PAYMENT_METHOD_TYPES": ["card"]}),
        ("krcard.E006", {"KRCARD_BASE_URL": "shop.example"}),
        ("krcard.E006", {"KRCARD_BASE_URL": "https://shop.example/path/"}),
        ("krcard.E007", {"KRCARD_TIME_ZONE": "Asia/Busan-ish"}),
        ("krcard.W002", {"DEBUG": True, "KRCARD_SANDBOX": False, "STRIPE_SECRET_KEY": "rk_live_x"}),
        ("krcard.W003", {"KRCARD_SANBOX": True}),
    ],
)
def test_finds(settings, check, changes):
    for name, value in changes.items():
        setattr(settings, name, value)
    assert check in found()


def test_a_typing_error_is_told_the_right_name(settings):
    settings.KRCARD_SANBOX = True
    (message,) = [message for message in run_checks(tags=["krcard"]) if message.id == "krcard.W003"]
    assert "KRCARD_SANDBOX" in message.hint


def test_evidence_that_hangs_on_the_secret_key_is_a_warning_before_going_live(settings):
    assert "krcard.W004" in found(include_deployment_checks=True)
    settings.KRCARD_EVIDENCE_KEYS = {"2026": "long and random"}
    assert "krcard.W004" not in found(include_deployment_checks=True)


@pytest.mark.parametrize(
    ("database", "warned"),
    [
        ({"ENGINE": "django.db.backends.sqlite3"}, True),
        ({"ENGINE": "django.db.backends.sqlite3", "OPTIONS": {"transaction_mode": "IMMEDIATE"}}, False),
        ({"ENGINE": "django.db.backends.postgresql"}, False),
    ],
)
def test_sqlite_in_its_default_mode_is_a_warning_before_going_live(monkeypatch, database, warned):
    # Not the settings fixture: Django does not let its databases be overridden.
    monkeypatch.setattr(checks, "settings", SimpleNamespace(DATABASES={"default": database}))
    assert [message.id for message in checks.check_sqlite()] == (["krcard.W005"] if warned else [])
