"""The consent page and its button: what is refused, and that a refusal leaves nothing behind."""

import uuid

import pytest
from django.core import signing
from django.test import Client
from django.urls import reverse

from django_krcard.conf import PINNED_API_VERSION
from django_krcard.models import CardSetup, Consent, Customer, Mandate
from django_krcard.sandbox import control
from django_krcard.sandbox.models import Resource
from django_krcard.services.terms import publish
from tests.factories import TermsFactory, UserFactory

pytestmark = pytest.mark.django_db(transaction=True)

POST = "krcard:create-checkout-session"


@pytest.fixture
def nothing_happened():
    """After the test: no consent, no attempt, and Stripe was not called."""
    yield
    assert not Consent.objects.exists()
    assert not CardSetup.objects.exists()
    assert not Resource.objects.exists()


def test_no_box_is_ticked_for_the_customer(minji, membership):
    page = minji.get(reverse("krcard:consent", args=["membership"]))
    assert page.text.count('type="checkbox"') == 3
    assert "checked" not in page.text


def test_the_four_points_stand_on_the_page(minji, membership):
    page = minji.get(reverse("krcard:consent", args=["membership"])).text
    text = membership.texts.get(language="ko")
    for words in (text.permission, text.timing, text.amount_basis, text.cancellation):
        assert words in page


@pytest.mark.usefixtures("nothing_happened")
@pytest.mark.parametrize("ticked", [[], ["autopay"], ["save_card", "news"]])
def test_a_missing_required_box_is_an_error_at_the_box(agree, ticked):
    page = agree(ticked=ticked)
    missing = {"agree_autopay", "agree_save_card"} - {f"agree_{key}" for key in ticked}
    assert page.status_code == 200
    assert set(page.context["form"].errors) == missing
    assert 'aria-invalid="true"' in page.text


@pytest.mark.usefixtures("nothing_happened")
def test_a_tampered_token_shows_the_page_again(agree):
    page = agree(token="nonsense")
    assert page.status_code == 200
    assert page.context["notice"]
    assert page.context["notice"] in page.text


@pytest.mark.usefixtures("nothing_happened")
def test_a_token_of_somebody_else_does_not_count(minji, membership, agree):
    other = Client()
    other.force_login(UserFactory())
    theirs = other.get(reverse("krcard:consent", args=["membership"]))
    assert agree(page=theirs).context["notice"]


@pytest.mark.usefixtures("nothing_happened")
def test_an_old_token_does_not_count(minji, membership, agree, monkeypatch):
    page = minji.get(reverse("krcard:consent", args=["membership"]))
    now = signing.time.time()
    monkeypatch.setattr(signing.time, "time", lambda: now + 25 * 60 * 60)
    assert agree(page=page).context["notice"]


@pytest.mark.usefixtures("nothing_happened")
def test_terms_replaced_while_the_page_was_open_are_shown_anew(minji, membership, agree):
    page = minji.get(reverse("krcard:consent", args=["membership"]))
    publish(TermsFactory(version=2, amount=14_900), by="system")

    again = agree(page=page)
    assert again.context["terms"].version == 2
    assert again.context["notice"]


@pytest.mark.usefixtures("nothing_happened")
def test_unknown_terms_get_a_page_and_not_a_crash(agree):
    answer = agree(terms="no-such-thing")
    assert answer.status_code == 404


def test_unknown_terms_have_no_page(minji, db):
    assert minji.get(reverse("krcard:consent", args=["no-such-thing"])).status_code == 404


def test_a_draft_has_no_page(minji, db):
    TermsFactory()
    assert minji.get(reverse("krcard:consent", args=["membership"])).status_code == 404


@pytest.mark.usefixtures("nothing_happened")
def test_the_form_is_protected_against_other_sites(user, membership):
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(user)
    assert strict.post(reverse(POST), {"terms": "membership"}).status_code == 403


def test_the_button_is_for_signed_in_people(client, membership):
    assert client.post(reverse(POST), {"terms": "membership"}).status_code == 302
    assert client.get(reverse(POST)).status_code in (302, 405)


def test_a_get_on_the_button_is_refused(minji, membership):
    assert minji.get(reverse(POST)).status_code == 405


def test_sending_the_form_twice_is_one_agreement_and_one_session(minji, membership, agree):
    page = minji.get(reverse("krcard:consent", args=["membership"]))
    first, second = agree(page=page), agree(page=page)
    assert first["Location"] == second["Location"]
    assert Consent.objects.count() == CardSetup.objects.count() == Customer.objects.count() == 1


def test_a_fresh_page_with_the_same_answer_goes_on_with_the_open_session(agree):
    assert agree()["Location"] == agree()["Location"]
    assert Consent.objects.count() == 1


def test_another_answer_is_another_agreement_and_closes_the_first_session(agree):
    agree()
    agree(ticked=["autopay", "save_card", "news"])

    first, second = CardSetup.objects.order_by("pk")
    assert (first.status, second.status) == ("cancelled", "open")
    assert Resource.objects.get(stripe_id=first.checkout_session_id).status == "expired"
    assert Mandate.objects.count() == 1


@pytest.mark.parametrize(
    ("effect", "status", "times"),
    [
        ("before", 500, 1),
        ("after", 500, 1),
        ("before", "timeout", 3),  # as often as the SDK tries
    ],
)
def test_stripe_down_is_a_page_that_says_try_again_and_goes_on_with_the_same_attempt(
    minji, membership, agree, no_waiting, effect, status, times
):
    for _ in range(times):
        control.fail_next("POST", "/v1/checkout/sessions", effect=effect, status=status)
    answer = agree()
    assert answer.status_code == 503

    again = agree(page=answer)
    setup = CardSetup.objects.get()
    assert again.status_code == 303
    assert again["Location"] == setup.redirect_url
    assert Consent.objects.count() == 1


def test_an_answer_lost_on_the_way_makes_no_second_session(agree, no_waiting):
    control.fail_next("POST", "/v1/checkout/sessions", effect="after", status="timeout")
    assert agree().status_code == 303
    assert Resource.objects.filter(kind="checkout.session").count() == 1


def test_a_session_of_somebody_else_is_refused(minji, agree, caplog):
    agree()
    setup = CardSetup.objects.get()
    session = Resource.objects.get(stripe_id=setup.checkout_session_id)
    session.body["client_reference_id"] = str(uuid.uuid4())
    session.save()
    control.authorise(setup.checkout_session_id)

    assert minji.get(reverse("krcard:success", args=[setup.public_id])).status_code == 404
    assert Mandate.objects.get().status == "pending"
    assert "is not that of attempt" in caplog.text


def test_korean_cards_silently_missing_are_said_loudly(agree, settings, caplog):
    # Older versions refuse a session of types that cannot be had.
    settings.KRCARD_STRIPE_API_VERSION = PINNED_API_VERSION
    control.set_enabled_types(["card"])
    agree()
    assert Mandate.objects.get().timeline.filter(kind="korean_cards_missing").exists()
    assert "did not offer Korean cards" in caplog.text


@pytest.mark.parametrize(
    ("version", "name"),
    [("2026-10-28.endive", "allowed_payment_method_types"), ("2026-06-24.dahlia", "payment_method_types")],
)
def test_the_types_are_asked_for_as_the_api_version_wants_it(agree, settings, version, name):
    settings.KRCARD_STRIPE_API_VERSION = version
    agree()
    setup = CardSetup.objects.get()
    assert setup.params[name] == ["card", "kr_card"]
    assert setup.checkout_session_id


def test_nobody_is_sent_to_an_address_that_is_not_stripes(agree, settings, monkeypatch):
    monkeypatch.setattr("django_krcard.views.agree.is_safe", lambda address: False)
    assert agree().status_code == 503
