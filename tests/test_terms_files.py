"""Terms as TOML: what is written is read again, to the byte, and what makes no terms is told with its line."""

import re
import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from django_krcard.rules import Rule
from django_krcard.services.fit import doubts
from django_krcard.services.terms_files import BadTermsFile, Version, as_toml, from_toml, rows_of

FOLDER = Path(__file__).parents[1] / "example_project" / "terms"
DEMO = sorted(FOLDER.glob("*.toml"))

#: What a database keeps as text: PostgreSQL takes no NUL, and half a surrogate pair is no text.
words = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=60)
prose = st.lists(
    st.sampled_from(
        ["결제합니다. ", "12,900원", "\n", "\n\n", " ", "  ", '"', '"""', "\\", "\r\n", "\t", ". ", "e.g. x", "#"]
    ),
    min_size=1,
).map("".join)
filled = (words | prose).filter(str.strip)

labels = st.lists(filled, min_size=1, max_size=3)


@st.composite
def versions(draw):
    text = st.fixed_dictionaries(
        dict.fromkeys(("permission", "timing", "amount_basis", "cancellation"), filled)
        | {"title": filled.map(lambda title: title[:200]).filter(str.strip), "body": words | prose | st.just("")}
    )
    texts = {}
    for language in draw(st.lists(st.sampled_from(["ko", "en", "ja", "zh-hans", "x.y"]), max_size=3, unique=True)):
        items = [
            {"key": f"box_{number}", "required": number == 0 or draw(st.booleans()), "label": label}
            for number, label in enumerate(draw(labels))
        ]
        texts[language] = draw(text) | {"items": items}
    rule = Rule(
        frequency="recurring",
        period=draw(st.sampled_from(["day", "week", "month", "year"])),
        amount_kind="fixed",
        amount=draw(st.integers(100, 99_999_999)),
        valid_for_days=draw(st.none() | st.integers(1, 36_500)),
    )
    return Version("membership", draw(st.integers(1, 1_000)), rule, texts, draw(st.just("") | filled))


@settings(max_examples=50)
@given(versions())
def test_what_is_written_is_read_again(version):
    written = as_toml(version)

    assert from_toml(written) == version
    assert as_toml(from_toml(written)) == written
    assert list(from_toml(written).texts) == list(version.texts)


@pytest.mark.parametrize("file", DEMO, ids=lambda file: file.name)
def test_the_demos_files_are_as_we_would_write_them(file):
    source = file.read_text(encoding="utf-8")
    assert as_toml(from_toml(source)) == source


def test_a_sentence_is_a_line_of_its_own():
    source = DEMO[-1].read_text(encoding="utf-8")
    changed = from_toml(source)
    changed.texts["ko"]["timing"] = changed.texts["ko"]["timing"].replace("한 달 안에", "보름 안에")

    differ = [
        pair for pair in zip(source.splitlines(), as_toml(changed).splitlines(), strict=True) if pair[0] != pair[1]
    ]
    assert differ == [
        (
            '첫 결제는 카드를 등록한 뒤 한 달 안에 이루어집니다."""',
            '첫 결제는 카드를 등록한 뒤 보름 안에 이루어집니다."""',
        )
    ]


def test_a_file_may_be_written_by_hand():
    """With comments, in another order, and without what has a default."""
    source = DEMO[-1].read_text(encoding="utf-8")
    by_hand = "# Read by a lawyer.\n" + "".join(
        line for line in source.splitlines(keepends=True) if not line.startswith(("period_count", "max_retries"))
    )
    assert from_toml(by_hand) == from_toml(source)


GOOD = (FOLDER / "membership-v1.toml").read_text(encoding="utf-8")


TITLE = 'title = "Terms of automatic payment for the membership"'


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("slug = ", "slug = = ", "It is no TOML: Invalid value (at line 2, column 8)."),
        ("format = 1", "format = 2", "line 1, format: 2 is unknown here: this package reads 1."),
        ("amount = 12900", 'amount = "12900"', "line 8, rule.amount: must be a whole number."),
        ("amount = 12900", "amount = 12900.0", "line 8, rule.amount: must be a whole number."),
        ("amount = 12900", "amount = 50", "line 8, rule.amount: The amount must be whole won, from 100"),
        ("amount = 12900\n", "amount = 12900\nprice = 3\n", "line 9, rule.price: is not known."),
        ("version = 1", "version = true", "line 3, version: must be a whole number."),
        ("version = 1\n", "", "version: is missing."),
        ("[rule]", "[rules]", "line 5, rules: is not known."),
        ("[rule]", "[rules]", "rule: must be a table."),
        ('period = "month"\n', "", "line 5, rule.period: A recurring payment needs a period."),
        ('"recurring"', '"often"', "line 6, rule.frequency: Value 'often' is not a valid choice."),
        ('slug = "membership"', 'slug = "회원"', "line 2, slug: Enter a valid “slug” consisting of"),
        (TITLE, r'title = "\u0000"', "line 60, text.en.title: holds U+0000, which no database keeps."),
        (TITLE, 'title = ""', "line 60, text.en.title: This field cannot be blank."),
        (
            '"card"\nrequired = true',
            '"card"\nrequired = 1',
            "line 51, text.ko.items[1].required: must be true or false.",
        ),
        ('key = "news"', 'key = "card"', "line 15, text.ko.items: Each box needs a key of its own."),
        ("[[text.ko.items]]", "[text.ko.items]", "It is no TOML"),
        (
            "text.en",
            "text.english-of-england",
            "line 59, text.english-of-england.language: Ensure this value has at most 12",
        ),
    ],
)
def test_what_is_wrong_is_told_with_line_and_field(old, new, problem):
    assert old in GOOD
    with pytest.raises(BadTermsFile) as error:
        from_toml(GOOD.replace(old, new))
    assert [found for found in error.value.problems if found.startswith(problem)] != []


@pytest.mark.parametrize(
    "source", ["", "x = 1", "text = 3\nrule = 3\n", "[text]\nko = 3\n", "[[rule]]\n", "[[text.ko]]\n"]
)
def test_whatever_is_no_version_is_told_and_nothing_breaks(source):
    with pytest.raises(BadTermsFile):
        from_toml(source)


@given(st.data())
def test_no_damage_breaks_the_reader(data):
    """A file with a piece cut out or doubled is read, or told to be bad; nothing else happens."""
    start = data.draw(st.integers(0, len(GOOD)))
    end = data.draw(st.integers(start, min(len(GOOD), start + 80)))
    damaged = GOOD[:start] + data.draw(st.sampled_from(["", GOOD[start:end] * 2, "3", '"', "\n"])) + GOOD[end:]
    try:
        tomllib.loads(as_toml(from_toml(damaged)))
    except BadTermsFile as bad:
        found = bad.problems
    else:
        found = ["none"]
    assert found


def test_the_example_of_the_documentation_fits_its_rule():
    documentation = (FOLDER.parents[1] / "docs" / "terms.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"^```toml\n(.*?)^```", documentation, re.MULTILINE | re.DOTALL)
    version = from_toml(example)

    assert doubts(version.rule, rows_of(version)[1]) == []
