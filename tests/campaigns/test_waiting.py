"""Waits: until a local time, and for something that may come before, during or never."""

from datetime import UTC, datetime, timedelta

import pytest

from campaigns import publishing
from campaigns.models import Due, Enrolment
from contacts.models import Contact
from messaging.models import Message
from tests.campaigns.world import DAY, did, journey, path, people, person, sent, tick, where

pytestmark = pytest.mark.django_db


def test_what_came_while_a_journey_was_paused_is_seen_when_it_goes_on(now):
    one = journey(
        now, steps=[{"wait_for": {"did": "page.viewed"}, "timeout": "9d", "then": [{"send": "yes"}], "else": []}]
    )
    ann, ben = person(), person()
    did(ben, "trial.started", now)
    did(ann, "trial.started", now)
    tick(now)
    publishing.pause(journey=one, by=None, now=now)
    did(ann, "page.viewed", now + DAY)
    tick(now + DAY)
    assert sent() == []
    publishing.resume(journey=one, by=None, now=now + 2 * DAY)
    tick(now + 2 * DAY)
    assert (sent(ann), sent(ben)) == (["yes"], [])
    tick(now + 9 * DAY)
    assert where(ben) is None, "the timeout still counts from the step"


def test_weekdays_are_those_of_the_person(now):
    journey(now, steps=[{"wait_until": {"local_time": "09:00", "weekdays": "mon-fri"}}])
    friday_night = datetime(2026, 11, 13, 22, 0, tzinfo=UTC)  # Saturday morning in Auckland, Friday in New York
    for zone, expected in (
        ("Pacific/Auckland", datetime(2026, 11, 15, 20, 0, tzinfo=UTC)),
        ("America/New_York", datetime(2026, 11, 16, 14, 0, tzinfo=UTC)),
        ("America/Los_Angeles", datetime(2026, 11, 16, 17, 0, tzinfo=UTC)),
        ("", datetime(2026, 11, 16, 8, 0, tzinfo=UTC)),  # the workspace: Prague
    ):
        ann = person(zone=zone)
        did(ann, "trial.started", friday_night)
        tick(friday_night)
        assert Due.objects.get(contact_id=ann.pk).due_at == expected, zone


def test_a_local_time_that_is_now_is_not_waited_for(now):
    journey(now, steps=[{"wait_until": {"local_time": "10:00"}}, {"send": "hello"}])
    ann = person(zone="Europe/Prague")
    did(ann, "trial.started", now)
    tick(now)
    assert sent(ann) == ["hello"]


WAITING = [
    {"wait": "1d"},
    {
        "key": "first-project",
        "wait_for": {"did": "project.created"},
        "timeout": "5d",
        "then": [{"send": "well-done"}],
        "else": [{"send": "need-help"}],
    },
]


def test_what_is_waited_for_may_come_before_during_or_after_the_wait(now):
    journey(now, steps=WAITING)
    people(300)
    everybody = list(Contact.objects.order_by("pk"))
    early, timely, late = everybody[:100], everybody[100:200], everybody[200:]
    for contact in everybody:
        did(contact, "trial.started", now)
    tick(now)
    for contact in early:
        did(contact, "project.created", now + DAY / 2)
    for hours in range(12, 24 * 8, 6):
        moment = now + timedelta(hours=hours)
        if hours == 48:
            for contact in timely:
                did(contact, "project.created", moment)
        if hours == 24 * 7:
            for contact in late:
                did(contact, "project.created", moment)
        tick(moment)
        if hours == 24:
            assert Message.objects.filter(template__key="well-done").count() == 100, "at once where it came before"
        if hours == 48:
            assert Message.objects.filter(template__key="well-done").count() == 200, "at once where it comes"
    assert set(Message.objects.filter(contact__in=late).values_list("template__key", flat=True)) == {"need-help"}
    assert Message.objects.count() == 300
    assert Enrolment.objects.filter(state="finished").count() == 300


def test_what_came_before_the_enrolment_does_not_count(now):
    journey(now, steps=WAITING)
    ann = person()
    did(ann, "project.created", now - DAY)
    did(ann, "trial.started", now)
    tick(now)
    tick(now + DAY)
    assert where(ann) == "first-project"


def test_a_wait_may_count_only_from_the_step(now):
    steps = [WAITING[0], {**WAITING[1], "since": "step"}]
    journey(now, steps=steps)
    ann = person()
    did(ann, "trial.started", now)
    tick(now)
    did(ann, "project.created", now + DAY / 2)
    tick(now + DAY)
    assert where(ann) == "first-project"
    did(ann, "project.created", now + 2 * DAY)
    tick(now + 2 * DAY)
    assert path(ann)[-2:] == [("first-project", "then"), ("well-done", "next")]


def test_the_event_that_let_somebody_in_does_not_answer_the_wait_for_the_same_kind(now):
    journey(
        now,
        trigger={"touchpoint": "order.placed"},
        steps=[{"wait_for": {"did": "order.placed"}, "timeout": "5d", "then": [{"send": "thanks"}], "else": []}],
    )
    ann = person()
    did(ann, "order.placed", now)
    tick(now)
    assert where(ann) == "wait-for"
    did(ann, "order.placed", now + DAY)
    tick(now + DAY)
    assert sent(ann) == ["thanks"]


def test_what_she_did_between_the_trigger_and_the_tick_counts(now):
    journey(now, steps=[{"wait_for": {"did": "project.created"}, "timeout": "5d", "then": [{"send": "hey"}]}])
    ann = person()
    did(ann, "trial.started", now)
    did(ann, "project.created", now + timedelta(seconds=1))
    tick(now + timedelta(seconds=5))
    assert sent(ann) == ["hey"]


def test_a_wait_for_a_state_ends_when_the_contact_changes(now):
    journey(
        now,
        steps=[
            {"wait_for": {"field": "country", "op": "eq", "value": "CZ"}, "timeout": "5d", "then": [{"send": "hey"}]}
        ],
    )
    ann = person()
    did(ann, "trial.started", now)
    tick(now)
    ann.country = "CZ"
    ann.save()
    did(ann, "contact.updated", now + DAY, fields=["country"])
    tick(now + DAY)
    assert sent(ann) == ["hey"]


def test_a_timeout_of_days_keeps_the_clock(now):
    journey(now, steps=[{"wait_for": {"did": "project.created"}, "timeout": "1d"}])
    before_the_switch = datetime(2027, 3, 27, 9, tzinfo=UTC)
    ann = person(zone="Europe/Prague")
    did(ann, "trial.started", before_the_switch)
    tick(before_the_switch)
    assert Due.objects.get().due_at == before_the_switch + timedelta(hours=23)


def test_after_a_long_outage_everybody_goes_on(now):
    journey(now, steps=WAITING)
    ann = person()
    did(ann, "trial.started", now)
    tick(now)
    tick(now + 60 * DAY)
    assert where(ann) == "first-project", "the timeout is counted from coming to the wait"
    tick(now + 65 * DAY)
    assert sent(ann) == ["need-help"]


def test_a_goal_that_a_step_reaches_acts_before_the_next_step(now):
    journey(
        now, goal={"rule": {"field": "country", "op": "eq", "value": "CZ"}}, steps=[{"goal": "here"}, {"send": "no"}]
    )
    ann = person()
    did(ann, "trial.started", now)
    tick(now)
    assert Enrolment.objects.get().exit_reason == "goal"
    assert sent(ann) == []
