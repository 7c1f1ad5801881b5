"""Triggers by date: what has come since they were last asked becomes touchpoints, `date.reached`, once for each person.

How far dates were asked stands in the database (`DatesAsked`), and so does each date that fired (`Occasion`): ticks may
be doubled, late or left out. What was missed in an outage still fires within the journey's grace, for those who are
meant now.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from typing import Any

import structlog
from django.conf import settings
from django.core.exceptions import EmptyResultSet
from django.db.models import TextField
from django.db.models.functions import Cast

from campaigns.cadence import wall_times
from campaigns.conditions import is_meant, piece
from campaigns.models import DatesAsked, Journey
from campaigns.triggers import dates_of, grace_of, instant_of, offset_of
from contacts.models import Contact
from contacts.rulefields import Vocabulary
from contacts.rules import RuleError
from contacts.sql import Fragment, fragment, load

SQL = load(__file__)
log = structlog.get_logger(__name__)

# A wall time comes at most so much earlier or later than the same time of UTC.
_EARLIEST, _LATEST = timedelta(hours=15), timedelta(hours=13)
# News by which a date may move: of who is there, and of their fields.
_NEWS = {"contact.created", "contact.identified", "contact.merged", "contact.updated"}


@dataclass(frozen=True)
class _Span:
    """What of a journey's dates is to be told: between `since` and `until`, and from `floor` for whom it was moved."""

    journey: Journey
    place: int
    floor: datetime
    since: datetime
    until: datetime
    now: datetime

    @property
    def params(self) -> dict[str, Any]:
        return {
            "journey": self.journey.pk,
            "journey_key": self.journey.key,
            "place": self.place,
            "now": self.now,
            "zone": settings.TIME_ZONE,
        }


def reach_dates(
    journeys: list[Journey], now: datetime, after: int, upto: int, kinds: set[str], names: Vocabulary
) -> int:
    """Tells of every date of these live journeys that has come; how many were told.

    The window, with the kinds in it, tells who changed: their dates count although they lie a little behind.
    """
    # A clock shows whole minutes.
    minute = now.replace(second=0, microsecond=0)
    told = 0
    for journey in journeys:
        assert journey.version is not None
        dates = dates_of(journey.version.definition)
        if not dates:
            continue
        asked = DatesAsked.objects.filter(journey=journey).first()
        if asked and asked.until >= minute and not kinds & _NEWS:
            continue
        floor = minute - grace_of(journey.version.definition)
        since = max(asked.until if asked else journey.version.published_at, floor)
        for place, date, who in dates:
            span = _Span(journey, place, floor, since, minute, now)
            try:
                told += _reach(span, date, who, (after, upto), names)
            except RuleError as error:
                log.error("date_trigger_unreadable", journey=journey.key, error=str(error))
        if asked is None or asked.until < minute:
            DatesAsked.objects.update_or_create(journey=journey, defaults={"until": max(since, minute)})
    return told


def _reach(span: _Span, date: Mapping[str, Any], who: Any, window: tuple[int, int], names: Vocabulary) -> int:
    meant = is_meant(who, span.now, names) if who is not None else Fragment("true")
    if "field" in date:
        return _reach_fields(span, date, meant, window, names)
    return _reach_walls(span, date, meant, window)


def _moved(fields: list[str], window: tuple[int, int]) -> Fragment:
    after, upto = window
    return Fragment(SQL["told_of_fields"].sql, {"after": after, "upto": upto, "fields": fields})


# By the clock on the wall --------------------------------------------------------------------------------------------


def _reach_walls(span: _Span, date: Mapping[str, Any], meant: Fragment, window: tuple[int, int]) -> int:
    # Who moves to another zone is not told of what lay there before the journey went live.
    assert span.journey.version is not None
    floor = max(span.floor, span.journey.version.published_at)
    walls = _walls(date, floor, span.until)
    due = SQL["due_walls"].rows(
        numbers=list(range(len(walls))),
        walls=[None if wall.tzinfo else wall for wall in walls],
        instants=[wall if wall.tzinfo else None for wall in walls],
        zone=settings.TIME_ZONE,
        since=span.since,
        floor=floor,
        now=span.until,
    )  # fmt: skip
    if not due:
        return 0
    return SQL["reach_walls"].run(
        fragments={"who": meant, "moved": _moved(["timezone"], window)},
        zones=[zone for zone, _number, _instant, _late in due],
        keys=[walls[number].isoformat(timespec="minutes") for _zone, number, _instant, _late in due],
        instants=[instant for _zone, _number, instant, _late in due],
        late=[late for _zone, _number, _instant, late in due],
        **span.params,
    )


def _walls(date: Mapping[str, Any], floor: datetime, until: datetime) -> list[datetime]:
    """The wall times, or the one instant, that may have come somewhere in the world between two instants."""
    begin, end = (moment.astimezone(UTC).replace(tzinfo=None) for moment in (floor, until))
    begin, end = begin - _LATEST, end + _EARLIEST
    if "rrule" in date:
        return list(takewhile(lambda wall: wall <= end, wall_times(date, begin)))
    moment = instant_of(date["at"])
    if moment.tzinfo:
        return [moment] if floor < moment <= until else []
    return [moment] if begin <= moment <= end else []


# By a field ----------------------------------------------------------------------------------------------------------


def _reach_fields(
    span: _Span, date: Mapping[str, Any], meant: Fragment, window: tuple[int, int], names: Vocabulary
) -> int:
    field = names.field(date["field"])
    if field is None:
        raise RuleError("field", f"There is no field {date['field']}.")
    offset = offset_of(date.get("offset"))
    shift = timedelta(days=offset["days"], seconds=offset["seconds"])
    wide = timedelta(days=2)
    first, last = span.floor - shift - wide, span.until - shift + wide
    value = field.expression(span.now)
    people = Contact.objects.living().annotate(told_of=value)
    if field.type == "date":
        people = people.filter(told_of__gte=first.date(), told_of__lte=last.date())
        day, wall = Cast("told_of", TextField()), "d.day::date + {at}::time"
    else:
        people = people.filter(told_of__gte=first, told_of__lte=last)
        day, wall = Cast("told_of", TextField()), "d.day::timestamptz AT TIME ZONE z.zone"
        if "at" in date:
            wall = f"({wall})::date + {{at}}::time"
    try:
        dated = fragment(people.annotate(day=day).order_by().values("id", "zone", "day"))
    except EmptyResultSet:
        return 0
    moved = _moved([field.told or field.key, "timezone"], window)
    return SQL["reach_fields"].run(
        fragments={
            "who": meant,
            "dated": dated,
            "wall": piece(wall, at=date.get("at")),
            "moved": moved,
            # Within a minute that everybody was asked for, only whose date moved is asked.
            "only": Fragment("true") if span.since < span.until else piece("d.id IN ({moved})", moved=moved),
        },
        name=f"{date['field']}{_signed(date)}:",
        days=offset["days"],
        seconds=offset["seconds"],
        since=span.since,
        floor=span.floor,
        until=span.until,
        **span.params,
    )


def _signed(date: Mapping[str, Any]) -> str:
    """What tells two triggers on the same field apart: days before or after."""
    return str(date.get("offset") or "")
