"""Rules in words: what each operator is called, and what a condition says as a sentence.

One place, so that the builder, explanations and the API say the same. Each sentence is translated as a whole.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from babel import Locale, UnknownLocaleError
from django.conf import settings
from django.utils.formats import date_format, localize
from django.utils.functional import Promise
from django.utils.translation import get_language, gettext_lazy, ngettext
from django.utils.translation import gettext as _

from contacts.moments import Moment

if TYPE_CHECKING:
    from contacts.rulevalues import Condition

_MOST_SHOWN = 12


@dataclass(frozen=True)
class Words:
    """How an operator is told: its name in a list of choices, and its sentence."""

    label: str | Promise
    sentence: str | Promise


_EQUAL = {
    "eq": Words(gettext_lazy("is"), gettext_lazy("%(field)s is %(value)s")),
    "ne": Words(gettext_lazy("is not"), gettext_lazy("%(field)s is not %(value)s")),
    "in": Words(gettext_lazy("is any of"), gettext_lazy("%(field)s is any of %(value)s")),
    "not_in": Words(gettext_lazy("is none of"), gettext_lazy("%(field)s is none of %(value)s")),
}
_SET = {
    "is_set": Words(gettext_lazy("has a value"), gettext_lazy("%(field)s has a value")),
    "is_empty": Words(gettext_lazy("has no value"), gettext_lazy("%(field)s has no value")),
}
_LASTS = {
    "has_been_for": Words(
        gettext_lazy("has been, for at least"), gettext_lazy("%(field)s has been %(value)s for at least %(span)s")
    )
}  # fmt: skip
_TIME = {
    "gt": Words(gettext_lazy("is after"), gettext_lazy("%(field)s is after %(value)s")),
    "gte": Words(gettext_lazy("is at or after"), gettext_lazy("%(field)s is at or after %(value)s")),
    "lt": Words(gettext_lazy("is before"), gettext_lazy("%(field)s is before %(value)s")),
    "lte": Words(gettext_lazy("is at or before"), gettext_lazy("%(field)s is at or before %(value)s")),
    "before": Words(gettext_lazy("is before"), gettext_lazy("%(field)s is before %(value)s")),
    "after": Words(gettext_lazy("is after"), gettext_lazy("%(field)s is after %(value)s")),
    "within_last": Words(gettext_lazy("is within the last"), gettext_lazy("%(field)s is within the last %(value)s")),
}
WORDS: dict[str, dict[str, Words]] = {
    "text": _EQUAL
    | {
        "contains": Words(gettext_lazy("contains"), gettext_lazy("%(field)s contains %(value)s")),
        "starts_with": Words(gettext_lazy("starts with"), gettext_lazy("%(field)s starts with %(value)s")),
    }
    | _SET
    | _LASTS,
    "number": _EQUAL
    | {
        "gt": Words(gettext_lazy("is more than"), gettext_lazy("%(field)s is more than %(value)s")),
        "gte": Words(gettext_lazy("is at least"), gettext_lazy("%(field)s is at least %(value)s")),
        "lt": Words(gettext_lazy("is less than"), gettext_lazy("%(field)s is less than %(value)s")),
        "lte": Words(gettext_lazy("is at most"), gettext_lazy("%(field)s is at most %(value)s")),
    }
    | _SET
    | _LASTS,
    "boolean": _EQUAL | _SET | _LASTS,
    "date": _EQUAL | _TIME | _SET | _LASTS,
    "datetime": _TIME | _SET,
    "list": {
        "contains": Words(gettext_lazy("contains"), gettext_lazy("%(field)s contains %(value)s")),
        "in": Words(gettext_lazy("contains any of"), gettext_lazy("%(field)s contains any of %(value)s")),
        "not_in": Words(gettext_lazy("contains none of"), gettext_lazy("%(field)s contains none of %(value)s")),
    }
    | _SET,
}
TYPES: dict[str, str | Promise] = {
    "text": gettext_lazy("text"),
    "number": gettext_lazy("number"),
    "boolean": gettext_lazy("yes or no"),
    "date": gettext_lazy("date"),
    "datetime": gettext_lazy("date and time"),
    "list": gettext_lazy("list"),
}
_COUNTS = {
    "eq": gettext_lazy("exactly"),
    "ne": gettext_lazy("not exactly"),
    "gt": gettext_lazy("more than"),
    "gte": gettext_lazy("at least"),
    "lt": gettext_lazy("less than"),
    "lte": gettext_lazy("at most"),
}


def takes(op: str) -> str:
    """What stands beside an operator: nothing, one value, a list of values, a span, or a value and a span."""
    if op in _SET:
        return "nothing"
    if op in ("in", "not_in"):
        return "list"
    return {"within_last": "span", "has_been_for": "value_and_span"}.get(op, "value")


def operators(type_: str, ops: Iterable[str]) -> list[dict[str, str]]:
    """Operators of a type as the builder lists them."""
    return [{"op": op, "label": str(WORDS[type_][op].label), "takes": takes(op)} for op in ops]


def counts() -> list[dict[str, str]]:
    """The operators of counts as the builder lists them."""
    return [{"op": op, "label": str(label)} for op, label in _COUNTS.items()]


# Sentences -----------------------------------------------------------------------------------------------------------


def say_condition(field: str | Promise, condition: "Condition", name: Callable[[Any], str] | None = None) -> str:
    """What a condition says of a field, without the full stop; `name` gives the label of a choice."""
    words = WORDS[condition.type][condition.op]
    return str(words.sentence) % {"field": field, "value": say_value(condition.value, condition.type, name)}


def say_lasting(
    type_: str, field: str | Promise, value: Any, span: timedelta, name: Callable[[Any], str] | None
) -> str:
    """What “has been for” says of a field."""
    said = {"field": field, "value": say_value(value, type_, name), "span": say_span(span)}
    return str(_LASTS["has_been_for"].sentence) % said


def say_value(value: Any, type_: str = "", name: Callable[[Any], str] | None = None) -> str:
    """A value as people read it: dates and numbers in their language, choices by their labels, lists with commas."""
    if isinstance(value, tuple | list):
        shown = [say_value(one, type_, name) for one in value[:_MOST_SHOWN]]
        return ", ".join([*shown, *(["…"] if len(value) > _MOST_SHOWN else [])])
    if value is None:
        return _("nothing")
    if isinstance(value, bool):
        return _("yes") if value else _("no")
    if isinstance(value, timedelta):
        return say_span(value)
    if isinstance(value, Moment):
        return say_moment(value)
    if isinstance(value, datetime):
        return say_instant(value)
    if isinstance(value, date):
        return date_format(value, "DATE_FORMAT")
    if isinstance(value, int | float | Decimal):
        return str(localize(value, use_l10n=True))
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {say_value(one)}" for key, one in list(value.items())[:_MOST_SHOWN])
    text = name(value) if name else str(value)
    # A space that counts is to be seen.
    return text if text.strip() == text and text else f"“{text}”"


def say_span(span: timedelta) -> str:
    """A span of time in its largest whole unit."""
    seconds = int(span.total_seconds())
    if seconds % 86_400 == 0:
        return ngettext("%(count)d day", "%(count)d days", seconds // 86_400) % {"count": seconds // 86_400}
    if seconds % 3_600 == 0:
        return ngettext("%(count)d hour", "%(count)d hours", seconds // 3_600) % {"count": seconds // 3_600}
    if seconds % 60 == 0:
        return ngettext("%(count)d minute", "%(count)d minutes", seconds // 60) % {"count": seconds // 60}
    return ngettext("%(count)d second", "%(count)d seconds", seconds) % {"count": seconds}


def say_moment(moment: Moment) -> str:
    """A moment of a rule."""
    if moment.offset is not None:
        if not moment.offset:
            return _("now")
        if moment.offset < timedelta():
            return _("%(span)s ago") % {"span": say_span(-moment.offset)}
        return _("%(span)s from now") % {"span": say_span(moment.offset)}
    if moment.day is not None:
        return date_format(moment.day, "DATE_FORMAT")
    assert moment.instant is not None
    return say_instant(moment.instant)


def say_instant(instant: datetime) -> str:
    """A point of time by the workspace's clock."""
    return date_format(instant.astimezone(ZoneInfo(settings.TIME_ZONE)), "DATETIME_FORMAT")


def say_count(kind: str | Promise, op: str, count: int) -> str:
    """How often something was done, without the full stop."""
    if (op, count) == ("gte", 1):
        return _("Did “%(kind)s” at least once") % {"kind": kind}
    if (op, count) in (("eq", 0), ("lte", 0), ("lt", 1)):
        return _("Never did “%(kind)s”") % {"kind": kind}
    said = {"kind": kind, "count": count}
    if op == "eq":
        return ngettext("Did “%(kind)s” exactly once", "Did “%(kind)s” exactly %(count)d times", count) % said
    if op == "ne":
        return (
            ngettext(
                "Did “%(kind)s” never or more than once",
                "Did “%(kind)s” any number of times but %(count)d",
                count,
            )
            % said
        )
    if op == "gt":
        return ngettext("Did “%(kind)s” more than once", "Did “%(kind)s” more than %(count)d times", count) % said
    if op == "gte":
        return ngettext("Did “%(kind)s” at least once", "Did “%(kind)s” at least %(count)d times", count) % said
    if op == "lt":
        return ngettext("Never did “%(kind)s”", "Did “%(kind)s” fewer than %(count)d times", count) % said
    return ngettext("Did “%(kind)s” at most once", "Did “%(kind)s” at most %(count)d times", count) % said


# Names of countries and languages ------------------------------------------------------------------------------------


def _locale() -> Locale:
    try:
        return Locale.parse((get_language() or "en").replace("-", "_"))
    except (UnknownLocaleError, ValueError):
        return Locale.parse("en")


def country(code: str) -> str:
    """The name of a country in the reader's language; the code itself where nobody knows it."""
    return str(_locale().territories.get(code.upper(), code) if len(code) == 2 else code)


def countries() -> list[tuple[str, str]]:
    """All countries by ISO code, in the alphabet of the reader."""
    found = [(code, name) for code, name in _locale().territories.items() if len(code) == 2 and code.isalpha()]
    return sorted((one for one in found if one[0] not in _NO_COUNTRY), key=lambda one: one[1])


# What the list of territories has beside countries: groups of them, outlying islands, places for tests.
_NO_COUNTRY = {"EU", "EZ", "UN", "QO", "XA", "XB", "ZZ", "AC", "CP", "CQ", "DG", "EA", "IC", "TA"}


def language(code: str) -> str:
    """The name of a language in the reader's language; the code itself where nobody knows it."""
    return str(_locale().languages.get(code.lower(), code))


def languages() -> list[tuple[str, str]]:
    """The languages that have a code of two letters, in the alphabet of the reader."""
    found = [(code, name) for code, name in _locale().languages.items() if len(code) == 2]
    return sorted(found, key=lambda one: one[1])
