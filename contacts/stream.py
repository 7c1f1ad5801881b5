"""The spine: anyone puts into the inbox; the tick's steps read the stream behind their cursors, and only they write it.

Ids are not commit order, so a reader with a cursor may trust them only because one writer, under one advisory lock,
gives them out.
"""

import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import structlog
from django.db import connection, transaction
from django.db.models import Max

from contacts.models import Incoming, StepCursor, Touchpoint

log = structlog.get_logger(__name__)

# One number for all tickers of a database: whoever holds it writes the stream.
TICK_LOCK = 7_265_001
# A ticker that says nothing for so long in the midst of a step is cut off, and its step undone: another one goes on.
PATIENCE = "60s"
# A step takes at most so many touchpoints in one transaction; longer backlogs take several.
WINDOW = 50_000


@dataclass(frozen=True)
class Step:
    """One step of the tick: `run(now, after, upto) -> count` works on the touchpoints with after < id <= upto.

    Its effects and its cursor commit together, so each touchpoint has its effect exactly once.
    """

    name: str
    run: Callable[[datetime, int, int], int]


class Busy(Exception):
    """Another ticker is at work; it will do what we came for."""


def put(
    *,
    kind: str,
    source: str,
    now: datetime,
    contact_id: int | None = None,
    occurred_at: datetime | None = None,
    message_id: str = "",
    channel: str = "",
    anonymous_id: str = "",
    user_id: str = "",
    email: str = "",
    traits: Mapping[str, Any] | None = None,
    properties: Mapping[str, Any] | None = None,
) -> Incoming:
    """Puts one event into the inbox, in the caller's transaction.

    `message_id` makes a repeat from the same source harmless. `email` must be normalised already.
    """
    return Incoming.objects.create(
        kind=kind,
        source=source,
        message_id=message_id,
        channel=channel,
        occurred_at=occurred_at or now,
        received_at=now,
        contact_id=contact_id,
        anonymous_id=anonymous_id,
        user_id=user_id,
        email=email,
        traits=traits,
        properties=dict(properties or {}),
    )


def head() -> int:
    """The id of the newest touchpoint."""
    return Touchpoint.objects.aggregate(head=Max("id"))["head"] or 0


def hold_tick_lock() -> None:
    """Makes this transaction the one that may write the stream; raises Busy if another one is."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_try_advisory_xact_lock(%s), set_config('idle_in_transaction_session_timeout', %s, true)",
            [TICK_LOCK, PATIENCE],
        )
        if not cursor.fetchone()[0]:
            raise Busy


def wait_for_tick_lock() -> None:
    """The same for whoever is no tick but changes what the tick writes, such as a merge by hand: waits its turn."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [TICK_LOCK])


def is_last(after: int, upto: int) -> bool:
    """Whether a window is the last of its tick; a step that is far behind catches up in several."""
    return upto - after < WINDOW


def run_step(step: Step, now: datetime) -> int:
    """Runs one step up to the head of the stream, in windows; the number of things it did.

    An error rolls back the step's last window alone, is written on its cursor for the health page, and is not raised:
    the steps after it still run. Raises Busy if another ticker holds the lock.
    """
    total = 0
    try:
        while True:
            with transaction.atomic():
                hold_tick_lock()
                cursor, _ = StepCursor.objects.select_for_update().get_or_create(step=step.name)
                upto = min(head(), cursor.position + WINDOW)
                total += step.run(now, cursor.position, upto)
                is_newest = is_last(cursor.position, upto)
                cursor.position, cursor.ran_at, cursor.error, cursor.failed_at = upto, now, "", None
                cursor.save()
            if is_newest:
                return total
    except Busy:
        raise
    except Exception as error:
        log.exception("step_failed", step=step.name)
        reason = f"{type(error).__name__}: {error}\n{traceback.format_exc(limit=-3)}"
        StepCursor.objects.update_or_create(step=step.name, defaults={"failed_at": now, "error": reason[:4000]})
        return total
