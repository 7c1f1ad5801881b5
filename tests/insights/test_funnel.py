"""The stage funnel."""

from datetime import timedelta

import pytest
from django.contrib.auth import get_user_model

from contacts.models import Contact
from insights.funnel import funnel
from scoring.models import StageChange

pytestmark = pytest.mark.django_db
FIRST_FIVE = ("visitor", "known", "lead", "qualified", "customer")


def person(now, *stages, days_ago=10):
    """Somebody who came some days ago and reached one stage a day."""
    came = now - timedelta(days=days_ago)
    contact = Contact.objects.create(created_at=came, highest_stage=stages[-1] if stages else "visitor")
    before = "visitor"
    for day, stage in enumerate(stages, start=1):
        StageChange.objects.create(
            contact=contact, from_stage=before, to_stage=stage, reason="rule", changed_at=came + timedelta(days=day)
        )
        before = stage
    return contact


def by_stage(rungs):
    return {rung.stage: rung for rung in rungs}


def test_each_rung_counts_who_came_so_far_and_how_long_it_took(now):
    for _ in range(40):
        person(now)
    for _ in range(30):
        person(now, "known")
    for _ in range(10):
        person(now, "known", "lead", "qualified")
    rungs = by_stage(funnel(now - timedelta(days=30), now))
    assert [rungs[stage].people for stage in FIRST_FIVE] == [80, 40, 10, 10, 0]
    assert (rungs["known"].rate, rungs["lead"].rate, rungs["qualified"].rate) == (50.0, 25.0, 100.0)
    assert rungs["lead"].lost == 30
    assert [rung.stage for rung in rungs.values() if rung.is_worst] == ["lead"]
    assert rungs["qualified"].days == 3.0 and rungs["customer"].days is None


def test_who_jumped_a_stage_has_passed_it(now):
    for _ in range(3):
        person(now, "customer")
    for _ in range(2):
        person(now, "known")
    rungs = by_stage(funnel(now - timedelta(days=30), now))
    assert [rungs[stage].people for stage in FIRST_FIVE] == [5, 5, 3, 3, 3]
    assert rungs["lead"].days == rungs["customer"].days == 1.0


def test_only_the_period_and_the_living_count(now):
    person(now, "known", days_ago=50)
    gone = person(now, "known")
    Contact.objects.filter(pk=gone.pk).update(erased_at=now)
    assert [rung.people for rung in funnel(now - timedelta(days=30), now)] == [0] * 6


def test_few_people_make_no_worst_rung(now):
    person(now)
    person(now, "known")
    assert not any(rung.is_worst for rung in funnel(now - timedelta(days=30), now))


def test_the_screen_shows_it_to_who_may_see_contacts(client, now):
    user = get_user_model().objects.create_superuser("lenka")
    client.force_login(user)
    page = client.get("/admin/insights/")
    assert page.status_code == 200 and "Nobody came" in page.content.decode()
    Contact.objects.create()
    assert "Stage funnel" in client.get("/admin/insights/?period=365").content.decode()
    assert client.get("/admin/insights/?period=forever").status_code == 200
    user.is_superuser = False
    user.save()
    assert client.get("/admin/insights/").status_code == 403
