"""Casts heed the holidays of each member's country, where the cadence says so."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from campaigns.cadence import calendar_for, check_cadence, walls_after
from campaigns.models import Due
from contacts.calendars import calendar_of, holidays_of, next_workday
from contacts.models import Contact
from messaging.models import Message
from tests.campaigns.world import did, journey, people, person, sent, tick

PRAGUE = ZoneInfo("Europe/Prague")
WEEK = timedelta(days=7)
TUESDAYS = {"rrule": "FREQ=WEEKLY;BYDAY=TU", "at": "10:00"}
# `now` is Tuesday, 10 November 2026, and Tuesday, 17 November is a holiday in Czechia.
NEXT = datetime(2026, 11, 17, 9, tzinfo=UTC)


# The calendar --------------------------------------------------------------------------------------------------------


def test_a_calendar_names_the_holidays_of_a_country_and_knows_no_others():
    czech = holidays_of("CZ", [2026, 2027])
    assert date(2026, 11, 17) in czech and date(2027, 3, 29) in czech and date(2026, 11, 11) not in czech
    assert date(2026, 11, 11) in holidays_of("PL", [2026])
    assert {day.year for day in czech} == {2026, 2027}
    assert holidays_of("XX", [2026]) == {}


@pytest.mark.parametrize(
    ("country", "calendar"), [("PL", "PL"), (" pl ", "PL"), ("", "CZ"), ("Polsko", "CZ"), ("XX", "CZ")]
)
def test_whose_country_is_not_known_keeps_the_holidays_of_the_house(country, calendar):
    assert calendar_of(country) == calendar


def test_the_house_is_where_its_time_zone_is(settings):
    settings.TIME_ZONE = "Europe/Warsaw"
    assert calendar_of("") == "PL"
    settings.TIME_ZONE = "UTC"
    assert calendar_of("") == ""


def test_the_next_workday_is_neither_a_holiday_nor_on_a_weekend():
    assert next_workday("CZ", date(2027, 3, 26)) == date(2027, 3, 30), "Good Friday: over Easter Monday"
    assert next_workday("CZ", date(2027, 3, 26), may_be_weekend=True) == date(2027, 3, 27)
    assert next_workday("CZ", date(2026, 11, 14)) == date(2026, 11, 14), "a Saturday is no holiday"
    assert next_workday("", date(2026, 11, 17)) == date(2026, 11, 17)


# Cadences ------------------------------------------------------------------------------------------------------------


def walls(cadence, begin: datetime, calendar: str, number: int) -> list[str]:
    """The next casts one after another, as the engine asks for them, of somebody in Prague."""
    found, moment = [], begin
    for _ in range(number):
        upcoming = [wall.replace(tzinfo=PRAGUE) for wall in walls_after(cadence, moment, calendar)]
        moment = min(wall for wall in upcoming if wall > moment)
        found.append(f"{moment:%a %d.%m. %H:%M}")
    return found


EASTER = datetime(2027, 3, 25, 18, tzinfo=PRAGUE)  # Maundy Thursday; on Sunday the clocks change
TABLE = [
    ("FREQ=WEEKLY;BYDAY=MO", {}, ["Mon 29.03. 10:00", "Mon 05.04. 10:00"]),
    ("FREQ=WEEKLY;BYDAY=MO", {"skip_holidays": True}, ["Tue 30.03. 10:00", "Mon 05.04. 10:00"]),
    ("FREQ=WEEKLY;BYDAY=MO", {"skip_holidays": True, "on_holiday": "skip"}, ["Mon 05.04. 10:00", "Mon 12.04. 10:00"]),
    ("FREQ=WEEKLY;BYDAY=FR", {"skip_holidays": True}, ["Tue 30.03. 10:00", "Fri 02.04. 10:00"]),
    ("FREQ=WEEKLY;BYDAY=FR,SA", {"skip_holidays": True}, ["Sat 27.03. 10:00", "Fri 02.04. 10:00"]),
    ("FREQ=WEEKLY;BYDAY=MO,TU", {"skip_holidays": True}, ["Tue 30.03. 10:00", "Mon 05.04. 10:00"]),
    ("FREQ=WEEKLY;BYDAY=MO", {"skip_holidays": ["PL", "CZ"]}, ["Tue 30.03. 10:00", "Mon 05.04. 10:00"]),
    ("FREQ=WEEKLY;BYDAY=MO", {"skip_holidays": ["US"]}, ["Mon 29.03. 10:00", "Mon 05.04. 10:00"]),
    ("FREQ=WEEKLY;BYDAY=MO", {"skip_holidays": False}, ["Mon 29.03. 10:00", "Mon 05.04. 10:00"]),
    ("FREQ=MONTHLY;BYDAY=-1MO", {"skip_holidays": True}, ["Tue 30.03. 10:00", "Mon 26.04. 10:00"]),
]


@pytest.mark.parametrize(("rule", "more", "expected"), TABLE)
def test_casts_over_easter_in_czechia(rule, more, expected):
    cadence = {"rrule": rule, "at": "10:00", **more}
    assert walls(cadence, EASTER, calendar_for(cadence, "CZ"), 2) == expected


def test_a_moved_cast_is_still_to_come_on_the_days_between():
    cadence = {"rrule": "FREQ=WEEKLY;BYDAY=FR", "at": "10:00", "skip_holidays": True}
    for hours in (0, 24, 48, 72, 100):
        assert walls(cadence, EASTER + timedelta(hours=hours), "CZ", 1) == ["Tue 30.03. 10:00"], hours


def test_a_cadence_of_nothing_but_holidays_leaves_nobody_without_a_moment_to_wake():
    cadence = {"rrule": "FREQ=MONTHLY;BYMONTH=1;BYMONTHDAY=1", "at": "10:00", "skip_holidays": True}
    assert walls(cadence, EASTER, "CZ", 2) == ["Mon 03.01. 10:00", "Tue 02.01. 10:00"]
    skipping = {**cadence, "on_holiday": "skip"}
    assert walls(skipping, EASTER, "CZ", 1) == ["Tue 02.01. 10:00"], "in 2029"


@pytest.mark.parametrize(
    ("more", "path"),
    [
        ({"skip_holidays": "CZ"}, "skip_holidays"),
        ({"skip_holidays": []}, "skip_holidays"),
        ({"skip_holidays": ["CZ", "XX"]}, "skip_holidays"),
        ({"skip_holidays": [{"CZ": 1}]}, "skip_holidays"),
        ({"skip_holidays": True, "on_holiday": "dance"}, "on_holiday"),
        ({"on_holiday": "skip"}, "on_holiday"),
    ],
)
def test_a_cadence_says_which_holidays_in_words_that_are_known(more, path):
    assert [name for name, _message in check_cadence({**TUESDAYS, **more})] == [path]


@pytest.mark.parametrize("more", [{}, {"skip_holidays": True}, {"skip_holidays": ["CZ", "GB"], "on_holiday": "move"}])
def test_and_a_sound_one_passes(more):
    assert check_cadence({**TUESDAYS, **more}) == []


# Casts ---------------------------------------------------------------------------------------------------------------


def track(now, **cadence):
    items = [{"send": "one"}, {"send": "two"}]
    streams = [{"key": "basics", "cadence": {**TUESDAYS, **cadence}, "items": items}]
    return journey(now, key="education", kind="nurture", streams=streams)


@pytest.mark.django_db
def test_a_cast_moves_for_whom_it_is_a_holiday_and_for_nobody_else(now):
    track(now, skip_holidays=True)
    czech, pole, unknown = person(country="cz"), person(country="PL"), person()
    away = person(country="CZ", zone="America/New_York")
    for contact in (czech, pole, unknown, away):
        did(contact, "trial.started", now)
    tick(now)
    due = dict(Due.objects.values_list("contact_id", "due_at"))
    day = timedelta(days=1)
    assert due == {
        czech.pk: NEXT + day,
        pole.pk: NEXT,
        unknown.pk: NEXT + day,
        away.pk: now + timedelta(hours=6),
    }
    tick(now + timedelta(hours=6))
    assert sent(away) == ["one"]
    assert Due.objects.get(contact_id=away.pk).due_at == NEXT + day + timedelta(hours=6)
    tick(NEXT)
    assert (sent(czech), sent(pole)) == ([], ["one"])
    tick(NEXT + day)
    assert sent(czech) == sent(unknown) == ["one"]
    assert Due.objects.get(contact_id=czech.pk).due_at == NEXT + WEEK, "the cast after it is where it was"
    assert Due.objects.get(contact_id=pole.pk).due_at == NEXT + WEEK


@pytest.mark.django_db
def test_or_falls_out(now):
    track(now, skip_holidays=["CZ"], on_holiday="skip")
    czech, pole = person(country="CZ"), person(country="PL")
    for contact in (czech, pole):
        did(contact, "trial.started", now)
    tick(now)
    assert Due.objects.get(contact_id=czech.pk).due_at == NEXT + WEEK
    assert Due.objects.get(contact_id=pole.pk).due_at == NEXT


@pytest.mark.django_db
def test_many_countries_are_cast_in_as_many_statements_as_one(now):
    track(now, skip_holidays=True)
    asked = []
    for week, countries in enumerate([["PL"], ["CZ", "PL", "GB", "DE", "AT", "FR", "", "XX"]], start=1):
        for place, contact in enumerate(people(80, f"w{week}-")):
            Contact.objects.filter(pk=contact.pk).update(country=countries[place % len(countries)])
            did(contact, "trial.started", now + week * WEEK)
        tick(now + week * WEEK)
        with CaptureQueriesContext(connection) as queries:
            tick(now + week * WEEK + WEEK)
        asked.append(len(queries))
    assert asked[0] == asked[1]
    assert Message.objects.filter(template__key="one").count() == 160
