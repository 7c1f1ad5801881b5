"""The kinds of steps a journey may have: what each may say, and what of it the engine needs.

A step is a mapping with one verb (`send`, `wait`, `ask` …), the verb's options, and a stable `key`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext as _

from campaigns.findings import Findings
from campaigns.splits import OTHER_NAMES, check_split, is_path, split_config, weights_of
from campaigns.waits import check_wait, check_wait_for, check_wait_until, days_and_seconds, until_config
from contacts.stages import STAGES

# What becomes of people whose message could not be sent.
ON_SKIP = ["advance", "wait", "exit"]


# What each verb may say ----------------------------------------------------------------------------------------------

Step = Mapping[str, Any]


def _check_send(f: Findings, step: Step, path: str, key: str) -> None:
    f.template(step["send"], f"{path}.send", key)
    if "valid_for" in step:
        f.span(step["valid_for"], f"{path}.valid_for", key)
    if "milestone" in step:
        f.milestone(step["milestone"], f"{path}.milestone", key)
    if step.get("on_skip", "advance") not in ON_SKIP:
        f.say(f"{path}.on_skip", _("Where a message cannot be sent, people “advance”, “wait” or “exit”."), key)


def _check_ask(f: Findings, step: Step, path: str, key: str) -> None:
    if not isinstance(step["ask"], list):
        f.rule(step["ask"], f"{path}.ask", key)
        return
    if not step["ask"]:
        f.say(f"{path}.ask", _("Name at least one branch: {label: big, when: …}."), key)
    seen: set[str] = set()
    for place, branch in enumerate(step["ask"]):
        here = f"{path}.ask[{place}]"
        if not isinstance(branch, Mapping):
            f.say(here, _("A branch has a label and a rule: {label: big, when: …}."), key)
            continue
        f.only(branch, ["label", "when"], here, key)
        label = branch.get("label")
        if not is_path(label) or label in seen:
            f.say(f"{here}.label", _("A path needs a name of its own, other than %(names)s.") % OTHER_NAMES, key)
        else:
            seen.add(str(label))
        f.rule(branch.get("when"), f"{here}.when", key)


# What `set` may change, and what else each says.
SETS = {"field": ["value", "add", "remove"], "segment": ["in"], "stage": [], "grant": []}


def _check_set(f: Findings, step: Step, path: str, key: str) -> None:
    change, here = step["set"], f"{path}.set"
    said = [name for name in SETS if name in change] if isinstance(change, Mapping) else []
    if len(said) != 1:
        f.say(here, _("Say what to set, one of: %(known)s.") % {"known": ", ".join(SETS)}, key)
        return
    f.only(change, [said[0], *SETS[said[0]]], here, key)
    if said[0] == "field":
        _check_field(f, change, here, key)
    elif said[0] == "segment":
        if not isinstance(change["segment"], str) or (
            f.known.segments is not None and change["segment"] not in f.known.segments
        ):
            f.say(f"{here}.segment", _("There is no segment “%(key)s”.") % {"key": change["segment"]}, key)
        if not isinstance(change.get("in", True), bool):
            f.say(f"{here}.in", _("People are put in (true) or kept out (false)."), key)
    elif said[0] == "stage":
        if not isinstance(change["stage"], str) or change["stage"] not in dict(STAGES):
            f.say(f"{here}.stage", _("The stage must be one of: %(known)s.") % {"known": ", ".join(dict(STAGES))}, key)
    else:
        f.text(change["grant"], f"{here}.grant", key)


def _check_field(f: Findings, change: Step, here: str, key: str) -> None:
    ways = [way for way in SETS["field"] if way in change]
    if len(ways) != 1:
        f.say(here, _("Say which field to set and to which value, or what to add to a list or remove from it."), key)
        return
    name, value = change["field"], change[ways[0]]
    if not isinstance(name, str):
        f.text(name, f"{here}.field", key)
        return
    if ways[0] != "value" and (not isinstance(value, str | int | float) or isinstance(value, bool)):
        f.say(f"{here}.{ways[0]}", _("An element of a list is a text or a number."), key)
    if f.known.fields is None:
        return
    if name not in f.known.fields:
        f.say(f"{here}.field", _("There is no custom field “%(key)s”.") % {"key": name}, key)
        return
    type_name = f.known.fields[name]
    if ways[0] != "value":
        if type_name != "list":
            f.say(f"{here}.{ways[0]}", _("Only a list can be added to or removed from."), key)
        return
    fits = {
        "number": isinstance(value, int | float) and not isinstance(value, bool),
        "boolean": isinstance(value, bool),
        "list": isinstance(value, list),
    }.get(type_name, isinstance(value, str))
    if value is not None and not fits:
        f.say(f"{here}.value", _("This value does not fit a field of type %(type)s.") % {"type": type_name}, key)


def _check_handoff(f: Findings, step: Step, path: str, key: str) -> None:
    handoff = step["handoff"]
    if not isinstance(handoff, Mapping):
        f.say(f"{path}.handoff", _("Say the reason, and the team if you wish."), key)
        return
    f.only(handoff, ["reason", "team"], f"{path}.handoff", key)
    f.text(handoff.get("reason"), f"{path}.handoff.reason", key)
    if "team" in handoff:
        f.text(handoff["team"], f"{path}.handoff.team", key)


def _check_named(verb: str) -> Callable[[Findings, Step, str, str], None]:
    def check(f: Findings, step: Step, path: str, key: str) -> None:
        f.text(step[verb], f"{path}.{verb}", key)

    return check


def _check_start(f: Findings, step: Step, path: str, key: str) -> None:
    f.journey(step["start"], f"{path}.start", key)


def _check_task(f: Findings, step: Step, path: str, key: str) -> None:
    check_task(f, step["task"], f"{path}.task", key)
    if "milestone" in step:
        f.milestone(step["milestone"], f"{path}.milestone", key)


def check_task(f: Findings, task: Any, path: str, key: str = "") -> None:
    """Whose task it is, what it is called, and until when: `{assign: owner, title: Call them, due: 2d}`."""
    if not isinstance(task, Mapping):
        f.say(path, _("Say whose task it is and its title."), key)
        return
    f.only(task, ["assign", "title", "due"], path, key)
    f.text(task.get("assign"), f"{path}.assign", key)
    f.text(task.get("title"), f"{path}.title", key)
    if "due" in task:
        f.span(task["due"], f"{path}.due", key)


def task_of(task: Mapping[str, Any]) -> dict[str, Any]:
    """A task as the engine reads it."""
    due = {"due": days_and_seconds(task["due"])} if "due" in task else {}
    return {"assign": task["assign"], "title": task["title"], **due}


def _check_milestone(f: Findings, step: Step, path: str, key: str) -> None:
    f.milestone(step["milestone"], f"{path}.milestone", key)
    if "timeout" not in step:
        f.say(f"{path}.timeout", _("A wait for a milestone needs a timeout, so that nobody gets stuck."), key)
    else:
        f.span(step["timeout"], f"{path}.timeout", key)


def _check_offer(f: Findings, step: Step, path: str, key: str) -> None:
    slot = step["offer"]
    if not isinstance(slot, str) or not slot:
        f.say(f"{path}.offer", _("Name an offer, or a group of offers."), key)
    elif f.known.slots is not None and slot not in f.known.slots:
        f.say(f"{path}.offer", _("There is no offer and no group of offers “%(key)s”.") % {"key": slot}, key)
    for name in ("send", "default"):
        if name in step:
            f.template(step[name], f"{path}.{name}", key)


def _check_jump(f: Findings, step: Step, path: str, key: str) -> None:
    f.text(step["jump_to"], f"{path}.jump_to", key)
    times = step.get("max", 1)
    if isinstance(times, bool) or not isinstance(times, int) or not 1 <= times <= 100:
        f.say(f"{path}.max", _("Say how many times to jump at most: 1 to 100."), key)


@dataclass(frozen=True)
class Verb:
    """One kind of step: how it is checked, what else it may say, what of it the engine reads, its fixed paths.

    `kind` is how the engine moves it, where that is not by a statement of its own.
    """

    check: Callable[[Findings, Step, str, str], None]
    config: Callable[[Step], dict[str, Any]]
    options: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    kind: str = ""


VERBS: dict[str, Verb] = {
    "send": Verb(
        _check_send,
        lambda s: (
            {"template": s["send"]}
            | ({"valid_for": days_and_seconds(s["valid_for"])} if "valid_for" in s else {})
            | ({"on_skip": s["on_skip"]} if "on_skip" in s else {})
            | _bound(s)
        ),
        ("valid_for", "on_skip", "milestone"),
    ),
    "wait": Verb(check_wait, lambda s: days_and_seconds(s["wait"])),
    "wait_until": Verb(check_wait_until, lambda s: until_config(s["wait_until"])),
    "wait_for": Verb(
        check_wait_for,
        lambda s: {"rule": s["wait_for"], "since": s.get("since", "enrolment"), **days_and_seconds(s["timeout"])},
        ("timeout", "since"),
        ("then", "else"),
    ),
    "ask": Verb(_check_ask, lambda s: {"branches": branches(s)}),
    "split": Verb(check_split, lambda s: split_config(s["split"])),
    "set": Verb(
        _check_set, lambda s: dict(s["set"]) | ({"in": s["set"].get("in", True)} if "segment" in s["set"] else {})
    ),
    "webhook": Verb(_check_named("webhook"), lambda s: {"name": s["webhook"]}),
    "handoff": Verb(_check_handoff, lambda s: {"reason": s["handoff"]["reason"], "team": s["handoff"].get("team", "")}),
    "task": Verb(_check_task, lambda s: {**task_of(s["task"]), **_bound(s)}, ("milestone",)),
    "milestone": Verb(
        _check_milestone,
        lambda s: {"milestone": s["milestone"], **days_and_seconds(s["timeout"])},
        ("timeout",),
        ("then", "else"),
        "wait_for",
    ),
    "offer": Verb(
        _check_offer,
        lambda s: {"slot": s["offer"]} | {name: s[name] for name in ("send", "default") if name in s},
        ("send", "default"),
        ("then", "else"),
    ),
    "goal": Verb(_check_named("goal"), lambda s: {"goal": s["goal"]}),
    "start": Verb(_check_start, lambda s: {"journey": s["start"]}),
    "jump_to": Verb(_check_jump, lambda s: {"max": s.get("max", 1)}, ("max",)),
    "exit": Verb(_check_named("exit"), lambda s: {"reason": s["exit"]}),
}


def _bound(step: Step) -> dict[str, str]:
    """The milestone that a step leads to: who has reached it passes the step by."""
    return {"milestone": step["milestone"]} if "milestone" in step else {}


def branches(step: Step) -> list[dict[str, Any]]:
    """The labelled rules of an `ask`, in their order: one rule alone leads to `then`."""
    said = step["ask"]
    if not isinstance(said, list):
        return [{"label": "then", "rule": said}]
    return [{"label": one["label"], "rule": one["when"]} for one in said]


def verb_of(step: Any) -> str:
    """The verb of a step; empty where it has none or several. What is an option of another one is no verb there."""
    if not isinstance(step, Mapping):
        return ""
    verbs = [key for key in step if key in VERBS]
    options = {option for verb in verbs for option in VERBS[verb].options}
    verbs = [verb for verb in verbs if verb not in options]
    return verbs[0] if len(verbs) == 1 else ""


def paths_of(step: Step) -> list[str]:
    """The names of the paths that leave a fork; empty for a step that has one way on."""
    verb = verb_of(step)
    if verb == "split":
        return [label for label in weights_of(step["split"]) if isinstance(label, str)]
    if verb == "ask":
        said = step["ask"]
        labels = [one.get("label") for one in said if isinstance(one, Mapping)] if isinstance(said, list) else ["then"]
        return [*(label for label in labels if isinstance(label, str)), "else"]
    return list(VERBS[verb].paths) if verb in VERBS else []
