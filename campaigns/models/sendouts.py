"""The occasions of broadcasts."""

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from campaigns.models.journeys import Journey, JourneyVersion


class Sendout(models.Model):
    """One sending of a broadcast: it happens once. Its audience is taken once, and is the sum of what became of it."""

    STATES = [
        ("scheduled", _("scheduled")),
        ("canary", _("trying on a few")),
        ("sending", _("being sent")),
        ("finished", _("sent")),
        ("missed", _("missed")),
        ("stopped", _("stopped")),
    ]
    UNDER_WAY = ["canary", "sending"]
    PROBLEMS = [
        ("late", _("It was over before it could be sent.")),
        ("audience", _("The rule of its audience cannot be read any more.")),
        ("bounces", _("It paused itself: too many of the first mails bounced.")),
        ("complaints", _("It paused itself: too many of the first people complained.")),
    ]
    journey = models.ForeignKey(Journey, models.CASCADE, related_name="sendouts", verbose_name=_("broadcast"))
    version = models.ForeignKey(JourneyVersion, models.CASCADE, related_name="sendouts", verbose_name=_("version"))
    # The moment as the definition has it, or "now": also the entry key of its enrolments.
    key = models.TextField(_("moment"))
    state = models.TextField(_("state"), choices=STATES, default="scheduled", db_default="scheduled")
    problem = models.TextField(_("problem"), choices=PROBLEMS, default="", db_default="", blank=True)
    # A wall time, and whose clock; empty: each person's own.
    wall = models.TextField()
    zone = models.TextField(default="", db_default="")
    # The same for its end; empty where it has none.
    valid_wall = models.TextField(default="", db_default="")
    valid_zone = models.TextField(default="", db_default="")
    # When the moment comes first anywhere on Earth; and when it is too late to begin, everywhere.
    starts_at = models.DateTimeField(_("begins"))
    late_at = models.DateTimeField(_("too late"))
    snapshot_at = models.DateTimeField(_("audience taken"), null=True)
    audience = models.PositiveIntegerField(_("audience"), null=True)
    # Of the audience, those whose time zone nobody knows: they get it by the workspace's clock.
    unknown_zones = models.PositiveIntegerField(_("unknown time zones"), default=0, db_default=0)
    canary_until = models.DateTimeField(_("trying until"), null=True)
    finished_at = models.DateTimeField(_("finished"), null=True)

    class Meta:
        verbose_name = _("occasion")
        verbose_name_plural = _("occasions")
        ordering = ["-starts_at", "-pk"]
        constraints = [
            models.UniqueConstraint(name="an_occasion_happens_once", fields=["journey", "key"]),
            models.CheckConstraint(
                name="an_occasion_that_began_has_its_audience",
                condition=Q(snapshot_at=None, audience=None) | Q(snapshot_at__isnull=False, audience__isnull=False),
            ),
            models.CheckConstraint(
                name="an_occasion_under_way_has_begun",
                condition=~Q(state__in=["canary", "sending", "finished"]) | Q(snapshot_at__isnull=False),
            ),
            models.CheckConstraint(
                name="a_missed_occasion_never_began", condition=~Q(state="missed") | Q(snapshot_at=None)
            ),
        ]
        indexes = [
            models.Index(
                fields=["starts_at"],
                name="sendout_open",
                condition=Q(state__in=["scheduled", "canary", "sending"]),
            ),
        ]

    def __str__(self):
        return f"{self.journey} · {self.key}"
