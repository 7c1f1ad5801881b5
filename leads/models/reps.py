"""Sales reps: which leads of a team each takes, how many at once, when they work, and when they are away."""

from datetime import date

from django.conf import settings
from django.contrib.postgres.constraints import ExclusionConstraint
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import F, Func, Q, Value
from django.utils.translation import gettext_lazy as _

from leads.models.teams import Team


class Rep(models.Model):
    """One person's place in a team."""

    team = models.ForeignKey(Team, models.CASCADE, related_name="places", verbose_name=_("team"))
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.CASCADE, related_name="places", verbose_name=_("sales rep")
    )
    rule = models.JSONField(_("which leads"), null=True, blank=True, help_text=_("empty: all of the team"))
    capacity = models.PositiveIntegerField(
        _("capacity"),
        null=True,
        blank=True,
        help_text=_("So many unfinished leads in hand at most; empty: any number."),
    )
    hours = models.TextField(_("working hours"), blank=True, default="", help_text=_("empty: those of the team"))
    # Whose turn it is: the larger the number, the later this place got its last lead. The tick counts it up.
    turn = models.BigIntegerField(default=0, db_default=0, editable=False)
    last_assigned_at = models.DateTimeField(_("last lead"), null=True, blank=True, editable=False)

    class Meta:
        verbose_name = _("sales rep")
        verbose_name_plural = _("sales reps")
        ordering = ["team", "user"]
        constraints = [
            models.UniqueConstraint(name="one_place_in_a_team", fields=["team", "user"]),
        ]

    def __str__(self):
        return f"{self.user.get_full_name() or self.user.get_username()} · {self.team}"


class AbsenceQuerySet(models.QuerySet):
    def on(self, day: date):
        """Those that cover a day."""
        return self.filter(first_day__lte=day, last_day__gte=day)


class Absence(models.Model):
    """Whole days on which somebody does not work, by the clock of their own working hours."""

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.CASCADE, related_name="absences", verbose_name=_("sales rep")
    )
    first_day = models.DateField(_("from"))
    last_day = models.DateField(_("until"), help_text=_("This day included."))
    reason = models.TextField(_("reason"), blank=True, default="")

    objects = AbsenceQuerySet.as_manager()

    class Meta:
        verbose_name = _("absence")
        verbose_name_plural = _("absences")
        ordering = ["-first_day", "user"]
        constraints = [
            models.CheckConstraint(
                name="an_absence_ends_after_it_begins", condition=Q(last_day__gte=F("first_day")),
                violation_error_message=_("The last day is before the first."),
            ),
            # A range of one number, so that the index needs no extension.
            ExclusionConstraint(
                name="nobody_is_absent_twice_at_once",
                expressions=[
                    (Func(F("user"), F("user"), Value("[]"), function="int8range"), "&&"),
                    (Func(F("first_day"), F("last_day"), Value("[]"), function="daterange"), "&&"),
                ],
                violation_error_message=_("There is an absence in these days already."),
            ),
        ]  # fmt: skip

    def __str__(self):
        return f"{self.user.get_full_name() or self.user.get_username()}, {self.first_day} – {self.last_day}"

    def clean(self):
        # The ranges of the constraint below cannot even be asked about such days.
        if self.first_day and self.last_day and self.last_day < self.first_day:
            raise ValidationError({"last_day": _("The last day is before the first.")})
