"""Lists of any length, in and out, a line each."""

import json
import resource
from datetime import timedelta
from io import BytesIO

import pytest
from django.contrib.auth.models import Permission
from django.db import OperationalError
from django.utils import timezone

from contacts import bulk, rest, retention, syncing, wire
from contacts.models import Contact, IdempotencyKey, RetentionRule, Touchpoint
from contacts.stream import put
from journey_crm.tick import tick

pytestmark = pytest.mark.django_db
URL = "/api/v1/contacts/"
LINES = "application/x-ndjson"


@pytest.fixture
def send(client, admin, bearer):
    """`send(rows)`: lines to the bulk upsert; strings go as they are."""
    token = bearer(admin, "sync")

    def call(rows, **headers):
        body = b"\n".join(row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows)
        return client.post(f"{URL}bulk/", body, content_type=LINES, headers={**token, **headers})

    return call


@pytest.fixture
def read(client, admin, bearer):
    token = bearer(admin, "read")

    def call(path, **headers):
        return client.get(path, headers={**token, "Accept": LINES, **headers})

    return call


def told(answer):
    assert answer.status_code == 200, answer.content
    assert answer["Content-Type"] == LINES
    return [json.loads(line) for line in b"".join(answer).splitlines()]


def people(count, first=0):
    return [{"email": f"p{number}@x.example", "first_name": f"N{number}"} for number in range(first, first + count)]


@pytest.fixture
def small(monkeypatch):
    """Batches and chunks of ten, so that a test has many."""
    monkeypatch.setattr(bulk, "BATCH", 10)
    monkeypatch.setattr(rest, "CHUNK", 10)


def test_more_rows_than_a_list_may_have_are_stored_and_answered_in_their_order(send, monkeypatch):
    monkeypatch.setattr(syncing, "MOST_ROWS", 20)
    monkeypatch.setattr(bulk, "BATCH", 15)
    results = told(send(people(50), Accept=LINES))
    assert [one["index"] for one in results] == list(range(50))
    assert {one["status"] for one in results} == {"created"}
    assert Contact.objects.count() == 50
    again = send(people(50))
    assert again["Content-Type"] == "application/json"
    assert [one["status"] for one in json.loads(b"".join(again))] == ["unchanged"] * 50


def test_no_rows_are_no_results(send):
    assert json.loads(b"".join(send([b"", b""]))) == []
    assert told(send([b"", b"  "], Accept=LINES)) == []


def test_a_line_that_cannot_be_read_is_a_row_that_says_why(send, small, monkeypatch):
    monkeypatch.setattr(wire, "LONGEST_LINE", 2_000)
    monkeypatch.setattr(wire, "_CHUNK", 700)
    long = json.dumps({"email": "long@x.example", "first_name": "x" * 9_000}).encode()
    deep = b'{"email": "deep@x.example", "attributes": ' + b'{"a":' * 300 + b"1" + b"}" * 301
    large = b'{"email": "large@x.example", "attributes": {"a": [1, {"b": 12345678901234567890123}]}}'
    rows = [
        {"email": "a@x.example"}, b"{broken", long, deep, large, b'{"email": "n\\u0000@x.example"}', b"1, 2", b"[]",
        {"email": "b@x.example"},
    ]  # fmt: skip
    results = told(send(rows, Accept=LINES))
    assert [one["status"] for one in results] == ["created", *["rejected"] * 7, "created"]
    assert results[4]["errors"][0]["field"] == "attributes.a[1].b"
    messages = [one["errors"][0]["message"] for one in results[1:8]]
    for message, word in zip(
        messages, ["JSON", "1 MB", "deep", "64 bits", "NUL", "one JSON value", "object"], strict=True
    ):
        assert word in message


def test_batches_that_were_stored_before_the_database_went_away_stay_and_all_may_be_sent_again(
    send, small, monkeypatch
):
    upsert, calls = syncing.upsert, []

    def fail_at_the_third(rows, **more):
        calls.append(len(rows))
        if len(calls) == 3:
            raise OperationalError("the server closed the connection unexpectedly")
        return upsert(rows, **more)

    monkeypatch.setattr(bulk.syncing, "upsert", fail_at_the_third)
    answer = send(people(45))
    assert (answer.status_code, answer["Retry-After"]) == (503, "5")
    assert Contact.objects.count() == 20
    again = [one["status"] for one in told(send(people(45), Accept=LINES))]
    assert again == ["unchanged"] * 20 + ["created"] * 25


def test_a_stream_waits_for_the_allowance_of_its_token(client, admin, bearer, small, monkeypatch):
    waited, now = [], [timezone.now()]

    def sleep(seconds):
        waited.append(seconds)
        now[0] += timedelta(seconds=seconds)

    monkeypatch.setattr(bulk.time, "sleep", sleep)
    monkeypatch.setattr(bulk.timezone, "now", lambda: now[0])
    headers = bearer(admin, "sync")
    admin.api_tokens.update(rows_per_minute=30)
    body = b"\n".join(json.dumps(row).encode() for row in people(60))
    answer = client.post(f"{URL}bulk/", body, content_type=LINES, headers=headers)
    assert answer.status_code == 200
    assert Contact.objects.count() == 60
    assert 55 <= sum(waited) <= 66, "30 rows at once, and 30 more in a minute"


def test_lines_with_an_idempotency_key_are_answered_again_as_lines(send):
    first = send(people(3), Accept=LINES, **{"Idempotency-Key": "k"})
    again = send(people(3), Accept=LINES, **{"Idempotency-Key": "k"})
    assert again["Idempotent-Replayed"] == "true"
    assert told(again) == told(first) and {one["status"] for one in told(first)} == {"created"}
    assert send(people(3), **{"Idempotency-Key": "k"}).status_code == 422
    assert IdempotencyKey.objects.count() == 1


def test_all_contacts_come_line_by_line_with_the_same_filters(read, small):
    syncing.upsert(people(35), source="test", now=timezone.now())
    syncing.upsert([{"email": "eva@y.example", "first_name": "Eva"}], source="test", now=timezone.now())
    rows = told(read(URL))
    assert [row["id"] for row in rows] == sorted(Contact.objects.values_list("pk", flat=True))
    page = json.loads(read(f"{URL}?limit=100", Accept="application/json").content)["results"]
    assert rows == page, "a line is what stands in a page"
    for ordering in ("-id", "updated_at", "-updated_at"):
        ids = [row["id"] for row in told(read(f"{URL}?ordering={ordering}"))]
        assert sorted(ids) == sorted(row["id"] for row in rows), ordering
        assert ids == sorted(ids, reverse=ordering.startswith("-"))
    assert [row["email"] for row in told(read(f"{URL}?q=eva"))] == ["eva@y.example"]
    assert read(f"{URL}?limit=5").status_code == 400
    assert read(f"{URL}?colour=red").status_code == 400


def test_who_may_not_see_a_contact_gets_no_line_of_it(client, rep, bearer, small):
    syncing.upsert(people(15), source="test", now=timezone.now())
    tick(timezone.now())
    rep.user_permissions.add(Permission.objects.get(codename="export_contact"))
    headers = {**bearer(rep, "read"), "Accept": LINES}
    assert told(client.get(URL, headers=headers)) == []
    assert told(client.get("/api/v1/changes/", headers=headers)) == []


def test_the_feed_of_changes_comes_line_by_line(read, small):
    now = timezone.now()
    for number in range(25):
        put(kind="page.viewed", source="web", now=now, anonymous_id=f"a{number}")
    tick(now)
    ids = list(Touchpoint.objects.order_by("id").values_list("id", flat=True))
    assert [row["id"] for row in told(read("/api/v1/changes/?after=0"))] == ids
    assert [row["id"] for row in told(read(f"/api/v1/changes/?after={ids[30]}"))] == ids[31:]
    viewed = told(read("/api/v1/changes/?kinds=page.viewed"))
    assert len(viewed) == 25 and {row["kind"] for row in viewed} == {"page.viewed"}


def test_a_long_stream_costs_little_memory(read, monkeypatch):
    monkeypatch.setattr(rest, "CHUNK", 200)
    note = {"note": "x" * 5_000}
    Contact.objects.bulk_create([Contact(attributes=note) for _ in range(8_000)], batch_size=1_000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    count = size = 0
    for chunk in read(URL):
        count, size = count + chunk.count(b"\n"), size + len(chunk)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    assert count == 8_000
    assert grown < size / 3, "it is told in parts, and not held as a whole"


def test_all_contacts_at_once_take_the_right_to_export(client, rep, bearer):
    token = bearer(rep, "read")

    refused = client.get(URL, headers={**token, "Accept": LINES})
    page = client.get(URL, headers=token)

    assert (refused.status_code, page.status_code) == (403, 200)
    assert "right to export" in refused.json()["title"]


def test_a_byte_order_mark_does_not_cost_the_first_row():
    body = b"\xef\xbb\xbf" + b'{"email": "a@x.example"}\n{"email": "b@x.example"}\n'
    assert [wire.read_line(line) for line in wire.lines(BytesIO(body))] == [
        {"email": "a@x.example"}, {"email": "b@x.example"},
    ]  # fmt: skip


def test_the_feed_passes_over_what_retention_took_and_loses_nothing_else(client, admin, bearer):
    now, headers = timezone.now(), bearer(admin, "read")
    ann = Contact.objects.create(email="ann@x.example")
    for number in range(12):
        kind = "contact.updated" if number % 4 == 0 else "page.viewed"
        old = now - timedelta(days=90)
        Touchpoint.objects.create(contact=ann, kind=kind, source="t", occurred_at=old, received_at=old)
    ids = list(Touchpoint.objects.order_by("id").values_list("id", flat=True))
    RetentionRule.objects.create(kind="page.*", days=30, action="drop")
    assert retention.retain(now) == 9
    answer = client.get(f"/api/v1/changes/?after={ids[1]}", headers=headers)
    assert answer.status_code == 200
    assert [one["id"] for one in answer.json()["results"]] == [ids[4], ids[8]]
    Touchpoint.objects.filter(id__lt=ids[8]).delete()
    assert client.get(f"/api/v1/changes/?after={ids[1]}", headers=headers).status_code == 410
