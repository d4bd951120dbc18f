"""Saving a card by the Direct API: from our page straight to the card processor, and back."""

import itertools
import json
from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import translation

from django_krcard import formatting, services, signals
from django_krcard.exceptions import ConsentRefused, SetupNotAllowed, StripeRefusedRequest, StripeUnavailable
from django_krcard.models import CardSetup, Consent, Mandate, PaymentMethod
from django_krcard.sandbox import control
from django_krcard.sandbox.models import Event, Resource
from django_krcard.services import reconcile, setups
from django_krcard.testing.factories import consent_of
from django_krcard.testing.sandbox import books
from tests.factories import REQUIRED

pytestmark = pytest.mark.django_db(transaction=True)

POST = "krcard:create-setup-intent"
RETURN_URL = "http://testserver/back/"
SETUPS = "/v1/setup_intents"


@pytest.fixture(autouse=True)
def types(settings):
    settings.KRCARD_PAYMENT_METHOD_TYPES = ["card", "kr_card"]


@pytest.fixture
def agree(minji, membership):
    """Read the terms on the page of the Direct API, and press its button."""

    def press(client=minji, *, ticked=REQUIRED, page=None, **changes):
        page = page or client.get(reverse("krcard:consent-direct", args=["membership"]))
        form = page.context["form"]
        data = {"terms": form["terms"].value(), "token": form["token"].value()}
        data |= {f"agree_{key}": "on" for key in ticked}
        return client.post(reverse(POST), data | changes, headers={"User-Agent": "Minji's phone"})

    return press


@pytest.fixture
def saved_signals():
    heard = []
    listen = lambda **told: heard.append(told["payment_method"])  # noqa: E731
    signals.card_saved.connect(listen)
    yield heard
    signals.card_saved.disconnect(listen)


@pytest.fixture
def consent(user, membership):
    return consent_of(services.get_or_create_customer(user), membership)


def at_the_processor(answer, action="authorise", **said):
    """What Minji does there; gives the address that she is sent back to."""
    page = urlsplit(answer["Location"]).path
    return Client().post(f"{page}{action}/", {"brand": "lotte"} | said)["Location"]


def intents():
    return books("setup_intent")


def in_rows():
    return (
        list(CardSetup.objects.values_list("status", "flow")),
        list(Mandate.objects.values_list("status", "stripe_id")),
        list(PaymentMethod.objects.values_list("type", "brand", "detached_at")),
    )


# --- through the front door -----------------------------------------------------------------------


def test_a_card_is_saved_without_a_page_of_stripes_in_between(minji, agree, saved_signals, caplog):
    answer = agree()

    assert answer.status_code == 303
    back = at_the_processor(answer)
    query = parse_qs(urlsplit(back).query)
    assert query["redirect_status"] == ["succeeded"]
    setup = CardSetup.objects.get()
    assert urlsplit(back).path == reverse("krcard:return", args=[setup.public_id])
    clean = minji.get(back)
    assert (clean.status_code, clean["Location"]) == (302, urlsplit(back).path)
    page = minji.get(clean["Location"])
    assert page.context["state"] == "saved"
    assert "롯데카드" in page.text or "Lotte" in page.text
    mandate = Mandate.objects.get()
    assert (mandate.status, mandate.stripe_id) == ("active", books("mandate")[0]["id"])
    assert len(saved_signals) == 1
    [secret] = query["setup_intent_client_secret"]
    assert secret not in caplog.text
    assert secret not in everything_kept()


def everything_kept():
    """All that our own tables hold, as text."""
    rows = [model.objects.values() for model in (CardSetup, Consent, Mandate, PaymentMethod)]
    rows.append(Mandate.objects.get().timeline.values())
    return json.dumps([list(each) for each in rows], default=str)


def test_stripe_is_told_of_the_very_acceptance_that_we_recorded(agree):
    agree()

    consent = Consent.objects.get()
    acceptance = books("mandate")[0]["customer_acceptance"]
    assert acceptance == {
        "type": "online",
        "accepted_at": int(consent.given_at.timestamp()),
        "online": {"ip_address": consent.ip_address, "user_agent": "Minji's phone"},
    }


def test_no_address_of_a_person_is_kept_a_second_time(agree):
    agree()

    kept = json.dumps(CardSetup.objects.get().params)
    assert "127.0.0.1" not in kept
    assert "Minji's phone" not in kept


def test_the_page_says_what_has_to_be_said_and_asks_for_no_card(minji, membership, settings):
    settings.KRCARD_MERCHANT_NAME = "책방"
    page = minji.get(reverse("krcard:consent-direct", args=["membership"]))

    assert 'href="https://start.nicepay.co.kr/homepage/terms/bill.do"' in page.text
    assert page.text.count("NICEPAY") >= 3
    assert "책방" in page.text
    assert f'action="{reverse(POST)}"' in page.text
    assert "<script" not in page.text
    assert "nicepay" not in minji.get(reverse("krcard:consent", args=["membership"])).text.lower()


def test_without_a_cookie_the_result_is_told_and_nothing_else(agree, user):
    back = at_the_processor(agree())

    page = Client().get(back, follow=True)

    assert page.context["state"] == "saved"
    for secret in ("롯데", "Lotte", user.username, intents()[0]["id"]):
        assert secret not in page.text


def test_somebody_elses_return_is_not_found(agree, django_user_model):
    back = at_the_processor(agree())
    other = Client()
    other.force_login(django_user_model.objects.create_user("junho"))

    assert other.get(urlsplit(back).path).status_code == 404
    assert Client().get(reverse("krcard:return", args=["nonsense"])).status_code == 404


def test_a_double_click_is_one_setup_intent(minji, agree):
    page = minji.get(reverse("krcard:consent-direct", args=["membership"]))

    first, second = agree(page=page), agree(page=page)

    assert first["Location"] == second["Location"]
    assert len(intents()) == CardSetup.objects.count() == Consent.objects.count() == 1
    assert CardSetup.objects.get().redirect_url == ""


def test_the_issuer_says_no_and_the_next_try_is_a_new_one(minji, agree):
    back = at_the_processor(agree(), "fail")

    page = minji.get(back, follow=True)
    assert page.context["state"] == "failed"
    assert page.context["failure_code"] == "setup_intent_authentication_failure"
    assert page.context["retry_url"] == reverse("krcard:consent-direct", args=["membership"])
    assert Mandate.objects.get().status == "failed"

    at_the_processor(agree())
    assert sorted(Mandate.objects.values_list("status", flat=True)) == ["active", "failed"]


def test_turning_back_decides_nothing(minji, agree):
    answer = agree()
    page = Client().get(urlsplit(answer["Location"]).path)
    assert minji.get(urlsplit(page.context["back"]).path).context["state"] == "processing"

    assert agree()["Location"] == answer["Location"]


def test_what_needs_no_redirect_is_saved_at_once(minji, agree, saved_signals):
    control.no_redirect_next()

    answer = agree()

    setup = CardSetup.objects.get()
    assert answer["Location"] == reverse("krcard:return", args=[setup.public_id])
    assert (setup.status, len(saved_signals)) == ("complete", 1)


def test_an_action_without_an_address_sends_nobody_anywhere(agree, monkeypatch, caplog):
    monkeypatch.setattr("django_krcard.gateway.answers._redirect_url", lambda intent: "")

    assert agree().status_code == 409
    assert "gives no address" in caplog.text


def test_nobody_is_sent_to_an_address_that_is_not_stripes(agree, monkeypatch):
    monkeypatch.setattr("django_krcard.views.agree.is_safe", lambda address: False)

    assert agree().status_code == 503


def test_a_consent_from_nowhere_is_no_acceptance_for_stripe(user, membership, caplog):
    customer = services.get_or_create_customer(user)
    consent = services.give_consent(
        customer, membership, language="ko", ticked=REQUIRED, evidence=services.Evidence(user_agent="a")
    )

    with pytest.raises(SetupNotAllowed):
        services.start_direct_setup(consent, return_url=RETURN_URL)

    assert "KRCARD_TRUSTED_PROXY_COUNT" in caplog.text
    assert intents() == []


def test_the_url_alone_is_harmless(minji, membership, client):
    assert minji.get(reverse(POST)).status_code == 405
    assert minji.post(reverse(POST), {"terms": "membership", "token": "nonsense"}).context["notice"]
    assert client.post(reverse(POST), {"terms": "membership"}).status_code == 302
    assert not Consent.objects.exists()
    assert intents() == []


# --- wallets --------------------------------------------------------------------------------------


def test_the_customer_chooses_between_a_card_and_the_wallets(minji, agree, settings):
    settings.KRCARD_PAYMENT_METHOD_TYPES = ["kr_card", "naver_pay", "kakao_pay"]
    page = minji.get(reverse("krcard:consent-direct", args=["membership"]))
    assert page.text.count('type="radio"') == 3
    assert agree(page=page).context["form"].errors.keys() == {"method_type"}

    answer = agree(page=page, method_type="kakao_pay")

    assert intents()[0]["payment_method_types"] == ["kakao_pay"]
    at_the_processor(answer)
    mandate = services.complete_setup(CardSetup.objects.get())
    assert mandate.payment_method.type == "kakao_pay"
    paid = services.charge(mandate, 12_900, reference="1")
    assert (paid.status, books("payment_intent")[0]["payment_method_types"]) == ("succeeded", ["kakao_pay"])


def test_a_site_without_them_has_no_direct_api(minji, membership, settings):
    settings.KRCARD_PAYMENT_METHOD_TYPES = ["card"]

    assert minji.get(reverse("krcard:consent-direct", args=["membership"])).status_code == 404
    assert minji.post(reverse(POST), {"terms": "membership"}).status_code == 404


def test_a_form_of_one_way_sent_the_other_way_is_another_attempt(minji, agree):
    page = minji.get(reverse("krcard:consent-direct", args=["membership"]))
    agree(page=page)
    form = page.context["form"]
    data = {name: form[name].value() for name in ("terms", "token")} | {f"agree_{key}": "on" for key in REQUIRED}

    answer = minji.post(reverse("krcard:create-checkout-session"), data)

    assert "/checkout/" in answer["Location"]
    assert sorted(CardSetup.objects.values_list("flow", "status")) == [("checkout", "open"), ("direct", "cancelled")]


@pytest.mark.parametrize(("type", "korean"), [("naver_pay", "네이버페이"), ("kakao_pay", "카카오페이")])
def test_wallets_are_saved_by_checkout_too_and_have_their_names(consent, settings, type, korean):
    settings.KRCARD_PAYMENT_METHOD_TYPES = ["kr_card", type]
    setup = services.start_checkout(consent, success_url=RETURN_URL, cancel_url=RETURN_URL)
    page = Client().get(urlsplit(setup.redirect_url).path, headers={"Accept-Language": "ko"})
    assert korean in page.text
    control.authorise(setup.checkout_session_id, type=type)

    mandate = services.complete_setup(CardSetup.objects.get())

    with translation.override("ko"):
        assert formatting.card_label(mandate.payment_method) == korean
    assert services.charge(mandate, 12_900, reference="1").status == "succeeded"


def test_another_wallet_is_another_attempt(minji, agree, settings):
    settings.KRCARD_PAYMENT_METHOD_TYPES = ["kr_card", "naver_pay"]
    agree(method_type="kr_card")
    agree(method_type="naver_pay")

    assert [intent["status"] for intent in intents()] == ["canceled", "requires_action"]
    assert list(CardSetup.objects.order_by("pk").values_list("status", flat=True)) == ["cancelled", "open"]


@pytest.mark.parametrize(
    ("version", "name"),
    [("2026-10-28.endive", "allowed_payment_method_types"), ("2026-06-24.dahlia", "payment_method_types")],
)
def test_the_types_are_asked_for_as_the_api_version_wants_it(consent, settings, version, name):
    settings.KRCARD_STRIPE_API_VERSION = version

    setup = services.start_direct_setup(consent, return_url=RETURN_URL)

    assert setup.params[name] == ["kr_card"]
    assert setup.redirect_url


# --- when Stripe does not answer ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("effect", "status", "times"), [("before", 500, 1), ("before", "timeout", 3), ("after", "timeout", 1)]
)
def test_the_same_click_goes_on_with_the_same_key(consent, no_waiting, effect, status, times):
    for _ in range(times):
        control.fail_next("POST", SETUPS, effect=effect, status=status)
    if effect == "before":
        with pytest.raises(StripeUnavailable):
            services.start_direct_setup(consent, return_url=RETURN_URL)

    setup = services.start_direct_setup(consent, return_url=RETURN_URL)

    assert setup.redirect_url
    assert len(intents()) == CardSetup.objects.count() == 1


def test_an_answer_that_was_lost_for_good_is_found_by_the_message(consent, no_waiting):
    control.set_delivery("held")
    control.fail_next("POST", SETUPS, effect="after", status="timeout")
    for _ in range(2):
        control.fail_next("POST", SETUPS, status="timeout")
    with pytest.raises(StripeUnavailable):
        services.start_direct_setup(consent, return_url=RETURN_URL)

    control.deliver()

    assert CardSetup.objects.get().setup_intent_id == intents()[0]["id"]


def test_a_wrong_request_ends_the_attempt(consent):
    control.set_enabled_types(["card"])

    with pytest.raises(StripeRefusedRequest):
        services.start_direct_setup(consent, return_url=RETURN_URL)

    assert CardSetup.objects.get().status == "failed"


def test_a_setup_intent_of_somebody_else_is_refused(minji, agree, caplog):
    control.set_delivery("dropped")
    at_the_processor(agree())
    row = Resource.objects.get(kind="setup_intent")
    row.body["metadata"]["krcard_setup"] = "another"
    row.save()
    setup = CardSetup.objects.get()

    assert minji.get(reverse("krcard:return", args=[setup.public_id])).status_code == 404
    with pytest.raises(SetupNotAllowed):
        services.complete_setup(setup)
    assert Mandate.objects.get().status == "pending"


# --- in any order ---------------------------------------------------------------------------------

NEWS = ("setup_intent.succeeded", "payment_method.attached", "mandate.updated", "the customer")


@pytest.mark.parametrize("order", list(itertools.permutations(NEWS)), ids="-".join)
def test_in_any_order_it_ends_the_same(consent, saved_signals, order):
    control.set_delivery("held")
    setup = services.start_direct_setup(consent, return_url=RETURN_URL)
    control.finish_setup(setup.setup_intent_id, brand="lotte")
    for what in order:
        if what == "the customer":
            Client().get(reverse("krcard:return", args=[setup.public_id]))
        else:
            assert control.redeliver(Event.objects.get(type=what).stripe_id)
    control.deliver(copies=2)

    assert in_rows() == (
        [("complete", "direct")],
        [("active", books("mandate")[0]["id"])],
        [("kr_card", "lotte", None)],
    )
    assert len(saved_signals) == 1


# --- the end of an attempt ------------------------------------------------------------------------


def test_time_runs_out_and_we_call_it_off(consent, krcard_clock):
    services.start_direct_setup(consent, return_url=RETURN_URL)
    krcard_clock.advance(CardSetup.LIFETIME + timedelta(minutes=1))

    list(services.run_due())

    assert intents()[0]["status"] == "canceled"
    assert CardSetup.objects.get().status == "expired"
    assert Mandate.objects.get().status == "expired"


def test_time_runs_out_in_the_moment_in_which_it_succeeds(consent, krcard_clock):
    control.set_delivery("dropped")
    setup = services.start_direct_setup(consent, return_url=RETURN_URL)
    control.finish_setup(setup.setup_intent_id)
    krcard_clock.advance(CardSetup.LIFETIME + timedelta(minutes=1))

    setups.close_overdue()

    assert Mandate.objects.get().status == "active"


def test_withdrawn_while_the_customer_is_at_the_processor(consent):
    setup = services.start_direct_setup(consent, return_url=RETURN_URL)

    services.revoke(setup.mandate, by="customer", reason="enough")

    assert intents()[0]["status"] == "canceled"
    with pytest.raises(ConsentRefused):
        services.start_direct_setup(consent, return_url=RETURN_URL)


def test_withdrawn_too_late_the_card_goes_again(consent):
    control.set_delivery("dropped")
    setup = services.start_direct_setup(consent, return_url=RETURN_URL)
    control.finish_setup(setup.setup_intent_id)
    services.revoke(setup.mandate, by="customer", reason="enough")

    assert services.complete_setup(CardSetup.objects.get()) is None
    assert books("payment_method")[0]["customer"] is None
    assert Mandate.objects.get().status == "revoked"


def test_reconcile_learns_of_it_when_every_message_was_lost(consent):
    control.set_delivery("dropped")
    setup = services.start_direct_setup(consent, return_url=RETURN_URL)
    control.finish_setup(setup.setup_intent_id)

    [found] = reconcile.reconcile()

    assert (found.kind, found.stripe_id, found.fixed) == ("setup", setup.setup_intent_id, True)
    assert Mandate.objects.get().status == "active"


def test_a_pending_mandate_waits_for_its_message(consent):
    setup = services.start_direct_setup(consent, return_url=RETURN_URL)
    control.mandate_pending_next()
    control.finish_setup(setup.setup_intent_id)
    mandate = services.complete_setup(CardSetup.objects.get())
    assert Mandate.objects.get().status == "pending"

    control.activate_mandate(mandate.payment_method.stripe_id)

    assert Mandate.objects.get().status == "active"
