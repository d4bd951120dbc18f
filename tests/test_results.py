"""The result pages: they ask Stripe, and tell nobody anything about somebody else."""

import uuid

import pytest
from django.test import Client
from django.urls import reverse

from django_krcard.models import CardSetup
from django_krcard.sandbox import control
from tests.factories import UserFactory

pytestmark = pytest.mark.django_db(transaction=True)

PAGES = ["success", "cancel", "status"]


@pytest.fixture
def setup(agree):
    agree()
    return CardSetup.objects.get()


@pytest.fixture
def calls(monkeypatch):
    """Every call to Stripe from now on."""
    from django_krcard import gateway

    made, client = [], gateway.client.client

    def counting():
        made.append(1)
        return client()

    monkeypatch.setattr(gateway.client, "client", counting)
    return made


@pytest.mark.parametrize("page", PAGES)
def test_unknown_foreign_and_malformed_ids_get_one_and_the_same_404(minji, setup, calls, page):
    stranger = Client()
    stranger.force_login(UserFactory())
    answers = [
        minji.get(reverse(f"krcard:{page}", args=[uuid.uuid4()])),
        minji.get(reverse(f"krcard:{page}", args=["not-an-id"])),
        minji.get(reverse(f"krcard:{page}", args=["cs_test_123"])),
        stranger.get(reverse(f"krcard:{page}", args=[setup.public_id])),
    ]
    assert {answer.status_code for answer in answers} == {404}
    assert len({answer.content for answer in answers}) == 1
    assert calls == []


def test_another_browser_without_the_cookie_sees_the_state_and_nothing_else(setup, user):
    control.set_delivery("dropped")
    control.authorise(setup.checkout_session_id, brand="shinhan", last4="1234")

    page = Client().get(reverse("krcard:success", args=[setup.public_id]))
    assert page.status_code == 200
    assert page.context["state"] == "saved"
    for secret in ("1234", "Shinhan", "신한", user.username, user.email, setup.checkout_session_id):
        assert secret not in page.text


def test_strangers_make_stripe_be_asked_rarely_and_the_owner_always(minji, setup, calls):
    url = reverse("krcard:status", args=[setup.public_id])
    for _ in range(5):
        Client().get(url)
    assert len(calls) == 1
    minji.get(url)
    assert len(calls) == 2


def test_what_is_saved_needs_no_more_asking(minji, setup, calls):
    control.authorise(setup.checkout_session_id)
    calls.clear()
    assert minji.get(reverse("krcard:status", args=[setup.public_id])).json() == {"status": "saved"}
    assert calls == []


def test_stripe_down_shows_what_we_know(minji, setup, no_waiting):
    for _ in range(3):
        control.fail_next("GET", "/v1/checkout/sessions", effect="before", status="timeout")
    page = minji.get(reverse("krcard:success", args=[setup.public_id]))
    assert page.status_code == 200
    assert page.context["state"] == "processing"


def test_a_page_that_waits_looks_again_by_itself_without_script(minji, setup):
    page = minji.get(reverse("krcard:success", args=[setup.public_id]))
    assert 'http-equiv="refresh"' in page.text
    assert "<script" not in page.text


@pytest.mark.parametrize("page", PAGES)
def test_results_are_kept_nowhere(minji, setup, page):
    answer = minji.get(reverse(f"krcard:{page}", args=[setup.public_id]))
    assert "no-store" in answer["Cache-Control"]
    assert answer["X-Robots-Tag"] == "noindex"
    assert answer["Referrer-Policy"] == "same-origin"


def test_result_pages_open_on_a_site_where_everything_needs_a_login(setup, settings):
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "django.contrib.auth.middleware.LoginRequiredMiddleware"]
    assert Client().get(reverse("krcard:success", args=[setup.public_id])).status_code == 200


def test_pages_work_when_the_site_wraps_every_view_in_a_transaction(minji, agree, monkeypatch):
    from django.db import connection

    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", True)
    assert agree().status_code == 303
    setup = CardSetup.objects.get()
    control.authorise(setup.checkout_session_id)
    assert minji.get(reverse("krcard:success", args=[setup.public_id])).context["state"] == "saved"
    mandate = setup.mandate
    minji.post(reverse("krcard:revoke", args=[mandate.public_id]))
    mandate.refresh_from_db()
    assert mandate.status == "revoked"
