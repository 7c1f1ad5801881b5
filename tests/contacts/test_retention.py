"""Retention: what is old goes by rule, totals stay, scores do not move, and who still asks for it is named first."""

from datetime import timedelta

import pytest
from django.db.models import Sum

from contacts.definitions import SECTIONS, DefinitionError
from contacts.ingest import ingest
from contacts.merging import merge
from contacts.models import Contact, Merge, RetentionRule, Segment, StepCursor, Touchpoint, TouchpointTotal
from contacts.retention import outlook, problems, retain
from contacts.stream import Step, put, run_step
from contacts.unmerging import unmerge
from journey_crm import invariants
from journey_crm.tick import tick
from scoring.models import ScoreEntry, ScoreModel, ScoreRule
from scoring.points import score_at

pytestmark = pytest.mark.django_db


@pytest.fixture
def see(now):
    def visit(contact, *, kind="page.viewed", days=0, channel="web", **properties):
        put(
            kind=kind, source="web", now=now, contact_id=contact.pk, occurred_at=now - timedelta(days=days),
            channel=channel, properties=properties,
        )  # fmt: skip

    return visit


@pytest.fixture
def people():
    return [Contact.objects.create(email=f"p{n}@x.example") for n in range(3)]


def kinds(contact=None) -> dict[str, int]:
    found: dict[str, int] = {}
    rows = Touchpoint.objects.filter(contact=contact) if contact else Touchpoint.objects.all()
    for kind in rows.values_list("kind", flat=True):
        found[kind] = found.get(kind, 0) + 1
    return found


def rule(**values) -> RetentionRule:
    return RetentionRule.objects.create(**{"key": "old-pages", "kind": "page.*", "days": 90} | values)


def test_what_is_old_is_dropped_and_counted(see, people, now):
    ann, bob, _other = people
    for days in (10, 89, 91, 200, 400):
        see(ann, days=days)
    see(bob, days=100, kind="page.left", channel="app")
    see(bob, days=100, kind="order.placed")
    run_step(Step("ingest", ingest), now)
    rule()
    assert retain(now) == 4
    assert kinds(ann) == {"page.viewed": 2}
    assert kinds(bob) == {"order.placed": 1}
    total = TouchpointTotal.objects.get(contact=ann)
    assert (total.kind, total.count, total.first_at, total.last_at) == (
        "page.viewed", 3, now - timedelta(days=400), now - timedelta(days=91),
    )  # fmt: skip
    assert retain(now) == 0, "once a day"
    assert retain(now + timedelta(days=2)) == 1
    total.refresh_from_db()
    assert (total.count, total.last_at) == (4, now - timedelta(days=89))
    assert RetentionRule.objects.get().handled == 5


def test_dropped_and_left_are_always_all_there_was(see, people, now):
    for n in range(60):
        see(people[n % 3], days=n * 7)
    run_step(Step("ingest", ingest), now)
    rule(kind="*", days=30)
    for day in range(0, 300, 25):
        retain(now + timedelta(days=day))
        kept = TouchpointTotal.objects.aggregate(all=Sum("count"))["all"] or 0
        assert kept + Touchpoint.objects.filter(kind="page.viewed").count() == 60


def test_a_channel_is_a_rule_of_its_own_and_an_underscore_is_no_wildcard(see, people, now):
    see(people[0], days=100, channel="app")
    see(people[0], days=100, channel="web")
    see(people[0], days=100, kind="page_x.viewed")
    see(people[0], days=100, kind="pageyx.viewed")
    run_step(Step("ingest", ingest), now)
    rule(channel="app")
    rule(key="other", kind="page_x.viewed")
    retain(now)
    assert kinds() == {"page.viewed": 1, "pageyx.viewed": 1}


def test_to_anonymise_leaves_the_kind_and_what_the_rule_keeps(see, people, now):
    see(people[0], days=100, url="https://x/?e=ann@x.example", template="hello", ip="192.0.2.1")
    see(people[0], days=10, url="https://x/")
    run_step(Step("ingest", ingest), now)
    rule(action="anonymise", kept_properties=["template"])
    assert retain(now) == 1
    old, young = Touchpoint.objects.order_by("occurred_at")
    assert (old.properties, young.properties) == ({"template": "hello"}, {"url": "https://x/"})
    assert retain(now + timedelta(days=1)) == 0, "what is anonymous is not written again"
    assert not TouchpointTotal.objects.exists()


def test_the_history_of_the_record_itself_stays(people, now):
    put(kind="contact.identified", source="t", now=now, user_id="u", email="u@x.example", occurred_at=now)
    put(kind="consent.changed", source="t", now=now, contact_id=people[0].pk)
    run_step(Step("ingest", ingest), now)
    before = Touchpoint.objects.count()
    rule(kind="*", days=30)
    retain(now + timedelta(days=4000))
    assert Touchpoint.objects.count() == before


def test_scores_stay_as_they_are_and_equal_their_ledger(see, people, now):
    model = ScoreModel.objects.create(key="engagement", qualify_at=50)
    ScoreRule.objects.create(
        model=model, key="pages", when={"did": "page.viewed"}, points=5, half_life=timedelta(days=90)
    )
    for days in (5, 100, 101, 300):
        see(people[0], days=days)
    tick(now)
    tick(now)  # the steps before ingest have read its news by now
    before = score_at(model, [people[0].pk], now)
    rule(kind="*", days=30)
    assert retain(now) == 3
    tick(now + timedelta(seconds=1))
    assert score_at(model, [people[0].pk], now) == before
    assert ScoreEntry.objects.count() == 4
    assert {name: count for name, count in invariants.check(now).items() if count} == {}


def test_a_step_that_stopped_finds_its_touchpoints_still_there(see, people, now):
    for _ in range(3):
        see(people[0], days=100)
    run_step(Step("ingest", ingest), now)
    second = Touchpoint.objects.order_by("pk")[1].pk
    StepCursor.objects.create(step="score", position=second, failed_at=now, ran_at=now)
    rule()
    assert retain(now) == 2
    assert Touchpoint.objects.count() == 1


def test_a_long_walk_is_cut_into_windows_and_goes_on_where_it_stood(see, people, now, monkeypatch):
    monkeypatch.setattr("contacts.retention.SIZE", 4)
    for n in range(20):
        see(people[n % 3], days=100 + n)
    run_step(Step("ingest", ingest), now)
    rule()
    assert [retain(now + timedelta(minutes=n), most_windows=2) for n in range(4)] == [8, 8, 4, 0]


def test_before_it_is_saved_a_rule_says_what_it_would_do_and_who_still_asks(see, people, now):
    Segment.objects.create(key="buyers", name="Buyers", rule={"all": [{"did": "order.placed"}, {"stage": "lead"}]})
    Segment.objects.create(key="recent", name="Recent", rule={"did": "order.placed", "within": "30d"})
    model = ScoreModel.objects.create(key="fit", kind="fit")
    ScoreRule.objects.create(model=model, key="o", when={"not": {"did": "order.placed", "within": "52w"}}, points=1)
    for days in (10, 100, 200):
        see(people[0], kind="order.placed", days=days)
    see(people[1], kind="order.placed", days=300)
    run_step(Step("ingest", ingest), now)
    told = outlook(RetentionRule(key="x", kind="order.*", days=90), now)
    assert (told.touchpoints, told.people, told.oldest_at) == (3, 2, now - timedelta(days=300))
    assert told.readers == ["Score “fit”", "Segment “Buyers”"]
    assert Touchpoint.objects.count() == 4


@pytest.mark.parametrize(
    ("told", "field"),
    [
        ({"kind": "contact.updated"}, "kind"), ({"kind": "consent.*"}, "kind"), ({"kind": "page"}, "kind"),
        ({"kind": "%.%"}, "kind"), ({"kind": 7}, "kind"), ({"days": 29}, "days"), ({"days": "90"}, "days"),
        ({"days": True}, "days"), ({"days": 10**9}, "days"), ({"kept_properties": "url"}, "kept_properties"),
        ({"kept_properties": [1]}, "kept_properties"),
    ],
)  # fmt: skip
def test_a_rule_that_cannot_be_meant_is_refused_by_its_field(told, field):
    assert set(problems(**{"kind": "page.*", "days": 90, "kept_properties": []} | told)) == {field}


def test_rules_are_definitions_too():
    section = {one.name: one for one in SECTIONS}["retention"]
    data = {"key": "pages", "kind": "page.*", "days": 400, "action": "anonymise", "keep": ["template"]}
    section.write(data)
    assert section.read() == {"pages": data}
    with pytest.raises(DefinitionError, match="days"):
        section.write(data | {"days": 3})


def test_totals_are_added_up_in_a_merge_and_parted_again(see, people, now):
    ann, bob, _other = people
    for days in (100, 101):
        see(ann, days=days)
    for days in (200, 201, 202):
        see(bob, days=days)
    see(bob, days=300, kind="page.left")
    run_step(Step("ingest", ingest), now)
    rule()
    retain(now)
    merge(survivor=ann, loser=bob, reason="by hand", now=now)
    found = TouchpointTotal.objects.filter(contact=ann)
    assert dict(found.values_list("kind", "count")) == {"page.viewed": 5, "page.left": 1}
    assert found.get(kind="page.viewed").first_at == now - timedelta(days=202)
    unmerge(Merge.objects.get(), now=now)
    assert dict(TouchpointTotal.objects.filter(contact=ann).values_list("kind", "count")) == {"page.viewed": 2}
    assert dict(TouchpointTotal.objects.filter(contact=bob).values_list("kind", "count")) == {
        "page.viewed": 3, "page.left": 1,
    }  # fmt: skip
