"""Onboarding sequences: milestones, stalling, activation, the end of the time, peace from other campaigns."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from campaigns import graph, publishing
from campaigns.models import Achievement, Enrolment, Visit, Watch
from contacts.models import Field
from growth.models import Offer, Product
from growth.orders import record_orders
from journey_crm.tick import tick as whole_tick
from leads.models import Task
from messaging.delivery import deliver as deliver_really
from messaging.models import Brand, Message, Protection, Template
from tests.campaigns.world import DAY, did, journey, path, people, person, sent, templates, tick, told, where

pytestmark = pytest.mark.django_db

PROJECT = {"key": "project", "rule": {"did": "project.created"}}
TEAM = {"key": "team", "name": "Team invited", "rule": {"did": "team.invited"}}


def sequence(now, **more):
    return journey(now, **{"milestones": [PROJECT, TEAM], **more})


# Milestones ----------------------------------------------------------------------------------------------------------


def test_a_milestone_is_reached_as_soon_as_something_shows_it(now):
    sequence(now, steps=[{"wait": "30d"}])
    ann = person()
    did(ann, "trial.started", now)
    tick(now)
    later = now + timedelta(hours=5)
    shown = did(ann, "project.created", later)
    tick(later)
    achievement = Achievement.objects.get()
    enrolment = Enrolment.objects.get()
    assert (achievement.enrolment, achievement.kind, achievement.key) == (enrolment, "milestone", "project")
    assert (achievement.reached_at, achievement.touchpoint_id) == (later, shown.pk)
    assert told("milestone.reached") == [
        {"journey": "j", "milestone": "project", "enrolment": enrolment.pk, "touchpoint": shown.pk}
    ]
    did(ann, "project.created", later + DAY)
    tick(later + DAY)
    assert len(told("milestone.reached")) == 1


def test_what_was_done_before_the_sequence_began_is_a_milestone_too(now):
    sequence(now, steps=[{"wait": "30d"}])
    ann = person()
    shown = did(ann, "project.created", now - 40 * DAY)
    did(ann, "trial.started", now)
    tick(now)
    assert Achievement.objects.get().touchpoint_id == shown.pk


def test_a_milestone_may_ask_a_field_and_the_change_of_it_shows_it(now):
    Field.objects.create(key="seats", type="number")
    sequence(
        now,
        milestones=[
            {"key": "seats", "rule": {"all": [{"field": "seats", "op": "gte", "value": 3}, {"stage": "known"}]}}
        ],
        steps=[{"wait": "30d"}],
    )
    ann = person()
    did(ann, "trial.started", now)
    tick(now)
    ann.attributes = {"seats": 4}
    ann.save()
    shown = did(ann, "contact.updated", now + DAY, fields=["seats"])
    tick(now + DAY)
    assert Achievement.objects.get().touchpoint_id == shown.pk
    assert Enrolment.objects.get().exit_reason == "activated"


def test_all_milestones_of_all_people_are_asked_at_once(now):
    def queries(number):
        for contact in people_[number]:
            did(contact, "project.created", now + number * DAY)
        with CaptureQueriesContext(connection) as asked:
            tick(now + number * DAY)
        return len(asked)

    for key in ("j", "k"):
        sequence(now, key=key, steps=[{"wait": "30d"}])
    crowd = people(60)
    people_ = {1: crowd[:2], 2: crowd[2:]}
    for contact in crowd:
        did(contact, "trial.started", now)
    tick(now)
    assert queries(1) == queries(2)
    assert Achievement.objects.count() == 120


def test_a_step_that_leads_to_a_done_milestone_is_passed_by(now):
    sequence(
        now,
        steps=[
            {"send": "begin", "milestone": "project"},
            {"send": "invite", "milestone": "team"},
            {"key": "call", "task": {"assign": "owner", "title": "Call"}, "milestone": "project"},
            {"wait": "30d"},
        ],
    )
    ann = person()
    did(ann, "project.created", now - DAY)
    did(ann, "trial.started", now)
    tick(now)
    assert sent(ann) == ["invite"]
    assert path(ann) == [("begin", "next"), ("invite", "next"), ("call", "next")]
    skipped = Visit.objects.filter(inputs__skipped="milestone_reached")
    assert skipped.count() == 2
    assert told("task.requested") == []


def test_a_message_to_a_milestone_reached_meanwhile_is_withdrawn(now):
    sequence(now, steps=[{"send": "begin", "milestone": "project", "on_skip": "exit"}, {"wait": "30d"}])
    ann = person()
    did(ann, "trial.started", now)
    tick(now, delivers=False)
    assert where(ann) == "begin"
    did(ann, "project.created", now + timedelta(minutes=1))
    tick(now + timedelta(minutes=1), delivers=False)
    message = Message.objects.get()
    assert (message.state, message.reason) == ("cancelled", "milestone_reached")
    tick(now + timedelta(minutes=2), delivers=False)
    assert where(ann) == "wait"


def test_a_milestone_step_waits_for_it_and_goes_on_at_once_where_it_is_reached(now):
    sequence(
        now,
        milestones=[PROJECT, TEAM],
        steps=[
            {
                "key": "m",
                "milestone": "project",
                "timeout": "3d",
                "then": [{"send": "good"}],
                "else": [{"send": "help"}],
            },
            {"wait": "30d"},
        ],
    )
    ann, ben, eva = person(), person(), person()
    did(eva, "project.created", now - DAY)
    for contact in (ann, ben, eva):
        did(contact, "trial.started", now)
    tick(now)
    assert (where(ann), where(ben), sent(eva)) == ("m", "m", ["good"])
    did(ann, "project.created", now + DAY)
    tick(now + DAY)
    assert sent(ann) == ["good"]
    tick(now + 3 * DAY)
    assert sent(ben) == ["help"]
    assert path(ben)[0] == ("m", "else")


# The end -------------------------------------------------------------------------------------------------------------


def test_whoever_has_reached_all_that_is_required_is_activated(now):
    optional = {"key": "app", "rule": {"did": "app.installed"}, "required": False}
    sequence(now, milestones=[PROJECT, TEAM, optional], steps=[{"wait": "1d"}, {"send": "late"}])
    ann = person()
    did(ann, "trial.started", now)
    tick(now)
    did(ann, "project.created", now + timedelta(hours=1))
    did(ann, "team.invited", now + timedelta(hours=2))
    tick(now + timedelta(hours=2))
    enrolment = Enrolment.objects.get()
    assert (enrolment.state, enrolment.exit_reason) == ("exited", "activated")
    assert told("onboarding.activated") == [{"journey": "j", "enrolment": enrolment.pk, "seconds": 7200}]
    assert told("journey.left")[0]["reason"] == "activated"
    tick(now + 2 * DAY)
    assert sent(ann) == []
    assert not Watch.objects.exists()


def test_behind_the_last_step_people_rest_until_they_are_activated(now):
    sequence(now, steps=[{"send": "hello"}])
    ann = person()
    did(ann, "trial.started", now)
    tick(now)
    assert (sent(ann), where(ann)) == (["hello"], ":milestones")
    did(ann, "project.created", now + 20 * DAY)
    did(ann, "team.invited", now + 20 * DAY)
    tick(now + 20 * DAY)
    assert Enrolment.objects.get().exit_reason == "activated"


def test_a_sequence_without_milestones_ends_with_its_last_step(now):
    journey(now, steps=[{"send": "hello"}])
    did(person(), "trial.started", now)
    tick(now)
    assert Enrolment.objects.get().exit_reason == "end"


def test_when_the_time_is_up_another_journey_takes_over(now):
    journey(now, "win-back", kind="win_back", trigger="manual", steps=[{"send": "come-back"}])
    sequence(now, timeout="10d", on_timeout={"start": "win-back"}, steps=[{"send": "hello"}])
    ann = person()
    did(ann, "trial.started", now)
    tick(now)
    tick(now + 10 * DAY - timedelta(minutes=1))
    assert Enrolment.objects.get().state == "open"
    tick(now + 10 * DAY)
    tick(now + 10 * DAY)
    enrolment = Enrolment.objects.get(journey__key="j")
    assert (enrolment.exit_reason, enrolment.ended_at) == ("timed_out", now + 10 * DAY)
    assert told("onboarding.timed_out") == [{"journey": "j", "enrolment": enrolment.pk}]
    assert sent(ann) == ["hello", "come-back"]


def test_without_a_word_the_time_is_up_after_45_days(now):
    sequence(now, steps=[{"send": "hello"}])
    did(person(), "trial.started", now)
    tick(now)
    tick(now + 45 * DAY)
    assert Enrolment.objects.get().exit_reason == "timed_out"


# The rhythm ----------------------------------------------------------------------------------------------------------


def test_two_days_lie_between_the_marketing_messages_of_a_sequence(now):
    journey(now, min_gap="2d", steps=[{"send": "one"}, {"send": "two", "valid_for": "1d"}, {"send": "three"}])
    ann = person()
    did(ann, "trial.started", now)
    for hours in range(0, 24 * 6, 6):
        tick(now + timedelta(hours=hours))
    moments = Message.objects.filter(contact=ann).order_by("pk").values_list("template__key", "sent_at")
    assert list(moments) == [("one", now), ("two", now + 2 * DAY), ("three", now + 4 * DAY)]
    two = Message.objects.get(template__key="two")
    assert two.valid_until == now + 3 * DAY


def test_the_gap_may_be_another_and_holds_for_marketing_alone(now):
    journey(now, min_gap="12h", steps=[{"send": "one"}, {"send": "receipt"}, {"send": "two"}])
    Template.objects.filter(key="receipt").update(message_class="operational")
    did(person(), "trial.started", now)
    for hours in range(0, 24, 6):
        tick(now + timedelta(hours=hours))
    moments = dict(Message.objects.values_list("template__key", "sent_at"))
    assert moments == {"one": now, "receipt": now, "two": now + timedelta(hours=12)}


def test_whoever_stalls_is_nudged_once_and_then_somebodys_task(now):
    templates("nudge")
    sequence(
        now,
        stall_after="5d",
        nudge="nudge",
        stall_task={"assign": "owner", "title": "Call them", "due": "2d"},
        steps=[{"send": "hello"}],
    )
    ann = person()
    did(ann, "trial.started", now)
    tick(now)
    did(ann, "project.created", now + 3 * DAY)
    tick(now + 3 * DAY)
    tick(now + 7 * DAY)
    assert sent(ann) == ["hello"]
    tick(now + 8 * DAY)
    assert sent(ann) == ["hello", "nudge"]
    assert told("task.requested") == []
    tick(now + 12 * DAY)
    tick(now + 13 * DAY)
    [task] = told("task.requested")
    assert (task["assign"], task["title"], task["step"]) == ("owner", "Call them", "")
    assert task["due_at"].startswith((now + 15 * DAY).isoformat()[:16])
    tick(now + 30 * DAY)
    assert (len(told("task.requested")), sent(ann)) == (1, ["hello", "nudge"])


def test_a_nudge_is_withdrawn_where_somebody_got_on_before_it_left(now):
    templates("nudge")
    sequence(now, stall_after="5d", nudge="nudge", steps=[{"wait": "30d"}])
    ann = person()
    did(ann, "trial.started", now)
    tick(now)
    tick(now + 5 * DAY, delivers=False)
    did(ann, "project.created", now + 5 * DAY)
    tick(now + 5 * DAY, delivers=False)
    nudge = Message.objects.get()
    assert (nudge.key.split(":")[0], nudge.state, nudge.reason) == ("nudge", "cancelled", "milestone_reached")


def test_a_paused_sequence_nudges_nobody_and_ends_nobody(now):
    templates("nudge")
    made = sequence(now, stall_after="1d", nudge="nudge", timeout="3d", steps=[{"wait": "30d"}])
    did(person(), "trial.started", now)
    tick(now)
    publishing.pause(journey=made, by=None, now=now)
    tick(now + 4 * DAY)
    assert (sent(), Enrolment.objects.get().state) == ([], "open")
    publishing.resume(journey=made, by=None, now=now + 4 * DAY)
    tick(now + 4 * DAY)
    assert Enrolment.objects.get().exit_reason == "timed_out"


# Per product ---------------------------------------------------------------------------------------------------------


def test_each_purchased_product_is_onboarded_once(now):
    journey(
        now,
        trigger={"touchpoint": "order.placed"},
        reentry={"policy": "per_key", "key": "product"},
        steps=[{"wait": "30d"}],
    )
    ann = person()
    did(ann, "order.placed", now, number="A1", products=["pro", "start"])
    did(ann, "order.placed", now, number="A2", products=["pro"])
    tick(now)
    did(ann, "order.placed", now + DAY, number="A3", products=["start", "extra"])
    tick(now + DAY)
    assert list(Enrolment.objects.order_by("entry_key").values_list("entry_key", flat=True)) == [
        "extra",
        "pro",
        "start",
    ]


def test_orders_as_the_shop_tells_them_onboard_each_product(now):
    for key in ("pro", "start"):
        Product.objects.create(key=key, name=key)
    journey(
        now,
        trigger={"touchpoint": "order.placed"},
        reentry={"policy": "per_key", "key": "product"},
        steps=[{"wait": "30d"}],
    )
    ann = person()
    lines = [{"product": key, "quantity": 1, "price": 9} for key in ("pro", "start")]
    [result] = record_orders([{"number": "A1", "contact": ann.pk, "lines": lines}], source="t", now=now)
    assert result["status"] == "created"
    tick(now)
    assert set(Enrolment.objects.values_list("entry_key", flat=True)) == {"pro", "start"}


# Everything at once --------------------------------------------------------------------------------------------------


def test_a_whole_onboarding_under_virtual_time(now):
    """Two people through one sequence, by all steps of the real tick and real delivery, twice a day for seven weeks."""
    Brand.objects.update_or_create(
        pk=1, defaults={"name": "Acme", "sender": "Acme <hello@acme.example>", "postal_address": "1 Main St"}
    )
    templates("nudge", "offer-mail")
    Template.objects.update(is_repeatable=False)
    journey(now, "win-back", kind="win_back", trigger="manual", steps=[{"send": "come-back"}])
    journey(
        now,
        "upsell",
        kind="cross_sell",
        trigger={"touchpoint": "page.viewed"},
        steps=[{"send": "offer-mail"}],
    )
    ann = person()
    ben = person()
    made = journey(
        now,
        "first-days",
        milestones=[PROJECT, TEAM],
        min_gap="2d",
        stall_after="5d",
        nudge="nudge",
        stall_task={"assign": "owner", "title": "Call them"},
        on_timeout={"start": "win-back"},
        steps=[
            {"send": "welcome"},
            {"wait": "1d"},
            {"send": "begin", "milestone": "project"},
            {"send": "invite", "milestone": "team"},
        ],
    )
    assert graph.sequence.sequence_of(made.version.definition).timeout == 45 * DAY
    plan = {
        0: [(ann, "trial.started"), (ben, "trial.started")],
        3: [(ann, "project.created"), (ann, "page.viewed"), (ben, "page.viewed")],
        24 * 4: [(ann, "team.invited")],
    }
    for hour in (24 * day + part for day in range(48) for part in (0, 3)):
        for contact, kind in plan.get(hour, []):
            did(contact, kind, now + timedelta(hours=hour))
        whole_tick(now + timedelta(hours=hour))
        deliver_really(now=now + timedelta(hours=hour))

    def mails(contact):
        rows = Message.objects.filter(contact=contact).order_by("sent_at", "pk")
        return [(m.template.key, m.state, (m.sent_at - now).days if m.sent_at else m.reason) for m in rows]

    # Ann began a project before she was asked to; she was activated on day 4, and the offer that waited came then.
    assert mails(ann) == [("welcome", "sent", 0), ("invite", "sent", 2), ("offer-mail", "sent", 4)]
    ann_done = Enrolment.objects.get(contact=ann, journey=made)
    assert (ann_done.exit_reason, ann_done.ended_at) == ("activated", now + 4 * DAY)
    assert Visit.objects.filter(enrolment=ann_done, inputs__skipped="milestone_reached").count() == 1
    [activated] = told("onboarding.activated")
    assert (activated["enrolment"], activated["seconds"]) == (ann_done.pk, 4 * 86_400)
    # Ben did nothing: two days between the mails; the nudge of day 5 waited for them, and for the cap of three a week.
    assert mails(ben) == [
        ("welcome", "sent", 0),
        ("begin", "sent", 2),
        ("invite", "sent", 4),
        ("nudge", "sent", 7),
        ("offer-mail", "sent", 14),
        ("come-back", "sent", 45),
    ]
    task = Task.objects.get()
    assert (task.contact, task.title, task.created_at.date()) == (ben, "Call them", (now + 10 * DAY).date())
    assert Enrolment.objects.get(contact=ben, journey=made).exit_reason == "timed_out"
    assert not Watch.objects.exists()


# Peace ---------------------------------------------------------------------------------------------------------------


def test_entering_a_sequence_protects_for_14_days_and_its_end_ends_that(now):
    sequence(now, steps=[{"wait": "30d"}])
    ann, ben = person(), person()
    for contact in (ann, ben):
        did(contact, "trial.started", now)
    tick(now)
    assert set(Protection.objects.values_list("contact", "until")) == {(c.pk, now + 14 * DAY) for c in (ann, ben)}
    did(ann, "project.created", now + DAY)
    did(ann, "team.invited", now + DAY)
    tick(now + DAY)
    tick(now + DAY)
    assert list(Protection.objects.values_list("contact", flat=True)) == [ben.pk]


def test_no_protection_where_none_is_wanted(now):
    sequence(now, protect_days=0, steps=[{"wait": "30d"}])
    journey(now, "other", kind="follow_up", steps=[{"wait": "30d"}])
    did(person(), "trial.started", now)
    tick(now)
    assert not Protection.objects.exists()


# The screen ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def admin(client):
    user = User.objects.create_superuser("boss")
    client.force_login(user)
    return user


def page_of(client, made, step=""):
    address = reverse("admin:campaigns_onboardingsequence_change", args=[made.pk])
    return client.get(address + (f"?step={step}" if step else "")).content.decode()


def test_the_screen_shows_milestones_with_counts_and_the_median_time_to_value(client, admin, now):
    made = sequence(now, steps=[{"wait": "30d"}])
    assert "Nobody has reached it yet." in page_of(client, made)
    crowd = people(3)
    for contact in crowd:
        did(contact, "trial.started", now)
    tick(now)
    for days, contact in zip((3, 5, 9), crowd, strict=True):
        did(contact, "project.created", now + days * DAY)
        if days < 9:
            did(contact, "team.invited", now + days * DAY)
        tick(now + days * DAY)
    page = page_of(client, made)
    assert "Team invited" in page
    assert "3 reached it, half of them within 5 days" in page  # 3, 5 and 9 days to the project
    assert "4 days (median)" in page  # 3 and 5 days to all


def test_tasks_milestones_and_offers_are_drawn_and_edited(client, admin, now):
    templates("hello")
    Offer.objects.create(key="pro", group="upgrades")
    made = sequence(now, publish=False, steps=[
        {"key": "bound", "send": "hello", "milestone": "project"},
        {"key": "call", "task": {"assign": "owner", "title": "Call them", "due": "2d"}, "milestone": "team"},
        {"key": "m", "milestone": "team", "timeout": "3d", "then": [], "else": []},
        {"key": "slot", "offer": "upgrades", "default": "hello", "then": [], "else": []},
    ])  # fmt: skip
    page = page_of(client, made)
    for words in ("leads to “project”", "Call them · owner · 2d", "at most 3d", "upgrades"):
        assert words in page
    saved = {
        "bound": {"send": "hello", "milestone": "team"},
        "call": {"assign": "inside", "title": "Ring", "due": "1d", "milestone": "project"},
        "m": {"milestone": "project", "timeout": "4d"},
        "slot": {"offer": "pro", "send": "hello", "default": ""},
    }
    for key, fields in saved.items():
        assert "<form" in page_of(client, made, key)
        made.refresh_from_db()
        answer = client.post(
            reverse("admin:campaigns_onboardingsequence_step", args=[made.pk]),
            {"key": key, "do": "configure", "revision": made.revision, **fields},
        )
        assert answer.status_code == 302, answer.content.decode()[-2000:]
    made.refresh_from_db()
    assert publishing.draft_of(made)["steps"] == [
        {"key": "bound", "send": "hello", "milestone": "team"},
        {"key": "call", "task": {"assign": "inside", "title": "Ring", "due": "1d"}, "milestone": "project"},
        {"key": "m", "milestone": "project", "timeout": "4d", "then": [], "else": []},
        {"key": "slot", "offer": "pro", "send": "hello", "then": [], "else": []},
    ]
    assert publishing.problems(publishing.draft_of(made)) == []


@pytest.mark.parametrize("kind", ["task", "milestone", "offer"])
def test_a_new_step_of_each_kind_can_be_added(client, admin, now, kind):
    made = sequence(now, publish=False, steps=[])
    client.post(
        reverse("admin:campaigns_onboardingsequence_step", args=[made.pk]),
        {"do": "insert", "kind": kind, "key": "", "revision": made.revision},
    )
    made.refresh_from_db()
    assert [kind in step for step in publishing.draft_of(made)["steps"]] == [True]
    assert "<form" in page_of(client, made, kind)
