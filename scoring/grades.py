"""Grades: A1 fits best and does most. Never stored, but read from the ledger at the moment of asking, as scores are.

A bound is reached at exactly its points. Scores are compared with fifteen digits, as rules compare numbers, so that a
point that has faded to half is half a point.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from django.contrib.postgres.fields import ArrayField
from django.db.models import FloatField, Func, IntegerField, TextField, Value
from django.db.models.functions import Cast, Chr, Coalesce, Concat

from contacts.models import Contact
from contacts.sql import fragment, in_time, load
from scoring.leaf import score_of
from scoring.models import GradeMatrix

SQL = load(__file__)

# The page waits so long for the numbers in its cells.
TIME_LIMIT = timedelta(seconds=4)


def grade_of(matrix: GradeMatrix, now: datetime) -> Concat:
    """The grade of a contact at a moment, such as “B2”, as an expression over Contact."""
    return Concat(
        Chr(_step(score_of(matrix.fit.key, now), matrix.fit_from) + Value(64), output_field=TextField()),
        Cast(_step(score_of(matrix.engagement.key, now), matrix.engagement_from), TextField()),
        output_field=TextField(),
    )


def _step(score: Coalesce, bounds: list[float]) -> Any:
    """Which step of a scale a score stands on, 1 for the best."""
    reached = Func(
        score,
        Value(sorted(bounds), ArrayField(FloatField())),
        template="width_bucket(%(expressions)s::numeric[])",
        arg_joiner="::numeric, ",
        output_field=IntegerField(),
    )
    return Value(len(bounds) + 1) - reached


def grades_at(matrix: GradeMatrix, contact_ids: Iterable[int], at: datetime) -> dict[int, str]:
    """The grades of some contacts at any instant, by their ids."""
    people = Contact.objects.filter(pk__in=list(contact_ids))
    return dict(people.annotate(grade=grade_of(matrix, at)).values_list("pk", "grade"))


def grades_of(contact: Contact, at: datetime) -> list[tuple[GradeMatrix, str]]:
    """Each matrix with the grade that a contact has in it at an instant; in one query."""
    matrices = list(GradeMatrix.objects.select_related("fit", "engagement"))
    if not matrices:
        return []
    names = {f"grade_{matrix.pk}": matrix for matrix in matrices}
    row = (
        Contact.objects.filter(pk=contact.pk)
        .annotate(**{name: grade_of(matrix, at) for name, matrix in names.items()})
        .values(*names)
        .get()
    )
    return [(matrix, row[name]) for name, matrix in names.items()]


def count_grades(matrix: GradeMatrix, user: Any, now: datetime) -> dict[str, int] | None:
    """How many people, of those whom the user may see, have each grade; None where counting takes too long."""
    people = Contact.objects.living().visible_to(user).values("id").order_by()
    with in_time(TIME_LIMIT) as time:
        rows = SQL["count_grades"].rows(
            fragments={"people": fragment(people)},
            fit=matrix.fit_id,
            engagement=matrix.engagement_id,
            fit_from=sorted(matrix.fit_from),
            engagement_from=sorted(matrix.engagement_from),
            now=now,
        )
    if time.is_up:
        return None
    found = {chr(64 + letter) + str(number): count for letter, number, count in rows}
    return {grade: found.get(grade, 0) for grade in matrix.grades}
