"""Journeys, people and steps of the tick for the tests of this folder."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from django.db import connection

from campaigns import publishing
from campaigns.broadcasting import broadcast
from campaigns.engine import advance
from campaigns.enrolling import enrol
from campaigns.models import Due, Enrolment, Journey, Visit
from contacts.ingest import ingest
from contacts.models import Contact, Identity, StepCursor, Touchpoint
from contacts.stream import Step, run_step
from messaging.models import Brand, Message, Template, Topic

STEPS = [Step("ingest", ingest), Step("enrol", enrol), Step("broadcast", broadcast), Step("advance", advance)]
DAY = timedelta(days=1)


def templates(*keys: str) -> None:
    """Templates that the linter has nothing against, and the brand without which nothing goes live."""
    brand = {"name": "Acme", "sender": "Acme <a@acme.example>", "postal_address": "1 Main St, Brno"}
    Brand.objects.get_or_create(pk=1, defaults=brand)
    topic, _ = Topic.objects.get_or_create(key="tips", defaults={"name": "Tips", "is_opt_in": False})
    for key in keys:
        texts = {"subject": key, "preheader": "First words", "body": "Hello"}
        Template.objects.get_or_create(key=key, defaults={"topic": topic, **texts})


def journey(
    now: datetime, key: str = "j", kind: str = "onboarding", publish: bool = True, **definition: Any
) -> Journey:
    """A live journey with this definition; the templates it sends are made."""
    definition = {"key": key, "kind": kind, "trigger": {"touchpoint": "trial.started"}, **definition}
    definition = {name: value for name, value in definition.items() if value is not None}
    if kind == "onboarding":
        definition.setdefault("min_gap", "0d")  # steps follow each other at once unless a test wants the gap
    templates(*_sent(definition))
    made, _ = Journey.objects.get_or_create(key=key, defaults={"kind": kind})
    publishing.save_draft(journey=made, definition=definition, by=None, now=now)
    if publish:
        publishing.publish(journey=made, by=None, now=now)
    made.refresh_from_db()
    return made


def _sent(part: Any) -> Iterable[str]:
    if isinstance(part, dict):
        if isinstance(part.get("send"), str):
            yield part["send"]
        for value in part.values():
            yield from _sent(value)
    elif isinstance(part, list):
        for value in part:
            yield from _sent(value)


def person(number: int = 0, **more: Any) -> Contact:
    number = number or Contact.objects.count() + 1
    contact = Contact.objects.create(email=f"p{number}@example.com", stage="known", **more)
    Identity.objects.create(contact=contact, kind="email", value=contact.email)
    return contact


def people(count: int, prefix: str = "q", **more: Any) -> list[Contact]:
    return Contact.objects.bulk_create(
        Contact(email=f"{prefix}{number}@example.com", stage="known", **more) for number in range(count)
    )


def did(contact: Contact, kind: str, at: datetime, received: datetime | None = None, **properties: Any) -> Touchpoint:
    """One thing that happened, as ingest would write it."""
    return Touchpoint.objects.create(
        contact=contact, kind=kind, occurred_at=at, received_at=received or at, properties=properties
    )


def tick(now: datetime, delivers: bool = True) -> dict[str, int]:
    """The steps of the tick that journeys need; then what is due is delivered, until nobody rests at a send for it."""
    done = {step.name: run_step(step, now) for step in STEPS}
    while delivers and deliver(now):
        for step in STEPS:
            done[step.name] += run_step(step, now)
    broken = StepCursor.objects.exclude(error="").values_list("step", "error")
    assert not broken, "\n".join(f"{step}: {error}" for step, error in broken)
    assert_one_token_each()
    return done


def deliver(now: datetime, state: str = "sent", reason: str = "", **which: Any) -> int:
    """Ends due messages as gates and delivery would, without either: all of them, or `which`; ghosts are held out."""
    due = Message.objects.filter(state="pending", due_at__lte=now, is_held=False, **which)
    with connection.cursor() as cursor:
        cursor.execute(
            _END, {"ids": list(due.values_list("pk", flat=True)), "now": now, "state": state, "reason": reason}
        )
        return cursor.rowcount


_END = """
WITH ended AS (
    UPDATE messaging_message m
    SET state = CASE WHEN is_ghost THEN 'skipped' ELSE %(state)s END,
        reason = CASE WHEN is_ghost THEN 'holdout' ELSE %(reason)s END,
        sent_at = CASE WHEN %(state)s = 'sent' AND NOT is_ghost THEN %(now)s END, finished_at = %(now)s
    WHERE id = ANY(%(ids)s)
    RETURNING *
)
INSERT INTO contacts_touchpoint (contact_id, kind, source, channel, occurred_at, received_at, properties)
SELECT contact_id, CASE state WHEN 'sent' THEN 'email.sent' WHEN 'failed' THEN 'email.failed' ELSE 'email.skipped' END,
       'email', 'email', %(now)s, %(now)s, jsonb_build_object('message', id, 'journey', journey_key, 'reason', reason)
FROM ended ORDER BY id
"""


def assert_one_token_each() -> None:
    """Each open enrolment has exactly one token, and nobody else has any."""
    tokens = list(Due.objects.order_by("enrolment_id").values_list("enrolment_id", flat=True))
    opened = list(Enrolment.objects.filter(state="open").order_by("id").values_list("id", flat=True))
    assert tokens == opened


def sent(contact: Contact | None = None) -> list[str]:
    """The templates of the messages made so far, in order."""
    rows = Message.objects.order_by("pk")
    return list((rows.filter(contact=contact) if contact else rows).values_list("template__key", flat=True))


def path(contact: Contact) -> list[tuple[str, str]]:
    """The steps left so far, with the exit taken."""
    from campaigns.models import Node

    keys = dict(Node.objects.values_list("pk", "key"))
    rows = Visit.objects.filter(enrolment__contact=contact).order_by("pk")
    return [(keys[row.node_id], row.outcome) for row in rows if keys[row.node_id]]


def where(contact: Contact) -> str | None:
    """The key of the step where the person stands; None if under way nowhere."""
    from campaigns.models import Node

    token = Due.objects.filter(contact_id=contact.pk).first()
    return Node.objects.get(pk=token.node_id).key if token else None


def told(kind: str) -> list[dict[str, Any]]:
    return list(Touchpoint.objects.filter(kind=kind).order_by("pk").values_list("properties", flat=True))
