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
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import orjson
import structlog
from django.db import DataError, transaction

from contacts.sql import load
from messaging.addresses import PIECES
from messaging.bounces.codes import is_no_such_address
from messaging.channels import Result, Send, openers
from messaging.failpoints import hit
from messaging.gates import refusal
from messaging.writing import Claimed, Desk, Written

SQL = load(__file__)
log = structlog.get_logger(__name__)

LEASE = timedelta(minutes=5)
BATCH = 500
# So many are handed over together: at most so many are in doubt after a worker's sudden death.
WINDOW = 100
MOST_ATTEMPTS = 5
_OUTAGE = timedelta(minutes=1)


@dataclass(frozen=True)
class _Mark:
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
    worker = worker or f"{socket.gethostname()}:{os.getpid()}"
    sent = claimed = 0
    for channel, send in ways.items():
        left = None if limit is None else limit - claimed
        by_channel = _deliver_by(channel, send, worker=worker, now=now, limit=left)
        sent, claimed = sent + by_channel[0], claimed + by_channel[1]
    return sent


def _deliver_by(channel: str, send: Send, *, worker: str, now: datetime, limit: int | None) -> tuple[int, int]:
    """All that is due on one channel: how many left, and how many were claimed."""
    sent = claimed = 0
    while limit is None or claimed < limit:
        size = BATCH if limit is None else min(BATCH, limit - claimed)
        # A name of its own for each claim: a worker that comes back from the dead is somebody else.
        name = f"{worker}:{secrets.token_hex(6)}"
        started = time.monotonic()
        ids, taken = _claim(channel, name, size, now)
        hit("after_claim")
        claimed += taken
        if not taken:
            break
        messages = [Claimed.read(row) for row in SQL["read_claimed"].rows(ids=ids)]
        sent += _hand_over(messages, name, now, send, started)
    return sent, claimed


def _claim(channel: str, worker: str, size: int, now: datetime) -> tuple[list[int], int]:
    """The ids that are ours now, and how many were taken in all, those refused at the door included."""
    with transaction.atomic():
        rows = SQL["claim_messages"].rows(
            fragments={"refusal": refusal(now)} | PIECES,
            channel=channel,
            now=now,
            limit=size,
            worker=worker,
            lease_until=now + LEASE,
        )
    return [pk for pk, state in rows if state == "sending"], len(rows)


def _hand_over(messages: Sequence[Claimed], worker: str, now: datetime, send: Send, started: float) -> int:
    """Writes and sends window by window; the results of each are committed before the next begins."""
    desk = Desk(messages, now)
    sent = 0
    for first in range(0, len(messages), WINDOW):
        if time.monotonic() - started > LEASE.total_seconds():
            log.warning("lease_lost", worker=worker)
            break
        written = desk.write(messages[first : first + WINDOW])
        mails = {one.message.id: one for one in written if one.mail is not None}
        marks = [_unwritten(one) for one in written if one.mail is None]
        # `now` stands still for a whole delivery; the lease does not.
        asked_at = now + timedelta(seconds=time.monotonic() - started)
        begun = SQL["begin_messages"].rows(ids=list(mails), worker=worker, now=now, asked_at=asked_at)
        ours = {pk for (pk,) in begun}
        for result in send([one.mail for pk, one in mails.items() if pk in ours and one.mail is not None]):
            marks.append(_outcome(mails[result.id], result, now))
        hit("before_commit")
        _settle(marks, worker, now)
        hit("after_commit")
        sent += sum(mark.state == "sent" for mark in marks)
    return sent


def _settle(marks: Sequence[_Mark], worker: str, now: datetime) -> None:
    """Writes results in a transaction of their own; one that the database does not take stays alone with the sweep."""
    if not marks:
        return
    try:
        with transaction.atomic():
            _mark(marks, worker, now)
    except DataError:
        if len(marks) == 1:
            log.exception("mark_failed", message=marks[0].id)
            return
        for mark in marks:
            _settle([mark], worker, now)


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
    return int(SQL["sweep_messages"].value(now=now, most_attempts=MOST_ATTEMPTS))
