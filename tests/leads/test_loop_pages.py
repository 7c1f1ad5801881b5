"""The closed loop on its page, as a file and by REST, the lists behind its numbers, and the page of one's alerts."""

import csv
import io
import re
from datetime import timedelta
from html import unescape

import pytest
from django.contrib.auth import get_user_model
from django.utils import timezone

from contacts import tokens
from contacts.models import Contact
from journey_crm.roles import MARKETER, SALES_REP, ensure_roles
from leads.models import AlertPreference, HotAlert, Lead, RejectReason, SalesMail, Team

pytestmark = pytest.mark.django_db
HOUR = timedelta(hours=1)


def person(name: str, role: str):
    user = get_user_model().objects.create_user(name, email=f"{name}@acme.example", is_staff=role == MARKETER)
    user.groups.add(ensure_roles()[role])
    return user


@pytest.fixture
def leads():
    now = timezone.now()
    team = Team.objects.create(key="inside", name="Inside & out")
    reason = RejectReason.objects.create(key="budget", name="No budget", names={"cs": "Bez rozpočtu"}, track_key="edu")
    ann = person("ann", SALES_REP)
    made = []
    for number, more in enumerate(
        [
            {"state": "converted", "ended_at": now, "accepted_at": now, "value": 1250, "score": 120},
            {"state": "rejected", "ended_at": now, "reject_reason": reason, "score": 55},
            {"state": "open"},
        ]
    ):
        # A source as a stranger may have told it, with what a spreadsheet would run.
        contact = Contact.objects.create(email=f"p{number}@example.com", source='=HYPERLINK("x")<script>')
        held = {} if more["state"] == "open" else {"owner": ann, "claimed_at": now, "claimed_by": ann}
        made.append(Lead.objects.create(contact=contact, created_at=now - 2 * HOUR, team=team, **held, **more))
    return made


def test_a_manager_follows_a_number_to_its_leads(leads, client):
    client.force_login(person("boss", MARKETER))
    page = client.get("/admin/closed-loop/?period=30&team=inside").content.decode()
    assert "3 leads were handed over; sales accepted 33 % and won 1." in page
    assert "<script>" not in page.replace("<script src", "").replace("<script type", "") and "Inside &amp; out" in page
    links = {unescape(link) for link in re.findall(r'href="(/admin/leads/lead/[^"]+)"', page)}
    [won] = {link for link in links if "part%3Dwon%26by%3D%26" in link}
    listed = client.get(won).content.decode()
    assert "1 lead" in listed and "p0@example.com" in listed and "p1@example.com" not in listed
    for link in links:
        assert client.get(link).status_code == 200, link
    # What nobody of us wrote is refused as Django refuses a wrong filter.
    for wrong in (
        "x",
        "since=2026-01-01&until=x&team=&part=won&by=&key=",
        won.split("loop=")[1].replace("won", "none"),
    ):
        assert client.get("/admin/leads/lead/", {"loop": wrong}).status_code == 302


def test_the_page_speaks_the_readers_language_and_says_when_there_is_nothing(leads, client):
    client.force_login(person("boss", MARKETER))
    assert "Bez rozpočtu" in client.get("/admin/closed-loop/", headers={"Accept-Language": "cs"}).content.decode()
    Lead.objects.all().delete()
    page = client.get("/admin/closed-loop/?period=nonsense&team=gone").content.decode()
    assert "No lead was handed over in this period." in page


def test_the_file_holds_every_table_and_nothing_that_a_spreadsheet_would_run(leads, client):
    client.force_login(person("boss", MARKETER))
    answer = client.get("/admin/closed-loop.csv?period=30")
    assert answer["Content-Type"].startswith("text/csv") and "attachment" in answer["Content-Disposition"]
    rows = list(csv.DictReader(io.StringIO(answer.content.decode())))
    assert {row["part"] for row in rows} == {"funnel", "reason", "source", "journey", "points", "team", "rep"}
    [source] = [row for row in rows if row["part"] == "source"]
    assert source["name"].startswith("'=") and (source["leads"], source["won"]) == ("3", "1")


def test_each_currency_has_its_own_amount_on_the_page_in_the_file_and_by_rest(leads, client):
    contact = Contact.objects.create(email="czk@example.com", source="fair")
    now = timezone.now()
    Lead.objects.create(
        contact=contact, created_at=now - HOUR, ended_at=now, state="converted", value=30_000, currency="CZK"
    )
    client.force_login(person("boss", MARKETER))
    page = client.get("/admin/closed-loop/?period=30").content.decode()
    assert "30,000 CZK" in page and "1,250 EUR" in page and "31,250" not in page
    rows = list(csv.DictReader(io.StringIO(client.get("/admin/closed-loop.csv?period=30").content.decode())))
    [won] = [row for row in rows if row["name"] == "Won"]
    assert (won["value_CZK"], won["value_EUR"]) == ("30000.00", "1250.00")
    [fair] = [row for row in rows if row["name"] == "fair"]
    assert (fair["value_CZK"], fair["value_EUR"]) == ("30000.00", "")
    _, secret = tokens.issue(user=get_user_model().objects.get(username="boss"), scopes=["read"], now=now)
    said = client.get("/api/v1/leads/report/?days=30", headers={"Authorization": f"Bearer {secret}"}).json()
    assert said["values"] == {"CZK": "30000.00", "EUR": "1250.00"}
    assert {one["key"]: one["values"] for one in said["won_by_source"]}["fair"] == {"CZK": "30000.00"}


def test_a_rep_who_sees_his_own_leads_only_gets_no_report(leads, client):
    client.force_login(person("ben", SALES_REP))
    assert client.get("/admin/closed-loop/").status_code == 302


def test_few_queries(leads, client, django_assert_max_num_queries):
    client.force_login(person("boss", MARKETER))
    client.get("/admin/closed-loop/")
    with django_assert_max_num_queries(15):
        client.get("/admin/closed-loop/?period=365")


def test_by_rest(leads, client):
    def token(name, role):
        _, secret = tokens.issue(user=person(name, role), scopes=["read"], now=timezone.now())
        return {"Authorization": f"Bearer {secret}"}

    boss = token("boss", MARKETER)
    said = client.get("/api/v1/leads/report/?days=30&team=inside", headers=boss).json()
    assert said["funnel"] == {
        "handed_over": 3, "claimed": 2, "accepted": 1, "won": 1, "rejected": 1, "unfinished": 1, "unclaimed": 1,
    }  # fmt: skip
    assert (said["values"], said["team"]) == ({"EUR": "1250.00"}, "inside")
    assert said["rejected_by_reason"] == [
        {"reason": "budget", "track": "edu", "is_final": False, "leads": 1, "returned": 0}
    ]
    assert said["speed"]["claim_median"] == pytest.approx(7200, abs=60)
    assert [one["key"] for one in said["won_by_points"]] == ["-1", "50", "100"]
    for query, field in [("days=0", "days"), ("days=x", "days"), ("team=gone", "team"), ("nothing=1", "nothing")]:
        refused = client.get(f"/api/v1/leads/report/?{query}", headers=boss)
        assert refused.status_code == 400 and field in refused.content.decode()
    assert client.get("/api/v1/leads/report/", headers=token("rep", SALES_REP)).status_code == 403


def test_a_rep_chooses_what_he_is_told(client):
    ann = person("ann", SALES_REP)
    client.force_login(ann)
    page = client.get("/sales/alerts/", headers={"Accept-Language": "pl"}).content.decode()
    assert '<option value="pl" selected>' in page and not AlertPreference.objects.exists()
    refused = client.post("/sales/alerts/", {"hot": "sometimes", "language": "cs"})
    assert refused.status_code == 422 and not AlertPreference.objects.exists()
    for hot in ("digest", "none"):
        answer = client.post("/sales/alerts/", {"hot": hot, "at_night": "on", "language": "cs"}, follow=True)
        assert "From now on you are told so." in answer.content.decode()
    kept = AlertPreference.objects.get()
    assert (kept.user, kept.hot, kept.at_night, kept.is_for_all, kept.digest, kept.language) == (
        ann, "none", True, False, False, "cs",
    )  # fmt: skip


def test_the_page_shows_the_latest_mails_also_of_a_lead_that_gave_way_in_a_merge(client, leads):
    ann = get_user_model().objects.get(username="ann")
    now = timezone.now()
    for number, lead in enumerate([leads[0].pk, 10**9]):
        alert = HotAlert.objects.create(lead_id=lead, crossing_id=number, told_at=now)
        SalesMail.objects.create(kind="hot", user=ann, alert=alert, due_at=now, state="sent", finished_at=now)
    SalesMail.objects.create(kind="digest", user=ann, day=now.date(), due_at=now)
    client.force_login(ann)
    page = client.get("/sales/alerts/").content.decode()
    assert "p0@example.com" in page and "daily digest" in page
