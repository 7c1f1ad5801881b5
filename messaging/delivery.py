"""Delivery: claim, commit, hand over, mark. Many workers may do it at once.

The order is the promise: a claim is committed before the network is touched, and the result is written in a transaction
of its own. What lies between a hand-over and its mark when a worker dies is `uncertain`, and is said so.
"""

import hashlib
import json
import os
import secrets
import socket
import time
from collections import deque
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

import orjson
import structlog
from django.db import DataError, transaction

from contacts.sql import Fragment, load
from messaging import throttle
from messaging.addresses import PIECES
from messaging.bounces.codes import is_no_such_address
from messaging.channels import Outgoing, Result, Send, openers
from messaging.failpoints import hit
from messaging.gates import paused, refusal
from messaging.models import Message
from messaging.writing import Claimed, Desk, Written

SQL = load(__file__)
log = structlog.get_logger(__name__)

LEASE = timedelta(minutes=5)
# A pause waits for what is claimed.
BATCH = 500
# At most so many are in doubt after a worker's sudden death; more only where more connections are kept busy by them.
WINDOW = 100
_A_CONNECTION = 4
MOST_ATTEMPTS = 5
_OUTAGE = timedelta(minutes=1)


class _Mark(NamedTuple):
    """What is written about one message."""

    id: int
    state: str
    reason: str
    response: str
    due_at: datetime | None
    attempts: int
    written: Written


def deliver(*, now: datetime, limit: int | None = None, worker: str = "") -> int:
    """Claims and sends until nothing is due at `now`, or `limit` messages were claimed; how many left.

    Raises ImproperlyConfigured where a channel's setting, such as EMAIL_URL, is wrong, before anything is claimed.
    """
    ways = {channel: opener() for channel, opener in openers().items()}
    return _deliver_by(ways, worker=worker or f"{socket.gethostname()}:{os.getpid()}", now=now, limit=limit)


def _deliver_by(ways: dict[str, Send], *, worker: str, now: datetime, limit: int | None) -> int:
    """All that is due on these channels: how many left."""
    began, sent, claimed = time.monotonic(), 0, 0
    # Each channel has its turn: a code by SMS does not wait for a hundred thousand mails.
    while ways:
        for channel, send in list(ways.items()):
            size = BATCH if limit is None else min(BATCH, limit - claimed)
            left, taken = _deliver_some(channel, send, size, worker=worker, now=now, began=began)
            sent, claimed = sent + left, claimed + taken
            if not taken:
                del ways[channel]
    return sent


def _deliver_some(channel: str, send: Send, size: int, *, worker: str, now: datetime, began: float) -> tuple[int, int]:
    """One claim of what is due on a channel: how many left, and how many were claimed. It was `now` at `began`."""
    # Most channels have nothing to send most of the time, and to claim nothing costs much more than to look.
    ready = Message.objects.filter(state="ready", channel=channel, due_at__lte=now, is_held=False)
    if size <= 0 or not ready.exists():
        return 0, 0
    # A name of its own for each claim: a worker that comes back from the dead is somebody else.
    name = f"{worker}:{secrets.token_hex(6)}"
    # `now` stands still for a whole delivery; the lease does not, for others look at their own clock.
    started = time.monotonic()
    asked_at = now + timedelta(seconds=started - began)
    ids, taken = _claim(channel, name, size, now, asked_at + LEASE)
    hit("after_claim")
    if not taken:
        return 0, 0
    messages = [Claimed.read(row) for row in SQL["read_claimed"].rows(ids=ids)]
    window = max(WINDOW, _A_CONNECTION * getattr(send, "at_once", 0))
    return _Handing(messages, name, now, asked_at, started, window).run(send), taken


def _claim(channel: str, worker: str, size: int, now: datetime, lease_until: datetime) -> tuple[list[int], int]:
    """The ids that are ours now, and how many were looked at in all: those refused at the door or put off included."""
    due, put_off = Fragment(SQL["due_messages"].sql, {"channel": channel, "limit": size}), 0
    with transaction.atomic():
        is_throttled = channel == "email" and throttle.is_on()
        if is_throttled:
            allowed, put_off = throttle.hold_back(due=due, now=now)
            due = Fragment(SQL["allowed_messages"].sql, {"allowed": allowed})
        rows = SQL["claim_messages"].rows(
            fragments={"due": due, "refusal": refusal(now)} | PIECES, now=now, worker=worker, lease_until=lease_until
        )
        ids = [pk for pk, state in rows if state == "sending"]
        if is_throttled and ids:
            throttle.note_departures(ids, now)
    return ids, len(rows) + put_off


class _Handing:
    """The messages of one claim on their way out.

    The channel takes them one by one as it has room, so that mails are written while others are under way. Which ones
    it may get next is noted and committed before, together with the results that are known by then; what is noted and
    has no result yet is never more than `window`.
    """

    def __init__(
        self,
        messages: Sequence[Claimed],
        worker: str,
        now: datetime,
        claimed_at: datetime,
        started: float,
        window: int,
    ) -> None:
        self.worker, self.now, self.window = worker, now, window
        # The moment of the claim, by the clock of leases and by that of this process.
        self.claimed_at, self.started = claimed_at, started
        self.desk = Desk(messages, now)
        self.messages, self.waiting = messages, deque(messages)
        self.under_way: dict[int, Written] = {}
        self.marks: list[_Mark] = []
        self.slow: dict[str, tuple[int, str]] = {}
        self.sent = 0

    def run(self, send: Send) -> int:
        """How many left."""
        while self.waiting:
            before = len(self.waiting)
            for result in send(self._next()):
                written = self.under_way.pop(result.id)
                self.marks.append(_outcome(written, result, self.now))
                if throttle.says_later(result):
                    self._slow_down(written.message, result.response)
            if len(self.waiting) == before:
                break
        self._commit([])
        return self.sent

    def _slow_down(self, message: Claimed, said: str) -> None:
        domain = throttle.domain_of(message.address)
        if domain and domain not in self.slow:
            self.slow[domain] = sum(throttle.domain_of(one.address) == domain for one in self.messages), said

    def _next(self) -> Iterator[Outgoing]:
        while self.waiting and (room := self.window - len(self.under_way)) > 0:
            if time.monotonic() - self.started > LEASE.total_seconds():
                log.warning("lease_lost", worker=self.worker)
                self.waiting.clear()
                return
            batch = [self.waiting.popleft() for _ in range(min(room, len(self.waiting)))]
            ours = self._commit([one.id for one in batch])
            for message in batch:
                if message.id not in ours:
                    continue
                written = self.desk.write_one(message)
                if written.mail is None:
                    self.marks.append(_unwritten(written))
                    continue
                self.under_way[message.id] = written
                yield written.mail

    def _commit(self, ids: list[int]) -> set[int]:
        """Writes the results that are known, and notes which messages are handed over next; those that still may be.

        A result that the database does not take stays alone with the sweep.
        """
        marks, self.marks = self.marks, []
        if marks:
            hit("before_commit")
        try:
            with transaction.atomic():
                _mark(marks, self.worker, self.now)
                throttle.slow_down(self.slow, self.now)
                ours = self._note(ids)
        except DataError:
            for mark in marks:
                _mark_alone(mark, self.worker, self.now)
            with transaction.atomic():
                ours = self._note(ids)
        if marks:
            hit("after_commit")
        self.slow = {}
        self.sent += sum(mark.state == "sent" for mark in marks)
        return ours

    def _note(self, ids: list[int]) -> set[int]:
        if not ids:
            SQL["end_handovers"].run(worker=self.worker)
            return set()
        asked_at = self.claimed_at + timedelta(seconds=time.monotonic() - self.started)
        begun = SQL["begin_messages"].rows(ids=ids, worker=self.worker, now=self.now, asked_at=asked_at)
        return {pk for (pk,) in begun}


def _mark_alone(mark: _Mark, worker: str, now: datetime) -> None:
    try:
        with transaction.atomic():
            _mark([mark], worker, now)
    except DataError:
        log.exception("mark_failed", message=mark.id)


def _unwritten(written: Written) -> _Mark:
    message = written.message
    return _Mark(message.id, "failed", written.reason, written.detail[:500], None, message.attempts, written)


def _outcome(written: Written, result: Result, now: datetime) -> _Mark:
    """What a channel's answer means for a message."""
    message, response = written.message, result.response
    attempts = message.attempts
    if result.outcome == "sent":
        return _Mark(message.id, "sent", "", response, None, attempts, written)
    if result.outcome == "failed":
        reason = "bounced" if is_no_such_address(response) else "refused"
        return _Mark(message.id, "failed", reason, response, None, attempts, written)
    if result.outcome == "unreachable":
        # Nobody was asked: that is no attempt, and it is no fault of the person's address.
        return _Mark(message.id, "pending", "", response, now + _OUTAGE, attempts - 1, written)
    if result.outcome == "uncertain" and message.message_class != "transactional":
        return _Mark(message.id, "uncertain", "", response, None, attempts, written)
    if attempts >= MOST_ATTEMPTS:
        # Transactional mail whose last attempt may have arrived is uncertain, not failed.
        state = "uncertain" if result.outcome == "uncertain" else "failed"
        return _Mark(message.id, state, "gave_up" if state == "failed" else "", response, None, attempts, written)
    return _Mark(message.id, "pending", "", response, now + backoff(message.id, attempts), attempts, written)


def backoff(message: int, attempts: int) -> timedelta:
    """How long to wait after so many attempts: 1, 4, 16, 64 minutes, give or take a quarter, fixed for each message."""
    share = int(hashlib.sha256(f"{message}:{attempts}".encode()).hexdigest()[:8], 16) / 0xFFFFFFFF
    return timedelta(minutes=4 ** max(attempts - 1, 0)) * (0.75 + share / 2)


def _mark(marks: Sequence[_Mark], worker: str, now: datetime) -> None:
    if not marks:
        return
    told = [
        {
            "id": mark.id,
            "state": mark.state,
            "reason": mark.reason,
            "response": mark.response.replace("\0", ""),
            "due_at": mark.due_at,
            "attempts": max(mark.attempts, 0),
            "subject": mark.written.subject,
            "language": mark.written.language,
            "version_id": mark.written.version_id,
            "context": mark.written.context if mark.written.context is not None else mark.written.message.context,
        }
        for mark in marks
    ]
    rows = SQL["mark_messages"].rows(told=_as_json(told), worker=worker, now=now)
    bounced = {mark.id for mark in marks if mark.reason == "bounced"} & {pk for (pk,) in rows}
    if bounced:
        SQL["suppress_bounced"].run(ids=sorted(bounced), now=now)


def _as_json(told: list[dict]) -> str:
    try:
        return orjson.dumps(told).decode()
    except TypeError:
        # What orjson does not take (a lone surrogate, an enormous number) the standard library writes.
        return json.dumps(told, default=str)


def sweep(now: datetime) -> int:
    """Ends the claims whose lease is over at `now`; how many.

    What was not yet being handed over goes back to the workers. Of the rest, transactional mail goes again, with the
    same Message-ID; other mail becomes `uncertain`, for twice is worse than perhaps.
    """
    with transaction.atomic():
        SQL["lock_lapsed"].rows(now=now)
        fragments = {"paused": paused()}
        swept = int(SQL["sweep_messages"].value(fragments=fragments, now=now, most_attempts=MOST_ATTEMPTS))
        SQL["forget_handovers"].run()
        throttle.forget(now)
    return swept
