"""All intents that are due at once through all gates: consents, what each had, quiet hours by zone, caps, rivals.

Ours is the tick's own step, its commit included. The limit is one statement written by hand over the same rows, into a
copy of the table with all its indexes: the hour by each zone, what each had in a day, in 7 days and in 30, one window
function for who goes first, one UPDATE. It asks no consent, address, journey, holdout, holiday or sending once, knows
one cap only, and has no foreign keys. Both must come to the same end for every intent.
"""

import math
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from django.conf import settings
from django.db import connection

from contacts.stream import Step, run_step
from journey_crm.benches import Result, Stopwatch, run_sql
from messaging.gates import arbitrate
from messaging.models import SendingPolicy, Template, Topic

ROWS = 500_000
SMALLER = 10
# A Tuesday noon in Prague: morning in New York, evening in Tokyo, night in Los Angeles and Auckland.
NOW = datetime(2026, 11, 10, 11, tzinfo=UTC)
ZONES = ["Europe/Prague", "Europe/Warsaw", "America/New_York", "Asia/Tokyo", "America/Los_Angeles", "Pacific/Auckland"]
TABLE, COPY = "messaging_message", "bench_messaging_message"


def run(rows: int, say: Callable[[str], object]) -> Result:
    small, _limit = _measure(max(rows // SMALLER, 100), say)
    ours, limit = _measure(rows, say)
    growth = math.log(ours["seconds"] / small["seconds"]) / math.log(rows / max(rows // SMALLER, 100))
    return Result(
        "arbitrate", "intents/s", rows, rows / ours["seconds"], rows / limit, 1 / 3,
        "one statement with one window function by hand, into a copy of the table",
        {
            f"growth from {max(rows // SMALLER, 100):,} to {rows:,}": f"exponent {growth:.2f}",
            "goal beside it": "50,000 intents/s",
            **{name: value for name, value in ours.items() if name != "seconds"},
        },
    )  # fmt: skip


def _measure(rows: int, say: Callable[[str], object]) -> tuple[dict[str, Any], float]:
    """How long ours took, with what came of the intents; and how long the limit took, in seconds."""
    say(f"{rows:,} intents are made, and as many messages that left before")
    _fill(rows)
    run_sql(f"CREATE TABLE {COPY} (LIKE {TABLE} INCLUDING ALL)")
    try:
        run_sql(f"INSERT INTO {COPY} SELECT * FROM {TABLE}")  # noqa: S608 - names of our own
        for table in (TABLE, COPY, "contacts_contact", "contacts_consent"):
            run_sql(f"VACUUM ANALYZE {table}")
        run_sql("CHECKPOINT")
        ours, limit = Stopwatch(), Stopwatch()
        say(f"{rows:,} intents by the gates")
        with ours:
            run_step(Step("arbitrate", arbitrate), NOW)
        run_sql("CHECKPOINT")
        say(f"{rows:,} intents by hand")
        with limit:
            run_sql(BY_HAND, now=NOW, zone=settings.TIME_ZONE)
        found, expected = _counted(TABLE), _counted(COPY)
        if found != expected or sum(found.values()) != rows:
            raise RuntimeError(f"Of {rows} intents the gates say {found}, by hand it is {expected}.")
        return {"seconds": ours.seconds, **found}, limit.seconds
    finally:
        run_sql(f"DROP TABLE {COPY}")


def _fill(rows: int) -> None:
    """Two intents for one person and three for the next, and what they had in the last 40 days."""
    run_sql("TRUNCATE contacts_contact, contacts_stepcursor, messaging_message RESTART IDENTITY CASCADE")
    SendingPolicy.objects.update_or_create(pk=1, defaults={"holidays_are_quiet": True})
    topic, _is_new = Topic.objects.get_or_create(key="bench", defaults={"name": "Bench", "is_opt_in": False})
    templates = [
        Template.objects.get_or_create(
            key=f"bench-{number}", defaults={"topic": topic, "subject": "Hello", "body": "Hello"}
        )[0].pk
        for number in range(5)
    ]
    values = {"now": NOW, "rows": rows, "people": max(rows * 2 // 5, 1), "templates": templates, "zones": ZONES}
    run_sql(
        "INSERT INTO contacts_contact (email, stage, zone, timezone, country, created_at, updated_at)"
        " SELECT 'person' || n || '@example.com', 'known', z, z, 'CZ', %(now)s, %(now)s"
        " FROM generate_series(1, %(people)s) AS n,"
        " LATERAL (SELECT (%(zones)s::text[])[1 + n %% 6] AS z) zone",
        **values,
    )
    run_sql(
        "INSERT INTO contacts_consent (contact_id, topic, channel, state, changed_at)"
        " SELECT id, 'bench', 'email', 'granted', %(now)s FROM contacts_contact WHERE id %% 2 = 0",
        **values,
    )
    # Three of five templates were sent before; the intents are of the other two, and of one that may come again.
    run_sql(
        "INSERT INTO messaging_message (key, contact_id, template_id, message_class, state, created_at, due_at,"
        " sent_at) SELECT 'had:' || n, 1 + n %% %(people)s, (%(templates)s::bigint[])[1 + n %% 3], 'marketing', 'sent',"
        " at, at, at"
        " FROM generate_series(1, %(rows)s) AS n,"
        " LATERAL (SELECT %(now)s - (n::bigint * 7919 %% 57600 + 1) * interval '1 minute' AS at) sent",
        **values,
    )
    run_sql(
        "INSERT INTO messaging_message (key, contact_id, template_id, message_class, tier, created_at, due_at,"
        " valid_until)"
        " SELECT 'bench:' || n, 1 + n %% %(people)s, (%(templates)s::bigint[])[4 + least(n / %(people)s, 1)],"
        " CASE WHEN n %% 20 = 0 THEN 'operational' WHEN n %% 20 = 1 THEN 'transactional' ELSE 'marketing' END,"
        " 1 + n::bigint * 31 %% 5, %(now)s, %(now)s - (n %% 300) * interval '1 second',"
        " CASE WHEN n %% 3 = 0 THEN %(now)s + interval '5 days' END"
        " FROM generate_series(1, %(rows)s) AS n",
        **values,
    )
    run_sql("UPDATE messaging_template SET is_repeatable = (id = %(last)s)", last=templates[-1])


def _counted(table: str) -> dict[str, int]:
    """How many passed, and how many are put off until when: by the hour, for the two spread them in other ways."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT CASE WHEN state = 'ready' THEN 'passed' ELSE 'put off until ' "  # noqa: S608 - names of our own
            "|| to_char(date_trunc('hour', due_at) AT TIME ZONE 'UTC', 'DD Mon HH24:MI') END, count(*)"
            f" FROM {table} WHERE key LIKE 'bench:%' GROUP BY 1 ORDER BY 2 DESC"
        )
        return dict(cursor.fetchall())


BY_HAND = """
WITH clock AS MATERIALIZED (
    SELECT zone, date_trunc('day', wall) AT TIME ZONE zone AS day_began,
        CASE WHEN wall::time >= '20:00' THEN (wall::date + 1 + time '08:00') AT TIME ZONE zone
             WHEN wall::time < '08:00' THEN (wall::date + time '08:00') AT TIME ZONE zone END AS quiet_end,
        (wall::date + 1 + time '08:00') AT TIME ZONE zone AS next_day
    FROM (SELECT DISTINCT zone FROM contacts_contact) z, LATERAL (SELECT %(now)s AT TIME ZONE zone AS wall) here
), had AS MATERIALIZED (
    SELECT o.contact_id, count(*) FILTER (WHERE o.sent_at >= k.day_began) AS day,
        count(*) FILTER (WHERE o.sent_at > %(now)s - interval '7 days') AS week, count(*) AS month
    FROM bench_messaging_message o
    JOIN contacts_contact c ON c.id = o.contact_id
    JOIN clock k ON k.zone = coalesce(nullif(c.zone, ''), %(zone)s)
    WHERE o.state = 'sent' AND o.message_class <> 'transactional' AND o.sent_at > %(now)s - interval '30 days'
    GROUP BY o.contact_id
), placed AS (
    SELECT m.id, m.message_class, k.zone, k.quiet_end, k.next_day,
        row_number() OVER (
            PARTITION BY m.contact_id, m.message_class <> 'transactional' AND k.quiet_end IS NULL
            ORDER BY m.message_class = 'marketing', m.tier, m.valid_until NULLS LAST, m.due_at, m.id) AS place,
        least(1 - coalesce(h.day, 0), 3 - coalesce(h.week, 0), 12 - coalesce(h.month, 0)) AS room
    FROM bench_messaging_message m
    JOIN contacts_contact c ON c.id = m.contact_id
    JOIN clock k ON k.zone = coalesce(nullif(c.zone, ''), %(zone)s)
    LEFT JOIN had h ON h.contact_id = m.contact_id
    WHERE m.state = 'pending' AND m.due_at <= %(now)s
), decided AS (
    SELECT placed.*, CASE
        WHEN message_class = 'transactional' THEN NULL
        WHEN quiet_end IS NOT NULL THEN quiet_end
        WHEN message_class = 'marketing' AND place > room THEN next_day END AS later
    FROM placed
)
UPDATE bench_messaging_message m
SET state = CASE WHEN d.later IS NULL THEN 'ready' ELSE 'pending' END,
    due_at = coalesce(d.later + (d.id %% 900) * interval '1 second', m.due_at),
    wanted_at = CASE WHEN d.later IS NOT NULL THEN coalesce(m.wanted_at, m.due_at) ELSE m.wanted_at END,
    zone = d.zone, zone_from = 'explicit'
FROM decided d WHERE d.id = m.id
"""
