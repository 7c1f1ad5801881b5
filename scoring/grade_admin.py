"""The screen of grades: the bounds of a matrix, and how many people stand in each of its cells."""

from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from scoring.forms import BoundsField
from scoring.grades import count_grades
from scoring.models import GradeMatrix


class GradeMatrixForm(forms.ModelForm):
    class Meta:
        field_classes = {"fit_from": BoundsField, "engagement_from": BoundsField}


@admin.register(GradeMatrix)
class GradeMatrixAdmin(admin.ModelAdmin):
    form = GradeMatrixForm
    list_display = ["key", "name", "fit", "engagement", "span"]
    list_select_related = ["fit", "engagement"]
    fields = ["name", "key", "fit", "fit_from", "engagement", "engagement_from"]
    change_form_template = "scoring/grade_change_form.html"
    why_empty = _(
        "A grade reads two scores together: a letter for who somebody is, a number for what they do. A1 fits best and"
        " does most, and is called first; A3 fits and sleeps, and is woken up."
    )

    def get_readonly_fields(self, request: HttpRequest, obj: GradeMatrix | None = None) -> list[str]:
        # Rules name a matrix by its key.
        return ["key"] if obj else []

    def get_prepopulated_fields(self, request: HttpRequest, obj: GradeMatrix | None = None) -> Any:
        return {} if obj else {"key": ["name"]}

    @admin.display(description=_("grades"))
    def span(self, matrix: GradeMatrix) -> str:
        return f"{matrix.grades[0]}…{matrix.grades[-1]}"

    def render_change_form(self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        matrix = kwargs.get("obj")
        if matrix is not None and request.user.has_perm("scoring.view_contactscore"):
            counted = count_grades(matrix, request.user, timezone.now())
            context |= {
                "cells": [
                    (letter, [(letter + number, counted[letter + number]) for number in matrix.numbers])
                    for letter in matrix.letters
                ]
                if counted is not None
                else None,
                "is_late": counted is None,
                "most": max(counted.values(), default=0) if counted else 0,
            }
        return super().render_change_form(request, context, *args, **kwargs)
