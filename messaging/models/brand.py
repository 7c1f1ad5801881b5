"""The voice and look of every message."""

from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from messaging.headers import mailbox


class Brand(models.Model):
    """The voice and look of every message: one row."""

    name = models.TextField(_("name"))
    sender = models.TextField(_("from"), help_text=_("Acme <hello@acme.example>"))
    reply_to = models.TextField(_("reply to"), blank=True, default="")
    postal_address = models.TextField(_("postal address"), help_text=_("the law wants it in every marketing mail"))
    website = models.URLField(_("website"), blank=True, default="")
    logo_url = models.URLField(_("logo"), blank=True, default="")
    colours = models.JSONField(_("colours"), default=dict, blank=True)
    banned_words = models.JSONField(_("words we do not use"), default=list, blank=True)
    legal = models.JSONField(_("legal text by language"), default=dict, blank=True)

    class Meta:
        verbose_name = _("brand")
        verbose_name_plural = _("brand")
        constraints = [models.CheckConstraint(name="there_is_one_brand", condition=Q(pk=1))]

    def __str__(self):
        return self.name

    def clean(self):
        for field in ("sender", "reply_to"):
            if value := getattr(self, field):
                try:
                    mailbox(value)
                except ValueError as error:
                    raise ValidationError({field: str(error)}) from None
