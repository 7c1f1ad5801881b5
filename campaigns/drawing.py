"""A journey as a picture: the tree that the templates draw, with live numbers and problems on the steps."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from django.db.models import Count
from django.utils.dates import WEEKDAYS_ABBR
from django.utils.formats import date_format
from django.utils.timezone import localtime
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from campaigns.graph import Problem
from campaigns.models import Due, Journey, Node
from campaigns.nurture import Standing, standings_of
from campaigns.sequence import REST
from campaigns.splits import weights_of
from campaigns.steps import paths_of, verb_of
from messaging.models import Message

# Icon and colour of each kind of step.
LOOKS = {
    "send": ("mail", "is-info"),
    "wait": ("clock", "is-warn"),
    "wait_until": ("clock", "is-warn"),
    "wait_for": ("clock", "is-warn"),
    "ask": ("branch", "is-violet"),
    "webhook": ("link", "is-teal"),
    "split": ("branch", "is-violet"),
    "set": ("pencil", "is-teal"),
    "handoff": ("person", "is-teal"),
    "task": ("check", "is-teal"),
    "milestone": ("flag", "is-good"),
    "offer": ("tag", "is-violet"),
    "goal": ("flag", "is-good"),
    "start": ("route", "is-teal"),
    "jump_to": ("undo", "is-warn"),
    "exit": ("close", ""),
    "stream": ("route", "is-info"),
}


def numbers_of(journey: Journey) -> tuple[dict[str, int], dict[str, int]]:
    """By the key of each step: how many people stand there now, and how many messages it sent; over all versions."""
    here: dict[str, int] = {}
    nodes = dict(Node.objects.filter(version__journey=journey).values_list("pk", "key"))
    counts = Due.objects.filter(node_id__in=nodes).values("node_id").annotate(people=Count("pk"))
    for row in counts:
        key = nodes[row["node_id"]]
        here[key] = here.get(key, 0) + row["people"]
    sent = Message.objects.filter(journey_key=journey.key, state="sent", is_ghost=False)
    return here, dict(sent.values_list("node_key").annotate(Count("pk")))


def tree(
    journey: Journey, definition: Mapping[str, Any], problems: list[Problem], url: str, current: str
) -> list[dict[str, Any]]:
    """The steps as `site/flow.html` draws them; `url` leads to the page, to which `?step=key` is added."""
    here, sent = numbers_of(journey)
    standings = standings_of(journey) if journey.kind == "nurture" else {}
    wrong: dict[str, list[Problem]] = {}
    for problem in problems:
        wrong.setdefault(problem.step_key, []).append(problem)

    def draw(step: Any) -> dict[str, Any]:
        if not isinstance(step, Mapping):
            return {"kind": "", "name": str(step), "icon": "warning", "has_problem": True, "notes": []}
        key = str(step.get("key", ""))
        kind = "stream" if "cadence" in step or "items" in step else verb_of(step)
        icon, colour = LOOKS.get(kind, ("warning", "is-bad"))
        numbers = []
        if here.get(key):
            numbers.append((here[key], ngettext("is here", "are here", here[key])))
        if sent.get(key):
            numbers.append((sent[key], _("sent")))
        if standing := standings.get(key):
            if standing.exhausted:
                numbers.append(
                    (standing.exhausted, ngettext("has nothing left", "have nothing left", standing.exhausted))
                )
            if standing.superseded:
                count = standing.superseded
                numbers.append((count, ngettext("is on another track", "are on another track", count)))
        return {
            "kind": kind,
            "name": step.get("name") or _name(kind, step),
            "about": about(kind, step),
            "icon": icon,
            "colour": colour,
            "url": f"{url}?{urlencode({'step': key})}",
            "is_wait": kind.startswith("wait"),
            "numbers": numbers,
            "notes": [
                *_items(step),
                *_casts(step, standings.get(key)),
                *_leads_to(kind, step),
                *(
                    {
                        "text": one.message,
                        "icon": "warning",
                        "colour": "is-warn" if one.level == "warning" else "is-bad",
                    }
                    for one in wrong.get(key, [])
                ),
            ],
            "has_problem": any(one.level != "warning" for one in wrong.get(key, [])),
            "is_current": key == current,
            "paths": [
                {"label": _label(label), "steps": [draw(one) for one in _list(step.get(label))]}
                for label in paths_of(step)
            ],
        }

    return [draw(step) for step in _list(definition.get("streams")) + _list(definition.get("steps"))]


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _items(step: Mapping[str, Any]) -> list[dict[str, str]]:
    """What a stream gives its members, in the order in which it tries."""
    items = [item for item in _list(step.get("items")) if isinstance(item, Mapping)]
    return [
        {"text": f"{place}. {item.get('send', '')}", "icon": "mail", "colour": ""}
        for place, item in enumerate(items, start=1)
    ]


def _casts(step: Mapping[str, Any], standing: Standing | None) -> list[dict[str, str]]:
    """When a stream casts next, and what becomes of those for whom nothing is left."""
    notes = []
    if standing and standing.next_at:
        when = date_format(localtime(standing.next_at), "SHORT_DATETIME_FORMAT")
        notes.append({"text": _("Next cast: %(when)s.") % {"when": when}, "icon": "clock", "colour": ""})
    way = step.get("exhausted")
    if isinstance(way, Mapping):
        said = {
            "stream": _("Who has got all goes to the stream “%(key)s”."),
            "start": _("Who has got all begins the track “%(key)s”."),
            "exit": _("Who has got all leaves."),
        }
        notes += [
            {"text": said[kind] % {"key": way[kind]}, "icon": "route", "colour": ""} for kind in said if kind in way
        ]
    return notes


def _leads_to(kind: str, step: Mapping[str, Any]) -> list[dict[str, str]]:
    """The milestone that lets people pass the step by, once they have reached it."""
    if kind == "milestone" or not isinstance(step.get("milestone"), str):
        return []
    return [{"text": _("leads to “%(key)s”") % {"key": step["milestone"]}, "icon": "flag", "colour": "is-good"}]


def _label(label: str) -> str:
    return {"then": _("Yes"), "else": _("No")}.get(label, label)


def kinds() -> dict[str, str]:
    """The kinds of steps in words."""
    return {
        "send": _("Send a message"),
        "wait": _("Wait"),
        "wait_until": _("Wait until a time of day"),
        "wait_for": _("Wait for something"),
        "ask": _("Ask a question"),
        "branches": _("Part people by several rules"),
        "split": _("Split at random"),
        "set": _("Set a field, segment or stage"),
        "webhook": _("Tell other systems"),
        "handoff": _("Hand over to sales"),
        "task": _("Ask a person to do something"),
        "milestone": _("Wait for a milestone"),
        "offer": _("Show an offer"),
        "goal": _("Goal"),
        "start": _("Start another journey"),
        "jump_to": _("Jump back"),
        "exit": _("Exit"),
        "stream": _("Stream"),
    }


def _name(kind: str, step: Mapping[str, Any]) -> str:
    if step.get("key") == REST:
        return _("Behind the last step, until all milestones are reached")
    if (
        kind in ("send", "exit", "goal", "start", "jump_to", "wait", "webhook", "milestone", "offer")
        and isinstance(step[kind], str)
        and step[kind]
    ):
        return step[kind]
    if kind == "stream":
        return str(step.get("key"))
    return kinds().get(kind) or str(step.get("key") or _("Unknown step"))


def about(kind: str, step: Mapping[str, Any]) -> str:
    """A few words on what a step does."""
    said = step.get(kind)
    if kind == "wait_until" and isinstance(said, Mapping):
        words = ("field", "offset", "from", "to", "local_time", "weekdays")
        return " · ".join(str(said[name]) for name in words if said.get(name))
    if kind == "ask" and isinstance(said, list):
        return " · ".join(
            f"{one.get('label')}: {in_words(one.get('when'))}" for one in said if isinstance(one, Mapping)
        )
    if kind in ("ask", "wait_for"):
        return in_words(said)
    if kind == "split" and isinstance(said, Mapping):
        return " · ".join(f"{label} {weight}" for label, weight in weights_of(said).items())
    if kind == "set" and isinstance(said, Mapping):
        signs = {"value": "=", "add": "+", "remove": "−"}
        way = next((name for name in signs if name in said), "")
        if "field" in said:
            return f"{said['field']} {signs.get(way, '')} {said.get(way)}"
        return " ".join(str(value) for value in said.values())
    if kind == "task" and isinstance(said, Mapping):
        return " · ".join(str(said[name]) for name in ("title", "assign", "due") if said.get(name))
    if kind == "milestone":
        return _("at most %(span)s") % {"span": step.get("timeout", "–")}
    if kind == "offer":
        sent = [step[name] for name in ("send", "default") if isinstance(step.get(name), str)]
        return " · ".join([kinds()["offer"], *sent])
    if kind == "handoff" and isinstance(said, Mapping):
        return str(said.get("reason", ""))
    if kind == "stream":
        items = len(_list(step.get("items")))
        counted = ngettext("%(count)d item", "%(count)d items", items) % {"count": items}
        cadence = step.get("cadence")
        return f"{counted} · {_rhythm(cadence)}" if isinstance(cadence, Mapping) else counted
    return kinds().get(kind, "")


def _rhythm(cadence: Mapping[str, Any]) -> str:
    """A cadence in short: the weekdays in the reader's language where it names them, else its rule; and the time."""
    rule = str(cadence.get("rrule", ""))
    parts = dict(part.partition("=")[::2] for part in rule.split(";"))
    codes = ["MO", "TU", "WE", "TH", "FR", "SA", "SU"]
    days = [str(WEEKDAYS_ABBR[codes.index(code)]) for code in parts.get("BYDAY", "").split(",") if code in codes]
    rhythm = f"{', '.join(days) or rule} {cadence.get('at', '')}".strip()
    return " · ".join([rhythm, _("not on holidays")]) if cadence.get("skip_holidays") else rhythm


def in_words(rule: Any) -> str:
    """A rule on one line."""
    if not isinstance(rule, Mapping):
        return ""
    for group, mark in (("all", " ∧ "), ("any", " ∨ ")):
        if isinstance(rule.get(group), list):
            return mark.join(in_words(part) for part in rule[group])
    if "not" in rule:
        return f"¬ ({in_words(rule['not'])})"
    return " ".join(str(value) for value in rule.values() if not isinstance(value, dict | list))


def look(step: Mapping[str, Any]) -> dict[str, str]:
    """One step outside the drawing: its icon, colour, name and a few words."""
    kind = "stream" if "cadence" in step or "items" in step else verb_of(step)
    icon, colour = LOOKS.get(kind, ("warning", "is-bad") if kind else ("flag", ""))
    name = step.get("name") or (_name(kind, step) if kind or step.get("key") else _("Entry"))
    return {"icon": icon, "colour": colour, "name": str(name), "about": about(kind, step)}
