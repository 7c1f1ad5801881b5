"""The hand-over: one lead per qualified person, with reasons, at the right team, told once."""

from datetime import timedelta

import pytest

from contacts.ingest import ingest
from contacts.merging import merge
from contacts.models import Contact, StepCursor
from contacts.stream import Step, run_step
from leads.models import Lead, Team
from tests.scoring.world import NOW, did, known, model, rule, tick, told

pytestmark = pytest.mark.django_db


@pytest.fixture
def engagement():
    engagement = model(qualify_at=50)
    for key, kind, points in [
        ("webinar", "webinar.attended", 40), ("pricing", "pricing.viewed", 15), ("page", "page.viewed", 1),
        ("click", "email.clicked", 5), ("demo", "demo.asked", 30), ("quiz", "quiz.finished", 4),
    ]:  # fmt: skip
        rule(engagement, kind, points, days=14, key=key)
    engagement.rules.filter(key="webinar").update(name="Attended a webinar")
    return engagement


def test_a_crossing_makes_one_lead_with_its_reasons(engagement):
    contact = known()
    for kind in ("webinar.attended", "pricing.viewed", "page.viewed", "email.clicked", "quiz.finished"):
        did(contact, kind, NOW - timedelta(hours=1))
    did(contact, "page.viewed", NOW - timedelta(minutes=5))
    did(contact, "demo.asked", NOW - timedelta(days=28))
    assert tick()["handoff"] == 1
    lead = Lead.objects.get()
    assert (lead.state, lead.owner, lead.team, lead.created_at) == ("open", None, None, NOW)
    assert [reason["rule"] for reason in lead.evidence] == ["webinar", "pricing", "demo", "click", "quiz"]
    assert lead.headline == "Attended a webinar · pricing"
    assert lead.evidence[2]["points"] == 7.5
    assert lead.evidence[0]["last_at"].startswith("2026-11-10T08:00:00")
    assert lead.score == pytest.approx(73.366, abs=0.001)
    assert told(contact, "lead.qualified") == [{"lead": lead.pk, "team": "", "score": round(lead.score, 1)}]


def test_more_points_more_ticks_and_a_replay_alert_nobody_again(engagement):
    contact = known()
    for minute in range(20):
        now = NOW + timedelta(minutes=minute)
        for _ in range(20):
            did(contact, "webinar.attended", now)
        tick(now)
    tick(NOW + timedelta(days=300))
    for step in ("score", "stage", "handoff"):
        StepCursor.objects.filter(step=step).update(position=0)
    tick(NOW + timedelta(days=300))
    assert Lead.objects.count() == 1
    assert len(told(contact, "lead.qualified")) == 1


def test_a_journey_hands_over_whoever_it_wants_and_says_why():
    trial = Team.objects.create(key="inside-sales", sla=timedelta(hours=4))
    contact = known()
    did(contact, "handoff.requested", properties={"reason": "trial finished", "team": "inside-sales", "journey": "t"})
    did(contact, "handoff.requested", properties={"reason": "again", "team": "inside-sales", "journey": "t"})
    tick()
    lead = Lead.objects.get()
    assert (lead.headline, lead.team, lead.due_at) == ("trial finished", trial, NOW + timedelta(hours=4))
    assert lead.score is None and lead.evidence == []
    tick()
    assert len(told(contact, "lead.qualified")) == 1


def test_the_first_team_whose_rule_holds_gets_the_lead_and_the_rest_goes_to_the_team_without_one(engagement):
    for key, countries in [("b-central", ["CZ", "PL"]), ("a-polish", ["PL"])]:
        Team.objects.create(key=key, rule={"field": "country", "op": "in", "value": countries})
    for country in ("CZ", "PL", "FR"):
        did(known(f"{country}@example.com", country=country), "webinar.attended")
        did(known(f"{country}2@example.com", country=country), "webinar.attended")
    tick()
    assert not Lead.objects.exists()
    for contact in Contact.objects.all():
        did(contact, "demo.asked")
    tick()
    teams = dict(Lead.objects.values_list("contact__email", "team__key"))
    assert teams == {
        "CZ@example.com": "b-central", "CZ2@example.com": "b-central", "PL@example.com": "a-polish",
        "PL2@example.com": "a-polish", "FR@example.com": None, "FR2@example.com": None,
    }  # fmt: skip
    rest = Team.objects.create(key="rest")
    other = known("DE@example.com", country="DE")
    did(other, "webinar.attended")
    did(other, "demo.asked")
    tick()
    assert Lead.objects.get(contact=other).team == rest


def test_two_people_who_are_one_keep_the_lead_that_sales_got_further_with(django_user_model):
    one, other = known("one@example.com"), known("two@example.com")
    rep = django_user_model.objects.create_user("ann")
    Lead.objects.create(contact=one, created_at=NOW)
    taken = Lead.objects.create(contact=other, created_at=NOW, state="claimed", owner=rep, claimed_at=NOW)
    merge(survivor=one, loser=other, reason="test", now=NOW)
    run_step(Step("ingest", ingest), NOW)
    tick()
    lead = Lead.objects.get()
    assert (lead.pk, lead.contact) == (taken.pk, one)
