"""Grades: a fit score and an engagement score read together, as one letter and one number."""

from typing import Any

from django.contrib.postgres.fields import ArrayField
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import F, Func
from django.utils.translation import gettext_lazy as _

from scoring.models.scores import ScoreModel

# More steps than that nobody tells apart.
MOST_BOUNDS = 8


def _fall(name: str) -> Func:
    return Func(F(name), function="bounds_fall", output_field=models.BooleanField())


class GradeMatrix(models.Model):
    """A1 is who fits best and does most. `fit_from` says from how many points of fit on somebody is an A, a B, …, and
    `engagement_from` the same for 1, 2, …; who reaches none of them has the letter or number behind the last.
    """

    key = models.SlugField(_("key"), max_length=64, unique=True)
    name = models.TextField(_("name"), blank=True, default="")
    fit = models.ForeignKey(
        ScoreModel, models.PROTECT, related_name="+", limit_choices_to={"kind": "fit"}, verbose_name=_("fit score")
    )
    engagement = models.ForeignKey(
        ScoreModel,
        models.PROTECT,
        related_name="+",
        limit_choices_to={"kind": "engagement"},
        verbose_name=_("engagement score"),
    )
    fit_from = ArrayField(
        models.FloatField(),
        size=MOST_BOUNDS,
        verbose_name=_("letters from"),
        help_text=_("points of fit from which somebody is an A, a B, …, such as 60, 30; everybody else comes behind"),
    )
    engagement_from = ArrayField(
        models.FloatField(),
        size=MOST_BOUNDS,
        verbose_name=_("numbers from"),
        help_text=_("points of engagement from which somebody is a 1, a 2, …, such as 50, 20"),
    )

    class Meta:
        verbose_name = _("grade matrix")
        verbose_name_plural = _("grades")
        ordering = ["key"]
        constraints = [
            models.CheckConstraint(
                name=f"grade_{name}_falls",
                condition=_fall(name),
                violation_error_message=message,
            )
            for name, message in (
                ("fit_from", _("Letters: from one to eight numbers, each smaller than the one before it.")),
                ("engagement_from", _("Numbers: from one to eight numbers, each smaller than the one before it.")),
            )
        ]

    def __str__(self):
        return self.name or self.key

    def clean(self) -> None:
        for name in ("fit", "engagement"):
            score = getattr(self, name, None) if getattr(self, f"{name}_id") else None
            if score is not None and score.kind != name:
                raise ValidationError({name: _("This is a score of the other kind.")})

    @property
    def letters(self) -> list[str]:
        """The letters that there are, the best first."""
        return [chr(65 + place) for place in range(len(self.fit_from) + 1)]

    @property
    def numbers(self) -> list[str]:
        """The numbers that there are, the best first."""
        return [str(1 + place) for place in range(len(self.engagement_from) + 1)]

    @property
    def grades(self) -> list[str]:
        """All grades, letter by letter."""
        return [letter + number for letter in self.letters for number in self.numbers]

    def bounds_of(self, model_id: Any) -> list[float]:
        """The bounds that this matrix sets for one of its two scores."""
        return self.fit_from if model_id == self.fit_id else self.engagement_from
