"""Segment's HTTP API, by the stock SDKs and by hand."""

import base64
import gzip
import json
import subprocess
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
import segment.analytics.client as segment
from django.contrib.auth.models import User
from django.utils import timezone
from hypothesis import given, strategies

from contacts import tokens
from contacts.calls import Call, Refused, Sender, kind_of
from contacts.calls import row as row_of
from contacts.ingest import ingest
from contacts.models import ApiToken, Incoming
from tests.api.conftest import NODE


def basic(key: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{key}:".encode()).decode()}


def send(client, key, name, data, **more):
    return client.post(f"/v1/{name}", data, content_type="application/json", headers=basic(key), **more)


# Stock SDKs ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_packed", [True, False])
def test_the_stock_python_sdk_works_with_only_its_host_changed(live_server, write_key, is_packed):
    errors = []
    sdk = segment.Client(
        write_key, host=live_server.url, gzip=is_packed, on_error=lambda *args: errors.append(args), max_retries=1
    )
    sdk.page(anonymous_id="py-1", properties={"url": "https://shop.example/pricing"})
    sdk.identify("u42", {"email": " Ann@Shop.Example ", "plan": "trial"}, anonymous_id="py-1")
    sdk.track("u42", "Product Viewed", {"sku": "A1"})
    sdk.alias("py-0", "u42")
    sdk.screen("u42", "Basket", name="Basket")
    sdk.group("u42", "acme", {"name": "Acme"})
    sdk.flush()
    sdk.join()

    assert errors == []
    rows = {row.kind + row.anonymous_id: row for row in Incoming.objects.all()}
    assert set(rows) == {
        "page.viewedpy-1", "contact.identifiedpy-1", "product.viewed", "contact.aliased",
        "screen.viewed", "group.joined",
    }  # fmt: skip
    told = rows["contact.identifiedpy-1"]
    assert (told.user_id, told.email, told.traits["plan"]) == ("u42", "ann@shop.example", "trial")
    assert (rows["contact.aliased"].user_id, rows["contact.aliased"].properties["previous_id"]) == ("u42", "py-0")
    assert rows["page.viewedpy-1"].properties["url"] == "https://shop.example/pricing"
    assert rows["group.joined"].properties["group_id"] == "acme"
    assert all(row.message_id and row.source.startswith("segment:") for row in rows.values())
    assert all(abs(row.occurred_at - row.received_at) < timedelta(seconds=30) for row in rows.values())


def test_the_stock_node_sdk_works_with_only_its_host_changed(live_server, write_key, node_modules):
    done = subprocess.run(
        ["node", NODE / "send.mjs", write_key, live_server.url, node_modules],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    rows = {row.kind + row.anonymous_id: row for row in Incoming.objects.all()}
    assert set(rows) == {"page.viewednode-1", "contact.identifiednode-1", "product.viewed", "contact.aliased"}
    assert rows["contact.identifiednode-1"].email == "node@shop.example"


# By hand -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["track", "t", "track/"])
def test_one_call_is_one_row(client, write_key, name):
    answer = send(client, write_key, name, {"userId": 7, "event": "Signed Up", "messageId": "m1"})
    assert (answer.status_code, answer.json()) == (200, {"success": True})
    row = Incoming.objects.get()
    assert (row.kind, row.user_id, row.message_id) == ("account.created", "7", "m1")


def test_a_browser_may_send_plain_text_from_another_origin(client, write_key):
    body = json.dumps({"anonymousId": "a", "writeKey": write_key, "context": {"page": {"url": "https://x.example/"}}})
    answer = client.post("/v1/p", body, content_type="text/plain", headers={"Origin": "https://x.example"})
    assert answer.status_code == 200
    assert answer["Access-Control-Allow-Origin"] == "*"
    assert Incoming.objects.get().properties["url"] == "https://x.example/"
    preflight = client.options("/v1/p", headers={"Origin": "https://x.example"})
    assert preflight.status_code == 204
    assert "Content-Type" in preflight["Access-Control-Allow-Headers"]


def test_a_bad_event_does_not_spoil_its_batch(client, write_key):
    batch = [
        {"type": "track", "userId": "u", "event": "Good"},
        {"type": "track", "userId": "u"},
        {"type": "track", "event": "Nobody"},
        {"type": "dance", "userId": "u"},
        {"type": "page", "userId": {"not": "an id"}},
        "text",
        {"type": "track", "userId": "u", "event": "Nul", "properties": {"x": "\0"}},
        {"type": "track", "userId": "u", "event": "Big", "properties": {"x": "y" * 40_000}},
        {"type": "page", "anonymousId": "a"},
    ]
    answer = send(client, write_key, "batch", {"batch": batch})
    assert answer.status_code == 200
    assert [one["index"] for one in answer.json()["rejected"]] == [1, 2, 3, 4, 5, 6, 7]
    assert set(Incoming.objects.values_list("kind", flat=True)) == {"event.good", "page.viewed"}


def test_odd_texts_and_numbers_arrive_as_they_were(client, write_key):
    odd = {"a": 'tab\t line\n back\\slash \\N "', "b": "žluť 🐎", "big": 10**30, "deep": {"x": [1, None, True]}}
    identity = {"anonymousId": "back\\slash", "messageId": "m\t1\n\\."}
    send(client, write_key, "track", {**identity, "event": "Ping", "properties": odd})
    row = Incoming.objects.get()
    assert row.properties == odd
    assert (row.anonymous_id, row.message_id) == (identity["anonymousId"], identity["messageId"])


@pytest.mark.parametrize("half", ["\\ud83d", "\\udc0e"])
def test_half_an_emoji_is_mended_and_a_whole_one_stays(client, write_key, half):
    good = {"type": "track", "userId": "u", "event": "Good", "properties": {"x": "🐎 \\ud83d"}}
    cut = f'"userId": "{half}", "messageId": "{half}", "properties": {{"x": "{half}"}}'
    bad = f'{{"type": "track", "event": "Cut", {cut}}}'
    body = f'{{"batch": [{json.dumps(good)}, {bad}]}}'
    answer = client.post("/v1/batch", body, content_type="application/json", headers=basic(write_key))
    assert answer.json() == {"success": True}
    first, second = Incoming.objects.order_by("pk")
    assert first.properties == good["properties"]
    assert second.properties == {"x": "\ufffd"}


def test_what_cannot_be_read_is_refused_with_a_reason(client, write_key):
    headers = basic(write_key)
    for body, status in [
        (b"{", 400),
        (b"[]", 400),
        (b'{"nothing": 1}', 400),
        (b'{"batch": {}}', 400),
        (b"\x1f\x8bnot gzip", 400),
        (b'{"batch": [' + b"1," * 300_000 + b"1]}", 413),
        (gzip.compress(b'{"batch": [' + b"1," * 9_000_000 + b"1]}"), 413),
    ]:
        answer = client.post("/v1/batch", body, content_type="application/json", headers=headers)
        assert answer.status_code == status, body[:30]
        assert answer.json()["message"]
    assert send(client, write_key, "track", {"userId": "u"}).status_code == 400
    assert client.get("/v1/track").status_code == 405
    assert not Incoming.objects.exists()


def test_only_a_living_write_key_may_track(client, admin, write_key):
    event = {"userId": "u", "event": "Ping"}
    _token, reader = tokens.issue(user=admin, scopes=["admin"], now=timezone.now())
    assert send(client, reader, "track", event).status_code == 403
    assert send(client, "jc_unknown", "track", event).status_code == 401
    assert client.post("/v1/track", event, content_type="application/json").status_code == 401
    assert send(client, write_key, "track", event).status_code == 200
    ApiToken.objects.filter(scopes=["track"]).update(revoked_at=timezone.now())
    assert send(client, write_key, "track", event).status_code == 401
    ApiToken.objects.filter(scopes=["track"]).update(revoked_at=None, expires_at=timezone.now())
    assert send(client, write_key, "track", event).status_code == 401
    ApiToken.objects.filter(scopes=["track"]).update(expires_at=None)
    User.objects.update(is_active=False)
    assert send(client, write_key, "track", event).status_code == 401


@pytest.mark.django_db
def test_a_clock_that_is_wrong_is_put_right(client, write_key):
    """The client's clock is two hours fast; the event happened ten minutes before it was sent."""
    sent = timezone.now() + timedelta(hours=2)
    data = {"type": "track", "userId": "u", "event": "Ping", "timestamp": (sent - timedelta(minutes=10)).isoformat()}
    send(client, write_key, "batch", {"batch": [data], "sentAt": sent.isoformat()})
    row = Incoming.objects.get()
    assert abs(row.received_at - row.occurred_at - timedelta(minutes=10)) < timedelta(seconds=1)


def test_no_event_happens_in_the_future_and_a_bad_stamp_means_now(client, write_key):
    late = (timezone.now() + timedelta(days=3)).isoformat()
    for stamp in (late, "yesterday", "0001-01-01T00:00:00+14:00", "99999-01-01", ""):
        assert send(client, write_key, "track", {"userId": "u", "event": "Ping", "timestamp": stamp}).status_code == 200
    for row in Incoming.objects.all():
        assert row.occurred_at == row.received_at


def test_an_old_event_keeps_its_time(client, write_key):
    when = datetime(2024, 2, 29, 12, tzinfo=UTC)
    send(client, write_key, "track", {"userId": "u", "event": "Ping", "timestamp": "2024-02-29T13:00:00+01:00"})
    assert Incoming.objects.get().occurred_at == when


@pytest.mark.parametrize(
    ("event", "kind"),
    [
        ("page.viewed", "page.viewed"),
        ("Product Viewed", "product.viewed"),
        ("Order Completed", "order.placed"),
        ("Purchase", "event.purchase"),
        ("webinar_Room Entered", "webinar_room.entered"),
        ("projectCreated", "project.created"),
        ("Košík Opuštěn", "košík.opuštěn"),
        # Only our own parts may tell these.
        ("lead.converted", "event.lead_converted"),
        ("Score Crossed", "event.score_crossed"),
        ("consent.changed", "event.consent_changed"),
    ],
)
def test_names_of_events_become_kinds(event, kind):
    assert kind_of(event) == kind


def test_the_context_is_kept_in_few_words(client, write_key):
    context = {
        "page": {"url": "https://x.example/?utm_source=ads", "title": "X", "referrer": ""},
        "campaign": {"source": "ads", "name": "spring"},
        "ip": "203.0.113.9", "userAgent": "Mozilla/5.0", "library": {"name": "analytics.js", "version": "5"},
        "screen": {"width": 1}, "locale": "cs-CZ",
    }  # fmt: skip
    send(client, write_key, "track", {"userId": "u", "event": "Ping", "context": context})
    assert Incoming.objects.get().properties["context"] == {
        "page": {"url": "https://x.example/?utm_source=ads", "title": "X"},
        "campaign": {"source": "ads", "name": "spring"},
        "user_agent": "Mozilla/5.0", "ip": "203.0.113.9", "locale": "cs-CZ", "library": "analytics.js",
    }  # fmt: skip


def test_analytics_js_gets_its_settings_document(client, write_key):
    answer = client.get(f"/v1/projects/{write_key}/settings")
    assert answer.json()["integrations"]["Segment.io"]["apiKey"] == write_key
    assert answer["Access-Control-Allow-Origin"] == "*"
    assert client.get("/v1/projects/nobody/settings").status_code == 404


def test_the_snippet_is_served(client):
    answer = client.get("/js/track.js")
    assert answer.status_code == 200
    assert answer["Content-Type"].startswith("text/javascript")
    assert b"sendBeacon" in answer.content


# What no answer may choke on ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", ["100000000000000000001", "-100000000000000000001", "1e300"])
def test_a_number_of_any_size_is_kept_and_the_feed_of_changes_goes_on(client, admin, bearer, write_key, now, number):
    body = f'{{"event": "Ad Viewed", "anonymousId": "a", "properties": {{"ad_id": {number}}}}}'
    assert send(client, write_key, "track", body).status_code == 200
    ingest(now, 0, 0)
    answer = client.get("/api/v1/changes/", {"kinds": "ad.viewed"}, headers=bearer(admin, "read"))
    assert answer.status_code == 200
    [told] = json.loads(answer.content)["results"]
    assert told["properties"]["ad_id"] == (json.loads(number) if "e" not in number else 10**300)
    assert told["occurred_at"].endswith("Z")


def test_an_event_is_not_deeper_than_it_can_be_told_again(client, admin, bearer, write_key, now):
    def deep(levels):
        return '{"event": "Ad Viewed", "anonymousId": "a", "properties": {"x": %s}}' % ("[" * levels + "]" * levels)

    assert send(client, write_key, "track", deep(199)).status_code == 200
    assert send(client, write_key, "track", deep(200)).status_code == 400
    ingest(now, 0, 0)
    assert client.get("/api/v1/changes/", headers=bearer(admin, "read")).status_code == 200


_JSON = strategies.recursive(
    strategies.none() | strategies.booleans() | strategies.integers() | strategies.floats()
    | strategies.text(strategies.characters(exclude_categories=["Cs"]), max_size=5),
    lambda part: strategies.lists(part, max_size=3) | strategies.dictionaries(strategies.sampled_from(
        ["url", "library", "page", "name", "ip", "email", "campaign", "locale", "x"]), part, max_size=4),
    max_leaves=8,
)  # fmt: skip


@given(strategies.dictionaries(strategies.sampled_from(["page", "library", "campaign", "ip", "locale"]), _JSON))
def test_no_context_breaks_a_call(context):
    told = json.dumps(context, allow_nan=True).replace("NaN", "1").replace("-Infinity", "1").replace("Infinity", "1")
    call = msgspec.json.decode(f'{{"type": "page", "userId": "u", "context": {told}}}', type=Call)
    try:
        assert row_of(call, Sender("test", datetime(2026, 11, 10, tzinfo=UTC)))
    except Refused:
        pass
