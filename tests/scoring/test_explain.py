"""Explain: one waterfall with dates and fading, now and at any past instant, wherever somebody asks."""

import json
import re
from datetime import timedelta

import pytest
import time_machine
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.core.management import call_command
from django.urls import reverse

from contacts import tokens
from scoring.models import ContactScore, GradeMatrix
from scoring.points import score_at
from scoring.waterfalls import scores_of
from tests.scoring.world import NOW, did, known, model, rule, tick

pytestmark = pytest.mark.django_db
DAY = timedelta(days=1)


@pytest.fixture
def boss():
    return get_user_model().objects.create_superuser("boss")


@pytest.fixture
def jana():
    """Qualified from 30: three looks at prices over a month, one complaint; and a fit that holds."""
    engagement = model("engagement", qualify_at=30, hysteresis=10, name="Engagement")
    rule(engagement, "page.viewed", 20, days=14, key="pricing")
    rule(engagement, "email.complained", -5, key="complaint")
    fit = model("fit", kind="fit", name="Fit")
    rule(fit, {"field": "country", "op": "eq", "value": "CZ"}, 10, key="market")
    GradeMatrix.objects.create(
        key="product", name="Product", fit=fit, engagement=engagement, fit_from=[10], engagement_from=[30, 10]
    )
    contact = known(country="CZ")
    for days in (28, 14, 0):
        did(contact, "page.viewed", NOW - days * DAY)
    did(contact, "email.complained", NOW - 20 * DAY)
    tick()
    return contact


@pytest.fixture
def api(client, boss):
    _token, secret = tokens.issue(user=boss, scopes=["read"], now=NOW)
    headers = {"Authorization": f"Bearer {secret}"}

    def call(path, data=None):
        with time_machine.travel(NOW, tick=False):
            if data is None:
                return client.get(f"/api/v1/{path}", headers=headers)
            return client.post(f"/api/v1/{path}", data, content_type="application/json", headers=headers)

    return call


def refused(answer) -> list[str]:
    assert answer.status_code == 400
    return [one["field"] for one in answer.json()["errors"]]


def test_the_curve_is_the_score_of_each_day_past_and_to_come(jana):
    (engagement, fit) = scores_of(jana, NOW)
    assert engagement.value == 30 and engagement.model.key == "engagement"
    points = dict(engagement.curve.points)
    assert len(points) == 121 and min(points) == NOW - 90 * DAY and max(points) == NOW + 30 * DAY
    for instant, value in points.items():
        assert value == pytest.approx(score_at(engagement.model, [jana.pk], instant)[jana.pk], abs=1e-9)
    assert points[NOW - 90 * DAY] == 0 and points[NOW - 28 * DAY] == 20 and points[NOW + 14 * DAY] == 12.5
    assert fit.curve.first[1] == 0 and fit.curve.last[1] == 10
    assert re.fullmatch(r"M[0-9.]+ [0-9.]+(L[0-9.]+ [0-9.]+)+", engagement.curve.past)
    assert engagement.curve.past.rpartition("L")[2] == engagement.curve.future.removeprefix("M").partition("L")[0]


def test_it_says_when_it_falls_under_the_line_now_and_as_of_then(jana):
    (engagement, fit) = scores_of(jana, NOW)
    standing = ContactScore.objects.get(model=engagement.model)
    assert standing.falls_at == engagement.falls_at and fit.falls_at is None
    # 35 points fade and 5 are missing for good: at 20, 25 of them are left.
    assert (engagement.falls_at - NOW) / DAY == pytest.approx(6.7959, abs=1e-3)
    # A fortnight ago 30 of them were there, less 5: never over a line of 30.
    before, _fit = sorted(scores_of(jana, NOW - 14 * DAY), key=lambda score: score.model.key)
    assert before.value == 25 and before.falls_at is None
    pricing, complaint = before.bars
    assert (pricing.events, pricing.earned, pricing.worth) == (2, 40, 30), "what came later is not there yet"
    assert (complaint.events, complaint.worth) == (1, -5)


def test_a_contact_s_page_shows_the_waterfall_of_now_and_of_any_instant(client, boss, jana):
    client.force_login(boss)
    address = reverse("admin:contacts_contact_change", args=[jana.pk])
    with time_machine.travel(NOW, tick=False):
        now = client.get(address).content.decode()
        then = client.get(f"{address}?at=2026-10-27").content.decode()
        before = client.get(f"{address}?at=2025-01-01T10:00").content.decode()
        broken = client.get(f"{address}?at=yesterday").content.decode()
        ahead = client.get(f"{address}?at=2030-01-01").content.decode()
    assert "Why Engagement is 30" in now and "Why Fit is 10" in now and "Product: A1" in now
    assert "halves every 14 days" in now and "it falls under the line on 17 November 2026" in now
    assert 'class="fall-curve"' in now and "<style" not in now
    # The end of 27 October, the day of the second look.
    assert "Scores on 28 October 2026, 00:00" in then and "Why Engagement is 24" in then
    assert "Why Engagement is 0" in before
    assert "That is no point of time" in broken and "Why Engagement is 30" in broken
    assert "Why Engagement is 30" in ahead and "Scores on" not in ahead


def test_who_may_not_see_scores_sees_none_beside_a_contact(client, jana):
    user = get_user_model().objects.create_user("looker", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename="view_contact"))
    client.force_login(user)
    page = client.get(reverse("admin:contacts_contact_change", args=[jana.pk])).content.decode()
    assert "Engagement" not in page and 'id="scores"' not in page
    # Nor does the list tell who has which grade: it shows everybody whatever is asked.
    for grade in ("A1", "B3"):
        listed = client.get(f"{reverse('admin:contacts_contact_changelist')}?grade=product:{grade}")
        assert list(listed.context["cl"].result_list) == [jana]


def test_rest_gives_the_waterfall_and_the_curve_at_an_instant(api, jana):
    (standing,) = api("scores/?score=engagement").json()["results"]
    told = api(f"scores/{standing['id']}/waterfall/").json()
    assert told["value"] == 30 and told["contact"] == jana.pk and told["is_over"]
    assert told["falls_under_at"] == standing["falls_at"]
    assert sum(one["worth_now"] for one in told["points"]) == told["value"]
    assert len(told["curve"]) == 121
    then = api(f"scores/{standing['id']}/waterfall/?at=-14d").json()
    assert then["value"] == 25 and then["at"].startswith("2026-10-27T09:00")
    assert refused(api(f"scores/{standing['id']}/waterfall/?at=soon")) == ["at"]
    assert api(f"contacts/{jana.pk}/explain/?score=engagement&at=-14d").json()["value"] == 25
    assert api(f"contacts/{jana.pk}/explain/?grade=product&at=-40d").json()["grade"] == "B3"
    assert api(f"contacts/{jana.pk}/explain/?grade=product").json()["grade"] == "A1"
    assert refused(api(f"contacts/{jana.pk}/explain/?score=engagement&at=soon")) == ["at"]


def test_rest_gives_the_matrices_and_finds_who_has_a_grade(api, jana):
    known("petr@example.com")
    (matrix,) = api("grades/").json()["results"]
    assert matrix["key"] == "product" and matrix["grades"] == ["A1", "A2", "A3", "B1", "B2", "B3"]
    people = api("grades/product/").json()["people"]
    assert people == {"A1": 1, "A2": 0, "A3": 0, "B1": 0, "B2": 0, "B3": 1}
    assert [one["id"] for one in api("contacts/?grade=product:A1").json()["results"]] == [jana.pk]
    assert refused(api("contacts/?grade=product:A9")) == refused(api("contacts/?grade=A1")) == ["grade"]


def test_rest_weighs_a_score_before_it_is_saved(api, jana):
    when = {"did": "page.viewed"}
    score = {"key": "engagement", "qualify_at": 60, "rules": [{"key": "pricing", "when": when, "points": 20}]}
    told = api("scores/what-if/", score).json()
    assert (told["at_once"]["falls"], told["at_once"]["rises"]) == (1, 0)
    # Recounted, its rule never fades: three times twenty; the complaint's rule is switched off.
    assert (told["recounted"]["falls"], told["recounted"]["changed"]) == (0, 1)
    assert told["recounted"]["people"] == [
        {"contact": jana.pk, "value_now": 30, "value_then": 60, "was_over": True, "is_over": True}
    ]
    assert ContactScore.objects.get(model__key="engagement").value == 30
    bad = {"rules": [{"key": "pricing", "when": {"did": "x"}, "points": 1}]}
    assert refused(api("scores/what-if/", score | bad)) == ["rules[0].when.did"]


def test_the_command_explains_scores_and_grades_of_any_moment(capsys, jana):
    at = (NOW - 14 * DAY).isoformat()
    call_command("explain", str(jana.pk), "--score", "engagement", "--now", at, "--json")
    assert json.loads(capsys.readouterr().out)["value"] == 25
    call_command("explain", str(jana.pk), "--grade", "product", "--now", NOW.isoformat())
    shown = capsys.readouterr().out
    assert "grade: A1" in shown and "rule: pricing" in shown
