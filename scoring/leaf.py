"""The rule leaf `score`: `{score: engagement, op: gte, value: 40}`, exact at the moment of asking."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Self

from django.db.models import FloatField, OuterRef, Q, Subquery, Sum, Value
from django.db.models.functions import Coalesce
from django.utils.translation import gettext as _

from contacts.leaves import only
from contacts.models import Contact
from contacts.rulefields import Vocabulary
from contacts.rulevalues import OPERATORS, Condition, RuleError, parse_condition, text, within
from contacts.rulewords import operators, say_condition, say_value
from scoring.models import ScoreEntry, ScoreModel
from scoring.points import waterfall, worth_at

_SHOWN = 5


def score_of(key: str, now: datetime) -> Coalesce:
    """The exact score of a contact at a moment, as an expression over Contact; 0 without any points."""
    mine = ScoreEntry.objects.filter(contact_id=OuterRef("pk"), rule__model__key=key).order_by().values("contact_id")
    score = Subquery(mine.annotate(score=Sum(worth_at(now))).values("score"))
    return Coalesce(score, Value(0.0), output_field=FloatField())


@dataclass(frozen=True)
class ScoreIs:
    """A score compared with a number."""

    score: str
    condition: Condition
    name: str = field(default="", compare=False)

    @classmethod
    def parse(cls, data: Mapping[str, Any], path: str, names: Vocabulary) -> Self:
        only(data, path, {"score", "op", "value"})
        key = text(data["score"], within(path, "score"))
        name = ScoreModel.objects.filter(key=key).values_list("name", flat=True).first()
        if name is None:
            raise RuleError(within(path, "score"), _("There is no score “%(key)s”.") % {"key": key})
        condition = parse_condition({"op": "gte", **data}, path, "number")
        if condition.op in ("is_set", "is_empty"):
            raise RuleError(within(path, "op"), _("Everybody has a score, 0 at least; compare it with a number."))
        return cls(key, condition, name)

    @classmethod
    def describe(cls, names: Vocabulary) -> dict[str, Any]:
        scores = ScoreModel.objects.order_by("key").values_list("key", "name")
        return {
            "label": _("Score"),
            "choices": [{"value": key, "label": name or key} for key, name in scores],
            "operators": operators("number", [op for op in OPERATORS["number"] if op not in ("is_set", "is_empty")]),
        }

    def says(self) -> str:
        return say_condition(_("The score “%(key)s”") % {"key": self.name or self.score}, self.condition)

    def dump(self) -> dict[str, Any]:
        return {"score": self.score, **self.condition.dump()}

    def to_q(self, now: datetime) -> Q:
        return self.condition.to_q(score_of(self.score, now), now)

    def evidence(self, contact: Contact, now: datetime) -> dict[str, Any]:
        falls = waterfall(contact, ScoreModel.objects.get(key=self.score), now)
        return {
            "value": sum(fall.worth for fall in falls),
            "rules": [
                {"rule": fall.rule, "last_at": fall.last_at, "events": fall.events, "worth": fall.worth}
                for fall in falls[:_SHOWN]
            ],
        }

    def because(self, evidence: dict[str, Any]) -> str:
        said = {
            "value": say_value(round(evidence["value"], 1)),
            "rules": ", ".join(f"{one['rule']} {say_value(round(one['worth'], 1))}" for one in evidence["rules"]),
        }
        if evidence["rules"]:
            return _("The score is %(value)s, most of it from: %(rules)s.") % said
        return _("The score is %(value)s.") % said

    @property
    def has_time(self) -> bool:
        # Points fade by the clock alone.
        return True
