"""Velocity: figures counted by hand, the same by a twin in Python, and each number leads to its people."""

import random
from collections import defaultdict
from datetime import timedelta
from statistics import median

import pytest

from contacts.merging import merge
from contacts.models import Contact
from contacts.rules import matching
from scoring.models import StageChange, StageRule
from scoring.models.stages import USUAL_PHASES
from scoring.phases import phases
from scoring.velocity import WHATS, Span, people_of, period, sentence, velocity
from tests.scoring.world import NOW, did, known, model, rule, tick

pytestmark = pytest.mark.django_db
DAY = timedelta(days=1)


def walk(*way: tuple[str, float], came: float = 100, source: str = "", now=NOW) -> Contact:
    """Somebody who came so many days ago and reached each stage so many days ago."""
    last = way[-1][0] if way else "visitor"
    contact = Contact.objects.create(created_at=now - came * DAY, source=source, stage=last, highest_stage=last)
    before = "visitor"
    for stage, ago in way:
        StageChange.objects.create(
            contact=contact, from_stage=before, to_stage=stage, reason="rule", changed_at=now - ago * DAY
        )
        before = stage
    if way:
        Contact.objects.filter(pk=contact.pk).update(stage_changed_at=now - way[-1][1] * DAY)
    return contact


def whole(span: Span, now=NOW) -> dict:
    return {one.key: one for one in velocity(span, now) if one.part is None}


def parts(span: Span, key: str, now=NOW) -> dict:
    return {one.part: one for one in velocity(span, now) if one.part is not None and one.key == key}


def test_the_figures_are_those_counted_by_hand():
    walk(("known", 60), ("lead", 50), ("qualified", 40), ("customer", 10))  # lead 10 days, qualified 30
    walk(("known", 60), ("lead", 40), ("qualified", 20), ("lead", 5))  # lead 20 days, qualified 15, down
    walk(("known", 30), ("lead", 28))  # still a lead
    walk(("known", 80), ("lead", 75), ("disqualified", 35))  # lead 40 days, down; entered before the period
    walk()
    got = whole(period(70, NOW))
    lead, qualified = got["lead"], got["qualified"]
    assert (lead.entered, lead.went_up, lead.conversion) == (4, 2, 50.0)  # 50, 40, 28 and 5 days ago
    assert (lead.left_up, lead.left_down) == (2, 1)
    assert (lead.median, lead.p90) == (20.0, pytest.approx(36.0))  # of 10, 20, 40
    assert (qualified.entered, qualified.left_up, qualified.left_down) == (2, 1, 1)
    assert (qualified.median, qualified.conversion) == (22.5, 50.0)
    assert (got["known"].median, got["visitor"].median) == (10.0, 40.0)  # known 10, 20, 2, 5; visitors 40, 40, 70
    assert [got[key].people for key in ("visitor", "lead", "customer", "disqualified")] == [1, 2, 1, 1]
    assert (got["churned"].entered, got["churned"].median, got["churned"].conversion) == (0, None, None)


def test_they_are_parted_by_month_and_by_source():
    walk(("known", 60), ("lead", 45), ("qualified", 35), source="google")
    walk(("known", 60), ("lead", 15), ("qualified", 5), source="fair")
    walk(("known", 60), ("lead", 4), source="fair")
    by_month = parts(period(90, NOW), "lead")
    assert {part: (one.entered, one.left) for part, one in by_month.items()} == {
        "2026-09": (1, 0), "2026-10": (1, 1), "2026-11": (1, 1),
    }  # fmt: skip
    by_source = parts(period(90, NOW, by="source"), "lead")
    assert {part: (one.entered, one.conversion, one.median) for part, one in by_source.items()} == {
        "google": (1, 100.0, 10.0), "fair": (2, 50.0, 10.0),
    }  # fmt: skip


def test_of_many_sources_those_with_the_most_moves_are_named(monkeypatch):
    monkeypatch.setattr("scoring.velocity.MOST_PARTS", 2)
    for number, source in ((3, "google"), (1, "fair"), (2, "")):
        for _person in range(number):
            walk(("known", 60), ("lead", 45), source=source)
    assert list(parts(period(90, NOW, by="source"), "lead")) == ["", "google"]
    assert whole(period(90, NOW, by="source"))["lead"].entered == 6


def test_months_are_those_of_the_workspace(settings):
    settings.TIME_ZONE = "Pacific/Auckland"
    midnight = NOW.replace(day=1, hour=0)
    contact = Contact.objects.create(created_at=midnight - DAY)
    StageChange.objects.create(
        contact=contact, from_stage="visitor", to_stage="lead", reason="rule", changed_at=midnight - DAY / 4
    )
    assert list(parts(period(90, NOW), "lead")) == ["2026-11"]


def test_a_merge_counts_the_way_of_who_stays():
    one, other = walk(("known", 60), ("lead", 40)), walk(("known", 30), ("qualified", 20))
    Contact.objects.filter(pk=one.pk).update(identified_at=NOW - 60 * DAY)
    merge(survivor=one, loser=other, reason="test", now=NOW - 10 * DAY)
    StageChange.objects.create(
        contact=one, from_stage="lead", to_stage="qualified", reason="contact.merged", changed_at=NOW - 10 * DAY
    )
    got = whole(period(90, NOW))
    assert (got["known"].entered, got["lead"].entered, got["qualified"].entered) == (1, 1, 1)
    assert (got["lead"].median, got["known"].median) == (30.0, 20.0)


def test_phases_are_another_reading_and_moves_within_one_are_none():
    walk(("known", 60), ("lead", 50), ("qualified", 40), ("lead", 30), ("qualified", 20), ("customer", 10))
    walk(("known", 90), ("lead", 50), ("disqualified", 20))
    got = whole(period(95, NOW, "phases"))
    assert list(got) == ["awareness", "consideration", "decision", "loyalty", "none"]
    assert [got[key].entered for key in got] == [0, 3, 2, 1, 1]
    assert (got["awareness"].left_up, got["awareness"].median) == (2, 50.0)  # of 50 and 50, from the first hit
    assert (got["consideration"].left_up, got["consideration"].left_down) == (2, 1)
    assert (got["decision"].left_up, got["decision"].left_down, got["decision"].median) == (1, 1, 10.0)
    assert got["loyalty"].people == 1


def test_the_mapping_can_be_set_and_a_stage_may_say_more_of_its_phase():
    assert phases() == USUAL_PHASES
    engagement = model()
    rule(engagement, "page.viewed", 10)
    StageRule.objects.create(stage="qualified", phase="consideration")
    StageRule.objects.create(stage="lead", phase_rule={"score": "engagement", "op": "gte", "value": 20})
    people = {}
    for stage, views in (("lead", 3), ("lead", 1), ("qualified", 0), ("customer", 0), ("churned", 0), ("known", 5)):
        contact = known(f"{stage}{views}@example.com", stage=stage, highest_stage="customer")
        for _view in range(views):
            did(contact, "page.viewed")
        people[contact.pk] = (stage, views)
    tick()
    assert phases()["qualified"] == "consideration"

    def read_as(phase: str) -> list:
        meant = matching({"field": "phase", "op": "eq", "value": phase}, NOW).values_list("pk", flat=True)
        return sorted(people[pk] for pk in meant)

    found = {phase: read_as(phase) for phase in ("awareness", "consideration", "decision", "loyalty", "none")}
    assert found == {
        "awareness": [("known", 5), ("lead", 1)], "consideration": [("lead", 3), ("qualified", 0)], "decision": [],
        "loyalty": [("customer", 0)], "none": [("churned", 0)],
    }  # fmt: skip
    # In the reports of now, too.
    assert {key: one.people for key, one in whole(period(9, NOW, "phases")).items() if one.people} == {
        "awareness": 2, "consideration": 2, "loyalty": 1, "none": 1,
    }  # fmt: skip


def crowd(number: int) -> None:
    """People with ways of their own, the same every time."""
    dice = random.Random(7)  # noqa: S311 - no secret
    for _person in range(number):
        ago, stage, way = 200.0, "visitor", []
        for _move in range(dice.randint(0, 6)):
            ago -= dice.uniform(0, 60)
            stage = dice.choice([one for one in USUAL_PHASES if one not in (stage, "visitor")])
            if ago > 0:
                way.append((stage, ago))
        walk(*way, came=200, source=dice.choice(["", "google", "fair"]))


def twin(span: Span, key: str) -> tuple:
    """Entered, went up, left up, left down and the median of one stage or phase, counted one by one."""
    ladder = ["visitor", "known", "lead", "qualified", "customer", "ambassador"]
    ladder = ["awareness", "consideration", "decision", "loyalty"] if span.reading == "phases" else ladder
    name = USUAL_PHASES.get if span.reading == "phases" else (lambda stage: stage)
    rank = {one: place for place, one in enumerate(ladder, start=1)}
    figures: dict = defaultdict(int)
    days = []
    for contact in Contact.objects.all():
        own = [
            (name(one.from_stage), name(one.to_stage), one.changed_at)
            for one in contact.stage_changes.order_by("changed_at", "pk")
        ]
        own = [one for one in own if one[0] != one[1]]
        begun = contact.created_at
        for place, (was, came, at) in enumerate(own):
            is_up = rank.get(came, 0) > rank.get(was, 0)
            if span.since < at <= span.until:
                if came == key:
                    figures["entered"] += 1
                    after = own[place + 1] if place + 1 < len(own) else None
                    figures["went_up"] += bool(after and rank.get(after[1], 0) > rank.get(after[0], 0))
                if was == key:
                    figures["left_up" if is_up else "left_down"] += 1
                    days.append((at - begun) / DAY)
            begun = at
    return (*(figures[one] for one in ("entered", "went_up", "left_up", "left_down")), median(days) if days else None)


@pytest.mark.parametrize("reading", ["stages", "phases"])
def test_a_twin_counts_the_same_and_every_number_is_the_length_of_its_list(reading, django_assert_max_num_queries):
    crowd(25)
    span = Span(NOW - 120 * DAY, NOW - 20 * DAY, reading)
    with django_assert_max_num_queries(8):
        got = velocity(span, NOW)
    for one in (pace for pace in got if pace.part is None):
        figures = (one.entered, one.went_up, one.left_up, one.left_down)
        *counted, middle = twin(span, one.key)
        assert figures == tuple(counted), one.key
        assert one.median == (middle if middle is None else pytest.approx(middle, abs=1e-6))
    for by in ("month", "source"):
        for one in velocity(Span(span.since, span.until, reading, by), NOW):
            for what in WHATS:
                if what in ("now", "overdue"):
                    number = None if one.part is not None else one.people if what == "now" else one.late
                else:
                    number = getattr(one, what)
                if number is None:
                    continue
                asked = Span(span.since, span.until, reading, by)
                found, count = people_of(asked, key=one.key, what=what, part=one.part, now=NOW)
                assert (count, min(100, number)) == (number, len(found)), (one, what)


def test_the_sentence_says_what_stands_out_and_nothing_of_few():
    span = period(60, NOW)
    for _person in range(9):
        walk(("known", 60), ("lead", 20), ("qualified", 8))
    assert sentence(velocity(span, NOW), velocity(span.before(), NOW)).startswith("Too few stays")
    walk(("known", 60), ("lead", 20), ("qualified", 8))
    said = sentence(velocity(span, NOW), velocity(span.before(), NOW))
    assert said == "People stay 40 days in “Known” in the median, longer than anywhere else."
    for _person in range(10):
        walk(("known", 110), ("lead", 80), ("qualified", 71))
    said = sentence(velocity(span, NOW), velocity(span.before(), NOW))
    assert said == "People stay 40 days in “Known” in the median, 10 more than in the period before."
