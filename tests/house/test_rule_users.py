"""What a rule asks about cannot be deleted under it: every JSON column that holds a rule, by every way to delete."""

from datetime import timedelta

import pytest
from django.apps import apps
from django.contrib.auth import get_user_model
from django.db.models import JSONField
from django.urls import reverse
from django.utils import timezone

from contacts import fieldindexes, fields, segments, tokens
from contacts.models import Field, Segment
from growth.models import Offer
from leads.models import Rep, Team
from messaging.models import SignupForm, Template, Topic
from scoring.models import ScoreModel, ScoreRule, StageRule
from tests.campaigns.world import journey

pytestmark = pytest.mark.django_db
NOW = timezone.now() - timedelta(days=1)


def a_score(rule):
    model = ScoreModel.objects.create(key="fit", name="Fit", kind="fit")
    ScoreRule.objects.create(model=model, key="big", name="Big company", when=rule, points=5)


def a_rep(rule):
    ann = get_user_model().objects.create_superuser("ann")
    Rep.objects.create(team=Team.objects.create(key="field", name="Field sales"), user=ann, rule=rule)


def a_template():
    Template.objects.create(
        key="t", name="Hello", topic=Topic.objects.create(key="tips", name="Tips"), subject="plan",
        body="plan {{ other | default: 'plan' }}", translations={"cs": {"body": "{% if plan == 'pro' %}Hi{% endif %}"}},
    )  # fmt: skip


# Each column that holds rules: what makes a row with one, and what people know its owner by.
RULES = {
    "contacts.Segment.rule": (
        lambda rule: Segment.objects.create(key="vip", name="VIP", rule=rule), "segment “VIP”",
    ),
    "scoring.ScoreRule.when": (a_score, "rule “Big company” of the score “Fit”"),
    "scoring.StageRule.rule": (lambda rule: StageRule.objects.create(stage="lead", rule=rule), "stage “Lead”"),
    "scoring.StageRule.leave_rule": (
        lambda rule: StageRule.objects.create(stage="lead", leave_rule=rule, leave_to="known"), "stage “Lead”",
    ),
    "scoring.StageRule.phase_rule": (
        lambda rule: StageRule.objects.create(stage="lead", phase_rule=rule), "stage “Lead”",
    ),
    "growth.Offer.audience": (
        lambda rule: Offer.objects.create(key="spring", name="Spring", audience=rule), "offer “Spring”",
    ),
    "growth.Offer.excludes": (
        lambda rule: Offer.objects.create(key="spring", name="Spring", excludes=[rule]), "offer “Spring”",
    ),
    "leads.Team.rule": (
        lambda rule: Team.objects.create(key="inside", name="Inside sales", rule=rule),
        "routing to the team “Inside sales”",
    ),
    "leads.Rep.rule": (a_rep, "routing to “ann · Field sales”"),
    "campaigns.Draft.definition": (
        lambda rule: journey(NOW, key="welcome", publish=False, steps=[{"ask": rule, "then": [{"send": "a"}]}]),
        "journey “welcome”",
    ),
    "campaigns.JourneyVersion.definition": (
        lambda rule: journey(NOW, key="welcome", goal={"rule": rule}, steps=[{"send": "a"}]), "journey “welcome”",
    ),
    "campaigns.Node.config": (
        lambda rule: journey(NOW, key="welcome", steps=[{"ask": rule, "then": [{"send": "a"}]}]), "journey “welcome”",
    ),
}  # fmt: skip

# Those that hold none. A new column stands in one of the two lists, or a test is red.
NO_RULES = {
    "contacts.ApiToken": {"scopes"},
    "contacts.Company": {"attributes"},
    "contacts.Contact": {"attributes"},
    "contacts.Erasure": {"counts", "sought"},
    "contacts.Export": {"columns"},
    "contacts.Field": {"choices"},
    "contacts.Import": {"headers", "mapping", "constants", "checked", "undone", "readings"},
    "contacts.ImportNote": {"cells", "reasons"},
    "contacts.ImportedPerson": {"before", "after"},
    "contacts.Incoming": {"traits", "properties"},
    "contacts.Merge": {"before"},
    "contacts.MergeEntry": {"row"},
    "contacts.RetentionRule": {"kept_properties"},
    "contacts.Touchpoint": {"properties"},
    "contacts.Trait": {"types", "samples"},
    "contacts.UnfitValue": {"value"},
    "contacts.WebhookDelivery": {"payload"},
    "campaigns.Journey": {"pause_reason"},
    # What a publish did to the people inside: numbers and choices, no rules.
    "campaigns.JourneyVersion": {"sheet"},
    "campaigns.Verdict": {"numbers"},
    "campaigns.Visit": {"inputs"},
    "leads.Lead": {"evidence"},
    "leads.LeadMove": {"before", "after", "beside", "told"},
    "leads.RejectReason": {"names"},
    # Groups of people by what was said of them, and the numbers of a refusal.
    "scoring.PredictionModel": {"reliability", "refusal"},
    "messaging.Brand": {"colours", "fonts", "languages", "banned_words", "glossary", "tone", "legal"},
    "messaging.LintFinding": {"values"},
    "messaging.Reading": {"users", "colours", "fonts", "tone"},
    "messaging.Message": {"context"},
    "messaging.Signup": {"topics", "traits"},
    "messaging.SignupForm": {"fields", "wording", "origins"},
    "messaging.ReusableBlock": {"translations"},
    "messaging.Template": {"translations", "utm"},
    "messaging.TemplateVersion": {"content", "link_counts"},
    "messaging.Topic": {"names", "descriptions"},
    "messaging.UtmRules": {"hosts"},
}
OURS = {"contacts", "scoring", "messaging", "growth", "leads", "campaigns", "insights", "journey_crm"}

# What needs a field, but nobody is found by it.
PRINTED = {
    "a template": (a_template, "template “Hello”"),
    "a sign-up form": (
        lambda: SignupForm.objects.create(key="join", name="Join us", fields=["plan"]), "sign-up form “Join us”",
    ),
}  # fmt: skip


def test_every_json_column_is_known_to_hold_rules_or_none():
    found = {
        f"{model._meta.label}.{field.name}"
        for model in apps.get_models()
        if model._meta.app_label in OURS and not model._meta.proxy
        for field in model._meta.concrete_fields
        if isinstance(field, JSONField)
    }
    none = {f"{model}.{name}" for model, names in NO_RULES.items() for name in names}
    assert found == none | set(RULES) and not none & set(RULES)


@pytest.fixture
def boss(client):
    boss = get_user_model().objects.create_superuser("boss")
    client.force_login(boss)
    return boss


def refused(client, boss, address: str, one, owner: str) -> None:
    """By REST and in the admin, each naming the owner."""
    _token, secret = tokens.issue(user=boss, scopes=["admin", "read"], now=timezone.now())
    answer = client.delete(address, headers={"Authorization": f"Bearer {secret}"})
    assert answer.status_code == 409 and owner in answer.json()["title"], answer.content
    label = one._meta.label_lower.replace(".", "_")
    page = client.get(reverse(f"admin:{label}_delete", args=[one.pk]))
    assert owner in page.content.decode()
    client.post(reverse(f"admin:{label}_delete", args=[one.pk]), {"post": "yes"})
    chosen = {"action": "delete_selected", "_selected_action": [one.pk], "post": "yes"}
    client.post(reverse(f"admin:{label}_changelist"), chosen)
    assert type(one).objects.filter(pk=one.pk).exists()


@pytest.mark.parametrize("column", RULES)
def test_a_segment_that_a_rule_names_stays_and_its_user_is_named(client, boss, column):
    make, owner = RULES[column]
    czech = Segment.objects.create(key="czech", name="Czech people")
    make({"all": [{"not": {"in_segment": "czech"}}]})
    with pytest.raises(segments.InUse, match=owner):
        segments.remove(czech)
    refused(client, boss, "/api/v1/segments/czech/", czech, owner)
    assert segments.broken_rules() == {}


@pytest.mark.parametrize("column", RULES)
def test_a_field_that_a_rule_asks_about_stays_and_its_user_is_named(client, boss, column):
    make, owner = RULES[column]
    plan = Field.objects.create(key="plan", name="Plan", type="text")
    make({"any": [{"field": "plan", "op": "eq", "value": "pro"}, {"did": "order.placed"}]})
    with pytest.raises(fields.InUse, match=owner):
        fields.remove(plan, now=NOW)
    refused(client, boss, "/api/v1/fields/plan/", plan, owner)
    assert fieldindexes.wanted() == {fieldindexes.name_of(plan): plan}


@pytest.mark.parametrize("what", PRINTED)
def test_a_field_that_is_printed_or_filled_in_stays_and_needs_no_index(client, boss, what):
    make, owner = PRINTED[what]
    plan, other = (Field.objects.create(key=key, type="text") for key in ("plan", "pla"))
    make()
    with pytest.raises(fields.InUse, match=owner):
        fields.remove(plan, now=NOW)
    refused(client, boss, "/api/v1/fields/plan/", plan, owner)
    assert fieldindexes.wanted() == {}
    fields.remove(other, now=NOW)


def test_what_an_event_carries_is_no_field_and_what_nobody_asks_goes():
    a_score({"did": "order.placed", "where": [{"field": "plan", "op": "eq", "value": "pro"}]})
    Offer.objects.create(key="spring", audience={"in_segment": "czech"})
    plan = Field.objects.create(key="plan", type="text")
    fields.remove(plan, now=NOW)
    assert not Field.objects.exists()


def test_a_rule_that_cannot_be_asked_is_told_by_health_and_marked_in_the_lists(client, boss):
    gone = {"field": "gone", "op": "is_set"}
    a_score(gone)
    StageRule.objects.create(stage="lead", rule=gone)
    Team.objects.create(key="inside", name="Inside sales", rule=gone)
    a_rep(gone)
    Offer.objects.create(key="spring", name="Spring", excludes=[gone])
    told = client.get("/health/").json()["broken_rules"]
    assert set(told) == {RULES[column][1] for column in RULES if column.split(".")[0] in ("scoring", "growth", "leads")}
    assert all("gone" in reason for reason in told.values())
    for name in ("scoring_scoremodel", "scoring_stagerule", "leads_team", "leads_rep", "growth_offer"):
        page = client.get(reverse(f"admin:{name}_changelist")).content.decode()
        assert page.count("chip is-bad") == 1 and "There is no field" in page, name
    page = client.get(reverse("admin:scoring_scoremodel_changelist")).content.decode()
    assert "Big company" in page
    ScoreRule.objects.update(is_active=False)
    assert "chip is-bad" not in client.get(reverse("admin:scoring_scoremodel_changelist")).content.decode()
