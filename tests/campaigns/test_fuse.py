"""The fuse: a journey that is out of hand pauses itself and says why; a person lets it go on."""

from datetime import timedelta

import pytest
from django.contrib.auth import get_user_model
from django.db import connection
from django.test.utils import CaptureQueriesContext

from campaigns import fuse, publishing
from campaigns.models import Enrolment, Journey, Pulse
from contacts.models import Touchpoint
from contacts.stream import Step, run_step
from messaging.models import Message, Template, Topic
from tests.campaigns.world import DAY, did, journey, people, person

pytestmark = pytest.mark.django_db
HOUR = timedelta(hours=1)


@pytest.fixture
def made(now) -> Journey:
    return journey(now, steps=[{"send": "hello"}])


@pytest.fixture
def boss():
    return get_user_model().objects.create_user("boss")


def letters(made: Journey, contacts, at, kind="email.sent", **properties) -> list[Message]:
    """One message for each of these contacts, and what the stream tells of it."""
    template = Template.objects.get(key="hello")
    number = Message.objects.count()
    rows = Message.objects.bulk_create(
        Message(
            key=f"test:{number + place}", contact=one, template=template, message_class="marketing", created_at=at,
            due_at=at, journey_key=made.key, state="failed" if kind == "email.failed" else "sent",
            reason=properties.get("reason", ""), sent_at=None if kind == "email.failed" else at,
        )
        for place, one in enumerate(contacts)
    )  # fmt: skip
    tell(rows, kind, at, **properties)
    return rows


def tell(rows, kind, at, **properties) -> None:
    Touchpoint.objects.bulk_create(
        Touchpoint(
            contact_id=row.contact_id, kind=kind, occurred_at=at, received_at=at,
            properties={"message": row.pk, "journey": row.journey_key, **properties},
        )
        for row in rows
    )  # fmt: skip


def watch(at) -> dict | None:
    """Lets the fuse look; what it saw, where it paused the journey."""
    run_step(Step("fuse", fuse.watch), at)
    made = Journey.objects.get()
    assert (made.state == "paused") == bool(made.pause_reason)
    return made.pause_reason


def test_ordinary_sending_leaves_a_journey_alone(made, now):
    crowd = people(300)
    sent = letters(made, crowd, now)
    tell(sent[:2], "email.complained", now)
    tell(sent[:24], "email.bounced", now)
    assert watch(now) is None
    assert Pulse.objects.values_list("sent", "bounced", "complained").get() == (300, 24, 2)


def test_more_than_five_messages_to_one_person_in_a_day_are_too_many(made, now):
    ann = person()
    for hour in range(5):
        letters(made, [ann], now + hour * HOUR)
    assert watch(now + 5 * HOUR) is None
    letters(made, [ann], now + 5 * HOUR)
    assert watch(now + 5 * HOUR) == {"rule": "per_person", "found": 6, "limit": 5}
    assert fuse.in_words(Journey.objects.get().pause_reason) == (
        "One person got 6 of its messages in 24 hours; more than 5 are too many."
    )


def test_six_messages_over_two_days_are_not(made, now):
    ann = person()
    for number in range(6):
        letters(made, [ann], now + number * 5 * HOUR)
    assert watch(now + 25 * HOUR) is None


def test_an_hour_of_five_times_what_is_usual_is_too_much(made, now):
    crowd = people(501)
    letters(made, crowd[:500], now)
    assert watch(now) is None
    letters(made, crowd[500:], now + timedelta(minutes=30))
    assert watch(now + timedelta(minutes=30)) == {"rule": "volume", "found": 501, "limit": 500}


def test_what_is_usual_is_the_median_of_the_hours_in_which_it_sent(made, now):
    for hour, sent in ((-72, 5), (-48, 150), (-24, 900)):
        Pulse.objects.create(journey=made, begun_at=now + hour * HOUR, sent=sent)
    crowd = people(751)
    letters(made, crowd[:750], now)
    assert watch(now) is None
    letters(made, crowd[750:], now)
    assert watch(now) == {"rule": "volume", "found": 751, "limit": 750}


def test_whom_a_person_let_in_is_no_flood(made, now):
    crowd = people(600)
    asked = Touchpoint.objects.bulk_create(
        Touchpoint(
            contact=one, kind="journey.requested", occurred_at=now, received_at=now,
            properties={"journey": "j", "by": "boss"},
        )
        for one in crowd
    )  # fmt: skip
    Enrolment.objects.bulk_create(
        Enrolment(contact=one, journey=made, version=made.version, enrolled_at=now, touchpoint_id=told.pk)
        for one, told in zip(crowd, asked, strict=True)
    )
    letters(made, crowd, now)
    assert watch(now) is None
    Touchpoint.objects.filter(kind="journey.requested").update(properties={"journey": "j", "by": "journey:other"})
    letters(made, [person()], now)
    assert watch(now)["rule"] == "volume"


def test_who_was_there_before_is_no_flood(made, now):
    crowd = people(600)
    Enrolment.objects.bulk_create(
        Enrolment(contact=one, journey=made, version=made.version, enrolled_at=now - DAY) for one in crowd
    )
    letters(made, crowd, now)
    assert watch(now) is None
    # The same people, had they all come just now, without anybody having asked them in.
    Enrolment.objects.update(enrolled_at=now)
    letters(made, [person()], now)
    assert watch(now) == {"rule": "volume", "found": 601, "limit": 500}


@pytest.mark.parametrize(
    ("sent", "came_back", "trips"),
    [(20, 2, False), (20, 3, True), (100, 8, False), (100, 9, True), (100, 0, False)],
)
def test_more_than_eight_of_a_hundred_that_come_back_are_too_many(made, now, sent, came_back, trips):
    crowd = people(sent)
    # Some are refused at the door, others come back later.
    letters(made, crowd[:1], now, "email.failed", reason="bounced") if came_back else None
    rows = letters(made, crowd[1 if came_back else 0 :], now)
    tell(rows[: max(came_back - 1, 0)], "email.bounced", now)
    seen = {"rule": "bounces", "found": came_back, "of": sent, "limit": 0.08}
    assert watch(now) == (seen if trips else None)


@pytest.mark.parametrize(
    ("sent", "complaints", "trips"), [(100, 2, False), (100, 3, True), (450, 3, True), (1_100, 3, False)]
)
def test_three_complaints_of_a_thousand_are_too_many(made, now, sent, complaints, trips):
    rows = []
    for part, crowd in enumerate([people(sent)[place : place + 200] for place in range(0, sent, 200)]):
        rows += letters(made, crowd, now - (20 - part) * HOUR)
    tell(rows[:complaints], "email.complained", now)
    found = watch(now)
    assert bool(found) is trips
    if trips:
        assert (found["rule"], found["found"], found["of"]) == ("complaints", complaints, sent)


def test_only_the_last_thousand_deliveries_count(made, now):
    crowd = people(1_400)
    old = letters(made, crowd[:200], now - 40 * HOUR)
    tell(old[:19], "email.bounced", now - 40 * HOUR)
    for part in range(6):
        letters(made, crowd[200 * (part + 1) : 200 * (part + 2)], now - (30 - part) * HOUR)
    tell(old[:10], "email.complained", now - 40 * HOUR)
    assert watch(now) is None


def test_an_event_that_somebody_else_made_up_is_not_counted(made, now):
    rows = letters(made, people(50), now)
    stranger = person()
    for row in rows:
        did(stranger, "email.complained", now, message=row.pk, journey="j")
        did(row.contact, "email.complained", now, message="x", journey="j")
    assert watch(now) is None


def trip(made, now) -> list[Message]:
    rows = letters(made, people(50), now)
    tell(rows[:5], "email.complained", now)
    assert watch(now)["rule"] == "complaints"
    return rows


def test_a_fused_journey_holds_its_messages_and_lets_nobody_in(made, now):
    waiting = letters(made, [person()], now)
    Message.objects.filter(pk=waiting[0].pk).update(state="pending", sent_at=None)
    trip(made, now)
    made.refresh_from_db()
    assert (made.state, made.paused_at, made.paused_by) == ("paused", now, None)
    assert Message.objects.get(pk=waiting[0].pk).is_held


def test_only_a_person_lets_it_go_on_and_then_it_counts_anew(made, boss, now):
    rows = trip(made, now)
    with pytest.raises(publishing.WrongState):
        publishing.resume(journey=made, by=None, now=now + HOUR)
    publishing.resume(journey=made, by=boss, now=now + HOUR)
    made.refresh_from_db()
    assert (made.state, made.pause_reason, made.armed_at) == ("live", None, now + HOUR)
    later = letters(made, people(0) or [person() for _ in range(40)], now + HOUR)
    tell(later[:2], "email.complained", now + HOUR)
    assert watch(now + HOUR) is None, "what was complained of before does not count again"
    tell(rows[6:7], "email.complained", now + 2 * HOUR)
    assert watch(now + 2 * HOUR)["rule"] == "complaints"


def test_a_journey_that_a_person_paused_has_no_reason_of_the_fuse(made, boss, now):
    publishing.pause(journey=made, by=boss, now=now)
    rows = letters(made, people(50), now)
    tell(rows[:5], "email.complained", now)
    run_step(Step("fuse", fuse.watch), now)
    made.refresh_from_db()
    assert (made.pause_reason, made.paused_by) == (None, boss)
    publishing.resume(journey=made, by=None, now=now)


def test_looking_costs_as_many_questions_for_many_messages_as_for_few_and_none_where_nothing_was_sent(made, now):
    Topic.objects.first()
    counts = []
    for count in (3, 300):
        letters(made, [person() for _ in range(count)] if count < 9 else people(count), now)
        with CaptureQueriesContext(connection) as queries:
            fuse.watch(now, 0, Touchpoint.objects.order_by("-pk").values_list("pk", flat=True)[0])
        counts.append(len(queries) - 1)
    assert counts[0] == counts[1] <= 5
    did(person(), "page.viewed", now)
    newest = Touchpoint.objects.order_by("-pk").values_list("pk", flat=True)[0]
    with CaptureQueriesContext(connection) as queries:
        fuse.watch(now, newest - 1, newest)
    assert len(queries) == 1


def test_pulses_that_nobody_looks_at_any_more_go(made, now):
    Pulse.objects.create(journey=made, begun_at=now - 16 * DAY, sent=5)
    letters(made, [person()], now)
    watch(now)
    assert Pulse.objects.filter(begun_at__lt=now - 15 * DAY).count() == 0


def test_a_closing_journey_that_is_out_of_hand_ends_for_nobody_could_let_it_go_on(made, now):
    ann, ben = person(), person()
    Enrolment.objects.create(contact=ben, journey=made, version=made.version, enrolled_at=now, state="finished",
                             exit_reason="end", ended_at=now)  # fmt: skip
    Journey.objects.update(state="closing")
    letters(made, [ann] * 6, now)
    run_step(Step("fuse", fuse.watch), now)
    assert Journey.objects.get().state == "archived"
