"""Whatever is written into a timeline has words, for the admin and for the evidence."""

import ast
from pathlib import Path

from django_krcard import services
from django_krcard.models import SubscriptionChange
from django_krcard.services.invoices import MOMENTS
from django_krcard.services.subscription_rows import NEWS
from django_krcard.timeline_words import TIMELINE

WRITERS = {"record", "_record", "write_down", "note"}


def written():
    """The kinds that stand in the code, as ``record(mandate, "kind", …)``."""
    for path in Path(services.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            name = isinstance(node, ast.Call) and getattr(node.func, "id", getattr(node.func, "attr", ""))
            if name in WRITERS and len(node.args) > 1 and isinstance(node.args[1], ast.Constant):
                yield node.args[1].value


def test_every_kind_has_words():
    composed = {f"subscription_{kind}_requested" for kind in SubscriptionChange.Kind.values}
    kinds = {*written(), *composed, *MOMENTS, *NEWS.values()}
    assert {"consent_given", "amendment_agreed", "subscription_started"} <= kinds
    assert kinds - TIMELINE.keys() == set()
