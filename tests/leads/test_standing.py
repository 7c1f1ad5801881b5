"""How a person stands beside their lead: grade, chance, phase, nurture; and what becomes of a lead when that turns."""

from datetime import timedelta

import pytest
from django.core.cache import cache
from django.utils import timezone
from django.utils.html import escape

from campaigns.models import Enrolment
from contacts.erasure import erase
from contacts.merging import merge
from contacts.models import Consent, Contact, Touchpoint
from contacts.stages import STAGES
from leads import desk
from leads.models import HotAlert, Lead, LeadMove, RejectReason, Rep, SalesMail, Team
from messaging.models import Brand, Topic
from scoring.models import GradeMatrix, PredictionModel, StageRule
from scoring.points import rebuild
from tests.contacts.test_merging import fill
from tests.leads.test_alerts import tick as tick_with_alerts
from tests.leads.test_desk import person
from tests.leads.test_workspace import desk_of, text
from tests.scoring.past import act
from tests.scoring.test_history_pages import NUMBERS
from tests.scoring.world import NOW, did, known, model, rule, told

pytestmark = pytest.mark.django_db

HOUR = timedelta(hours=1)


@pytest.fixture
def ann():
    return person("ann")


def matrix() -> GradeMatrix:
    fit, engagement = model("fit", kind="fit"), model("engagement", qualify_at=30, kind="engagement")
    rule(fit, "form.submitted", 30)
    rule(engagement, "prices.viewed", 10)
    return GradeMatrix.objects.create(
        key="product", name="Product", fit=fit, engagement=engagement, fit_from=[30, 10], engagement_from=[20, 5]
    )


def head(page: str) -> str:
    return page.partition('class="sales-person"')[2].partition("</header>")[0]


def test_the_head_of_a_dossier_says_grade_chance_phase_and_nurture(ann):
    now = timezone.now()
    jana = known(first_name="Jana", stage="lead")
    lead = Lead.objects.create(contact=jana, created_at=now)
    before = text(desk_of(ann).get(f"/sales/{lead.pk}/"))
    assert "Phase: Consideration" in head(before) and "Nurture" not in head(before)
    assert "chance to become a customer" not in before
    cache.clear()  # how all is set up is remembered for a minute
    grades = matrix()
    did(jana, "form.submitted", now - HOUR)
    Touchpoint.objects.bulk_create([act(jana, "prices.viewed", now - timedelta(hours=2 + n)) for n in range(4)])
    for one in (grades.fit, grades.engagement):
        rebuild(one, now)
    PredictionModel.objects.create(version=1, state="live", made_at=now, **NUMBERS)
    page = text(desk_of(ann).get(f"/sales/{lead.pk}/"))
    assert "Product: </span>A1</span>" in head(page) and "% to become a customer" in head(page)
    assert "chance to become a customer within 90 days" in page and "prices.viewed: 4 times in 14 days" in page
    fill(Enrolment, contact=jana, is_marketing_track=True)
    assert "Nurture: In nurture" in head(text(desk_of(ann).get(f"/sales/{lead.pk}/")))


# What turns while sales has the lead ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stage", "highest", "words"),
    [
        ("qualified", "qualified", ""),
        ("lead", "lead", ""),  # handed over by a journey: was never qualified
        ("lead", "qualified", "Fell back to “Lead” since. The lead stays until you end it."),
        ("disqualified", "qualified", "This person was disqualified. The lead stays until you end it."),
        ("customer", "customer", "This person is a customer by now. If that was your sale, convert the lead."),
        ("churned", "customer", "This person is a customer no more. The lead stays until you end it."),
    ],
)
def test_a_stage_that_turns_is_said_and_takes_no_lead_away(stage, highest, words, ann):
    team = Team.objects.create(key="inside", sla=4 * HOUR)
    lead = Lead.objects.create(contact=known(), created_at=NOW, team=team, due_at=NOW + 4 * HOUR)
    lead = desk.claim(lead=lead, by=ann, now=NOW)
    Contact.objects.update(stage=stage, highest_stage=highest)
    page = head(text(desk_of(ann).get(f"/sales/{lead.pk}/")))
    said = ("Fell back", "was disqualified", "is a customer by now", "customer no more")
    assert [one for one in said if one in page] == [one for one in said if one in words]
    assert escape(words) in page
    tick_with_alerts(NOW + HOUR)
    after = Lead.objects.get()
    assert (after.state, after.owner, after.due_at) == ("claimed", ann, NOW + 4 * HOUR)
    # A lead that has ended is history.
    desk.reject(lead=lead, by=ann, now=NOW, reason=RejectReason.objects.create(key="x", name="X"))
    assert not [one for one in said if one in head(text(desk_of(ann).get(f"/sales/{lead.pk}/")))]


def test_every_stage_is_one_that_the_dossier_knows_what_to_say_of(ann):
    lead = Lead.objects.create(contact=known(), created_at=NOW)
    for stage, _name in STAGES:
        Contact.objects.update(stage=stage, highest_stage=stage)
        assert desk_of(ann).get(f"/sales/{lead.pk}/").status_code == 200


def test_a_rule_that_lets_a_person_fall_leaves_the_lead_and_its_clock_and_tells_nobody(ann):
    team = Team.objects.create(key="inside", sla=4 * HOUR)
    Rep.objects.create(team=team, user=ann)
    rule(model(qualify_at=20), "prices.viewed", 21, days=1)
    StageRule.objects.create(
        stage="qualified", leave_rule={"field": "country", "op": "eq", "value": "CZ"}, leave_to="lead"
    )
    contact = known()
    did(contact, "prices.viewed")
    tick_with_alerts(NOW)
    lead = Lead.objects.get()
    assert HotAlert.objects.count() == 1
    Contact.objects.update(country="CZ")
    did(contact, "form.submitted", NOW + HOUR)
    tick_with_alerts(NOW + HOUR)
    contact.refresh_from_db()
    assert (contact.stage, contact.highest_stage) == ("lead", "qualified")
    after = Lead.objects.get()
    assert (after.pk, after.state, after.due_at) == (lead.pk, "open", lead.due_at)
    assert HotAlert.objects.count() == 1
    assert "Fell back to" in text(desk_of(ann).get(f"/sales/{lead.pk}/"))


def test_of_two_people_who_are_one_the_lead_stays_that_sales_got_further_with(ann):
    one, two = known("a@example.com"), known("b@example.com")
    mine = desk.accept(lead=Lead.objects.create(contact=two, created_at=NOW, due_at=NOW), by=ann, now=NOW)
    Lead.objects.create(contact=one, created_at=NOW)
    merge(survivor=one, loser=two, reason="by hand", now=NOW)
    stays = Lead.objects.get()
    assert (stays.pk, stays.contact, stays.state, stays.owner) == (mine.pk, one, "accepted", ann)


def test_an_erasure_takes_the_lead_in_hand_with_its_clock_its_alerts_and_its_mails(ann):
    Brand.objects.create(pk=1, name="Acme", sender="Acme <hello@acme.example>", postal_address="Praha")
    team = Team.objects.create(key="inside", sla=4 * HOUR)
    Rep.objects.create(team=team, user=ann)
    ann.email = "ann@acme.example"
    ann.save()
    contact = known()
    did(contact, "handoff.requested", properties={"team": ""})
    tick_with_alerts(NOW)
    lead = desk.claim(lead=Lead.objects.get(), by=ann, now=NOW)
    assert SalesMail.objects.count() == 1
    erase(contact, by=None, now=NOW)
    assert not Lead.objects.exists() and not LeadMove.objects.exists()
    assert not SalesMail.objects.filter(state="waiting", alert__lead__isnull=False).exists()
    assert desk_of(ann).get(f"/sales/{lead.pk}/").status_code == 404
    tick_with_alerts(NOW + timedelta(days=1))
    assert not Lead.objects.exists()


def test_whoever_unsubscribes_stays_a_lead_and_the_dossier_says_so(ann):
    lead = Lead.objects.create(contact=known(), created_at=NOW, due_at=NOW + HOUR)
    Topic.objects.create(key="tips", name="Tips")
    Consent.objects.create(contact=lead.contact, topic="", channel="email", state="denied", changed_at=NOW)
    tick_with_alerts(NOW)
    after = Lead.objects.get()
    assert (after.state, after.due_at) == ("open", NOW + HOUR)
    assert "All e-mail: refused" in head(text(desk_of(ann).get(f"/sales/{lead.pk}/")))
    assert told(lead.contact, "lead.dropped") == []
