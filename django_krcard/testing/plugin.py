"""The pytest fixtures. pytest loads this file in every run of every site that has the package.

So it imports nothing of Django, and nothing of the rest of the kit before a fixture is asked for.
All fixtures need pytest-django. Those that reach Stripe's sandbox make the test transactional: inside the
transaction that wraps a plain `db` test, what a site does after the commit (our signals!) would never happen.
"""

import sys
from importlib import import_module

import pytest


def kit(name):
    try:
        return import_module(f"django_krcard.testing.{name}")
    except ModuleNotFoundError as missing:
        if missing.name != "factory":
            raise
        pytest.fail("factory-boy is missing: pip install 'django-krcard[testing]'", pytrace=False)


@pytest.fixture(scope="session", autouse=True)
def _krcard_flush():
    """Consents cannot be removed, except by the flush between transactional tests."""
    # Where Django is not set up, nothing was imported of it so far, and nothing will be by us.
    apps = getattr(sys.modules.get("django.apps"), "apps", None)
    if apps and apps.ready and apps.is_installed("django_krcard"):
        import_module("django_krcard.testing.flush").allow_flush()


@pytest.fixture
def krcard_sandbox(settings, transactional_db):
    """Stripe in a box, empty and switched on for this test, with the functions of `sandbox.control`.

    `krcard_sandbox.decline_next("insufficient_funds")`, `.authorise(session_id)`, `.advance(days=1)`, …; its books:
    `.payment_intents()`, `.charges()`, `.sessions()`, `.setup_intents()`, each a list, oldest first.
    """
    kit("site").check()
    return kit("sandbox").switch_on(settings)


@pytest.fixture
def krcard_clock(krcard_sandbox, monkeypatch):
    """`krcard_clock.advance(days=31)`: later, for the site (`timezone.now()`) and for the sandbox alike."""
    return kit("clock").Clock(monkeypatch, krcard_sandbox)


@pytest.fixture
def krcard_terms(db):
    """`krcard_terms("membership", amount=9_900, period="month")`: terms in force, in Korean and English.

    Once more with the same name is the next version, which retires the one before.
    """
    kit("site").check()
    return kit("factories").published_terms


@pytest.fixture
def krcard_customer(krcard_sandbox):
    """`krcard_customer(user)` or `krcard_customer(reference="org-7")`; with neither, somebody new without a user."""
    return kit("factories").customer_for


@pytest.fixture
def krcard_mandate(krcard_sandbox, krcard_terms, krcard_customer):
    """`krcard_mandate(user)`: an active mandate with a saved Korean card, made as a customer would make it.

    Also with `terms=`, `customer=` in place of the user, and the card's `brand=` and `last4=`.
    """

    def make(user=None, *, customer=None, terms=None, **card):
        customer = customer or krcard_customer(user)
        return kit("factories").saved_mandate(customer, terms or krcard_terms(), **card)

    return make


@pytest.fixture
def krcard_events(krcard_sandbox):
    """`krcard_events.post("customer.updated", {"id": "cus_…"})`: webhooks to the site, signed; returns the response."""
    return kit("webhooks").Events()
