"""Stages: up by what people do and are, down by what happens, each move with its reason and once."""

from datetime import timedelta

import pytest

from contacts.models import Contact, Identity, Touchpoint
from contacts.sql import Fragment, Statement
from scoring import stages
from scoring.models import ScoreModel, StageChange, StageRule
from tests.scoring.world import NOW, did, known, model, rule, tick, told, visitor

pytestmark = pytest.mark.django_db


def at(contact: Contact) -> tuple[str, str]:
    contact.refresh_from_db()
    return contact.stage, contact.highest_stage


def engaged(qualify_at: float = 50) -> ScoreModel:
    engagement = model(qualify_at=qualify_at)
    rule(engagement, "webinar.attended", 60, days=7)
    return engagement


def standing(stage: str, highest: str | None = None, email: str = "jana@example.com") -> Contact:
    return known(email, stage=stage, highest_stage=highest or stage)


def test_without_any_rules_a_visitor_becomes_known_when_identified():
    somebody, anonymous = visitor(), visitor()
    did(somebody, "page.viewed")
    did(anonymous, "page.viewed")
    tick()
    assert at(somebody) == ("visitor", "visitor")
    Identity.objects.create(contact=somebody, kind="user_id", value="u-1", created_at=NOW)
    Identity.objects.create(contact=anonymous, kind="anonymous_id", value="a-1", created_at=NOW)
    did(somebody, "contact.identified")
    did(anonymous, "page.viewed")
    tick()
    assert at(somebody) == ("known", "known")
    assert at(anonymous) == ("visitor", "visitor")
    change = StageChange.objects.get()
    assert (change.from_stage, change.to_stage, change.reason) == ("visitor", "known", "contact.identified")
    assert told(somebody, "stage.changed") == [{"from": "visitor", "to": "known", "reason": "contact.identified"}]
    assert somebody.stage_changed_at == NOW
    tick()
    assert StageChange.objects.count() == 1


@pytest.mark.parametrize(
    ("stage", "kind", "properties", "after"),
    [
        ("visitor", "order.placed", {"number": "1"}, "customer"),
        ("known", "order.placed", {"number": "1"}, "customer"),
        ("qualified", "lead.converted", {"lead": 1}, "customer"),
        ("ambassador", "order.placed", {"number": "1"}, "ambassador"),
        ("churned", "order.placed", {"number": "1"}, "customer"),
        ("disqualified", "order.placed", {"number": "1"}, "customer"),
        ("qualified", "lead.rejected", {"reason": "no-budget"}, "lead"),
        ("qualified", "lead.rejected", {"reason": "competitor", "is_final": True}, "disqualified"),
        ("lead", "lead.rejected", {"reason": "no-budget"}, "lead"),
        ("customer", "lead.rejected", {"reason": "no-budget"}, "customer"),
        ("customer", "order.refunded", {"number": "1"}, "lead"),
        ("ambassador", "order.refunded", {"number": "1"}, "ambassador"),
        ("known", "page.viewed", {}, "known"),
    ],
)
def test_an_event_moves_the_stage(stage, kind, properties, after):
    contact = standing(stage)
    did(contact, kind, properties=properties)
    tick()
    assert at(contact)[0] == after
    assert [one["to"] for one in told(contact, "stage.changed")] == ([] if stage == after else [after])
    assert StageChange.objects.count() == (stage != after)


def test_a_refund_of_one_order_of_two_leaves_a_customer():
    contact = standing("customer")
    did(contact, "order.placed", properties={"number": "1"})
    did(contact, "order.placed", properties={"number": "2"})
    did(contact, "order.refunded", properties={"number": "1"})
    tick()
    assert at(contact) == ("customer", "customer")
    did(contact, "order.refunded", properties={"number": "2"})
    tick()
    assert at(contact) == ("lead", "customer")


def test_an_order_that_was_taken_back_in_the_same_tick_makes_no_customer():
    contact = standing("lead")
    did(contact, "order.placed", properties={"number": "1"})
    did(contact, "order.cancelled", properties={"number": "1"})
    tick()
    assert at(contact) == ("lead", "lead")


def test_crossing_the_threshold_qualifies_whom_we_know():
    engaged()
    contact = known()
    did(contact, "webinar.attended")
    tick()
    assert at(contact) == ("qualified", "qualified")
    (change,) = StageChange.objects.all()
    assert (change.from_stage, change.reason) == ("visitor", "score.crossed engagement")
    assert Touchpoint.objects.get(pk=change.touchpoint_id).kind == "score.crossed"


def test_a_visitor_who_is_over_the_line_qualifies_on_becoming_known():
    engaged()
    contact = visitor()
    did(contact, "webinar.attended")
    tick()
    assert at(contact) == ("visitor", "visitor")
    assert len(told(contact, "score.crossed")) == 1
    Identity.objects.create(contact=contact, kind="email", value="jana@example.com", created_at=NOW)
    did(contact, "contact.identified")
    tick(NOW + timedelta(minutes=1))
    assert at(contact) == ("qualified", "qualified")
    assert len(told(contact, "score.crossed")) == 1


@pytest.mark.parametrize("stage", ["customer", "ambassador", "disqualified", "churned"])
def test_points_do_not_qualify_customers_nor_those_beside_the_ladder(stage):
    engaged()
    contact = standing(stage, "customer")
    did(contact, "webinar.attended")
    tick()
    assert at(contact)[0] == stage


def test_falling_under_the_line_moves_nobody_down():
    engaged()
    contact = known()
    did(contact, "webinar.attended")
    tick()
    tick(NOW + timedelta(days=30))
    assert [one["direction"] for one in told(contact, "score.crossed")] == ["up", "down"]
    assert at(contact) == ("qualified", "qualified")


def test_after_a_rejection_only_a_new_crossing_qualifies_again():
    engaged()
    StageRule.objects.create(stage="qualified", rule={"field": "country", "op": "eq", "value": "CZ"})
    contact = known(country="CZ")
    did(contact, "webinar.attended")
    tick()
    did(contact, "lead.rejected", properties={"reason": "no-budget"})
    tick(NOW + timedelta(hours=1))
    assert at(contact) == ("lead", "qualified")
    # Still over the line, the rule still holds, and more points: none of it is a new crossing.
    did(contact, "webinar.attended", NOW + timedelta(hours=2))
    tick(NOW + timedelta(hours=2))
    assert at(contact) == ("lead", "qualified")
    later = NOW + timedelta(days=60)
    tick(later)
    did(contact, "webinar.attended", later)
    tick(later)
    assert at(contact) == ("qualified", "qualified")
    assert [one["to"] for one in told(contact, "stage.changed")] == ["qualified", "lead", "qualified"]


def test_a_crossing_before_the_rejection_in_one_window_does_not_qualify_again():
    engaged()
    contact = standing("qualified")
    did(contact, "score.crossed", properties={"score": "engagement", "direction": "up"})
    did(contact, "lead.rejected", properties={"reason": "no-budget"})
    tick()
    assert at(contact) == ("lead", "qualified")


def test_the_highest_rule_that_holds_wins_and_nobody_falls_when_it_ceases():
    for stage, country in [("lead", ["CZ", "PL"]), ("qualified", ["PL"])]:
        StageRule.objects.create(stage=stage, rule={"field": "country", "op": "in", "value": country})
    czech, pole = known("a@example.com", country="CZ"), known("b@example.com", country="PL")
    nobody = Contact.objects.create(country="PL")
    for contact in (czech, pole, nobody):
        did(contact, "contact.created")
    tick()
    assert [at(contact)[0] for contact in (czech, pole, nobody)] == ["lead", "qualified", "visitor"]
    Contact.objects.update(country="DE")
    did(pole, "contact.updated")
    tick()
    assert at(pole)[0] == "qualified"


@pytest.mark.parametrize(
    ("to", "stage", "after"),
    [
        ("disqualified", "lead", "disqualified"),
        ("disqualified", "customer", "customer"),
        ("ambassador", "customer", "ambassador"),
        ("ambassador", "qualified", "qualified"),
        ("churned", "customer", "churned"),
        ("churned", "ambassador", "churned"),
        ("churned", "lead", "lead"),
        ("lead", "disqualified", "disqualified"),
        ("customer", "churned", "churned"),
        ("customer", "lead", "customer"),
    ],
)
def test_a_stage_rule_leads_only_where_the_way_is_open(to, stage, after):
    StageRule.objects.create(stage=to, rule={"field": "language", "op": "eq", "value": "cs"})
    contact = known(language="cs", stage=stage, highest_stage="customer")
    did(contact, "page.viewed")
    tick()
    assert at(contact)[0] == after
    for minute in range(1, 4):
        tick(NOW + timedelta(minutes=minute))
    assert StageChange.objects.count() == (stage != after)


def test_a_new_rule_is_asked_of_everybody_and_one_with_time_is_swept():
    contact = known(stage="customer", highest_stage="customer")
    did(contact, "order.placed", NOW - timedelta(days=1), properties={"number": "1"})
    tick()
    churned = StageRule.objects.create(stage="churned", rule={"not": {"did": "order.placed", "within": "90d"}})
    tick()
    assert at(contact)[0] == "customer"
    tick(NOW + timedelta(days=90))
    assert at(contact)[0] == "churned"
    did(contact, "order.placed", NOW + timedelta(days=91), properties={"number": "2"})
    tick(NOW + timedelta(days=91))
    assert at(contact)[0] == "customer"
    # Edited: now it holds for him at once, though nothing happened.
    StageRule.objects.filter(pk=churned.pk).update(rule={"not": {"did": "order.placed", "after": "2028-01-01"}})
    tick(NOW + timedelta(days=91, minutes=1))
    assert at(contact)[0] == "churned"


def test_many_people_move_in_one_tick_each_for_a_reason_of_his_own():
    engaged()
    people = [known(f"p{number}@example.com") for number in range(30)]
    for number, contact in enumerate(people):
        did(
            contact, ["page.viewed", "webinar.attended", "order.placed"][number % 3], properties={"number": str(number)}
        )
    tick()
    assert [at(contact)[0] for contact in people] == ["known", "qualified", "customer"] * 10
    assert StageChange.objects.count() == Touchpoint.objects.filter(kind="stage.changed").count() == 30


def test_who_moves_is_found_once_and_not_again_for_each_contact():
    """Without statistics the planner takes everything for small, and would walk all of it for each contact."""
    nobody = Fragment("SELECT 0::bigint AS id, ''::text AS stage WHERE false")
    falls = {"moves": Fragment(stages.SQL["stage_falls"].sql)}
    rises = {"moves": Fragment(stages.SQL["stage_rises"].sql), "ruled": nobody, "barred": nobody}
    move = stages.SQL["move_stages"]
    for fragments in (falls, rises):
        explained = Statement(move.name, move.purpose, f"EXPLAIN {move.sql}")
        plan = explained.rows(
            fragments=fragments, after=0, upto=10**9, now=NOW, ladder=stages.LADDER, order=stages.ORDER
        )
        assert "CTE moves" in "\n".join(line for (line,) in plan)
