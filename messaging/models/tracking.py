"""Links that count, what came of them, and the keys that sign them."""

from django.contrib.postgres.indexes import BrinIndex
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _


class Link(models.Model):
    """A URL that stood in a message; clicks lead to what is stored here and nowhere else."""

    digest = models.BinaryField(unique=True, help_text="SHA-256 of the URL")
    url = models.TextField()
    created_at = models.DateTimeField()


class Hit(models.Model):
    """A click, or (without a link) an open: what was seen, kept as raw as we may, and the verdict by the rules of a
    version (see `machines`). The tick judges it a few seconds later and tells the inbox.

    The wait is what makes the verdict sound: whether one click is part of a scanner's burst shows only afterwards.
    No foreign keys: a link works when its message is long gone.
    """

    # The link that no person can see: it stands in each marketing mail, and who follows it is a program.
    HIDDEN_LINK = 0

    message_id = models.BigIntegerField()
    link_id = models.BigIntegerField(null=True)
    hit_at = models.DateTimeField(_("when"))
    # Raw: by what it was judged and can be judged again. Forgotten after a while; the method is empty then.
    method = models.TextField(_("method"), default="GET", db_default="GET")
    user_agent = models.TextField(_("user agent"), default="", db_default="")
    # Never the whole address: its network (/24, /48), which is enough to know a scanner's.
    network = models.TextField(_("network"), default="", db_default="")
    # The verdict, empty for a person, and by which rules.
    is_told = models.BooleanField(default=False, db_default=False)
    machine_reason = models.TextField(_("reason"), default="", db_default="")
    rule_version = models.PositiveSmallIntegerField(_("rules"), default=0, db_default=0)
    # Of its message, when it was told: what reports ask for.
    template_id = models.BigIntegerField(null=True)
    journey_key = models.TextField(_("journey"), default="", db_default="")
    language = models.TextField(_("language"), default="", db_default="")

    class Meta:
        verbose_name = _("click or open")
        verbose_name_plural = _("clicks and opens")
        indexes = [
            models.Index(fields=["message_id", "hit_at"], name="hit_message"),
            models.Index(fields=["hit_at"], name="hit_untold", condition=Q(is_told=False)),
            models.Index(fields=["template_id", "hit_at"], name="hit_template", condition=Q(is_told=True)),
            models.Index(
                fields=["journey_key", "hit_at"], name="hit_journey", condition=Q(is_told=True) & ~Q(journey_key="")
            ),
            BrinIndex(fields=["hit_at"], name="hit_time", autosummarize=True),
        ]

    def __str__(self):
        return f"#{self.pk}"


class SigningKey(models.Model):
    """Signs tokens in mails. Never deleted: a link must work years later, whatever became of SECRET_KEY."""

    secret = models.BinaryField()
    created_at = models.DateTimeField(default=timezone.now)
