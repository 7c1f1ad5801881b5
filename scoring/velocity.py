"""Velocity: how many people enter and leave each stage, up and down, and how long they take, read from the ledger.

The same figures by phases: moves within one phase are none. A stay counts where it ends; a conversion counts where the
stay began. Each number has its list of people, made of the same statement.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db.models import Count, F
from django.utils.formats import number_format
from django.utils.translation import gettext as _

from contacts.models import Contact, ContactQuerySet
from contacts.sql import Fragment, load
from contacts.stages import LADDER, STAGES
from scoring.phases import NAMES, phase_at, phases
from scoring.stages import overdue

SQL = load(__file__)
MOVES = {"moves_of_period": Fragment(SQL["moves_of_period"].sql)}
# Below so many stays a median is noise.
ENOUGH = 10
READINGS = ("stages", "phases")
PARTS = ("month", "source")
# Of more sources, those with the most moves.
MOST_PARTS = 50
# Days up to now.
PERIODS = ("30", "90", "365")
# What a list of people may be asked for: numbers of `count_velocity`, and who is there now.
WHATS = ("entered", "went_up", "left", "left_up", "left_down", "now", "overdue")


@dataclass(frozen=True)
class Span:
    """What is asked: the moves of a period, read as stages or as phases, and parted by month or by source."""

    since: datetime
    until: datetime
    reading: str = "stages"
    by: str = "month"

    def before(self) -> "Span":
        """The period of the same length that ends where this one begins."""
        return Span(self.since - (self.until - self.since), self.since, self.reading, self.by)


@dataclass(frozen=True)
class Pace:
    """One stage or phase in a period: moves, conversion in per cent, and the days of those who left.

    `part` is a month (2026-11) or a source, None for all of the period. `people` and `late` are of now, and of the
    whole only. `conversion`, `median` and `p90` are None where nobody entered, or left.
    """

    key: str
    label: str
    part: str | None
    entered: int = 0
    went_up: int = 0
    left_up: int = 0
    left_down: int = 0
    median: float | None = None
    p90: float | None = None
    people: int = 0
    late: int = 0

    @property
    def left(self) -> int:
        return self.left_up + self.left_down

    @property
    def conversion(self) -> float | None:
        return round(100 * self.went_up / self.entered, 1) if self.entered else None


def labels(reading: str) -> dict[str, str]:
    """The stages or phases in their order, and what they are called."""
    return {key: str(label) for key, label in (STAGES if reading == "stages" else NAMES.items())}


def _readings(span: Span) -> dict[str, Any]:
    """How each stage reads, and how high that is; what stands beside the ladder is below it."""
    named = phases() if span.reading == "phases" else {key: key for key, _label in STAGES}
    order = [key for key in NAMES if key != "none"] if span.reading == "phases" else LADDER
    ranks = [order.index(name) + 1 if name in order else 0 for name in named.values()]
    return {"stages": list(named), "names": list(named.values()), "ranks": ranks}


def _asked(span: Span, now: datetime) -> dict[str, Any]:
    about = {"since": span.since, "until": span.until, "by": span.by, "now": now, "zone": settings.TIME_ZONE}
    return {**about, **_readings(span)}


def velocity(span: Span, now: datetime) -> list[Pace]:
    """The pace of each stage or phase in their order, first over the whole period, then of each part that has moves.

    Of many sources, the parts are those with the most moves.
    """
    rows = SQL["count_velocity"].rows(fragments=MOVES, **_asked(span, now))
    whole = {row[0]: row[3:] for row in rows if row[2]}
    names = labels(span.reading)
    moves: Counter[str] = Counter()
    for row in rows:
        if not row[2]:
            moves[row[1]] += row[3] + row[5] + row[6]
    most = {part for part, _moves in moves.most_common(MOST_PARTS)}
    here, late = _standing(span.reading, now)
    found = [
        replace(Pace(key, label, None, *whole.get(key, ())), people=here.get(key, 0), late=late.get(key, 0))
        for key, label in names.items()
    ]
    parts = sorted(
        (row for row in rows if not row[2] and row[1] in most),
        key=lambda row: (list(names).index(row[0]), row[1] or ""),
    )
    return found + [Pace(key, names[key], part or "", *figures) for key, part, _is_all, *figures in parts]


def _standing(reading: str, now: datetime) -> tuple[dict[str, int], dict[str, int]]:
    """How many are in each stage or phase now, and how many of these are overdue."""
    here, late = (
        dict(_read(people, reading, now).values_list("read_as").annotate(people=Count("pk")).order_by())
        for people in (Contact.objects.living(), Contact.objects.living().filter(overdue(now)))
    )
    return here, late


def _read(people: ContactQuerySet, reading: str, now: datetime) -> ContactQuerySet:
    """The same people with `read_as`, their stage or phase."""
    return people.annotate(read_as=phase_at(now) if reading == "phases" else F("stage"))


@dataclass(frozen=True)
class Move:
    """One line of a list of people: who, when, from where to where, why, and after how many days there."""

    contact: Contact
    at: datetime
    from_stage: str = ""
    to_stage: str = ""
    reason: str = ""
    days: float | None = None


def people_of(
    span: Span, *, key: str, what: str, part: str | None = None, now: datetime, limit: int = 100, offset: int = 0
) -> tuple[list[Move], int]:
    """The people behind one number, the newest first, and how many lines there are in all."""
    if what in ("now", "overdue"):
        standing = Contact.objects.living().filter(overdue(now)) if what == "overdue" else Contact.objects.living()
        found = _read(standing, span.reading, now).filter(read_as=key).order_by("stage_changed_at", "pk")
        return [
            Move(one, one.stage_changed_at or one.created_at, to_stage=one.stage)
            for one in found[offset : offset + limit]
        ], found.count()
    rows = SQL["list_moves"].rows(
        fragments=MOVES, **_asked(span, now), part=part, what=what, name=key, limit=limit, offset=offset
    )
    people = Contact.objects.in_bulk({row[0] for row in rows})
    return [Move(people[pk], *more) for pk, *more, _people in rows if pk in people], rows[0][-1] if rows else 0


def sentence(paces: Iterable[Pace], before: Iterable[Pace]) -> str:
    """What stands out, in one sentence: the stay that changed most against the period before, else the longest one."""
    now, then = (
        {
            one.key: one
            for one in some
            # How long somebody stays unknown says more about cookies than about people.
            if one.part is None and one.left >= ENOUGH and one.median is not None and one.key != "visitor"
        }
        for some in (paces, before)
    )
    if not now:
        return _("Too few stays have ended in this period to say how long they take.")
    both = [key for key in now if key in then]
    if not both:
        one = max(now.values(), key=lambda pace: pace.median or 0)
        return _("People stay %(days)s days in “%(stage)s” in the median, longer than anywhere else.") % _said(one, 0)
    key = max(both, key=lambda one: abs((now[one].median or 0) - (then[one].median or 0)))
    more = round(now[key].median or 0, 1) - round(then[key].median or 0, 1)
    said = _said(now[key], more)
    if abs(more) < 0.05:
        return _("People stay %(days)s days in “%(stage)s” in the median, as in the period before.") % said
    if more > 0:
        return (
            _("People stay %(days)s days in “%(stage)s” in the median, %(more)s more than in the period before.") % said
        )
    return _("People stay %(days)s days in “%(stage)s” in the median, %(more)s fewer than in the period before.") % said


def _said(pace: Pace, more: float) -> dict[str, str]:
    return {"stage": pace.label, "days": say_days(pace.median), "more": say_days(abs(more))}


def say_days(days: float | None) -> str:
    """A number of days as people read it: one place, none where there is nothing behind the point."""
    if days is None:
        return "–"
    days = round(float(days), 1)
    return str(number_format(days, 0 if days.is_integer() else 1))


def period(days: int, now: datetime, reading: str = "stages", by: str = "month") -> Span:
    """So many days up to now."""
    return Span(now - timedelta(days=days), now, reading, by)
