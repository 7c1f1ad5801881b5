"""Who works on leads: teams of sales reps."""

from django.conf import settings
from django.db import models
from django.utils.translation import gettext_lazy as _


class Team(models.Model):
    """Some sales reps, and the leads that go to them."""

    key = models.SlugField(_("key"), max_length=64, unique=True)
    name = models.TextField(_("name"), blank=True, default="")
    rule = models.JSONField(_("which leads"), null=True, blank=True, help_text=_("empty: all that no other team takes"))
    reps = models.ManyToManyField(
        settings.AUTH_USER_MODEL, blank=True, related_name="teams", verbose_name=_("sales reps")
    )
    hours = models.TextField(_("working hours"), blank=True, default="", help_text="mon-fri 09:00-17:00 Europe/Prague")
    sla = models.DurationField(_("answer within"), null=True, blank=True)

    class Meta:
        verbose_name = _("team")
        verbose_name_plural = _("teams")
        ordering = ["key"]

    def __str__(self):
        return self.name or self.key
