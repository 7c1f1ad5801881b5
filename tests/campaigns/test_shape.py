"""A journey that cannot be reached, finished or left is refused at publish, with the step named."""

import pytest

from campaigns import graph, publishing
from campaigns.models import Journey
from tests.campaigns.world import journey, templates

SOUND = {"key": "j", "kind": "onboarding", "trigger": "manual"}


def problems(*steps) -> list[tuple[str, str]]:
    """What blocks a publish: path and key."""
    found = graph.check({**SOUND, "steps": list(steps)})
    return [(one.path, one.step_key) for one in found if one.level != "warning"]


WAIT = {"key": "w", "wait": "1d"}
OUT = {"key": "out", "exit": "done"}


def fork(**paths):
    return {"key": "f", "ask": {"did": "a.b"}, **paths}


@pytest.mark.parametrize(
    ("steps", "refused"),
    [
        ([OUT, WAIT], [("steps[1]", "w")]),
        ([fork(then=[OUT], **{"else": [{"key": "o2", "exit": "done"}]}), WAIT], [("steps[1]", "w")]),
        ([fork(then=[OUT, WAIT])], [("steps[0].then[1]", "w")]),
        # A path that is empty leads to the step after the fork; two that end the journey are no mistake.
        ([fork(then=[OUT]), WAIT], []),
        ([fork(then=[OUT], **{"else": [{"key": "o2", "exit": "no"}]})], []),
        ([fork()], []),
        # A jump lets people go on at last.
        ([WAIT, {"jump_to": "w"}, OUT], []),
    ],
)
def test_a_step_that_nobody_can_get_to_is_refused(steps, refused):
    assert problems(*steps) == refused


@pytest.mark.parametrize(
    ("between", "is_refused"),
    [
        ([WAIT], False),
        ([{"key": "u", "wait_until": {"local_time": "09:00"}}], True),
        ([{"key": "f2", "wait_for": {"did": "a.b"}, "timeout": "5d"}], True),
        ([{"send": "hello"}], True),
        ([fork(then=[WAIT])], True),
        ([fork(then=[WAIT], **{"else": [{"key": "w2", "wait": "1h"}]})], False),
        ([WAIT, {"key": "s", "split": {"a": 1, "b": 1}}], False),
    ],
)
def test_every_way_round_a_jump_needs_a_wait(between, is_refused):
    steps = [{"key": "top", "goal": "here"}, *between, {"key": "back", "jump_to": "top", "max": 3}]
    assert problems(*steps) == ([(f"steps[{len(steps) - 1}].jump_to", "back")] if is_refused else [])


@pytest.mark.parametrize("nothing", ["0d", "0h", "PT0S", ""])
def test_a_wait_of_no_length_is_none(nothing):
    assert problems({"key": "top", "wait": nothing}, {"jump_to": "top"}) == [("steps[0].wait", "top")]


def test_a_jump_within_a_jump_is_looked_through():
    inner = {"key": "inner", "jump_to": "a", "max": 2}
    outer = {"key": "outer", "jump_to": "top", "max": 2}
    steps = [{"key": "top", "goal": "g"}, {"key": "a", "wait": "1d"}, inner, outer]
    assert problems(*steps) == []
    assert problems({"key": "top", "goal": "g"}, fork(then=[{"key": "a", "wait": "1d"}, inner]), outer) == [
        ("steps[2].jump_to", "outer")
    ]


def test_more_than_five_hundred_steps_are_refused():
    steps = [{"key": f"s{number}", "wait": "1d"} for number in range(501)]
    assert problems(*steps) == [("steps[500]", "s500")]
    assert problems(*steps[:500]) == []


def test_a_wait_of_more_than_two_years_is_doubted():
    found = graph.check({**SOUND, "steps": [{"key": "w", "wait": "732d"}, {"key": "v", "wait": "2w"}]})
    assert [(one.path, one.level) for one in found] == [("steps[0].wait", "warning")]


def test_everybody_can_leave_from_every_step_of_every_kind():
    """Whatever kinds of steps there are: from each node some way leads to the end or an exit."""
    steps = [
        WAIT,
        fork(
            then=[{"key": "s", "split": {"a": 1, "b": 1}, "a": [OUT], "b": [{"key": "h", "handoff": {"reason": "x"}}]}]
        ),
        {"key": "t", "wait_for": {"did": "a.b"}, "timeout": "1d", "then": [{"send": "hello"}]},
        {"key": "back", "jump_to": "w", "max": 9},
    ]
    definition = {**SOUND, "steps": steps}
    spec = {node.key: node for node in graph.nodes(definition)}
    ends = {key for key, node in spec.items() if None in node.edges.values() or not node.edges}
    while more := {key for key, node in spec.items() if set(node.edges.values()) & ends} - ends:
        ends |= more
    assert ends == set(spec)


def test_a_journey_cannot_start_itself():
    assert problems(WAIT, {"key": "again", "start": "j"}) == [("steps[1].start", "again")]


@pytest.mark.django_db
def test_journeys_that_start_each_other_without_a_wait_are_refused(now):
    templates("hello")
    for key in "abc":
        Journey.objects.create(key=key, kind="onboarding")
    journey(now, "c", steps=[{"key": "on", "start": "a"}])
    journey(now, "b", steps=[fork(then=[{"key": "go", "start": "c"}])])
    a = journey(now, "a", publish=False, steps=[{"send": "hello"}, {"key": "go", "start": "b"}])
    with pytest.raises(publishing.Unpublishable) as refused:
        publishing.publish(journey=a, by=None, now=now)
    (problem,) = refused.value.problems
    assert (problem.path, problem.step_key) == ("steps[1].start", "go")
    assert problem.message == "These journeys start each other without a wait: a → b → c → a."
    # One wait on the way round is enough, wherever it stands.
    journey(now, "b", steps=[WAIT, {"key": "go", "start": "c"}])
    publishing.publish(journey=a, by=None, now=now)


@pytest.mark.django_db
def test_a_circle_that_leaves_ones_own_journey_aside_is_not_ones_own(now):
    for key in "ab":
        Journey.objects.create(key=key, kind="onboarding")
    journey(now, "b", steps=[WAIT, {"key": "again", "start": "a"}])
    journey(now, "a", steps=[{"key": "go", "start": "b"}])
    journey(now, "aside", steps=[{"key": "go", "start": "a"}])
    assert Journey.objects.filter(state="live").count() == 3
