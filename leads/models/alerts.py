"""What sales is told: hot leads, and the mails to reps and managers that tell of them and of the day."""

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from leads.models.leads import Lead


class AlertPreference(models.Model):
    """What one user wants to be told; who has no row is told at once and gets the digest, in the house's language."""

    HOT = [("now", _("at once")), ("digest", _("in the daily digest only")), ("none", _("not at all"))]
    user = models.OneToOneField(
        settings.AUTH_USER_MODEL, models.CASCADE, related_name="alert_preference", verbose_name=_("user")
    )
    hot = models.TextField(_("hot leads"), choices=HOT, default="now")
    at_night = models.BooleanField(_("also outside working hours"), default=False)
    is_for_all = models.BooleanField(_("also leads that are nobody's"), default=False)
    digest = models.BooleanField(_("daily digest"), default=True)
    language = models.TextField(_("language of these mails"), choices=settings.LANGUAGES, default="en")

    class Meta:
        verbose_name = _("alert preference")
        verbose_name_plural = _("alert preferences")

    def __str__(self):
        return f"{self.user}"


class HotAlert(models.Model):
    """Sales was told that a lead is hot: once for each crossing of a score, and once for a lead without one."""

    # Without a foreign key in the database: of two people who are merged, one lead goes and may come back.
    lead = models.ForeignKey(
        Lead, models.CASCADE, related_name="hot_alerts", db_constraint=False, verbose_name=_("lead")
    )
    # The touchpoint `score.crossed`; None: a journey handed over whoever no score made qualified.
    crossing_id = models.BigIntegerField(null=True, editable=False)
    told_at = models.DateTimeField(_("told"))

    class Meta:
        verbose_name = _("hot-lead alert")
        verbose_name_plural = _("hot-lead alerts")
        constraints = [
            models.UniqueConstraint(name="one_alert_per_crossing", fields=["crossing_id"]),
            models.UniqueConstraint(
                name="one_alert_per_lead_without_crossing", fields=["lead"], condition=Q(crossing_id=None)
            ),
        ]

    def __str__(self):
        return f"{self.lead}"


class SalesMail(models.Model):
    """One mail to a user about leads, waiting or gone: an outbox apart, for users are no contacts and pass no gates.

    What it says is written when it leaves, of what is true then; so nothing here tells of a person.
    """

    KINDS = [("hot", _("hot lead")), ("digest", _("daily digest"))]
    STATES = [
        ("waiting", pgettext_lazy("mail", "waiting")),
        ("sending", _("being handed over")),
        ("sent", pgettext_lazy("mail", "sent")),
        ("dropped", _("nothing to say any more")),
        ("failed", pgettext_lazy("mail", "failed")),
    ]
    kind = models.TextField(_("kind"), choices=KINDS)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="+", verbose_name=_("user"))
    alert = models.ForeignKey(HotAlert, models.CASCADE, null=True, related_name="mails", verbose_name=_("alert"))
    day = models.DateField(_("day"), null=True)
    due_at = models.DateTimeField(_("due"))
    state = models.TextField(_("state"), choices=STATES, default="waiting", db_default="waiting")
    # The row whose number is in the Message-ID; several alerts that waited leave as one mail.
    bundle = models.BigIntegerField(null=True, editable=False)
    attempts = models.PositiveSmallIntegerField(default=0, db_default=0, editable=False)
    # While it waits, before when it is not tried again; while it is being handed over, how long its worker has.
    lease_until = models.DateTimeField(null=True, editable=False)
    finished_at = models.DateTimeField(_("finished"), null=True)
    response = models.TextField(_("server said"), default="", db_default="", blank=True)

    class Meta:
        verbose_name = _("mail to sales")
        verbose_name_plural = _("mails to sales")
        indexes = [
            models.Index(fields=["due_at"], name="sales_mail_open", condition=Q(state__in=["waiting", "sending"])),
        ]
        constraints = [
            models.UniqueConstraint(name="one_mail_per_alert_and_user", fields=["alert", "user"]),
            models.UniqueConstraint(name="one_digest_per_user_and_day", fields=["user", "day"]),
            models.CheckConstraint(
                name="a_mail_to_sales_is_of_an_alert_or_a_day",
                condition=Q(kind="hot", alert__isnull=False, day=None)
                | Q(kind="digest", alert=None, day__isnull=False),
            ),
            models.CheckConstraint(
                name="a_claimed_mail_to_sales_has_a_lease",
                condition=~Q(state="sending") | Q(lease_until__isnull=False, bundle__isnull=False),
            ),
        ]

    def __str__(self):
        return f"{self.kind} → {self.user}"
