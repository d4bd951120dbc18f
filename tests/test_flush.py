"""Other people's test suites go on as before: what the triggers refuse, the flush between tests may do."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.management import CommandError
from django.db import connection
from django.test import TransactionTestCase

from django_krcard import triggers
from django_krcard.models import Consent
from django_krcard.testing import flush

ROOT = Path(__file__).parents[1]

SETTINGS = """
from tests.settings import *

DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
TEST_RUNNER = "django_krcard.testing.flush.Runner"
"""

STORIES = """
from django.test import TransactionTestCase

from django_krcard import triggers
from django_krcard.models import Consent
from tests.factories import CustomerFactory, PublishedTerms, consent_of


class Stories(TransactionTestCase):
    def agree(self):
        assert not Consent.objects.exists()
        assert triggers.missing("default") == []
        consent_of(CustomerFactory(), PublishedTerms())

    test_once = test_again = agree


class Rollback(Stories):
    serialized_rollback = True
"""


def test_djangos_own_test_command(tmp_path):
    (tmp_path / "flush_settings.py").write_text(SETTINGS)
    (tmp_path / "test_stories.py").write_text(STORIES)
    environment = os.environ | {"PYTHONPATH": str(ROOT), "DJANGO_SETTINGS_MODULE": "flush_settings"}
    command = [sys.executable, "-m", "django", "test", "test_stories"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Ran 4 tests" in done.stderr


@pytest.mark.django_db(transaction=True)
def test_without_it_the_flush_would_be_refused(mandate, monkeypatch):

    monkeypatch.setattr(connection.ops, "sql_flush", type(connection.ops).sql_flush.__get__(connection.ops))
    with pytest.raises(CommandError):
        flush._flush(Plain())
    flush._flush_without_triggers(Plain())
    assert not Consent.objects.exists()
    assert triggers.missing("default") == []


class Plain(TransactionTestCase):
    __test__ = False

    def runTest(self):
        """A test of somebody else's."""
