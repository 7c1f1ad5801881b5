"""Scores, stage rules, teams and leads in the admin: looked at, edited, and refused with the place of the mistake."""

import json

import pytest
from django.contrib.auth import get_user_model
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from journey_crm.roles import MARKETER, SALES_REP, ensure_roles
from leads.models import Lead, RejectReason, Team
from scoring.definitions import SECTIONS, DefinitionError
from scoring.models import ContactScore, GradeMatrix, ScoreEntry, ScoreModel, ScoreRule, StageChange, StageRule
from tests.scoring.world import NOW, did, known, model, rule, tick

pytestmark = pytest.mark.django_db
PAGES = [
    "scoring_scoremodel",
    "scoring_stagerule",
    "scoring_stagechange",
    "leads_team",
    "leads_rejectreason",
    "leads_lead",
]


def person(name: str, role: str, **more):
    user = get_user_model().objects.create_user(name, **more)
    user.groups.add(ensure_roles()[role])
    return user


@pytest.fixture
def marketer(client):
    user = person("mark", MARKETER, is_staff=True)
    client.force_login(user)
    return user


def score_form(when: dict, kind: str = "engagement", **more) -> dict:
    return {
        "key": "web", "name": "Web", "kind": kind, "qualify_at": "50", "hysteresis": "5",
        "rules-TOTAL_FORMS": "1", "rules-INITIAL_FORMS": "0", "groups-TOTAL_FORMS": "0", "groups-INITIAL_FORMS": "0",
        "rules-0-key": "page", "rules-0-when": json.dumps(when), "rules-0-points": "10", "rules-0-is_active": "on",
        "rules-0-half_life": "14 00:00:00", **more,
    }  # fmt: skip


def test_a_marketer_opens_every_page_and_a_rep_none(client, marketer):
    engagement = model(qualify_at=50)
    rule(engagement, "page.viewed", 60)
    did(known(), "page.viewed")
    tick()
    Team.objects.create(key="inside")
    RejectReason.objects.create(key="no-budget", name="No budget")
    StageRule.objects.create(stage="lead", rule={"field": "country", "op": "is_set"})
    for page in PAGES:
        assert client.get(reverse(f"admin:{page}_changelist")).status_code == 200, page
    for one in (engagement, StageRule.objects.get(), StageChange.objects.latest("pk"), Lead.objects.get()):
        page = f"admin:{one._meta.app_label}_{one._meta.model_name}_change"
        assert client.get(reverse(page, args=[one.pk])).status_code == 200
    assert client.post(reverse("admin:leads_lead_add")).status_code == 403
    assert client.post(reverse("admin:scoring_stagechange_add")).status_code == 403
    client.force_login(person("ann", SALES_REP))
    for page in PAGES:
        assert client.get(reverse(f"admin:{page}_changelist")).status_code == 302, page


def test_a_score_is_made_with_its_rules_and_counts_from_the_next_tick(client, marketer):
    answer = client.post(reverse("admin:scoring_scoremodel_add"), score_form({"did": "page.viewed"}))
    assert answer.status_code == 302
    did(known(), "page.viewed")
    tick()
    assert ContactScore.objects.get().value == 10


@pytest.mark.parametrize(
    ("when", "kind", "message"),
    [
        ({"did": "pageviewed"}, "engagement", "is no kind of touchpoint"),
        ({"did": "page.viewed", "count": {"op": "gte", "value": 3}}, "engagement", "count: "),
        ({"field": "country", "op": "eq", "value": "CZ"}, "engagement", "one “did”"),
        ({"field": "colour", "op": "eq", "value": "red"}, "fit", "There is no field"),
    ],
)
def test_a_rule_that_cannot_be_asked_is_refused_in_the_form_and_in_a_file(when, kind, message, client, marketer):
    answer = client.post(reverse("admin:scoring_scoremodel_add"), score_form(when, kind))
    assert answer.status_code == 200
    formset = answer.context["inline_admin_formsets"][0].formset
    assert message in str(formset.errors[0]["when"])
    assert not ScoreModel.objects.exists()
    (scores,) = [section for section in SECTIONS if section.name == "scores"]
    with pytest.raises(DefinitionError, match=r"rules\[0\].when"):
        scores.write({"key": "web", "kind": kind, "rules": [{"key": "page", "when": when, "points": 1}]})


def test_stage_and_team_rules_that_cannot_be_asked_are_refused_in_the_form(client, marketer):
    bad = json.dumps({"any": []})
    answer = client.post(reverse("admin:scoring_stagerule_add"), {"stage": "lead", "rule": bad})
    assert "The rule asks nothing yet." in str(answer.context["errors"])
    client.force_login(get_user_model().objects.create_superuser("root"))
    answer = client.post(reverse("admin:leads_team_add"), {"key": "inside", "rule": bad})
    assert "The rule asks nothing yet." in str(answer.context["errors"])
    assert not StageRule.objects.exists() and not Team.objects.exists()


def test_a_recount_asked_on_the_page_is_done_by_the_next_tick(client, marketer):
    engagement, contact = model(), known()
    did(contact, "page.viewed", NOW)
    tick()
    rule(engagement, "page.viewed", 10)
    tick()
    assert not ContactScore.objects.filter(value__gt=0).exists()
    client.post(
        reverse("admin:scoring_scoremodel_changelist"), {"action": "recount", "_selected_action": [engagement.pk]}
    )
    tick()
    assert ContactScore.objects.get(contact=contact).value == 10


def test_a_rule_whose_field_was_deleted_does_not_stop_the_others():
    engagement, contact = model(), known()
    rule(engagement, "page.viewed", 10)
    broken = rule(model("fit", kind="fit"), {"field": "country", "op": "is_set"}, 5)
    type(broken).objects.filter(pk=broken.pk).update(when={"field": "gone", "op": "is_set"})
    StageRule.objects.create(stage="lead", rule={"field": "gone", "op": "is_set"})
    Team.objects.create(key="inside", rule={"field": "gone", "op": "is_set"})
    did(contact, "page.viewed")
    did(contact, "handoff.requested", properties={"reason": "trial finished"})
    tick()
    assert ContactScore.objects.get(model=engagement).value == 10
    assert Lead.objects.get().team is None


def test_deleting_a_score_says_how_much_goes_along_and_reads_none_of_it(client, marketer):
    engagement, fit = model(qualify_at=50), model("fit", kind="fit")
    page = rule(engagement, "page.viewed", 60, key="page")
    rule(engagement, "email.clicked", 60, key="click")
    for number in range(3):
        did(known(f"p{number}@example.com"), "page.viewed")
    tick()
    matrix = GradeMatrix.objects.create(key="web", fit=fit, engagement=engagement, fit_from=[5], engagement_from=[5])
    deleting = reverse("admin:scoring_scoremodel_delete", args=[engagement.pk])
    with CaptureQueriesContext(connection) as asked:
        answer = client.get(deleting)
    assert dict(answer.context["model_count"]) == {
        "scores": 1, "score rules": 2, "groups of score rules": 0, "contacts' scores": 3, "score ledger": 3,
    }  # fmt: skip
    assert answer.context["protected"] == ["grade matrix: web"]
    form = score_form({"did": "page.viewed"}) | {
        "rules-INITIAL_FORMS": "1", "rules-0-id": page.pk, "rules-0-model": engagement.pk, "rules-0-DELETE": "on",
    }  # fmt: skip
    with CaptureQueriesContext(connection) as saved:
        answer = client.post(reverse("admin:scoring_scoremodel_change", args=[engagement.pk]), form)
    assert answer.status_code == 302 and not ScoreRule.objects.filter(pk=page.pk).exists()
    assert not ScoreEntry.objects.exists()
    for query in (*asked, *saved):
        assert not query["sql"].startswith('SELECT "scoring_scoreentry"."id"'), query["sql"]
    matrix.delete()
    assert client.post(deleting, {"post": "yes"}).status_code == 302
    assert not ScoreModel.objects.filter(pk=engagement.pk).exists()
