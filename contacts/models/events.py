"""What people did: the inbox, the stream, and how far each step of the tick has read it."""

from django.db import models
from django.db.models import Value
from django.db.models.functions import Now
from django.utils.timezone import now as wall_clock
from django.utils.translation import gettext_lazy as _

from contacts.models.people import Contact


class Incoming(models.Model):
    """The inbox: anyone may insert, only the tick's ingest step takes out. No order is promised between writers."""

    source = models.TextField()
    message_id = models.TextField(default="", db_default="")
    kind = models.TextField()
    channel = models.TextField(default="", db_default="")
    occurred_at = models.DateTimeField()
    received_at = models.DateTimeField()
    # Whoever knows the person says so; else the handles below find or make one.
    contact_id = models.BigIntegerField(null=True)
    anonymous_id = models.TextField(default="", db_default="")
    user_id = models.TextField(default="", db_default="")
    email = models.TextField(default="", db_default="")
    traits = models.JSONField(null=True)
    properties = models.JSONField(default=dict, db_default=Value({}, models.JSONField()))
    # Why ingest put the row aside; such rows stay until somebody looks.
    error = models.TextField(default="", db_default="")

    class Meta:
        verbose_name = _("incoming event")
        verbose_name_plural = _("inbox")


class Receipt(models.Model):
    """Which message of which source has been taken in: what makes a repeated call harmless."""

    pk = models.CompositePrimaryKey("source", "message_id")
    source = models.TextField()
    message_id = models.TextField()
    received_at = models.DateTimeField()


class Touchpoint(models.Model):
    """The stream: one thing that happened with one person. `id` orders, `occurred_at` dates.

    Only the tick inserts. No foreign key leads here or away, so that the table can be partitioned; `contact_id` is
    kept right by merge and erasure and checked by invariant I8.
    """

    contact = models.ForeignKey(
        Contact, models.DO_NOTHING, related_name="touchpoints", db_constraint=False, db_index=False,
        verbose_name=_("contact"),
    )  # fmt: skip
    kind = models.TextField(_("kind"), help_text=_("noun.verbed, such as page.viewed"))
    channel = models.TextField(_("channel"), default="", db_default="")
    occurred_at = models.DateTimeField(_("when"))
    received_at = models.DateTimeField(_("received"))
    source = models.TextField(_("source"), default="", db_default="")
    properties = models.JSONField(_("properties"), default=dict, db_default=Value({}, models.JSONField()))
    # True where an open or click was made by a program; `properties.machine_reason` says how we know.
    is_machine = models.BooleanField(_("by a machine"), default=False, db_default=False)

    class Meta:
        verbose_name = _("touchpoint")
        verbose_name_plural = _("touchpoints")
        indexes = [
            models.Index(fields=["contact", "kind", "occurred_at"], name="touchpoint_contact_kind"),
            models.Index(fields=["contact", "-occurred_at"], name="touchpoint_timeline"),
        ]

    def __str__(self):
        return f"{self.kind} #{self.pk}"


class StepCursor(models.Model):
    """How far one step of the tick has read the stream, and how it fares."""

    step = models.TextField(primary_key=True)
    position = models.BigIntegerField(default=0, db_default=0)
    ran_at = models.DateTimeField(null=True)
    failed_at = models.DateTimeField(null=True)
    error = models.TextField(default="", db_default="")

    class Meta:
        verbose_name = _("step")
        verbose_name_plural = _("steps of the tick")


class Heartbeat(models.Model):
    """When a process last did its work by the wall clock: what the health page trusts, not that a process is up."""

    name = models.TextField(primary_key=True)
    beat_at = models.DateTimeField(default=wall_clock, db_default=Now())
