"""A full inbox taken in by the tick's first step: people found and made, traits written, the stream appended.

The rows are a busy shop's: each person of the batch is seen about five times, one person in five is new, every fourth
of those says who they are. The limit is COPY of the touchpoints that came out into a copy of their table, indexes and
all, in transactions of the same size; nobody has to be found and nothing has to be known.
"""

import math
import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import connection

from contacts.ingest import BATCH, ingest
from contacts.models import Contact, Touchpoint
from contacts.stream import Step, run_step
from journey_crm.benches import Result, Stopwatch, run_sql

ROWS = 1_000_000
SMALLER = 10
EVENTS_EACH = 5
TABLES = (
    "contacts_contact, contacts_identity, contacts_touchpoint, contacts_incoming, contacts_receipt, contacts_stepcursor"
)
_COLUMNS = (
    "source, message_id, kind, channel, occurred_at, received_at, anonymous_id, user_id, email, traits, properties"
)
_TOUCHPOINT = "contact_id, kind, channel, occurred_at, received_at, source, properties, is_machine"


def run(rows: int, say: Callable[[str], object]) -> Result:
    small, _ours, _limit = _measure(max(rows // SMALLER, 10), say)
    notes, ours, limit = _measure(rows, say)
    growth = math.log(notes.pop("seconds") / small.pop("seconds")) / math.log(rows / max(rows // SMALLER, 10))
    return Result(
        "tick_ingest", "events/s", rows, ours, limit, 0.3,
        "COPY of the same touchpoints into a copy of their table with all its indexes",
        {**notes, f"growth from {rows // SMALLER:,} to {rows:,}": f"exponent {growth:.2f}"},
    )  # fmt: skip


def _measure(rows: int, say: Callable[[str], object]) -> tuple[dict[str, Any], float, float]:
    now = datetime.now(UTC)
    people = max(rows // EVENTS_EACH, 5)
    known = people * 4 // 5
    say(f"{rows:,} events of {people:,} people, {people - known:,} of them new")
    run_sql(f"TRUNCATE {TABLES} CASCADE")
    _people(known, now)
    devices = _devices(people)
    with (
        connection.cursor() as cursor,
        cursor.copy(f"COPY contacts_incoming ({_COLUMNS}) FROM STDIN") as copy,
    ):
        for row in _events(rows, devices, known, now):
            copy.write_row(row)
    run_sql("ANALYZE contacts_contact, contacts_identity, contacts_incoming")
    with Stopwatch() as ours:
        taken = 0
        while count := run_step(Step("ingest", ingest), now):
            taken += count
    if taken != rows:
        raise RuntimeError(f"Of {rows} events {taken} were taken in.")
    touchpoints, contacts = Touchpoint.objects.count(), Contact.objects.count()
    if contacts != people:
        raise RuntimeError(f"There are {contacts} contacts and not {people}.")
    say("the same touchpoints by COPY")
    limit = _copy(touchpoints)
    notes = {"seconds": ours.seconds, "touchpoints written": touchpoints, "contacts made": contacts - known}
    return notes, rows / ours.seconds, touchpoints / limit.seconds


def _people(known: int, now: datetime) -> None:
    """Those who are there already: with a device each, every other one with an account and an address."""
    run_sql(
        "INSERT INTO contacts_contact (email, first_name, last_name, source, stage, created_at, updated_at,"
        " identified_at, last_seen_at)"
        " SELECT CASE WHEN n %% 2 = 0 THEN 'person' || n || '@example.com' ELSE '' END,"
        " CASE WHEN n %% 2 = 0 THEN 'Ann' ELSE '' END, CASE WHEN n %% 2 = 0 THEN 'Person ' || n ELSE '' END, 'web',"
        " CASE WHEN n %% 2 = 0 THEN 'known' ELSE 'visitor' END, %(then)s, %(then)s,"
        " CASE WHEN n %% 2 = 0 THEN %(then)s END, %(then)s FROM generate_series(0, %(known)s - 1) n ORDER BY n",
        known=known,
        then=now - timedelta(days=9),
    )
    run_sql(
        "INSERT INTO contacts_identity (contact_id, kind, value, created_at)"
        " SELECT id, 'anonymous_id', md5((row_number() OVER (ORDER BY id) - 1)::text)::uuid::text, created_at"
        " FROM contacts_contact UNION ALL"
        " SELECT id, 'email', email, created_at FROM contacts_contact WHERE email <> '' UNION ALL"
        " SELECT id, 'user_id', 'u-' || id, created_at FROM contacts_contact WHERE email <> ''"
    )


def _events(rows: int, devices: list[str], known: int, now: datetime) -> Iterator[tuple]:
    """The rows of the inbox; the same of every run."""
    dice = random.Random(7)
    people = len(devices)
    identified: set[int] = set()
    began = now - timedelta(hours=1)
    everybody = list(range(people)) * EVENTS_EACH
    dice.shuffle(everybody)
    everybody += [dice.randrange(people) for _ in range(rows - len(everybody))]
    for number, person in enumerate(everybody[:rows]):
        moment = began + timedelta(milliseconds=3 * number // 10)
        message = f"ajs-next-{dice.getrandbits(128):032x}"
        if person >= known and person % 4 == 0 and person not in identified:
            identified.add(person)
            traits = f'{{"first_name": "Ann", "last_name": "Newly {person}", "plan": "trial", "seats": {person % 9}}}'
            yield (
                "web", message, "contact.identified", "web", moment, moment, devices[person], f"new-{person}",
                f"new-{person}@example.com", traits, "{}",
            )  # fmt: skip
        else:
            properties = (
                f'{{"url": "https://shop.example/products/{person % 97}", "path": "/products/{person % 97}",'
                f' "title": "Product {person % 97}", "referrer": "https://search.example/"}}'
            )
            yield "web", message, "page.viewed", "web", moment, moment, devices[person], "", "", None, properties


def _devices(people: int) -> list[str]:
    """The anonymous id of each person's device."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT md5(n::text)::uuid::text FROM generate_series(0, %s - 1) n ORDER BY n", [people])
        return [device for (device,) in cursor.fetchall()]


def _copy(rows: int) -> Stopwatch:
    watch = Stopwatch()
    run_sql("DROP TABLE IF EXISTS bench_touchpoint")
    run_sql("CREATE TABLE bench_touchpoint (LIKE contacts_touchpoint INCLUDING ALL)")
    try:
        with connection.cursor() as cursor:
            for first in range(0, rows, BATCH):
                query = f"SELECT {_TOUCHPOINT} FROM contacts_touchpoint ORDER BY id OFFSET {first} LIMIT {BATCH}"  # noqa: S608
                with cursor.copy(f"COPY ({query}) TO STDOUT") as copy:
                    block = b"".join(copy)
                with watch, cursor.copy(f"COPY bench_touchpoint ({_TOUCHPOINT}) FROM STDIN") as copy:
                    copy.write(block)
    finally:
        run_sql("DROP TABLE bench_touchpoint")
    return watch
