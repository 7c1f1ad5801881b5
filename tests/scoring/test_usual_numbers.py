"""Numbers and keys that no score can have are refused by every door, with the name of the field."""

import json
from datetime import timedelta

import pytest
from django.contrib.auth import get_user_model
from django.db import IntegrityError, transaction
from django.urls import reverse
from django.utils import timezone

from contacts import tokens
from contacts.models import Touchpoint
from journey_crm import as_code
from scoring.models import ScoreGroup, ScoreModel, ScoreRule
from tests.scoring.world import NOW, did, known, model, rule, tick, told

pytestmark = pytest.mark.django_db

RULE = {"key": "page", "when": {"did": "page.viewed"}, "points": 5}
INF, NAN = float("inf"), float("nan")


@pytest.fixture
def boss():
    return get_user_model().objects.create_superuser("boss")


@pytest.mark.parametrize("number", [1e308, -1e308, INF, -INF, NAN, 1e-300, -1e-300])
@pytest.mark.parametrize("name", ["points", "cap_per_day"])
def test_points_that_outgrow_a_float_are_refused_by_the_schema(name, number):
    score = model()
    with pytest.raises(IntegrityError), transaction.atomic():
        ScoreRule.objects.create(model=score, **RULE | {name: number})
    with pytest.raises(IntegrityError), transaction.atomic():
        ScoreGroup.objects.create(model=score, key="pages", cap_per_day=number)


@pytest.mark.parametrize(
    ("name", "number"), [("hysteresis", -1), ("hysteresis", NAN), ("qualify_at", INF), ("qualify_at", NAN)]
)
def test_a_line_that_nobody_can_stay_over_is_refused_by_the_schema(name, number):
    with pytest.raises(IntegrityError), transaction.atomic():
        ScoreModel.objects.create(key="engagement", **{"qualify_at": 10, name: number})


def test_the_largest_and_the_smallest_points_are_added_up_and_fade_to_nothing():
    score, jana = model(qualify_at=10), known()
    rule(score, "page.viewed", 1_000_000, days=1 / 24, key="most")
    rule(score, "page.viewed", 0.001, days=1 / 24, key="least")
    Touchpoint.objects.bulk_create(
        Touchpoint(contact=jana, kind="page.viewed", occurred_at=NOW, received_at=NOW) for _ in range(1_000)
    )
    tick(NOW)
    for days in (1, 60, 3_650):
        did(jana, "page.viewed", NOW + timedelta(days=days))
        tick(NOW + timedelta(days=days))
    assert [crossing["direction"] for crossing in told(jana, "score.crossed")] == ["up"] * 1


@pytest.mark.parametrize(
    ("told", "field"),
    [
        ({"key": "x" * 65}, "key"),
        ({"key": "héllo wörld"}, "key"),
        ({"kind": "fit"}, "kind"),
        ({"qualify_at": 1e300}, "qualify_at"),
        ({"hysteresis": -5}, "hysteresis"),
        ({"rules": {}}, "rules"),
        ({"rules": [RULE, RULE]}, "rules[1].key"),
        ({"rules": [RULE | {"key": 5}]}, "rules[0].key"),
        ({"rules": [RULE | {"key": "x" * 65}]}, "rules[0].key"),
        ({"rules": [RULE | {"points": 1e308}]}, "rules[0].points"),
        ({"rules": [RULE | {"points": 1e-300}]}, "rules[0].points"),
        ({"rules": [RULE | {"half_life": "1m"}]}, "rules[0].half_life"),
        ({"rules": [RULE | {"cap_per_day": -1}]}, "rules[0].cap_per_day"),
        ({"rules": [RULE | {"group": ["a"]}]}, "rules[0].group"),
        ({"groups": 5}, "groups"),
        ({"groups": [{"key": ["x"], "cap_per_day": 1}]}, "groups[0].key"),
        ({"groups": [{"key": "x", "cap_per_day": -1}]}, "groups[0].cap_per_day"),
        ({"groups": [{"key": "x", "cap_per_day": 1}] * 2}, "groups[1].key"),
    ],
)
def test_a_score_that_cannot_be_is_refused_over_rest_with_its_field(client, boss, told, field):
    rule(model(), "page.viewed", 5, key="page")
    _token, secret = tokens.issue(user=boss, scopes=["read"], now=timezone.now())
    answer = client.post(
        "/api/v1/scores/what-if/",
        json.dumps({"key": "engagement", "rules": [RULE], **told}),
        content_type="application/json",
        headers={"Authorization": f"Bearer {secret}"},
    )
    assert answer.status_code == 400, answer.content
    assert [error["field"] for error in answer.json()["errors"]] == [field]


@pytest.mark.parametrize("number", [".inf", ".nan", "1.0e+308", "-1.0e+308"])
def test_a_file_with_a_number_that_is_none_is_refused(number):
    source = f"scores: [{{key: web, rules: [{{key: page, when: {{did: page.viewed}}, points: {number}}}]}}]"
    with pytest.raises(as_code.DefinitionError, match=r"scores\.web\.rules\[0\]\.points: must be a number"):
        as_code.apply([as_code.read(source)], now=NOW)


def test_the_form_of_a_score_says_which_number_is_wrong(client, boss):
    client.force_login(boss)
    form = {
        "key": "web", "name": "Web", "kind": "engagement", "qualify_at": "50", "hysteresis": "-5",
        "groups-TOTAL_FORMS": "0", "groups-INITIAL_FORMS": "0", "rules-TOTAL_FORMS": "0", "rules-INITIAL_FORMS": "0",
    }  # fmt: skip
    answer = client.post(reverse("admin:scoring_scoremodel_add"), form)
    assert answer.status_code == 200 and "Hysteresis: a number from 0 to 1,000,000." in answer.content.decode()


def test_a_form_without_its_count_of_rules_is_told_so_by_what_if(client, boss):
    client.force_login(boss)
    form = {"key": "web", "name": "Web", "kind": "engagement", "qualify_at": "50", "hysteresis": "5"}
    answer = client.post(reverse("admin:scoring_scoremodel_whatif"), form)
    assert answer.status_code == 422 and "could not be saved" in answer.content.decode()
