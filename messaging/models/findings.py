"""What the linter found in live messages, and which links it knows to be dead."""

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
