"""The demo company, small: what its people and visitors did in the last weeks stands on the screens, made for real."""

from datetime import timedelta
from random import Random

import pytest

from campaigns import publishing
from campaigns.models import Achievement, Enrolment, Journey, Sendout
from contacts.models import (
    ConsentChange,
    Contact,
    Erasure,
    Export,
    Field,
    Import,
    MembershipOverride,
    Merge,
    RetentionRule,
    StepCursor,
    Touchpoint,
    Trait,
    Webhook,
)
from contacts.stream import put
from journey_crm import as_code, invariants
from journey_crm.demo_company import office, world
from journey_crm.demo_company.people import people
from leads.models import Absence, Activity, AlertPreference, Lead, LeadMove, Rep, Task
from messaging import refusing
from messaging.models import (
    Brake,
    Cap,
    DomainLimit,
    Feedback,
    Hit,
    Hold,
    Link,
    LintFinding,
    Message,
    Reading,
    ReturnedMail,
    Signup,
    SignupForm,
    Suppression,
    SuppressionChange,
    Template,
    TemplateVersion,
)
from scoring.models import ScoreGroup, ScoreRule, StageRule

pytestmark = pytest.mark.django_db


def test_every_screen_of_its_last_weeks_has_something_to_show(now):
    world.build(now=now, count=180, days=14, say=lambda share, text: None)

    finished, draft = Import.objects.order_by("state").exclude(state="draft").get(), Import.objects.get(state="draft")
    assert finished.state == "finished" and finished.problem == ""
    assert finished.created > 100 and finished.rejected == finished.notes.filter(is_refused=True).count() == 6
    assert draft.headers and draft.file.storage.exists(draft.file.name)
    merge = Merge.objects.get()
    assert merge.undone_at > merge.merged_at and merge.loser.merged_into_id is None
    # An ordinary company does not trip the fuse.
    assert not Journey.objects.filter(pause_reason__isnull=False).exists()
    assert Contact.objects.filter(paused_until__gt=now).exists() and Contact.objects.filter(most_per_week=1).exists()
    said = set(ConsentChange.objects.values_list("source", "state"))
    assert {("preference-page", "denied"), ("form:newsletter", "pending"), ("form:newsletter", "granted")} <= said
    assert Signup.objects.exclude(confirmed_at=None).exists() and Signup.objects.filter(confirmed_at=None).exists()
    assert set(SignupForm.objects.get().wording) == {"en", "cs", "pl"}
    assert {"choice", "list", "date"} <= set(Field.objects.values_list("type", flat=True))
    assert {"rooms", "heard_from"} <= set(Trait.objects.values_list("key", flat=True))
    assert MembershipOverride.objects.filter(segment__key="bigger-companies", is_member=True).exists()
    assert Contact.objects.exclude(company=None).filter(company_role="Decision maker").exists()
    assert Export.objects.filter(is_complete=True).count() == 2 and Erasure.objects.count() == 1
    assert RetentionRule.objects.get().handled == 0
    _every_kind_of_journey_lives(now)
    _messages_of_all_ways_left(now)
    _some_mail_came_back()
    _the_brand_drifts_a_little()
    assert AlertPreference.objects.count() == 3
    assert ScoreGroup.objects.count() == 2 and ScoreRule.objects.filter(points__lt=0).count() == 2
    assert StageRule.objects.exclude(sla=None).count() == 3 and StageRule.objects.exclude(cold_after=None).exists()
    assert not StepCursor.objects.exclude(error="").exists()
    assert not any(invariants.check(invariants.last_tick()).values())


def _every_kind_of_journey_lives(now):
    journeys = {journey.key: journey for journey in Journey.objects.all()}
    assert {journey.kind for journey in journeys.values()} == {kind for kind, _name in Journey.KINDS}
    assert {journey.state for journey in journeys.values()} == {"draft", "live", "paused", "archived"}
    assert journeys["reviews"].state == "paused" and journeys["reviews"].paused_by.get_username() == "karel"
    news = Sendout.objects.get(journey=journeys["card-payments"])
    assert news.state == "finished" and news.audience > 20 and news.canary_until
    for key in ("calendar-sync", "monthly-newsletter"):
        assert Sendout.objects.get(journey=journeys[key], state="scheduled").starts_at > now
    # What was published a second time, and may be a third time.
    assert [version.number for version in journeys["welcome"].versions.order_by("number")] == [1, 2]
    assert publishing.is_changed(journeys["welcome"]) and publishing.is_changed(journeys["education"])
    inside = set(Enrolment.objects.values_list("journey__key", flat=True))
    assert {"education", "trial-tips", "webinar-follow-up", "card-payments"} <= inside
    assert Achievement.objects.filter(kind="goal").exists()


def _messages_of_all_ways_left(now):
    sent = Message.objects.filter(state="sent")
    assert {"email", "onsite", "alert"} <= set(sent.values_list("channel", flat=True))
    # By SMS to whoever left a telephone; in a life as short as this one perhaps nobody did.
    assert Message.objects.filter(channel="sms", template__key="webinar-sms").exists()
    assert {"blocks", "mjml", "markdown", "text"} == set(Template.objects.values_list("body_format", flat=True))
    version = TemplateVersion.objects.filter(template__key="card-payments").latest("pk")
    assert "tereza" in version.content["reusable"] and version.content["utm"]["params"]["utm_source"] == "lumeo"
    assert Link.objects.filter(url__contains="utm_campaign=card-payments").exists()
    # Opens and clicks are judged like real ones.
    reasons = set(Hit.objects.values_list("machine_reason", flat=True))
    assert {"", "apple_privacy", "gmail_privacy"} <= reasons and reasons & {"honeypot", "scanner"}
    assert not Hit.objects.filter(is_told=False).exists()
    told = set(Touchpoint.objects.filter(kind="email.clicked").values_list("is_machine", flat=True))
    assert told == {True, False}
    assert not DomainLimit.objects.filter(is_active=True).exists()
    assert DomainLimit.objects.exclude(warm_up_from=None).exists() and Cap.objects.get().topic.key == "offers"


def _some_mail_came_back():
    assert {"hard", "complaint"} <= set(Feedback.objects.values_list("verdict", flat=True))
    assert {"bounced", "complained", "manual", "legal_hold"} <= set(
        Suppression.objects.values_list("reason", flat=True)
    )
    assert {"added", "removed"} == set(SuppressionChange.objects.values_list("action", flat=True))
    letters = ReturnedMail.objects.filter(state="dead")
    assert letters.count() == letters.values("reason").distinct().count() == 3
    assert ReturnedMail.objects.filter(state="handled").exists()
    assert Message.objects.get(state="uncertain").channel == "email"
    # One complaint is no reason to hold everything back.
    assert not Brake.objects.exists()


def _the_brand_drifts_a_little():
    found = LintFinding.objects.open()
    assert {"off_brand_colour", "off_brand_font", "banned_word", "missing_translation"} <= set(
        found.values_list("rule", flat=True)
    )
    assert not found.filter(severity="error").exists()
    assert LintFinding.objects.exclude(muted_at=None).get().rule == "glossary"
    assert Reading.objects.get(template__key="renewal-soon").colours == {"#a3123a": 6}


def test_people_who_leave_say_why(now):
    world.make_users()
    contact = Contact.objects.create(email="leaves@studio.example", language="cs", created_at=now, updated_at=now)
    life = world._World(Random(1), [], [], now - timedelta(days=1), now)
    life._unsubscribe(contact.pk, now)
    said = ConsentChange.objects.filter(contact=contact, topic="", state="denied")
    assert said.get(channel="email").source in ("one-click", "unsubscribe-page")
    assert all(why in refusing.WHY for why, _comment in world._REASONS)


def test_its_webhook_never_sends_anything_from_the_machine_of_who_looks_at_it(now):
    world.make_users()
    crowd = people(Random(1), 50, 10)
    office._Office(crowd).prepare_webhook(now)
    hook = Webhook.objects.get()
    assert hook.status == "off" and hook.url.endswith(".example/hooks/journey")


def test_a_person_tells_the_same_every_time():
    crowd = people(Random("lumeo"), 300, 90)
    assert [office.told_besides(one) for one in crowd] == [office.told_besides(one) for one in crowd]
    assert {"rooms", "booking_tool", "interests"} <= {key for one in crowd for key in office.told_besides(one)}


def test_reps_live_by_routing_and_do_all_that_the_desk_knows(now):
    """Ninety leads of one day, and three weeks in which the reps have them in hand."""
    lived = now + timedelta(days=21)
    world.make_users()
    files = [office.FOLDER / name for name in ("company.yaml", "journeys.yaml", "messages.yaml", "sales.yaml")]
    as_code.apply([as_code.read(file.read_text(encoding="utf-8"), file.name) for file in files], now=now)
    for number in range(90):
        country = ["CZ", "GB", "PL", "GB", "AU"][number % 5]
        contact = Contact.objects.create(email=f"owner-{number}@studio.example", country=country, created_at=now)
        put(kind="handoff.requested", source="journey", now=now, contact_id=contact.pk, properties={"reason": "Asked"})
    life = world._World(Random(1), [], [], now, lived)
    for at, act in life.sales.acts():
        life.plan(at, act)
    for day in range(22):
        life.live_until(now + timedelta(days=day))

    moves = set(LeadMove.objects.values_list("kind", flat=True))
    assert {"claim", "accept", "call", "reject", "convert", "snooze"} <= moves
    assert {"reached", "no_answer", "call_back"} <= set(Activity.objects.values_list("outcome", flat=True))
    assert Lead.objects.filter(state="converted").exclude(order_number="").exists()
    assert Lead.objects.filter(reassigned__gt=0).exists() and Lead.objects.exclude(assigned_to=None).count() > 40
    assert Lead.objects.filter(state="rejected").values("reject_reason").distinct().count() > 2
    # Who is away, who came later, and what nobody takes.
    assert {one.user.get_username() for one in Absence.objects.on(lived.date())} == {"marek"}
    assert Rep.objects.filter(user__username="marek").count() == 2
    assert Lead.objects.filter(unrouted_because="no_rule").exists()
    # The last day: one who wakes, one who sleeps, a task for today, marketing held.
    assert Touchpoint.objects.filter(kind="lead.woken").exists() and Lead.objects.snoozed(lived).exists()
    assert Task.objects.open().filter(source="sales", due_at__date=lived.date()).exists()
    assert Hold.objects.holding(lived).exists()
