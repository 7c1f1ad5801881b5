"""What a contact's page shows of scores: chips in the head, each score with its waterfall, now or at a past instant."""

from datetime import datetime

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.utils import timezone
from django.utils.formats import number_format
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from contacts.beside import Beside
from contacts.models import Contact
from contacts.moments import as_of
from scoring.grades import grade_of, grades_of
from scoring.models import GradeMatrix
from scoring.waterfalls import scores_of

# More scores than that are read by REST.
MOST_SCORES = 6


def panel(request: HttpRequest, contact: Contact) -> Beside | None:
    """The scores and grades of a contact at the instant that `?at=` names; None for whom may not see scores."""
    if not request.user.has_perm("scoring.view_contactscore"):
        return None
    now = timezone.now()
    at, problem = asked_instant(request, now)
    scores, grades = scores_of(contact, at, MOST_SCORES), grades_of(contact, at)
    shown = {
        "scores": scores, "grades": grades, "at": at, "is_past": at < now, "problem": problem,
        "asked": timezone.localtime(at).strftime("%Y-%m-%dT%H:%M"), "contact": contact,
    }  # fmt: skip
    chips = [f"{matrix}: {grade}" for matrix, grade in grades]
    chips += [f"{score.model}: {number_format(score.value, 0)}" for score in scores]
    return Beside([] if at < now else chips, render_to_string("scoring/beside_contact.html", shown, request))


def asked_instant(request: HttpRequest, now: datetime) -> tuple[datetime, str]:
    """The instant of `?at=`, and a sentence where it cannot be read; then it is now."""
    try:
        return min(as_of(request.GET.get("at", "").strip(), now), now), ""
    except (ValueError, OverflowError):
        return now, _("That is no point of time; these are the scores of now.")


class GradeFilter(admin.SimpleListFilter):
    """The people of one grade at this moment, such as `?grade=product:A1`."""

    title = gettext_lazy("grade")
    parameter_name = "grade"

    def lookups(self, request: HttpRequest, model_admin: admin.ModelAdmin) -> list[tuple[str, str]]:
        if not request.user.has_perm("scoring.view_contactscore"):
            return []
        matrices = list(GradeMatrix.objects.all())
        one = len(matrices) == 1
        return [
            (f"{matrix.key}:{grade}", grade if one else f"{matrix}: {grade}")
            for matrix in matrices
            for grade in matrix.grades
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet) -> QuerySet:
        if self.value() is None:
            return queryset
        key, _colon, grade = str(self.value()).partition(":")
        matrix = GradeMatrix.objects.select_related("fit", "engagement").filter(key=key).first()
        if matrix is None or not request.user.has_perm("scoring.view_contactscore"):
            return queryset.none()
        return queryset.alias(graded=grade_of(matrix, timezone.now())).filter(graded=grade)
