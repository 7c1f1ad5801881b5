"""Whole journeys: people enter, get a personal mail of some 12 kB, wait, are asked, and every second one gets another.

Ours is the real tick and the real delivery, by turns in one process, to a real SMTP sink; every row is durable. The
limit does the same moves by bare SQL on copies of the tables, and hands over prebuilt mails of the same bytes; it has
no journey to look up, no gates, no news to read, no foreign keys, and writes no mail.
"""

# ruff: noqa: S608  the statements are put together from pieces of our own

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from django.db import connection

from campaigns import publishing
from campaigns.models import Journey, Node
from contacts.models import Field
from journey_crm.benches import Result, Stopwatch, run_sql
from journey_crm.benches.deliver import BODY, CONNECTIONS, SUBJECT, brand, mail_to, prebuilt
from journey_crm.benches.sink import send_bare, sink
from journey_crm.tick import tick
from messaging.channels import Outgoing
from messaging.delivery import deliver
from messaging.models import Template, Topic

ROWS = 2_000
# A morning on which nobody's hours are quiet.
NOW = datetime(2027, 5, 4, 8, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
# Contact-journeys a second of Tryton's marketing automation with two workers, for the same journey (measured before).
TRYTON = 17.5
PREBUILT = 1_000
COPIES = ("campaigns_enrolment", "campaigns_due", "campaigns_visit", "messaging_message")


def run(rows: int, say: Callable[[str], object]) -> Result:
    built = min(rows, PREBUILT)
    journey = _publish()
    _people(rows)
    mails = _prebuilt(built)
    for table in COPIES:
        run_sql(f"CREATE TABLE bench_{table} (LIKE {table} INCLUDING ALL)")
    ours, limit, moving = Stopwatch(), Stopwatch(), Stopwatch()
    try:
        with sink() as (port, sink_name), mail_to(f"smtp://127.0.0.1:{port}?connections={CONNECTIONS}"):
            say(f"{rows:,} whole journeys by tick and delivery, to {sink_name}")
            with ours:
                for moment in (NOW, LATER):
                    with moving:
                        tick(moment)
                    deliver(now=moment)
                    with moving:
                        tick(moment)
            say("the same by bare SQL and a bare client")
            nodes = {node.key or "entry": node.pk for node in Node.objects.filter(version=journey.version)}
            again = [mails[number % built] for number in range(rows)]
            values = {**nodes, "now": NOW, "later": LATER, "journey": journey.pk, "version": journey.version_id}
            for statements, letters in ((BEGIN, again), (GO_ON, again[: rows // 2]), (END, [])):
                with limit:
                    for statement in statements:
                        run_sql(statement, **values)
                    if letters:
                        send_bare(port, letters, CONNECTIONS)
        counted = [_counted(""), _counted("bench_")]
        expected = {"finished": rows, "moves": rows * 4 + rows // 2, "sent": rows + rows // 2}
        if counted != [expected, expected]:
            raise RuntimeError(f"The engine wrote {counted[0]}, bare SQL {counted[1]}, not {expected}.")
    finally:
        for table in COPIES:
            run_sql(f"DROP TABLE bench_{table}")
    rate = rows / ours.seconds
    return Result(
        "journeys", "journeys/s", rows, rate, rows / limit.seconds, 0.35,
        "the same moves by bare SQL on copies of the tables, and a bare pipelined client for the mails",
        {
            "times Tryton with two workers": f"{rate / TRYTON:.0f} (goal 100, floor 40; {TRYTON} journeys/s)",
            "mails/s": round(rows * 1.5 / ours.seconds),
            "moves/s of the ticks alone": round(expected["moves"] / moving.seconds),
            "sink": sink_name,
        },
    )  # fmt: skip


def _prebuilt(mails: int) -> list[Outgoing]:
    """So many of the journey's mails, of which no trace stays."""
    run_sql(
        "INSERT INTO messaging_message (key, contact_id, template_id, message_class, state, created_at, due_at)"
        " SELECT 'bench:' || c.id, c.id, t.id, t.message_class, 'ready', %(now)s, %(now)s"
        " FROM messaging_template t, contacts_contact c WHERE t.key = 'bench-first' ORDER BY c.id LIMIT %(mails)s",
        mails=mails,
        now=NOW,
    )
    made = prebuilt(mails, NOW)
    run_sql("TRUNCATE messaging_message, contacts_incoming CASCADE")
    return made


def _publish() -> Journey:
    brand()
    Field.objects.get_or_create(key="plan", defaults={"type": "text", "name": "Plan"})
    topic, _is_new = Topic.objects.get_or_create(key="bench", defaults={"name": "Bench", "is_opt_in": False})
    for key in ("bench-first", "bench-second"):
        # Not marketing: no cap keeps the second one back.
        said = {"topic": topic, "subject": SUBJECT, "body": BODY, "message_class": "operational"}
        Template.objects.get_or_create(key=key, defaults=said)
    journey, _is_new = Journey.objects.get_or_create(key="bench-whole", defaults={"kind": "onboarding"})
    definition = {
        "key": "bench-whole",
        "kind": "onboarding",
        "trigger": "manual",
        "steps": [
            {"key": "first", "send": "bench-first"},
            {"key": "wait", "wait": "1h"},
            {
                "key": "ask",
                "ask": {"field": "plan", "op": "eq", "value": "pro"},
                "then": [{"key": "second", "send": "bench-second"}],
                "else": [],
            },
        ],
    }
    publishing.save_draft(journey=journey, definition=definition, by=None, now=NOW)
    publishing.publish(journey=journey, by=None, now=NOW)
    journey.refresh_from_db()
    return journey


def _people(people: int) -> None:
    """So many contacts, every second one on the plan that is asked for, and an event of each that lets them in."""
    run_sql(
        "INSERT INTO contacts_contact (email, first_name, last_name, job_title, stage, attributes, created_at,"
        " updated_at)"
        " SELECT 'whole' || n || '@example.com', 'Anna' || n, 'Nováková', 'buyer ' || n, 'known',"
        " jsonb_build_object('plan', CASE WHEN n %% 2 = 0 THEN 'pro' ELSE 'free' END), %(now)s, %(now)s"
        " FROM generate_series(1, %(people)s) AS n",
        people=people,
        now=NOW,
    )
    run_sql(
        # Asked for by a person: a crowd that nobody let in on purpose would blow the fuse.
        "INSERT INTO contacts_touchpoint (contact_id, kind, channel, occurred_at, received_at, source, properties)"
        " SELECT id, 'journey.requested', '', %(now)s, %(now)s, 'journey',"
        " jsonb_build_object('journey', 'bench-whole', 'by', 'bench', 'entry_key', '')"
        " FROM contacts_contact ORDER BY id",
        now=NOW,
    )
    for table in ("contacts_contact", "contacts_touchpoint"):
        run_sql(f"ANALYZE {table}")


def _counted(prefix: str) -> dict[str, int]:
    asked = {
        "finished": f"{prefix}campaigns_enrolment WHERE state = 'finished'",
        "moves": f"{prefix}campaigns_visit",
        "sent": f"{prefix}messaging_message WHERE state = 'sent'",
    }
    found = {}
    with connection.cursor() as cursor:
        for name, rows in asked.items():
            cursor.execute(f"SELECT count(*) FROM {rows}")
            found[name] = cursor.fetchone()[0]
    return found


_VISITS = """INSERT INTO bench_campaigns_visit (enrolment_id, node_id, visit, entered_at, left_at, outcome)
    SELECT enrolment_id, {node}, visit, entered_at, {at}, {outcome} FROM"""
_MESSAGES = """INSERT INTO bench_messaging_message (key, contact_id, template_id, message_class, source, journey_key,
        enrolment_id, node_key, created_at, due_at)
    SELECT 'enrolment:' || enrolment_id || ':{step}:' || visit, contact_id, (
               SELECT id FROM messaging_template WHERE key = 'bench-{step}'
           ), 'operational', 'journey:bench-whole', 'bench-whole', enrolment_id, '{step}', {at}, {at} FROM"""
_TOKENS = """INSERT INTO bench_campaigns_due (enrolment_id, contact_id, node_id, node_kind, entered_at, due_at)"""
_MARK = (
    """UPDATE bench_messaging_message SET state = 'sent', sent_at = {at}, finished_at = {at} WHERE state = 'pending'"""
)
_TAKE = """DELETE FROM bench_campaigns_due WHERE node_kind = '{kind}'
    RETURNING enrolment_id, contact_id, node_id, entered_at, visit"""

# Everybody enters, and rests at the first message.
BEGIN = [
    f"""WITH entered AS (
        INSERT INTO bench_campaigns_enrolment (contact_id, journey_id, version_id, enrolled_at, touchpoint_id)
        SELECT contact_id, %(journey)s, %(version)s, %(now)s, id FROM contacts_touchpoint
        WHERE kind = 'journey.requested'
        RETURNING id AS enrolment_id, contact_id, 1 AS visit, enrolled_at AS entered_at
    ), visits AS ({_VISITS.format(node="%(entry)s", at="%(now)s", outcome="'next'")} entered),
    messages AS ({_MESSAGES.format(step="first", at="%(now)s")} entered)
    {_TOKENS} SELECT enrolment_id, contact_id, %(first)s, 'sending', %(now)s, %(later)s FROM entered""",
]  # fmt: skip
# The mails have left: everybody waits; an hour later they are asked, and half of them rest at the second message.
GO_ON = [
    _MARK.format(at="%(now)s"),
    f"""WITH taken AS ({_TAKE.format(kind="sending")}),
    visits AS ({_VISITS.format(node="node_id", at="%(now)s", outcome="'next'")} taken)
    {_TOKENS} SELECT enrolment_id, contact_id, %(wait)s, 'wait', %(now)s, %(later)s FROM taken""",
    f"""WITH taken AS ({_TAKE.format(kind="wait")}),
    visits AS ({_VISITS.format(node="node_id", at="%(later)s", outcome="'next'")} taken)
    {_TOKENS} SELECT enrolment_id, contact_id, %(ask)s, 'ask', %(later)s, %(later)s FROM taken""",
    f"""WITH taken AS ({_TAKE.format(kind="ask")}),
    asked AS MATERIALIZED (
        SELECT t.*, c.attributes->>'plan' = 'pro' AS is_meant
        FROM taken t JOIN contacts_contact c ON c.id = t.contact_id
    ), visits AS (
        {_VISITS.format(node="node_id", at="%(later)s", outcome="CASE WHEN is_meant THEN 'then' ELSE 'else' END")} asked
    ), ended AS (
        UPDATE bench_campaigns_enrolment e SET state = 'finished', exit_reason = 'end', ended_at = %(later)s
        FROM asked a WHERE NOT a.is_meant AND e.id = a.enrolment_id
    ), messages AS ({_MESSAGES.format(step="second", at="%(later)s")} asked WHERE is_meant)
    {_TOKENS} SELECT enrolment_id, contact_id, %(second)s, 'sending', %(later)s, %(later)s FROM asked WHERE is_meant""",
]  # fmt: skip
END = [
    _MARK.format(at="%(later)s"),
    f"""WITH taken AS ({_TAKE.format(kind="sending")}),
    visits AS ({_VISITS.format(node="node_id", at="%(later)s", outcome="'next'")} taken)
    UPDATE bench_campaigns_enrolment e SET state = 'finished', exit_reason = 'end', ended_at = %(later)s
    FROM taken WHERE e.id = taken.enrolment_id""",
]  # fmt: skip
