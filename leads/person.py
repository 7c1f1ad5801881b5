"""Whom a rep is about to call: where they came from first, and who else of their company is known."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.contrib.postgres.expressions import ArraySubquery
from django.db.models import F, OuterRef, Subquery
from django.db.models.functions import JSONObject
from django.utils.dateparse import parse_datetime

from contacts.models import Contact, Touchpoint
from contacts.stages import STAGES
from leads.models import Lead, LeadQuerySet
from leads.scope import contacts_of

COLLEAGUES = 5

_FIRST_TOUCHES = ["page.viewed", "screen.viewed", "form.submitted"]


@dataclass(frozen=True)
class Origin:
    """The first touch of a person: when, on which page, and what brought them, as told (`google · cpc · spring`)."""

    at: datetime
    page: str
    brought_by: str


@dataclass(frozen=True)
class Colleague:
    """Another person of the same company whom the user may see; `lead` is their newest lead in reach, if any."""

    name: str
    job_title: str
    stage: str
    lead: int | None


def with_origin(leads: LeadQuerySet) -> LeadQuerySet:
    """Leads that know the first touch of their contact (`first_touch`: when it was and its properties)."""
    first = Touchpoint.objects.filter(contact=OuterRef("contact"), kind__in=_FIRST_TOUCHES)
    told = JSONObject(at="occurred_at", properties="properties")
    return leads.annotate(
        first_touch=Subquery(first.order_by("occurred_at", "pk").annotate(told=told).values("told")[:1])
    )


def origin_of(lead: Lead) -> Origin | None:
    """The first touch of a lead of `with_origin`."""
    found = getattr(lead, "first_touch", None)
    at = parse_datetime(str(found["at"])) if found else None
    if not found or at is None:
        return None
    told = found["properties"] if isinstance(found["properties"], dict) else {}
    context = _dict(told.get("context"))
    campaign = _dict(told.get("campaign")) or _dict(context.get("campaign"))
    utm = [told.get(f"utm_{key}") or campaign.get("name" if key == "campaign" else key) for key in _UTM]
    page = _dict(context.get("page"))
    words = [*utm] if any(utm) else [told.get("referrer") or page.get("referrer")]
    where = told.get("title") or told.get("path") or told.get("form") or told.get("url") or page.get("path")
    return Origin(at, _word(where), " · ".join(filter(None, map(_word, words))))


_UTM = ("source", "medium", "campaign")


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _word(value: Any) -> str:
    return value[:120] if isinstance(value, str) else ""


def with_colleagues(leads: LeadQuerySet, user: Any) -> LeadQuerySet:
    """Leads that know other people of their contact's company, as far as the user may see them (`colleagues_told`)."""
    newest = Lead.objects.visible_to(user).filter(contact=OuterRef("pk")).order_by("-created_at", "-pk")
    people = Contact.objects.living().filter(company=OuterRef("contact__company")).exclude(pk=OuterRef("contact"))
    if not user.has_perm("contacts.view_contact"):
        people = people.filter(contacts_of(user))
    told = JSONObject(
        first="first_name", last="last_name", email="email", job_title="job_title", stage="stage", pk="pk",
        lead=Subquery(newest.values("pk")[:1]),
    )  # fmt: skip
    rows = people.order_by(F("last_seen_at").desc(nulls_last=True), "pk").annotate(told=told).values("told")
    return leads.annotate(colleagues_told=ArraySubquery(rows[:COLLEAGUES]))


def colleagues_of(lead: Any) -> list[Colleague]:
    """The colleagues of a lead of `with_colleagues`, who was seen last comes first."""
    stages = dict(STAGES)
    return [
        Colleague(
            name=Contact(pk=told["pk"], first_name=told["first"], last_name=told["last"], email=told["email"]).name,
            job_title=told["job_title"],
            stage=str(stages.get(told["stage"], told["stage"])),
            lead=told["lead"],
        )
        for told in lead.colleagues_told
    ]
