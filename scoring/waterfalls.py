"""Waterfalls: why a score is what it is, at any instant, rule by rule; as numbers and as a drawing.

One component for everybody who asks: the page of a contact, the sales workspace, REST and `manage.py explain`. The
template is `scoring/waterfall.html`.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import groupby

from django.db.models import F
from django.utils.translation import gettext as _

from contacts.models import Contact
from contacts.sql import load
from scoring.models import ContactScore, ScoreModel
from scoring.points import Fall, waterfalls
from scoring.rulewords import halves

SQL = load(__file__)

RULES = 8
DAYS = 10
# What the curve shows.
PAST, FUTURE = timedelta(days=90), timedelta(days=30)


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
class Curve:
    """A score from day to day as a drawing of 600 × 100: what was, and what will be left if nothing more happens.

    `past` and `future` are paths of SVG that meet at `now_x`; `line_y` is where a person qualifies; `points` are the
    numbers themselves, by instant.
    """

    past: str
    future: str
    now_x: float
    line_y: float | None
    points: list[tuple[datetime, float]]
    at: datetime

    @property
    def first(self) -> tuple[datetime, float]:
        return self.points[0]

    @property
    def last(self) -> tuple[datetime, float]:
        return self.points[-1]


@dataclass(frozen=True)
class Score:
    """A score at an instant with its bars, one after the other, the largest first; `line` is where a person qualifies.

    `falls_at` is when it falls under the line, if nothing more happens; `curve` is the way there and on.
    """

    model: ScoreModel
    value: float
    bars: list[Bar]
    zero: float
    start: float
    length: float
    line: float | None
    falls_at: datetime | None = None
    curve: Curve | None = None


def scores_of(contact: Contact, now: datetime, most: int = 2) -> list[Score]:
    """The scores that say most of a contact at an instant, with each point they are made of; first the one furthest
    over its line, and at most so many. Three queries for a moment like now, four for the past.
    """
    rows = list(
        ContactScore.objects.filter(contact=contact)
        .select_related("model")
        .order_by((F("value") - F("model__qualify_at")).desc(nulls_last=True), "-value", "model__key")[:most]
    )
    models = [row.model for row in rows]
    falls, curves = waterfalls(contact, models, now), _curves(contact, models, now)
    falls_at = falls_under(contact, rows, now)
    return [
        replace(
            _score(row.model, falls[row.model.pk]),
            falls_at=falls_at.get(row.model.pk),
            curve=curves.get(row.model.pk),
        )
        for row in rows
    ]


def falls_under(contact: Contact, rows: list[ContactScore], now: datetime) -> dict[int, datetime | None]:
    """When scores fall under their lines if nothing more happens after an instant, by the score's id.

    Only of those that are over it. In the past, that is who was high enough to rise: whether somebody a little lower
    had been over it before and stayed, nobody knows any more.
    """
    scores = {row.model.pk: row for row in rows}
    if all(row.computed_at <= now for row in rows):
        # The tick said so when points last changed, and nothing has happened since.
        return {pk: row.falls_at for pk, row in scores.items() if row.is_over}
    return {
        pk: falls_at
        for pk, value, falls_at in SQL["falls_under"].rows(contact=contact.pk, models=list(scores), now=now)
        if value >= scores[pk].model.qualify_at
    }


def curve_of(standing: ContactScore, at: datetime) -> list[tuple[datetime, float]]:
    """A score from day to day around an instant, as it was and will be if nothing more happens."""
    found = _curves(standing.contact, [standing.model], at)
    return found[standing.model.pk].points if found else []


def _curves(contact: Contact, models: list[ScoreModel], at: datetime) -> dict[int, Curve]:
    points: dict[int, list[tuple[datetime, float]]] = {}
    asked = [model.pk for model in models]
    rows = SQL["curves"].rows(contact=contact.pk, models=asked, since=at - PAST, until=at + FUTURE)
    for pk, instant, value in rows:
        points.setdefault(pk, []).append((instant, value))
    return {model.pk: _curve(points[model.pk], model.qualify_at, at) for model in models if model.pk in points}


def _curve(points: list[tuple[datetime, float]], line: float | None, at: datetime) -> Curve:
    values = [value for _instant, value in points]
    top, floor = max(*values, line or 0, 1), min(*values, 0)
    scale = 94 / (top - floor)

    def x(instant: datetime) -> float:
        return round((instant - at + PAST) / (PAST + FUTURE) * 600, 1)

    def y(value: float) -> float:
        return round(97 - (value - floor) * scale, 1)

    def path(some: list[tuple[datetime, float]]) -> str:
        return "M" + "L".join(f"{x(instant)} {y(value)}" for instant, value in some)

    return Curve(
        past=path([point for point in points if point[0] <= at]),
        future=path([point for point in points if point[0] >= at]),
        now_x=x(at),
        line_y=None if line is None else y(line),
        points=points,
        at=at,
    )


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
    return "" if half_life is None else halves(half_life)
