"""Cadences: when a stream casts, as a recurrence rule over wall times.

Of RFC 5545 only that is allowed which surely names a day again and again: a rule without any day would be searched for
until the year 9999.

A cadence may heed holidays: `skip_holidays: true` those of each person's country, or `[CZ, PL]` those of these
countries for who lives there. A cast on such a day is moved to the next day that is no holiday, and none of a weekend
unless the cadence names one (`on_holiday: move`, the default), or falls out (`skip`).
"""

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from dateutil.rrule import rrule, rrulestr
from django.utils.translation import gettext as _

from campaigns.waits import clock
from contacts.calendars import LONGEST_RUN, calendar_of, countries, is_holiday, next_workday

# From this Monday "every second week" is counted.
ANCHOR = datetime(2024, 1, 1)  # noqa: DTZ001  a wall time, of no zone
_PARTS = {
    "FREQ": r"DAILY|WEEKLY|MONTHLY",
    "INTERVAL": r"[1-9]|1[0-2]",
    "BYDAY": r"-?[1-5]?(MO|TU|WE|TH|FR|SA|SU)(,-?[1-5]?(MO|TU|WE|TH|FR|SA|SU))*",
    "BYMONTHDAY": r"-?([1-9]|[12][0-9]|3[01])(,-?([1-9]|[12][0-9]|3[01]))*",
    "BYMONTH": r"([1-9]|1[0-2])(,([1-9]|1[0-2]))*",
    "WKST": r"MO|SU",
}
PARTS = ["rrule", "at", "skip_holidays", "on_holiday"]
# A cadence that names nothing but holidays, such as each 1 January, casts after them all the same, now and then.
_LONGEST_SKIP = timedelta(days=400)
_BOUND = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9]{2}:[0-9]{2}(:[0-9]{2})?)?")
_LONGEST = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]


def check_cadence(cadence: Any) -> list[tuple[str, str]]:
    """What is wrong with a cadence: pairs of the key and a sentence."""
    if not isinstance(cadence, Mapping):
        return [("", _("A cadence says its rrule and at which local time."))]
    wrong = []
    try:
        clock(cadence.get("at"))
    except ValueError as error:
        wrong.append(("at", str(error)))
    if message := _wrong_rule(cadence.get("rrule")):
        wrong.append(("rrule", message))
    heeded = cadence.get("skip_holidays", False)
    if not isinstance(heeded, bool | list) or heeded == []:
        wrong.append(("skip_holidays", _("Write true, or a list of countries such as [CZ, PL].")))
    elif isinstance(heeded, list) and (
        unknown := [one for one in heeded if not isinstance(one, str) or one not in countries()]
    ):
        message = _("There is no calendar of holidays for “%(country)s”; write codes such as CZ.")
        wrong.append(("skip_holidays", message % {"country": unknown[0]}))
    if cadence.get("on_holiday", "move") not in ("move", "skip"):
        wrong.append(("on_holiday", _("A cast on a holiday is “move”d to the next working day, or “skip”ped.")))
    elif "on_holiday" in cadence and not heeded:
        wrong.append(("on_holiday", _("Say first, by skip_holidays, which holidays count.")))
    return wrong


def _wrong_rule(rule: Any) -> str:
    parts: dict[str, str] = {}
    for part in str(rule).upper().split(";"):
        name, _equals, value = part.partition("=")
        if name not in _PARTS or name in parts or not re.fullmatch(_PARTS[name], value):
            return _("“%(part)s” cannot stand in a cadence; write one such as FREQ=WEEKLY;BYDAY=TU.") % {"part": part}
        parts[name] = value
    frequency, has_ordinal = parts.get("FREQ"), bool(re.search("[1-5]", parts.get("BYDAY", "")))
    if frequency is None:
        return _("A cadence needs a FREQ: DAILY, WEEKLY or MONTHLY.")
    if has_ordinal and (frequency != "MONTHLY" or "BYMONTHDAY" in parts):
        return _("Days like 1TU need FREQ=MONTHLY, and no BYMONTHDAY.")
    if parts.get("INTERVAL", "1") != "1" and ("BYMONTH" in parts or (frequency == "DAILY" and len(parts) > 2)):
        return _("An INTERVAL cannot stand beside this: some days would never come.")
    if "BYMONTH" in parts and "BYMONTHDAY" in parts:
        months, days = (list(map(int, parts[name].split(","))) for name in ("BYMONTH", "BYMONTHDAY"))
        if not any(abs(day) <= _LONGEST[month - 1] for month in months for day in days):
            return _("This rule names no day at all.")
    return ""


def bound(text: Any, is_end: bool) -> datetime:
    """A local time from which, or until which, an item is sent; a date alone means the whole day.

    Raises ValueError for what is no such date.
    """
    if not _BOUND.fullmatch(str(text)):
        raise ValueError(_("Write a date like 2027-03-28, or a local time like 2027-03-28T09:00."))
    try:
        moment = datetime.fromisoformat(str(text))
        return moment + timedelta(days=1) if is_end and "T" not in str(text) else moment
    except (ValueError, OverflowError):
        raise ValueError(_("There is no such day or time in the calendar.")) from None


def wall_times(cadence: Mapping[str, str], day: datetime) -> Iterator[datetime]:
    """The wall times of a sound cadence from a day on, without end."""
    hour, minute = map(int, cadence["at"].split(":"))
    rule = rrulestr(cadence["rrule"].upper(), dtstart=ANCHOR.replace(hour=hour, minute=minute))
    assert isinstance(rule, rrule)
    yield from rule.xafter(day, inc=True)


def calendar_for(cadence: Mapping[str, Any], country: str) -> str:
    """Whose holidays this cadence heeds for a person of a country; empty where none."""
    heeded = cadence.get("skip_holidays", False)
    if not heeded:
        return ""
    calendar = calendar_of(country)
    return calendar if heeded is True or calendar in heeded else ""


def walls_after(cadence: Mapping[str, Any], now: datetime, calendar: str = "") -> list[datetime]:
    """The wall times among which the next cast is, wherever a member lives: up to the first still to come for all.

    `calendar` is the country whose holidays are heeded. Two casts that fall together are one.
    """
    utc = now.astimezone(UTC).replace(tzinfo=None)
    first, walls = utc - timedelta(hours=13), []
    # What holidays hold back from before may come yet.
    for wall in _casts(cadence, first - LONGEST_RUN, calendar, utc) if calendar else wall_times(cadence, first):
        if wall >= first and wall not in walls[-1:]:
            walls.append(wall)
            if wall > utc + timedelta(hours=16):
                break
    return walls


def _casts(cadence: Mapping[str, Any], begin: datetime, calendar: str, utc: datetime) -> Iterator[datetime]:
    may_be_weekend = bool(re.search("SA|SU", cadence["rrule"].upper().partition("BYDAY=")[2].partition(";")[0]))
    for wall in wall_times(cadence, begin):
        day = wall.date()
        if is_holiday(calendar, day):
            if cadence.get("on_holiday") == "skip" and wall < utc + _LONGEST_SKIP:
                continue
            day = next_workday(calendar, day, may_be_weekend=may_be_weekend)
        yield datetime.combine(day, wall.time())
