"""What the linter found in live messages, and which links it knows to be dead."""

from datetime import datetime
from typing import Any

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from messaging.models.templates import Template


class FindingQuerySet(models.QuerySet):
    def open(self) -> "FindingQuerySet":
        """Those that are there still and that nobody muted."""
        return self.filter(resolved_at=None, muted_at=None)


class LintFinding(models.Model):
    """One thing that is wrong with a live message, from when it was first seen until it was gone.

    A person may mute it with a reason; a muted finding counts nowhere, and blocks nothing less for that.
    """

    SEVERITIES = [("error", _("error")), ("warning", _("warning"))]
    template = models.ForeignKey(
        Template, models.CASCADE, related_name="findings", verbose_name=_("template"), db_index=False
    )
    language = models.TextField(_("language"))
    rule = models.TextField(_("rule"))
    severity = models.TextField(_("severity"), choices=SEVERITIES)
    field = models.TextField(_("field"))
    # Tells findings of one rule, field and language from each other.
    excerpt = models.CharField(_("excerpt"), max_length=200, blank=True, default="")
    # A sentence of the linter's registry, and its values: so each reader reads it in their own language.
    said = models.TextField()
    values = models.JSONField(default=dict)
    since = models.DateTimeField(_("since"))
    seen_at = models.DateTimeField(_("last seen"))
    resolved_at = models.DateTimeField(_("gone since"), null=True)
    muted_at = models.DateTimeField(_("muted"), null=True)
    muted_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+", verbose_name=_("muted by")
    )
    mute_reason = models.TextField(_("why"), blank=True, default="")

    objects = FindingQuerySet.as_manager()

    class Meta:
        verbose_name = _("finding")
        verbose_name_plural = _("findings")
        ordering = ["severity", "rule", "pk"]
        constraints = [
            models.UniqueConstraint(
                name="a_finding_is_kept_once", fields=["template", "language", "rule", "field", "said", "excerpt"]
            ),
            models.CheckConstraint(
                name="a_finding_is_error_or_warning", condition=Q(severity__in=["error", "warning"])
            ),
            models.CheckConstraint(
                name="who_mutes_says_why", condition=Q(muted_at=None) | ~Q(mute_reason="")
            ),
        ]  # fmt: skip
        indexes = [models.Index(fields=["severity"], name="finding_open", condition=Q(resolved_at=None, muted_at=None))]

    def __str__(self):
        return f"{self.template}: {self.rule}"

    def mute(self, *, by: Any, reason: str, now: datetime) -> None:
        """Counts no more, for a reason."""
        self.muted_at, self.muted_by, self.mute_reason = now, by, reason
        self.save(update_fields=["muted_at", "muted_by", "mute_reason"])

    def unmute(self) -> None:
        """Counts again."""
        self.muted_at, self.muted_by, self.mute_reason = None, None, ""
        self.save(update_fields=["muted_at", "muted_by", "mute_reason"])


class Reading(models.Model):
    """What the linter's last round read in a live message: what the page of consistency is made of."""

    template = models.OneToOneField(Template, models.CASCADE, primary_key=True, verbose_name=_("template"))
    read_at = models.DateTimeField()
    # The names of all that send it.
    users = models.JSONField(default=list)
    # What it names that is not the brand's, with how often: {"#b00020": 2}, {"Papyrus": 1}
    colours = models.JSONField(default=dict)
    fonts = models.JSONField(default=dict)
    # Figures of the tone in each language it speaks (see `messaging.drift`).
    tone = models.JSONField(default=dict)

    def __str__(self):
        return str(self.template)


class LinkCheck(models.Model):
    """Whether an address that stands in live messages works, as far as we asked."""

    url = models.TextField()
    digest = models.BinaryField(unique=True, help_text="SHA-256 of url")
    checked_at = models.DateTimeField()
    # The answer's status; null where there was no answer.
    status = models.PositiveSmallIntegerField(null=True)
    # Why it does not work: a word of `messaging.deadlinks`; empty: it works, or nobody can say that it does not.
    problem = models.TextField(blank=True, default="")
    # Since when it has been so; a server that is out for one night is not dead.
    failing_since = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                name="a_failing_link_has_a_problem",
                condition=Q(problem="", failing_since=None) | (~Q(problem="") & Q(failing_since__isnull=False)),
            ),
        ]

    def __str__(self):
        return self.url
