"""Entering and leaving beyond the tables: the door of the outbox, floods, what is written down, who matches already."""

from datetime import timedelta

import pytest
import structlog
from django.db import IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext

from campaigns import publishing
from campaigns.candidates import FLOOD, MEMORY, forget_candidates
from campaigns.explaining import explain_journey
from campaigns.models import Achievement, Candidate, DatesAsked, Enrolment, Occasion
from campaigns.requests import matching_now
from contacts.ingest import ingest
from contacts.models import Contact, Field, Incoming, Membership, Segment, StepCursor, Touchpoint
from contacts.stream import Step, run_step
from contacts.syncing import upsert
from messaging.delivery import deliver as deliver_mail
from messaging.explaining import why
from messaging.gates import arbitrate
from messaging.models import Message
from tests.campaigns.world import DAY, deliver, did, journey, people, person, tick, told, where

pytestmark = pytest.mark.django_db

MINUTE = timedelta(minutes=1)
LEAVERS = {"field": "country", "op": "eq", "value": "CZ"}


def start(contact, at, **properties):
    did(contact, "trial.started", at, **properties)


# The door ------------------------------------------------------------------------------------------------------------


def ready(now):
    """A message that passed the gates and waits for a worker, of somebody on a journey."""
    journey(now, exit=LEAVERS, steps=[{"send": "hello"}, {"wait": "9d"}])
    ann = person()
    start(ann, now)
    tick(now, delivers=False)
    run_step(Step("arbitrate", arbitrate), now)
    message = Message.objects.get()
    assert message.state == "ready"
    return ann, message


def test_whom_the_exit_rule_means_since_a_moment_gets_nothing_at_the_door(now, brand):
    ann, message = ready(now)
    Contact.objects.filter(pk=ann.pk).update(country="CZ")
    assert deliver_mail(now=now) == 0
    message.refresh_from_db()
    assert (message.state, message.reason) == ("cancelled", "exited")
    checks = {one.gate: one.is_passed for one in why(message, now).checks}
    assert (checks["address"], checks["journey"], checks["once"]) == (True, False, None)
    did(ann, "contact.updated", now, fields=["country"])
    tick(now, delivers=False)
    assert Enrolment.objects.get().exit_reason == "exit_rule"


def test_what_is_meant_for_an_enrolment_that_ended_does_not_leave(now, brand):
    ann, message = ready(now)
    Enrolment.objects.update(state="exited", exit_reason="goal", ended_at=now)
    assert deliver_mail(now=now) == 0
    message.refresh_from_db()
    assert (message.state, message.reason) == ("cancelled", "goal_reached")
    Message.objects.update(state="pending", reason="", finished_at=None)
    run_step(Step("arbitrate", arbitrate), now)
    message.refresh_from_db()
    assert (message.state, message.reason) == ("skipped", "goal_reached")


def test_what_was_said_before_an_exit_step_still_leaves(now, brand):
    ann, message = ready(now)
    Enrolment.objects.update(state="exited", exit_reason="exit", ended_at=now)
    assert deliver_mail(now=now) == 1


@pytest.fixture
def brand(settings, tmp_path):
    from messaging.models import Brand

    settings.EMAIL_URL = f"maildir:{tmp_path}/mail"
    return Brand.objects.get_or_create(
        pk=1, defaults={"name": "Acme", "sender": "Acme <hello@acme.example>", "postal_address": "1 Main St"}
    )[0]


def test_a_goal_that_jumps_withdraws_what_was_not_sent(now):
    goal = {"rule": {"did": "order.placed"}, "action": "jump", "to": "thanks"}
    journey(now, goal=goal, steps=[{"send": "hello"}, {"wait": "9d"}, {"key": "thanks", "wait": "1d"}])
    ann = person()
    start(ann, now)
    tick(now, delivers=False)
    did(ann, "order.placed", now + MINUTE)
    tick(now + MINUTE, delivers=False)
    assert where(ann) == "thanks"
    message = Message.objects.get()
    assert (message.state, message.reason) == ("cancelled", "goal_reached")


# Floods --------------------------------------------------------------------------------------------------------------


def test_journeys_that_start_each_other_come_to_rest_and_say_so(now):
    journey(now, "a", reentry={"policy": "after_exit"}, steps=[{"wait": "1d"}])
    journey(now, "b", trigger="manual", reentry={"policy": "after_exit"}, steps=[{"start": "a"}])
    # Without the wait it were refused: see `campaigns.shape`.
    one = journey(now, "a", reentry={"policy": "after_exit"}, steps=[{"wait": "1m"}, {"start": "b"}])
    ann = person()
    start(ann, now)
    with structlog.testing.capture_logs() as logs:
        for minute in range(4 * FLOOD):
            tick(now + minute * MINUTE)
    assert Enrolment.objects.filter(journey=one).count() == FLOOD
    assert not Enrolment.objects.filter(state="open").exists()
    stopped = [log for log in logs if log["event"] == "journey_entries_stopped"]
    assert [(log["journey"], log["people"], log["log_level"]) for log in stopped] == [("a", 1, "warning")]
    assert Candidate.objects.get().reason == "flood"
    [reason, *_others] = explain_journey(ann, one, now + DAY)["why_not"]
    assert f"{FLOOD} times within a day" in reason


def test_a_day_after_a_flood_the_journey_is_open_again(now):
    reentry = {"policy": "per_key", "key": "number"}
    journey(now, reentry=reentry, steps=[{"wait": "1d"}])
    ann = person()
    for number in range(FLOOD + 5):
        start(ann, now, number=str(number))
    tick(now)
    assert Enrolment.objects.count() == FLOOD
    assert Candidate.objects.filter(reason="flood").count() == 5
    start(ann, now + DAY + MINUTE, number="later")
    tick(now + DAY + MINUTE)
    assert Enrolment.objects.count() == FLOOD + 1


# What is written down ------------------------------------------------------------------------------------------------


def test_a_refusal_is_explained_and_forgotten_after_a_while(now):
    when = {"field": "country", "op": "eq", "value": "PL"}
    one = journey(now, trigger={"touchpoint": "trial.started", "when": when}, steps=[{"wait": "1d"}])
    ann = person()
    start(ann, now)
    tick(now)
    assert "asked until" in explain_journey(ann, one, now)["why_not"][0]
    tick(now + 31 * MINUTE)
    assert "did not hold within half an hour" in explain_journey(ann, one, now + DAY)["why_not"][0]
    assert forget_candidates(now + DAY) == 0
    assert forget_candidates(now + MEMORY + DAY) == 1


def test_who_was_in_often_enough_is_told_so(now):
    reentry = {"policy": "after_exit", "max": 1, "window": "30d"}
    one = journey(now, reentry=reentry, steps=[{"wait": "1d"}])
    ann = person()
    start(ann, now)
    tick(now)
    tick(now + DAY)
    start(ann, now + 2 * DAY)
    tick(now + 2 * DAY)
    reasons = explain_journey(ann, one, now + 3 * DAY)["why_not"]
    assert "as often as the journey allows" in reasons[0]
    assert reasons[1] == "Nobody gets in more than 1 times within 30d."


def test_a_late_event_is_explained_with_the_grace_of_the_journey(now):
    one = journey(now, grace="2h", steps=[{"wait": "1d"}])
    ann = person()
    did(ann, "trial.started", now - timedelta(hours=3), received=now)
    tick(now)
    assert "more than 2h after it happened" in explain_journey(ann, one, now)["why_not"][0]


def test_an_achievement_names_the_touchpoint_that_shows_it(now):
    journey(now, goal={"rule": {"any": [{"did": "page.viewed"}, {"did": "order.placed"}]}}, steps=[{"wait": "9d"}])
    ann = person()
    start(ann, now)
    tick(now)
    did(ann, "page.viewed", now + DAY)
    tick(now + DAY)
    shown = Achievement.objects.get().touchpoint_id
    assert Touchpoint.objects.get(pk=shown).kind == "page.viewed"
    assert told("journey.goal_reached") == [{"journey": "j", "enrolment": Enrolment.objects.get().pk}]


def test_the_database_keeps_each_occasion_and_candidate_once(now):
    one, ann = journey(now, steps=[{"wait": "1d"}]), person()
    Occasion.objects.create(journey=one, contact=ann, key="k", occurred_at=now)
    with pytest.raises(IntegrityError), transaction.atomic():
        Occasion.objects.create(journey=one, contact=ann, key="k", occurred_at=now)
    refused = {
        "journey": one, "contact": ann, "version": one.version, "trigger_place": 0, "touchpoint_id": 1,
        "state": "refused", "asked_at": now, "until": now,
    }  # fmt: skip
    with pytest.raises(IntegrityError), transaction.atomic():
        Candidate.objects.create(**refused)
    Candidate.objects.create(**refused, reason="filter")
    with pytest.raises(IntegrityError), transaction.atomic():
        Candidate.objects.create(**refused, reason="filter")


# Dates ---------------------------------------------------------------------------------------------------------------


def test_a_crash_between_telling_a_date_and_letting_in_does_both_later(now, monkeypatch):
    trigger = {"date": {"rrule": "FREQ=DAILY", "at": "10:01"}, "who": {"field": "email", "op": "is_set"}}
    journey(now, trigger=trigger, steps=[{"wait": "1d"}])
    person()
    with monkeypatch.context() as broken:
        broken.setattr("campaigns.enrolling._let_in", lambda *_anything: 1 / 0)
        with pytest.raises(AssertionError):
            tick(now + MINUTE)
    assert not Occasion.objects.exists() and not DatesAsked.objects.exists()
    StepCursor.objects.update(error="")
    tick(now + 2 * MINUTE)
    tick(now + 2 * MINUTE)
    assert (Occasion.objects.count(), Enrolment.objects.count()) == (1, 1)


def test_a_clock_that_goes_back_fires_no_date_twice(now):
    trigger = {"date": {"rrule": "FREQ=DAILY", "at": "10:01"}, "who": {"field": "email", "op": "is_set"}}
    journey(now, trigger=trigger, reentry={"policy": "after_exit"}, steps=[{"goal": "done"}])
    person()
    for minute in (1, 2, -4, 0, 1, 2, 3):
        tick(now + minute * MINUTE)
    assert Enrolment.objects.count() == 1


def test_both_changes_of_the_clock_keep_a_date_at_its_local_time(now):
    """At 02:30 on 2027-03-28 no clock of Prague shows that time: the first minute after the gap is meant."""
    who = {"field": "email", "op": "is_set"}
    spring = {"date": {"at": "2027-03-28T02:30"}, "who": who}
    autumn = {"date": {"at": "2027-10-31T02:30"}, "who": who}
    one = journey(now, trigger=[spring, autumn], reentry={"policy": "after_exit"}, steps=[{"wait": "1h"}])
    person()
    for moment in ("2027-03-28T00:00+00:00", "2027-10-30T22:00+00:00"):
        begin = now.fromisoformat(moment)
        DatesAsked.objects.update_or_create(journey=one, defaults={"until": begin})
        for minute in range(0, 240, 10):
            tick(begin + minute * MINUTE)
    moments = Occasion.objects.order_by("occurred_at").values_list("occurred_at", flat=True)
    assert [moment.isoformat() for moment in moments] == ["2027-03-28T01:00:00+00:00", "2027-10-31T00:30:00+00:00"]


def test_the_number_of_statements_does_not_grow_with_people(now):
    Field.objects.create(key="renewal_on", type="date")
    trigger = [
        {"date": {"field": "renewal_on", "at": "10:00"}},
        {"date": {"rrule": "FREQ=DAILY", "at": "10:00"}, "who": {"field": "country", "op": "eq", "value": "DE"}},
        {"touchpoint": "trial.started", "when": {"field": "country", "op": "eq", "value": "PL"}},
    ]
    goal = {"rule": {"did": "order.placed"}, "value": {"property": "total"}, "action": "jump", "to": "b"}
    steps = [{"key": "a", "wait": "9d"}, {"key": "b", "wait": "9d"}]
    journey(now, trigger=trigger, reentry={"policy": "after_exit"}, goal=goal, exit=LEAVERS, steps=steps)
    counts = []
    for day, size in ((1, 5), (2, 1500)):
        crowd = Contact.objects.bulk_create(
            Contact(
                email=f"d{day}-{number}@example.com", country=("PL", "DE", "FR")[number % 3],
                attributes={"renewal_on": f"2026-11-{10 + day}"} if number % 3 == 2 else {},
            )
            for number in range(size)
        )  # fmt: skip
        at = now + day * DAY
        Touchpoint.objects.bulk_create(
            Touchpoint(contact=one, kind="trial.started", occurred_at=at, received_at=at) for one in crowd
        )
        with CaptureQueriesContext(connection) as queries:
            tick(at)
            Touchpoint.objects.bulk_create(
                Touchpoint(contact=one, kind="order.placed", occurred_at=at, received_at=at) for one in crowd[::2]
            )
            tick(at + MINUTE)
        counts.append(len(queries))
        assert Enrolment.objects.filter(enrolled_at=at).count() >= size
    assert counts[1] <= counts[0] + 4


# Who matches already -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("trigger", "count"),
    [
        ({"segment_entered": "vip"}, 1),
        ({"segment_entered": "vip", "when": {"field": "country", "op": "eq", "value": "PL"}}, 0),
        ({"stage_changed": "customer"}, 2),
        ({"field_changed": {"field": "plan", "to": "pro"}}, 1),
        ({"date": {"field": "renewal_on", "offset": "-30d", "at": "09:00"}}, 2),
        (
            {
                "date": {"field": "renewal_on", "offset": "-30d", "at": "09:00"},
                "who": {"field": "plan", "op": "eq", "value": "pro"},
            },
            1,
        ),
        ({"date": {"field": "renewal_on", "offset": "3d", "at": "09:00"}}, 0),
        ([{"segment_entered": "vip"}, {"stage_changed": "customer"}], 3),
        ({"touchpoint": "trial.started"}, 0),
        ("manual", 0),
    ],
)
def test_publishing_counts_who_matches_already_and_lets_in_only_if_told(now, trigger, count):
    Field.objects.create(key="plan", type="text")
    Field.objects.create(key="renewal_on", type="date")
    vip = Segment.objects.create(key="vip", name="VIP")
    crowd = people(8)
    Membership.objects.create(segment=vip, contact=crowd[0], entered_at=now)
    Contact.objects.filter(pk__in=[crowd[1].pk, crowd[2].pk]).update(stage="customer")
    Contact.objects.filter(pk=crowd[3].pk).update(attributes={"plan": "pro", "renewal_on": "2026-11-20"})
    Contact.objects.filter(pk=crowd[4].pk).update(attributes={"renewal_on": "2026-12-05"})
    Contact.objects.filter(pk=crowd[5].pk).update(attributes={"renewal_on": "2026-11-01"})
    Contact.objects.filter(pk=crowd[6].pk).update(attributes={"renewal_on": "2027-03-01"})
    one = journey(now, trigger=trigger, steps=[{"wait": "1d"}])
    assert matching_now(one, publishing.draft_of(one), now).count() == count
    tick(now)
    assert not Enrolment.objects.exists()
    publishing.publish(journey=one, by=None, now=now, enrol_matching=True)
    tick(now)
    assert Enrolment.objects.count() == count


# What a field was ----------------------------------------------------------------------------------------------------


def test_what_a_field_was_comes_with_its_change_through_every_door(now):
    for key in ("plan", "seats"):
        Field.objects.create(key=key, type="text" if key == "plan" else "number")
    wanted = {"field_changed": {"field": "plan", "from": "trial", "to": "pro"}}
    journey(now, "target", trigger=wanted, steps=[{"wait": "1d"}])
    journey(now, "setter", steps=[{"set": {"field": "plan", "value": "pro"}}])
    ann, ben, cid, dan = (person(attributes={"plan": "trial", "seats": 2}) for _one in range(4))
    Contact.objects.filter(pk=dan.pk).update(attributes={"plan": "start"})
    # The tracking API, the sync, and a step.
    Incoming.objects.create(
        kind="contact.identified", source="t", occurred_at=now, received_at=now, contact_id=ann.pk,
        traits={"plan": "pro", "first_name": "Ann"},
    )  # fmt: skip
    rows = [{"email": one.email, "attributes": {"plan": "pro"}} for one in (ben, dan)]
    upsert(rows, source="sync", now=now)
    start(cid, now)
    tick(now)
    tick(now + MINUTE)
    entered = Enrolment.objects.filter(journey__key="target").values_list("contact_id", flat=True)
    assert sorted(entered) == [ann.pk, ben.pk, cid.pk]
    former = {row.contact_id: row.properties["former"] for row in Touchpoint.objects.filter(kind="contact.updated")}
    assert former == {one.pk: {"plan": "trial"} for one in (ann, ben, cid)} | {dan.pk: {"plan": "start"}}


def test_a_name_is_not_written_down_a_second_time_when_it_changes(now):
    ann = person(first_name="Ann", language="en")
    upsert([{"email": ann.email, "first_name": "Anna", "language": "cs"}], source="sync", now=now)
    run_step(Step("ingest", ingest), now)
    assert Touchpoint.objects.get(kind="contact.updated").properties == {
        "fields": ["first_name", "language"],
        "former": {"language": "en"},
    }


def test_exposure_is_noted_once_by_the_first_message(now):
    journey(now, steps=[{"send": "hello"}, {"wait": "1d"}, {"send": "more"}])
    ann = person()
    start(ann, now)
    tick(now, delivers=False)
    assert Enrolment.objects.get().exposed_at is None
    deliver(now + MINUTE)
    tick(now + 2 * MINUTE)
    tick(now + 3 * DAY)
    assert Enrolment.objects.get().exposed_at == now + MINUTE
    did(ann, "email.sent", now, message="no number")
    tick(now + 3 * DAY)


def test_dates_that_were_taken_out_and_come_back_count_from_then_on(now):
    everybody = {"field": "email", "op": "is_set"}
    dated = {"date": {"at": "2026-11-10T11:00+00:00"}, "who": everybody}
    steps = [{"wait": "9d"}]
    ann = person()
    journey(now, trigger={"date": {"rrule": "FREQ=DAILY", "at": "08:00"}, "who": everybody}, steps=steps)
    tick(now + MINUTE)
    journey(now + MINUTE, trigger="manual", steps=steps)
    tick(now + 3 * DAY / 24)
    journey(now + 4 * DAY / 24, trigger=dated, steps=steps)
    tick(now + 5 * DAY / 24)
    assert not Enrolment.objects.filter(contact=ann).exists(), "it lay before the dates came back"
