"""Why somebody is on a journey, or is not."""

from datetime import timedelta

import pytest

from campaigns import publishing
from campaigns.explaining import explain_journey
from campaigns.models import Enrolment
from contacts.models import Segment
from messaging.models import Message
from tests.campaigns.world import DAY, did, journey, person, tick

pytestmark = pytest.mark.django_db


def test_where_she_stands_why_and_what_comes_next(now):
    one = journey(now, steps=[{"send": "hello"}, {"wait": "2d"}, {"send": "more"}])
    ann = person()
    event = did(ann, "trial.started", now)
    tick(now)
    answer = explain_journey(ann, one, now)
    assert (answer["state"], answer["since"], answer["version"]) == ("open", now, 1)
    assert (answer["entered_because"]["id"], answer["entered_because"]["kind"]) == (event.pk, "trial.started")
    assert answer["path"] == [
        {
            "step": "hello",
            "entered_at": now,
            "left_at": now,
            "outcome": "next",
            "inputs": {"message": Message.objects.get().pk, "state": "sent", "reason": ""},
            "message": {"key": f"enrolment:{Enrolment.objects.get().pk}:hello:1", "state": "sent", "reason": ""},
        }
    ]
    assert (answer["next"]["step"], answer["next"]["at"], answer["next"]["is_due"]) == ("wait", now + 2 * DAY, False)


def test_an_item_of_a_track_shows_its_message(now):
    cadence = {"rrule": "FREQ=DAILY", "at": "12:00"}
    one = journey(now, kind="nurture", streams=[{"key": "s", "cadence": cadence, "items": [{"send": "one"}]}])
    ann = person()
    did(ann, "trial.started", now)
    tick(now)
    tick(now + DAY)
    answer = explain_journey(ann, one, now)
    assert [(step["outcome"], step["message"]["state"]) for step in answer["path"]] == [("item:one", "sent")]


def test_why_she_is_not_on_it(now):
    Segment.objects.create(key="czech", name="Czech", rule={"field": "country", "op": "eq", "value": "CZ"})
    one = journey(now, trigger=[{"segment_entered": "czech"}, {"touchpoint": "trial.started"}], steps=[{"send": "hi"}])
    ann = person(country="PL")
    answer = explain_journey(ann, one, now)
    assert answer["state"] == "never"
    assert answer["why_not"] == [
        "Nothing that lets people in has happened: segment_entered czech; touchpoint trial.started."
    ]
    assert [leaf["is_true"] for leaf in answer["triggers"][0]["rule"]] == [False]
    did(ann, "trial.started", now - 2 * DAY, received=now)
    tick(now)
    assert "more than 1d after" in explain_journey(ann, one, now)["why_not"][0]
    publishing.pause(journey=one, by=None, now=now)
    one.refresh_from_db()
    assert explain_journey(ann, one, now)["why_not"][0] == "The journey is not live: it is paused."


def test_why_she_does_not_get_in_again(now):
    one = journey(now, reentry={"policy": "after_exit", "cooldown": "30d"}, steps=[{"send": "hello"}])
    ann = person()
    did(ann, "trial.started", now)
    tick(now)
    answer = explain_journey(ann, one, now + DAY)
    assert answer["left"] == {"ended_at": now, "reason": "end"}
    assert answer["why_not"][0].startswith("Getting in again is possible after 2026-12-10")


def test_a_journey_that_never_went_live_explains_itself(now):
    one = journey(now, publish=False, steps=[{"send": "hello"}])
    assert explain_journey(person(), one, now)["why_not"] == ["The journey is not live: it is draft."]


def test_a_broadcast_explains_who_was_in_its_audience_and_what_became_of_the_mail(now):
    ann, bob = person(country="CZ"), person(country="PL")
    rule = {"field": "country", "op": "eq", "value": "CZ"}
    one = journey(now, "sale", kind="broadcast", trigger=None, audience=rule, send="sale", at="2026-11-11T09:00")
    said = explain_journey(bob, one, now)
    assert said["why_not"] == ["Its audience has not been taken yet."]
    tick(now + timedelta(hours=10))
    said = explain_journey(ann, one, now)
    assert (said["state"], said["next"]["step"]) == ("open", "moment")
    said = explain_journey(bob, one, now)
    assert said["why_not"][0].startswith("The contact was not in the audience when it was taken, on ")
    assert [answer["is_true"] for answer in said["triggers"][0]["rule"]] == [False]
    tick(now + timedelta(hours=23))
    said = explain_journey(ann, one, now)
    assert (said["state"], said["path"][-1]["message"]["state"]) == ("finished", "sent")
