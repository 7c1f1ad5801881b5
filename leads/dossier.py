"""The dossier: all that a rep should know of one person before he calls, read in a fixed number of queries."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.contrib.postgres.expressions import ArraySubquery
from django.db.models import Exists, OuterRef, Subquery, TextField
from django.db.models.fields.json import KT
from django.db.models.functions import Cast, Coalesce
from django.utils.translation import get_language_info
from django.utils.translation import gettext as _

from contacts import timeline
from contacts.models import Consent, Contact, Touchpoint
from leads.models import Lead, LeadQuerySet
from leads.wording import in_language
from messaging import reasons
from messaging.models import Holdout, Message, SendingPolicy, Topic
from scoring.waterfalls import Bar, Score, scores_of

REASONS = 5
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


@dataclass(frozen=True)
class Dossier:
    scores: list[Score]
    reasons: list[Bar]
    allowed: list[Allowed]
    messages: list[Told]
    story: timeline.Page
    language: str
    # Journeys that hold this person out (their keys), and whether all marketing does.
    held_out: list[str]
    is_held_out: bool


def dossier(lead: Lead, now: datetime, before: str = "") -> Dossier:
    """All about a lead's contact at `now`; `before` turns the timeline to an earlier page."""
    scores = scores_of(lead.contact, now)
    bars = sorted((bar for score in scores for bar in score.bars), key=lambda bar: -bar.worth)
    return Dossier(
        scores=scores,
        # Who they are (fit) is no reason to call today; what they did is.
        reasons=[bar for bar in bars if bar.worth > 0 and bar.events][:REASONS],
        allowed=allowed(lead.contact),
        messages=messages_to(lead.contact),
        story=timeline.page(lead.contact, before=before),
        language=_language(lead.contact.language),
        held_out=list(dict.fromkeys(getattr(lead, "held_out", []))),
        is_held_out=getattr(lead, "is_held_out", False),
    )


def _language(code: str) -> str:
    """A language's name; a code that nobody knows as it was told."""
    try:
        return str(get_language_info(code)["name_translated"])
    except KeyError:
        return code


# What they allow -----------------------------------------------------------------------------------------------------


def allowed(contact: Contact) -> list[Allowed]:
    """What a person allows by e-mail, topic by topic; one line where they refused all."""
    said = Consent.objects.filter(contact=contact, channel="email")
    topics = Topic.objects.annotate(
        said=Subquery(said.filter(topic=OuterRef("key")).values("state")[:1]),
        is_all_refused=Exists(said.filter(topic="", state="denied")),
    )
    found: list[Any] = list(topics)
    if found and found[0].is_all_refused:
        return [Allowed(_("All e-mail"), _("refused"), "is-bad")]
    return [_allowed(topic) for topic in found]


def _allowed(topic: Any) -> Allowed:
    name = in_language(topic.names, topic.name)
    if topic.said == "granted":
        return Allowed(name, _("allowed"), "is-good")
    if topic.said == "denied":
        return Allowed(name, _("refused"), "is-bad")
    if topic.said == "pending":
        return Allowed(name, _("awaits confirmation"), "is-warn")
    return Allowed(name, _("never asked"), "") if topic.is_opt_in else Allowed(name, _("until they refuse"), "is-good")


def with_holdouts(leads: LeadQuerySet) -> LeadQuerySet:
    """Leads that know which journeys hold their contact out (`held_out`, keys), and whether all marketing does."""
    entries = Touchpoint.objects.filter(contact=OuterRef("contact"), kind="journey.entered", properties__held_out=True)
    drawn = Holdout.objects.filter(contact=OuterRef("contact"), scope="global", is_held=True)
    return leads.annotate(
        held_out=ArraySubquery(entries.order_by("pk").annotate(journey=KT("properties__journey")).values("journey")),
        is_held_out=Exists(drawn) & Exists(SendingPolicy.objects.filter(global_holdout__gt=0)),
    )


# What they were sent -------------------------------------------------------------------------------------------------


def messages_to(contact: Contact) -> list[Told]:
    """The newest messages to a contact with what became of each, also those that were held back."""
    heard = Touchpoint.objects.filter(contact=contact).annotate(message=KT("properties__message"))
    of_it = heard.filter(message=Cast(OuterRef("pk"), TextField()))
    rows = (
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
    return [_told(row) for row in rows]


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
