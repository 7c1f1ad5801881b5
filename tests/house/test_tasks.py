"""Every task of the alarm clock may run twice, after itself or beside itself, and leaves the same database and mail."""

import shutil
from datetime import datetime, timedelta
from pathlib import Path

import pytest
import time_machine
from django.apps import apps
from django.conf import settings
from django.contrib.auth.models import User
from django.core.files.base import ContentFile
from django.db import connection

from contacts import tokens, webhooks
from contacts.models import Contact, IdempotencyKey, Import, RetentionRule, Touchpoint, Webhook
from contacts.stream import put
from journey_crm import as_code
from leads.models import HotAlert, Lead, SalesMail
from messaging import returning
from messaging import tokens as signing
from messaging.models import Handover, Message, Template
from tests.contacts.test_stream import in_threads
from tests.house.test_architecture import APPS, our_tasks
from tests.house.test_as_code import COMPANY
from tests.messaging.test_bounce_reading import mail

LOTS = ["claimed_by", "secret", "digest", "prefix", "seconds"]
# Signing keys are remembered by their numbers, so these must not begin again.
KEPT = {"auth_permission", "django_content_type", "django_migrations", "contacts_zone", "messaging_signingkey"}


def inbox(now: datetime) -> None:
    for number in range(4):
        visitor = f"visitor-{number}"
        put(kind="page.viewed", source="web", now=now, anonymous_id=visitor, properties={"path": "/pricing"})
        traits = {"email": f"visitor-{number}@example.com"}
        put(kind="contact.identified", source="web", now=now, anonymous_id=visitor, user_id=visitor, traits=traits)


def messages(now: datetime, **values) -> None:
    template = Template.objects.filter(message_class="marketing").order_by("pk").first()
    for number in range(6):
        contact = Contact.objects.create(email=f"reader-{number}@example.com", first_name="Eva", language="en")
        Message.objects.create(
            key=f"m{number}",
            contact=contact,
            template=template,
            message_class="transactional",  # needs no consent
            created_at=now,
            due_at=now,
            **values,
        )


def left_behind(now: datetime) -> None:
    ended = now - timedelta(minutes=1)
    messages(now, state="sending", claimed_by="gone", claimed_at=ended, lease_until=ended, attempts=1)
    begun = Message.objects.filter(key__in=["m0", "m1"]).values_list("pk", flat=True)
    Handover.objects.create(worker="gone", begun_at=ended, messages=list(begun))


def came_back(now: datetime) -> None:
    """A bounce, a complaint, and one that nobody can read."""
    messages(now, state="sent", sent_at=now, claimed_at=now, address="reader@example.com")
    for key, name in (("m0", "01-postfix-hard"), ("m1", "26-arf-abuse"), ("m2", "32-status-without-recipient")):
        number = Message.objects.get(key=key).pk
        sign = f"m{number}.{signing.first().message_tag(number)}"
        returning.keep([mail(name, sign=sign)], source="hook", now=now)


def new_traits(now: datetime) -> None:
    for number in range(3):
        Contact.objects.create(email=f"told-{number}@example.com", attributes={"visits": number}, updated_at=now)


def files(now: datetime) -> None:
    """One file that both want: of two, each might take either, and the people's numbers would be drawn by lot."""
    rows = "".join(f"person-{row}@example.com,Eva\n" for row in range(10))
    one = Import(name="people.csv")
    one.file.save("people.csv", ContentFile(f"email,first_name\n{rows}".encode()), save=True)


def old_answers(now: datetime) -> None:
    token, _secret = tokens.issue(user=User.objects.create_superuser("root"), scopes=["admin"], now=now)
    for number, age in enumerate((1, 30)):
        created_at = now - timedelta(hours=age)
        IdempotencyKey.objects.create(token=token, key=str(number), request_digest="x", created_at=created_at)
    for days in (1, 99):
        one = Import(name="people.csv", state="finished", created_at=now - timedelta(days=days))
        one.file.save("people.csv", ContentFile(b"email\na@example.com\n"), save=True)


def events_to_tell(now: datetime) -> None:
    """Nobody listens there: each event is tried once, and waits for its next attempt."""
    webhook = Webhook.objects.create(name="CRM", url="http://127.0.0.1:1/", secret=webhooks.make_secret())
    webhooks.send_test(webhook, now=now)


def old_pages(now: datetime) -> None:
    contact = Contact.objects.create(email="reader@example.com")
    for days in (10, 100, 200):
        at = now - timedelta(days=days)
        Touchpoint.objects.create(contact=contact, kind="page.viewed", occurred_at=at, received_at=at, source="web")
    RetentionRule.objects.create(key="pages", kind="page.*", days=90)


def hot_lead(now: datetime) -> None:
    """An alert that waits, and a rep whose digest has something to say."""
    boss = User.objects.create_superuser("lenka", email="lenka@acme.example")
    contact = Contact.objects.create(email="reader@example.com")
    lead = Lead.objects.create(contact=contact, created_at=now, updated_at=now, assigned_to=boss, assigned_at=now)
    alert = HotAlert.objects.create(lead=lead, told_at=now)
    SalesMail.objects.create(kind="hot", user=boss, alert=alert, due_at=now)


# What each task finds to do.
WORK = {
    "journey_crm.tasks.tick": inbox,
    "journey_crm.tasks.deliver": lambda now: messages(now, state="ready"),
    "journey_crm.tasks.deliver_webhooks": events_to_tell,
    "journey_crm.tasks.tell_sales": hot_lead,
    "journey_crm.tasks.sweep": left_behind,
    "journey_crm.tasks.take_bounces": came_back,
    "journey_crm.tasks.run_imports": files,
    "journey_crm.tasks.tidy": old_answers,
    "journey_crm.tasks.retain": old_pages,
    "journey_crm.tasks.mind_fields": new_traits,
    "journey_crm.tasks.lint": lambda now: None,  # the company's own messages are live
    "journey_crm.tasks.predict": lambda now: None,  # it writes down why there is nothing to foretell
    "journey_crm.tasks.heartbeat": lambda now: None,
}
# How many mails leave by it.
MAILS = {"journey_crm.tasks.deliver": 6, "journey_crm.tasks.tell_sales": 2}


def prepare(work, now: datetime, mail: Path) -> None:
    """The same world again: our tables empty, their numbers from 1, the demo company's definitions, and the work."""
    tables = ", ".join(sorted(set(connection.introspection.table_names()) - KEPT))
    with connection.cursor() as cursor:
        cursor.execute(f"TRUNCATE {tables} RESTART IDENTITY CASCADE")
    for username in ("petr", "ania"):
        User.objects.create_user(username)
    as_code.apply([as_code.read(COMPANY.read_text(encoding="utf-8"))], is_publish=True, now=now)
    for folder in (mail, Path(settings.MEDIA_ROOT)):
        shutil.rmtree(folder, ignore_errors=True)
    signing.current()
    work(now)


def found(mail: Path) -> dict[str, list]:
    """Every row of ours and every mail, but for who did it, and for what is drawn by lot."""
    rows: dict[str, list] = {}
    with connection.cursor() as cursor:
        for model in apps.get_models():
            if model._meta.app_label in APPS and model._meta.managed and not model._meta.proxy:
                table = model._meta.db_table
                # Which row of a set gets which number is drawn by lot, but for people, whom others name by it.
                lots = LOTS if model is Contact else [*LOTS, "id"]
                cursor.execute(f"SELECT to_jsonb(t) - %(lots)s::text[] FROM {table} t ORDER BY 1", {"lots": lots})
                rows[table] = [row for (row,) in cursor.fetchall()]
    rows["mail"] = sorted(len(file.read_bytes().split(b"\n")) for file in mail.rglob("*") if file.is_file())
    return rows


def until_it_rests(task, mail: Path) -> dict[str, list]:
    """What is there once the task finds nothing more to do: news of one tick may be work of the next."""
    before = found(mail)
    for _again in range(10):
        task()
        after = found(mail)
        if after == before:
            return after
        before = after
    raise AssertionError("the task never rests")


def test_every_task_has_its_work_here():
    assert set(our_tasks()) == set(WORK)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("name", sorted(WORK))
def test_a_task_run_twice_in_sequence_or_in_parallel_leaves_what_one_run_leaves(name, now, tmp_path):
    task, mail = our_tasks()[name].run, tmp_path / "mail"
    results = {}
    with time_machine.travel(now, tick=False):
        for way in ("once", "twice", "side by side"):
            prepare(WORK[name], now, mail)
            before = found(mail)
            if way == "once":
                task()
            elif way == "twice":
                task()
                task()
            else:
                assert in_threads(task, task) == []
            results[way] = until_it_rests(task, mail)
            assert results[way] != before, "the task found nothing to do"
    assert len(results["once"]["mail"]) == MAILS.get(name, 0)
    for table, rows in results["once"].items():
        assert results["twice"][table] == rows, f"{table} after twice"
        # Side by side, who comes first and gets which number is drawn by lot; that nothing is doubled or lost is not.
        assert len(results["side by side"][table]) == len(rows), f"{table} after side by side"
