"""The dossier: all that a rep should know of one person before he calls, read in a fixed number of queries."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import groupby

from django.db.models import F
from django.utils.translation import get_language_info, ngettext
from django.utils.translation import gettext as _

from contacts import timeline
from contacts.models import Contact
from leads.contacting import Allowed, Told, allowed, messages_to
from leads.models import Lead
from leads.person import Colleague, Origin, colleagues_of, origin_of
from leads.written import Written, written_of
from messaging.planned import Planned
from scoring.models import ContactScore, ScoreModel
from scoring.points import Fall, waterfall

# The queries of a page must not grow with the number of scores.
SCORES = 2
RULES = 8
DAYS = 10
REASONS = 5
# A score's trend is its change since then.
TREND = timedelta(days=7)


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
    falls: list[Fall]
    bars: list[Bar]
    zero: float
    start: float
    length: float
    line: float | None


@dataclass(frozen=True)
class Dossier:
    """`trend` is by how many points the first score changed within a week; None where there is no score."""

    scores: list[Score]
    trend: float | None
    reasons: list[Bar]
    allowed: list[Allowed]
    messages: list[Told]
    planned: list[Planned]
    activities: list[Written]
    story: timeline.Page
    about: str
    language: str
    origin: Origin | None
    colleagues: list[Colleague]
    # Journeys that hold this person out (their keys), and whether all marketing does.
    held_out: list[str]
    is_held_out: bool


def dossier(lead: Lead, now: datetime, before: str = "", about: str = "") -> Dossier:
    """All about a lead's contact at `now`; `before` turns the timeline to an earlier page, `about` narrows it."""
    scores = scores_of(lead.contact, now)
    bars = sorted((bar for score in scores for bar in score.bars), key=lambda bar: -bar.worth)
    messages, planned = messages_to(lead.contact, now)
    written = written_of(lead)
    about = about if about in timeline.SUBJECTS else ""
    return Dossier(
        scores=scores,
        trend=_trend(scores[0], now) if scores else None,
        # Who they are (fit) is no reason to call today; what they did is.
        reasons=[bar for bar in bars if bar.worth > 0 and bar.events][:REASONS],
        allowed=allowed(lead),
        messages=messages,
        planned=planned,
        activities=written,
        story=_in_words(timeline.page(lead.contact, before=before, about=about), written),
        about=about,
        language=_language(lead.contact.language),
        origin=origin_of(lead),
        colleagues=colleagues_of(lead),
        held_out=list(dict.fromkeys(getattr(lead, "held_out", []))),
        is_held_out=getattr(lead, "is_held_out", False),
    )


def _in_words(story: timeline.Page, written: list[Written]) -> timeline.Page:
    """The story with what was written: the stream knows only that a note or a call there was."""
    words = {one.pk: one for one in written}
    for day in story.days:
        for place, entry in enumerate(day.entries):
            told = entry.touchpoint.properties
            number = told.get("activity") if isinstance(told, dict) else None
            one = words.get(number) if isinstance(number, int) else None
            if one is not None:
                said = [one.outcome, one.body]
                day.entries[place] = replace(entry, detail=" · ".join(filter(None, said)))
    return story


def _trend(score: Score, now: datetime) -> float:
    """What the score is worth more than a week ago, told by the days of its ledger: what was there has faded since."""
    before = now - TREND
    return score.value - sum(
        fall.worth * (2 ** (TREND / fall.half_life) if fall.half_life else 1)
        for fall in score.falls
        if fall.last_at <= before
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
        falls=falls,
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
