"""The ledger holds the truth: at any instant the score is what a count from nothing but the events would say, whatever
came late, was merged, parted again or judged anew; and rules of one group share the cap of a day.

`LEDGER_TWIN=500` in the environment compares 500 histories with the twin; by itself it is a few seconds of CI.
"""

import os
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count

import pytest
from django.db import IntegrityError, connection, transaction
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from contacts.merging import merge
from contacts.models import Contact, Touchpoint
from contacts.unmerging import unmerge
from scoring.models import ContactScore, ScoreEntry, ScoreGroup, ScoreRule
from scoring.points import count_wrong_scores, rebuild, score_at
from tests.scoring.world import NOW, did, known, model, rule, tick, told, visitor

pytestmark = pytest.mark.django_db
DAY = timedelta(days=1)
HISTORIES = int(os.environ.get("LEDGER_TWIN", "10"))


def group(of, cap, *rules, key="web"):
    made = ScoreGroup.objects.create(model=of, key=key, cap_per_day=cap)
    ScoreRule.objects.filter(pk__in=[one.pk for one in rules]).update(group=made)
    return made


def rows(*, of=None):
    """The ledger without its row numbers: rule, day, points of each event."""
    entries = ScoreEntry.objects.filter(**({"contact": of} if of else {}))
    found = entries.order_by("contact", "rule__key", "day").values_list(
        "contact", "rule__key", "day", "points", "weight", "half_life", "touchpoint_ids", "occurred_ats", "event_points"
    )
    return [tuple(row) for row in found]


# Groups --------------------------------------------------------------------------------------------------------------


def test_rules_of_a_group_share_the_cap_of_a_day_in_the_order_in_which_things_happened():
    engagement, contact = model(), visitor()
    page, click = rule(engagement, "page.viewed", 10, key="page"), rule(engagement, "email.clicked", 8, key="click")
    free = rule(engagement, "webinar.attended", 30, key="free")
    group(engagement, 25, page, click)
    for minutes, kind in ((40, "page.viewed"), (30, "email.clicked"), (20, "page.viewed"), (10, "email.clicked")):
        did(contact, kind, NOW - timedelta(minutes=minutes))
    did(contact, "webinar.attended")
    did(contact, "page.viewed", NOW - DAY)
    tick()
    given = {(entry.rule_id, entry.day): entry.event_points for entry in ScoreEntry.objects.all()}
    assert given == {
        (page.pk, NOW.date()): [10, 7],
        (click.pk, NOW.date()): [8, 0],
        (page.pk, (NOW - DAY).date()): [10],
        (free.pk, NOW.date()): [30],
    }
    assert ContactScore.objects.get().value == 65


def test_the_cap_of_a_rule_comes_before_that_of_its_group():
    engagement, contact = model(), visitor()
    page = rule(engagement, "page.viewed", 10, cap=15, key="page")
    click = rule(engagement, "email.clicked", 10, key="click")
    group(engagement, 30, page, click)
    for minute in range(3):
        did(contact, "page.viewed", NOW + timedelta(minutes=minute))
    for minute in range(3, 5):
        did(contact, "email.clicked", NOW + timedelta(minutes=minute))
    tick(NOW + timedelta(hours=1))
    assert {entry.rule.key: entry.event_points for entry in ScoreEntry.objects.all()} == {
        "page": [10, 5, 0],
        "click": [10, 5],
    }


def test_penalties_of_a_group_are_capped_on_their_own_side():
    engagement, contact = model(), visitor()
    rules = [rule(engagement, "page.viewed", 10), rule(engagement, "email.bounced", -10)]
    group(engagement, 15, *rules)
    for kind in ("email.bounced", "page.viewed") * 2:
        did(contact, kind)
    tick()
    assert sorted(ScoreEntry.objects.values_list("points", flat=True)) == [-15, 15]


def test_an_event_that_comes_late_takes_its_place_in_the_day_of_its_whole_group():
    engagement, contact = model(), visitor()
    page, click = rule(engagement, "page.viewed", 10, key="page"), rule(engagement, "email.clicked", 8, key="click")
    group(engagement, 15, page, click)
    did(contact, "page.viewed", NOW - timedelta(hours=1))
    tick()
    did(contact, "email.clicked", NOW - timedelta(hours=2), received=NOW)
    tick(NOW + timedelta(minutes=1))
    assert {entry.rule.key: entry.points for entry in ScoreEntry.objects.all()} == {"click": 8, "page": 7}
    assert count_wrong_scores() == 0


def test_a_click_that_turns_out_to_be_a_programs_leaves_its_room_to_the_rest_of_the_group():
    engagement, contact = model(), visitor()
    page, click = rule(engagement, "page.viewed", 10, key="page"), rule(engagement, "email.clicked", 8, key="click")
    group(engagement, 15, page, click)
    clicked = did(contact, "email.clicked", NOW - timedelta(hours=2))
    did(contact, "page.viewed", NOW - timedelta(hours=1))
    tick()
    rejudge(clicked, True)
    tick()
    assert {entry.rule.key: entry.points for entry in ScoreEntry.objects.all()} == {"page": 10}
    rejudge(clicked, False)
    tick()
    assert {entry.rule.key: entry.points for entry in ScoreEntry.objects.all()} == {"click": 8, "page": 7}


def test_a_merge_books_the_day_of_a_group_as_one_and_its_undoing_parts_it_again():
    engagement = model()
    page, click = rule(engagement, "page.viewed", 10, 14, key="page"), rule(engagement, "email.clicked", 8, key="click")
    group(engagement, 15, page, click)
    one, other = known("one@example.com"), known("two@example.com")
    did(one, "page.viewed", NOW - timedelta(hours=1))
    did(other, "email.clicked", NOW - timedelta(hours=2))
    did(other, "page.viewed", NOW - DAY)
    tick()
    before = rows()
    log = merge(survivor=one, loser=other, reason="test", now=NOW)
    assert {(row[1], row[2].day): row[8] for row in rows(of=one)} == {
        ("click", 10): [8],
        ("page", 10): [7],
        ("page", 9): [10],
    }
    assert not ScoreEntry.objects.filter(contact=other).exists()
    assert count_wrong_scores() == 0
    unmerge(log, by=None, now=NOW)
    assert rows() == before
    assert count_wrong_scores() == 0


def test_a_group_belongs_to_the_score_of_its_rules():
    engagement, other = model(), model("other")
    foreign = ScoreGroup.objects.create(model=other, key="web", cap_per_day=10)
    page = rule(engagement, "page.viewed", 10)
    with pytest.raises(IntegrityError, match="rule_in_a_group_of_its_score"), transaction.atomic():
        ScoreRule.objects.filter(pk=page.pk).update(group=foreign)
        connection.check_constraints()
    with pytest.raises(IntegrityError, match="group_cap_is_not_negative"), transaction.atomic():
        ScoreGroup.objects.create(model=other, key="less", cap_per_day=-1)


def test_a_group_that_goes_leaves_its_rules_without_its_cap():
    engagement, contact = model(), visitor()
    shared = group(engagement, 5, rule(engagement, "page.viewed", 10))
    shared.delete()
    did(contact, "page.viewed")
    tick()
    assert ContactScore.objects.get().value == 10


# The twin ------------------------------------------------------------------------------------------------------------


@dataclass
class Told:
    """One thing that happened, as the twin knows it."""

    pk: int
    person: int
    kind: str
    at: datetime
    is_machine: bool = False


@dataclass
class Twin:
    """What the definition says, from nothing but the events: no ledger, no weights, no order of arrival."""

    rules: list[ScoreRule]
    events: list[Told] = field(default_factory=list)

    def score(self, person: int, at: datetime) -> float:
        days: dict = {}
        for event in self.events:
            if event.person == person and not event.is_machine:
                for one in self.rules:
                    if one.when["did"] == event.kind:
                        days.setdefault((one.group_id or -one.pk, event.at.date()), []).append((event, one))
        total = 0.0
        for day in days.values():
            by_rule, by_side = Counter(), Counter()
            cap = day[0][1].group.cap_per_day if day[0][1].group else None
            # A rule's own cap falls on its events in their order, the group's on all of them in theirs.
            for event, one in sorted(day, key=lambda pair: (pair[0].at, pair[1].key, pair[0].pk)):
                side = 1 if one.points > 0 else -1
                points = abs(one.points)
                if one.cap_per_day is not None:
                    points = max(0.0, min(points, one.cap_per_day - by_rule[one.pk]))
                by_rule[one.pk] += abs(one.points)
                if cap is not None:
                    taken = max(0.0, min(points, cap - by_side[side]))
                    by_side[side] += points
                    points = taken
                if event.at <= at:
                    fade = 1.0 if one.half_life is None else 2 ** (-((at - event.at) / one.half_life))
                    total += side * points * fade
        return total


KINDS = ["page.viewed", "email.clicked", "webinar.attended", "email.bounced", "form.submitted"]
people = st.integers(0, 3)
happenings = st.lists(
    st.tuples(
        people,
        st.sampled_from(KINDS),
        # How long ago by its own clock: late, backdated, at once, at midnight, or ahead of ours.
        st.one_of(
            st.integers(0, 40 * 86_400),
            st.sampled_from([0, 9 * 3600, 9 * 3600 + 1, 86_400, 33 * 3600]),
            st.integers(-7200, 0),
        ),
    ),
    max_size=12,
)
moves = st.lists(
    st.one_of(
        st.tuples(st.just("happen"), happenings),
        st.tuples(st.just("judge"), st.integers(0, 50)),
        st.tuples(st.just("merge"), people, people),
        st.tuples(st.just("unmerge"), st.integers(0, 3)),
        st.tuples(st.just("again")),
    ),
    min_size=3,
    max_size=9,
)
points = st.integers(-20, 30).filter(bool).map(float)
caps = st.one_of(st.none(), st.integers(0, 40).map(float))
half_lives = st.one_of(st.none(), st.sampled_from([1 / 24, 0.5, 7, 30, 90]))
rule_sets = st.lists(st.tuples(st.sampled_from(KINDS), points, half_lives, caps, st.booleans()), min_size=2, max_size=6)


def rejudge(touchpoint: Touchpoint, is_machine: bool, now: datetime = NOW) -> None:
    Touchpoint.objects.filter(pk=touchpoint.pk).update(is_machine=is_machine)
    properties = {"touchpoint": touchpoint.pk}
    did(touchpoint.contact, "email.rejudged", now, source="email", channel="email", properties=properties)


class World:
    """The step under test, and beside it what the twin is told."""

    def __init__(self, made, cap):
        self.engagement = model(qualify_at=40)
        shared = ScoreGroup.objects.create(model=self.engagement, key="web", cap_per_day=cap)
        for number, (kind, worth, days, own_cap, is_shared) in enumerate(made):
            one = rule(self.engagement, kind, worth, days, own_cap, key=f"rule-{number}")
            if is_shared:
                ScoreRule.objects.filter(pk=one.pk).update(group=shared)
        self.twin = Twin(list(self.engagement.rules.select_related("group")))
        self.people = [known(f"p{number}@example.com") for number in range(4)]
        self.merges = []
        self.now = NOW

    def living(self, person: int) -> Contact:
        contact = Contact.objects.get(pk=self.people[person].pk)
        while contact.merged_into_id:
            contact = contact.merged_into
        return contact

    def do(self, move, *arguments):
        self.now += timedelta(hours=7)
        getattr(self, move)(*arguments)
        tick(self.now)

    def happen(self, things):
        for person, kind, ago in things:
            at = self.now - timedelta(seconds=ago)
            made = did(self.living(person), kind, at, received=self.now)
            # What a clock that runs ahead says happened when we heard of it.
            self.twin.events.append(Told(made.pk, made.contact_id, kind, min(at, self.now)))

    def judge(self, number):
        clicks = [event for event in self.twin.events if event.kind == "email.clicked"]
        if clicks:
            event = clicks[number % len(clicks)]
            event.is_machine = not event.is_machine
            rejudge(Touchpoint.objects.get(pk=event.pk), event.is_machine, self.now)

    def merge(self, one, other):
        survivor, loser = self.living(one), self.living(other)
        if survivor != loser:
            self.merges.append(merge(survivor=survivor, loser=loser, reason="test", now=self.now))
        self.whose()

    def unmerge(self, number):
        if self.merges:
            # The last one first: an undoing of what stands upon another is refused.
            unmerge(self.merges.pop(), by=None, now=self.now)
        self.whose()

    def again(self):
        """The step is put back to the beginning, as after a restored backup."""
        from contacts.models import StepCursor

        StepCursor.objects.filter(step="score").update(position=0)

    def whose(self):
        owners = dict(Touchpoint.objects.values_list("pk", "contact"))
        for event in self.twin.events:
            event.person = owners[event.pk]

    def check(self, dates):
        assert count_wrong_scores() == 0
        contacts = [contact.pk for contact in Contact.objects.living()]
        for at in dates:
            scores = score_at(self.engagement, contacts, at)
            for contact in contacts:
                assert scores[contact] == pytest.approx(self.twin.score(contact, at), abs=1e-9, rel=1e-12), at


@settings(
    max_examples=HISTORIES, deadline=None, phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck), derandomize=True,
)  # fmt: skip
@given(rule_sets, st.integers(0, 40), moves, st.lists(st.integers(-20 * 86_400, 50 * 86_400), min_size=20, max_size=20))
def test_the_score_at_twenty_dates_is_that_of_a_count_from_nothing_but_the_events(made, cap, done, ages):
    with transaction.atomic():
        world = World(made, float(cap))
        for move, *arguments in done:
            world.do(move, *arguments)
        dates = [world.now - timedelta(seconds=age) for age in ages]
        world.check(dates)
        # And from scratch the ledger says the same, row by row.
        before = rows()
        rebuild(world.engagement, world.now)
        assert [row[:4] + row[6:] for row in rows()] == [row[:4] + row[6:] for row in before]
        world.check(dates[:3])
        transaction.set_rollback(True)


def test_the_order_of_arrival_changes_nothing():
    made = [
        ("page.viewed", 10.0, 7, 25.0, True),
        ("email.clicked", 8.0, None, None, True),
        ("x.y", -5.0, 1, 12.0, True),
    ]
    at = [NOW - timedelta(minutes=13 * number) for number in range(40)]
    kinds = [made[number % 3][0] for number in range(40)]
    ledgers = []
    for order in (range(40), reversed(range(40)), [number * 7 % 40 for number in range(40)]):
        with transaction.atomic():
            engagement, contact = model(), visitor()
            rules = [rule(engagement, *one[:4]) for one in made]
            group(engagement, 30, *rules)
            numbers = count()
            for number in order:
                did(contact, kinds[number], at[number], received=NOW)
                if next(numbers) % 11 == 0:
                    tick()
            tick()
            ledgers.append([(row[1], row[2], row[3], row[4], row[7], row[8]) for row in rows()])
            transaction.set_rollback(True)
    assert ledgers[0] == ledgers[1] == ledgers[2]


# The clock alone -----------------------------------------------------------------------------------------------------


def test_a_score_rises_by_itself_at_the_instant_that_was_computed_when_penalties_fade():
    engagement, contact = model(qualify_at=50), known()
    rule(engagement, "webinar.attended", 80)
    rule(engagement, "email.bounced", -60, days=2)
    did(contact, "webinar.attended")
    did(contact, "email.bounced")
    tick()
    standing = ContactScore.objects.get()
    assert not standing.is_over and standing.falls_at is None
    # 80 − 60·2^(−t/2d) is 50 when one half-life is over.
    assert abs((standing.rises_at - NOW) - 2 * DAY) < timedelta(milliseconds=1)
    tick(standing.rises_at - timedelta(seconds=1))
    assert told(contact, "score.crossed") == []
    later = standing.rises_at + timedelta(hours=3)
    tick(later)
    crossed = Touchpoint.objects.get(kind="score.crossed")
    assert crossed.properties["direction"] == "up"
    assert (crossed.occurred_at, crossed.received_at) == (standing.rises_at, later)
    contact.refresh_from_db()
    assert contact.stage == "qualified"
    standing.refresh_from_db()
    assert standing.is_over and standing.rises_at is None
    tick(later + DAY)
    assert len(told(contact, "score.crossed")) == 1


def test_points_that_fade_sooner_than_the_penalty_never_rise():
    engagement, contact = model(qualify_at=50), known()
    rule(engagement, "webinar.attended", 80, days=1)
    rule(engagement, "email.bounced", -60, days=20)
    did(contact, "webinar.attended")
    did(contact, "email.bounced")
    tick()
    assert ContactScore.objects.get().rises_at is None
    tick(NOW + 200 * DAY)
    assert told(contact, "score.crossed") == []


def test_a_score_that_falls_by_itself_did_so_when_it_was_due_to():
    engagement, contact = model(qualify_at=50, hysteresis=10), known()
    rule(engagement, "webinar.attended", 80, days=2)
    did(contact, "webinar.attended")
    tick()
    due = ContactScore.objects.get().falls_at
    assert abs((due - NOW) - 2 * DAY) < timedelta(milliseconds=1)
    tick(due + timedelta(hours=5))
    fallen = Touchpoint.objects.get(kind="score.crossed", properties__direction="down")
    assert fallen.occurred_at == due


def test_a_score_that_drops_and_rises_within_the_hysteresis_does_not_cross_again():
    engagement, contact = model(qualify_at=50, hysteresis=10), known()
    rule(engagement, "webinar.attended", 55)
    rule(engagement, "email.bounced", -8)
    did(contact, "webinar.attended")
    tick()
    for hour in (1, 2, 3):
        now = NOW + timedelta(hours=hour)
        did(contact, "email.bounced" if hour < 3 else "webinar.attended", now)
        tick(now)
        assert ContactScore.objects.get().is_over is (hour != 2)
    # 55, 47 within the hysteresis, 39 below it, 94: one fall and one new crossing.
    assert [one["direction"] for one in told(contact, "score.crossed")] == ["up", "down", "up"]


def test_an_old_history_that_is_loaded_late_makes_no_score_jump_and_nobody_cross():
    """R-34, the ledger's part: what happened 90 days ago counts as what is left of it, under the caps of those days."""
    engagement = model(qualify_at=50)
    page, click = rule(engagement, "page.viewed", 10, days=14, cap=40), rule(engagement, "email.clicked", 8, days=14)
    group(engagement, 60, page, click)
    crowd = [known(f"p{number}@example.com") for number in range(30)]
    old = datetime(2026, 8, 12, 9, tzinfo=UTC)
    Touchpoint.objects.bulk_create(
        Touchpoint(
            contact=crowd[number % 30], kind="page.viewed" if number % 2 else "email.clicked",
            occurred_at=old - timedelta(minutes=number), received_at=NOW,
        )
        for number in range(3000)
    )  # fmt: skip
    did(crowd[0], "page.viewed")
    tick()
    assert not Touchpoint.objects.filter(kind__in=["score.crossed", "lead.qualified", "stage.changed"]).exclude(
        properties__to="known"
    )
    assert max(ContactScore.objects.exclude(contact=crowd[0]).values_list("value", flat=True)) < 5
    # They were hot then, and the ledger says so.
    assert min(score_at(engagement, None, old).values()) > 50
    assert count_wrong_scores() == 0
