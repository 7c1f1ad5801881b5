"""The loop: a lead that sales give back is nurtured, re-engages, crosses the line anew and goes back to sales.

Nothing is faked but the clock: all steps of the tick, real delivery to a real SMTP server, real clicks.
"""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
import time_machine
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.db.models import F

from campaigns.models import Enrolment
from contacts.models import Contact, Identity, Segment, StepCursor, Touchpoint
from contacts.segments import members
from contacts.stream import put
from journey_crm import as_code
from journey_crm.roles import ensure_roles
from journey_crm.tick import tick
from leads import desk
from leads.mails import deliver_mails
from leads.models import HotAlert, Lead, RejectReason
from messaging.delivery import deliver

PRAGUE = ZoneInfo("Europe/Prague")
MONDAY = datetime(2027, 3, 15, 9, 30, tzinfo=PRAGUE)
AGENT = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36"


def at(day: int, hour: int, minute: int = 0) -> datetime:
    local = (MONDAY + timedelta(days=day)).replace(hour=hour, minute=minute)
    return local.astimezone(UTC)


def work(moment: datetime, ticks: int = 3) -> None:
    """What Celery's clock does every second, at one moment of virtual time: until all has had its effect."""
    for _ in range(ticks):
        tick(moment)
        deliver(now=moment)
        deliver_mails(moment)
    assert not StepCursor.objects.exclude(error="").exists()


@pytest.fixture
def rep(transactional_db):
    ensure_roles()
    user = get_user_model().objects.create_user("petr", password="petr", email="petr@lipa.example")
    user.groups.add(Group.objects.get(name="Sales rep"))
    document = as_code.read((Path(__file__).parent / "loop.yaml").read_text(encoding="utf-8"))
    as_code.apply([document], is_publish=True, now=MONDAY)
    return user


@pytest.fixture
def jana(rep):
    contact = Contact.objects.create(email="jana@studio.example", stage="known", country="CZ", zone="Europe/Prague")
    Identity.objects.create(contact=contact, kind="email", value=contact.email)
    return contact


def did(contact: Contact, kind: str, moment: datetime, **properties: str) -> None:
    put(kind=kind, source="web", channel="web", now=moment, contact_id=contact.pk, properties=properties)


def stands(contact: Contact) -> tuple[str, list[str], list[str]]:
    """Her stage, the segments of the nurture state she is in, and her tracks, the one under way first."""
    contact.refresh_from_db()
    segments = [one.key for one in Segment.objects.order_by("key") if members(one).filter(pk=contact.pk).exists()]
    tracks = Enrolment.objects.filter(contact=contact, state="open").order_by(F("superseded_at").asc(nulls_first=True))
    return contact.stage, segments, list(tracks.values_list("journey__key", flat=True))


def read(client, mail, moment: datetime) -> None:
    """Follows the first link of a mail, as a person does."""
    link = next(url for url in re.findall(r'href="([^"]+)"', mail.body("html")) if "/t/c/" in url)
    with time_machine.travel(moment, tick=True):
        assert client.get("/t/c/" + link.partition("/t/c/")[2], headers={"user-agent": AGENT}).status_code == 302


def test_a_lead_that_did_not_convert_is_nurtured_and_comes_back_to_sales(client, jana, rep, smtp_sink):
    # She looks at prices twice: a lead for sales, who find her too early and give her back.
    did(jana, "form.submitted", at(0, 10))
    for number in range(2):
        did(jana, "page.viewed", at(0, 10, number), url="https://lipa.example/pricing")
    work(at(0, 10, 5))
    assert stands(jana) == ("qualified", [], [])
    first = Lead.objects.get()
    assert len(smtp_sink.to(rep.email)) == 1
    desk.claim(lead=first, by=rep, now=at(0, 11))
    desk.reject(lead=first, by=rep, now=at(0, 11), reason=RejectReason.objects.get(key="too-early"))

    # When it can no longer be undone, the reason's track takes her on, and goes before the other that her fall began.
    work(at(0, 11, 1))
    assert stands(jana) == ("lead", ["in-nurture"], ["education", "tips"])
    work(at(1, 9, 59))
    assert smtp_sink.to(jana.email) == []
    work(at(1, 10))
    assert [mail["Subject"] for mail in smtp_sink.to(jana.email)] == ["First guide"], "the next cast"

    # Weeks pass: a cast each Tuesday, after Easter and in summer time as well; points fade. She reads nothing yet.
    for day in range(2, 23):
        for hour in (10, 18):
            work(at(day, hour), ticks=1)
    sent = list(jana.messages.sent().order_by("sent_at").values_list("template__key", "sent_at"))
    assert sent == [("guide-1", at(1, 10)), ("guide-2", at(8, 10)), ("guide-3", at(15, 10)), ("guide-4", at(22, 10))]
    assert stands(jana) == ("lead", ["in-nurture"], ["education", "tips"])
    crossings = Touchpoint.objects.filter(contact=jana, kind="score.crossed").order_by("id")
    assert list(crossings.values_list("properties__direction", flat=True)) == ["up", "down"]

    # She reads two of the mails, on two days: over the line again.
    mails = smtp_sink.to(jana.email)
    for day, mail in ((22, mails[3]), (23, mails[2])):
        read(client, mail, at(day, 14))
        work(at(day, 14, 1))
    assert stands(jana) == ("qualified", ["re-engaged"], ["tips"]), "the other track resumes"
    assert Lead.objects.filter(state="open").count() == 1 and Lead.objects.count() == 2
    # Sales is told of the new crossing as of the first, and of nothing between.
    assert list(HotAlert.objects.order_by("pk").values_list("lead__state", flat=True)) == ["rejected", "open"]
    assert len(smtp_sink.to(rep.email)) == 2
    education, tips = Enrolment.objects.order_by("journey__key")
    assert (education.state, education.exit_reason, tips.superseded_at) == ("exited", "exit_rule", None)
    assert education.re_engaged_at is not None

    # What happened can be read in order, each thing once.
    kinds = list(Touchpoint.objects.filter(contact=jana).order_by("id").values_list("kind", flat=True))
    way = ["lead.rejected", "journey.entered", "track.superseded", "email.clicked", "track.re_engaged", "track.resumed"]
    assert [kinds.index(kind) for kind in way] == sorted(kinds.index(kind) for kind in way)
    assert [kinds.count(kind) for kind in ("track.superseded", "track.re_engaged", "track.resumed")] == [1, 1, 1]
    assert kinds.count("lead.qualified") == 2

    # Sales win her this time: nurture is over.
    second = Lead.objects.get(state="open")
    desk.claim(lead=second, by=rep, now=at(23, 15))
    desk.accept(lead=second, by=rep, now=at(23, 15))
    desk.convert(lead=second, by=rep, now=at(23, 16))
    work(at(23, 16, 1))
    assert stands(jana)[:2] == ("customer", ["re-engaged"])


def test_a_lead_that_falls_back_without_a_track_of_its_reason_is_nurtured_by_the_stage(jana, rep):
    did(jana, "form.submitted", at(0, 10))
    for number in range(2):
        did(jana, "page.viewed", at(0, 10, number), url="https://lipa.example/pricing")
    work(at(0, 10, 5))
    lead = Lead.objects.get()
    desk.claim(lead=lead, by=rep, now=at(0, 11))
    desk.reject(lead=lead, by=rep, now=at(0, 11), reason=RejectReason.objects.get(key="wrong-person"))
    work(at(0, 11, 1))
    assert stands(jana) == ("lead", ["in-nurture"], ["tips"])
