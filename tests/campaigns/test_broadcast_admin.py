"""A broadcast's page: its form, its buttons, its progress; by POST only, and only for whoever may."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.urls import reverse

from campaigns import publishing
from campaigns.models import Broadcast, Journey, Sendout
from contacts import written
from contacts.consent import record_consent
from journey_crm.roles import ensure_roles
from messaging.gates import arbitrate
from tests.campaigns.world import deliver, journey, people, person, templates, tick

pytestmark = pytest.mark.django_db

CZECHS = {"field": "country", "op": "eq", "value": "CZ"}
FORM = {"audience": written.write(CZECHS), "send": "sale", "at": "2027-03-28T09:00"}


@pytest.fixture
def admin(client) -> User:
    user = User.objects.create_superuser("boss")
    client.force_login(user)
    return user


def url(one: Journey, view: str = "change") -> str:
    return reverse(f"admin:campaigns_broadcast_{view}", args=[one.pk])


def draft(one: Journey) -> dict:
    one.refresh_from_db()
    return publishing.draft_of(one)


def broadcast(now, **more):
    definition = {"audience": CZECHS, "send": "sale", "at": "now", **more}
    return journey(now, key="sale", kind="broadcast", trigger=None, **definition)


def test_a_broadcast_is_made_filled_in_and_scheduled_by_forms(client, admin):
    templates("sale")
    people(3, country="CZ")
    client.post(reverse("admin:campaigns_broadcast_add"), {"name": "Spring sale", "key": "spring", "tier": "5"})
    one = Broadcast.objects.get()
    assert draft(one) == {"key": "spring", "name": "Spring sale", "kind": "broadcast"}
    page = client.get(url(one)).content.decode()
    assert "Say to whom" in page
    more = {"throttle": "5000/h", "canary_share": "5%", "canary_wait": "2h", "valid_until": "2027-03-30T18:00"}
    answer = client.post(url(one, "plan"), {**FORM, **more, "name": "Spring", "revision": one.revision})
    assert answer.status_code == 302
    assert draft(one) == {
        "key": "spring", "name": "Spring", "kind": "broadcast", "audience": CZECHS, "send": "sale",
        "at": "2027-03-28T09:00", "valid_until": "2027-03-30T18:00", "throttle": "5000/h",
        "canary": {"share": "5%", "wait": "2h"},
    }  # fmt: skip
    page = client.get(url(one)).content.decode()
    assert "As of now the audience is 3 people." in page
    page = client.get(url(one, "publish")).content.decode()
    assert "As of now it would go to 3 people" in page
    assert "It is sent on 2027-03-28 09:00 by the clock of each person." in page
    client.post(url(one, "publish"))
    assert Sendout.objects.get().state == "scheduled"
    page = client.get(url(one)).content.decode()
    assert "It is that time first anywhere on" in page
    assert "2027-03-28T09:00" in client.get(reverse("admin:campaigns_broadcast_changelist")).content.decode()


def test_saving_the_form_as_it_is_changes_nothing(client, admin, now):
    one = broadcast(now, canary={"share": "5%", "wait": "2h"}, holdout="5%", throttle="10/h")
    before = draft(one)
    form = client.get(url(one)).context["plan_form"]
    data = {field.name: form.fields[field.name].prepare_value(field.value()) or "" for field in form}
    assert client.post(url(one, "plan"), {**data, "revision": one.revision}).status_code == 302
    assert draft(one) == before | {"name": "sale"} or draft(one) == before


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"at": "tomorrow"}, "Write a local time like"),
        ({"audience": "{field: country, op: like}"}, "operator"),
        ({"throttle": "fast"}, "Write a pace like 5000/h."),
        ({"canary_share": "5%"}, "span of time"),
        ({"rrule": "FREQ=HOURLY", "at": "10:00"}, "cannot stand in a cadence"),
        ({"send": "nothing"}, "Select a valid choice"),
    ],
)
def test_what_is_wrong_is_said_at_its_field_and_nothing_is_kept(client, admin, now, wrong, said):
    one = broadcast(now)
    before = draft(one)
    answer = client.post(url(one, "plan"), {**FORM, **wrong, "revision": one.revision})
    assert answer.status_code == 422
    assert said in answer.content.decode()
    assert draft(one) == before


def test_an_editor_who_is_behind_is_told(client, admin, now):
    one = broadcast(now)
    assert client.post(url(one, "plan"), {**FORM, "revision": "0"}).status_code == 409


def test_the_page_shows_how_the_occasion_stands(client, admin, now):
    mails = people(8, country="CZ")
    record_consent(contact=mails[0], topic="", channel="email", state="denied", source="test", now=now)
    person(country="CZ", timezone="Mars/Base")
    one = broadcast(now, throttle="1/h")
    tick(now, delivers=False)
    arbitrate(now, 0, 0)
    deliver(now, id__in=[])
    page = client.get(url(one)).content.decode()
    assert "being sent" in page
    assert "1 person has a time zone that nobody knows" in page
    progress = client.get(url(one)).context["running"][0]["progress"]
    assert (progress.audience, progress.sent + progress.waiting + progress.held_back) == (9, 9)
    assert "The person unsubscribed from everything." in page
    for act, state in (("pause", "paused"), ("resume", "live"), ("archive", "archived")):
        client.post(url(one, "act"), {"act": act})
        one.refresh_from_db()
        assert one.state == state
    tick(now + timedelta(minutes=1))
    assert "stopped" in client.get(url(one)).content.decode()


def test_a_missed_one_says_so(client, admin, now):
    one = broadcast(now, at="2026-11-01T09:00")
    tick(now)
    assert "It was over before it could be sent." in client.get(url(one)).content.decode()


def test_the_text_editor_still_works(client, admin, now):
    one = broadcast(now)
    text = written.write(draft(one) | {"at": "2027-01-01T10:00"})
    assert client.post(url(one, "text"), {"definition": text, "revision": one.revision}).status_code == 302
    assert draft(one)["at"] == "2027-01-01T10:00"
    for text in ("kind: broadcast", "audience: 3\nsend: [1]\nat: {a: b}\ncanary: 5%\nrrule: 7"):
        one.refresh_from_db()
        assert client.post(url(one, "text"), {"definition": text, "revision": one.revision}).status_code == 302
        assert client.get(url(one)).status_code == 200
        assert client.get(url(one, "publish")).status_code == 200


def test_only_who_may_publish_schedules(client, now):
    one = broadcast(now)
    user = User.objects.create_user("eva", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=["view_broadcast", "change_broadcast"]))
    client.force_login(user)
    page = client.get(url(one)).content.decode()
    assert "Schedule…" not in page
    assert client.post(url(one, "act"), {"act": "pause"}).status_code == 403
    user.user_permissions.set(Permission.objects.filter(codename="view_broadcast"))
    assert client.get(url(one)).status_code == 200
    assert client.post(url(one, "plan"), {**FORM, "revision": one.revision}).status_code == 403


def test_marketers_find_the_three_screens_in_their_menu(client, now):
    user = User.objects.create_user("marek", is_staff=True)
    ensure_roles()
    user.groups.add(Group.objects.get(name="Marketer"))
    client.force_login(user)
    journey(now, key="f", kind="follow_up", trigger="manual", steps=[{"wait": "1d"}])
    journey(now, key="w", kind="win_back", trigger="manual", steps=[{"wait": "1d"}])
    page = client.get(reverse("admin:index")).content.decode()
    for model, key in (("broadcast", ""), ("followup", "f"), ("winback", "w")):
        address = reverse(f"admin:campaigns_{model}_changelist")
        assert f'href="{address}"' in page
        listed = client.get(address, follow=True)
        assert listed.status_code == 200
        if key:
            one = Journey.objects.get(key=key)
            assert client.get(reverse(f"admin:campaigns_{model}_change", args=[one.pk])).status_code == 200
