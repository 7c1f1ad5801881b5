"""Random tracks, people, deliveries and events: the set-based cast gives each member what the twin says."""

import os
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import transaction
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from campaigns.models import Due, Enrolment, Node, Visit
from contacts.models import Contact
from messaging.models import Message, Template
from tests.campaigns import track_twin as twin
from tests.campaigns import world
from tests.campaigns.world import did, journey, people, templates

pytestmark = pytest.mark.django_db

DEEP = os.environ.get("HYPOTHESIS_PROFILE") == "deep"
NOW = datetime(2026, 11, 10, 9, tzinfo=UTC)
WEEK = timedelta(days=7)
TUESDAYS = {"rrule": "FREQ=WEEKLY;BYDAY=TU", "at": "10:00"}
# The four casts, by the clock of everybody.
CASTS = [NOW + week * WEEK for week in range(1, 5)]
TEMPLATES = ["t1", "t2", "t3", "t4"]
EVENTS = ["webinar.attended", "demo.booked"]

rules = st.one_of(
    st.builds(lambda value: {"field": "country", "op": "eq", "value": value}, st.sampled_from(["CZ", "PL"])),
    st.builds(lambda kind: {"did": kind}, st.sampled_from(EVENTS)),
)
days = st.sampled_from(["2026-11-17", "2026-11-20", "2026-11-24T10:00", "2026-12-01T12:00"])
items = st.fixed_dictionaries(
    {"send": st.sampled_from(TEMPLATES)},
    optional={
        "active": st.booleans(),
        "when": rules,
        "consumed_when": rules,
        # The twin reads whole moments: a date alone is the first moment of its day.
        "valid_from": days,
        "valid_to": days.map(lambda day: day if "T" in day else f"{day}T00:00"),
    },
)


@st.composite
def tracks(draw: Any) -> list[dict[str, Any]]:
    keys = ["a", "b", "c"][: draw(st.integers(1, 3))]
    streams = []
    for place, key in enumerate(keys):
        stream: dict[str, Any] = {"key": key, "cadence": TUESDAYS, "items": draw(st.lists(items, max_size=3))}
        for number, item in enumerate(stream["items"]):
            item["key"] = f"{key}{number}"
        if draw(st.booleans()):
            stream["enter"] = draw(rules)
        # Ways lead onward, so that they cannot lead round.
        ways = [None, {"exit": True}, *({"stream": other} for other in keys[place + 1 :])]
        if way := draw(st.sampled_from(ways)):
            stream["exhausted"] = way
        streams.append(stream)
    return streams


ENDS = [("sent", ""), ("skipped", "capped"), ("skipped", "topic_refused"), ("failed", "bounced"), ("pending", ""),
        ("cancelled", "withdrawn"), ("skipped", "expired"), ("uncertain", "")]  # fmt: skip
PEOPLE = 6
lives = st.fixed_dictionaries(
    {
        "country": st.sampled_from(["CZ", "PL", ""]),
        # What she got from elsewhere before.
        "had": st.lists(st.tuples(st.sampled_from(TEMPLATES), st.sampled_from(ENDS)), max_size=2),
        # What becomes of her message, and what happens to her, after each cast.
        "ends": st.lists(st.sampled_from(ENDS), min_size=len(CASTS), max_size=len(CASTS)),
        "does": st.lists(st.sampled_from([*EVENTS, "CZ", "PL", ""]), min_size=len(CASTS), max_size=len(CASTS)),
    }
)


def test_each_member_gets_what_the_twin_says():
    templates(*TEMPLATES)
    seen: set[str] = set()

    # A failing example is small enough to read; to shrink it would take minutes of ticks.
    @settings(
        max_examples=400 if DEEP else 20, derandomize=not DEEP, deadline=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(tracks(), st.lists(lives, min_size=PEOPLE, max_size=PEOPLE))
    def check(streams, stories):
        with transaction.atomic():
            seen.update(_compare(streams, stories))
            transaction.set_rollback(True)

    check()
    assert {"item:a0", "exhausted", "exhausted:b", "b"} <= seen, "each kind of outcome was compared"


def _compare(streams: list[dict[str, Any]], stories: list[dict[str, Any]]) -> set[str]:
    ids = dict(Template.objects.values_list("key", "pk"))
    journey(NOW, key="track", kind="nurture", streams=streams)
    contacts = people(len(stories))
    members = []
    for contact, story in zip(contacts, stories, strict=True):
        Contact.objects.filter(pk=contact.pk).update(country=story["country"])
        did(contact, "trial.started", NOW)
        had = [twin.Letter(template, "", *end) for template, end in story["had"]]
        for number, letter in enumerate(had):
            Message.objects.create(
                key=f"had:{contact.pk}:{number}", contact=contact, template_id=ids[letter.template],
                message_class="marketing", state=letter.state, reason=letter.reason, created_at=NOW, due_at=NOW,
                sent_at=NOW if letter.state == "sent" else None,
            )  # fmt: skip
        members.append(twin.Member(story["country"], streams[0]["key"], letters=had))
    world.tick(NOW, delivers=False)
    for number, moment in enumerate(CASTS):
        local = (moment + timedelta(hours=1)).replace(tzinfo=None)
        world.tick(moment, delivers=False)
        for contact, member, story in zip(contacts, members, stories, strict=True):
            twin.cast(streams, member, local)
            assert _stands(contact) == (None if member.is_out else member.stream, member.path), (member, moment)
            _live_on(contact, member, story["ends"][number], story["does"][number], moment)
    return {step for member in members for step in member.path}


def _stands(contact: Contact) -> tuple[str | None, list[str]]:
    keys = dict(Node.objects.values_list("pk", "key"))
    enrolment = Enrolment.objects.get(contact=contact)
    token = Due.objects.filter(enrolment=enrolment).first()
    path = Visit.objects.filter(enrolment=enrolment).exclude(outcome="next").order_by("pk")
    return keys[token.node_id] if token else None, list(path.values_list("outcome", flat=True))


def _live_on(contact: Contact, member: twin.Member, end: tuple[str, str], does: str, moment: datetime) -> None:
    """What came of the message that was just made, and what she does before the next cast; to both alike."""
    for letter in member.letters:
        if letter.item and letter.state == "pending":
            letter.state, letter.reason = end
    finished_at = None if end[0] == "pending" else moment
    Message.objects.filter(contact=contact, key__startswith="item:", state="pending").update(
        state=end[0], reason=end[1], finished_at=finished_at, sent_at=moment if end[0] == "sent" else None
    )
    if does in EVENTS:
        member.did.add(does)
        did(contact, does, moment + timedelta(days=1))
    else:
        member.country = does
        Contact.objects.filter(pk=contact.pk).update(country=does)
