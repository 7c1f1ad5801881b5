"""Splits: the path drawn first stays; a winner is found once, honestly, and newcomers take it."""

from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from campaigns import experiments, publishing
from campaigns.measuring import Arm
from campaigns.models import Assignment, Enrolment, Journey, Verdict, Visit
from contacts.merging import merge
from contacts.models import Touchpoint
from growth.models import Order
from messaging.models import Holdout, Message
from tests.campaigns.world import DAY, did, journey, people, person, tick

pytestmark = pytest.mark.django_db

WINNER = {"metric": "click", "after": "2d", "min": 20}


def steps(weights, winner=None, **paths):
    split = {"paths": weights, "winner": winner} if winner else weights
    paths = paths or {label: [{"key": f"send-{label}", "send": f"letter-{label}"}] for label in weights}
    return [{"key": "test", "split": split, **paths}]


def let_in(crowd, at):
    for one in crowd:
        did(one, "trial.started", at)
    tick(at)


def paths() -> dict[int, str]:
    return dict(Assignment.objects.values_list("contact_id", "variant"))


def click(path: str, share: float, at, **more) -> int:
    """So many of those who got a path's letter click in it."""
    letters = list(Message.objects.filter(node_key=f"send-{path}", state="sent").order_by("pk"))
    answered = letters[: round(share * len(letters))]
    Touchpoint.objects.bulk_create(
        Touchpoint(
            contact_id=one.contact_id, kind="email.clicked", occurred_at=at, received_at=at,
            properties={"message": one.pk, "journey": "j"}, **more,
        )
        for one in answered
    )  # fmt: skip
    return len(answered)


# Sticky --------------------------------------------------------------------------------------------------------------


def test_the_path_drawn_first_stays_over_entries_versions_and_weights(now):
    again = {"policy": "after_exit"}
    journey(now, reentry=again, steps=steps({"a": 30, "b": 70}))
    crowd = people(120)
    let_in(crowd, now)
    first = paths()
    assert len(first) == 120
    journey(now, reentry=again, steps=steps({"a": 90, "b": 10}))
    let_in(crowd, now + DAY)
    assert paths() == first
    taken = Visit.objects.filter(left_at=now + DAY, inputs__by="kept")
    assert dict(taken.values_list("enrolment__contact_id", "outcome")) == first
    # Whoever comes new follows the new weights.
    fresh = [person(number=9_000 + number) for number in range(60)]
    let_in(fresh, now + 2 * DAY)
    drawn = [paths()[one.pk] for one in fresh]
    assert drawn.count("a") > 42
    assert not Assignment.objects.filter(is_drawn=False).exists()


def test_a_path_that_is_gone_is_drawn_anew_for_its_people_alone(now):
    again = {"policy": "after_exit"}
    journey(now, reentry=again, steps=steps({"a": 34, "b": 33, "c": 33}))
    crowd = people(90)
    let_in(crowd, now)
    first = paths()
    journey(now, reentry=again, steps=steps({"a": 50, "b": 50}))
    let_in(crowd, now + DAY)
    later = paths()
    assert {one for one in first if first[one] != later[one]} == {one for one in first if first[one] == "c"}
    assert set(later.values()) == {"a", "b"}


def test_of_two_people_who_become_one_the_survivors_path_stays(now):
    journey(now, reentry={"policy": "after_exit"}, steps=steps({"a": 1, "b": 1}))
    crowd = people(30)
    let_in(crowd, now)
    survivor = next(one for one in crowd if paths()[one.pk] == "a")
    loser = next(one for one in crowd if paths()[one.pk] == "b")
    with transaction.atomic():
        merge(survivor=survivor, loser=loser, reason="by hand", now=now)
    assert Assignment.objects.get(contact=survivor).variant == "a"
    let_in([survivor], now + DAY)
    assert Visit.objects.filter(left_at=now + DAY, inputs__by="kept").get().outcome == "a"


def test_two_occasions_of_one_person_take_one_path(now):
    journey(now, reentry={"policy": "per_key", "key": "order"}, steps=steps({"a": 1, "b": 1}))
    ann = person()
    for number in range(3):
        did(ann, "trial.started", now, order=str(number))
    tick(now)
    assert Enrolment.objects.count() == 3
    assert Assignment.objects.count() == 1
    assert len(set(Visit.objects.filter(inputs__has_key="bucket").values_list("outcome", flat=True))) == 1


def test_drawing_asks_as_many_questions_for_many_people_as_for_few(now):
    journey(now, steps=steps({"a": 1, "b": 1}, a=[], b=[]))
    counts = []
    let_in([person()], now)
    for crowd in ([person(), person()], people(200)):
        for one in crowd:
            did(one, "trial.started", now)
        with CaptureQueriesContext(connection) as queries:
            tick(now, delivers=False)
        counts.append(len(queries))
    assert counts[0] == counts[1]


# Winners -------------------------------------------------------------------------------------------------------------


def under_way(now, winner=None, count=120, **more) -> Journey:
    made = journey(now, steps=steps({"a": 50, "b": 50}, winner or WINNER), **more)
    let_in(people(count), now)
    return made


def test_the_path_that_leads_is_taken_by_all_newcomers_and_by_nobody_else(now):
    made = under_way(now)
    first = paths()
    click("a", 0.1, now + DAY)
    click("b", 0.6, now + DAY)
    assert experiments.decide(now + DAY) == 0
    assert not Verdict.objects.exists(), "the window is not over"
    assert experiments.decide(now + 2 * DAY) == 1
    verdict = Verdict.objects.get(journey=made)
    assert (verdict.node_key, verdict.outcome, verdict.winner, verdict.decided_at) == (
        "test", "winner", "b", now + 2 * DAY,
    )  # fmt: skip
    counted = {row["path"]: (row["people"], row["hits"]) for row in verdict.numbers["paths"]}
    assert sum(one for one, _hits in counted.values()) == 120
    assert counted["b"][1] == round(0.6 * counted["b"][0])
    assert verdict.numbers["sure"] > 0.95
    assert experiments.verdict_in_words(verdict).startswith("“b” won: 9")
    fresh = [person(number=9_000 + number) for number in range(25)]
    let_in(fresh, now + 3 * DAY)
    assert {paths()[one.pk] for one in fresh} == {"b"}
    assert {one: path for one, path in paths().items() if one in first} == first
    assert Assignment.objects.filter(is_drawn=False).count() == 25
    # Those who took it because it had won say nothing about it, and it is decided once.
    assert experiments.decide(now + 4 * DAY) == 0
    assert sum(arm.people for arm in experiments.measure_split(made.version.nodes.get(key="test"))) == 120


def test_where_nothing_leads_by_enough_the_mix_stays(now):
    made = under_way(now)
    click("a", 0.4, now + DAY)
    click("b", 0.4, now + DAY)
    assert experiments.decide(now + 2 * DAY) == 1
    verdict = Verdict.objects.get()
    assert (verdict.outcome, verdict.winner) == ("mix", "")
    assert "so the mix stays" in experiments.verdict_in_words(verdict)
    let_in([person(number=9_000 + number) for number in range(40)], now + 3 * DAY)
    assert set(Assignment.objects.filter(decided_at=now + 3 * DAY).values_list("variant", flat=True)) == {"a", "b"}
    assert made.verdicts.count() == 1


def test_too_few_people_or_deeds_decide_nothing_and_are_asked_again(now):
    under_way(now, winner=WINNER | {"min": 90})
    click("b", 0.9, now + DAY)
    assert experiments.decide(now + 2 * DAY) == 0
    verdict = Verdict.objects.get()
    assert (verdict.outcome, verdict.numbers["lacks"], verdict.asked_at) == ("open", "people", now + 2 * DAY)
    # Not at every tick.
    assert experiments.decide(now + 2 * DAY + timedelta(minutes=4)) == 0
    assert Verdict.objects.get().asked_at == now + 2 * DAY
    let_in([person(number=9_000 + number) for number in range(120)], now + 2 * DAY)
    assert experiments.decide(now + 2 * DAY + timedelta(minutes=5)) == 1


def test_programs_that_click_do_not_count(now):
    under_way(now)
    click("a", 0.9, now + DAY, is_machine=True)
    click("b", 0.3, now + DAY)
    experiments.decide(now + 2 * DAY)
    counted = {row["path"]: row["hits"] for row in Verdict.objects.get().numbers["paths"]}
    assert counted["a"] == 0
    assert Verdict.objects.get().winner == "b"


def test_clicks_in_other_messages_do_not_count(now):
    made = journey(
        now,
        steps=[{"key": "before", "send": "hello"}, *steps({"a": 1, "b": 1}, WINNER)],
    )
    let_in(people(60), now)
    tick(now + timedelta(hours=1))
    for one in Message.objects.filter(node_key="before"):
        did(one.contact, "email.clicked", now + DAY, message=one.pk)
    arms = experiments.measure_split(made.version.nodes.get(key="test"))
    assert [arm.clicked for arm in arms] == [0, 0]
    assert sum(arm.sent for arm in arms) == 60


def test_who_is_held_out_does_not_count(now):
    made = under_way(now, holdout="40%")
    ghosts = set(Enrolment.objects.filter(is_ghost=True).values_list("contact_id", flat=True))
    assert 25 < len(ghosts) < 75
    assert len(paths()) == 120, "ghosts walk the same ways"
    counted = next(one for one in paths() if one not in ghosts)
    Holdout.objects.create(scope="global", contact_id=counted, is_held=True, decided_at=now)
    arms = experiments.measure_split(made.version.nodes.get(key="test"))
    assert sum(arm.people for arm in arms) == 120 - len(ghosts) - 1


def test_a_goal_may_decide(now):
    under_way(now, winner=WINNER | {"metric": "goal"}, goal={"rule": {"did": "order.placed"}, "window": "30d"})
    winners = [one for one, path in paths().items() if path == "a"][:30]
    for one in winners:
        did(Enrolment.objects.get(contact_id=one).contact, "order.placed", now + DAY)
    tick(now + DAY)
    assert experiments.decide(now + 2 * DAY) == 1, Verdict.objects.get().numbers
    assert Verdict.objects.get().winner == "a"


def test_revenue_may_decide_and_counts_those_who_bought_nothing(now):
    made = under_way(now, winner=WINNER | {"metric": "revenue"})
    for place, (one, path) in enumerate(sorted(paths().items())):
        if path == "b" and place % 2:
            Order.objects.create(number=f"o{one}", contact_id=one, total=100, placed_at=now + DAY)
        if path == "a" and place % 10 == 0:
            Order.objects.create(number=f"o{one}", contact_id=one, total=100, placed_at=now + DAY)
    one = next(one for one, path in paths().items() if path == "a")
    Order.objects.create(number="early", contact_id=one, total=10_000, placed_at=now - DAY)
    Order.objects.create(number="back", contact_id=one, total=10_000, placed_at=now + DAY, state="refunded")
    Order.objects.create(number="kc", contact_id=one, total=10_000, placed_at=now + DAY, currency="CZK")
    assert experiments.decide(now + 2 * DAY) == 1
    assert Verdict.objects.get(journey=made).winner == "b"
    revenue = {row["path"]: row["revenue"] for row in Verdict.objects.get().numbers["paths"]}
    assert revenue["a"] < revenue["b"] < 10_000


def test_a_paused_journey_decides_nothing(now):
    made = under_way(now)
    click("b", 0.9, now + DAY)
    publishing.pause(journey=made, by=None, now=now + DAY)
    assert experiments.decide(now + 2 * DAY) == 0


def test_deciding_asks_as_many_questions_for_many_people_as_for_few(now):
    counts = []
    for key, count in (("few", 50), ("many", 200)):
        made = journey(now, key, trigger={"touchpoint": f"{key}.started"}, steps=steps({"a": 1, "b": 1}, WINNER))
        crowd = [person() for _ in range(count)]
        for one in crowd:
            did(one, f"{key}.started", now)
        tick(now)
        with CaptureQueriesContext(connection) as queries:
            experiments.decide(now + 2 * DAY)
        counts.append(len(queries))
        Verdict.objects.filter(journey=made).update(outcome="mix", decided_at=now)
    assert counts[0] == counts[1]


# In words ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("clicks", "people", "words"),
    [
        ((10, 20), (150, 150), "“b” leads. 94 % sure; about 12 more people decide it."),
        ((10, 40), (150, 150), "“b” leads. 99 % sure."),
        ((20, 20), (150, 150), "No path leads."),
        ((20, 20), (150, 90), "Not enough data yet: “b” has had 90 of 100 people."),
        ((1, 4), (150, 150), "Not enough data yet: 5 people did it so far, on all paths; it takes 10."),
        ((20, 80), (600, 400), "The paths have other numbers of people than their weights say"),
    ],
)
def test_how_it_stands_is_said_in_words(clicks, people, words):
    arms = [Arm(name, n, clicked=hits) for name, n, hits in zip("ab", people, clicks, strict=True)]
    found = experiments.stand(arms, "click", 100, 0.95, [50, 50])
    assert experiments.standing_in_words(found, arms, "click", 100).startswith(words)
