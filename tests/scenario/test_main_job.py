"""The main job, end to end: from an anonymous hit to a nurtured, qualified lead and a customer. Nothing is faked but
the clock: the stock SDK and a real browser on one side, a real SMTP server on the other, PostgreSQL between."""

import json
import re
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from time import monotonic, sleep
from zoneinfo import ZoneInfo

import pytest
import requests
import time_machine
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.core.management import call_command
from segment.analytics import Client

from campaigns.models import Enrolment
from contacts import tokens
from contacts.models import Contact, Incoming, Touchpoint
from journey_crm import as_code
from journey_crm.roles import ensure_roles
from journey_crm.tick import tick
from leads.models import Lead
from messaging.delivery import deliver
from tests.browser import log_in

PRAGUE = ZoneInfo("Europe/Prague")
MONDAY = datetime(2027, 3, 15, 9, 30, tzinfo=PRAGUE)
EMAIL = "Jana.Novakova@Studio.example"

LANDING = """<!doctype html><html lang="cs"><title>Lipa</title>
<script src="/js/track.js" data-key="{key}"></script>
<form id="guide" action="/thanks" method="get"><input name="first_name"><input name="email" type="email">
<button>Send me the guide</button></form></html>"""


def at(day: int, hour: int, minute: int = 0) -> datetime:
    """A moment in Prague, `day` days after the Monday on which the story begins; day 13 changes to summer time."""
    local = (MONDAY + timedelta(days=day)).replace(hour=hour, minute=minute)
    return local.astimezone(UTC)


def work(moment: datetime) -> None:
    """What Celery's clock does every second, at one moment of virtual time."""
    tick(moment)
    if deliver(now=moment):
        tick(moment)


def explain(*arguments: str, now: datetime) -> dict:
    out = StringIO()
    call_command("explain", EMAIL, *arguments, "--now", now.isoformat(), "--json", stdout=out)
    return json.loads(out.getvalue())


@pytest.fixture
def rep(transactional_db):
    ensure_roles()
    user = get_user_model().objects.create_user("petr", password="petr", first_name="Petr", last_name="Svoboda")
    user.groups.add(Group.objects.get(name="Sales rep"))
    return user


@pytest.fixture
def studio(rep):
    document = as_code.read((Path(__file__).parent / "studio.yaml").read_text(encoding="utf-8"))
    as_code.apply([document], is_publish=True, now=MONDAY)
    admin = get_user_model().objects.create_superuser("lenka", password="lenka")
    _, write_key = tokens.issue(user=admin, scopes=["track"], name="web", now=MONDAY)
    _, sync_key = tokens.issue(user=admin, scopes=["sync"], name="shop", now=MONDAY)
    return write_key, sync_key


@pytest.fixture
def browser_context_args():
    # A person's browser does not say that it is headless.
    agent = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36"
    return {"locale": "cs-CZ", "timezone_id": "Europe/Prague", "user_agent": agent}


def test_a_visitor_becomes_a_nurtured_qualified_lead_and_a_customer(
    page, live_server, studio, rep, smtp_sink, settings
):
    settings.BASE_URL = live_server.url
    write_key, sync_key = studio

    # An anonymous visitor reads two pages; the shop's server tells two more through the stock SDK.
    with time_machine.travel(MONDAY, tick=True):
        page.route(
            "**/landing", lambda route: route.fulfill(body=LANDING.format(key=write_key), content_type="text/html")
        )
        page.route("**/thanks*", lambda route: route.fulfill(body="<title>Díky</title>", content_type="text/html"))
        page.goto("/landing")
        _wait_for_inbox("page.viewed")
        anonymous_id = page.evaluate("localStorage.journey_anonymous_id")
        sdk = Client(write_key, host=live_server.url, sync_mode=True, gzip=True)
        for path in ("/pricing", "/pricing?plan=start"):
            sdk.page(anonymous_id=anonymous_id, name="Pricing", properties={"url": f"https://lipa.example{path}"})
        work(datetime.now(UTC))
        visitor = Contact.objects.get()
        assert (visitor.stage, visitor.email) == ("visitor", "")
        assert Touchpoint.objects.filter(contact=visitor, kind="page.viewed").count() == 3

        # She leaves her address in a form and becomes a lead, in the segment, on the track.
        page.fill("[name=first_name]", "Jana")
        page.fill("[name=email]", EMAIL)
        page.click("button")
        _wait_for_inbox("contact.identified", "form.submitted")
        work(datetime.now(UTC))
        work(datetime.now(UTC))
    jana = Contact.objects.get()
    assert jana.pk == visitor.pk
    assert (jana.stage, jana.first_name, jana.language, jana.zone) == ("lead", "Jana", "cs", "Europe/Prague")
    assert explain("--segment", "not-ready-leads", now=at(0, 10))["is_member"] is True
    enrolment = Enrolment.objects.get(contact=jana, journey__key="education")
    assert enrolment.state == "open"
    assert "education" in json.dumps(explain("--journey", "education", now=at(0, 10)))
    score = explain("--score", "engagement", now=at(0, 10))
    assert score["value"] == pytest.approx(20, abs=0.1) and score["is_over"] is False

    # Three weeks pass. Every Tuesday at ten, by her clock, she gets the next thing; the second item is not for her.
    moments = [at(day, hour, minute) for day in range(16) for hour, minute in ((7, 0), (9, 59), (10, 0), (18, 0))]
    for moment in moments:
        work(moment)
        if moment == at(9, 18):
            _read(page, smtp_sink.to(jana.email)[-1], moment)
        if moment == at(15, 10):
            break
    mails = smtp_sink.to(jana.email)
    assert [mail["Subject"] for mail in mails] == ["Plný kalendář, Jana", "Zaplaceno včas", "Příběh"]
    sent = list(jana.messages.sent().order_by("sent_at").values_list("sent_at", "template__key"))
    assert sent == [(at(1, 10), "guide-1"), (at(8, 10), "guide-2"), (at(15, 10), "guide-3")]
    assert [moment.astimezone(UTC).hour for moment, _ in sent] == [9, 9, 8]
    assert "Dobrý den, Jana" in mails[0].body() and "Lipová 4" in mails[0].body("html")
    assert mails[0]["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    why = explain("--message", "guide-1", now=at(16, 8))
    assert why["state"] == "sent" and all(check["passed"] is not False for check in why["checks"])

    # She clicks in the third mail too, and is ready for sales: once, with the reasons.
    assert not Lead.objects.exists()
    _read(page, mails[-1], at(15, 13))
    for moment in (at(15, 13, 1), at(15, 13, 30), at(15, 14)):
        work(moment)
    jana.refresh_from_db()
    assert jana.stage == "qualified"
    lead = Lead.objects.get(contact=jana)
    assert lead.team.key == "brno" and lead.headline and lead.evidence
    assert explain("--score", "engagement", now=at(15, 14))["is_over"] is True
    enrolment.refresh_from_db()
    assert (enrolment.state, enrolment.exit_reason) == ("exited", "exit_rule")

    # The rep finds her in the workspace, with why, takes her and accepts.
    with time_machine.travel(at(15, 15), tick=True):
        log_in(page, rep)
        page.goto("/sales/")
        page.get_by_role("link", name=re.compile("Jana")).first.click()
        page.get_by_text("Clicked in a mail").first.wait_for()
        page.get_by_role("button", name=re.compile("Převzít")).first.click()
        page.get_by_role("button", name=re.compile("Přijmout")).first.click()
        page.locator("dt", has_text="Přijat").wait_for()
    lead.refresh_from_db()
    assert (lead.state, lead.owner) == ("accepted", rep)

    # She buys: the shop tells the order by REST. She is a customer, and onboarding begins.
    with time_machine.travel(at(16, 11), tick=True):
        order = {
            "number": "2027-1",
            "email": EMAIL.lower(),
            "total": "12.00",
            "currency": "EUR",
            "placed_at": at(16, 11).isoformat(),
            "lines": [{"product": "start", "quantity": 1, "price": "12.00"}],
        }
        answer = requests.post(
            f"{live_server.url}/api/v1/orders/", json=order, headers={"Authorization": f"Bearer {sync_key}"}
        )
        assert answer.status_code == 201, answer.text
    for moment in (at(16, 11, 1), at(16, 11, 2), at(17, 8, 59), at(17, 9)):
        work(moment)
    jana.refresh_from_db()
    assert (jana.stage, jana.highest_stage) == ("customer", "customer")
    assert Enrolment.objects.get(contact=jana, journey__key="first-days").state == "open"
    assert smtp_sink.to(jana.email)[-1]["Subject"] == "Vítejte"
    assert jana.messages.sent().latest("sent_at").sent_at == at(17, 9)
    assert explain("--journey", "first-days", now=at(17, 9))["contact"] == jana.pk

    # Her whole way stands in one timeline, in order.
    kinds = list(Touchpoint.objects.filter(contact=jana).order_by("id").values_list("kind", flat=True))
    way = [
        "page.viewed", "contact.identified", "stage.changed", "segment.entered", "journey.entered", "email.sent",
        "email.clicked", "score.crossed", "lead.qualified", "lead.accepted", "order.placed",
    ]  # fmt: skip
    assert [kinds.index(kind) for kind in way] == sorted(kinds.index(kind) for kind in way)
    assert Contact.objects.living().count() == 1


def _wait_for_inbox(*kinds: str) -> None:
    """A browser sends its beacons when it likes; what it sent stands in the inbox once it is answered."""
    end = monotonic() + 20
    while not set(kinds) <= set(Incoming.objects.values_list("kind", flat=True)):
        assert monotonic() < end, f"{kinds} never came"
        sleep(0.05)


def _read(page, mail, moment: datetime) -> None:
    """Opens the mail's pixel and follows its first link, as a person does some hours later."""
    html = mail.body("html")
    link = next(url for url in re.findall(r'href="([^"]+)"', html) if "/t/c/" in url)
    with time_machine.travel(moment + timedelta(minutes=30), tick=True):
        answer = page.request.get(link, max_redirects=0)
    assert answer.status == 302
    assert answer.headers["location"].startswith("https://lipa.example/cs/")
