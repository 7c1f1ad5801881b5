"""What an onboarding sequence says of itself: wrong parts are named with their path; what is left out has a default."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from campaigns import graph, sequence

KNOWN = graph.Known(
    templates=frozenset({"hello"}),
    segments=frozenset(),
    journeys=frozenset({"win-back"}),
    slots=frozenset({"upgrades"}),
)
SOUND = {
    "key": "start",
    "kind": "onboarding",
    "trigger": "manual",
    "milestones": [{"key": "project", "name": "A project", "rule": {"did": "project.created"}, "required": True}],
    "min_gap": "1d",
    "protect_days": 7,
    "stall_after": "5d",
    "nudge": "hello",
    "stall_task": {"assign": "owner", "title": "Call them", "due": "2d"},
    "timeout": "30d",
    "on_timeout": {"start": "win-back"},
    "steps": [
        {"send": "hello", "milestone": "project"},
        {"task": {"assign": "inside-sales", "title": "Look", "due": "P1D"}, "milestone": "project"},
        {"milestone": "project", "timeout": "3d", "then": [], "else": [{"send": "hello"}]},
        {"offer": "upgrades", "send": "hello", "default": "hello", "then": [], "else": []},
    ],
}


def paths(definition):
    return [problem.path for problem in graph.check(definition, KNOWN) if problem.level == "error"]


def test_a_sound_sequence_has_no_errors():
    assert paths(SOUND) == []


WRONG = [
    ({"kind": "follow_up"}, "milestones"),
    ({"milestones": {}}, "milestones"),
    ({"milestones": []}, "milestones"),
    ({"milestones": ["project"]}, "milestones[0]"),
    ({"milestones": [{"key": "a b", "rule": {"did": "x.y"}}]}, "milestones[0].key"),
    ({"milestones": [SOUND["milestones"][0]] * 2}, "milestones[1].key"),
    ({"milestones": [{"key": ["a"], "rule": {"did": "x.y"}}]}, "milestones[0].key"),
    ({"milestones": [{"key": "project"}]}, "milestones[0].rule"),
    ({"milestones": [{"key": "project", "rule": {"did": "x.y"}, "required": 1}]}, "milestones[0].required"),
    ({"milestones": [{"key": "project", "rule": {"did": "x.y"}, "extra": 1}]}, "milestones[0].extra"),
    ({"min_gap": "soon"}, "min_gap"),
    ({"min_gap": False}, "min_gap"),
    ({"protect_days": -1}, "protect_days"),
    ({"protect_days": "14d"}, "protect_days"),
    ({"stall_after": "0d"}, "stall_after"),
    ({"nudge": "gone"}, "nudge"),
    ({"stall_task": "call"}, "stall_task"),
    ({"stall_task": {"assign": "owner"}}, "stall_task.title"),
    ({"timeout": 5}, "timeout"),
    ({"on_timeout": "win-back"}, "on_timeout"),
    ({"on_timeout": {"start": "gone"}}, "on_timeout.start"),
    ({"steps": [{"send": "hello", "milestone": "gone"}]}, "steps[0].milestone"),
    ({"steps": [{"task": {"title": "Call"}}]}, "steps[0].task.assign"),
    ({"steps": [{"task": {"assign": "owner", "title": "Call", "due": "soon"}}]}, "steps[0].task.due"),
    ({"steps": [{"task": "call"}]}, "steps[0].task"),
    ({"steps": [{"milestone": "gone", "timeout": "1d"}]}, "steps[0].milestone"),
    ({"steps": [{"milestone": "project"}]}, "steps[0].timeout"),
    ({"steps": [{"offer": "gone"}]}, "steps[0].offer"),
    ({"steps": [{"offer": "upgrades", "send": "gone"}]}, "steps[0].send"),
    ({"steps": [{"offer": "upgrades", "milestone": "project"}]}, "steps[0]"),
]


@pytest.mark.parametrize(("change", "path"), WRONG, ids=lambda value: str(value)[:60])
def test_what_is_wrong_is_named_with_its_path(change, path):
    problems = graph.check(SOUND | change, KNOWN)
    assert path in [problem.path for problem in problems if problem.level == "error"], problems
    assert all(problem.message.endswith(".") for problem in problems)


def without(*names):
    return {name: value for name, value in SOUND.items() if name not in names}


@pytest.mark.parametrize(
    ("definition", "path"),
    [
        (without("stall_after"), "nudge"),
        (without("nudge", "stall_task"), "stall_after"),
        (without("milestones") | {"steps": []}, "stall_after"),
    ],
)
def test_what_needs_something_else_says_so(definition, path):
    assert path in paths(definition)


def test_what_is_left_out_has_the_defaults_of_an_onboarding():
    said = sequence.sequence_of({"kind": "onboarding", "milestones": [{"key": "a", "rule": {}}]})
    assert said == sequence.Sequence(["a"], timedelta(days=2), timedelta(days=14), None, timedelta(days=45))
    assert sequence.sequence_of({"kind": "cross_sell"}) == sequence.Sequence([])
    assert sequence.sequence_of({"kind": "onboarding", "min_gap": "0d", "protect_days": 0}) == sequence.Sequence([])


JSON = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.text(max_size=5), st.sampled_from(["2d", "project", "hello"])
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(st.text(max_size=5), inner, max_size=2)),
    max_leaves=4,
)


@given(st.dictionaries(st.sampled_from(sequence.TOP), JSON, max_size=4))
def test_whatever_is_written_is_judged_and_never_breaks_the_judge(changes):
    graph.check(SOUND | changes, KNOWN)
