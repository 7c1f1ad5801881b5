"""Another system that mirrors ours: what it sends back is no news."""

import json
from datetime import timedelta

import pytest
from django.utils import timezone

from contacts import tokens
from contacts.models import Company, Contact, Incoming, Merge, Touchpoint
from growth.models import Product
from journey_crm.tick import tick
from leads.models import Lead, LeadMove, RejectReason, Task
from tests.api.test_routes import EXPECTED

pytestmark = pytest.mark.django_db
URL = "/api/v1/contacts/"


@pytest.fixture
def partner(client, admin):
    """`partner("get", "/api/v1/…")` as a system that calls itself hubspot."""
    _token, secret = tokens.issue(user=admin, scopes=["sync"], origin="hubspot", now=timezone.now())

    def call(method, url, data=None):
        more = {} if method == "get" else {"content_type": "application/json"}
        return getattr(client, method)(url, data, headers={"Authorization": f"Bearer {secret}"}, **more).json()

    return call


@pytest.fixture
def mirror(partner):
    """Reads the feed, and writes whoever changed back to us as it has them: what was told, again."""
    after = 0

    def once() -> list[str]:
        nonlocal after
        tick(timezone.now())
        page = partner("get", f"/api/v1/changes/?after={after}&limit=500")
        after = page["last"]
        rows = [partner("get", f"{URL}{pk}/") for pk in sorted({one["contact"] for one in page["results"]})]
        for row in rows:
            # It knows other fields than we do, and stamps its own copy.
            row["updated_at"] = timezone.now().isoformat()
        results = partner("post", f"{URL}bulk/", rows) if rows else []
        return [result["status"] for result in results]

    return once


def test_one_edit_is_at_most_two_touchpoints_however_often_it_is_mirrored(client, admin, bearer, partner, mirror):
    partner("post", f"{URL}bulk/", [{"user_id": "u1", "email": "ann@x.example", "attributes": {"seats": 3}}])
    while mirror():
        pass
    before = Touchpoint.objects.count()
    ann = Contact.objects.get()
    edited = {"first_name": "Anna", "phone": "601 123 456"}
    client.patch(f"{URL}{ann.pk}/", edited, content_type="application/json", headers=bearer(admin, "sync"))
    versions = set()
    for _round in range(5):
        assert set(mirror()) <= {"unchanged"}
        versions.add(Contact.objects.values_list("updated_at", flat=True).get())
    assert Touchpoint.objects.count() - before <= 2
    assert len(versions) == 1, "an echo is no new version"


def test_what_a_partner_writes_says_whose_it_is(partner):
    partner("post", f"{URL}bulk/", [{"email": "ann@x.example"}])
    made = partner("post", URL, {"email": "bob@x.example"})
    partner("patch", f"{URL}{made['id']}/", {"first_name": "Bob"})
    told = Incoming.objects.order_by("pk").values_list("kind", "source")
    assert list(told) == [
        ("contact.created", "sync:hubspot"), ("contact.created", "rest:hubspot"), ("contact.updated", "rest:hubspot"),
    ]  # fmt: skip
    tick(timezone.now())
    feed = partner("get", "/api/v1/changes/?after=0&kinds=contact.updated")["results"]
    assert [one["source"] for one in feed] == ["rest:hubspot"]


def test_the_name_of_a_partner_is_a_slug(admin):
    with pytest.raises(ValueError, match="partner system"):
        tokens.issue(user=admin, scopes=["sync"], origin="Hub Spot!", now=timezone.now())


# What each write by REST is sent; the numbers are those of the people, companies and leads that the test makes.
ORDER = {
    "email": "ann@x.example", "number": "A1", "currency": "EUR", "total": "10.00",
    "placed_at": "2026-01-01T10:00:00Z", "lines": [{"product": "tea", "quantity": 1, "price": "10.00"}],
}  # fmt: skip
SOON = (timezone.now() + timedelta(days=2)).isoformat()
WRITES = [
    ("POST", "contacts/", "contacts/", {"email": "new@x.example"}),
    ("PATCH", "contacts/{id}/", "contacts/{ann}/", {"first_name": "Anna"}),
    ("PUT", "contacts/{id}/", "contacts/{ann}/", {"first_name": "Annie"}),
    ("POST", "contacts/bulk/", "contacts/bulk/", [{"email": "bulk@x.example"}]),
    ("POST", "contacts/{id}/limits/", "contacts/{ann}/limits/", {"most_per_week": 3}),
    (
        "POST", "consents/", "consents/",
        {"contact": "{ann}", "topic": "", "channel": "email", "state": "denied", "source": "shop:fair"},
    ),
    ("POST", "stage_changes/", "stage_changes/", {"contact": "{ann}", "to": "lead", "reason": "met at the fair"}),
    ("POST", "orders/", "orders/", ORDER),
    ("POST", "orders/bulk/", "orders/bulk/", [ORDER | {"number": "A2"}]),
    ("POST", "leads/{id}/claim/", "leads/{lead}/claim/", {}),
    ("POST", "leads/{id}/release/", "leads/{lead}/release/", {}),
    ("POST", "leads/{id}/claim/", "leads/{lead}/claim/", {}),
    ("POST", "leads/{id}/accept/", "leads/{lead}/accept/", {}),
    ("POST", "leads/{id}/snooze/", "leads/{lead}/snooze/", {"until": SOON}),
    ("POST", "leads/{id}/unsnooze/", "leads/{lead}/unsnooze/", {}),
    ("POST", "leads/{id}/undo/", "leads/{lead}/undo/", {}),
    ("POST", "leads/{id}/assign/", "leads/{other_lead}/assign/", {"to": "root"}),
    ("POST", "leads/{id}/note/", "leads/{lead}/note/", {"body": "Likes boats"}),
    ("POST", "leads/{id}/call/", "leads/{lead}/call/", {"outcome": "reached"}),
    ("POST", "leads/{id}/hold/", "leads/{lead}/hold/", {"until": SOON}),
    ("POST", "leads/{id}/unhold/", "leads/{lead}/unhold/", {}),
    ("POST", "tasks/", "tasks/", {"contact": "{ann}", "title": "Send the offer"}),
    ("POST", "leads/{id}/convert/", "leads/{lead}/convert/", {"value": "5.00"}),
    ("POST", "leads/{id}/claim/", "leads/{other_lead}/claim/", {}),
    ("POST", "leads/{id}/reject/", "leads/{other_lead}/reject/", {"reason": "no-budget"}),
    ("POST", "tasks/{id}/done/", "tasks/{task}/done/", {}),
    ("POST", "tasks/{id}/reopen/", "tasks/{task}/reopen/", {}),
    ("POST", "companies/{id}/merge/", "companies/{company}/merge/", {"other": "{other_company}"}),
    ("POST", "contacts/{id}/merge/", "contacts/{ann}/merge/", {"other": "{bob}"}),
    ("POST", "contacts/{id}/merge/{merge_id}/undo/", "contacts/{ann}/merge/{merge}/undo/", {}),
]  # fmt: skip
# These say nothing about a person, or only what the tick then concludes, which is our news and told to everybody.
SILENT = {
    "activities/{id}/", "leads/{id}/",
    "companies/", "companies/{id}/", "contacts/{id}/", "fields/", "fields/{key}/", "fields/{key}/fit/",
    "journeys/", "journeys/{key}/archive/", "journeys/{key}/clone/", "journeys/{key}/draft/", "journeys/{key}/enrol/",
    "journeys/{key}/impact/", "journeys/{key}/pause/", "journeys/{key}/publish/", "journeys/{key}/redo/",
    "journeys/{key}/resume/", "journeys/{key}/rollback/", "journeys/{key}/undo/",
    "scores/what-if/", "segments/", "segments/{key}/", "segments/{key}/members/", "segments/{key}/members/release/",
    "segments/{key}/members/remove/", "segments/{key}/preview/", "webhooks/", "webhooks/{id}/",
    "webhooks/{id}/again/", "webhooks/{id}/rotate/", "webhooks/{id}/test/",
}  # fmt: skip


def test_whatever_a_partner_writes_says_whose_it_is(client, admin):
    _token, secret = tokens.issue(user=admin, scopes=["admin"], origin="hubspot", now=timezone.now())
    written = {route for route in EXPECTED if not route.startswith("GET ")}
    named = {f"{method} {route}" for method, route, _path, _body in WRITES}
    assert {route for route in written - named if route.partition(" ")[2] not in SILENT} == set()
    now = timezone.now()
    one, other = (Company.objects.create(name=name) for name in ("One", "Other"))
    ann = Contact.objects.create(email="ann@x.example", identified_at=now, company=one)
    bob = Contact.objects.create(email="bob@x.example", identified_at=now, company=other)
    for person in (ann, bob):
        person.identities.create(kind="email", value=person.email, created_at=now)
    Product.objects.create(key="tea", name="Tea", price=10, currency="EUR")
    RejectReason.objects.create(key="no-budget", name="No budget")
    numbers = {
        "ann": ann.pk, "bob": bob.pk, "company": one.pk, "other_company": other.pk,
        "lead": Lead.objects.create(contact=ann, created_at=now, headline="Demo").pk,
        "task": Task.objects.create(contact=ann, title="Call", source="test", created_at=now, updated_at=now).pk,
        "other_lead": Lead.objects.create(contact=bob, created_at=now, headline="Demo").pk,
    }  # fmt: skip
    for method, route, path, body in WRITES:
        Incoming.objects.all().delete()
        if merged := Merge.objects.first():
            numbers["merge"] = merged.pk
        text = json.dumps(body)
        for name, pk in numbers.items():
            text, path = text.replace(f'"{{{name}}}"', str(pk)), path.replace(f"{{{name}}}", str(pk))
        answer = client.generic(
            method, f"/api/v1/{path}", text, content_type="application/json",
            headers={"Authorization": f"Bearer {secret}"},
        )  # fmt: skip
        assert answer.status_code < 300, (method, path, answer.content)
        door = "sync:hubspot" if route == "contacts/bulk/" else "rest:hubspot"
        # What can still be undone is told later, and says so then.
        waiting = set(LeadMove.objects.filter(tells_at__gt=now).values_list("source", flat=True))
        assert set(Incoming.objects.values_list("source", flat=True)) | waiting == {door}, (method, route)
