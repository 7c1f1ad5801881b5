"""Holidays by country, as everybody heeds them who waits, casts or holds back mail: one calendar for all.

They are the public holidays of the whole country; what only a region keeps is no holiday here.
"""

from collections.abc import Iterable
from datetime import date, timedelta
from functools import cache, lru_cache

import holidays
from babel.core import get_global
from django.conf import settings

# No run of holidays and weekends is longer, in any country.
LONGEST_RUN = timedelta(days=21)


@cache
def countries() -> frozenset[str]:
    """The ISO codes of the countries that have a calendar here."""
    return frozenset(holidays.list_supported_countries(include_aliases=False))


def holidays_of(country: str, years: Iterable[int]) -> dict[date, str]:
    """The holidays of a country in these years, with their names there; none for a country without a calendar."""
    found: dict[date, str] = {}
    for year in years:
        found |= _holidays_of_year(country, year)
    return found


@lru_cache(maxsize=1_000)
def _holidays_of_year(country: str, year: int) -> dict[date, str]:
    if country not in countries():
        return {}
    # Under a year's key an observed holiday may stand that falls into the next one.
    return {day: name for day, name in holidays.country_holidays(country, years=year).items() if day.year == year}


def calendar_of(country: str) -> str:
    """Whose holidays count for a person of this country: its own; else, as for an unknown country, those at home.

    Home is where the house's time zone is.
    """
    code = country.strip().upper()
    if code in countries():
        return code
    home = str(get_global("zone_territories").get(settings.TIME_ZONE, ""))
    return home if home in countries() else ""


def is_holiday(calendar: str, day: date) -> bool:
    return day in _holidays_of_year(calendar, day.year)


def next_workday(calendar: str, day: date, *, may_be_weekend: bool = False) -> date:
    """The day itself where it is no holiday, else the next that is neither a holiday nor, as told, a weekend's day."""
    if not is_holiday(calendar, day):
        return day
    end = day + LONGEST_RUN
    while day < end:
        day += timedelta(days=1)
        if not is_holiday(calendar, day) and (may_be_weekend or day.weekday() < 5):
            break
    return day
