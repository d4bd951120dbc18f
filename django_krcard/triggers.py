"""What the database itself refuses: to change or remove what proves an agreement.

Everybody who can run SQL passes by the models; nobody who may not alter tables passes by these. They are made by a
migration, made again after every ``migrate`` if a rebuilt table lost them, and looked for by a check.

A later migration that rebuilds one of these tables on SQLite must call ``remove`` first: SQLite does not rename a
table while the trigger of another one speaks of it.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from django.db import connections, transaction

logger = logging.getLogger(__name__)

#: The databases whose triggers are written here.
VENDORS = ("postgresql", "sqlite")


class Guard(NamedTuple):
    """One table, and in SQL which changes of a row are let through; ``{same}``: only the status differs."""

    table: str
    update: str = ""
    delete: str = ""


NOT_PUBLISHED = "NOT EXISTS (SELECT 1 FROM {terms} t WHERE t.id IN (%s) AND t.status <> 'draft')"
ERASED = "EXISTS (SELECT 1 FROM {erasure} e WHERE e.consent_id = OLD.consent_id)"

GUARDS = (
    Guard("krcard_consent"),
    Guard("krcard_consentorigin", delete=ERASED),
    Guard("krcard_consentattachment", delete=ERASED),
    Guard("krcard_consenterasure"),
    Guard("krcard_timelineentry"),
    Guard("krcard_seal"),
    Guard("krcard_sealedconsent"),
    Guard(
        "krcard_terms",
        # To write what is there already is no change: loaddata does it.
        update="OLD.status = 'draft' OR ({same} AND (NEW.status = OLD.status"
        " OR (OLD.status = 'published' AND NEW.status = 'retired')))",
        delete="OLD.status = 'draft'",
    ),
    Guard(
        "krcard_termstext",
        update=NOT_PUBLISHED % "OLD.terms_id, NEW.terms_id" + " OR {same}",
        delete=NOT_PUBLISHED % "OLD.terms_id",
    ),
)

TABLES = {"terms": "krcard_terms", "erasure": "krcard_consenterasure"}


class Trigger(NamedTuple):
    table: str
    name: str
    #: How the database tells it back.
    definition: str
    create: tuple[str, ...]


def install(using: str) -> list[str]:
    """Make what is missing or altered. Returns the names of those, none if all was well."""
    connection = connections[using]
    if connection.vendor not in VENDORS:
        return []
    with transaction.atomic(using), connection.cursor() as cursor:
        wrong = _wrong(connection, cursor)
        for trigger in wrong:
            _drop(connection, cursor, trigger.table, trigger.name)
            for sql in trigger.create:
                cursor.execute(sql)
    return [trigger.name for trigger in wrong]


def remove(using: str) -> None:
    """Take all of them away. The evidence is without this layer until ``install``."""
    connection = connections[using]
    if connection.vendor not in VENDORS:
        return
    with transaction.atomic(using), connection.cursor() as cursor:
        for table, name in _present(connection, cursor):
            _drop(connection, cursor, table, name)


def missing(using: str) -> list[str]:
    """The names of those that are not there, or not as they should be. Reads only."""
    connection = connections[using]
    if connection.vendor not in VENDORS:
        return []
    with connection.cursor() as cursor:
        return [trigger.name for trigger in _wrong(connection, cursor)]


@contextmanager
def lifted(using: str) -> Iterator[None]:
    """For tests: without triggers inside, and with all of them again after it."""
    remove(using)
    try:
        yield
    finally:
        install(using)


def after_migrate(sender: Any, *, using: str, **kwargs: Any) -> None:
    """A receiver of ``post_migrate``: a table that was rebuilt has lost its triggers."""
    if made := install(using):
        logger.info("Triggers were made in database %r: %s", using, ", ".join(made))


def _wrong(connection: Any, cursor: Any) -> list[Trigger]:
    found = _present(connection, cursor)
    wanted = _on_postgresql(cursor) if connection.vendor == "postgresql" else _on_sqlite(cursor)
    return [trigger for trigger in wanted if found.get((trigger.table, trigger.name)) != trigger.definition]


def _present(connection: Any, cursor: Any) -> dict[tuple[str, str], str]:
    cursor.execute(PRESENT_ON_POSTGRESQL if connection.vendor == "postgresql" else PRESENT_ON_SQLITE)
    tables = {guard.table for guard in GUARDS}
    return {
        (table, name): definition
        for table, name, definition in cursor.fetchall()
        if table in tables and name.startswith(f"{table}_")
    }


def _drop(connection: Any, cursor: Any, table: str, name: str) -> None:
    on = f' ON "{table}"' if connection.vendor == "postgresql" else ""
    cursor.execute(f'DROP TRIGGER IF EXISTS "{name}"{on}')


def _allowed(sql: str, columns: list[str], differs: str, tables: dict[str, str]) -> str:
    same = " AND ".join(f'NOT (NEW."{name}" {differs} OLD."{name}")' for name in columns if name != "status")
    return sql.format(same=f"({same})", **tables)


# --- PostgreSQL -----------------------------------------------------------------------------------

BODY = """
BEGIN
  IF TG_OP = 'UPDATE' THEN
    IF {update} THEN RETURN NEW; END IF;
  ELSIF TG_OP = 'DELETE' THEN
    IF {delete} THEN RETURN OLD; END IF;
  END IF;
  RAISE EXCEPTION '{table} is evidence: % is refused', TG_OP USING ERRCODE = 'restrict_violation';
END
"""

ROW, BEFORE, DELETE, UPDATE, TRUNCATE = 1, 2, 8, 16, 32  # of pg_trigger.tgtype

PRESENT_ON_POSTGRESQL = """
SELECT c.relname, t.tgname,
       concat(t.tgtype, t.tgenabled, pg_get_expr(t.tgqual, t.tgrelid), t.tgattr::text, p.prosrc)
  FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_proc p ON p.oid = t.tgfoid
 WHERE NOT t.tgisinternal AND t.tgname LIKE 'krcard%' AND pg_table_is_visible(c.oid)
"""

COLUMNS_ON_POSTGRESQL = """
SELECT c.relname, c.relnamespace::regnamespace::text, array_agg(a.attname::text ORDER BY a.attnum)
  FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
 WHERE c.relname = ANY(%s) AND c.relkind IN ('r', 'p') AND pg_table_is_visible(c.oid) GROUP BY c.oid
"""


def _on_postgresql(cursor: Any) -> Iterator[Trigger]:
    cursor.execute(COLUMNS_ON_POSTGRESQL, [[guard.table for guard in GUARDS]])
    there = {table: (schema, columns) for table, schema, columns in cursor.fetchall()}
    # With the schema, or whoever makes a temporary table of the same name tells the trigger what it wants to hear.
    tables = {name: f'{there[table][0]}."{table}"' for name, table in TABLES.items() if table in there}
    for guard in GUARDS:
        if guard.table in there:
            yield from _triggers_on_postgresql(guard, *there[guard.table], tables)


def _triggers_on_postgresql(guard: Guard, schema: str, columns: list[str], tables: dict[str, str]) -> Iterator[Trigger]:
    allowed = {
        event: _allowed(sql, columns, "IS DISTINCT FROM", tables) if sql else "FALSE"
        for event, sql in (("update", guard.update), ("delete", guard.delete))
    }
    body = BODY.format(table=guard.table, **allowed)
    function = f'{schema}."{guard.table}_guard"()'
    make = f"CREATE OR REPLACE FUNCTION {function} RETURNS trigger LANGUAGE plpgsql AS $krcard${body}$krcard$"
    for name, event, level, kind in (
        (f"{guard.table}_rows", "UPDATE OR DELETE", "ROW", ROW | BEFORE | DELETE | UPDATE),
        (f"{guard.table}_truncate", "TRUNCATE", "STATEMENT", BEFORE | TRUNCATE),
    ):
        create = f'CREATE TRIGGER "{name}" BEFORE {event} ON {schema}."{guard.table}" FOR EACH {level}'
        yield Trigger(guard.table, name, f"{kind}O{body}", (make, f"{create} EXECUTE FUNCTION {function}"))


# --- SQLite ---------------------------------------------------------------------------------------

PRESENT_ON_SQLITE = "SELECT tbl_name, name, sql FROM sqlite_master WHERE type = 'trigger'"

COLUMNS_ON_SQLITE = """
SELECT m.name, c.name FROM sqlite_master m JOIN pragma_table_info(m.name) c
 WHERE m.type = 'table' AND m.name LIKE 'krcard%' ORDER BY m.name, c.cid
"""

UNIQUE_ON_SQLITE = """
SELECT m.name, i.name, s.sql, c.name
  FROM sqlite_master m JOIN pragma_index_list(m.name) i JOIN pragma_index_info(i.name) c
  LEFT JOIN sqlite_master s ON s.type = 'index' AND s.name = i.name
 WHERE m.type = 'table' AND m.name LIKE 'krcard%' AND i."unique" ORDER BY m.name, i.name, c.seqno
"""


def _on_sqlite(cursor: Any) -> Iterator[Trigger]:
    columns: dict[str, list[str]] = defaultdict(list)
    cursor.execute(COLUMNS_ON_SQLITE)
    for table, name in cursor.fetchall():
        columns[table].append(name)
    unique: dict[str, dict[tuple[str, str], list[str]]] = defaultdict(lambda: defaultdict(list))
    cursor.execute(UNIQUE_ON_SQLITE)
    for table, index, sql, name in cursor.fetchall():
        unique[table][index, sql or ""].append(name)
    for guard in GUARDS:
        if guard.table in columns:
            yield from _triggers_on_sqlite(guard, columns[guard.table], unique[guard.table])


def _triggers_on_sqlite(
    guard: Guard, columns: list[str], unique: dict[tuple[str, str], list[str]]
) -> Iterator[Trigger]:
    tables = {name: f'"{table}"' for name, table in TABLES.items()}
    replaced = _replaced(guard.table, columns, unique)
    for event, sql in (("UPDATE", guard.update), ("DELETE", guard.delete), ("INSERT", "")):
        if event == "INSERT":
            refused = f"EXISTS ({replaced})"
        else:
            refused = f"NOT coalesce(({_allowed(sql, columns, 'IS NOT', tables)}), 0)" if sql else "1"
        if event == "UPDATE" and sql:
            refused += f" OR EXISTS ({replaced} AND o.rowid <> OLD.rowid)"
        name = f"{guard.table}_{event.lower()}"
        create = (
            f'CREATE TRIGGER "{name}" BEFORE {event} ON "{guard.table}" WHEN {refused} '
            f"BEGIN SELECT RAISE(ABORT, '{guard.table} is evidence: {event} is refused'); END"
        )
        yield Trigger(guard.table, name, create, (create,))


def _replaced(table: str, columns: list[str], unique: dict[tuple[str, str], list[str]]) -> str:
    """The rows whose place the new one takes.

    ``INSERT OR REPLACE`` and ``UPDATE OR REPLACE`` remove them, and no delete trigger hears of it.
    """
    conflicts = ["o.rowid = NEW.rowid"]
    for (_index, sql), names in unique.items():
        conflict = " AND ".join(f'o."{name}" = NEW."{name}"' for name in names)
        _start, partial, condition = sql.partition(" WHERE ")
        if partial:
            new = ", ".join(f'NEW."{name}" AS "{name}"' for name in columns)
            conflict += f" AND EXISTS (SELECT 1 FROM (SELECT {new}) WHERE {condition})"
            conflict += f' AND o.rowid IN (SELECT rowid FROM "{table}" WHERE {condition})'
        conflicts.append(f"({conflict})")
    return f'SELECT 1 FROM "{table}" o WHERE ({" OR ".join(conflicts)})'
