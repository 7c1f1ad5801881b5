"""Caps beside the overall one, and the time zone of people whose own nobody knows."""

from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from contacts.models import Segment, Zone
from messaging.models.policy import SendingPolicy
from messaging.models.templates import Topic


class Cap(models.Model):
    """At most so many marketing messages of one channel, of one topic, or of both; an empty number is no limit."""

    policy = models.ForeignKey(SendingPolicy, models.CASCADE, related_name="caps", default=1)
    channel = models.TextField(_("channel"), blank=True, default="", help_text=_("empty: any"))
    topic = models.ForeignKey(
        Topic, models.CASCADE, null=True, blank=True, related_name="caps", verbose_name=_("topic"), db_index=False
    )
    per_day = models.PositiveSmallIntegerField(_("a day"), null=True, blank=True)
    per_week = models.PositiveSmallIntegerField(_("in 7 days"), null=True, blank=True)
    per_month = models.PositiveSmallIntegerField(_("in 30 days"), null=True, blank=True)

    class Meta:
        verbose_name = _("cap")
        verbose_name_plural = _("caps of a channel or a topic")
        ordering = ["channel", "topic_id"]
        constraints = [
            models.UniqueConstraint(
                name="one_cap_for_one_thing",
                fields=["channel", "topic"],
                nulls_distinct=False,
                violation_error_message=_("There is a cap for this channel and topic already."),
            ),
            models.CheckConstraint(name="a_cap_is_of_something", condition=~Q(channel="") | Q(topic__isnull=False)),
            models.CheckConstraint(
                name="a_cap_says_how_many",
                condition=Q(per_day__isnull=False) | Q(per_week__isnull=False) | Q(per_month__isnull=False),
            ),
        ]

    def __str__(self):
        return " · ".join(part for part in (self.channel, str(self.topic or "")) if part)

    def clean(self):
        """Refuses a cap of everything (that is the policy's own) and one without a number."""
        self.channel = self.channel.strip()
        if not self.channel and self.topic is None:
            raise ValidationError({"channel": _("Choose a channel, a topic or both; what holds for all stands above.")})
        if self.per_day is None and self.per_week is None and self.per_month is None:
            raise ValidationError({"per_day": _("Say how many, in one of the three fields.")})


class SegmentZone(models.Model):
    """The time zone of a segment's people, where neither they nor their country tells one."""

    policy = models.ForeignKey(SendingPolicy, models.CASCADE, related_name="zones", default=1)
    segment = models.OneToOneField(Segment, models.PROTECT, related_name="+", verbose_name=_("segment"))
    zone = models.TextField(_("time zone"), help_text=_("such as Europe/Warsaw"))

    class Meta:
        verbose_name = _("time zone of a segment")
        verbose_name_plural = _("time zones of segments")
        ordering = ["segment__key"]

    def __str__(self):
        return f"{self.segment}: {self.zone}"

    def clean(self):
        """Refuses what is no time zone, for a message would be asked by it."""
        self.zone = self.zone.strip()
        if self.zone and not Zone.objects.filter(name=self.zone).exists():
            raise ValidationError({"zone": _("There is no time zone “%(zone)s”.") % {"zone": self.zone}})
