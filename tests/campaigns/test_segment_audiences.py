"""Preview, members after a tick, and whom a journey enrols: the same people."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission, User

from campaigns import publishing
from campaigns.models import Enrolment, Journey
from contacts import segments
from contacts.erasure import erase
from contacts.merging import merge
from contacts.models import Contact, Segment
from contacts.outlook import outlook
from contacts.stream import put
from journey_crm.tick import tick

pytestmark = pytest.mark.django_db

RULE = {"all": [{"field": "country", "op": "eq", "value": "CZ"}, {"did": "page.viewed", "within": "14d"}]}


def test_preview_members_and_enrolled_are_the_same_people(now):
    boss = User.objects.create_superuser("boss")
    scoped = User.objects.create(username="scoped")
    people = {
        name: Contact.objects.create(first_name=name, country=country, created_at=now, identified_at=now)
        for name, country in {
            "meant": "CZ", "quiet": "CZ", "foreign": "PL", "put-in": "PL", "kept-out": "CZ", "merged": "CZ",
            "survivor": "PL", "erased": "CZ", "put-in-and-erased": "PL", "over": "PL",
        }.items()
    }  # fmt: skip
    for name, contact in people.items():
        if name != "quiet":
            put(kind="page.viewed", source="test", now=now, contact_id=contact.pk)
    tick(now)
    merge(survivor=people["survivor"], loser=people["merged"], reason="test", now=now)
    Contact.objects.filter(pk=people["survivor"].pk).update(country="CZ")
    segment = Segment.objects.create(key="lookers", name="Lookers", rule=RULE)
    journey = Journey.objects.create(key="welcome", name="Welcome", kind="onboarding")
    definition = {
        "key": "welcome", "kind": "onboarding", "trigger": {"segment_entered": "lookers"}, "steps": [{"wait": "30d"}],
    }  # fmt: skip
    publishing.save_draft(journey=journey, definition=definition, by=boss, now=now)
    publishing.publish(journey=journey, by=boss, now=now)
    for name, is_member, until in [
        ("put-in", True, None), ("kept-out", False, None), ("put-in-and-erased", True, None),
        ("over", True, now + timedelta(minutes=1)),
    ]:  # fmt: skip
        segments.override(
            segment=segment, contacts=[people[name].pk], is_member=is_member, by=boss, now=now, expires_at=until
        )
    for name in ("erased", "put-in-and-erased"):
        erase(people[name], by=boss, now=now)

    later = now + timedelta(minutes=2)
    wanted = {people[name].pk for name in ("meant", "survivor", "put-in")}
    assert set(segments.audience(segment, later).values_list("pk", flat=True)) == wanted
    tick(later)
    tick(later)
    assert set(segments.members(segment).values_list("pk", flat=True)) == wanted
    assert set(Enrolment.objects.values_list("contact_id", flat=True)) == wanted
    assert segments.audience(segment, later).count() == len(wanted)

    # What the rule alone means, for whoever may see them: nobody's word by hand, and no stranger.
    by_rule = {people[name].pk for name in ("meant", "survivor", "kept-out")}
    assert set(segments.preview(RULE, later).values_list("pk", flat=True)) == by_rule
    assert outlook(RULE, boss, later)["count"] == len(by_rule)
    assert outlook(RULE, scoped, later)["count"] == segments.preview(RULE, later).visible_to(scoped).count() == 0
    scoped.user_permissions.add(Permission.objects.get(codename="view_contact"))
    assert outlook(RULE, User.objects.get(pk=scoped.pk), later)["count"] == len(by_rule)
