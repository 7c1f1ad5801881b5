"""Two people become one: their ledgers add up as if they had always been one."""

from datetime import timedelta

import pytest

from contacts.ingest import ingest
from contacts.merging import merge
from contacts.models import Contact
from contacts.stream import Step, put, run_step
from scoring.models import ContactScore, ScoreEntry
from scoring.points import count_wrong_scores, rebuild, score_at
from tests.scoring.world import NOW, did, known, model, rule, tick, told, visitor

pytestmark = pytest.mark.django_db


def everything(now):
    run_step(Step("ingest", ingest), now)
    tick(now)


def test_a_day_of_both_becomes_one_day_under_its_cap():
    engagement = model()
    rule(engagement, "page.viewed", 10, days=14, cap=35)
    one, other = known("one@example.com"), visitor()
    for minutes in (50, 40):
        did(one, "page.viewed", NOW - timedelta(minutes=minutes))
    for minutes in (45, 35):
        did(other, "page.viewed", NOW - timedelta(minutes=minutes))
    did(other, "page.viewed", NOW - timedelta(days=3))
    tick()
    merge(survivor=one, loser=other, reason="test", now=NOW)
    assert count_wrong_scores() == 0
    entries = {entry.day: entry for entry in ScoreEntry.objects.filter(contact=one)}
    assert entries[NOW.date()].event_points == [10, 10, 10, 5]
    assert entries[(NOW - timedelta(days=3)).date()].points == 10
    assert not ScoreEntry.objects.filter(contact=other).exists()
    now = NOW + timedelta(minutes=5)
    everything(now)
    assert count_wrong_scores() == 0
    merged = score_at(engagement, [one.pk], now)[one.pk]
    assert ContactScore.objects.get().value == pytest.approx(merged)
    rebuild(engagement, now)
    assert score_at(engagement, [one.pk], now)[one.pk] == pytest.approx(merged, abs=1e-9)


def test_who_was_over_the_line_does_not_cross_again_by_a_merge():
    engagement = model(qualify_at=50)
    rule(engagement, "webinar.attended", 60, days=14)
    one, other = known("one@example.com"), known("two@example.com")
    did(other, "webinar.attended")
    did(one, "webinar.attended", NOW - timedelta(days=30))
    tick()
    merge(survivor=one, loser=other, reason="test", now=NOW)
    everything(NOW + timedelta(minutes=1))
    assert [one["direction"] for one in told(one, "score.crossed")] == ["up"]
    standing = ContactScore.objects.get()
    assert standing.is_over and standing.falls_at > NOW + timedelta(days=1)
    assert count_wrong_scores() == 0


def test_a_merge_makes_one_cross_whom_neither_half_had_brought_over_the_line():
    engagement = model(qualify_at=50)
    rule(engagement, "page.viewed", 30, days=14)
    one, other = known("one@example.com"), visitor()
    did(one, "page.viewed")
    did(other, "page.viewed")
    tick()
    merge(survivor=one, loser=other, reason="test", now=NOW)
    everything(NOW)
    assert len(told(one, "score.crossed")) == 1
    one.refresh_from_db()
    assert one.stage == "qualified"


def test_the_further_stage_of_two_holds_and_is_written_down():
    one, other = known("one@example.com", stage="known", highest_stage="known"), known("two@example.com")
    Contact.objects.filter(pk=other.pk).update(stage="lead", highest_stage="qualified")
    merge(survivor=one, loser=other, reason="test", now=NOW)
    everything(NOW)
    one.refresh_from_db()
    assert (one.stage, one.highest_stage) == ("lead", "qualified")
    assert told(one, "stage.changed") == [{"from": "known", "to": "lead", "reason": "contact.merged"}]


def test_an_anonymous_history_counts_once_the_visitor_is_identified():
    engagement = model(qualify_at=50)
    rule(engagement, "page.viewed", 20, days=14)
    for number in range(3):
        put(kind="page.viewed", source="web", now=NOW, message_id=f"m{number}", anonymous_id="a-1")
    everything(NOW)
    put(kind="contact.identified", source="web", now=NOW, anonymous_id="a-1", email="jana@example.com")
    everything(NOW + timedelta(minutes=1))
    contact = Contact.objects.living().get(email="jana@example.com")
    assert contact.stage == "qualified"
    assert score_at(engagement, [contact.pk], NOW) == {contact.pk: pytest.approx(60)}
    assert count_wrong_scores() == 0
