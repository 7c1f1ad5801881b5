"""Points fade, are capped, never count twice, and cross a line once."""

import math
import random
from datetime import UTC, datetime, timedelta

import pytest
from django.db import IntegrityError, transaction

from contacts.models import Contact, StepCursor, Touchpoint
from contacts.rules import RuleError, dump, matching, parse
from scoring.models import ContactScore, ScoreEntry, ScoreModel, ScoreRule
from scoring.points import count_wrong_scores, rebuild, score_at, waterfall
from tests.scoring.world import NOW, did, known, model, rule, tick, told, visitor

pytestmark = pytest.mark.django_db

DAY = timedelta(days=1)


def standing(contact, of):
    return ContactScore.objects.get(contact=contact, model=of)


@pytest.mark.parametrize(
    ("half_life_days", "age", "left"),
    [
        (None, timedelta(days=400), 10.0),
        (14, timedelta(0), 10.0),
        (14, timedelta(days=14), 5.0),
        (14, timedelta(days=28), 2.5),
        (14, timedelta(days=7), 7.0710678118654755),
        (1, timedelta(hours=12), 7.0710678118654755),
        (1, timedelta(hours=36), 3.5355339059327378),
        (1 / 24, timedelta(hours=3), 1.25),
        (1 / 24, timedelta(days=3650), 0.0),
        (30, timedelta(days=10), 7.937005259840998),
    ],
)
def test_it_halves_points_over_each_half_life(half_life_days, age, left):
    engagement, contact = model(), visitor()
    rule(engagement, "page.viewed", 10, days=half_life_days)
    did(contact, "page.viewed", NOW - age)
    tick()
    assert standing(contact, engagement).value == pytest.approx(left, abs=1e-9)
    assert score_at(engagement, [contact.pk], NOW)[contact.pk] == pytest.approx(left, abs=1e-9)


def test_it_adds_up_the_rules_that_one_touchpoint_matches():
    engagement, contact = model(), visitor()
    pricing = {"did": "page.viewed", "where": [{"field": "url", "op": "contains", "value": "/pricing"}]}
    rule(engagement, "page.viewed", 1, key="page")
    rule(engagement, pricing, 10, key="pricing")
    did(contact, "page.viewed", properties={"url": "https://acme.example/pricing?x=1"})
    did(contact, "page.viewed", properties={"url": "https://acme.example/"})
    did(contact, "email.opened")
    tick()
    assert standing(contact, engagement).value == 12
    assert {entry.rule.key: entry.points for entry in ScoreEntry.objects.all()} == {"page": 2, "pricing": 10}


def test_it_gives_nothing_for_what_machines_did():
    engagement, contact = model(), visitor()
    rule(engagement, {"did": "email.clicked", "include_machines": True}, 10)
    did(contact, "email.clicked", is_machine=True)
    tick()
    assert score_at(engagement, [contact.pk], NOW) == {contact.pk: 0}


def test_it_caps_the_points_of_a_day_and_still_lists_every_event():
    engagement, contact = model(), visitor()
    rule(engagement, "page.viewed", 10, cap=25)
    events = [did(contact, "page.viewed", NOW - timedelta(minutes=10 - minute)) for minute in range(4)]
    did(contact, "page.viewed", NOW - DAY)
    tick()
    entry = ScoreEntry.objects.get(day=NOW.date())
    assert (entry.points, entry.event_points) == (25, [10, 10, 5, 0])
    assert entry.touchpoint_ids == [event.pk for event in events]
    assert standing(contact, engagement).value == 35


def test_a_negative_rule_is_capped_downwards():
    engagement, contact = model(), visitor()
    rule(engagement, "email.bounced", -10, cap=15)
    for _ in range(3):
        did(contact, "email.bounced")
    tick()
    assert standing(contact, engagement).value == -15


def test_a_late_event_counts_on_its_own_day_and_under_that_days_cap():
    engagement, contact = model(), visitor()
    rule(engagement, "page.viewed", 10, days=14, cap=20)
    yesterday = NOW - DAY
    did(contact, "page.viewed", yesterday)
    did(contact, "page.viewed", yesterday + timedelta(hours=1))
    tick()
    late = did(contact, "page.viewed", yesterday - timedelta(hours=1), received=NOW)
    did(contact, "page.viewed", NOW)
    tick(NOW + timedelta(minutes=1))
    entry = ScoreEntry.objects.get(day=yesterday.date())
    assert entry.points == 20
    # In the order in which things happened, whatever the order of arrival.
    assert entry.event_points == [10, 10, 0]
    assert entry.touchpoint_ids[0] == late.pk
    assert score_at(engagement, [contact.pk], yesterday - timedelta(minutes=30))[contact.pk] == pytest.approx(
        10 * 2 ** (-0.5 / 24 / 14)
    )
    assert count_wrong_scores() == 0


def test_a_step_that_is_put_back_books_nothing_twice():
    engagement, contact = model(qualify_at=15), known()
    rule(engagement, "page.viewed", 10, days=14)
    for hours in (1, 2, 30):
        did(contact, "page.viewed", NOW - timedelta(hours=hours))
    tick()
    before = list(ScoreEntry.objects.order_by("pk").values())
    StepCursor.objects.filter(step="score").update(position=0)
    tick()
    assert list(ScoreEntry.objects.order_by("pk").values()) == before
    assert len(told(contact, "score.crossed")) == 1


def by_hand(events, rules, at):
    """The score as the definition says it, from nothing but what happened."""
    total, used = 0.0, {}
    for when, kind in sorted(events):
        for name, (kind_wanted, points, half_life, cap) in rules.items():
            if kind != kind_wanted:
                continue
            day = (name, when.date())
            room = math.inf if cap is None else cap - used.get(day, 0.0)
            earned = math.copysign(max(0.0, min(abs(points), room)), points)
            used[day] = used.get(day, 0.0) + abs(points)
            if when <= at:
                total += earned if half_life is None else earned * 2 ** (-(at - when) / half_life)
    return total


def test_the_score_at_any_past_or_future_date_equals_a_count_from_scratch():
    chance = random.Random(7)
    engagement = model(qualify_at=40)
    rules = {
        "page": ("page.viewed", 3.0, timedelta(days=7), 10.0),
        "click": ("email.clicked", 8.0, timedelta(days=30), None),
        "webinar": ("webinar.attended", 25.0, None, 25.0),
        "bounce": ("email.bounced", -12.0, timedelta(days=3), 20.0),
    }
    for key, (kind, points, half_life, cap) in rules.items():
        ScoreRule.objects.create(
            model=engagement, key=key, when={"did": kind}, points=points, half_life=half_life, cap_per_day=cap
        )
    people = [visitor() for _ in range(5)]
    happened = {contact.pk: [] for contact in people}
    start = NOW - timedelta(days=60)
    moment = start
    for batch in range(12):
        moment = start + timedelta(days=5 * (batch + 1))
        for _ in range(40):
            contact = chance.choice(people)
            # Some of it late by up to ten days.
            when = moment - timedelta(seconds=chance.randrange(10 * 86_400))
            kind = chance.choice(["page.viewed"] * 5 + ["email.clicked", "webinar.attended", "email.bounced", "x.y"])
            did(contact, kind, when, received=moment)
            happened[contact.pk].append((when, kind))
        tick(moment)
    assert moment == NOW
    for _ in range(20):
        at = start + timedelta(seconds=chance.randrange(90 * 86_400))
        scores = score_at(engagement, happened, at)
        for contact, events in happened.items():
            assert scores[contact] == pytest.approx(by_hand(events, rules, at), abs=1e-9)
    assert count_wrong_scores() == 0


def test_the_rows_of_a_waterfall_add_up_to_the_score():
    engagement, contact = model(), visitor()
    rule(engagement, "page.viewed", 10, days=7, cap=15, key="page")
    rule(engagement, "webinar.attended", 30, days=30, key="webinar")
    for days in (0, 0, 3, 9):
        did(contact, "page.viewed", NOW - timedelta(days=days))
    did(contact, "webinar.attended", NOW - timedelta(days=2))
    tick()
    falls = waterfall(contact, engagement, NOW)
    assert sum(fall.worth for fall in falls) == pytest.approx(standing(contact, engagement).value)
    assert falls[0].rule == "webinar" and falls[0].earned == 30 and falls[0].worth < 30
    assert [fall.events for fall in falls if fall.day == NOW.date()] == [2]


def test_a_wrong_score_is_counted():
    engagement, contact = model(), visitor()
    rule(engagement, "page.viewed", 10)
    did(contact, "page.viewed")
    tick()
    assert count_wrong_scores() == 0
    ContactScore.objects.update(value=10.001)
    assert count_wrong_scores() == 1


def test_half_lives_under_an_hour_are_refused():
    with pytest.raises(IntegrityError, match="half_life_is_an_hour_or_more"), transaction.atomic():
        rule(model(), "page.viewed", 10, days=0.001)


# Crossings -----------------------------------------------------------------------------------------------------------


def test_many_events_in_one_tick_cross_once():
    engagement, contact = model(qualify_at=50), known()
    rule(engagement, "page.viewed", 10, days=14)
    for _ in range(20):
        did(contact, "page.viewed")
    assert tick()["score"] == 1
    (crossing,) = told(contact, "score.crossed")
    assert crossing == {"score": "engagement", "direction": "up", "value": 200, "threshold": 50}


def test_events_over_many_ticks_cross_once():
    engagement, contact = model(qualify_at=50), known()
    rule(engagement, "page.viewed", 10, days=14)
    crossings = []
    for minute in range(12):
        now = NOW + timedelta(minutes=minute)
        did(contact, "page.viewed", now)
        tick(now)
        crossings.append(len(told(contact, "score.crossed")))
    # Five events an instant apart have faded a little: the sixth crosses.
    assert crossings == [0] * 5 + [1] * 7


def test_noise_at_the_line_does_not_cross_again_until_it_fell_below_the_hysteresis():
    engagement, contact = model(qualify_at=20, hysteresis=5), known()
    rule(engagement, "page.viewed", 10, days=1)
    did(contact, "page.viewed", NOW)
    did(contact, "page.viewed", NOW)
    tick()
    # 20 falls to 16.8 in a quarter of a day: under the line, over 15.
    soon = NOW + timedelta(hours=6)
    did(contact, "page.viewed", soon)
    tick(soon)
    assert [one["direction"] for one in told(contact, "score.crossed")] == ["up"]
    later = soon + timedelta(days=3)
    tick(later)
    assert [one["direction"] for one in told(contact, "score.crossed")] == ["up", "down"]
    did(contact, "page.viewed", later)
    did(contact, "page.viewed", later)
    tick(later)
    assert [one["direction"] for one in told(contact, "score.crossed")] == ["up", "down", "up"]


def test_a_score_without_a_threshold_never_crosses():
    engagement, contact = model(), known()
    rule(engagement, "page.viewed", 1000)
    did(contact, "page.viewed")
    tick()
    assert told(contact, "score.crossed") == []
    assert not standing(contact, engagement).is_over


@pytest.mark.parametrize(
    "parts",
    [
        [(100, 14)],
        [(60, 1), (30, 30)],
        [(80, 0.5), (40, 7), (20, 90)],
        [(30, None), (60, 3)],
        [(200, 3), (-60, 1), (-20, 30)],
        [(90, 60), (-30, 2)],
    ],
)
def test_the_moment_of_falling_is_that_of_a_fine_search(parts):
    engagement, contact = model(qualify_at=55, hysteresis=5), known()
    for number, (points, days) in enumerate(parts):
        rule(engagement, f"made.up{number}", points, days=days)
    ages = [timedelta(hours=3 * number) for number in range(len(parts))]
    for number, age in enumerate(ages):
        did(contact, f"made.up{number}", NOW - age)
    tick()

    def value(seconds):
        return sum(
            points if days is None else points * 2 ** (-(seconds + age.total_seconds()) / (days * 86_400))
            for (points, days), age in zip(parts, ages, strict=True)
        )

    found = standing(contact, engagement)
    assert found.is_over, value(0)
    # The first minute under the line, then a bisection inside it.
    minute = next(minute for minute in range(400 * 1440) if value(60 * minute) < 50)
    low, high = 60.0 * (minute - 1), 60.0 * minute
    while high - low > 1e-7:
        middle = (low + high) / 2
        low, high = (middle, high) if value(middle) >= 50 else (low, middle)
    assert (found.falls_at - NOW).total_seconds() == pytest.approx(high, abs=2e-3)
    # And nothing happens before it, but at it.
    tick(found.falls_at - timedelta(seconds=1))
    assert [one["direction"] for one in told(contact, "score.crossed")] == ["up"]
    tick(found.falls_at + timedelta(milliseconds=2))
    assert [one["direction"] for one in told(contact, "score.crossed")] == ["up", "down"]
    assert standing(contact, engagement).falls_at is None


@pytest.mark.parametrize("parts", [[(60, None)], [(55, None), (30, 2)], [(50, None), (10, 5)]])
def test_points_that_never_fade_hold_a_score_up_for_good(parts):
    engagement, contact = model(qualify_at=55, hysteresis=5), known()
    for number, (points, days) in enumerate(parts):
        rule(engagement, f"made.up{number}", points, days=days)
        did(contact, f"made.up{number}")
    tick()
    found = standing(contact, engagement)
    assert found.is_over
    assert found.falls_at is None or found.falls_at > NOW + timedelta(days=365)


# Edited definitions --------------------------------------------------------------------------------------------------


def test_a_lower_threshold_counts_for_everybody_at_the_next_tick():
    engagement, contact = model(qualify_at=50), known()
    rule(engagement, "page.viewed", 30)
    did(contact, "page.viewed")
    tick()
    ScoreModel.objects.update(qualify_at=20)
    tick(NOW + timedelta(minutes=1))
    assert [one["direction"] for one in told(contact, "score.crossed")] == ["up"]
    tick(NOW + timedelta(minutes=2))
    assert len(told(contact, "score.crossed")) == 1


def test_an_edited_rule_counts_from_then_on_and_a_rebuild_recounts_all():
    engagement, contact = model(), known()
    page = rule(engagement, "page.viewed", 10, days=14)
    did(contact, "page.viewed", NOW - timedelta(days=14))
    tick()
    ScoreRule.objects.filter(pk=page.pk).update(points=40, half_life=timedelta(days=7))
    did(contact, "page.viewed", NOW)
    tick()
    assert standing(contact, engagement).value == pytest.approx(5 + 40)
    assert count_wrong_scores() == 0
    rebuild(engagement, NOW)
    assert standing(contact, engagement).value == pytest.approx(10 + 40)
    assert count_wrong_scores() == 0


def test_a_recount_that_was_asked_for_is_done_once_by_the_next_tick():
    engagement, contact = model(), known()
    did(contact, "page.viewed")
    tick()
    rule(engagement, "page.viewed", 10)
    ScoreModel.objects.update(is_recount_asked=True)
    tick()
    assert standing(contact, engagement).value == 10
    assert not ScoreModel.objects.get().is_recount_asked


def test_a_deleted_rule_takes_its_points_along():
    engagement, contact = model(), known()
    rule(engagement, "page.viewed", 10)
    doomed = rule(engagement, "page.viewed", 5)
    did(contact, "page.viewed")
    tick()
    doomed.delete()
    tick()
    assert standing(contact, engagement).value == 10
    assert count_wrong_scores() == 0


# Fit -----------------------------------------------------------------------------------------------------------------


def test_fit_points_hold_while_the_rule_holds():
    fit = model("fit", kind="fit")
    rule(fit, {"field": "country", "op": "eq", "value": "CZ"}, 20)
    rule(fit, {"field": "job_title", "op": "contains", "value": "director"}, 15)
    contact = known(country="CZ", job_title="Sales Director")
    did(contact, "contact.created")
    tick()
    assert standing(contact, fit).value == 35
    tick(NOW + timedelta(days=300))
    assert score_at(fit, None, NOW + timedelta(days=300)) == {contact.pk: 35}
    assert score_at(fit, [contact.pk], NOW - timedelta(days=1)) == {contact.pk: 0}
    Contact.objects.update(country="PL")
    did(contact, "contact.updated")
    tick(NOW + timedelta(days=301))
    assert standing(contact, fit).value == 15
    assert ScoreEntry.objects.count() == 1
    assert count_wrong_scores() == 0


def test_an_edited_fit_rule_is_asked_of_everybody():
    fit, contact = model("fit", kind="fit"), known(country="PL")
    czech = rule(fit, {"field": "country", "op": "eq", "value": "CZ"}, 20)
    tick()
    ScoreRule.objects.filter(pk=czech.pk).update(when={"field": "country", "op": "eq", "value": "PL"})
    tick()
    assert standing(contact, fit).value == 20
    ScoreRule.objects.filter(pk=czech.pk).update(is_active=False)
    tick()
    assert standing(contact, fit).value == 0


def test_a_fit_rule_that_looks_at_the_calendar_is_swept():
    fit, contact = model("fit", kind="fit"), known()
    rule(fit, {"field": "created_at", "op": "within_last", "value": "10d"}, 20)
    tick()
    assert standing(contact, fit).value == 20
    tick(NOW + timedelta(days=11))
    assert standing(contact, fit).value == 0


# The rule leaf -------------------------------------------------------------------------------------------------------


def test_a_rule_asks_for_the_score_as_it_is_at_that_moment():
    engagement, hot, cold = model(), known("hot@example.com"), known("cold@example.com")
    rule(engagement, "page.viewed", 10, days=14)
    did(hot, "page.viewed")
    tick()
    ask = {"score": "engagement", "op": "gte", "value": 9}
    assert list(matching(ask, NOW)) == [hot]
    assert list(matching(ask, NOW + timedelta(days=1))) == [hot]
    assert list(matching(ask, NOW + timedelta(days=4))) == []
    assert list(matching({"not": ask}, NOW)) == [cold]
    assert list(matching({"score": "engagement", "op": "eq", "value": 0}, NOW)) == [cold]
    assert dump(parse(ask)) == ask


@pytest.mark.parametrize(
    ("ask", "path"),
    [
        ({"score": "nothing", "op": "gte", "value": 9}, "score"),
        ({"score": "engagement", "op": "contains", "value": 9}, "op"),
        ({"score": "engagement", "op": "is_set"}, "op"),
        ({"score": "engagement", "op": "gte", "value": "much"}, "value"),
        ({"score": "engagement", "op": "gte", "value": 9, "of": 10}, "of"),
    ],
)
def test_a_rule_about_a_score_that_makes_no_sense_is_refused_with_its_path(ask, path):
    model()
    with pytest.raises(RuleError) as error:
        parse({"all": [ask]})
    assert error.value.path == f"all[0].{path}"


def test_the_score_before_the_first_touchpoint_is_nothing():
    engagement, contact = model(), visitor()
    rule(engagement, "page.viewed", 10)
    did(contact, "page.viewed", datetime(2026, 3, 1, tzinfo=UTC))
    tick()
    assert score_at(engagement, [contact.pk], datetime(2026, 2, 28, 23, 59, tzinfo=UTC)) == {contact.pk: 0}
    assert Touchpoint.objects.count() == 1
