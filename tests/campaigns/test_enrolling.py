"""Who gets in, how often, and what takes people out."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import IntegrityError, connection, transaction

from campaigns.models import Enrolment
from campaigns.requests import enrol_contacts
from contacts.models import Contact, Field, Segment, Touchpoint
from messaging.models import Message
from tests.campaigns.world import DAY, did, journey, people, person, sent, tick, told, where

pytestmark = pytest.mark.django_db

STEPS = [{"send": "hello"}]
RESTING = [{"wait": "2d"}]

# The trigger, the touchpoint that fires it, and one that does not.
TRIGGERS = {
    "segment entered": ({"segment_entered": "trial"}, ("segment.entered", {"segment": "trial"}), {"segment": "other"}),
    "segment left": ({"segment_left": "trial"}, ("segment.left", {"segment": "trial"}), {"segment": "other"}),
    "touchpoint": (
        {"touchpoint": "lead.rejected", "where": [{"field": "track", "op": "eq", "value": "j"}]},
        ("lead.rejected", {"track": "j"}),
        {"track": "other"},
    ),
    "stage": ({"stage_changed": "customer"}, ("stage.changed", {"from": "lead", "to": "customer"}), {"to": "lead"}),
    "stage from and to": (
        {"stage_changed": {"from": "lead", "to": "known"}},
        ("stage.changed", {"from": "lead", "to": "known"}),
        {"from": "visitor", "to": "known"},
    ),
    "score": (
        {"score_crossed": "engagement"},
        ("score.crossed", {"score": "engagement", "direction": "up"}),
        {"score": "engagement", "direction": "down"},
    ),
    "score down": (
        {"score_crossed": {"score": "engagement", "direction": "down"}},
        ("score.crossed", {"score": "engagement", "direction": "down"}),
        {"score": "engagement", "direction": "up"},
    ),
    "field": ({"field_changed": "plan"}, ("contact.updated", {"fields": ["country", "plan"]}), {"fields": ["country"]}),
    "field to": (
        {"field_changed": {"field": "plan", "to": "pro"}},
        ("contact.updated", {"fields": ["plan"]}),
        {"fields": ["country"]},
    ),
    "any of a list": (
        [{"segment_entered": "trial"}, {"touchpoint": "trial.started"}],
        ("trial.started", {}),
        None,
    ),
}


@pytest.mark.parametrize("name", TRIGGERS)
def test_a_trigger_lets_in_whom_it_names_and_nobody_else(now, name):
    trigger, (kind, fires), does_not = TRIGGERS[name]
    Segment.objects.create(key="trial", name="Trial")
    Field.objects.create(key="plan", type="text")
    journey(now, trigger=trigger, steps=STEPS)
    ann, ben = person(attributes={"plan": "pro"}), person(attributes={"plan": "start"})
    did(ann, kind, now, **fires)
    if does_not is not None:
        did(ben, kind, now, **does_not)
    tick(now)
    assert list(Enrolment.objects.values_list("contact_id", flat=True)) == [ann.pk]


def test_a_field_that_changed_to_something_else_lets_nobody_in(now):
    Field.objects.create(key="plan", type="text")
    journey(now, trigger={"field_changed": {"field": "plan", "to": "pro"}}, steps=STEPS)
    did(person(attributes={"plan": "start"}), "contact.updated", now, fields=["plan"])
    tick(now)
    assert not Enrolment.objects.exists()


def test_an_event_told_more_than_a_day_late_starts_nothing(now):
    journey(now, steps=STEPS)
    ann, ben = person(), person()
    did(ann, "trial.started", now - timedelta(hours=25), received=now)
    did(ben, "trial.started", now - timedelta(hours=23), received=now)
    tick(now)
    assert list(Enrolment.objects.values_list("contact_id", flat=True)) == [ben.pk]


def test_a_machine_starts_nothing(now):
    journey(now, trigger={"touchpoint": "email.clicked"}, steps=STEPS)
    Touchpoint.objects.create(contact=person(), kind="email.clicked", occurred_at=now, received_at=now, is_machine=True)
    tick(now)
    assert not Enrolment.objects.exists()


def test_who_was_merged_away_or_erased_gets_in_nowhere(now):
    journey(now, steps=STEPS)
    ann, ben = person(), person()
    did(ann, "trial.started", now)
    did(ben, "trial.started", now)
    Contact.objects.filter(pk=ann.pk).update(erased_at=now)
    tick(now)
    assert list(Enrolment.objects.values_list("contact_id", flat=True)) == [ben.pk]


# The rule × what happens → how many times she gets in. Times in days; a stay lasts two days.
REENTRY = [
    ({"policy": "never"}, [0], 1),
    ({"policy": "never"}, [0, 0], 1),
    ({"policy": "never"}, [0, 1], 1),
    ({"policy": "never"}, [0, 10], 1),
    ({"policy": "after_exit"}, [0, 0], 1),
    ({"policy": "after_exit"}, [0, 1], 1),
    ({"policy": "after_exit"}, [0, 10], 2),
    ({"policy": "after_exit"}, [0, 10, 20], 3),
    ({"policy": "after_exit", "cooldown": "30d"}, [0, 10], 1),
    ({"policy": "after_exit", "cooldown": "30d"}, [0, 31], 1),
    ({"policy": "after_exit", "cooldown": "30d"}, [0, 33], 2),
]


@pytest.mark.parametrize(("policy", "days", "times"), REENTRY)
def test_reentry(now, policy, days, times):
    journey(now, reentry=policy, steps=RESTING)
    ann = person()
    for day in range(max(days) + 1):
        for _one in range(days.count(day)):
            did(ann, "trial.started", now + day * DAY)
        tick(now + day * DAY)
    assert Enrolment.objects.count() == times


def test_reentry_by_key_counts_each_occasion_once(now):
    journey(now, trigger={"touchpoint": "order.placed"}, reentry={"policy": "per_key", "key": "number"}, steps=RESTING)
    ann = person()
    for number in ("A1", "A2", "A1"):
        did(ann, "order.placed", now, number=number)
    tick(now)
    did(ann, "order.placed", now + 10 * DAY, number="A2")
    did(ann, "order.placed", now + 10 * DAY, number="A3")
    tick(now + 10 * DAY)
    assert sorted(Enrolment.objects.values_list("entry_key", flat=True)) == ["A1", "A2", "A3"]
    assert len(told("journey.entered")) == 3


def test_reentry_counts_across_versions(now):
    journey(now, steps=RESTING)
    ann = person()
    did(ann, "trial.started", now)
    tick(now)
    journey(now, steps=[{"wait": "5d"}])
    did(ann, "trial.started", now + 10 * DAY)
    tick(now + 10 * DAY)
    assert Enrolment.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_twenty_requests_at_once_make_one_enrolment(now):
    one = journey(now, trigger="manual", reentry={"policy": "after_exit"}, steps=RESTING)
    ann = person()

    def ask(_number):
        try:
            return enrol_contacts(journey=one, contacts=Contact.objects.filter(pk=ann.pk), by=None, now=now)
        finally:
            connection.close()

    with ThreadPoolExecutor(20) as pool:
        assert sum(pool.map(ask, range(20))) == 20
    tick(now)
    assert Enrolment.objects.filter(state="open").count() == 1
    # The promise is the schema's, not the code's.
    with pytest.raises(IntegrityError), transaction.atomic():
        Enrolment.objects.create(contact=ann, journey=one, version=one.version, enrolled_at=now)


def test_letting_people_in_by_hand_waits_for_the_tick_and_keeps_the_rules(now):
    one = journey(now, steps=STEPS)
    crowd = people(3)
    assert enrol_contacts(journey=one, contacts=Contact.objects.all(), by=None, now=now) == 3
    assert not Enrolment.objects.exists()
    tick(now)
    assert Enrolment.objects.count() == 3
    enrol_contacts(journey=one, contacts=Contact.objects.filter(pk=crowd[0].pk), by=None, now=now)
    tick(now + DAY)
    assert Enrolment.objects.count() == 3
    assert enrol_contacts(journey=one, contacts=Contact.objects.none(), by=None, now=now) == 0


# Out -----------------------------------------------------------------------------------------------------------------


def test_an_exit_rule_acts_at_once_inside_a_wait_and_withdraws_what_was_not_sent(now):
    journey(now, exit={"field": "country", "op": "eq", "value": "CZ"}, steps=[{"send": "hello"}, {"wait": "9d"}])
    ann, ben = person(), person()
    did(ann, "trial.started", now)
    did(ben, "trial.started", now)
    tick(now, delivers=False)
    Contact.objects.filter(pk=ann.pk).update(country="CZ")
    did(ann, "contact.updated", now + DAY)
    tick(now + DAY, delivers=False)
    gone = Enrolment.objects.get(contact=ann)
    assert (gone.state, gone.exit_reason, gone.ended_at) == ("exited", "exit_rule", now + DAY)
    assert (where(ann), where(ben)) == (None, "hello")
    assert Message.objects.get(contact=ann).state == "cancelled"
    assert Message.objects.get(contact=ben).state == "pending"
    assert told("journey.left") == [{"journey": "j", "reason": "exit_rule", "enrolment": gone.pk}]


def test_an_exit_rule_that_came_true_by_the_clock_acts_before_the_next_step(now):
    journey(now, exit={"not": {"did": "page.viewed", "within": "2d"}}, steps=[{"wait": "5d"}, {"send": "hello"}])
    ann = person()
    did(ann, "page.viewed", now)
    did(ann, "trial.started", now)
    tick(now)
    tick(now + 5 * DAY)
    assert sent(ann) == []
    assert Enrolment.objects.get().exit_reason == "exit_rule"


def test_whoever_meets_the_exit_rule_already_gets_nothing(now):
    journey(now, exit={"field": "country", "op": "eq", "value": "CZ"}, steps=STEPS)
    ann = person(country="CZ")
    did(ann, "trial.started", now)
    tick(now)
    assert sent(ann) == []
    assert Enrolment.objects.get().exit_reason == "exit_rule"


def test_a_goal_ends_the_journey_and_goes_before_the_exit_rule(now):
    journey(
        now,
        goal={"rule": {"did": "order.placed"}, "window": "30d"},
        exit={"any": [{"did": "order.placed"}, {"stage": "churned"}]},
        steps=[{"wait": "9d"}],
    )
    ann = person()
    did(ann, "order.placed", now - DAY)
    did(ann, "trial.started", now)
    tick(now)
    assert Enrolment.objects.get().state == "open", "an order before the enrolment is not its goal"
    did(ann, "order.placed", now + DAY)
    tick(now + DAY)
    enrolment = Enrolment.objects.get()
    assert (enrolment.state, enrolment.exit_reason, enrolment.goal_at) == ("exited", "goal", now + DAY)
    assert told("journey.goal_reached") == [{"journey": "j", "enrolment": enrolment.pk}]


def test_a_goal_may_let_people_go_on(now):
    journey(
        now, goal={"rule": {"did": "order.placed"}, "action": "continue"}, steps=[{"wait": "9d"}, {"send": "hello"}]
    )
    ann = person()
    did(ann, "trial.started", now)
    tick(now)
    did(ann, "order.placed", now + DAY)
    tick(now + DAY)
    tick(now + 9 * DAY)
    assert Enrolment.objects.get().goal_at == now + DAY
    assert sent(ann) == ["hello"]
    assert len(told("journey.goal_reached")) == 1


def test_a_goal_counts_within_its_window_even_after_the_end_and_not_later(now):
    journey(now, goal={"rule": {"did": "order.placed"}, "window": "30d"}, steps=STEPS)
    ann, ben = person(), person()
    did(ann, "trial.started", now)
    did(ben, "trial.started", now)
    tick(now)
    did(ann, "order.placed", now + 29 * DAY)
    tick(now + 29 * DAY)
    did(ben, "order.placed", now + 31 * DAY)
    tick(now + 31 * DAY)
    assert Enrolment.objects.get(contact=ann).goal_at == now + 29 * DAY
    assert Enrolment.objects.get(contact=ann).exit_reason == "end"
    assert Enrolment.objects.get(contact=ben).goal_at is None


def test_a_goal_may_count_events(now):
    journey(
        now,
        goal={"rule": {"did": "invoice.created", "count": {"op": "gte", "value": 3}}},
        steps=[{"wait": "9d"}],
    )
    ann = person()
    did(ann, "invoice.created", now - DAY)
    did(ann, "trial.started", now)
    did(ann, "invoice.created", now)
    did(ann, "invoice.created", now)
    tick(now)
    assert Enrolment.objects.get().state == "open"
    did(ann, "invoice.created", now + DAY)
    tick(now + DAY)
    assert Enrolment.objects.get().exit_reason == "goal"


def test_of_two_people_who_become_one_one_stays_on_the_journey(now):
    from contacts.merging import merge

    journey(now, "both", steps=[{"send": "hello"}, {"wait": "9d"}])
    journey(now, "one", trigger={"touchpoint": "page.viewed"}, steps=[{"wait": "9d"}])
    ann, double = person(), person()
    did(ann, "trial.started", now)
    did(double, "trial.started", now)
    did(double, "page.viewed", now)
    tick(now, delivers=False)
    merge(survivor=ann, loser=double, reason="test", now=now + DAY)
    tick(now + DAY)
    assert set(Enrolment.objects.filter(state="open").values_list("contact_id", "journey__key")) == {
        (ann.pk, "both"),
        (ann.pk, "one"),
    }
    assert Enrolment.objects.get(exit_reason="merged").contact_id == ann.pk
    assert Message.objects.get(reason="merged").state == "cancelled"
    tick(now + 10 * DAY)
    assert not Enrolment.objects.filter(state="open").exists()
