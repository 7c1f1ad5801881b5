"""Hot leads: told once for each crossing, to whom it concerns, when they work, by mail and to other systems."""

import os
import subprocess
import sys
import threading
from datetime import timedelta
from pathlib import Path

import pytest
from django.contrib.auth import get_user_model
from django.db import connection

from contacts import erasure, webhooks
from contacts.ingest import ingest
from contacts.merging import merge
from contacts.models import Company, Contact, StepCursor, Touchpoint, Webhook, WebhookDelivery
from contacts.stream import Busy, Step, put, run_step
from journey_crm.roles import SALES_REP, ensure_roles
from leads.alerts import hot
from leads.mails import LEASE, TOO_LATE, deliver_mails
from leads.models import AlertPreference, HotAlert, Lead, Rep, SalesMail, Team
from messaging.models import Brand
from tests.scoring.world import NOW, STEPS, did, known, model, rule, told

ALL_STEPS = [*STEPS, Step("hot", hot)]


def tick(now=NOW, steps=ALL_STEPS) -> None:
    for step in steps:
        run_step(step, now)
    errors = [cursor.error for cursor in StepCursor.objects.exclude(error="")]
    assert not errors, errors[0]


def rep(name: str, team: Team | None = None, hours: str = "", capacity: int | None = None):
    user = get_user_model().objects.create_user(name, email=f"{name}@acme.example")
    user.groups.add(ensure_roles()[SALES_REP])
    if team:
        Rep.objects.create(team=team, user=user, hours=hours, capacity=capacity)
    return user


def prefers(user, **more) -> None:
    AlertPreference.objects.create(user=user, **more)


def engagement():
    found = model(qualify_at=50, hysteresis=5)
    rule(found, "demo.asked", 60, days=14, key="demo")
    rule(found, "page.viewed", 2, key="page")
    found.rules.filter(key="demo").update(name="Asked for a demo")
    return found


@pytest.fixture
def world(db):
    Brand.objects.create(pk=1, name="Acme", sender="Acme <hello@acme.example>", postal_address="Praha")
    engagement()
    return Team.objects.create(key="inside")


def recipients(sink) -> list[str]:
    return sorted(mail.recipients[0] for mail in sink.mails)


def test_a_crossing_is_told_once_by_a_mail_that_says_who_why_and_where(world, smtp_sink, settings):
    ann = rep("ann", world)
    company = Company.objects.create(name="Čapek & synové", domain="capek.example")
    contact = known(first_name="Žofie", last_name="Čapková", company=company, job_title="CFO")
    did(contact, "demo.asked", NOW - timedelta(hours=1))
    for _ in range(3):
        did(contact, "page.viewed", NOW - timedelta(minutes=5))
    tick()
    assert deliver_mails(NOW) == 1 and deliver_mails(NOW) == 0
    lead = Lead.objects.get()
    [mail] = smtp_sink.to(ann.email)
    assert mail["Subject"] == "Hot lead: Žofie Čapková, Čapek & synové"
    assert mail["Auto-Submitted"] == "auto-generated" and mail.sender == "<>"
    for body in (mail.body(), mail.body("html")):
        assert "Asked for a demo" in body and "+60" in body and "CFO" in body and "page" in body
        assert f"{settings.BASE_URL}/sales/{lead.pk}/" in body and "/sales/alerts/" in body
    assert "Čapek &amp; synové" in mail.body("html")
    alert = HotAlert.objects.get()
    crossing = Touchpoint.objects.get(kind="score.crossed")
    assert (alert.lead, alert.crossing_id, alert.told_at) == (lead, crossing.pk, NOW)
    [said] = told(contact, "lead.hot")
    assert said["lead"] == lead.pk and said["link"] == f"{settings.BASE_URL}/sales/{lead.pk}/"
    assert (said["score"], said["threshold"], said["team"]) == ("engagement", 50, "inside")
    assert said["value"] == pytest.approx(65.876, abs=0.01)
    assert [(one["name"], one["events"]) for one in said["reasons"]] == [("Asked for a demo", 1), ("page", 3)]
    assert said["person"]["name"] == "Žofie Čapková" and said["person"]["company"] == "Čapek & synové"


def test_reassignment_a_fall_a_replay_and_more_points_tell_nobody_again_but_the_next_crossing_does(world, smtp_sink):
    ann, ben = rep("ann", world), rep("ben")
    contact = known()
    did(contact, "demo.asked")
    tick()
    deliver_mails(NOW)
    assert recipients(smtp_sink) == [ann.email]
    lead = Lead.objects.get()
    Lead.objects.update(assigned_to=ben, assigned_at=NOW)
    did(contact, "lead.reassigned", source="journey", properties={"lead": lead.pk})
    for step in range(3):
        did(contact, "page.viewed", NOW + timedelta(hours=step))
        tick(NOW + timedelta(hours=step))
    # Over the line, yet within the hysteresis, and then far below.
    tick(NOW + timedelta(days=5))
    tick(NOW + timedelta(days=100))
    assert [one["direction"] for one in told(contact, "score.crossed")] == ["up", "down"]
    StepCursor.objects.update(position=0)
    tick(NOW + timedelta(days=100))
    deliver_mails(NOW + timedelta(days=100))
    assert HotAlert.objects.count() == 1 and len(told(contact, "lead.hot")) == 1
    assert recipients(smtp_sink) == [ann.email]
    did(contact, "demo.asked", NOW + timedelta(days=101))
    tick(NOW + timedelta(days=101))
    deliver_mails(NOW + timedelta(days=101))
    assert HotAlert.objects.count() == 2
    assert recipients(smtp_sink) == [ann.email, ben.email]


def test_who_is_handed_over_without_a_score_is_told_once_per_lead(world, smtp_sink):
    ann = rep("ann", world)
    contact = known()
    for reason in ("trial finished", "again"):
        did(contact, "handoff.requested", properties={"reason": reason, "team": "inside", "journey": "t"})
        tick()
    deliver_mails(NOW)
    assert HotAlert.objects.get().crossing_id is None
    assert recipients(smtp_sink) == [ann.email] and "trial finished" in smtp_sink.mails[0].body()


def test_a_visitor_over_the_line_is_told_of_when_he_becomes_known(world, smtp_sink):
    rep("ann", world)
    visitor = Contact.objects.create(created_at=NOW)
    did(visitor, "demo.asked")
    tick()
    assert not HotAlert.objects.exists() and told(visitor, "score.crossed")
    visitor.identities.create(kind="email", value="jana@example.com", created_at=NOW)
    Contact.objects.filter(pk=visitor.pk).update(email="jana@example.com")
    did(visitor, "contact.identified", NOW + timedelta(hours=1))
    tick(NOW + timedelta(hours=1))
    crossing = Touchpoint.objects.get(kind="score.crossed")
    assert HotAlert.objects.get().crossing_id == crossing.pk


def test_it_is_for_the_rep_who_has_it_else_for_the_team_else_for_who_asked(world, smtp_sink):
    team = Team.objects.create(key="north", rule={"field": "country", "op": "eq", "value": "PL"})
    Team.objects.filter(pk=world.pk).update(rule={"field": "country", "op": "eq", "value": "CZ"})
    # Nobody of the team has room, so that its leads are everybody's of it.
    ann, ben, eva = (rep(name, team, capacity=0) for name in ("ann", "ben", "eva"))
    cid, dan = rep("cid"), rep("dan")
    prefers(dan, is_for_all=True)
    prefers(eva, hot="none")
    rep("fay", world)
    polish, free, owned = known("p@example.com", country="PL"), known("f@example.com"), known("o@example.com")
    Lead.objects.create(contact=owned, created_at=NOW, state="accepted", owner=cid, accepted_at=NOW)
    for contact in (polish, free, owned):
        did(contact, "demo.asked")
    tick()
    deliver_mails(NOW)
    assert recipients(smtp_sink) == [ann.email, ben.email, cid.email, dan.email]
    assert [mail["Subject"] for mail in smtp_sink.to(cid.email)] == ["Hot lead: o@example.com"]
    assert [mail["Subject"] for mail in smtp_sink.to(dan.email)] == ["Hot lead: f@example.com"]


def test_at_night_it_waits_until_work_begins_and_leaves_only_if_the_lead_still_waits(world, smtp_sink):
    night, morning = NOW.replace(hour=1), NOW.replace(hour=8)
    ann = rep("ann", world, hours="mon-fri 09:00-17:00 Europe/Prague", capacity=0)
    owl = rep("owl", world, hours="mon-fri 09:00-17:00 Europe/Prague", capacity=0)
    prefers(owl, at_night=True, language="cs")
    one, other = known("one@example.com"), known("two@example.com")
    for contact in (one, other):
        did(contact, "demo.asked", night, received=night)
    tick(night)
    deliver_mails(night)
    assert recipients(smtp_sink) == [owl.email] * 2
    assert '<html lang="cs">' in smtp_sink.mails[0].body("html")
    Lead.objects.filter(contact=one).update(state="claimed", owner=owl, claimed_at=night)
    deliver_mails(morning - timedelta(minutes=1))
    assert not smtp_sink.to(ann.email)
    deliver_mails(morning)
    assert [mail["Subject"] for mail in smtp_sink.to(ann.email)] == ["Hot lead: two@example.com"]
    assert sorted(SalesMail.objects.filter(user=ann).values_list("state", flat=True)) == ["dropped", "sent"]


def test_many_at_once_are_one_mail_and_after_ten_in_an_hour_they_come_together(world, smtp_sink):
    ann = rep("ann", world)
    for number in range(7):
        did(known(f"p{number}@example.com"), "demo.asked")
    tick()
    assert deliver_mails(NOW) == 1
    [mail] = smtp_sink.to(ann.email)
    assert mail["Subject"] == "7 hot leads" and mail.body().count("/sales/") == 7 + 2
    for number in range(10, 19):
        did(known(f"p{number}@example.com"), "demo.asked")
        tick()
        deliver_mails(NOW)
    assert len(smtp_sink.mails) == 10
    for number in (20, 21):
        did(known(f"p{number}@example.com"), "demo.asked")
    tick(NOW + timedelta(minutes=1))
    deliver_mails(NOW + timedelta(minutes=2))
    assert len(smtp_sink.mails) == 10
    deliver_mails(NOW + timedelta(minutes=15))
    assert len(smtp_sink.mails) == 12


def test_another_system_gets_all_it_needs_without_asking_back(world):
    contact = known(first_name="Jana", last_name="Nová", phone="+420777123456")
    did(contact, "demo.asked")
    webhook = Webhook.objects.create(name="crm", url="https://crm.example/", kinds=["lead.hot"], secret="whsec_eA==")
    tick()
    tick(steps=[Step("webhooks", webhooks.tell)])
    [delivery] = WebhookDelivery.objects.filter(webhook=webhook)
    said = delivery.payload["data"]["properties"]
    assert delivery.payload["type"] == "lead.hot"
    assert set(said) >= {"lead", "link", "score", "value", "threshold", "reason", "reasons", "team", "owner", "due_at"}
    assert said["person"]["phone"] == "+420777123456"


def test_a_server_that_is_away_gets_it_later_and_one_that_refuses_is_noted(world, smtp_sink, settings):
    rep("ann", world)
    did(known(), "demo.asked")
    tick()
    url, settings.EMAIL_URL = settings.EMAIL_URL, "smtp://127.0.0.1:1"
    assert deliver_mails(NOW) == 0
    assert SalesMail.objects.get().state == "waiting"
    settings.EMAIL_URL = url
    assert deliver_mails(NOW + timedelta(seconds=59)) == 0 and not smtp_sink.mails
    smtp_sink.on_recipient = lambda address: "550 no such rep"
    assert deliver_mails(NOW + timedelta(minutes=1)) == 0
    mail = SalesMail.objects.get()
    assert mail.state == "failed" and "no such rep" in mail.response


def test_two_people_who_are_one_keep_their_alerts_and_an_erased_one_leaves_none(world, smtp_sink):
    ann = rep("ann", world)
    one, other = known("one@example.com"), known("two@example.com")
    for contact in (one, other):
        did(contact, "demo.asked")
    tick()
    merge(survivor=one, loser=other, reason="test", now=NOW)
    tick(steps=[Step("ingest", ingest), *ALL_STEPS])
    assert HotAlert.objects.count() == 2 and Lead.objects.count() == 1
    deliver_mails(NOW)
    # The lead that gave way is told of no more.
    assert recipients(smtp_sink) == [ann.email]
    assert len(told(one, "lead.hot")) == 2
    erasure.erase(one, by=None, now=NOW)
    assert not SalesMail.objects.filter(alert__lead__in=Lead.objects.all()).exists()
    assert not Touchpoint.objects.filter(kind="lead.hot").exists()
    tick(NOW + timedelta(hours=1))
    assert HotAlert.objects.filter(lead__in=Lead.objects.all()).count() == 0


def test_old_news_are_no_news_and_a_server_that_stays_away_is_given_up(world, smtp_sink, settings):
    ann = rep("ann", world)
    did(known("one@example.com"), "demo.asked")
    tick()
    assert deliver_mails(NOW + TOO_LATE) == 0
    did(known("two@example.com"), "demo.asked")
    tick()
    settings.EMAIL_URL = "smtp://127.0.0.1:1"
    for hours in range(1, 14):
        deliver_mails(NOW + timedelta(hours=hours))
    assert list(SalesMail.objects.filter(user=ann).order_by("pk").values_list("state", flat=True)) == [
        "dropped", "failed",
    ]  # fmt: skip


@pytest.mark.django_db(transaction=True)
def test_twenty_parallel_events_cross_once_and_make_one_touchpoint_one_lead_one_alert_one_mail(world, smtp_sink):
    ann = rep("ann", world)
    contact = known("jana@example.com")
    is_over = threading.Event()
    start = threading.Barrier(20)

    def send(number):
        try:
            start.wait()
            put(kind="demo.asked", source="web", now=NOW, message_id=f"m{number}", email="jana@example.com")
        finally:
            connection.close()

    def keep(work):
        try:
            while not is_over.is_set():
                work()
        finally:
            connection.close()

    def one_tick():
        try:
            for step in [Step("ingest", ingest), *ALL_STEPS]:
                run_step(step, NOW)
        except Busy:
            pass

    workers = [
        *(threading.Thread(target=keep, args=[one_tick]) for _ in range(2)),
        *(threading.Thread(target=keep, args=[lambda: deliver_mails(NOW)]) for _ in range(2)),
    ]
    events = [threading.Thread(target=send, args=[number]) for number in range(20)]
    for thread in [*workers, *events]:
        thread.start()
    for thread in events:
        thread.join()
    is_over.set()
    for thread in workers:
        thread.join()
    one_tick()
    deliver_mails(NOW)
    assert Touchpoint.objects.filter(kind="demo.asked").count() == 20
    assert len(told(contact, "score.crossed")) == len(told(contact, "lead.qualified")) == 1
    assert len(told(contact, "lead.hot")) == HotAlert.objects.count() == Lead.objects.count() == 1
    assert recipients(smtp_sink) == [ann.email]


def worker(now, email_url: str, failpoint: str) -> int:
    settings = connection.settings_dict
    host, port = settings["HOST"], settings["PORT"]
    query = f"?host={host}" if host.startswith("/") else ""
    address = f"{settings['USER']}:{settings['PASSWORD']}@{'' if query else host}{f':{port}' if port else ''}"
    code = (
        "import datetime, django; django.setup(); from leads.mails import deliver_mails;"
        f"deliver_mails(datetime.datetime.fromisoformat({now.isoformat()!r}))"
    )
    more = {
        "DJANGO_SETTINGS_MODULE": "journey_crm.settings", "EMAIL_URL": email_url, "FAILPOINT": failpoint,
        "ALLOW_FAILPOINTS": "1", "DATABASE_URL": f"postgres://{address}/{settings['NAME']}{query}",
    }  # fmt: skip
    root = Path(__file__).parents[2]
    return subprocess.run([sys.executable, "-c", code], cwd=root, env=os.environ | more, check=False).returncode


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("place", "arrived"), [("before_data", 1), ("after_data", 2)])
def test_a_killed_worker_loses_no_alert_and_a_second_copy_has_the_same_message_id(world, smtp_sink, place, arrived):
    rep("ann", world)
    did(known(), "demo.asked")
    tick()
    assert worker(NOW, smtp_sink.url, f"{place}:kill") == -9
    assert SalesMail.objects.get().state == "sending"
    assert deliver_mails(NOW + timedelta(minutes=1)) == 0  # its lease may yet be alive
    assert deliver_mails(NOW + LEASE) == 1 and deliver_mails(NOW + 3 * LEASE) == 0
    assert len(smtp_sink.mails) == arrived
    assert len({mail["Message-ID"] for mail in smtp_sink.mails}) == 1
