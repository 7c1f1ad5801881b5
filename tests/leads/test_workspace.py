"""The sales workspace: who sees what, what a move does, that foreign text stays text, and what a page costs."""

import re
from datetime import timedelta
from decimal import Decimal

import pytest
from django.contrib.auth import get_user_model
from django.test import Client
from django.utils import timezone

from contacts.models import Company, Consent, Contact
from journey_crm.roles import ADMINISTRATOR, MARKETER
from leads import desk
from leads.clock import clock
from leads.dossier import scores_of
from leads.models import Lead, RejectReason, Team
from messaging.models import Holdout, Message, SendingPolicy, Template, Topic
from scoring.models import GradeMatrix, PredictionModel, ScoreModel
from tests.leads.test_desk import all_steps, lead_of, person
from tests.scoring.test_history_pages import NUMBERS
from tests.scoring.world import NOW, did, known, model, rule, tick, told

pytestmark = pytest.mark.django_db

MOVES = ("claim", "accept", "reject", "convert", "release")


@pytest.fixture
def ann():
    return person("ann")


@pytest.fixture
def jan():
    return person("jan")


@pytest.fixture
def no_budget():
    return RejectReason.objects.create(
        key="no-budget", name="No budget", names={"cs": "Bez rozpočtu"}, track_key="education"
    )


def lead(name: str, **more) -> Lead:
    more = {"headline": "Looked at prices", "score": 62, "created_at": NOW, **more}
    return Lead.objects.create(contact=known(f"{name}@example.com", first_name=name.capitalize()), **more)


def desk_of(user) -> Client:
    client = Client()
    client.force_login(user)
    return client


def text(response) -> str:
    return response.content.decode()


def move(client: Client, one: Lead, name: str, **data):
    return client.post(f"/sales/{one.pk}/{name}/", data, follow=True)


def template_of(template: str = "hello", **more) -> Template:
    topic, _ = Topic.objects.get_or_create(key="tips", defaults={"name": "Tips", "names": {"cs": "Tipy"}})
    return Template.objects.create(key=template, name="Hello", topic=topic, subject="Hello", body="Hello", **more)


# Who sees what -------------------------------------------------------------------------------------------------------


def test_a_visitor_is_asked_to_log_in_and_comes_back():
    response = Client().get("/sales/")
    assert response.status_code == 302
    assert response.headers["Location"] == "/admin/login/?next=/sales/"


def test_who_has_nothing_to_do_with_sales_is_refused():
    outsider = get_user_model().objects.create_user("outsider", is_staff=True)
    one = lead("eva")
    assert desk_of(outsider).get("/sales/").status_code == 403
    assert desk_of(outsider).get(f"/sales/{one.pk}/").status_code == 403
    assert desk_of(outsider).post(f"/sales/{one.pk}/claim/").status_code == 403


def test_a_rep_sees_his_own_and_the_unclaimed_leads_and_no_others(ann, jan, no_budget):
    mine, free, theirs, finished = lead("mine"), lead("free"), lead("theirs"), lead("finished")
    desk.claim(lead=mine, by=ann, now=NOW)
    desk.claim(lead=theirs, by=jan, now=NOW)
    desk.claim(lead=finished, by=jan, now=NOW)
    desk.reject(lead=finished, by=jan, now=NOW, reason=no_budget)
    client = desk_of(ann)
    pages = {tab: text(client.get(f"/sales/?tab={tab}")) for tab in ("mine", "unclaimed", "all", "done")}
    assert "mine@example.com" in pages["mine"]
    assert "free@example.com" in pages["unclaimed"]
    for page in pages.values():
        assert "Theirs" not in page
        assert "Finished" not in page
        assert 'href="/sales/?tab=all"' not in page
    assert client.get(f"/sales/{mine.pk}/").status_code == 200
    assert client.get(f"/sales/{free.pk}/").status_code == 200
    for other in (theirs, finished):
        assert client.get(f"/sales/{other.pk}/").status_code == 404
        for name in ("accept", "reject", "convert", "release"):
            assert client.post(f"/sales/{other.pk}/{name}/", {"reason": "no-budget"}).status_code == 404
    assert client.post(f"/sales/{finished.pk}/claim/").status_code == 404
    theirs.refresh_from_db()
    assert (theirs.state, theirs.owner) == ("claimed", jan)


def test_a_lead_that_does_not_exist_is_not_found(ann):
    client = desk_of(ann)
    assert client.get("/sales/4711/").status_code == 404
    assert client.get(f"/sales/{10**30}/").status_code == 404
    assert client.post("/sales/4711/claim/").status_code == 404


def test_a_marketer_may_look_but_not_act(jan, no_budget):
    marketer = person("mark", MARKETER, is_staff=True)
    one = lead("eva")
    desk.claim(lead=one, by=jan, now=NOW)
    client = desk_of(marketer)
    page = text(client.get(f"/sales/{one.pk}/"))
    assert "Jan Novák has taken this lead." in page
    assert "You may look at leads" in page
    assert f"/sales/{one.pk}/" not in "".join(re.findall(r'action="([^"]*)"', page))
    for name in MOVES:
        assert client.post(f"/sales/{one.pk}/{name}/", {"reason": "no-budget"}).status_code == 403
    one.refresh_from_db()
    assert one.state == "claimed"


def test_an_administrator_sees_all_with_their_owners(jan):
    boss = person("boss", ADMINISTRATOR, is_staff=True)
    desk.claim(lead=lead("eva"), by=jan, now=NOW)
    page = text(desk_of(boss).get("/sales/?tab=all"))
    assert "eva@example.com" in page
    assert ">Jan<" in page


def test_moves_are_posts_with_a_token(ann):
    one = lead("eva")
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(ann)
    for name in MOVES:
        assert desk_of(ann).get(f"/sales/{one.pk}/{name}/").status_code == 405
        assert strict.post(f"/sales/{one.pk}/{name}/").status_code == 403
    assert Client().post(f"/sales/{one.pk}/claim/").headers["Location"].startswith("/admin/login/")
    one.refresh_from_db()
    assert one.state == "open"


# Moves ---------------------------------------------------------------------------------------------------------------


def test_a_lead_is_claimed_accepted_and_won_by_buttons(ann):
    one, client = lead("eva"), desk_of(ann)
    page = text(move(client, one, "claim"))
    assert "Eva is yours now." in page
    assert f'action="/sales/{one.pk}/accept/"' in page
    page = text(move(client, one, "accept"))
    assert "You work on Eva." in page
    page = text(move(client, one, "convert", value="1250.50", note="Two seats"))
    assert "Eva is a customer now." in page
    assert "The deal is worth 1,250.50 EUR." in page
    one.refresh_from_db()
    assert (one.state, one.value, one.note, one.ended_by) == ("converted", Decimal("1250.50"), "Two seats", ann)


def test_of_two_sessions_the_second_is_told_who_was_first(ann, jan):
    one = lead("eva")
    first, second = desk_of(ann), desk_of(jan)
    assert f'action="/sales/{one.pk}/claim/"' in text(second.get(f"/sales/{one.pk}/"))
    move(first, one, "claim")
    response = move(second, one, "claim")
    assert response.status_code == 200
    assert "Ann Novák has taken this lead." in text(response)
    assert "Eva" not in text(response)
    one.refresh_from_db()
    assert one.owner == ann


def test_who_may_see_all_is_shown_the_lead_as_it_is_now(ann):
    one = lead("eva")
    boss = person("boss", ADMINISTRATOR, is_staff=True)
    move(desk_of(ann), one, "claim")
    response = move(desk_of(boss), one, "claim")
    assert response.redirect_chain[-1][0] == f"/sales/{one.pk}/"
    assert text(response).count("Ann Novák has taken this lead.") == 2


def test_a_second_click_says_where_the_lead_stands(ann):
    one, client = lead("eva"), desk_of(ann)
    move(client, one, "claim")
    assert "This lead is claimed." in text(move(client, one, "claim"))
    assert "This lead is claimed." in text(move(client, one, "convert", value="1"))


def test_a_lead_given_back_is_free_for_the_others(ann, jan):
    one = lead("eva")
    move(desk_of(ann), one, "claim")
    assert "Eva is free for others again." in text(move(desk_of(ann), one, "release"))
    assert desk_of(jan).get(f"/sales/{one.pk}/").status_code == 200


def test_a_reject_tells_its_reason_and_track_to_the_stream(ann, no_budget):
    one, client = lead("eva"), desk_of(ann)
    move(client, one, "claim")
    page = text(move(client, one, "reject", reason="no-budget", note="Call in spring."))
    assert "Eva was rejected: No budget. Next stop: the track education." in page
    assert "Call in spring." in page
    assert told(one.contact, "lead.rejected") == []  # it may still be undone
    all_steps(timezone.now() + desk.GRACE)
    assert told(one.contact, "lead.rejected") == [
        {"lead": one.pk, "by": "ann", "reason": "no-budget", "track": "education", "is_final": False}
    ]


def test_a_reject_without_a_reason_comes_back_with_what_is_missing(ann, no_budget):
    one, client = lead("eva"), desk_of(ann)
    move(client, one, "claim")
    response = move(client, one, "reject", note="Typed long and well")
    assert response.status_code == 422
    assert "Choose a reason" in text(response)
    assert "Typed long and well" in text(response)
    assert "no longer on the list" in text(move(client, one, "reject", reason="invented"))
    one.refresh_from_db()
    assert one.state == "claimed"


def test_a_value_that_is_no_number_comes_back_with_what_is_wrong(ann):
    one, client = lead("eva"), desk_of(ann)
    move(client, one, "claim")
    move(client, one, "accept")
    for wrong in ("much", "-5", "1e30", "NaN"):
        response = move(client, one, "convert", value=wrong)
        assert response.status_code == 422, wrong
        assert "errorlist" in text(response)
    one.refresh_from_db()
    assert one.state == "accepted"


def test_reasons_stand_in_the_language_of_the_rep(ann, no_budget):
    one, client = lead("eva"), desk_of(ann)
    move(client, one, "claim")
    page = text(client.get(f"/sales/{one.pk}/", headers={"accept-language": "cs"}))
    assert "Bez rozpočtu" in page
    assert "No budget" not in page


# The list ------------------------------------------------------------------------------------------------------------


def test_leads_stand_under_their_reason_the_most_urgent_first(ann):
    now = timezone.now()
    hour = timedelta(hours=1)
    lead("calm", due_at=now + 3 * hour, created_at=now - hour)
    lead("soon", due_at=now + hour, created_at=now - hour)
    lead("missed", due_at=now - hour, created_at=now - 9 * hour)
    lead("lost", due_at=None, created_at=now - timedelta(days=3))
    lead("meant", due_at=now + 5 * hour, created_at=now - hour, assigned_to=ann, assigned_at=now - hour)
    did(lead("keen", due_at=now + 4 * hour, created_at=now - hour).contact, "lead.hot", now - hour)
    page = text(desk_of(ann).get("/sales/?tab=unclaimed"))
    rows = page[page.index('class="pane is-left"') : page.index('id="person"')]
    order = (
        "For you", "Meant", "Hot now", "Keen", "Answer overdue", "Missed", "New today", "Soon", "Calm",
        "Waiting for somebody", "Lost",
    )  # fmt: skip
    assert [*order] == sorted(order, key=rows.index)
    assert rows.count("Looked at prices") == 6


def test_the_clock_runs_in_words_until_the_lead_is_accepted():
    def said(minutes: float, **more) -> str | None:
        shown = clock(Lead(due_at=NOW + timedelta(minutes=minutes), **more), NOW)
        return shown and shown.text

    assert [said(minutes) for minutes in (0.5, 1, 59, 60, 47 * 60, 48 * 60)] == [
        "less than a minute left", "1 minute left", "59 minutes left", "1 hour left", "47 hours left", "2 days left",
    ]  # fmt: skip
    assert [said(-minutes) for minutes in (0.5, 1, 130, 3 * 24 * 60)] == [
        "less than a minute late", "1 minute late", "2 hours late", "3 days late",
    ]  # fmt: skip
    assert said(5, state="claimed") == "5 minutes left"
    assert said(5, state="accepted") is None
    assert clock(Lead(due_at=None), NOW) is None


def test_previous_and_next_walk_the_list_and_its_pages(ann):
    leads = [lead(f"p{number:02}", due_at=NOW + timedelta(minutes=number)) for number in range(52)]
    client = desk_of(ann)

    def step(url: str, direction: str) -> str:
        found = re.search(rf'rel="{direction}" href="([^"]*)" data-key', text(client.get(url)))
        return found[1].replace("&amp;", "&") if found else ""

    assert step("/sales/", "prev") == ""
    assert step("/sales/", "next") == f"/sales/{leads[1].pk}/?tab=unclaimed"
    assert step(f"/sales/{leads[1].pk}/?tab=unclaimed", "prev") == f"/sales/{leads[0].pk}/?tab=unclaimed"
    assert step(f"/sales/{leads[49].pk}/?tab=unclaimed", "next") == "/sales/?tab=unclaimed&page=2"
    assert step("/sales/?tab=unclaimed&page=2", "next") == f"/sales/{leads[51].pk}/?tab=unclaimed&page=2"
    assert step(f"/sales/{leads[51].pk}/?tab=unclaimed&page=2", "next") == ""
    assert client.get("/sales/?tab=nonsense&page=nonsense").status_code == 200


def test_empty_lists_teach(ann):
    assert "There are no leads yet." in text(desk_of(ann).get("/sales/"))
    one = lead("eva")
    assert "See 1 unclaimed lead" in text(desk_of(ann).get("/sales/?tab=mine"))
    move(desk_of(ann), one, "claim")
    assert "Nobody waits to be claimed." in text(desk_of(ann).get("/sales/?tab=unclaimed"))
    assert "Nothing is done yet." in text(desk_of(ann).get("/sales/?tab=done"))


# The dossier ---------------------------------------------------------------------------------------------------------


def test_the_bars_of_a_score_add_up_to_it_and_stand_end_to_end():
    engagement = model(qualify_at=50)
    rule(engagement, "page.viewed", 10, days=14, key="visit")
    rule(engagement, "demo.watched", 30, key="demo")
    rule(engagement, "email.complained", -15, key="complaint")
    contact = known()
    for kind, days in (("page.viewed", 14), ("page.viewed", 0), ("demo.watched", 3), ("email.complained", 1)):
        did(contact, kind, NOW - timedelta(days=days))
    tick()
    (score,) = scores_of(contact, NOW)
    assert [(bar.name, bar.events, round(bar.worth, 6)) for bar in score.bars] == [
        ("demo", 1, 30.0), ("visit", 2, 15.0), ("complaint", 1, -15.0),
    ]  # fmt: skip
    assert score.value == pytest.approx(30)
    assert [(bar.fading, round(bar.earned)) for bar in score.bars] == [
        ("", 30), ("halves every 14 days", 20), ("", -15),
    ]  # fmt: skip
    demo, visit, complaint = score.bars
    assert (demo.start, visit.start) == (0, demo.length)
    assert complaint.start + complaint.length == pytest.approx(visit.start + visit.length, abs=0.02)
    assert score.start + score.length == pytest.approx(complaint.start, abs=0.02)
    assert score.line == 96


def test_a_score_below_nothing_stays_inside_its_drawing():
    engagement = model(qualify_at=None)
    rule(engagement, "page.viewed", 10, key="visit")
    rule(engagement, "email.complained", -40, key="complaint")
    contact = known()
    did(contact, "page.viewed")
    did(contact, "email.complained")
    tick()
    (score,) = scores_of(contact, NOW)
    assert score.value == -30
    for bar in (*score.bars, score):
        assert 0 <= bar.start <= bar.start + bar.length <= 100


def test_a_dossier_with_numbers_keeps_its_drawing_in_every_language(ann):
    one = lead("eva")
    rule(model(qualify_at=50), "page.viewed", 3.7, days=9)
    did(one.contact, "page.viewed")
    did(one.contact, "page.viewed", NOW - timedelta(days=5))
    tick()
    page = text(desk_of(ann).get(f"/sales/{one.pk}/", headers={"accept-language": "cs"}))
    widths = re.findall(r'<rect class="bar-fill" x="([^"]*)" width="([^"]*)"', page)
    assert widths
    assert all(re.fullmatch(r"[0-9.]+%", number) for pair in widths for number in pair)


def test_the_dossier_tells_what_they_allowed_and_were_sent(ann):
    one = lead("eva")
    template = template_of()
    Consent.objects.create(contact=one.contact, topic="tips", channel="email", state="denied", changed_at=NOW)
    common = {
        "contact": one.contact,
        "template": template,
        "message_class": "marketing",
        "created_at": NOW,
        "due_at": NOW,
    }
    sent = Message.objects.create(key="a", state="sent", sent_at=NOW, **common)
    Message.objects.create(key="b", state="skipped", reason="topic_refused", finished_at=NOW, **common)
    Message.objects.create(key="c", state="sent", sent_at=NOW, is_ghost=True, **common)
    did(one.contact, "email.sent", properties={"message": sent.pk, "subject": "Welcome, Eva"})
    did(one.contact, "email.opened", properties={"message": sent.pk}, is_machine=True)
    did(one.contact, "email.sent", properties={"message": "no number", "subject": "told by somebody else"})
    page = text(desk_of(ann).get(f"/sales/{one.pk}/"))
    messages = page[page.index('id="messages"') : page.index('id="story"')]
    assert "Tips: refused" in page
    assert "Welcome, Eva" in messages
    assert "The person refused this topic." in messages
    assert "holdout group" in messages
    assert "opened" not in messages
    did(one.contact, "email.clicked", properties={"message": sent.pk})
    assert ">clicked<" in text(desk_of(ann).get(f"/sales/{one.pk}/"))
    Consent.objects.create(contact=one.contact, topic="", channel="email", state="denied", changed_at=NOW)
    assert "All e-mail: refused" in text(desk_of(ann).get(f"/sales/{one.pk}/"))


def test_the_timeline_turns_its_pages_on_the_same_lead(ann):
    one = lead("eva")
    for number in range(60):
        did(one.contact, "page.viewed", NOW - timedelta(hours=number), properties={"title": f"Page {number}."})
    client = desk_of(ann)
    page = text(client.get("/sales/?tab=unclaimed"))
    assert "Page 0." in page
    assert "Page 59." not in page[page.index('id="story"') :]  # it is told as their first touch
    earlier = re.search(r'href="([^"]*before=[^"]*)"', page)[1].replace("&amp;", "&")
    assert earlier.startswith(f"/sales/{one.pk}/?before=")
    page = text(client.get(earlier.partition("#")[0]))
    assert "Page 59." in page
    assert "Page 0." not in page
    assert "Page 0." in text(client.get(f"/sales/{one.pk}/?before=nonsense"))


# Foreign text --------------------------------------------------------------------------------------------------------

EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>{{ 7|add:7 }}{% now 'Y' %}"


def test_foreign_text_is_only_text(ann, no_budget):
    company = Company.objects.create(name=EVIL, industry=EVIL)
    contact = Contact.objects.create(
        email=f"a@b.cz?subject=x&body={EVIL}", phone=f"javascript:{EVIL}", first_name=EVIL, last_name=EVIL,
        salutation=EVIL, language="x<b>", country=EVIL, company=company, job_title=EVIL, source=EVIL, stage="lead",
        created_at=NOW,
    )  # fmt: skip
    one = lead_of(contact, headline=EVIL, team=Team.objects.create(key="t", name=EVIL))
    for properties in (
        {"title": EVIL, "url": "javascript:alert(1)"},
        {"url": "javascript:alert(1)", "referrer": EVIL, "utm_source": EVIL},
        {"title": {"deep": [EVIL]}, "name": None},
    ):
        did(contact, "page.viewed", properties=properties)
        did(contact, EVIL, properties=properties)
        did(contact, "form.submitted", properties={"form": EVIL, "email": EVIL})
        did(contact, "stage.changed", properties={"from": EVIL, "to": [EVIL]})
    client = desk_of(ann)
    for page in (text(client.get("/sales/")), text(move(client, one, "claim"))):
        assert "<script>alert" not in page
        assert "<img" not in page
        assert "{{ 7|add:7 }}" in page.replace("&quot;", '"')
        assert not re.search(r'href="\s*(javascript|data|vbscript):', page, re.IGNORECASE)
        assert "<b>" not in page.replace("<b></b>", "")
        for link in re.findall(r'href="((?:mailto|tel):[^"]*)"', page):
            assert not set(link) & set("<>'? &")


# What a page costs ---------------------------------------------------------------------------------------------------


def furnish(one: Lead, template: Template) -> None:
    for number in range(70):
        did(one.contact, "page.viewed", NOW - timedelta(hours=number))
    for number in range(20):
        Message.objects.create(
            key=f"{one.pk}:{number}", contact=one.contact, template=template, message_class="marketing",
            state="skipped", reason="capped", created_at=NOW, due_at=NOW, finished_at=NOW,
        )  # fmt: skip


@pytest.mark.parametrize("number", [3, 60])
def test_a_page_asks_at_most_seventeen_questions(number, ann, no_budget, django_assert_max_num_queries):
    team = Team.objects.create(key="team")
    for key in ("engagement", "interest", "product"):
        rule(model(key, qualify_at=5), "page.viewed", 1)
    for key in ("a", "b", "c"):
        Topic.objects.create(key=key, name=key)
        RejectReason.objects.create(key=key, name=key)
    company, template = Company.objects.create(name="Lumeo"), template_of()
    scores = {one.key: one for one in ScoreModel.objects.all()}
    GradeMatrix.objects.create(
        key="grade", fit=scores["interest"], engagement=scores["engagement"], fit_from=[5], engagement_from=[5]
    )
    PredictionModel.objects.create(version=1, state="live", made_at=NOW, **NUMBERS)
    leads = [lead(f"p{index}", team=team, due_at=NOW, headline=f"Reason {index % 7}") for index in range(number)]
    Contact.objects.update(company=company)
    furnish(leads[0], template)
    tick()
    client = desk_of(ann)
    for one in leads[: number // 2]:
        desk.claim(lead=one, by=ann, now=NOW)
    desk.accept(lead=leads[0], by=ann, now=NOW)
    urls = ("/sales/", "/sales/?tab=unclaimed", f"/sales/{leads[0].pk}/", f"/sales/{leads[-1].pk}/?tab=mine")
    more = (f"/sales/{leads[0].pk}/panes/", f"/sales/live/?lead={leads[0].pk}", "/sales/?q=p1")
    for url in urls + more:
        # What is remembered for a minute: the names of tracks and colleagues, how grades and the prediction are set up.
        assert client.get(url).status_code == 200
        with django_assert_max_num_queries(17):
            assert client.get(url).status_code == 200
    boss = desk_of(person("boss", ADMINISTRATOR, is_staff=True))
    boss.get("/sales/?tab=all")
    with django_assert_max_num_queries(17):
        assert text(boss.get("/sales/?tab=all")).count("Score at hand-off:") == min(number, 50)


def test_who_is_held_out_is_not_taken_for_forgotten(ann):
    one, other = lead("eva"), lead("ivo")
    did(one.contact, "journey.entered", properties={"journey": "education", "held_out": True})
    did(other.contact, "journey.entered", properties={"journey": "education"})
    page = text(desk_of(ann).get(f"/sales/{one.pk}/"))
    assert "held out on purpose from education" in page
    assert "education: held out, and gets nothing from it" in page
    assert "held out" not in text(desk_of(ann).get(f"/sales/{other.pk}/"))
    Holdout.objects.create(scope="global", contact=other.contact, is_held=True, decided_at=NOW)
    assert "gets no marketing on purpose" not in text(desk_of(ann).get(f"/sales/{other.pk}/"))
    SendingPolicy.objects.create(pk=1, global_holdout=5)
    assert "gets no marketing on purpose" in text(desk_of(ann).get(f"/sales/{other.pk}/"))
