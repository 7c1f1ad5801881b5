"""By the clock alone: scores fall as points fade and rise as penalties do, at the instant that was computed; and what
happened long ago and is told late moves nobody over a line.
"""

from datetime import UTC, datetime, timedelta

import pytest

from contacts.models import Touchpoint
from scoring.models import ContactScore, ScoreGroup, ScoreRule
from scoring.points import count_wrong_scores, score_at
from tests.scoring.world import NOW, did, known, model, rule, tick, told

pytestmark = pytest.mark.django_db
DAY = timedelta(days=1)


def test_a_score_rises_by_itself_at_the_instant_that_was_computed_when_penalties_fade():
    engagement, contact = model(qualify_at=50), known()
    rule(engagement, "webinar.attended", 80)
    rule(engagement, "email.bounced", -60, days=2)
    did(contact, "webinar.attended")
    did(contact, "email.bounced")
    tick()
    standing = ContactScore.objects.get()
    assert not standing.is_over and standing.falls_at is None
    # 80 − 60·2^(−t/2d) is 50 when one half-life is over.
    assert abs((standing.rises_at - NOW) - 2 * DAY) < timedelta(milliseconds=1)
    tick(standing.rises_at - timedelta(seconds=1))
    assert told(contact, "score.crossed") == []
    later = standing.rises_at + timedelta(hours=3)
    tick(later)
    crossed = Touchpoint.objects.get(kind="score.crossed")
    assert crossed.properties["direction"] == "up"
    assert (crossed.occurred_at, crossed.received_at) == (standing.rises_at, later)
    contact.refresh_from_db()
    assert contact.stage == "qualified"
    standing.refresh_from_db()
    assert standing.is_over and standing.rises_at is None
    tick(later + DAY)
    assert len(told(contact, "score.crossed")) == 1


def test_points_that_fade_sooner_than_the_penalty_never_rise():
    engagement, contact = model(qualify_at=50), known()
    rule(engagement, "webinar.attended", 80, days=1)
    rule(engagement, "email.bounced", -60, days=20)
    did(contact, "webinar.attended")
    did(contact, "email.bounced")
    tick()
    assert ContactScore.objects.get().rises_at is None
    tick(NOW + 200 * DAY)
    assert told(contact, "score.crossed") == []


def test_a_score_that_falls_by_itself_did_so_when_it_was_due_to():
    engagement, contact = model(qualify_at=50, hysteresis=10), known()
    rule(engagement, "webinar.attended", 80, days=2)
    did(contact, "webinar.attended")
    tick()
    due = ContactScore.objects.get().falls_at
    assert abs((due - NOW) - 2 * DAY) < timedelta(milliseconds=1)
    tick(due + timedelta(hours=5))
    fallen = Touchpoint.objects.get(kind="score.crossed", properties__direction="down")
    assert fallen.occurred_at == due


def test_a_score_that_drops_and_rises_within_the_hysteresis_does_not_cross_again():
    engagement, contact = model(qualify_at=50, hysteresis=10), known()
    rule(engagement, "webinar.attended", 55)
    rule(engagement, "email.bounced", -8)
    did(contact, "webinar.attended")
    tick()
    for hour in (1, 2, 3):
        now = NOW + timedelta(hours=hour)
        did(contact, "email.bounced" if hour < 3 else "webinar.attended", now)
        tick(now)
        assert ContactScore.objects.get().is_over is (hour != 2)
    # 55, 47 within the hysteresis, 39 below it, 94: one fall and one new crossing.
    assert [one["direction"] for one in told(contact, "score.crossed")] == ["up", "down", "up"]


def test_an_old_history_that_is_loaded_late_makes_no_score_jump_and_nobody_cross():
    """R-34, the ledger's part: what happened 90 days ago counts as what is left of it, under the caps of those days."""
    engagement = model(qualify_at=50)
    page, click = rule(engagement, "page.viewed", 10, days=14, cap=40), rule(engagement, "email.clicked", 8, days=14)
    shared = ScoreGroup.objects.create(model=engagement, key="web", cap_per_day=60)
    ScoreRule.objects.filter(pk__in=[page.pk, click.pk]).update(group=shared)
    crowd = [known(f"p{number}@example.com") for number in range(30)]
    old = datetime(2026, 8, 12, 9, tzinfo=UTC)
    Touchpoint.objects.bulk_create(
        Touchpoint(
            contact=crowd[number % 30], kind="page.viewed" if number % 2 else "email.clicked",
            occurred_at=old - timedelta(minutes=number), received_at=NOW,
        )
        for number in range(3000)
    )  # fmt: skip
    did(crowd[0], "page.viewed")
    tick()
    assert not Touchpoint.objects.filter(kind__in=["score.crossed", "lead.qualified", "stage.changed"]).exclude(
        properties__to="known"
    )
    assert max(ContactScore.objects.exclude(contact=crowd[0]).values_list("value", flat=True)) < 5
    # They were hot then, and the ledger says so.
    assert min(score_at(engagement, None, old).values()) > 50
    assert count_wrong_scores() == 0
