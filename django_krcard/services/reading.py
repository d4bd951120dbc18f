"""What a sentence says in numbers: won, rhythms of payment, days before, spans of time.

Korean and English are read with their words; of any other language only the numerals.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from fractions import Fraction
from typing import NamedTuple


class Rhythm(NamedTuple):
    """``times`` in every ``count`` days or months, as read in ``words``. Weeks are days, quarters and years months."""

    unit: str  # day, month
    count: int
    times: int | None  # None: not said
    words: str


UNITS = {
    "day": {"일": 1, "날": 1, "주": 7, "주일": 7, "day": 1, "week": 7},
    "month": {
        "달": 1,
        "월": 1,
        "개월": 1,
        "분기": 3,
        "반기": 6,
        "년": 12,
        "연": 12,
        "해": 12,
        "month": 1,
        "quarter": 3,
        "year": 12,
    },
}

NUMBERS = {
    "한": 1, "일": 1, "두": 2, "이": 2, "세": 3, "석": 3, "삼": 3, "네": 4, "넉": 4, "사": 4, "다섯": 5, "오": 5,
    "여섯": 6, "육": 6, "일곱": 7, "칠": 7, "여덟": 8, "팔": 8, "아홉": 9, "구": 9,
    "열": 10, "십": 10, "열두": 12, "십이": 12,
    "a": 1, "one": 1, "once": 1, "single": 1, "other": 2, "second": 2, "two": 2, "twice": 2, "three": 3, "four": 4,
    "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10, "eleven": 11, "twelve": 12, "fourteen": 14,
    "fifteen": 15, "twenty": 20, "thirty": 30,
}  # fmt: skip

#: Korean has words of its own for so many days.
KOREAN_DAYS = {
    "하루": 1, "전날": 1, "이틀": 2, "사흘": 3, "나흘": 4, "닷새": 5, "엿새": 6, "이레": 7, "여드레": 8, "아흐레": 9,
    "열흘": 10, "보름": 15,
}  # fmt: skip


def one_of(words) -> str:
    return "|".join(sorted(words, key=len, reverse=True))


KOREAN_NUMBER = rf"(?:\d+|{one_of(word for word in NUMBERS if not word.isascii())})"
ENGLISH_NUMBER = rf"(?:\d+|{one_of(word for word in NUMBERS if word.isascii())})"
#: Not those that begin another word: “매 주문” is no week, “매 해당 월” no year.
KOREAN_UNIT = "개월|분기|반기|주일|일(?![정반부])|주(?![문유차])|달(?![나라리])|월|년|해(?![당지])"
TIMES = rf"(?:\s?(?:에|마다))?\s?(?P<times>{KOREAN_NUMBER})\s?(?:회|번|차례)"

# Only what says how often something happens: “다음 달” and “a month later” are no rhythm.
RHYTHMS = {
    "ko": [
        rf"매\s?(?P<count>{KOREAN_NUMBER})?\s?(?P<unit>{KOREAN_UNIT})(?:{TIMES})?",
        rf"(?<![가-힣\d])(?P<count>{KOREAN_NUMBER})\s?(?P<unit>{KOREAN_UNIT})\s?(?:마다|간격|주기)(?:{TIMES})?",
        rf"(?<![가-힣\d])(?P<count>{KOREAN_NUMBER})\s?(?P<unit>{KOREAN_UNIT})\s?(?:에|동안){TIMES}",
        rf"(?<![가-힣\d])(?P<unit>일|주|월|연|년){TIMES}",
        rf"(?<![가-힣\d])(?P<unit>날|주|달|해|분기|반기)\s?(?:마다|별)(?:{TIMES})?",
        r"(?P<every_other>격)(?P<unit>주|월|년)",
    ],
    "en": [
        rf"\b(?:(?P<times>{ENGLISH_NUMBER})(?:\s+times?)?\s+)?(?:every|each|per)\s+(?:(?P<count>{ENGLISH_NUMBER})[\s-]+)?"
        r"(?P<unit>day|week|month|quarter|year)s?\b",
        rf"\b(?P<times>once|twice|{ENGLISH_NUMBER}\s+(?:times|payments?|charges?))\s+an?\s+(?P<unit>day|week|month|quarter|year)\b",
        r"\b(?P<adverb>daily|weekly|biweekly|fortnightly|monthly|quarterly|half-yearly|semi-annual(?:ly)?|yearly|annual(?:ly)?)\b",
    ],
}

ADVERBS = {
    "daily": ("day", 1),
    "weekly": ("day", 7),
    "biweekly": ("day", 14),
    "fortnightly": ("day", 14),
    "monthly": ("month", 1),
    "quarterly": ("month", 3),
    "half-yearly": ("month", 6),
    "semi-annual": ("month", 6),
    "semi-annually": ("month", 6),
    "yearly": ("month", 12),
    "annual": ("month", 12),
    "annually": ("month", 12),
}

DIGITS = r"\d{1,3}(?:,\d{3})+|\d+(?:\.\d+)?"
#: Elsewhere thousands are set apart by points, spaces or apostrophes too.
OTHER_DIGITS = r"\d{1,3}(?:[,.' ’]\d{3})+|\d+"
PLACES = {"십": 10, "백": 100, "천": 1000}
GROUPS = {"만": 10_000, "억": 100_000_000}
SINO = "일이삼사오육칠팔구"
BEFORE_WON = r"(?:₩|\bKRW)\s?"
AFTER_WON = r"\s?(?:원|-?won\b|KRW\b|ウォン|韩元|韓元|₩)"


def plain(words: str) -> str:
    """Full-width signs, Hangul in parts and no-break spaces become those that everybody types."""
    return re.sub(r"[^\S\n]+", " ", unicodedata.normalize("NFKC", words))


def sentences(words: str) -> list[str]:
    return [found for found in re.split(r"(?<=[.!?。])\s+|\n+", plain(words)) if found]


def won_in(words: str, language: str) -> list[tuple[int, str]]:
    """Each amount of won, as (whole won, the words): ``12,900원``, ``₩12,900``, ``KRW 12900``, ``1만 2,900원``."""
    digits = DIGITS if language in RHYTHMS else OTHER_DIGITS
    mixed = rf"(?:{digits})(?:\s?[십백천만억]+(?:\s?(?:{digits}))?)*"
    spelled = rf"(?<![가-힣])[{SINO}십백천만억]+(?:\s[{SINO}십백천만억]+)*(?=\s?원)"
    found = []
    for match in re.finditer(
        rf"(?P<before>{BEFORE_WON})?(?<![\d,.])(?P<number>{mixed}|{spelled})(?P<after>{AFTER_WON})?", plain(words), re.I
    ):
        if match["before"] or match["after"]:
            amount = _korean_number(match["number"], digits)
            if amount is not None:
                found.append((amount, match[0].strip()))
    return found


def numerals_in(words: str, language: str) -> set[int]:
    """Every number that stands there in digits."""
    digits = DIGITS if language in RHYTHMS else OTHER_DIGITS
    matches = re.finditer(rf"(?<![\d,.])(?:{digits})", plain(words))
    return {int(digits_of) for match in matches if (digits_of := re.sub(r"[,.' ’]", "", match[0]))}


def rhythms_in(words: str, language: str) -> list[Rhythm]:
    """How often something happens, wherever the words say so without a doubt. None for languages we do not read."""
    found = []
    for pattern in RHYTHMS.get(language, []):
        for match in re.finditer(pattern, plain(words), re.I):
            found.append(_rhythm(match))
    # “매월 1회” is also “월 1회”: the longer reading counts.
    found = list(dict.fromkeys(found))
    return [one for one in found if not any(one != other and one.words in other.words for other in found)]


def days_before_in(sentence: str, language: str) -> list[int]:
    """Each “so many days before” of a sentence, in days."""
    sentence = plain(sentence)
    if language == "ko":
        found = [
            number(match[1]) * UNITS["day"][match[2]]
            for match in re.finditer(rf"({KOREAN_NUMBER})\s?(일|주일?)\s?(?:이?전|앞)", sentence)
        ]
        found += [KOREAN_DAYS[match[1]] for match in re.finditer(rf"({one_of(KOREAN_DAYS)})(?:\s?전)?", sentence)]
        return found + [int(match[1]) for match in re.finditer(r"\bD-(\d+)", sentence)]
    if not re.search(r"\b(?:before|ahead|advance|prior|earlier|notice)\b", sentence, re.I):
        return []
    matches = re.finditer(rf"\b(the|{ENGLISH_NUMBER})[\s-]+(?:calendar )?(day|week)s?\b", sentence, re.I)
    return [
        (1 if match[1].lower() == "the" else number(match[1])) * UNITS["day"][match[2].lower()] for match in matches
    ]


def spans_in(words: str, language: str) -> set[tuple[str, int]]:
    """Spans of time, as (day or month, how many), without those that say how long before something."""
    if language == "ko":
        pattern = rf"({KOREAN_NUMBER})\s?({KOREAN_UNIT})(?!\s?(?:이?전|앞))"
    else:
        before = r"\s+(?:before|ahead|prior|in advance)"
        pattern = rf"\b({ENGLISH_NUMBER})[\s-]+(?:calendar )?(day|week|month|quarter|year)s?\b(?!{before})"
    return {_span(match[1], match[2]) for match in re.finditer(pattern, plain(words), re.I)}


def number(word: str) -> int:
    return int(word) if word.isdigit() else NUMBERS[word.lower()]


def _span(count: str, unit: str) -> tuple[str, int]:
    kind = next(kind for kind, units in UNITS.items() if unit.lower() in units)
    return kind, number(count) * UNITS[kind][unit.lower()]


def _rhythm(match: re.Match) -> Rhythm:
    parts = match.groupdict()
    if adverb := parts.get("adverb"):
        return Rhythm(*ADVERBS[adverb.lower()], None, match[0])
    kind, count = _span("2" if parts.get("every_other") else parts.get("count") or "1", parts["unit"])
    times = parts.get("times")
    return Rhythm(kind, count, number(times.split()[0]) if times else None, match[0])


def _korean_number(words: str, digits: str) -> int | None:
    """``1만 2,900`` → 12900. ``None`` for what is no whole number."""
    total, section, last = Fraction(0), Fraction(0), None
    for token in _tokens(words, digits):
        if token in GROUPS:
            total += (section + (last or 0) or 1) * GROUPS[token]
            section, last = Fraction(0), None
        elif token in PLACES:
            section += (1 if last is None else last) * PLACES[token]
            last = None
        elif token in SINO:
            last = Fraction(SINO.index(token) + 1)
        else:
            last = Fraction(token.replace(",", "") if digits is DIGITS else re.sub(r"\D", "", token))
    amount = total + section + (last or 0)
    return int(amount) if amount.denominator == 1 else None


def _tokens(words: str, digits: str) -> Iterator[str]:
    return (match[0] for match in re.finditer(rf"{digits}|[{SINO}십백천만억]", words))
