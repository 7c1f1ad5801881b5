"""Where two parts of the engine meet: endings and sends, publishes and ghosts, merges and pauses, wide definitions."""

from datetime import timedelta

import pytest

from campaigns import publishing
from campaigns.models import Candidate, Enrolment
from contacts.calls import kind_of
from contacts.merging import merge
from contacts.models import Touchpoint
from contacts.unmerging import unmerge
from messaging.models import Message
from tests.campaigns.world import DAY, deliver, did, journey, people, person, sent, templates, tick

pytestmark = pytest.mark.django_db
HOUR = timedelta(hours=1)


def test_who_finishes_a_closing_journey_goes_on_as_soon_as_the_message_left(now):
    one = journey(now, steps=[{"send": "hello"}, {"send": "more"}])
    ann = person()
    did(ann, "trial.started", now)
    tick(now, delivers=False)
    publishing.archive(journey=one, by=None, now=now, people="finish")
    deliver(now + HOUR)
    tick(now + HOUR, delivers=False)
    assert sent(ann) == ["hello", "more"]


def test_a_canary_that_bounces_ends_a_closing_broadcast_and_stops_no_other(now):
    people(40, country="CZ")
    what = {"audience": {"field": "country", "op": "eq", "value": "CZ"}, "send": "sale", "at": "now"}
    one = journey(now, "sale", "broadcast", trigger=None, canary={"share": "50%", "wait": "2h"}, **what)
    tick(now, delivers=False)
    publishing.archive(journey=one, by=None, now=now, people="finish")
    assert deliver(now, "failed", "bounced")
    tick(now, delivers=False)  # which asserts that no step broke
    tick(now, delivers=False)
    one.refresh_from_db()
    assert (one.state, one.sendouts.get().problem, one.sendouts.get().state) == ("archived", "bounces", "stopped")
    assert not Enrolment.objects.filter(state="open").exists()


def test_an_occasion_of_any_length_lets_somebody_in_once(now):
    journey(now, reentry={"policy": "per_key", "key": "order"}, steps=[{"wait": "9d"}])
    ann = person()
    long = "".join(chr(0x4E00 + number * 7 % 20_000) for number in range(9_000))
    for order in (long, long + "1", long, "7"):
        did(ann, "trial.started", now, order=order)
    tick(now)
    assert Enrolment.objects.filter(state="open").count() == 3
    assert Enrolment.objects.filter(entry_key="7").exists()


def test_who_is_held_out_once_and_not_again_leaves_by_a_publish_as_its_sheet_says(now):
    what = {"reentry": {"policy": "per_key", "key": "order"}, "steps": [{"wait": "9d", "key": "rest"}]}
    one = journey(now, holdout="50%", **what)
    everybody = people(30)
    for order, holdout in (("a", "50%"), ("b", None)):
        journey(now, holdout=holdout, **what)
        for contact in everybody:
            did(contact, "trial.started", now, order=order)
        tick(now)
    draft = publishing.draft_of(one) | {"steps": [{"wait": "8d", "key": "other"}]}
    publishing.save_draft(journey=one, definition=draft, by=None, now=now)
    version = publishing.publish(journey=one, by=None, now=now, choices={"rest": {"do": "exit"}})
    assert not Enrolment.objects.filter(state="open").exists()
    done = {step["step"]: step["done"] for step in version.sheet["steps"]}["rest"]
    assert done["people"] + done["ghosts"] == 60 and done["ghosts"]


LONG = "x" * 6_000
BROADCAST = {"kind": "broadcast", "trigger": None, "audience": {"field": "country", "op": "is_set"}, "send": "sale"}


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("steps[0].wait", {"steps": [{"wait": "600000h"}]}),
        ("steps[0].timeout", {"steps": [{"wait_for": {"did": "a.done"}, "timeout": "PT999999H"}]}),
        ("steps[0].valid_for", {"steps": [{"send": "a", "valid_for": "999999w"}]}),
        ("steps[0].task.due", {"steps": [{"task": {"assign": "owner", "title": "Call", "due": "999999h"}}]}),
        ("steps[0].wait_until.offset", {"steps": [{"wait_until": {"property": "on", "offset": "-999999h"}}]}),
        ("reentry.cooldown", {"reentry": {"policy": "after_exit", "cooldown": "999999w"}, "steps": [{"wait": "1d"}]}),
        ("grace", {"grace": "999999w", "steps": [{"wait": "1d"}]}),
        ("goal.window", {"goal": {"rule": {"did": "a.done"}, "window": "999999w"}, "steps": [{"wait": "1d"}]}),
        ("goals[0].key", {"goals": [{"key": LONG, "rule": {"did": "a.done"}}], "steps": [{"wait": "1d"}]}),
        ("steps[0].split", {"steps": [{"split": {LONG: 50, "b": 50}, LONG: [{"wait": "1d"}], "b": []}]}),
        ("steps[0].set.stage", {"steps": [{"set": {"stage": ["lead"]}}]}),
        ("canary.wait", {**BROADCAST, "at": "now", "canary": {"share": "5%", "wait": "999999w"}}),
        ("valid_for", {**BROADCAST, "at": "now", "valid_for": "999999w"}),
        ("at", {**BROADCAST, "at": "9999-12-31T23:59"}),
        ("at", {**BROADCAST, "at": "0001-01-01T00:00"}),
        ("valid_until", {**BROADCAST, "at": "now", "valid_until": "9999-12-31T23:00 Europe/Prague"}),
    ],
)
def test_what_would_stop_the_engine_is_refused_at_publish(now, path, said):
    one = journey(now, publish=False, **said)
    with pytest.raises(publishing.Unpublishable) as refused:
        publishing.publish(journey=one, by=None, now=now)
    assert path in {problem.path for problem in refused.value.problems}


def test_sales_learns_whom_a_broadcast_holds_out(now):
    people(40, country="CZ")
    journey(now, "sale", at="now", holdout="50%", **BROADCAST)
    tick(now)
    ghosts = set(Enrolment.objects.filter(is_ghost=True).values_list("contact_id", flat=True))
    said = Touchpoint.objects.filter(kind="journey.entered", properties__held_out=True)
    assert ghosts and set(said.values_list("contact_id", flat=True)) == ghosts


def test_what_an_undone_merge_brings_back_waits_while_the_journey_is_paused(now):
    one = journey(now, steps=[{"send": "hello"}, {"wait": "9d"}])
    ann, ben = person(), person()
    for contact in (ann, ben):
        did(contact, "trial.started", now)
    tick(now, delivers=False)
    merged = merge(survivor=ann, loser=ben, reason="one", now=now)
    publishing.pause(journey=one, by=None, now=now)
    unmerge(merged, now=now + HOUR)
    assert Message.objects.filter(state="pending", is_held=True).count() == 2
    assert not Message.objects.filter(state="pending", is_held=False).exists()
    publishing.resume(journey=one, by=None, now=now + HOUR)
    tick(now + HOUR)
    assert Message.objects.filter(state="sent").count() == 2


def test_whoever_waits_for_the_filter_of_a_journey_that_ended_is_refused(now):
    when = {"field": "country", "op": "eq", "value": "CZ"}
    one = journey(now, trigger={"touchpoint": "trial.started", "when": when}, steps=[{"wait": "9d"}])
    did(person(), "trial.started", now)
    tick(now)
    publishing.archive(journey=one, by=None, now=now)
    tick(now + HOUR)
    assert Candidate.objects.get().state == "refused"


@pytest.mark.parametrize("before", ["45d", None])
def test_whoever_follows_to_a_version_is_watched_as_that_says(now, before):
    said = {"steps": [{"wait": "60d"}], "milestones": [{"key": "m", "rule": {"did": "a.done"}}]}
    templates("nudge")
    one = journey(now, timeout=before, **said)
    did(person(), "trial.started", now)
    tick(now)
    draft = publishing.draft_of(one) | {"timeout": "9d", "stall_after": "2d", "nudge": "nudge"}
    publishing.save_draft(journey=one, definition=draft, by=None, now=now)
    publishing.publish(journey=one, by=None, now=now + DAY, everybody="follow")
    tick(now + 3 * DAY)
    assert sent() == ["nudge"]
    tick(now + 9 * DAY)
    assert Enrolment.objects.get().exit_reason == "timed_out"


def test_nobody_outside_tells_what_only_the_engine_may_tell():
    assert [kind_of(kind) for kind in ("task.requested", "date.reached", "onboarding.activated")] == [
        "event.task_requested", "event.date_reached", "event.onboarding_activated",
    ]  # fmt: skip
