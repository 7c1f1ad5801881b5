"""What people allowed, and the ledger that proves it."""

from django.db import models
from django.utils.translation import gettext_lazy as _

from contacts.models.people import Contact


class Consent(models.Model):
    """What a person allows now, per topic and channel; an empty topic means all of that channel."""

    STATES = [("granted", _("granted")), ("denied", _("denied")), ("pending", _("awaits confirmation"))]
    contact = models.ForeignKey(Contact, models.CASCADE, related_name="consents", verbose_name=_("contact"))
    topic = models.TextField(_("topic"), blank=True, default="")
    channel = models.TextField(_("channel"), default="email")
    state = models.TextField(_("state"), choices=STATES)
    changed_at = models.DateTimeField(_("changed"))

    class Meta:
        verbose_name = _("consent")
        verbose_name_plural = _("consents")
        constraints = [
            models.UniqueConstraint(name="consent_once_per_topic", fields=["contact", "topic", "channel"]),
        ]

    def __str__(self):
        return f"{self.topic or '*'}/{self.channel}: {self.state}"


class ConsentChange(models.Model):
    """The ledger of consent: append-only, the proof of who allowed what, when, how and by which wording."""

    contact = models.ForeignKey(Contact, models.CASCADE, related_name="consent_changes", verbose_name=_("contact"))
    topic = models.TextField(_("topic"), blank=True, default="")
    channel = models.TextField(_("channel"), default="email")
    state = models.TextField(_("state"), choices=Consent.STATES)
    source = models.TextField(_("source"))
    # The SHA-256 of the words that the person saw; the words stand in `Wording`, once.
    wording = models.TextField(_("wording"), blank=True, default="", db_default="")
    actor = models.TextField(_("actor"), blank=True, default="", db_default="")
    ip_address = models.GenericIPAddressField(_("IP address"), null=True, blank=True)
    user_agent = models.TextField(_("browser"), blank=True, default="", db_default="")
    changed_at = models.DateTimeField(_("changed"))

    class Meta:
        verbose_name = _("consent change")
        verbose_name_plural = _("consent changes")
        indexes = [models.Index(fields=["contact", "changed_at"], name="consentchange_contact")]


class Wording(models.Model):
    """The words to which people said yes or no, kept as they were: without them the ledger proves nothing."""

    digest = models.TextField(primary_key=True)
    words = models.TextField(_("words"))
    kept_at = models.DateTimeField(_("first used"))

    class Meta:
        verbose_name = _("wording of a consent")
        verbose_name_plural = _("wordings of consents")

    def __str__(self):
        return self.words[:80]
