"""A process that can be stopped at any moment, and what is left of it when it is started again.

A *boundary* is where the process leaves something behind or learns something: an SQL statement, a COMMIT, a request to
Stripe. It may end before each and after each; these moments are numbered, and ``die_at`` names one. What happens at
Stripe itself is no boundary: Stripe goes on when we are gone.
"""

from __future__ import annotations

import contextvars
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.apps import apps
from django.core import mail
from django.db import connection, transaction
from django.db.models import Min, Model
from django.utils import timezone

from django_krcard import gateway, rules, services, triggers
from django_krcard.models import Charge, Mandate, Notice, Refund
from django_krcard.sandbox.http import SandboxHTTPClient
from django_krcard.services import backup
from django_krcard.testing.clock import Clock
from django_krcard.testing.sandbox import Sandbox


class Killed(BaseException):
    """The process ends here. Not an ``Exception``: nothing of ours may catch it."""


class Process:
    """One life of the site's process, in this thread.

    ``trail`` are the moments it passed, in words; ``ghosts`` is what it still did after its end, which must be nothing.
    """

    def __init__(self, die_at: int | None = None) -> None:
        self.die_at = die_at
        self.trail: list[str] = []
        self.ghosts: list[str] = []
        self.is_dead = False
        self.sleeps = 0
        self.result: Any = None

    def run(self, act: Callable[[], Any]) -> Process:
        """Live until the act is through, or until the end. An exception of the act's own goes to the caller."""
        _forget()
        with self._watched():
            try:
                self.result = contextvars.Context().run(act)
                if self.is_dead:
                    self.ghosts.append("everything: somebody caught the end")
            except Killed:
                pass
        _forget()
        return self

    @property
    def end(self) -> str:
        """Where it ended, in words."""
        return self.trail[self.die_at] if self.is_dead else "not at all"

    def reach(self, moment: str) -> None:
        if self.sleeps:
            return
        if self.is_dead:
            self.ghosts.append(moment)
            raise Killed
        self.trail.append(moment)
        if len(self.trail) - 1 == self.die_at:
            self._die()

    @contextmanager
    def asleep(self) -> Iterator[None]:
        """While others are at work: Stripe, the clock. They do not die with us."""
        self.sleeps += 1
        try:
            yield
        finally:
            self.sleeps -= 1

    def _die(self) -> None:
        self.is_dead = True
        # As when a process ends: the database sees the connection go and undoes what was not committed. After this
        # Django knows that there is nothing left to roll back.
        connection.close()
        raise Killed

    @contextmanager
    def _watched(self) -> Iterator[None]:
        global _process
        commit, _process = connection._commit, self
        connection._commit = lambda: self._commit(commit)
        try:
            with connection.execute_wrapper(self._statement):
                yield
        finally:
            del connection._commit
            _process = None

    def _statement(self, execute, sql, params, many, context):
        # After one is before the next: nothing lies between that would outlive the process.
        self.reach(f"before {_short(sql)}")
        return execute(sql, params, many, context)

    def _commit(self, commit: Callable[[], None]) -> None:
        self.reach("before COMMIT")
        commit()
        self.reach("after COMMIT")


def _short(sql: str) -> str:
    sql = re.sub(r"^SELECT .*? FROM ", "SELECT … FROM ", sql)
    return sql if len(sql) <= 120 else f"{sql[:120]}…"


#: The one that lives now. The gateway's client is made once and asks here.
_process: Process | None = None


def _forget() -> None:
    """What only lived in the memory of the process. Its connection has gone with it."""
    backup._looked.clear()
    gateway.client.throttle_for.cache_clear()


class Wire(SandboxHTTPClient):
    """The wire to Stripe: the process may end before a request arrives, and after Stripe is through with it."""

    #: Payments that were asked of Stripe after the agreement had ended.
    too_late: list[str] = []

    def request(self, method, url, headers, post_data=None, **kwargs):
        path, process = urlsplit(url).path, _process
        if process is None:
            return super().request(method, url, headers, post_data, **kwargs)
        process.reach(f"before {method.upper()} {path}")
        try:
            with process.asleep():
                self._look(method, path)
                return super().request(method, url, headers, post_data, **kwargs)
        finally:
            process.reach(f"after {method.upper()} {path}")

    def _look(self, method, path):
        moves_money = method == "post" and path.startswith("/v1/payment_intents") and not path.endswith("/cancel")
        if moves_money and Mandate.objects.filter(status__in=rules.ENDED).exists():
            self.too_late.append(path)


@contextmanager
def wired(client: type) -> Iterator[None]:
    """Stripe is reached through ``client``, and nobody waits between two tries."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gateway.client, "SANDBOX_HTTP_CLIENT", f"{client.__module__}.{client.__name__}")
        patch.setattr("time.sleep", lambda seconds: None)
        gateway.client.client_for.cache_clear()
        try:
            yield
        finally:
            gateway.client.client_for.cache_clear()


def offstage():
    """For the hands of the test: what they do is no moment in the life of the process."""
    return _process.asleep() if _process else nullcontext()


# --- what a disk is to a process ------------------------------------------------------------------


Picture = tuple[timedelta, dict[str, list[tuple]]]

#: What is new in every life: ids, moments, signatures.
NEVER_TWICE = re.compile(
    r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|[0-9a-f]{32,}|(sandbox|secret)_[A-Za-z0-9]{24}"
    r"|\d{4}-\d\d-\d\d[T ]\d\d:\d\d[\d:.]*(\+00:00|Z)?|\b\d{10}\b"
)


class World:
    """Everything outside the process: database (with Stripe's own tables in it) and clock. Can be put back."""

    APPS = ("krcard", "krcard_sandbox")

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.models = [model for label in self.APPS for model in apps.get_app_config(label).get_models()]
        self.empty = self.picture()

    def picture(self) -> Picture:
        return self.clock.ahead, {model._meta.db_table: self._rows(model) for model in self.models}

    def put_back(self, picture: Picture) -> None:
        self.clock.ahead, rows = picture
        Wire.too_late.clear()
        mail.outbox.clear()
        # The foreign keys are looked at when it is committed, so the order does not matter.
        with transaction.atomic(), connection.cursor() as cursor:
            for model in self.models:
                if self._rows(model) != rows[model._meta.db_table]:
                    self._write(cursor, model, rows[model._meta.db_table])

    def likeness(self) -> tuple:
        """The same for two worlds that differ only in what is never the same twice: ids and moments."""
        ahead, rows = self.picture()
        minutes = round(ahead / timedelta(minutes=1))
        return (
            minutes,
            len(mail.outbox),
            tuple(tuple(map(tuple, alike(rows[m._meta.db_table], m))) for m in self.models),
        )

    def _rows(self, model: type[Model]) -> list[tuple]:
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT {_columns(model)} FROM {model._meta.db_table} ORDER BY 1")
            return [tuple(map(_plain, row)) for row in cursor.fetchall()]

    def _write(self, cursor, model: type[Model], rows: list[tuple]) -> None:
        cursor.execute(f"DELETE FROM {model._meta.db_table}")
        places = ", ".join(["%s"] * len(model._meta.concrete_fields))
        insert = f"INSERT INTO {model._meta.db_table} ({_columns(model)}) VALUES ({places})"
        cursor.executemany(insert, rows)

    def advance(self, by: timedelta) -> None:
        with offstage():
            self.clock.advance(by)


def _columns(model: type[Model]) -> str:
    return ", ".join(f'"{field.column}"' for field in model._meta.concrete_fields)


def alike(rows: list[tuple], model: type[Model]) -> Iterator[Iterator[str | None]]:
    # Ids, and Stripe's clock: it is ours, by the second.
    left_out = [f.primary_key or f.is_relation or f.name == "clock_offset" for f in model._meta.concrete_fields]
    for row in rows:
        yield (value and NEVER_TWICE.sub("·", str(value)) for value, out in zip(row, left_out, strict=True) if not out)


def _plain(value: Any) -> Any:
    # PostgreSQL gives bytes as a window into the answer.
    return bytes(value) if isinstance(value, memoryview) else value


# --- what a site does when it is started again ----------------------------------------------------

#: Beyond every lease, key and look: 23 h for the key, 25 h until Stripe's list is certain, two looks.
LONG = timedelta(hours=50)


#: A row that is due again and again would keep us here for ever.
MOST_ROUNDS = 60


def recover(world: World, *documented: type[Exception]) -> None:
    """What the site's timer does, ``krcard_run_due`` again and again, until two days are over."""
    end = timezone.now() + LONG
    run_due(*documented)
    for _round in range(MOST_ROUNDS):
        if not next_round(world, *documented, before=end):
            break
    else:
        raise AssertionError(f"No rest after {MOST_ROUNDS} rounds: {list(Charge.objects.values())}")
    world.advance(max(end - timezone.now(), timedelta()) + timedelta(seconds=2))
    run_due(*documented)


def next_round(world: World, *documented: type[Exception], before: datetime | None = None) -> bool:
    """Turn the clock to the next moment at which something is due, and do it. Is there no such moment, say so."""
    at = _next_step()
    if at is None or (before and at > before):
        return False
    # Past it by a bit: the sandbox counts whole seconds.
    world.advance(max(at - timezone.now(), timedelta()) + timedelta(seconds=2))
    run_due(*documented)
    return True


def run_due(*documented: type[Exception]) -> None:
    """Once, as the command does it. What ended a step with an exception is not to be overlooked."""
    try:
        for result in services.run_due():
            if isinstance(result, Exception) and not isinstance(result, documented):
                raise result
    except documented:
        pass


def _next_step():
    with offstage():
        steps = [model.objects.aggregate(at=Min("next_step_at"))["at"] for model in (Charge, Refund)]
        steps.append(Notice.objects.filter(sent_at=None).aggregate(at=Min("next_attempt_at"))["at"])
        return min((at for at in steps if at), default=None)


@contextmanager
def world(client: type = Wire) -> Iterator[World]:
    """A world to play in, with Stripe reached through ``client``. Needs the tables."""
    sandbox = Sandbox()
    # To be put back, evidence must be removed.
    with triggers.lifted("default"), pytest.MonkeyPatch.context() as patch, wired(client):
        yield World(Clock(patch, sandbox))
    _forget()
