"""What came back of messages that left, and the mails that told it."""

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from messaging.models.messages import Message
from messaging.models.policy import Suppression


class Feedback(models.Model):
    """What was told of one message after it had left.

    Each moment is the earliest that was told, so that neither order nor number of reports matters; the verdict is the
    gravest of all, and never falls back.
    """

    # From the lightest to the gravest.
    VERDICTS = [
        ("delivered", _("delivered")),
        ("unknown", _("came back, nobody says why")),
        ("soft", _("came back for now")),
        ("policy", _("refused by policy")),
        ("hard", _("no such address")),
        ("complaint", _("complaint")),
    ]
    message = models.OneToOneField(Message, models.CASCADE, primary_key=True, related_name="feedback")
    verdict = models.TextField(_("verdict"), choices=VERDICTS)
    delivered_at = models.DateTimeField(_("delivered"), null=True)
    # For now, or nobody says why: several of these within a month are one too many.
    soft_at = models.DateTimeField(null=True)
    policy_at = models.DateTimeField(null=True)
    bounced_at = models.DateTimeField(_("came back for good"), null=True)
    complained_at = models.DateTimeField(_("complained"), null=True)
    # Of the gravest bounce.
    code = models.TextField(_("code"), default="", db_default="")
    detail = models.TextField(_("the server said"), default="", db_default="")

    class Meta:
        verbose_name = _("feedback")
        verbose_name_plural = _("feedback")
        indexes = [
            models.Index(fields=["complained_at"], name="feedback_complaint", condition=Q(complained_at__isnull=False)),
        ]

    def __str__(self):
        return f"{self.get_verdict_display()} {self.code}".strip()


class ReturnedMail(models.Model):
    """A mail that came in where bounces do. It is read once; what could not be read or placed waits for a person.

    `waiting` is not read yet · `handled` had its effect · `ignored` needs none · `dead` could not be read or placed ·
    `dropped` was looked at by a person. The text is kept of the first and of the dead alone.
    """

    STATES = [
        ("waiting", _("waiting")),
        ("handled", _("handled")),
        ("ignored", _("without effect")),
        ("dead", _("needs a look")),
        ("dropped", _("dropped")),
    ]
    # SHA-256 of the whole mail: it is handled once, however often and wherever it comes in.
    digest = models.BinaryField(unique=True)
    source = models.TextField(_("came in by"))
    received_at = models.DateTimeField(_("came in"))
    # Its beginning.
    raw = models.BinaryField(default=b"")
    size = models.PositiveIntegerField(_("bytes"), default=0)
    state = models.TextField(_("state"), choices=STATES, default="waiting", db_default="waiting")
    # What it turned out to be: a class of `bounces.codes` or `bounces.reading`.
    kind = models.TextField(_("kind"), default="", db_default="")
    reason = models.TextField(_("reason"), default="", db_default="")
    attempts = models.PositiveSmallIntegerField(default=0, db_default=0)
    begun_at = models.DateTimeField(null=True)
    handled_at = models.DateTimeField(null=True)

    class Meta:
        verbose_name = _("returned mail")
        verbose_name_plural = _("dead letters")
        indexes = [
            models.Index(fields=["id"], name="returned_waiting", condition=Q(state="waiting")),
            models.Index(fields=["-id"], name="returned_dead", condition=Q(state="dead")),
        ]
        constraints = [
            models.CheckConstraint(name="a_dead_letter_has_a_reason", condition=~Q(state="dead") | ~Q(reason="")),
            models.CheckConstraint(
                name="mail_is_kept_no_longer_than_needed",
                condition=Q(state__in=["waiting", "dead"]) | Q(raw=b""),
            ),
        ]

    def __str__(self):
        return f"{self.get_state_display()} {self.pk}"


class MailboxNote(models.Model):
    """A mail in a mailbox that is none of ours to handle: it stays there, and is not fetched again."""

    # Mailbox and the mail's own id in it.
    place = models.TextField(unique=True)
    seen_at = models.DateTimeField()


class ReportCount(models.Model):
    """How many events providers told in a day, by what became of them; of those that are about no message of ours this
    is all that is kept."""

    source = models.TextField()
    outcome = models.TextField()
    day = models.DateField()
    count = models.PositiveIntegerField(default=0)

    class Meta:
        constraints = [models.UniqueConstraint(name="counted_by_day", fields=["source", "outcome", "day"])]


class Brake(models.Model):
    """Marketing held back for everybody, because too many complained or a person said so; open until it is released."""

    pulled_at = models.DateTimeField(_("held since"))
    # Null: it pulled itself.
    pulled_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+", verbose_name=_("held by")
    )
    reason = models.TextField(_("reason"), default="", db_default="")
    # Of the last so many deliveries so many complained; null where a person pulled it.
    complaints = models.PositiveIntegerField(_("complaints"), null=True)
    deliveries = models.PositiveIntegerField(_("deliveries"), null=True)
    told_at = models.DateTimeField(_("administrators told"), null=True)
    released_at = models.DateTimeField(_("released"), null=True)
    released_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+", verbose_name=_("released by")
    )
    note = models.TextField(_("why it was released"), default="", db_default="")

    class Meta:
        verbose_name = _("complaint brake")
        verbose_name_plural = _("complaint brake")
        constraints = [
            models.UniqueConstraint(models.Value(1), name="one_brake_at_a_time", condition=Q(released_at__isnull=True)),
        ]

    def __str__(self):
        return str(_("Marketing held back"))


class SuppressionChange(models.Model):
    """Who put an address on the list of suppressed ones, or took it off, by hand or by a file, and why."""

    ACTIONS = [("added", _("added")), ("removed", _("removed"))]
    address = models.TextField(_("address"), db_index=True)
    action = models.TextField(_("action"), choices=ACTIONS)
    # Of a removal: what it had been there for, and since when.
    reason = models.TextField(_("reason"))
    since = models.DateTimeField(null=True)
    why = models.TextField(_("why"), default="", db_default="")
    changed_at = models.DateTimeField(_("when"))
    changed_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+", verbose_name=_("who")
    )

    class Meta:
        verbose_name = _("change of the suppression list")
        verbose_name_plural = _("changes of the suppression list")

    @property
    def reason_words(self):
        return dict(Suppression.REASONS).get(self.reason, self.reason)
