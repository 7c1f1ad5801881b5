"""Working time: when a team or a rep is at work, by their clock, less holidays and absences.

Hours are text as people write it: “mon-thu 09:00-12:00,13:00-17:00; fri 09:00-15:00 Europe/Prague”. A wall time that
the clock jumps over means the first minute after the jump; one that comes twice means the first, as everywhere here.
"""

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, available_timezones

from django.conf import settings
from django.utils.translation import gettext as _

from contacts.calendars import countries, is_holiday

DAYS = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
_WINDOW = re.compile(r"([0-9]{2}):([0-9]{2})-([0-9]{2}):([0-9]{2})")
_MIDNIGHT = 24 * 60
# Whoever does not work within so many days is taken for never at work.
FAR = 800
# No promise is shorter: within a tick every lead would be late before anybody could see it, and go round and round.
SHORTEST_SLA = timedelta(minutes=1)


class HoursError(ValueError):
    """Working hours that cannot be read; the text says what is wrong with them."""


@dataclass(frozen=True)
class Hours:
    """The windows of each weekday from Monday on, in minutes after midnight, by the clock of a zone."""

    week: tuple[tuple[tuple[int, int], ...], ...]
    zone: str

    def local_day(self, instant: datetime) -> date:
        return instant.astimezone(ZoneInfo(self.zone)).date()


@lru_cache(maxsize=1_000)
def parse_hours(text: str) -> Hours:
    """Reads working hours; none written means always, and no zone the workspace's. Raises HoursError."""
    text = " ".join(text.split())
    if not text:
        return Hours(tuple(((0, _MIDNIGHT),) for _day in DAYS), settings.TIME_ZONE)
    *parts, last = [part.strip() for part in text.split(";")]
    words = last.split(" ")
    zone = settings.TIME_ZONE
    if words and ":" not in words[-1] and words[-1].lower()[:3] not in DAYS:
        zone = words.pop()
    if zone not in available_timezones():
        raise HoursError(_("There is no time zone “%(zone)s”; write one such as Europe/Prague.") % {"zone": zone})
    week: list[list[tuple[int, int]]] = [[] for _day in DAYS]
    for part in [*parts, " ".join(words)]:
        days, _space, windows = part.partition(" ")
        if not windows:
            raise HoursError(
                _("“%(part)s” is not a day with its hours; write it like mon-fri 09:00-17:00.") % {"part": part}
            )
        for day in _days(days):
            week[day] += [_window(window) for window in windows.replace(" ", "").split(",")]
    for day, windows_of_day in enumerate(week):
        windows_of_day.sort()
        for (_start, end), (start, _end) in zip(windows_of_day, windows_of_day[1:], strict=False):
            if start < end:
                raise HoursError(_("Two windows of %(day)s overlap.") % {"day": DAYS[day]})
    return Hours(tuple(tuple(windows_of_day) for windows_of_day in week), zone)


def _days(text: str) -> list[int]:
    """`mon-fri` or `mon,wed`: the numbers of the days; `sat-mon` goes over the end of the week."""
    days: list[int] = []
    for piece in text.lower().split(","):
        first, _dash, last = piece.partition("-")
        for name in (first, last or first):
            if name not in DAYS:
                raise HoursError(
                    _("“%(name)s” is no day; days are %(days)s.") % {"name": name, "days": ", ".join(DAYS)}
                )
        start, end = DAYS.index(first), DAYS.index(last or first)
        days += [day % 7 for day in range(start, end + 1 if end >= start else end + 8)]
    return days


def _window(text: str) -> tuple[int, int]:
    match = _WINDOW.fullmatch(text)
    if not match:
        raise HoursError(_("“%(text)s” is no span of the day; write it like 09:00-17:00.") % {"text": text})
    hour, minute, to_hour, to_minute = (int(number) for number in match.groups())
    start, end = hour * 60 + minute, to_hour * 60 + to_minute
    if minute > 59 or to_minute > 59 or end > _MIDNIGHT:
        raise HoursError(_("“%(text)s”: a day goes from 00:00 to 24:00.") % {"text": text})
    if end <= start:
        raise HoursError(
            _("“%(text)s” ends before it begins; write a night as mon 22:00-24:00; tue 00:00-06:00.") % {"text": text}
        )
    return start, end


def check_holidays(codes: Iterable[str]) -> list[str]:
    """Codes of countries in one written form. Raises HoursError with a sentence for one without a calendar."""
    found = []
    for code in codes:
        code = code.strip().upper()
        if code not in countries():
            raise HoursError(_("There is no calendar of holidays for “%(code)s”; write CZ or SK.") % {"code": code})
        found.append(code)
    return sorted(set(found))


def instant_of(day: date, minute: int, zone: str) -> datetime:
    """The instant of a wall time, 1440 being the next midnight."""
    wall = datetime.combine(day, time()) + timedelta(minutes=minute)
    there = wall.replace(tzinfo=ZoneInfo(zone))
    instant = there.astimezone(UTC)
    if instant.astimezone(ZoneInfo(zone)).replace(tzinfo=None) == wall:
        return instant
    # The clock jumps over it. The offset after the jump leads to a moment before it, that before it to one after.
    low, high = there.replace(fold=1).astimezone(UTC), instant
    while high - low > timedelta(minutes=1):
        middle = low + (high - low) // 2
        if middle.astimezone(ZoneInfo(zone)).replace(tzinfo=None) < wall:
            low = middle
        else:
            high = middle
    return high.replace(second=0, microsecond=0)


@dataclass(frozen=True)
class Calendar:
    """When somebody works: their hours less the holidays of countries and whole days away."""

    hours: Hours
    holidays: tuple[str, ...] = ()
    # First and last day away, both included.
    away: tuple[tuple[date, date], ...] = ()

    def is_away(self, day: date) -> bool:
        return any(first <= day <= last for first, last in self.away)

    def away_until(self, now: datetime) -> date | None:
        """The last day of the absence that covers this moment; one that follows at once is part of it."""
        day, last = self.hours.local_day(now), None
        while self.is_away(day):
            last = max(until for first, until in self.away if first <= day <= until)
            if last == date.max:
                # “For good”: no day follows it.
                break
            day = last + timedelta(days=1)
        return last

    def windows(self, since: datetime) -> Iterator[tuple[datetime, datetime]]:
        """The spans at work from this moment on, in order; the one that is going on begins at the moment itself."""
        day = self.hours.local_day(since)
        for _day in range(FAR):
            if not self.is_away(day) and not any(is_holiday(code, day) for code in self.holidays):
                for start, end in self.hours.week[day.weekday()]:
                    begins = max(instant_of(day, start, self.hours.zone), since)
                    ends = instant_of(day, end, self.hours.zone)
                    if begins < ends:
                        yield begins, ends
            day += timedelta(days=1)

    def at_work_from(self, now: datetime) -> datetime | None:
        """Now, if it is working time; else when it begins next. None for who does not work any more."""
        return next((begins for begins, _ends in self.windows(now)), None)

    def add(self, start: datetime, span: timedelta) -> datetime | None:
        """The moment at which so much working time has passed since `start`; None where there is not so much of it."""
        left = span
        for begins, ends in self.windows(start):
            if left <= ends - begins:
                return begins + left
            left -= ends - begins
        return None


def calendar(hours: str, holidays: Collection[str] = (), away: Iterable[tuple[date, date]] = ()) -> Calendar:
    """The calendar of these hours. Raises HoursError."""
    return Calendar(parse_hours(hours), tuple(holidays), tuple(away))
