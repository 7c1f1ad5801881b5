"""A segment of three conditions asked of everybody: made for the first time, and asked again when nothing changed.

The limit makes the same members and tells the same touchpoints by one statement, into the same tables; it does not
note when the clock will turn an answer, which is what lets nobody be asked again later.
"""

import math
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from django.db import connection, transaction

from contacts.models import AT_ONCE, Membership, Segment, Touchpoint, Turn
from journey_crm.benches import Result, Stopwatch, run_sql
from journey_crm.benches.segment_crowd import BY_HAND, PACE, SETTLE, differ, fill, run_ours

ROWS = 200_000
SMALLER = 10
ROUNDS = 3


def run(rows: int, say: Callable[[str], object]) -> Result:
    now = datetime.now(UTC)
    small = _measure(rows // SMALLER, now, say)
    whole = _measure(rows, now, say)
    growth = math.log(whole["seconds"] / small["seconds"]) / math.log(SMALLER)
    return Result(
        "segment_full", "people/s", rows, rows / whole["seconds"], rows / whole["limit"], 0.77,
        "the same members and touchpoints by one statement written by hand",
        {
            "members": whole["members"],
            "seconds": f"{whole['seconds']:.2f}, by hand {whole['limit']:.2f}",
            "asked again without a change": f"{whole['again']:.2f} s, {whole['rows written']} rows written",
            "turns noted": whole["turns"],
            f"growth from {rows // SMALLER:,} to {rows:,}": f"exponent {growth:.2f}",
        },
    )  # fmt: skip


def _measure(people: int, now: datetime, say: Callable[[str], object]) -> dict[str, Any]:
    ours, by_hand = fill(people, now, say)
    found: dict[str, list[float]] = {"ours": [], "limit": []}
    say("by turns: by the step, and by hand")
    for _round in range(ROUNDS):
        _empty()
        Segment.objects.filter(pk=ours.pk).update(sweep_at=AT_ONCE)
        with Stopwatch() as watch:
            run_ours(now)
        found["ours"].append(watch.seconds)
        with Stopwatch() as watch, transaction.atomic():
            run_sql(PACE)
            run_sql(SETTLE.format(wanted=BY_HAND.format(among=""), asked=""), now=now, segment=by_hand.pk)
        found["limit"].append(watch.seconds)
        if differ(ours, by_hand):
            raise RuntimeError("The step and the statement by hand found other people.")
    members = Membership.objects.filter(segment=ours).count()
    before = _written()
    Segment.objects.filter(pk=ours.pk).update(sweep_at=AT_ONCE)
    with Stopwatch() as again:
        run_ours(now)
    return {
        "seconds": sorted(found["ours"])[ROUNDS // 2],
        "limit": sorted(found["limit"])[ROUNDS // 2],
        "again": again.seconds,
        "members": members,
        "turns": Turn.objects.count(),
        "rows written": len(_written() ^ before),
    }


def _empty() -> None:
    Touchpoint.objects.filter(source="segment").delete()
    run_sql("TRUNCATE contacts_membership, contacts_turn")
    for table in ("contacts_touchpoint", "contacts_membership", "contacts_turn"):
        run_sql(f"VACUUM ANALYZE {table}")
    run_sql("CHECKPOINT")


def _written() -> set[tuple]:
    """Every version of a row that the step may write."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT 'member', ctid::text, xmin::text, xmax::text FROM contacts_membership UNION ALL"
            " SELECT 'turn', ctid::text, xmin::text, xmax::text FROM contacts_turn UNION ALL"
            " SELECT 'touchpoint', ctid::text, xmin::text, xmax::text FROM contacts_touchpoint WHERE source = 'segment'"
        )
        return set(cursor.fetchall())
