"""A form for each kind of step: a few fields that people fill in, and the step they make."""

from collections.abc import Mapping
from typing import Any

from django import forms
from django.db.models import Model
from django.utils.translation import gettext_lazy as _

from campaigns.cadence import PARTS
from campaigns.findings import LONGEST_NAME
from campaigns.models import Journey
from campaigns.splits import WINNER, is_long
from campaigns.steps import VERBS, verb_of
from contacts import written
from contacts.models import Field, Segment
from contacts.rule_widget import RuleWidget
from contacts.stages import STAGES
from growth.slots import slots
from messaging.models import Template


class WrittenField(forms.CharField):
    """A rule or another structure, written as YAML."""

    def __init__(self, rows: int = 6, **options: Any):
        options.setdefault("widget", forms.Textarea(attrs={"rows": rows, "spellcheck": "false"}))
        super().__init__(strip=False, **options)

    def prepare_value(self, value: Any) -> Any:
        return value if isinstance(value, str) else written.write(value)

    def to_python(self, value: Any) -> Any:
        text = super().to_python(value) or ""
        try:
            return written.read(text) if text.strip() else None
        except written.Unreadable as error:
            if not error.line:
                raise forms.ValidationError(str(error)) from None
            message = _("This cannot be read; look at line %(line)d.")
            raise forms.ValidationError(message, params={"line": error.line}) from None


def _rule(**options: Any) -> WrittenField:
    return WrittenField(label=_("Rule"), widget=RuleWidget(has_panel=False), **options)


def _text(label: Any, **options: Any) -> forms.CharField:
    return forms.CharField(label=label, **options)


def _choice(label: Any, model: type[Model], **options: Any) -> forms.ChoiceField:
    def choices() -> list[tuple[str, str]]:
        keys = model._default_manager.order_by("key").values_list("key", flat=True)
        return [*([] if options.get("required", True) else [("", "–")]), *((key, key) for key in keys)]

    return forms.ChoiceField(label=label, choices=choices, **options)


def _slots() -> list[tuple[str, str]]:
    return [(slot, slot) for slot in sorted(slots())]


def _bound() -> forms.CharField:
    help_text = _("the key of a milestone: whoever has reached it passes this step by")
    return _text(_("Leads to"), help_text=help_text, required=False)


def fields_for(verb: str) -> dict[str, forms.Field]:
    """The fields of the form for one kind of step (or `stream`)."""
    optional = {"required": False}
    table: dict[str, dict[str, forms.Field]] = {
        "send": {
            "send": _choice(_("Template"), Template),
            "valid_for": _text(
                _("Valid for"), help_text=_("such as 2d; afterwards it is not sent any more"), **optional
            ),
            "on_skip": forms.ChoiceField(
                label=_("If it cannot be sent"),
                choices=[
                    ("", _("go on")),
                    ("wait", _("try for a week, then go on")),
                    ("exit", _("leave the journey")),
                ],
                required=False,
            ),
            "milestone": _bound(),
        },
        "wait": {"wait": _text(_("How long"), help_text=_("2h is elapsed time; 1d keeps the time of day"))},
        "wait_until": {
            "local_time": _text(_("Local time"), help_text=_("of each person, such as 09:00"), **optional),
            "from": _text(_("Or: not before"), help_text=_("such as 09:00; whoever comes within goes on"), **optional),
            "to": _text(_("and not after"), help_text=_("such as 17:00"), **optional),
            "weekdays": _text(_("Weekdays"), help_text=_("such as mon-fri; empty: every day"), **optional),
            "field": _choice(_("Or: until the date in"), Field, **optional),
            "property": _text(_("Or: until the date in"), help_text=_("a property of what let people in"), **optional),
            "offset": _text(_("before or after it"), help_text=_("such as -7d or 2h"), **optional),
        },
        "wait_for": {
            "wait_for": _rule(),
            "timeout": _text(_("At most"), help_text=_("such as 5d")),
            "since": forms.ChoiceField(
                label=_("Events count since"), choices=[("enrolment", _("the enrolment")), ("step", _("this step"))]
            ),
        },
        "ask": {"ask": _rule()},
        "branches": {
            "ask": WrittenField(
                label=_("Branches"),
                rows=12,
                help_text=_("such as - {label: big, when: …}; the first that holds is taken"),
            )
        },
        "split": {
            "split": WrittenField(label=_("Paths and weights"), help_text=_("such as {a: 50, b: 50}"), rows=4),
            "metric": forms.ChoiceField(
                label=_("A path wins by"),
                choices=[
                    ("", _("no path wins; the mix stays")),
                    ("click", _("clicks")),
                    ("open", _("opens")),
                    ("goal", _("the goal")),
                    ("revenue", _("revenue")),
                ],
                required=False,
            ),
            "after": _text(_("Decided after"), help_text=_("such as 7d"), required=False),
            "min": forms.IntegerField(label=_("People on each path, at least"), min_value=20, required=False),
            "confidence": _text(_("Confidence"), help_text=_("from 80% to 99%; left empty: 95%"), **optional),
        },
        "set": {
            "field": _choice(_("Field"), Field, **optional),
            "value": WrittenField(label=_("Value"), rows=2, **optional),
            "add": WrittenField(label=_("Add to the list"), rows=1, **optional),
            "remove": WrittenField(label=_("Remove from the list"), rows=1, **optional),
            "segment": _choice(_("Or: segment"), Segment, **optional),
            "in": forms.TypedChoiceField(
                label=_("People are"),
                choices=[("true", _("put in")), ("false", _("kept out"))],
                coerce=lambda text: text == "true",
                required=False,
            ),
            "stage": forms.ChoiceField(label=_("Or: stage"), choices=[("", "–"), *STAGES], required=False),
            "grant": _text(_("Or: grant points for"), help_text=_("what a score's rule calls them"), **optional),
        },
        "webhook": {"webhook": _text(_("Name"), help_text=_("what other systems are told, such as trial-finished"))},
        "task": {
            "assign": _text(_("Whose"), help_text=_("owner, or the key of a team, or a user name")),
            "title": _text(_("Title")),
            "due": _text(_("Within"), help_text=_("such as 2d"), **optional),
            "milestone": _bound(),
        },
        "milestone": {
            "milestone": _text(_("Milestone"), help_text=_("its key")),
            "timeout": _text(_("At most"), help_text=_("such as 5d")),
        },
        "offer": {
            "offer": forms.ChoiceField(label=_("Offer or group"), choices=_slots),
            "send": _choice(_("Template"), Template, **optional),
            "default": _choice(
                _("Where there is none"), Template, **optional, help_text=_("the template sent instead")
            ),
        },
        "handoff": {"reason": _text(_("Reason")), "team": _text(_("Team"), help_text=_("its key"), **optional)},
        "goal": {"goal": _text(_("Goal"))},
        "start": {"start": _choice(_("Journey"), Journey)},
        "jump_to": {
            "jump_to": _text(_("Back to step"), help_text=_("its key")),
            "max": forms.IntegerField(label=_("At most so many times"), min_value=1, max_value=100, initial=1),
        },
        "exit": {"exit": _text(_("Reason"))},
        "stream": {
            "rrule": _text(_("Cadence"), help_text=_("such as FREQ=WEEKLY;BYDAY=TU")),
            "at": _text(_("Local time"), help_text=_("of each person, such as 10:00")),
            "skip_holidays": WrittenField(
                label=_("Holidays"),
                rows=1,
                help_text=_("true: those of each person's country; or of some countries, such as [CZ, PL]"),
                **optional,
            ),
            "on_holiday": forms.ChoiceField(
                label=_("On a holiday"),
                choices=[("move", _("cast on the next working day")), ("skip", _("do not cast"))],
                required=False,
            ),
            "enter": WrittenField(
                label=_("Who comes here from other streams"), widget=RuleWidget(has_panel=False), **optional
            ),
            "items": WrittenField(label=_("Items"), rows=12, **optional),
            "exhausted": WrittenField(
                label=_("When nothing is left"),
                rows=1,
                help_text=_("{stream: its-key}, {start: another-track} or {exit: true}; empty: members wait for more"),
                **optional,
            ),
        },
    }
    return table[verb]


# Verbs whose fields stand inside a mapping of their own.
_NESTED = {
    "wait_until": ["local_time", "from", "to", "weekdays", "field", "property", "offset"],
    "set": ["field", "value", "add", "remove", "segment", "in", "stage", "grant"],
    "handoff": ["reason", "team"],
    "task": ["assign", "title", "due"],
}


class StepForm(forms.Form):
    """The settings of one step; `step()` answers the step they mean, without its paths."""

    def __init__(self, verb: str, *args: Any, step: Mapping[str, Any] | None = None, **options: Any):
        self.verb = verb
        if step is not None:
            options["initial"] = _initial(verb, step)
        super().__init__(*args, **options)
        self.fields["name"] = forms.CharField(label=_("Name"), required=False, max_length=LONGEST_NAME)
        self.fields.update(fields_for(verb))

    def step(self) -> dict[str, Any]:
        said = {name: value for name, value in self.cleaned_data.items() if value not in (None, "")}
        name = {"name": said.pop("name")} if "name" in said else {}
        if self.verb == "stream":
            if not said.get("skip_holidays") or said.get("on_holiday") == "move":
                said.pop("on_holiday", None)
            cadence = {part: said.pop(part) for part in PARTS if part in said}
            return name | {"cadence": cadence, "items": said.pop("items", []), **said}
        if self.verb == "split":
            winner = {part: said.pop(part) for part in WINNER if part in said}
            return name | {"split": {"paths": said["split"], "winner": winner} if "metric" in winner else said["split"]}
        if self.verb in _NESTED:
            if self.verb == "set" and "segment" not in said:
                said.pop("in", None)
            if self.verb == "set" and "field" in said and not {"add", "remove"} & said.keys():
                said["value"] = self.cleaned_data["value"]
            beside = {option: said[option] for option in VERBS[self.verb].options if option in said}
            return name | {self.verb: {part: said[part] for part in _NESTED[self.verb] if part in said}} | beside
        if said.get("since") == "enrolment":
            del said["since"]
        return name | said


def _initial(verb: str, step: Mapping[str, Any]) -> dict[str, Any]:
    values: dict[str, Any] = dict(step)
    inner = step.get("cadence" if verb == "stream" else verb)
    if verb == "split" and isinstance(inner, Mapping) and is_long(inner):
        winner = inner.get("winner")
        return values | {"split": inner["paths"]} | (dict(winner) if isinstance(winner, Mapping) else {})
    if isinstance(inner, Mapping) and (verb in _NESTED or verb == "stream"):
        values |= inner
        if "in" in inner:
            values["in"] = "true" if inner["in"] else "false"
    return values


def kind_of(step: Mapping[str, Any]) -> str:
    """Which form a step has; empty where it has none (what comes later is edited as text)."""
    if "cadence" in step or "items" in step:
        return "stream"
    verb = verb_of(step)
    if verb == "ask" and isinstance(step["ask"], list):
        return "branches"
    return verb if verb in VERBS else ""


# What a new step of each kind says before somebody fills it in.
FIRST: dict[str, dict[str, Any]] = {
    "send": {"send": ""},
    "wait": {"wait": "1d"},
    "wait_until": {"wait_until": {"local_time": "09:00", "weekdays": "mon-fri"}},
    "wait_for": {"wait_for": {"did": "page.viewed"}, "timeout": "5d", "then": [], "else": []},
    "ask": {"ask": {"did": "page.viewed"}, "then": [], "else": []},
    "branches": {"ask": [{"label": "a", "when": {"did": "page.viewed"}}], "a": [], "else": []},
    "split": {"split": {"a": 50, "b": 50}, "a": [], "b": []},
    "set": {"set": {"field": "", "value": None}},
    "webhook": {"webhook": ""},
    "handoff": {"handoff": {"reason": ""}},
    "task": {"task": {"assign": "owner", "title": ""}},
    "milestone": {"milestone": "", "timeout": "5d", "then": [], "else": []},
    "offer": {"offer": "", "then": [], "else": []},
    "goal": {"goal": ""},
    "start": {"start": ""},
    "jump_to": {"jump_to": "", "max": 1},
    "exit": {"exit": "done"},
    "stream": {"cadence": {"rrule": "FREQ=WEEKLY;BYDAY=TU", "at": "10:00"}, "items": []},
}


class DefinitionForm(forms.Form):
    """The whole draft as text."""

    definition = WrittenField(rows=30, label=_("The journey as text"))

    def clean_definition(self) -> dict[str, Any]:
        definition = self.cleaned_data["definition"]
        if not isinstance(definition, dict):
            raise forms.ValidationError(_("A journey is a mapping with a key, a kind, a trigger and steps."))
        return definition
