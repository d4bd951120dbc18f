"""Tests empty the database after themselves; the triggers that protect evidence would not let them."""

from contextlib import ExitStack

from django.test import TransactionTestCase
from django.test.runner import DiscoverRunner

from django_krcard import triggers


def allow_flush() -> None:
    """From now on the flush after a ``TransactionTestCase`` works, and the triggers are back for the next test.

    The pytest plugin does this by itself, and ``Runner`` for Django's own test command. A ``TestCase`` rolls back and
    needs none of it.
    """
    if TransactionTestCase._fixture_teardown is not _flush_without_triggers:
        TransactionTestCase._fixture_teardown = _flush_without_triggers


_flush = TransactionTestCase._fixture_teardown


def _flush_without_triggers(test: TransactionTestCase) -> None:
    with ExitStack() as stack:
        for using in test._databases_names(include_mirrors=False):
            stack.enter_context(triggers.lifted(using))
        _flush(test)


class Runner(DiscoverRunner):
    """``TEST_RUNNER = "django_krcard.testing.flush.Runner"``."""

    def setup_test_environment(self, **kwargs: object) -> None:
        super().setup_test_environment(**kwargs)
        allow_flush()
