"""Groups of score rules: as code and back byte by byte, in the form of the score, and refused with their place."""

import json

import pytest
from django.contrib.auth import get_user_model
from django.urls import reverse

from contacts.definitions import DefinitionError
from journey_crm import as_code
from journey_crm.roles import MARKETER, ensure_roles
from scoring.models import ScoreEntry, ScoreGroup, ScoreModel, ScoreRule
from tests.scoring.world import NOW, did, tick, visitor

pytestmark = pytest.mark.django_db

TEXT = """\
scores:
- key: engagement
  kind: engagement
  qualify_at: 50.0
  groups:
  - key: mail
    cap_per_day: 20.0
  - key: web
    name: On our pages
    cap_per_day: 30.0
  rules:
  - key: click
    when: {did: email.clicked}
    points: 8.0
    group: mail
  - key: page
    when: {did: page.viewed}
    points: 20.0
    half_life: 14d
    cap_per_day: 25.0
    group: web
  - key: webinar
    when: {did: webinar.attended}
    points: 25.0
"""


def apply(text):
    as_code.apply([as_code.read(text)], is_publish=False, now=NOW)


def exported():
    return as_code.write(as_code.export(["engagement"]))


def test_groups_come_back_from_a_file_as_they_were_written():
    apply(TEXT)
    first = exported()
    assert {rule.key: rule.group and rule.group.key for rule in ScoreRule.objects.all()} == {
        "click": "mail",
        "page": "web",
        "webinar": None,
    }
    assert ScoreGroup.objects.get(key="web").name == "On our pages"
    ScoreModel.objects.all().delete()
    apply(first)
    assert exported() == first
    apply(first)
    assert exported() == first


def test_a_group_that_left_the_file_goes_and_its_rules_stay():
    apply(TEXT)
    apply(TEXT.replace("  - key: mail\n    cap_per_day: 20.0\n", "").replace("    group: mail\n", ""))
    assert list(ScoreGroup.objects.values_list("key", flat=True)) == ["web"]
    assert ScoreRule.objects.get(key="click").group is None
    contact = visitor()
    for _ in range(2):
        did(contact, "page.viewed")
    tick()
    assert ScoreEntry.objects.get().points == 25


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("group: web", "group: wob", r"rules\[1\].group: must be one of the groups of this score \(mail, web\)"),
        ("cap_per_day: 20.0\n", "cap_per_day: -1\n", r"groups\[0\].cap_per_day: must be a number that is not negative"),
        ("  - key: mail\n    cap_per_day: 20.0\n", "  - key: mail\n", r"groups\[0\].cap_per_day: is missing"),
        ("kind: engagement", "kind: fit", r"groups\[0\]: is for engagement"),
    ],
)
def test_a_group_that_makes_no_sense_is_refused_with_its_place(before, after, said):
    assert before in TEXT
    with pytest.raises(DefinitionError, match=said):
        apply(TEXT.replace(before, after, 1))
    assert not ScoreGroup.objects.exists()


def test_a_group_is_made_and_given_to_a_rule_in_the_form_of_the_score(client):
    user = get_user_model().objects.create_user("mark", is_staff=True)
    user.groups.add(ensure_roles()[MARKETER])
    client.force_login(user)
    other = ScoreModel.objects.create(key="other")
    foreign = ScoreGroup.objects.create(model=other, key="foreign", cap_per_day=1)
    score = ScoreModel.objects.create(key="engagement")
    rule = ScoreRule.objects.create(model=score, key="page", when={"did": "page.viewed"}, points=10)
    form = {
        "name": "Web", "qualify_at": "50", "hysteresis": "5",
        "rules-TOTAL_FORMS": "1", "rules-INITIAL_FORMS": "1", "rules-0-id": rule.pk, "rules-0-model": score.pk,
        "rules-0-key": "page", "rules-0-when": json.dumps(rule.when), "rules-0-points": "10", "rules-0-is_active": "on",
        "groups-TOTAL_FORMS": "1", "groups-INITIAL_FORMS": "0", "groups-0-key": "web", "groups-0-cap_per_day": "15",
    }  # fmt: skip
    page = reverse("admin:scoring_scoremodel_change", args=[score.pk])
    assert client.post(page, form).status_code == 302
    group = score.groups.get()
    form |= {"groups-INITIAL_FORMS": "1", "groups-0-id": group.pk, "groups-0-model": score.pk}
    assert client.post(page, form | {"rules-0-group": foreign.pk}).status_code == 200
    assert client.post(page, form | {"rules-0-group": group.pk}).status_code == 302
    rule.refresh_from_db()
    assert rule.group == group
