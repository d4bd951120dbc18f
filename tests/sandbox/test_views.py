import re

import pytest
from django.test import Client
from django.urls import resolve

from django_krcard.sandbox import control
from django_krcard.sandbox.issuers import ISSUERS

from .conftest import session_params


@pytest.fixture
def page(session):
    return f"/stripe-sandbox/checkout/{session.id}/"


def text_of(response):
    return response.content.decode()


def test_the_customer_chooses_local_card_an_issuer_and_authorises(client, api, session, page):
    first = text_of(client.get(page))
    assert "Continue to Local card" in first
    assert "no money moves" in first
    assert "한강 멤버십" in first

    second = text_of(client.get(f"{page}issuer/?type=kr_card"))
    assert second.count('name="brand"') == len(ISSUERS) == 22
    assert all(korean in second for korean, _ in ISSUERS.values())

    answer = client.post(f"{page}authorise/", {"type": "kr_card", "brand": "woori"}, REMOTE_ADDR="192.0.2.7")
    assert answer.status_code == 303
    assert answer["Location"] == f"http://127.0.0.1:8000/krcard/success/a/?session={session.id}"
    done = api.checkout.sessions.retrieve(
        session.id, {"expand": ["setup_intent.payment_method", "setup_intent.mandate"]}
    )
    assert done.setup_intent.payment_method.kr_card.brand == "woori"
    assert done.setup_intent.mandate.customer_acceptance.online.ip_address == "192.0.2.7"


def test_the_customer_takes_an_ordinary_card(client, api, customer, page):
    assert "Visa •••• 4242" in text_of(client.get(f"{page}issuer/?type=card"))
    client.post(f"{page}authorise/", {"type": "card"})

    [card] = api.customers.payment_methods.list(customer.id)
    assert card.card.last4 == "4242"


def test_the_issuer_fails_and_the_customer_is_back_with_a_message(client, api, session, page):
    answer = client.post(f"{page}fail/", {"type": "kr_card"}, follow=True)

    assert answer.redirect_chain == [(page, 303)]
    assert "The issuer did not authorise the card" in text_of(answer)
    assert api.checkout.sessions.retrieve(session.id).status == "open"


def test_no_issuer_chosen_is_said_at_the_place(client, api, session, page):
    answer = client.post(f"{page}authorise/", {"type": "kr_card"})

    assert answer.status_code == 422
    assert "Choose a card issuer." in text_of(answer)
    assert api.checkout.sessions.retrieve(session.id).status == "open"


def test_the_session_is_let_expire(client, api, session, page):
    answer = client.post(f"{page}expire/", follow=True)

    assert "This page has expired" in text_of(answer)
    assert session.cancel_url in text_of(answer)
    assert api.checkout.sessions.retrieve(session.id).status == "expired"
    assert "This page has expired" in text_of(client.post(f"{page}authorise/", {"type": "card"}, follow=True))


def test_the_second_click_of_a_double_click_arrives_too(client, session, page):
    answers = [client.post(f"{page}authorise/", {"type": "kr_card", "brand": "bc"}) for _ in range(2)]

    assert answers[0]["Location"] == answers[1]["Location"]
    assert "All done" in text_of(client.get(page))
    assert "All done" in text_of(client.get(f"{page}issuer/?type=card"))


def test_only_offered_cards_are_shown(client, api, customer):
    control.set_enabled_types(["card", "naver_pay"])
    session = api.checkout.sessions.create(session_params(customer))
    page = f"/stripe-sandbox/checkout/{session.id}/"

    assert "Local card" not in re.sub(r"<button.*?</button>", "", text_of(client.get(page)))
    assert client.get(f"{page}issuer/?type=kr_card").status_code == 404
    assert client.post(f"{page}authorise/", {"type": "kr_card", "brand": "bc"}).status_code == 404


@pytest.mark.parametrize(
    ("locale", "accepted", "language"),
    [
        ("ko", "en", "ko"),
        ("en", "ko", "en"),
        ("auto", "ko-KR,ko;q=0.9,en;q=0.8", "ko"),
        ("auto", "fr,en;q=0.5,ko;q=0.1", "en"),
        ("auto", "", "en"),
        ("ja", "ko", "en"),
    ],
)
def test_the_page_speaks_the_customers_language(client, api, customer, locale, accepted, language):
    session = api.checkout.sessions.create(session_params(customer, locale=locale))

    shown = text_of(client.get(f"/stripe-sandbox/checkout/{session.id}/", headers={"Accept-Language": accepted}))

    assert f'<html lang="{language}">' in shown
    assert ("국내 카드로 계속" in shown) == (language == "ko")


def test_unknown_sessions_are_not_found(client):
    assert client.get("/stripe-sandbox/checkout/cs_test_x/").status_code == 404
    assert client.post("/stripe-sandbox/checkout/cs_test_x/fail/").status_code == 404


def test_sites_that_lock_or_wrap_every_view_leave_these_alone():
    view = resolve("/stripe-sandbox/checkout/cs_test_x/").func

    assert view.login_required is False
    assert view._non_atomic_requests == {"default"}


@pytest.mark.parametrize("action", ["authorise", "fail", "expire"])
def test_actions_are_posts_with_a_token(page, action):
    careful = Client(enforce_csrf_checks=True)

    assert careful.get(f"{page}{action}/").status_code == 405
    assert careful.post(f"{page}{action}/", {"type": "card"}).status_code == 403
