import re

import pytest
from django.test import Client
from django.urls import resolve

from django_krcard.sandbox import control, panel
from django_krcard.sandbox.models import Event
from django_krcard.sandbox.scenarios import SCENARIOS
from django_krcard.sandbox.wording import PANEL, WORDING

from .conftest import charge_params

PANEL_URL = "/stripe-sandbox/panel/"
ENGLISH = {"Accept-Language": "en"}


@pytest.fixture(autouse=True)
def developer(settings):
    settings.DEBUG = True


def text_of(response):
    return response.content.decode()


def shown(client):
    return text_of(client.get(PANEL_URL, headers=ENGLISH))


def press(client, scenario, **said):
    return client.post(f"{PANEL_URL}{scenario}/", said, headers=ENGLISH)


def buttons(html):
    """The forms of the page, as (scenario, what they send before anything is typed)."""
    forms = re.findall(rf'action="{PANEL_URL}([a-z-]+)/">(.*?)</form>', html, re.DOTALL)
    return [
        (name, dict(re.findall(r'<input[^>]*name="(?!csrf)(\w+)" value="([^"]*)"', inner))) for name, inner in forms
    ]


def test_an_open_session_is_authorised(client, api, session):
    page = shown(client)
    assert ("authorise", {"session": session.id}) in buttons(page)
    assert session.url in page
    assert "no money moves" in page

    answer = press(client, "authorise", session=session.id)

    assert (answer.status_code, answer["Location"]) == (303, f"{PANEL_URL}?done=authorise")
    assert api.checkout.sessions.retrieve(session.id).status == "complete"
    assert "Authorise" in text_of(client.get(answer["Location"], headers=ENGLISH))


def test_each_card_and_payment_has_the_buttons_of_its_state(client, api, saved):
    control.processing_next()
    waiting = api.payment_intents.create(charge_params(saved)).id
    paid = api.payment_intents.create(charge_params(saved)).id

    offered = buttons(shown(client))

    assert ("settle", {"payment_intent": waiting, "outcome": "failed"}) in offered
    assert ("dispute", {"payment_intent": paid}) in offered
    assert ("revoke", {"payment_method": saved.card}) in offered
    press(client, "revoke", payment_method=saved.card)
    assert ("revoke", {"payment_method": saved.card}) not in buttons(shown(client))
    press(client, "detach", payment_method=saved.card)
    assert ("detach", {"payment_method": saved.card}) not in buttons(shown(client))


def test_a_payment_that_waits_for_its_customer_has_its_page_and_buttons(client, api, saved):
    made = api.payment_intents.create({"amount": 100, "currency": "krw", "customer": saved.customer})
    here = {"payment_method": saved.card, "return_url": "http://127.0.0.1:8000/"}
    intent = api.payment_intents.confirm(made.id, here)

    page = shown(client)
    assert f'href="{intent.next_action.redirect_to_url.url}"' in page
    assert ("finish-payment", {"payment_intent": intent.id, "outcome": "failed"}) in buttons(page)

    press(client, "finish-payment", payment_intent=intent.id, outcome="succeeded")

    assert api.payment_intents.retrieve(intent.id).status == "succeeded"
    assert "/pay/" not in shown(client)


def test_a_dispute_is_decided(client, api, saved):
    press(client, "dispute", payment_intent=api.payment_intents.create(charge_params(saved)).id)
    [lost] = [said for name, said in buttons(shown(client)) if name == "close-dispute" and said["outcome"] == "lost"]

    press(client, "close-dispute", **lost)

    assert api.disputes.retrieve(lost["dispute"]).status == "lost"


def test_held_events_are_listed_and_delivered(client, api, saved, heard):
    press(client, "delivery", mode="held")
    api.payment_intents.create(charge_params(saved))
    assert shown(client).count("payment_intent.succeeded") == 1
    assert heard == []

    press(client, "deliver", shuffled="yes", copies="2", seed="3")

    assert len(heard) == 4
    press(client, "redeliver", event=Event.objects.latest("pk").stripe_id)
    assert len(heard) == 5


def test_what_comes_next_is_shown(client):
    press(client, "decline-next", code="insufficient_funds")

    assert "decline card_declined insufficient_funds" in shown(client)


def test_every_form_can_be_pressed_as_it_stands(client, session):
    pressed = set()
    for name, said in buttons(shown(client)):
        chosen = {field.name: field.choices[0] for field in SCENARIOS[name].fields if field.choices}
        said = chosen | {key: value for key, value in said.items() if value != "yes"}
        assert press(client, name, **said).status_code in (303, 422), name
        pressed.add(name)

    assert pressed >= {name for group in panel.GROUPS.values() for name in group}


def test_every_scenario_is_on_the_panel():
    beside = {name for acts in panel.ACTS.values() for name, _ in acts}
    forms = {name for group in panel.GROUPS.values() for name in group}

    assert beside | forms | {"redeliver"} == set(SCENARIOS)


def test_what_cannot_be_is_said_on_the_page(client):
    answer = press(client, "advance", by="a while")

    assert answer.status_code == 422
    assert "for example 3 days" in text_of(answer)
    assert 'role="alert"' in text_of(answer)


def test_the_panel_speaks_the_sites_language(client):
    korean = text_of(client.get(PANEL_URL, headers={"Accept-Language": "ko"}))

    assert '<html lang="ko">' in korean
    assert "샌드박스 조작판" in korean
    assert "Sandbox panel" in shown(client)


@pytest.mark.parametrize("words", [WORDING, PANEL])
def test_both_languages_say_the_same(words):
    assert words["ko"].keys() == words["en"].keys()
    for name, part in words["ko"].items():
        if isinstance(part, dict):
            assert part.keys() == words["en"][name].keys()


def test_every_scenario_has_its_words():
    assert PANEL["en"]["scenarios"].keys() == SCENARIOS.keys()


def test_the_hosted_page_leads_to_the_panel(client, session, settings):
    page = f"/stripe-sandbox/checkout/{session.id}/"
    assert f'href="{PANEL_URL}"' in text_of(client.get(page))

    settings.DEBUG = False
    assert PANEL_URL not in text_of(client.get(page))


def test_without_debug_it_is_for_staff(client, settings, django_user_model):
    settings.DEBUG = False
    assert client.get(PANEL_URL)["Location"] == f"/admin/login/?next={PANEL_URL.replace('/', '%2F')}"
    assert press(client, "reset").status_code == 302

    client.force_login(django_user_model.objects.create_user("minji"))
    assert client.get(PANEL_URL).status_code == 403

    client.force_login(django_user_model.objects.create_user("staff", is_staff=True))
    assert client.get(PANEL_URL).status_code == 200
    assert press(client, "reset").status_code == 303


def test_without_debug_nor_users_it_is_for_nobody(settings):
    settings.DEBUG = False
    settings.MIDDLEWARE = ["django.middleware.common.CommonMiddleware"]

    assert Client().get(PANEL_URL).status_code == 403


def test_it_is_not_there_in_production(client, settings):
    settings.DEBUG = False
    settings.KRCARD_SANDBOX_WITHOUT_DEBUG_I_KNOW_NO_MONEY_MOVES = False

    assert client.get(PANEL_URL).status_code == 404
    assert press(client, "reset").status_code == 404


def test_buttons_are_posts_with_a_token(settings, session):
    careful = Client(enforce_csrf_checks=True)
    assert careful.get(f"{PANEL_URL}reset/").status_code == 405
    assert careful.post(f"{PANEL_URL}reset/").status_code == 403

    settings.MIDDLEWARE = [each for each in settings.MIDDLEWARE if "Csrf" not in each]
    assert Client(enforce_csrf_checks=True).post(f"{PANEL_URL}reset/").status_code == 403


def test_unknown_scenarios_are_not_found(client):
    assert press(client, "nonsense").status_code == 404


def test_sites_that_lock_or_wrap_every_view_leave_it_alone():
    view = resolve(PANEL_URL).func

    assert view.login_required is False
    assert view._non_atomic_requests == {"default"}


def test_nothing_inline(client, session):
    page = shown(client)

    assert not re.search(r"<script|<style|\sstyle=|\son\w+=", page)


def test_the_hosted_pages_are_moved(client):
    press(client, "pages-at", address="http://127.0.0.1:8001")
    assert ("pages-at", {"address": "http://127.0.0.1:8001"}) in buttons(shown(client))

    assert press(client, "pages-at", address="").status_code == 303
    assert ("pages-at", {"address": ""}) in buttons(shown(client))
