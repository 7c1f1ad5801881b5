"""Whom we tell what happens: endpoints of other systems, and what was told or waits to be told to each."""

from datetime import datetime

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.utils.timezone import now as wall_clock
from django.utils.translation import gettext_lazy as _

from contacts.models.people import Contact


class Webhook(models.Model):
    """An address of another system that is told of touchpoints, signed as Standard Webhooks says.

    The secrets are kept as they are, for every call is signed with them; they are shown once, when they are made.
    """

    # Why it gets nothing any more: whose decision that was.
    REASONS = [
        ("by_hand", _("switched off")),
        ("gone", _("it answered 410 Gone")),
        ("failing", _("it failed for days")),
    ]
    name = models.TextField(_("name"))
    url = models.TextField(_("address"), help_text=_("begins with https://"))
    kinds = ArrayField(
        models.TextField(),
        verbose_name=_("kinds"),
        default=list,
        blank=True,
        help_text=_("such as order.placed, lead.*, separated by commas; empty: everything"),
    )
    origin = models.SlugField(
        _("system"),
        max_length=64,
        blank=True,
        default="",
        help_text=_("the same as on this system's API token: it is not told what it told us itself"),
    )
    secret = models.TextField(editable=False)
    # After a change of secret both sign, until this moment.
    previous_secret = models.TextField(default="", db_default="", editable=False)
    previous_until = models.DateTimeField(null=True, editable=False)
    is_active = models.BooleanField(_("is told"), default=True, db_default=True)
    disabled_at = models.DateTimeField(_("switched off since"), null=True, editable=False)
    disabled_reason = models.TextField(default="", db_default="", choices=REASONS, editable=False, blank=True)
    # The breaker: failures in a row since when, and, while it is open, when the next trial is.
    failures = models.PositiveIntegerField(_("failures in a row"), default=0, db_default=0, editable=False)
    failing_since = models.DateTimeField(_("failing since"), null=True, editable=False)
    retry_at = models.DateTimeField(_("next trial"), null=True, editable=False)
    succeeded_at = models.DateTimeField(_("last success"), null=True, editable=False)
    last_error = models.TextField(_("last error"), default="", db_default="", editable=False)
    made_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, editable=False)
    created_at = models.DateTimeField(_("created"), default=wall_clock, editable=False)

    class Meta:
        verbose_name = _("webhook")
        verbose_name_plural = _("webhooks")
        ordering = ["name", "pk"]
        constraints = [
            models.CheckConstraint(
                name="webhook_off_says_since_when_and_why",
                condition=Q(is_active=True, disabled_at=None, disabled_reason="")
                | (Q(is_active=False, disabled_at__isnull=False) & ~Q(disabled_reason="")),
            ),
            models.CheckConstraint(
                name="webhook_previous_secret_ends",
                condition=Q(previous_secret="", previous_until=None)
                | (~Q(previous_secret="") & Q(previous_until__isnull=False)),
            ),
            models.CheckConstraint(
                name="webhook_fails_since_its_first_failure",
                condition=Q(failures=0, failing_since=None, retry_at=None)
                | Q(failures__gt=0, failing_since__isnull=False),
            ),
        ]

    def __str__(self):
        return self.name

    @property
    def status(self) -> str:
        """How it fares: `off`, `open` (its breaker: calls wait for the next trial), `failing` or `working`."""
        if not self.is_active:
            return "off"
        return "open" if self.retry_at else "failing" if self.failures else "working"

    def living_secrets(self, now: datetime) -> list[str]:
        """Every secret that signs at this moment, the newest first."""
        is_previous_alive = self.previous_until is not None and now < self.previous_until
        return [self.secret, self.previous_secret] if is_previous_alive else [self.secret]

    def note_success(self, now: datetime) -> None:
        self.failures, self.failing_since, self.retry_at, self.succeeded_at = 0, None, None, now
        self.save(update_fields=["failures", "failing_since", "retry_at", "succeeded_at"])

    def note_failure(self, error: str, retry_at: datetime | None, now: datetime) -> None:
        """One more failure in a row; with `retry_at` its breaker is open until then."""
        self.failures, self.retry_at, self.last_error = self.failures + 1, retry_at, error
        self.failing_since = self.failing_since or now
        self.save(update_fields=["failures", "failing_since", "retry_at", "last_error"])

    def switch_off(self, reason: str, now: datetime) -> None:
        """From now on nothing is put into its outbox, and what waits there stays."""
        self.is_active, self.disabled_at, self.disabled_reason = False, now, reason
        self.save(update_fields=["is_active", "disabled_at", "disabled_reason"])

    def switch_on(self) -> None:
        """What still waits goes out, and the past is forgiven."""
        self.is_active, self.disabled_at, self.disabled_reason = True, None, ""
        self.failures, self.failing_since, self.retry_at = 0, None, None
        self.save(
            update_fields=["is_active", "disabled_at", "disabled_reason", "failures", "failing_since", "retry_at"]
        )


class WebhookDelivery(models.Model):
    """The outbox: one event for one endpoint. Its payload is fixed when it is made, its id stays over all attempts."""

    STATES = [
        ("waiting", _("waiting")),
        ("sending", _("being sent")),
        ("delivered", _("delivered")),
        ("refused", _("refused")),
        ("failed", _("given up")),
    ]
    webhook = models.ForeignKey(
        Webhook, models.CASCADE, related_name="deliveries", verbose_name=_("webhook"), db_index=False
    )
    # Null: a test event. No foreign key leads to the stream, which may be partitioned.
    touchpoint_id = models.BigIntegerField(null=True)
    # Whom it tells of: erased with the person.
    contact = models.ForeignKey(
        Contact, models.CASCADE, null=True, related_name="webhook_deliveries", verbose_name=_("contact")
    )
    kind = models.TextField(_("kind"))
    payload = models.JSONField(_("payload"))
    state = models.TextField(_("state"), choices=STATES, default="waiting", db_default="waiting")
    created_at = models.DateTimeField(_("created"))
    due_at = models.DateTimeField(_("due"))
    attempts = models.PositiveIntegerField(_("attempts"), default=0, db_default=0)
    claimed_by = models.TextField(default="", db_default="")
    lease_until = models.DateTimeField(null=True)
    tried_at = models.DateTimeField(_("last tried"), null=True)
    finished_at = models.DateTimeField(_("ended"), null=True)
    status_code = models.PositiveSmallIntegerField(_("answer"), null=True)
    error = models.TextField(_("error"), default="", db_default="")

    class Meta:
        verbose_name = _("webhook delivery")
        verbose_name_plural = _("webhook deliveries")
        constraints = [
            # A step that is put back to 0 tells nothing twice.
            models.UniqueConstraint(name="webhook_delivery_once", fields=["webhook", "touchpoint_id"]),
            models.CheckConstraint(
                name="webhook_delivery_sending_is_claimed",
                condition=Q(state="sending", lease_until__isnull=False)
                | (~Q(state="sending") & Q(lease_until=None, claimed_by="")),
            ),
            models.CheckConstraint(
                name="webhook_delivery_ended_says_when",
                condition=Q(state__in=["waiting", "sending"], finished_at=None)
                | Q(state__in=["delivered", "refused", "failed"], finished_at__isnull=False),
            ),
        ]
        indexes = [
            models.Index(fields=["webhook", "due_at", "id"], name="webhook_waiting", condition=Q(state="waiting")),
            models.Index(fields=["lease_until"], name="webhook_sending", condition=Q(state="sending")),
            models.Index(fields=["webhook", "-id"], name="webhook_recent"),
            models.Index(fields=["created_at"], name="webhook_delivery_age"),
        ]

    def __str__(self):
        return self.event_id

    @property
    def event_id(self) -> str:
        """The `webhook-id`: the same over all attempts, and never that of another event of this endpoint."""
        return event_id(self.webhook_id, self.touchpoint_id, self.pk)


def event_id(webhook: int, touchpoint: int | None, delivery: int) -> str:
    """The `webhook-id` of a delivery; it holds no full stop, which parts what is signed."""
    return f"evt_{webhook}_{touchpoint}" if touchpoint else f"test_{delivery}"
