"""A person is under way in one nurture track at a time; the others stand still, and resume."""

from datetime import timedelta

import pytest
from django.db import IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext

from campaigns import publishing
from campaigns.models import Due, Enrolment, Journey, Visit
from contacts.erasure import erase
from contacts.merging import merge
from contacts.models import Contact, Merge
from contacts.unmerging import unmerge
from messaging.models import Message
from tests.campaigns import world
from tests.campaigns.world import DAY, did, journey, people, person, told

pytestmark = pytest.mark.django_db

WEEK, SECOND = timedelta(days=7), timedelta(seconds=1)
TUESDAYS = {"rrule": "FREQ=WEEKLY;BYDAY=TU", "at": "10:00"}
THURSDAYS = {"rrule": "FREQ=WEEKLY;BYDAY=TH", "at": "10:00"}


def tick(now) -> None:
    """Here nothing is delivered: what is not sent yet is what these tests look at."""
    world.tick(now, delivers=False)


def track(now, key, *items, cadence=TUESDAYS, **more):
    streams = [{"key": "only", "cadence": cadence, "items": [{"send": f"{key}-{item}"} for item in items]}]
    return journey(now, key=key, kind="nurture", trigger={"touchpoint": f"{key}.wanted"}, streams=streams, **more)


def enter(contact, key, now):
    did(contact, f"{key}.wanted", now)
    tick(now)


def under_way(contact) -> list[str]:
    rows = Enrolment.objects.filter(contact=contact, state="open", superseded_at=None)
    return list(rows.values_list("journey__key", flat=True))


def waiting(contact) -> dict[str, str]:
    rows = Enrolment.objects.filter(contact=contact, state="open", superseded_at__isnull=False)
    return dict(rows.values_list("journey__key", "superseded_by__journey__key"))


def intents(contact) -> list[tuple[str, str, str]]:
    rows = Message.objects.filter(contact=contact).order_by("template__key")
    return list(rows.values_list("template__key", "state", "reason"))


def outcomes(contact, key) -> list[str]:
    rows = Visit.objects.filter(enrolment__contact=contact, enrolment__journey__key=key)
    return list(rows.order_by("pk").values_list("outcome", flat=True))


# Whose turn it is ----------------------------------------------------------------------------------------------------


def test_the_newer_of_two_tracks_takes_over_and_the_other_stands_still(now):
    track(now, "old", "1", "2")
    track(now, "new", "1", "2", cadence=THURSDAYS)
    ann = person()
    enter(ann, "old", now)
    tick(now + WEEK)
    enter(ann, "new", now + WEEK + DAY)
    assert (under_way(ann), waiting(ann)) == (["new"], {"old": "new"})
    assert intents(ann) == [("old-1", "cancelled", "superseded")], "what was not sent yet is withdrawn"
    old, new = Enrolment.objects.order_by("pk")
    assert (old.superseded_by, old.superseded_at, old.exit_reason) == (new, now + WEEK + DAY, "")
    assert told("track.superseded") == [{"journey": "old", "by": "new", "enrolment": old.pk}]
    for week in (2, 3):
        tick(now + week * WEEK)
        tick(now + week * WEEK + 2 * DAY)
    assert [template for template, *_ in intents(ann)] == ["new-1", "new-2", "old-1"], "no casts in the old one"


def test_a_lower_tier_goes_first_whoever_came_first(now):
    track(now, "strong", "1", tier=2)
    track(now, "weak", "1", tier=4)
    ann, ben = person(), person()
    enter(ann, "strong", now)
    enter(ben, "weak", now)
    enter(ann, "weak", now + DAY)
    enter(ben, "strong", now + DAY)
    for contact in (ann, ben):
        assert (under_way(contact), waiting(contact)) == (["strong"], {"weak": "strong"})
    tick(now + WEEK)
    for contact in (ann, ben):
        assert [template for template, *_ in intents(contact)] == ["strong-1"]
    assert len(told("track.superseded")) == 2
    assert len(told("journey.entered")) == 4


def test_two_that_begin_at_once_are_two_all_the_same(now):
    for key, tier in (("a", 3), ("b", 2), ("c", 3)):
        journey(
            now, key=key, kind="nurture", tier=tier,
            streams=[{"key": "only", "cadence": TUESDAYS, "items": [{"send": f"{key}-1"}]}],
        )  # fmt: skip
    ann = person()
    did(ann, "trial.started", now)
    tick(now)
    assert (under_way(ann), waiting(ann)) == (["b"], {"a": "b", "c": "b"})
    assert len(told("track.superseded")) == 2 and told("track.resumed") == []
    tick(now + WEEK)
    assert [template for template, *_ in intents(ann)] == ["b-1"]


def test_a_track_that_a_date_begins_is_the_second_as_well(now):
    """Nothing happens to Ann: the clock alone lets her in."""
    track(now, "old", "1", "2")
    ann = person(country="CZ")
    enter(ann, "old", now)
    streams = [{"key": "only", "cadence": THURSDAYS, "items": [{"send": "new-1"}]}]
    when = {"date": {"at": "2026-11-11T10:00+01:00"}, "who": {"field": "country", "op": "eq", "value": "CZ"}}
    journey(now, key="new", kind="nurture", trigger=when, streams=streams)
    tick(now + SECOND)
    tick(now + DAY)
    assert (under_way(ann), waiting(ann)) == (["new"], {"old": "new"})
    tick(now + 2 * DAY)
    tick(now + WEEK)
    assert [template for template, *_ in intents(ann)] == ["new-1"]


def test_one_track_for_two_occasions_is_two_as_well(now):
    track(now, "course", "1", reentry={"policy": "per_key", "key": "subject"})
    ann = person()
    did(ann, "course.wanted", now, subject="maths")
    did(ann, "course.wanted", now, subject="music")
    tick(now)
    assert Enrolment.objects.filter(state="open").count() == 2
    assert (under_way(ann), waiting(ann)) == (["course"], {"course": "course"})


def test_other_journeys_go_beside_a_track(now):
    track(now, "track", "1")
    journey(now, key="steps", kind="nurture", trigger={"touchpoint": "track.wanted"}, steps=[{"wait": "30d"}])
    journey(now, key="welcome", trigger={"touchpoint": "track.wanted"}, steps=[{"wait": "30d"}])
    ann = person()
    enter(ann, "track", now)
    assert sorted(under_way(ann)) == ["steps", "track", "welcome"]
    assert told("track.superseded") == []


def test_the_database_holds_that_nobody_is_on_two_at_a_time(now):
    track(now, "old", "1")
    track(now, "new", "1")
    ann = person()
    enter(ann, "old", now)
    enter(ann, "new", now + DAY)
    with pytest.raises(IntegrityError, match="one_track_at_a_time"), transaction.atomic():
        Enrolment.objects.update(superseded_by=None, superseded_at=None)


# Resuming ------------------------------------------------------------------------------------------------------------


def two_tracks(now, **more):
    """Ann on a track that gave way to another a day later."""
    old = track(now, "old", "1", "2")
    new = track(now, "new", "1", **more)
    ann = person()
    enter(ann, "old", now)
    enter(ann, "new", now + DAY)
    assert (under_way(ann), waiting(ann)) == (["new"], {"old": "new"})
    return ann, old, new


def test_the_other_resumes_with_its_next_cast_when_the_first_ends(now):
    ann, _old, _new = two_tracks(now, exit={"did": "demo.booked"})
    tick(now + WEEK)
    did(ann, "demo.booked", now + WEEK + DAY)
    tick(now + WEEK + DAY)
    tick(now + WEEK + DAY + SECOND)
    assert (under_way(ann), waiting(ann)) == (["old"], {})
    assert told("track.resumed") == [{"journey": "old", "enrolment": Enrolment.objects.get(journey__key="old").pk}]
    assert Due.objects.get().due_at == now + 2 * WEEK
    tick(now + 2 * WEEK)
    assert [template for template, state, _ in intents(ann) if state == "pending"] == ["old-1"]
    assert outcomes(ann, "old") == ["next", "superseded", "resumed", "item:old-1"]
    old = Enrolment.objects.get(journey__key="old")
    assert (old.superseded_at, old.superseded_by) == (None, None)


def test_what_was_withdrawn_comes_again_after_it_resumed(now):
    track(now, "old", "1")
    track(now, "new", "1", exit={"did": "demo.booked"}, cadence=THURSDAYS)
    ann = person()
    enter(ann, "old", now)
    tick(now + WEEK)
    enter(ann, "new", now + WEEK + SECOND)
    assert intents(ann) == [("old-1", "cancelled", "superseded")]
    did(ann, "demo.booked", now + WEEK + DAY)
    tick(now + WEEK + DAY)
    tick(now + WEEK + DAY + SECOND)
    tick(now + 2 * WEEK)
    assert intents(ann) == [("old-1", "pending", "")]


def test_it_resumes_when_the_first_is_exhausted_and_ends(now):
    ann, *_ = two_tracks(now, exhausted={"exit": True})
    tick(now + WEEK)
    tick(now + 2 * WEEK)
    tick(now + 2 * WEEK + SECOND)
    assert under_way(ann) == ["old"]
    tick(now + 3 * WEEK)
    assert [template for template, *_ in intents(ann)] == ["new-1", "old-1"]


def test_and_when_it_is_archived(now):
    ann, _old, new = two_tracks(now)
    publishing.archive(journey=new, by=None, now=now + 2 * DAY)
    tick(now + 2 * DAY)
    tick(now + 2 * DAY + SECOND)
    assert (under_way(ann), Due.objects.get().due_at) == (["old"], now + WEEK)


def test_a_pause_is_no_end(now):
    ann, _old, new = two_tracks(now)
    publishing.pause(journey=new, by=None, now=now + 2 * DAY)
    for moment in (now + 2 * DAY, now + WEEK, now + 2 * WEEK):
        tick(moment)
    assert (under_way(ann), waiting(ann), intents(ann)) == (["new"], {"old": "new"}, [])
    publishing.resume(journey=new, by=None, now=now + 2 * WEEK + DAY)
    tick(now + 2 * WEEK + DAY)
    assert [template for template, *_ in intents(ann)] == ["new-1"]


def test_one_that_is_paused_resumes_and_casts_when_its_own_pause_ends(now):
    ann, old, _new = two_tracks(now, exit={"did": "demo.booked"})
    publishing.pause(journey=old, by=None, now=now + 2 * DAY)
    did(ann, "demo.booked", now + 2 * DAY)
    tick(now + 2 * DAY)
    tick(now + 2 * DAY + SECOND)
    tick(now + WEEK)
    assert (under_way(ann), intents(ann)) == (["old"], [])
    publishing.resume(journey=old, by=None, now=now + WEEK + DAY)
    tick(now + WEEK + DAY)
    tick(now + 2 * WEEK)
    assert [template for template, *_ in intents(ann)] == ["old-1"]


def test_the_last_that_gave_way_is_the_first_to_resume(now):
    for key in ("a", "b", "c"):
        track(now, key, "1", exit={"did": f"{key}.done"})
    ann = person()
    for day, key in enumerate(("a", "b", "c")):
        enter(ann, key, now + day * DAY)
    assert (under_way(ann), waiting(ann)) == (["c"], {"a": "c", "b": "c"})
    for day, key, expected in ((3, "c", (["b"], {"a": "b"})), (4, "b", (["a"], {})), (5, "a", ([], {}))):
        did(ann, f"{key}.done", now + day * DAY)
        tick(now + day * DAY)
        tick(now + day * DAY + SECOND)
        assert (under_way(ann), waiting(ann)) == expected
    assert [one["journey"] for one in told("track.resumed")] == ["b", "a"]
    assert [(one["journey"], one["by"]) for one in told("track.superseded")] == [("a", "b"), ("b", "c")]


def test_goals_and_exits_hold_for_whoever_stands_still(now):
    track(now, "old", "1", exit={"did": "demo.booked"})
    track(now, "new", "1")
    ann = person()
    enter(ann, "old", now)
    enter(ann, "new", now + DAY)
    did(ann, "demo.booked", now + 2 * DAY)
    tick(now + 2 * DAY)
    assert (under_way(ann), waiting(ann)) == (["new"], {})
    tick(now + WEEK)
    assert [template for template, *_ in intents(ann)] == ["new-1"]


def test_an_exhausted_track_that_stood_still_is_not_told_of_as_exhausted_again(now):
    track(now, "old")
    track(now, "new", "1", exit={"did": "demo.booked"})
    ann = person()
    enter(ann, "old", now)
    tick(now + WEEK)
    enter(ann, "new", now + WEEK + DAY)
    did(ann, "demo.booked", now + WEEK + 2 * DAY)
    tick(now + WEEK + 2 * DAY)
    tick(now + WEEK + 2 * DAY + SECOND)
    tick(now + 2 * WEEK)
    assert outcomes(ann, "old") == ["next", "exhausted", "superseded", "resumed"]
    assert len(told("track.exhausted")) == 1


def test_a_new_version_finds_whoever_stood_still(now):
    ann, _old, new = two_tracks(now)
    track(now + 2 * DAY, "old", "newest", "1")
    publishing.archive(journey=new, by=None, now=now + 3 * DAY)
    tick(now + 3 * DAY)
    tick(now + 3 * DAY + SECOND)
    tick(now + WEEK)
    assert [template for template, *_ in intents(ann)] == ["old-newest"]


def test_a_publish_that_moves_people_wakes_nobody_who_stands_still(now):
    ann, old, new = two_tracks(now)
    streams = [{"key": "fresh", "cadence": TUESDAYS, "items": [{"send": "old-1"}]}]
    publishing.save_draft(
        journey=old, definition={**publishing.draft_of(old), "streams": streams}, by=None, now=now + 2 * DAY
    )
    publishing.publish(journey=old, by=None, now=now + 2 * DAY, choices={"only": {"do": "move", "to": "fresh"}})
    tick(now + WEEK)
    assert (waiting(ann), [template for template, *_ in intents(ann)]) == ({"old": "new"}, ["new-1"])
    publishing.archive(journey=new, by=None, now=now + WEEK + DAY)
    tick(now + WEEK + DAY)
    tick(now + WEEK + DAY + SECOND)
    tick(now + 2 * WEEK)
    assert [template for template, *_ in intents(ann)] == ["new-1", "old-1"]


def test_whoever_nobody_woke_wakes_by_the_alarm(now):
    ann, *_ = two_tracks(now)
    Due.objects.filter(enrolment__journey__key="new").delete()
    Enrolment.objects.filter(journey__key="new").update(state="exited", exit_reason="moved", ended_at=now + DAY)
    tick(now + DAY + SECOND)
    assert under_way(ann) == []
    tick(now + 2 * DAY)
    assert under_way(ann) == ["old"]


def test_the_alarm_of_whoever_rightly_stands_still_is_set_again(now):
    ann, *_ = two_tracks(now)
    for day in range(1, 6):
        tick(now + day * DAY)
        assert Due.objects.get(node_kind="superseded").due_at == now + (day + 1) * DAY
    assert waiting(ann) == {"old": "new"}
    assert len(told("track.superseded")) == 1


# Merges and erasure --------------------------------------------------------------------------------------------------


def two_people(now):
    track(now, "old", "1")
    track(now, "new", "1")
    ann, ben = person(), person()
    enter(ann, "old", now)
    enter(ben, "new", now + DAY)
    return ann, ben


@pytest.mark.parametrize("survives", [0, 1])
def test_two_who_become_one_are_on_one_track(now, survives):
    pair = two_people(now)
    survivor, loser = pair[survives], pair[1 - survives]
    merge(survivor=survivor, loser=loser, reason="test", now=now + 2 * DAY)
    assert Enrolment.objects.filter(state="open", contact=survivor).count() == 2, "none is lost"
    tick(now + 2 * DAY)
    assert (under_way(survivor), waiting(survivor)) == (["new"], {"old": "new"})
    assert len(told("track.superseded")) == 1
    tick(now + WEEK)
    assert [template for template, *_ in intents(survivor)] == ["new-1"]


def test_and_each_on_her_own_when_that_is_undone(now):
    ann, ben = two_people(now)
    merge(survivor=ann, loser=ben, reason="test", now=now + 2 * DAY)
    tick(now + 2 * DAY)
    unmerge(Merge.objects.get(), now=now + 3 * DAY)
    tick(now + 3 * DAY)
    assert (under_way(ann), under_way(ben)) == (["old"], ["new"])
    tick(now + WEEK)
    assert [template for template, *_ in intents(ann)] == ["old-1"]
    assert [template for template, *_ in intents(ben)] == ["new-1"]


def test_a_merge_of_two_on_the_same_tracks_can_be_undone_whatever_ended_meanwhile(now):
    """Both were on both; the survivor's stay. After her first one ended and the other resumed, they are two again."""
    track(now, "old", "1")
    track(now, "new", "1", exit={"did": "demo.booked"})
    ann, ben = person(), person()
    for contact in (ann, ben):
        enter(contact, "old", now)
        enter(contact, "new", now + DAY)
    merge(survivor=ann, loser=ben, reason="test", now=now + 2 * DAY)
    tick(now + 2 * DAY)
    did(ann, "demo.booked", now + 3 * DAY)
    tick(now + 3 * DAY)
    tick(now + 3 * DAY + SECOND)
    assert under_way(ann) == ["old"]
    unmerge(Merge.objects.get(), now=now + 4 * DAY)
    tick(now + 4 * DAY)
    tick(now + 4 * DAY + SECOND)
    assert (under_way(ann), waiting(ann)) == (["old"], {})
    assert (under_way(ben), waiting(ben)) == (["new"], {"old": "new"})


def test_of_whoever_is_erased_no_track_resumes(now):
    ann, *_ = two_tracks(now)
    erase(contact=ann, by=None, now=now + 2 * DAY)
    tick(now + 2 * DAY)
    tick(now + WEEK)
    assert not Due.objects.exists() and told("track.resumed") == []
    assert set(Enrolment.objects.values_list("state", "exit_reason")) == {("exited", "erased")}


# A crowd -------------------------------------------------------------------------------------------------------------


def test_a_crowd_takes_turns_in_as_many_statements_as_one_person(now):
    track(now, "old", "1")
    track(now, "new", "1")
    asked = []
    for hour, count in enumerate((1, 200)):
        begin = now + timedelta(hours=hour)
        crowd = people(count, f"h{hour}-")
        for contact in crowd:
            did(contact, "old.wanted", begin)
        tick(begin)
        for contact in crowd:
            did(contact, "new.wanted", begin + SECOND)
        with CaptureQueriesContext(connection) as queries:
            tick(begin + SECOND)
        asked.append(len(queries))
    assert asked[0] == asked[1]
    assert Enrolment.objects.filter(superseded_by__journey__key="new").count() == 201
    assert Contact.objects.count() == 201 and Journey.objects.count() == 2
