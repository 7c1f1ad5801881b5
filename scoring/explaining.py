"""Why a contact has a score or a grade: what each rule gave, when, and what is left of it; at any instant."""

from datetime import datetime
from typing import Any

from contacts.models import Contact
from scoring.grades import grades_at
from scoring.models import ContactScore, GradeMatrix, ScoreModel
from scoring.points import score_at, waterfall
from scoring.waterfalls import falls_under


def explain_score(contact: Contact, key: str, now: datetime) -> dict[str, Any]:
    """The score at a moment, with the points that it is made of. Raises ScoreModel.DoesNotExist."""
    model = ScoreModel.objects.get(key=key)
    standing = ContactScore.objects.select_related("model").filter(contact=contact, model=model).first()
    value = score_at(model, [contact.pk], now).get(contact.pk, 0.0)
    return {
        "score": model.key,
        "at": now,
        "value": round(value, 2),
        "qualified_at": model.qualify_at,
        "is_over": bool(standing and standing.is_over),
        "falls_under_at": falls_under(contact, [standing], now).get(model.pk) if standing else None,
        "points": [
            {
                "rule": one.rule, "day": one.day.isoformat(), "events": one.events, "earned": round(one.earned, 2),
                "worth_now": round(one.worth, 2), "half_life": one.half_life and str(one.half_life),
                "touchpoints": one.touchpoint_ids,
            }
            for one in waterfall(contact, model, now)
        ],
    }  # fmt: skip


def explain_grade(contact: Contact, key: str, now: datetime) -> dict[str, Any]:
    """The grade at a moment, with the two scores behind it. Raises GradeMatrix.DoesNotExist."""
    matrix = GradeMatrix.objects.select_related("fit", "engagement").get(key=key)
    return {
        "grade_matrix": matrix.key,
        "at": now,
        "grade": grades_at(matrix, [contact.pk], now).get(contact.pk),
        "fit": explain_score(contact, matrix.fit.key, now),
        "engagement": explain_score(contact, matrix.engagement.key, now),
    }
