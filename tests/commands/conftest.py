import json
from io import StringIO
from typing import NamedTuple

import pytest
from django.core.management import CommandError, call_command

from django_krcard.models import Charge, Notice, Refund
from django_krcard.services import backup


class Ended(NamedTuple):
    """How a command ended: what it said, and its exit code."""

    out: str
    error: str
    code: int

    @property
    def lines(self):
        return self.out.splitlines()

    @property
    def objects(self):
        return [json.loads(line) for line in self.lines]


@pytest.fixture
def play():
    """`play("krcard_run_due", "--json")`: the command as a scheduler would run it."""

    def run(*arguments):
        out = StringIO()
        try:
            call_command(*map(str, arguments), stdout=out, stderr=out)
        except CommandError as error:
            return Ended(out.getvalue(), str(error), error.returncode)
        return Ended(out.getvalue(), "", 0)

    return run


@pytest.fixture
def restore():
    """`backup = restore.take()` … `restore(backup)`: the charges, refunds and notices are what they were then."""
    return Restore()


class Restore:
    models = (Charge, Refund, Notice)

    def take(self):
        return [list(model.objects.order_by("pk")) for model in self.models]

    def __call__(self, taken):
        for model in reversed(self.models):
            rows = model.objects.all()
            rows._raw_delete(rows.db)
        for model, rows in zip(self.models, taken, strict=True):
            model.objects.bulk_create(rows)
        # Who restores a database starts the processes anew.
        backup._looked.clear()
