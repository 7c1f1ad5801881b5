"""People in bulk over REST, half of them new: batches of 10,000 over HTTP on two granian workers, as `make up` runs."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import orjson
import psycopg
from django.contrib.auth import get_user_model
from django.db import connection
from django.utils import timezone

from contacts import syncing, tokens
from contacts.models import Contact
from journey_crm.benches import Result, Stopwatch, run_sql, url
from journey_crm.benches.web import post, send, server

ROWS = 100_000
BATCH = 10_000
TURNS = 4
# So many requests are under way at once; the bare statements have as many connections as there are workers.
CLIENTS, WRITERS = 4, 2

_COLUMNS = ("email", "first_name", "last_name", "language", "country", "phone", "job_title", "attributes")
_TABLES = """
CREATE TABLE bench_contact (LIKE contacts_contact INCLUDING ALL);
CREATE UNIQUE INDEX ON bench_contact (email);
CREATE TABLE bench_identity (LIKE contacts_identity INCLUDING ALL);
"""
# What somebody would write by hand who has only this to do.
_STAGE = f"CREATE TEMP TABLE told ON COMMIT DELETE ROWS AS SELECT {', '.join(_COLUMNS)} FROM bench_contact LIMIT 0"  # noqa: S608
_WRITE = f"""
INSERT INTO bench_contact ({", ".join(_COLUMNS)}, zone, source, created_at, updated_at, synced_at, identified_at)
SELECT {", ".join(_COLUMNS)}, '', 'sync', %(now)s, %(now)s, %(now)s, %(now)s FROM told
ON CONFLICT (email) DO UPDATE SET {", ".join(f"{name} = excluded.{name}" for name in _COLUMNS[1:])},
    updated_at = excluded.updated_at, synced_at = excluded.synced_at;
INSERT INTO bench_identity (contact_id, kind, value, created_at)
SELECT contact.id, 'email', contact.email, %(now)s FROM told JOIN bench_contact contact ON contact.email = told.email
ON CONFLICT (kind, value) DO NOTHING;
"""  # noqa: S608


def run(rows: int, say: Callable[[str], object]) -> Result:
    user = get_user_model().objects.create_superuser("bench")
    _token, secret = tokens.issue(
        user=user, scopes=["sync"], name="bench", now=timezone.now(), rows_per_minute=1_000_000_000
    )
    notes: dict[str, float] = {}
    ours, limit = Stopwatch(), Stopwatch()
    size = min(BATCH, max(rows // 10, 1))
    with server() as port:
        say("a batch that every worker loads its code by")
        send(port, [_request(secret, [person(-number)]) for number in range(1, 9)], CLIENTS)
        _begin(rows)
        told = _told(rows)
        batches = [told[first : first + size] for first in range(0, rows, size)]
        say(f"{rows:,} people in batches of {size:,}, by turns over HTTP and by bare statements")
        for turn in range(TURNS):
            part = batches[turn::TURNS]
            requests = [_request(secret, batch) for batch in part]
            with ours:
                send(port, requests, CLIENTS)
            blocks = [b"".join(map(_line, batch)) for batch in part]
            with limit:
                _write_bare(blocks)
        _check(rows)
        say("the same in batches of 1,000")
        smaller = _timed(rows, max(size // 10, 1), lambda part: send(port, [_request(secret, one) for one in part], 4))
    say("and without HTTP, in one process")
    alone = _timed(rows, size, _upsert)
    unchanged = Stopwatch()
    with unchanged:
        _upsert([told[:size]])
    notes = {
        "in batches of 1,000": round(smaller), "without HTTP, one process": round(alone),
        "all unchanged, one process": round(size / unchanged.seconds),
    }  # fmt: skip
    run_sql("DROP TABLE bench_contact, bench_identity")
    return Result(
        "upsert", "contacts/s", rows, rows / ours.seconds, rows / limit.seconds, 0.5,
        "COPY and INSERT … ON CONFLICT of contact and identity by e-mail, same indexes, two connections, no HTTP",
        notes,
    )  # fmt: skip


def person(number: int, **more: object) -> dict:
    """What a shop would tell of one of its people."""
    return {
        "email": f"person{number}@shop{number % 911}.example.com", "first_name": f"Jan{number % 1013}",
        "last_name": f"Novák{number % 4001}", "language": "cs", "country": "CZ", "phone": f"+420{601000000 + number}",
        "job_title": "Buyer", "attributes": {"plan": "trial", "seats": number % 50}, **more,
    }  # fmt: skip


def _told(rows: int) -> list[dict]:
    """Every second one is known already, and has another title and plan since."""
    news = {"job_title": "Head of buying", "attributes": {"plan": "pro", "seats": 9}}
    return [person(n // 2, **news) if n % 2 else person(rows + n) for n in range(rows)]


def _begin(rows: int) -> None:
    """Half of the people, known to both sides in the same way."""
    run_sql("DROP TABLE IF EXISTS bench_contact, bench_identity")
    run_sql("TRUNCATE contacts_contact, contacts_incoming RESTART IDENTITY CASCADE")
    run_sql(_TABLES)
    known = [person(number) for number in range(rows // 2)]
    _upsert([known[first : first + BATCH] for first in range(0, len(known), BATCH)])
    names = [str(field.column) for field in Contact._meta.concrete_fields]
    run_sql(f"INSERT INTO bench_contact ({', '.join(names)}) SELECT {', '.join(names)} FROM contacts_contact")  # noqa: S608
    run_sql("INSERT INTO bench_identity SELECT (one).* FROM contacts_identity one")
    for table in ("bench_contact", "bench_identity"):
        run_sql(f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), coalesce((SELECT max(id) FROM {table}), 1))")  # noqa: S608
    for table in ("contacts_contact", "contacts_identity", "bench_contact", "bench_identity"):
        run_sql(f"VACUUM ANALYZE {table}")


def _timed(rows: int, size: int, write: Callable[[list[list[dict]]], object]) -> float:
    """Rows a second, from the same beginning."""
    _begin(rows)
    told, watch = _told(rows), Stopwatch()
    batches = [told[first : first + size] for first in range(0, rows, size)]
    with watch:
        write(batches)
    return rows / watch.seconds


def _upsert(batches: list[list[dict]]) -> None:
    for batch in batches:
        syncing.upsert(batch, source="bench", now=datetime.now(UTC))


def _request(secret: str, batch: list[dict]) -> bytes:
    return post("/api/v1/contacts/bulk/", f"Bearer {secret}", orjson.dumps(batch))


def _line(one: dict) -> bytes:
    told = [orjson.dumps(one[name]).decode() if name == "attributes" else one[name] for name in _COLUMNS]
    return ("\t".join(told) + "\n").encode()


def _write_bare(blocks: list[bytes]) -> None:
    def write(share: list[bytes]) -> None:
        with psycopg.connect(url(connection.settings_dict["NAME"]), cursor_factory=psycopg.ClientCursor) as wire:
            wire.execute(_STAGE)
            wire.commit()
            for block in share:
                with wire.cursor() as cursor:
                    with cursor.copy(f"COPY told ({', '.join(_COLUMNS)}) FROM STDIN") as copy:
                        copy.write(block)
                    cursor.execute(_WRITE, {"now": datetime.now(UTC)})
                wire.commit()

    with ThreadPoolExecutor(WRITERS) as pool:
        list(pool.map(write, [blocks[number::WRITERS] for number in range(WRITERS)]))


def _check(rows: int) -> None:
    """Both sides hold the same people."""
    names = ", ".join(_COLUMNS)
    for one, other in (("contacts", "bench"), ("bench", "contacts")):
        odd = f"SELECT {names} FROM {one}_contact EXCEPT SELECT {names} FROM {other}_contact"  # noqa: S608
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT count(*) FROM ({odd}) odd")  # noqa: S608
            if cursor.fetchone()[0]:
                raise RuntimeError(f"{one} and {other} do not hold the same people.")
    if Contact.objects.count() != rows // 2 + (rows + 1) // 2:
        raise RuntimeError("People were lost.")
