"""Clicks and opens on their way into the database: gathered in this process and copied there a few times a second.

An answer does not wait for a commit, so `kill -9` or a power cut may lose what came in the last `HITS_PAUSE` and the
commit after it, 0.2 s in all. A process that ends in peace writes everything first. While the database is away hits
wait here, so many and so long; what had to be dropped is counted and logged.
"""

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from time import monotonic, sleep
from typing import NamedTuple

import structlog
from django.conf import settings
from django.db import DatabaseError, InterfaceError, OperationalError, connection
from django.utils import timezone

log = structlog.get_logger(__name__)

# What waits at most while the database is away, and for how long; some 50 MB at worst.
MOST = 50_000
PATIENCE = timedelta(minutes=10)
# How long the end of the process waits for a database that does not answer.
_LAST_TRY = 2.0
_BATCH = 5_000
_COLUMNS = "message_id, link_id, hit_at, method, user_agent, network"


class Taken(NamedTuple):
    """One click or open as it came in."""

    message_id: int
    link_id: int | None
    hit_at: datetime
    method: str
    user_agent: str
    network: str


def write(hits: Iterable[Taken]) -> None:
    """Puts hits into their table, at once and durably. A row that PostgreSQL refuses is logged and harms no other."""
    hits = list(hits)
    try:
        with (
            connection.wrap_database_errors,
            connection.cursor() as cursor,
            cursor.copy(f"COPY messaging_hit ({_COLUMNS}) FROM STDIN") as copy,
        ):
            for hit in hits:
                copy.write_row(hit)
    except (OperationalError, InterfaceError):
        raise
    except DatabaseError:
        if len(hits) == 1:
            log.exception("hit_refused", message=hits[0].message_id)
            return
        for hit in hits:
            write([hit])


class Gatherer:
    """Takes hits from any thread; one thread of its own writes them. `lost` counts those that had to be dropped.

    Without work for `idle` seconds the thread ends, and its connection with it; the next hit starts another.
    """

    def __init__(
        self,
        pause: float,
        write: Callable[[Iterable[Taken]], None] = write,
        *,
        most: int = MOST,
        patience: timedelta = PATIENCE,
        idle: float = 10.0,
    ) -> None:
        self.lost = 0
        self._pause, self._write, self._most, self._patience, self._idle = pause, write, most, patience, idle
        self._waiting: deque[Taken] = deque()
        self._news, self._lock, self._flushing = threading.Event(), threading.Lock(), threading.Lock()
        self._writer: threading.Thread | None = None

    def take(self, hit: Taken) -> None:
        """Keeps a hit until it is written, a moment later; drops it where too many wait already."""
        if len(self._waiting) >= self._most:
            self._lose(1)
            return
        self._waiting.append(hit)
        if not self._news.is_set():
            self._wake()

    def _wake(self) -> None:
        with self._lock:
            self._news.set()
            if self._writer is None:
                # No daemon, whoever starts it: the process that ends waits for it, and it looks whether one wants to.
                writer = threading.Thread(target=self._run, name="hits", daemon=False)
                try:
                    writer.start()
                    self._writer = writer
                except RuntimeError:
                    # No thread can be had, as when the process is ending: whoever brought the hit writes it.
                    self._news.clear()
        if self._writer is None:
            self._flush()

    def _run(self) -> None:
        idle_since = monotonic()
        while True:
            has_news = self._news.wait(0.5)
            if not threading.main_thread().is_alive():
                self._end()
                return
            if has_news:
                sleep(self._pause)
                self._news.clear()
                while not self._flush() and threading.main_thread().is_alive():
                    sleep(min(self._pause * 5, 1.0))
                idle_since = monotonic()
            elif monotonic() - idle_since > self._idle:
                with self._lock:
                    if not self._news.is_set():
                        self._writer = None
                        connection.close()
                        return

    def _end(self) -> None:
        begun = monotonic()
        while not self._flush() and monotonic() - begun < _LAST_TRY:
            sleep(0.2)
        if self._waiting:
            self._lose(len(self._waiting))
        connection.close()

    def _flush(self) -> bool:
        """Writes what waits; False where the database is away, and then it goes on waiting."""
        with self._flushing:
            while batch := self._some():
                for is_last in (False, True):
                    try:
                        self._write(batch)
                        break
                    except (OperationalError, InterfaceError) as error:
                        # A connection that the database closed meanwhile is replaced at once.
                        connection.close()
                        if is_last:
                            self._waiting.extendleft(reversed(batch))
                            self._drop_old()
                            log.warning("hits_wait", count=len(self._waiting), error=type(error).__name__)
                            return False
        return True

    def _some(self) -> list[Taken]:
        batch: list[Taken] = []
        try:
            while len(batch) < _BATCH:
                batch.append(self._waiting.popleft())
        except IndexError:
            pass
        return batch

    def _drop_old(self) -> None:
        count, since = 0, timezone.now() - self._patience
        while self._waiting and self._waiting[0].hit_at < since:
            self._waiting.popleft()
            count += 1
        if count:
            self._lose(count)

    def _lose(self, count: int) -> None:
        with self._lock:
            before, self.lost = self.lost, self.lost + count
        # One line for the first, then one for each thousand: a flood of clicks is no flood of lines.
        if before // 1000 != self.lost // 1000 or before == 0:
            log.error("hits_lost", lost_by_this_process=self.lost)


_gatherer: Gatherer | None = None


def take(hit: Taken) -> None:
    """Keeps a hit: gathered, or written at once where `HITS_PAUSE` is 0."""
    global _gatherer
    if not settings.HITS_PAUSE:
        write([hit])
        return
    if _gatherer is None:
        _gatherer = Gatherer(settings.HITS_PAUSE)
    _gatherer.take(hit)


def _forget_parent() -> None:
    # A forked process has the parent's hits, but not its thread; the parent writes them.
    global _gatherer
    _gatherer = None


os.register_at_fork(after_in_child=_forget_parent)
