"""Dead letters: what could not be read or placed, and messages in doubt; a person decides, and nothing in them runs."""

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group, Permission, User
from django.test import Client
from django.urls import reverse

from contacts.models import Incoming
from journey_crm.roles import ensure_roles
from messaging import brake, returning, tokens
from messaging.gates import arbitrate
from messaging.models import Brake, Message, ReturnedMail
from messaging.return_admin import subject_of
from messaging.tokens import message_id
from messaging.verdicts import Verdict, settle
from tests.messaging.test_bounce_reading import mail

pytestmark = pytest.mark.django_db
LIST = "/admin/messaging/returnedmail/"


@pytest.fixture
def marek():
    ensure_roles()
    user = User.objects.create_user("marek", is_staff=True)
    user.groups.add(Group.objects.get(name="Marketer"))
    client = Client()
    client.force_login(user)
    return client


EVIL = b"""From: MAILER-DAEMON@<script>alert(1)</script>
Subject: =?utf-8?B?PGltZyBzcmM9eCBvbmVycm9yPWFsZXJ0KDEpPg==?=
X-Link: <a href="javascript:alert(1)">x</a>

<script>alert(2)</script> 550 5.1.1 no such user
"""


@pytest.fixture
def dead(now):
    returning.keep([EVIL, mail("32-status-without-recipient")], source="hook", now=now)
    returning.read_waiting(now=now)
    assert ReturnedMail.objects.filter(state="dead").count() == 2


def test_dead_letters_are_listed_and_shown_with_their_headers_and_nothing_runs(marek, dead):
    html = marek.get(LIST).content.decode()
    assert "It reports about a mail, but does not say which one of ours." in html
    assert "It is a delivery status without a recipient." in html
    assert "&lt;img src=x onerror=alert(1)&gt;" in html
    row = ReturnedMail.objects.order_by("pk").first()
    shown = marek.get(reverse("admin:messaging_returnedmail_change", args=[row.pk])).content.decode()
    assert "MAILER-DAEMON@&lt;script&gt;alert(1)&lt;/script&gt;" in shown
    for text in (html, shown):
        assert "<script>alert" not in text and "<img" not in text and 'href="javascript' not in text


def test_a_subject_is_read_in_its_own_letters_however_it_was_written():
    assert subject_of(mail("21-seznam-8bit")) == "Nedoručitelná zpráva"
    assert subject_of(mail("11-exchange-ndr-german")) == "Unzustellbar: Hello"
    for written in (b"=?x-none?B?????=", b"\xff\xfe", b"=?utf-8?Q?" + b"=" * 400, b""):
        assert subject_of(b"Subject: " + written + b"\n\n").isprintable()


def test_what_came_back_stands_on_the_page_of_the_message(marek, sent_one, now):
    settle([Verdict(sent_one.pk, "hard", now, "5.1.1", "<i>no</i>")], source="mail", now=now)
    html = marek.get(reverse("admin:messaging_message_change", args=[sent_one.pk])).content.decode()
    assert "no such address 5.1.1: &lt;i&gt;no&lt;/i&gt;" in html


def test_an_empty_list_says_what_belongs_there(marek):
    html = marek.get(LIST).content.decode()
    assert "There is no dead letter." in html and "read by themselves" in html
    for which, words in (("uncertain", "No message is in doubt."), ("given_up", "No message was given up.")):
        assert words in marek.get(f"{LIST}doubtful/", {"which": which}).content.decode()


def test_one_is_read_again_after_a_repair_or_dropped(marek, dead, sent_one, now):
    message = sent_one
    sign = message_id(tokens.first(), message.pk, "crm.acme.example").partition("@")[0]
    first, second = ReturnedMail.objects.order_by("pk")
    # As if we could not read such a one before.
    ReturnedMail.objects.filter(pk=first.pk).update(raw=mail("01-postfix-hard", sign=sign))
    marek.post(reverse("admin:messaging_returnedmail_act", args=[first.pk]), {"act": "again"})
    marek.post(reverse("admin:messaging_returnedmail_act", args=[second.pk]), {"act": "drop"})
    states = dict(ReturnedMail.objects.values_list("pk", "state"))
    assert states == {first.pk: "handled", second.pk: "dropped"}
    assert Message.objects.get(pk=message.pk).feedback.verdict == "hard"


def test_many_are_dropped_together(marek, dead):
    chosen = list(ReturnedMail.objects.values_list("pk", flat=True))
    marek.post(LIST, {"action": "drop", "_selected_action": chosen})
    assert set(ReturnedMail.objects.values_list("state", "raw")) == {("dropped", b"")}


@pytest.fixture
def sent_one(make_message, now):
    message = make_message()
    Message.objects.filter(pk=message.pk).update(state="sent", sent_at=now, claimed_at=now, address="a@example.com")
    return message


@pytest.fixture
def doubtful(make_ready, now):
    rows = make_ready(3)
    Message.objects.filter(pk__in=[rows[0].pk, rows[1].pk]).update(state="uncertain", claimed_at=now)
    Message.objects.filter(pk=rows[2].pk).update(state="failed", reason="gave_up", attempts=5, response="<b>450 busy")
    return rows


def test_messages_in_doubt_are_listed_and_counted(marek, doubtful):
    html = marek.get(f"{LIST}doubtful/").content.decode()
    assert html.count('name="message"') == 2
    html = marek.get(f"{LIST}doubtful/", {"which": "given_up"}).content.decode()
    assert html.count('name="message"') == 1 and "&lt;b&gt;450 busy" in html
    assert '<span class="count">2</span>' in html and '<span class="count">1</span>' in html


def test_one_in_doubt_counts_as_sent_when_somebody_says_so(marek, doubtful, now):
    marek.post(f"{LIST}doubtful/", {"act": "sent", "message": [doubtful[0].pk, doubtful[2].pk]})
    states = dict(Message.objects.values_list("pk", "state"))
    assert [states[one.pk] for one in doubtful] == ["sent", "uncertain", "failed"]
    assert list(Incoming.objects.values_list("kind", "message_id")) == [("email.sent", f"sent:{doubtful[0].pk}")]
    assert LogEntry.objects.filter(user__username="marek").exists()


def test_one_in_doubt_goes_again_only_after_a_confirmation_and_through_the_gates(marek, doubtful, now):
    marek.post(f"{LIST}doubtful/", {"act": "again", "message": [doubtful[0].pk]})
    assert Message.objects.get(pk=doubtful[0].pk).state == "uncertain"
    marek.post(f"{LIST}doubtful/", {"act": "again", "message": [doubtful[0].pk], "is_sure": "1"})
    message = Message.objects.get(pk=doubtful[0].pk)
    assert (message.state, message.attempts) == ("pending", 0)
    arbitrate(message.due_at, 0, 0)
    message.refresh_from_db()
    assert message.state in ("ready", "pending") and message.reason == ""


def test_what_was_given_up_goes_again(marek, doubtful):
    marek.post(f"{LIST}doubtful/?which=given_up", {"act": "again", "message": [doubtful[2].pk]})
    message = Message.objects.get(pk=doubtful[2].pk)
    assert (message.state, message.reason) == ("pending", "")


def test_who_may_only_look_decides_nothing(doubtful):
    looker = User.objects.create_user("olga", is_staff=True)
    looker.user_permissions.add(
        *Permission.objects.filter(codename__in=["view_message", "view_returnedmail", "view_brake"])
    )
    client = Client()
    client.force_login(looker)
    assert client.get(f"{LIST}doubtful/").status_code == 200
    assert client.post(f"{LIST}doubtful/", {"act": "sent", "message": [doubtful[0].pk]}).status_code == 403
    assert client.post("/admin/messaging/brake/act/", {"act": "pull", "why": "x"}).status_code == 403


def test_the_brake_is_pulled_and_let_go_on_its_page_with_a_why(marek, now):
    act, page = "/admin/messaging/brake/act/", "/admin/messaging/brake/"
    marek.post(act, {"act": "pull", "why": ""})
    assert brake.pulled() is None
    marek.post(act, {"act": "pull", "why": "wrong <prices>"})
    html = marek.get(page).content.decode()
    assert "All marketing is held back." in html and "wrong &lt;prices&gt;" in html
    marek.post(act, {"act": "release", "why": "mended"})
    assert brake.pulled() is None
    one = Brake.objects.get()
    assert (one.pulled_by.username, one.released_by.username, one.note) == ("marek", "marek", "mended")
    # Undone by pulling it once more.
    marek.post(act, {"act": "pull", "why": "not yet"})
    assert brake.pulled() is not None


def test_the_home_page_counts_dead_letters_and_leads_to_what_is_in_doubt(marek, dead, doubtful):
    html = marek.get("/admin/").content.decode()
    assert "2 mails that came back could not be read or placed." in html
    assert "2 messages may or may not have left." in html and f'href="{LIST}doubtful/"' in html
