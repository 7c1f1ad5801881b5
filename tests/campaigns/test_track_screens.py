"""The screen of a nurture track: the stream's form says all that a stream may, its drawing how its members stand."""

from datetime import timedelta

import pytest
import time_machine
from django.contrib.auth.models import User
from django.urls import reverse
from django.utils.formats import date_format
from django.utils.timezone import localtime

from campaigns import publishing
from campaigns.explaining import explain_journey
from campaigns.models import Due, Enrolment, Journey
from contacts import tokens
from tests.campaigns.world import DAY, did, journey, person, templates, tick

pytestmark = pytest.mark.django_db

WEEK = timedelta(days=7)
TUESDAYS = {"rrule": "FREQ=WEEKLY;BYDAY=TU", "at": "10:00"}
HEEDING = {**TUESDAYS, "skip_holidays": ["CZ", "PL"], "on_holiday": "skip"}
STREAMS = [
    {
        "key": "basics",
        "name": "The basics",
        "cadence": HEEDING,
        "items": [{"key": "one", "send": "one"}],
        "exhausted": {"stream": "more"},
    },
    {"key": "more", "cadence": {**TUESDAYS, "skip_holidays": True}, "enter": {"stage": "lead"}, "items": []},
    {"key": "plain", "cadence": TUESDAYS, "items": [], "exhausted": {"exit": True}},
]


@pytest.fixture(autouse=True)
def boss(client) -> User:
    user = User.objects.create_superuser("boss")
    client.force_login(user)
    return user


def url(one: Journey, view: str = "change") -> str:
    return reverse(f"admin:campaigns_nurturetrack_{view}", args=[one.pk])


def draft(one: Journey) -> dict:
    one.refresh_from_db()
    return publishing.draft_of(one)


@pytest.mark.parametrize("key", ["basics", "more", "plain"])
def test_saving_a_stream_as_it_is_changes_nothing(client, now, key):
    one = journey(now, kind="nurture", streams=STREAMS)
    form = client.get(url(one), {"step": key}).context["form"]
    data = {field.name: form.fields[field.name].prepare_value(field.value()) for field in form}
    data = {name: "" if value is None else value for name, value in data.items()}
    before = draft(one)
    answer = client.post(url(one, "step"), {"do": "configure", "key": key, "revision": one.revision, **data})
    assert answer.status_code == 302
    assert draft(one) == before


def test_the_form_says_holidays_and_what_follows(client, now):
    one = journey(now, kind="nurture", streams=STREAMS)
    data = {
        "do": "configure", "key": "plain", "revision": one.revision, "rrule": "FREQ=DAILY", "at": "08:00",
        "skip_holidays": "true", "on_holiday": "skip", "items": "- {key: one-again, send: one}",
        "exhausted": "{stream: basics}",
    }  # fmt: skip
    assert client.post(url(one, "step"), data).status_code == 302
    assert draft(one)["streams"][2] == {
        "key": "plain",
        "cadence": {"rrule": "FREQ=DAILY", "at": "08:00", "skip_holidays": True, "on_holiday": "skip"},
        "items": [{"key": "one-again", "send": "one"}],
        "exhausted": {"stream": "basics"},
    }
    page = client.get(url(one), {"step": "plain"}).content.decode()
    assert "not on holidays" in page and "Who has got all goes to the stream “basics”." in page


def test_the_drawing_shows_the_next_cast_and_who_stands_still_or_has_nothing_left(client, now):
    one = journey(
        now, key="one", kind="nurture", streams=[{"key": "only", "cadence": TUESDAYS, "items": [{"send": "one"}]}]
    )
    journey(
        now, key="two", kind="nurture", trigger={"touchpoint": "demo.booked"},
        streams=[{"key": "only", "cadence": TUESDAYS, "items": []}],
    )  # fmt: skip
    ann, ben, cat = person(), person(), person()
    for contact in (ann, ben, cat):
        did(contact, "trial.started", now)
    tick(now)
    tick(now + WEEK)
    tick(now + 2 * WEEK)
    did(cat, "demo.booked", now + 2 * WEEK + DAY)
    tick(now + 2 * WEEK + DAY)
    page = client.get(url(one)).content.decode()
    due = Due.objects.filter(node_kind="stream").first().due_at
    when = date_format(localtime(due), "SHORT_DATETIME_FORMAT")
    assert due == now + 3 * WEEK and f"Next cast: {when}." in page
    assert "<strong>2</strong> have nothing left" in page
    assert "<strong>1</strong> is on another track" in page


def test_and_why_tells_to_which_track_a_person_gave_way(now):
    for key, kind in (("old", "trial.started"), ("new", "demo.booked")):
        journey(
            now, key=key, kind="nurture", trigger={"touchpoint": kind},
            streams=[{"key": "only", "cadence": TUESDAYS, "items": []}],
        )  # fmt: skip
    ann = person()
    did(ann, "trial.started", now)
    tick(now)
    did(ann, "demo.booked", now + DAY)
    tick(now + DAY)
    answer = explain_journey(ann, Journey.objects.get(key="old"), now + DAY)
    assert answer["superseded"] == {"by": "new", "since": now + DAY}
    assert "superseded" not in explain_journey(ann, Journey.objects.get(key="new"), now + DAY)


def test_partners_read_it_by_rest(client, boss, now):
    templates("one")
    for key, kind in (("old", "trial.started"), ("new", "demo.booked")):
        journey(
            now, key=key, kind="nurture", trigger={"touchpoint": kind},
            streams=[{"key": "only", "cadence": TUESDAYS, "items": []}],
        )  # fmt: skip
    ann = person()
    did(ann, "trial.started", now)
    tick(now)
    did(ann, "demo.booked", now + DAY)
    tick(now + DAY)
    old, new = Enrolment.objects.order_by("pk")
    _token, secret = tokens.issue(user=boss, scopes=["read"], now=now)
    with time_machine.travel(now + DAY):
        answer = client.get(f"/api/v1/enrolments/{old.pk}/", headers={"Authorization": f"Bearer {secret}"}).json()
    assert (answer["state"], answer["superseded_by"]) == ("open", new.pk)
    assert answer["superseded_at"] == "2026-11-11T09:00:00Z"
