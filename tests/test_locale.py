"""The Korean of the package: all there, fit for its places, and no word changed for anybody else."""

import ast
import gettext
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import django
import pytest
from django.utils import translation
from django.utils.translation import gettext as _

import django_krcard
from django_krcard.issuers import ISSUERS
from django_krcard.rules import MandateStatus

PACKAGE = Path(django_krcard.__file__).parent
LANGUAGES = ["ko", "en"]

PLACEHOLDER = re.compile(r"%(?:\(\w+\))?[sd%]")
FIELD = re.compile(r'^(msgctxt|msgid|msgid_plural|msgstr)(?:\[\d+\])? ((?:".*"\n?)+)', re.MULTILINE)


@dataclass(frozen=True)
class Entry:
    msgid: str
    context: str
    plural: str
    #: One form, or as many as the language has.
    translations: tuple[str, ...]
    is_fuzzy: bool

    @property
    def key(self) -> str:
        return f"{self.context}\x04{self.msgid}" if self.context else self.msgid


def read(po: Path) -> list[Entry]:
    """The living entries of a catalog, the header first."""
    blocks = po.read_text(encoding="utf-8").strip().split("\n\n")
    return [_entry(block) for block in blocks if not block.startswith("#~")]


def _entry(block: str) -> Entry:
    found = {"msgctxt": [], "msgid_plural": [], "msgstr": []}
    for name, quoted in FIELD.findall(block):
        found.setdefault(name, []).append("".join(ast.literal_eval(line) for line in quoted.splitlines()))
    return Entry(
        msgid=found["msgid"][0],
        context="".join(found["msgctxt"]),
        plural="".join(found["msgid_plural"]),
        translations=tuple(found["msgstr"]),
        is_fuzzy=bool(re.search(r"^#,.*\bfuzzy\b", block, re.MULTILINE)),
    )


def shipped(language: str) -> Path:
    return PACKAGE / "locale" / language / "LC_MESSAGES" / "django.po"


def compiled(mo: Path) -> dict:
    """What gettext, and with it Django, finds in a compiled catalog."""
    with mo.open("rb") as file:
        return gettext.GNUTranslations(file)._catalog


def as_compiled(entries: list[Entry]) -> dict:
    """The same, worked out from the source. What is not translated is left out."""
    catalog = {}
    for entry in entries:
        if entry.plural:
            catalog |= {(entry.key, n): words for n, words in enumerate(entry.translations) if words}
        elif entry.translations[0]:
            catalog[entry.key] = entry.translations[0]
    return catalog


def msgid_of(key) -> str:
    return key[0] if isinstance(key, tuple) else key


@pytest.fixture(scope="module")
def korean():
    return read(shipped("ko"))[1:]


@pytest.fixture
def in_korean():
    with translation.override("ko"):
        yield


def test_everything_is_said_in_korean(korean):
    assert [entry.msgid for entry in korean if not all(entry.translations) or entry.is_fuzzy] == []


def test_the_korean_has_the_places_of_the_english(korean):
    def places(*texts):
        return {place for text in texts for place in PLACEHOLDER.findall(text)}

    for entry in korean:
        for words in entry.translations:
            assert places(words) == places(entry.msgid, entry.plural), entry.msgid


def test_a_sentence_stays_a_sentence(korean):
    """A full stop lost or gained is usually half a translation."""
    halves = [entry.msgid for entry in korean if entry.msgid.endswith(".") != entry.translations[0].endswith(".")]

    assert halves == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_is_compiled_is_what_is_written(language):
    po = shipped(language)

    assert compiled(po.with_suffix(".mo")) == as_compiled(read(po))


def test_no_word_of_django_is_changed():
    """All catalogs of a site are merged: what Django says too must be the same, or have a context."""
    django_says = {}
    for mo in Path(django.__file__).parent.glob("**/locale/ko/LC_MESSAGES/django.mo"):
        for key, words in compiled(mo).items():
            django_says.setdefault(msgid_of(key), set()).add(words)
    we_say = compiled(shipped("ko").with_suffix(".mo"))
    shared = {key: words for key, words in we_say.items() if msgid_of(key) in django_says and key}

    assert len(django_says) > 500
    assert {key: words for key, words in shared.items() if django_says[msgid_of(key)] != {words}} == {}


def test_active_means_one_thing_of_a_user_and_another_of_a_mandate(in_korean):
    assert _("active") == "활성"
    assert MandateStatus.ACTIVE.label == "사용 중"


def test_issuers_have_the_names_that_people_in_korea_know(in_korean):
    assert [str(ISSUERS[brand]) for brand in ("kookmin", "mg", "nh", "post", "shinhan")] == [
        "KB국민카드",
        "MG새마을금고",
        "NH농협카드",
        "우체국",
        "신한카드",
    ]


@pytest.fixture(scope="module")
def in_the_source(tmp_path_factory):
    """What there is to translate, read from the source as ``make messages`` does."""
    copy = tmp_path_factory.mktemp("messages") / "django_krcard"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("locale", "sandbox", "__pycache__"))
    (copy / "locale").mkdir()
    command = [sys.executable, "-m", "django", "makemessages", "--locale", "ko", "--no-wrap", "--verbosity", "0"]
    env = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    subprocess.run(command, cwd=copy, env=env, check=True)
    return {(entry.key, entry.plural) for entry in read(copy / "locale/ko/LC_MESSAGES/django.po")[1:]}


@pytest.mark.skipif(shutil.which("xgettext") is None, reason="needs GNU gettext")
@pytest.mark.parametrize("language", LANGUAGES)
def test_the_catalog_knows_what_is_in_the_source(in_the_source, language):
    known = {(entry.key, entry.plural) for entry in read(shipped(language))[1:]}

    assert known == in_the_source, "Run make messages."
