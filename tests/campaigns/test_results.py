"""What a journey did, and how sure that is: as values, by REST, and in words on its page."""

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from campaigns import forms, publishing
from campaigns.measuring import Arm
from campaigns.models import Enrolment, Journey
from campaigns.results import _lift, results
from contacts import tokens
from contacts.models import Touchpoint
from growth.models import Order
from messaging.models import Message, Template
from tests.campaigns.world import DAY, did, journey, people, person, tick, told

pytestmark = pytest.mark.django_db
GOAL = {"rule": {"did": "project.created"}, "window": "30d"}


def let_in(crowd, at):
    for one in crowd:
        did(one, "trial.started", at)
    tick(at)


def reach(ids, at):
    Touchpoint.objects.bulk_create(
        Touchpoint(contact_id=one, kind="project.created", occurred_at=at, received_at=at) for one in ids
    )
    tick(at)


def arms() -> tuple[list[int], list[int]]:
    rows = Enrolment.objects.order_by("pk")
    return (
        list(rows.filter(is_ghost=False).values_list("contact_id", flat=True)),
        list(rows.filter(is_ghost=True).values_list("contact_id", flat=True)),
    )


@pytest.fixture
def made(now) -> Journey:
    """Half of 300 people are held out; 60 % of the others and 30 % of them reach the goal."""
    made = journey(now, holdout="50%", goal=GOAL, steps=[{"key": "one", "send": "hello"}])
    let_in(people(300), now)
    treated, held = arms()
    reach(treated[: round(0.6 * len(treated))] + held[: round(0.3 * len(held))], now + DAY)
    for letter in Message.objects.filter(contact_id__in=treated[:20]):
        did(letter.contact, "email.opened", now + DAY, message=letter.pk)
        did(letter.contact, "email.opened", now + DAY, message=letter.pk)
        did(letter.contact, "email.clicked", now + DAY, message=letter.pk)
    Order.objects.create(number="1", contact_id=treated[0], total=40, placed_at=now + DAY)
    Order.objects.create(number="2", contact_id=held[0], total=10, placed_at=now + DAY)
    return made


def test_results_count_people_by_the_arm_they_belong_to(made):
    found, (treated, held) = results(made), arms()
    assert (found["treated"]["people"], found["held_out"]["people"]) == (len(treated), len(held))
    assert (found["treated"]["sent"], found["held_out"]["sent"]) == (len(treated), 0)
    assert (found["treated"]["opened"], found["treated"]["clicked"]) == (20, 20)
    assert found["treated"]["goals"] == round(0.6 * len(treated))
    assert found["held_out"]["goals"] == round(0.3 * len(held))
    assert (found["treated"]["revenue"], found["held_out"]["revenue"], found["currency"]) == (40, 10, "EUR")
    assert found["metric"] == "goal"
    assert found["lift"]["low"] < found["lift"]["difference"] < found["lift"]["high"]
    assert abs(found["lift"]["difference"] - 0.3) < 0.02
    assert found["sentence"].startswith("The journey works: +")
    assert found["sample_ratio"]["is_even"]


def test_without_a_holdout_nothing_is_claimed(now):
    made = journey(now, goal=GOAL, steps=[{"send": "hello"}])
    let_in(people(5), now)
    found = results(made)
    assert (found["lift"], found["sentence"]) == (
        None, "Nobody is held out, so what the journey does cannot be told.",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("treated", "held", "words"),
    [
        ((400, 99, 200, 50), None, "Not enough data yet: 99 people are on one side; it takes 100."),
        ((400, 400, 2, 2), None, "Not enough data yet: 4 did it so far, on both sides; it takes 5."),
        ((400, 400, 100, 100), True, "No effect can be told yet: +0.0 points, but between"),
        ((400, 400, 50, 100), True, "The journey does harm: -12.5 points"),
    ],
)
def test_small_numbers_say_so(treated, held, words):
    people_, others, hits, other_hits = treated
    lift, sentence = _lift(Arm("treated", people_, goals=hits), Arm("held_out", others, goals=other_hits), "goal")
    assert sentence.startswith(words)
    assert (lift is None) == (held is None)


def test_sides_of_other_sizes_than_the_holdout_says_are_told(made):
    Enrolment.objects.filter(is_ghost=True).delete()
    found = results(made)
    assert not found["sample_ratio"]["is_even"]


def test_results_ask_as_many_questions_for_many_people_as_for_few(now):
    counts = []
    for key, count in (("few", 5), ("many", 150)):
        made = journey(
            now, key, trigger={"touchpoint": f"{key}.started"}, holdout="50%",
            steps=[{"key": "test", "split": {"a": 1, "b": 1}, "a": [{"send": "hello"}], "b": []}],
        )  # fmt: skip
        for one in [person() for _ in range(count)]:
            did(one, f"{key}.started", now)
        tick(now)
        with CaptureQueriesContext(connection) as queries:
            found = results(made)
        assert sum(path["people"] for path in found["splits"][0]["paths"]) == found["treated"]["people"]
        counts.append(len(queries))
    assert counts[0] == counts[1]


def test_the_same_is_answered_by_rest(made, client):
    user = User.objects.create_superuser("root")
    _token, secret = tokens.issue(user=user, scopes=["read"], now=timezone.now())
    answer = client.get("/api/v1/journeys/j/results/", headers={"Authorization": f"Bearer {secret}"})
    assert answer.status_code == 200
    found = answer.json()
    assert found["treated"]["goals"] == results(made)["treated"]["goals"]
    assert found["splits"] == []


def test_the_page_says_in_words_what_it_does(made, client, now):
    client.force_login(User.objects.create_superuser("boss"))
    publishing.save_draft(
        journey=made, by=None, now=now, definition=publishing.draft_of(made) | {"steps": [
            {"key": "test", "split": {"a": 1, "b": 1}, "a": [{"send": "hello"}], "b": []}]},
    )  # fmt: skip
    publishing.publish(journey=made, by=None, now=now)
    page = client.get(reverse("admin:campaigns_onboardingsequence_change", args=[made.pk])).content.decode()
    assert results(made)["sentence"] in page
    assert "Not enough data yet: “a” has had 0 of 100 people." in page


def test_the_page_and_home_say_that_the_fuse_paused(client, now):
    made = journey(now, name="Trial", steps=[{"send": "hello"}])
    reason = {"rule": "complaints", "found": 4, "of": 200, "limit": 0.003}
    publishing.pause(journey=made, by=None, now=now, reason=reason)
    client.force_login(User.objects.create_superuser("boss"))
    page = client.get(reverse("admin:campaigns_onboardingsequence_change", args=[made.pk])).content.decode()
    assert "Paused by the fuse, " in page
    assert "4 people complained about the last 200 messages." in page
    home = client.get(reverse("admin:index")).content.decode()
    assert "Paused by the fuse on " in home
    assert "4 people complained about the last 200 messages." in home
    assert reverse("admin:campaigns_onboardingsequence_change", args=[made.pk]) in home


# Ghosts ---------------------------------------------------------------------------------------------------------------


def test_who_is_held_out_stays_so_when_the_share_changes(now):
    again = {"policy": "after_exit"}
    journey(now, reentry=again, holdout="50%", steps=[{"send": "hello"}])
    crowd = people(80)
    let_in(crowd, now)
    first = set(arms()[1])
    for share, at, held in (
        ("1%", DAY, first),
        ("90%", 2 * DAY, first),
        ("0%", 3 * DAY, set()),
        ("5%", 4 * DAY, first),
    ):
        journey(now, reentry=again, holdout=share, steps=[{"send": "hello"}])
        let_in(crowd, now + at)
        rows = Enrolment.objects.filter(enrolled_at=now + at)
        assert rows.count() == 80
        assert set(rows.filter(is_ghost=True).values_list("contact_id", flat=True)) == held


def test_it_is_told_of_a_ghost_that_it_is_one(now):
    journey(now, holdout="50%", steps=[{"send": "hello"}])
    let_in(people(20), now)
    entered = told("journey.entered")
    assert [one for one in entered if one.get("held_out")] == [one for one in entered if "held_out" in one]
    assert len([one for one in entered if "held_out" in one]) == Enrolment.objects.filter(is_ghost=True).count() > 0


def test_a_ghost_gets_what_is_no_marketing(now):
    journey(now, holdout="90%", publish=False, steps=[{"send": "hello"}, {"send": "receipt"}])
    Template.objects.filter(key="receipt").update(message_class="transactional", topic=None)
    publishing.publish(journey=Journey.objects.get(), by=None, now=now)
    let_in(people(10), now)
    ghosts = arms()[1]
    assert ghosts
    ends = Message.objects.filter(contact_id__in=ghosts).values_list("template__key", "state", "reason").distinct()
    assert set(ends) == {("hello", "skipped", "holdout"), ("receipt", "sent", "")}


def test_whom_all_marketing_passes_by_walks_on_behind_a_step_that_may_end_it(now):
    journey(now, steps=[{"send": "hello", "on_skip": "exit"}, {"key": "rest", "wait": "9d"}])
    ann = person()
    did(ann, "trial.started", now)
    tick(now, delivers=False)
    Message.objects.update(state="skipped", reason="holdout", finished_at=now)
    did(ann, "email.skipped", now, message=Message.objects.get().pk)
    tick(now)
    assert Enrolment.objects.get().state == "open"


# The form -------------------------------------------------------------------------------------------------------------


def test_the_form_of_a_split_knows_the_winner_rule():
    form = forms.StepForm("split", {
        "split": "{a: 50, b: 50}", "metric": "goal", "after": "14d", "min": "300", "confidence": "90%",
    })  # fmt: skip
    assert form.is_valid(), form.errors
    winner = {"metric": "goal", "after": "14d", "min": 300, "confidence": "90%"}
    step = {"split": {"paths": {"a": 50, "b": 50}, "winner": winner}}
    assert form.step() == step
    shown = forms.StepForm("split", step=step)
    assert {name: shown[name].value() for name in winner} == winner
    assert "a: 50" in shown["split"].value()


def test_a_split_without_a_winner_keeps_its_short_form():
    form = forms.StepForm("split", {"split": "{a: 50, b: 50}", "metric": ""})
    assert form.is_valid(), form.errors
    assert form.step() == {"split": {"a": 50, "b": 50}}
