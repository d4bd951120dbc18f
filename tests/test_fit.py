"""Whether the words say what the rule says."""

from pathlib import Path

import pytest
from django.utils import translation

from django_krcard.models import Terms, TermsText
from django_krcard.rules import Rule
from django_krcard.services.fit import doubts, is_read
from django_krcard.services.terms_files import from_toml, rows_of

MONTHLY = Rule(frequency="recurring", period="month", amount_kind="fixed", amount=12_900)
AS_USED = Rule(frequency="as_used", period="month", amount_kind="maximum", amount=30_000, max_amount_per_period=100_000)
DEMO = Path(__file__).parents[1] / "example_project" / "terms"

FITTING = {
    "ko": {
        "title": "멤버십",
        "permission": "결제를 시작하는 것에 동의합니다.",
        "timing": "매월 1회 결제합니다.",
        "amount_basis": "매회 12,900원(부가세 포함)입니다.",
        "cancellation": "언제든지 해지할 수 있습니다.",
    },
    "en": {
        "title": "Membership",
        "permission": "You allow us to start payments.",
        "timing": "Payments are made every month.",
        "amount_basis": "Each payment is ₩12,900.",
        "cancellation": "Cancel at any time.",
    },
    "de": {
        "title": "Mitgliedschaft",
        "permission": "Sie erlauben uns Zahlungen.",
        "timing": "Jeden Monat.",
        "amount_basis": "Jede Zahlung beträgt 12.900 ₩.",
        "cancellation": "Jederzeit kündbar.",
    },
}


def doubted(rule, language="ko", **words):
    """What is doubted of these words, as (field, sentence)."""
    text = TermsText(terms=Terms(**rule.as_dict()), language=language, **(FITTING[language] | words))
    with translation.override("en"):
        return doubts(rule, [text])


@pytest.mark.parametrize("language", FITTING)
def test_words_that_fit_are_not_doubted(language):
    assert doubted(MONTHLY, language) == []


@pytest.mark.parametrize("file", ["membership-v1.toml", "as-used-v1.toml"])
def test_the_demo_fits(file):
    version = from_toml((DEMO / file).read_text())
    assert doubts(version.rule, rows_of(version)[1]) == []


@pytest.mark.parametrize(
    ("language", "words", "sentence"),
    [
        (
            "ko",
            {"amount_basis": "매회 14,900원입니다."},
            "ko, How the amount is determined: the rule says 12,900원, these words say “14,900원”.",
        ),
        (
            "ko",
            {"timing": "매년 1회 결제합니다."},
            "ko, Frequency and timing: the rule says “매월”, these words say “매년 1회”.",
        ),
        ("ko", {"timing": "매월 2회 결제합니다."}, "these words say “매월 2회”"),
        ("ko", {"timing": "정해진 날에 결제합니다."}, "the rule says “매월”, and these words do not."),
        ("ko", {"amount_basis": "요금표를 따릅니다."}, "the rule says 12,900원, and these words do not."),
        ("ko", {"amount_basis": "12,900원에 배송비 3,000원이 더해집니다."}, "“3,000원”"),
        ("ko", {"title": "월 9,900원 멤버십"}, "ko, title: the rule says 12,900원, these words say “9,900원”."),
        ("ko", {"permission": "매월 9천9백 원 결제에 동의합니다."}, "“9천9백 원”"),
        (
            "en",
            {"amount_basis": "Each payment is ₩1,290."},
            "en, How the amount is determined: the rule says ₩12,900, these words say “₩1,290”.",
        ),
        (
            "en",
            {"timing": "Payments are made every week."},
            "the rule says “every month”, these words say “every week”.",
        ),
        ("de", {"amount_basis": "Jede Zahlung beträgt 14.900 ₩."}, "these words say “14.900 ₩”"),
        ("de", {"amount_basis": "Siehe Preisliste."}, "de, How the amount is determined"),
        # Promised in the words, and not kept by the rule.
        (
            "ko",
            {"timing": "매월 결제하며 3일 전에 알려 드립니다."},
            "notice 0 days before a payment, these words say 3.",
        ),
    ],
)
def test_what_does_not_fit_is_told_with_language_field_and_what_is_expected(language, words, sentence):
    assert sentence in "\n".join(doubted(MONTHLY, language, **words))


@pytest.mark.parametrize(
    ("language", "words"),
    [
        ("ko", {"amount_basis": "월 12,900원(부가세 1,173원 포함)이며 연 154,800원입니다."}),
        ("ko", {"amount_basis": "공급가 11,727원에 부가세 1,173원을 더한 12,900원입니다. 등록비는 0원입니다."}),
        ("ko", {"body": "연체료 5,000원, 정가 15,900원", "cancellation": "위약금 10,000원이 있습니다."}),
        ("ko", {"timing": "월 12,900원을 매달 말일에 결제합니다. 요금이 바뀌면 30일 전에 알려 드립니다."}),
        ("ko", {"cancellation": "결제일 3일 전까지 해지할 수 있습니다. 7일 안에 청약을 철회할 수 있습니다."}),
        ("ko", {"timing": "정기결제(월정액)입니다."}),
        ("en", {"timing": "The membership fee for a month is charged in advance."}),
        ("en", {"amount_basis": "KRW 12,900 a month, which is ₩154,800 a year."}),
        ("en", {"timing": "Monthly. If the price changes, you are told 30 days before."}),
    ],
)
def test_false_alarms(language, words):
    assert doubted(MONTHLY, language, **words) == []


@pytest.mark.parametrize(
    ("change", "fits", "does_not"),
    [
        ({"period_count": 3}, "3개월마다 결제합니다.", "매월 결제합니다."),
        ({"period_count": 3}, "분기마다 결제합니다.", "격월로 결제합니다."),
        ({"period_count": 6}, "1년에 두 번 결제합니다.", "1년에 세 번 결제합니다."),
        ({"period": "week", "period_count": 2}, "격주 월요일에 결제합니다.", "매주 결제합니다."),
        ({"period": "year"}, "매년 한 번 결제합니다.", "매월 한 번 결제합니다."),
        ({"period": "day"}, "매일 결제합니다.", "매주 결제합니다."),
        ({"max_charges_per_period": 3}, "매월 최대 3회 결제합니다.", "매월 결제합니다."),
        ({"notice_days": 7}, "매월. 결제 7일 전에 안내해 드립니다.", "매월. 결제 3일 전에 안내해 드립니다."),
        ({"notice_days": 7}, "매월. 결제 일주일 전에 알려 드립니다.", "매월. 결제일 7일 전까지 해지하세요."),
        ({"valid_for_days": 365}, "매월. 1년 동안 유효합니다.", "매월. 2년 동안 유효합니다."),
        ({"valid_for_days": 90}, "매월. 90일간 유효합니다.", "매월. 60일간 유효합니다."),
        ({"frequency": "one_time", "period": None}, "한 번만 결제합니다.", "매월 한 번 결제합니다."),
    ],
)
def test_each_part_of_the_rule_is_looked_for(change, fits, does_not):
    rule = MONTHLY._replace(**change)
    assert doubted(rule, timing=fits) == []
    assert doubted(rule, timing=does_not) != []


@pytest.mark.parametrize(
    ("change", "fits", "does_not"),
    [
        ({"period_count": 3}, "Every three months.", "Every month."),
        ({"period": "year"}, "Once a year.", "Once a month."),
        ({"max_charges_per_period": 3}, "Up to 3 payments a month.", "Up to 2 payments a month."),
        ({"notice_days": 7}, "Monthly. We tell you a week before.", "Monthly. We tell you 3 days before."),
        ({"valid_for_days": 730}, "Monthly, for two years.", "Monthly, for three years."),
        ({"frequency": "one_time", "period": None}, "One payment only.", "Every month."),
    ],
)
def test_and_in_english(change, fits, does_not):
    rule = MONTHLY._replace(**change)
    assert doubted(rule, "en", timing=fits) == []
    assert doubted(rule, "en", timing=does_not) != []


def test_as_used_needs_its_limits_and_that_they_are_limits():
    fitting = {
        "timing": "주문하실 때마다 결제합니다.",
        "amount_basis": "1회 최대 30,000원, 한 달에 모두 100,000원까지입니다.",
    }
    assert doubted(AS_USED, **fitting) == []

    assert "at most 100,000원 매월" in "\n".join(
        doubted(AS_USED, **fitting | {"amount_basis": "1회 최대 30,000원입니다."})
    )
    no_limit = fitting | {"amount_basis": "1회 30,000원, 한 달에 100,000원입니다."}
    assert "do not say that it is the most" in "\n".join(doubted(AS_USED, **no_limit))
    assert doubted(AS_USED, **fitting | {"timing": "매월 1회 결제합니다."}) != []


def test_only_numerals_are_read_of_other_languages():
    assert doubted(MONTHLY._replace(period_count=3), "de") != []
    assert doubted(MONTHLY._replace(period_count=3), "de", timing="Alle 3 Monate.") == []
    assert doubted(MONTHLY._replace(notice_days=7), "de") != []
    assert doubted(MONTHLY._replace(notice_days=7), "de", timing="7 Tage vorher sagen wir Bescheid.") == []
    assert (is_read("en-gb"), is_read("de")) == (True, False)
