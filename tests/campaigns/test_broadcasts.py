"""Broadcasts: one mail to each of an audience that is taken once, at each one's local time or at one instant."""

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from campaigns import graph, publishing
from campaigns.broadcasts import moment
from campaigns.models import Due, Enrolment, Journey, Sendout
from campaigns.sendouts import progress_of
from contacts.consent import record_consent
from contacts.erasure import erase
from contacts.models import Contact
from journey_crm import invariants
from messaging.gates import arbitrate
from messaging.models import Message, Suppression, Template
from tests.campaigns.world import DAY, did, journey, people, person, templates
from tests.campaigns.world import tick as ticked

pytestmark = pytest.mark.django_db

HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
ALL = {"field": "country", "op": "eq", "value": "CZ"}
# The clock of the house is Prague's; `now` is 10:00 there.
TOMORROW = "2026-11-11T09:00"


def tick(now):
    """Nothing is delivered by itself: what the gates say matters here."""
    ticked(now, delivers=False)


def broadcast(now, key="sale", **more):
    definition = {"audience": ALL, "send": "sale", "at": TOMORROW, **more}
    return journey(now, key=key, kind="broadcast", trigger=None, **definition)


def occasion(key="sale"):
    return Sendout.objects.get(journey__key=key)


def test_publishing_plans_the_occasion_and_sends_nothing(now):
    broadcast(now)
    one = occasion()
    assert (one.key, one.state, one.audience) == (TOMORROW, "scheduled", None)
    assert one.starts_at == datetime(2026, 11, 10, 19, tzinfo=UTC), "9:00 comes first at UTC+14"
    person(country="CZ")
    tick(now)
    assert Enrolment.objects.count() == 0


def deliver(now):
    """Through the gates and out; the tick hears of it."""
    arbitrate(now, 0, 0)
    gone = list(Message.objects.filter(state="ready", due_at__lte=now, is_held=False).select_related("contact"))
    for message in gone:
        end(message, now)
    tick(now)
    tick(now)
    return len(gone)


def end(message, now, state="sent", reason=""):
    sent_at = now if state != "failed" else None
    Message.objects.filter(pk=message.pk).update(
        state=state, reason=reason, sent_at=sent_at, finished_at=now, claimed_at=now
    )
    kind = "email.sent" if state == "sent" else "email.failed"
    did(message.contact, kind, now, message=message.pk, reason=reason or state)


def states():
    return Counter(Message.objects.values_list("state", "reason"))


# When --------------------------------------------------------------------------------------------------------------

# 9:00 on the days on which Europe's clocks change, in UTC.
NINE = {
    "2027-03-28T09:00": {
        "Pacific/Kiritimati": "27 19:00", "Pacific/Auckland": "27 20:00", "Australia/Sydney": "27 22:00",
        "Asia/Tokyo": "28 00:00", "Asia/Kathmandu": "28 03:15", "Asia/Kolkata": "28 03:30", "Asia/Tehran": "28 05:30",
        "Europe/Moscow": "28 06:00", "Europe/Prague": "28 07:00", "Europe/London": "28 08:00",
        "Atlantic/Azores": "28 09:00", "America/Sao_Paulo": "28 12:00", "America/New_York": "28 13:00",
        "America/Los_Angeles": "28 16:00", "Pacific/Honolulu": "28 19:00", "": "28 07:00",
    },
    "2027-10-31T09:00": {
        "Pacific/Kiritimati": "30 19:00", "Pacific/Auckland": "30 20:00", "Australia/Sydney": "30 22:00",
        "Asia/Tokyo": "31 00:00", "Asia/Kathmandu": "31 03:15", "Asia/Kolkata": "31 03:30", "Asia/Tehran": "31 05:30",
        "Europe/Moscow": "31 06:00", "Europe/Prague": "31 08:00", "Europe/London": "31 09:00",
        "Atlantic/Azores": "31 10:00", "America/Sao_Paulo": "31 12:00", "America/New_York": "31 13:00",
        "America/Los_Angeles": "31 16:00", "Pacific/Honolulu": "31 19:00", "": "31 08:00",
    },
}  # fmt: skip


@pytest.mark.parametrize("at", NINE)
def test_nine_in_the_morning_is_nine_on_each_ones_clock_to_the_minute(at):
    day = datetime.fromisoformat(at).replace(tzinfo=UTC)
    members = {zone: person(country="CZ", zone=zone) for zone in NINE[at]}
    expected = {
        zone: day.replace(day=int(said[:2]), hour=int(said[3:5]), minute=int(said[6:]))
        for zone, said in NINE[at].items()
    }
    broadcast(day - 3 * DAY, at=at)
    tick(day - 14 * HOUR - timedelta(seconds=1))
    assert Due.objects.count() == 0
    for instant in sorted({*expected.values()}):
        tick(instant - timedelta(seconds=1))
        before = set(Message.objects.values_list("contact_id", flat=True))
        tick(instant)
        after = set(Message.objects.values_list("contact_id", flat=True))
        assert after - before == {members[zone].pk for zone, when in expected.items() if when == instant}


@pytest.mark.parametrize(
    ("at", "zone", "expected"),
    [
        ("2027-03-28T02:30", "Europe/Prague", "2027-03-28T01:00"),  # jumped over: the first minute after
        ("2027-03-14T02:30", "America/New_York", "2027-03-14T07:00"),
        ("2027-10-31T02:30", "Europe/Prague", "2027-10-31T00:30"),  # comes twice: the first
        ("2027-11-07T01:30", "America/New_York", "2027-11-07T05:30"),
        ("2027-10-03T02:15", "Australia/Lord_Howe", "2027-10-02T15:30"),  # half an hour is jumped over
    ],
)
def test_a_time_that_does_not_exist_is_the_next_minute_and_one_that_comes_twice_the_first(at, zone, expected):
    person(country="CZ", zone=zone)
    wanted = datetime.fromisoformat(expected).replace(tzinfo=UTC)
    for number, written in enumerate([at, f"{at} {zone}"]):
        broadcast(wanted - 2 * DAY, key=f"b{number}", at=written)
        tick(occasion(f"b{number}").starts_at)
    waiting = Due.objects.filter(node_kind="moment").values_list("due_at", flat=True)
    assert set(waiting) | {occasion("b1").starts_at} == {wanted}


@pytest.mark.parametrize("at", ["2026-11-11T09:00+01:00", "2026-11-11T08:00Z", "2026-11-11T09:00 Europe/Prague"])
def test_with_a_zone_it_is_one_instant_for_all(now, at):
    for zone in ("Asia/Tokyo", "America/New_York", ""):
        person(country="CZ", zone=zone)
    broadcast(now, at=at)
    instant = datetime(2026, 11, 11, 8, tzinfo=UTC)
    assert occasion().starts_at == instant
    tick(instant - timedelta(seconds=1))
    assert Message.objects.count() == 0
    tick(instant)
    assert Message.objects.count() == 3


def test_whose_zone_nobody_knows_gets_it_by_the_clock_of_the_house_and_is_counted(now):
    lost = person(country="CZ", timezone="Mars/Base")
    person(country="CZ")
    broadcast(now)
    tick(now + 10 * HOUR)
    assert occasion().unknown_zones == 1
    assert Due.objects.get(contact_id=lost.pk).due_at == datetime(2026, 11, 11, 8, tzinfo=UTC)


def test_now_means_when_it_is_published_and_only_once(now):
    person(country="CZ")
    one = broadcast(now, at="now")
    tick(now)
    assert Message.objects.count() == 1
    publishing.publish(journey=one, by=None, now=now + HOUR)
    person(country="CZ")
    tick(now + HOUR)
    assert Message.objects.count() == 1


# Who ---------------------------------------------------------------------------------------------------------------


def test_the_audience_is_taken_once_and_the_gates_still_ask(now):
    templates("sale")
    groups = {
        name: [person(country="PL" if name == "join" else "CZ") for _ in range(10)]
        for name in ("stay", "join", "leave", "unsubscribe", "move", "bounce", "erase")
    }
    broadcast(now)
    tick(occasion().starts_at)  # everybody here is of Prague: it is 13 hours early
    meanwhile = occasion().starts_at + HOUR
    for contact in groups["join"]:
        Contact.objects.filter(pk=contact.pk).update(country="CZ")
    person(country="CZ")
    for contact in groups["leave"]:
        Contact.objects.filter(pk=contact.pk).update(country="PL")
    for contact in groups["unsubscribe"]:
        record_consent(contact=contact, topic="", channel="email", state="denied", source="test", now=meanwhile)
    for contact in groups["move"]:
        Contact.objects.filter(pk=contact.pk).update(email=f"new-{contact.email}")
    for contact in groups["bounce"]:
        Suppression.objects.create(address=contact.email, reason="bounced", suppressed_at=meanwhile)
    for contact in groups["erase"]:
        erase(contact, by=None, now=meanwhile)
    nine = datetime(2026, 11, 11, 8, tzinfo=UTC)
    tick(nine)
    deliver(nine)
    reached = set(Message.objects.filter(state="sent").values_list("contact_id", flat=True))
    assert reached == {contact.pk for name in ("stay", "leave", "move") for contact in groups[name]}
    progress = progress_of([occasion()])[occasion().pk]
    assert (progress.sent, progress.held_back, progress.waiting) == (30, 30, 0)
    assert sum(progress.reasons.values()) == 30, "who left before there was a message, or whose message was held back"
    assert Contact.objects.filter(pk__in=reached, email__startswith="new-").count() == 10
    one = occasion()
    assert (one.state, one.audience) == ("finished", 60)
    assert invariants.check(nine)["I7"] == 0


def test_who_is_on_several_lists_gets_one_mail(now):
    person(country="CZ", language="cs", job_title="Boss")
    lists = [{"field": name, "op": "is_set"} for name in ("country", "language", "job_title")]
    broadcast(now, audience={"any": lists}, at="now")
    tick(now)
    tick(now + MINUTE)
    assert Message.objects.count() == 1


def test_five_thousand_are_enrolled_by_one_statement(now):
    def queries(count, key):
        people(count, country="CZ", zone="Europe/Prague")
        tick(now)  # every step stands at the head of the stream
        broadcast(now, key=key, at="now")
        with CaptureQueriesContext(connection) as asked:
            tick(now)
        return len(asked)

    queries(1, "warm")
    tick(now)  # what the first one wrote is read; from here on every step stands at the head
    Contact.objects.all().update(country="PL")
    few = queries(5, "few")
    Contact.objects.all().update(country="PL")
    assert queries(5_000, "many") == few
    assert occasion("many").audience == 5_000
    assert Message.objects.filter(journey_key="many").count() == 5_000


def test_a_broadcast_lets_in_nobody_else(now):
    from campaigns.requests import enrol_contacts

    one = broadcast(now)
    ann = person()
    enrol_contacts(journey=one, contacts=Contact.objects.filter(pk=ann.pk), by=None, now=now)
    tick(now)
    assert Enrolment.objects.count() == 0


# An occasion happens once ------------------------------------------------------------------------------------------


def test_publishing_again_sends_nothing_twice(now):
    person(country="CZ")
    one = broadcast(now, at="2026-11-10T10:00 Europe/Prague")
    tick(now)
    assert Message.objects.count() == 1
    publishing.publish(journey=one, by=None, now=now)
    tick(now + HOUR)
    assert (Message.objects.count(), Sendout.objects.count()) == (1, 1)
    other = publishing.draft_of(one) | {"at": TOMORROW}
    publishing.save_draft(journey=one, definition=other, by=None, now=now)
    with pytest.raises(publishing.Unpublishable, match="at: This broadcast was sent already"):
        publishing.publish(journey=one, by=None, now=now)


def test_until_it_begins_it_can_be_put_off(now):
    one = broadcast(now)
    broadcast(now, at="2026-11-12T09:00")
    assert [row.key for row in one.sendouts.all()] == ["2026-11-12T09:00"]


def test_a_recurring_one_has_an_occasion_at_each_day_of_its_rule(now):
    person(country="CZ")
    Template.objects.create(key="sale", subject="s", body="b", is_repeatable=True, message_class="operational")
    broadcast(now, rrule="FREQ=WEEKLY;BYDAY=TH", at="10:00 Europe/Prague")
    thursday = datetime(2026, 11, 12, 9, tzinfo=UTC)
    assert occasion().starts_at == thursday
    tick(thursday)
    deliver(thursday)
    tick(thursday + 7 * DAY)
    deliver(thursday + 7 * DAY)
    rows = list(Sendout.objects.order_by("starts_at").values_list("key", "state"))
    assert rows == [
        ("2026-11-12T10:00 Europe/Prague", "finished"),
        ("2026-11-19T10:00 Europe/Prague", "finished"),
        ("2026-11-26T10:00 Europe/Prague", "scheduled"),
    ]
    assert states() == {("sent", ""): 2}
    # Each is valid until the next comes.
    assert Message.objects.first().valid_until == thursday + 7 * DAY


def test_publishing_a_recurring_one_in_the_morning_means_this_day(now):
    for at in ("10:30", "10:30 Europe/Prague"):
        broadcast(now, key=f"at-{at[-6:]}".replace("/", "").replace(":", ""), rrule="FREQ=DAILY", at=at)
    assert [row.key[:16] for row in Sendout.objects.all()] == ["2026-11-10T10:30"] * 2


# Late is late ------------------------------------------------------------------------------------------------------


def test_past_its_validity_it_is_held_and_flagged(now):
    late, early = person(country="CZ", zone="Asia/Tokyo"), person(country="CZ", zone="America/New_York")
    broadcast(now, valid_until="2026-11-11T12:00")
    # Out of order from the evening on, until it is 14:00 in Prague.
    instant = datetime(2026, 11, 11, 13, tzinfo=UTC)
    tick(instant)
    tick(instant + HOUR)
    deliver(instant + HOUR)
    ended = dict(Message.objects.values_list("contact_id", "reason"))
    assert ended == {late.pk: "expired", early.pk: ""}
    assert Message.objects.get(contact=early).valid_until == datetime(2026, 11, 11, 17, tzinfo=UTC)
    assert occasion().state == "finished"


@pytest.mark.parametrize(
    ("more", "latest"),
    [
        ({}, "2026-11-12T21:00"),  # a day after it was 9:00 everywhere
        ({"valid_until": "2026-11-11T12:00"}, "2026-11-12T00:00"),
        ({"valid_for": "30m"}, "2026-11-11T21:30"),
        ({"at": "2026-11-11T09:00+01:00", "valid_until": "2026-11-11T10:00+01:00"}, "2026-11-11T09:00"),
    ],
)
def test_an_outage_over_all_of_it_is_an_occasion_missed_and_it_says_so(now, more, latest):
    latest = datetime.fromisoformat(latest).replace(tzinfo=UTC)
    person(country="CZ")
    broadcast(now, key="just", **more)
    broadcast(now, key="over", **more)
    Journey.objects.filter(key="over").update(state="paused")
    tick(latest - MINUTE)
    assert occasion("just").audience == 1
    Journey.objects.filter(key="over").update(state="live")
    tick(latest)
    over = occasion("over")
    assert (over.state, over.problem, over.audience) == ("missed", "late", None)
    assert over.get_problem_display() == "It was over before it could be sent."
    assert not Enrolment.objects.filter(journey__key="over").exists()


def test_a_recurring_one_goes_on_after_what_it_missed(now):
    broadcast(now, rrule="FREQ=DAILY", at="10:30 Europe/Prague")
    tick(now + 5 * DAY)
    counted = Counter(Sendout.objects.values_list("state", flat=True))
    # Of the 10th to the 15th: that of the 14th is younger than a day, that of the 15th still to come.
    assert counted == {"missed": 4, "finished": 1, "scheduled": 1}


# How fast ----------------------------------------------------------------------------------------------------------


def test_the_pace_spreads_the_audience_over_the_hours(now):
    people(100, country="CZ")
    broadcast(now, at="now", throttle="20/h")
    tick(now)
    assert Due.objects.filter(node_kind="moment").count() == 99
    made = []
    for minutes in range(0, 301, 3):
        tick(now + minutes * MINUTE)
        made.append(Message.objects.count())
    assert made == [min(number + 1, 100) for number in range(101)]


def test_moments_at_different_hours_share_one_pace(now):
    people(4, country="CZ", zone="Europe/Prague")
    people_later = [person(country="CZ", zone="Europe/London") for _ in range(2)]
    broadcast(now, throttle="2/h")
    tick(occasion().starts_at)
    nine = datetime(2026, 11, 11, 8, tzinfo=UTC)
    due = [round((at - nine) / MINUTE) for at in Due.objects.order_by("due_at").values_list("due_at", flat=True)]
    assert due == [0, 30, 60, 90, 120, 150], "London's 9:00 is at 60, when Prague's are not through"
    assert set(Due.objects.filter(due_at__gte=nine + 2 * HOUR).values_list("contact_id", flat=True)) == {
        contact.pk for contact in people_later
    }


def test_what_an_outage_kept_waiting_drains_at_the_pace(now):
    people(100, country="CZ")
    broadcast(now, at="now", throttle="60/h")
    tick(now)
    back = now + 90 * MINUTE
    made = []
    for minutes in range(120):
        tick(back + minutes * MINUTE)
        made.append(Message.objects.count())
    assert made[0] <= 1 + 6, "what five minutes would have brought"
    assert all(after - before <= 1 for before, after in zip(made, made[1:], strict=False))
    assert made[-1] == 100


# A few first -------------------------------------------------------------------------------------------------------


def test_a_canary_goes_first_and_the_rest_waits(now):
    people(200, country="CZ")
    broadcast(now, at="now", canary={"share": "10%", "wait": "2h"})
    tick(now)
    first = Message.objects.count()
    assert 5 <= first <= 40
    assert occasion().state == "canary"
    tick(now + 2 * HOUR - MINUTE)
    assert Message.objects.count() == first
    tick(now + 2 * HOUR)
    assert Message.objects.count() == 200
    assert occasion().state == "sending"


@pytest.mark.parametrize(
    ("bounced", "complained", "problem"),
    [(0, 2, ""), (0, 3, "complaints"), (1, 0, "bounces"), (0, 0, ""), (1, 3, "bounces")],
)
def test_a_canary_that_does_badly_pauses_the_broadcast(now, bounced, complained, problem):
    people(250, country="CZ")
    one = broadcast(now, at="now", canary={"share": "10%", "wait": "2h"})
    tick(now)
    deliver(now)
    first = list(Message.objects.all())
    bounced += int(len(first) * 0.08)  # as many as may be, and one more or not
    for number, message in enumerate(first[: bounced + complained]):
        kind = "email.bounced" if number < bounced else "email.complained"
        did(message.contact, kind, now + HOUR, message=message.pk)
    tick(now + HOUR)
    one.refresh_from_db()
    assert (one.state, occasion().problem) == ("paused" if problem else "live", problem)
    tick(now + 3 * HOUR)
    assert Message.objects.count() == (len(first) if problem else 250)
    if problem:
        # Whoever has looked at it may let it go on.
        publishing.resume(journey=one, by=None, now=now + 4 * HOUR)
        tick(now + 4 * HOUR)
        assert Message.objects.count() == 250


def test_a_few_bounces_among_the_very_first_are_no_alarm(now):
    people(250, country="CZ")
    one = broadcast(now, at="now", canary={"share": "10%", "wait": "2h"})
    tick(now)
    message = Message.objects.first()
    end(message, now, "failed", "bounced")
    tick(now + MINUTE)
    one.refresh_from_db()
    assert one.state == "live"


# Stopping ----------------------------------------------------------------------------------------------------------


def test_archiving_stops_what_is_planned_and_what_is_under_way(now):
    people(10, country="CZ")
    one, other = broadcast(now, at="now", throttle="2/h"), broadcast(now, key="later")
    tick(now)
    for journey_ in (one, other):
        publishing.archive(journey=journey_, by=None, now=now)
    tick(now + MINUTE)
    assert {occasion("sale").state, occasion("later").state} == {"stopped"}
    tick(now + 20 * HOUR)
    assert states() == {("cancelled", "journey_stopped"): 1}
    assert Enrolment.objects.filter(state="open").count() == 0


def test_closing_lets_what_began_come_to_its_end_and_begins_nothing(now):
    people(3, country="CZ")
    Template.objects.create(key="sale", subject="s", body="b", is_repeatable=True, message_class="operational")
    one = broadcast(now, rrule="FREQ=DAILY", at="10:30 Europe/Prague")
    tick(now + HOUR)
    assert Counter(one.sendouts.values_list("state", flat=True)) == {"sending": 1, "scheduled": 1}
    publishing.archive(journey=one, by=None, now=now + HOUR, people="finish")
    tick(now + HOUR)
    assert Counter(one.sendouts.values_list("state", flat=True)) == {"sending": 1, "stopped": 1}
    deliver(now + HOUR)
    tick(now + HOUR)
    one.refresh_from_db()
    assert one.state == "archived"
    assert Counter(one.sendouts.values_list("state", flat=True)) == {"finished": 1, "stopped": 1}
    tick(now + 3 * DAY)
    assert states() == {("sent", ""): 3}


@pytest.mark.parametrize("everybody", ["finish", "follow"])
def test_an_edit_under_way_pulls_nobody_forward(now, everybody):
    people(4, country="CZ")
    one = broadcast(now, at="now", throttle="1/h")
    tick(now)
    before = sorted(Due.objects.values_list("enrolment_id", "due_at"))
    changed = publishing.draft_of(one) | {"throttle": "60/h", "send": "other"}
    templates("other")
    publishing.save_draft(journey=one, definition=changed, by=None, now=now)
    publishing.publish(journey=one, by=None, now=now, everybody=everybody)
    assert sorted(Due.objects.values_list("enrolment_id", "due_at")) == before
    for hours in range(1, 4):
        tick(now + hours * HOUR)
    assert Counter(Message.objects.values_list("template__key", flat=True)) == {"sale": 4}


def test_a_copy_is_a_draft_without_a_date(now):
    person(country="CZ")
    one = broadcast(now, valid_until="2026-11-12T09:00")
    copied = publishing.clone(journey=one, by=None, now=now)
    assert (copied.state, copied.sendouts.count()) == ("draft", 0)
    with pytest.raises(publishing.Unpublishable, match="at: Say when"):
        publishing.publish(journey=copied, by=None, now=now)
    tick(now + 2 * DAY)
    assert not Message.objects.filter(journey_key=copied.key).exists()


def test_caps_let_one_a_day_through_and_lose_none(now):
    ann = person(country="CZ")
    for number in range(3):
        templates(f"t{number}")
        broadcast(now, key=f"b{number}", send=f"t{number}", at="now")
    sent = []
    for day in range(5):
        moment_ = now + day * DAY
        tick(moment_)
        sent.append(deliver(moment_))
    assert sent == [1, 1, 1, 0, 0]
    assert states() == {("sent", ""): 3}
    assert Counter(Sendout.objects.values_list("state", flat=True)) == {"finished": 3}
    assert set(Message.objects.values_list("contact", flat=True)) == {ann.pk}


def test_it_is_not_finished_before_every_message_is(now):
    people(3, country="CZ")
    broadcast(now, at="now")
    tick(now)
    arbitrate(now, 0, 0)
    first, second, third = Message.objects.all()
    for state, message in (("sent", first), ("uncertain", second)):
        end(message, now, state)
    tick(now + MINUTE)
    assert occasion().state == "sending"
    assert invariants.check(now)["I7"] == 0
    end(third, now, "failed", "gave_up")
    tick(now + DAY)
    tick(now + DAY)
    assert occasion().state == "finished"
    Message.objects.filter(pk=third.pk).delete()
    assert invariants.check(now)["I7"] == 1
    third.save()


# What is wrong -----------------------------------------------------------------------------------------------------

SOUND = {"key": "a", "kind": "broadcast", "audience": ALL, "send": "x", "at": TOMORROW}


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"audience": None}, "audience"),
        ({"audience": {"field": "country", "op": "like"}}, "audience.op"),
        ({"send": 3}, "send"),
        ({"at": None}, "at"),
        ({"at": "tomorrow"}, "at"),
        ({"at": "2027-02-30T09:00"}, "at"),
        ({"at": "2027-03-28T09:00 Mars/Base"}, "at"),
        ({"at": "10:00"}, "at"),
        ({"rrule": "FREQ=WEEKLY;BYDAY=TH"}, "at"),
        ({"rrule": "FREQ=HOURLY", "at": "10:00"}, "rrule"),
        ({"rrule": "FREQ=DAILY", "at": "10:00", "valid_until": TOMORROW}, "valid_until"),
        ({"valid_until": "soon"}, "valid_until"),
        ({"valid_until": "2026-11-11T08:00"}, "valid_until"),
        ({"valid_until": "2026-11-12T08:00", "valid_for": "1d"}, "valid_for"),
        ({"valid_for": "long"}, "valid_for"),
        ({"throttle": "fast"}, "throttle"),
        ({"canary": "5%"}, "canary"),
        ({"canary": {"share": "5%"}}, "canary.wait"),
        ({"canary": {"share": "60%", "wait": "2h"}}, "canary.share"),
        ({"canary": {"share": "5%", "wait": "2h", "for": 1}}, "canary.for"),
        ({"steps": []}, "steps"),
        ({"trigger": "manual"}, "trigger"),
        ({"reentry": {"policy": "never"}}, "reentry"),
        ({"sned": "x"}, "sned"),
    ],
)
def test_what_is_wrong_is_named_by_its_path(db, change, path):
    definition = {name: value for name, value in (SOUND | change).items() if value is not None}
    assert [problem.path for problem in graph.check(definition)] == [path]


@pytest.mark.parametrize(
    "more",
    [
        {}, {"at": "now"}, {"rrule": "FREQ=WEEKLY;BYDAY=TH", "at": "10:00"}, {"throttle": "100/min"},
        {"canary": {"share": 5, "wait": "2h"}}, {"valid_for": "2d"}, {"holdout": "5%", "tier": 4},
        {"goal": {"rule": {"did": "order.placed"}, "window": "7d", "action": "continue"}},
    ],
)  # fmt: skip
def test_what_is_sound_has_no_problems(db, more):
    assert graph.check(SOUND | more) == []
    assert [node.key for node in graph.nodes(SOUND | more)] == ["", "moment", "send"]


def test_a_newsletter_that_nobody_gets_twice_is_warned_of(now):
    one = broadcast(now, rrule="FREQ=DAILY", at="10:30")
    assert [(one.path, one.level) for one in publishing.problems(publishing.draft_of(one))] == [("send", "warning")]
    Template.objects.update(is_repeatable=True)
    assert publishing.problems(publishing.draft_of(one)) == []


def test_only_a_broadcast_has_its_keys(db):
    definition = {"key": "a", "kind": "onboarding", "trigger": "manual", "steps": [{"wait": "1d"}], "throttle": "1/h"}
    assert [problem.path for problem in graph.check(definition)] == ["throttle"]


def test_moments_are_named_by_their_wall_time():
    assert moment("2027-03-28 09:00").key == "2027-03-28T09:00"
    assert moment("2027-03-28T09:00:00+02:00").key == "2027-03-28T07:00 UTC"
    assert moment("2027-03-28T09:00 Europe/Prague").key == "2027-03-28T09:00 Europe/Prague"
