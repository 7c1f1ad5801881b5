"""Leads and scores by REST: who may see and move what, and what a refusal says."""

import pytest
from django.contrib.auth import get_user_model
from django.utils import timezone

from contacts import tokens
from contacts.models import Incoming
from journey_crm.roles import MARKETER, SALES_REP, ensure_roles
from leads import desk
from leads.models import Lead, RejectReason
from tests.scoring.world import NOW, did, known, model, rule, tick

pytestmark = pytest.mark.django_db


def person(name: str, role: str, scope: str = "sync"):
    user = get_user_model().objects.create_user(name, is_staff=role == MARKETER)
    user.groups.add(ensure_roles()[role])
    _, secret = tokens.issue(user=user, scopes=[scope], now=timezone.now())
    return user, {"headers": {"Authorization": f"Bearer {secret}"}, "content_type": "application/json"}


@pytest.fixture
def lead():
    return Lead.objects.create(contact=known(), created_at=NOW, headline="Asked for a demo")


def test_a_rep_works_a_lead_to_its_end_by_rest(client, lead):
    _, ann = person("ann", SALES_REP)
    (listed,) = client.get("/api/v1/leads/?state=open", **ann).json()["results"]
    assert (listed["id"], listed["headline"], listed["owner"]) == (lead.pk, "Asked for a demo", None)
    for move, body, state in [
        ("claim", {}, "claimed"), ("accept", {}, "accepted"), ("convert", {"value": "99.50"}, "converted"),
    ]:  # fmt: skip
        answer = client.post(f"/api/v1/leads/{lead.pk}/{move}/", body, **ann)
        assert (answer.status_code, answer.json()["state"]) == (200, state)
    assert answer.json()["value"] == "99.50"
    assert list(Incoming.objects.order_by("id").values_list("kind", flat=True)) == [
        "lead.claimed", "lead.accepted",
    ]  # fmt: skip


def test_the_second_claim_is_a_conflict_that_names_the_first(client, lead):
    ann, _ = person("ann", SALES_REP)
    _, jan = person("jan", SALES_REP)
    desk.claim(lead=lead, by=ann, now=NOW)
    answer = client.post(f"/api/v1/leads/{lead.pk}/claim/", **jan)
    assert answer.status_code == 409
    assert answer["Content-Type"] == "application/problem+json"
    assert answer.json()["title"] == "ann has taken this lead."
    for address in ("", "accept/", "reject/", "convert/"):
        method = client.post if address else client.get
        assert method(f"/api/v1/leads/{lead.pk}/{address}", **jan).status_code == 404
    assert client.get("/api/v1/leads/", **jan).json()["results"] == []


def test_a_rejection_without_a_known_reason_names_the_field(client, lead):
    ann, headers = person("ann", SALES_REP)
    desk.claim(lead=lead, by=ann, now=NOW)
    for body in ({}, {"reason": "nothing"}):
        answer = client.post(f"/api/v1/leads/{lead.pk}/reject/", body, **headers)
        assert answer.status_code == 400
        assert [error["field"] for error in answer.json()["errors"]] == ["reason"]
    answer = client.post(f"/api/v1/leads/{lead.pk}/reject/", {"reason": "x", "because": "y"}, **headers)
    assert [error["field"] for error in answer.json()["errors"]] == ["because"]
    RejectReason.objects.create(key="no-budget", name="No budget")
    answer = client.post(f"/api/v1/leads/{lead.pk}/reject/", {"reason": "no-budget", "note": "Spring"}, **headers)
    assert (answer.json()["state"], answer.json()["reject_reason"]) == ("rejected", "no-budget")
    answer = client.post(f"/api/v1/leads/{lead.pk}/accept/", **headers)
    assert (answer.status_code, answer.json()["title"]) == (409, "This lead is rejected.")


def test_a_marketer_looks_on_and_a_reading_token_moves_nothing(client, lead):
    _, marketer = person("mark", MARKETER)
    assert len(client.get("/api/v1/leads/", **marketer).json()["results"]) == 1
    assert client.post(f"/api/v1/leads/{lead.pk}/claim/", **marketer).status_code == 403
    _, reader = person("ann", SALES_REP, scope="read")
    assert client.get(f"/api/v1/leads/{lead.pk}/", **reader).status_code == 200
    assert client.post(f"/api/v1/leads/{lead.pk}/claim/", **reader).status_code == 403
    assert client.get("/api/v1/leads/").status_code == 401
    assert Lead.objects.get().state == "open"


def test_scores_are_listed_for_the_contacts_that_one_may_see(client):
    engagement = model(qualify_at=50)
    rule(engagement, "page.viewed", 60)
    seen, other = known("a@example.com"), known("b@example.com", stage="customer", highest_stage="customer")
    did(seen, "page.viewed")
    did(other, "page.viewed")
    tick()
    _, marketer = person("mark", MARKETER)
    rows = client.get("/api/v1/scores/?score=engagement&is_over=true", **marketer).json()["results"]
    assert {row["contact"]: (row["score"], row["value"]) for row in rows} == {
        seen.pk: ("engagement", 60), other.pk: ("engagement", 60),
    }  # fmt: skip
    _, rep = person("ann", SALES_REP)
    rows = client.get("/api/v1/scores/", **rep).json()["results"]
    assert [row["contact"] for row in rows] == [seen.pk]
    assert client.get("/api/v1/scores/?colour=red", **rep).status_code == 400
