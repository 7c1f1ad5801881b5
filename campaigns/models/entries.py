"""What may let people in: dates that came, and events whose filter is still asked."""

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from campaigns.models.journeys import Journey, JourneyVersion
from contacts.models import Contact


class Occasion(models.Model):
    """A date on which a trigger fired for somebody: each fires once, however often asked, and over all versions."""

    journey = models.ForeignKey(Journey, models.CASCADE, related_name="occasions")
    contact = models.ForeignKey(Contact, models.CASCADE, related_name="+")
    # Which date: `2027-03-28T09:00` by the person's clock, or `renewal_on-30d:2027-04-27`.
    key = models.TextField()
    occurred_at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(name="occasion_once", fields=["journey", "contact", "key"])]


class DatesAsked(models.Model):
    """Up to when the dates of a journey's triggers were asked; what lies behind does not fire any more."""

    journey = models.OneToOneField(Journey, models.CASCADE, primary_key=True, related_name="dates_asked")
    until = models.DateTimeField()


class Candidate(models.Model):
    """Somebody whom a trigger named and who did not get in at once: waits for the entry filter, or was refused."""

    STATES = [("waiting", _("waiting")), ("let_in", _("let in")), ("refused", _("refused"))]
    REASONS = [
        ("filter", _("the entry filter did not hold within half an hour")),
        ("most", _("as often in already as the journey allows within its window")),
        ("flood", _("as often in already as anybody may be within a day")),
        ("reentry", _("the re-entry rule did not allow it")),
    ]
    journey = models.ForeignKey(Journey, models.CASCADE, related_name="candidates", verbose_name=_("journey"))
    contact = models.ForeignKey(Contact, models.CASCADE, related_name="+", verbose_name=_("contact"))
    version = models.ForeignKey(JourneyVersion, models.CASCADE, related_name="+", verbose_name=_("version"))
    # Of the trigger in the version's list, whose filter is asked.
    trigger_place = models.SmallIntegerField()
    touchpoint_id = models.BigIntegerField()
    entry_key = models.TextField(default="", db_default="")
    state = models.TextField(_("state"), choices=STATES)
    reason = models.TextField(_("reason"), choices=REASONS, default="", db_default="", blank=True)
    asked_at = models.DateTimeField(_("first asked"))
    # Until when the filter is asked again.
    until = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(name="candidate_once", fields=["journey", "contact", "touchpoint_id", "entry_key"]),
            models.CheckConstraint(
                name="a_refusal_says_why",
                condition=~Q(state="refused") | ~Q(reason=""),
            ),
        ]
        indexes = [
            models.Index(fields=["journey", "until"], name="candidate_waiting", condition=Q(state="waiting")),
            models.Index(fields=["asked_at"], name="candidate_asked"),
        ]
