"""Leads by REST and in the stream: who may do what, and that a CRM which reads the feed has them as they are."""

from collections import Counter
from datetime import timedelta
from decimal import Decimal
from random import Random

import pytest
from django.contrib.auth import get_user_model
from django.utils import timezone
from django.utils.dateparse import parse_datetime

from contacts import tokens
from contacts.ingest import ingest
from contacts.merging import merge
from contacts.models import Contact, Merge, Touchpoint, Webhook, WebhookDelivery
from contacts.stream import Step, run_step
from contacts.unmerging import unmerge
from contacts.webhooks import tell
from journey_crm.roles import ADMINISTRATOR, MARKETER, SALES_REP, ensure_roles
from leads import activities, desk, handing, moves
from leads.models import Activity, Lead, LeadMove, RejectReason, Task, Team
from messaging.models import Hold
from tests.scoring.world import NOW, known

pytestmark = pytest.mark.django_db

HOUR = timedelta(hours=1)


def person(name: str, role: str = SALES_REP, scope: str = "sync"):
    user = get_user_model().objects.create_user(name, is_staff=role == MARKETER)
    user.groups.add(ensure_roles()[role])
    _, secret = tokens.issue(user=user, scopes=[scope], now=timezone.now())
    return user, {"headers": {"Authorization": f"Bearer {secret}"}, "content_type": "application/json"}


@pytest.fixture
def lead():
    return Lead.objects.create(contact=known(), created_at=NOW, headline="Asked for a demo")


@pytest.fixture
def team():
    return Team.objects.create(key="inside")


def later(**span) -> str:
    return (timezone.now() + timedelta(**span)).isoformat()


# By REST -------------------------------------------------------------------------------------------------------------


def test_a_rep_puts_off_assigns_calls_notes_holds_and_undoes_by_rest(client, lead, team):
    ann, headers = person("ann")
    jan, _ = person("jan")
    team.reps.add(ann, jan)

    def post(move, body=None):
        return client.post(f"/api/v1/leads/{lead.pk}/{move}/", body or {}, **headers)

    assert post("accept").json()["state"] == "accepted"
    assert post("snooze", {"until": later(days=2), "reason": "On holiday"}).json()["snooze_reason"] == "On holiday"
    assert len(client.get("/api/v1/leads/?snoozed=true", **headers).json()["results"]) == 1
    assert client.get("/api/v1/leads/?snoozed=false", **headers).json()["results"] == []
    assert post("unsnooze").json()["snoozed_until"] is None
    note = post("note", {"body": "Likes boats"})
    assert (note.status_code, note.json()["body"], note.json()["by"]) == (201, "Likes boats", "ann")
    back_at = later(hours=3)
    assert post("call", {"outcome": "call_back", "back_at": back_at}).json()["snoozed_until"] == back_at.replace(
        "+00:00", "Z"
    )
    listed = client.get(f"/api/v1/leads/{lead.pk}/activities/", **headers).json()["results"]
    assert [(one["kind"], one["outcome"]) for one in listed] == [("call", "call_back"), ("note", "")]
    task = client.get("/api/v1/tasks/?state=open", **headers).json()["results"][0]
    assert (task["title"], task["assignee"], task["created_by"]) == ("Call back", "ann", "ann")
    assert post("hold", {"until": later(days=5), "reason": "We are negotiating"}).status_code == 200
    assert Hold.objects.get().by == ann
    assert post("unhold").status_code == 200
    assert post("assign", {"to": "jan"}).json()["owner"] == "jan"
    # It is no longer his to see; but what he did by mistake he may take back.
    assert client.get(f"/api/v1/leads/{lead.pk}/", **headers).status_code == 404
    assert post("undo").json()["owner"] == "ann"
    assert post("convert", {"value": "99.50", "order_number": "A-17"}).json()["order_number"] == "A-17"
    assert post("undo").json()["state"] == "accepted"


def test_every_wrong_word_names_its_field(client, lead):
    ann, headers = person("ann")
    person("eva")
    desk.accept(lead=lead, by=ann, now=timezone.now())
    for move, body, field in [
        ("snooze", {}, "until"),
        ("snooze", {"until": "2020-01-01T00:00:00Z"}, "until"),
        ("assign", {"to": "nobody"}, "to"),
        ("assign", {"to": "eva"}, "to"),
        ("call", {"outcome": "sang"}, "outcome"),
        ("call", {"outcome": "call_back"}, "back_at"),
        ("note", {"body": " "}, "body"),
        ("hold", {"until": later(days=31)}, "until"),
        ("convert", {"order_number": "A-1"}, "order_total"),
        ("convert", {"currency": "euro"}, "currency"),
        ("undo", {"which": 1}, "which"),
    ]:
        answer = client.post(f"/api/v1/leads/{lead.pk}/{move}/", body, **headers)
        assert (answer.status_code, [one["field"] for one in answer.json()["errors"]]) == (400, [field]), move


def test_a_conflict_names_who_has_the_lead(client, lead):
    ann, _ = person("ann")
    _, jan = person("jan")
    desk.claim(lead=lead, by=ann, now=timezone.now())
    answer = client.post(f"/api/v1/leads/{lead.pk}/claim/", **jan)
    assert (answer.status_code, answer.json()["owner"]) == (409, "ann")
    assert answer.json()["title"] == "ann has taken this lead."


MOVES = {
    "release": {}, "accept": {}, "reject": {"reason": "no-budget"}, "convert": {}, "snooze": {"until": "2099-01-01"},
    "unsnooze": {}, "assign": {"to": "ann"}, "note": {"body": "x"}, "call": {"outcome": "reached"}, "undo": {},
    "hold": {"until": "2099-01-01"}, "unhold": {},
}  # fmt: skip


def test_a_rep_neither_sees_nor_moves_anothers_lead_nor_reads_its_notes(client, lead):
    ann, _ = person("ann")
    _, jan = person("jan")
    RejectReason.objects.create(key="no-budget", name="No budget")
    desk.accept(lead=lead, by=ann, now=timezone.now())
    note = activities.note(lead=lead, by=ann, now=timezone.now(), body="Secret")
    before = Lead.objects.values().get()
    for move, body in MOVES.items():
        assert client.post(f"/api/v1/leads/{lead.pk}/{move}/", body, **jan).status_code == 404, move
    for address in (f"leads/{lead.pk}/", f"leads/{lead.pk}/activities/", f"activities/{note.pk}/"):
        assert client.get(f"/api/v1/{address}", **jan).status_code == 404
    assert client.patch(f"/api/v1/leads/{lead.pk}/", {"crm_id": "x"}, **jan).status_code == 404
    assert client.patch(f"/api/v1/activities/{note.pk}/", {"body": "x"}, **jan).status_code == 404
    assert client.delete(f"/api/v1/activities/{note.pk}/", **jan).status_code == 404
    assert client.get("/api/v1/activities/", **jan).json()["results"] == []
    assert client.post("/api/v1/tasks/", {"contact": lead.contact_id, "title": "x"}, **jan).status_code == 400
    assert Lead.objects.values().get() == before
    assert (Activity.objects.get().body, Task.objects.count()) == ("Secret", 0)


def test_a_marketer_reads_all_and_moves_nothing(client, lead):
    ann, _ = person("ann")
    _, mark = person("mark", MARKETER)
    desk.accept(lead=lead, by=ann, now=timezone.now())
    note = activities.note(lead=lead, by=ann, now=timezone.now(), body="Likes boats")
    assert client.get(f"/api/v1/activities/{note.pk}/", **mark).json()["body"] == "Likes boats"
    for move, body in {"claim": {}, **MOVES}.items():
        assert client.post(f"/api/v1/leads/{lead.pk}/{move}/", body, **mark).status_code == 403, move
    assert client.patch(f"/api/v1/leads/{lead.pk}/", {"crm_id": "x"}, **mark).status_code == 403
    assert client.post("/api/v1/tasks/", {"contact": lead.contact_id, "title": "x"}, **mark).status_code == 403


def test_one_changes_ones_own_words_by_rest(client, lead):
    ann, headers = person("ann")
    _, ada = person("ada", ADMINISTRATOR)
    desk.claim(lead=lead, by=ann, now=timezone.now())
    note = activities.note(lead=lead, by=ann, now=timezone.now(), body="Likes boats")
    address = f"/api/v1/activities/{note.pk}/"
    assert client.patch(address, {"body": "Hates boats"}, **headers).json()["body"] == "Hates boats"
    assert client.patch(address, {"body": "Mine"}, **ada).status_code == 409
    assert client.delete(address, **headers).status_code == 204
    assert not Activity.objects.exists()


def test_leads_are_found_by_their_filters(client, team):
    now = timezone.now()
    ada, headers = person("ada", ADMINISTRATOR)
    for number, more in enumerate([
        {"due_at": now - HOUR, "team": team}, {"due_at": now + HOUR}, {"assigned_to": ada, "assigned_at": now},
        {"state": "accepted", "owner": ada, "due_at": now - HOUR, "crm_id": "006"},
    ]):  # fmt: skip
        Lead.objects.create(contact=known(f"p{number}@example.com"), created_at=now + number * HOUR, **more)
    ids = list(Lead.objects.order_by("pk").values_list("pk", flat=True))

    def found(query):
        return sorted(one["id"] for one in client.get(f"/api/v1/leads/?{query}", **headers).json()["results"])

    assert found("overdue=true") == ids[:1]
    assert found("overdue=false") == ids[1:]
    assert found("team=inside") == ids[:1]
    assert found("assigned_to=ada") == ids[2:3]
    assert found("owner=ada&state=accepted") == ids[3:]
    assert found("crm_id=006") == ids[3:]
    assert found(f"created_after={(now + HOUR).isoformat().replace('+00:00', 'Z')}") == ids[2:]
    assert client.get("/api/v1/leads/?colour=red", **headers).status_code == 400


def test_a_move_with_an_idempotency_key_is_made_once(client, lead):
    _, ann = person("ann")
    ann["headers"] |= {"Idempotency-Key": "k1"}
    first = client.post(f"/api/v1/leads/{lead.pk}/claim/", **ann)
    again = client.post(f"/api/v1/leads/{lead.pk}/claim/", **ann)
    assert (first.status_code, again.status_code, again["Idempotent-Replayed"]) == (200, 200, "true")
    assert LeadMove.objects.count() == 1


# Written back --------------------------------------------------------------------------------------------------------


def test_a_crm_writes_its_number_the_value_and_the_owner_back(client, lead, team):
    jan, _ = person("jan")
    _, crm = person("crm", ADMINISTRATOR)
    read = client.get(f"/api/v1/leads/{lead.pk}/", **crm)
    body = {"crm_id": "006-17", "value": "1250.00", "currency": "CZK", "owner": "jan"}
    crm["headers"] |= {"If-Match": read["ETag"]}
    answer = client.patch(f"/api/v1/leads/{lead.pk}/", body, **crm)
    told = answer.json()
    assert (told["crm_id"], told["value"], told["currency"], told["assigned_to"]) == ("006-17", "1250.00", "CZK", "jan")
    assert told["owner"] is None  # jan was given it, and need not take it
    # What it read has changed since.
    assert client.patch(f"/api/v1/leads/{lead.pk}/", {"value": "1.00"}, **crm).status_code == 412
    crm["headers"] |= {"If-Match": answer["ETag"]}
    assert client.post(f"/api/v1/leads/{lead.pk}/claim/", **crm).status_code == 200
    assert client.post(f"/api/v1/leads/{lead.pk}/claim/", **crm).status_code == 412
    assert client.patch(f"/api/v1/leads/{lead.pk}/", {"value": "1.00"}, **crm).status_code == 412


def test_what_is_older_than_the_lead_is_not_written(client, lead):
    _, crm = person("crm", ADMINISTRATOR)
    seen = client.get(f"/api/v1/leads/{lead.pk}/", **crm).json()["updated_at"]
    address = f"/api/v1/leads/{lead.pk}/"
    assert client.patch(address, {"value": "5.00", "updated_at": seen}, **crm).status_code == 200
    assert client.patch(address, {"value": "6.00", "updated_at": seen}, **crm).status_code == 412
    assert Lead.objects.get().value == Decimal("5.00")


def test_two_leads_have_not_one_number_and_a_rep_writes_to_his_own(client, lead):
    other = Lead.objects.create(contact=known("b@example.com"), created_at=NOW, crm_id="006")
    ann, headers = person("ann")
    assert client.patch(f"/api/v1/leads/{lead.pk}/", {"crm_id": "007"}, **headers).status_code == 403
    desk.claim(lead=lead, by=ann, now=timezone.now())
    answer = client.patch(f"/api/v1/leads/{lead.pk}/", {"crm_id": other.crm_id}, **headers)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (400, "crm_id")
    answer = client.patch(f"/api/v1/leads/{lead.pk}/", {"state": "converted"}, **headers)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (400, "state")
    assert client.patch(f"/api/v1/leads/{lead.pk}/", {"crm_id": "007"}, **headers).json()["crm_id"] == "007"


def test_who_may_change_leads_ends_those_of_others_as_the_crm_says(client, lead):
    ann, _ = person("ann")
    _, crm = person("crm", ADMINISTRATOR)
    desk.accept(lead=lead, by=ann, now=timezone.now())
    answer = client.post(f"/api/v1/leads/{lead.pk}/convert/", {"value": "9.00"}, **crm)
    assert (answer.json()["state"], answer.json()["owner"]) == ("converted", "ann")
    assert Lead.objects.get().ended_by.username == "crm"


# The feed ------------------------------------------------------------------------------------------------------------


def feed_ticks(now) -> None:
    for name, run in (("ingest", ingest), ("moves", moves.settle), ("leads", moves.mirror), ("webhooks", tell)):
        assert run_step(Step(name, run), now) >= 0


class Mirror:
    """A CRM that knows nothing but what it is told."""

    def __init__(self):
        self.leads: dict[int, dict] = {}
        self.gone: dict[int, int] = {}
        self.after = 0

    def take(self, kind: str, told: dict, contact: int) -> None:
        pk = told["lead"]
        known_version = max(self.leads.get(pk, {"version": 0})["version"], self.gone.get(pk, 0))
        if told["version"] <= known_version:
            return
        if kind == "lead.dropped":
            self.leads.pop(pk, None)
            self.gone[pk] = told["version"]
        else:
            self.leads[pk] = told | {"contact": contact}

    def poll(self, client, headers) -> None:
        while True:
            kinds = "lead.updated,lead.dropped"
            page = client.get(f"/api/v1/changes/?after={self.after}&kinds={kinds}&limit=50", **headers).json()
            for one in page["results"]:
                self.take(one["kind"], one["properties"], one["contact"])
            self.after = page["last"]
            if not page["has_more"]:
                return

    def as_it_is(self) -> dict[int, tuple]:
        return {
            pk: (
                one["contact"], one["state"], one["owner"], one["assigned_to"], one["team"], one["reason"],
                one["value"], one["currency"], one["order_number"], one["crm_id"],
                one["snoozed_until"] and parse_datetime(one["snoozed_until"]), one["version"],
            )
            for pk, one in self.leads.items()
        }  # fmt: skip


def the_table() -> dict[int, tuple]:
    rows = Lead.objects.select_related("owner", "assigned_to", "team", "reject_reason")
    return {
        one.pk: (
            one.contact_id, one.state, one.owner.username if one.owner else "",
            one.assigned_to.username if one.assigned_to else "", one.team.key if one.team else "",
            one.reject_reason.key if one.reject_reason else "", None if one.value is None else str(one.value),
            one.currency, one.order_number, one.crm_id, one.snoozed_until, one.version,
        )
        for one in rows
    }  # fmt: skip


@pytest.mark.parametrize("seed", range(2))
def test_whoever_reads_the_feed_or_hears_the_hooks_has_every_lead_as_it_is(client, seed, team):
    dice = Random(seed)  # noqa: S311  a die
    ann, jan = person("ann")[0], person("jan")[0]
    ada, headers = person("ada", ADMINISTRATOR)
    team.reps.add(ann, jan)
    reason = RejectReason.objects.create(key="no-budget", name="No budget")
    Webhook.objects.create(name="CRM", url="https://crm.example/hooks", kinds=["lead.*"])
    people = [known(f"p{number}@example.com") for number in range(8)]
    for one in people:
        Lead.objects.create(contact=one, created_at=NOW, team=team)
    now, made, mirror = NOW, Counter(), Mirror()

    def walk_a_step():
        lead = dice.choice(list(Lead.objects.order_by("pk")))
        by = dice.choice([lead.owner or ann, lead.owner or jan, lead.owner or ada, jan])
        move = dice.choice([
            "claim", "release", "accept", "reject", "convert", "snooze", "unsnooze", "assign", "undo", "undo", "call",
            "write", "merge", "unmerge", "clock", "new", "new", "leave", "claim", "accept", "snooze",
        ])  # fmt: skip
        if move == "undo":
            last = LeadMove.objects.filter(undone_at=None).exclude(told_at__isnull=False)[0]
            moves.undo(lead=last.lead, by=last.by, now=now)
        elif move == "call":
            activities.call(lead=lead, by=by, now=now, outcome="no_answer", back_at=now + HOUR)
        elif move == "write":
            Lead.objects.filter(pk=lead.pk).update(crm_id=f"c{lead.pk}", value=dice.randrange(100))
        elif move == "clock":
            # As the tick takes a lead from who did not answer.
            taken = Lead.objects.filter(pk=lead.pk, state="claimed")
            taken.update(state="open", owner=None, assigned_to=jan, assigned_at=now, updated_at=now)
        elif move == "new":
            free = Contact.objects.living().exclude(leads__in=Lead.objects.unfinished()).first()
            if free:
                Lead.objects.create(contact=free, created_at=now)
        elif move == "leave" and dice.random() < 0.2:
            team.delete()
        elif move == "merge":
            pair = dice.sample(list(Contact.objects.living().order_by("pk")), 2)
            merge(survivor=pair[0], loser=pair[1], reason="by hand", now=now)
        elif move == "unmerge":
            unmerge(Merge.objects.filter(undone_at=None).order_by("-pk")[0], now=now)
        elif move in ("claim", "release", "accept", "reject", "convert", "snooze", "unsnooze", "assign"):
            words = {
                "reject": {"reason": reason}, "convert": {"value": Decimal(dice.randrange(1000)), "order_number": "A"},
                "snooze": {"until": now + HOUR}, "assign": {"to": dice.choice([ann, jan])},
            }.get(move, {})  # fmt: skip
            getattr(handing if move == "assign" else desk, move)(lead=lead, by=by, now=now, **words)
        made[move] += 1

    for step in range(150):
        now += timedelta(seconds=dice.choice([0, 0, 1, 20, 600]))
        try:
            walk_a_step()
        except (desk.DeskError, ValueError, IndexError):
            pass
        if step % 10 == 9:
            feed_ticks(now)
            mirror.poll(client, headers)
            assert mirror.as_it_is() == the_table(), step
    assert set(made) > {"claim", "accept", "assign", "undo", "merge", "unmerge", "clock", "snooze"}, made
    assert sum(made.values()) > 60
    # Hooks come in any order, and more than once.
    hooks, heard = list(WebhookDelivery.objects.filter(kind__in=["lead.updated", "lead.dropped"])), Mirror()
    dice.shuffle(hooks)
    for one in [*hooks, *hooks[:20]]:
        data = one.payload["data"]
        heard.take(one.kind, data["properties"], data["contact"])
    assert heard.as_it_is() == the_table()


def test_a_lead_that_has_not_changed_is_not_told_again(lead):
    feed_ticks(NOW)
    feed_ticks(NOW)
    Lead.objects.update(headline="Asked for a demo")  # as it was
    Lead.objects.update(asked_at=NOW, lapsed_by=[1])  # routing's own notes
    feed_ticks(NOW)
    assert Touchpoint.objects.filter(kind="lead.updated").count() == 1
    Lead.objects.update(headline="Asked again")
    feed_ticks(NOW)
    (first, second) = Touchpoint.objects.filter(kind="lead.updated").order_by("pk")
    assert (second.properties["headline"], second.properties["version"]) == (
        "Asked again", first.properties["version"] + 1,
    )  # fmt: skip
