"""What chance drew, what came of it, and how much a journey sends."""

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from campaigns.models.journeys import Journey
from contacts.models import Contact


class Assignment(models.Model):
    """The path that chance drew for a person at a split, once: over re-entries, versions and changes of weights."""

    # "split:<journey>:<step>"
    scope = models.TextField()
    contact = models.ForeignKey(Contact, models.CASCADE, related_name="assignments", db_index=False)
    variant = models.TextField()
    # False where a verdict chose the path, and not chance: these people say nothing about it.
    is_drawn = models.BooleanField(default=True, db_default=True)
    decided_at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(name="drawn_once", fields=["contact", "scope"])]
        indexes = [models.Index(fields=["scope", "decided_at"], name="assignment_scope")]


class Verdict(models.Model):
    """What came of a split that looks for a winner: asked again until there is enough data, and decided once."""

    OUTCOMES = [
        ("open", _("not enough data yet")),
        ("winner", _("one path leads")),
        ("mix", _("no path leads; the mix stays")),
    ]
    journey = models.ForeignKey(Journey, models.CASCADE, related_name="verdicts")
    node_key = models.TextField()
    outcome = models.TextField(choices=OUTCOMES, default="open", db_default="open")
    # The path that all newcomers take.
    winner = models.TextField(default="", db_default="")
    # By what it was decided, and the numbers as they were: {"metric": …, "confidence": …, "paths": [{"path": …}], …}
    numbers = models.JSONField(default=dict)
    asked_at = models.DateTimeField()
    decided_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(name="one_verdict_for_one_split", fields=["journey", "node_key"]),
            models.CheckConstraint(
                name="a_verdict_is_open_or_has_its_moment",
                condition=Q(outcome="open", winner="", decided_at=None)
                | Q(outcome="mix", winner="", decided_at__isnull=False)
                | (Q(outcome="winner", decided_at__isnull=False) & ~Q(winner="")),
            ),
        ]


class Pulse(models.Model):
    """How much a journey sent, and what came back, in ten minutes: what the fuse looks at."""

    journey = models.ForeignKey(Journey, models.CASCADE, related_name="pulses", db_index=False)
    begun_at = models.DateTimeField()
    sent = models.PositiveIntegerField(default=0)
    bounced = models.PositiveIntegerField(default=0)
    complained = models.PositiveIntegerField(default=0)

    class Meta:
        constraints = [models.UniqueConstraint(name="one_pulse_for_ten_minutes", fields=["journey", "begun_at"])]
