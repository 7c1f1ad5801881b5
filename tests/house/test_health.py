"""/health/ tells whether the work gets done."""

from datetime import timedelta

import pytest
from django.db import connections
from django.utils import timezone

from contacts.models import Contact, Heartbeat, StepCursor
from journey_crm import tasks

pytestmark = pytest.mark.django_db


@pytest.fixture
def all_at_work():
    """Everything has worked a moment ago."""
    for name in ("tick", "deliver", "webhooks", "sweep", "scheduler"):
        Heartbeat.objects.create(name=name, beat_at=timezone.now())


def test_it_is_well_when_everything_worked_lately(client, all_at_work):
    response = client.get("/health/")
    answer = response.json()
    assert (response.status_code, answer["status"], answer["problems"]) == (200, "ok", [])
    assert answer["last_tick_seconds"] < 60
    assert answer["queues"] == {"tick": 0, "celery": 0, "webhooks": 0}


def test_it_is_not_well_before_anything_worked(client):
    response = client.get("/health/")
    assert response.status_code == 503
    assert "tick: has not worked yet." in response.json()["problems"]


def test_it_names_a_scheduler_that_fell_silent(client, all_at_work):
    Heartbeat.objects.filter(name="scheduler").update(beat_at=timezone.now() - timedelta(minutes=5))
    response = client.get("/health/")
    assert response.status_code == 503
    assert response.json()["problems"] == ["scheduler: last worked 300 s ago."]


def test_it_shows_the_failing_step_and_only_the_first_line_of_its_error(client, all_at_work):
    StepCursor.objects.create(step="score")
    StepCursor.objects.create(
        step="segment", failed_at=timezone.now(), error="ValueError: no such field plan\nTraceback: password=secret"
    )
    response = client.get("/health/")
    answer = response.json()
    assert response.status_code == 503
    assert answer["failing_steps"].keys() == {"segment"}
    assert answer["failing_steps"]["segment"]["error"] == "ValueError: no such field plan"
    assert b"secret" not in response.content


def test_it_says_so_when_the_broker_is_away(client, all_at_work, monkeypatch):
    from journey_crm.celery import app

    monkeypatch.setattr(app.conf, "broker_read_url", "redis+socket:///tmp/nothing-listens-here.sock")
    response = client.get("/health/")
    assert response.status_code == 503
    assert response.json()["problems"] == ["The broker does not answer."]


def test_a_task_writes_its_heartbeat_and_two_runs_are_as_one():
    for _ in range(2):
        tasks.heartbeat()
        tasks.sweep()
    assert sorted(Heartbeat.objects.values_list("name", flat=True)) == ["scheduler", "sweep"]


@pytest.mark.django_db(transaction=True)
def test_a_task_whose_connection_was_cut_works_again_the_next_time():
    from django.db import connection

    tasks.heartbeat()
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        (pid,) = cursor.fetchone()
    other = connections.create_connection("default")
    with other.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s)", [pid])
    other.close()
    tasks.heartbeat()  # finds the connection dead: one line in the log
    tasks.heartbeat()
    assert Heartbeat.objects.filter(name="scheduler").exists()


def test_it_counts_people_in_time_zones_that_nobody_knows(client, all_at_work):
    for number, zone in enumerate(["Mars/Base", "Mars/Base", "GMT+25", "Europe/Prague", ""]):
        known = zone if zone == "Europe/Prague" else ""
        Contact.objects.create(email=f"p{number}@example.com", timezone=zone, zone=known)
    answer = client.get("/health/").json()
    assert answer["unknown_zones"] == {"Mars/Base": 2, "GMT+25": 1}
    assert answer["problems"] == [], "their mail comes by the workspace's clock: nothing to wake anybody for"
