"""A definition is refused with the path of what is wrong, gets lasting names, and is laid down as nodes and edges."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from campaigns import graph
from campaigns.steps import VERBS
from campaigns.triggers import TRIGGERS

pytestmark = pytest.mark.django_db  # rules ask which custom fields and segments there are

SOUND = {
    "key": "j",
    "kind": "onboarding",
    "trigger": "manual",
    "steps": [{"key": "hello", "send": "hello"}, {"key": "rest", "wait": "1d"}],
}
STREAM = {"key": "s", "cadence": {"rrule": "FREQ=WEEKLY;BYDAY=TU", "at": "10:00"}, "items": [{"send": "one"}]}

# What is put over the sound definition → the path of the problem that it must bring.
WRONG = [
    ({"name": "x" * 201}, "name"),
    ({"name": ["x"]}, "name"),
    ({"reentry": {"policy": ["never"]}}, "reentry.policy"),
    ({"steps": [{"set": {"field": ["plan"], "value": 1}}]}, "steps[0].set.field"),
    ({"steps": [{"start": ["j"]}]}, "steps[0].start"),
    ({"steps": [{"jump_to": ["j"]}]}, "steps[0].jump_to"),
    ({"steps": [{"wait": "1d", "name": "x" * 201}]}, "steps[0].name"),
    ({"colour": "red"}, "colour"),
    ({"key": "a b"}, "key"),
    ({"kind": "parade"}, "kind"),
    ({"tier": 9}, "tier"),
    ({"holdout": "lots"}, "holdout"),
    ({"holdout": "100%"}, "holdout"),
    ({"trigger": None}, "trigger"),
    ({"trigger": []}, "trigger"),
    ({"trigger": {"segment_entered": "nowhere"}}, "trigger.segment_entered"),
    ({"trigger": ["manual", {"touchpoint": "shouted"}]}, "trigger[1].did"),
    ({"trigger": {"touchpoint": "page.viewed", "where": [{"field": "url", "op": "like"}]}}, "trigger.where[0].op"),
    ({"trigger": {"stage_changed": "king"}}, "trigger.stage_changed.to.stage"),
    ({"trigger": {"field_changed": "nowhere"}}, "trigger.field_changed.field"),
    ({"trigger": {"field_changed": {"field": "first_name", "from": "Ann"}}}, "trigger.field_changed.from"),
    ({"trigger": {"field_changed": {"field": "nowhere", "from": "Ann"}}}, "trigger.field_changed.field"),
    ({"trigger": {"touchpoint": "trial.started", "when": {"field": "nowhere", "op": "is_set"}}}, "trigger.when.field"),
    ({"trigger": {"touchpoint": "trial.started", "who": {"stage": "lead"}}}, "trigger.who"),
    ({"trigger": {"date": "2027-01-01"}}, "trigger.date"),
    ({"trigger": {"date": {"at": "2027-01-01"}, "who": {"stage": "lead"}}}, "trigger.date.at"),
    ({"trigger": {"date": {"at": "2027-02-30T09:00"}, "who": {"stage": "lead"}}}, "trigger.date.at"),
    ({"trigger": {"date": {"at": "2027-02-20T09:00"}}}, "trigger.who"),
    ({"trigger": {"date": {"at": "2027-02-20T09:00"}, "who": {"stage": "king"}}}, "trigger.who.stage"),
    ({"trigger": {"date": {"rrule": "FREQ=HOURLY", "at": "09:00"}, "who": {"stage": "lead"}}}, "trigger.date.rrule"),
    ({"trigger": {"date": {"rrule": "FREQ=DAILY", "at": "9"}, "who": {"stage": "lead"}}}, "trigger.date.at"),
    ({"trigger": {"date": {"field": "first_name", "at": "09:00"}}}, "trigger.date.field"),
    ({"trigger": {"date": {"field": "created_at", "offset": "soon"}}}, "trigger.date.offset"),
    ({"trigger": {"date": {"field": "created_at", "at": "9"}}}, "trigger.date.at"),
    ({"grace": "soon"}, "grace"),
    ({"reentry": {"policy": "never", "max": 3, "window": "30d"}}, "reentry.max"),
    ({"reentry": {"policy": "after_exit", "max": 3}}, "reentry.window"),
    ({"reentry": {"policy": "after_exit", "window": "30d"}}, "reentry.max"),
    ({"reentry": {"policy": "after_exit", "max": 0, "window": "30d"}}, "reentry.max"),
    ({"exit": {"rule": {"stage": "king"}}}, "exit.rule.stage"),
    ({"exit": {"audience_left": True}}, "exit.audience_left"),
    ({"exit": {"audience_left": "yes"}}, "exit.audience_left"),
    ({"goal": {"rule": {"did": "order.placed"}, "action": "jump"}}, "goal.to"),
    ({"goal": {"rule": {"did": "order.placed"}, "action": "jump", "to": "nowhere"}}, "goal.to"),
    ({"goal": {"rule": {"did": "order.placed"}, "to": "hello"}}, "goal.to"),
    ({"goal": {"rule": {"did": "order.placed"}, "action": "dance"}}, "goal.action"),
    ({"goal": {"rule": {"did": "order.placed"}, "value": "much"}}, "goal.value"),
    ({"goal": {"rule": {"stage": "customer"}, "value": {"property": "total"}}}, "goal.value"),
    ({"goals": {"key": "a"}}, "goals"),
    ({"goals": [{"rule": {"stage": "lead"}}]}, "goals[0].key"),
    ({"goals": [{"key": "a", "rule": {"stage": "lead"}, "action": "exit"}]}, "goals[0].action"),
    ({"goals": [{"key": "a", "rule": {"stage": "lead"}}] * 2}, "goals[1].key"),
    ({"reentry": {"policy": "always"}}, "reentry.policy"),
    ({"reentry": {"policy": "after_exit", "cooldown": "soon"}}, "reentry.cooldown"),
    ({"reentry": {"policy": "per_key"}}, "reentry.key"),
    ({"reentry": {"policy": "never", "cooldown": "1d"}}, "reentry.cooldown"),
    ({"goal": {"did": "order.placed"}}, "goal"),
    ({"goal": {"rule": {"did": "order"}}}, "goal.rule.did"),
    ({"goal": {"rule": {"did": "order.placed"}, "window": 30}}, "goal.window"),
    ({"exit": {"all": []}}, "exit.all"),
    ({"steps": []}, "steps"),
    ({"steps": "send"}, "steps"),
    ({"steps": ["send"]}, "steps[0]"),
    ({"steps": [{"shout": "hello"}]}, "steps[0]"),
    ({"steps": [{"send": "hello", "wait": "1d"}]}, "steps[0]"),
    ({"steps": [{"send": "nothing"}]}, "steps[0].send"),
    ({"steps": [{"send": "hello", "colour": "red"}]}, "steps[0].colour"),
    ({"steps": [{"wait": 3}]}, "steps[0].wait"),
    ({"steps": [{"wait": "0d"}]}, "steps[0].wait"),
    ({"steps": [{"wait_until": {"local_time": 540}}]}, "steps[0].wait_until.local_time"),
    ({"steps": [{"wait_until": {"local_time": "25:00"}}]}, "steps[0].wait_until.local_time"),
    ({"steps": [{"wait_until": {"local_time": "09:00", "weekdays": "mon-fun"}}]}, "steps[0].wait_until.weekdays"),
    ({"steps": [{"wait_for": {"did": "a.b"}}]}, "steps[0].timeout"),
    ({"steps": [{"ask": {"field": "nowhere", "op": "is_set"}}]}, "steps[0].ask.field"),
    ({"steps": [{"ask": {"did": "a.b"}, "then": [{"wait": "x"}]}]}, "steps[0].then[0].wait"),
    ({"steps": [{"ask": {"did": "a.b"}, "otherwise": []}]}, "steps[0].otherwise"),
    ({"steps": [{"split": {"a": 50}}]}, "steps[0].split"),
    ({"steps": [{"split": {"a": 50, "b": 0}}]}, "steps[0].split.b"),
    ({"steps": [{"split": {"a": 50, "b": 50}, "c": []}]}, "steps[0].c"),
    ({"steps": [{"set": {"field": "nowhere", "value": 1}}]}, "steps[0].set.field"),
    ({"steps": [{"set": {"field": "seats", "value": "many"}}]}, "steps[0].set.value"),
    ({"steps": [{"handoff": {"team": "x"}}]}, "steps[0].handoff.reason"),
    ({"steps": [{"start": "nowhere"}]}, "steps[0].start"),
    ({"steps": [{"key": "a", "wait": "1d"}, {"key": "a", "wait": "1d"}]}, "steps[1].key"),
    ({"steps": [{"key": "a b", "wait": "1d"}]}, "steps[0].key"),
    ({"steps": [{"jump_to": "nowhere"}]}, "steps[0].jump_to"),
    ({"steps": [{"send": "hello"}, {"jump_to": "hello"}]}, "steps[1].jump_to"),
    ({"steps": [{"jump_to": "w"}, {"key": "w", "wait": "1d"}]}, "steps[0].jump_to"),
    ({"steps": [{"split": {"a": 999, "b": 1}}]}, "steps[0].split.b"),
    ({"steps": [{"split": {"paths": {"a": 1}, "winner": None}}]}, "steps[0].split.paths"),
    ({"steps": [{"split": {"paths": {"a": 1, "b": 0}}}]}, "steps[0].split.paths.b"),
    ({"steps": [{"split": {"paths": {"a": 1, "b": 1}, "best": "a"}}]}, "steps[0].split.best"),
    ({"steps": [{"split": {"paths": {"a": 1, "b": 1}, "winner": "a"}}]}, "steps[0].split.winner"),
    ({"steps": [{"split": {"paths": {"a": 1, "b": 1}, "winner": {}}}]}, "steps[0].split.winner.metric"),
    (
        {"steps": [{"split": {"paths": {"a": 1, "b": 1}, "winner": {"metric": "click", "after": "soon"}}}]},
        "steps[0].split.winner.after",
    ),
    (
        {"steps": [{"split": {"paths": {"a": 1, "b": 1}, "winner": {"metric": "click", "min": 5}}}]},
        "steps[0].split.winner.min",
    ),
    (
        {"steps": [{"split": {"paths": {"a": 1, "b": 1}, "winner": {"metric": "click", "confidence": "100%"}}}]},
        "steps[0].split.winner.confidence",
    ),
    ({"steps": [{"split": {"paths": {"a": 1, "b": 1}, "winner": {"metric": "goal"}}}]}, "steps[0].split.winner.metric"),
    ({"streams": [STREAM]}, "streams"),
    ({"steps": None, "streams": []}, "streams"),
]
WRONG_STREAMS = [
    ({"cadence": None}, "streams[0].cadence"),
    ({"cadence": {"rrule": "FREQ=HOURLY", "at": "10:00"}}, "streams[0].cadence.rrule"),
    ({"cadence": {"rrule": "FREQ=WEEKLY;COUNT=3", "at": "10:00"}}, "streams[0].cadence.rrule"),
    ({"cadence": {"rrule": "FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30", "at": "10:00"}}, "streams[0].cadence.rrule"),
    ({"cadence": {"rrule": "FREQ=DAILY;INTERVAL=7;BYDAY=TU", "at": "10:00"}}, "streams[0].cadence.rrule"),
    ({"cadence": {"rrule": "FREQ=MONTHLY;BYDAY=1MO;BYMONTHDAY=20", "at": "10:00"}}, "streams[0].cadence.rrule"),
    ({"cadence": {"rrule": "BYDAY=TU", "at": "10:00"}}, "streams[0].cadence.rrule"),
    ({"cadence": {"rrule": "FREQ=WEEKLY", "at": "10:00", "day": 1}}, "streams[0].cadence.day"),
    ({"cadence": {"rrule": "FREQ=WEEKLY;BYDAY=XX", "at": "10:00"}}, "streams[0].cadence.rrule"),
    ({"cadence": {"rrule": "FREQ=WEEKLY", "at": "10"}}, "streams[0].cadence.at"),
    ({"enter": {"stage": "king"}}, "streams[0].enter.stage"),
    ({"items": [{"send": "nothing"}]}, "streams[0].items[0].send"),
    ({"items": [{"send": "one", "when": {"any": []}}]}, "streams[0].items[0].when.any"),
    ({"items": [{"send": "one", "valid_to": "soon"}]}, "streams[0].items[0].valid_to"),
    ({"items": [{"key": "a", "send": "one"}, {"key": "a", "send": "one"}]}, "streams[0].items[1].key"),
]
KNOWN = graph.Known(
    templates=frozenset({"hello", "one"}), fields={"seats": "number"}, segments=frozenset(), journeys=frozenset({"j"})
)


def test_a_sound_definition_has_no_problems():
    assert graph.check(SOUND, KNOWN) == []
    track = {name: value for name, value in SOUND.items() if name != "steps"} | {"kind": "nurture", "streams": [STREAM]}
    assert graph.check(track, KNOWN) == []


@pytest.mark.parametrize(("change", "path"), WRONG, ids=lambda value: str(value)[:60])
def test_what_is_wrong_is_named_with_its_path(change, path):
    problems = graph.check(SOUND | change, KNOWN)
    assert path in [problem.path for problem in problems if problem.level == "error"], problems
    assert all(problem.message.endswith(".") for problem in problems)


@pytest.mark.parametrize(("change", "path"), WRONG_STREAMS, ids=lambda value: str(value)[:60])
def test_what_is_wrong_with_a_stream_is_named_with_its_path(change, path):
    track = {name: value for name, value in SOUND.items() if name != "steps"} | {"streams": [STREAM | change]}
    problems = graph.check(track, KNOWN)
    assert path in [problem.path for problem in problems if problem.level == "error"], problems


def test_quiet_hours_are_said_by_a_known_word():
    for word in graph.QUIET_HOURS:
        assert graph.check(SOUND | {"quiet_hours": word}, KNOWN) == graph.check(SOUND, KNOWN)
    for word in ("sometimes", "", None, ["skip"]):
        problems = graph.check(SOUND | {"quiet_hours": word}, KNOWN)
        assert [(one.path, one.level) for one in problems if one.path == "quiet_hours"] == [("quiet_hours", "error")]


@pytest.mark.parametrize("junk", [None, [], "x", 3, {}, {"steps": {"a": 1}}, {"streams": {"a": 1}}, {"steps": [[]]}])
def test_junk_is_refused_and_breaks_nothing(junk):
    assert graph.check(junk, KNOWN)


# Words that mean something beside words that do not, and any value under each.
WORDS = st.sampled_from(
    [
        *graph.TOP, *TRIGGERS, *VERBS, "then", "else", "timeout", "since", "key", "items", "cadence", "rrule",
        "enter", "when", "consumed_when", "valid_from", "valid_to", "active", "policy", "cooldown", "rule", "window",
        "action", "field", "value", "op", "all", "any", "not", "did", "where", "within", "stage", "in_segment",
        "who", "offset", "audience_left", "property",
        "local_time", "weekdays", "a", "b", "max", "direction", "from", "to", "score", "count", "reason", "team",
    ]
)  # fmt: skip
PLAIN = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=5), WORDS,
    st.sampled_from(["1d", "manual", "hello", "nurture", "onboarding", "seats", "eq", "2027-02-30", "9999-12-31"]),
)  # fmt: skip
JSON = st.recursive(
    PLAIN,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(WORDS, inner, max_size=4)),
    max_leaves=25,
)


@given(st.one_of(JSON, st.dictionaries(st.sampled_from(graph.TOP), JSON)), st.sampled_from(list(VERBS)), JSON, JSON)
def test_whatever_is_written_is_judged_and_never_breaks_the_judge(whole, verb, said, option):

    for known in (KNOWN, graph.Known(fields={"seats": "number"}), graph.Known()):
        graph.check(whole, known)
        graph.check(
            SOUND | {"steps": [{verb: said, "timeout": option}, {verb: {"field": said, "value": option}}]}, known
        )
        graph.check(SOUND | {"reentry": {"policy": said}, "goal": {"rule": said, "action": option}}, known)
        graph.check(SOUND | {"trigger": [{"segment_entered": said}, {"stage_changed": {"to": option}}]}, known)
        graph.check(SOUND | {"trigger": {"date": said, "who": option}, "grace": option}, known)
        graph.check(SOUND | {"trigger": {"date": {"field": said, "offset": option, "at": option}}}, known)
        graph.check(SOUND | {"trigger": {"field_changed": {"field": said, "from": option}, "when": said}}, known)
        graph.check(SOUND | {"goals": [{"key": said, "rule": option, "value": said}], "exit": {"rule": said}}, known)
        graph.check(SOUND | {"goal": {"rule": said, "action": "jump", "to": option, "value": option}}, known)
        track = {name: value for name, value in SOUND.items() if name != "steps"} | {"kind": "nurture"}
        graph.check(track | {"streams": [STREAM | {"items": [{"send": said, "valid_to": option}]}]}, known)


@pytest.mark.parametrize("day", ["2027-02-30", "2027-13-01", "9999-12-31", "2027-01-01T25:00", 7])
def test_a_day_that_is_not_in_the_calendar_is_refused(day):
    streams = [STREAM | {"items": [{"send": "one", "valid_to": day}]}]
    track = {"key": "j", "kind": "nurture", "trigger": "manual", "streams": streams}
    assert [problem.path for problem in graph.check(track, KNOWN)] == ["streams[0].items[0].valid_to"]


def test_names_last_and_come_from_what_a_step_does():
    definition = {
        **SOUND,
        "steps": [
            {"send": "hello"},
            {"wait": "1d"},
            {"key": "wait-2", "wait": "2d"},
            {"ask": {"did": "a.b"}, "then": [{"send": "hello"}, {"wait": "3d"}]},
        ],
    }
    complete = graph.complete(definition)
    assert [step["key"] for _path, step in graph.steps_of(complete)] == [
        "hello", "wait", "wait-2", "ask", "hello-2", "wait-3",
    ]  # fmt: skip
    assert graph.complete(complete) == complete
    assert "key" not in definition["steps"][0], "the given definition is left as it was"


def test_paths_join_the_step_after_their_fork():
    definition = {
        **SOUND,
        "steps": [
            {"key": "q", "ask": {"did": "a.b"}, "then": [{"key": "yes", "wait": "1d"}], "else": []},
            {"key": "s", "split": {"a": 1, "b": 1}, "a": [{"key": "out", "exit": "done"}]},
            {"key": "last", "wait": "1d"},
            {"key": "back", "jump_to": "q", "max": 2},
        ],
    }
    edges = {node.key: node.edges for node in graph.nodes(definition)}
    assert edges == {
        "": {"next": "q"},
        "q": {"then": "yes", "else": "s"},
        "yes": {"next": "s"},
        "s": {"a": "out", "b": "last"},
        "out": {},
        "last": {"next": "back"},
        "back": {"jump": "q", "next": None},
    }
    assert graph.check(definition, KNOWN) == []


def test_warnings_are_told_and_do_not_block():
    definition = {
        **SOUND,
        "steps": [{"send": "hello"}, {"send": "one"}, {"key": "long", "wait": "800d"}],
    }
    problems = graph.check(definition, KNOWN)
    assert {(problem.step_key, problem.level) for problem in problems} == {("one", "warning"), ("long", "warning")}


def test_a_jump_over_a_path_without_a_wait_is_refused():
    definition = {
        **SOUND,
        "steps": [
            {"key": "a", "send": "hello"},
            {"key": "q", "ask": {"did": "a.b"}, "then": [{"key": "w", "wait": "1d"}], "else": []},
            {"key": "back", "jump_to": "a"},
        ],
    }
    assert [problem.path for problem in graph.check(definition, KNOWN)] == ["steps[2].jump_to"]
    definition["steps"][1]["else"] = [{"key": "w2", "wait": "1d"}]
    assert graph.check(definition, KNOWN) == []
