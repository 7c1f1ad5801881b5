"""Phases: awareness, consideration, decision and loyalty are a second reading of the stages, for reports and rules.

Each stage reads as one phase. Where a stage says more, by `phase_rule` (such as so many points of engagement), those
for whom it does not hold are one phase earlier. Nothing is kept of it: the phase follows stage and rule at once.
"""

from datetime import datetime

from django.db.models import Case, TextField, Value, When
from django.utils.translation import gettext_lazy as _

from contacts.rulefields import RuleField
from contacts.rules import RuleError, fields_in, parse, to_q
from scoring.models import StageRule
from scoring.models.stages import PHASES, USUAL_PHASES

NAMES = dict(PHASES)


def phases() -> dict[str, str]:
    """As which phase each stage reads, by the stage's key."""
    return USUAL_PHASES | dict(StageRule.objects.exclude(phase="").values_list("stage", "phase"))


def phase_at(now: datetime) -> Case:
    """The phase of a contact at a moment, as an expression over Contact."""
    whens, read_as = [], dict(USUAL_PHASES)
    for rule in StageRule.objects.all():
        if rule.phase:
            read_as[rule.stage] = rule.phase
        if rule.phase_rule is None:
            continue
        try:
            asked = parse(rule.phase_rule)
        except RuleError:
            # A rule that cannot be asked any more sorts nobody.
            continue
        if rule.phase_before and "phase" not in fields_in(asked):
            whens.append(When(to_q(asked, now), stage=rule.stage, then=Value(rule.phase_now)))
            whens.append(When(stage=rule.stage, then=Value(rule.phase_before)))
    whens += [When(stage=stage, then=Value(phase)) for stage, phase in read_as.items()]
    return Case(*whens, default=Value("none"), output_field=TextField())


FIELD = RuleField(
    "phase", "text", phase_at, _("Phase"), choices=tuple(NAMES), choice_names=NAMES, group=_("Stage and time"),
    has_time=True,
)  # fmt: skip
