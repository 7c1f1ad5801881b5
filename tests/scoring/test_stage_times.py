"""How long people stay in a stage: told once when it takes too long, over merges, pauses and replays."""

import threading
from datetime import timedelta

import pytest
from django.db import IntegrityError, connection

from contacts.ingest import ingest
from contacts.merging import merge
from contacts.models import Contact, Merge, StepCursor
from contacts.rules import explain, matching
from contacts.stream import Busy, Step, run_step
from contacts.unmerging import unmerge
from scoring.models import StageChange, StageRule
from scoring.stages import stage
from tests.scoring.test_stages import at, engaged
from tests.scoring.world import NOW, did, known, tick, told

pytestmark = pytest.mark.django_db
DAY, HOUR = timedelta(days=1), timedelta(hours=1)


def everything(now):
    run_step(Step("ingest", ingest), now)
    tick(now)


def lead(email: str = "jana@example.com", now=NOW) -> Contact:
    """Somebody who becomes a lead now, by a rule that holds for the Czech."""
    StageRule.objects.get_or_create(stage="lead", defaults={
        "rule": {"field": "country", "op": "eq", "value": "CZ"}, "sla": 30 * DAY,
    })  # fmt: skip
    contact = known(email, country="CZ")
    did(contact, "page.viewed", now)
    tick(now)
    assert at(contact)[0] == "lead"
    return contact


def overdue(contact: Contact) -> list[dict]:
    return told(contact, "stage.overdue")


def test_a_stay_that_takes_too_long_is_told_of_once():
    contact = lead()
    tick(NOW + 29 * DAY)
    assert overdue(contact) == []
    for hour in range(4):
        tick(NOW + 30 * DAY + hour * HOUR)
    assert overdue(contact) == [
        {"stage": "lead", "since": "2026-11-10T09:00:00+00:00", "due_at": "2026-12-10T09:00:00+00:00"}
    ]


def test_a_pause_of_the_tick_a_replay_and_an_edited_span_tell_nothing_twice():
    contact = lead()
    tick(NOW + 300 * DAY)
    assert len(overdue(contact)) == 1
    StepCursor.objects.filter(step="stage").update(position=0)
    StageRule.objects.update(swept_at=None)
    tick(NOW + 300 * DAY + HOUR)
    StageRule.objects.update(sla=10 * DAY)
    tick(NOW + 300 * DAY + 2 * HOUR)
    assert len(overdue(contact)) == 1
    assert StageChange.objects.filter(overdue_at__isnull=False).count() == 1


def test_each_stay_is_told_of_by_itself():
    engaged()
    StageRule.objects.create(stage="qualified", cold_after=DAY, leave_to="lead", sla=20 * DAY)
    contact = lead()
    tick(NOW + 30 * DAY)
    did(contact, "webinar.attended", NOW + 31 * DAY)
    tick(NOW + 31 * DAY)
    assert at(contact)[0] == "qualified"
    for day in range(32, 90, 2):
        tick(NOW + day * DAY)
    assert at(contact)[0] == "lead"
    assert [one["stage"] for one in overdue(contact)] == ["lead", "lead"]
    assert len({one["since"] for one in overdue(contact)}) == 2


def test_a_span_that_is_new_tells_of_all_who_are_over_it_already():
    people = [lead(f"p{number}@example.com") for number in range(3)]
    StageRule.objects.update(sla=None)
    tick(NOW + 40 * DAY)
    assert [overdue(one) for one in people] == [[], [], []]
    StageRule.objects.update(sla=30 * DAY)
    tick(NOW + 40 * DAY + HOUR)
    assert [len(overdue(one)) for one in people] == [1, 1, 1]


def test_two_stays_that_become_one_are_told_of_once():
    one, other = lead("one@example.com"), lead("two@example.com", NOW + DAY)
    merge(survivor=one, loser=other, reason="test", now=NOW + 2 * DAY)
    everything(NOW + 3 * DAY)
    for day in (30, 31, 32):
        tick(NOW + day * DAY)
    assert len(overdue(one)) == 1
    # And where both were told of before, nothing is said again.
    third = lead("three@example.com")
    tick(NOW + 62 * DAY)
    tick(NOW + 63 * DAY)
    assert len(overdue(third)) == 1
    merge(survivor=one, loser=third, reason="test", now=NOW + 64 * DAY)
    everything(NOW + 65 * DAY)
    everything(NOW + 99 * DAY)
    assert len(overdue(one)) == 2, "hers, and that of who went into her"


def test_a_stage_that_came_by_a_merge_is_not_overdue_again_and_is_after_the_merge_is_undone():
    other = lead("two@example.com")
    one = known("one@example.com", stage="known", highest_stage="known", identified_at=NOW - DAY)
    tick(NOW + 30 * DAY)
    assert len(overdue(other)) == 1
    merge(survivor=one, loser=other, reason="test", now=NOW + 31 * DAY)
    everything(NOW + 31 * DAY)
    assert at(one)[0] == "lead"
    for day in (60, 61, 62, 63):
        tick(NOW + day * DAY)
    assert len(overdue(one)) == 1, "the one that came along"
    unmerge(Merge.objects.get(), now=NOW + 64 * DAY)
    everything(NOW + 64 * DAY)
    everything(NOW + 99 * DAY)
    assert len(overdue(other)) == 1
    assert StageChange.objects.filter(contact=other, merged_from_id=None).count() == 1


def test_a_merge_with_somebody_not_told_of_yet_counts_from_the_merge():
    other = lead("two@example.com")
    one = known("one@example.com", stage="known", highest_stage="known")
    merge(survivor=one, loser=other, reason="test", now=NOW + 20 * DAY)
    everything(NOW + 20 * DAY)
    tick(NOW + 49 * DAY)
    assert overdue(one) == []
    tick(NOW + 50 * DAY)
    assert len(overdue(one)) == 1


def test_whom_they_became_keeps_whose_moves_were_whose_over_two_merges():
    one, two, three = (lead(f"{name}@example.com") for name in ("one", "two", "three"))
    merge(survivor=two, loser=three, reason="test", now=NOW + DAY)
    merge(survivor=one, loser=two, reason="test", now=NOW + DAY)
    former = dict(StageChange.objects.filter(contact=one).values_list("pk", "merged_from_id"))
    assert sorted(former.values(), key=lambda pk: pk or 0) == [None, two.pk, three.pk]
    unmerge(Merge.objects.get(loser=two), now=NOW + DAY)
    assert set(StageChange.objects.filter(contact=two).values_list("merged_from_id", flat=True)) == {None, three.pk}
    assert set(StageChange.objects.filter(contact=one).values_list("merged_from_id", flat=True)) == {None}


def test_a_rule_asks_who_is_overdue_and_explains_it():
    contact = lead()
    rule = {"field": "stage_overdue", "op": "eq", "value": True}
    assert list(matching(rule, NOW + 29 * DAY)) == []
    assert list(matching(rule, NOW + 30 * DAY)) == [contact]
    assert list(matching({"stage": "lead", "for": "30d"}, NOW + 30 * DAY)) == [contact]
    [leaf] = explain(rule, contact, NOW + 30 * DAY)
    assert leaf.is_true
    StageRule.objects.update(sla=None)
    assert list(matching(rule, NOW + 300 * DAY)) == []


def test_a_stay_cannot_be_overdue_before_it_began():
    lead()
    with pytest.raises(IntegrityError):
        StageChange.objects.update(overdue_at=NOW - HOUR)


@pytest.mark.django_db(transaction=True)
def test_ticks_at_once_tell_of_a_stay_once_and_move_each_person_once():
    overdue_lead = lead()
    StageRule.objects.create(
        stage="qualified", leave_rule={"field": "country", "op": "eq", "value": "PL"}, leave_to="lead"
    )
    leaver = known("b@example.com", country="PL", stage="qualified", highest_stage="qualified")
    gate = threading.Barrier(8)

    def ticker():
        try:
            gate.wait()
            for _try in range(3):
                try:
                    run_step(Step("stage", stage), NOW + 31 * DAY)
                except Busy:
                    continue
        finally:
            connection.close()

    tickers = [threading.Thread(target=ticker) for _number in range(8)]
    for one in tickers:
        one.start()
    for one in tickers:
        one.join()
    tick(NOW + 31 * DAY)
    assert len(overdue(overdue_lead)) == 1
    assert told(leaver, "stage.changed") == [{"from": "qualified", "to": "lead", "reason": "leave_rule"}]
    assert StageChange.objects.filter(contact=leaver).count() == 1
