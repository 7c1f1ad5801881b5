"""However a journey is drawn, a tick moves nobody more than fifty steps; the rest follows in the next one."""

from collections import Counter
from datetime import timedelta

import pytest

from campaigns.engine import ROUNDS
from campaigns.models import Due, Enrolment, Node, Visit
from contacts.models import Field, StepCursor
from tests.campaigns.world import STEPS, did, journey, people, person, tick

pytestmark = pytest.mark.django_db


def moves(at) -> Counter:
    return Counter(Visit.objects.filter(left_at=at).values_list("enrolment_id", flat=True))


@pytest.fixture(autouse=True)
def up_to_date(now):
    """Every step stands at the head, wherever the stream's numbers begin: a tick that catches up has more windows."""
    newest = did(person(), "page.viewed", now)
    StepCursor.objects.bulk_create(StepCursor(step=step.name, position=newest.pk) for step in STEPS)


def test_a_person_moves_fifty_times_in_a_tick_and_goes_on_in_the_next(now):
    journey(now, steps=[{"key": f"g{number}", "goal": f"g{number}"} for number in range(120)])
    did(person(), "trial.started", now)
    for minute, most in ((0, 50), (1, 50), (2, 21)):
        at = now + timedelta(minutes=minute)
        tick(at)
        assert list(moves(at).values()) == [most]
    assert Enrolment.objects.get().state == "finished"
    assert Visit.objects.count() == 121


def test_a_tick_that_catches_up_moves_a_person_once_more_for_each_window_before_the_last(now, monkeypatch):
    journey(now, steps=[{"key": f"g{number}", "goal": f"g{number}"} for number in range(120)])
    one = person()
    did(one, "trial.started", now)
    tick(now)
    monkeypatch.setattr("contacts.stream.WINDOW", 10)
    for _ in range(25):
        did(one, "page.viewed", now)
    later = now + timedelta(minutes=1)
    tick(later)
    assert list(moves(later).values()) == [2 + ROUNDS]


def test_of_a_crowd_spread_over_many_kinds_of_steps_nobody_moves_more_often_either(now):
    Field.objects.create(key="seats", type="number")
    kinds = [
        {"goal": "here"},
        {"set": {"field": "seats", "value": 1}},
        {"split": {"a": 1, "b": 1}},
        {"ask": {"did": "a.b"}},
        {"handoff": {"reason": "call"}},
    ]
    steps = [{"key": f"s{number}", **kinds[number % len(kinds)]} for number in range(150)]
    made = journey(now, steps=steps)
    crowd = people(20)
    for one in crowd:
        did(one, "trial.started", now)
    tick(now)
    # Everybody somewhere else, so that in each round all kinds are due.
    nodes = list(Node.objects.filter(version=made.version).exclude(key="").order_by("position"))
    for place, token in enumerate(Due.objects.order_by("pk")):
        node = nodes[place]
        Due.objects.filter(pk=token.pk).update(node_id=node.pk, node_kind=node.kind, due_at=now)
    later = now + timedelta(minutes=1)
    tick(later)
    assert set(moves(later).values()) == {ROUNDS} == {50}
