"""Scores and stage rules as code."""

import re
from collections.abc import Collection, Iterator
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.utils.translation import gettext as _

from contacts.definitions import DefinitionError, Section, check_keys, checked_rule, one_of, text, without_defaults
from contacts.durations import format_duration, parse_duration
from contacts.rules import RuleError
from contacts.stages import STAGES
from scoring.models import GradeMatrix, ScoreGroup, ScoreModel, ScoreRule, StageRule
from scoring.models.grades import MOST_BOUNDS
from scoring.models.scores import LEAST_POINTS, MOST_POINTS
from scoring.models.stages import PHASES
from scoring.points import check_when
from scoring.stages import problems_of
from scoring.whatif import Draft, in_sentences, what_if

_KEY = re.compile("[-a-zA-Z0-9_]{1,64}")
SHORTEST_HALF_LIFE = timedelta(hours=1)


def _read_scores() -> dict[str, dict[str, Any]]:
    return {
        model.key: without_defaults(
            {
                "key": model.key,
                "name": model.name,
                "kind": model.kind,
                "qualify_at": model.qualify_at,
                "hysteresis": model.hysteresis,
                "groups": [
                    without_defaults({"key": group.key, "name": group.name, "cap_per_day": group.cap_per_day}, name="")
                    for group in model.groups.order_by("key")
                ],
                "rules": [
                    without_defaults(
                        {
                            "key": rule.key,
                            "name": rule.name,
                            "when": rule.when,
                            "points": rule.points,
                            "half_life": rule.half_life and format_duration(rule.half_life),
                            "cap_per_day": rule.cap_per_day,
                            "group": rule.group and rule.group.key,
                        },
                        name="",
                        half_life=None,
                        cap_per_day=None,
                        group=None,
                    )
                    for rule in model.rules.filter(is_active=True).order_by("key").select_related("group")
                ],
            },
            name="",
            qualify_at=None,
            hysteresis=5.0,
            groups=[],
        )
        for model in ScoreModel.objects.order_by("key").prefetch_related("rules")
    }


def _number(data: dict[str, Any], key: str, path: str = "") -> float | None:
    value = data.get(key)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise DefinitionError(f"{path}{key}", f"must be a number, not {value!r}.")
    # Asked this way round, NaN is refused as well.
    if value is not None and not -MOST_POINTS <= value <= MOST_POINTS:
        raise DefinitionError(f"{path}{key}", f"must be a number from -{MOST_POINTS:,.0f} to {MOST_POINTS:,.0f}.")
    if value and abs(value) < LEAST_POINTS and key in ("points", "cap_per_day"):
        raise DefinitionError(f"{path}{key}", f"must be 0, or {LEAST_POINTS} or more.")
    return None if value is None else float(value)


def _not_negative(data: dict[str, Any], key: str, path: str = "") -> float | None:
    value = _number(data, key, path)
    if value is not None and value < 0:
        raise DefinitionError(f"{path}{key}", "must be a number that is not negative.")
    return value


def _items(data: dict[str, Any], name: str) -> list[Any]:
    items = data.get(name)
    if items is None:
        return []
    if not isinstance(items, list):
        raise DefinitionError(name, f"must be a list, not {type(items).__name__}.")
    return items


def _checked_key(data: dict[str, Any], path: str, taken: Collection[str] = ()) -> str:
    """A key of letters, digits, - and _ that no other of the same list has."""
    key = data["key"]
    if not isinstance(key, str) or not _KEY.fullmatch(key):
        raise DefinitionError(f"{path}key", f"must be 1 to 64 letters, digits, - and _, not {key!r}.")
    if key in taken:
        raise DefinitionError(f"{path}key", f"{key} stands here a second time.")
    return key


def _half_life(rule: dict[str, Any], path: str) -> timedelta | None:
    try:
        half_life = parse_duration(rule["half_life"]) if rule.get("half_life") else None
    except ValueError as error:
        raise DefinitionError(f"{path}.half_life", str(error)) from None
    if half_life is not None and half_life < SHORTEST_HALF_LIFE:
        raise DefinitionError(f"{path}.half_life", "must be an hour or more.")
    return half_life


def _checked_when(kind: str, when: Any, path: str) -> Any:
    try:
        check_when(kind, when)
    except RuleError as error:
        raise DefinitionError(f"{path}.{error.path}" if error.path else path, error.message) from None
    return checked_rule(when, path)


def _prepare_scores(items: list[dict[str, Any]]) -> None:
    for data in items:
        kind = one_of(data, "kind", ["engagement", "fit"], "engagement")
        ScoreModel.objects.get_or_create(key=_checked_key(data, ""), defaults={"kind": kind})


def _write_score(data: dict[str, Any]) -> None:
    check_keys(data, required=["key", "rules"], optional=["name", "kind", "qualify_at", "hysteresis", "groups"])
    kind = one_of(data, "kind", ["engagement", "fit"], "engagement")
    key, hysteresis = _checked_key(data, ""), _not_negative(data, "hysteresis")
    if stored := ScoreModel.objects.filter(key=key).exclude(kind=kind).first():
        # Its ledger would be read by rules of the other kind.
        raise DefinitionError("kind", f"is {stored.kind} and stays so; give the new score a key of its own.")
    model, _ = ScoreModel.objects.update_or_create(
        key=key,
        defaults={
            "name": text(data, "name"),
            "kind": kind,
            "qualify_at": _number(data, "qualify_at"),
            "hysteresis": 5.0 if hysteresis is None else hysteresis,
        },
    )
    groups = _write_groups(model, _items(data, "groups"))
    keys: list[str] = []
    for index, rule in enumerate(_items(data, "rules")):
        path = f"rules[{index}]"
        optional = ["name", "half_life", "cap_per_day", "group"]
        check_keys(rule, required=["key", "when", "points"], optional=optional, path=path)
        if rule.get("group") is not None:
            _check_group(rule["group"], groups, path)
        keys.append(_checked_key(rule, f"{path}.", keys))
        ScoreRule.objects.update_or_create(
            model=model,
            key=rule["key"],
            defaults={
                "name": text(rule, "name"),
                "when": _checked_when(model.kind, rule["when"], f"{path}.when"),
                "points": _number(rule, "points", f"{path}.") or 0.0,
                "half_life": _half_life(rule, path),
                "cap_per_day": _not_negative(rule, "cap_per_day", f"{path}."),
                "group": groups.get(rule.get("group")),
                "is_active": True,
            },
        )
    # A rule that left the file earns no more; what it earned stays in the ledger.
    model.rules.exclude(key__in=keys).update(is_active=False)
    model.groups.exclude(key__in=groups).delete()


def _check_group(key: Any, groups: dict[str, ScoreGroup], path: str) -> None:
    if not isinstance(key, str) or key not in groups:
        known = ", ".join(groups) or "none"
        raise DefinitionError(f"{path}.group", f"must be one of the groups of this score ({known}), not {key!r}.")


def _write_groups(model: ScoreModel, items: list[dict[str, Any]]) -> dict[str, ScoreGroup]:
    """The groups of rules that a file names, by key."""
    groups: dict[str, ScoreGroup] = {}
    for index, data in enumerate(items):
        path = f"groups[{index}]"
        if model.kind == "fit":
            raise DefinitionError(path, "is for engagement; what a rule of fit gives has no day.")
        check_keys(data, required=["key", "cap_per_day"], optional=["name"], path=path)
        key, cap = _checked_key(data, f"{path}.", groups), _not_negative(data, "cap_per_day", f"{path}.") or 0.0
        groups[key] = ScoreGroup.objects.update_or_create(
            model=model, key=key, defaults={"name": text(data, "name"), "cap_per_day": cap}
        )[0]
    return groups


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


def drafted(data: dict[str, Any]) -> Draft:
    """A score as in a file, as it would be saved: written, read and rolled back. Raises DefinitionError."""
    key = data.get("key")
    if not isinstance(key, str) or not key:
        raise DefinitionError("key", "is missing.")
    was = ScoreModel.objects.filter(key=key).first()
    with transaction.atomic():
        if was is None:
            _prepare_scores([data])
        _write_score(data)
        model = ScoreModel.objects.get(key=key)
        draft = Draft(model, list(model.rules.select_related("group")), list(model.groups.all()), was)
        transaction.set_rollback(True)
    return draft


def _foresee_score(before: dict[str, Any] | None, key: str, now: datetime) -> list[str]:
    """What a score that a plan has written would change, against how it was before."""
    model = ScoreModel.objects.get(key=key)
    was = None
    if before is not None:
        line = {"qualify_at": before.get("qualify_at"), "hysteresis": before.get("hysteresis", 5.0)}
        was = ScoreModel(pk=model.pk, key=key, kind=model.kind, **line)
    rules = list(model.rules.select_related("group"))
    return in_sentences(what_if(Draft(model, rules, list(model.groups.all()), was), None, now))


def _read_grades() -> dict[str, dict[str, Any]]:
    return {
        matrix.key: without_defaults(
            {
                "key": matrix.key,
                "name": matrix.name,
                "fit": matrix.fit.key,
                "engagement": matrix.engagement.key,
                "fit_from": matrix.fit_from,
                "engagement_from": matrix.engagement_from,
            },
            name="",
        )
        for matrix in GradeMatrix.objects.order_by("key").select_related("fit", "engagement")
    }


def _write_grade(data: dict[str, Any]) -> None:
    check_keys(data, required=["key", "fit", "engagement", "fit_from", "engagement_from"], optional=["name"])
    scores = {kind: _score_of_kind(data, kind) for kind in ("fit", "engagement")}
    bounds = {name: _bounds(data, name) for name in ("fit_from", "engagement_from")}
    key = _checked_key(data, "")
    GradeMatrix.objects.update_or_create(key=key, defaults={"name": text(data, "name"), **scores, **bounds})


def _score_of_kind(data: dict[str, Any], kind: str) -> ScoreModel:
    score = ScoreModel.objects.filter(key=text(data, kind), kind=kind).first()
    if score is None:
        raise DefinitionError(kind, f"must be a score of the kind {kind}, not {data[kind]!r}.")
    return score


def _bounds(data: dict[str, Any], name: str) -> list[float]:
    """From one to eight numbers, each smaller than the one before it."""
    bounds = data[name]
    if not isinstance(bounds, list) or not 1 <= len(bounds) <= MOST_BOUNDS:
        raise DefinitionError(name, f"must be a list of one to {MOST_BOUNDS} numbers, not {bounds!r}.")
    numbers = [_number({f"{name}[{place}]": one}, f"{name}[{place}]") for place, one in enumerate(bounds)]
    for place, number in enumerate(numbers):
        if number is None or (place and number >= (numbers[place - 1] or 0.0)):
            raise DefinitionError(name, f"must be numbers, each smaller than the one before it, not {bounds!r}.")
    return [number for number in numbers if number is not None]


SECTIONS = [
    Section("scores", _read_scores, _write_score, _prepare_scores, _foresee_score),
    Section("grades", _read_grades, _write_grade),
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
