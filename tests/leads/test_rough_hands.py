"""What rough hands do to leads: moments at the ends of the calendar, users who are gone, sessions that are over."""

import threading
from datetime import date, timedelta

import pytest
from django.db import connection, transaction
from django.test import Client
from django.utils import timezone

from contacts.definitions import DefinitionError
from journey_crm import as_code
from journey_crm.roles import ADMINISTRATOR
from leads import activities, desk, handing, moves
from leads.handing import hand_over
from leads.mails import LEASE, MOST_COPIES, PAUSE, deliver_mails
from leads.models import Lead, RejectReason, SalesMail, Task, Team
from messaging.channels import Result
from messaging.models import Brand
from tests.leads import test_alerts as alerts
from tests.leads import test_leads_sync as rest
from tests.leads import test_routing as routing
from tests.leads.test_desk import lead_of, person
from tests.scoring.world import NOW, did, known

pytestmark = pytest.mark.django_db


@pytest.fixture
def ann():
    return person("ann")


@pytest.fixture
def jan():
    return person("jan")


def pages(user) -> Client:
    client = Client()
    client.force_login(user)
    return client


# The ends of the calendar --------------------------------------------------------------------------------------------


def test_who_is_away_for_good_keeps_nobody_else_from_leads():
    routing.team("inside", "ann", "jan")
    routing.away("ann", date(2026, 11, 1), date.max)
    routing.qualified(2)
    routing.tick()
    assert routing.whose() == ["jan", "jan"]


@pytest.mark.parametrize("due", ["0001-01-01T00:00", "9999-12-31T23:59", "2027-03-28T02:30", "next week"])
def test_a_task_is_due_on_a_day_that_a_calendar_shows(due, ann):
    lead = lead_of(known())
    answer = pages(ann).post(f"/sales/{lead.pk}/task/", {"title": "Send the offer", "due_at": due})
    assert answer.status_code == 422 and b"errorlist" in answer.content
    assert not Task.objects.exists()
    assert pages(ann).get("/sales/tasks/").status_code == 200


@pytest.mark.parametrize(
    "moment", ["0001-01-01T00:00", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59", "9999-12-31T23:59:00-12:00", "soon"]
)
def test_no_moment_breaks_what_takes_one(moment, client):
    ann, headers = rest.person("ann")
    lead = lead_of(known())
    desk.accept(lead=lead, by=ann, now=timezone.now())
    for path, body, field in [
        ("tasks/", {"contact": lead.contact_id, "title": "Send the offer", "due_at": moment}, "due_at"),
        (f"leads/{lead.pk}/snooze/", {"until": moment}, "until"),
        (f"leads/{lead.pk}/hold/", {"until": moment}, "until"),
        (f"leads/{lead.pk}/call/", {"outcome": "call_back", "back_at": moment}, "back_at"),
    ]:
        answer = client.post(f"/api/v1/{path}", body, **headers)
        assert answer.status_code == 400 and answer.json()["errors"][0]["field"] == field, answer.content
    assert client.patch(f"/api/v1/leads/{lead.pk}/", {"updated_at": moment}, **headers).status_code in (200, 400, 412)
    assert client.get("/api/v1/tasks/", **headers).json()["results"] == []


@pytest.mark.parametrize("sla", ["-1:00:00", "00:00:00", "00:00:59"])
def test_no_team_promises_an_answer_before_anybody_could_give_one(sla, client):
    client.force_login(person("boss", ADMINISTRATOR, is_staff=True))
    form = {"key": "inside", "position": "0", "places-TOTAL_FORMS": "0", "places-INITIAL_FORMS": "0"}
    answer = client.post("/admin/leads/team/add/", form | {"sla": sla})
    assert answer.status_code == 200 and b"An answer takes a minute at least." in answer.content
    assert client.post("/admin/leads/team/add/", form | {"sla": "00:01:00"}).status_code == 302
    with pytest.raises(DefinitionError, match="a minute at least"):
        as_code.apply([as_code.read("routing: [{team: other, sla: PT59S}]")], now=NOW)


# Users who are gone --------------------------------------------------------------------------------------------------


def test_what_a_deleted_rep_had_accepted_is_given_on_or_ended_by_who_may_change_leads(ann, jan):
    boss = person("boss", ADMINISTRATOR)
    given, ended = lead_of(known("one@example.com")), lead_of(known("two@example.com"))
    for lead in (given, ended):
        desk.accept(lead=lead, by=ann, now=NOW)
    ann.delete()
    assert handing.assign(lead=given, by=boss, to=jan, now=NOW).owner == jan
    no = RejectReason.objects.create(key="no", name="No")
    assert desk.reject(lead=ended, by=boss, now=NOW, reason=no).state == "rejected"
    # What waits for its first rep is nobody's to end.
    waiting = lead_of(known("three@example.com"))
    with pytest.raises(desk.WrongState):
        desk.reject(lead=waiting, by=boss, now=NOW, reason=no)


def test_nothing_is_given_back_to_a_user_who_was_deleted(ann, jan):
    boss = person("boss", ADMINISTRATOR)
    lead = lead_of(known())
    desk.accept(lead=lead, by=ann, now=NOW)
    handing.assign(lead=lead, by=boss, to=jan, now=NOW)
    ann.delete()
    with pytest.raises(moves.NothingToUndo, match="no longer a user"):
        moves.undo(lead=lead, by=boss, now=NOW)
    connection.check_constraints()
    assert Lead.objects.get().owner == jan


def test_what_was_handed_to_a_colleague_since_is_not_the_former_reps_to_undo(ann, jan):
    lead = lead_of(known())
    desk.accept(lead=lead, by=ann, now=NOW)
    activities.call(lead=lead, by=ann, now=NOW, outcome="reached", body="Wants an offer")
    hand_over(Lead.objects.all(), to=jan, by=person("boss", ADMINISTRATOR), now=NOW)
    with pytest.raises(moves.NothingToUndo):
        moves.undo(lead=lead, by=ann, now=NOW)
    assert lead.activities.get().body == "Wants an offer"


# Sessions and addresses ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("move", ["claim", "accept", "reject", "note", "call", "snooze", "convert", "undo", "hold"])
def test_whose_session_ended_before_a_move_comes_back_to_the_lead(move, ann):
    lead = lead_of(known())
    client = Client()
    answer = client.post(f"/sales/{lead.pk}/{move}/")
    assert answer.status_code == 302 and answer["Location"].endswith(f"?next=/sales/{lead.pk}/")
    assert Lead.objects.get().state == "open"
    client.force_login(ann)
    assert client.get(f"/sales/{lead.pk}/").status_code == 200


def test_whose_session_ended_before_a_task_was_done_comes_back_to_the_list():
    task = Task.objects.create(contact=known(), title="Send the offer", created_at=NOW)
    for move in ("done", "reopen"):
        assert Client().post(f"/sales/tasks/{task.pk}/{move}/")["Location"].endswith("?next=/sales/tasks/")


def test_an_open_page_asks_for_news_of_no_lead_that_could_not_be(ann):
    lead_of(known())
    for asked in ("9" * 5_000, "9" * 19, "²", "<b>", ""):
        answer = pages(ann).get("/sales/live/", {"lead": asked})
        assert answer.status_code == 200 and "mark" not in answer.json()


@pytest.mark.django_db(transaction=True)
def test_a_crm_that_writes_back_and_a_rep_who_moves_shut_neither_out():
    ann, headers = rest.person("ann")
    Team.objects.create(key="inside").reps.add(ann, person("jan"))
    lead = lead_of(known())
    desk.accept(lead=lead, by=ann, now=timezone.now())
    answers = []

    def write_back():
        answers.append(Client().patch(f"/api/v1/leads/{lead.pk}/", {"owner": "jan"}, **headers).status_code)
        connection.close()

    thread = threading.Thread(target=write_back)
    with transaction.atomic(), connection.cursor() as cursor:
        # As every move begins: the person is held. The write-back waits for that and holds nothing meanwhile.
        desk.hold_contact(lead)
        thread.start()
        waiting = 0
        while thread.is_alive() and not waiting:
            cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
            waiting = cursor.fetchone()[0]
        now = timezone.now()
        desk.snooze(lead=lead, by=ann, now=now, until=now + timedelta(hours=1))
    thread.join()
    assert answers == [200] and Lead.objects.get().owner.username == "jan"


# Mail servers --------------------------------------------------------------------------------------------------------


@pytest.fixture
def hot_mail():
    Brand.objects.create(pk=1, name="Acme", sender="Acme <hello@acme.example>", postal_address="Praha")
    alerts.engagement()
    alerts.rep("ann", Team.objects.create(key="inside"))
    did(known(), "demo.asked")
    alerts.tick()
    return SalesMail.objects.get()


def test_a_server_that_takes_each_mail_and_never_says_so_gets_three_copies(hot_mail, monkeypatch):
    taken = []

    def deaf(mails):
        taken.extend(mails)
        return [Result(mail.id, "uncertain", "lost: timed out") for mail in mails]

    monkeypatch.setattr("leads.mails.choose", lambda url: deaf)
    for number in range(12):
        assert deliver_mails(NOW + number * LEASE) == 0
    hot_mail.refresh_from_db()
    assert len(taken) == MOST_COPIES and (hot_mail.state, hot_mail.response) == ("failed", "lost: timed out")


def test_a_server_that_was_away_for_long_does_not_use_up_the_copies(hot_mail, smtp_sink, settings):
    url, settings.EMAIL_URL = settings.EMAIL_URL, "smtp://127.0.0.1:1"
    for number in range(10):
        deliver_mails(NOW + number * PAUSE)
    settings.EMAIL_URL = url
    assert deliver_mails(NOW + 10 * PAUSE) == 1
    assert len(smtp_sink.mails) == 1
