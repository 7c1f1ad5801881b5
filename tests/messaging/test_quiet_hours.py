"""Quiet hours: by whose clock, over changes of the clock, on Sundays and holidays; what waits, what does not."""

from datetime import UTC, datetime, timedelta

import pytest

from contacts.models import Contact, Membership, Segment
from contacts.sql import Fragment
from messaging.civil import closed_days, zones_of_countries
from messaging.explaining import why
from messaging.gates import arbitrate
from messaging.models import Message, SegmentZone, SendingPolicy
from tests.campaigns.world import journey
from tests.messaging.quiet_spec import AUTUMN, SPRING

pytestmark = pytest.mark.django_db
DAY, QUARTER = timedelta(days=1), timedelta(minutes=15)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def policy(**values) -> SendingPolicy:
    return SendingPolicy.objects.update_or_create(pk=1, defaults=values)[0]


def outcome(message) -> tuple[str, str]:
    message.refresh_from_db()
    return message.state, message.reason


def test_every_zone_keeps_its_night_over_both_changes_of_the_clock(make_contact, make_message, make_template):
    template = make_template()
    for zone, at, leaves in SPRING + AUTUMN:
        message = make_message(make_contact(timezone=zone, zone=zone), template, now=utc(at))
        arbitrate(utc(at), 0, 0)
        state, _reason = outcome(message)
        assert (message.zone, message.zone_from) == (zone, "explicit")
        if at == leaves:
            assert state == "ready", (zone, at)
        else:
            assert (state, message.waits_for) == ("pending", "quiet_hours"), (zone, at)
            assert utc(leaves) <= message.due_at < utc(leaves) + QUARTER, (zone, at, message.due_at)
        Message.objects.all().delete()
    assert len({zone for zone, _at, _leaves in SPRING}) >= 12
    assert len({zone for zone, _at, _leaves in AUTUMN}) >= 12


def test_whoever_lives_on_mars_gets_their_mail_by_the_clock_of_the_house_and_is_counted(make_contact, make_message):
    person = make_contact(timezone="Mars/Base", zone="")
    night, day = make_message(person, now=utc("2026-11-10T20:00")), utc("2026-11-11T09:00")
    arbitrate(utc("2026-11-10T20:00"), 0, 0)
    assert outcome(night) == ("pending", "")
    arbitrate(day, 0, 0)
    assert outcome(night) == ("ready", "")
    assert (night.zone, night.zone_from) == ("Europe/Prague", "workspace")
    assert Contact.objects.of_unknown_zone().count() == 1
    assert "there is no time zone “Mars/Base”" in " ".join(why(night, day).facts)


def test_the_clock_is_the_told_one_else_the_countrys_else_a_segments_else_the_houses(make_contact, make_message, now):
    brazil, asia = (Segment.objects.create(key=key, name=key) for key in ("brazil", "asia"))
    policy()
    for segment, zone in ((brazil, "America/Sao_Paulo"), (asia, "Asia/Tokyo")):
        SegmentZone.objects.create(policy_id=1, segment=segment, zone=zone)
    rows = [
        ({"zone": "America/New_York", "timezone": "America/New_York", "country": "JP"}, "America/New_York", "explicit"),
        ({"country": " jp"}, "Asia/Tokyo", "inferred"),
        # The United States have several clocks: nothing follows from them.
        ({"country": "US"}, "America/Sao_Paulo", "segment"),
        ({}, "America/Sao_Paulo", "segment"),
    ]
    people = [(make_contact(**values), zone, because) for values, zone, because in rows]
    for person, _zone, _because in people:
        Membership.objects.create(segment=brazil, contact=person, entered_at=now)
    both, nowhere = make_contact(), make_contact(country="US")
    for segment in (brazil, asia):
        Membership.objects.create(segment=segment, contact=both, entered_at=now)
    people += [(both, "Asia/Tokyo", "segment"), (nowhere, "Europe/Prague", "workspace")]
    messages = [make_message(person) for person, _zone, _because in people]
    arbitrate(now, 0, 0)
    for message, (_person, zone, because) in zip(messages, people, strict=True):
        message.refresh_from_db()
        assert (message.zone, message.zone_from) == (zone, because)


def test_what_follows_from_a_country_is_sure():
    zones = zones_of_countries()
    assert zones["CZ"] == "Europe/Prague" and zones["PL"] == "Europe/Warsaw" and zones["IN"] == "Asia/Kolkata"
    assert zones["DE"] == "Europe/Berlin", "its two zones show one time"
    assert not {"US", "RU", "BR", "AU", "CA", "MX", "ES"} & set(zones)


HOLIDAYS = [
    # settings, country, due (UTC), and from when on it may leave (UTC)
    ({"sundays_are_quiet": True}, "CZ", "2026-11-15T10:00", "2026-11-16T07:00"),
    ({"sundays_are_quiet": True}, "CZ", "2026-11-14T20:00", "2026-11-16T07:00"),
    ({}, "CZ", "2026-11-15T10:00", "2026-11-15T10:00"),
    # 17 November is a holiday in Czechia and none in Poland; the 11th is one in Poland.
    ({"holidays_are_quiet": True}, "CZ", "2026-11-17T10:00", "2026-11-18T07:00"),
    ({"holidays_are_quiet": True}, "PL", "2026-11-17T10:00", "2026-11-17T10:00"),
    ({"holidays_are_quiet": True}, "PL", "2026-11-11T10:00", "2026-11-12T07:00"),
    # Of an unknown country: the house's holidays.
    ({"holidays_are_quiet": True}, "", "2026-11-17T10:00", "2026-11-18T07:00"),
    ({"holidays_are_quiet": True}, "XX", "2026-11-17T10:00", "2026-11-18T07:00"),
    ({}, "CZ", "2026-11-17T10:00", "2026-11-17T10:00"),
    # 24, 25 and 26 December, then a Sunday: with both, from Wednesday evening to Monday.
    ({"holidays_are_quiet": True, "max_defer": 5 * DAY}, "CZ", "2026-12-24T10:00", "2026-12-27T07:00"),
    (
        {"holidays_are_quiet": True, "sundays_are_quiet": True, "max_defer": 5 * DAY},
        "CZ", "2026-12-23T20:00", "2026-12-28T07:00",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("said", "country", "at", "leaves"), HOLIDAYS)
def test_sundays_and_holidays_are_quiet_where_the_house_says_so(make_contact, make_message, said, country, at, leaves):
    policy(**said)
    message = make_message(make_contact(country=country), now=utc(at))
    arbitrate(utc(at), 0, 0)
    state, _reason = outcome(message)
    assert state == ("ready" if at == leaves else "pending")
    if at != leaves:
        assert utc(leaves) <= message.due_at < utc(leaves) + QUARTER
        if "20:00" not in at:
            checks = {one.gate: one for one in why(message, utc(at)).checks}
            assert "a Sunday or a holiday" in checks["quiet_hours"].sentence


def test_longer_than_72_hours_nothing_waits_for_the_end_of_the_holidays(make_contact, make_message):
    policy(holidays_are_quiet=True, sundays_are_quiet=True)
    message = make_message(make_contact(country="CZ"), now=utc("2026-12-23T20:00"))
    arbitrate(utc("2026-12-23T20:00"), 0, 0)
    assert outcome(message) == ("skipped", "expired")


def test_holidays_are_asked_of_countries_not_of_people(make_contact, make_message):
    policy(holidays_are_quiet=True)
    closed_days.cache_clear()
    for country in ("CZ", "PL", "JP", "", "XX") * 4:
        make_message(make_contact(country=country), now=utc("2026-11-17T10:00"))
    arbitrate(utc("2026-11-17T10:00"), 0, 0)
    assert closed_days.cache_info().misses == 1


MODES = [
    # the template's word, the journey's, the class, and what becomes of it at night
    ("default", "", "marketing", "pending", ""),
    ("skip", "", "marketing", "skipped", "quiet_hours"),
    ("ignore", "", "operational", "ready", ""),
    ("default", "skip", "operational", "skipped", "quiet_hours"),
    ("skip", "ignore", "marketing", "ready", ""),
    ("skip", "skip", "transactional", "ready", ""),
]


@pytest.mark.parametrize(("own", "journeys", "kind", "state", "reason"), MODES)
def test_a_template_says_what_becomes_of_it_at_night_and_a_journey_may_say_otherwise(
    make_message, make_template, monkeypatch, own, journeys, kind, state, reason
):
    said = f"SELECT 'spring' AS key, '{journeys}' AS quiet_hours WHERE '{journeys}' <> ''"
    monkeypatch.setattr("messaging.gates._quiet_hours", [Fragment(said)])
    template = make_template(quiet_hours=own, message_class=kind)
    message = make_message(template=template, now=utc("2026-11-10T22:00"), journey_key="spring")
    arbitrate(utc("2026-11-10T22:00"), 0, 0)
    assert outcome(message) == (state, reason)


def test_the_word_of_a_published_journey_reaches_the_gates(make_message, make_template):
    one = journey(utc("2026-11-10T09:00"), key="brief", quiet_hours="skip", steps=[{"send": "hello"}])
    message = make_message(now=utc("2026-11-10T22:00"), journey_key=one.key)
    arbitrate(utc("2026-11-10T22:00"), 0, 0)
    assert outcome(message) == ("skipped", "quiet_hours")
