"""Who clicked what: the numbers of a template, a journey and an occasion, and the people behind each."""

import re
from datetime import timedelta

import pytest
from django.contrib.auth.models import Group, User
from django.urls import reverse
from django.utils import timezone

from campaigns.click_pages import scope_of
from campaigns.models import Sendout
from campaigns.sendouts import progress_of
from contacts import tokens as api_tokens
from contacts.merging import merge
from journey_crm.roles import ensure_roles
from messaging import clicks, links, machines
from messaging.clicks import Scope
from messaging.hits import reclassify, tell_hits
from messaging.models import Hit, Message
from tests.browser import log_in
from tests.campaigns.world import deliver, journey, people, templates, tick

pytestmark = pytest.mark.django_db

BROWSER = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/131.0 Safari/537.36"
HOSTILE = '<script>alert(1)</script>"><img src=x onerror=alert(2)> javascript:alert(3)'
REPORT = "/admin/messaging/hit/report/"


@pytest.fixture
def world(make_contact, make_template):
    """Mail in two languages, and what people, privacy proxies and machines did with it; judged."""
    at = timezone.now() - timedelta(hours=1)
    template, other = make_template(key="news"), make_template(key="other")
    urls = ["https://acme.example/a?x=1&y=2", "https://acme.example/b", f"https://acme.example/{HOSTILE}"]
    stored = links.store(urls, at)
    a, b, odd = (stored[url] for url in urls)
    sent = []
    for number, (language, one) in enumerate([("en", template)] * 4 + [("cs", template)] * 2 + [("en", other)]):
        person = make_contact(first_name=f"P{number}", email=f"p{number}@c{number}.example")
        sent.append(
            Message.objects.create(
                key=f"m{number}", contact=person, template=one, message_class="marketing", state="sent", sent_at=at,
                created_at=at, due_at=at, language=language, address=person.email, journey_key="trial",
            )
        )  # fmt: skip

    def hit(number, link, agent=BROWSER, minutes=10, method="GET"):
        Hit.objects.create(
            message_id=sent[number].pk, link_id=link, hit_at=at + timedelta(minutes=minutes), user_agent=agent,
            method=method,
        )  # fmt: skip

    for number, link in ((0, a), (0, a), (1, a), (1, b), (4, a), (5, odd), (6, a)):
        hit(number, link, minutes=10 + number)
    hit(2, a, "curl/8.5")
    hit(2, b, method="HEAD")
    hit(5, odd, HOSTILE + " curl")
    for number in (0, 1, 1):
        hit(number, None, minutes=8)
    hit(2, None, "Mozilla/5.0")
    hit(3, None, "x (via ggpht.com GoogleImageProxy)")
    hit(4, None, "")
    tell_hits(timezone.now(), 0, 0)
    return {"template": template, "sent": sent, "a": a, "b": b, "odd": odd, "hit": hit}


@pytest.fixture
def scope(world):
    return Scope.of_template(world["template"], timezone.now() - timedelta(days=1))


def test_each_link_and_language_has_its_clicks_people_and_machines(world, scope):
    found = [(one.link, one.language, one.clicks, one.people, one.machine_clicks) for one in clicks.report(scope).links]
    a, b, odd = world["a"], world["b"], world["odd"]
    assert found == [(a, "en", 3, 2, 1), (odd, "cs", 1, 1, 1), (a, "cs", 1, 1, 0), (b, "en", 1, 1, 1)] or sorted(
        found
    ) == sorted([(a, "en", 3, 2, 1), (a, "cs", 1, 1, 0), (odd, "cs", 1, 1, 1), (b, "en", 1, 1, 1)])


def test_people_privacy_proxies_and_machines_are_told_apart(world, scope):
    report = clicks.report(scope)
    assert {by: (one.times, one.people) for by, one in report.clicks.items()} == {
        "human": (6, 4), "privacy": (0, 0), "machine": (3, 2),
    }  # fmt: skip
    assert {by: (one.times, one.people) for by, one in report.opens.items()} == {
        "human": (3, 2), "privacy": (2, 2), "machine": (1, 1),
    }  # fmt: skip
    assert {reason: (clicked, opened) for reason, clicked, opened in report.reasons} == {
        "robot": (2, 0), "head": (1, 0), "apple_privacy": (0, 1), "gmail_privacy": (0, 1), "no_agent": (0, 1),
    }  # fmt: skip


def test_every_number_is_the_length_of_its_list(world, scope):
    report = clicks.report(scope)
    for is_open, counts in ((False, report.clicks), (True, report.opens)):
        for by, count in counts.items():
            found = clicks.who(scope, is_open=is_open, by=by)
            assert (found.times, found.people) == (count.times, count.people), (is_open, by)
            assert (sum(one.times for one in found), len(found.rows)) == (count.times, count.people)
    for one in report.links:
        where = {"is_open": False, "link": one.link, "language": one.language}
        human, machine = clicks.who(scope, **where), clicks.who(scope, by="machine", **where)
        assert (human.times, human.people, machine.times) == (one.clicks, one.people, one.machine_clicks)
    first = clicks.who(scope, is_open=False, link=world["a"], language="en")
    assert [one.contact_id for one in first] == [world["sent"][1].contact_id, world["sent"][0].contact_id]


def test_long_lists_come_page_by_page(world, scope, monkeypatch):
    monkeypatch.setattr(clicks, "PAGE", 3)
    pages = [clicks.who(scope, is_open=False, page=number) for number in (1, 2, 3)]
    assert [len(page.rows) for page in pages] == [3, 1, 0]
    assert len({one.contact_id for page in pages for one in page}) == 4
    assert [page.people for page in pages] == [4, 4, 0]


def test_a_journey_has_all_its_templates_and_a_period_its_days(world):
    since = timezone.now() - timedelta(days=1)
    assert clicks.report(Scope.of_journey("trial", since)).clicks["human"].people == 5
    assert clicks.report(Scope.of_journey("", since)).clicks["human"].people == 0
    Hit.objects.update(hit_at=timezone.now() - timedelta(days=2))
    assert clicks.report(Scope.of_journey("trial", since)).clicks["human"].people == 0


def test_a_merged_person_counts_once(world, scope):
    merge(
        survivor=world["sent"][0].contact, loser=world["sent"][1].contact, reason="one and the same", now=timezone.now()
    )
    assert clicks.report(scope).clicks["human"].people == 3
    assert clicks.who(scope, is_open=False).people == 3


def test_reports_follow_new_verdicts(world, scope, monkeypatch):
    monkeypatch.setattr(machines, "VERSION", machines.VERSION + 1)
    monkeypatch.setattr(machines, "reason", lambda *args, is_open: "robot")
    reclassify(timezone.now())
    report = clicks.report(scope)
    assert (report.clicks["human"].times, report.clicks["machine"].times) == (0, 9)
    assert clicks.who(scope, is_open=False, by="machine").times == 9


def test_postgresql_answers_by_an_index(world, scope):
    """However many hits others have: a report reads those of its template."""
    from django.db import connection

    from contacts.sql import Fragment

    sql, params = clicks.SQL["clicks_by_link"]._compose(
        {"scope": Fragment(scope.of.sql, scope.of.params)}, {"since": scope.since, "limit": 9}
    )
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute(f"EXPLAIN {sql}", params)
        plan = "\n".join(row[0] for row in cursor.fetchall())
    assert "Seq Scan on messaging_hit" not in plan


# Pages ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def admin(client):
    client.force_login(User.objects.create_superuser("boss"))
    return client


def test_the_page_of_a_template_shows_the_numbers_and_leads_to_the_people(admin, world):
    page = admin.get(f"{REPORT}?template=news").content.decode()
    assert "https://acme.example/a?x=1&amp;y=2" in page
    query = re.search(rf'href="\?([^"]*link={world["a"]}&amp;language=en)#who">2<', page)[1].replace("&amp;", "&")
    page = admin.get(f"{REPORT}?{query}").content.decode()
    assert "2 people · 3 times" in page
    for number in (0, 1):
        assert reverse("admin:contacts_contact_change", args=[world["sent"][number].contact_id]) in page
    assert admin.get("/admin/messaging/template/").content.decode().count("report/?template=news") == 1


def test_what_strangers_wrote_is_text_and_nothing_more(admin, world):
    pages = [admin.get(f"{REPORT}?template=news&of=clicks&by={by}") for by in ("human", "machine")] + [
        admin.get("/admin/messaging/hit/"),
        admin.get(f"{REPORT}?template=news&of=clicks&by=human&link={world['odd']}"),
    ]
    for page in pages:
        html = page.content.decode()
        assert "onerror=alert" in html, "the page shows it"
        assert "<script>alert" not in html and "<img src=x" not in html
        assert not re.search(r"href=[\"']?\s*javascript:", html)
        assert "unsafe-inline" not in page["Content-Security-Policy"]


@pytest.mark.parametrize(
    "query",
    ["", "template=none", "template=news&of=clicks&by=nobody", "template=news&of=clicks&link=x",
     "template=news&of=clicks&page=0", "template=news&of=clicks&page=-1", f"template=news&of=clicks&link={10**19}",
     "template=%00"],
)  # fmt: skip
def test_an_address_that_means_nothing_is_not_found(admin, world, query):
    assert admin.get(f"{REPORT}?{query}").status_code == 404


def test_the_page_is_for_whoever_may_see_mail_and_names_for_whoever_may_see_people(client, world):
    ensure_roles()
    marek = User.objects.create_user("marek", is_staff=True)
    client.force_login(marek)
    assert client.get(f"{REPORT}?template=news").status_code == 403
    assert client.get("/admin/messaging/hit/").status_code == 403
    marek.groups.add(Group.objects.get(name="Marketer"))
    assert "P0" in client.get(f"{REPORT}?template=news&of=clicks").content.decode()
    assert "judge_anew" not in client.get("/admin/messaging/hit/").content.decode()
    act = {"action": "judge_anew", "_selected_action": [Hit.objects.first().pk]}
    assert "changed sides" not in client.post("/admin/messaging/hit/", act, follow=True).content.decode()


def test_an_administrator_judges_some_hits_anew(admin, world, monkeypatch):
    monkeypatch.setattr(machines, "reason", lambda *args, is_open: "robot")
    pk = Hit.objects.filter(link_id=world["a"], machine_reason="").first().pk
    answer = admin.post("/admin/messaging/hit/", {"action": "judge_anew", "_selected_action": [pk]}, follow=True)
    assert "1 changed sides." in answer.content.decode()
    assert Hit.objects.get(pk=pk).machine_reason == "robot"
    for address in ("add/", f"{pk}/delete/"):
        assert admin.get(f"/admin/messaging/hit/{address}").status_code == 403
    assert admin.post(f"/admin/messaging/hit/{pk}/change/", {"machine_reason": ""}).status_code == 403


def test_a_broadcast_tells_who_opened_and_clicked_of_each_occasion(admin, now):
    templates("sale")
    people(3, country="CZ")
    rule = {"field": "country", "op": "eq", "value": "CZ"}
    one = journey(now, key="sale", kind="broadcast", trigger=None, audience=rule, send="sale", at="now")
    for minutes in (0, 1, 2):
        tick(now + timedelta(minutes=minutes))
        deliver(now + timedelta(minutes=minutes))
    [occasion] = Sendout.objects.all()
    sent = list(Message.objects.filter(state="sent").order_by("pk"))
    assert len(sent) == 3
    link = links.store(["https://acme.example/x"], now)["https://acme.example/x"]
    at = now + timedelta(minutes=30)
    for number, agent in ((0, BROWSER), (0, BROWSER), (1, "curl/8")):
        Hit.objects.create(message_id=sent[number].pk, link_id=link, hit_at=at, user_agent=agent)
        Hit.objects.create(message_id=sent[number].pk, link_id=None, hit_at=at, user_agent=agent)
    Hit.objects.create(message_id=sent[2].pk, link_id=None, hit_at=at, user_agent=BROWSER)
    tell_hits(at + timedelta(minutes=1), 0, 0)
    progress = progress_of([occasion])[occasion.pk]
    assert (progress.sent, progress.opened, progress.clicked) == (3, 2, 1)
    assert clicks.who(scope_of(occasion), is_open=False).people == 1
    assert clicks.who(scope_of(occasion), is_open=True).people == 2

    address = reverse("admin:campaigns_broadcast_change", args=[one.pk])
    html = admin.get(address).content.decode()
    places = [
        html.index(part) for part in (f"<strong>{occasion.key}</strong>", 'chip is-good">sent', 'class="figures"')
    ]
    assert places == sorted(places), "the badge stands beside the name, before the numbers"
    found = re.search(r'href="([^"]*of=clicks[^"]*)#who"><strong>1</strong>', html)[1].replace("&amp;", "&")
    page = admin.get(found).content.decode()
    assert "1 person · 2 times" in page
    assert str(sent[0].contact) in page
    assert admin.get(reverse("admin:campaigns_broadcast_clicks", args=[one.pk]) + "?occasion=x").status_code == 404


def test_rest_answers_what_the_page_shows(client, world):
    _token, secret = api_tokens.issue(user=User.objects.create_superuser("boss"), scopes=["read"], now=timezone.now())

    def api(method, path):
        return getattr(client, method)(f"/api/v1/{path}", headers={"Authorization": f"Bearer {secret}"})

    answer = api("get", "templates/news/clicks/")
    assert answer.status_code == 200
    told = answer.json()
    assert told["clicks"]["human"] == {"times": 6, "people": 4}
    assert told["opens"]["privacy"] == {"times": 2, "people": 2}
    assert {"link", "url", "language", "clicks", "people", "machine_clicks"} == set(told["links"][0])
    assert api("get", "templates/news/clicks/?days=1").json()["clicks"]["human"]["people"] == 4
    for wrong in ("0", "366", "x", "-1", ""):
        answer = api("get", f"templates/news/clicks/?days={wrong}")
        assert (answer.status_code, "days" in str(answer.json())) == (400, True), wrong
    assert api("get", "templates/none/clicks/").status_code == 404


@pytest.mark.django_db(transaction=True)
def test_the_page_fits_every_window_and_follows_its_links(page, world):
    log_in(page, User.objects.create_superuser("boss"))
    for width in (1440, 390):
        page.set_viewport_size({"width": width, "height": 900})
        page.goto(f"{REPORT}?template=news")
        page.get_by_role("link", name="4 people clicked").click()
        page.get_by_text("4 people · 6 times").wait_for()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), width
