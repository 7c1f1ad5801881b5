"""A CSV file of people, one in five of them known: from its bytes to durable rows, in a worker's process of its own."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import psycopg
from django.conf import settings
from django.core.files import File
from django.db import connection

from contacts import importing, syncing
from contacts.models import Contact, Identity, Import
from journey_crm.benches import Result, Stopwatch, run_sql, url

ROWS = 1_000_000

_COLUMNS = ("email", "first_name", "last_name", "language", "country", "phone", "job_title", "plan", "seats")
_TEXTS = _COLUMNS[:7]
# What somebody would write by hand who has only this to do, and a file without a mistake.
_STAGE = f"CREATE TEMP TABLE told ({', '.join(f'{name} text' for name in _COLUMNS)})"
_WRITE = f"""
INSERT INTO bench_contact
    ({", ".join(_TEXTS)}, attributes, zone, source, created_at, updated_at, synced_at, identified_at)
SELECT {", ".join(_TEXTS)}, jsonb_build_object('plan', plan, 'seats', seats), '', 'import', %(now)s, %(now)s, %(now)s,
       %(now)s FROM told
ON CONFLICT (email) DO UPDATE SET {", ".join(f"{name} = excluded.{name}" for name in _TEXTS[1:])},
    attributes = bench_contact.attributes || excluded.attributes, updated_at = excluded.updated_at;
INSERT INTO bench_identity (contact_id, kind, value, created_at)
SELECT contact.id, 'email', contact.email, %(now)s FROM told JOIN bench_contact contact ON contact.email = told.email
ON CONFLICT (kind, value) DO NOTHING;
"""  # noqa: S608
# The worker: it says how long it took and how much memory it ever had.
_WORKER = """
import json, resource, sys, time
import django
django.setup()
from datetime import UTC, datetime
from contacts.importing import run_import
begun = time.perf_counter()
one = run_import(int(sys.argv[1]), datetime.now(UTC))
took = time.perf_counter() - begun
print(json.dumps([took, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, one.state, one.problem]))
"""


def run(rows: int, say: Callable[[str], object]) -> Result:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "people.csv"
        _write_file(path, rows)
        _begin(rows // 5)
        say(f"{rows:,} rows, {path.stat().st_size / 1e6:,.0f} MB")
        limit = Stopwatch()
        with limit:
            _write_bare(path)
        say("by the importer")
        first = _imported(path)
        say("the same file again")
        again = _imported(path)
    one, two = first["import"], again["import"]
    if (one.created + one.updated, one.rejected, two.created, two.unchanged) != (rows, 0, 0, rows):
        raise RuntimeError(
            f"{one.created} created, {one.updated} updated, {one.rejected} rejected; then {two.created}."
        )
    if Identity.objects.count() != Contact.objects.count():
        raise RuntimeError("Not everybody has one identity.")
    run_sql("DROP TABLE bench_contact, bench_identity")
    return Result(
        "import", "rows/s", rows, rows / first["seconds"], rows / limit.seconds, 0.3,
        "COPY of the file and INSERT … ON CONFLICT of contact and identity by e-mail, same indexes, one transaction",
        {"memory of the worker, MB": first["memory"], "the same file again, rows/s": round(rows / again["seconds"])},
    )  # fmt: skip


def _write_file(path: Path, rows: int) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write(",".join(_COLUMNS) + "\r\n")
        for n in range(rows):
            file.write(
                f"person{n}@shop{n % 911}.example.com,Jan{n % 1013},Novák{n % 4001},cs,CZ,+420{601000000 + n},"
                f"Buyer,trial,{n % 50}\r\n"
            )


def _begin(known: int) -> None:
    """Some people, known to both sides in the same way."""
    run_sql("DROP TABLE IF EXISTS bench_contact, bench_identity")
    run_sql("TRUNCATE contacts_contact, contacts_incoming, contacts_import RESTART IDENTITY CASCADE")
    for first in range(0, known, 10_000):
        people = [
            {"email": f"person{n}@shop{n % 911}.example.com", "first_name": "Jan", "attributes": {"plan": "old"}}
            for n in range(first, min(first + 10_000, known))
        ]
        syncing.upsert(people, source="bench", now=datetime.now(UTC))
    run_sql("CREATE TABLE bench_contact (LIKE contacts_contact INCLUDING ALL)")
    run_sql("CREATE UNIQUE INDEX ON bench_contact (email)")
    run_sql("CREATE TABLE bench_identity (LIKE contacts_identity INCLUDING ALL)")
    for table, copy in (("contacts_contact", "bench_contact"), ("contacts_identity", "bench_identity")):
        run_sql(f"INSERT INTO {copy} SELECT (one).* FROM {table} one")  # noqa: S608
        run_sql(f"SELECT setval(pg_get_serial_sequence('{copy}', 'id'), coalesce((SELECT max(id) FROM {copy}), 1))")  # noqa: S608
        for name in (table, copy):
            run_sql(f"VACUUM ANALYZE {name}")


def _imported(path: Path) -> dict:
    with path.open("rb") as content:
        one = importing.new_import("people.csv", File(content))
    there = {
        "DATABASE_URL": url(connection.settings_dict["NAME"]),
        "DATA_DIR": str(Path(settings.MEDIA_ROOT).parent),
        "DJANGO_SETTINGS_MODULE": "journey_crm.settings",
    }
    try:
        said = subprocess.run(
            [sys.executable, "-c", _WORKER, str(one.pk)], env={**os.environ, **there}, check=True, capture_output=True
        ).stdout
    finally:
        importing.forget_file(one)
    seconds, memory, state, problem = json.loads(said.splitlines()[-1])
    if state != "finished":
        raise RuntimeError(f"The import is {state}: {problem}")
    return {"seconds": seconds, "memory": memory, "import": Import.objects.get(pk=one.pk)}


def _write_bare(path: Path) -> None:
    with (
        psycopg.connect(url(connection.settings_dict["NAME"]), cursor_factory=psycopg.ClientCursor) as wire,
        wire.cursor() as cursor,
        path.open("rb") as file,
    ):
        cursor.execute(_STAGE)
        with cursor.copy("COPY told FROM STDIN (FORMAT csv, HEADER)") as copy:
            while block := file.read(1 << 16):
                copy.write(block)
        cursor.execute(_WRITE, {"now": datetime.now(UTC)})
