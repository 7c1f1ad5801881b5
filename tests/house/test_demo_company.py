"""The demo company, small: what its people and visitors did in the last weeks stands on the screens, made for real."""

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
    Trait,
    Webhook,
)
from journey_crm import invariants
from journey_crm.demo_company import office, world
from journey_crm.demo_company.people import people
from messaging.models import Signup, SignupForm

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
