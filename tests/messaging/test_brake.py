"""The complaint brake: at 0.3 % of the last 1,000 deliveries all marketing waits for a person, who is told."""

from datetime import timedelta

import pytest
from django.contrib.auth import get_user_model
from django.db.models import TextField, Value
from django.db.models.functions import Cast, Concat
from django.test import Client

from contacts.models import Heartbeat
from journey_crm.tick import tick
from messaging import brake
from messaging.explaining import why
from messaging.models import Brake, Message
from messaging.outbox import cancel
from messaging.verdicts import Verdict, settle

pytestmark = pytest.mark.django_db
MINUTE = timedelta(minutes=1)


@pytest.fixture
def make_sent(make_ready, now):
    """So many marketing mails that left."""

    def make(number, at=None):
        rows = make_ready(number)
        Message.objects.filter(pk__in=[row.pk for row in rows]).update(
            state="sent",
            sent_at=at or now,
            claimed_at=at or now,
            address=Concat(Value("r"), Cast("pk", TextField()), Value("@x.example"), output_field=TextField()),
        )
        return rows

    return make


def complain(rows, at):
    settle([Verdict(row.pk, "complaint", at) for row in rows], source="test", now=at)
    tick(at)


@pytest.fixture
def boss():
    return get_user_model().objects.create_superuser("boss", email="boss@acme.example")


def test_three_complaints_of_a_thousand_hold_all_marketing_back(make_sent, make_message, make_template, now):
    rows = make_sent(1_000)
    complain(rows[:2], now)
    assert brake.pulled() is None
    complain(rows[2:3], now + MINUTE)
    held = brake.pulled()
    assert (held.complaints, held.deliveries, held.pulled_by) == (3, 1_000, None)
    marketing = make_message(due_at=now)
    invoice = make_message(due_at=now + 2 * MINUTE, template=make_template(message_class="transactional", topic=None))
    tick(now + 2 * MINUTE)
    marketing.refresh_from_db(), invoice.refresh_from_db()
    assert (marketing.state, invoice.state) == ("pending", "ready")
    assert "held back" in why(marketing, now + 2 * MINUTE).sentence


def test_what_had_passed_the_gates_waits_too(make_sent, make_ready, now):
    rows = make_sent(100)
    waiting = make_ready(3)
    complain(rows[:3], now)
    assert brake.pulled()
    assert set(Message.objects.filter(pk__in=[one.pk for one in waiting]).values_list("state", flat=True)) == {
        "pending"
    }


def test_two_complaints_are_chance_and_three_of_two_thousand_are_few(make_sent, now):
    few = make_sent(10)
    complain(few[:2], now)
    assert brake.pulled() is None
    make_sent(1_000)
    # The third is of long ago: among the last 1,000 there is none.
    complain(few[2:3], now + MINUTE)
    assert brake.pulled() is None


def test_complaints_about_invoices_are_none_about_marketing(make_sent, now):
    rows = make_sent(20)
    Message.objects.update(message_class="transactional")
    complain(rows[:5], now)
    assert brake.pulled() is None


def test_a_person_lets_it_go_and_counting_begins_anew(make_sent, make_message, boss, now):
    rows = make_sent(100)
    complain(rows[:3], now)
    waiting = make_message(due_at=now)
    held = brake.pulled()
    assert brake.release(brake=held, by=boss, note="the list was mended", now=now + MINUTE)
    assert not brake.release(brake=held, by=boss, note="twice", now=now + 2 * MINUTE)
    tick(now + 2 * MINUTE)
    waiting.refresh_from_db()
    assert waiting.state == "ready"
    cancel(now=now, reason="withdrawn", messages=Message.objects.filter(pk=waiting.pk))
    # What was complained of before does not pull it again, what comes after does.
    complain(rows[3:4], now + 3 * MINUTE)
    assert brake.pulled() is None
    complain(make_sent(50, at=now + 4 * MINUTE)[:3], now + 5 * MINUTE)
    assert brake.pulled().deliveries == 50


def test_a_person_may_pull_it_once(boss, now):
    assert brake.pull(now=now, by=boss, reason="wrong prices")
    assert brake.pull(now=now, by=boss, reason="again") is None
    assert brake.in_words(brake.pulled()) == "wrong prices"
    assert not brake.tell(now=now)  # who pulled it knows


def test_administrators_are_told_once_by_a_mail_that_nothing_answers(smtp_sink, make_sent, boss, now):
    get_user_model().objects.create_user("marek", email="marek@acme.example")
    complain(make_sent(100)[:3], now)
    assert [brake.tell(now=now), brake.tell(now=now)] == [True, False]
    assert len(smtp_sink.mails) == 1
    mail = smtp_sink.mails[0]
    assert (mail.sender, mail.recipients, mail["Auto-Submitted"]) == ("<>", ("boss@acme.example",), "auto-generated")
    assert "3 people complained about the last 100 marketing mails (3.0 %)." in mail.body()
    assert Brake.objects.get().told_at == now


def test_while_the_mail_server_is_away_the_news_waits(settings, make_sent, boss, now):
    settings.EMAIL_URL = "smtp://127.0.0.1:1"
    complain(make_sent(100)[:3], now)
    assert not brake.tell(now=now)
    assert Brake.objects.get().told_at is None


def test_health_and_the_home_page_say_it(boss, now):
    Heartbeat.objects.create(name="tick", beat_at=now)
    brake.pull(now=now, by=None, complaints=4, deliveries=1_000)
    client = Client()
    client.force_login(boss)
    assert client.get("/health/").json()["marketing_held_since"] == "2026-11-10T09:00:00Z"
    page = client.get("/admin/").content.decode()
    assert "All marketing is held back" in page and "4 people complained" in page
    assert "All marketing is held back." in client.get("/admin/messaging/message/").content.decode()
