"""Tasks that journeys ask for: made once, seen by the right people, done, put back, dropped."""

from datetime import timedelta

import pytest
from django.contrib.auth import get_user_model
from django.db import IntegrityError, transaction
from django.utils import timezone

from contacts import tokens
from contacts.models import Contact, Incoming, Touchpoint
from contacts.stream import Step, run_step
from journey_crm.roles import MARKETER, SALES_REP, ensure_roles
from leads import tasks
from leads.models import Task, Team

pytestmark = pytest.mark.django_db


def rep(name: str, role: str = SALES_REP):
    user = get_user_model().objects.create_user(name, is_staff=role == MARKETER)
    user.groups.add(ensure_roles()[role])
    return user


def rest(user, scope: str = "sync") -> dict:
    _, secret = tokens.issue(user=user, scopes=[scope], now=timezone.now())
    return {"headers": {"Authorization": f"Bearer {secret}"}, "content_type": "application/json"}


def asked(contact, now, assign="owner", title="Call them", enrolment=7, source="journey", **more) -> Touchpoint:
    said = {"assign": assign, "title": title, "journey": "start", "enrolment": enrolment, "due_at": None, **more}
    return Touchpoint.objects.create(
        contact=contact, kind="task.requested", occurred_at=now, received_at=now, source=source, properties=said
    )


def left(contact, now, reason, enrolment=7) -> None:
    Touchpoint.objects.create(
        contact=contact, kind="journey.left", occurred_at=now, received_at=now, source="journey",
        properties={"journey": "start", "reason": reason, "enrolment": enrolment},
    )  # fmt: skip


def step(now) -> int:
    return run_step(Step("tasks", tasks.ask), now)


def test_a_request_becomes_a_task_once(now):
    ann = rep("ann")
    contact = Contact.objects.create(email="a@example.com", owner=ann)
    touchpoint = asked(contact, now, due_at=(now + timedelta(days=2)).isoformat())
    assert step(now) == 1
    task = Task.objects.get()
    assert (task.contact, task.title, task.state, task.assignee, task.team) == (contact, "Call them", "open", ann, None)
    assert (task.due_at, task.source, task.touchpoint_id) == (now + timedelta(days=2), "journey:start", touchpoint.pk)
    assert tasks.ask(now, 0, touchpoint.pk) == 0
    assert Task.objects.count() == 1


def test_a_task_is_for_the_owner_a_team_or_a_user_and_else_for_anybody(now):
    ann, jan = rep("ann"), rep("jan")
    team = Team.objects.create(key="inside", name="Inside")
    contact = Contact.objects.create(email="a@example.com", owner=ann)
    nobodys = Contact.objects.create(email="b@example.com")
    for one, assign in [
        (contact, "owner"),
        (contact, "inside"),
        (contact, "jan"),
        (contact, "gone"),
        (nobodys, "owner"),
    ]:
        asked(one, now, assign)
    step(now)
    rows = list(Task.objects.order_by("pk").values_list("assignee", "team"))
    assert rows == [(ann.pk, None), (None, team.pk), (jan.pk, None), (None, None), (None, None)]


def test_only_journeys_ask_for_tasks(now):
    asked(Contact.objects.create(email="a@example.com"), now, source="track", due_at="no date")
    assert step(now) == 0


@pytest.mark.parametrize(
    ("reason", "state"),
    [("activated", "dropped"), ("goal", "dropped"), ("exit_rule", "dropped"), ("end", "open"), ("timed_out", "open")],
)
def test_a_task_whose_reason_is_gone_is_dropped(now, reason, state):
    contact = Contact.objects.create(email="a@example.com")
    asked(contact, now)
    asked(contact, now, enrolment=8)
    step(now)
    left(contact, now, reason)
    step(now)
    assert list(Task.objects.order_by("pk").values_list("state", flat=True)) == [state, "open"]


def test_a_rep_sees_his_own_his_teams_and_nobodys_tasks(client, now):
    ann, jan = rep("ann"), rep("jan")
    Team.objects.create(key="inside").reps.add(ann)
    Team.objects.create(key="others").reps.add(jan)
    contact = Contact.objects.create(email="a@example.com")
    for assign in ("ann", "jan", "inside", "others", "nobody"):
        asked(contact, now, assign, title=f"for {assign}")
    step(now)
    listed = client.get("/api/v1/tasks/", **rest(ann)).json()
    assert {one["title"] for one in listed["results"]} == {"for ann", "for inside", "for nobody"}
    hidden = Task.objects.get(title="for jan")
    assert client.post(f"/api/v1/tasks/{hidden.pk}/done/", **rest(ann)).status_code == 404
    assert len(client.get("/api/v1/tasks/", **rest(rep("mark", MARKETER), "read")).json()["results"]) == 5
    client.force_login(ann)
    page = client.get("/sales/tasks/").content.decode()
    assert "for inside" in page
    assert "for others" not in page


def test_the_contact_of_a_task_is_open_to_whom_the_task_is_for(now):
    ann = rep("ann")
    contact = Contact.objects.create(email="a@example.com")
    assert contact not in Contact.objects.visible_to(ann)
    asked(contact, now, "ann")
    step(now)
    assert contact in Contact.objects.visible_to(ann)


def test_a_task_is_done_and_put_back_in_the_workspace(client, now):
    ann = rep("ann")
    asked(Contact.objects.create(email="a@example.com"), now, "ann")
    step(now)
    task = Task.objects.get()
    client.force_login(ann)
    page = client.post(f"/sales/tasks/{task.pk}/done/", follow=True)
    assert "“Call them” is done." in page.content.decode()
    assert f"/sales/tasks/{task.pk}/reopen/" in page.content.decode()
    task.refresh_from_db()
    assert (task.state, task.done_by) == ("done", ann)
    again = client.post(f"/sales/tasks/{task.pk}/done/", follow=True)
    assert "This task is done." in again.content.decode()
    client.post(f"/sales/tasks/{task.pk}/reopen/")
    task.refresh_from_db()
    assert (task.state, task.done_at, task.done_by) == ("open", None, None)
    assert list(Incoming.objects.order_by("id").values_list("kind", flat=True)) == ["task.done", "task.reopened"]


def test_a_task_is_done_by_rest_and_twice_is_a_conflict(client, now):
    ann = rest(rep("ann"))
    asked(Contact.objects.create(email="a@example.com"), now, "ann")
    step(now)
    task = Task.objects.get()
    answer = client.post(f"/api/v1/tasks/{task.pk}/done/", **ann)
    assert (answer.status_code, answer.json()["state"], answer.json()["done_by"]) == (200, "done", "ann")
    answer = client.post(f"/api/v1/tasks/{task.pk}/done/", **ann)
    assert (answer.status_code, answer.json()["title"]) == (409, "This task is done.")
    assert client.post(f"/api/v1/tasks/{task.pk}/reopen/", **ann).json()["state"] == "open"


def test_a_marketer_looks_on(client, now):
    asked(Contact.objects.create(email="a@example.com"), now)
    step(now)
    mark = rep("mark", MARKETER)
    assert client.post(f"/api/v1/tasks/{Task.objects.get().pk}/done/", **rest(mark)).status_code == 403
    client.force_login(mark)
    assert client.get("/sales/tasks/").status_code == 200
    assert client.post(f"/sales/tasks/{Task.objects.get().pk}/done/").status_code == 403


def test_the_schema_demands_a_moment_of_what_is_done(now):
    contact = Contact.objects.create(email="a@example.com")
    for wrong in ({"state": "done"}, {"state": "open", "done_at": now}):
        with pytest.raises(IntegrityError), transaction.atomic():
            Task.objects.create(contact=contact, title="x", created_at=now, **wrong)
