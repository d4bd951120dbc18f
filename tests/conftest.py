import os
import uuid

import pytest
from django.db import connection
from django.test import Client, TransactionTestCase
from django.urls import reverse
from django.utils import translation

from django_krcard import services
from django_krcard.testing.sandbox import books
from tests import effort
from tests.factories import REQUIRED, PublishedTerms, UserFactory, saved_mandate
from tests.unguarded import empty_database

#: Our own fixtures for other people's sites. The entry point has the same name, so that installed or not it is loaded
#: once.
pytest_plugins = ["django_krcard.testing.plugin"]

#: A site of its own, with a suite of its own: tests/test_packaging.py runs it where only the wheel is installed.
collect_ignore = ["tiny_site"]

NO_SKIPS = os.environ.get("KRCARD_TEST_NO_SKIPS") == "1"


#: These take minutes. Begun last, they would let the other workers wait.
BEGUN_FIRST = (
    "tests/webhooks/test_storm.py",
    "tests/test_packaging.py",
    "tests/faults/test_drain.py",
    "tests/gate/test_machine.py",
)


#: The same in all processes of a run, and printed.
SEED = os.environ.get("KRCARD_TEST_SEED") or os.environ.get("PYTEST_XDIST_TESTRUNUID") or uuid.uuid4().hex


def pytest_report_header():
    return f"krcard: a {effort.EFFORT} run, KRCARD_TEST_SEED={SEED}"


def pytest_collection_modifyitems(config, items):
    chosen = effort.some_variants(items, SEED)
    config.hook.pytest_deselected(items=list(set(items) - set(chosen)))
    # The longest first; the rest in the order of their files, which is the same in all processes.
    order = {item: number for number, item in enumerate(items)}
    items[:] = sorted(chosen, key=lambda item: (not item.nodeid.startswith(BEGUN_FIRST), order[item]))
    for item in items:
        for vendor in ("postgresql", "sqlite"):
            if item.get_closest_marker(vendor) and connection.vendor != vendor:
                reason = f"needs {vendor} as the database of the suite (KRCARD_TEST_DATABASE_URL)"
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session", autouse=True)
def quick_flush(_krcard_flush):
    """Django's own flush makes permissions and content types anew, which takes longer than most of our tests."""
    TransactionTestCase._fixture_teardown = lambda test: empty_database()


@pytest.fixture(autouse=True)
def own_language():
    """LocaleMiddleware leaves behind the language of its last visitor."""
    translation.deactivate()


def failed_if_skipped(report):
    # An expected failure (xfail) reports itself as skipped, too; it did run.
    if NO_SKIPS and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"{report.nodeid} was skipped where nothing may be. {reason}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport():
    return failed_if_skipped((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report():
    return failed_if_skipped((yield))


# --- the people and things of our stories ---------------------------------------------------------


@pytest.fixture
def membership(db):
    """Terms in force: 12,900 won, once a month."""
    return PublishedTerms()


@pytest.fixture
def user(db):
    return UserFactory(username="minji")


@pytest.fixture
def minji(user):
    """A browser in which Minji is signed in."""
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def agree(minji, membership):
    """Read the terms and press the button, as Minji does."""

    def press(client=minji, *, slug="membership", ticked=REQUIRED, page=None, **changes):
        page = page or client.get(reverse("krcard:consent", args=[slug]))
        form = page.context["form"]
        data = {"terms": form["terms"].value(), "token": form["token"].value()}
        data |= {f"agree_{key}": "on" for key in ticked}
        return client.post(reverse("krcard:create-checkout-session"), data | changes)

    return press


@pytest.fixture
def save_card(user):
    """Give a customer an active mandate under ``terms``, through the sandbox."""

    def save(terms, *, customer=None, **card):
        return saved_mandate(customer or services.get_or_create_customer(user), terms, **card)

    return save


@pytest.fixture
def mandate(save_card, membership):
    """Minji's active mandate: 12,900 won a month from her Shinhan card."""
    return save_card(membership)


@pytest.fixture
def ledger():
    """The payment intents at Stripe, oldest first: what really happened to the money."""
    return lambda: books("payment_intent")


@pytest.fixture
def no_waiting(monkeypatch):
    """The SDK and the charge engine wait between their tries; the tests do not."""
    monkeypatch.setattr("time.sleep", lambda seconds: None)
