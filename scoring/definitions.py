"""Scores and stage rules as code."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from django.utils.translation import gettext as _

from contacts.definitions import DefinitionError, Section, check_keys, checked_rule, one_of, text, without_defaults
from contacts.durations import format_duration, parse_duration
from contacts.rules import RuleError
from contacts.stages import STAGES
from scoring.models import ScoreModel, ScoreRule, StageRule
from scoring.models.stages import PHASES
from scoring.points import check_when
from scoring.stages import problems_of


def _read_scores() -> dict[str, dict[str, Any]]:
    return {
        model.key: without_defaults(
            {
                "key": model.key,
                "name": model.name,
                "kind": model.kind,
                "qualify_at": model.qualify_at,
                "hysteresis": model.hysteresis,
                "rules": [
                    without_defaults(
                        {
                            "key": rule.key,
                            "name": rule.name,
                            "when": rule.when,
                            "points": rule.points,
                            "half_life": rule.half_life and format_duration(rule.half_life),
                            "cap_per_day": rule.cap_per_day,
                        },
                        name="",
                        half_life=None,
                        cap_per_day=None,
                    )
                    for rule in model.rules.filter(is_active=True).order_by("key")
                ],
            },
            name="",
            qualify_at=None,
            hysteresis=5.0,
        )
        for model in ScoreModel.objects.order_by("key").prefetch_related("rules")
    }


def _number(data: dict[str, Any], key: str, path: str = "") -> float | None:
    value = data.get(key)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise DefinitionError(f"{path}{key}", f"must be a number, not {value!r}.")
    return None if value is None else float(value)


def _checked_when(kind: str, when: Any, path: str) -> Any:
    try:
        check_when(kind, when)
    except RuleError as error:
        raise DefinitionError(f"{path}.{error.path}" if error.path else path, error.message) from None
    return checked_rule(when, path)


def _prepare_scores(items: list[dict[str, Any]]) -> None:
    for data in items:
        kind = one_of(data, "kind", ["engagement", "fit"], "engagement")
        ScoreModel.objects.get_or_create(key=data["key"], defaults={"kind": kind})


def _write_score(data: dict[str, Any]) -> None:
    check_keys(data, required=["key", "rules"], optional=["name", "kind", "qualify_at", "hysteresis"])
    model, _ = ScoreModel.objects.update_or_create(
        key=data["key"],
        defaults={
            "name": text(data, "name"),
            "kind": one_of(data, "kind", ["engagement", "fit"], "engagement"),
            "qualify_at": _number(data, "qualify_at"),
            "hysteresis": 5.0 if data.get("hysteresis") is None else _number(data, "hysteresis") or 0.0,
        },
    )
    keys = []
    for index, rule in enumerate(data["rules"]):
        path = f"rules[{index}]"
        check_keys(rule, required=["key", "when", "points"], optional=["name", "half_life", "cap_per_day"], path=path)
        try:
            half_life = parse_duration(rule["half_life"]) if rule.get("half_life") else None
        except ValueError as error:
            raise DefinitionError(f"{path}.half_life", str(error)) from None
        keys.append(rule["key"])
        ScoreRule.objects.update_or_create(
            model=model,
            key=rule["key"],
            defaults={
                "name": text(rule, "name"),
                "when": _checked_when(model.kind, rule["when"], f"{path}.when"),
                "points": _number(rule, "points", f"{path}.") or 0.0,
                "half_life": half_life,
                "cap_per_day": _number(rule, "cap_per_day", f"{path}."),
                "is_active": True,
            },
        )
    # A rule that left the file earns no more; what it earned stays in the ledger.
    model.rules.exclude(key__in=keys).update(is_active=False)


def _read_stages() -> dict[str, dict[str, Any]]:
    return {
        rule.stage: without_defaults(
            {
                "stage": rule.stage,
                "rule": rule.rule,
                "leave_rule": rule.leave_rule,
                "cold_after": rule.cold_after and format_duration(rule.cold_after),
                "leave_to": rule.leave_to,
                "sla": rule.sla and format_duration(rule.sla),
                "phase": rule.phase,
                "phase_rule": rule.phase_rule,
            },
            rule=None,
            leave_rule=None,
            cold_after=None,
            leave_to="",
            sla=None,
            phase="",
            phase_rule=None,
        )
        for rule in StageRule.objects.order_by("stage")
    }


def _span(data: dict[str, Any], key: str) -> timedelta | None:
    try:
        return None if data.get(key) is None else parse_duration(data[key])
    except ValueError as error:
        raise DefinitionError(key, str(error)) from None


def _write_stage(data: dict[str, Any]) -> None:
    rules = ["rule", "leave_rule", "phase_rule"]
    check_keys(data, required=["stage"], optional=[*rules, "cold_after", "leave_to", "sla", "phase"])
    one_of(data, "stage", [name for name, _ in STAGES])
    if len(data) == 1:
        raise DefinitionError("rule", "is missing; or say something else of the stage.")
    told = {
        **{key: None if data.get(key) is None else checked_rule(data[key], key) for key in rules},
        "cold_after": _span(data, "cold_after"),
        "sla": _span(data, "sla"),
        "leave_to": one_of(data, "leave_to", ["", *(name for name, _ in STAGES)], ""),
        "phase": one_of(data, "phase", ["", *(name for name, _ in PHASES)], ""),
    }
    for field, sentence in problems_of(StageRule(stage=data["stage"], **told)).items():
        raise DefinitionError(field, sentence)
    StageRule.objects.update_or_create(stage=data["stage"], defaults=told)


SECTIONS = [
    Section("scores", _read_scores, _write_score, _prepare_scores),
    Section("stages", _read_stages, _write_stage, key="stage"),
]


def asking() -> Iterator[tuple[str, Any]]:
    """What scores and stages ask of everybody again and again, with its name: a rule of fit, a stage's rule."""
    for rule in ScoreRule.objects.filter(is_active=True, model__kind="fit").select_related("model"):
        yield _("Score “%(name)s”") % {"name": rule.model}, rule.when
    for stage in StageRule.objects.all():
        for rule in _rules_of(stage):
            yield _("Stage “%(name)s”") % {"name": stage}, rule
        if stage.cold_after:
            # Since when somebody is under the line stands in these.
            yield _("Stage “%(name)s”") % {"name": stage}, {"did": "score.crossed"}


def rules() -> Iterator[tuple[str, Any]]:
    """All rules that are asked, each after the name of the score or stage that it belongs to."""
    # One that is switched off is asked of nobody, and deleting it would take its part of the ledger along.
    for rule in ScoreRule.objects.filter(is_active=True).select_related("model"):
        yield _("rule “%(rule)s” of the score “%(score)s”") % {"rule": rule, "score": rule.model}, rule.when
    for stage in StageRule.objects.all():
        for rule in _rules_of(stage):
            yield _("stage “%(name)s”") % {"name": stage}, rule


def _rules_of(stage: StageRule) -> list[Any]:
    return [rule for rule in (stage.rule, stage.leave_rule, stage.phase_rule) if rule is not None]
