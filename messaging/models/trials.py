"""Test sends."""

from django.conf import settings
from django.db import models
from django.db.models import Q, Value
from django.utils.translation import gettext_lazy as _

from messaging.models.templates import Template


class TrialMail(models.Model):
    """One test send of a template to one address: an outbox of its own, so that nothing can count what is in it.

    It is written when it is asked for, of what stood in the form then, saved or not.
    """

    STATES = [
        ("queued", _("on its way")),
        ("sending", _("being handed over")),
        ("sent", _("sent")),
        ("failed", _("failed")),
        ("uncertain", _("perhaps sent")),
    ]

    # None: the template was never saved.
    template = models.ForeignKey(Template, models.CASCADE, null=True, related_name="trials", db_index=False)
    # Whose values it shows, to be forgotten with them; a number, for it lives only until the mail left.
    shown_as = models.BigIntegerField(null=True)
    address = models.TextField(_("address"))
    sender = models.TextField()
    # The bytes that leave (RFC 5322); empty once that is over.
    raw = models.BinaryField()
    asked_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="+", db_index=False)
    asked_at = models.DateTimeField()
    state = models.TextField(_("state"), choices=STATES, default="queued", db_default="queued")
    lease_until = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    response = models.TextField(_("server said"), default="", db_default=Value(""))

    class Meta:
        verbose_name = _("test send")
        verbose_name_plural = _("test sends")
        indexes = [
            models.Index(fields=["asked_by", "-id"], name="trial_asked_by"),
            models.Index(fields=["id"], name="trial_open", condition=Q(state__in=["queued", "sending"])),
        ]
        constraints = [
            models.CheckConstraint(
                name="a_claimed_trial_has_a_lease", condition=~Q(state="sending") | Q(lease_until__isnull=False)
            )
        ]

    def __str__(self):
        return self.address
