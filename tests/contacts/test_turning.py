"""The clock alone turns answers, and the tick asks those whose answer it may have turned: walked by the minute."""

import random
from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.auth.models import User

from contacts import refreshing, segments, stream
from contacts.models import (
    Company,
    Contact,
    Field,
    Membership,
    MembershipOverride,
    Segment,
    StepCursor,
    Touchpoint,
    Turn,
)
from contacts.rules import parse
from contacts.stream import Step, run_step
from contacts.turning import only_fades, words_of
from scoring.models import ScoreEntry, ScoreModel, ScoreRule

pytestmark = pytest.mark.django_db

STEP = Step("segment", segments.refresh)
MINUTE = timedelta(minutes=1)
# In Prague the clocks went back in this night; one walk goes over midnight, the other over that hour.
MIDNIGHT = datetime(2026, 10, 24, 21, 40, tzinfo=UTC)
WINTER = datetime(2026, 10, 25, 0, 40, tzinfo=UTC)
KINDS = ["page.viewed", "order.placed"]
SPANS = ["7m", "30m", "1h", "3h", "1d"]


def tick(now: datetime) -> int:
    changed = run_step(STEP, now)
    assert not StepCursor.objects.get(step="segment").error
    return changed


# Random rules over a small world -------------------------------------------------------------------------------------


def moments_near(chance: random.Random) -> str:
    return chance.choice(["now", "-10m", "-1h", "+15m", "+2h", "-1d", "+1d"])


def random_leaf(chance: random.Random) -> dict:
    pick = chance.choice
    kind = pick(["did", "did", "did", "datetime", "date", "stage", "plain", "plain", "segment", "score"])
    if kind == "did":
        leaf = {"did": pick(KINDS)}
        if chance.random() < 0.8:
            leaf["within"] = pick(SPANS)
        if chance.random() < 0.3:
            leaf["before"] = pick(["now", "-10m", "-1h", "2026-10-25", "2026-10-24T22:10:00+00:00"])
        if chance.random() < 0.2:
            leaf["after"] = pick(["-2h", "-20m", "2026-10-24"])
        if chance.random() < 0.6:
            leaf["count"] = {"op": pick(["eq", "ne", "gt", "gte", "lt", "lte"]), "value": chance.randrange(4)}
        if chance.random() < 0.3:
            leaf["where"] = [{"field": "total", "op": "gte", "value": 5}]
        return leaf
    if kind == "datetime":
        field = pick(["renewal", "identified_at"])
        if chance.random() < 0.4:
            return {"field": field, "op": "within_last", "value": pick(SPANS)}
        return {
            "field": field,
            "op": pick(["gt", "gte", "lt", "lte", "before", "after"]),
            "value": moments_near(chance),
        }
    if kind == "date":
        if chance.random() < 0.3:
            return {"field": "born", "op": "within_last", "value": pick(["1d", "2d", "30m"])}
        if chance.random() < 0.3:
            return {"field": "born", "op": pick(["in", "not_in"]), "value": [moments_near(chance), "2026-10-25"]}
        return {"field": "born", "op": pick(["eq", "ne", "gt", "gte", "lt", "lte"]), "value": moments_near(chance)}
    if kind == "stage":
        return {"stage": pick(["lead", "known"])} | ({"for": pick(SPANS)} if chance.random() < 0.7 else {})
    if kind == "segment":
        return {"in_segment": pick(["first", "second"])} | ({"for": pick(SPANS)} if chance.random() < 0.5 else {})
    if kind == "score":
        return {"score": "interest", "op": pick(["gt", "gte", "lt", "lte"]), "value": pick([3, 10, 25])}
    field, value = pick([("country", "CZ"), ("plan", "pro")])
    if chance.random() < 0.5:
        return {"field": field, "op": "has_been_for", "value": value, "for": pick(["7m", "30m", "1d"])}
    return {"field": field, "op": pick(["eq", "ne"]), "value": value}


def random_rule(chance: random.Random, depth: int = 3) -> dict:
    roll = chance.random()
    if depth == 1 or roll < 0.3:
        return random_leaf(chance)
    if roll < 0.45:
        return {"not": random_rule(chance, depth - 1)}
    parts = [random_rule(chance, depth - 1) for _ in range(chance.randrange(1, 4))]
    return {chance.choice(["all", "any"]): parts}


class World:
    """Some people, and what happens to them while the clock goes on."""

    def __init__(self, chance: random.Random, now: datetime) -> None:
        self.chance = chance
        for key, type_ in {"renewal": "datetime", "born": "date", "plan": "text"}.items():
            Field.objects.create(key=key, type=type_)
        model = ScoreModel.objects.create(key="interest", name="Interest", kind="engagement")
        self.rules = [
            ScoreRule.objects.create(model=model, key=f"r{number}", when={"did": "page.viewed"}, points=points,
                                     half_life=half_life)
            for number, (points, half_life) in enumerate(
                [(20, timedelta(hours=1)), (-15, timedelta(hours=2)), (4, None), (9, timedelta(hours=3))])
        ]  # fmt: skip
        self.people = [self.person(now) for _ in range(30)]

    def near(self, now: datetime, minutes: int = 180) -> datetime:
        # On the minute as often as between two, where “before” and “until” differ.
        seconds = self.chance.choice([0, self.chance.randrange(60)])
        return now + timedelta(minutes=self.chance.randrange(-minutes, minutes), seconds=seconds)

    def person(self, now: datetime) -> Contact:
        pick = self.chance.choice
        contact = Contact.objects.create(
            country=pick(["CZ", "PL", ""]), stage=pick(["lead", "known"]), created_at=now - timedelta(days=1),
            stage_changed_at=pick([None, self.near(now, 90)]), identified_at=pick([None, self.near(now)]),
            attributes=self.attributes(now),
        )  # fmt: skip
        for _ in range(self.chance.randrange(5)):
            self.event(contact, min(self.near(now), now), now)
        for rule in self.rules:
            if self.chance.random() < 0.6:
                at = min(self.near(now, 100), now)
                weight = rule.points
                if rule.half_life:
                    since = (at - at.replace(hour=0, minute=0, second=0)) / rule.half_life
                    weight *= 2**since
                ScoreEntry.objects.create(
                    contact=contact, rule=rule, day=at.date(), points=rule.points, weight=weight,
                    half_life=rule.half_life, occurred_ats=[at], event_points=[rule.points], touchpoint_ids=[1],
                )  # fmt: skip
        return contact

    def attributes(self, now: datetime) -> dict:
        pick = self.chance.choice
        return {
            "plan": pick(["pro", "free", None]),
            "born": pick(["2026-10-23", "2026-10-24", "2026-10-25", "2026-10-26", "soon"]),
            "renewal": pick([self.near(now).isoformat(), "2026-10-25", "2026-10-24T23:59:30"]),
        }

    def event(self, contact: Contact, at: datetime, now: datetime, kind: str = "", **properties) -> None:
        Touchpoint.objects.create(
            contact=contact, kind=kind or self.chance.choice(KINDS), occurred_at=at, received_at=now,
            properties={"total": self.chance.randrange(10)} | properties,
        )  # fmt: skip

    def happen(self, now: datetime, asked: list[Segment]) -> None:
        """Something to somebody, told as the rest of the house tells it."""
        contact = self.chance.choice(self.people)
        what = self.chance.choice(["event", "event", "later", "field", "stage", "hand", "erased"])
        if what == "event":
            self.event(contact, now - timedelta(seconds=self.chance.randrange(90)), now)
        elif what == "later":
            # Taken in a little before its time: clocks of different machines.
            self.event(contact, now + timedelta(seconds=self.chance.randrange(1, 200)), now)
        elif what == "field":
            Contact.objects.filter(pk=contact.pk).update(
                country=self.chance.choice(["CZ", "PL"]), attributes=self.attributes(now)
            )
            self.event(contact, now, now, "contact.updated", fields=["country", "plan", "born", "renewal"])
        elif what == "stage":
            Contact.objects.filter(pk=contact.pk).update(
                stage=self.chance.choice(["lead", "known"]), stage_changed_at=now
            )
            self.event(contact, now, now, "stage.changed")
        elif what == "hand":
            segments.override(
                segment=self.chance.choice(asked), contacts=[contact.pk], is_member=self.chance.random() < 0.5,
                by=None, now=now, expires_at=self.chance.choice([None, self.near(now, 30)]),
            )  # fmt: skip
        elif self.chance.random() < 0.2:
            Contact.objects.filter(pk=contact.pk).update(erased_at=now)
            self.event(contact, now, now, "contact.erased")


@pytest.mark.parametrize(("seed", "start"), [(1, MIDNIGHT), (2, WINTER)])
def test_members_are_the_audience_at_every_minute_of_a_walk(seed, start, monkeypatch):
    chance = random.Random(seed)
    world = World(chance, start)
    first = {"did": "page.viewed", "within": "30m"}
    Segment.objects.create(key="first", name="First", rule=first)
    Segment.objects.create(key="second", name="Second", rule={"not": {"in_segment": "first", "for": "7m"}})
    asked = [
        Segment.objects.create(key=f"s{number}", name=f"S{number}", rule=random_rule(chance)) for number in range(10)
    ]
    asked += Segment.objects.filter(key__in=("first", "second"))
    swept = []
    monkeypatch.setattr(refreshing, "_rebuild", _counting(refreshing._rebuild, swept))
    changed = 0
    for minute in range(45):
        now = start + minute * MINUTE
        if minute:
            for _ in range(chance.randrange(3)):
                world.happen(now, asked)
        changed += tick(now)
        wrong = {
            segment.key: (segment.rule, wanted ^ members)
            for segment in asked
            if (wanted := set(segments.audience(segment, now).values_list("pk", flat=True)))
            != (members := set(segment.memberships.values_list("contact_id", flat=True)))
        }
        assert not wrong, f"after {minute} minutes"
    assert sorted(swept) == sorted(segment.key for segment in asked), "each was asked of everybody once, at first"
    assert changed > 100, "the walk must see many answers turn"


def _counting(rebuild, swept):
    def counted(one, now):
        swept.append(one.segment.key)
        return rebuild(one, now)

    return counted


# Who is asked --------------------------------------------------------------------------------------------------------


def test_exactly_those_whose_turn_has_come_are_asked(now):
    people = [Contact.objects.create(first_name=str(number)) for number in range(3)]
    for number, contact in enumerate(people):
        Touchpoint.objects.create(
            contact=contact, kind="page.viewed", occurred_at=now - timedelta(days=number), received_at=now
        )
    recent = Segment.objects.create(key="recent", name="Recent", rule={"did": "page.viewed", "within": "14d"})
    tick(now)
    assert dict(Turn.objects.values_list("contact_id", "turns_at")) == {
        contact.pk: now + timedelta(days=14 - number) for number, contact in enumerate(people)
    }
    assert Segment.objects.get().sweep_at is None
    assert tick(now + timedelta(days=12) - timedelta(microseconds=1)) == 0
    assert tick(now + timedelta(days=12)) == 1
    assert set(recent.memberships.values_list("contact_id", flat=True)) == {people[0].pk, people[1].pk}
    assert set(Turn.objects.values_list("contact_id", flat=True)) == {people[0].pk, people[1].pk}


def test_whom_the_clock_cannot_turn_has_no_turn(now):
    for country in ("CZ", "PL"):
        contact = Contact.objects.create(country=country)
        Touchpoint.objects.create(contact=contact, kind="page.viewed", occurred_at=now, received_at=now)
    rule = {"all": [{"field": "country", "op": "eq", "value": "CZ"}, {"did": "page.viewed", "within": "14d"}]}
    Segment.objects.create(key="czech", name="Czech", rule=rule)
    tick(now)
    assert [turn.contact.country for turn in Turn.objects.all()] == ["CZ"]


@pytest.mark.parametrize(
    ("rule", "answer"),
    [
        ({"did": "a.b", "within": "14d"}, True),
        ({"did": "a.b", "within": "14d", "count": {"op": "lt", "value": 2}}, False),
        ({"did": "a.b", "within": "14d", "before": "-1d"}, False),
        ({"not": {"did": "a.b", "within": "14d"}}, False),
        ({"not": {"did": "a.b"}}, True),
        ({"any": [{"stage": "lead"}, {"all": [{"did": "a.b", "within": "14d"}, {"not": {"did": "c.d"}}]}]}, True),
        ({"all": [{"stage": "lead", "for": "14d"}, {"did": "a.b", "within": "14d"}]}, False),
        ({"field": "created_at", "op": "within_last", "value": "14d"}, False),
    ],
)
def test_a_rule_knows_whether_the_clock_can_only_take_people_out(rule, answer):
    assert only_fades(parse(rule)) is answer


def test_who_is_busy_moves_no_turn(now):
    contact = Contact.objects.create()
    Segment.objects.create(key="recent", name="Recent", rule={"did": "page.viewed", "within": "14d"})
    Touchpoint.objects.create(contact=contact, kind="page.viewed", occurred_at=now, received_at=now)
    tick(now)
    first = Turn.objects.get()
    for day in range(1, 4):
        later = now + timedelta(days=day)
        Touchpoint.objects.create(contact=contact, kind="page.viewed", occurred_at=later, received_at=later)
        tick(later)
    assert list(Turn.objects.values("pk", "turns_at")) == [{"pk": first.pk, "turns_at": first.turns_at}]
    assert tick(now + timedelta(days=14)) == 0
    assert Turn.objects.get().turns_at == now + timedelta(days=17)


def test_a_rule_that_cannot_say_when_it_turns_is_swept_and_says_so(now):
    rule = {"did": "order.placed", "where": [{"field": "delivered_at", "op": "within_last", "value": "1h"}]}
    contact = Contact.objects.create()
    Touchpoint.objects.create(
        contact=contact, kind="order.placed", occurred_at=now, received_at=now,
        properties={"delivered_at": now.isoformat()},
    )  # fmt: skip
    Segment.objects.create(key="fresh", name="Fresh", rule=rule)
    tick(now)
    assert segments.is_swept(parse(rule), now)
    assert not segments.is_swept(parse({"did": "order.placed", "within": "1h"}), now)
    assert Segment.objects.get().sweep_at == now + segments.SWEEP_EVERY
    tick(now + timedelta(minutes=59))
    assert Membership.objects.exists()
    tick(now + timedelta(minutes=59) + segments.SWEEP_EVERY)
    assert not Membership.objects.exists()


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ({"did": "page.viewed"}, {"page.viewed"}),
        ({"field": "country", "op": "eq", "value": "CZ"}, {"field:country"}),
        ({"field": "plan", "op": "eq", "value": "x"}, {"field:plan"}),
        ({"field": "company.name", "op": "eq", "value": "x"}, {"field:company"}),
        ({"field": "last_seen_at", "op": "is_set"}, {"+"}),
        ({"field": "owner", "op": "is_set"}, {"+"}),
        ({"stage": "lead"}, {"stage.changed"}),
        ({"in_segment": "vip"}, {"segment:vip"}),
        ({"bucket": "0-9", "salt": "x"}, set()),
        ({"all": [{"did": "a.b"}, {"not": {"stage": "lead"}}]}, {"a.b", "stage.changed"}),
    ],
)
def test_a_rule_knows_the_news_that_concern_it(rule, words):
    Field.objects.create(key="plan")
    Segment.objects.create(key="vip", name="VIP")
    assert words_of(parse(rule)) == words


def test_a_segment_that_the_news_do_not_concern_is_not_asked(now, django_assert_num_queries):
    contact = Contact.objects.create(country="CZ")
    Segment.objects.create(key="buyers", name="Buyers", rule={"did": "order.placed"})
    Segment.objects.create(key="czech", name="Czech", rule={"field": "country", "op": "eq", "value": "CZ"})
    tick(now)
    Contact.objects.update(country="")
    Touchpoint.objects.create(contact=contact, kind="order.placed", occurred_at=now, received_at=now)
    assert tick(now) == 1
    assert set(Membership.objects.values_list("segment__key", flat=True)) == {"buyers", "czech"}, (
        "nobody said “country”"
    )
    Touchpoint.objects.create(
        contact=contact, kind="contact.updated", occurred_at=now, received_at=now, properties={"fields": ["country"]}
    )
    assert tick(now) == 1
    assert set(Membership.objects.values_list("segment__key", flat=True)) == {"buyers"}


def test_all_segments_are_asked_in_as_many_statements_as_one(now, django_assert_max_num_queries):
    contact = Contact.objects.create()
    for number in range(40):
        Segment.objects.create(key=f"s{number}", name="S", rule={"did": "page.viewed", "within": f"{number + 1}d"})
    tick(now)
    Touchpoint.objects.create(contact=contact, kind="page.viewed", occurred_at=now, received_at=now)
    with django_assert_max_num_queries(25):
        assert segments.refresh(now, 0, stream.head()) == 40


def test_an_expired_word_by_hand_asks_only_about_its_person(now):
    User.objects.create(username="boss")
    people = [Contact.objects.create(company=Company.objects.create(name=str(number))) for number in range(2)]
    hand = Segment.objects.create(key="hand", name="By hand")
    segments.override(
        segment=hand, contacts=[one.pk for one in people], is_member=True, by=None, now=now,
        expires_at=now + timedelta(hours=1),
    )  # fmt: skip
    MembershipOverride.objects.filter(contact=people[0]).update(expires_at=None)
    assert Segment.objects.get().sweep_at is not None
    assert tick(now) == 2
    assert tick(now + timedelta(minutes=59)) == 0
    assert tick(now + timedelta(hours=1)) == 1
    assert list(hand.memberships.values_list("contact_id", flat=True)) == [people[0].pk]
