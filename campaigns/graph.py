"""A journey's definition: checked, named, and flattened to nodes with labelled edges. Pure: no database.

The definition is the mapping of "Journeys as code": a tree of steps, or the streams of a nurture track.
"""

import copy
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from django.utils.translation import gettext as _

from campaigns import broadcasts, sequence, shape
from campaigns.cadence import PARTS, bound, check_cadence
from campaigns.endings import check_endings, jump_of
from campaigns.findings import Findings, Known, Problem, is_key
from campaigns.steps import VERBS, paths_of, verb_of
from campaigns.triggers import check_reentry, check_trigger, triggers_of

__all__ = ["ENTRY", "Known", "NodeSpec", "Problem", "check", "complete", "is_key", "nodes", "steps_of", "triggers_of"]

# The node where every enrolment begins; no step can be called so.
ENTRY = ""
KINDS = ["nurture", "onboarding", "cross_sell", "broadcast", "follow_up", "win_back"]
# In quiet hours: wait for their end, do not send it at all, send it all the same.
QUIET_HOURS = ["default", "skip", "ignore"]
TOP = [
    "key", "name", "kind", "tier", "trigger", "reentry", "grace", "goal", "goals", "exit", "holdout", "quiet_hours",
    "steps", "streams", "exhausted", *broadcasts.KEYS, *sequence.TOP,
]  # fmt: skip


@dataclass(frozen=True)
class NodeSpec:
    """One node of the flattened journey; each edge leads by its label to a node's key, or to the end (None)."""

    key: str
    kind: str
    config: dict[str, Any] = field(default_factory=dict)
    edges: dict[str, str | None] = field(default_factory=dict)


# Names ---------------------------------------------------------------------------------------------------------------


def steps_of(definition: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every step with its path, top to bottom; what is not a mapping is left to `check`."""
    yield from _walk(definition.get("steps"), "steps")


def _walk(steps: Any, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for place, step in enumerate(steps if isinstance(steps, list) else []):
        if isinstance(step, dict):
            yield f"{path}[{place}]", step
            for label in paths_of(step):
                yield from _walk(step.get(label), f"{path}[{place}].{label}")


def complete(definition: Mapping[str, Any]) -> dict[str, Any]:
    """A copy in which every step, stream and item has a key: its own, or one made of what it does."""
    result: dict[str, Any] = copy.deepcopy(dict(definition))
    found = [(step, _wish(step)) for _path, step in steps_of(result)]
    streams = [s for s in result.get("streams") or [] if isinstance(s, dict)] if _is_list(result, "streams") else []
    items = [i for s in streams if _is_list(s, "items") for i in s["items"] if isinstance(i, dict)]
    for group in (
        found,
        [(stream, "stream") for stream in streams],
        [(item, _wish(item)) for item in items],
    ):
        taken = {str(one["key"]) for one, _name in group if one.get("key")}
        for one, wish in group:
            if not one.get("key"):
                key, number = wish, 2
                while key in taken:
                    key, number = f"{wish}-{number}", number + 1
                one["key"] = key
                taken.add(key)
    return result


def _is_list(data: Mapping[str, Any], key: str) -> bool:
    return isinstance(data.get(key), list)


def _wish(step: Mapping[str, Any]) -> str:
    verb = verb_of(step)
    said = step.get(verb)
    if verb == "send" and isinstance(said, str) and is_key(said):
        return said
    return verb.replace("_", "-") or "step"


# Checks --------------------------------------------------------------------------------------------------------------


def check(definition: Any, known: Known | None = None) -> list[Problem]:
    """What is wrong with a definition; empty where it can be published. Warnings have the level `warning`."""
    f = Findings(known or Known())
    if not isinstance(definition, Mapping):
        f.say("", _("A journey is a mapping with a key, a kind, a trigger and steps."))
        return f.problems
    definition = complete(definition)
    f.milestones = sequence.milestone_keys(definition)
    f.only(definition, TOP, "")
    if not is_key(definition.get("key")):
        f.say("key", _("A key is letters, digits, - and _, at most 64."))
    f.name(definition, "name")
    if definition.get("kind") not in KINDS:
        f.say("kind", _("The kind must be one of: %(kinds)s.") % {"kinds": ", ".join(KINDS)})
    if definition.get("kind") == "broadcast":
        _check_settings(f, definition)
        broadcasts.check(f, definition)
        return f.problems
    for name in broadcasts.KEYS:
        if name in definition:
            f.say(name, _("Only a broadcast has this."))
    _check_settings(f, definition)
    sequence.check_sequence(f, definition)
    for path, trigger in triggers_of(definition):
        check_trigger(f, trigger, path)
    if "streams" in definition:
        if "steps" in definition:
            f.say("streams", _("A track has streams or steps, not both."))
        _check_streams(f, definition, definition["streams"])
        if "exhausted" in definition:
            _check_exhausted(f, definition, definition["exhausted"], "exhausted")
    else:
        if "exhausted" in definition:
            f.say("exhausted", _("Only a track with streams has this."))
        _check_steps(f, definition.get("steps"), "steps")
        if not definition.get("steps"):
            f.say("steps", _("A journey needs at least one step."))
    _check_names(f, definition)
    if all(problem.level == "warning" for problem in f.problems):
        _check_shape(f, definition)
    return f.problems


def tier_of(definition: Mapping[str, Any]) -> int:
    """Who goes first where a person may get one mail only: 1 … 5. Broadcasts go last unless they say otherwise."""
    tier: int = definition.get("tier", broadcasts.TIER if definition.get("kind") == "broadcast" else 3)
    return tier


def _check_settings(f: Findings, definition: Mapping[str, Any]) -> None:
    tier = tier_of(definition)
    if isinstance(tier, bool) or not isinstance(tier, int) or not 1 <= tier <= 5:
        f.say("tier", _("The tier is 1 (goes first) to 5."))
    if not _is_percent(definition.get("holdout", 0)):
        f.say("holdout", _("The holdout is a whole per cent from 0% to 90%, such as 5%."))
    if definition.get("quiet_hours", "default") not in QUIET_HOURS:
        f.say("quiet_hours", _("Quiet hours are one of: %(known)s.") % {"known": ", ".join(QUIET_HOURS)})
    check_endings(f, definition)
    check_reentry(f, definition)


def _is_percent(value: Any) -> bool:
    return bool(re.fullmatch(r"([0-8]?[0-9]|90)\s?%?", str(value))) and not isinstance(value, bool)


def _check_steps(f: Findings, steps: Any, path: str) -> None:
    if steps is None:
        return
    if not isinstance(steps, list):
        f.say(path, _("Steps are a list."))
        return
    for place, step in enumerate(steps):
        here = f"{path}[{place}]"
        if not isinstance(step, Mapping):
            f.say(here, _("A step is a mapping such as {send: hello}."))
            continue
        key, verb = str(step.get("key", "")), verb_of(step)
        if not verb:
            f.say(here, _("A step has exactly one of: %(known)s.") % {"known": ", ".join(VERBS)}, key)
            continue
        f.only(step, ["key", "name", verb, *VERBS[verb].options, *paths_of(step)], here, key)
        f.name(step, f"{here}.name", key)
        VERBS[verb].check(f, step, here, key)
        for label in paths_of(step):
            _check_steps(f, step.get(label), f"{here}.{label}")


def _check_streams(f: Findings, definition: Mapping[str, Any], streams: Any) -> None:
    if not isinstance(streams, list) or not streams:
        f.say("streams", _("A track needs at least one stream."))
        return
    for place, stream in enumerate(streams):
        path = f"streams[{place}]"
        if not isinstance(stream, Mapping):
            f.say(path, _("A stream is a mapping with a cadence and items."))
            continue
        key = str(stream.get("key", ""))
        f.name(stream, f"{path}.name", key)
        f.only(stream, ["key", "name", "cadence", "enter", "items", "exhausted"], path, key)
        cadence = stream.get("cadence")
        f.only(cadence if isinstance(cadence, Mapping) else {}, PARTS, f"{path}.cadence", key)
        for name, message in check_cadence(cadence):
            f.say(f"{path}.cadence.{name}" if name else f"{path}.cadence", message, key)
        if stream.get("enter") is not None:
            f.rule(stream["enter"], f"{path}.enter", key)
        if "exhausted" in stream:
            _check_exhausted(f, definition, stream["exhausted"], f"{path}.exhausted", key)
        items = stream.get("items", [])
        if not isinstance(items, list):
            f.say(f"{path}.items", _("Items are a list."), key)
            continue
        if not items:
            f.say(f"{path}.items", _("This stream has nothing to send yet."), key, "warning")
        for number, item in enumerate(items):
            _check_item(f, item, f"{path}.items[{number}]", key)


def _check_exhausted(f: Findings, definition: Mapping[str, Any], way: Any, path: str, key: str = "") -> None:
    """What becomes of members for whom nothing is left: one of another stream, another track, the end."""
    if not isinstance(way, Mapping) or len(way) != 1 or not way.keys() <= {"stream", "start", "exit"}:
        f.say(path, _("Say one of {stream: …}, {start: …} and {exit: true}, or leave it out: members wait."), key)
    elif "stream" in way:
        streams = {one["key"] for one in definition["streams"] if isinstance(one, Mapping)}
        if way["stream"] not in streams or way["stream"] == key:
            f.say(f"{path}.stream", _("There is no other stream “%(key)s”.") % {"key": way["stream"]}, key)
    elif "start" in way:
        if way["start"] == definition.get("key"):
            f.say(f"{path}.start", _("A track cannot start itself."), key)
        else:
            f.journey(way["start"], f"{path}.start", key)
    elif way["exit"] is not True:
        f.say(f"{path}.exit", _("Write exit: true, or leave it out: members wait."), key)


def _check_item(f: Findings, item: Any, path: str, key: str) -> None:
    if not isinstance(item, Mapping):
        f.say(path, _("An item is a mapping such as {send: guide-1}."), key)
        return
    f.only(item, ["key", "send", "topic", "when", "consumed_when", "valid_from", "valid_to", "active"], path, key)
    f.template(item.get("send"), f"{path}.send", key)
    topic = item.get("topic", "")
    if not isinstance(topic, str) or (topic and f.known.topics is not None and topic not in f.known.topics):
        f.say(f"{path}.topic", _("There is no topic “%(key)s”.") % {"key": topic}, key)
    for name in ("when", "consumed_when"):
        if item.get(name) is not None:
            f.rule(item[name], f"{path}.{name}", key)
    for name in ("valid_from", "valid_to"):
        try:
            if name in item:
                bound(item[name], is_end=name == "valid_to")
        except ValueError as error:
            f.say(f"{path}.{name}", str(error), key)
    if not isinstance(item.get("active", True), bool):
        f.say(f"{path}.active", _("An item is active: true or false."), key)


def _check_names(f: Findings, definition: Mapping[str, Any]) -> None:
    streams = definition["streams"] if _is_list(definition, "streams") else []
    kept = [(f"streams[{n}]", s) for n, s in enumerate(streams) if isinstance(s, dict)]
    items = [
        (f"{path}.items[{n}]", i)
        for path, s in kept
        for n, i in enumerate(s["items"] if _is_list(s, "items") else [])
        if isinstance(i, dict)
    ]
    for group in ([*steps_of(definition), *kept], items):
        seen: set[str] = set()
        for path, one in group:
            key = one.get("key")
            if not is_key(key):
                f.say(f"{path}.key", _("A key is letters, digits, - and _, at most 64."), str(key))
            elif key in seen:
                f.say(f"{path}.key", _("The key “%(key)s” is taken by another step.") % {"key": key}, key)
            seen.add(str(key))


def _check_shape(f: Findings, definition: Mapping[str, Any]) -> None:
    """What only the whole can tell (see `campaigns.shape`); streams do not lead round."""
    ways = {stream["key"]: exhausted_of(definition, stream).get("stream") for stream in definition.get("streams", [])}
    for place, start in enumerate(ways):
        seen, key = {start}, ways[start]
        while key and key not in seen:
            seen.add(key)
            key = ways[key]
        if key == start:
            f.say(f"streams[{place}].exhausted", _("The streams lead round in a circle: let one of them wait."), start)
            return
    steps = {step["key"]: (path, step) for path, step in steps_of(definition)}
    if not shape.check_size(f, steps.values()):
        return
    for key, (path, step) in steps.items():
        if "jump_to" in step and str(step["jump_to"]) not in steps:
            f.say(f"{path}.jump_to", _("There is no step “%(key)s”.") % {"key": step["jump_to"]}, key)
            return
    if (goal := jump_of(definition)) is not None and goal not in steps:
        f.say("goal.to", _("There is no step “%(key)s”.") % {"key": goal})
        return
    ways_in = [ENTRY] if goal is None else [ENTRY, goal]
    shape.check_shape(f, steps, {node.key: node for node in nodes(definition)}, definition, ways_in)


# Nodes ---------------------------------------------------------------------------------------------------------------


def nodes(definition: Mapping[str, Any]) -> list[NodeSpec]:
    """A sound definition as nodes, entry first, in the order of the drawing.

    A path that does not end the journey joins the step after its fork. Streams lead to all later streams;
    the way back to an earlier one is no edge, so that nothing leads round.
    """
    definition = complete(definition)
    if definition.get("kind") == "broadcast":
        moment, send = broadcasts.MOMENT, broadcasts.SEND
        return [
            NodeSpec(ENTRY, "entry", {}, {"next": moment}),
            NodeSpec(moment, "moment", broadcasts.pace_config(definition), {"next": send}),
            NodeSpec(send, "send", broadcasts.send_config(definition), {"next": None}),
        ]
    if "streams" in definition:
        keys = [stream["key"] for stream in definition["streams"]]
        entry = NodeSpec(ENTRY, "entry", {}, {"next": keys[0]})
        streams = [
            NodeSpec(
                stream["key"],
                "stream",
                {name: stream[name] for name in ("cadence", "enter", "items") if stream.get(name) is not None}
                | ({"exhausted": way} if (way := exhausted_of(definition, stream)) else {}),
                {key: key for key in keys[place + 1 :]},
            )
            for place, stream in enumerate(definition["streams"])
        ]
        return [entry, *streams]
    laid: list[NodeSpec] = []
    rests = sequence.rests_for_milestones(definition)
    first = _lay(definition.get("steps") or [], sequence.REST if rests else None, laid)
    if rests:
        laid.append(NodeSpec(sequence.REST, "wait", sequence.rest_of(definition), {"next": None}))
    edges = {"next": first} | ({"goal": goal} if (goal := jump_of(definition)) else {})
    return [NodeSpec(ENTRY, "entry", {}, edges), *laid]


def exhausted_of(definition: Mapping[str, Any], stream: Mapping[str, Any]) -> dict[str, Any]:
    """What becomes of those for whom a stream has nothing left: what it says itself, else the track; empty: they wait.

    The stream to which the whole track leads is the last one: its members wait.
    """
    way = dict(stream.get("exhausted") or definition.get("exhausted") or {})
    return {} if way.get("stream") == stream["key"] else way


def _lay(steps: list[dict[str, Any]], onward: str | None, laid: list[NodeSpec]) -> str | None:
    """Lays a path down, joining `onward` at its end; the key of its first step."""
    for place, step in enumerate(steps):
        following = steps[place + 1]["key"] if place + 1 < len(steps) else onward
        verb, forks = verb_of(step), paths_of(step)
        config = VERBS[verb].config(step)
        if verb == "exit":
            laid.append(NodeSpec(step["key"], verb, config))
        elif verb == "jump_to":
            laid.append(NodeSpec(step["key"], verb, config, {"jump": step["jump_to"], "next": following}))
        elif forks:
            edges: dict[str, str | None] = {}
            laid.append(NodeSpec(step["key"], VERBS[verb].kind or verb, config, edges))
            for label in forks:
                edges[label] = _lay(step.get(label) or [], following, laid)
        else:
            laid.append(NodeSpec(step["key"], verb, config, {"next": following}))
    return steps[0]["key"] if steps else onward
