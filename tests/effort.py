"""How much a run tries of what could be tried for ever: KRCARD_TEST_EFFORT is short, usual or long.

A short run is for the second and third database or Django: what was asked a thousand times once is asked a hundred
times there. What takes no time, or is about the database itself, is the same in every run.
"""

import os
import random
from collections.abc import Sequence
from typing import TypeVar

Thing = TypeVar("Thing")

EFFORT = os.environ.get("KRCARD_TEST_EFFORT") or "usual"


def tries(usual: int, *, short: int, long: int | None = None) -> int:
    return {"short": short, "usual": usual, "long": long or usual}[EFFORT]


def part_of(things: Sequence[Thing]) -> Sequence[Thing]:
    """All of them; in a short run a third, other ones each time."""
    return random.sample(things, -(-len(things) // 3)) if EFFORT == "short" else things


def some_variants(items: Sequence[Thing], seed: str) -> list[Thing]:
    """In a short run two variants of each test with parameters, other ones each time; all processes of a run take the
    same. Those about the database itself are all kept."""
    chance, kept, variants = random.Random(seed), [], {}
    for item in items:
        name, _, parameters = item.nodeid.partition("[")
        if EFFORT == "short" and parameters and not name.startswith(ABOUT_THE_DATABASE):
            variants.setdefault(name, []).append(item)
        else:
            kept.append(item)
    for same in variants.values():
        kept += chance.sample(same, min(2, len(same)))
    return kept


ABOUT_THE_DATABASE = (
    "tests/faults/",
    "tests/test_concurrency.py",
    "tests/test_consents.py",
    "tests/test_hardening.py",
    "tests/test_triggers.py",
    "tests/webhooks/",
)
