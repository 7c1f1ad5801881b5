"""Working time: each row of the tables, and random calendars against a plain count of minutes."""

import random
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from contacts.calendars import is_holiday
from contacts.durations import parse_duration
from leads.working import DAYS, HoursError, calendar, check_holidays, parse_hours
from scripts import routing_doc
from tests.contacts.rules_spec import rows
from tests.leads.working_spec import TABLES


def moment(text: str) -> datetime:
    day, rest = text.split(" ", 1)
    found = datetime.fromisoformat(rest.replace(" +", "+").replace(" -", "-"))
    assert DAYS[found.weekday()] == day, text
    return found


def days(text: str) -> list[tuple[date, date]]:
    return [tuple(date.fromisoformat(day) for day in text.split(" to "))] if text else []  # type: ignore[misc]


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.title)
def test_every_row_of_the_tables_is_true(table):
    for row in rows(table.rows):
        one = calendar(
            row["hours"], [code for code in row.get("holidays", "").split(", ") if code], days(row.get("away", ""))
        )
        found = one.add(moment(row["since"]), parse_duration(row["within"]))
        expected = None if row["answer by"] == "never" else moment(row["answer by"])
        assert found == expected, row
        if expected is not None:
            there = expected.astimezone(ZoneInfo(one.hours.zone))
            assert there.utcoffset() == expected.utcoffset(), row


def counted(
    hours: str, zone: str, holidays: list[str], away: list[tuple[date, date]], start: datetime, span: timedelta
):
    """The oracle: looks at the clock on the wall every five minutes and counts those at work."""
    step, moment, left = timedelta(minutes=5), start, span
    week = parse_hours(f"{hours} {zone}").week
    while left > timedelta():
        wall = moment.astimezone(ZoneInfo(zone))
        minute = wall.hour * 60 + wall.minute
        is_off = any(is_holiday(code, wall.date()) for code in holidays) or any(
            first <= wall.date() <= last for first, last in away
        )
        if not is_off and any(begins <= minute < ends for begins, ends in week[wall.weekday()]):
            left -= step
        moment += step
    return moment


def test_random_calendars_agree_with_a_plain_count_of_minutes():
    chance = random.Random(29)
    changes = {
        "Europe/Prague": [date(2027, 3, 28), date(2027, 10, 31), date(2026, 12, 24)],
        "Europe/London": [date(2027, 3, 28), date(2027, 10, 31)],
        "America/New_York": [date(2027, 3, 14), date(2027, 11, 7), date(2026, 11, 26)],
    }
    for _ in range(120):
        zone = chance.choice(list(changes))
        bounds = sorted(chance.sample([0, 4, 6, 9, 12, 15, 18, 24], 4))
        windows = f"{bounds[0]:02}:00-{bounds[1]:02}:00,{bounds[2]:02}:00-{bounds[3]:02}:00"
        hours = f"{','.join(sorted(chance.sample(DAYS, 4)))} {windows}"
        around = chance.choice(changes[zone])
        holidays = chance.choice([[], ["CZ"], ["US"], ["CZ", "PL"]])
        first = around + timedelta(days=chance.randint(-3, 3))
        away = [(first, first + timedelta(days=chance.randint(0, 3)))] if chance.random() < 0.5 else []
        start = datetime(around.year, around.month, around.day, tzinfo=UTC) + timedelta(
            minutes=5 * chance.randint(-600, 300)
        )
        span = timedelta(minutes=5 * chance.randint(1, 240))
        found = calendar(f"{hours} {zone}", holidays, away).add(start, span)
        assert found == counted(hours, zone, holidays, away, start, span), (hours, zone, holidays, away, start, span)


@pytest.mark.parametrize(
    ("hours", "message"),
    [
        ("mon-fri 9:00-17:00", "“9:00-17:00” is no span of the day"),
        ("mon-fri", "“mon-fri” is not a day with its hours"),
        ("mon-fry 09:00-17:00", "“fry” is no day"),
        ("mon-fri 22:00-06:00", "“22:00-06:00” ends before it begins; write a night as"),
        ("mon-fri 09:00-25:00", "a day goes from 00:00 to 24:00"),
        ("mon-fri 09:00-12:00,11:00-13:00", "Two windows of mon overlap."),
        ("mon-fri 09:00-12:00; wed 11:00-13:00", "Two windows of wed overlap."),
        ("mon-fri 09:00-17:00 Mars/Base", "There is no time zone “Mars/Base”"),
        ("all day long", "There is no time zone “long”"),
    ],
)
def test_hours_that_cannot_be_read_are_refused_with_what_is_wrong(hours, message):
    with pytest.raises(HoursError, match=message):
        parse_hours(hours)


def test_hours_without_a_zone_go_by_the_clock_of_the_house(settings):
    assert parse_hours("MON-fri  09:00-17:00 ").zone == settings.TIME_ZONE
    assert parse_hours("").week == (((0, 1440),),) * 7


def test_countries_without_a_calendar_are_refused():
    assert check_holidays(["sk", " CZ", "CZ"]) == ["CZ", "SK"]
    with pytest.raises(HoursError, match="“XX”"):
        check_holidays(["XX"])


def test_the_page_shows_these_tables():
    assert routing_doc.DOC.read_text(encoding="utf-8") == routing_doc.page(), "run `make docs`"
