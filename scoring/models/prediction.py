"""Who is likely to become a customer: versions of the model, as numbers, and what the one in use says of people."""

from datetime import timedelta

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from contacts.models import Contact


class PredictionModelQuerySet(models.QuerySet):
    def live(self):
        return self.filter(state="live")

    def trained(self):
        """The versions that may be used, or were."""
        return self.filter(state__in=["draft", "live", "retired"])


class PredictionModel(models.Model):
    """One training: asked for, refused with a reason, or a version that is in use, waits, or was in use.

    A version is numbers only: with x a contact's features, z = intercept + Σ coefficient · (x − mean) / scale, and the
    probability is 1 / (1 + e^−(slope · z + shift)).
    """

    STATES = [
        ("asked", _("asked for")),
        ("refused", _("refused")),
        ("draft", _("waits")),
        ("live", _("in use")),
        ("retired", _("was in use")),
    ]
    version = models.PositiveIntegerField(_("version"), null=True, unique=True)
    state = models.TextField(_("state"), choices=STATES, default="asked")
    # Who becomes a customer within so long of the moment at which they were looked at is won.
    window = models.DurationField(_("window"), default=timedelta(days=90))
    made_at = models.DateTimeField(_("made"))
    made_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+", verbose_name=_("by")
    )
    features = ArrayField(models.TextField(), default=list)
    means = ArrayField(models.FloatField(), default=list)
    scales = ArrayField(models.FloatField(), default=list)
    coefficients = ArrayField(models.FloatField(), default=list)
    intercept = models.FloatField(default=0)
    # What turns the model's own figure into a probability that holds: Platt's line.
    slope = models.FloatField(default=1)
    shift = models.FloatField(default=0)
    won = models.PositiveIntegerField(_("won"), default=0)
    lost = models.PositiveIntegerField(_("lost"), default=0)
    # Measured on the latest part of history, which the measured model had not seen.
    held_won = models.PositiveIntegerField(default=0)
    held_lost = models.PositiveIntegerField(default=0)
    auc = models.FloatField(_("AUC"), null=True)
    brier = models.FloatField(_("Brier score"), null=True)
    log_loss = models.FloatField(_("log loss"), null=True)
    # Groups of the measured by what was foretold: [{"foretold": 0.1, "came": 0.12, "people": 40}, …], the lowest first.
    reliability = models.JSONField(default=list)
    # Why there is no version: {"why": a key of scoring.training.REFUSALS, and the numbers of its sentence}.
    refusal = models.JSONField(default=dict)
    # A person chose this version; newer ones wait until somebody chooses them.
    chosen_at = models.DateTimeField(_("chosen"), null=True)
    chosen_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+")

    objects = PredictionModelQuerySet.as_manager()

    class Meta:
        verbose_name = _("prediction")
        verbose_name_plural = _("predictions")
        constraints = [
            models.UniqueConstraint(name="one_live_prediction", fields=["state"], condition=Q(state="live")),
            models.UniqueConstraint(name="one_prediction_asked_for", fields=["state"], condition=Q(state="asked")),
            models.CheckConstraint(
                name="a_trained_prediction_has_its_number",
                condition=Q(state__in=["asked", "refused"], version=None)
                | Q(state__in=["draft", "live", "retired"], version__isnull=False),
            ),
            models.CheckConstraint(
                name="a_prediction_looks_a_day_ahead_or_more", condition=Q(window__gte=timedelta(days=1))
            ),
        ]

    @property
    def percent(self) -> int:
        """Of a customer and somebody else, how often in 100 the customer is put first."""
        return round(100 * (self.auc or 0))

    def __str__(self):
        return str(_("version %(number)s") % {"number": self.version}) if self.version else self.get_state_display()


class ContactPrediction(models.Model):
    """How likely a contact was to become a customer, by one version, at `computed_at`."""

    contact = models.ForeignKey(
        Contact, models.CASCADE, related_name="predictions", db_index=False, verbose_name=_("contact")
    )
    model = models.ForeignKey(
        PredictionModel, models.CASCADE, related_name="contact_predictions", verbose_name=_("version")
    )
    value = models.FloatField(_("probability"))
    computed_at = models.DateTimeField(_("computed"))

    class Meta:
        verbose_name = _("contact's prediction")
        verbose_name_plural = _("contacts' predictions")
        constraints = [
            models.UniqueConstraint(name="contact_prediction_once", fields=["contact"]),
            models.CheckConstraint(name="a_prediction_is_a_probability", condition=Q(value__gte=0) & Q(value__lte=1)),
        ]
        indexes = [models.Index(fields=["-value"], name="contact_prediction_value")]
