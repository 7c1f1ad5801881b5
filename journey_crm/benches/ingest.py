"""Segment batches of 100 over HTTP on two granian workers, until they are durable in the inbox."""

import base64
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import orjson
import psycopg
from django.contrib.auth import get_user_model
from django.db import connection

from contacts import tokens
from contacts.calls import COLUMNS
from contacts.models import Incoming
from journey_crm.benches import Result, Stopwatch, run_sql, slices, url
from journey_crm.benches.web import post, send, server

ROWS = 100_000
BATCH = 100
CLIENTS = 8
WRITERS = 2


def run(rows: int, say: Callable[[str], object]) -> Result:
    rows -= rows % BATCH
    now = datetime.now(UTC)
    user = get_user_model().objects.create_user("bench")
    _token, secret = tokens.issue(user=user, scopes=["track"], name="bench", now=now)
    requests = [_request(secret, start, now) for start in range(0, rows, BATCH)]
    say(f"{rows:,} events in {len(requests):,} requests of {len(requests[0]):,} bytes, {CLIENTS} connections")
    ours, limit, stored = Stopwatch(), Stopwatch(), 0
    run_sql("CREATE TABLE bench_incoming (LIKE contacts_incoming INCLUDING ALL)")
    try:
        with server() as port:
            for _ in range(4):
                send(port, requests[:CLIENTS], CLIENTS)  # the workers' first requests load code
            say("by turns: over HTTP, and the same rows by COPY")
            for part in slices(len(requests)):
                run_sql("TRUNCATE contacts_incoming")
                with ours:
                    send(port, [requests[number] for number in part], CLIENTS)
                stored += Incoming.objects.count()
                blocks = _blocks()
                with limit:
                    _copy(blocks)
    finally:
        run_sql("DROP TABLE bench_incoming")
    if stored != rows:
        raise RuntimeError(f"Of {rows} events {stored} are in the inbox.")
    return Result(
        "ingest", "events/s", rows, stored / ours.seconds, rows / limit.seconds, 0.4,
        "COPY of the same rows, 100 a commit, on two connections, no HTTP",
        {"events stored": stored, "requests/s": round(len(requests) / ours.seconds)},
    )  # fmt: skip


def _request(secret: str, start: int, now: datetime) -> bytes:
    moment = now.isoformat()
    events = [
        {
            "type": "track", "event": "Product Viewed", "messageId": f"bench-{number}",
            "userId": f"user-{number % 5000}", "anonymousId": f"anonymous-{number % 5000}", "timestamp": moment,
            "properties": {"product_id": f"p{number % 97}", "price": number % 100, "url": "https://shop.example/p"},
            "context": {"library": {"name": "bench", "version": "1"}, "page": {"url": "https://shop.example/p"}},
        }
        for number in range(start, start + BATCH)
    ]  # fmt: skip
    body = orjson.dumps({"batch": events, "sentAt": moment})
    key = base64.b64encode(f"{secret}:".encode()).decode()
    return post("/v1/batch", f"Basic {key}", body)


def _blocks() -> list[bytes]:
    """What was stored, in COPY's own text, a block for each hundred rows."""
    with (
        connection.cursor() as cursor,
        cursor.copy(f"COPY (SELECT {', '.join(COLUMNS)} FROM contacts_incoming ORDER BY id) TO STDOUT") as copy,  # noqa: S608
    ):
        lines = b"".join(copy).splitlines(keepends=True)
    return [b"".join(lines[first : first + BATCH]) for first in range(0, len(lines), BATCH)]


def _copy(blocks: list[bytes]) -> None:
    def write(share: list[bytes]) -> None:
        with psycopg.connect(url(connection.settings_dict["NAME"]), autocommit=True) as wire, wire.cursor() as cursor:
            for block in share:
                with cursor.copy(f"COPY bench_incoming ({', '.join(COLUMNS)}) FROM STDIN") as copy:
                    copy.write(block)

    with ThreadPoolExecutor(WRITERS) as pool:
        list(pool.map(write, [blocks[number::WRITERS] for number in range(WRITERS)]))
