"""Benchmarks: ours beside the limit, in one run on one machine, as a ratio. Never a timed assert in a test.

Each bench is a module with `ROWS` and `run(rows, say) -> Result`. It fills and measures the database that Django's
connection points at, and therefore must get a scratch one: `scratch_database`, or a test's.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any
from urllib.parse import quote

import psycopg
from django.db import connection
from psycopg.sql import SQL, Identifier

# In the order in which an event would meet them.
NAMES = (
    "ingest", "tick_ingest", "upsert", "import", "score", "segment_full", "segment_incremental", "advance", "journeys",
    "arbitrate", "deliver", "relay", "clicks", "opens", "unsubscribe",
)  # fmt: skip


@dataclass(frozen=True)
class Result:
    """Rates per second: what we reach, what the machine can do at best, and the goal for their ratio."""

    name: str
    unit: str
    rows: int
    ours: float
    limit: float
    goal: float
    limit_is: str
    notes: dict[str, Any] = field(default_factory=dict)

    @property
    def ratio(self) -> float:
        return self.ours / self.limit if self.limit else 0.0


@contextmanager
def scratch_database() -> Iterator[str]:
    """A migrated database beside the live one, dropped in the end; Django's connection points at it meanwhile.

    One that an earlier run left behind, killed perhaps, is replaced.
    """
    live = connection.settings_dict["NAME"]
    name = f"{live}_bench"
    test = connection.settings_dict.setdefault("TEST", {})
    before, test["NAME"] = test.get("NAME"), name
    _drop(live, name)
    try:
        connection.creation.create_test_db(verbosity=0, autoclobber=True, serialize=False)
        yield name
    finally:
        connection.close()
        connection.settings_dict["NAME"], test["NAME"] = live, before
        _drop(live, name)


def _drop(live: str, name: str) -> None:
    with psycopg.connect(url(live), autocommit=True) as wire:
        wire.execute(SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(Identifier(name)))


def url(database: str) -> str:
    """The address of a database on Django's server, such as DATABASE_URL takes it."""
    there = connection.settings_dict
    return (
        f"postgres://{quote(there['USER'], safe='')}:{quote(there['PASSWORD'], safe='')}@/{quote(database, safe='')}"
        f"?host={quote(there['HOST'], safe='')}&port={there['PORT'] or 5432}"
    )


def run_sql(sql: str, **params: Any) -> int:
    """Runs a statement of the bench's own; how many rows it touched."""
    with connection.cursor() as cursor:
        cursor.execute(sql, params or None)
        return cursor.rowcount


class Stopwatch:
    """The seconds of all blocks that it timed, `with watch:`, added up."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __enter__(self) -> "Stopwatch":
        self._begin = perf_counter()
        return self

    def __exit__(self, *error: object) -> None:
        self.seconds += perf_counter() - self._begin


def slices(rows: int) -> list[range]:
    """Some ten parts: ours and the limit take turns, so that a noisy minute meets both."""
    size = max(rows // 10, 1)
    return [range(first, min(first + size, rows)) for first in range(0, rows, size)]
