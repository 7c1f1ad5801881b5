"""A crowd for the benches of segments: people with ten touchpoints each, and the segment of three conditions.

Who lives in Czechia, looked at three pages or more in the last 30 days, and never bought: a field, a count in a window,
and an absence. The limit is the same question by hand, over the same tables and into them.
"""

from collections.abc import Callable
from datetime import datetime

from contacts.models import Segment, StepCursor
from contacts.segments import refresh
from contacts.stream import Step, head, run_step
from journey_crm.benches import run_sql

EVENTS = 10
STEP = Step("segment", refresh)
RULE = {
    "all": [
        {"field": "country", "op": "eq", "value": "CZ"},
        {"did": "page.viewed", "count": {"op": "gte", "value": 3}, "within": "30d"},
        {"not": {"did": "order.placed"}},
    ]
}
PEOPLE = """
    INSERT INTO contacts_contact (email, country, created_at, updated_at)
    SELECT 'p' || number || '@example.com', CASE WHEN number %% 5 = 0 THEN 'CZ' ELSE 'DE' END, %(now)s, %(now)s
    FROM generate_series(1, %(people)s) AS number"""
# Eight looks over 90 days, one click, and an order of three in ten; spread as a stream is, not person by person.
TOUCHPOINTS = """
    INSERT INTO contacts_touchpoint (contact_id, kind, occurred_at, received_at, source, properties)
    SELECT contact.id,
           CASE WHEN turn < 8 THEN 'page.viewed' WHEN turn = 8 OR contact.id %% 10 >= 3 THEN 'email.clicked'
                ELSE 'order.placed' END,
           %(now)s - interval '1 second' * ((contact.id * 7919 + turn * 104729) %% 7776000), %(now)s, 'bench',
           jsonb_build_object('url', 'https://shop.example/p/' || turn, 'title', repeat('x', 80))
    FROM generate_series(0, %(events)s - 1) AS turn
    CROSS JOIN contacts_contact AS contact
    ORDER BY turn"""
# As the step does; without it the planner reads the whole stream, and by hand takes twice as long.
PACE = "SELECT set_config('jit', 'off', true), set_config('random_page_cost', '1.1', true)"
# The same question by hand: the best of three ways to write it. `{among}` narrows it to some people.
BY_HAND = """
    SELECT contact.id FROM contacts_contact AS contact
    WHERE contact.country = 'CZ' AND contact.merged_into_id IS NULL AND contact.erased_at IS NULL {among}
        AND NOT EXISTS (
            SELECT FROM contacts_touchpoint AS bought
            WHERE bought.contact_id = contact.id AND bought.kind = 'order.placed' AND NOT bought.is_machine
                AND bought.occurred_at <= %(now)s)
        AND (SELECT count(*) FROM (
            SELECT FROM contacts_touchpoint AS seen
            WHERE seen.contact_id = contact.id AND seen.kind = 'page.viewed' AND NOT seen.is_machine
                AND seen.occurred_at > %(now)s - interval '30 days' AND seen.occurred_at <= %(now)s
            LIMIT 3) AS three) = 3"""
SETTLE = """
    WITH wanted AS MATERIALIZED ({wanted}),
    entered AS (
        INSERT INTO contacts_membership (segment_id, contact_id, entered_at)
        SELECT %(segment)s, id, %(now)s FROM wanted
        WHERE NOT EXISTS (
            SELECT FROM contacts_membership m WHERE m.segment_id = %(segment)s AND m.contact_id = wanted.id)
        RETURNING contact_id
    ), departed AS (
        DELETE FROM contacts_membership AS m
        WHERE m.segment_id = %(segment)s {asked} AND NOT EXISTS (SELECT FROM wanted WHERE wanted.id = m.contact_id)
        RETURNING contact_id
    )
    INSERT INTO contacts_touchpoint (contact_id, kind, occurred_at, received_at, source, properties)
    SELECT contact_id, kind, %(now)s, %(now)s, 'segment', '{{"segment": "by-hand"}}'
    FROM (SELECT contact_id, 'segment.entered' AS kind FROM entered
          UNION ALL SELECT contact_id, 'segment.left' FROM departed) AS told"""


def fill(people: int, now: datetime, say: Callable[[str], object]) -> tuple[Segment, Segment]:
    """Replaces everybody by so many; the segment, and an empty one of nobody for what is done by hand."""
    run_sql(
        "TRUNCATE contacts_contact, contacts_touchpoint, contacts_membership, contacts_turn, contacts_segment CASCADE"
    )
    say(f"{people:,} people and {people * EVENTS:,} touchpoints are made")
    run_sql(PEOPLE, people=people, now=now)
    run_sql(TOUCHPOINTS, events=EVENTS, now=now)
    for table in ("contacts_contact", "contacts_touchpoint"):
        run_sql(f"VACUUM ANALYZE {table}")
    ours = Segment.objects.create(key="ours", name="Ours", rule=RULE)
    by_hand = Segment.objects.create(key="by-hand", name="By hand", sweep_at=None)
    StepCursor.objects.update_or_create(step=STEP.name, defaults={"position": head()})
    return ours, by_hand


def run_ours(now: datetime) -> int:
    """The tick's own step; raises RuntimeError where it failed."""
    changed = run_step(STEP, now)
    if error := StepCursor.objects.get(step=STEP.name).error:
        raise RuntimeError(error)
    return changed


def differ(ours: Segment, by_hand: Segment) -> bool:
    """Whether the two have other members."""
    ids = [set(one.memberships.values_list("contact_id", flat=True)) for one in (ours, by_hand)]
    return ids[0] != ids[1]
