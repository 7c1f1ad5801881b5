"""Making two contacts one by REST: a look before, the merge, the log, and the way back."""

import json

import pytest
from django.contrib.auth.models import Permission
from django.utils import timezone

from contacts import syncing
from contacts.consent import record_consent
from contacts.models import Contact, Merge, Touchpoint
from journey_crm.tick import tick
from leads.models import Lead

URL = "/api/v1/contacts/"

pytestmark = pytest.mark.django_db


@pytest.fixture
def api(client, admin, bearer):
    headers = bearer(admin, "admin")

    def call(method, path, body=None):
        return client.generic(
            method.upper(), path, b"" if body is None else json.dumps(body),
            content_type="application/json", headers=headers,
        )  # fmt: skip

    return call


@pytest.fixture
def two(db):
    rows = [
        {"email": "ann@x.example", "first_name": "Ann", "attributes": {"plan": "pro"}},
        {"email": "lee@x.example", "last_name": "Lee", "attributes": {"plan": "trial", "city": "Brno"}},
    ]
    results = syncing.upsert(rows, source="test", now=timezone.now())
    tick(timezone.now())
    ann, lee = (Contact.objects.get(pk=result["id"]) for result in results)
    for contact, state in ((ann, "granted"), (lee, "denied")):
        record_consent(contact=contact, topic="news", channel="email", state=state, source="form", now=timezone.now())
    tick(timezone.now())
    return ann, lee


def test_a_preview_says_what_the_merge_then_does(api, two):
    ann, lee = two
    before = list(Contact.objects.order_by("pk").values()), Touchpoint.objects.filter(contact=lee).count()
    told = api("get", f"{URL}{lee.pk}/merge/?other={ann.pk}").json()
    assert (list(Contact.objects.order_by("pk").values()), Touchpoint.objects.filter(contact=lee).count()) == before
    assert (told["survivor"], told["loser"]) == (ann.pk, lee.pk)
    fields = {one["field"]: (one["survivor"], one["loser"], one["result"]) for one in told["fields"]}
    assert fields["email"] == ("ann@x.example", "lee@x.example", "ann@x.example")
    assert fields["last_name"] == ("", "Lee", "Lee")
    assert fields["attributes.plan"] == ("pro", "trial", "pro")
    assert fields["attributes.city"] == (None, "Brno", "Brno")
    assert [tuple(one.values()) for one in told["consents"]] == [("news", "email", "granted", "denied", "denied")]
    moves = {one["relation"]: (one["moves"], one["drops"]) for one in told["relations"]}
    assert moves["contacts.Touchpoint"] == (before[1], 0)
    assert moves["contacts.Consent"] == (0, 1)

    answer = api("post", f"{URL}{lee.pk}/merge/", {"other": ann.pk}).json()
    assert answer["id"] == ann.pk
    log = Merge.objects.get(pk=answer["merge_id"])
    moved: dict[str, int] = {}
    dropped: dict[str, int] = {}
    for entry in log.entries.all():
        moved[entry.table_name] = moved.get(entry.table_name, 0) + len(entry.keys)
        dropped[entry.table_name] = dropped.get(entry.table_name, 0) + (entry.row is not None)
    for relation, (moves_, drops) in moves.items():
        table = relation.lower().replace(".", "_")
        assert (moved.get(table, 0), dropped.get(table, 0)) == (moves_, drops), relation
    for name in ("email", "first_name", "last_name"):
        assert answer[name] == fields[name][2]
    assert answer["attributes"] == {"plan": "pro", "city": "Brno"}


def test_a_merge_is_undone_by_either_id_once(api, two):
    ann, lee = two
    merge_id = api("post", f"{URL}{ann.pk}/merge/", {"other": lee.pk, "reason": "same phone"}).json()["merge_id"]
    [row] = api("get", f"{URL}{ann.pk}/merges/").json()
    assert (row["id"], row["reason"], row["merged_by"], row["undone_at"]) == (merge_id, "same phone", "root", None)
    undone = api("post", f"{URL}{lee.pk}/merge/{merge_id}/undo/")
    assert undone.status_code == 200
    assert undone.json()["undone_by"] == "root"
    assert api("get", f"{URL}{lee.pk}/").json()["last_name"] == "Lee"
    assert api("get", f"{URL}{ann.pk}/").json()["last_name"] == ""
    again = api("post", f"{URL}{ann.pk}/merge/{merge_id}/undo/")
    assert again.status_code == 409
    assert "undone already" in again.json()["title"]


def test_what_cannot_be_merged_is_refused_by_name(api, two):
    ann, lee = two
    for method, path, body in (
        ("get", f"{URL}{ann.pk}/merge/?other=x", None),
        ("get", f"{URL}{ann.pk}/merge/", None),
        ("get", f"{URL}{ann.pk}/merge/?other={ann.pk}", None),
        ("get", f"{URL}{ann.pk}/merge/?other=999999", None),
        ("post", f"{URL}{ann.pk}/merge/", {"other": ann.pk}),
    ):
        answer = api(method, path, body)
        assert answer.status_code == 400, path
        assert [one["field"] for one in answer.json()["errors"]] == ["other"]
    assert api("post", f"{URL}{ann.pk}/merge/999999/undo/").status_code == 404
    api("post", f"{URL}{ann.pk}/merge/", {"other": lee.pk})
    stranger = Contact.objects.create(email="eve@x.example")
    assert api("post", f"{URL}{stranger.pk}/merge/{Merge.objects.get().pk}/undo/").status_code == 404


# Handles of a client's own kinds --------------------------------------------------------------------------------------


def test_handles_of_a_clients_own_kinds_are_written_read_and_lead_to_one_person(api):
    created = api("post", URL, {"email": "ann@x.example", "identities": {"CRM": 17, "card": ["A1", "A2"]}}).json()
    assert created["identities"] == {"card": ["A1", "A2"], "crm": ["17"], "email": ["ann@x.example"]}
    tick(timezone.now())
    # What we answered may be sent back: it says nothing new.
    [again] = api("post", f"{URL}bulk/", [created]).json()
    assert (again["status"], again["errors"]) == ("unchanged", [])
    [more] = api("post", f"{URL}bulk/", [{"email": "ann@x.example", "identities": {"card": " A3 "}}]).json()
    assert more["status"] == "updated"
    [taken] = api("post", f"{URL}bulk/", [{"email": "bob@x.example", "identities": {"crm": "17", "card": "B1"}}]).json()
    assert [error["field"] for error in taken["errors"]] == ["identities.crm"]
    assert str(created["id"]) in taken["errors"][0]["message"]
    api("patch", f"{URL}{created['id']}/", {"identities": {"card": None}})
    assert api("get", f"{URL}{created['id']}/").json()["identities"] == {"crm": ["17"], "email": ["ann@x.example"]}
    tick(timezone.now())
    told = Touchpoint.objects.filter(contact=created["id"], kind="contact.updated", properties__fields=["identities"])
    assert told.count() == 3


def test_a_handle_that_cannot_be_one_is_refused_by_its_kind(api):
    for wrong, name in (({"crm": ""}, "identities.crm"), ({"–": "1"}, "identities.–"), ("17", "identities")):
        answer = api("post", URL, {"email": "ann@x.example", "identities": wrong})
        assert [one["field"] for one in answer.json()["errors"]] == [name]


# The owner scope ------------------------------------------------------------------------------------------------------


def test_whom_a_user_may_not_see_cannot_be_merged_into_whom_they_may(client, rep, bearer, two):
    ann, lee = two
    rep.user_permissions.add(*Permission.objects.filter(codename__in=["change_contact", "delete_contact"]))
    Lead.objects.create(contact=ann, state="claimed", owner=rep, created_at=timezone.now(), claimed_at=timezone.now())
    headers = bearer(rep, "admin")
    assert client.get(f"{URL}{ann.pk}/", headers=headers).status_code == 200
    assert client.get(f"{URL}{lee.pk}/", headers=headers).status_code == 404
    looked = client.get(f"{URL}{ann.pk}/merge/?other={lee.pk}", headers=headers)
    merged = client.post(f"{URL}{ann.pk}/merge/", {"other": lee.pk}, content_type="application/json", headers=headers)
    for answer in (looked, merged):
        assert answer.status_code == 400 and [one["field"] for one in answer.json()["errors"]] == ["other"]
    assert not Merge.objects.exists()
