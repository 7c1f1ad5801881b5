"""Which links in live messages lead nowhere, by asking them.

The same guard stands before them as before webhooks (`contacts.outward`): https alone, no redirects followed, and never
an address of our own network. What may not be asked is not called dead.
"""

import hashlib
import ssl
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from http.client import HTTPException

import structlog
from django.db import connection, transaction
from django.db.models import F, Q

from contacts import outward
from messaging.links import location
from messaging.models import LinkCheck

log = structlog.get_logger(__name__)

# Each address is asked once a night, so many of them at most, and no longer than this all together.
FRESH = timedelta(hours=20)
MOST = 300
MOST_SECONDS = 120.0
HANDS = 8
# While a person waits for the answer.
MOST_WHILE_WAITING, SECONDS_WHILE_WAITING = 20, 8.0
KEPT = timedelta(days=30)
# Only a server that says so is believed at once; all else must be the same a night later.
FINAL = ("not_found",)
_GONE = {404, 410}
# Some servers know no HEAD, or answer it otherwise than what people do.
_ASK_AGAIN = {400, 403, 404, 405, 406, 410, 429, 500, 501, 503}
# Names that nobody can own (RFC 2606).
_NOBODYS = (".example", ".test", ".invalid")
_HEADERS = {"User-Agent": "JourneyCRM-Links/1", "Accept": "*/*", "Range": "bytes=0-1023"}


@dataclass(frozen=True)
class Verdict:
    """What an address said: its status if it answered, and the problem, empty where it works."""

    url: str
    status: int | None
    problem: str


def known() -> dict[str, str]:
    """The addresses known to be dead, each with why: `not_found`, `no_host`, `no_answer`, `tls`, `failing`."""
    sure = Q(problem__in=FINAL) | Q(checked_at__gte=F("failing_since") + FRESH)
    return dict(LinkCheck.objects.exclude(problem="").filter(sure).values_list("url", "problem"))


def look(urls: Iterable[str], now: datetime, *, fresh: timedelta = FRESH, seconds: float = MOST_SECONDS) -> int:
    """Asks the addresses that were not asked for so long, and keeps what they said; how many were asked.

    It may take minutes of network, so never inside a transaction: raises RuntimeError there.
    """
    if connection.in_atomic_block:
        raise RuntimeError("Links are not asked inside a transaction.")
    verdicts = _ask_all(_due(urls, now, fresh), seconds)
    if len(_hosts(verdicts)) > 2 and all(one.status is None for one in verdicts):
        # Rather we than all of them are cut off.
        log.warning("links_not_reached", count=len(verdicts))
        return 0
    _keep(verdicts, now)
    return len(verdicts)


def look_at_dead(now: datetime) -> int:
    """Asks the dead ones again, for somebody who mended a page and waits; how many were asked."""
    dead = sorted(known())[:MOST_WHILE_WAITING]
    return look(dead, now, fresh=timedelta(0), seconds=SECONDS_WHILE_WAITING) if dead else 0


def forget(now: datetime) -> int:
    """Drops what nobody has asked for a month: those links stand in no live message any more. How many."""
    return LinkCheck.objects.filter(checked_at__lt=now - KEPT).delete()[0]


def _due(urls: Iterable[str], now: datetime, fresh: timedelta) -> list[str]:
    """Those to ask now: first those never asked, then the longest ago."""
    wanted = {url for url in urls if url.lower().startswith(("http://", "https://"))}
    asked = dict(LinkCheck.objects.filter(digest__in=map(_digest, wanted)).values_list("url", "checked_at"))
    due = [url for url in wanted if url not in asked or now - asked[url] >= fresh]
    return sorted(due, key=lambda url: (asked[url].timestamp() if url in asked else 0.0, url))[:MOST]


def _digest(url: str) -> bytes:
    return hashlib.sha256(url.encode()).digest()


def _hosts(verdicts: Sequence[Verdict]) -> set[str]:
    return {one.url.split("/")[2].lower() for one in verdicts if one.url.count("/") > 1}


def _ask_all(urls: Sequence[str], seconds: float) -> list[Verdict]:
    """Each server is asked by one thread, one address after the other. No database in there."""
    until = time.monotonic() + seconds
    by_server: dict[tuple[str, str, int], list[tuple[str, outward.Target]]] = {}
    for url in urls:
        try:
            target = outward.parse(location(url).partition("#")[0])
        except outward.Forbidden:
            continue  # not ours to ask; the linter says what is wrong with http://
        if not f".{target.host.lower()}".endswith(_NOBODYS):
            by_server.setdefault((target.scheme, target.host, target.port), []).append((url, target))
    with ThreadPoolExecutor(HANDS) as hands:
        found = hands.map(lambda some: _ask(some, until), by_server.values())
        return [one for some in found for one in some]


def _ask(targets: Sequence[tuple[str, outward.Target]], until: float) -> list[Verdict]:
    verdicts: list[Verdict] = []
    for url, target in targets:
        if time.monotonic() > until:
            break
        if verdict := _ask_one(url, target):
            verdicts.append(verdict)
    return verdicts


def _ask_one(url: str, target: outward.Target) -> Verdict | None:
    line = outward.Line(target)
    try:
        status = line.request("HEAD", b"", _HEADERS).status
        if status in _ASK_AGAIN:
            line.close()
            status = line.request("GET", b"", _HEADERS).status
    except outward.Forbidden:
        return None
    except ssl.SSLCertVerificationError:
        return Verdict(url, None, "tls")
    except OSError as error:
        # A name that leads nowhere says so in its own class.
        return Verdict(url, None, "no_host" if type(error).__name__ == "gaierror" else "no_answer")
    except HTTPException:
        return Verdict(url, None, "no_answer")
    finally:
        line.close()
    # Who wants to know us first (401, 403) or not so often (429) is there.
    return Verdict(url, status, "not_found" if status in _GONE else "failing" if status >= 500 else "")


@transaction.atomic
def _keep(verdicts: Sequence[Verdict], now: datetime) -> None:
    had: Mapping[bytes, LinkCheck] = {
        bytes(one.digest): one for one in LinkCheck.objects.filter(digest__in=[_digest(one.url) for one in verdicts])
    }
    rows = []
    for one in verdicts:
        before = had.get(_digest(one.url))
        since = (before.failing_since if before else None) or now
        rows.append(
            LinkCheck(
                url=one.url,
                digest=_digest(one.url),
                checked_at=now,
                status=one.status,
                problem=one.problem,
                failing_since=since if one.problem else None,
            )  # fmt: skip
        )
    LinkCheck.objects.bulk_create(
        rows, update_conflicts=True, unique_fields=["digest"],
        update_fields=["checked_at", "status", "problem", "failing_since"],
    )  # fmt: skip
