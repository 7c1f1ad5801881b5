"""Groups of people."""

from datetime import UTC, datetime

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils.timezone import now as wall_clock
from django.utils.translation import gettext_lazy as _

from contacts.models.people import Contact

# The sweep of a segment that nobody asked yet: due at any moment, also on a virtual clock.
AT_ONCE = datetime(1970, 1, 1, tzinfo=UTC)


class Segment(models.Model):
    """A named group: everybody whom the rule matches (dynamic), and whom people put in or took out by hand."""

    key = models.SlugField(_("key"), max_length=64, unique=True)
    name = models.TextField(_("name"))
    rule = models.JSONField(_("rule"), null=True, blank=True, help_text=_("empty: only people added by hand"))
    # A changed rule is asked of everybody again at this moment, and so is one of which nobody can say when the clock
    # turns an answer (see Turn); null: never by itself.
    sweep_at = models.DateTimeField(null=True, default=AT_ONCE, editable=False)
    created_at = models.DateTimeField(_("created"), default=wall_clock, editable=False)

    class Meta:
        verbose_name = _("segment")
        verbose_name_plural = _("segments")
        ordering = ["name"]

    def __str__(self):
        return self.name


class Membership(models.Model):
    """A contact is in a segment."""

    segment = models.ForeignKey(Segment, models.CASCADE, related_name="memberships", verbose_name=_("segment"))
    contact = models.ForeignKey(Contact, models.CASCADE, related_name="memberships", verbose_name=_("contact"))
    entered_at = models.DateTimeField(_("entered"))

    class Meta:
        verbose_name = _("member")
        verbose_name_plural = _("members")
        constraints = [models.UniqueConstraint(name="membership_once", fields=["segment", "contact"])]


class MembershipOverride(models.Model):
    """Somebody put a contact into a segment, or keeps one out, whatever the rule says."""

    segment = models.ForeignKey(Segment, models.CASCADE, related_name="overrides", verbose_name=_("segment"))
    contact = models.ForeignKey(Contact, models.CASCADE, related_name="segment_overrides", verbose_name=_("contact"))
    is_member = models.BooleanField(_("is a member"))
    expires_at = models.DateTimeField(_("until"), null=True, blank=True)
    made_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, editable=False)
    made_at = models.DateTimeField(default=wall_clock, editable=False)

    class Meta:
        verbose_name = _("manual member")
        verbose_name_plural = _("manual members")
        constraints = [models.UniqueConstraint(name="override_once", fields=["segment", "contact"])]
        indexes = [models.Index(fields=["expires_at"], name="override_expires", condition=Q(expires_at__isnull=False))]


class Turn(models.Model):
    """When the clock alone may turn a contact's answer to a segment: the tick asks exactly those whose turn has come.

    Too early is harmless, too late is wrong. Derived, and made by the million at once, so nothing checks its keys: a
    row whose contact or segment is gone goes when its moment comes.
    """

    segment = models.ForeignKey(Segment, models.CASCADE, related_name="turns", db_constraint=False, db_index=False)
    contact = models.ForeignKey(Contact, models.CASCADE, related_name="turns", db_constraint=False, db_index=False)
    turns_at = models.DateTimeField()

    class Meta:
        verbose_name = _("turn")
        verbose_name_plural = _("turns")
        constraints = [models.UniqueConstraint(name="turn_once", fields=["contact", "segment"])]
        indexes = [models.Index(fields=["turns_at"], name="turn_due")]
