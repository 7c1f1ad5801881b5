"""Why a contact has a score: what each rule gave, when, and what is left of it."""

from datetime import datetime
from typing import Any

from contacts.models import Contact
from scoring.models import ContactScore, ScoreModel
from scoring.points import score_at, waterfall


def explain_score(contact: Contact, key: str, now: datetime) -> dict[str, Any]:
    """The score at a moment, with the points that it is made of. Raises ScoreModel.DoesNotExist."""
    model = ScoreModel.objects.get(key=key)
    standing = ContactScore.objects.filter(contact=contact, model=model).first()
    value = score_at(model, [contact.pk], now).get(contact.pk, 0.0)
    return {
        "score": model.key,
        "value": round(value, 2),
        "qualified_at": model.qualify_at,
        "is_over": bool(standing and standing.is_over),
        "falls_under_at": standing and standing.falls_at,
        "points": [
            {
                "rule": one.rule, "day": one.day.isoformat(), "events": one.events, "earned": round(one.earned, 2),
                "worth_now": round(one.worth, 2), "half_life": one.half_life and str(one.half_life),
                "touchpoints": one.touchpoint_ids,
            }
            for one in waterfall(contact, model, now)
        ],
    }  # fmt: skip
