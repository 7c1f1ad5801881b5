"""A cast of a nurture track gives each member the first item that is for her and new to her."""

from datetime import UTC, datetime, timedelta

import pytest

from campaigns import publishing
from campaigns.models import Due, Enrolment, Node
from contacts.models import Contact
from messaging.models import Message, Template
from tests.campaigns.world import DAY, did, journey, people, person, sent, templates, tick, told, where

pytestmark = pytest.mark.django_db

TUESDAYS = {"rrule": "FREQ=WEEKLY;BYDAY=TU", "at": "10:00"}
# `now` is a Tuesday, 10:00 in Prague: who enters at that very moment waits for the next one.
WEEK = timedelta(days=7)


def track(now, *items, streams=None, **more):
    return journey(
        now,
        key="education",
        kind="nurture",
        streams=streams or [{"key": "basics", "cadence": TUESDAYS, "items": list(items)}],
        **more,
    )


def enter(contact, now):
    did(contact, "trial.started", now)
    tick(now)


def test_items_come_one_a_cast_in_their_order(now):
    track(now, {"send": "one"}, {"send": "two"})
    ann = person()
    enter(ann, now)
    assert sent(ann) == []
    assert Due.objects.get().due_at == now + WEEK
    tick(now + WEEK - timedelta(seconds=1))
    assert sent(ann) == []
    tick(now + WEEK)
    assert sent(ann) == ["one"]
    tick(now + WEEK)
    assert sent(ann) == ["one"]
    tick(now + 2 * WEEK)
    assert sent(ann) == ["one", "two"]
    message = Message.objects.first()
    assert message.key == f"item:education:one:{ann.pk}"
    assert message.valid_until == now + 1.5 * WEEK, "half a cadence"


def test_each_member_is_cast_at_her_own_local_time(now):
    track(now, {"send": "one"})
    zones = {"Europe/Prague": 9, "America/New_York": 15, "Asia/Tokyo": 1, "Pacific/Auckland": -3}
    members = {zone: person(zone=zone) for zone in zones}
    for contact in members.values():
        did(contact, "trial.started", now + timedelta(hours=12))
    tick(now + timedelta(hours=12))
    midnight = datetime(2026, 11, 17, tzinfo=UTC)
    for zone, hour in zones.items():
        assert Due.objects.get(contact_id=members[zone].pk).due_at == midnight + timedelta(hours=hour), zone


def test_a_cadence_keeps_its_clock_over_the_switch_to_summer_time(now):
    track(now, {"send": "one"}, {"send": "two"})
    ann = person(zone="Europe/Prague")
    enter(ann, datetime(2027, 3, 20, 12, tzinfo=UTC))
    assert Due.objects.get().due_at == datetime(2027, 3, 23, 9, tzinfo=UTC)
    tick(datetime(2027, 3, 23, 9, tzinfo=UTC))
    assert Due.objects.get().due_at == datetime(2027, 3, 30, 8, tzinfo=UTC)


# What stands against the first item → whether the member gets the second in the same cast.
FALLING_THROUGH = {
    "inactive": {"active": False},
    "not yet valid": {"valid_from": "2026-12-01"},
    "no longer valid": {"valid_to": "2026-11-16"},
    "not eligible": {"when": {"field": "country", "op": "eq", "value": "CZ"}},
    "consumed": {"consumed_when": {"did": "webinar.attended"}},
}


@pytest.mark.parametrize("why", FALLING_THROUGH)
def test_an_item_that_is_not_for_her_is_passed_over_in_the_same_cast(now, why):
    track(now, {"send": "first", **FALLING_THROUGH[why]}, {"send": "second"})
    ann = person(country="PL")
    did(ann, "webinar.attended", now - DAY)
    enter(ann, now)
    tick(now + WEEK)
    assert sent(ann) == ["second"]


@pytest.mark.parametrize("why", FALLING_THROUGH)
def test_and_without_that_she_gets_it(now, why):
    turned = {
        "inactive": {"active": True},
        "not yet valid": {"valid_from": "2026-11-17"},
        "no longer valid": {"valid_to": "2026-11-17"},
        "not eligible": {"when": {"field": "country", "op": "eq", "value": "PL"}},
        "consumed": {"consumed_when": {"did": "webinar.missed"}},
    }
    track(now, {"send": "first", **turned[why]}, {"send": "second"})
    ann = person(country="PL")
    did(ann, "webinar.attended", now - DAY)
    enter(ann, now)
    tick(now + WEEK)
    assert sent(ann) == ["first"]


@pytest.mark.parametrize(
    ("state", "reason", "expected"),
    [
        ("sent", "", "second"),
        ("ready", "", "second"),
        ("uncertain", "", "second"),
        ("skipped", "capped", "first"),
        ("cancelled", "exited", "first"),
    ],
)
def test_what_she_got_from_elsewhere_is_passed_over(now, state, reason, expected):
    templates("first")
    ann = person()
    Message.objects.create(
        key="by hand", contact=ann, template=Template.objects.get(), message_class="marketing", state=state,
        reason=reason, created_at=now - DAY, due_at=now - DAY, sent_at=now - DAY if state == "sent" else None,
    )  # fmt: skip
    track(now, {"send": "first"}, {"send": "second"})
    enter(ann, now)
    tick(now + WEEK)
    assert list(Message.objects.exclude(key="by hand").values_list("template__key", flat=True)) == [expected]


def test_a_capped_item_is_not_consumed_and_a_refused_one_is_passed_over(now):
    track(now, {"send": "first"}, {"send": "second"})
    ann = person()
    enter(ann, now)
    tick(now + WEEK, delivers=False)
    Message.objects.update(state="skipped", reason="capped", finished_at=now + WEEK)
    tick(now + 2 * WEEK, delivers=False)
    first = Message.objects.get()
    assert (first.template.key, first.state, first.reason, first.finished_at) == ("first", "pending", "", None)
    assert first.due_at == now + 2 * WEEK
    Message.objects.update(state="skipped", reason="topic_refused", finished_at=now + 2 * WEEK)
    tick(now + 3 * WEEK)
    assert sent(ann) == ["first", "second"]


def test_whom_nothing_is_left_for_is_exhausted_once_and_stays(now):
    track(now, {"send": "one"})
    ann = person()
    enter(ann, now)
    for week in range(1, 5):
        tick(now + week * WEEK)
    enrolment = Enrolment.objects.get()
    assert told("track.exhausted") == [{"journey": "education", "stream": "basics", "enrolment": enrolment.pk}]
    assert enrolment.state == "open"
    assert Due.objects.get().due_at == now + 5 * WEEK


def test_new_content_reaches_everybody_at_the_next_cast_the_exhausted_too(now):
    track(now, {"send": "one"})
    ann, ben = person(), person()
    enter(ann, now)
    tick(now + WEEK)
    tick(now + 2 * WEEK)
    enter(ben, now + 2 * WEEK)
    assert len(told("track.exhausted")) == 1
    track(now + 2 * WEEK, {"send": "newest"}, {"send": "one"})
    tick(now + 3 * WEEK)
    assert sent(ann) == ["one", "newest"]
    assert sent(ben) == ["newest"]
    assert set(Enrolment.objects.values_list("version__number", flat=True)) == {2}
    tick(now + 4 * WEEK)
    tick(now + 5 * WEEK)
    assert sent(ben) == ["newest", "one"]
    assert len(told("track.exhausted")) == 3, "Ann is exhausted a second time, Ben for the first"


def test_members_of_a_stream_that_is_gone_go_on_in_the_first_one(now):
    streams = [
        {"key": "old", "cadence": TUESDAYS, "items": [{"send": "one"}]},
        {"key": "other", "cadence": TUESDAYS, "items": [{"send": "two"}]},
    ]
    track(now, streams=streams)
    ann = person()
    enter(ann, now)
    track(now, streams=streams[1:])
    tick(now + WEEK)
    assert sent(ann) == ["two"]
    assert where(ann) == "other"


DECISION = [
    {"key": "basics", "cadence": TUESDAYS, "items": [{"send": "basic-1"}, {"send": "basic-2"}]},
    {
        "key": "decision",
        "cadence": TUESDAYS,
        "enter": {"field": "country", "op": "eq", "value": "CZ"},
        "items": [{"send": "offer-1"}],
    },
]


def test_a_member_goes_to_the_later_stream_that_means_her_and_is_cast_there_at_once(now):
    track(now, streams=DECISION)
    ann = person()
    enter(ann, now)
    tick(now + WEEK)
    Contact.objects.update(country="CZ")
    tick(now + 2 * WEEK)
    assert sent(ann) == ["basic-1", "offer-1"]
    assert where(ann) == "decision"


def test_a_stream_of_another_cadence_waits_for_its_own_cast(now):
    streams = [DECISION[0], {**DECISION[1], "cadence": {"rrule": "FREQ=WEEKLY;BYDAY=TH", "at": "09:00"}}]
    track(now, streams=streams)
    ann = person(country="CZ")
    enter(ann, now)
    tick(now + WEEK)
    assert sent(ann) == []
    assert Due.objects.get().due_at == datetime(2026, 11, 19, 8, tzinfo=UTC)
    tick(datetime(2026, 11, 19, 8, tzinfo=UTC))
    assert sent(ann) == ["offer-1"]


def test_one_cast_reaches_a_crowd_and_each_gets_her_own(now):
    track(now, {"send": "czech", "when": {"field": "country", "op": "eq", "value": "CZ"}}, {"send": "all"})
    for place, contact in enumerate(people(400)):
        Contact.objects.filter(pk=contact.pk).update(country="CZ" if place % 2 else "PL")
        did(contact, "trial.started", now)
    tick(now)
    assert tick(now + WEEK)["advance"] == 400
    assert Message.objects.filter(template__key="czech").count() == 200
    assert Message.objects.filter(template__key="all").count() == 200


def test_after_an_outage_of_weeks_there_is_one_cast_not_one_a_week(now):
    track(now, {"send": "one"}, {"send": "two"}, {"send": "three"})
    ann = person()
    enter(ann, now)
    tick(now + 4 * WEEK + DAY)
    assert sent(ann) == ["one"]
    assert Due.objects.get().due_at == now + 5 * WEEK


def test_leaving_a_track_withdraws_what_was_not_sent_and_coming_back_gives_it_again(now):
    track(
        now,
        {"send": "one"},
        {"send": "two"},
        exit={"field": "country", "op": "eq", "value": "CZ"},
        reentry={"policy": "after_exit"},
    )
    ann = person()
    enter(ann, now)
    tick(now + WEEK, delivers=False)
    Contact.objects.update(country="CZ")
    did(ann, "contact.updated", now + WEEK + DAY)
    tick(now + WEEK + DAY)
    assert (Message.objects.get().state, Message.objects.get().reason) == ("cancelled", "exited")
    Contact.objects.update(country="PL")
    enter(ann, now + WEEK + 2 * DAY)
    tick(now + 2 * WEEK, delivers=False)
    assert sent(ann) == ["one"]
    assert Message.objects.get().state == "pending"


def test_a_paused_track_casts_nobody(now):
    one = track(now, {"send": "one"})
    ann = person()
    enter(ann, now)
    publishing.pause(journey=one, by=None, now=now)
    tick(now + WEEK)
    assert sent(ann) == []


def test_a_date_that_no_calendar_has_holds_its_stream_alone(now):
    track(now, {"send": "one", "valid_from": "2026-01-01"})
    # Published when nobody looked at the calendar yet.
    Node.objects.filter(kind="stream").update(
        config={"cadence": TUESDAYS, "items": [{"key": "one", "send": "one", "valid_from": "2027-02-30"}]}
    )
    journey(now, key="other", steps=[{"wait": "7d"}, {"send": "two"}])
    ann = person()
    enter(ann, now)
    tick(now + WEEK)
    assert sent(ann) == ["two"]
    Node.objects.filter(kind="stream").update(
        config={"cadence": TUESDAYS, "items": [{"key": "one", "send": "one", "valid_from": "2026-01-01"}]}
    )
    tick(now + WEEK)
    assert sorted(sent(ann)) == ["one", "two"]
