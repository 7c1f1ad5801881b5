"""Civil hours: whose clock counts for whom, and on which days nobody is written to.

Both are tables that the statement of the gates joins: made once a day for all countries, never for one person.
"""

from collections import defaultdict
from datetime import date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from babel.core import get_global

from contacts.calendars import LONGEST_RUN, calendar_of, countries, is_holiday
from contacts.models import Zone

# Somewhere it is still yesterday, or tomorrow already; and what waits for the next day asks about that one too.
_BEFORE, _AFTER = 1, 2


@lru_cache(maxsize=8)
def closed_days(today: date, sundays: bool, holidays: bool) -> tuple[tuple[str, date, date], ...]:
    """The days about `today` (by UTC) on which nobody is written to: calendar, day, and the next day that is open.

    The calendar is a country with holidays of its own, or "": everybody, where only Sundays are quiet.
    """
    window = [today + timedelta(days=number) for number in range(-_BEFORE, _AFTER + 1)]
    found = []
    for calendar in sorted(countries()) if holidays else [""] if sundays else []:
        for day in window:
            if _is_closed(calendar, day, sundays, holidays):
                found.append((calendar, day, _opens(calendar, day, sundays, holidays)))
    return tuple(found)


def _is_closed(calendar: str, day: date, sundays: bool, holidays: bool) -> bool:
    return (sundays and day.isoweekday() == 7) or (holidays and is_holiday(calendar, day))


def _opens(calendar: str, day: date, sundays: bool, holidays: bool) -> date:
    """The next day that is open; where a year had none, the end of the longest run that a calendar knows."""
    end = day + LONGEST_RUN
    while day < end:
        day += timedelta(days=1)
        if not _is_closed(calendar, day, sundays, holidays):
            break
    return day


def home_calendar(holidays: bool) -> str:
    """Whose holidays count for people of a country that nobody knows."""
    return calendar_of("") if holidays else ""


@lru_cache(maxsize=1)
def zones_of_countries() -> dict[str, str]:
    """The time zone of each country that has one clock all year round; of the others nothing follows."""
    known = set(Zone.objects.values_list("name", flat=True))
    by_country = defaultdict(list)
    for zone, country in sorted(get_global("zone_territories").items()):
        if zone in known and len(country) == 2 and country.isalpha():
            by_country[country].append(zone)
    return {country: zones[0] for country, zones in by_country.items() if len({_clock(zone) for zone in zones}) == 1}


def _clock(zone: str) -> tuple[timedelta | None, ...]:
    """How far a zone is from UTC, month by month in two years: zones that agree here show the same time."""
    return tuple(
        datetime(year, month, 15, tzinfo=ZoneInfo(zone)).utcoffset() for year in (2026, 2027) for month in range(1, 13)
    )
