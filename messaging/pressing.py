"""One-click unsubscribes (RFC 8058), which mail programs send by the thousand just after a broadcast.

They say the same as `refusing.refuse_all` for each reader, as a set: what waits in a process is written together, in
one transaction, and each is answered when that has committed. While one transaction commits, the next gathers.
"""

import threading
from collections import deque
from datetime import datetime
from typing import NamedTuple

import orjson
from django.db import close_old_connections, transaction
from django.utils import timezone

from contacts.sql import Fragment, load
from messaging.channels import CHANNELS

SQL = load(__file__)
_MOST = 100


class Press(NamedTuple):
    """Somebody pressed the button of a mail program: the ids of the token, and the proof."""

    message: int
    contact: int
    ip_address: str | None
    user_agent: str


@transaction.atomic
def refuse(presses: list[Press], now: datetime) -> None:
    """From here on no marketing reaches these people on any channel; what waits is withdrawn. Again is harmless."""
    asked = [{"number": number, "message": one.message, "contact": one.contact} for number, one in enumerate(presses)]
    readers = SQL["readers_of_presses"].rows(presses=orjson.dumps(asked).decode(), now=now)
    if not readers:
        return
    proofs = [
        {"id": pk, "ip_address": presses[number].ip_address, "user_agent": presses[number].user_agent}
        for pk, number in readers
    ]
    said = SQL["refuse_for_readers"].rows(proofs=orjson.dumps(proofs).decode(), now=now)
    # Also what would come by another door that asks for the same consent.
    waits = [
        (pk, door.key)
        for pk, channel, is_waiting in said
        if is_waiting
        for door in CHANNELS.values()
        if door.consent == channel
    ]
    if not waits:
        return
    pairs = {"pressed_ids": [pk for pk, _channel in waits], "pressed_channels": [channel for _pk, channel in waits]}
    which = (
        "message_class <> 'transactional' AND (contact_id, channel) IN ("
        "SELECT * FROM unnest(%(pressed_ids)s::bigint[], %(pressed_channels)s::text[]))"
    )
    SQL["withdraw_messages"].value(fragments={"which": Fragment(which, pairs)}, now=now, reason="unsubscribed")


class _Waiting:
    """A press, and whether it was written."""

    def __init__(self, press: Press) -> None:
        self.press, self.is_done = press, False
        self.error: Exception | None = None


_waiting: deque[_Waiting] = deque()
_turn = threading.Lock()


def press(one: Press) -> None:
    """Writes a press with whatever others wait; returns when it is durable. Raises what the database raises."""
    mine = _Waiting(one)
    _waiting.append(mine)
    with _turn:
        # Whoever had the turn before may have written it.
        while not mine.is_done:
            _write()
    if mine.error is not None:
        raise mine.error


def _write() -> None:
    batch: list[_Waiting] = []
    while _waiting and len(batch) < _MOST:
        batch.append(_waiting.popleft())
    try:
        refuse([one.press for one in batch], timezone.now())
    except Exception:
        # What one of them holds harms no other; a connection that the database closed meanwhile is replaced.
        close_old_connections()
        for one in batch:
            one.error = _alone(one.press)
    for one in batch:
        one.is_done = True


def _alone(one: Press) -> Exception | None:
    try:
        refuse([one], timezone.now())
    except Exception as error:
        return error
    return None
