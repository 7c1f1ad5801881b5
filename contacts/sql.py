"""Named SQL: set moves stand in each app's `queries.sql` (or, by subject, in `queries/`), are loaded by name and run
with named parameters.

A file is a list of statements, each headed by its name and one sentence of purpose:

    -- add_points --
    -- Books what the touchpoints of a window earned.
    INSERT INTO …

Parameters are `%(now)s`; a rule or any queryset is put in as `{fragment}` by `fragment(queryset)`.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any

from django.db import OperationalError, connection, transaction
from django.db.models import QuerySet

_HEAD = re.compile(r"^-- (\w+) --$", re.MULTILINE)
_numbers = count()


@dataclass(frozen=True)
class Fragment:
    """A piece of SQL with the parameters it needs, named so that pieces can be put together."""

    sql: str
    params: dict[str, Any] = field(default_factory=dict)


def fragment(queryset: QuerySet) -> Fragment:
    """A queryset as a piece of SQL. Raises EmptyResultSet where Django knows that nothing can match."""
    sql, params = queryset.query.sql_with_params()
    return named(sql, params)


def named(sql: str, params: tuple | list) -> Fragment:
    """Gives each `%s` of a statement a name of its own, unique in this process."""
    names: dict[str, Any] = {}

    def name(match: re.Match) -> str:
        if match.group() == "%%":
            return "%%"
        key = f"p{next(_numbers)}"
        names[key] = params[len(names)]
        return f"%({key})s"

    return Fragment(re.sub(r"%%|%s", name, sql), names)


def join(separator: str, fragments: list[Fragment]) -> Fragment:
    """Puts fragments together, such as ` UNION ALL `."""
    params: dict[str, Any] = {}
    for one in fragments:
        params |= one.params
    return Fragment(separator.join(one.sql for one in fragments), params)


@dataclass(frozen=True)
class Statement:
    """One named statement."""

    name: str
    purpose: str
    sql: str

    def _compose(self, fragments: dict[str, Fragment], params: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        sql = self.sql
        for key, one in fragments.items():
            if f"{{{key}}}" not in sql:
                raise KeyError(f"{self.name} has no place {{{key}}}.")
            sql = sql.replace(f"{{{key}}}", one.sql)
            params = params | one.params
        return sql, params

    def filled(self, **parts: "Statement") -> "Statement":
        """This statement with others in their places, for whoever runs it without fragments."""
        sql, _params = self._compose({key: Fragment(part.sql) for key, part in parts.items()}, {})
        return replace(self, sql=sql)

    def run(self, *, fragments: dict[str, Fragment] | None = None, **params: Any) -> int:
        """Runs the statement; the number of rows that it says it touched."""
        with connection.cursor() as cursor:
            cursor.execute(*self._compose(fragments or {}, params))
            return cursor.rowcount

    def rows(self, *, fragments: dict[str, Fragment] | None = None, **params: Any) -> list[tuple]:
        """Runs the statement and fetches every row."""
        with connection.cursor() as cursor:
            cursor.execute(*self._compose(fragments or {}, params))
            return cursor.fetchall()

    def stream(self, *, fragments: dict[str, Fragment] | None = None, **params: Any) -> Iterator[tuple]:
        """Runs the statement and yields its rows, some thousand at a time by a cursor of the database."""
        with connection.chunked_cursor() as cursor:
            cursor.execute(*self._compose(fragments or {}, params))
            while rows := cursor.fetchmany(2_000):
                yield from rows

    def value(self, *, fragments: dict[str, Fragment] | None = None, **params: Any) -> Any:
        """Runs the statement and fetches the one value that it answers; None where there is no row."""
        rows = self.rows(fragments=fragments, **params)
        return rows[0][0] if rows else None


class Time:
    """Whether a block took longer than it was given."""

    is_up = False


@contextmanager
def in_time(limit: timedelta) -> Iterator[Time]:
    """Gives each statement of the block so long. One that takes longer is ended, and `is_up` says so."""
    time = Time()
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT current_setting('statement_timeout')")
            before = cursor.fetchone()[0]
            milliseconds = str(int(limit.total_seconds() * 1000))
            cursor.execute("SELECT set_config('statement_timeout', %s, true)", [milliseconds])
            yield time
            cursor.execute("SELECT set_config('statement_timeout', %s, true)", [before])
    except OperationalError as error:
        if getattr(error.__cause__, "sqlstate", "") != "57014":
            raise
        time.is_up = True


def load(module_file: str) -> dict[str, Statement]:
    """The statements of the app of a module: `SQL = load(__file__)`. Names are unique in the app."""
    statements: dict[str, Statement] = {}
    for path in files(Path(module_file).parent):
        parts = _HEAD.split(path.read_text())[1:]
        for name, body in zip(parts[::2], parts[1::2], strict=True):
            lines = body.strip().splitlines()
            purpose = " ".join(line.removeprefix("--").strip() for line in lines if line.startswith("--"))
            if name in statements:
                raise ValueError(f"{path}: two statements are called {name}.")
            statements[name] = Statement(name, purpose, body.strip().rstrip(";"))
    return statements


def files(app: Path) -> list[Path]:
    """Where an app's statements stand."""
    return [path for path in [app / "queries.sql", *sorted(app.glob("queries/*.sql"))] if path.exists()]
