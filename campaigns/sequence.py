"""What an onboarding sequence says of itself: its milestones, its rhythm, and what becomes of whoever stalls. Pure.

A milestone is a predicate: whoever it means has done what the sequence leads to, whether here or before.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.utils.translation import gettext as _

from campaigns.findings import Findings
from campaigns.steps import check_task
from campaigns.waits import days_and_seconds
from contacts.durations import parse_duration

# What only an onboarding sequence may say.
KEYS = ["milestones", "protect_days", "stall_after", "nudge", "stall_task", "timeout", "on_timeout"]
# Also what any journey of steps may.
TOP = [*KEYS, "min_gap"]
GAP, TIMEOUT, PROTECT_DAYS, LONGEST_PROTECTION = "2d", "45d", 14, 365
# The node behind the last step, where people rest until all milestones are reached; no step can be called so.
REST = ":milestones"


@dataclass(frozen=True)
class Sequence:
    """The settings that hold, with what is left out at its default; no journey but an onboarding has any but a gap."""

    required: list[str]
    min_gap: timedelta | None = None
    protection: timedelta | None = None
    stall_after: timedelta | None = None
    timeout: timedelta | None = None


def sequence_of(definition: Mapping[str, Any]) -> Sequence:
    """The settings of a sound definition."""
    is_onboarding = definition.get("kind") == "onboarding"
    required = [one["key"] for one in definition.get("milestones") or [] if one.get("required", True)]
    protect_days = definition.get("protect_days", PROTECT_DAYS if is_onboarding else 0)
    return Sequence(
        required,
        gap_of(definition.get("kind"), definition.get("min_gap")),
        timedelta(days=protect_days) if protect_days else None,
        _span(definition.get("stall_after")),
        # Without anything to reach, a sequence ends with its last step.
        _span(definition.get("timeout", TIMEOUT if required else None)),
    )


def gap_of(kind: Any, said: Any) -> timedelta | None:
    """The gap between marketing messages of a journey of this kind that says `said`, or nothing, of it."""
    return _span(said or (GAP if kind == "onboarding" else None))


def _span(text: Any) -> timedelta | None:
    """None where there is none: `0d` switches a gap off."""
    return None if text in (None, "0d") else parse_duration(text)


def rests_for_milestones(definition: Mapping[str, Any]) -> bool:
    """Whether people stay behind the last step until they are activated, or their time is up."""
    return bool(sequence_of(definition).required)


def rest_of(definition: Mapping[str, Any]) -> dict[str, int]:
    """How long people rest behind the last step at most. The time is up before: it is counted from the enrolment."""
    return days_and_seconds(definition.get("timeout", TIMEOUT))


# Checks --------------------------------------------------------------------------------------------------------------


def milestone_keys(definition: Mapping[str, Any]) -> frozenset[str]:
    """The keys of the milestones, as far as they can be read."""
    milestones = definition.get("milestones")
    return frozenset(
        str(one["key"])
        for one in (milestones if isinstance(milestones, list) else [])
        if isinstance(one, Mapping) and one.get("key")
    )


def check_sequence(f: Findings, definition: Mapping[str, Any]) -> None:
    """Finds what is wrong with what an onboarding sequence says of itself."""
    if definition.get("kind") != "onboarding":
        for name in KEYS:
            if name in definition:
                f.say(name, _("Only an onboarding sequence has this."))
    if definition.get("min_gap", GAP) != "0d":
        f.span(definition.get("min_gap", GAP), "min_gap")
    if definition.get("kind") != "onboarding":
        return
    _check_milestones(f, definition)
    days = definition.get("protect_days", PROTECT_DAYS)
    if isinstance(days, bool) or not isinstance(days, int) or not 0 <= days <= LONGEST_PROTECTION:
        f.say("protect_days", _("Say for how many days: 0 to %(most)d.") % {"most": LONGEST_PROTECTION})
    _check_stalling(f, definition)
    if "timeout" in definition:
        f.span(definition["timeout"], "timeout")
    if "on_timeout" in definition:
        _check_on_timeout(f, definition)


def _check_milestones(f: Findings, definition: Mapping[str, Any]) -> None:
    milestones = definition.get("milestones")
    if milestones is None:
        return
    if not isinstance(milestones, list) or not milestones:
        f.say("milestones", _("Milestones are a list, each with a key and a rule."))
        return
    seen: set[str] = set()
    for place, one in enumerate(milestones):
        path = f"milestones[{place}]"
        if not isinstance(one, Mapping):
            f.say(path, _("A milestone is a mapping with a key and a rule."))
            continue
        f.only(one, ["key", "name", "rule", "required"], path)
        f.key(one.get("key"), f"{path}.key")
        if str(one.get("key")) in seen:
            f.say(f"{path}.key", _("The key “%(key)s” is taken by another milestone.") % {"key": one.get("key")})
        seen.add(str(one.get("key")))
        f.name(one, f"{path}.name")
        f.rule(one.get("rule"), f"{path}.rule")
        if not isinstance(one.get("required", True), bool):
            f.say(f"{path}.required", _("A milestone is required: true or false."))
    if "streams" in definition:
        f.say("milestones", _("Milestones belong to a sequence of steps."))


def _check_stalling(f: Findings, definition: Mapping[str, Any]) -> None:
    if "stall_after" in definition:
        f.span(definition["stall_after"], "stall_after")
        if not definition.get("milestones"):
            f.say("stall_after", _("Without milestones nobody can tell who stalls."))
        if "nudge" not in definition and "stall_task" not in definition:
            f.say("stall_after", _("Say what to do then: a nudge, a stall_task, or both."))
    for name in ("nudge", "stall_task"):
        if name in definition and "stall_after" not in definition:
            f.say(name, _("Say after how long, with stall_after."))
    if "nudge" in definition:
        f.template(definition["nudge"], "nudge")
    if "stall_task" in definition:
        check_task(f, definition["stall_task"], "stall_task")


def _check_on_timeout(f: Findings, definition: Mapping[str, Any]) -> None:
    following = definition["on_timeout"]
    if not isinstance(following, Mapping) or "start" not in following:
        f.say("on_timeout", _("Say which journey to start then, such as {start: win-back}."))
        return
    f.only(following, ["start"], "on_timeout")
    f.journey(following["start"], "on_timeout.start")
    if "timeout" not in definition and not milestone_keys(definition):
        f.say("on_timeout", _("Say after how long, with timeout."))
