"""What reps wrote of a person, notes and calls; and the move that its maker may still take back."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.contrib.postgres.expressions import ArraySubquery
from django.db.models import OuterRef, Subquery
from django.db.models.functions import JSONObject
from django.utils.dateparse import parse_datetime

from leads.models import Activity, LeadMove, LeadQuerySet
from leads.moves import UNDO_WITHIN

ACTIVITIES = 20


@dataclass(frozen=True)
class Written:
    """A note, or a call with its outcome in words; `by` is who wrote it, empty where nobody knows any more."""

    pk: int
    kind: str
    outcome: str
    body: str
    by: str
    at: datetime


def with_activities(leads: LeadQuerySet, user: Any) -> LeadQuerySet:
    """Leads that know the newest notes and calls about their person that the user may see (`activities_told`)."""
    rows = Activity.objects.visible_to(user).filter(contact=OuterRef("contact")).order_by("-at", "-pk")
    by = {"first": "by__first_name", "last": "by__last_name", "login": "by__username"}
    told = JSONObject(pk="pk", kind="kind", outcome="outcome", body="body", at="at", **by)
    return leads.annotate(activities_told=ArraySubquery(rows.annotate(told=told).values("told")[:ACTIVITIES]))


def written_of(lead: Any) -> list[Written]:
    """The notes and calls of a lead of `with_activities`, the newest first."""
    outcomes = {key: str(words) for key, words in Activity.OUTCOMES}
    return [
        Written(
            pk=told["pk"],
            kind=told["kind"],
            outcome=outcomes.get(told["outcome"], ""),
            body=told["body"],
            by=f"{told['first'] or ''} {told['last'] or ''}".strip() or told["login"] or "",
            at=at,
        )
        for told in lead.activities_told
        if (at := parse_datetime(told["at"]))
    ]


def with_last_move(leads: LeadQuerySet) -> LeadQuerySet:
    """Leads that know who moved them last and when (`last_moved_by`, `_at`), and when all were told (`_told`)."""
    last = LeadMove.objects.filter(lead=OuterRef("pk"), undone_at=None).order_by("-pk")
    return leads.annotate(
        last_moved_by=Subquery(last.values("by")[:1]),
        last_moved_at=Subquery(last.values("at")[:1]),
        last_moved_told=Subquery(last.values("told_at")[:1]),
    )


def may_undo(lead: Any, user: Any, now: datetime) -> bool:
    """Whether the user made the last move of a lead of `with_last_move`, and may take it back as far as is known."""
    if lead.last_moved_by != user.pk or lead.last_moved_told is not None:
        return False
    return bool(lead.last_moved_at > now - UNDO_WITHIN)
