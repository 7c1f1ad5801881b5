"""What every channel promises, asked of every channel in its own world."""

import random

import pytest

from tests.messaging.channel_contract import WORLDS

pytestmark = pytest.mark.django_db


@pytest.fixture(params=WORLDS)
def world(request, tmp_path, settings):
    settings.WEBHOOK_ALLOW_PRIVATE = True
    with WORLDS[request.param](tmp_path) as world:
        yield world


def outcomes(world, numbers) -> dict[int, str]:
    results = list(world.send([world.outgoing(number) for number in numbers]))
    assert sorted(one.id for one in results) == sorted(numbers), "exactly one result for each message"
    return {one.id: one.outcome for one in results}


def test_each_message_gets_exactly_one_result_in_whatever_order(world):
    numbers = list(range(1, 31))
    random.Random(7).shuffle(numbers)
    assert set(outcomes(world, numbers).values()) == {"sent"}
    assert sorted(number for number, _key in world.arrived()) == sorted(numbers)


def test_nothing_to_send_is_nothing_done(world):
    assert list(world.send([])) == []
    assert outcomes(world, [1]) == {1: "sent"}


def test_a_channel_can_be_used_again(world):
    for number in (1, 2, 3):
        assert outcomes(world, [number]) == {number: "sent"}
    assert len(world.arrived()) == 3


@pytest.mark.parametrize("world", sorted(set(WORLDS) - {"maildir", "sms files"}), indirect=True)
def test_a_bad_one_harms_no_other(world):
    world.refuse(3)
    world.refuse(7)
    found = outcomes(world, range(1, 13))
    assert {number for number, outcome in found.items() if outcome == "failed"} == {3, 7}
    assert {outcome for number, outcome in found.items() if number not in (3, 7)} == {"sent"}


def test_a_repeat_bears_the_same_key(world):
    outcomes(world, [1, 2])
    outcomes(world, [2, 1])
    keys = {}
    for number, key in world.arrived():
        keys.setdefault(number, set()).add(key)
    assert set(keys) == {1, 2}
    assert all(len(found) == 1 for found in keys.values())
    assert len(set.union(*keys.values())) == 2


@pytest.mark.parametrize("world", sorted(set(WORLDS) - {"maildir", "sms files", "smtp"}), indirect=True)
def test_a_line_that_ends_before_the_answer_leaves_that_message_alone_in_doubt(world):
    world.drop(2)
    found = outcomes(world, range(1, 6))
    assert found[2] == world.in_doubt
    assert {outcome for number, outcome in found.items() if number != 2} == {"sent"}


def test_where_nobody_is_there_no_message_is_at_fault(world):
    world.send = world.nobody()
    assert set(outcomes(world, range(1, 6)).values()) == {"unreachable"}
    assert world.arrived() == []


@pytest.mark.parametrize(("action", "outcome"), [("before_data", "later"), ("after_data", "uncertain")])
def test_an_error_on_the_way_is_a_result(world, settings, action, outcome):
    settings.FAILPOINT = f"{action}:raise"
    assert set(outcomes(world, range(1, 5)).values()) == {outcome}
