"""What clocks show, in plain Python: the walker's time, and the expected moments of the tables of time."""

import re
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

DAYS = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]


def instant(wall: datetime, zone: str) -> datetime:
    """A wall time as an instant: the first where it comes twice; where the clock jumps over it, the next minute."""
    while True:
        moment = wall.replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)
        if local(moment, zone) == wall:
            return moment
        wall = wall.replace(second=0, microsecond=0) + timedelta(minutes=1)


def local(moment: datetime, zone: str) -> datetime:
    return moment.astimezone(ZoneInfo(zone)).replace(tzinfo=None)


def parts(text: str) -> tuple[timedelta, timedelta]:
    """A span as calendar days and elapsed time, either of which may be before (`-7d`)."""
    sign = -1 if text[0] == "-" else 1
    text = text.lstrip("+-")
    if short := re.fullmatch(r"(\d+)([mhdw])", text):
        weeks, days, hours, minutes = [int(short[1]) * (short[2] == unit) for unit in "wdhm"]
    else:
        iso = re.fullmatch(r"P(?:(\d+)W)?(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?)?", text)
        weeks, days, hours, minutes = [int(number or 0) for number in iso.groups()]
    return sign * timedelta(weeks=weeks, days=days), sign * timedelta(hours=hours, minutes=minutes)


def span(text: str) -> timedelta:
    return sum(parts(text), timedelta())


def later(moment: datetime, text: str, zone: str) -> datetime:
    """Days and weeks keep the clock's time, hours and minutes are elapsed: `1d` is not `24h`."""
    days, elapsed = parts(text)
    return instant(local(moment, zone) + days, zone) + elapsed


def until(moment: datetime, what: dict, zone: str, value: str | None = None) -> datetime:
    """The first moment, this one included, of a time of day, inside a window of the day, or at a date (`value`)."""
    if "field" in what:
        return at_date(moment, what, zone, value)
    allowed = days_of(what.get("weekdays", "mon-sun"))
    day = local(moment, zone).date() - timedelta(days=1)  # the window that is open now may have begun yesterday
    while True:
        if day.weekday() in allowed:
            opens = instant(at(day, what.get("local_time") or what["from"]), zone)
            if opens >= moment:
                return opens
            if "from" in what and moment < closing(day, what, zone):
                return moment
        day += timedelta(days=1)


def closing(day: date, what: dict, zone: str) -> datetime:
    closes = day + timedelta(days=what["to"] <= what["from"])
    return instant(at(closes, what["to"]), zone)


def at_date(moment: datetime, what: dict, zone: str, value: str | None) -> datetime:
    """No date is no wait; one that is past, too."""
    if not value:
        return moment
    found = datetime.fromisoformat(value)
    wall = local(found, zone) if found.tzinfo else found
    days, elapsed = parts(what.get("offset", "0d"))
    wall += days
    if "local_time" in what:
        wall = at(wall.date(), what["local_time"])
    return max(moment, instant(wall, zone) + elapsed)


def at(day: date, text: str) -> datetime:
    return datetime.combine(day, time.fromisoformat(text))


def days_of(text: str) -> set[int]:
    """`mon-fri` or `sat,mon` as numbers, Monday 0; a range may run over the weekend."""
    found = set()
    for part in text.split(","):
        first, _mark, last = part.partition("-")
        place = DAYS.index(first)
        found.add(place)
        while last and DAYS[place] != last:
            place = (place + 1) % 7
            found.add(place)
    return found
