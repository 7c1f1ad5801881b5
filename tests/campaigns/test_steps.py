"""Each kind of step does its work for a set of people, and the next step follows."""

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from campaigns import publishing
from campaigns.models import Due, Enrolment, Journey
from contacts.models import Contact, Field, StepCursor, Touchpoint
from messaging.models import Message, Template
from tests.campaigns.world import DAY, did, journey, path, people, person, sent, tick, told, where

pytestmark = pytest.mark.django_db


def start(contact, now, **more):
    did(contact, "trial.started", now)
    tick(now, **more)
    contact.refresh_from_db()


def test_a_send_makes_one_intent_that_says_why_it_is_there(now):
    journey(now, tier=2, steps=[{"send": "hello", "valid_for": "2d"}])
    ann = person()
    start(ann, now, delivers=False)
    message = Message.objects.get()
    enrolment = Enrolment.objects.get()
    assert message.key == f"enrolment:{enrolment.pk}:hello:1"
    assert (message.contact, message.template.key, message.journey_key) == (ann, "hello", "j")
    assert (message.enrolment_id, message.node_key, message.tier) == (enrolment.pk, "hello", 2)
    assert (message.state, message.due_at, message.valid_until) == ("pending", now, now + 2 * DAY)
    assert (enrolment.state, where(ann)) == ("open", "hello"), "she rests at the step until it has left"
    tick(now + DAY)
    enrolment.refresh_from_db()
    assert (enrolment.state, enrolment.exit_reason, enrolment.ended_at) == ("finished", "end", now + DAY)
    assert told("journey.entered") == [{"journey": "j", "version": 1, "enrolment": enrolment.pk}]
    assert told("journey.left") == [{"journey": "j", "reason": "end", "enrolment": enrolment.pk}]


def test_a_wait_of_days_keeps_the_clock_and_a_wait_of_hours_does_not(now):
    journey(now, "days", steps=[{"wait": "1d"}])
    journey(now, "hours", steps=[{"wait": "24h"}])
    ann = person(zone="Europe/Prague")
    night_before = now.replace(year=2027, month=3, day=27, hour=9)  # 10:00 in Prague, which loses an hour that night
    start(ann, night_before)
    woken = dict(Due.objects.values_list("enrolment__journey__key", "due_at"))
    assert woken["days"] == night_before + timedelta(hours=23)
    assert woken["hours"] == night_before + timedelta(hours=24)
    tick(night_before + timedelta(hours=23))
    assert Enrolment.objects.get(state="open").journey.key == "hours"
    tick(night_before + timedelta(hours=24))
    assert not Enrolment.objects.filter(state="open").exists()


def test_a_wait_begins_when_it_is_come_to_not_when_it_was_due(now):
    journey(now, steps=[{"wait": "1h"}, {"wait": "1h"}, {"send": "hello"}])
    ann = person()
    start(ann, now)
    tick(now + timedelta(hours=5))
    assert where(ann) == "wait-2"
    assert Due.objects.get().due_at == now + timedelta(hours=6)


def test_an_ask_parts_people_by_the_rule(now):
    journey(
        now,
        steps=[
            {
                "key": "czech",
                "ask": {"field": "country", "op": "eq", "value": "CZ"},
                "then": [{"send": "ahoj"}],
                "else": [{"send": "hello"}],
            },
            {"send": "both"},
        ],
    )
    ann, ben = person(country="CZ"), person(country="PL")
    did(ann, "trial.started", now)
    start(ben, now)
    assert sent(ann) == ["ahoj", "both"]
    assert sent(ben) == ["hello", "both"]
    assert path(ann) == [("czech", "then"), ("ahoj", "next"), ("both", "next")]


def test_asks_of_several_journeys_are_answered_at_once(now):
    for number in range(4):
        journey(
            now,
            f"j{number}",
            steps=[{"ask": {"field": "country", "op": "eq", "value": f"C{number}"}, "then": [{"send": f"t{number}"}]}],
        )
    ann = person(country="C2")
    did(ann, "trial.started", now)
    tick(now)
    assert sent(ann) == ["t2"]
    assert Enrolment.objects.filter(state="finished").count() == 4


def test_a_split_is_sticky_and_keeps_its_weights(now):
    journey(
        now,
        reentry={"policy": "after_exit"},
        steps=[{"key": "test", "split": {"a": 30, "b": 70}, "a": [{"send": "tips-a"}], "b": [{"send": "tips-b"}]}],
    )
    crowd = people(2000)
    for contact in crowd:
        did(contact, "trial.started", now)
    tick(now)
    first = dict(Message.objects.values_list("contact_id", "template__key"))
    share = sum(1 for key in first.values() if key == "tips-a") / len(first)
    assert len(first) == 2000
    assert 0.26 < share < 0.34
    later = now + DAY
    for contact in crowd[:200]:
        did(contact, "trial.started", later)
    tick(later)
    second = dict(Message.objects.filter(created_at=later).values_list("contact_id", "template__key"))
    assert second == {contact.pk: first[contact.pk] for contact in crowd[:200]}


def test_a_split_into_thirds_sends_everybody_somewhere(now):
    journey(now, steps=[{"split": {"a": 1, "b": 1, "c": 1}, "a": [{"send": "ta"}], "b": [{"send": "tb"}], "c": []}])
    for contact in people(300):
        did(contact, "trial.started", now)
    tick(now)
    assert Enrolment.objects.filter(state="finished").count() == 300


def test_set_writes_a_custom_field_and_tells_it_once(now):
    Field.objects.create(key="onboarded", type="boolean")
    journey(now, "one", steps=[{"set": {"field": "onboarded", "value": True}}])
    journey(now, "two", steps=[{"set": {"field": "onboarded", "value": True}}])
    ann = person(attributes={"plan": "trial"})
    start(ann, now)
    assert ann.attributes == {"plan": "trial", "onboarded": True}
    assert told("contact.updated") == [{"fields": ["onboarded"]}]


def test_setting_nothing_clears_the_field(now):
    Field.objects.create(key="plan", type="text")
    journey(now, steps=[{"set": {"field": "plan", "value": None}}])
    ann = person(attributes={"plan": "trial", "seats": 3})
    start(ann, now)
    assert ann.attributes == {"seats": 3}


def test_a_hand_off_tells_sales(now):
    journey(now, steps=[{"handoff": {"reason": "trial finished", "team": "inside-sales"}}])
    start(person(), now)
    assert told("handoff.requested") == [
        {"reason": "trial finished", "team": "inside-sales", "journey": "j", "enrolment": Enrolment.objects.get().pk}
    ]


def test_an_exit_step_ends_the_path_behind_what_was_sent(now):
    journey(now, steps=[{"send": "bye"}, {"exit": "done"}])
    start(person(), now)
    enrolment = Enrolment.objects.get()
    assert (enrolment.state, enrolment.exit_reason) == ("exited", "exit")
    assert Message.objects.get().state == "sent"
    assert told("journey.left")[0]["note"] == "done"


def test_a_goal_step_marks_the_goal_and_goes_on(now):
    journey(now, steps=[{"goal": "activated"}, {"send": "bravo"}])
    ann = person()
    start(ann, now)
    assert Enrolment.objects.get().goal_at == now
    assert sent(ann) == ["bravo"]
    assert told("journey.goal_reached")[0]["goal"] == "activated"


def test_a_step_starts_another_journey(now):
    journey(now, "second", trigger="manual", steps=[{"send": "two"}])
    journey(now, "first", steps=[{"start": "second"}, {"send": "one"}])
    ann = person()
    start(ann, now, delivers=False)
    assert sent(ann) == ["one"]
    tick(now + timedelta(seconds=1))
    assert sent(ann) == ["one", "two"]


def test_a_jump_goes_back_so_many_times_and_every_round_has_its_own_message(now):
    journey(now, steps=[{"send": "again"}, {"wait": "1d"}, {"jump_to": "again", "max": 2}, {"send": "last"}])
    ann = person()
    start(ann, now)
    for day in range(1, 6):
        tick(now + day * DAY)
    assert sent(ann) == ["again", "again", "again", "last"]
    assert [key.rsplit(":", 1)[1] for key in Message.objects.order_by("pk").values_list("key", flat=True)] == list(
        "1233"
    )


def test_whoever_is_held_out_walks_the_same_path_unseen(now):
    Field.objects.create(key="onboarded", type="boolean")
    journey(
        now,
        holdout="50%",
        steps=[{"send": "hello"}, {"set": {"field": "onboarded", "value": True}}, {"handoff": {"reason": "look"}}],
    )
    for contact in people(200):
        did(contact, "trial.started", now)
    tick(now)
    ghosts = set(Enrolment.objects.filter(is_ghost=True).values_list("contact_id", flat=True))
    assert 70 < len(ghosts) < 130
    assert Message.objects.filter(is_ghost=True).count() == len(ghosts)
    assert set(Contact.objects.filter(attributes__onboarded=True).values_list("pk", flat=True)).isdisjoint(ghosts)
    assert len(told("handoff.requested")) == 200 - len(ghosts)


def test_a_paused_journey_stands_still_and_goes_on_where_it_was(now):
    one = journey(now, steps=[{"wait": "1h"}, {"send": "hello"}])
    ann = person()
    start(ann, now)
    publishing.pause(journey=one, by=None, now=now)
    late = did(person(), "trial.started", now)
    tick(now + DAY)
    assert where(ann) == "wait"
    assert where(late.contact) is None
    publishing.resume(journey=one, by=None, now=now + DAY)
    tick(now + DAY)
    assert sent(ann) == ["hello"]


def test_two_ticks_at_one_moment_do_nothing_twice(now):
    journey(now, steps=[{"send": "hello"}, {"wait": "1d"}, {"send": "more"}])
    ann = person()
    start(ann, now)
    tick(now)
    tick(now + DAY)
    assert tick(now + DAY)["advance"] == 0
    assert sent(ann) == ["hello", "more"]


def test_a_replay_from_the_beginning_of_the_stream_enrols_nobody_again(now):
    journey(now, reentry={"policy": "after_exit"}, steps=[{"send": "hello"}])
    ann = person()
    start(ann, now)
    StepCursor.objects.update(position=0)
    tick(now + DAY)
    assert sent(ann) == ["hello"]


def test_the_number_of_statements_does_not_depend_on_the_number_of_people(now):
    journey(
        now,
        steps=[
            {"send": "hello"},
            {"ask": {"field": "country", "op": "eq", "value": "CZ"}, "then": [{"send": "ahoj"}], "else": []},
            {"split": {"a": 50, "b": 50}, "a": [{"wait": "1d"}], "b": []},
        ],
    )
    counts = []
    for size in (5, 5000):
        Touchpoint.objects.bulk_create(
            Touchpoint(contact=one, kind="trial.started", occurred_at=now, received_at=now)
            for one in people(size, country="CZ")
        )
        with CaptureQueriesContext(connection) as queries:
            tick(now)
        counts.append(len(queries))
    assert Message.objects.count() == 2 * 5005
    assert counts[1] <= counts[0] < 240


def test_a_step_whose_template_is_gone_stops_nobody(now):
    journey(now, steps=[{"wait": "1h"}, {"send": "hello"}, {"send": "more"}])
    ann = person()
    start(ann, now)
    Template.objects.get(key="hello").delete()
    tick(now + DAY)
    assert sent(ann) == ["more"]


def test_people_of_a_step_whose_rule_cannot_be_read_are_held_and_others_go_on(now):
    Field.objects.create(key="plan", type="text")
    journey(now, "broken", steps=[{"ask": {"field": "plan", "op": "eq", "value": "pro"}, "then": [{"send": "pro"}]}])
    journey(now, "sound", steps=[{"ask": {"field": "country", "op": "is_empty"}, "then": [{"send": "hello"}]}])
    Field.objects.all().delete()
    ann = person()
    start(ann, now)
    assert sent(ann) == ["hello"]
    assert where(ann) == "ask"
    Field.objects.create(key="plan", type="text")
    tick(now + DAY)
    assert where(ann) is None


def test_archiving_takes_everybody_out_and_withdraws_their_mail(now):
    one = journey(now, steps=[{"send": "hello"}, {"wait": "5d"}])
    ann = person()
    start(ann, now, delivers=False)
    publishing.archive(journey=one, by=None, now=now)
    tick(now + DAY)
    assert Enrolment.objects.get(contact=ann).exit_reason == "archived"
    assert (Message.objects.get().state, Message.objects.get().reason) == ("cancelled", "journey_stopped")
    assert Journey.objects.get().state == "archived"
