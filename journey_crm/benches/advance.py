"""Everybody who is due at once: ask, half of them send, these rest until their message has ended, all wait.

Ours is the tick's own step, twice: before and after the messages have ended, which happens meanwhile and is not timed.
The limit does the same moves by bare SQL on copies of the same tables: one statement for the question, one for the
sending, one for going on; with no journey to look up, no clock, no news to read, no gates, no foreign keys.
"""

import math
import resource
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import connection

from campaigns import publishing
from campaigns.engine import advance
from campaigns.enrolling import enrol
from campaigns.models import Due, Journey, Node, Visit
from contacts.models import Field, StepCursor
from contacts.stream import Step, run_step
from journey_crm.benches import Result, Stopwatch, run_sql
from journey_crm.benches.deliver import brand
from messaging.models import Message, Template, Topic

ROWS = 500_000
SMALLER = 10
COPIES = ("campaigns_due", "campaigns_visit", "messaging_message")


def run(rows: int, say: Callable[[str], object]) -> Result:
    now = datetime.now(UTC)
    journey = _publish(now)
    small, _ours, _limit = _measure(journey, rows // SMALLER, now, say)
    small_memory = _most_memory()
    notes, ours, limit = _measure(journey, rows, now, say)
    growth = math.log(notes.pop("seconds") / small.pop("seconds")) / math.log(SMALLER)
    return Result(
        "advance", "moves/s", rows, ours, limit, 0.6,
        "the same moves by bare SQL on copies of the tables",
        {
            **notes,
            f"growth from {rows // SMALLER:,} to {rows:,}": f"exponent {growth:.2f}",
            f"enrolments/s at {rows // SMALLER:,}": small["enrolments/s"],
            f"greatest memory of the process at {rows // SMALLER:,} and {rows:,}": (
                f"{small_memory:.0f} and {_most_memory():.0f} MB"
            ),
        },
    )  # fmt: skip


def _most_memory() -> float:
    """The greatest resident memory of this process so far, in MB."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / (1024 * 1024 if sys.platform == "darwin" else 1024)


def _publish(now: datetime) -> Journey:
    Field.objects.get_or_create(key="plan", defaults={"type": "text", "name": "Plan"})
    topic, _is_new = Topic.objects.get_or_create(key="bench", defaults={"name": "Bench", "is_opt_in": False})
    Template.objects.get_or_create(key="bench", defaults={"topic": topic, "subject": "Hello", "body": "Hello"})
    journey, _is_new = Journey.objects.get_or_create(key="bench", defaults={"kind": "onboarding"})
    definition = {
        "key": "bench",
        "kind": "onboarding",
        "trigger": {"touchpoint": "bench.begun"},
        "steps": [
            {
                "key": "ask",
                "ask": {"field": "plan", "op": "eq", "value": "pro"},
                "then": [{"key": "send", "send": "bench"}],
                "else": [],
            },
            {"key": "wait", "wait": "3d"},
        ],
    }
    brand()
    publishing.save_draft(journey=journey, definition=definition, by=None, now=now)
    publishing.publish(journey=journey, by=None, now=now)
    journey.refresh_from_db()
    return journey


def _measure(
    journey: Journey, people: int, now: datetime, say: Callable[[str], object]
) -> tuple[dict[str, Any], float, float]:
    """What was found beside the rates of ours and of the limit, in moves a second."""
    nodes = {node.key: node.pk for node in Node.objects.filter(version=journey.version)}
    say(f"{people:,} people are made and enrolled")
    _people(people, now)
    with Stopwatch() as enrolling:
        enrolled = _run(Step("enrol", enrol), now)
    run_sql("TRUNCATE campaigns_due")
    run_sql(
        "INSERT INTO campaigns_due (enrolment_id, contact_id, node_id, node_kind, entered_at, due_at)"
        " SELECT id, contact_id, %(ask)s, 'ask', %(now)s, %(now)s FROM campaigns_enrolment ORDER BY id",
        ask=nodes["ask"],
        now=now,
    )
    for table in COPIES:
        run_sql(f"CREATE TABLE bench_{table} (LIKE {table} INCLUDING ALL)")
    try:
        run_sql("INSERT INTO bench_campaigns_due OVERRIDING SYSTEM VALUE SELECT * FROM campaigns_due")
        for table in ("contacts_contact", "contacts_touchpoint", "campaigns_enrolment", *COPIES):
            run_sql(f"VACUUM ANALYZE {table}")
        run_sql("VACUUM ANALYZE bench_campaigns_due")
        run_sql("CHECKPOINT")
        template = Template.objects.get(key="bench")
        ours, limit = Stopwatch(), Stopwatch()
        moment = now + timedelta(seconds=1)
        values = nodes | {"now": moment, "wake": moment + timedelta(days=3), "template": template.pk}
        say(f"{people:,} are due: by the engine")
        with ours:
            _run(Step("advance", advance), moment)
        run_sql("CHECKPOINT")
        say(f"{people:,} are due: by bare SQL")
        with limit:
            for statement in (ASK, SEND):
                run_sql(statement, **values)
        shares = [ours.seconds / limit.seconds]
        _end_messages(moment)
        moment += timedelta(seconds=1)
        values |= {"now": moment, "wake": moment + timedelta(days=3)}
        say(f"{people // 2:,} messages have ended: by the engine")
        before = ours.seconds, limit.seconds
        with ours:
            _run(Step("advance", advance), moment)
        counted = _counted("")
        run_sql("CHECKPOINT")
        say(f"{people // 2:,} messages have ended: by bare SQL")
        with limit:
            run_sql(RELEASE, **values)
        shares.append((ours.seconds - before[0]) / (limit.seconds - before[1]))
        if counted != _counted("bench_"):
            raise RuntimeError(f"The engine wrote {counted}, bare SQL {_counted('bench_')}.")
    finally:
        for table in COPIES:
            run_sql(f"DROP TABLE bench_{table}")
    moved = people + people // 2
    expected = {"under way": people, "moves": moved, "messages": people // 2, "waiting": people}
    if enrolled != people or counted != expected:
        raise RuntimeError(f"Of {people} people {enrolled} were enrolled, then: {counted}.")
    notes = {
        "people inside": f"{counted['under way']:,}, each with one token",
        "history rows": counted["moves"],
        "messages": counted["messages"],
        "people/s": round(people / ours.seconds),
        "enrolments/s": round(enrolled / enrolling.seconds),
        "times the limit's time, asking and sending · going on": " · ".join(f"{share:.2f}" for share in shares),
        "seconds": ours.seconds,
    }
    return notes, moved / ours.seconds, moved / limit.seconds


def _people(people: int, now: datetime) -> None:
    """So many contacts, every second one on the plan that is asked for, and an event of each that lets them in."""
    run_sql(
        "TRUNCATE contacts_contact, contacts_touchpoint, contacts_stepcursor, campaigns_enrolment, campaigns_due,"
        " campaigns_visit, messaging_message RESTART IDENTITY CASCADE"
    )
    run_sql(
        "INSERT INTO contacts_contact (email, first_name, stage, attributes, created_at, updated_at)"
        " SELECT 'person' || n || '@example.com', 'Name' || n, 'known',"
        " jsonb_build_object('plan', CASE WHEN n %% 2 = 0 THEN 'pro' ELSE 'free' END), %(now)s, %(now)s"
        " FROM generate_series(1, %(people)s) AS n",
        people=people,
        now=now,
    )
    run_sql(
        "INSERT INTO contacts_touchpoint (contact_id, kind, channel, occurred_at, received_at)"
        " SELECT id, 'bench.begun', 'web', %(now)s, %(now)s FROM contacts_contact ORDER BY id",
        now=now,
    )
    run_sql("ANALYZE contacts_contact")
    run_sql("ANALYZE contacts_touchpoint")


def _run(step: Step, now: datetime) -> int:
    """Runs a step as the tick does; raises RuntimeError with what broke it."""
    done = run_step(step, now)
    if error := StepCursor.objects.get(step=step.name).error:
        raise RuntimeError(error)
    return done


def _counted(prefix: str) -> dict[str, int]:
    found = {}
    with connection.cursor() as cursor:
        for name, model in (("under way", Due), ("moves", Visit), ("messages", Message)):
            cursor.execute(f"SELECT count(*) FROM {prefix}{model._meta.db_table}")  # noqa: S608 - names of our own
            found[name] = cursor.fetchone()[0]
        cursor.execute(f"SELECT count(*) FROM {prefix}campaigns_due WHERE node_kind = 'wait'")  # noqa: S608
        found["waiting"] = cursor.fetchone()[0]
    return found


def _end_messages(now: datetime) -> None:
    """All messages have left, in both worlds, and the inbox's news of it has been taken in."""
    for prefix in ("", "bench_"):
        table = f"{prefix}messaging_message"
        run_sql(f"UPDATE {table} SET state = 'sent', sent_at = %(now)s, finished_at = %(now)s", now=now)  # noqa: S608
    run_sql(
        "INSERT INTO contacts_touchpoint (contact_id, kind, channel, occurred_at, received_at, source, properties)"
        " SELECT contact_id, 'email.sent', 'email', %(now)s, %(now)s, 'email', jsonb_build_object('message', id)"
        " FROM messaging_message ORDER BY id",
        now=now,
    )
    for table in ("messaging_message", "bench_messaging_message", "contacts_touchpoint", "campaigns_due"):
        run_sql(f"VACUUM ANALYZE {table}")
    run_sql("VACUUM ANALYZE bench_campaigns_due")
    run_sql("CHECKPOINT")


ASK = """
WITH taken AS MATERIALIZED (
    DELETE FROM bench_campaigns_due WHERE ctid = ANY(ARRAY(
        SELECT ctid FROM bench_campaigns_due WHERE node_kind = 'ask' AND due_at <= %(now)s))
    RETURNING enrolment_id, contact_id, node_id, entered_at, visit
),
asked AS MATERIALIZED (
    SELECT t.*, c.attributes->>'plan' AS plan, coalesce(c.attributes->>'plan' = 'pro', false) AS is_meant
    FROM taken t JOIN contacts_contact c ON c.id = t.contact_id
),
visits AS (
    INSERT INTO bench_campaigns_visit (enrolment_id, node_id, visit, entered_at, left_at, outcome, inputs)
    SELECT enrolment_id, node_id, visit, entered_at, %(now)s, CASE WHEN is_meant THEN 'then' ELSE 'else' END,
        jsonb_build_object('plan', plan)
    FROM asked
)
INSERT INTO bench_campaigns_due (enrolment_id, contact_id, node_id, node_kind, entered_at, due_at, visit)
SELECT enrolment_id, contact_id, CASE WHEN is_meant THEN %(send)s ELSE %(wait)s END,
    CASE WHEN is_meant THEN 'send' ELSE 'wait' END, %(now)s, CASE WHEN is_meant THEN %(now)s ELSE %(wake)s END, visit
FROM asked
"""

SEND = """
WITH resting AS (
    UPDATE bench_campaigns_due SET node_kind = 'sending', due_at = %(wake)s
    WHERE node_kind = 'send' AND due_at <= %(now)s
    RETURNING enrolment_id, contact_id, visit
)
INSERT INTO bench_messaging_message (key, contact_id, template_id, message_class, source, journey_key, enrolment_id,
    node_key, created_at, due_at)
SELECT 'enrolment:' || enrolment_id || ':send:' || visit, contact_id, %(template)s, 'marketing', 'journey:bench',
    'bench', enrolment_id, 'send', %(now)s, %(now)s
FROM resting
"""

RELEASE = """
WITH taken AS MATERIALIZED (
    DELETE FROM bench_campaigns_due d USING bench_messaging_message m
    WHERE d.node_kind = 'sending' AND m.enrolment_id = d.enrolment_id AND m.node_key = 'send' AND m.state = 'sent'
    RETURNING d.enrolment_id, d.contact_id, d.node_id, d.entered_at, d.visit, m.id AS message_id, m.state, m.reason
),
visits AS (
    INSERT INTO bench_campaigns_visit (enrolment_id, node_id, visit, entered_at, left_at, outcome, inputs)
    SELECT enrolment_id, node_id, visit, entered_at, %(now)s, 'next',
        jsonb_build_object('message', message_id, 'state', state, 'reason', reason)
    FROM taken
)
INSERT INTO bench_campaigns_due (enrolment_id, contact_id, node_id, node_kind, entered_at, due_at, visit)
SELECT enrolment_id, contact_id, %(wait)s, 'wait', %(now)s, %(wake)s, visit FROM taken
"""
