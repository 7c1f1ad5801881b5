"""The doors through which clients come in."""

from django.conf import settings
from django.db import models
from django.utils.timezone import now as wall_clock
from django.utils.translation import gettext_lazy as _


class ApiToken(models.Model):
    """A client's key: `prefix` finds it, `digest` (SHA-256) proves it; the secret is shown once and never stored.

    With the scope `track` alone it is a write key, which may stand in a public web page.
    """

    SCOPES = ["track", "sync", "read", "admin"]
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.CASCADE, related_name="api_tokens", verbose_name=_("user")
    )
    name = models.TextField(_("name"), blank=True, default="")
    prefix = models.TextField(_("begins with"), unique=True, editable=False)
    digest = models.TextField(editable=False)
    scopes = models.JSONField(_("scopes"), default=list)
    origin = models.SlugField(
        _("partner system"),
        max_length=50,
        blank=True,
        default="",
        db_default="",
        help_text=_("such as hubspot: what this token writes is told as coming from there, and not told back to it"),
    )
    requests_per_minute = models.PositiveIntegerField(
        _("requests a minute"), null=True, blank=True, help_text=_("empty: as usual for its scope")
    )
    rows_per_minute = models.PositiveIntegerField(
        _("rows a minute"), null=True, blank=True, help_text=_("contacts or events written; empty: as usual")
    )
    created_at = models.DateTimeField(_("created"), default=wall_clock, editable=False)
    expires_at = models.DateTimeField(_("expires"), null=True, blank=True)
    used_at = models.DateTimeField(_("last used"), null=True, editable=False)
    revoked_at = models.DateTimeField(_("revoked"), null=True, editable=False)

    class Meta:
        verbose_name = _("API token")
        verbose_name_plural = _("API tokens")

    def __str__(self):
        return f"{self.name or self.user} ({self.prefix}…)"


class IdempotencyKey(models.Model):
    """The first answer to a POST with this key, kept a day and given again."""

    token = models.ForeignKey(ApiToken, models.CASCADE)
    key = models.TextField()
    request_digest = models.TextField()
    status = models.PositiveSmallIntegerField(null=True)
    body = models.BinaryField(null=True)
    created_at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(name="idempotency_key_once_per_token", fields=["token", "key"])]


class Allowance(models.Model):
    """A bucket that somebody draws from: of a token's requests, of the wrong passwords for one name.

    It fills up steadily; `full_at` says when it will be full again, and with that how much is in it. A row of the past
    says nothing. The table is unlogged: after a crash every bucket is full.
    """

    key = models.TextField(primary_key=True)
    full_at = models.DateTimeField()
