"""Wrong settings are found at breakfast."""

from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest
from django.core.checks import run_checks

from django_krcard import checks


def found(**kwargs):
    # From Django 6.1 on, who names no database means all of them.
    return {message.id for message in run_checks(tags=["krcard"], **{"databases": []} | kwargs)}


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
        ("krcard.E005", {"KRCARD_PAYMENT_METHOD_TYPES": ["kr_card", "samsung_pay"]}),
        ("krcard.W009", {"KRCARD_PAYMENT_METHOD_TYPES": ["kr_card", "paypal"]}),
        ("krcard.W001", {"KRCARD_PAYMENT_METHOD_TYPES": ["card"]}),
        ("krcard.E006", {"KRCARD_BASE_URL": "shop.example"}),
        ("krcard.E006", {"KRCARD_BASE_URL": "https://shop.example/path/"}),
        ("krcard.E007", {"KRCARD_TIME_ZONE": "Asia/Busan-ish"}),
        ("krcard.E010", {"KRCARD_NOTIFIER": "shop.nothing.here"}),
        ("krcard.E003", {"ROOT_URLCONF": "django_krcard.urls"}),
        ("krcard.E011", {"KRCARD_TASK_BACKEND": "payments"}),
        ("krcard.E011", {"KRCARD_TASK_BACKEND": "payments", "TASKS": {"payments": {"BACKEND": "shop.no.Backend"}}}),
        ("krcard.E011", {"KRCARD_TASK_BACKEND": "payments", "TASKS": {"payments": {}}}),
        ("krcard.E012", {"KRCARD_REQUESTS_PER_SECOND": 0}),
        ("krcard.E012", {"KRCARD_MAX_DAYS_LATE": "many"}),
        ("krcard.E012", {"KRCARD_AFTER_DISPUTE": {"won": "forget"}}),
        ("krcard.E012", {"KRCARD_NOTICE_DAYS": [7, "1"]}),
        ("krcard.E020", {"KRCARD_CHARGEABLE_SOURCES": ["web", "fax"]}),
        ("krcard.E020", {"KRCARD_CHARGEABLE_SOURCES": "paper"}),
        ("krcard.E021", {"KRCARD_MAX_ATTACHMENT_BYTES": 0}),
        ("krcard.E022", {"KRCARD_EVIDENCE_KEYS": {"2026": ""}}),
        ("krcard.E022", {"KRCARD_EVIDENCE_KEYS": ["a secret"]}),
        ("krcard.E012", {"KRCARD_AMENDMENT_NOTICE_DAYS": [0]}),
        ("krcard.E016", {"KRCARD_ON_AMENDMENT_UNANSWERED": "agree"}),
        ("krcard.E016", {"KRCARD_AMENDMENT_WINDOW_DAYS": 5}),
        ("krcard.E016", {"KRCARD_AMENDMENT_MIN_NOTICE_DAYS": "7"}),
        ("krcard.W002", {"DEBUG": True, "KRCARD_SANDBOX": False, "STRIPE_SECRET_KEY": "rk_live_x"}),
        ("krcard.W003", {"KRCARD_SANBOX": True}),
    ],
)
def test_finds(settings, check, changes):
    for name, value in changes.items():
        setattr(settings, name, value)
    assert check in found()


def test_wallets_that_can_be_saved_are_fine(settings):
    settings.KRCARD_PAYMENT_METHOD_TYPES = ["card", "kr_card", "naver_pay", "kakao_pay"]
    assert found() == set()


def test_a_typing_error_is_told_the_right_name(settings):
    settings.KRCARD_SANBOX = True
    (message,) = [message for message in run_checks(tags=["krcard"], databases=[]) if message.id == "krcard.W003"]
    assert "KRCARD_SANDBOX" in message.hint


def test_evidence_that_hangs_on_the_secret_key_is_a_warning_before_going_live(settings):
    assert "krcard.W004" in found(include_deployment_checks=True)
    settings.KRCARD_EVIDENCE_KEYS = {"2026": "long and random"}
    assert "krcard.W004" not in found(include_deployment_checks=True)


def test_notices_without_links_are_a_warning_before_going_live(settings):
    assert "krcard.W007" in found(include_deployment_checks=True)
    settings.KRCARD_BASE_URL = "https://shop.example"
    assert "krcard.W007" not in found(include_deployment_checks=True)


@pytest.mark.parametrize(("limit", "warned"), [(None, False), (2_621_440, False), (524_288, False), (524_287, True)])
def test_a_site_that_takes_less_than_stripe_sends_is_warned(settings, limit, warned):
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = limit
    assert ("krcard.W008" in found()) == warned


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
    found = checks.check_sqlite()
    assert [message.id for message in found] == (["krcard.W005"] if warned else [])
    readme = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    assert all(checks.SQLITE_OPTIONS in words for message in found for words in (message.hint, readme))


@pytest.mark.skipif(find_spec("django_tasks_db") is None, reason="needs the package django-tasks-db")
def test_a_queue_whose_app_is_not_installed_is_found(settings):
    settings.TASKS = {"payments": {"BACKEND": "django_tasks_db.DatabaseBackend"}}
    settings.KRCARD_TASK_BACKEND = "payments"
    [error] = checks.check_task_backend()
    assert "database app not installed" in error.msg
    assert "INSTALLED_APPS" in error.hint
