from types import SimpleNamespace

import pytest
from stripe import StripeClient

from django_krcard.sandbox import control
from django_krcard.sandbox.http import SandboxHTTPClient

from . import urls

ENDIVE, DAHLIA = "2026-10-28.endive", "2026-08-26.dahlia"


@pytest.fixture(autouse=True)
def site(settings, transactional_db):
    """The little site of `urls`, and what it heard."""
    settings.ROOT_URLCONF = "tests.sandbox.urls"
    settings.STRIPE_WEBHOOK_SECRET = "whsec_krcard_tests"
    urls.heard.clear()
    urls.answers.clear()
    return urls


@pytest.fixture
def heard(site):
    return site.heard


def client_for(version=ENDIVE, key="sk_test_krcard"):
    return StripeClient(key, http_client=SandboxHTTPClient(), stripe_version=version)


@pytest.fixture
def stripe_client():
    return client_for()


@pytest.fixture
def api(stripe_client):
    return stripe_client.v1


@pytest.fixture
def old_api():
    """The same account, asked as before 2026-09-30."""
    return client_for(DAHLIA).v1


@pytest.fixture
def customer(api):
    return api.customers.create({"name": "김민지", "email": "minji@example.com"})


def session_params(customer, **more):
    return {
        "mode": "setup",
        "currency": "krw",
        "customer": customer.id,
        "allowed_payment_method_types": ["card", "kr_card"],
        "success_url": "http://127.0.0.1:8000/krcard/success/a/?session={CHECKOUT_SESSION_ID}",
        "cancel_url": "http://127.0.0.1:8000/krcard/cancel/a/",
        **more,
    }


@pytest.fixture
def session(api, customer):
    return api.checkout.sessions.create(session_params(customer))


@pytest.fixture
def saved(api, customer, session, heard):
    """Minji has saved a Shinhan card."""
    control.authorise(session.id, brand="shinhan", last4="1234")
    done = api.checkout.sessions.retrieve(session.id, {"expand": ["setup_intent"]})
    heard.clear()
    return SimpleNamespace(
        customer=customer.id, card=done.setup_intent.payment_method, mandate=done.setup_intent.mandate
    )


def charge_params(saved, amount=12_900, **more):
    return {
        "amount": amount,
        "currency": "krw",
        "customer": saved.customer,
        "payment_method": saved.card,
        "allowed_payment_method_types": ["kr_card"],
        "off_session": True,
        "confirm": True,
        **more,
    }


def types_of(heard):
    return [event["type"] for event in heard]
