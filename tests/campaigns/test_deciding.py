"""Questions with several branches, waits for windows and dates, and what `set` may change."""

from datetime import UTC, datetime, timedelta

import pytest

from campaigns import graph
from campaigns.models import Due, Visit
from contacts import segments
from contacts.models import Contact, Field, Segment, Touchpoint
from contacts.stream import Step, run_step
from scoring.stages import stage
from tests.campaigns.world import DAY, did, journey, path, person, tick, told, where

pytestmark = pytest.mark.django_db

SIZES = [
    {"label": "big", "when": {"field": "seats", "op": "gte", "value": 50}},
    {"label": "some", "when": {"field": "seats", "op": "gte", "value": 5}},
]


def start(contact, now):
    did(contact, "trial.started", now)
    tick(now)


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)


def test_the_first_branch_that_holds_is_taken_and_what_was_asked_is_kept(now):
    Field.objects.create(key="seats", type="number")
    ways = {label: [{"key": label, "wait": "1d"}] for label in ("big", "some", "else")}
    journey(now, steps=[{"key": "size", "ask": SIZES, **ways}])
    many, few, none = (person(attributes=said) for said in ({"seats": 80}, {"seats": 7}, {}))
    for contact in (many, few):
        did(contact, "trial.started", now)
    start(none, now)
    assert [where(one) for one in (many, few, none)] == ["big", "some", "else"]
    kept = {visit.enrolment.contact_id: visit.inputs for visit in Visit.objects.exclude(inputs=None)}
    assert kept == {many.pk: {"seats": 80}, few.pk: {"seats": 7}, none.pk: {"seats": None}}


def test_a_draw_keeps_its_bucket_and_a_timeout_says_so(now):
    journey(
        now,
        steps=[
            {"key": "test", "split": {"a": 50, "b": 50}, "a": [], "b": []},
            {"key": "news", "wait_for": {"did": "page.viewed"}, "timeout": "1d", "then": [], "else": []},
        ],
    )
    ann = person()
    start(ann, now)
    tick(now + 2 * DAY)
    (drawn, waited) = Visit.objects.exclude(inputs=None).order_by("pk").values_list("outcome", "inputs")
    assert drawn == ("a" if drawn[1]["bucket"] < 50 else "b", drawn[1])
    assert waited == ("else", {"timeout": True})


@pytest.mark.parametrize(
    ("until", "since", "zone", "expected"),
    [
        # 10:00 in Prague is within the window, 19:00 and Saturday are not.
        ({"from": "09:00", "to": "17:00"}, utc(2027, 1, 12, 9), "Europe/Prague", utc(2027, 1, 12, 9)),
        ({"from": "09:00", "to": "17:00"}, utc(2027, 1, 12, 16), "Europe/Prague", utc(2027, 1, 13, 8)),
        ({"from": "09:00", "to": "17:00"}, utc(2027, 1, 12, 7), "Europe/Prague", utc(2027, 1, 12, 8)),
        ({"from": "09:00", "to": "17:00", "weekdays": "mon-fri"}, utc(2027, 1, 16, 10), "Europe/Prague",
         utc(2027, 1, 18, 8)),
        # Over midnight; what began yesterday is still open.
        ({"from": "22:00", "to": "02:00"}, utc(2027, 1, 12, 0, 30), "Europe/Prague", utc(2027, 1, 12, 0, 30)),
        ({"from": "22:00", "to": "02:00", "weekdays": "mon"}, utc(2027, 1, 12, 0, 30), "Europe/Prague",
         utc(2027, 1, 12, 0, 30)),
        ({"from": "22:00", "to": "02:00", "weekdays": "tue"}, utc(2027, 1, 12, 0, 30), "Europe/Prague",
         utc(2027, 1, 12, 21)),
        ({"from": "09:00", "to": "17:00"}, utc(2027, 1, 12, 16), "America/New_York", utc(2027, 1, 12, 16)),
        ({"field": "renewal_on", "offset": "-7d", "local_time": "09:00"}, utc(2027, 1, 12, 9), "Europe/Prague",
         utc(2027, 2, 22, 8)),
        ({"field": "renewal_on", "offset": "1d"}, utc(2027, 1, 12, 9), "Europe/Prague", utc(2027, 3, 1, 23)),
        ({"field": "renewal_on", "offset": "-2h"}, utc(2027, 1, 12, 9), "UTC", utc(2027, 2, 28, 22)),
        ({"field": "meets_at", "offset": "-1h"}, utc(2027, 1, 12, 9), "Asia/Tokyo", utc(2027, 3, 28, 0)),
        ({"field": "meets_at", "offset": "-1d", "local_time": "18:00"}, utc(2027, 1, 12, 9), "Asia/Tokyo",
         utc(2027, 3, 27, 9)),
        # Over already, or not known: no wait.
        ({"field": "renewal_on", "offset": "-90d"}, utc(2027, 1, 12, 9), "Europe/Prague", utc(2027, 1, 12, 9)),
        ({"field": "nothing"}, utc(2027, 1, 12, 9), "Europe/Prague", utc(2027, 1, 12, 9)),
    ],
)  # fmt: skip
def test_a_wait_knows_windows_and_dates_of_the_contact(until, since, zone, expected):
    Field.objects.create(key="renewal_on", type="date")
    Field.objects.create(key="nothing", type="date")
    Field.objects.create(key="meets_at", type="datetime")
    journey(since, steps=[{"key": "pause", "wait_until": until}, {"key": "behind", "wait": "99d"}])
    ann = person(zone=zone, attributes={"renewal_on": "2027-03-01", "meets_at": "2027-03-28T01:00:00+00:00"})
    start(ann, since)
    if expected == since:
        assert where(ann) == "behind"
    else:
        assert (where(ann), Due.objects.get().due_at) == ("pause", expected)


def test_whose_date_changes_while_they_wait_wait_for_the_new_one(now):
    Field.objects.create(key="renewal_on", type="date")
    journey(now, steps=[{"wait_until": {"field": "renewal_on"}}, {"key": "behind", "wait": "99d"}])
    ann = person(zone="UTC", attributes={"renewal_on": "2027-03-01"})
    start(ann, now)
    for date, due_at in (("2027-01-05", utc(2027, 1, 5)), ("2027-02-01", utc(2027, 2, 1))):
        Contact.objects.update(attributes={"renewal_on": date})
        did(ann, "contact.updated", now + DAY, fields=["renewal_on"])
        tick(now + DAY)
        assert Due.objects.get().due_at == due_at
    Contact.objects.update(attributes={})
    did(ann, "contact.updated", now + 2 * DAY, fields=["renewal_on"])
    tick(now + 2 * DAY)
    assert where(ann) == "behind"


def test_set_adds_to_lists_and_removes_from_them(now):
    Field.objects.create(key="interests", type="list")
    journey(
        now,
        steps=[
            {"set": {"field": "interests", "add": "webinars"}},
            {"set": {"field": "interests", "add": "webinars"}},
            {"set": {"field": "interests", "remove": "prices"}},
        ],
    )
    ann, ben = person(attributes={"interests": ["prices", "guides"]}), person()
    did(ben, "trial.started", now)
    start(ann, now)
    for contact, expected in ((ann, ["guides", "webinars"]), (ben, ["webinars"])):
        contact.refresh_from_db()
        assert contact.attributes["interests"] == expected
    assert all(one["fields"] == ["interests"] for one in told("contact.updated"))


def test_set_puts_people_into_segments_and_keeps_them_out(now):
    inside = segments.create(key="vip", name="VIP")
    outside = segments.create(key="all", name="All", rule={"field": "email", "op": "is_set"})
    journey(now, steps=[{"set": {"segment": "vip"}}, {"set": {"segment": "all", "in": False}}])
    ann = person()
    run_step(Step("segment", segments.refresh), now)
    assert segments.members(outside).get() == ann
    start(ann, now)
    run_step(Step("segment", segments.refresh), now + timedelta(seconds=1))
    assert list(segments.members(inside)) == [ann]
    assert list(segments.members(outside)) == []
    assert Segment.objects.get(key="vip").overrides.get().made_by is None


def test_set_asks_for_a_stage_up_and_down_and_the_ledger_says_who_did(now):
    journey(now, "up", steps=[{"set": {"stage": "lead"}}])
    journey(now, "down", trigger="manual", steps=[{"set": {"stage": "disqualified"}}])
    ann = person()
    start(ann, now)
    run_step(Step("stage", stage), now)
    ann.refresh_from_db()
    assert ann.stage == "lead"
    assert ann.stage_changes.latest("pk").reason == "journey up"
    did(ann, "journey.requested", now, journey="down", entry_key="")
    tick(now)
    run_step(Step("stage", stage), now)
    ann.refresh_from_db()
    assert (ann.stage, ann.highest_stage) == ("disqualified", "lead")


def test_set_grants_what_a_rule_of_a_score_prices(now):
    journey(now, steps=[{"key": "bonus", "set": {"grant": "webinar"}}])
    start(person(), now)
    assert told("score.granted") == [{"journey": "j", "step": "bonus", "grant": "webinar"}]


def test_a_webhook_step_tells_other_systems_by_a_touchpoint(now):
    journey(now, steps=[{"key": "crm", "webhook": "trial-finished"}])
    ann = person()
    start(ann, now)
    assert told("journey.called")[0] | {"enrolment": 0} == {
        "name": "trial-finished", "journey": "j", "step": "crm", "enrolment": 0,
    }  # fmt: skip
    assert path(ann) == [("crm", "next")]


def test_whoever_is_held_out_is_left_as_they_are(now):
    Field.objects.create(key="plan", type="text")
    segments.create(key="vip", name="VIP")
    journey(
        now,
        holdout=90,
        steps=[
            {"set": {"field": "plan", "value": "pro"}},
            {"set": {"segment": "vip"}},
            {"set": {"stage": "lead"}},
            {"webhook": "x"},
        ],
    )
    crowd = [person() for _ in range(30)]
    for contact in crowd:
        did(contact, "trial.started", now)
    tick(now)
    touched = set(
        Touchpoint.objects.filter(source="journey").exclude(kind__startswith="journey.").values_list("contact_id")
    )
    changed = set(Contact.objects.filter(attributes__plan="pro").values_list("pk"))
    assert touched == changed
    assert 0 < len(changed) < 15
    assert Segment.objects.get().overrides.count() == len(changed)


KNOWN = graph.Known(fields={"plan": "text", "tags": "list", "day": "date"}, segments=frozenset({"vip"}))


@pytest.mark.parametrize(
    ("step", "path"),
    [
        ({"ask": []}, "steps[0].ask"),
        ({"ask": [{"label": "else", "when": {"stage": "lead"}}]}, "steps[0].ask[0].label"),
        ({"ask": [{"label": "a", "when": {"stage": "lead"}}, {"label": "a", "when": {"stage": "lead"}}]},
         "steps[0].ask[1].label"),
        ({"ask": [{"label": "a"}]}, "steps[0].ask[0].when"),
        ({"ask": [{"label": "a", "when": {"field": "nope", "op": "is_set"}}]}, "steps[0].ask[0].when.field"),
        ({"split": {"not_sent": 1, "b": 1}}, "steps[0].split"),
        ({"wait_until": {"from": "09:00"}}, "steps[0].wait_until.to"),
        ({"wait_until": {"from": "09:00", "to": "09:00"}}, "steps[0].wait_until.to"),
        ({"wait_until": {"field": "plan"}}, "steps[0].wait_until.field"),
        ({"wait_until": {"field": "day", "offset": "soon"}}, "steps[0].wait_until.offset"),
        ({"wait_until": {"field": "day", "weekdays": "mon"}}, "steps[0].wait_until.weekdays"),
        ({"send": "hello", "on_skip": "cry"}, "steps[0].on_skip"),
        ({"set": {"stage": "king"}}, "steps[0].set.stage"),
        ({"set": {"segment": "nope"}}, "steps[0].set.segment"),
        ({"set": {"segment": "vip", "in": "yes"}}, "steps[0].set.in"),
        ({"set": {"field": "plan", "add": "x"}}, "steps[0].set.add"),
        ({"set": {"field": "tags", "add": ["x"]}}, "steps[0].set.add"),
        ({"set": {"field": "tags", "add": "x", "value": []}}, "steps[0].set"),
        ({"set": {"field": "plan", "value": "x", "stage": "lead"}}, "steps[0].set"),
        ({"set": {"grant": ""}}, "steps[0].set.grant"),
        ({"webhook": ""}, "steps[0].webhook"),
    ],
    ids=lambda value: str(value)[:60],
)  # fmt: skip
def test_what_is_wrong_is_named_with_its_path(step, path):
    problems = graph.check({"key": "j", "kind": "onboarding", "trigger": "manual", "steps": [step]}, KNOWN)
    assert path in [problem.path for problem in problems if problem.level == "error"], problems
