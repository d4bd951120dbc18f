"""Who may import whom: the table of the design, held over every file of the package."""

import ast
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = "django_krcard"

# A room imports only from rows above its own. Rooms are the files and folders right inside the package.
ROWS = [
    {
        "conf",
        "exceptions",
        "signals",
        "rules",
        "issuers",
        "declines",
        "throttle",
        "timeline_words",
        "transactions",
        "triggers",
    },
    {"models", "gateway", "checks"},
    {"formatting"},
    {"services", "migrations"},
    {"webhooks", "forms", "standing"},
    {"tasks"},
    {"views", "admin", "management", "templatetags", "contrib"},
    {"urls", "apps"},
]
# These stand beside the house: they may import all of it, and nobody imports them by name.
# Only the testing kit does: it plays with the sandbox.
BESIDE = {"sandbox", "testing"}
ROOMS = set.union(*ROWS, BESIDE)

# Where the table is narrower, or wider, than its rows.
ONLY = {
    "conf": set(),
    "exceptions": set(),
    "signals": set(),
    "rules": {"exceptions"},
    "issuers": set(),
    "models": {"rules", "exceptions", "conf", "signals"},
    "transactions": {"exceptions"},
    "declines": set(),
    "timeline_words": set(),
    "throttle": set(),
    "gateway": {"conf", "exceptions", "throttle", "transactions"},
    "checks": {"conf", "triggers"},
    "triggers": set(),
    "formatting": {"conf", "issuers", "models", "rules"},
}

STRIPE_IS_KNOWN_TO = {"gateway"} | BESIDE


class Module:
    def __init__(self, name, path):
        self.name = name
        self.is_package = path.name == "__init__.py"
        self.tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))

    def __repr__(self):
        return self.name

    @property
    def room(self):
        return room_of(self.name)

    def imports(self):
        """Each import that happens when the program runs: (line, absolute name, inside a function)."""
        yield from self._imports(self.tree, inside=False)

    def _imports(self, node, inside):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and names_type_checking(child.test):
                for other in child.orelse:
                    yield from self._imports(ast.Module([other], []), inside)
            elif isinstance(child, ast.Import):
                yield from ((child.lineno, alias.name, inside) for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                origin = self._absolute(child)
                yield from ((child.lineno, f"{origin}.{alias.name}", inside) for alias in child.names)
            else:
                function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
                yield from self._imports(child, inside or function)

    def _absolute(self, node):
        if not node.level:
            return node.module
        parts = self.name.split(".")
        base = parts[: len(parts) - node.level + self.is_package]
        return ".".join([*base, node.module] if node.module else base)


def names_type_checking(test):
    return ast.unparse(test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def room_of(name):
    """django_krcard.models.cards → models; the package itself → None."""
    parts = name.split(".")
    return parts[1] if len(parts) > 1 else None


def find_modules():
    for path in sorted((ROOT / PACKAGE).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        yield name, Module(name, path)


MODULES = dict(find_modules())


def inner_imports(module):
    """What it imports from the package, as modules that exist."""
    for line, name, _ in module.imports():
        if name.split(".")[0] != PACKAGE:
            continue
        # "from django_krcard.models import Charge" names the package models, not a module Charge.
        yield line, name if name in MODULES else name.rpartition(".")[0]


def row_of(room):
    return next(number for number, rooms in enumerate(ROWS) if room in rooms)


def may_import(room, other):
    if room == other or other is None:
        return True
    if (room, other) == ("testing", "sandbox"):
        return True
    if other in BESIDE or not {room, other} <= ROOMS:
        return False
    if room in BESIDE:
        return True
    if room in ONLY:
        return other in ONLY[room]
    return row_of(other) < row_of(room)


def module_params(modules):
    return pytest.mark.parametrize("module", [pytest.param(each, id=each.name) for each in modules])


def test_every_room_has_its_place_in_the_table():
    rooms = {module.room for module in MODULES.values()} - {None}

    assert rooms - ROOMS == set()


@module_params(MODULES.values())
def test_a_room_imports_only_from_the_rows_above(module):
    wrong = [
        f"line {line}: {module.room} imports {name}"
        for line, name in inner_imports(module)
        if not may_import(module.room, room_of(name))
    ]

    assert wrong == []


@module_params(MODULES.values())
def test_imports_stand_at_the_top_of_the_file(module):
    wrong = [
        f"line {line}: {name}"
        for line, name, inside in module.imports()
        # stripe is imported on first use: having the app in a site must not cost it.
        if inside and not (is_stripe(name) and module.room in STRIPE_IS_KNOWN_TO)
    ]

    assert wrong == []


@module_params(module for module in MODULES.values() if module.room not in STRIPE_IS_KNOWN_TO)
def test_only_the_gateway_knows_stripe(module):
    assert [f"line {line}: {name}" for line, name, _ in module.imports() if is_stripe(name)] == []


def is_stripe(name):
    return name.split(".")[0] == "stripe"


def test_modules_do_not_import_each_other_in_a_circle():
    graph = {name: {other for _, other in inner_imports(module) if other != name} for name, module in MODULES.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" → ".join(error.args[1]))


SITE_WITH_THE_APP = """
import sys
import django
from django.conf import settings

settings.configure(
    SECRET_KEY="imports",
    INSTALLED_APPS=[
        "django.contrib.admin",
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.messages",
        "django.contrib.sessions",
        "django_krcard",
    ],
)
django.setup()
import django_krcard.urls

assert "stripe" not in sys.modules, "stripe was imported"
"""


def test_adding_the_app_does_not_import_stripe():
    result = subprocess.run([sys.executable, "-c", SITE_WITH_THE_APP], cwd=ROOT, capture_output=True, text=True)

    assert result.returncode == 0, result.stderr
