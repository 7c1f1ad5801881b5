"""Links that count, what came of them, and the keys that sign them."""

from django.db import models
from django.db.models import Q
from django.utils import timezone


class Link(models.Model):
    """A URL that stood in a message; clicks lead to what is stored here and nowhere else."""

    digest = models.BinaryField(unique=True, help_text="SHA-256 of the URL")
    url = models.TextField()
    created_at = models.DateTimeField()


class Hit(models.Model):
    """A click, or (without a link) an open, as it came in. The tick judges it a few seconds later and tells the inbox.

    The wait is what makes the verdict sound: whether one click is part of a scanner's burst shows only afterwards.
    No foreign keys: a link works when its message is long gone.
    """

    message_id = models.BigIntegerField()
    link_id = models.BigIntegerField(null=True)
    hit_at = models.DateTimeField()
    user_agent = models.TextField(default="", db_default="")
    # What shows at once: a HEAD request, a known robot.
    machine_reason = models.TextField(default="", db_default="")
    is_told = models.BooleanField(default=False, db_default=False)

    class Meta:
        indexes = [
            models.Index(fields=["message_id", "hit_at"], name="hit_message"),
            models.Index(fields=["hit_at"], name="hit_untold", condition=Q(is_told=False)),
        ]


class SigningKey(models.Model):
    """Signs tokens in mails. Never deleted: a link must work years later, whatever became of SECRET_KEY."""

    secret = models.BinaryField()
    created_at = models.DateTimeField(default=timezone.now)
