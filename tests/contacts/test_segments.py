"""Segments follow their rules, tell each change as a touchpoint, and never ask each other in a circle."""

from datetime import timedelta

import pytest
from django.db import connection

from contacts import segments
from contacts.models import Company, Contact, Field, Membership, MembershipOverride, Segment, StepCursor, Touchpoint
from contacts.rules import RuleError
from contacts.stream import Step, run_step

pytestmark = pytest.mark.django_db

STEP = Step("segment", segments.refresh)


def person(**values) -> Contact:
    return Contact.objects.create(**values)


def touch(contact, kind="contact.updated", at=None, now=None, **properties) -> Touchpoint:
    return Touchpoint.objects.create(
        contact=contact, kind=kind, occurred_at=at or now, received_at=now, properties=properties
    )


def segment(key, rule=None) -> Segment:
    return Segment.objects.create(key=key, name=key.capitalize(), rule=rule)


def refresh(now) -> int:
    changed = run_step(STEP, now)
    assert not StepCursor.objects.get(step="segment").error
    return changed


def inside(one: Segment) -> set[int]:
    assert set(one.memberships.values_list("contact_id", flat=True)) == set(
        segments.members(one).values_list("pk", flat=True)
    )
    return set(one.memberships.values_list("contact_id", flat=True))


def news() -> list[tuple[str, int, str]]:
    rows = Touchpoint.objects.filter(kind__startswith="segment.").order_by("id")
    return [(row.kind.removeprefix("segment."), row.contact_id, row.properties["segment"]) for row in rows]


def test_a_new_segment_asks_everybody_once(now):
    ann, ben = person(country="CZ"), person(country="PL")
    czech = segment("czech", {"field": "country", "op": "eq", "value": "CZ"})
    assert refresh(now) == 1
    assert inside(czech) == {ann.pk}
    assert news() == [("entered", ann.pk, "czech")]
    ben.country = "CZ"
    ben.save()
    assert refresh(now) == 0, "nothing told that Ben changed, and the rule has no time in it"


def test_only_touched_people_are_asked_again(now):
    ann, ben = person(), person()
    czech = segment("czech", {"field": "country", "op": "eq", "value": "CZ"})
    refresh(now)
    Contact.objects.update(country="CZ")
    touch(ben, now=now)
    assert refresh(now) == 1
    assert inside(czech) == {ben.pk}
    Contact.objects.update(country="")
    touch(ann, now=now)
    touch(ben, now=now)
    assert refresh(now) == 1
    assert news() == [("entered", ben.pk, "czech"), ("left", ben.pk, "czech")]


def test_a_refresh_without_a_change_writes_no_row(now):
    for number in range(20):
        person(country="CZ", first_name=str(number))
    segment("czech", {"field": "country", "op": "eq", "value": "CZ"})
    refresh(now)
    tables = "contacts_membership", "contacts_touchpoint"

    def versions():
        with connection.cursor() as cursor:
            for table in tables:
                cursor.execute(f"SELECT ctid, xmin::text, id FROM {table} ORDER BY id")
                yield cursor.fetchall()

    before = list(versions())
    segments.ask_again(Segment.objects.all())
    assert refresh(now) == 0
    assert list(versions()) == before


def test_a_chain_of_segments_is_right_after_one_pass(now):
    # Made in the wrong order on purpose: the last of the chain has the lowest id.
    third = segment("third", {"not": {"in_segment": "second"}})
    second = segment("second", {"all": [{"in_segment": "first"}, {"field": "language", "op": "eq", "value": "cs"}]})
    first = segment("first", {"field": "country", "op": "eq", "value": "CZ"})
    ann, ben = person(country="CZ", language="cs"), person(country="CZ", language="pl")
    refresh(now)
    assert (inside(first), inside(second), inside(third)) == ({ann.pk, ben.pk}, {ann.pk}, {ben.pk})
    Contact.objects.update(country="")
    segments.ask_again(Segment.objects.filter(key="first"))
    refresh(now)
    assert (inside(first), inside(second), inside(third)) == (set(), set(), {ann.pk, ben.pk})


def test_a_rule_with_time_in_it_is_swept(now):
    ann = person()
    touch(ann, "page.viewed", now - timedelta(days=13), now)
    recent = segment("recent", {"did": "page.viewed", "within": "14d"})
    refresh(now)
    assert inside(recent) == {ann.pk}
    refresh(now + timedelta(days=1) - timedelta(minutes=1))
    assert inside(recent) == {ann.pk}
    refresh(now + timedelta(days=1) + segments.SWEEP_EVERY)
    assert inside(recent) == set()


def test_the_future_has_not_been_done(now):
    ann = person()
    touch(ann, "webinar.attended", now + timedelta(days=1), now)
    attended = segment("attended", {"did": "webinar.attended"})
    refresh(now)
    assert inside(attended) == set()


@pytest.mark.parametrize("is_member", [True, False])
def test_a_manual_member_stays_whatever_the_rule_says_until_it_expires(now, is_member):
    ann = person(country="PL" if is_member else "CZ")
    czech = segment("czech", {"field": "country", "op": "eq", "value": "CZ"})
    refresh(now)
    segments.override(
        segment=czech, contacts=[ann.pk], is_member=is_member, by=None, now=now, expires_at=now + timedelta(days=1)
    )
    assert set(segments.audience(czech, now).values_list("pk", flat=True)) == ({ann.pk} if is_member else set())
    refresh(now)
    assert inside(czech) == ({ann.pk} if is_member else set())
    touch(ann, now=now)
    refresh(now + timedelta(hours=23))
    assert inside(czech) == ({ann.pk} if is_member else set())
    refresh(now + timedelta(days=1))
    assert inside(czech) == (set() if is_member else {ann.pk})
    assert not MembershipOverride.objects.exists()


def test_a_static_segment_has_only_people_put_in_by_hand(now):
    ann, _ben = person(), person()
    friends = segment("friends")
    segments.override(segment=friends, contacts=[ann.pk], is_member=True, by=None, now=now)
    assert refresh(now) == 1
    assert inside(friends) == {ann.pk}
    friends.overrides.all().delete()
    segments.ask_again(Segment.objects.all())
    assert refresh(now) == 1
    assert inside(friends) == set()


def test_tombstones_are_members_of_nothing_and_get_no_news(now):
    ann = person(country="CZ")
    czech = segment("czech", {"field": "country", "op": "eq", "value": "CZ"})
    segments.override(segment=czech, contacts=[ann.pk], is_member=True, by=None, now=now)
    refresh(now)
    Contact.objects.update(erased_at=now)
    touch(ann, now=now)
    refresh(now)
    assert not Membership.objects.exists()
    assert news() == [("entered", ann.pk, "czech")]


def test_preview_count_and_members_are_the_same_people(now):
    for number in range(10):
        person(country="CZ" if number % 3 else "", erased_at=now if number == 4 else None)
    rule = {"field": "country", "op": "ne", "value": "CZ"}
    others = segment("others", rule)
    refresh(now)
    previewed = set(segments.preview(rule, now).values_list("pk", flat=True))
    assert previewed == inside(others) == set(segments.audience(others, now).values_list("pk", flat=True))
    assert segments.preview(rule, now).count() == len(previewed) == 4


def test_a_circle_is_refused_with_its_names(now):
    a = segment("a")
    segment("b", {"not": {"in_segment": "a"}})
    segment("c", {"any": [{"in_segment": "b"}, {"stage": "lead"}]})
    with pytest.raises(RuleError) as error:
        segments.change_rule(a, {"in_segment": "c"})
    assert all(key in error.value.message for key in "abc")
    with pytest.raises(RuleError):
        segments.change_rule(a, {"in_segment": "a"})
    assert Segment.objects.get(key="a").rule is None


def test_a_circle_that_got_in_anyhow_stops_only_itself(now):
    ann = person(country="CZ")
    segment("a", {"in_segment": "b"})
    segment("b", {"in_segment": "a"})
    fine = segment("fine", {"field": "country", "op": "eq", "value": "CZ"})
    refresh(now)
    assert inside(fine) == {ann.pk}


def test_a_rule_that_cannot_be_read_any_more_keeps_its_members(now):
    plan = Field.objects.create(key="plan")
    ann = person(attributes={"plan": "trial"})
    trial = segment("trial", {"not": {"field": "plan", "op": "ne", "value": "trial"}})
    refresh(now)
    plan.delete()
    ben = person()
    touch(ann, now=now)
    touch(ben, now=now)
    refresh(now)
    assert inside(trial) == {ann.pk}


def test_the_same_rule_again_asks_nobody(now):
    czech = segment("czech")
    rule = {"field": "country", "op": "eq", "value": "CZ"}
    assert segments.change_rule(czech, rule)
    refresh(now)
    assert not segments.change_rule(czech, dict(rule))
    assert Segment.objects.get().sweep_at is None
    assert segments.change_rule(czech, None)
    assert not segments.change_rule(czech, None)


def test_a_segment_in_use_cannot_be_removed_and_its_users_are_named(now):
    used = segment("used")
    segment("user", {"all": [{"in_segment": "used"}]})
    with pytest.raises(segments.InUse, match="User"):
        segments.remove(used)
    segments.remove(Segment.objects.get(key="user"))
    segments.remove(used)
    assert not Segment.objects.exists()


def test_a_changed_company_has_its_readers_asked_again(now):
    acme = Company.objects.create(name="Acme", employees=10)
    ann = person(company=acme)
    big = segment("big", {"field": "company.employees", "op": "gte", "value": 50})
    segment("other", {"stage": "lead"})
    refresh(now)
    Company.objects.update(employees=50)
    assert segments.ask_again_readers_of("company.") == 1
    refresh(now)
    assert inside(big) == {ann.pk}
