"""What a message costs in statements, transactions and calls."""

from functools import partial
from urllib.parse import urlsplit

import requests
from django.db import connection

#: Begin and end of transactions, and what Django's nested ones are made of.
CONTROL = {"BEGIN", "COMMIT", "ROLLBACK", "SAVEPOINT", "RELEASE"}


class Counts:
    """Statements as Django sends them, transactions as PostgreSQL sees them, requests as they leave the process."""

    def __enter__(self):
        self.start()
        self.request, self.ends = requests.Session.request, {}
        requests.Session.request = self.on_request(self.request)
        for name in ("_commit", "_rollback"):
            self.ends[name] = getattr(connection, name)
            setattr(connection, name, partial(self.on_end, name))
        self.wrapper = connection.execute_wrapper(self.on_statement)
        self.wrapper.__enter__()
        return self

    def __exit__(self, *error):
        self.wrapper.__exit__(*error)
        requests.Session.request = self.request
        for name in self.ends:
            delattr(connection, name)

    def start(self):
        self.sql, self.calls = [], []

    def seen(self):
        control = [sql for sql in self.sql if sql.split()[0] in CONTROL]
        return {
            "statements": len(self.sql) - len(control),
            "control": len(control),
            "calls": list(self.calls),
            "sql": list(self.sql),
        }

    def on_statement(self, execute, sql, params, many, context):
        if connection.in_atomic_block and not self.in_transaction():
            self.sql.append("BEGIN")
        self.sql.append(sql)
        return execute(sql, params, many, context)

    def on_end(self, name):
        if self.in_transaction():
            self.sql.append(name.strip("_").upper())
        return self.ends[name]()

    def in_transaction(self):
        return connection.connection is not None and connection.connection.info.transaction_status.name != "IDLE"

    def on_request(self, request):
        def counting(session, method, url, **options):
            inside = " inside a transaction" if self.in_transaction() else ""
            self.calls.append(f"{method.upper()} {urlsplit(url).path.rpartition('/')[0]}{inside}")
            return request(session, method, url, **options)

        return counting


def rows_in_all_tables():
    total = 0
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            cursor.execute(f'SELECT count(*) FROM "{table}"')
            total += cursor.fetchone()[0]
    return total
