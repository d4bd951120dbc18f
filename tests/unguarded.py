"""Somebody who may alter tables: the triggers are away, and rows can be tampered with."""

from contextlib import contextmanager
from functools import cache

from django.db import connection, transaction

from django_krcard import triggers


@contextmanager
def unguarded():
    settle()
    with triggers.lifted("default"):
        yield
        settle()


def settle():
    """Foreign keys that are still to be looked at keep PostgreSQL from altering a table."""
    if connection.vendor == "postgresql":
        connection.check_constraints()


def tamper(sql, params=None):
    with unguarded(), connection.cursor() as cursor:
        cursor.execute(sql, params)


#: What migrations put there and no story changes.
KEPT = {"django_content_type", "auth_permission"}


def empty_database():
    """Remove every row that a story made. There are a handful: to delete them is faster than PostgreSQL's TRUNCATE,
    which makes new files for every table."""
    if connection.vendor == "postgresql" and _is_superuser():
        # Then neither triggers nor foreign keys are looked at.
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SET LOCAL session_replication_role = replica")
            _delete_all(cursor)
        return
    with triggers.lifted("default"), transaction.atomic(), connection.cursor() as cursor:
        _delete_all(cursor)


def _delete_all(cursor):
    for table in _tables():
        cursor.execute(f"DELETE FROM {connection.ops.quote_name(table)}")


@cache
def _tables():
    # Foreign keys are looked at when the transaction ends.
    names = connection.introspection.django_table_names(only_existing=True, include_views=False)
    return sorted(set(names) - KEPT)


@cache
def _is_superuser():
    with connection.cursor() as cursor:
        cursor.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")
        return cursor.fetchone()[0]
