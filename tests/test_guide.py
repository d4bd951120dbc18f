"""What docs/guide.md names is there: for each sentence of Stripe's guide the code that meets it and a test of it."""

import ast
import re
from functools import cache
from pathlib import Path
from pkgutil import resolve_name

import pytest

ROOT = Path(__file__).parents[1]
GUIDE = (ROOT / "docs" / "guide.md").read_text(encoding="utf-8")

CODE = re.compile(r"`(django_krcard[\w.]*)`")
TEST = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")
ROWS = [
    line.strip("| ").split(" | ")
    for line in GUIDE.splitlines()
    if line.startswith("|") and not line.startswith(("|---", "| The guide asks"))
]


@cache
def defined_in(path):
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("row", [pytest.param(row, id=row[0][:60]) for row in ROWS])
def test_each_sentence_has_its_code_and_its_proof(row):
    _sentence, code, proof = row
    assert CODE.findall(code), "no code"
    assert TEST.findall(proof), "no test"


@pytest.mark.parametrize("name", sorted(set(CODE.findall(GUIDE))))
def test_the_code_is_there(name):
    resolve_name(name)


@pytest.mark.parametrize(("path", "name"), sorted(set(TEST.findall(GUIDE))))
def test_the_test_is_there(path, name):
    assert name in defined_in(path)
