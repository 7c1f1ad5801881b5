"""Stages in both directions: left by rules and by hand, each move once, with its reason, and never to and fro."""

from datetime import timedelta
from itertools import pairwise
from types import SimpleNamespace

import pytest
from django.db import IntegrityError, transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase

from contacts.ingest import ingest
from contacts.models import Contact, StepCursor, Touchpoint
from contacts.rules import parse
from contacts.stages import LADDER, STAGES
from contacts.stream import Step, run_step
from scoring import stages
from scoring.definitions import SECTIONS, DefinitionError
from scoring.models import StageChange, StageRule
from scoring.models.stages import LEAVES_TO
from scoring.stages import because, implies, request_stage
from tests.scoring.test_stages import at, engaged, standing
from tests.scoring.world import NOW, did, known, tick, told

pytestmark = pytest.mark.django_db
CZECH = {"field": "country", "op": "eq", "value": "CZ"}
PLAIN = {"field": "language", "op": "eq", "value": "cs"}
DAY, MINUTE = timedelta(days=1), timedelta(minutes=1)
LENKA = SimpleNamespace(get_username=lambda: "lenka")
ALL_STAGES = [key for key, _label in STAGES]


def moves(contact: Contact) -> list[str]:
    return [f"{one.from_stage}>{one.to_stage}" for one in StageChange.objects.filter(contact=contact).order_by("pk")]


def by_hand(contact: Contact, to: str, now=NOW, reason: str = "they told us") -> None:
    contact.refresh_from_db()
    request_stage(contact=contact, to=to, reason=reason, by=LENKA, now=now)
    run_step(Step("ingest", ingest), now)


# The table: a leaving rule of one stage, asked of people in each.
SPEC = """
of stage      to         | visitor known lead  qualified customer ambassador disqualified churned
lead          known      | .       .     known .         .        .          .            .
qualified     lead       | .       .     .     lead      .        .          .            .
qualified     known      | .       .     .     known     .        .          .            .
customer      churned    | .       .     .     .         churned  .          .            .
customer      lead       | .       .     .     .         lead     .          .            .
ambassador    customer   | .       .     .     .         .        customer   .            .
ambassador    churned    | .       .     .     .         .        churned    .            .
disqualified  known      | .       .     .     .         .        .          known        .
disqualified  lead       | .       .     .     .         .        .          lead         .
churned       lead       | .       .     .     .         .        .          .            lead
churned       known      | .       .     .     .         .        .          .            known
"""


def spec() -> list[tuple[str, str, dict[str, str]]]:
    head, *lines = [line.split("|") for line in SPEC.strip().splitlines()]
    stages = head[1].split()
    ways = [(*left.split(), dict(zip(stages, right.split(), strict=True))) for left, right in lines]
    return [(of, to, {stage: stage if end == "." else end for stage, end in row.items()}) for of, to, row in ways]


def test_the_table_is_of_every_way_that_may_be_left():
    assert {(of, to) for of, to, _row in spec()} == {(of, to) for of, ends in LEAVES_TO.items() for to in ends}


@pytest.mark.parametrize(("of", "to", "row"), spec())
def test_a_leaving_rule_moves_whom_it_means_down_once(of, to, row):
    StageRule.objects.create(stage=of, leave_rule=CZECH, leave_to=to)
    people = {}
    for country in ("CZ", "PL"):
        for stage in row:
            more = {"country": country, "stage": stage, "highest_stage": "ambassador"}
            address = f"{stage}@{country.lower()}.example"
            # A visitor with an address is known at once, whatever the rules say.
            person = Contact.objects.create(created_at=NOW, **more) if stage == "visitor" else known(address, **more)
            people[country, stage] = person
            did(person, "page.viewed")
    for minute in range(3):
        tick(NOW + minute * MINUTE)
    assert {stage: at(people["CZ", stage]) for stage in row} == {
        stage: (end, "ambassador") for stage, end in row.items()
    }
    assert {stage: at(people["PL", stage])[0] for stage in row} == {stage: stage for stage in row}
    for stage, end in row.items():
        contact = people["CZ", stage]
        assert moves(contact) == ([] if stage == end else [f"{stage}>{end}"])
        wanted = [] if stage == end else [{"from": stage, "to": end, "reason": "leave_rule"}]
        assert told(contact, "stage.changed") == wanted


def test_the_table_is_a_promise_of_the_schema():
    for of in ALL_STAGES:
        for to in ALL_STAGES:
            try:
                with transaction.atomic():
                    StageRule.objects.create(stage=of, leave_rule=CZECH, leave_to=to).delete()
                is_stored = True
            except IntegrityError:
                is_stored = False
            assert is_stored == (to in LEAVES_TO.get(of, [])), (of, to)


def cold(days: int = 14, **more) -> StageRule:
    return StageRule.objects.create(stage="qualified", cold_after=days * DAY, leave_to="lead", **more)


def test_who_is_under_the_line_for_long_enough_falls_back_and_a_new_crossing_qualifies_again():
    engaged()
    cold()
    contact = known()
    did(contact, "webinar.attended")
    tick()
    tick(NOW + 3 * DAY)  # 60 points of a half-life of 7 days are under 45 by then
    assert [one["direction"] for one in told(contact, "score.crossed")] == ["up", "down"]
    tick(NOW + 16 * DAY)
    assert at(contact)[0] == "qualified"
    tick(NOW + 17 * DAY)
    assert at(contact) == ("lead", "qualified")
    assert StageChange.objects.latest("pk").reason == "cold 14d"
    for hour in range(1, 4):
        tick(NOW + 17 * DAY + hour * timedelta(hours=1))
    did(contact, "webinar.attended", NOW + 20 * DAY)
    tick(NOW + 20 * DAY)
    assert moves(contact) == ["visitor>qualified", "qualified>lead", "lead>qualified"]


def test_who_came_back_over_the_line_in_time_or_never_was_over_it_stays():
    engaged()
    cold()
    back, other = known("a@example.com"), standing("qualified", email="b@example.com")
    did(back, "webinar.attended")
    did(other, "page.viewed")
    tick()
    tick(NOW + 3 * DAY)
    did(back, "webinar.attended", NOW + 10 * DAY)
    tick(NOW + 10 * DAY)
    tick(NOW + 12 * DAY)
    assert [one["direction"] for one in told(back, "score.crossed")] == ["up", "down", "up"]
    tick(NOW + 20 * DAY)
    assert (at(back)[0], at(other)[0]) == ("qualified", "qualified")


def test_a_fall_before_they_came_to_the_stage_is_not_counted():
    engaged()
    cold()
    contact = known()
    did(contact, "webinar.attended")
    tick()
    tick(NOW + 3 * DAY)
    by_hand(contact, "lead", NOW + 4 * DAY)
    tick(NOW + 4 * DAY)
    did(contact, "stage.requested", NOW + 5 * DAY, source="journey", properties={"to": "qualified", "journey": "j"})
    tick(NOW + 5 * DAY)
    tick(NOW + 60 * DAY)
    assert at(contact)[0] == "qualified"


def test_for_whom_a_stage_is_left_neither_its_rule_nor_a_score_brings_in():
    engaged()
    StageRule.objects.create(stage="lead", rule=PLAIN, leave_rule=CZECH, leave_to="known")
    StageRule.objects.create(stage="qualified", leave_rule=CZECH, leave_to="lead")
    czech, pole = known("a@example.com", language="cs", country="CZ"), known("b@example.com", language="cs")
    for contact in (czech, pole):
        did(contact, "page.viewed")
    for minute in range(4):
        tick(NOW + minute * MINUTE)
    assert (moves(czech), moves(pole)) == (["visitor>known"], ["visitor>lead"])
    for contact in (czech, pole):
        did(contact, "webinar.attended", NOW + 5 * MINUTE)
    for minute in range(5, 9):
        tick(NOW + minute * MINUTE)
    assert (at(czech)[0], at(pole)[0]) == ("known", "qualified")
    # When it ceases to hold, the way in is open again.
    Contact.objects.filter(pk=czech.pk).update(country="PL")
    did(czech, "contact.updated", NOW + 10 * MINUTE)
    tick(NOW + 10 * MINUTE)
    assert at(czech)[0] == "qualified", "over the line still, and never qualified before"


def test_who_moved_in_a_tick_leaves_in_the_next_at_the_earliest():
    StageRule.objects.create(stage="customer", leave_rule=CZECH, leave_to="churned")
    contact = known(country="CZ")
    did(contact, "order.placed", properties={"number": "1"})
    tick()
    assert at(contact)[0] == "customer"
    tick(NOW + MINUTE)
    assert at(contact)[0] == "churned"
    for minute in range(2, 5):
        tick(NOW + minute * MINUTE)
    assert moves(contact) == ["visitor>customer", "customer>churned"]


def test_a_leaving_rule_about_time_is_swept_and_one_edited_is_asked_at_once():
    rule = StageRule.objects.create(
        stage="ambassador", leave_rule={"not": {"did": "page.viewed", "within": "30d"}}, leave_to="customer"
    )
    contact = standing("ambassador")
    did(contact, "page.viewed")
    tick()
    tick(NOW + 29 * DAY)
    assert at(contact)[0] == "ambassador"
    tick(NOW + 30 * DAY)
    assert at(contact) == ("customer", "ambassador")
    StageRule.objects.create(stage="customer", leave_rule=CZECH, leave_to="lead")
    Contact.objects.update(country="CZ")
    tick(NOW + 30 * DAY + MINUTE)
    assert at(contact)[0] == "lead"
    rule.delete()


def test_a_broken_leaving_rule_lets_nobody_fall_and_stops_no_other():
    StageRule.objects.create(
        stage="lead", leave_rule={"field": "gone", "op": "eq", "value": "x"}, leave_to="known"
    )  # fmt: skip
    StageRule.objects.create(stage="churned", leave_rule=CZECH, leave_to="lead")
    lead, churned = standing("lead"), known("b@example.com", country="CZ", stage="churned", highest_stage="customer")
    for contact in (lead, churned):
        did(contact, "page.viewed")
    tick()
    assert (at(lead)[0], at(churned)[0]) == ("lead", "lead")


# By hand -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("to", [key for key in ALL_STAGES if key not in ("visitor", "qualified")])
def test_a_hand_moves_anywhere_with_its_reason_and_rules_leave_it_alone(to):
    StageRule.objects.create(stage="qualified", leave_rule=PLAIN, leave_to="known")
    StageRule.objects.create(stage="lead", rule=CZECH)
    StageRule.objects.create(stage="customer", rule=CZECH)
    contact = known(country="CZ", language="cs", stage="qualified", highest_stage="customer")
    by_hand(contact, to)
    for minute in range(4):
        tick(NOW + minute * MINUTE)
    assert at(contact) == (to, "ambassador" if to == "ambassador" else "customer")
    change = StageChange.objects.get()
    assert (change.reason, change.is_by_hand) == ("hand they told us", True)
    assert Touchpoint.objects.get(pk=change.touchpoint_id).properties["by"] == "lenka"
    assert because(change.reason) == "by hand: they told us"


def test_events_move_whom_a_hand_has_put_somewhere():
    engaged()
    contact = known()
    by_hand(contact, "lead")
    tick()
    did(contact, "webinar.attended", NOW + DAY)
    tick(NOW + DAY)
    assert at(contact)[0] == "qualified"
    by_hand(contact, "disqualified", NOW + 2 * DAY)
    tick(NOW + 2 * DAY)
    did(contact, "order.placed", NOW + 3 * DAY, properties={"number": "1"})
    tick(NOW + 3 * DAY)
    assert moves(contact) == [
        "visitor>lead", "lead>qualified", "qualified>disqualified", "disqualified>customer",
    ]  # fmt: skip


def test_a_crossing_before_the_hand_in_one_window_does_not_undo_it():
    engaged()
    contact = known()
    did(contact, "score.crossed", properties={"score": "engagement", "direction": "up"})
    by_hand(contact, "lead")
    tick()
    assert at(contact)[0] == "lead"


@pytest.mark.parametrize(
    ("to", "reason", "says"),
    [("visitor", "x", "visitor"), ("nowhere", "x", "stages"), ("lead", " ", "why"), ("lead", "x" * 501, "500"),
     ("known", "x", "already")],
)  # fmt: skip
def test_a_hand_is_refused_with_a_sentence(to, reason, says):
    contact = standing("known")
    with pytest.raises(ValueError, match=says):
        request_stage(contact=contact, to=to, reason=reason, by=LENKA, now=NOW)


def test_nobody_outside_can_ask_for_a_stage():
    contact = standing("known")
    did(contact, "stage.requested", source="web", properties={"to": "customer", "reason": "please"})
    tick()
    assert at(contact)[0] == "known"


# Exactly once --------------------------------------------------------------------------------------------------------


def test_a_step_that_broke_after_moving_people_moves_them_once(monkeypatch):
    StageRule.objects.create(stage="customer", leave_rule=CZECH, leave_to="lead")
    contact = known(country="CZ", stage="customer", highest_stage="customer")
    did(contact, "page.viewed")
    with monkeypatch.context() as broken:
        broken.setattr(stages, "_definition", lambda rule: 1 / 0)
        run_step(Step("stage", stages.stage), NOW)
    assert "ZeroDivisionError" in StepCursor.objects.get(step="stage").error
    assert moves(contact) == []
    tick(NOW + MINUTE)
    assert moves(contact) == ["customer>lead"]


# As code, and at save ------------------------------------------------------------------------------------------------

STAGES_SECTION = next(section for section in SECTIONS if section.name == "stages")


@pytest.mark.parametrize(
    "data",
    [
        {"stage": "lead", "rule": CZECH},
        {"stage": "lead", "sla": "30d"},
        {"stage": "customer", "phase": "decision", "phase_rule": CZECH},
        {
            "stage": "qualified", "rule": PLAIN, "leave_rule": CZECH, "cold_after": "14d", "leave_to": "lead",
            "sla": "12h",
        },
    ],
)  # fmt: skip
def test_a_stage_as_code_comes_back_as_it_was_written(data):
    STAGES_SECTION.write(data)
    assert STAGES_SECTION.read() == {data["stage"]: data}
    STAGES_SECTION.write(STAGES_SECTION.read()[data["stage"]])
    assert STAGES_SECTION.read() == {data["stage"]: data}
    STAGES_SECTION.write({"stage": data["stage"], "rule": PLAIN})
    assert STAGES_SECTION.read() == {data["stage"]: {"stage": data["stage"], "rule": PLAIN}}


@pytest.mark.parametrize(
    ("data", "path"),
    [
        ({"stage": "lead"}, "rule"),
        ({"stage": "lead", "leave_rule": CZECH}, "leave_to"),
        ({"stage": "lead", "leave_to": "known"}, "leave_rule"),
        ({"stage": "lead", "leave_rule": CZECH, "leave_to": "customer"}, "leave_to"),
        ({"stage": "known", "leave_rule": CZECH, "leave_to": "visitor"}, "leave_to"),
        ({"stage": "lead", "cold_after": "3d", "leave_to": "known"}, "cold_after"),
        ({"stage": "visitor", "sla": "3d"}, "sla"),
        ({"stage": "lead", "sla": "soon"}, "sla"),
        ({"stage": "lead", "sla": "3d", "phase": "love"}, "phase"),
        ({"stage": "known", "phase_rule": CZECH}, "phase_rule"),
        ({"stage": "lead", "phase_rule": {"field": "phase", "op": "eq", "value": "decision"}}, "phase_rule"),
        ({"stage": "lead", "leave_rule": {"field": "no", "op": "is_set"}, "leave_to": "known"}, "leave_rule.field"),
        ({"stage": "lead", "rule": CZECH, "leave_rule": CZECH, "leave_to": "known"}, "leave_rule"),
        # Whom the first rule brings in, the second would send out again, tick after tick.
        (
            {
                "stage": "lead", "rule": CZECH, "leave_rule": {"any": [PLAIN, {"field": "stage", "value": "lead"}]},
                "leave_to": "known",
            },
            "leave_rule",
        ),
        (
            {"stage": "lead", "leave_rule": {"not": {"field": "phase", "value": "decision"}}, "leave_to": "known"},
            "leave_rule",
        ),
        (
            {"stage": "lead", "rule": {"all": [CZECH, PLAIN]}, "leave_rule": {"any": [PLAIN, {"stage": "lead"}]},
             "leave_to": "known"},
            "leave_rule",
        ),
    ],
)  # fmt: skip
def test_a_stage_that_cannot_work_is_refused_by_the_name_of_what_is_wrong(data, path):
    with pytest.raises(DefinitionError) as refused:
        STAGES_SECTION.write(data)
    assert refused.value.path == path
    assert not StageRule.objects.exists()


@pytest.mark.parametrize(
    ("one", "other", "seen"),
    [
        (CZECH, CZECH, True),
        (CZECH, PLAIN, False),
        ({"all": [CZECH, PLAIN]}, PLAIN, True),
        (PLAIN, {"all": [CZECH, PLAIN]}, False),
        ({"any": [CZECH, PLAIN]}, PLAIN, False),
        ({"any": [CZECH, PLAIN]}, {"any": [PLAIN, CZECH, {"stage": "lead"}]}, True),
        ({"not": CZECH}, {"not": CZECH}, True),
    ],
)
def test_one_rule_is_seen_to_mean_no_more_than_another(one, other, seen):
    assert implies(parse(one), parse(other)) is seen


# A twin --------------------------------------------------------------------------------------------------------------


def expected(stage: str, rules: dict[str, tuple[bool, bool]]) -> str:
    """Where somebody ends: each rule (does it bring in, does it let go) asked until nothing moves."""
    ways = {"lead": ("known",), "qualified": ("known", "lead"), "customer": ("known", "lead", "qualified")}
    down = {"lead": "known", "qualified": "lead", "customer": "lead"}
    for _tick in range(10):
        highest = stage
        for to in ("lead", "qualified", "customer"):
            enters, leaves = rules.get(to, (False, False))
            once = to != "qualified" or not rules.get("was_qualified")
            if enters and not leaves and stage in ways[to] and once:
                highest = to
        if highest != stage:
            stage = highest
            continue
        if stage in rules and rules[stage][1]:
            stage = down[stage]
            rules = {**rules, "was_qualified": rules.get("was_qualified") or stage == "qualified"}
            continue
        return stage
    raise AssertionError("to and fro")


class TwinTest(TestCase):
    @settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
    @given(
        stage=st.sampled_from(["known", "lead", "qualified", "customer"]),
        rules=st.dictionaries(
            st.sampled_from(["lead", "qualified", "customer"]), st.tuples(st.booleans(), st.booleans())
        ),
    )
    def test_nobody_goes_to_and_fro_whatever_the_rules(self, stage, rules):
        Contact.objects.all().delete()
        StageChange.objects.all().delete()
        contact = known(country="CZ", stage=stage, highest_stage=stage)
        never = {"field": "country", "op": "eq", "value": "PL"}
        to = {"lead": "known", "qualified": "lead", "customer": "lead"}
        StageRule.objects.all().delete()
        for of, (enters, leaves) in rules.items():
            StageRule.objects.create(
                stage=of, rule=CZECH if enters else never, leave_rule={"any": [CZECH]} if leaves else never,
                leave_to=to[of],
            )  # fmt: skip
        was_qualified = stage in ("qualified", "customer")
        did(contact, "page.viewed")
        for minute in range(5):
            tick(NOW + minute * MINUTE)
        settled = moves(contact)
        for minute in range(5, 7):
            tick(NOW + minute * MINUTE)
        assert moves(contact) == settled
        assert at(contact)[0] == expected(stage, {**rules, "was_qualified": was_qualified})
        ladder = [LADDER.index(one.split(">")[1]) for one in settled]
        assert all(one != other for one, other in pairwise(ladder))
        told_of = [(one["from"], one["to"]) for one in told(contact, "stage.changed")]
        assert told_of == [tuple(one.split(">")) for one in settled]
