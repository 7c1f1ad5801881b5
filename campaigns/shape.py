"""What only the whole of a definition can tell: whether everybody can get to each step, and nobody runs in circles.

Pure, but for the definitions of other journeys, which are asked for where one starts another (`Known.starts_of`).
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from typing import Any

from django.utils.translation import gettext as _

from campaigns.findings import Findings
from contacts.durations import parse_duration

# Nobody draws, or understands, more.
MOST_STEPS = 500
LONGEST_WAIT = timedelta(days=731)
# Where people surely stay for a while. A wait for something or until a moment may be over as soon as it is come to.
_SURE_WAITS = ("wait",)

Steps = Mapping[str, tuple[str, Mapping[str, Any]]]


def check_shape(
    f: Findings, steps: Steps, spec: Mapping[str, Any], definition: Mapping[str, Any], ways_in: Iterable[str]
) -> None:
    """Adds what is wrong with the shape: `steps` by key with their paths, `spec` the same as flattened nodes.

    `ways_in` are the nodes that people come to without a step before: the entry, and where a goal leads to.
    """
    _check_jumps(f, steps, spec)
    reached = set().union(*(reach(spec, one) for one in ways_in))
    for key, (path, step) in steps.items():
        if key not in reached:
            f.say(path, _("Nobody can get to this step: every way before it ends or turns back."), key)
        following = steps.get(spec[key].edges.get("next") or "")
        if "send" in step and following and "send" in following[1]:
            f.say(following[0], _("Two messages follow each other without a wait."), following[1]["key"], "warning")
        _check_length(f, path, step, key)
        if "split" in step and _metric(step["split"]) == "goal" and not _has_goal(definition, steps):
            f.say(f"{path}.split.winner.metric", _("This journey has no goal by which a path could win."), key)
    _check_starts(f, steps, spec, definition)


def check_size(f: Findings, steps: Iterable[tuple[str, Mapping[str, Any]]]) -> bool:
    """Refuses more steps than anybody understands, before they are looked at any further."""
    found = list(steps)
    if len(found) <= MOST_STEPS:
        return True
    path, step = found[MOST_STEPS]
    f.say(path, _("A journey has at most %(most)d steps; this is one too many.") % {"most": MOST_STEPS}, step["key"])
    return False


def _check_jumps(f: Findings, steps: Steps, spec: Mapping[str, Any]) -> None:
    for key, (path, step) in steps.items():
        if "jump_to" not in step:
            continue
        if key not in reach(spec, step["jump_to"]):
            f.say(f"{path}.jump_to", _("A jump leads back, to a step before it."), key)
        elif key in reach(spec, step["jump_to"], past_waits=False):
            f.say(f"{path}.jump_to", _("A jump needs a wait behind it: put a wait between the two."), key)


def _check_length(f: Findings, path: str, step: Mapping[str, Any], key: str) -> None:
    for name in ("wait", "timeout"):
        if name in step and parse_duration(step[name]) > LONGEST_WAIT:
            f.say(f"{path}.{name}", _("This waits for more than two years; is it meant?"), key, "warning")


def _metric(split: Any) -> str:
    winner = split.get("winner")
    return str(winner.get("metric")) if isinstance(winner, Mapping) else ""


def _has_goal(definition: Mapping[str, Any], steps: Steps) -> bool:
    return definition.get("goal") is not None or any("goal" in step for _path, step in steps.values())


# Journeys that start each other --------------------------------------------------------------------------------------


def _check_starts(f: Findings, steps: Steps, spec: Mapping[str, Any], definition: Mapping[str, Any]) -> None:
    """A journey must not start itself, nor come back to itself by others without anybody ever waiting."""
    own = str(definition.get("key"))
    at_once = reach(spec, next(iter(spec)), past_waits=False)
    for key, (path, step) in steps.items():
        if "start" not in step:
            continue
        if step["start"] == own:
            f.say(f"{path}.start", _("A journey cannot start itself; a jump leads back within it."), key)
        elif key in at_once and f.known.starts_of and (way := _way_back(own, str(step["start"]), f.known.starts_of)):
            circle = {"circle": " → ".join([own, *way])}
            f.say(f"{path}.start", _("These journeys start each other without a wait: %(circle)s.") % circle, key)


def _way_back(own: str, first: str, starts_of: Callable[[str], Iterable[str]]) -> list[str]:
    """From a journey to one's own by starts without a wait, both ends included; empty where no way leads there."""
    came_from: dict[str, str] = {first: ""}
    open_ends = [first]
    while open_ends:
        key = open_ends.pop()
        for other in starts_of(key):
            if other == own:
                way = [key, own]
                while came_from[way[0]]:
                    way.insert(0, came_from[way[0]])
                return way
            if other not in came_from:
                came_from[other] = key
                open_ends.append(other)
    return []


def started_at_once(spec: Mapping[str, Any]) -> list[str]:
    """The journeys that a journey, as nodes, starts before anybody has surely waited."""
    at_once = reach(spec, next(iter(spec)), past_waits=False)
    return [spec[key].config["journey"] for key in at_once if spec[key].kind == "start"]


# Ways ----------------------------------------------------------------------------------------------------------------


def reach(spec: Mapping[str, Any], start: str, past_waits: bool = True) -> set[str]:
    """The nodes on any way from a node; without `past_waits`, ways end at a wait of some length."""
    found: set[str] = set()
    open_ends = [start]
    while open_ends:
        key = open_ends.pop()
        if key in found:
            continue
        found.add(key)
        if past_waits or spec[key].kind not in _SURE_WAITS:
            open_ends += [target for target in spec[key].edges.values() if target is not None]
    return found
