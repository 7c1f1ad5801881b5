"""Clicks over HTTP on two granian workers, each durable within 0.2 s after its answer, beside an empty view."""

from collections.abc import Callable
from datetime import UTC, datetime
from time import perf_counter, sleep

from journey_crm.benches import Result, Stopwatch, run_sql, slices
from journey_crm.benches.web import get, send, server
from messaging import links, tokens
from messaging.models import Hit

ROWS = 60_000
CLIENTS = 32
BROWSER = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0 Safari/537.36"
# Many links, as of some campaigns at once; each stands in the mails of many people.
_LINKS = 200


def run(rows: int, say: Callable[[str], object]) -> Result:
    now = datetime.now(UTC)
    stored = links.store([f"https://shop.example/p/{n}?utm_source=mail&c={n}" for n in range(_LINKS)], now)
    ids, signer = list(stored.values()), tokens.current()
    requests = [
        get(f"/t/c/{signer.token(tokens.CLICK, number + 1, ids[number % len(ids)])}", BROWSER) for number in range(rows)
    ]
    return measure("clicks", "clicks/s", requests, 302, say)


def measure(name: str, unit: str, requests: list[bytes], status: int, say: Callable[[str], object]) -> Result:
    """Sends these requests and as many to an empty view, by turns, and looks when the last hits were durable."""
    empty = get("/empty/", BROWSER)
    ours, limit, late, at_once = Stopwatch(), Stopwatch(), [0.0], 0
    with server() as port, server("journey_crm.benches.empty:application") as bare:
        for _ in range(4):  # the workers' first requests load code and read keys
            send(port, requests[:CLIENTS], CLIENTS, status)
            send(bare, [empty] * CLIENTS, CLIENTS)
        _settle(0)
        run_sql("TRUNCATE messaging_hit")
        say(f"by turns: {len(requests):,} hits over {CLIENTS} connections, and as many requests to an empty view")
        done = 0
        for part in slices(len(requests)):
            mine = [requests[number] for number in part]
            with ours:
                send(port, mine, CLIENTS, status)
            answered, done = perf_counter(), done + len(mine)
            at_once += Hit.objects.count() - (done - len(mine))
            late.append(_settle(done) - answered)
            with limit:
                send(bare, [empty] * len(mine), CLIENTS)
    stored = Hit.objects.count()
    if stored != len(requests):
        raise RuntimeError(f"Of {len(requests)} hits {stored} are stored.")
    return Result(
        name, unit, len(requests), stored / ours.seconds, len(requests) / limit.seconds, 0.6,
        "an empty Django view without any middleware on the same server and options",
        {
            "hits stored": stored,
            "durable before their answer": at_once,
            "the last one durable after its answer, s, at worst": round(max(late), 3),
        },
    )  # fmt: skip


def _settle(number: int) -> float:
    """Waits until so many hits are stored, at most some seconds; when they were."""
    begun = perf_counter()
    while Hit.objects.count() < number and perf_counter() - begun < 10:
        sleep(0.005)
    if not number:
        sleep(0.5)
    return perf_counter()
