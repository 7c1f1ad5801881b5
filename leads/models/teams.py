"""Who works on leads: teams of sales reps, and when a team is at work."""

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.utils.translation import gettext_lazy as _


class Team(models.Model):
    """Some sales reps, and the leads that go to them."""

    key = models.SlugField(_("key"), max_length=64, unique=True)
    name = models.TextField(_("name"), blank=True, default="")
    rule = models.JSONField(_("which leads"), null=True, blank=True, help_text=_("empty: all that no other team takes"))
    position = models.PositiveSmallIntegerField(
        _("position"), default=0, db_default=0, help_text=_("Of teams whose rules hold, the first takes the lead.")
    )
    reps = models.ManyToManyField(
        settings.AUTH_USER_MODEL, through="leads.Rep", blank=True, related_name="teams", verbose_name=_("sales reps")
    )
    hours = models.TextField(
        _("working hours"), blank=True, default="",
        help_text=_(
            "For example “mon-thu 09:00-12:00,13:00-17:00; fri 09:00-15:00 Europe/Prague”. Empty: always at work."
        ),
    )  # fmt: skip
    holidays = ArrayField(
        models.TextField(), verbose_name=_("holidays of"), blank=True, default=list, db_default=[],
        help_text=_("Countries on whose public holidays nobody here works, such as “CZ, SK”."),
    )  # fmt: skip
    sla = models.DurationField(
        _("answer within"), null=True, blank=True, help_text=_("Of working time; hours:minutes:seconds.")
    )

    class Meta:
        verbose_name = _("team")
        verbose_name_plural = _("teams")
        ordering = ["position", "key"]

    def __str__(self):
        return self.name or self.key
