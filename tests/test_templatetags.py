"""The tags and filters, and the frame that our pages stand in."""

from datetime import UTC, date, datetime

import pytest
from django.contrib.auth.models import AnonymousUser
from django.template import Context, Template
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import timezone, translation

from django_krcard.forms import ConsentForm
from django_krcard.issuers import ISSUERS
from django_krcard.models import PaymentMethod
from django_krcard.rules import Rule
from django_krcard.sandbox.issuers import ISSUERS as ISSUERS_AT_STRIPE
from django_krcard.templatetags.krcard import (
    card_aloud,
    card_label,
    each_period,
    how_much,
    how_often,
    how_retried,
    kst,
    won,
)
from tests.factories import TermsFactory, as_used_terms

FIVE_PAST_FIVE = datetime(2026, 11, 22, 8, 5, tzinfo=UTC)


@pytest.fixture
def english():
    with translation.override("en"):
        yield


def render(source, **context):
    return Template("{% load krcard %}" + source).render(Context(context))


# --- values -----------------------------------------------------------------------------------


@pytest.mark.parametrize("grouping", [True, False])
@pytest.mark.parametrize(
    ("language", "amount", "words"),
    [
        ("ko", 12_900, "12,900원"),
        ("ko-kr", 100, "100원"),
        ("en", 12_900, "₩12,900"),
        ("en", 99_999_999, "₩99,999,999"),
        ("ko", 0, "0원"),
        ("ko", None, ""),
    ],
)
def test_won(settings, grouping, language, amount, words):
    settings.USE_THOUSAND_SEPARATOR = grouping
    with translation.override(language):
        assert won(amount) == words


@pytest.mark.parametrize(
    ("language", "when", "words"),
    [
        ("ko", FIVE_PAST_FIVE, "2026년 11월 22일 17:05"),
        ("en", FIVE_PAST_FIVE, "22 Nov 2026 17:05 KST"),
        # Late in the evening of London it is tomorrow in Seoul.
        ("ko", datetime(2026, 12, 31, 15, 0, tzinfo=UTC), "2027년 1월 1일 00:00"),
        ("ko", date(2026, 11, 22), "2026년 11월 22일"),
        ("en", date(2026, 11, 22), "22 Nov 2026"),
        ("ko", None, ""),
    ],
)
def test_kst(language, when, words):
    with translation.override(language):
        assert kst(when) == words


def test_kst_reads_a_naive_time_as_the_sites_own(settings):
    settings.TIME_ZONE = "UTC"
    assert kst(FIVE_PAST_FIVE.replace(tzinfo=None)) == "2026년 11월 22일 17:05"


@pytest.mark.usefixtures("english")
@pytest.mark.parametrize(
    ("card", "label", "aloud"),
    [
        (
            {"type": "kr_card", "brand": "shinhan", "last4": "1234"},
            "Shinhan Card ****-1234",
            "Shinhan Card ending in 1234",
        ),
        ({"type": "kr_card", "brand": "kakaobank", "last4": None}, "KakaoBank", "KakaoBank"),
        (
            {"type": "kr_card", "brand": "moonbank", "last4": "1234"},
            "Korean card ****-1234",
            "Korean card ending in 1234",
        ),
        ({"type": "card", "brand": "visa", "last4": "4242"}, "Visa ****-4242", "Visa ending in 4242"),
        ({"type": "something_new", "brand": "", "last4": None}, "Card", "Card"),
    ],
)
def test_a_card_seen_and_heard(card, label, aloud):
    card = PaymentMethod(**card)
    assert (card_label(card), card_aloud(card)) == (label, aloud)


def test_no_card_is_no_words():
    assert (card_label(None), card_aloud(None)) == ("", "")


def test_every_issuer_at_stripe_has_a_name():
    assert set(ISSUERS) == set(ISSUERS_AT_STRIPE)


# --- the rule in words ------------------------------------------------------------------------

MONTHLY = Rule(frequency="recurring", period="month", amount_kind="fixed", amount=12_900)
QUARTERLY = Rule(frequency="recurring", period="month", period_count=3, amount_kind="fixed", amount=30_000)
ONCE = Rule(frequency="one_time", amount_kind="fixed", amount=5_000)
AS_USED = Rule(frequency="as_used", period="week", amount_kind="maximum", amount=30_000, max_amount_per_period=100_000)


@pytest.mark.usefixtures("english")
@pytest.mark.parametrize(
    ("rule", "much", "often", "each"),
    [
        (MONTHLY, "₩12,900", "every month", "every month"),
        (QUARTERLY, "₩30,000", "every 3 months", "every 3 months"),
        (ONCE, "₩5,000", "once", ""),
        (AS_USED, "up to ₩30,000", "each time you use it", "every week"),
    ],
)
def test_a_rule_in_words_as_object_and_as_kept_in_a_consent(rule, much, often, each):
    for form in (rule, rule.as_dict()):
        assert (how_much(form), how_often(form), each_period(form)) == (much, often, each)


@pytest.mark.usefixtures("english")
@pytest.mark.parametrize(
    ("times", "days", "words"),
    [
        (0, 3, ""),
        (1, 1, "one more try after 1 day"),
        (1, 3, "one more try after 3 days"),
        (2, 1, "up to 2 more tries, 1 day apart"),
        (3, 7, "up to 3 more tries, 7 days apart"),
    ],
)
def test_what_follows_a_declined_payment_in_words(times, days, words):
    rule = MONTHLY._replace(max_retries=times, retry_after_days=days)
    assert how_retried(rule) == how_retried(rule.as_dict()) == words


@pytest.mark.usefixtures("english")
@pytest.mark.django_db
@pytest.mark.parametrize(
    ("rule", "said"),
    [
        # The 31st is the last day of a shorter month.
        ({}, ["₩12,900", "every month", "31 Jan 2026 at the earliest", "from 28 Feb 2026", "Exactly this amount."]),
        ({"notice_days": 3}, ["3 Feb 2026 at the earliest", "We tell you 3 days before each payment"]),
        ({"max_retries": 2, "retry_after_days": 3}, ["If a payment is declined", "up to 2 more tries, 3 days apart"]),
        ({"valid_for_days": 365}, ["365 days, then it ends by itself"]),
        ({"frequency": "one_time", "period": None}, ["once", "Once, on 31 Jan 2026 at the earliest"]),
    ],
)
def test_the_summary_says_what_the_gate_will_hold_to(monkeypatch, rule, said):
    monkeypatch.setattr(timezone, "localdate", lambda **kwargs: date(2026, 1, 31))
    text = TermsFactory(**rule).texts.get(language="en")

    page = render("{% krcard_summary text %}", text=text)

    assert [words for words in said if words not in page] == []


@pytest.mark.usefixtures("english")
@pytest.mark.django_db
def test_the_summary_of_payments_as_used_names_the_limit():
    text = as_used_terms(max_charges_per_period=10).texts.get(language="en")

    page = render("{% krcard_summary text %}", text=text)

    assert "up to ₩30,000" in page
    assert "₩100,000 every month, never more" in page
    assert "at most 10 every month" in page
    assert "Exactly this amount." not in page


# --- blocks of a page -------------------------------------------------------------------------


def button(rf, user, slug="membership"):
    request = rf.get("/shop/")
    request.user = user
    return render(f'{{% krcard_checkout_button "{slug}" %}}', request=request, csrf_token="csrf-of-this-page")


def test_the_button_comes_with_the_terms_and_empty_boxes(rf, user, membership):
    page = button(rf, user)

    assert f'action="{reverse("krcard:create-checkout-session")}" method="post"' in page
    assert "csrf-of-this-page" in page
    assert page.count('type="checkbox"') == 3
    assert "checked" not in page
    assert membership.texts.get(language="ko").cancellation in page


def test_the_button_leads_strangers_to_the_consent_page(rf, membership):
    page = button(rf, AnonymousUser())

    assert f'href="{reverse("krcard:consent", args=["membership"])}"' in page
    assert "<form" not in page


def test_the_button_needs_no_request_to_be_a_link(membership):
    page = render('{% krcard_checkout_button "membership" %}')

    assert reverse("krcard:consent", args=["membership"]) in page


@pytest.mark.usefixtures("english")
def test_without_terms_in_force_the_site_keeps_its_page(rf, user):
    TermsFactory()  # a draft

    assert "Cards cannot be saved at the moment." in button(rf, user)
    assert "These terms are not available at the moment." in render('{% krcard_terms "membership" %}')


@pytest.mark.parametrize(("active", "shown"), [("ko", "ko"), ("en", "en"), ("en-gb", "en"), ("ja", "ko")])
def test_the_terms_are_shown_in_the_readers_language(membership, active, shown):
    with translation.override(active):
        page = render('{% krcard_terms "membership" %}')

    assert f'lang="{shown}"' in page
    assert page.count("<dt>") == 4


def test_what_a_merchant_writes_is_text_and_never_markup(db):
    text = TermsFactory(languages=["ko"]).texts.get()
    text.permission = text.title = "<script>alert(1)</script>"

    page = render('{% include "krcard/includes/terms.html" %}{% krcard_summary text %}', text=text)

    assert "<script" not in page


# --- the frame --------------------------------------------------------------------------------

STYLESHEET = "krcard/krcard.css"
BARE = Template("<title>{% block title %}{% endblock %}</title><main>{% block content %}{% endblock %}</main>")


def my_cards(**context):
    return render_to_string("krcard/cards.html", {"mandates": [], "merchant_name": "한강 멤버십", **context})


def test_our_frame_brings_stylesheet_and_banner_once():
    page = my_cards(krcard_base_template="krcard/base.html", krcard_sandbox=True)

    assert page.count(STYLESHEET) == 1
    assert page.count('class="krcard-sandbox"') == 1
    assert '<html lang="ko">' in page


def test_a_base_template_with_title_and_content_is_enough():
    page = my_cards(krcard_base_template=BARE, krcard_sandbox=True)

    assert page.count(STYLESHEET) == 1
    assert page.count('class="krcard-sandbox"') == 1
    assert "– 한강 멤버십</title>" in page


def test_no_banner_where_money_moves():
    assert "krcard-sandbox" not in my_cards(krcard_sandbox=False)


@pytest.mark.parametrize("base", ["krcard/base.html", BARE], ids=["ours", "bare"])
@pytest.mark.parametrize("state", ["saved", "processing", "failed", "expired", "cancelled"])
def test_each_result_is_told_to_screen_readers_and_only_waiting_reloads(state, base):
    page = render_to_string("krcard/result.html", {"state": state, "krcard_base_template": base})

    assert 'role="status"' in page
    assert page.count('http-equiv="refresh"') == (state == "processing")


def test_an_error_is_said_at_the_top_with_a_link_to_its_box(agree):
    page = agree(ticked=["save_card"]).text

    assert 'role="alert"' in page
    box = "krcard-membership-checkout-agree_autopay"
    assert f'href="#{box}"' in page
    assert f'aria-describedby="{box}_error"' in page
    assert f'id="{box}_error"' in page


def test_the_same_answers_go_along_when_stripe_did_not_answer(membership):
    answers = {"terms": "membership", "token": "signed", "agree_autopay": "on"}
    form = ConsentForm(answers, text=membership.texts.get(language="ko"))

    page = render_to_string("krcard/unavailable.html", {"form": form, "text": form.text})

    assert '<input type="hidden" name="agree_autopay" value="True"' in page
    assert '<input type="hidden" name="agree_news" value="False"' in page
    assert 'type="checkbox"' not in page


def test_the_agreement_page_shows_the_text_kept_then(minji, mandate):
    page = minji.get(reverse("krcard:mandate", args=[mandate.public_id])).text

    assert mandate.consent.text.splitlines()[0] in page
    assert mandate.consent.text_sha256 in page
    assert reverse("krcard:revoke", args=[mandate.public_id]) in page
