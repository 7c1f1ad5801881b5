"""The rule leaf `grade`: `{grade: product, op: in, value: [A1, A2]}`, exact at the moment of asking."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Self

from django.db.models import Q
from django.utils.translation import gettext as _

from contacts.leaves import only
from contacts.models import Contact
from contacts.rulefields import Vocabulary
from contacts.rulevalues import Condition, RuleError, parse_condition, text, within
from contacts.rulewords import operators, say_condition, say_value
from scoring.grades import grade_of, grades_at
from scoring.models import GradeMatrix
from scoring.points import score_at, waterfall

_OPS = ["in", "not_in", "eq", "ne"]
_SHOWN = 5


@dataclass(frozen=True)
class GradeIs:
    """A grade that is one of some, or none of them."""

    grade: str
    condition: Condition
    matrix: GradeMatrix = field(compare=False)

    @classmethod
    def parse(cls, data: Mapping[str, Any], path: str, names: Vocabulary) -> Self:
        only(data, path, {"grade", "op", "value"})
        key = text(data["grade"], within(path, "grade"))
        matrix = GradeMatrix.objects.select_related("fit", "engagement").filter(key=key).first()
        if matrix is None:
            raise RuleError(within(path, "grade"), _("There is no grade matrix “%(key)s”.") % {"key": key})
        condition = parse_condition({"op": "in", **data}, path, "text")
        if condition.op not in _OPS:
            known = ", ".join(_OPS)
            raise RuleError(within(path, "op"), _("A grade is asked by one of these: %(known)s.") % {"known": known})
        many = isinstance(condition.value, tuple)
        for place, one in enumerate(condition.value if many else (condition.value,)):
            if one not in matrix.grades:
                at = within(within(path, "value"), place) if many else within(path, "value")
                told = {"grade": one, "grades": ", ".join(matrix.grades)}
                raise RuleError(at, _("There is no grade %(grade)s; there are %(grades)s.") % told)
        return cls(key, condition, matrix)

    @classmethod
    def describe(cls, names: Vocabulary) -> dict[str, Any]:
        matrices = GradeMatrix.objects.order_by("key")
        return {
            "label": _("Grade"),
            "choices": [{"value": matrix.key, "label": str(matrix)} for matrix in matrices],
            "operators": operators("text", _OPS),
            "type": "text",
            # Which values each choice has.
            "values": {matrix.key: matrix.grades for matrix in matrices},
        }

    def says(self) -> str:
        return say_condition(_("The grade “%(key)s”") % {"key": self.matrix}, self.condition)

    def dump(self) -> dict[str, Any]:
        return {"grade": self.grade, **self.condition.dump()}

    def to_q(self, now: datetime) -> Q:
        return self.condition.to_q(grade_of(self.matrix, now), now)

    def evidence(self, contact: Contact, now: datetime) -> dict[str, Any]:
        scores = [self.matrix.fit, self.matrix.engagement]
        falls = [fall for score in scores for fall in waterfall(contact, score, now)]
        return {
            "value": grades_at(self.matrix, [contact.pk], now).get(contact.pk, self.matrix.grades[-1]),
            "scores": [
                {"score": score.key, "name": str(score), "value": score_at(score, [contact.pk], now)[contact.pk]}
                for score in scores
            ],
            "rules": [
                {"rule": fall.rule, "last_at": fall.last_at, "events": fall.events, "worth": fall.worth}
                for fall in sorted(falls, key=lambda fall: -fall.worth)[:_SHOWN]
            ],
        }

    def because(self, evidence: dict[str, Any]) -> str:
        said = {
            "grade": evidence["value"],
            "scores": ", ".join(f"{one['name']} {say_value(round(one['value'], 1))}" for one in evidence["scores"]),
        }
        return _("The grade is %(grade)s: %(scores)s.") % said

    @property
    def has_time(self) -> bool:
        # Points fade by the clock alone.
        return True
