"""What we may tell a person, told them, and are about to tell them."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.contrib.postgres.expressions import ArraySubquery
from django.db.models import Exists, OuterRef, Subquery, TextField
from django.db.models.fields.json import KT
from django.db.models.functions import Cast, Coalesce, JSONObject
from django.utils.translation import gettext as _

from contacts.models import Consent, Contact, Touchpoint
from leads.models import LeadQuerySet
from leads.wording import in_language
from messaging import reasons
from messaging.models import Hold, Holdout, Message, SendingPolicy, Topic
from messaging.planned import Planned, planned_for

MESSAGES = 12

_COLOURS = {
    "sent": "is-good", "pending": "is-info", "ready": "is-info", "sending": "is-info", "uncertain": "is-warn",
    "skipped": "is-warn", "failed": "is-bad",
}  # fmt: skip


@dataclass(frozen=True)
class Allowed:
    """What a person allows on a topic, in words."""

    name: str
    words: str
    colour: str


@dataclass(frozen=True)
class Told:
    """One message and what became of it."""

    message: Message
    subject: str
    words: str
    colour: str
    reason: str
    at: datetime
    is_opened: bool
    is_clicked: bool


# What they allow -----------------------------------------------------------------------------------------------------


def with_consents(leads: LeadQuerySet) -> LeadQuerySet:
    """Leads that know what their contact said of each topic by e-mail (`topics_told`)."""
    said = Consent.objects.filter(contact=OuterRef(OuterRef("contact")), channel="email")
    told = JSONObject(
        name="name", names="names", is_opt_in="is_opt_in",
        said=Subquery(said.filter(topic=OuterRef("key")).values("state")[:1]),
        is_all_refused=Exists(said.filter(topic="", state="denied")),
    )  # fmt: skip
    return leads.annotate(topics_told=ArraySubquery(Topic.objects.order_by("key").annotate(told=told).values("told")))


def allowed(lead: Any) -> list[Allowed]:
    """What the person of a lead of `with_consents` allows by e-mail, by topic; one line where they refused all."""
    topics: list[dict[str, Any]] = lead.topics_told
    if topics and topics[0]["is_all_refused"]:
        return [Allowed(_("All e-mail"), _("refused"), "is-bad")]
    return [_allowed(topic) for topic in topics]


def _allowed(topic: dict[str, Any]) -> Allowed:
    name = in_language(topic["names"], topic["name"])
    if topic["said"] == "granted":
        return Allowed(name, _("allowed"), "is-good")
    if topic["said"] == "denied":
        return Allowed(name, _("refused"), "is-bad")
    if topic["said"] == "pending":
        return Allowed(name, _("awaits confirmation"), "is-warn")
    if topic["is_opt_in"]:
        return Allowed(name, _("never asked"), "")
    return Allowed(name, _("until they refuse"), "is-good")


def with_holdouts(leads: LeadQuerySet) -> LeadQuerySet:
    """Leads that know which journeys hold their contact out (`held_out`, keys), and whether all marketing does."""
    entries = Touchpoint.objects.filter(contact=OuterRef("contact"), kind="journey.entered", properties__held_out=True)
    drawn = Holdout.objects.filter(contact=OuterRef("contact"), scope="global", is_held=True)
    return leads.annotate(
        held_out=ArraySubquery(entries.order_by("pk").annotate(journey=KT("properties__journey")).values("journey")),
        is_held_out=Exists(drawn) & Exists(SendingPolicy.objects.filter(global_holdout__gt=0)),
    )


def with_hold(leads: LeadQuerySet, now: datetime) -> LeadQuerySet:
    """Leads that know until when sales holds marketing for their contact (`held_until`), and why (`held_because`)."""
    holds = Hold.objects.holding(now).filter(contact=OuterRef("contact")).order_by("-until", "pk")
    return leads.annotate(
        held_until=Subquery(holds.values("until")[:1]), held_because=Subquery(holds.values("reason")[:1])
    )


# What they were sent -------------------------------------------------------------------------------------------------


def messages_to(contact: Contact, now: datetime) -> tuple[list[Told], list[Planned]]:
    """The newest messages to a contact with what became of each, also those held back; and what is to come."""
    heard = Touchpoint.objects.filter(contact=contact).annotate(message=KT("properties__message"))
    of_it = heard.filter(message=Cast(OuterRef("pk"), TextField()))
    rows = list(
        Message.objects.filter(contact=contact)
        .select_related("template")
        .annotate(
            at=Coalesce("sent_at", "finished_at", "due_at"),
            subject=Subquery(
                of_it.filter(kind="email.sent").annotate(told=KT("properties__subject")).values("told")[:1]
            ),
            is_opened=Exists(of_it.filter(kind="email.opened", is_machine=False)),
            is_clicked=Exists(of_it.filter(kind="email.clicked", is_machine=False)),
        )
        .order_by("-at", "-pk")[:MESSAGES]
    )
    waiting = [row for row in rows if row.state in ("pending", "ready") and not row.is_ghost]
    return [_told(row) for row in rows if row not in waiting], planned_for(contact, waiting, now)


def _told(row: Any) -> Told:
    # Who is held out for measurement goes through all the motions and gets nothing.
    reason = "holdout" if row.is_ghost else row.reason
    return Told(
        message=row,
        subject=row.subject or str(row.template),
        words=_("not sent") if row.is_ghost else row.get_state_display(),
        colour="is-violet" if row.is_ghost else _COLOURS.get(row.state, ""),
        reason=reasons.sentence(reason) if reason else "",
        at=row.at,
        is_opened=row.is_opened,
        is_clicked=row.is_clicked,
    )
