"""Comparing a value with what a rule says: which operators a type has, what may stand beside them, and their SQL.

Everything here answers yes or no: a missing value is "no" for each operator but `ne`, `not_in` and `is_empty`.
Text is compared exactly by `eq`, `ne`, `in`, `not_in`, and without regard to case by `contains` and `starts_with`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.core.exceptions import EmptyResultSet, FullResultSet
from django.db.models import (
    BooleanField,
    DateField,
    DateTimeField,
    DecimalField,
    F,
    Func,
    JSONField,
    Q,
    TextField,
    Value,
)
from django.db.models.lookups import Exact, GreaterThan, GreaterThanOrEqual, In, IsNull, LessThan, LessThanOrEqual
from django.utils.translation import gettext as _

from contacts.durations import format_duration, parse_duration
from contacts.moments import Moment, local_day, parse_moment

# So many characters of a custom text stand in its index.
BEGIN = 200
MISSING = {"ne", "not_in", "is_empty"}
_EQUAL = ["eq", "ne", "in", "not_in"]
_ORDER = ["gt", "gte", "lt", "lte"]
_SET = ["is_set", "is_empty"]
OPERATORS: dict[str, list[str]] = {
    "text": [*_EQUAL, "contains", "starts_with", *_SET],
    "number": [*_EQUAL, *_ORDER, *_SET],
    "boolean": ["eq", "ne", *_SET],
    "date": [*_EQUAL, *_ORDER, "before", "after", "within_last", *_SET],
    "datetime": [*_ORDER, "before", "after", "within_last", *_SET],
    "list": ["contains", "in", "not_in", *_SET],
}
# Synonyms that read better for time.
_ORDER_OF = {"before": "lt", "after": "gt"}
_LOOKUPS = {"gt": GreaterThan, "gte": GreaterThanOrEqual, "lt": LessThan, "lte": LessThanOrEqual}


class RuleError(ValueError):
    """A rule that cannot be asked: `path` says where (`all[1].where[0].op`), `message` what is wrong, as a sentence."""

    def __init__(self, path: str, message: str) -> None:
        super().__init__(f"{path}: {message}" if path else message)
        self.path = path
        self.message = message


def within(path: str, step: str | int) -> str:
    """The path one step deeper."""
    if isinstance(step, int):
        return f"{path}[{step}]"
    return f"{path}.{step}" if path else step


# Expressions ---------------------------------------------------------------------------------------------------------


class NotTrue(Func):
    """True where a condition is false or unknown: the two-valued NOT."""

    template = "(%(expressions)s) IS NOT TRUE"
    output_field = BooleanField()

    def as_sql(self, compiler: Any, connection: Any, **extra: Any) -> Any:  # type: ignore[override]
        try:
            return super().as_sql(compiler, connection, **extra)
        except EmptyResultSet:
            return "TRUE", []
        except FullResultSet:
            return "FALSE", []


def negate(condition: Q) -> Q:
    """Holds exactly where the condition does not, missing values included."""
    return Q(NotTrue(condition))


def json_value(column: str, *keys: str) -> Func:
    """What stands in a JSON column under these keys."""
    return Func(F(column), *(Value(key) for key in keys), function="jsonb_extract_path", output_field=JSONField())


def typed(type_: str, value: Any) -> Any:
    """A JSON value read as a type; NULL where it is none. A list stays JSON."""
    if type_ == "text":
        return Func(value, function="text_of", output_field=TextField())
    if type_ == "number":
        return Func(value, function="number_of", output_field=DecimalField())
    if type_ == "boolean":
        return Func(value, function="boolean_of", output_field=BooleanField())
    if type_ == "date":
        return Func(value, function="date_of", output_field=DateField())
    if type_ == "datetime":
        return Func(value, Value(settings.TIME_ZONE), function="instant_of", output_field=DateTimeField())
    return value


def begin(value: Any) -> Func:
    """The first characters of a text: an index has no room for a whole long one."""
    return Func(value, Value(BEGIN), function="left", output_field=TextField())


def has_value(value: Any) -> Q:
    """A JSON value that is there and is neither null nor empty."""
    return Q(Func(value, function="has_value", output_field=BooleanField()))


def _not(value: Any) -> Func:
    return Func(value, template="NOT (%(expressions)s)", output_field=BooleanField())


def _numeric(value: Any) -> Func:
    return Func(value, template="(%(expressions)s)::numeric", output_field=DecimalField())


def _levelled(value: Any) -> Func:
    # The three letters whose small form depends on the database's locale or on their place in the word go first.
    return Func(value, template="lower(translate(%(expressions)s, 'Σςİ', 'σσi'))", output_field=TextField())


def _list_has(value: Any, element: Any) -> Q:
    # Written out, for only so an index on what the list holds can be used.
    is_list = Q(Exact(Func(value, function="jsonb_typeof", output_field=TextField()), Value("array")))
    sides = (value, Value([element], JSONField()))
    return is_list & Q(Func(*sides, template="(%(expressions)s)", arg_joiner=" @> ", output_field=BooleanField()))


def _text_has(value: Any, part: str, op: str) -> Q:
    sides = (_levelled(value), _levelled(Value(part)))
    if op == "starts_with":
        return Q(Func(*sides, function="starts_with", output_field=BooleanField()))
    return Q(Func(*sides, function="strpos", template="%(function)s(%(expressions)s) > 0", output_field=BooleanField()))


# Conditions ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Condition:
    """An operator and what it compares with: the right-hand side of a field leaf or of a `where` filter."""

    type: str
    op: str
    value: Any = None

    @property
    def has_time(self) -> bool:
        """Whether the answer may change by the clock alone."""
        values = self.value if isinstance(self.value, tuple) else (self.value,)
        return self.op == "within_last" or any(isinstance(one, Moment) and one.is_relative for one in values)

    def dump(self) -> dict[str, Any]:
        shown = {"op": self.op}
        if self.op not in _SET:
            shown["value"] = _dump_value(self.value)
        return shown

    def begun(self) -> "Condition":
        """The same of how texts begin: what holds of the whole holds of that."""
        value = self.value[:BEGIN] if self.op == "eq" else tuple(one[:BEGIN] for one in self.value)
        return replace(self, value=value)

    def to_q(self, value: Any, now: datetime, presence: Q | None = None) -> Q:
        """The condition over an expression of its type; `presence` where being set is not being not NULL."""
        if self.op in _SET:
            if presence is None:
                presence = Q(IsNull(value, False))
                if self.type == "text":
                    presence &= negate(Q(Exact(value, Value(""))))
            return presence if self.op == "is_set" else negate(presence)
        if self.op == "ne":
            return negate(self._equal(value, now))
        if self.op == "not_in":
            return negate(self._any(value, now))
        if self.op == "eq":
            return self._equal(value, now)
        if self.op == "in":
            return self._any(value, now)
        if self.type == "list":
            return _list_has(value, self.value)
        if self.op in ("contains", "starts_with"):
            return _text_has(value, self.value, self.op)
        if self.op == "within_last":
            return self._within_last(value, now)
        return self._ordered(value, _ORDER_OF.get(self.op, self.op), now)

    def _right(self, value: Any, now: datetime) -> Value:
        if self.type == "number":
            return Value(value, DecimalField())
        if self.type == "boolean":
            return Value(value, BooleanField())
        if self.type == "date":
            return Value(value.date(now), DateField())
        return Value(value, TextField())

    def _equal(self, value: Any, now: datetime) -> Q:
        if self.type == "boolean":
            return (
                Q(value)
                if self.value
                else Q(Func(value, template="NOT (%(expressions)s)", output_field=BooleanField()))
            )
        return Q(Exact(_numeric(value) if self.type == "number" else value, self._right(self.value, now)))

    def _any(self, value: Any, now: datetime) -> Q:
        if self.type == "list":
            found = Q()
            for element in self.value:
                found |= _list_has(value, element)
            return found
        return Q(In(_numeric(value) if self.type == "number" else value, [self._right(one, now) for one in self.value]))

    def _within_last(self, value: Any, now: datetime) -> Q:
        start: Any = now - self.value
        end: Any = now
        if self.type == "date":
            start, end = Value(local_day(start), DateField()), Value(local_day(end), DateField())
            return Q(GreaterThanOrEqual(value, start)) & Q(LessThanOrEqual(value, end))
        return Q(GreaterThan(value, Value(start, DateTimeField()))) & Q(
            LessThanOrEqual(value, Value(end, DateTimeField()))
        )

    def _ordered(self, value: Any, op: str, now: datetime) -> Q:
        if self.type == "number":
            return Q(_LOOKUPS[op](_numeric(value), self._right(self.value, now)))
        if self.type == "date":
            return Q(_LOOKUPS[op](value, self._right(self.value, now)))
        start, end = self.value.span(now)
        if start == end:
            return Q(_LOOKUPS[op](value, Value(start, DateTimeField())))
        # Against a whole day: "after" is when it is over, "until" is before it is over.
        lookup, edge = {
            "gt": (GreaterThanOrEqual, end),
            "gte": (GreaterThanOrEqual, start),
            "lt": (LessThan, start),
            "lte": (LessThan, end),
        }[op]
        return Q(lookup(value, Value(edge, DateTimeField())))


def _dump_value(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_dump_value(one) for one in value]
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, timedelta):
        return format_duration(value)
    if isinstance(value, Moment):
        return value.text
    return value


# Parsing -------------------------------------------------------------------------------------------------------------


def parse_condition(
    data: Mapping[str, Any], path: str, type_: str | None, clean: Callable[[str], str] | None = None
) -> Condition:
    """Reads `op` and `value`. Without a type, the value decides it. `clean` brings texts into their one form."""
    op = data.get("op", "eq" if "value" in data else "is_set")
    every = {one for ops in OPERATORS.values() for one in ops}
    if not isinstance(op, str) or op not in every:
        raise RuleError(
            within(path, "op"),
            _("There is no operator %(op)s; there are %(known)s.")
            % {"op": repr(op), "known": ", ".join(sorted(every))},
        )
    if type_ is None:
        type_ = _type_of(op, data.get("value"))
    if op not in OPERATORS[type_]:
        raise RuleError(
            within(path, "op"),
            _("“%(op)s” cannot be asked of a %(type)s; there are %(known)s.")
            % {"op": op, "type": type_, "known": ", ".join(OPERATORS[type_])},
        )
    at = within(path, "value")
    if op in _SET:
        if "value" in data:
            raise RuleError(at, _("“%(op)s” takes no value.") % {"op": op})
        return Condition(type_, op)
    if "value" not in data:
        raise RuleError(at, _("“%(op)s” needs a value.") % {"op": op})
    value = data["value"]
    if op not in _EQUAL:
        clean = None  # a part of a text has no form of its own
    if op in ("in", "not_in"):
        if not isinstance(value, list | tuple) or not value:
            raise RuleError(at, _("“%(op)s” needs a list with at least one value.") % {"op": op})
        return Condition(
            type_, op, tuple(_parse_value(type_, one, within(at, i), clean) for i, one in enumerate(value))
        )
    if op == "within_last":
        return Condition(type_, op, duration(value, at))
    return Condition(type_, op, _parse_value(type_, value, at, clean))


def duration(value: Any, path: str) -> timedelta:
    """Reads a span of time of a rule."""
    try:
        return parse_duration(value)
    except ValueError as error:
        raise RuleError(path, str(error)) from None


def moment(value: Any, path: str) -> Moment:
    """Reads a point of time of a rule."""
    try:
        return parse_moment(value)
    except ValueError as error:
        raise RuleError(path, str(error)) from None


def text(value: Any, path: str) -> str:
    """Reads a text that PostgreSQL can store and that is not empty."""
    if not isinstance(value, str):
        raise RuleError(path, _("%(value)s is not a text.") % {"value": repr(value)})
    if not value:
        raise RuleError(path, _("An empty text is no value; ask “is_empty” or “is_set”."))
    if "\x00" in value or any("\ud800" <= letter <= "\udfff" for letter in value):
        raise RuleError(path, _("The text holds a character that cannot be stored."))
    return value


def number(value: Any, path: str) -> Decimal:
    """Reads a number of ordinary size."""
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e15:
        return Decimal(str(value))
    raise RuleError(path, _("%(value)s is not a number.") % {"value": repr(value)})


def _parse_value(type_: str, value: Any, path: str, clean: Callable[[str], str] | None) -> Any:
    if type_ == "text":
        value = text(value, path)
        try:
            return clean(value) if clean else value
        except ValueError as error:
            raise RuleError(path, str(error)) from None
    if type_ == "number":
        return number(value, path)
    if type_ == "boolean":
        if isinstance(value, bool):
            return value
        raise RuleError(path, _("%(value)s is neither true nor false.") % {"value": repr(value)})
    if type_ == "list":
        if isinstance(value, bool):
            return value
        return text(value, path) if isinstance(value, str) else _plain(number(value, path))
    when = moment(value, path)
    if type_ == "date" and when.instant is not None:
        raise RuleError(path, _("%(value)s is an instant; a day is needed.") % {"value": repr(value)})
    return when


def _plain(value: Decimal) -> int | float:
    return int(value) if value == value.to_integral_value() else float(value)


def _type_of(op: str, value: Any) -> str:
    """What kind of property a `where` filter means, by its operator and its value."""
    if op in ("before", "after", "within_last"):
        return "datetime"
    if op in _ORDER and isinstance(value, str | date):
        return "datetime"
    if op in _ORDER:
        return "number"
    if isinstance(value, list | tuple) and value:
        value = value[0]
    if isinstance(value, bool) and op in ("eq", "ne"):
        return "boolean"
    if isinstance(value, int | float) and not isinstance(value, bool):
        return "number"
    return "text"
