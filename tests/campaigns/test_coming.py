"""What is told of sends to come: casts of tracks and messages behind waits, of live journeys only."""

from datetime import timedelta

import pytest

from campaigns import publishing
from journey_crm import home
from messaging.planned import names_of_tracks, planned_for
from tests.campaigns.world import DAY, did, journey, people, person, tick

pytestmark = pytest.mark.django_db

TUESDAYS = {"rrule": "FREQ=WEEKLY;BYDAY=TU", "at": "10:00"}


def told(now):
    return [(send.what, send.journey, send.count, send.first_at) for send in home.next_sends(now)]


def test_the_next_cast_of_a_track_is_told_with_its_people(now):
    streams = [{"key": "basics", "cadence": TUESDAYS, "items": [{"send": "one"}]}]
    one = journey(now, key="education", kind="nurture", name="Education", streams=streams)
    for contact in people(3):
        did(contact, "trial.started", now)
    tick(now)
    assert told(now) == [], "a cast in exactly seven days is beyond them"
    later = now + DAY
    assert told(later) == [("The next item of “Education”", "", 3, now + timedelta(days=7))]
    publishing.pause(journey=one, by=None, now=later)
    assert told(later) == []


def test_a_message_behind_a_wait_is_told_and_one_behind_a_question_is_not(now):
    journey(now, steps=[{"wait": "2d"}, {"send": "hello"}, {"wait": "3d"}, {"ask": {"did": "a.b"}}, {"send": "bye"}])
    did(person(), "trial.started", now)
    tick(now)
    assert told(now) == [("hello", "j", 1, now + 2 * DAY)]
    tick(now + 2 * DAY, delivers=False)
    assert [(what, count) for what, _journey, count, _at in told(now + 2 * DAY)] == [("hello", 1)], "made, not sent"


def test_a_broadcast_that_waits_for_its_moment_is_told(now):
    for contact in people(3):
        contact.country = "CZ"
        contact.save(update_fields=["country"])
    rule = {"field": "country", "op": "eq", "value": "CZ"}
    journey(now, key="sale", kind="broadcast", trigger=None, audience=rule, send="sale", at="2026-11-11T09:00")
    tick(now + timedelta(hours=10))
    later = now + timedelta(hours=11)
    assert [(count, at) for _what, _journey, count, at in told(later)] == [(3, now + timedelta(hours=23))]


def test_one_person_is_told_what_their_journeys_send_next(now):
    journey(now, key="welcome", name="Welcome", steps=[{"wait": "2d"}, {"send": "hello"}])
    streams = [{"key": "basics", "cadence": TUESDAYS, "items": [{"send": "one"}]}]
    track = journey(now, key="education", kind="nurture", name="Education", streams=streams)
    one, other = people(2)
    did(one, "trial.started", now)
    tick(now)

    def coming(contact):
        return [(send.name, send.sender, send.at, send.is_certain) for send in planned_for(contact, [], now)]

    assert coming(one) == [
        ("hello", "Welcome", now + 2 * DAY, False),
        ("", "Education", now + timedelta(days=7), False),
    ]
    assert coming(other) == []
    publishing.pause(journey=track, by=None, now=now)
    assert [name for name, *_rest in coming(one)] == ["hello"]
    assert names_of_tracks() == {"education": "Education"}
