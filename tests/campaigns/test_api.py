"""Journeys and enrolments over REST."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from campaigns import publishing
from campaigns.models import Enrolment, Journey
from contacts import tokens
from contacts.models import Contact
from messaging.gates import arbitrate
from tests.campaigns.world import did, journey, person, templates, tick

pytestmark = pytest.mark.django_db


@pytest.fixture
def call(client):
    user = User.objects.create_superuser("root")
    _token, secret = tokens.issue(user=user, scopes=["read", "sync", "admin"], now=timezone.now())

    def send(method: str, address: str, data=None, secret: str = secret, match: str = ""):
        headers = {"Authorization": f"Bearer {secret}"} | ({"If-Match": match} if match else {})
        options = {"data": data} if method == "get" else {"data": data, "content_type": "application/json"}
        return getattr(client, method)(f"/api/v1/{address}", headers=headers, **options)

    return send


def test_journeys_are_listed_with_what_is_live(call, now):
    journey(now, steps=[{"send": "hello"}])
    journey(now, "draft", kind="cross_sell", publish=False, steps=[{"send": "hello"}])
    rows = call("get", "journeys/").json()["results"]
    assert [(row["key"], row["state"], row["version"]) for row in rows] == [("j", "live", 1), ("draft", "draft", None)]
    assert call("get", "journeys/j/").json()["definition"]["steps"] == [{"send": "hello", "key": "hello"}]
    assert [row["key"] for row in call("get", "journeys/", {"kind": "cross_sell"}).json()["results"]] == ["draft"]
    assert call("get", "journeys/nowhere/").status_code == 404
    assert call("get", "journeys/%00/").status_code in (400, 404)
    assert call("post", "journeys/%00/pause/").status_code in (400, 404)


def test_publish_pause_and_resume(call, now):
    one = journey(now, publish=False, steps=[{"send": "hello"}])
    assert call("post", "journeys/j/publish/", {}).json()["version"] == 1
    assert call("post", "journeys/j/pause/").json()["state"] == "paused"
    assert call("post", "journeys/j/pause/").status_code == 409
    assert call("post", "journeys/j/resume/").json()["state"] == "live"
    publishing.save_draft(journey=one, definition={"key": "j", "kind": "onboarding"}, by=None, now=now)
    refused = call("post", "journeys/j/publish/", {})
    assert refused.status_code == 400
    assert {error["field"] for error in refused.json()["errors"]} == {"steps", "trigger"}
    assert call("post", "journeys/j/publish/", {"colour": 1}).status_code == 400


def test_contacts_are_let_in_by_the_next_tick(call, now):
    journey(now, trigger="manual", steps=[{"wait": "1d"}])
    ann = person()
    assert call("post", "journeys/j/enrol/", {"contacts": [ann.pk, 10**9]}).status_code == 400
    answer = call("post", "journeys/j/enrol/", {"contacts": [ann.pk]})
    assert (answer.status_code, answer.json()) == (202, {"requested": 1})
    tick(timezone.now())
    rows = call("get", "enrolments/", {"journey": "j", "state": "open"}).json()["results"]
    assert [(row["contact"], row["journey"], row["version"]) for row in rows] == [(ann.pk, "j", 1)]
    Journey.objects.update(state="paused")
    assert call("post", "journeys/j/enrol/", {"contacts": [ann.pk]}).status_code == 409


def test_whoever_may_only_read_changes_nothing(call, now):
    journey(now, steps=[{"send": "hello"}])
    user = User.objects.create_superuser("reader")
    _token, secret = tokens.issue(user=user, scopes=["read"], now=timezone.now())
    for action in ("publish", "pause", "resume", "enrol"):
        assert call("post", f"journeys/j/{action}/", {}, secret).status_code == 403
    assert call("get", "journeys/", None, secret).status_code == 200
    did(person(), "trial.started", now)
    tick(now)
    nobody = User.objects.create_user("nobody")
    _token, secret = tokens.issue(user=nobody, scopes=["read"], now=timezone.now())
    assert call("get", "enrolments/", None, secret).status_code == 403
    assert Enrolment.objects.count() == 1


def test_the_occasions_of_a_broadcast_say_what_became_of_their_audience(call, now):
    czechs = {"field": "country", "op": "eq", "value": "CZ"}
    for _ in range(3):
        person(country="CZ")
    Contact.objects.filter(pk=Contact.objects.order_by("pk")[1].pk).update(email="")
    later = {"rrule": "FREQ=DAILY", "at": "11:00 Europe/Prague", "throttle": "1/h"}
    journey(now, "news", kind="broadcast", trigger=None, audience=czechs, send="news", **later)
    tick(now + timedelta(hours=1), delivers=False)
    arbitrate(now + timedelta(hours=1), 0, 0)
    rows = call("get", "journeys/news/occasions/").json()["results"]
    assert [(row["key"], row["state"]) for row in rows] == [
        ("2026-11-10T11:00 Europe/Prague", "sending"),
        ("2026-11-11T11:00 Europe/Prague", "scheduled"),
    ]
    first, second = rows
    assert first["audience"] == first["sent"] + first["waiting"] + first["held_back"] + first["failed"] == 3
    assert (second["audience"], second["sent"], second["reasons"]) == (None, None, None)
    tick(now + timedelta(hours=2), delivers=False)
    arbitrate(now + timedelta(hours=2), 0, 0)
    assert call("get", "journeys/news/occasions/").json()["results"][0]["reasons"] == {"no_address": 1}
    assert call("get", "journeys/nowhere/occasions/").status_code == 404
    refused = call("post", "journeys/news/enrol/", {"contacts": [Contact.objects.first().pk]})
    assert refused.status_code == 409


def test_what_was_sent_once_is_refused_by_its_field(call, now):
    one = journey(now, "sale", kind="broadcast", trigger=None, audience={"field": "country", "op": "is_set"},
                  send="sale", at="now")  # fmt: skip
    tick(now)
    definition = publishing.draft_of(one) | {"at": "2027-03-28T09:00"}
    publishing.save_draft(journey=one, definition=definition, by=None, now=now)
    refused = call("post", "journeys/sale/publish/", {})
    assert refused.status_code == 400
    assert [error["field"] for error in refused.json()["errors"]] == ["at"]


# Drafts, versions, copies ---------------------------------------------------------------------------------------------


def test_a_journey_is_created_drawn_and_published(call, now):
    templates("hello")
    definition = {"key": "j", "kind": "onboarding", "trigger": "manual", "steps": []}
    made = call("post", "journeys/", {"definition": definition})
    assert (made.status_code, made.json()["state"], made.json()["version"]) == (201, "draft", None)
    assert made["Location"].endswith("/api/v1/journeys/j/")
    assert call("post", "journeys/", {"definition": definition}).status_code == 409
    draft = call("get", "journeys/j/draft/")
    assert [problem["path"] for problem in draft.json()["problems"]] == ["steps"]
    changed = {**definition, "steps": [{"send": "hello"}]}
    put = call("put", "journeys/j/draft/", {"definition": changed, "message": "Say hello."}, match=draft["ETag"])
    assert (put.status_code, put.json()["revision"], put.json()["problems"]) == (200, 2, [])
    assert (put.json()["message"], put.json()["made_by"]) == ("Say hello.", "root")
    assert put.json()["definition"]["steps"] == [{"send": "hello", "key": "hello"}]
    assert call("put", "journeys/j/draft/", {"definition": definition}, match=draft["ETag"]).status_code == 412
    assert call("get", "journeys/j/draft/")["ETag"] == put["ETag"]
    assert call("post", "journeys/j/publish/", {}).json()["version"] == 1


def test_a_draft_is_undone_and_redone(call, now):
    one = journey(now, steps=[{"send": "hello"}])
    publishing.save_draft(journey=one, definition=publishing.draft_of(one) | {"name": "New"}, by=None, now=now)
    tag = call("get", "journeys/j/draft/")["ETag"]
    undone = call("post", "journeys/j/undo/", match=tag)
    assert (undone.status_code, undone.json()["revision"]) == (200, 1)
    assert call("post", "journeys/j/redo/", match=tag).status_code == 412
    assert call("post", "journeys/j/redo/", match=undone["ETag"]).json()["definition"]["name"] == "New"
    assert call("post", "journeys/j/redo/").status_code == 409


@pytest.mark.parametrize(
    ("definition", "field"),
    [
        ({"kind": "onboarding"}, "definition.key"),
        ({"key": "a b", "kind": "onboarding"}, "definition.key"),
        ({"key": "x", "kind": "party"}, "definition.kind"),
        ({"key": "x", "kind": ["party"]}, "definition.kind"),
        ([], "definition"),
    ],
)
def test_what_is_no_journey_is_not_created(call, definition, field):
    refused = call("post", "journeys/", {"definition": definition})
    assert refused.status_code == 400
    assert [error["field"] for error in refused.json()["errors"]] == [field]
    assert not Journey.objects.exists()


def test_the_sheet_says_what_a_publish_would_do_and_the_publish_does_it(call, now):
    one = journey(now, steps=[{"key": "a", "wait": "1d"}, {"key": "b", "wait": "1d"}])
    did(person(), "trial.started", now)
    tick(now)
    changed = publishing.draft_of(one) | {"steps": [{"key": "b", "wait": "1d"}]}
    publishing.save_draft(journey=one, definition=changed, by=None, now=now)
    sheet = call("get", "journeys/j/impact/").json()
    assert sheet["inside"] == {"people": 1, "ghosts": 0}
    assert [(step["step"], step["change"], step["here"]["people"], step["do"]) for step in sheet["steps"]] == [
        ("", "same", 0, "finish"), ("a", "removed", 1, "finish"), ("b", "same", 0, "finish"),
    ]  # fmt: skip
    blocked = call("post", "journeys/j/impact/", {"everybody": "follow"}).json()
    assert [(problem["path"], problem["step"]) for problem in blocked["problems"]] == [("choices.a", "a")]
    refused = call("post", "journeys/j/publish/", {"everybody": "follow"})
    assert [error["field"] for error in refused.json()["errors"]] == ["choices.a"]
    for wrong in ({"choices": {"a": {"do": "fly"}}}, {"choices": {"a": {}}}, {"everybody": "x"}, {"choices": []}):
        assert call("post", "journeys/j/publish/", wrong).status_code == 400
    choices = {"everybody": "follow", "choices": {"a": {"do": "move", "to": "b"}}}
    assert call("post", "journeys/j/impact/", choices).json()["steps"][1]["to"] == "b"
    assert call("post", "journeys/j/publish/", choices).json()["version"] == 2
    newest = call("get", "journeys/j/versions/").json()[0]
    assert (newest["number"], newest["is_live"]) == (2, True)
    assert newest["sheet"]["steps"][1]["done"] == {"people": 1, "ghosts": 0}
    assert Enrolment.objects.get().version.number == 2


def test_an_old_version_is_looked_at_and_published_again(call, now):
    one = journey(now, steps=[{"key": "a", "wait": "1d"}])
    publishing.save_draft(journey=one, definition=publishing.draft_of(one) | {"name": "New"}, by=None, now=now)
    publishing.publish(journey=one, by=None, now=now)
    assert call("post", "journeys/j/impact/", {"version": 1}).status_code == 200
    assert call("post", "journeys/j/impact/", {"version": 9}).status_code == 400
    back = call("post", "journeys/j/rollback/", {"version": 1})
    assert (back.json()["version"], back.json()["definition"].get("name")) == (3, None)
    assert call("post", "journeys/j/rollback/", {"version": 9}).status_code == 409
    assert call("post", "journeys/j/rollback/", {}).status_code == 400


def test_copies_and_ends(call, now):
    journey(now, steps=[{"key": "a", "wait": "1d"}])
    did(person(), "trial.started", now)
    tick(now)
    made = call("post", "journeys/j/clone/", {"key": "other", "name": "Other"})
    assert (made.status_code, made.json()["key"], made.json()["state"]) == (201, "other", "draft")
    assert call("post", "journeys/j/clone/").json()["key"] == "j-copy"
    assert call("post", "journeys/j/clone/", {"key": "other"}).status_code == 409
    assert call("post", "journeys/j/clone/", {"key": "o t"}).status_code == 400
    assert call("post", "journeys/j/archive/", {"people": "finish"}).json()["state"] == "closing"
    assert call("post", "journeys/j/archive/", {"people": "all"}).status_code == 400
    assert call("post", "journeys/j/archive/").json()["state"] == "archived"
    assert call("post", "journeys/j/publish/", {}).status_code == 409
