"""Terms as files: one TOML file a version, so that they live in the site's repository and are reviewed like code.

TOML and not JSON: a text of many lines stays one, and Python reads it by itself. Written here, because Python does not
write it. A line is a sentence: what changed is what the diff of the repository shows.
"""

from __future__ import annotations

import re
import tomllib
from typing import Any, NamedTuple

from django.core.exceptions import ValidationError
from django.utils import translation

from django_krcard.models import Terms, TermsText
from django_krcard.rules import Rule

FORMAT = 1
HEAD = ("format", "slug", "version", "words_checked")
WORDS = ("title", *TermsText.POINTS, "body")
ITEM = ("key", "required", "label")

#: Where a long line may go on in the next one: after the end of a sentence.
BREAK = re.compile(r"(?<=[.!?。]) (?=\S)")
BARE = re.compile(r"[A-Za-z0-9_-]+")
NEEDS_ESCAPE = re.compile(r'[\x00-\x08\x0b-\x1f\x7f]|\\|"(?="|\Z)|[ \t](?=\n|\Z)')


class BadTermsFile(ValueError):
    """The file makes no terms. Each of ``problems`` is a sentence, with line and field where there are any."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class Version(NamedTuple):
    """What a file says: one version of terms, with its texts in their order."""

    slug: str
    version: int
    rule: Rule
    texts: dict[str, dict[str, Any]]
    words_checked: str = ""


def version_of(terms: Terms) -> Version:
    texts = {
        text.language: {name: getattr(text, name) for name in WORDS} | {"items": text.items}
        for text in terms.texts.order_by("pk")
    }
    return Version(terms.slug, terms.version, terms.rule, texts, terms.words_checked)


def rows_of(version: Version) -> tuple[Terms, list[TermsText]]:
    """Rows as they will be, not saved."""
    terms = Terms(
        slug=version.slug, version=version.version, words_checked=version.words_checked, **version.rule.as_dict()
    )
    return terms, [TermsText(terms=terms, language=language, **fields) for language, fields in version.texts.items()]


# --- writing --------------------------------------------------------------------------------------


def as_toml(version: Version) -> str:
    """The same version is the same text, to the byte."""
    lines = [f"format = {FORMAT}", f"slug = {_value(version.slug)}", f"version = {version.version}"]
    if version.words_checked:
        lines.append(f"words_checked = {_value(version.words_checked)}")
    lines += ["", "[rule]"]
    lines += [f"{name} = {_value(value)}" for name, value in version.rule.as_dict().items() if value is not None]
    for language, fields in version.texts.items():
        table = f"text.{language if BARE.fullmatch(language) else _basic(language)}"
        lines += ["", f"[{table}]"]
        lines += [f"{name} = {_value(fields[name])}" for name in WORDS if fields[name]]
        for item in fields["items"]:
            lines += ["", f"[[{table}.items]]"]
            lines += [f"{name} = {_value(item[name])}" for name in ITEM]
    return "\n".join(lines) + "\n"


def _value(value: str | int | bool) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    value = str(value)
    return _multi_line(value) if "\n" in value or BREAK.search(value) else _basic(value)


def _basic(value: str) -> str:
    escaped = re.sub(r'[\x00-\x1f\x7f]|\\|"', _escape, value)
    return f'"{escaped}"'


def _multi_line(value: str) -> str:
    """A backslash at the end of a line takes the line's end out of the value again."""
    escaped = NEEDS_ESCAPE.sub(_escape, value)
    return '"""\n' + BREAK.sub(" \\\n", escaped) + '"""'


def _escape(match: re.Match) -> str:
    character = match[0]
    return f"\\{character}" if character in '\\"' else f"\\u{ord(character):04X}"


# --- reading --------------------------------------------------------------------------------------


def from_toml(source: str) -> Version:
    """Raises ``BadTermsFile``. What comes out makes valid rows; whether it may be published is asked when it is."""
    try:
        data = tomllib.loads(source)
    except tomllib.TOMLDecodeError as error:
        raise BadTermsFile([f"It is no TOML: {error}."]) from error
    return _Reader(source, data).version()


class _Reader:
    """Reads what TOML gave, and collects what is wrong with it."""

    def __init__(self, source: str, data: dict[str, Any]) -> None:
        self.lines = _lines(source)
        self.data = data
        self.problems: list[str] = []

    def version(self) -> Version:
        head = self.fields(
            "", self.data, {"format": int, "slug": str, "version": int}, {"words_checked": str}, "rule text"
        )
        if head.get("format", FORMAT) != FORMAT:
            raise BadTermsFile(
                [self.at("", "format", f"{head['format']} is unknown here: this package reads {FORMAT}.")]
            )
        rule = self.rule()
        texts = self.table("", self.data, "text") or {}
        texts = {language: self.text(texts, language) for language in texts}
        self.stop_if_wrong()
        version = Version(texts=texts, rule=rule, **{name: head[name] for name in HEAD[1:] if name in head})
        self.check_rows(version)
        return version

    def rule(self) -> Rule | None:
        wanted = {"frequency": str, "amount_kind": str, "amount": int}
        optional = {name: str if name == "period" else int for name in Rule._fields if name not in wanted}
        fields = self.fields("rule", self.table("", self.data, "rule"), wanted, optional)
        return None if wanted.keys() - fields.keys() else Rule.from_dict(fields)

    def text(self, texts: dict[str, Any], language: str) -> dict[str, Any]:
        path = f"text.{language}"
        table = self.table("text", texts, language) or {}
        wanted = dict.fromkeys(("title", *TermsText.POINTS), str)
        read = self.fields(path, table, wanted, {"body": str}, "items")
        items = table.get("items", [])
        if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
            self.wrong(path, "items", f"must be tables [[{path}.items]].")
            items = []
        kinds = {"key": str, "required": bool, "label": str}
        boxes = [self.fields(f"{path}.items[{number}]", item, kinds) for number, item in enumerate(items)]
        return {"body": ""} | read | {"items": [{name: box.get(name) for name in ITEM} for box in boxes]}

    def table(self, path: str, where: dict[str, Any], name: str) -> dict[str, Any] | None:
        found = where.get(name, {} if name == "text" else None)
        if isinstance(found, dict):
            return found
        self.wrong(path, name, "must be a table.")
        return None

    def fields(self, path: str, table: Any, wanted: dict[str, type], optional=None, tables: str = "") -> dict[str, Any]:
        """The values of a table that are of the right type."""
        if not isinstance(table, dict):
            return {}
        kinds = wanted | (optional or {})
        for name in table:
            if name not in kinds and name not in tables.split():
                self.wrong(path, name, "is not known.")
        for name in wanted:
            if name not in table:
                self.wrong(path, name, "is missing.")
        found = {name: table[name] for name in kinds if name in table}
        for name, value in list(found.items()):
            # True is an int to Python, and no version.
            if type(value) is not kinds[name]:
                self.wrong(path, name, f"must be {WHAT[kinds[name]]}.")
                del found[name]
            elif kinds[name] is str and "\0" in value:
                self.wrong(path, name, "holds U+0000, which no database keeps.")
        return found

    def check_rows(self, version: Version) -> None:
        terms, texts = rows_of(version)
        with translation.override("en"):
            for row, path in [(terms, "rule"), *((text, f"text.{text.language}") for text in texts)]:
                try:
                    # Whether the version is there already is nobody's business here.
                    row.full_clean(exclude=["terms"], validate_unique=False, validate_constraints=False)
                except ValidationError as error:
                    for name, found in error.message_dict.items():
                        self.wrong("" if name in HEAD else path, name, " ".join(found))
        self.stop_if_wrong()

    def stop_if_wrong(self) -> None:
        if self.problems:
            raise BadTermsFile(self.problems)

    def wrong(self, path: str, name: str, problem: str) -> None:
        self.problems.append(self.at(path, name, problem))

    def at(self, path: str, name: str, problem: str) -> str:
        full = ".".join(filter(None, [path, name]))
        # The key, the table of that name, or else the table in which it is missing.
        line = next((self.lines[one] for one in ((path, name), (full, ""), (path, "")) if one in self.lines), None)
        return f"line {line}, {full}: {problem}" if line else f"{full}: {problem}"


WHAT = {str: "a text in quotes", int: "a whole number", bool: "true or false"}


def _lines(source: str) -> dict[tuple[str, str], int]:
    """(table, key) → line, as far as one sees it without parsing: for messages only."""
    found: dict[tuple[str, str], int] = {}
    table, boxes, inside = "", {}, False
    for number, line in enumerate(source.splitlines(), start=1):
        if not inside and (header := re.match(r"\s*\[(\[?)\s*([^\]]+?)\s*\]", line)):
            table = header[2].replace('"', "")
            if header[1]:
                boxes[table] = boxes.get(table, -1) + 1
                table = f"{table}[{boxes[table]}]"
            found.setdefault((table, ""), number)
        elif not inside and (key := re.match(r"\s*([\w-]+)\s*=", line)):
            found.setdefault((table, key[1]), number)
        if len(re.findall(r'(?<!\\)"""', line)) % 2:
            inside = not inside
    return found
