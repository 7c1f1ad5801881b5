"""The stage each contact stands in: who enters and leaves it, how long it may take, and the ledger of moves."""

from datetime import timedelta

from django.contrib.postgres.indexes import BrinIndex
from django.db import models
from django.db.models import F, Q
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from contacts.models import Contact
from contacts.stages import STAGES

# Where a leaving rule may lead, the usual one first. Nobody becomes unknown again, so nobody leaves to “visitor”.
LEAVES_TO = {
    "lead": ["known"],
    "qualified": ["lead", "known"],
    "customer": ["churned", "lead"],
    "ambassador": ["customer", "churned"],
    "disqualified": ["known", "lead"],
    "churned": ["lead", "known"],
}
PHASES = [
    ("awareness", _("Awareness")),
    ("consideration", _("Consideration")),
    ("decision", _("Decision")),
    ("loyalty", _("Loyalty")),
    ("none", pgettext_lazy("phase", "None")),
]
# How the stages read as phases until somebody says otherwise.
USUAL_PHASES = {
    "visitor": "awareness",
    "known": "awareness",
    "lead": "consideration",
    "qualified": "decision",
    "customer": "loyalty",
    "ambassador": "loyalty",
    "disqualified": "none",
    "churned": "none",
}


def _way_is_open() -> Q:
    allowed = Q(leave_to="")
    for stage, ends in LEAVES_TO.items():
        allowed |= Q(stage=stage, leave_to__in=ends)
    return allowed


class StageRule(models.Model):
    """One stage: who enters it, who leaves it downwards, how long it may take, and the phase as which it is read.

    The highest stage whose rule holds wins; nobody falls because the rule ceased to hold.
    """

    stage = models.TextField(_("stage"), choices=STAGES, unique=True)
    rule = models.JSONField(_("who enters"), null=True, blank=True, help_text=_("empty: nobody by a rule"))
    leave_rule = models.JSONField(
        _("who leaves"), null=True, blank=True, help_text=_("for whom it holds falls back, with the next tick")
    )
    cold_after = models.DurationField(
        _("falls back when under the line for"),
        null=True,
        blank=True,
        help_text=_("qualified only: so long after the score fell under its line, such as 14d"),
    )
    leave_to = models.TextField(_("falls back to"), choices=STAGES, blank=True, default="", db_default="")
    sla = models.DurationField(
        _("stays at most"),
        null=True,
        blank=True,
        help_text=_("who stays longer is overdue, and told of once, such as 30d"),
    )
    phase = models.TextField(
        _("phase"), choices=PHASES, blank=True, default="", db_default="", help_text=_("empty: as usual")
    )
    phase_rule = models.JSONField(
        _("who is in that phase"),
        null=True,
        blank=True,
        help_text=_("empty: everybody in the stage; else the others are one phase earlier"),
    )
    # The rules of which everybody was last asked, and when: see scoring.stages.
    applied = models.TextField(default="", db_default="", editable=False)
    swept_at = models.DateTimeField(null=True, editable=False)

    class Meta:
        verbose_name = _("stage rule")
        verbose_name_plural = _("stage rules")
        constraints = [
            models.CheckConstraint(
                name="stage_left_by_a_rule_leads_somewhere",
                condition=Q(leave_to="", leave_rule__isnull=True, cold_after=None)
                | ~Q(leave_to="") & (Q(leave_rule__isnull=False) | Q(cold_after__isnull=False)),
            ),
            models.CheckConstraint(name="stage_is_left_by_an_open_way", condition=_way_is_open()),
            # Only there is a line to be under: a score that qualifies.
            models.CheckConstraint(
                name="stage_goes_cold_where_scores_lead", condition=Q(cold_after=None) | Q(stage="qualified")
            ),
            models.CheckConstraint(
                name="stage_spans_are_positive",
                condition=(Q(cold_after=None) | Q(cold_after__gt=timedelta(0)))
                & (Q(sla=None) | Q(sla__gt=timedelta(0))),
            ),
            # A visitor came with no change of stage that could be told of once.
            models.CheckConstraint(name="visitors_are_never_overdue", condition=Q(sla=None) | ~Q(stage="visitor")),
        ]

    def __str__(self):
        return self.get_stage_display()

    @property
    def phase_now(self) -> str:
        """The phase as which the stage is read."""
        return self.phase or USUAL_PHASES[self.stage]

    @property
    def phase_before(self) -> str:
        """The phase of those in the stage for whom `phase_rule` does not hold; "" where there is none before it."""
        order = [key for key, _label in PHASES if key != "none"]
        place = order.index(self.phase_now) if self.phase_now in order else 0
        return order[place - 1] if place else ""


class StageChange(models.Model):
    """The ledger of stages: each move, up or down, with its reason. A row is also the stay that begins with it."""

    contact = models.ForeignKey(Contact, models.CASCADE, related_name="stage_changes", verbose_name=_("contact"))
    from_stage = models.TextField(pgettext_lazy("stage", "from"), choices=STAGES)
    to_stage = models.TextField(pgettext_lazy("stage", "to"), choices=STAGES)
    reason = models.TextField(_("reason"))
    touchpoint_id = models.BigIntegerField(null=True)
    changed_at = models.DateTimeField(_("when"))
    # What somebody decided stands until something happens: rules leave it alone.
    is_by_hand = models.BooleanField(_("by hand"), default=False, db_default=False)
    # When it was told that the stay takes too long: once, for the row is there once.
    overdue_at = models.DateTimeField(_("told as overdue"), null=True)
    # Whose history it is, where they were merged into the contact since: read, but not counted in the contact's times.
    merged_from_id = models.BigIntegerField(null=True)

    class Meta:
        verbose_name = _("stage change")
        verbose_name_plural = _("stage changes")
        # Nobody writes here but the tick; who has this may ask it to.
        permissions = [("request_stage", _("Can set somebody's stage by hand"))]
        indexes = [
            models.Index(fields=["contact", "changed_at"], name="stagechange_contact"),
            # Rows come in the order of their moments, so this costs next to nothing.
            BrinIndex(fields=["changed_at"], name="stagechange_period"),
        ]
        constraints = [
            models.CheckConstraint(name="stage_change_changes", condition=~Q(from_stage=F("to_stage"))),
            models.CheckConstraint(
                name="stage_is_overdue_after_it_began",
                condition=Q(overdue_at=None) | Q(overdue_at__gte=F("changed_at")),
            ),
        ]
