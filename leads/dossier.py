"""The dossier: all that a rep should know of one person before he calls, read in a fixed number of queries."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from django.utils.translation import get_language_info

from contacts import timeline
from leads.contacting import Allowed, Told, allowed, messages_to
from leads.models import Lead
from leads.person import Colleague, Origin, colleagues_of, origin_of
from leads.standing import Standing, standing_of
from leads.written import Written, written_of
from messaging.planned import Planned
from scoring.waterfalls import Bar, Score, scores_of

REASONS = 5
# A score's trend is its change since then.
TREND = timedelta(days=7)


@dataclass(frozen=True)
class Dossier:
    """`trend` is by how many points the first score changed within a week; None where there is no score."""

    standing: Standing
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
    messages, planned = messages_to(lead.contact, now)
    written = written_of(lead)
    about = about if about in timeline.SUBJECTS else ""
    return Dossier(
        standing=standing_of(lead, now),
        scores=scores,
        trend=_trend(scores[0], now) if scores else None,
        reasons=reasons_of(scores),
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


def reasons_of(scores: list[Score]) -> list[Bar]:
    """What speaks most for a call today: what a person did; who they are (fit) is no reason for today."""
    bars = sorted((bar for score in scores for bar in score.bars), key=lambda bar: -bar.worth)
    return [bar for bar in bars if bar.worth > 0 and bar.events][:REASONS]


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


def _trend(score: Score, now: datetime) -> float | None:
    """By how much the score differs from what it was a week ago."""
    before = [value for at, value in score.curve.points if at <= now - TREND] if score.curve else []
    return score.value - before[-1] if before else None


def _language(code: str) -> str:
    """A language's name; a code that nobody knows as it was told."""
    try:
        return str(get_language_info(code)["name_translated"])
    except KeyError:
        return code
