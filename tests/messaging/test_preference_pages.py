"""The pages behind the links in mails, as people and mail programs meet them: in a browser, years later, at once."""

import re
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.core.exceptions import ValidationError
from django.db import connection
from django.test import Client
from django.utils import timezone
from playwright.sync_api import expect

from campaigns.models import Journey
from contacts.consent import record_consent
from contacts.erasure import erase
from contacts.ingest import ingest
from contacts.merging import merge
from contacts.models import Consent, ConsentChange, Contact, Identity, Incoming, Touchpoint
from contacts.stream import Step, run_step
from messaging import refusing, tokens
from messaging.models import Brand, Message, SigningKey, SignupForm, Topic
from tests.house.test_skin import Inline

ONE_CLICK = {"List-Unsubscribe": "One-Click"}


@pytest.fixture
def reader(make_contact):
    return make_contact(language="en", email="eva@example.com")


def link(kind: str, person, message: int = 0) -> str:
    return f"/{kind}/{tokens.current().token(tokens.PERSON, message, person.pk)}/"


@pytest.fixture
def anonymous() -> Client:
    return Client(enforce_csrf_checks=True)


def held(person) -> dict[str, str]:
    return {f"{one.topic}/{one.channel}": one.state for one in Consent.objects.filter(contact=person)}


def footprint() -> list[int]:
    return [model.objects.count() for model in (Consent, ConsentChange, Incoming, Identity, Message)]


# A look ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["u", "p"])
def test_no_look_of_a_person_a_scanner_or_a_prefetcher_changes_anything(
    kind, anonymous, reader, newsletter, make_message
):
    message = make_message(reader)
    path, before = link(kind, reader, message.pk), footprint()
    for headers in ({}, {"Purpose": "prefetch", "Sec-Purpose": "prefetch"}, {"User-Agent": "GoogleImageProxy"}):
        for extra in ("", "?List-Unsubscribe=One-Click", "?refuse_all=1&topic=x", "?speak=cs"):
            assert anonymous.get(path + extra, headers=headers).status_code == 200
            assert anonymous.head(path + extra, headers=headers).status_code == 200
    for method in ("put", "patch", "delete", "options", "trace"):
        assert getattr(anonymous, method)(path).status_code == 405
    assert footprint() == before
    assert not Client().get(path).cookies, "nobody is remembered for having looked"


@pytest.mark.parametrize("kind", ["u", "p"])
def test_every_answer_is_kept_nowhere_told_nobody_and_works_without_script(kind, anonymous, reader, newsletter, brand):
    for answer in (
        anonymous.get(link(kind, reader)),
        anonymous.post(link(kind, reader), {"refuse_all": "1"}),
        anonymous.post(link(kind, reader), {"most": "many"}),
    ):
        assert (answer["Cache-Control"], answer["Referrer-Policy"]) == ("no-store", "no-referrer")
        assert answer["X-Robots-Tag"] == "noindex"
        policy = answer["Content-Security-Policy"]
        assert "default-src 'self'" in policy
        assert "unsafe" not in policy
        assert b"<script" not in answer.content
        assert Inline(answer.content.decode()).found == []


# One click ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", ["urlencoded", "multipart", "empty", "text", "json"])
def test_a_press_counts_however_a_mail_program_sends_it(body, anonymous, reader, newsletter):
    path = link("u", reader)
    told = {
        "urlencoded": {"data": "List-Unsubscribe=One-Click", "content_type": "application/x-www-form-urlencoded"},
        "multipart": {"data": ONE_CLICK},
        "empty": {},
        "text": {"data": "List-Unsubscribe=One-Click", "content_type": "text/plain"},
        "json": {"data": "{}", "content_type": "application/json"},
    }[body]
    headers = {"Origin": "null", "Referer": "https://mail.example/"}
    for _ in range(3):
        answer = anonymous.post(path, headers=headers, **told)
        assert answer.status_code == 200
        assert "Location" not in answer
    assert held(reader) == {"/email": "denied"}
    assert ConsentChange.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_twenty_presses_at_once_are_one_row_of_the_ledger(reader, newsletter, make_message):
    message = make_message(reader)
    path = link("u", reader, message.pk)

    def press(_number: int) -> int:
        try:
            return Client(enforce_csrf_checks=True).post(path, ONE_CLICK).status_code
        finally:
            connection.close()

    with ThreadPoolExecutor(20) as pool:
        assert set(pool.map(press, range(20))) == {200}
    assert held(reader) == {"/email": "denied"}
    assert ConsentChange.objects.count() == 1
    assert Incoming.objects.filter(kind="consent.changed").count() == 1
    message.refresh_from_db()
    assert (message.state, message.reason) == ("cancelled", "unsubscribed")


def test_a_refusal_withdraws_what_waits_at_every_door_of_the_same_consent(anonymous, reader, newsletter, make_message):
    first, other = make_message(reader), make_message(reader)
    Message.objects.filter(pk=other.pk).update(channel="sms")
    anonymous.post(link("u", reader), ONE_CLICK)
    for message in (first, other):
        message.refresh_from_db()
    assert (first.state, other.state) == ("cancelled", "pending"), "who gave no number never spoke of text messages"


# Years later ----------------------------------------------------------------------------------------------------------


def test_a_press_after_a_merge_counts_for_the_survivor(anonymous, newsletter, make_contact, make_message, now):
    kept, gone = make_contact(email="a@example.com"), make_contact(email="b@example.com")
    for one in (kept, gone):
        Identity.objects.create(contact=one, kind="email", value=one.email, created_at=now)
    message = make_message(gone)
    paths = [link("u", gone, message.pk), link("p", gone, message.pk), link("u", gone)]
    merge(survivor=kept, loser=gone, reason="test", by=None, now=now)
    for path in paths:
        Consent.objects.all().delete()
        ConsentChange.objects.all().delete()
        assert anonymous.post(path, {"refuse_all": "1"}).status_code == 200
        assert held(kept)["/email"] == "denied"
    assert b"b@example.com" not in anonymous.get(paths[1]).content, "the page is the survivor's"


def test_a_press_after_an_erasure_is_answered_kindly_and_leaves_no_trace(
    anonymous, reader, newsletter, make_message, now
):
    Identity.objects.create(contact=reader, kind="email", value=reader.email, created_at=now)
    message = make_message(reader)
    paths = [link(kind, reader, number) for kind in "up" for number in (0, message.pk)]
    erase(reader, by=None, now=now)
    before = footprint()
    told = [{}, ONE_CLICK, {"refuse_all": "1"}, {"undo": "1"}, {"why": "other"}, {"topic": "newsletter", "most": "1"}]
    for path in paths:
        for answer in (anonymous.get(path), *(anonymous.post(path, one) for one in told)):
            assert answer.status_code == 200
            assert b"eva@" not in answer.content
            assert b"Newsletter" not in answer.content
    assert footprint() == before
    stranger = link("p", Contact(pk=2**40))
    assert anonymous.get(stranger).content == anonymous.get(paths[2]).content.replace(
        paths[2].encode(), stranger.encode()
    ), "who was erased looks like who never was"


def test_a_press_counts_after_the_journey_the_template_and_the_message_are_gone(
    anonymous, reader, newsletter, make_message
):
    Journey.objects.create(key="old", name="Old", kind="nurture")
    message = make_message(reader, journey_key="old", source="journey:old")
    path = link("u", reader, message.pk)
    Journey.objects.all().delete()
    Message.objects.all().delete()
    assert anonymous.post(path, ONE_CLICK).status_code == 200
    assert held(reader)["/email"] == "denied"


def test_a_press_counts_when_every_key_was_changed_since(anonymous, reader, newsletter, settings, time_machine):
    path = link("u", reader)
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "rotated" * 10, []
    SigningKey.objects.create(secret=b"another" * 5)
    time_machine.move_to(timezone.now() + timedelta(days=7 * 365))
    assert anonymous.get(path).status_code == 200
    assert anonymous.post(path, ONE_CLICK).status_code == 200
    assert held(reader)["/email"] == "denied"
    assert anonymous.post(link("p", reader), {"topic": "newsletter"}).status_code == 200
    assert held(reader)["/email"] == "granted"


@pytest.mark.parametrize("path", ["/u/{}/", "/p/{}/", "/confirm/{}/"])
def test_no_token_for_another_thing_opens_a_page(path, anonymous, reader, newsletter, make_message):
    message, signer = make_message(reader), tokens.current()
    before = footprint()
    for purpose, ids in (
        (tokens.OPEN, (message.pk,)), (tokens.CLICK, (message.pk, reader.pk)), (tokens.CONFIRM, (message.pk,)),
        (tokens.PERSON, (message.pk, reader.pk)),
    ):  # fmt: skip
        right = {tokens.PERSON: ("/u/{}/", "/p/{}/"), tokens.CONFIRM: ("/confirm/{}/",)}.get(purpose, ())
        if path not in right:
            token = signer.token(purpose, *ids)
            assert anonymous.get(path.format(token)).status_code == 404
            assert anonymous.post(path.format(token), ONE_CLICK).status_code == 404
    assert footprint() == before


def test_a_token_of_a_pixel_shows_no_mail_and_exports_nobody(anonymous, reader, make_message):
    token = tokens.current().token(tokens.OPEN, make_message(reader).pk)
    for path in (
        f"/admin/messaging/message/{token}/mail/", f"/api/v1/contacts/{token}/person/", f"/t/c/{token}",
        f"/admin/contacts/contact/{token}/person/",
    ):  # fmt: skip
        assert anonymous.get(path).status_code in (302, 401, 404)
    bearer = {"Authorization": f"Bearer {token}"}
    assert anonymous.get("/api/v1/contacts/", headers=bearer).status_code == 401


# Taking it back, and why ----------------------------------------------------------------------------------------------


def test_one_press_takes_a_refusal_back_and_what_held_before_holds_again(
    anonymous, make_contact, newsletter, tips, now
):
    reader = make_contact(phone="+420601123456")
    page = link("p", reader)
    anonymous.post(page, {"topic": ["tips"]})
    record_consent(contact=reader, topic="", channel="sms", state="denied", source="rest", now=now - timedelta(days=9))
    before = held(reader)
    for path in (link("u", reader), page):
        answer = anonymous.post(path, {"refuse_all": "1"})
        assert b'name="undo"' in answer.content
        anonymous.post(path, {"refuse_all": "1"} | ONE_CLICK)
        assert held(reader)["/email"] == "denied"
        answer = anonymous.post(page, {"undo": "1"})
        assert b"as before" in answer.content
        assert held(reader) == before | {"/email": "granted"}
    change = ConsentChange.objects.filter(topic="", channel="email").latest("pk")
    assert (change.source, change.state, change.ip_address) == ("preference-page", "granted", "127.0.0.1")
    assert len(change.wording) == 64
    rows = ConsentChange.objects.count()
    assert b"as before" not in anonymous.post(page, {"undo": "1"}).content
    assert ConsentChange.objects.count() == rows, "again is harmless"


def test_taking_back_raises_nothing_that_others_or_time_decided(anonymous, reader, newsletter, now, time_machine):
    page = link("p", reader)
    record_consent(contact=reader, topic="", channel="email", state="denied", source="rest", now=timezone.now())
    anonymous.post(page, {"undo": "1"})
    assert held(reader) == {"/email": "denied"}, "said by another door"
    Consent.objects.all().delete()
    ConsentChange.objects.all().delete()
    record_consent(contact=reader, topic="", channel="email", state="pending", source="form:x", now=timezone.now())
    anonymous.post(link("u", reader))
    anonymous.post(page, {"undo": "1"})
    assert held(reader) == {"/email": "pending"}, "who had not confirmed has not now"
    anonymous.post(link("u", reader))
    time_machine.move_to(timezone.now() + refusing.TAKEN_BACK_WITHIN + timedelta(minutes=1))
    anonymous.post(page, {"undo": "1"})
    assert held(reader) == {"/email": "denied"}, "an hour later the page with all choices does it"


def test_why_somebody_left_is_a_touchpoint_and_nobody_must_say(anonymous, reader, newsletter, now):
    page = link("p", reader)
    answer = anonymous.post(link("u", reader))
    assert answer.content.count(b'name="why"') == len(refusing.WHY)
    told = {"why": "too-often", "comment": "  Every\0 day!  " + "x" * 900}
    for _ in range(3):
        assert b"Thank you" in anonymous.post(page, told).content
    for wrong in ("", "because", "too-often\0"):
        answer = anonymous.post(page, {"why": wrong})
        assert (answer.status_code, b"Choose one of the answers" in answer.content) == (400, True)
    run_step(Step("ingest", ingest), timezone.now())
    [said] = Touchpoint.objects.filter(kind="consent.explained")
    assert said.properties["reason"] == "too-often"
    assert said.properties["comment"].startswith("Every day!")
    assert len(said.properties["comment"]) == refusing.LONGEST_COMMENT
    assert held(reader) == {"/email": "denied"}, "an answer decides nothing"
    erase(reader, by=None, now=timezone.now())
    assert not Touchpoint.objects.filter(kind="consent.explained").exists()


# Words and looks ------------------------------------------------------------------------------------------------------


def test_topics_have_names_and_descriptions_in_each_language(anonymous, make_contact, newsletter):
    Topic.objects.update(
        name="Newsletter", names={"cs": "Novinky"}, description="Once a month", descriptions={"cs": "Jednou za měsíc"}
    )
    for language, words in (
        ("en", ["Newsletter", "Once a month"]), ("cs", ["Novinky", "Jednou za měsíc"]),
        ("pl", ["Newsletter", "Once a month"]),
    ):  # fmt: skip
        reader = make_contact(language=language)
        html = anonymous.get(link("p", reader)).content.decode()
        assert f'<html lang="{language}"' in html
        for word in words:
            assert word in html
    anonymous.post(link("p", make_contact(language="cs")), {"topic": []})
    with pytest.raises(ValidationError, match="Write it as"):
        Topic(key="x", name="x", names=["cs"]).clean()


def test_each_page_switches_its_language_without_a_cookie(anonymous, make_contact, newsletter):
    reader = make_contact(language="pl")
    for kind in "pu":
        path = link(kind, reader)
        assert '<html lang="pl"' in anonymous.get(path).content.decode()
        answer = anonymous.get(f"{path}?speak=cs")
        assert '<html lang="cs"' in answer.content.decode()
        assert re.search(r'action="[^"]+\?speak=cs"', answer.content.decode())
        assert not answer.cookies
        assert '<html lang="pl"' in anonymous.get(f"{path}?speak=xx").content.decode()


def test_the_pages_wear_the_brands_look_and_nothing_else(anonymous, reader, newsletter, brand):
    Brand.objects.update(logo_url="https://cdn.acme.example/logo.png", colours={"primary": "#00bb66"})
    answer = anonymous.get(link("p", reader))
    html = answer.content.decode()
    assert '<img class="brand-logo" src="https://cdn.acme.example/logo.png" alt="Acme"' in html
    assert 'fill="#00bb66"' in html
    assert "img-src 'self' data: https://cdn.acme.example" in answer["Content-Security-Policy"]
    for evil in (
        "javascript:alert(1)",
        "https://x.example/;script-src *",
        'https://x.example/"><script>',
        "//x.example/y",
    ):
        Brand.objects.update(logo_url=evil, colours={"primary": 'red"/><script>'})
        answer = anonymous.get(link("p", reader))
        assert b"brand-logo" not in answer.content
        assert b"<script" not in answer.content
        assert "x.example" not in answer["Content-Security-Policy"]
    Brand.objects.all().delete()
    assert anonymous.get(link("p", reader)).status_code == 200


def test_the_page_names_each_channel_that_the_person_has(anonymous, make_contact, newsletter):
    one, both = make_contact(), make_contact(phone="+420601123456")
    assert 'name="channel"' not in anonymous.get(link("p", one)).content.decode()
    html = anonymous.get(link("p", both)).content.decode()
    assert re.findall(r'name="channel" value="(\w+)"', html) == ["email", "sms"]


# In a browser ---------------------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_in_a_browser_without_script_everything_can_be_read_and_pressed(
    scheme, browser, live_server, brand, newsletter, tips, make_contact
):
    reader = make_contact(language="cs", phone="+420601123456")
    Brand.objects.update(colours={"primary": "#00bb66"})
    plain = browser.new_context(
        base_url=live_server.url, color_scheme=scheme, viewport={"width": 390, "height": 844}, java_script_enabled=False
    )
    page = plain.new_page()
    page.goto(link("u", reader))
    page.get_by_role("button", name="English").click()
    page.get_by_role("button", name="Yes, unsubscribe me").click()
    page.get_by_role("button", name="That was a mistake").click()
    expect(page.get_by_role("status")).to_contain_text("as before")
    page.get_by_label("Product tips").check()
    page.get_by_label("News in seven days").select_option("2")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("status")).to_be_visible()
    expect(page.get_by_label("Product tips")).to_be_checked()
    assert held(reader)["tips/email"] == "granted"
    page.get_by_role("button", name="Unsubscribe from everything").click()
    page.get_by_label("There are too many messages").check()
    page.get_by_label("In your own words").fill("Every day!")
    page.get_by_role("button", name="Send").click()
    expect(page.locator("#why")).to_contain_text("Thank you")
    plain.close()


@pytest.mark.django_db(transaction=True)
def test_in_a_browser_a_form_on_a_page_of_ours_is_taken(browser, live_server, brand, newsletter):
    """What a browser says of where a form came from depends on what its page allows it to say."""
    form = SignupForm.objects.create(key="footer", name="Hear from us")
    form.topics.set([newsletter])
    page = browser.new_page(base_url=live_server.url)
    page.goto("/f/footer/")
    page.get_by_role("button", name="Polski").click()
    expect(page.locator("html")).to_have_attribute("lang", "pl")
    page.locator("[name=email]").fill("ann@x.example")
    page.locator("main form button").click()
    expect(page.get_by_role("status")).to_be_visible()
    assert form.signups.get().address == "ann@x.example"
    assert form.signups.get().language == "pl"
    page.close()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1440])
def test_the_pages_fit_and_are_accessible(scheme, width, browser, live_server, brand, newsletter, tips, make_contact):
    Topic.objects.update(description="One useful thing a week, and never more than one", descriptions={})
    reader = make_contact(language="pl", phone="+420601123456", paused_until=timezone.now() + timedelta(days=40))
    Brand.objects.update(colours={"primary": "#00bb66"})
    context = browser.new_context(
        base_url=live_server.url, color_scheme=scheme, viewport={"width": width, "height": 900}
    )
    page = context.new_page()
    left = link("u", reader)
    for path in (link("p", reader), left, "press"):
        if path == "press":
            page.locator("main form button").click()
            expect(page.locator("[name=undo]")).to_be_visible()
        else:
            page.goto(path)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        found = Axe().run(page, options={"runOnly": ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa"]}).response
        wrong = [(rule["id"], node["html"]) for rule in found["violations"] for node in rule["nodes"]]
        assert wrong == [], urlsplit(page.url).path
    context.close()
