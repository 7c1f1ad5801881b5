"""Custom fields over REST: the whole life of one, and what is refused."""

import pytest
from django.utils import timezone

from contacts import fields
from contacts.models import Contact, Field, Segment, UnfitValue

pytestmark = pytest.mark.django_db


@pytest.fixture
def api(client, admin, bearer):
    headers = bearer(admin, "admin", "read", "sync")

    def call(method, path, data=None, **more):
        return getattr(client, method)(
            f"/api/v1/{path}", data, content_type="application/json", headers=headers | more
        )  # fmt: skip

    return call


def test_a_field_is_made_read_changed_and_removed(api):
    made = api("post", "fields/", {"key": "size", "type": "choice", "choices": ["S", {"key": "L", "label": "Large"}]})
    assert made.status_code == 201, made.json()
    assert made.json() == {
        "key": "size", "name": "", "type": "choice", "choices": ["S", {"key": "L", "label": "Large"}],
        "unfit_values": 0, "is_indexed": False,
    }  # fmt: skip
    one = api("get", "fields/size/")
    assert one.json() == made.json() and [row["key"] for row in api("get", "fields/").json()["results"]] == ["size"]
    # GET → PUT changes nothing.
    assert api("put", "fields/size/", one.json(), **{"If-Match": one.headers["ETag"]}).json() == one.json()
    assert api("patch", "fields/size/", {"name": "Size"}).json()["name"] == "Size"
    assert api("patch", "fields/size/", {"name": "X"}, **{"If-Match": one.headers["ETag"]}).status_code == 412
    assert api("delete", "fields/size/").status_code == 204 and not Field.objects.exists()


@pytest.mark.parametrize(
    ("data", "part"),
    [
        ({"key": "email"}, "key"), ({"key": "a b"}, "key"), ({"key": "plan", "type": "colour"}, "type"),
        ({"key": "plan", "type": "choice"}, "choices"), ({"key": "plan", "colour": 1}, "colour"), ({}, "key"),
        ({"key": "plan", "choices": "ab"}, "choices"),
    ],
)  # fmt: skip
def test_what_is_no_field_is_refused_by_name(api, data, part):
    answer = api("post", "fields/", data)
    assert answer.status_code == 400 and {one["field"] for one in answer.json()["errors"]} == {part}


def test_a_type_that_does_not_fit_needs_a_word(api):
    fields.create(key="seats", type_="text", now=timezone.now())
    Contact.objects.create(attributes={"seats": "12"})
    Contact.objects.create(attributes={"seats": "many"})
    asked = api("post", "fields/seats/fit/", {"type": "number"})
    assert asked.json() == {"people": 2, "fits": 1, "changes": 1, "unfit": 1, "samples": ["many"]}
    refused = api("patch", "fields/seats/", {"type": "number"})
    assert refused.status_code == 400 and "1 of 2 values fit." in refused.json()["detail"]
    changed = api("patch", "fields/seats/", {"type": "number", "convert": True})
    assert changed.status_code == 200 and changed.json()["unfit_values"] == 1
    assert UnfitValue.objects.get().value == "many"


def test_a_field_in_use_stays(api):
    fields.create(key="plan", type_="text", now=timezone.now())
    Segment.objects.create(key="s", name="Trial people", rule={"field": "plan", "op": "is_set"})
    answer = api("delete", "fields/plan/")
    assert answer.status_code == 409 and "Trial people" in answer.json()["title"]


def test_traits_are_listed_and_promoted(api):
    Contact.objects.create(attributes={"visits": 3})
    fields.count_traits(timezone.now())
    assert [(one["key"], one["people"], one["guess"]) for one in api("get", "fields/traits/").json()] == [
        ("visits", 1, "number")
    ]
    assert api("post", "fields/", {"key": "visits", "type": "number"}).status_code == 201
    assert api("get", "fields/traits/").json() == []


def test_a_value_that_is_none_of_its_type_is_refused_by_its_name(api):
    fields.create(key="seats", type_="number", now=timezone.now())
    answer = api("post", "contacts/", {"email": "ann@example.com", "attributes": {"seats": "many"}})
    assert answer.status_code == 400 and answer.json()["errors"][0]["field"] == "attributes.seats"
    rows = [
        {"email": "ann@example.com", "attributes": {"seats": 1}},
        {"email": "b@example.com", "attributes": {"seats": []}},
    ]
    told = api("post", "contacts/bulk/", rows).json()
    assert [one["status"] for one in (told if isinstance(told, list) else told["results"])] == ["created", "rejected"]
