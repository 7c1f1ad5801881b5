"""Goals and exits as a definition says them: what it may say, and how to read it. Pure: no database."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.utils.translation import gettext as _

from campaigns.findings import LONGEST_NAME, Findings
from campaigns.triggers import triggers_of
from contacts.durations import parse_duration

ACTIONS = ["exit", "continue", "jump"]


@dataclass(frozen=True)
class Goal:
    """One goal: the journey's own (no key), or a secondary one, which never ends anything."""

    key: str
    rule: Any
    window: timedelta | None = None
    # What it is worth: a number, or {property: …} of the touchpoint that shows it; None for nothing.
    value: Any = None
    # What reaching it does: exit, continue, or jump.
    action: str = "continue"


@dataclass(frozen=True)
class Exit:
    """Who leaves at once: whom the rule means, and, if the journey says so, who left the segment of a trigger."""

    rule: Any = None
    segments: tuple[str, ...] = ()


def goals_of(definition: Mapping[str, Any]) -> list[Goal]:
    """The goals of a sound definition, the journey's own first."""
    found = []
    if own := definition.get("goal"):
        found.append(_goal("", own, own.get("action", "exit")))
    return found + [_goal(one["key"], one, "continue") for one in definition.get("goals") or []]


def _goal(key: str, said: Mapping[str, Any], action: str) -> Goal:
    window = parse_duration(said["window"]) if "window" in said else None
    return Goal(key, said["rule"], window, said.get("value"), action)


def exit_of(definition: Mapping[str, Any]) -> Exit:
    """Who leaves at once, of a sound definition."""
    said = definition.get("exit")
    if said is None or not _is_long(said):
        return Exit(said)
    left = _segments(definition) if said.get("audience_left") else []
    return Exit(said.get("rule"), tuple(left))


def jump_of(definition: Mapping[str, Any]) -> str | None:
    """The key of the step to which reaching the goal leads."""
    goal = definition.get("goal")
    return goal["to"] if isinstance(goal, Mapping) and goal.get("action") == "jump" else None


def _is_long(said: Any) -> bool:
    """`exit: {rule: …, audience_left: …}` and not a rule by itself."""
    return isinstance(said, Mapping) and bool(said) and set(said) <= {"rule", "audience_left"}


def _segments(definition: Mapping[str, Any]) -> list[str]:
    return [
        trigger["segment_entered"]
        for _path, trigger in triggers_of(definition)
        if isinstance(trigger, Mapping) and isinstance(trigger.get("segment_entered"), str)
    ]


# Checking ------------------------------------------------------------------------------------------------------------


def check_endings(f: Findings, definition: Mapping[str, Any]) -> None:
    """What is wrong with how people leave and what they are to reach."""
    _check_exit(f, definition)
    goal = definition.get("goal")
    if goal is not None:
        if not isinstance(goal, Mapping) or "rule" not in goal:
            f.say("goal", _("A goal has a rule, and a window and an action if you wish."))
        else:
            f.only(goal, ["rule", "window", "action", "to", "value"], "goal")
            _check_goal(f, goal, "goal")
            _check_action(f, goal, definition)
    _check_secondary(f, definition.get("goals"))


def _check_exit(f: Findings, definition: Mapping[str, Any]) -> None:
    said = definition.get("exit")
    if said is None:
        return
    if not _is_long(said):
        f.rule(said, "exit")
        return
    if said.get("rule") is not None:
        f.rule(said["rule"], "exit.rule")
    left = said.get("audience_left", False)
    if not isinstance(left, bool):
        f.say("exit.audience_left", _("Say whether people leave with their segment: true or false."))
    elif left and not _segments(definition):
        f.say("exit.audience_left", _("There is no segment to leave: no trigger is segment_entered."))


def _check_goal(f: Findings, goal: Mapping[str, Any], path: str) -> None:
    f.rule(goal["rule"], f"{path}.rule")
    if "window" in goal:
        f.span(goal["window"], f"{path}.window")
    value = goal.get("value")
    if isinstance(value, Mapping):
        f.only(value, ["property"], f"{path}.value")
        f.text(value.get("property"), f"{path}.value.property")
        if event_of(goal["rule"]) is None:
            f.say(f"{path}.value", _("No touchpoint shows this goal, so there is no property to take the value from."))
    elif value is not None and (isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e11):
        f.say(f"{path}.value", _("The value is a number, or {property: …} of the touchpoint."))


def _check_action(f: Findings, goal: Mapping[str, Any], definition: Mapping[str, Any]) -> None:
    action = goal.get("action", "exit")
    if action not in ACTIONS:
        f.say("goal.action", _("When the goal is reached, people “exit”, “continue” or “jump” to a step."))
    elif action == "jump" and "streams" in definition:
        f.say("goal.action", _("A track has no steps to jump to."))
    elif action == "jump":
        f.text(goal.get("to"), "goal.to")
    elif "to" in goal:
        f.say("goal.to", _("Only the action “jump” leads to a step."))


def _check_secondary(f: Findings, goals: Any) -> None:
    if goals is None:
        return
    if not isinstance(goals, list):
        f.say("goals", _("Further goals are a list."))
        return
    seen: set[str] = set()
    for place, goal in enumerate(goals):
        path = f"goals[{place}]"
        if not isinstance(goal, Mapping) or "rule" not in goal:
            f.say(path, _("A further goal has a key and a rule."))
            continue
        f.only(goal, ["key", "rule", "window", "value"], path)
        f.text(goal.get("key"), f"{path}.key")
        if len(str(goal.get("key"))) > LONGEST_NAME:
            f.say(f"{path}.key", _("A name is a text of at most %(most)d characters.") % {"most": LONGEST_NAME})
        if str(goal.get("key")) in seen:
            f.say(f"{path}.key", _("The key “%(key)s” is taken by another goal.") % {"key": goal["key"]})
        seen.add(str(goal.get("key")))
        _check_goal(f, goal, path)


# Which event ---------------------------------------------------------------------------------------------------------


def event_of(rule: Any) -> Mapping[str, Any] | None:
    """The touchpoint that would show a rule: its first `did` that asks of no time of its own; None without one."""
    if not isinstance(rule, Mapping):
        return None
    for group in ("all", "any"):
        if isinstance(rule.get(group), list):
            return next((found for part in rule[group] if (found := event_of(part))), None)
    return rule if "did" in rule and not {"within", "before", "after"} & rule.keys() else None


def is_of_events(rule: Any) -> bool:
    """Whether it asks of nothing but events, so that one which is told late can be dated."""
    if isinstance(rule, Mapping):
        for group in ("all", "any"):
            if isinstance(rule.get(group), list):
                return all(is_of_events(part) for part in rule[group])
    return event_of(rule) is not None
