"""The stage each contact stands in: who enters it, and the ledger of moves."""

from django.db import models
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from contacts.models import Contact
from contacts.stages import STAGES


class StageRule(models.Model):
    """Who enters a stage. The highest stage whose rule holds wins; nobody falls by these rules alone."""

    stage = models.TextField(_("stage"), choices=STAGES, unique=True)
    rule = models.JSONField(_("rule"))
    # The rule of which everybody was last asked, and when: see scoring.stages.
    applied = models.TextField(default="", db_default="", editable=False)
    swept_at = models.DateTimeField(null=True, editable=False)

    class Meta:
        verbose_name = _("stage rule")
        verbose_name_plural = _("stage rules")

    def __str__(self):
        return self.get_stage_display()


class StageChange(models.Model):
    """The ledger of stages: each move, up or down, with its reason."""

    contact = models.ForeignKey(Contact, models.CASCADE, related_name="stage_changes", verbose_name=_("contact"))
    from_stage = models.TextField(pgettext_lazy("stage", "from"), choices=STAGES)
    to_stage = models.TextField(pgettext_lazy("stage", "to"), choices=STAGES)
    reason = models.TextField(_("reason"))
    touchpoint_id = models.BigIntegerField(null=True)
    changed_at = models.DateTimeField(_("when"))

    class Meta:
        verbose_name = _("stage change")
        verbose_name_plural = _("stage changes")
        indexes = [models.Index(fields=["contact", "changed_at"], name="stagechange_contact")]
        constraints = [
            models.CheckConstraint(name="stage_change_changes", condition=~models.Q(from_stage=models.F("to_stage"))),
        ]
