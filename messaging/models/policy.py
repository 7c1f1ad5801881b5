"""When and how often people hear from us, and who must not."""

from datetime import time, timedelta

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q
from django.db.models.functions import Lower, Trim
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from contacts.identity import normalise
from contacts.models import Contact


class SendingPolicy(models.Model):
    """When and how often people hear from us: one row."""

    quiet_from = models.TimeField(_("quiet from"), default=time(20))
    quiet_until = models.TimeField(_("quiet until"), default=time(8))
    sundays_are_quiet = models.BooleanField(
        _("Sundays are quiet"), default=False, db_default=False, help_text=_("nobody is written to all day long")
    )
    holidays_are_quiet = models.BooleanField(
        _("public holidays are quiet"),
        default=False,
        db_default=False,
        help_text=_("those of the contact's country; of an unknown one, those at home"),
    )
    per_day = models.PositiveSmallIntegerField(_("marketing messages a day"), default=1)
    per_week = models.PositiveSmallIntegerField(_("marketing messages a week"), default=3)
    per_month = models.PositiveSmallIntegerField(_("marketing messages in 30 days"), default=12)
    max_defer = models.DurationField(
        _("wait at most"),
        default=timedelta(hours=72),
        help_text=_("A message that the quiet hours would hold back for longer is not sent; hours:minutes:seconds."),
    )
    drain_per_minute = models.PositiveIntegerField(
        _("late messages a minute"),
        null=True,
        blank=True,
        default=1000,
        db_default=1000,
        validators=[MinValueValidator(1)],
        help_text=_(
            "After a pause or an outage so many of the messages that are late leave each minute; empty: all at once."
        ),
    )
    # Until when the minutes of late messages are taken (see the throttle among the gates).
    drained_until = models.DateTimeField(null=True, editable=False)
    global_holdout = models.PositiveSmallIntegerField(
        _("global holdout, per cent"),
        default=0,
        db_default=0,
        validators=[MaxValueValidator(20)],
        help_text=_("So many of a hundred people get no marketing at all, to measure its effect; 0 to 20."),
    )

    class Meta:
        verbose_name = _("sending policy")
        verbose_name_plural = _("sending policy")
        constraints = [
            models.CheckConstraint(name="there_is_one_policy", condition=Q(pk=1)),
            models.CheckConstraint(
                name="late_messages_leave_at_all", condition=Q(drain_per_minute=None) | Q(drain_per_minute__gte=1)
            ),
            models.CheckConstraint(name="most_people_are_not_held_out", condition=Q(global_holdout__lte=20)),
        ]

    def __str__(self):
        return str(_("Sending policy"))

    def clean(self):
        """Refuses a wait of less than nothing."""
        if self.max_defer is not None and self.max_defer < timedelta(0):
            raise ValidationError({"max_defer": _("This is a span of time, such as 72:00:00.")})


class Holdout(models.Model):
    """Whether a person belongs to a holdout group: decided once, when the first message was due, and kept."""

    # "global": no marketing at all · "message:17": never the template with this number.
    scope = models.TextField()
    contact = models.ForeignKey(Contact, models.CASCADE, related_name="holdouts", db_index=False)
    is_held = models.BooleanField()
    decided_at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(name="held_out_or_not_once", fields=["contact", "scope"])]


class Protection(models.Model):
    """Until when promotions leave a person in peace, because of one onboarding (`source`); the longest counts."""

    contact = models.ForeignKey(Contact, models.CASCADE, related_name="protections")
    source = models.TextField(unique=True)
    until = models.DateTimeField()


class Suppression(models.Model):
    """An address (normalised) that nobody may write to any more."""

    REASONS = [
        ("unsubscribed", _("unsubscribed")),
        ("bounced", _("hard bounce")),
        ("complained", _("complaint")),
        ("manual", _("by hand")),
        # Nobody writes to it at all, for no reason of their own.
        ("legal_hold", _("legal hold")),
        ("erased", _("erased")),
    ]
    address = models.TextField(_("address"), unique=True)
    channel = models.TextField(_("channel"), default="email")
    reason = models.TextField(_("reason"), choices=REASONS)
    detail = models.TextField(_("detail"), blank=True, default="")
    suppressed_at = models.DateTimeField(_("since"), default=timezone.now)
    # Because of which message; no foreign key, for it says nothing where that is gone.
    message_id = models.BigIntegerField(_("message"), null=True)

    class Meta:
        verbose_name = _("suppressed address")
        verbose_name_plural = _("suppressed addresses")
        indexes = [
            models.Index(fields=["address"], name="suppression_legal_hold", condition=Q(reason="legal_hold")),
        ]
        permissions = [("lift_complaint", "Can write again to somebody who complained")]
        constraints = [
            # The gates look for this form; an address in another one would stop nothing.
            models.CheckConstraint(
                name="suppressed_addresses_are_normalised", condition=Q(address=Lower(Trim("address")))
            ),
        ]

    def __str__(self):
        return self.address

    def clean(self):
        """Writes the address as contacts have theirs. Raises ValidationError where it is none."""
        if not self.address:
            return
        try:
            self.address = normalise("email", self.address)
        except ValueError as error:
            raise ValidationError({"address": str(error)}) from None
