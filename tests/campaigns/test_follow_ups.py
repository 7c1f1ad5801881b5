"""Event follow-up: registered → reminded → attended or no-show, by dates that the registration told; win-back."""

from datetime import UTC, datetime, timedelta

import pytest

from campaigns import graph
from campaigns.models import Due, Enrolment
from messaging.models import Message
from tests.campaigns.world import DAY, did, journey, path, person, sent, tick, where

pytestmark = pytest.mark.django_db

HOUR = timedelta(hours=1)
WEBINAR = {
    "trigger": {"touchpoint": "webinar.registered"},
    "reentry": {"policy": "per_key", "key": "webinar"},
    "steps": [
        {"key": "confirm", "send": "confirmed"},
        {"key": "day-before", "wait_until": {"property": "starts_at", "offset": "-1d"}},
        {"key": "remind", "send": "tomorrow", "valid_for": "20h"},
        {"key": "begins", "wait_until": {"property": "starts_at"}},
        {
            "key": "came",
            "wait_for": {"did": "webinar.attended"},
            "timeout": "3h",
            "then": [{"key": "thanks", "send": "thanks"}],
            "else": [{"key": "missed", "send": "recording"}],
        },
    ],
}
# `now` is a Tuesday, 10:00 in Prague; the webinar is on Monday at 18:00 there.
STARTS = datetime(2026, 11, 16, 17, tzinfo=UTC)


@pytest.fixture
def webinar(now):
    return journey(now, key="webinar", kind="follow_up", **WEBINAR)


def register(now, starts_at="2026-11-16T18:00:00+01:00", contact=None, webinar="spring", **more):
    contact = contact or person(zone="Europe/Prague")
    did(contact, "webinar.registered", now, starts_at=starts_at, webinar=webinar, **more)
    tick(now)
    return contact


def test_who_attends_is_reminded_and_thanked(now, webinar):
    ann = register(now)
    assert (sent(ann), where(ann)) == (["confirmed"], "day-before")
    tick(STARTS - DAY - timedelta(minutes=1))
    assert sent(ann) == ["confirmed"]
    tick(STARTS - DAY)
    assert sent(ann) == ["confirmed", "tomorrow"]
    tick(STARTS - timedelta(minutes=1))
    assert where(ann) == "begins"
    tick(STARTS)
    assert where(ann) == "came"
    did(ann, "webinar.attended", STARTS + HOUR, webinar="spring")
    tick(STARTS + HOUR)
    assert sent(ann) == ["confirmed", "tomorrow", "thanks"]
    assert ("came", "then") in path(ann)
    assert Enrolment.objects.get().state == "finished"


def test_who_does_not_come_gets_the_recording(now, webinar):
    ann = register(now)
    for moment in (STARTS - DAY, STARTS, STARTS + 3 * HOUR):
        tick(moment)
    assert sent(ann) == ["confirmed", "tomorrow", "recording"]
    assert ("came", "else") in path(ann)


def test_who_registers_on_the_day_is_reminded_at_once(now, webinar):
    ann = register(STARTS - 2 * HOUR)
    assert sent(ann) == ["confirmed", "tomorrow"]
    assert Due.objects.get().due_at == STARTS


def test_somebody_may_register_for_two(now, webinar):
    ann = register(now)
    register(now, "2026-11-20T18:00:00+01:00", contact=ann, webinar="summer")
    assert sorted(Due.objects.values_list("due_at", flat=True)) == [STARTS - DAY, STARTS + 3 * DAY]
    register(now, "2026-11-20T18:00:00+01:00", contact=ann, webinar="summer")
    assert Enrolment.objects.count() == 2


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("2026-11-16T17:00:00Z", STARTS - DAY),
        ("2026-11-16T18:00", STARTS - DAY),  # by the person's clock
        ("2026-11-16", datetime(2026, 11, 14, 23, tzinfo=UTC)),  # the day begins
    ],
)
def test_the_date_may_be_written_in_any_way(now, webinar, said, expected):
    register(now, said)
    assert Due.objects.get().due_at == expected


@pytest.mark.parametrize("said", ["soon", "", None, 7, "2026-02-30T10:00"])
def test_without_a_date_nobody_gets_stuck(now, webinar, said):
    ann = register(now, said)
    assert where(ann) == "came"


def test_a_day_before_keeps_the_clock_when_it_changes(now):
    journey(now, key="webinar", kind="follow_up", **WEBINAR)
    register(datetime(2027, 3, 20, 9, tzinfo=UTC), "2027-03-28T18:00")
    assert Due.objects.get().due_at == datetime(2027, 3, 27, 17, tzinfo=UTC), "18:00 in winter time"


@pytest.mark.parametrize(
    ("until", "path"),
    [
        ({"property": 3}, "property"),
        ({"property": "starts_at", "offset": "soon"}, "offset"),
        ({"property": "starts_at", "weekdays": "mon"}, "weekdays"),
        ({"property": "starts_at", "local_time": "late"}, "local_time"),
    ],
)
def test_what_is_wrong_with_such_a_wait_is_named(db, until, path):
    definition = {"key": "a", "kind": "follow_up", "trigger": "manual", "steps": [{"wait_until": until}]}
    assert [problem.path for problem in graph.check(definition)] == [f"steps[0].wait_until.{path}"]


def test_a_reminder_that_comes_too_late_is_not_sent(now, webinar):
    ann = register(now)
    tick(STARTS - DAY, delivers=False)
    assert Message.objects.get(template__key="tomorrow").valid_until == STARTS - 4 * HOUR
    assert sent(ann) == ["confirmed", "tomorrow"]


def test_a_win_back_ends_when_somebody_buys_again(now):
    journey(
        now,
        key="come-back",
        kind="win_back",
        trigger={"touchpoint": "plan.cancelled"},
        reentry={"policy": "after_exit", "cooldown": "90d"},
        goal={"rule": {"did": "order.placed"}, "window": "60d"},
        steps=[{"wait": "14d"}, {"send": "we-miss-you"}, {"wait": "14d"}, {"send": "half-price"}, {"exit": "lost"}],
    )
    ann, bob = person(), person()
    for contact in (ann, bob):
        did(contact, "plan.cancelled", now)
    tick(now)
    tick(now + 14 * DAY)
    did(ann, "order.placed", now + 15 * DAY)
    tick(now + 15 * DAY)
    tick(now + 28 * DAY)
    assert (sent(ann), sent(bob)) == (["we-miss-you"], ["we-miss-you", "half-price"])
    reasons = dict(Enrolment.objects.values_list("contact_id", "exit_reason"))
    assert reasons == {ann.pk: "goal", bob.pk: "exit"}
