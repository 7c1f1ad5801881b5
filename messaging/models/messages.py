"""What we intend to say to whom, and what became of it."""

from django.db import models
from django.db.models import Q, Value
from django.utils.translation import gettext_lazy as _

from contacts.models import Contact
from messaging.models.templates import Template, TemplateVersion


class MessageQuerySet(models.QuerySet):
    def uncertain(self):
        return self.filter(state="uncertain")

    def sent(self):
        return self.filter(state="sent")


class Message(models.Model):
    """One intent to tell one person one thing; the outbox.

    `pending` waits for the gates · `ready` passed them and waits for a delivery worker · `sending` is claimed ·
    `sent` left · `uncertain` may have left (a worker died in between) · `skipped` was held back, `failed` could not
    leave, `cancelled` was withdrawn: each of these three for one `reason`.
    """

    STATES = [
        ("pending", _("pending")),
        ("ready", _("ready")),
        ("sending", _("sending")),
        ("sent", _("sent")),
        ("uncertain", _("uncertain")),
        ("skipped", _("held back")),
        ("failed", _("failed")),
        ("cancelled", _("withdrawn")),
    ]
    OPEN = ["pending", "ready", "sending"]

    # The reason for the message is its unique key: "enrolment:12:hello:1", "broadcast:sale:77".
    key = models.TextField()
    # Every index costs each message three times; the two-column ones below serve the first two as well.
    contact = models.ForeignKey(
        Contact, models.CASCADE, related_name="messages", db_index=False, verbose_name=_("contact")
    )
    template = models.ForeignKey(
        Template, models.PROTECT, related_name="messages", db_index=False, verbose_name=_("template")
    )
    version = models.ForeignKey(TemplateVersion, models.PROTECT, null=True, related_name="messages", db_index=False)
    channel = models.TextField(_("channel"), default="email", db_default="email")
    message_class = models.TextField(_("class"), choices=Template.CLASSES)
    # What asked for it: "journey:trial-onboarding"; enrolment and node are plain ids, for campaigns stands above.
    source = models.TextField(_("source"), default="", db_default="")
    journey_key = models.TextField(_("journey"), default="", db_default="")
    enrolment_id = models.BigIntegerField(null=True)
    node_key = models.TextField(default="", db_default="")
    is_ghost = models.BooleanField(default=False, db_default=False)
    # Of a cross-sell campaign or a broadcast: it waits while its person is new to something (see `Protection`).
    is_promotion = models.BooleanField(default=False, db_default=False)
    # A paused journey holds its messages back: neither gates nor workers touch them (see `outbox.hold`).
    is_held = models.BooleanField(_("held by a pause"), default=False, db_default=False)
    # 1 hand-off or renewal … 5 newsletter: who goes first where a cap leaves room for one.
    tier = models.PositiveSmallIntegerField(default=3, db_default=3)
    state = models.TextField(_("state"), choices=STATES, default="pending", db_default="pending")
    reason = models.TextField(_("reason"), default="", db_default="")
    created_at = models.DateTimeField(_("created"))
    due_at = models.DateTimeField(_("due"))
    # When it was due at first; null while it was never put off. Who waits is counted from here.
    wanted_at = models.DateTimeField(_("due at first"), null=True)
    valid_until = models.DateTimeField(_("valid until"), null=True)
    # The worker's claim: who, until when. A worker whose lease ran out must not send.
    claimed_by = models.TextField(default="", db_default="")
    claimed_at = models.DateTimeField(null=True)
    lease_until = models.DateTimeField(null=True)
    attempts = models.PositiveSmallIntegerField(_("attempts"), default=0, db_default=0)
    address = models.TextField(_("address"), default="", db_default="")
    zone = models.TextField(_("time zone used"), default="", db_default="")
    # Why that zone: "explicit" (told), "inferred" (from the country), "segment" or "workspace".
    zone_from = models.TextField(default="", db_default="")
    # What put a pending message off when the gates last asked: a key of `reasons.WAITS`.
    waits_for = models.TextField(default="", db_default="")
    language = models.TextField(_("language"), default="", db_default="")
    # Plain values the text was filled with: with `version` they show the mail again as it left.
    context = models.JSONField(default=dict, db_default=Value({}, models.JSONField()))
    sent_at = models.DateTimeField(_("sent"), null=True)
    finished_at = models.DateTimeField(null=True)
    response = models.TextField(_("server said"), default="", db_default="")

    objects = MessageQuerySet.as_manager()

    class Meta:
        verbose_name = _("message")
        verbose_name_plural = _("messages")
        indexes = [
            models.Index(fields=["due_at"], name="message_pending", condition=Q(state="pending")),
            # In the order in which workers claim.
            models.Index(
                fields=["channel", "-message_class", "due_at", "id"], name="message_next", condition=Q(state="ready")
            ),
            models.Index(fields=["lease_until"], name="message_sending", condition=Q(state="sending")),
            models.Index(fields=["contact", "sent_at"], name="message_contact"),
            models.Index(fields=["enrolment_id"], name="message_enrolment", condition=Q(enrolment_id__isnull=False)),
            models.Index(fields=["template", "contact"], name="message_template"),
            # The ledger of reasons is asked by day.
            models.Index(fields=["created_at"], name="message_created"),
        ]
        constraints = [
            models.UniqueConstraint(name="one_message_for_one_reason", fields=["key"]),
            models.CheckConstraint(
                name="a_message_that_ended_unsent_has_a_reason",
                condition=~Q(state__in=["skipped", "failed", "cancelled"]) | ~Q(reason=""),
            ),
            models.CheckConstraint(
                name="a_sent_message_has_its_moment", condition=~Q(state="sent") | Q(sent_at__isnull=False)
            ),
            models.CheckConstraint(
                name="a_claim_has_a_lease", condition=~Q(state="sending") | Q(lease_until__isnull=False)
            ),
        ]

    def __str__(self):
        return self.key
