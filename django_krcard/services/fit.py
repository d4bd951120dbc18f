"""Whether the words of terms say what their rule says.

Every charge is held to the rule; what customers read are the words. Nobody's parser understands every sentence, so
what is not found here is a doubt and no verdict: a person may publish all the same, and says why.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator

from django.utils import translation
from django.utils.translation import gettext as _

from django_krcard.formatting import each_period, how_much, how_often, won
from django_krcard.models import TermsText
from django_krcard.rules import AmountKind, Frequency, Period, Rule
from django_krcard.services.reading import (
    RHYTHMS,
    Rhythm,
    days_before_in,
    numerals_in,
    plain,
    rhythms_in,
    sentences,
    spans_in,
    won_in,
)

#: Where an amount that the rule does not know contradicts it. Elsewhere it may be a fee, a refund, an example.
AMOUNTS_MUST_FIT = ("title", "permission", "timing", "amount_basis")

PERIODS = {Period.DAY: ("day", 1), Period.WEEK: ("day", 7), Period.MONTH: ("month", 1), Period.YEAR: ("month", 12)}
PERIODS_A_YEAR = {Period.DAY: 365, Period.WEEK: 52, Period.MONTH: 12, Period.YEAR: 1}

#: A period said with what is paid: enough to have said it, not enough to contradict. By Rhythm's unit and count.
WITH_WHAT_IS_PAID = {
    "ko": {
        ("day", 1): r"일\s?(?:단위|별|정액)",
        ("day", 7): r"주\s?(?:단위|간|별|정액|이용료|구독|[₩\d])",
        ("month", 1): r"다달이|월\s?(?:단위|간|별|정액|요금|이용료|구독|[₩\d])",
        ("month", 12): r"연\s?(?:단위|간|별|정액|요금|이용료|구독|[₩\d])",
    },
    "en": {
        (unit, count): rf"(?:fee|price|payments?|charges?|subscription|won|[\d,]{{3,}})(?: for)? (?:a|one) {name}\b"
        for name, unit, count in [("day", "day", 1), ("week", "day", 7), ("month", "month", 1), ("year", "month", 12)]
    },
}
ONCE = {
    "ko": r"(?:1|일|한|단)\s?(?:회|번|차례)|일시불",
    "en": r"\b(?:once|one[- ]time|one[- ]off|single|one payment|1 payment|only payment)\b",
}
AS_USED = {
    "ko": r"때|마다|만큼|시(?:에|마다)?\b|이용량|사용량|건별|수시",
    "en": r"\b(?:each|every|when|whenever|as you|as used|per|on demand|usage|use)\b",
}
AT_MOST = {
    "ko": r"최대|한도|이하|이내|까지|상한|초과하지|넘지|넘을 수 없|넘게",
    "en": r"\b(?:up to|at most|max(?:imum)?|(?:no|not|never) more|limit|exceed|ceiling|cap(?:ped)?)\b",
}
NOTIFY = {
    "ko": r"알[려리림린]|안내|통지|고지|공지|통보|예고",
    "en": r"\b(?:notice|notif\w+|tell|told|inform\w*|remind\w*|announce\w*|let you know|hear from)\b",
}
#: A notice of a new price is another one than that of a payment.
CHANGE = {"ko": r"바뀌|변경|인상|개정|오르", "en": r"\b(?:chang\w+|increas\w+|rais\w+|amend\w*)\b"}
CHARGES = {"ko": r"\s?(?:회|번|건|차례)", "en": r"\s+(?:times|payments?|charges?|orders?|uses?|transactions?)\b"}


def is_read(language: str) -> bool:
    """Whether words in this language are understood, and not only their numerals."""
    return language.split("-")[0] in RHYTHMS


def doubts(rule: Rule, texts: Iterable[TermsText]) -> list[str]:
    """A sentence for each thing that the words do not say as the rule does: language, point, what is expected.

    Looked for are the amount and the limit per period, the frequency, the number of payments, the advance notice and
    the validity; Korean and English with their words, other languages by their numerals only.
    """
    return [
        f"{text.language}, {_label(field)}: {problem}"
        for text in texts
        for check in CHECKS
        for field, problem in check(rule, text)
    ]


Problems = Iterator[tuple[str, str]]


def _amount(rule: Rule, text: TermsText) -> Problems:
    words = text.amount_basis
    if rule.amount not in _amounts_of(text, "amount_basis"):
        yield (
            "amount_basis",
            _("the rule says %(amount)s, and these words do not.") % {"amount": _in(text, how_much, rule)},
        )
    elif rule.amount_kind == AmountKind.MAXIMUM and not _says(AT_MOST, text, words):
        yield (
            "amount_basis",
            _("the rule says %(amount)s, and these words do not say that it is the most.")
            % {"amount": _in(text, how_much, rule)},
        )
    explained = set(_explained(rule))
    for field in AMOUNTS_MUST_FIT:
        for amount, found in won_in(getattr(text, field), _language(text)):
            if amount not in explained:
                yield (
                    field,
                    _("the rule says %(amount)s, these words say “%(found)s”.")
                    % {
                        "amount": _in(text, how_much, rule),
                        "found": found,
                    },
                )


def _limit(rule: Rule, text: TermsText) -> Problems:
    limit = rule.max_amount_per_period
    if limit and limit not in _amounts_of(text, "amount_basis", "timing"):
        yield (
            "amount_basis",
            _("the rule says at most %(amount)s %(every)s, and these words do not.")
            % {
                "amount": _in(text, won, limit),
                "every": _in(text, each_period, rule),
            },
        )


def _frequency(rule: Rule, text: TermsText) -> Problems:
    if _language(text) not in RHYTHMS:
        if rule.period and rule.period_count > 1 and rule.period_count not in numerals_in(text.timing, _language(text)):
            yield "timing", _the_rule_says(rule, text)
        return
    rhythms = rhythms_in(text.timing, _language(text))
    if not _is_said(rule, text, rhythms):
        yield "timing", _the_rule_says(rule, text)
    for rhythm in rhythms:
        if not _fits(rhythm, rule):
            yield (
                "timing",
                _("the rule says “%(often)s”, these words say “%(found)s”.")
                % {
                    "often": _in(text, how_often, rule),
                    "found": rhythm.words,
                },
            )


def _count(rule: Rule, text: TermsText) -> Problems:
    times = rule.charges_per_period
    if times is None or (rule.frequency == Frequency.RECURRING and times == 1):
        return
    words = f"{text.timing}\n{text.amount_basis}"
    said = {rhythm.times for rhythm in rhythms_in(words, _language(text))}
    if _language(text) not in CHARGES:
        said |= numerals_in(words, _language(text))
    elif re.search(rf"(?<!\d){times}{CHARGES[_language(text)]}", plain(words), re.I):
        said.add(times)
    if times not in said:
        yield (
            "timing",
            _("the rule says at most %(number)d payments %(every)s, and these words do not.")
            % {
                "number": times,
                "every": _in(text, each_period, rule),
            },
        )


def _notice(rule: Rule, text: TermsText) -> Problems:
    promised = {days for name in text.POINTS for days in _notices_in(text, name)}
    if rule.notice_days and rule.notice_days not in promised:
        yield (
            "timing",
            _("the rule says notice %(days)d days before a payment, and these words do not.")
            % {"days": rule.notice_days},
        )
    for days in _notices_in(text, "timing") - {rule.notice_days}:
        if _language(text) in NOTIFY:
            yield (
                "timing",
                _("the rule says notice %(days)d days before a payment, these words say %(found)d.")
                % {
                    "days": rule.notice_days,
                    "found": days,
                },
            )


def _validity(rule: Rule, text: TermsText) -> Problems:
    days = rule.valid_for_days
    if days is None:
        return
    wanted = {("day", days)}
    if days % 365 in (0, 1) and days >= 365:
        wanted.add(("month", days // 365 * 12))
    said = set()
    for name in text.POINTS:
        said |= spans_in(getattr(text, name), _language(text))
        if _language(text) not in RHYTHMS:
            said |= {("day", number) for number in numerals_in(getattr(text, name), _language(text))}
    if not wanted & said:
        yield "timing", _("the rule says valid for %(days)d days, and these words do not.") % {"days": days}


CHECKS: list[Callable[[Rule, TermsText], Problems]] = [_amount, _limit, _frequency, _count, _notice, _validity]


def _amounts_of(text: TermsText, *fields: str) -> set[int]:
    words = "\n".join(getattr(text, name) for name in fields)
    return {amount for amount, _found in won_in(words, _language(text))} | numerals_in(words, _language(text))


def _explained(rule: Rule) -> Iterator[int]:
    """Amounts that may stand beside the rule's own: its limit, the tax in them, and what a year of payments comes to.

    Nothing is charged below 100 won, so “0 won” and “in steps of 10 won” are no prices either.
    """
    yield from range(100)
    for amount in (rule.amount, rule.max_amount_per_period):
        if amount:
            vat = amount // 11
            yield from (amount, vat, vat + 1, amount - vat, amount - vat - 1)
    if rule.period and rule.charges_per_period:
        in_a_period = rule.amount * rule.charges_per_period
        yield in_a_period
        yield in_a_period * PERIODS_A_YEAR[rule.period] // rule.period_count


def _is_said(rule: Rule, text: TermsText, rhythms: list[Rhythm]) -> bool:
    words = plain(text.timing)
    if rule.frequency == Frequency.ONE_TIME:
        return _says(ONCE, text, words)
    if rule.frequency == Frequency.AS_USED:
        return _says(AS_USED, text, words)
    if any(_fits(rhythm, rule) for rhythm in rhythms):
        return True
    unit, count = _period(rule)
    with_payment = WITH_WHAT_IS_PAID[_language(text)].get((unit, count))
    if with_payment and re.search(with_payment, words, re.I):
        return True
    return rule.period_count > 1 and (unit, count) in spans_in(words, _language(text))


def _fits(rhythm: Rhythm, rule: Rule) -> bool:
    if not rule.period:
        return False
    unit, count = _period(rule)
    times = rule.charges_per_period
    if (rhythm.unit, rhythm.count) == (unit, count):
        return rhythm.times in (None, times)
    # “Twice a year” is every six months.
    return times == 1 and rhythm.unit == unit and bool(rhythm.times) and rhythm.count == count * rhythm.times


def _period(rule: Rule) -> tuple[str, int]:
    unit, count = PERIODS[rule.period]
    return unit, count * rule.period_count


def _notices_in(text: TermsText, field: str) -> set[int]:
    found: set[int] = set()
    for sentence in sentences(getattr(text, field)):
        if _language(text) not in NOTIFY:
            found |= numerals_in(sentence, _language(text))
        elif _says(NOTIFY, text, sentence) and not _says(CHANGE, text, sentence):
            found |= set(days_before_in(sentence, _language(text)))
    return found


def _says(table: dict[str, str], text: TermsText, words: str) -> bool:
    """Whether it is said. Of languages that are not in the table nobody asks."""
    pattern = table.get(_language(text))
    return pattern is None or bool(re.search(pattern, plain(words), re.I))


def _the_rule_says(rule: Rule, text: TermsText) -> str:
    return _("the rule says “%(often)s”, and these words do not.") % {"often": _in(text, how_often, rule)}


def _in(text: TermsText, tell: Callable, value) -> str:
    """As the text itself would put it."""
    with translation.override(text.language):
        return tell(value)


def _language(text: TermsText) -> str:
    return text.language.split("-")[0]


def _label(field: str) -> str:
    return str(TermsText._meta.get_field(field).verbose_name)
