"""The fields with which one question of a rule is filled in: made from what the rule may ask, and read back into JSON.

A control is a mapping for `contacts/rule_control.html`: `kind` (select, entry, chips or tick), `name`, `label`, `value`
and what the kind needs. What a browser sends back is a mapping of names to lists of texts.
"""

import math
import re
from collections.abc import Mapping
from typing import Any

from django.utils.translation import gettext as _

from contacts.durations import format_duration, parse_duration

Control = dict[str, Any]
Form = Mapping[str, list[str]]
Choices = list[tuple[str, str]]

_SHORT = re.compile(r"([0-9]{1,6})\s?([mhdw])")
_WHOLE = re.compile(r"[-+]?[0-9]{1,18}")
_FIRST_SPAN = {"span": "30d", "ago": "14d", "ahead": "14d"}


# Making --------------------------------------------------------------------------------------------------------------


def select(
    name: str, label: str, options: Choices, value: Any, groups: list[tuple[str, Choices]] | None = None
) -> Control:
    """One of several; a value that is none of them stays choosable, so that nothing is changed by looking at it."""
    value = "" if value is None else str(value)
    known = {key for key, _label in options} | {key for _group, some in groups or [] for key, _label in some}
    if value not in known:
        options = [(value, value or _("Choose…")), *options]
    return {"kind": "select", "name": name, "label": label, "options": options, "groups": groups or [], "value": value}


def entry(name: str, label: str, value: Any, type_: str = "text", **more: Any) -> Control:
    """A text, number, date or point of time."""
    shown = "" if value is None else str(value)
    return {"kind": "entry", "name": name, "label": label, "value": shown, "type": type_, **more}


def tick(name: str, label: str, value: bool) -> Control:
    return {"kind": "tick", "name": name, "label": label, "value": value}


def chips(name: str, label: str, value: list[Any], choices: Choices, type_: str) -> Control:
    """Several values, each taken out by a click, and a field to add one."""
    names = dict(choices)
    items = [(_as_text(one), names.get(_as_text(one), _as_text(one))) for one in value]
    left = [(key, one) for key, one in choices if key not in {key for key, _name in items}]
    if choices:
        add = select(f"{name}.add", _("Add a value"), [("", _("Add…")), *left], "")
    else:
        add = entry(
            f"{name}.add", _("Add a value"), "", {"number": "number", "date": "date"}.get(type_, "text"),
            placeholder=_("Add a value and press Enter"),
        )  # fmt: skip
    return {"kind": "chips", "name": name, "label": label, "items": items, "add": add}


def value_controls(name: str, type_: str, takes: str, value: Any, choices: Choices) -> list[Control]:
    """The controls of what stands beside an operator."""
    label = _("Value")
    if takes == "nothing":
        return []
    if takes == "span":
        return span_controls(name, _("How long"), value)
    if takes == "list":
        return [chips(name, label, value if isinstance(value, list) else [], choices, type_)]
    if choices:
        return [select(name, label, choices, value)]
    if type_ == "boolean":
        return [select(name, label, [("true", _("yes")), ("false", _("no"))], _as_text(value))]
    if type_ in ("date", "datetime"):
        return moment_controls(name, type_, value)
    return [entry(name, label, _as_text(value), "number" if type_ == "number" else "text")]


def span_controls(name: str, label: str, value: Any, is_optional: bool = False) -> list[Control]:
    """A span of time as a number and its unit; as it is written where it is no whole number of one unit."""
    number, unit = _split_span(value)
    if unit is None:
        return [entry(f"{name}.text", label, value)]
    hint = {"placeholder": _("any time")} if is_optional else {}
    units = [("m", _("minutes")), ("h", _("hours")), ("d", _("days")), ("w", _("weeks"))]
    return [
        entry(f"{name}.number", label, number, "number", min=1, step=1, is_short=True, **hint),
        select(f"{name}.unit", _("Unit"), units, unit),
    ]


def moment_controls(name: str, type_: str, value: Any) -> list[Control]:
    """A day, an instant, now, or so long before or after now."""
    value = _as_text(value)
    when = moment_kind(value)
    kinds = [
        ("ago", _("so long ago")), ("ahead", _("so long from now")), ("now", _("now")), ("day", _("a day")),
        *([("instant", _("a point of time"))] if type_ == "datetime" else []),
    ]  # fmt: skip
    controls = [select(f"{name}.when", _("When"), kinds, when)]
    if when in ("ago", "ahead"):
        return controls + span_controls(name, _("How long"), value[1:])
    if when == "day":
        return [*controls, entry(f"{name}.day", _("Day"), value, "date")]
    if when == "instant":
        is_plain = re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d)?", value)
        return [*controls, entry(f"{name}.instant", _("Time"), value, "datetime-local" if is_plain else "text")]
    return controls


def moment_kind(value: str) -> str:
    """Which kind of moment a text is."""
    if value == "now":
        return "now"
    if value[:1] in ("-", "+"):
        return "ago" if value[0] == "-" else "ahead"
    return "instant" if len(value) > 10 else "day"


def _split_span(value: Any) -> tuple[str, str | None]:
    value = _as_text(value)
    if not value:
        return "", "d"
    if match := _SHORT.fullmatch(value.strip()) or re.fullmatch(r"()([mhdw])", value):
        return match[1], match[2]
    try:
        short = _SHORT.fullmatch(format_duration(parse_duration(value)))
    except ValueError:
        return value, None
    return (short[1], short[2]) if short else (value, None)


def _as_text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)


# Reading -------------------------------------------------------------------------------------------------------------


def said(form: Form, name: str, otherwise: str = "") -> str:
    """The one value under a name."""
    values = form.get(name) or []
    return values[0] if values else otherwise


def read_value(form: Form, name: str, type_: str, takes: str, had: Any = None) -> Any:
    """What stands beside an operator; what nobody filled in yet is '' or None, and refused when it is asked.

    What a text was made from, `had`, is taken again, so that a number in a list of texts stays one.
    """
    if takes == "nothing":
        return None
    if takes == "span":
        return read_span(form, name)
    if takes == "list":
        values = form.get(name, [])
        values = [*values, *(one for one in form.get(f"{name}.add", []) if one.strip() and one not in values)]
        known = {_as_text(one): one for one in (had if isinstance(had, list) else [had])}
        return [known[one] if one in known else read_one(one, type_) for one in values]
    if type_ in ("date", "datetime") and f"{name}.when" in form:
        return read_moment(form, name)
    text = said(form, name)
    return had if type_ == "list" and text == _as_text(had) else read_one(text, type_)


def read_one(text: str, type_: str) -> Any:
    """A text as a value of the type; one that is none stays a text, which the rule then refuses by name."""
    if type_ == "boolean":
        return {"true": True, "false": False}.get(text, text)
    if type_ == "number":
        if not text.strip():
            return None
        if _WHOLE.fullmatch(text.strip()):
            return int(text)
        try:
            number = float(text)
        except ValueError:
            return text
        return number if math.isfinite(number) else text
    return text


def read_span(form: Form, name: str) -> str:
    if f"{name}.text" in form:
        return said(form, f"{name}.text")
    number = said(form, f"{name}.number").strip()
    return f"{number}{said(form, f'{name}.unit', 'd')}" if number else ""


def read_moment(form: Form, name: str) -> str:
    when = said(form, f"{name}.when")
    if when in ("ago", "ahead"):
        has_span = f"{name}.number" in form or f"{name}.text" in form
        span = read_span(form, name) if has_span else _FIRST_SPAN[when]
        return ("-" if when == "ago" else "+") + span
    if when == "instant" and f"{name}.instant" not in form:
        # A day becomes its midnight, so that something of it is kept.
        return f"{said(form, f'{name}.day') or '2026-01-01'}T00:00"
    return "now" if when == "now" else said(form, f"{name}.{when}")


def converted(value: Any, type_: str, was: str, takes: str) -> Any:
    """A value brought to another operator, as far as it means something there."""
    if was == takes:
        return value
    if takes == "list":
        return [value] if was in ("value", "value_and_span") and value not in ("", None) else []
    if takes == "span":
        return _FIRST_SPAN["span"]
    if was == "list" and value:
        return value[0]
    if was in ("value", "value_and_span"):
        return value
    return first_value(type_)


def first_value(type_: str) -> Any:
    """What a new value is until somebody fills it in."""
    return {"boolean": True, "number": None, "date": "-30d", "datetime": "-30d"}.get(type_, "")
