"""Points for a backlog: 20 rules asked of each touchpoint, the ledger written, everybody's standing said.

Ours is the tick's own step, its commits included, over what has come in since: 50,000 touchpoints a time, in the order
in which they happened over a month, five a person. The limit does the same by two statements written by hand, in the
same windows, by turns, into copies of both tables with all their indexes: the conditions in one pass, the same rows
with their arrays, caps and a group, the same standing. It knows no rules but these, no merged contact, no moment of
falling, tells nobody of a crossing and has no foreign keys. Both must come to the same ledger and the same scores.
"""

import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import connection, transaction

from contacts.models import StepCursor
from contacts.stream import WINDOW, Step, run_step
from journey_crm.benches import Result, Stopwatch, run_sql
from scoring.models import ScoreEntry, ScoreGroup, ScoreModel, ScoreRule
from scoring.points import score

ROWS = 1_000_000
SMALLER = 10
EVENTS_EACH = 5
STEP = Step("score", score)
NOW = datetime(2026, 11, 10, 9, tzinfo=UTC)
COPIES = ("scoring_scoreentry", "scoring_contactscore")
FILLED = ("contacts_contact", "contacts_touchpoint")
QUALIFY_AT, HYSTERESIS, SHARED_CAP = 35.0, 5.0, 12.0


def _seen(page: str) -> tuple[dict[str, Any], str]:
    """A look at some pages, as a rule and by hand."""
    return (
        {"did": "page.viewed", "where": [{"field": "url", "op": "contains", "value": page}]},
        f"kind = 'page.viewed' AND lower(properties ->> 'url') LIKE '%%{page}%%'",
    )


def _in(section: str) -> tuple[dict[str, Any], str]:
    """A look at a section, which the page tells itself."""
    return (
        {"did": "page.viewed", "where": [{"field": "section", "op": "eq", "value": section}]},
        f"kind = 'page.viewed' AND properties ->> 'section' = '{section}'",
    )


def _did(kind: str) -> tuple[dict[str, Any], str]:
    return {"did": kind}, f"kind = '{kind}'"


# key, (as a rule, by hand), points, half-life in days, cap a day, whether it shares the cap of the pages
RULES: list[tuple[str, tuple[dict[str, Any], str], float, float | None, float | None, bool]] = [
    ("page", _did("page.viewed"), 1, 7, 5, True),
    ("pricing", _seen("/pricing"), 10, 14, 20, True),
    ("cases", _seen("/cases"), 4, 14, 8, True),
    ("docs", _seen("/docs"), 3, 14, 9, True),
    ("features", _in("features"), 2, 14, 6, True),
    ("jobs", _in("jobs"), -8, 30, 16, False),
    ("about", _in("about"), 1, 14, 2, True),
    ("compare", _in("compare"), 6, 14, 12, True),
    ("opened", _did("email.opened"), 1, 14, 3, False),
    ("clicked", _did("email.clicked"), 8, 21, 16, False),
    ("unsubscribed", _did("email.unsubscribed"), -10, 60, None, False),
    ("bounced", _did("email.bounced"), -5, 30, 10, False),
    ("form", _did("form.submitted"), 12, 30, 12, False),
    ("webinar", _did("webinar.attended"), 25, 30, 25, False),
    ("demo", _did("demo.watched"), 15, 21, 15, False),
    ("guide", _did("guide.downloaded"), 12, 30, 12, False),
    ("trial", _did("trial.started"), 30, None, 30, False),
    ("login", _did("app.login"), 2, 7, 4, False),
    ("invited", _did("app.invited"), 10, 30, None, False),
    ("support", _did("support.asked"), -3, 7, None, False),
]


def run(rows: int, say: Callable[[str], object]) -> Result:
    model = _define()
    smaller = max(rows // SMALLER, 100)
    blind, _limit = _measure(model, smaller, say, is_analysed=False)
    small, _limit = _measure(model, smaller, say)
    ours, limit = _measure(model, rows, say)
    growth = math.log(ours["seconds"] / small["seconds"]) / math.log(rows / smaller)
    return Result(
        "score", "touchpoints/s", rows, rows / ours.pop("seconds"), rows / limit, 0.6,
        "the same ledger and standing by two statements by hand, in the same windows",
        {
            f"growth from {smaller:,} to {rows:,}": f"exponent {growth:.2f}",
            f"{smaller:,} with tables never analysed": f"{blind['seconds'] / small['seconds']:.2f} times as long",
            **ours,
        },
    )  # fmt: skip


def _define() -> ScoreModel:
    ScoreModel.objects.filter(key="bench").delete()
    model = ScoreModel.objects.create(key="bench", qualify_at=QUALIFY_AT, hysteresis=HYSTERESIS)
    pages = ScoreGroup.objects.create(model=model, key="pages", cap_per_day=SHARED_CAP)
    for key, (when, _by_hand), points, days, cap, is_shared in RULES:
        ScoreRule.objects.create(
            model=model, key=key, when=when, points=points, cap_per_day=cap, group=pages if is_shared else None,
            half_life=None if days is None else timedelta(days=days),
        )  # fmt: skip
    return model


def _measure(
    model: ScoreModel, rows: int, say: Callable[[str], object], *, is_analysed: bool = True
) -> tuple[dict[str, Any], float]:
    """How long ours took, with what came of it; and how long the limit took, in seconds."""
    say(f"{rows:,} touchpoints of {_people(rows):,} people{'' if is_analysed else ', tables never analysed'}")
    tables = [*FILLED, *COPIES, *(f"bench_{table}" for table in COPIES)]
    run_sql(
        "TRUNCATE contacts_contact, contacts_touchpoint, contacts_stepcursor, scoring_scoreentry"
        " RESTART IDENTITY CASCADE"
    )
    for table in COPIES:
        run_sql(f"CREATE TABLE bench_{table} (LIKE {table} INCLUDING ALL)")
    book, stand = _by_hand(model)
    ours, limit = Stopwatch(), Stopwatch()
    try:
        for table in tables:
            run_sql(f"ALTER TABLE {table} SET (autovacuum_enabled = off)")
        _fill_people(rows)
        run_step(STEP, NOW)
        for first in range(0, rows, WINDOW):
            after = _last()
            _fill_touchpoints(first, min(WINDOW, rows - first), rows)
            if is_analysed:
                for table in tables:
                    run_sql(f"ANALYZE {table}")
            upto = _last()
            with ours:
                run_step(STEP, NOW)
            if error := StepCursor.objects.get(step=STEP.name).error:
                raise RuntimeError(error)
            with limit, transaction.atomic():
                run_sql("SELECT set_config('jit', 'off', true), set_config('work_mem', '64MB', true)")
                run_sql(book, after=after, upto=upto)
                run_sql(stand, after=after, upto=upto, now=NOW, model=model.pk, qualify=QUALIFY_AT, slack=HYSTERESIS)
        _check()
        counted = ScoreEntry.objects.count(), _count("scoring_contactscore WHERE is_over")
    finally:
        for table in COPIES:
            run_sql(f"DROP TABLE bench_{table}")
        for table in [*FILLED, *COPIES]:
            run_sql(f"ALTER TABLE {table} RESET (autovacuum_enabled)")
    found = {
        "seconds": ours.seconds,
        "ledger rows": f"{counted[0]:,}",
        "scores": f"{_count('scoring_contactscore'):,}, {counted[1]:,} over the line",
        "by hand": f"{limit.seconds:.2f} s, ours {ours.seconds:.2f} s",
    }
    return found, limit.seconds


def _people(rows: int) -> int:
    return max(rows // EVENTS_EACH, 1)


def _last() -> int:
    return _value("SELECT coalesce(max(id), 0) FROM contacts_touchpoint")


def _count(what: str) -> int:
    return _value(f"SELECT count(*) FROM {what}")  # noqa: S608 - names of our own


def _value(sql: str) -> int:
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchone()[0]


def _fill_people(rows: int) -> None:
    run_sql(
        "INSERT INTO contacts_contact (email, stage, created_at, updated_at)"
        " SELECT 'person' || n || '@example.com', 'known', %(now)s, %(now)s FROM generate_series(1, %(people)s) AS n",
        people=_people(rows),
        now=NOW,
    )
    # The first of them, whatever the sequence has given out before.
    run_sql("SELECT setval(pg_get_serial_sequence('contacts_touchpoint', 'id'), 1)")


def _fill_touchpoints(first: int, size: int, rows: int) -> None:
    """The next part of a month's stream: six in ten are pages, of which four in ten earn more than a look."""
    run_sql(
        """
        INSERT INTO contacts_touchpoint (contact_id, kind, channel, occurred_at, received_at, source, properties)
        SELECT 1 + (n * 7919::bigint + n / 13) %% %(people)s, CASE
                WHEN dice < 60 THEN 'page.viewed' WHEN dice < 74 THEN 'email.opened' WHEN dice < 82 THEN 'email.clicked'
                ELSE (ARRAY['email.sent', 'email.delivered', 'email.sent', 'email.bounced', 'email.unsubscribed',
                    'form.submitted', 'webinar.attended', 'demo.watched', 'guide.downloaded', 'trial.started',
                    'app.login', 'app.login', 'app.login', 'app.login', 'app.login', 'app.invited', 'support.asked',
                    'email.delivered'])[dice - 81]
            END, 'web', at, at, 'web', jsonb_build_object('url', 'https://acme.example/' || (ARRAY['pricing', 'cases',
                'docs', 'features', 'jobs', 'about', 'compare', 'blog/1', 'blog/2', 'blog/3', 'blog/4', 'blog/5', ''])
                [1 + n / 7 %% 13], 'section', (ARRAY['pricing', 'cases', 'docs', 'features', 'jobs', 'about', 'compare',
                'blog', 'blog', 'blog', 'blog', 'blog', ''])[1 + n / 7 %% 13], 'title', repeat('x', 50) || n)
        FROM generate_series(%(first)s, %(first)s + %(size)s - 1) AS n
        CROSS JOIN LATERAL (SELECT (n * 104729::bigint + n / 17) %% 100 AS dice,
            %(now)s - interval '30 days' * (1 - n::float8 / %(rows)s) AS at) drawn
        ORDER BY n""",
        first=first,
        size=size,
        rows=rows,
        people=_people(rows),
        now=NOW,
    )


def _check() -> None:
    """Raises RuntimeError unless both wrote the same ledger and the same scores."""
    columns = "contact_id, rule_id, day, points, touchpoint_ids, occurred_ats, event_points, half_life"
    ledgers = (f"SELECT {columns} FROM {prefix}scoring_scoreentry" for prefix in ("", "bench_"))  # noqa: S608
    other = _count(f"({' EXCEPT '.join(ledgers)}) one")
    missing = _count("scoring_scoreentry") - _count("bench_scoring_scoreentry")
    scores = _count(
        "scoring_contactscore ours FULL JOIN bench_scoring_contactscore hand USING (contact_id, model_id)"
        " WHERE ours.is_over IS DISTINCT FROM hand.is_over OR abs(ours.value - hand.value) > 1e-9"
    )
    if other or missing or scores:
        raise RuntimeError(
            f"{other} rows of the ledger and {scores} scores are others by hand, {missing} more are ours."
        )


def _by_hand(model: ScoreModel) -> tuple[str, str]:
    """The two statements, with this model's rules written into them."""
    rules = {rule.key: rule for rule in model.rules.all()}
    hits, values = [], []
    for key, (_when, by_hand), points, days, cap, is_shared in RULES:
        pk = rules[key].pk
        hits.append(f"CASE WHEN {by_hand} THEN {pk} END")
        half_life = "NULL" if days is None else f"interval '{days} days'"
        values.append(
            f"({pk}::bigint, '{key}', {points}::float8, {half_life}::interval, {cap or 'NULL'}::float8, {is_shared})"
        )
    return BOOK.format(hits=", ".join(hits), rules=", ".join(values), shared=SHARED_CAP), STAND


BOOK = """
WITH rule (id, key, points, half_life, cap, is_shared) AS (VALUES {rules}), fresh AS MATERIALIZED (
    SELECT told.contact_id, hit.rule_id, (told.occurred_at AT TIME ZONE 'UTC')::date AS day, told.id, told.occurred_at
    FROM contacts_touchpoint told
    CROSS JOIN LATERAL unnest(array_remove(ARRAY[{hits}]::bigint[], NULL)) AS hit (rule_id)
    WHERE told.id > %(after)s AND told.id <= %(upto)s AND NOT told.is_machine
), pot AS (
    SELECT id AS rule_id, CASE WHEN is_shared THEN 0 ELSE id END AS pot FROM rule
), known AS (
    SELECT entry.contact_id, entry.rule_id, entry.day, entry.touchpoint_ids, entry.occurred_ats
    FROM (SELECT DISTINCT contact_id, pot, day FROM fresh JOIN pot USING (rule_id)) days
    JOIN pot USING (pot)
    JOIN bench_scoring_scoreentry entry USING (contact_id, rule_id, day)
), events AS (
    SELECT * FROM fresh
    UNION ALL
    SELECT contact_id, rule_id, day, event.id, event.occurred_at
    FROM known CROSS JOIN LATERAL unnest(touchpoint_ids, occurred_ats) AS event (id, occurred_at)
), capped AS (
    SELECT contact_id, rule_id, day, events.id, occurred_at, half_life, key, is_shared,
        CASE WHEN cap IS NULL THEN points ELSE sign(points) * greatest(0, least(abs(points), cap - abs(points) * (
            row_number() OVER (PARTITION BY contact_id, rule_id, day ORDER BY occurred_at, events.id) - 1)))
        END AS points
    FROM events JOIN rule ON rule.id = rule_id
), earned AS (
    SELECT contact_id, rule_id, day, id, occurred_at, half_life, points FROM capped WHERE NOT is_shared
    UNION ALL
    SELECT contact_id, rule_id, day, id, occurred_at, half_life, sign(points) * greatest(0, least(abs(points),
        {shared} - coalesce(sum(abs(points)) OVER (
            PARTITION BY contact_id, day, sign(points) ORDER BY occurred_at, key COLLATE "C", id
            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0)))
    FROM capped WHERE is_shared
)
INSERT INTO bench_scoring_scoreentry
    (contact_id, rule_id, day, points, weight, half_life, touchpoint_ids, occurred_ats, event_points)
SELECT contact_id, rule_id, day, sum(points),
    sum(CASE WHEN half_life IS NULL THEN points ELSE points * power(2::float8,
        date_part('epoch', occurred_at - day::timestamp AT TIME ZONE 'UTC') / date_part('epoch', half_life)) END),
    half_life, array_agg(id ORDER BY occurred_at, id), array_agg(occurred_at ORDER BY occurred_at, id),
    array_agg(points ORDER BY occurred_at, id)
FROM earned GROUP BY contact_id, rule_id, day, half_life
ON CONFLICT (contact_id, rule_id, day) DO UPDATE SET
    points = excluded.points, weight = excluded.weight, half_life = excluded.half_life,
    touchpoint_ids = excluded.touchpoint_ids, occurred_ats = excluded.occurred_ats, event_points = excluded.event_points
"""

STAND = """
WITH sums AS (
    SELECT entry.contact_id, sum(CASE WHEN half_life IS NULL THEN weight ELSE weight * power(2::float8,
        -date_part('epoch', %(now)s - day::timestamp AT TIME ZONE 'UTC') / date_part('epoch', half_life)) END) AS value
    FROM (SELECT DISTINCT contact_id FROM contacts_touchpoint WHERE id > %(after)s AND id <= %(upto)s) asked
    JOIN bench_scoring_scoreentry entry USING (contact_id)
    GROUP BY entry.contact_id
)
INSERT INTO bench_scoring_contactscore AS score (contact_id, model_id, value, computed_at, is_over)
SELECT contact_id, %(model)s, value, %(now)s, value >= %(qualify)s FROM sums
ON CONFLICT (contact_id, model_id) DO UPDATE SET value = excluded.value, computed_at = excluded.computed_at,
    is_over = excluded.value >= CASE WHEN score.is_over THEN %(qualify)s - %(slack)s ELSE %(qualify)s END
"""
