"""CSV line by line. One line at a time is in memory, and a bad one does not spoil the next."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from typing import BinaryIO

#: Bytes. More than any good line has, so that a file without line ends is not read as one.
MAX_LINE = 16_384


class BadFile(ValueError):
    """The file as a whole cannot be read: its first line is no header of ours."""


class BadLine(ValueError):
    """One line cannot be read. Says what is wrong with it."""


def read(
    file: BinaryIO, required: Sequence[str], optional: Sequence[str]
) -> Iterator[tuple[int, dict[str, str] | BadLine]]:
    """Each line that is not empty, with its number, as its fields by name or as what is wrong with it.

    A field may be quoted, but it ends where its line ends: a quote that was forgotten costs one line and not the rest.
    """
    lines = _lines(file)
    names = _header(*next(lines, (1, b"")), required, optional)
    for number, line in lines:
        try:
            fields = _fields(line)
            if fields:
                yield number, _named(names, fields, required)
        except BadLine as problem:
            yield number, problem


def _lines(file: BinaryIO) -> Iterator[tuple[int, bytes | None]]:
    """Numbered lines; ``None`` for one that is too long."""
    number = 0
    while line := file.readline(MAX_LINE):
        number += 1
        whole = line.endswith(b"\n") or len(line) < MAX_LINE
        yield number, line if whole else None
        while not whole:
            rest = file.readline(MAX_LINE)
            whole = rest.endswith(b"\n") or not rest


def _header(number: int, line: bytes | None, required: Sequence[str], optional: Sequence[str]) -> list[str]:
    try:
        names = _fields((line or b"").removeprefix(b"\xef\xbb\xbf"))
    except BadLine as problem:
        raise BadFile(f"The first line {problem}") from None
    wanted = ",".join(required) + "".join(f"[,{name}]" for name in optional)
    missing = [name for name in required if name not in names]
    unknown = [name for name in names if name not in [*required, *optional]]
    if missing or unknown or len(set(names)) < len(names):
        # Also an unknown name: "due" in place of "due_at" would charge today what is meant for later.
        raise BadFile(f"The first line is not the header {wanted}.")
    return names


def _fields(line: bytes | None) -> list[str]:
    if line is None:
        raise BadLine(f"is longer than {MAX_LINE:,} bytes.")
    try:
        text = line.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError:
        raise BadLine("is not UTF-8. Spreadsheets call the format CSV UTF-8.") from None
    if "\0" in text:
        raise BadLine("has a NUL in it.")
    if not text.strip():
        return []
    try:
        return [field.strip() for field in next(csv.reader([text], strict=True))]
    except csv.Error as error:
        raise BadLine(f"is not CSV: {error}.") from None


def _named(names: list[str], fields: list[str], required: Sequence[str]) -> dict[str, str]:
    if len(fields) != len(names):
        # Fewer may be a line that was cut off, and what is left of it means something else.
        raise BadLine(f"has {len(fields)} columns, and the header has {len(names)}.")
    given = dict(zip(names, fields, strict=True))
    for name in required:
        if not given[name]:
            raise BadLine(f"has no {name}.")
    return given
