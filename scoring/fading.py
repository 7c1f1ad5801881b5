"""When the clock turns the answer to a question about a score or a grade: points fade, and penalties lift."""

from datetime import datetime
from typing import Any

from django.contrib.postgres.aggregates import ArrayAgg
from django.db.models import Case, DateTimeField, F, FloatField, Func, OuterRef, Q, Subquery, Sum, Value, When
from django.db.models.functions import Coalesce, Least

from contacts.rules import RuleError, has_time, parse
from contacts.turning import CannotSay
from scoring.gradeleaf import GradeIs
from scoring.leaf import ScoreIs
from scoring.models import ScoreEntry, ScoreRule
from scoring.points import worth_at

_SECONDS = Func(F("half_life"), template="extract(epoch FROM %(expressions)s)::float8", output_field=FloatField())


def next_turn_of_score(leaf: ScoreIs, now: datetime) -> Any:
    """When a score that only fades from here meets a number that the leaf names, as an expression over Contact.

    Raises CannotSay where some rule of the score is about time itself: its points come and go by the clock.
    """
    values = leaf.condition.value
    return _turn(leaf.score, [float(value) for value in (values if isinstance(values, tuple) else (values,))], now)


def next_turn_of_grade(leaf: GradeIs, now: datetime) -> Any:
    """When one of the two scores of a grade meets one of its bounds, as an expression over Contact.

    Raises CannotSay as a score does.
    """
    matrix = leaf.matrix
    turns = [_turn(score.key, matrix.bounds_of(score.pk), now) for score in (matrix.fit, matrix.engagement)]
    return Least(*turns)


def _turn(score: str, lines: list[float], now: datetime) -> Subquery:
    """When a score meets the first of some lines."""
    for when in ScoreRule.objects.filter(model__key=score).values_list("when", flat=True):
        try:
            if has_time(parse(when)):
                raise CannotSay(f"{score} has a rule about time.")
        except RuleError:
            raise CannotSay(f"{score} has a rule that cannot be read.") from None
    mine = ScoreEntry.objects.filter(contact_id=OuterRef("pk"), rule__model__key=score).order_by()
    turns = [
        Case(
            When(worth__gte=line, then=_meets(line, 1, now)),
            default=_meets(line, -1, now),
            output_field=DateTimeField(),
        )
        for line in lines
    ]
    found = (
        mine.values("contact_id")
        .annotate(worth=Sum(worth_at(now)))
        .annotate(turn=Least(*turns) if len(turns) > 1 else turns[0])
    )
    return Subquery(found.values("turn"), output_field=DateTimeField())


def _meets(line: float, sign: int, now: datetime) -> Func:
    """When the sum falls under a line (sign 1) or rises over it (sign -1)."""
    worth = worth_at(now) * Value(float(sign))
    fades = Q(half_life__isnull=False)
    return Func(
        Coalesce(Sum(worth, filter=~fades), Value(0.0), output_field=FloatField()),
        ArrayAgg(worth, filter=fades, default=[]),
        ArrayAgg(_SECONDS, filter=fades, default=[]),
        Value(line * sign),
        Value(now, DateTimeField()),
        function="falls_at",
        output_field=DateTimeField(),
    )
