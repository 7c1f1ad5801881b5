"""Points with evidence: scores, their rules, the ledger, and where each contact stands."""

from datetime import timedelta

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from contacts.models import Contact

# Sums of larger numbers would outgrow a float once they are weighed, and what is smaller fades to less than a float can
# tell from nothing; either stops the scores of everybody.
MOST_POINTS, LEAST_POINTS = 1_000_000.0, 0.001


def _between(name: str, least: float) -> Q:
    """Points that can be reckoned with; NaN and infinity are none."""
    return Q(**{f"{name}__gte": least, f"{name}__lte": MOST_POINTS})


class ScoreModel(models.Model):
    """One scale: fit (who they are; never fades) or engagement (what they do; fades by half-life)."""

    KINDS = [("engagement", _("engagement")), ("fit", _("fit"))]
    key = models.SlugField(_("key"), max_length=64, unique=True)
    name = models.TextField(_("name"), blank=True, default="")
    kind = models.TextField(_("kind"), choices=KINDS, default="engagement")
    qualify_at = models.FloatField(
        _("qualified from"), null=True, blank=True, help_text=_("points at which a person becomes qualified")
    )
    # A contact that fell under `qualify_at - hysteresis` may cross again; without it noise at the line cries wolf.
    hysteresis = models.FloatField(_("hysteresis"), default=5)
    # What of this definition everybody was last asked by, and when: see scoring.points.
    applied = models.TextField(default="", db_default="", editable=False)
    swept_at = models.DateTimeField(null=True, editable=False)
    is_recount_asked = models.BooleanField(default=False, db_default=False, editable=False)

    class Meta:
        verbose_name = _("score")
        verbose_name_plural = _("scores")
        ordering = ["key"]
        constraints = [
            models.CheckConstraint(
                name="qualify_at_is_a_usual_number",
                condition=Q(qualify_at=None) | _between("qualify_at", -MOST_POINTS),
                violation_error_message=_("Qualified from: a number from -1,000,000 to 1,000,000."),
            ),
            # Below nothing, whoever is over the line would be under it in the next tick, and over it again.
            models.CheckConstraint(
                name="hysteresis_is_not_negative",
                condition=_between("hysteresis", 0),
                violation_error_message=_("Hysteresis: a number from 0 to 1,000,000."),
            ),
        ]

    def __str__(self):
        return self.name or self.key


class ScoreGroup(models.Model):
    """Rules that share one cap: together they give a contact at most so many points a day (UTC).

    Points and penalties are capped each on their own side: a group of 20 gives at most 20 and takes at most 20.
    """

    model = models.ForeignKey(ScoreModel, models.CASCADE, related_name="groups", verbose_name=_("score"))
    key = models.SlugField(_("key"), max_length=64)
    name = models.TextField(_("name"), blank=True, default="")
    cap_per_day = models.FloatField(_("at most a day"), help_text=_("points of all its rules together"))

    class Meta:
        verbose_name = _("group of score rules")
        verbose_name_plural = _("groups of score rules")
        ordering = ["model", "key"]
        constraints = [
            models.UniqueConstraint(name="score_group_key_once", fields=["model", "key"]),
            models.CheckConstraint(
                name="group_cap_is_not_negative",
                condition=Q(cap_per_day=0) | _between("cap_per_day", LEAST_POINTS),
                violation_error_message=_("At most a day: 0, or a number from 0.001 to 1,000,000."),
            ),
        ]

    def __str__(self):
        return self.name or self.key


class ScoreRule(models.Model):
    """What earns points. `when` is a `did` leaf for engagement (asked of each touchpoint) or any rule for fit."""

    model = models.ForeignKey(ScoreModel, models.CASCADE, related_name="rules", verbose_name=_("score"))
    key = models.SlugField(_("key"), max_length=64)
    name = models.TextField(_("name"), blank=True, default="")
    when = models.JSONField(pgettext_lazy("condition", "when"))
    points = models.FloatField(_("points"))
    half_life = models.DurationField(_("half-life"), null=True, blank=True, help_text=_("empty: never fades"))
    cap_per_day = models.FloatField(_("at most a day"), null=True, blank=True)
    # Of the same score: the schema has a second foreign key that says so (migration 0005).
    group = models.ForeignKey(
        ScoreGroup,
        models.SET_NULL,
        null=True,
        blank=True,
        related_name="rules",
        verbose_name=_("group"),
        help_text=_("rules that share a cap"),
    )
    is_active = models.BooleanField(_("active"), default=True)

    class Meta:
        verbose_name = _("score rule")
        verbose_name_plural = _("score rules")
        ordering = ["model", "key"]
        constraints = [
            models.UniqueConstraint(name="score_rule_key_once", fields=["model", "key"]),
            # Under an hour the weight of a day's events would outgrow a float.
            models.CheckConstraint(
                name="half_life_is_an_hour_or_more",
                condition=Q(half_life=None) | Q(half_life__gte=timedelta(hours=1)),
                violation_error_message=_("Half-life: an hour or more."),
            ),
            models.CheckConstraint(
                name="cap_per_day_is_not_negative",
                condition=Q(cap_per_day=None) | Q(cap_per_day=0) | _between("cap_per_day", LEAST_POINTS),
                violation_error_message=_("At most a day: 0, or a number from 0.001 to 1,000,000."),
            ),
            models.CheckConstraint(
                name="points_are_a_usual_number",
                condition=Q(points=0)
                | _between("points", LEAST_POINTS)
                | Q(points__gte=-MOST_POINTS, points__lte=-LEAST_POINTS),
                violation_error_message=_("Points: 0, or a number from 0.001 to 1,000,000, or as much below 0."),
            ),
        ]

    def __str__(self):
        return self.name or self.key


class ScoreEntry(models.Model):
    """The ledger: what one rule gave one contact on one day (UTC), event by event.

    `weight` is Σ points·2^((t − day)/half-life) over the day's events, so the day's worth at any later instant T is
    weight·2^(−(T − day)/half-life), exactly. `points` is the plain sum after the cap. A rule that never fades has
    weight = points. Fit rules keep one row on the day 1970-01-01 that holds while the rule holds; its one instant is
    when it began to hold.

    The row keeps the half-life by which it was booked, so an edited rule counts from then on and history stays.
    """

    # The unique constraint is index enough; each further one costs every booking a quarter. Nothing checks the contact
    # row by row, which costs as much again: whoever has an entry has a ContactScore, and there it is checked.
    contact = models.ForeignKey(
        Contact, models.CASCADE, related_name="score_entries", db_constraint=False, db_index=False
    )
    rule = models.ForeignKey(ScoreRule, models.CASCADE, related_name="entries", db_index=False)
    day = models.DateField()
    points = models.FloatField()
    weight = models.FloatField()
    half_life = models.DurationField(null=True)
    touchpoint_ids = ArrayField(models.BigIntegerField(), default=list)
    # Each event's instant and what it gave (0 once a cap is reached), in step with touchpoint_ids, by instant.
    occurred_ats = ArrayField(models.DateTimeField(), default=list)
    event_points = ArrayField(models.FloatField(), default=list)

    class Meta:
        verbose_name = _("score entry")
        verbose_name_plural = _("score ledger")
        # In this order booking finds all that a day holds by one look.
        constraints = [models.UniqueConstraint(name="score_entry_of_a_day_once", fields=["contact", "day", "rule"])]


class ContactScore(models.Model):
    """Where a contact stood at `computed_at`, and when it crosses the threshold by itself if nothing more happens.

    Over it, it falls as points fade; under it, it rises where penalties fade sooner than points.
    """

    contact = models.ForeignKey(
        Contact, models.CASCADE, related_name="scores", db_index=False, verbose_name=_("contact")
    )
    model = models.ForeignKey(
        ScoreModel, models.CASCADE, related_name="contact_scores", db_index=False, verbose_name=_("score")
    )
    value = models.FloatField(_("value"))
    computed_at = models.DateTimeField(_("computed"))
    is_over = models.BooleanField(_("over the threshold"), default=False, db_default=False)
    falls_at = models.DateTimeField(_("falls under it"), null=True)
    rises_at = models.DateTimeField(_("rises over it"), null=True)

    class Meta:
        verbose_name = _("contact's score")
        verbose_name_plural = _("contacts' scores")
        constraints = [models.UniqueConstraint(name="contact_score_once", fields=["contact", "model"])]
        indexes = [
            models.Index(fields=["model", "-value"], name="contact_score_value"),
            models.Index(fields=["falls_at"], name="contact_score_falls", condition=Q(falls_at__isnull=False)),
            models.Index(fields=["rises_at"], name="contact_score_rises", condition=Q(rises_at__isnull=False)),
        ]
