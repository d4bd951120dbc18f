"""Why a payment failed, and what may follow."""

import re
from pathlib import Path

import pytest
from django.utils import translation

from django_krcard import declines
from django_krcard.admin.wording import DECLINES
from django_krcard.declines import CODES, Family, family_of
from django_krcard.sandbox import control

DOCS = Path(__file__).parents[1] / "docs" / "declines.md"
EVERY_CODE = sorted(code for codes in CODES.values() for code in codes)

# What Stripe's own automatic retries never send again without another card.
# https://docs.stripe.com/billing/revenue-recovery/smart-retries
HARD_FOR_STRIPE = [
    "authentication_required",
    "highest_risk_level",
    "incorrect_number",
    "lost_card",
    "pickup_card",
    "revocation_of_all_authorizations",
    "revocation_of_authorization",
    "stolen_card",
    "transaction_not_allowed",
]


@pytest.mark.parametrize(
    ("failure_code", "decline_code", "family"),
    [
        ("card_declined", "insufficient_funds", Family.RETRY_LATER),
        ("payment_method_provider_decline", "insufficient_funds", Family.RETRY_LATER),
        ("payment_method_provider_timeout", "", Family.RETRY_LATER),
        ("card_declined", "", Family.ASK_CUSTOMER),
        ("card_declined", "generic_decline", Family.ASK_CUSTOMER),
        ("payment_method_provider_decline", "partner_generic_decline", Family.ASK_CUSTOMER),
        ("authentication_required", "authentication_required", Family.ASK_CUSTOMER),
        ("card_declined", "lost_card", Family.STOP),
        ("payment_method_provider_decline", "invalid_billing_agreement", Family.STOP),
        ("payment_intent_mandate_invalid", "", Family.STOP),
    ],
)
def test_the_more_precise_code_says_what_may_follow(failure_code, decline_code, family):
    assert family_of(failure_code, decline_code) == family


@pytest.mark.parametrize("codes", [("", ""), ("a_word_of_tomorrow", ""), ("card_declined", "a_word_of_tomorrow")])
def test_an_unknown_code_is_left_to_people(codes):
    assert family_of(*codes) == Family.ASK_CUSTOMER


@pytest.mark.parametrize("failure_code", sorted(CODES[Family.RETRY_LATER]))
def test_an_unknown_reason_is_not_tried_again_whatever_the_general_code(failure_code):
    assert family_of(failure_code, "") == Family.RETRY_LATER
    assert family_of(failure_code, "a_word_of_tomorrow") == Family.ASK_CUSTOMER


@pytest.mark.parametrize("failure_code", sorted(CODES[Family.STOP]))
def test_an_unknown_reason_does_not_soften_a_stop(failure_code):
    assert family_of(failure_code, "a_word_of_tomorrow") == Family.STOP


def test_a_code_is_in_one_family():
    assert len(EVERY_CODE) == len(set(EVERY_CODE))


@pytest.mark.parametrize("code", HARD_FOR_STRIPE)
def test_what_stripe_does_not_try_again_is_not_tried_again_here(code):
    assert family_of("card_declined", code) != Family.RETRY_LATER


@pytest.mark.parametrize("code", sorted(declines.REVOKED))
def test_what_the_customer_revoked_stops(code):
    assert family_of("card_declined", code) == Family.STOP


@pytest.mark.parametrize("name", control.DECLINES)
def test_every_decline_that_the_sandbox_plays_is_named(name):
    failure_code, decline_code = control.DECLINES[name]
    assert {name, failure_code, decline_code or failure_code} <= set(EVERY_CODE)


@pytest.mark.parametrize(
    ("code", "in_doubt"),
    [
        ("payment_method_unexpected_state", True),
        ("payment_intent_mandate_invalid", True),
        ("resource_missing", True),
        # Stripe refuses a detached card without giving a code.
        ("", True),
        ("insufficient_funds", False),
        ("amount_too_small", False),
        ("parameter_unknown", False),
    ],
)
def test_some_codes_put_card_and_mandate_in_doubt(code, in_doubt):
    assert declines.is_card_in_doubt(code) is in_doubt


@pytest.mark.parametrize("code", EVERY_CODE)
def test_every_code_is_a_sentence_for_staff_in_korean_and_english(code):
    with translation.override("ko"):
        korean = str(DECLINES[code])
    with translation.override("en"):
        english = str(DECLINES[code])
    assert korean != english
    assert any("가" <= sign <= "힣" for sign in korean)


@pytest.mark.parametrize("family", Family)
def test_the_docs_name_exactly_the_codes_of_each_family(family):
    title = {"retry_later": "retry later", "ask_customer": "ask the customer", "stop": "stop"}[family]
    [row] = [line for line in DOCS.read_text(encoding="utf-8").splitlines() if line.startswith(f"| **{title}**")]
    assert sorted(re.findall(r"`(\w+)`", row.split("|")[2])) == sorted(CODES[family])
