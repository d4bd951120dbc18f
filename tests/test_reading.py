"""What sentences say in numbers."""

import pytest

from django_krcard.services.reading import days_before_in, numerals_in, rhythms_in, sentences, spans_in, won_in


@pytest.mark.parametrize(
    "words",
    [
        "12,900원", "12900원", "12,900 원", "1만 2,900원", "1만2900원", "1만 2천9백원", "1.29만원", "일만이천구백 원정",
        "₩12,900", "₩ 12900", "￦12，900", "KRW 12,900", "12,900 KRW", "12,900 won", "12,900-won",
        "요금이 12,900원(부가세 포함)", "매월 1일 12,900원", "1회 12,900원씩",
    ],
)  # fmt: skip
@pytest.mark.parametrize("language", ["ko", "en"])
def test_the_usual_ways_of_writing_won(words, language):
    assert [amount for amount, _words in won_in(words, language)] == [12_900]


@pytest.mark.parametrize("words", ["12.900 ₩", "12 900 KRW", "₩12’900", "12,900ウォン", "KRW 12900"])
def test_other_languages_have_their_own_thousands(words):
    assert [amount for amount, _words in won_in(words, "de")] == [12_900]


@pytest.mark.parametrize(
    ("words", "amounts"),
    [
        ("3천 5백만원", [35_000_000]),
        ("월 12,900원(연 154,800원)", [12_900, 154_800]),
        ("만 원에서 3만원", [10_000, 30_000]),
        ("회원 지원 병원 직원", []),
        ("12,900.5원", []),
        ("멤버십 2기, 12,900점", []),
        ("", []),
    ],
)
def test_what_is_an_amount_and_what_is_not(words, amounts):
    assert [amount for amount, _words in won_in(words, "ko")] == amounts


@pytest.mark.parametrize(
    ("words", "rhythm"),
    [
        ("매월 1회 결제합니다.", ("month", 1, 1)),
        ("매달", ("month", 1, None)),
        ("매월 결제하며, 매월 말일에 알립니다.", ("month", 1, None)),
        ("월 1회", ("month", 1, 1)),
        ("월 한 번", ("month", 1, 1)),
        ("한 달에 한 번", ("month", 1, 1)),
        ("매월 25일에 결제", ("month", 1, None)),
        ("3개월마다", ("month", 3, None)),
        ("매 3개월", ("month", 3, None)),
        ("분기마다", ("month", 3, None)),
        ("격주", ("day", 14, None)),
        ("매주 월요일", ("day", 7, None)),
        ("1년에 두 번", ("month", 12, 2)),
        ("연 1회", ("month", 12, 1)),
        ("매일", ("day", 1, None)),
    ],
)
def test_rhythms_in_korean(words, rhythm):
    assert [one[:3] for one in rhythms_in(words, "ko")] == [rhythm]


@pytest.mark.parametrize(
    ("words", "rhythm"),
    [
        ("every month", ("month", 1, None)),
        ("every month, and again every month", ("month", 1, None)),
        ("Each month", ("month", 1, None)),
        ("monthly", ("month", 1, None)),
        ("once a month", ("month", 1, 1)),
        ("One payment a month.", ("month", 1, 1)),
        ("per month", ("month", 1, None)),
        ("every three months", ("month", 3, None)),
        ("once every 3 months", ("month", 3, 1)),
        ("quarterly", ("month", 3, None)),
        ("every other week", ("day", 14, None)),
        ("twice a year", ("month", 12, 2)),
        ("annually", ("month", 12, None)),
    ],
)
def test_rhythms_in_english(words, rhythm):
    assert [one[:3] for one in rhythms_in(words, "en")] == [rhythm]


@pytest.mark.parametrize(
    ("words", "language"),
    [
        ("매 주문마다, 매 이용 시, 매 일정, 해당 월, 다음 달 같은 날짜의 전날까지", "ko"),
        ("‘매달나루’ 이용 시", "ko"),
        ("within a month after you register; the next month; a month later; each time you order", "en"),
        ("jeden Monat", "de"),
    ],
)
def test_what_is_no_rhythm(words, language):
    assert rhythms_in(words, language) == []


@pytest.mark.parametrize(
    ("sentence", "language", "days"),
    [
        ("결제 7일 전에 알려 드립니다.", "ko", [7]),
        ("일주일 전", "ko", [7]),
        ("하루 전", "ko", [1]),
        ("전날 안내합니다", "ko", [1]),
        ("D-3에 안내", "ko", [3]),
        ("7영업일 전", "ko", []),
        ("You are told seven days before a payment.", "en", [7]),
        ("a week ahead", "en", [7]),
        ("7 days’ notice", "en", [7]),
        ("the day before", "en", [1]),
        ("within 7 days after a payment", "en", []),
    ],
)
def test_days_before(sentence, language, days):
    assert days_before_in(sentence, language) == days


def test_spans_and_numerals():
    assert spans_in("1년 동안, 30일간, 7일 전", "ko") == {("month", 12), ("day", 30)}
    assert spans_in("for one year or 90 days, 3 days before", "en") == {("month", 12), ("day", 90)}
    assert numerals_in("12,900원, 3.", "ko") == {12_900, 3}
    assert sentences("하나. 둘!\n셋") == ["하나.", "둘!", "셋"]
