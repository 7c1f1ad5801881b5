"""The nurture state beside the stage: none → in nurture → re-engaged."""

from datetime import timedelta

import pytest

from campaigns.models import Enrolment
from contacts.models import Contact
from contacts.rules import explain, matching
from tests.campaigns.world import DAY, did, journey, people, person, tick, told

pytestmark = pytest.mark.django_db

STREAM = {"key": "only", "cadence": {"rrule": "FREQ=WEEKLY;BYDAY=TU", "at": "10:00"}, "items": []}
SECOND = timedelta(seconds=1)


def in_state(state: str, now) -> list[Contact]:
    return list(matching({"field": "nurture_state", "op": "eq", "value": state}, now).order_by("pk"))


def test_from_none_by_nurture_to_re_engaged_and_round_again(now):
    journey(
        now, kind="nurture", streams=[STREAM], reentry={"policy": "after_exit"}, exit={"did": "score.crossed"},
    )  # fmt: skip
    ann, ben = person(), person()
    assert in_state("none", now) == [ann, ben]
    did(ann, "trial.started", now)
    tick(now)
    assert (in_state("in_nurture", now), in_state("none", now)) == ([ann], [ben])
    did(ann, "score.crossed", now + DAY, score="engagement", direction="up")
    tick(now + DAY)
    assert Enrolment.objects.get().state == "exited", "noted before the exit rule let her out"
    assert (in_state("re_engaged", now), in_state("in_nurture", now)) == ([ann], [])
    assert told("track.re_engaged") == [{"journey": "j", "enrolment": Enrolment.objects.get().pk}]
    did(ann, "trial.started", now + 2 * DAY)
    tick(now + 2 * DAY)
    assert (in_state("in_nurture", now), in_state("re_engaged", now)) == ([ann], [])


def test_leaving_without_a_crossing_leads_back_to_none(now):
    journey(now, kind="nurture", streams=[STREAM], exit={"did": "demo.booked"})
    ann = person()
    did(ann, "trial.started", now)
    tick(now)
    did(ann, "score.crossed", now + DAY, score="engagement", direction="down")
    tick(now + DAY)
    assert in_state("in_nurture", now) == [ann]
    did(ann, "demo.booked", now + 2 * DAY)
    tick(now + 2 * DAY)
    assert in_state("none", now) == [ann]


def test_becoming_qualified_by_another_way_re_engages_too_and_is_told_once(now):
    for key in ("a", "b"):
        journey(now, key=key, kind="nurture", streams=[STREAM])
    ann = person()
    did(ann, "trial.started", now)
    tick(now)
    for day, to in ((1, "lead"), (2, "qualified"), (3, "qualified")):
        did(ann, "stage.changed", now + day * DAY, to=to)
        tick(now + day * DAY)
        assert len(told("track.re_engaged")) == (1 if day > 1 else 0)
    assert in_state("re_engaged", now) == [ann]
    assert Enrolment.objects.filter(re_engaged_at=now + 2 * DAY).count() == 2


def test_what_came_before_the_track_does_not_count(now):
    journey(now, kind="nurture", streams=[STREAM])
    ann = person()
    did(ann, "score.crossed", now, score="engagement", direction="up")
    did(ann, "trial.started", now)
    tick(now)
    tick(now + SECOND)
    assert in_state("in_nurture", now) == [ann]


def test_a_rule_about_it_explains_itself(now):
    ann = person()
    [leaf] = explain({"field": "nurture_state", "op": "eq", "value": "in_nurture"}, ann, now)
    assert (leaf.is_true, leaf.says) == (False, "Nurture is In nurture")


def test_it_is_asked_of_many_at_once(now, django_assert_num_queries):
    journey(now, kind="nurture", streams=[STREAM])
    for contact in people(50):
        did(contact, "trial.started", now)
    tick(now)
    with django_assert_num_queries(1):
        assert len(in_state("in_nurture", now)) == 50
