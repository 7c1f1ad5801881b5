"""Stages for people and programs: forms, the report, the lists behind its numbers, and what stands beside the stage."""

import csv
import io
from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from contacts import beside, tokens
from contacts.ingest import ingest
from contacts.models import Contact, Incoming
from contacts.stream import Step, run_step
from contacts.timeline import page as story
from journey_crm.roles import MARKETER, ensure_roles
from scoring.models import StageChange, StageRule
from scoring.stages import because
from tests.campaigns.world import journey
from tests.scoring.test_velocity import walk
from tests.scoring.world import did, known, tick, told

pytestmark = pytest.mark.django_db
DAY = timedelta(days=1)
CZECH = '{"field": "country", "op": "eq", "value": "CZ"}'
VELOCITY, PEOPLE, SET = (f"/admin/scoring/stagechange/{name}/" for name in ("velocity", "people", "set"))
STREAM = {"key": "only", "cadence": {"rrule": "FREQ=WEEKLY;BYDAY=TU", "at": "10:00"}, "items": []}


@pytest.fixture
def now():
    return timezone.now()


@pytest.fixture
def marketer(client):
    user = User.objects.create_user("mark", is_staff=True)
    user.groups.add(ensure_roles()[MARKETER])
    client.force_login(user)
    return user


def bearer(user, *scopes) -> Client:
    _token, secret = tokens.issue(user=user, scopes=list(scopes), now=timezone.now())
    return Client(headers={"Authorization": f"Bearer {secret}"})


# The rules -----------------------------------------------------------------------------------------------------------


def test_a_stage_is_told_both_ways_in_its_form_with_spans_as_people_write_them(client, marketer):
    address = reverse("admin:scoring_stagerule_add")
    told_of = {"stage": "qualified", "cold_after": "14d", "leave_to": "lead", "sla": "2w", "phase_rule": CZECH}
    assert client.post(address, told_of).status_code == 302
    rule = StageRule.objects.get()
    assert (rule.rule, rule.leave_rule, rule.cold_after, rule.sla) == (None, None, 14 * DAY, 14 * DAY)
    body = client.get(reverse("admin:scoring_stagerule_change", args=[rule.pk])).content.decode()
    assert 'value="14d"' in body
    body = client.get(reverse("admin:scoring_stagerule_changelist")).content.decode()
    assert "to Lead: under the line for 14d" in body and "Decision" in body


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"leave_rule": CZECH}, "leave_to"),
        ({"leave_rule": CZECH, "leave_to": "customer"}, "leave_to"),
        ({"rule": CZECH, "leave_rule": CZECH, "leave_to": "known"}, "leave_rule"),
        ({"cold_after": "3d", "leave_to": "known"}, "cold_after"),
        ({"sla": "soon"}, "sla"),
        ({"sla": "-1 00:00:00"}, "__all__"),
        ({"phase": "awareness", "phase_rule": CZECH}, "phase_rule"),
    ],
)
def test_what_cannot_work_is_said_at_its_field(client, marketer, more, field):
    page = client.post(reverse("admin:scoring_stagerule_add"), {"stage": "lead", **more})
    assert page.status_code == 200
    assert list(page.context["adminform"].form.errors) == [field]
    assert not StageRule.objects.exists()


# By hand -------------------------------------------------------------------------------------------------------------


def test_a_marketer_sets_a_stage_with_a_reason_through_the_inbox(client, marketer, now):
    contact = known("jana@example.com", stage="qualified", highest_stage="qualified")
    page = client.get(reverse("admin:contacts_contact_change", args=[contact.pk])).content.decode()
    address = f"{SET}?contact={contact.pk}"
    assert address in page
    assert client.get(address).status_code == 200
    for nobody in ("", "?contact=", "?contact=0", "?contact=x", "?contact=9999999999999999999999"):
        assert client.get(f"{SET}{nobody}").status_code == 404
    assert "This field is required" in client.post(address, {"to": "lead"}).content.decode()
    assert "in that stage already" in client.post(address, {"to": "qualified", "reason": "x"}).content.decode()
    assert client.post(address, {"to": "disqualified", "reason": "a <b>student</b>"}).status_code == 302
    contact.refresh_from_db()
    assert contact.stage == "qualified" and Incoming.objects.count() == 1, "only the tick moves"
    later = timezone.now()
    run_step(Step("ingest", ingest), later)
    tick(later)
    contact.refresh_from_db()
    assert (contact.stage, contact.highest_stage) == ("disqualified", "qualified")
    page = client.get(address).content.decode()
    assert "by hand: a &lt;b&gt;student&lt;/b&gt;" in page
    assert len(told(contact, "stage.changed")) == 1


def test_nobody_without_the_right_sets_a_stage(client, now):
    contact = known("jana@example.com")
    user = User.objects.create_user("nina", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=["view_contact", "view_stagechange"]))
    client.force_login(user)
    address = f"{SET}?contact={contact.pk}"
    assert address not in client.get(reverse("admin:contacts_contact_change", args=[contact.pk])).content.decode()
    assert client.post(address, {"to": "lead", "reason": "x"}).status_code == 403
    api = bearer(user, "sync", "read")
    asked = {"contact": contact.pk, "to": "lead", "reason": "x"}
    assert api.post("/api/v1/stage_changes/", asked, content_type="application/json").status_code == 403
    assert not Incoming.objects.exists()


def test_a_program_asks_for_a_stage_and_reads_the_ledger(marketer, now):
    contact = known("jana@example.com", stage="known", highest_stage="known")
    api = bearer(marketer, "sync", "read")
    asked = {"contact": contact.pk, "to": "lead", "reason": "met at the fair"}
    answer = api.post("/api/v1/stage_changes/", asked, content_type="application/json")
    assert (answer.status_code, answer.json()) == (202, asked)
    for wrong, field in (({"to": "visitor"}, "to"), ({"reason": ""}, "reason"), ({"contact": 0}, "contact"),
                         ({"contact": 10**9}, "contact"), ({"to": "known"}, "to"), ({"by": "me"}, "by")):  # fmt: skip
        refused = api.post("/api/v1/stage_changes/", asked | wrong, content_type="application/json")
        assert refused.status_code == 400 and refused.json()["errors"][0]["field"] == field, wrong
    later = timezone.now()
    run_step(Step("ingest", ingest), later)
    tick(later)
    [change] = api.get(f"/api/v1/stage_changes/?contact={contact.pk}&stage=lead").json()["results"]
    assert (change["from_stage"], change["to_stage"], change["reason"]) == ("known", "lead", "hand met at the fair")
    assert change["is_by_hand"] is True


# The report ----------------------------------------------------------------------------------------------------------


def a_history(now) -> None:
    for number in range(12):
        walk(("known", 60), ("lead", 30), ("qualified", 18 - number % 3), now=now, source="fair" if number % 2 else "")
    walk(("known", 60), ("lead", 40), ("disqualified", 12), now=now)
    walk(("known", 80), ("lead", 70), now=now)
    StageRule.objects.create(stage="lead", sla=30 * DAY)


def test_the_report_says_what_stands_out_and_each_number_leads_to_its_people(client, marketer, now):
    assert "Nobody moved in this period." in client.get(VELOCITY).content.decode()
    a_history(now)
    page = client.get(VELOCITY)
    body = page.content.decode()
    assert "People stay 30 days in “Known” in the median, longer than anywhere else." in body
    checked = 0
    for row in (*page.context["rows"], *page.context["parts"]):
        for what, address in row["people"].items():
            number = {"now": row["pace"].people, "overdue": row["pace"].late}.get(what)
            number = getattr(row["pace"], what) if number is None else number
            if number and f'href="{address}"'.replace("&", "&amp;") in body:
                people = client.get(address)
                assert len(people.context["moves"]) == people.context["count"] == number, address
                checked += 1
    assert checked > 12
    late = next(row for row in page.context["rows"] if row["pace"].key == "lead")
    assert (late["pace"].late, late["pace"].people) == (1, 1)


def test_the_report_reads_phases_and_sources_and_goes_out_as_a_file(client, marketer, now):
    a_history(now)
    body = client.get(f"{VELOCITY}?as=phases&by=source&stage=consideration&period=365").content.decode()
    assert all(word in body for word in ("Awareness", "Loyalty", "fair", "unknown"))
    Contact.objects.filter(source="fair").update(source="=cmd()")
    answer = client.get(f"{VELOCITY}?by=source&file=csv")
    assert answer["Content-Disposition"] == 'attachment; filename="stages-90.csv"'
    rows = list(csv.DictReader(io.StringIO(answer.content.decode())))
    [lead] = [row for row in rows if row["key"] == "lead" and row["part"] == "" and row["entered"] == "14"]
    assert (lead["left_up"], lead["left_down"], lead["late"]) == ("12", "1", "1")
    assert "'=cmd()" in {row["part"] for row in rows}


@pytest.mark.parametrize(
    "query",
    ["?period=x&as=y&by=z&stage=q", "?what=x&page=-1", "?page=99999999999", "?part=2026-99", "?part=%00&what=left"],
)
def test_nonsense_in_the_address_is_as_usual(client, marketer, now, query):
    a_history(now)
    assert [client.get(f"{page}{query}").status_code for page in (VELOCITY, PEOPLE)] == [200, 200]


def test_the_report_is_for_who_may_see_people_and_moves(client, now):
    user = User.objects.create_user("nina", is_staff=True)
    client.force_login(user)
    for codenames in ([], ["view_stagechange"], ["view_contact"]):
        user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
        assert [client.get(page).status_code for page in (VELOCITY, PEOPLE)] == [403, 403]
    assert client.get("/admin/").status_code == 200


def test_programs_read_the_same_figures(marketer, now):
    a_history(now)
    api = bearer(marketer, "read")
    answer = api.get("/api/v1/stages/?period=90&as=stages&by=source")
    assert answer.status_code == 200
    [lead] = [one for one in answer.json() if one["stage"] == "lead" and one["part"] is None]
    assert (lead["entered"], lead["went_up"], lead["left_down"], lead["late"]) == (14, 12, 1, 1)
    assert {one["part"] for one in answer.json()} == {None, "", "fair"}
    assert len(api.get("/api/v1/stages/?limit=3").json()) == 3
    for query in ("period=7", "as=colours", "by=day", "stage=lead", "cursor=x", "ordering=id", "limit=501"):
        assert api.get(f"/api/v1/stages/?{query}").status_code == 400


# Beside the stage ----------------------------------------------------------------------------------------------------


def test_the_nurture_state_stands_beside_the_stage_on_the_page_and_in_rest(client, marketer, now):
    from tests.campaigns.world import tick as whole_tick

    journey(now, kind="nurture", streams=[STREAM])
    ann, ben = (known(f"{name}@example.com", stage="lead", highest_stage="lead") for name in ("ann", "ben"))
    assert [one.key for one in beside.facts()] == ["phase", "nurture_state"]
    did(ann, "trial.started", now, received=now)
    whole_tick(now)
    pages = [client.get(reverse("admin:contacts_contact_change", args=[one.pk])).content.decode() for one in (ann, ben)]
    assert ["Nurture: In nurture" in page for page in pages] == [True, False]
    assert all("Phase: Consideration" in page for page in pages)
    api = bearer(marketer, "read", "sync")
    answer = api.get(f"/api/v1/contacts/{ann.pk}/").json()
    assert (answer["nurture_state"], answer["phase"]) == ("in_nurture", "consideration")
    for query, found in (("nurture_state=in_nurture", [ann.pk]), ("nurture_state=none", [ben.pk]),
                         ("phase=consideration", [ann.pk, ben.pk]), ("phase=loyalty", [])):  # fmt: skip
        assert [one["id"] for one in api.get(f"/api/v1/contacts/?{query}").json()["results"]] == found
    assert api.get("/api/v1/contacts/?phase=love").status_code == 400
    sent_back = api.patch(f"/api/v1/contacts/{ann.pk}/", answer | {"phase": "loyalty"}, content_type="application/json")
    assert (sent_back.status_code, sent_back.json()["phase"]) == (200, "consideration"), "read only"


def test_an_overdue_stay_and_a_move_read_as_sentences(now):
    contact = known("jana@example.com")
    did(contact, "stage.overdue", now, properties={"stage": "lead", "since": "2026-01-01T00:00:00Z"})
    [entry] = story(contact).days[0].entries
    assert (entry.title, entry.detail) == ("Too long in a stage", "Lead")
    reasons = set(StageChange.objects.values_list("reason", flat=True)) | {
        "rule", "leave_rule", "cold 14d", "hand x", "journey j", "score.crossed fit", "lead.rejected no-budget",
        "lead.converted", "order.placed", "order.refunded", "order.cancelled", "contact.identified", "contact.merged",
        "contact.unmerged",
    }  # fmt: skip
    assert all(because(reason) != reason for reason in reasons)
    assert because("something new") == "something new"
