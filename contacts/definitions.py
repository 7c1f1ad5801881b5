"""Definitions as code: what `manage.py apply` and `export` carry, each app's share in its own `definitions.py`.

A section of the file is a list of mappings with a stable `key`. What is left out of a mapping has its default, so a
file says all about the objects it names and nothing about others.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.utils import timezone

from contacts import retention
from contacts.fields import FieldError, change, create
from contacts.models import Field, RetentionRule, Segment
from contacts.rules import RuleError, dump, parse
from contacts.segments import change_rule


class DefinitionError(ValueError):
    """Something in a file is wrong; `path` says where inside its object, such as `rules[2].points`."""

    def __init__(self, path: str, message: str):
        super().__init__(f"{path}: {message}" if path else message)
        self.path = path
        self.message = message


@dataclass(frozen=True)
class Section:
    """One kind of object in the file.

    `read()` gives every stored object as it is exported, by key; `write(data)` stores one, complete; `prepare(list)`
    makes bare rows first where objects of one section name each other; `foresee(before, key, now)` says in a plan, in
    sentences, what a change of one object would do to people, `before` being the object as it was exported.
    """

    name: str
    read: Callable[[], dict[str, dict[str, Any]]]
    write: Callable[[dict[str, Any]], None]
    prepare: Callable[[list[dict[str, Any]]], None] | None = None
    foresee: Callable[[dict[str, Any] | None, str, datetime], list[str]] | None = None
    key: str = "key"
    is_single: bool = False


def check_keys(data: Any, *, required: Iterable[str] = (), optional: Iterable[str] = (), path: str = "") -> None:
    """Refuses a mapping that lacks a required key or has an unknown one."""
    if not isinstance(data, Mapping):
        raise DefinitionError(path, f"expected a mapping, not {type(data).__name__}.")
    required, optional = list(required), list(optional)
    here = f"{path}." if path else ""
    for key in required:
        if data.get(key) in (None, ""):
            raise DefinitionError(f"{here}{key}", "is missing.")
    for key in data:
        if key not in required and key not in optional:
            known = ", ".join([*required, *optional])
            raise DefinitionError(f"{here}{key}", f"is not known here; known are {known}.")


def one_of(data: Mapping[str, Any], key: str, allowed: Iterable[str], default: str | None = None) -> str:
    """The value of a key that must be one of a few."""
    value = data.get(key, default)
    allowed = list(allowed)
    if value not in allowed:
        raise DefinitionError(key, f"must be one of {', '.join(allowed)}, not {value!r}.")
    return value


def text(data: Mapping[str, Any], key: str, default: str = "") -> str:
    """The value of a key that must be text."""
    value = data.get(key, default)
    if not isinstance(value, str):
        raise DefinitionError(key, f"must be text, not {value!r}.")
    return value


def percent(value: Any, path: str) -> int:
    """A whole per cent written `5%` or `5`, from 0 to 100."""
    try:
        number = int(str(value).removesuffix("%").strip())
    except ValueError:
        raise DefinitionError(path, f"must be a whole per cent such as 5%, not {value!r}.") from None
    if not 0 <= number <= 100:
        raise DefinitionError(path, f"must be from 0% to 100%, not {value!r}.")
    return number


def checked_rule(data: Any, path: str) -> Any:
    """A rule in its one written form; its errors come with the path in front."""
    try:
        return dump(parse(data))
    except RuleError as error:
        raise DefinitionError(f"{path}.{error.path}" if error.path else path, error.message) from None


def without_defaults(data: dict[str, Any], **defaults: Any) -> dict[str, Any]:
    """Drops what stands at its default, so that an export says only what somebody decided."""
    return {key: value for key, value in data.items() if key not in defaults or value != defaults[key]}


# Custom fields and segments ------------------------------------------------------------------------------------------


def _read_fields() -> dict[str, dict[str, Any]]:
    return {
        field.key: without_defaults(
            {"key": field.key, "name": field.name, "type": field.type, "choices": field.choices}, name="", choices=[]
        )
        for field in Field.objects.order_by("key")
    }


def _write_field(data: dict[str, Any]) -> None:
    """Values that people have already must fit; whoever wants them converted says so in the admin or by REST."""
    check_keys(data, required=["key", "type"], optional=["name", "choices"])
    name, type_, choices = text(data, "name"), data["type"], data.get("choices", [])
    one = Field.objects.filter(key=data["key"]).first()
    try:
        if one is None:
            create(key=data["key"], type_=type_, name=name, choices=choices, now=timezone.now())
        else:
            change(one, type_=type_, name=name, choices=choices, now=timezone.now())
    except FieldError as error:
        part, sentence = next(iter(error.errors.items()))
        raise DefinitionError(part, sentence) from None


def _read_segments() -> dict[str, dict[str, Any]]:
    return {
        segment.key: without_defaults(
            {"key": segment.key, "name": segment.name, "rule": segment.rule}, name=segment.key, rule=None
        )
        for segment in Segment.objects.order_by("key")
    }


def _prepare_segments(items: list[dict[str, Any]]) -> None:
    for data in items:
        Segment.objects.get_or_create(key=data["key"], defaults={"name": data.get("name") or data["key"]})


def _write_segment(data: dict[str, Any]) -> None:
    check_keys(data, required=["key"], optional=["name", "rule"])
    segment = Segment.objects.get(key=data["key"])
    segment.name = text(data, "name") or data["key"]
    segment.save(update_fields=["name"])
    rule = checked_rule(data["rule"], "rule") if data.get("rule") is not None else None
    try:
        change_rule(segment, rule)
    except RuleError as error:
        raise DefinitionError("rule", error.message) from None


def _read_retention() -> dict[str, dict[str, Any]]:
    return {
        rule.key: without_defaults(
            {
                "key": rule.key,
                "kind": rule.kind,
                "channel": rule.channel,
                "days": rule.days,
                "action": rule.action,
                "keep": rule.kept_properties,
                "active": rule.is_active,
            },
            channel="",
            action="drop",
            keep=[],
            active=True,
        )
        for rule in RetentionRule.objects.order_by("key")
    }


def _write_retention(data: dict[str, Any]) -> None:
    check_keys(data, required=["key", "kind", "days"], optional=["channel", "action", "keep", "active"])
    told = {"kind": data["kind"], "days": data["days"], "kept_properties": data.get("keep", [])}
    for name, sentence in retention.problems(**told).items():
        raise DefinitionError("keep" if name == "kept_properties" else name, sentence)
    if not isinstance(data.get("active", True), bool):
        raise DefinitionError("active", "must be true or false.")
    RetentionRule.objects.update_or_create(
        key=data["key"],
        defaults={
            **told,
            "channel": text(data, "channel"),
            "action": one_of(data, "action", [name for name, _ in RetentionRule.ACTIONS], "drop"),
            "is_active": data.get("active", True),
        },
    )


SECTIONS = [
    Section("fields", _read_fields, _write_field),
    Section("segments", _read_segments, _write_segment, _prepare_segments),
    Section("retention", _read_retention, _write_retention),
]
