"""When an answer may change: which news concern a rule, and at which moment the clock alone may turn an answer.

For each kind of leaf two things are known here: the *words* of the news that can change its answer, and an expression
over Contact for the next moment at which the clock can. Both may say too much, never too little: asking once too often
is harmless. A leaf that says nothing of its news is asked about any news; one that cannot say its moment has its
segment swept.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db.models import Case, DateTimeField, F, Func, OuterRef, Q, Subquery, Value, When
from django.db.models.functions import Coalesce, Least
from django.db.models.lookups import GreaterThan
from django.db.models.query import QuerySet

from contacts.did import Did
from contacts.leaves import Bucket, FieldIs, InSegment, Stage
from contacts.models import Membership, Touchpoint
from contacts.moments import Moment
from contacts.rulefields import registered
from contacts.rules import All, AnyOf, Not, Rule, leaves_of, to_q
from contacts.rulevalues import Condition, negate

# Whatever is said about a person. News of who somebody is (made, named, merged, erased) concern every rule.
ANYTHING = "+"
ALWAYS = "*"
# A comparison that wants a moment strictly before or after another turns one microsecond later: PostgreSQL's shortest.
_TICK = timedelta(microseconds=1)


class CannotSay(Exception):
    """Nobody can say when the clock turns the answer to this rule; everybody has to be asked now and then."""


# News ----------------------------------------------------------------------------------------------------------------

# What each of these says of itself is told by other news than `contact.updated`, or by none.
_TOLD_OTHERWISE = {"stage": "stage.changed", "highest_stage": "stage.changed", "stage_changed_at": "stage.changed"}
_TOLD_BY_UPDATES = {
    *("email", "phone", "first_name", "last_name", "language", "country", "timezone", "job_title", "company_role"),
}


def words_of(rule: Rule) -> frozenset[str]:
    """The words of the news that can change an answer, as `note_news` writes them; ANYTHING for any news."""
    found: set[str] = set()
    for _path, leaf in leaves_of(rule):
        found |= _words_of_leaf(leaf)
    return frozenset(found)


def _words_of_leaf(leaf: Any) -> set[str]:
    if isinstance(leaf, Did):
        return {leaf.kind}
    if isinstance(leaf, Bucket):
        return set()
    if isinstance(leaf, InSegment):
        return {word_of_segment(leaf.segment)}
    if isinstance(leaf, Stage):
        return {"stage.changed"}
    if isinstance(leaf, FieldIs):
        key = leaf.field.key
        if key in _TOLD_OTHERWISE:
            return {_TOLD_OTHERWISE[key]}
        if key.startswith("company."):
            return {word_of_field("company")}
        if key in _TOLD_BY_UPDATES or key not in registered():
            return {word_of_field(key)}
    return {ANYTHING}


def word_of_field(key: str) -> str:
    """The word for “this field of the contact changed”."""
    return f"field:{key}"


def word_of_segment(key: str) -> str:
    """The word for “she entered or left this segment”."""
    return f"segment:{key}"


# The clock -----------------------------------------------------------------------------------------------------------

_turns: dict[type, Callable[[Any, datetime], Any]] = {}


def register_turn(leaf: type, next_turn_of: Callable[[Any, datetime], Any]) -> None:
    """Says of a kind of leaf with time in it when its answer may turn next; apps above call it from `AppConfig.ready`.

    `next_turn_of(leaf, now)` gives an expression over Contact: the first moment after `now` at which the answer may
    change though nothing happens, NULL for never. It may raise CannotSay.
    """
    _turns[leaf] = next_turn_of


def next_turn(rule: Rule, now: datetime) -> Any:
    """The next moment after `now` at which the clock may turn the rule's answer, as an expression over Contact.

    None where it never does; NULL for whom it does not, as things stand. Raises CannotSay.
    """
    if isinstance(rule, Not):
        return next_turn(rule.rule, now)
    if not isinstance(rule, All | AnyOf):
        if not rule.has_time:
            return None
        if type(rule) not in _turns:
            raise CannotSay(f"{type(rule).__name__} does not say when its answer turns.")
        return _turns[type(rule)](rule, now)
    is_open, soonest = open_turn(rule, now)
    if soonest is None or not is_open:
        return soonest
    return Case(When(is_open, then=soonest), output_field=DateTimeField())


def open_turn(rule: Rule, now: datetime) -> tuple[Q, Any]:
    """The same in two parts: for whom the clock can turn it at all, and when."""
    if isinstance(rule, Not):
        return open_turn(rule.rule, now)
    if not isinstance(rule, All | AnyOf):
        return Q(), next_turn(rule, now)
    found = [(part, next_turn(part, now)) for part in rule.rules]
    timed = [turn for _part, turn in found if turn is not None]
    if not timed:
        return Q(), None
    soonest = Least(*timed) if len(timed) > 1 else timed[0]
    settled = tuple(part for part, turn in found if turn is None)
    if not settled:
        return Q(), soonest
    # What the clock does not move decides already for most people; if it changes, that is news, and they are asked.
    return to_q(All(settled), now) if isinstance(rule, All) else negate(to_q(AnyOf(settled), now)), soonest


def only_fades(rule: Rule) -> bool:
    """Whether the clock can turn its answer to no alone: then only those whom it means now have a turn to come.

    So it is where events leave a span and none enters it, and that is asked for at least so many of them.
    """
    if isinstance(rule, All | AnyOf):
        return all(only_fades(part) for part in rule.rules)
    if isinstance(rule, Not):
        return not any(leaf.has_time for _path, leaf in leaves_of(rule))
    if isinstance(rule, Did):
        return rule.count_op in ("gt", "gte") and not (rule.before and rule.before.is_relative)
    return not rule.has_time


def _later(moment: Any, span: timedelta) -> Any:
    """A moment moved by a span of elapsed time."""
    if not span:
        return moment
    return Func(moment, Value(span), template="((%(expressions)s))", arg_joiner=") + (", output_field=DateTimeField())


def _first_after(now: datetime, candidates: list[Any]) -> Any:
    """The soonest of some moments that is still to come."""
    to_come = [
        Case(When(GreaterThan(one, Value(now, DateTimeField())), then=one), output_field=DateTimeField())
        for one in candidates
    ]
    if not to_come:
        return None
    return Least(*to_come) if len(to_come) > 1 else to_come[0]


class _Midnight(Func):
    """When a day, so many `days` on, begins in the workspace's zone; right also where clocks change at midnight."""

    output_field = DateTimeField()

    def as_sql(self, compiler: Any, connection: Any, **extra: Any) -> Any:  # type: ignore[override]
        sql, params = compiler.compile(self.source_expressions[0])
        # The hour before is never said twice, unlike midnight itself.
        return (
            f"(((({sql})::date + %s)::timestamp - interval '1 hour') AT TIME ZONE %s + interval '1 hour')",
            [*params, self.extra["days"], settings.TIME_ZONE],
        )


def _of_condition(value: Any, condition: Condition, now: datetime) -> Any:
    """When a comparison of a value with a moment that moves along with the clock changes its answer."""
    if condition.op == "within_last":
        span = condition.value
        if condition.type == "date":
            return _first_after(now, [_Midnight(value, days=0), _later(_Midnight(value, days=1), span)])
        return _first_after(now, [value, _later(value, span)])
    moving = condition.value if isinstance(condition.value, tuple) else [condition.value]
    candidates = []
    for one in moving:
        if not isinstance(one, Moment) or one.offset is None:
            continue
        if condition.type == "date":
            candidates += [_later(_Midnight(value, days=days), -one.offset) for days in (0, 1)]
        else:
            reached = _later(value, -one.offset)
            candidates += [reached, _later(reached, _TICK)]
    return _first_after(now, candidates)


def _of_field(leaf: FieldIs, now: datetime) -> Any:
    if leaf.field.has_time:
        raise CannotSay(f"{leaf.field.key} changes by the clock.")
    turns = _of_condition(leaf.field.expression(now), leaf.condition, now) if leaf.condition.has_time else None
    if not leaf.lasting:
        return turns
    told = Touchpoint.objects.filter(
        contact_id=OuterRef("pk"), kind="contact.updated", occurred_at__lte=now,
        properties__fields__contains=[leaf.field.told],
    )  # fmt: skip
    since = [_nth(told.order_by("-occurred_at"), 1), F("created_at")]
    since += [F(leaf.field.edited)] if leaf.field.edited else []
    reached = _first_after(now, [_later(one, leaf.lasting) for one in since])
    return reached if turns is None else Least(turns, reached)


def _of_stage(leaf: Stage, now: datetime) -> Any:
    assert leaf.lasting
    reached = _later(Coalesce(F("stage_changed_at"), F("created_at")), leaf.lasting)
    is_to_come = GreaterThan(reached, Value(now, DateTimeField()))
    return Case(When(Q(stage=leaf.stage) & Q(is_to_come), then=reached), output_field=DateTimeField())


def _of_membership(leaf: InSegment, now: datetime) -> Any:
    assert leaf.lasting
    mine = Membership.objects.filter(contact_id=OuterRef("pk"), segment__key=leaf.segment)
    return _later(Subquery(mine.filter(entered_at__gt=now - leaf.lasting).values("entered_at")), leaf.lasting)


def _of_did(leaf: Did, now: datetime) -> Any:
    """When events leave the span that is asked about, or enter it.

    Where they only leave, the answer turns with the one that makes up the number; where they enter as well, say
    because it happened *before* a fortnight ago, it is asked at each.
    """
    if any(one.condition.has_time for one in leaf.where):
        raise CannotSay("A property is compared with the clock.")
    mine = Touchpoint.objects.filter(leaf.of_one(now), contact_id=OuterRef("pk"), occurred_at__lte=now)
    # How long after an event it leaves the span.
    leaving = [leaf.within] if leaf.within else []
    if leaf.after and leaf.after.offset is not None:
        leaving.append(_TICK - leaf.after.offset)
    if leaf.before and leaf.before.offset is not None:
        entering = _TICK - leaf.before.offset
        # Of each edge the next event to meet it: those after `now - span` have not met it yet.
        met = [
            _later(_nth(mine.filter(occurred_at__gt=now - span).order_by("occurred_at"), 1), span)
            for span in [*leaving, entering]
        ]
        return Least(*met) if len(met) > 1 else met[0]
    if not leaving:
        return None
    numbers = {"gte": [0], "lt": [0], "gt": [1], "lte": [1], "eq": [0, 1], "ne": [0, 1]}[leaf.count_op]
    newest = mine.filter(leaf.in_time(now)).order_by("-occurred_at")
    turns = [
        _later(_nth(newest, leaf.count + more), span) for more in numbers if leaf.count + more > 0 for span in leaving
    ]
    if not turns:
        return None
    return Least(*turns) if len(turns) > 1 else turns[0]


def _nth(ordered: QuerySet, number: int) -> Subquery:
    return Subquery(ordered.values("occurred_at")[number - 1 : number], output_field=DateTimeField())


register_turn(FieldIs, _of_field)
register_turn(Stage, _of_stage)
register_turn(InSegment, _of_membership)
register_turn(Did, _of_did)
