"""How a person stands: grades, the chance to become a customer, phase and nurture, and what became of the stage.

A dossier is looked at many times an hour, and how scores and predictions are set up changes seldom: that is remembered
for a minute. The rest is read along with the lead.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.core.cache import cache
from django.db.models import OuterRef, Subquery
from django.db.models.functions import JSONObject
from django.utils.translation import gettext as _

from contacts import beside
from contacts.models import Contact
from contacts.stages import LADDER
from leads.models import Lead, LeadQuerySet
from scoring.grades import grade_of
from scoring.models import GradeMatrix
from scoring.prediction import Prediction, Ready, prediction_of, ready

REMEMBERED = 60


@dataclass(frozen=True)
class Standing:
    """`grades` and `chips` are what to say with its label; `turned` is a sentence where the stage is not that of a lead
    any more, empty where it is.
    """

    grades: list[tuple[str, str]]
    chips: list[tuple[str, str]]
    chance: Prediction | None
    turned: str


def with_standing(leads: LeadQuerySet, now: datetime) -> LeadQuerySet:
    """Leads that know the grades, the phase and the nurture state of their contact (`standing`)."""
    told: dict[str, Any] = {f"grade {matrix.pk}": grade_of(matrix, now) for matrix in _matrices()}
    told |= {f"fact {key}": expression for key, expression in beside.expressions(now).items()}
    if not told:
        return leads
    # Named in the order of their places: the name of a fact need not be one that SQL takes.
    names = {f"f{place}": expression for place, expression in enumerate(told.values())}
    person = Contact.objects.filter(pk=OuterRef("contact")).annotate(**names)
    row = person.annotate(told=JSONObject(**dict(zip(told, names, strict=True))))
    return leads.annotate(standing=Subquery(row.values("told")[:1]))


def standing_of(lead: Lead, now: datetime) -> Standing:
    """How the contact of a lead of `with_standing` stands."""
    told = getattr(lead, "standing", None) or {}
    known: Ready | None = _remembered("leads-prediction", ready)
    return Standing(
        grades=[(str(matrix), told[f"grade {matrix.pk}"]) for matrix in _matrices() if told.get(f"grade {matrix.pk}")],
        chips=beside.in_words({key.removeprefix("fact "): value for key, value in told.items()}),
        chance=prediction_of(lead.contact, now, known=known) if known else None,
        turned=_turned(lead),
    )


def _turned(lead: Lead) -> str:
    """What a rep must know of the stage while the lead is in hand: nothing took the lead away from him."""
    contact = lead.contact
    if lead.state not in ("open", "claimed", "accepted"):
        return ""
    stage = contact.get_stage_display()
    if contact.stage == "disqualified":
        return _("This person was disqualified. The lead stays until you end it.")
    if contact.stage in ("customer", "ambassador"):
        return _("This person is a customer by now. If that was your sale, convert the lead.")
    if contact.stage == "churned":
        return _("This person is a customer no more. The lead stays until you end it.")
    qualified = LADDER.index("qualified")
    was = LADDER.index(contact.highest_stage) if contact.highest_stage in LADDER else 0
    if was >= qualified > LADDER.index(contact.stage):
        return _("Fell back to “%(stage)s” since. The lead stays until you end it.") % {"stage": stage}
    return ""


def _matrices() -> list[GradeMatrix]:
    found: list[GradeMatrix] = _remembered(
        "leads-grade-matrices", lambda: list(GradeMatrix.objects.select_related("fit", "engagement"))
    )
    return found


def _remembered(key: str, read: Callable[[], Any]) -> Any:
    """What is read once a minute; also that there is nothing."""
    kept = cache.get(key)
    if kept is None:
        kept = (read(),)
        cache.set(key, kept, REMEMBERED)
    return kept[0]
