"""The dossier: all that a rep should know of one person before he calls, read in a fixed number of queries."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any

from django.contrib.postgres.expressions import ArraySubquery
from django.db.models import Exists, F, OuterRef, Subquery, TextField
from django.db.models.fields.json import KT
from django.db.models.functions import Cast, Coalesce
from django.utils.translation import get_language_info, ngettext
from django.utils.translation import gettext as _

from contacts import timeline
from contacts.models import Consent, Contact, Touchpoint
from leads.models import Lead, LeadQuerySet
from leads.wording import in_language
from messaging import reasons
from messaging.models import Holdout, Message, SendingPolicy, Topic
from scoring.models import ContactScore, ScoreModel
from scoring.points import Fall, waterfall

# The queries of a page must not grow with the number of scores.
SCORES = 2
RULES = 8
DAYS = 10
REASONS = 5
MESSAGES = 12

_COLOURS = {
    "sent": "is-good", "pending": "is-info", "ready": "is-info", "sending": "is-info", "uncertain": "is-warn",
    "skipped": "is-warn", "failed": "is-bad",
}  # fmt: skip


@dataclass(frozen=True)
class Bar:
    """What one rule gives to a score: its days, and where its bar begins and how long it is, in per cent."""

    name: str
    events: int
    first_at: datetime
    last_at: datetime
    earned: float
    worth: float
    fading: str
    days: list[Fall]
    start: float
    length: float
    colour: str


@dataclass(frozen=True)
class Score:
    """A score now with its bars, one after the other, the largest first; `line` is where a person qualifies."""

    model: ScoreModel
    value: float
    bars: list[Bar]
    zero: float
    start: float
    length: float
    line: float | None


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


# Why this score ------------------------------------------------------------------------------------------------------


def scores_of(contact: Contact, now: datetime) -> list[Score]:
    """The scores that say most of a contact, with each point they are made of; first the one furthest over its line."""
    rows = (
        ContactScore.objects.filter(contact=contact)
        .select_related("model")
        .order_by((F("value") - F("model__qualify_at")).desc(nulls_last=True), "-value", "model__key")[:SCORES]
    )
    return [_score(row.model, waterfall(contact, row.model, now)) for row in rows]


def _score(model: ScoreModel, falls: list[Fall]) -> Score:
    rules = sorted(
        ([*days] for _key, days in groupby(sorted(falls, key=lambda fall: fall.rule), key=lambda fall: fall.rule)),
        key=lambda days: -_worth(days),
    )
    value = _worth(falls)
    floor = min(value, 0)
    top = max(sum(_worth(days) for days in rules if _worth(days) > 0), model.qualify_at or 0, 1)
    # A little air on the right, so that the mark is seen where it is the highest.
    scale = 96 / (top - floor)
    shown, rest = (rules, []) if len(rules) <= RULES else (rules[: RULES - 1], rules[RULES - 1 :])
    bars, reached = [], 0.0
    for days in shown:
        bars.append(_bar(days[0].name, days, reached - floor, scale))
        reached += _worth(days)
    if rest:
        days = [fall for days in rest for fall in days]
        bars.append(_bar(_("Everything else"), days, reached - floor, scale))
    return Score(
        model=model,
        value=value,
        bars=bars,
        zero=round(-floor * scale, 2),
        start=round((min(value, 0) - floor) * scale, 2),
        length=round(abs(value) * scale, 2),
        line=None if model.qualify_at is None else round((model.qualify_at - floor) * scale, 2),
    )


def _bar(name: str, days: list[Fall], reached: float, scale: float) -> Bar:
    worth = _worth(days)
    return Bar(
        name=name,
        events=sum(fall.events for fall in days),
        first_at=min(fall.first_at for fall in days),
        last_at=max(fall.last_at for fall in days),
        earned=sum(fall.earned for fall in days),
        worth=worth,
        fading=_fading({fall.half_life for fall in days}),
        days=sorted((fall for fall in days if fall.events), key=lambda fall: fall.last_at, reverse=True)[:DAYS],
        start=round((reached + min(worth, 0)) * scale, 2),
        length=round(abs(worth) * scale, 2),
        colour="is-good" if worth >= 0 else "is-bad",
    )


def _worth(falls: Iterable[Fall]) -> float:
    return sum(fall.worth for fall in falls)


def _fading(half_lives: set[timedelta | None]) -> str:
    """How points fade, in words; empty where they do not, or not all alike."""
    half_life = half_lives.pop() if len(half_lives) == 1 else None
    if half_life is None:
        return ""
    if half_life < timedelta(days=2):
        hours = round(half_life / timedelta(hours=1))
        return ngettext("halves every %(count)d hour", "halves every %(count)d hours", hours) % {"count": hours}
    return ngettext("halves every %(count)d day", "halves every %(count)d days", half_life.days) % {
        "count": half_life.days
    }


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
