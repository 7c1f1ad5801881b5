"""A thousand people do something; the segment of three conditions follows, by the tick's own step.

The limit asks the same thousand by one statement written by hand. What counts beside it is that the time does not grow
with the crowd: it is measured in a crowd a tenth as large, too.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from django.db import transaction

from contacts.models import Segment
from contacts.stream import head
from journey_crm.benches import Result, Stopwatch, run_sql
from journey_crm.benches.segment_crowd import BY_HAND, PACE, SETTLE, differ, fill, run_ours

ROWS = 200_000
SMALLER = 10
ROUNDS = 11
CHANGED = 1_000
# Of those touched each looks at one more page; some thus come to three.
LOOK = """
    INSERT INTO contacts_touchpoint (contact_id, kind, occurred_at, received_at, source, properties)
    SELECT contact.id, 'page.viewed', %(now)s, %(now)s, 'bench', '{"url": "https://shop.example/again"}'
    FROM (SELECT DISTINCT 1 + (number * 7919::bigint + %(turn)s * 31) %% %(people)s AS place
          FROM generate_series(1, %(changed)s) AS number) AS drawn
    JOIN contacts_contact AS contact ON contact.id = %(first)s + drawn.place - 1"""
AMONG = (
    "AND contact.id = ANY (ARRAY(SELECT contact_id FROM contacts_touchpoint WHERE id > %(after)s AND id <= %(upto)s))"
)
ASKED = (
    "AND m.contact_id = ANY (ARRAY(SELECT contact_id FROM contacts_touchpoint WHERE id > %(after)s AND id <= %(upto)s))"
)


def run(rows: int, say: Callable[[str], object]) -> Result:
    now = datetime.now(UTC)
    changed = min(CHANGED, rows // 10)
    small, small_limit = _measure(rows // SMALLER, changed, now, say)
    seconds, limit = _measure(rows, changed, now, say)
    return Result(
        "segment_incremental", "changed people/s", rows, changed / seconds, changed / limit, 0.2,
        "the same people asked by one statement written by hand",
        {
            "changed people": changed,
            "milliseconds": f"{seconds * 1000:.1f}, by hand {limit * 1000:.1f}",
            f"time in {rows:,} beside {rows // SMALLER:,}": f"{seconds / small:.2f} times (goal 1.5);"
            f" by hand {limit / small_limit:.2f}",
        },
    )  # fmt: skip


def _measure(people: int, changed: int, now: datetime, say: Callable[[str], object]) -> tuple[float, float]:
    """The seconds of ours and of the limit, each the middle of some rounds."""
    ours, by_hand = fill(people, now, say)
    run_ours(now)
    run_sql(SETTLE.format(wanted=BY_HAND.format(among=""), asked=""), now=now, segment=by_hand.pk)
    run_ours(now)  # what the two made is news, too
    for table in ("contacts_touchpoint", "contacts_membership", "contacts_turn"):
        run_sql(f"VACUUM ANALYZE {table}")
    first = Segment.objects.raw("SELECT min(id) AS id FROM contacts_contact")[0].pk
    say(f"{changed:,} of {people:,} look at one more page, {ROUNDS} times")
    found: list[tuple[float, float]] = []
    for turn in range(ROUNDS):
        later = now + timedelta(seconds=turn + 1)
        after = head()
        run_sql(LOOK, now=later, turn=turn, people=people, changed=changed, first=first)
        upto = head()
        with Stopwatch() as our_watch:
            run_ours(later)
        with Stopwatch() as limit_watch, transaction.atomic():
            run_sql(PACE)
            run_sql(
                SETTLE.format(wanted=BY_HAND.format(among=AMONG), asked=ASKED),
                now=later, segment=by_hand.pk, after=after, upto=upto,
            )  # fmt: skip
        found.append((our_watch.seconds, limit_watch.seconds))
        run_ours(later)
    # By hand nobody is asked whom the clock alone let go.
    run_sql(SETTLE.format(wanted=BY_HAND.format(among=""), asked=""), now=later, segment=by_hand.pk)
    if differ(ours, by_hand):
        raise RuntimeError("The step and the statement by hand found other people.")
    found = found[1:] or found  # the first round plans and loads
    middle = len(found) // 2
    return sorted(one for one, _other in found)[middle], sorted(other for _one, other in found)[middle]
