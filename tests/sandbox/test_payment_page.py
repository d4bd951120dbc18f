"""The issuer's page on which a customer finishes a payment."""

import re
from urllib.parse import parse_qs, urlsplit

import pytest
import stripe
from django.test import Client
from django.urls import resolve

from django_krcard.sandbox import control

from .conftest import charge_params

RETURN_URL = "http://127.0.0.1:8000/shop/back/?order=7&order=8#top"


@pytest.fixture
def intent(api, saved):
    """A charge that the issuer wants confirmed, and the customer is sent to confirm it."""
    control.require_action_next()
    with pytest.raises(stripe.CardError) as needed:
        api.payment_intents.create(charge_params(saved))
    id = needed.value.error.payment_intent.id
    return api.payment_intents.confirm(id, {"payment_method": saved.card, "return_url": RETURN_URL})


@pytest.fixture
def page(intent):
    return urlsplit(intent.next_action.redirect_to_url.url).path


def text_of(response):
    return re.sub(r"\s+", " ", response.content.decode())


def told(address):
    """What the shop is told, beside its own address."""
    assert address.startswith("http://127.0.0.1:8000/shop/back/?order=7&order=8&")
    assert address.endswith("#top")
    return {name: value[0] for name, value in parse_qs(urlsplit(address).query).items() if name != "order"}


def status(api, intent):
    return api.payment_intents.retrieve(intent.id).status


def test_it_says_what_is_paid_and_with_which_card(client, intent, page):
    english = text_of(client.get(page, headers={"Accept-Language": "en"}))
    assert "Confirm your payment" in english
    assert "₩12,900" in english
    assert '<span lang="ko">신한카드</span> <span lang="en">Shinhan Card</span> •••• 1234' in english
    assert "no money moves" in english

    korean = text_of(client.get(page, headers={"Accept-Language": "ko"}))
    assert '<html lang="ko">' in korean
    assert "12,900원" in korean
    assert '<span lang="ko">신한카드</span> •••• 1234' in korean


def test_an_ordinary_card_has_its_name(client, api, customer, session):
    control.authorise(session.id, type="card")
    card = api.customers.payment_methods.list(customer.id).data[0].id
    made = api.payment_intents.create({"amount": 100, "currency": "krw", "customer": customer.id})
    intent = api.payment_intents.confirm(made.id, {"payment_method": card, "return_url": RETURN_URL})

    page = text_of(client.get(urlsplit(intent.next_action.redirect_to_url.url).path))

    assert '<span lang="en">Visa</span> ••••' in page


def test_the_customer_authorises(client, api, intent, page):
    answer = client.post(f"{page}authorise/")

    assert answer.status_code == 303
    assert told(answer["Location"]) == {
        "payment_intent": intent.id,
        "payment_intent_client_secret": intent.client_secret,
        "redirect_status": "succeeded",
    }
    assert status(api, intent) == "succeeded"


def test_the_customer_fails(client, api, intent, page):
    answer = client.post(f"{page}fail/")

    assert (answer.status_code, told(answer["Location"])["redirect_status"]) == (303, "failed")
    assert status(api, intent) == "requires_payment_method"


def test_the_customer_goes_back_and_nothing_is_decided(client, api, intent, page):
    [back] = re.findall(r'<a class="back" href="([^"]+)">', text_of(client.get(page)))

    assert told(back.replace("&amp;", "&"))["redirect_status"] == "pending"
    assert status(api, intent) == "requires_action"


@pytest.mark.parametrize("second", ["authorise", "fail"])
def test_the_second_click_of_a_double_click_arrives_too(client, api, intent, page, second):
    first = client.post(f"{page}authorise/")

    assert client.post(f"{page}{second}/")["Location"] == first["Location"]
    assert len(api.charges.list({"payment_intent": intent.id}).data) == 2  # the one without her, and hers


@pytest.mark.parametrize(
    ("end", "says"), [("authorise", "The payment was authorised"), ("fail", "Nothing can be paid here any more")]
)
def test_the_page_is_over(client, page, end, says):
    address = client.post(f"{page}{end}/")["Location"]

    over = text_of(client.get(page))

    assert says in over
    assert address.replace("&", "&amp;") in over
    assert "<form" not in over


def test_the_shop_cancelled_meanwhile(client, api, intent, page):
    api.payment_intents.cancel(intent.id)

    assert told(client.post(f"{page}authorise/")["Location"])["redirect_status"] == "failed"
    assert status(api, intent) == "canceled"


def test_the_shop_cancels_while_the_button_is_pressed(client, api, intent, page, monkeypatch):
    """Between the look at the payment and the press there is a moment."""
    finish = control.finish_payment

    def late(*args):
        api.payment_intents.cancel(intent.id)
        return finish(*args)

    monkeypatch.setattr(control, "finish_payment", late)

    assert told(client.post(f"{page}authorise/")["Location"])["redirect_status"] == "failed"


def test_a_forged_address_is_not_found(client, page):
    assert client.get("/stripe-sandbox/pay/pi_x/").status_code == 404
    assert client.post(f"{page[:-2]}/authorise/").status_code == 404


def test_what_was_forgotten_is_not_found(client, page):
    control.reset()

    assert client.get(page).status_code == 404


def test_it_is_not_there_in_production(client, page, settings):
    settings.KRCARD_SANDBOX_WITHOUT_DEBUG_I_KNOW_NO_MONEY_MOVES = False

    assert client.get(page).status_code == 404


@pytest.mark.parametrize("action", ["authorise", "fail"])
def test_actions_are_posts_with_a_token(page, action):
    careful = Client(enforce_csrf_checks=True)

    assert careful.get(f"{page}{action}/").status_code == 405
    assert careful.post(f"{page}{action}/").status_code == 403


def test_sites_that_lock_or_wrap_every_view_leave_it_alone(page):
    view = resolve(f"{page}authorise/").func

    assert view.login_required is False
    assert view._non_atomic_requests == {"default"}


def test_nothing_inline(client, page):
    assert not re.search(r"<script|<style|\sstyle=|\son\w+=", text_of(client.get(page)))
