"""What a publish would mean for the people inside, counted step by step, and what it then did."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from campaigns import publishing
from campaigns.models import Due, Enrolment, JourneyVersion, Visit
from messaging.models import Message, Template
from tests.campaigns.world import DAY, did, journey, path, people, person, templates, tick, told, where

pytestmark = pytest.mark.django_db

STEPS = [
    {"key": "first", "wait": "2d"},
    {"key": "hello", "send": "hello"},
    {"key": "second", "wait": "4d"},
    {"key": "bye", "send": "bye"},
]


def started(now, count=1, **more):
    crowd = people(count, **more)
    for one in crowd:
        did(one, "trial.started", now)
    tick(now)
    return crowd


def draw(one, now, steps, **more):
    templates(*[step["send"] for step in steps if "send" in step])
    one.refresh_from_db()
    publishing.save_draft(
        journey=one, definition={**publishing.draft_of(one), "steps": steps, **more}, by=None, now=now
    )
    one.refresh_from_db()


def publish(one, now, **more):
    return publishing.publish(journey=one, by=None, now=now, **more)


# The sheet ------------------------------------------------------------------------------------------------------------


def test_the_sheet_counts_who_is_before_at_and_past_each_step_over_all_versions(now):
    one = journey(now, steps=STEPS)
    for count, after in ((3, 0), (2, 2)):
        for _number in range(count):
            did(person(), "trial.started", now + after * DAY)
        tick(now + after * DAY)
    draw(one, now, [*STEPS, {"key": "more", "wait": "1d"}])
    publish(one, now + 2 * DAY)
    one.refresh_from_db()
    did(person(), "trial.started", now + 2 * DAY)
    tick(now + 2 * DAY)
    draw(one, now, STEPS[1:])
    sheet = publishing.impact_of(one)
    counted = {row.key: (row.before.people, row.here.people, row.past.people) for row in sheet.rows}
    assert counted == {
        "": (0, 0, 6),
        "first": (0, 3, 3),
        "hello": (3, 0, 3),
        "second": (3, 3, 0),
        "bye": (6, 0, 0),
        "more": (1, 0, 0),
    }
    assert {row.key: row.change for row in sheet.rows} == {
        "": "same", "first": "removed", "hello": "same", "second": "same", "bye": "same", "more": "removed",
    }  # fmt: skip
    assert sheet.row("first").versions == (1, 2)
    assert {row.do for row in sheet.rows} == {"finish"}
    assert sheet.row("first").suggestion == "hello"


def test_whoever_is_on_the_other_branch_is_not_before_a_step(now):
    fork = {
        "key": "asked", "ask": {"field": "country", "op": "eq", "value": "CZ"},
        "then": [{"key": "czech", "wait": "5d"}], "else": [{"key": "other", "wait": "5d"}],
    }  # fmt: skip
    one = journey(now, steps=[fork, {"key": "end", "wait": "1d"}])
    for country in ("CZ", "PL", "PL"):
        did(person(country=country), "trial.started", now)
    tick(now)
    sheet = publishing.impact_of(one, {**publishing.draft_of(one), "name": "New"})
    counted = {row.key: (row.before.people, row.here.people, row.past.people) for row in sheet.rows}
    assert counted["czech"] == (0, 1, 0)
    assert counted["other"] == (0, 2, 0)
    assert counted["end"] == (3, 0, 0)


def test_ghosts_are_told_apart(now):
    one = journey(now, steps=STEPS, holdout="50%")
    started(now, 40)
    ghosts = Due.objects.filter(is_ghost=True).count()
    row = publishing.impact_of(one, {**publishing.draft_of(one), "steps": STEPS[1:]}).row("first")
    assert 0 < ghosts < 40
    assert (row.here.people, row.here.ghosts) == (40 - ghosts, ghosts)


def test_the_sheet_takes_as_many_questions_for_many_people_as_for_one(now):
    one = journey(now, steps=STEPS)
    started(now)

    def asked():
        draft = {**publishing.draft_of(one), "steps": STEPS[1:]}
        with CaptureQueriesContext(connection) as few:
            publishing.impact_of(one, draft)
        return len(few)

    asked()
    before = asked()
    for number in range(1, 50):
        did(person(number + 1000), "trial.started", now)
    tick(now)
    assert asked() == before


# The rule: what must be said ------------------------------------------------------------------------------------------


def test_without_a_word_people_finish_what_they_began_also_where_their_step_is_gone(now):
    one = journey(now, steps=STEPS)
    (ann,) = started(now)
    draw(one, now, STEPS[1:])
    version = publish(one, now)
    assert (version.number, where(ann)) == (2, "first")
    assert Enrolment.objects.get().version.number == 1
    assert version.sheet["steps"][1]["do"] == "finish"
    assert version.sheet["steps"][1]["done"] == {"people": 1, "ghosts": 0}


def test_where_everybody_follows_a_step_that_is_gone_blocks_until_it_is_said_what_becomes_of_its_people(now):
    one = journey(now, steps=STEPS)
    (ann,) = started(now)
    draw(one, now, STEPS[1:])
    with pytest.raises(publishing.Unpublishable, match="choices.first: 1 person stands at this step, which is gone"):
        publish(one, now, everybody="follow")
    assert JourneyVersion.objects.count() == 1
    publish(one, now, everybody="follow", choices={"first": {"do": "move", "to": "second"}})
    assert where(ann) == "second"
    assert Enrolment.objects.get().version.number == 2


def test_a_step_that_is_gone_and_where_nobody_stands_blocks_nothing(now):
    one = journey(now, steps=STEPS)
    (ann,) = started(now)
    draw(one, now, STEPS[:3])
    publish(one, now, everybody="follow")
    assert Enrolment.objects.get().version.number == 2
    assert where(ann) == "first"


@pytest.mark.parametrize(
    ("choices", "path"),
    [
        ({"first": {"do": "fly"}}, "choices.first.do"),
        ({"first": {"do": "move"}}, "choices.first.to"),
        ({"first": {"do": "move", "to": "nowhere"}}, "choices.first.to"),
        ({"first": {"do": "move", "to": ""}}, "choices.first.to"),
        ({"nowhere": {"do": "exit"}}, "choices.nowhere"),
        ({"": {"do": "release"}}, "choices..do"),
    ],
)
def test_a_choice_that_cannot_be_made_is_refused_by_its_path(now, choices, path):
    one = journey(now, steps=STEPS)
    started(now)
    draw(one, now, STEPS[1:])
    with pytest.raises(publishing.Unpublishable) as refused:
        publish(one, now, choices=choices)
    assert [problem.path for problem in refused.value.problems] == [path]


# What happens to whom -------------------------------------------------------------------------------------------------


def test_a_shorter_wait_counts_from_when_it_began(now):
    one = journey(now, steps=STEPS)
    (ann,) = started(now)
    draw(one, now, [{"key": "first", "wait": "36h"}, *STEPS[1:]])
    publish(one, now + DAY, everybody="follow")
    token = Due.objects.get()
    assert (token.entered_at, token.due_at - now) == (now, DAY * 1.5)
    draw(one, now, [{"key": "first", "wait": "12h"}, *STEPS[1:]])
    publish(one, now + DAY, everybody="follow")
    assert Due.objects.get().due_at - now == DAY / 2, "over already: due now"
    tick(now + DAY)
    assert [message.template.key for message in Message.objects.all()] == ["hello"]
    assert [outcome for key, outcome in path(ann) if key == "first"] == ["moved:2", "moved:3", "next"]


def test_a_wait_until_a_time_of_day_and_a_wait_for_something_count_from_when_they_began(now):
    steps = [
        {"key": "split", "split": {"a": 1, "b": 1}, "a": [{"key": "clock", "wait_until": {"local_time": "23:30"}}],
         "b": [{"key": "event", "wait_for": {"did": "x.done"}, "timeout": "4d", "then": [], "else": []}]},
        {"key": "rest", "wait": "9d"},
    ]  # fmt: skip
    one = journey(now, steps=steps)
    started(now, 20)
    steps[0]["a"][0]["wait_until"] = {"local_time": "22:15"}
    steps[0]["b"][0] |= {"timeout": "2d", "wait_for": {"did": "y.done"}}
    late = Due.objects.filter(node_kind="wait_for").first()
    done = Due.objects.filter(node_kind="wait_for").last()
    did(Enrolment.objects.get(pk=done.enrolment_id).contact, "y.done", now)
    draw(one, now, steps)
    publish(one, now + DAY / 24, everybody="follow")
    clocks = Due.objects.filter(node_kind="wait_until")
    assert {token.due_at.strftime("%H:%M") for token in clocks} <= {"22:15", "21:15", "20:15"}
    assert {token.due_at.date() for token in clocks} == {now.date()}
    tick(now + DAY / 24)
    assert Due.objects.get(enrolment_id=late.enrolment_id).due_at == now + 2 * DAY
    assert Due.objects.get(enrolment_id=done.enrolment_id).node_kind == "wait", "the new rule is asked at once"


def test_release_ends_a_wait_at_once_and_goes_on_in_the_new_version(now):
    one = journey(now, steps=STEPS)
    (ann,) = started(now)
    draw(one, now, [*STEPS[:1], {"key": "fresh", "send": "fresh"}, *STEPS[2:]])
    publish(one, now, choices={"first": {"do": "release"}})
    assert where(ann) == "fresh"
    assert path(ann) == [("first", "released:2")]
    draw(one, now, [{"key": "first", "wait": "1d"}])
    publish(one, now, choices={"fresh": {"do": "release"}})
    assert where(ann) is None
    assert Enrolment.objects.get().exit_reason == "end"


def test_exit_takes_people_out_and_withdraws_what_was_not_sent(now):
    one = journey(now, steps=[{"key": "hello", "send": "hello"}, {"key": "rest", "wait": "2d"}])
    for _number in range(3):
        did(person(), "trial.started", now)
    tick(now, delivers=False)
    draw(one, now, [{"key": "new", "wait": "1d"}])
    at = {row.key for row in publishing.impact_of(one).rows if row.here}
    version = publish(one, now, choices={key: {"do": "exit"} for key in at})
    assert set(Enrolment.objects.values_list("state", "exit_reason")) == {("exited", "published")}
    assert set(Message.objects.values_list("state", flat=True)) == {"cancelled"}
    assert not Due.objects.exists()
    assert sum(step["done"]["people"] for step in version.sheet["steps"] if step["do"] == "exit") == 3


def test_members_of_a_track_carry_on_and_the_sheet_says_where(now):
    def stream(key):
        return {"key": key, "cadence": {"rrule": "FREQ=DAILY", "at": "10:00"}, "items": [{"send": "guide"}]}

    one = journey(now, kind="nurture", streams=[stream("basics"), stream("more")])
    started(now)
    row = publishing.impact_of(one, {**publishing.draft_of(one), "streams": [stream("more")]}).row("basics")
    assert (row.do, row.to, row.may) == ("carry_on", "more", ("carry_on", "move", "exit"))
    publishing.save_draft(
        journey=one, definition={**publishing.draft_of(one), "streams": [stream("more")]}, by=None, now=now
    )
    publish(one, now)
    tick(now + 2 * DAY)
    assert Enrolment.objects.get().version.number == 2


# Nothing twice --------------------------------------------------------------------------------------------------------


def test_what_was_done_already_is_passed_by_where_steps_changed_places(now):
    steps = [
        {"key": "call", "handoff": {"reason": "hot"}},
        {"key": "hello", "send": "hello"},
        {"key": "one", "wait": "1d"},
        {"key": "two", "wait": "2d"},
        {"key": "bye", "send": "bye"},
    ]
    one = journey(now, steps=steps)
    (ann,) = started(now)
    tick(now + DAY)
    assert where(ann) == "two"
    call, hello, first, second, bye = steps
    draw(one, now, [second, call, hello, first, bye])
    publish(one, now + DAY, everybody="follow")
    tick(now + 3 * DAY)
    assert [message.template.key for message in Message.objects.order_by("pk")] == ["hello", "bye"]
    assert Message.objects.filter(template__key="hello").count() == 1
    assert len(told("handoff.requested")) == 1, "sales hear of her once"
    keys = [key for key, _outcome in path(ann)]
    assert keys[keys.index("two") :].count("call") == 1


def test_a_fork_behind_is_not_asked_again_and_a_split_is_not_drawn_again(now):
    fork = {"key": "asked", "ask": {"field": "country", "op": "eq", "value": "CZ"},
            "then": [{"key": "czech", "wait": "1h"}], "else": [{"key": "other", "wait": "1h"}]}  # fmt: skip
    one = journey(now, steps=[fork, {"key": "rest", "wait": "1d"}, {"key": "end", "wait": "9d"}])
    ann = person(country="CZ")
    did(ann, "trial.started", now)
    tick(now)
    tick(now + DAY / 12)
    ann.country = "PL"
    ann.save()
    draw(one, now, [{"key": "rest", "wait": "1d"}, fork, {"key": "end", "wait": "9d"}])
    publish(one, now + DAY / 12, everybody="follow")
    tick(now + 2 * DAY)
    assert where(ann) == "end"
    assert "other" not in [key for key, _outcome in path(ann)]


def test_a_step_with_a_new_key_and_an_old_content_says_it_to_nobody_twice(now):
    steps = [{"key": "hello", "send": "hello"}, {"key": "rest", "wait": "2d"}, {"key": "end", "wait": "9d"}]
    one = journey(now, steps=steps)
    # Of a class that no gate holds back a second time.
    Template.objects.update(message_class="transactional", topic=None)
    (ann,) = started(now)
    draw(one, now, [steps[1], {"key": "greeting", "send": "hello"}, steps[2]])
    publish(one, now, everybody="follow", choices={"hello": {"do": "finish"}})
    tick(now + 2 * DAY)
    assert where(ann) == "end"
    assert Message.objects.count() == 1


def test_an_order_of_its_own_is_written_to_for_each_enrolment(now):
    """What one enrolment heard says nothing of another where the message is meant for each."""
    steps = [{"key": "rest", "wait": "2d"}, {"key": "hello", "send": "hello"}, {"key": "end", "wait": "9d"}]
    one = journey(now, reentry={"policy": "per_key", "key": "order"}, steps=steps)
    Template.objects.update(message_class="transactional", topic=None)
    ann = person()
    did(ann, "trial.started", now, order="1")
    tick(now)
    did(ann, "trial.started", now + DAY, order="2")
    tick(now + DAY)
    tick(now + 2 * DAY)
    draw(one, now, [{"key": "rest", "wait": "3d"}, *steps[1:]])
    publish(one, now + 2 * DAY, everybody="follow")
    tick(now + 5 * DAY)
    assert Message.objects.count() == 2


def test_jumps_made_in_another_version_count(now):
    steps = [{"key": "day", "wait": "1d"}, {"key": "again", "jump_to": "day", "max": 2}, {"key": "end", "wait": "9d"}]
    one = journey(now, steps=steps)
    (ann,) = started(now)
    tick(now + DAY)
    tick(now + 2 * DAY)
    draw(one, now, [*steps, {"key": "more", "wait": "1d"}])
    publish(one, now + 2 * DAY, everybody="follow")
    tick(now + 3 * DAY)
    assert where(ann) == "end"


def test_a_step_is_done_again_in_the_next_round_as_the_journey_means_it(now):
    steps = [
        {"key": "day", "wait": "1d"},
        {"key": "tip", "send": "tip"},
        {"key": "rest", "wait": "1d"},
        {"key": "again", "jump_to": "day", "max": 1},
    ]
    one = journey(now, steps=steps)
    Template.objects.update(is_repeatable=True)
    started(now)
    tick(now + DAY)
    draw(one, now, [*steps[:2], {"key": "rest", "wait": "36h"}, steps[3]])
    publish(one, now + DAY, everybody="follow")
    for day in (2, 3, 4, 5):
        tick(now + day * DAY)
    assert Message.objects.count() == 2


# At rest until a message has left ------------------------------------------------------------------------------------


def resting(now, **more):
    """A person who waits for her message."""
    one = journey(now, steps=[{"key": "hello", "send": "hello", **more}, {"key": "rest", "wait": "2d"}])
    ann = person()
    did(ann, "trial.started", now)
    tick(now, delivers=False)
    assert Due.objects.get().node_kind == "sending"
    return one, ann


def test_whoever_waits_for_a_message_keeps_it_at_the_same_step(now):
    one, ann = resting(now)
    draw(one, now, [{"key": "hello", "send": "hello", "valid_for": "2d"}, {"key": "rest", "wait": "1d"}])
    publish(one, now, everybody="follow")
    assert (where(ann), Message.objects.get().state) == ("hello", "pending")
    tick(now + DAY)
    assert (where(ann), Message.objects.get().state) == ("rest", "sent")
    assert Due.objects.get().due_at == now + 2 * DAY, "the new length, from when the message left"


def test_whoever_waits_for_a_message_takes_it_along_to_a_step_that_says_the_same(now):
    one, ann = resting(now)
    draw(one, now, [{"key": "greeting", "send": "hello"}, {"key": "rest", "wait": "2d"}])
    publish(one, now, choices={"hello": {"do": "move", "to": "greeting"}})
    message = Message.objects.get()
    assert (message.state, message.node_key) == ("pending", "greeting")
    tick(now)
    assert (where(ann), Message.objects.count()) == ("rest", 1)


def test_whoever_is_taken_off_a_step_before_its_message_left_does_not_get_it(now):
    one, ann = resting(now)
    draw(one, now, [{"key": "other", "send": "other"}, {"key": "rest", "wait": "2d"}])
    publish(one, now, choices={"hello": {"do": "move", "to": "other"}})
    tick(now)
    assert dict(Message.objects.values_list("template__key", "state")) == {"hello": "cancelled", "other": "sent"}
    assert where(ann) == "rest"


def test_a_message_that_is_on_its_way_is_not_called_back(now):
    one, ann = resting(now)
    Message.objects.update(state="sending", claimed_by="w", lease_until=now + DAY)
    draw(
        one, now, [{"key": "other", "send": "other"}, {"key": "again", "send": "hello"}, {"key": "rest", "wait": "2d"}]
    )
    publish(one, now, choices={"hello": {"do": "move", "to": "other"}})
    tick(now)
    assert where(ann) == "rest"
    assert dict(Message.objects.values_list("template__key", "state")) == {"hello": "sending", "other": "sent"}


def test_whoever_heard_the_content_passes_its_step_and_does_not_leave_by_on_skip(now):
    one = journey(now, steps=[{"key": "hello", "send": "hello"}, {"key": "rest", "wait": "2d"}])
    (ann,) = started(now)
    draw(one, now, [{"key": "again", "send": "hello", "on_skip": "exit"}, {"key": "end", "wait": "2d"}])
    publish(one, now, choices={"rest": {"do": "move", "to": "again"}})
    tick(now)
    assert where(ann) == "end"
    assert Visit.objects.filter(inputs__passed=True).count() == 1


def test_whoever_was_moved_back_and_stood_still_does_not_do_it_again_after_the_next_publish(now):
    call = {"key": "call", "handoff": {"reason": "hot"}}
    one = journey(now, steps=[call, {"key": "rest", "wait": "2d"}, {"key": "end", "wait": "9d"}])
    (ann,) = started(now)
    publishing.pause(journey=one, by=None, now=now)
    draw(one, now, [call, {"key": "end", "wait": "9d"}])
    publish(one, now, choices={"rest": {"do": "move", "to": "call"}})
    draw(one, now, [call, {"key": "end", "wait": "8d"}])
    publish(one, now, everybody="follow")
    publishing.resume(journey=one, by=None, now=now)
    tick(now)
    assert where(ann) == "end"
    assert len(told("handoff.requested")) == 1


def test_whoever_is_moved_back_to_another_wait_that_is_over_passes_it_by(now):
    one = journey(now, steps=[{"key": "one", "wait": "1d"}, {"key": "two", "wait": "3d"}, {"key": "end", "wait": "9d"}])
    (ann,) = started(now)
    tick(now + DAY)
    draw(one, now, [{"key": "one", "wait": "5d"}, {"key": "end", "wait": "9d"}])
    publish(one, now + DAY, choices={"two": {"do": "move", "to": "one"}})
    tick(now + DAY)
    assert where(ann) == "end"


# Its record -----------------------------------------------------------------------------------------------------------


def test_what_the_sheet_said_is_kept_beside_what_happened(now):
    one = journey(now, steps=STEPS, holdout="50%")
    started(now, 30)
    draw(one, now, STEPS[1:])
    said = publishing.impact_of(one, choices={"first": {"do": "move", "to": "second"}}).row("first")
    version = publish(one, now, choices={"first": {"do": "move", "to": "second"}})
    (step,) = [step for step in version.sheet["steps"] if step["step"] == "first"]
    assert step["here"] == step["done"] == {"people": said.here.people, "ghosts": said.here.ghosts}
    assert (step["do"], step["to"]) == ("move", "second")
    assert Visit.objects.filter(outcome="moved:2").count() == 30
    assert Due.objects.filter(node_kind="wait").count() == 30


def test_a_second_word_on_an_unchanged_version_moves_people_and_is_kept_too(now):
    one = journey(now, steps=STEPS)
    (ann,) = started(now)
    draw(one, now, STEPS[:3])
    publish(one, now)
    version = publish(one, now + DAY, everybody="follow")
    assert (version.number, JourneyVersion.objects.count()) == (2, 2)
    assert Enrolment.objects.get().version == version
    assert where(ann) == "first"
    assert version.sheet["everybody"] == "follow"
    assert version.sheet["before"]["everybody"] == "finish"
    one.refresh_from_db()
    assert publishing.impact_of(one).rows == [], "nobody is on an older version any more"


def test_what_happens_is_counted_anew_and_a_difference_undoes_the_publish(now, monkeypatch):
    from campaigns import moving_people

    one = journey(now, steps=STEPS)
    started(now, 3)
    draw(one, now, STEPS[1:])
    monkeypatch.setattr(moving_people, "_take_out", lambda nodes, now: moving_people.NOBODY)
    with pytest.raises(moving_people.Unforeseen):
        publish(one, now, choices={"first": {"do": "exit"}})
    assert JourneyVersion.objects.count() == 1
    assert Enrolment.objects.filter(state="open").count() == 3


def test_moving_takes_as_many_statements_for_many_people_as_for_one(now):
    counts = []
    for number, crowd in ((1, 1), (2, 60)):
        one = journey(now, f"j{number}", trigger={"touchpoint": f"t{number}.done"}, steps=STEPS)
        for each in range(crowd):
            did(person(number * 1000 + each), f"t{number}.done", now)
        tick(now)
        draw(one, now, STEPS[1:])
        with CaptureQueriesContext(connection) as asked:
            publish(one, now, choices={"first": {"do": "move", "to": "second"}})
        counts.append(len(asked))
    assert counts[0] == counts[1]
