"""Segments by REST: made, changed, refused, deleted; people put in and out by hand; why somebody is in one."""

import json
from datetime import timedelta
from io import StringIO

import pytest
from django.contrib.auth.models import Permission
from django.core.management import call_command
from django.utils import timezone

from contacts import segments
from contacts.models import Contact, Field, Identity, MembershipOverride, Segment
from scoring.models import ScoreModel

pytestmark = pytest.mark.django_db

CZECH = {"field": "country", "op": "eq", "value": "CZ"}


@pytest.fixture
def api(client, admin, bearer):
    headers = bearer(admin, "admin")

    def call(method, path, data=None, headers=headers):
        return client.generic(
            method, f"/api/v1/{path}", json.dumps(data), content_type="application/json", headers=headers
        )

    return call


def person(email: str, **values) -> Contact:
    contact = Contact.objects.create(email=email, **values)
    Identity.objects.create(contact=contact, kind="email", value=email)
    return contact


def errors(answer) -> dict[str, str]:
    return {one["field"]: one["message"] for one in answer.json()["errors"]}


def refresh():
    return segments.refresh(timezone.now(), 0, 0)


def test_a_segment_is_made_read_changed_and_deleted(api):
    made = api("POST", "segments/", {"key": "czech", "name": "Czech", "rule": CZECH})
    assert made.status_code == 201
    assert made["Location"].endswith("/api/v1/segments/czech/")
    assert api("GET", "segments/czech/").json() == made.json()
    assert made.json()["problem"] == "" and made.json()["is_swept"] is False
    changed = api("PATCH", "segments/czech/", {"rule": None, "name": "Friends"}).json()
    assert (changed["rule"], changed["name"]) == (None, "Friends")
    assert api("POST", "segments/", {"key": "czech"}).status_code == 409
    assert api("DELETE", "segments/czech/").status_code == 204
    assert api("GET", "segments/czech/").status_code == 404


def test_what_is_wrong_with_a_rule_is_said_with_its_place(api):
    Segment.objects.create(key="a", name="A")
    Segment.objects.create(key="b", name="B", rule={"in_segment": "a"})
    wrong = api("POST", "segments/", {"key": "x", "rule": {"all": [CZECH, {"field": "plan", "op": "eq", "value": 1}]}})
    assert (wrong.status_code, list(errors(wrong))) == (400, ["rule.all[1].field"])
    circle = api("PATCH", "segments/a/", {"rule": {"in_segment": "b"}})
    assert circle.status_code == 400
    assert "a" in errors(circle)["rule"] and "b" in errors(circle)["rule"]
    assert list(errors(api("PATCH", "segments/a/", {"key": "c"}))) == ["key"]
    assert list(errors(api("POST", "segments/", {"key": "x", "colour": "red"}))) == ["colour"]
    assert set(Segment.objects.values_list("key", flat=True)) == {"a", "b"}


def test_a_segment_in_use_is_not_deleted_and_its_users_are_named(api):
    Segment.objects.create(key="used", name="Used")
    Segment.objects.create(key="user", name="The user", rule={"in_segment": "used"})
    refused = api("DELETE", "segments/used/")
    assert refused.status_code == 409
    assert "The user" in json.dumps(refused.json())


def test_people_are_put_in_kept_out_and_left_to_the_rule(api):
    ann, ben = person("ann@example.com", country="CZ"), person("ben@example.com")
    old = Contact.objects.create(merged_into=ben)
    Segment.objects.create(key="czech", name="Czech", rule=CZECH)
    refresh()
    until = timezone.now() + timedelta(days=1)
    answer = api(
        "POST", "segments/czech/members/",
        {"contacts": [old.pk, 10**9], "emails": [" BEN@example.com", "nobody@example.com"], "until": until.isoformat()},
    )  # fmt: skip
    assert answer.json() == {"changed": 1, "unknown": [10**9, "nobody@example.com"]}
    assert api("POST", "segments/czech/members/remove/", {"contacts": [ann.pk]}).json()["changed"] == 1
    refresh()
    [row] = api("GET", "segments/czech/members/").json()["results"]
    assert (row["id"], row["by_hand"]["by"], row["by_hand"]["is_member"]) == (ben.pk, "root", True)
    assert row["by_hand"]["until"] and row["entered_at"]
    assert api("POST", "segments/czech/members/release/", {"emails": ["ann@example.com"]}).json()["changed"] == 1
    segments.refresh(until, 0, 0)
    [row] = api("GET", "segments/czech/members/").json()["results"]
    assert (row["id"], row["by_hand"]) == (ann.pk, None)
    assert not MembershipOverride.objects.exists()


def test_who_is_named_by_nobody_or_until_yesterday_is_refused(api):
    Segment.objects.create(key="friends", name="Friends")
    assert list(errors(api("POST", "segments/friends/members/", {}))) == ["contacts"]
    past = (timezone.now() - timedelta(days=1)).isoformat()
    assert list(errors(api("POST", "segments/friends/members/", {"contacts": [1], "until": past}))) == ["until"]
    assert list(errors(api("POST", "segments/friends/members/", {"contacts": ["x"]}))) == ["contacts.0"]


def test_a_rep_puts_in_only_people_of_her_own(api, rep, bearer):
    rep.user_permissions.add(Permission.objects.get(codename="change_segment"))
    headers = bearer(rep, "sync", "read")
    mine, other = person("mine@example.com"), person("other@example.com")
    mine.owner = rep
    mine.save()
    Segment.objects.create(key="friends", name="Friends")
    answer = api("POST", "segments/friends/members/", {"contacts": [mine.pk, other.pk]}, headers)
    assert answer.json() == {"changed": 1, "unknown": [other.pk]}


def test_a_segment_that_cannot_be_asked_any_more_says_why(api):
    plan = Field.objects.create(key="plan")
    Segment.objects.create(key="trial", name="Trial", rule={"field": "plan", "op": "eq", "value": "trial"})
    plan.delete()
    assert "plan" in api("GET", "segments/trial/").json()["problem"]
    assert "plan" in api("GET", "segments/").json()["results"][0]["problem"]


def test_why_somebody_is_in_a_segment_is_one_answer_for_the_command_and_the_api(api):
    ann = person("ann@example.com", country="CZ")
    Segment.objects.create(key="czech", name="Czech", rule={"all": [CZECH, {"stage": "lead"}]})
    refresh()
    told = api("GET", f"contacts/{ann.pk}/explain/?segment=czech").json()
    assert (told["is_member"], told["rule_means"]) == (False, False)
    assert [(one["path"], one["is_true"]) for one in told["conditions"]] == [("all[0]", True), ("all[1]", False)]
    out = StringIO()
    call_command("explain", "ann@example.com", "--segment", "czech", "--json", stdout=out)
    said = json.loads(out.getvalue())
    assert said.keys() == told.keys()
    assert [one["is_true"] for one in said["conditions"]] == [True, False]


def test_what_else_is_explained_and_what_is_refused(api, rep, bearer):
    ann = person("ann@example.com")
    ScoreModel.objects.create(key="engagement", name="Engagement")
    assert api("GET", f"contacts/{ann.pk}/explain/?score=engagement").json()["value"] == 0
    assert list(errors(api("GET", f"contacts/{ann.pk}/explain/?journey=none"))) == ["journey"]
    assert list(errors(api("GET", f"contacts/{ann.pk}/explain/"))) == ["segment"]
    assert list(errors(api("GET", f"contacts/{ann.pk}/explain/?colour=red"))) == ["colour"]
    Contact.objects.update(owner=rep)
    reads = bearer(rep, "read")
    assert api("GET", f"contacts/{ann.pk}/explain/?journey=none", headers=reads).status_code == 403
    assert api("GET", "contacts/999999/explain/?segment=x").status_code == 404
