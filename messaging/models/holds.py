"""Sales' word against marketing for one person."""

from datetime import timedelta

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.utils.translation import gettext_lazy as _

from contacts.models import Contact

# So long marketing can be held at a time.
LONGEST_HOLD = timedelta(days=30)


class HoldQuerySet(models.QuerySet):
    def holding(self, now):
        """Those that hold marketing back at this moment."""
        return self.filter(released_at=None, until__gt=now)


class Hold(models.Model):
    """Until when sales keeps marketing from a person, who said so and why. Of several the longest counts."""

    contact = models.ForeignKey(Contact, models.CASCADE, related_name="holds", verbose_name=_("contact"))
    reason = models.TextField(_("reason"), blank=True, default="")
    held_at = models.DateTimeField(_("since"))
    until = models.DateTimeField(_("until"))
    by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+", verbose_name=_("by")
    )
    released_at = models.DateTimeField(_("released"), null=True, blank=True)
    released_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+",
        verbose_name=_("released by"),
    )  # fmt: skip

    objects = HoldQuerySet.as_manager()

    class Meta:
        verbose_name = _("hold of marketing")
        verbose_name_plural = _("holds of marketing")
        ordering = ["-held_at", "-pk"]
        constraints = [
            models.CheckConstraint(
                name="marketing_is_held_for_30_days_at_most",
                condition=Q(until__gt=F("held_at"), until__lte=F("held_at") + LONGEST_HOLD),
            ),
        ]

    def __str__(self):
        return f"{self.contact}, {self.until:%Y-%m-%d}"
