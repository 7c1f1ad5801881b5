"""A message on a plain page of somebody's site, in a real browser, under a Content-Security-Policy of its own."""

import pytest
from django.contrib.auth import get_user_model
from django.utils import timezone
from playwright.sync_api import expect

from contacts import tokens
from contacts.models import Contact, Identity, Incoming
from messaging.models import Brand, Hit, Message, Template, Topic
from messaging.outbox import intend

PAGE = """<!doctype html><html lang="cs"><meta charset="utf-8"><title>Lípa</title>
<style nonce="own">section {{ display: none !important }} h2 {{ color: red }}</style>
<h1>Lípa</h1><script src="/js/track.js" data-key="{key}" data-consent="{consent}" {more}></script></html>"""
# Neither inline styles nor inline scripts: what the box needs must do without.
POLICY = "default-src 'none'; script-src 'self'; style-src 'nonce-own'; connect-src 'self'; img-src 'self'"
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def write_key(db):
    user = get_user_model().objects.create_superuser("admin", password="x")
    return tokens.issue(user=user, scopes=["track"], name="web", now=timezone.now())[1]


@pytest.fixture
def site(page, live_server, settings, write_key):
    """Opens the site's page; with `visitor` the browser is known by this anonymous id already."""
    settings.BASE_URL = live_server.url

    def serve(route):
        body = PAGE.format(key=write_key, consent=serve.consent, more=serve.more)
        headers = {"Content-Type": "text/html; charset=utf-8", "Content-Security-Policy": POLICY}
        route.fulfill(body=body, headers=headers)

    def visit(*, consent="", more=""):
        serve.consent, serve.more = consent, more
        page.goto("/lipa")
        return page

    page.route("**/lipa", serve)
    page.add_init_script("localStorage.journey_anonymous_id ||= 'anna'")
    return visit


@pytest.fixture
def message(db, live_server, settings):
    settings.BASE_URL = live_server.url
    now = timezone.now()
    Brand.objects.create(pk=1, name="Acme", sender="Acme <hello@acme.example>", postal_address="Brno")
    topic = Topic.objects.create(key="news", name="News", is_opt_in=False)
    template = Template.objects.create(
        key="box", topic=topic, channel="onsite", body_format="text", subject="Hello",
        body="What is <b>new</b>?", translations={"cs": {
            "subject": "Ahoj {{ contact.first_name | default: '' }}",
            "body": f"Podívejte se\n[sem]({live_server.url}/admin/login/).",
        }},
    )  # fmt: skip
    person = Contact.objects.create(email="anna@example.com", first_name="Anno", language="cs", stage="known")
    Identity.objects.create(kind="anonymous_id", value="anna", contact=person, created_at=now)
    made = intend(key="box:1", contact=person, template=template, now=now)
    Message.objects.update(state="ready")
    return made


def kinds() -> set[str]:
    return set(Incoming.objects.filter(kind__startswith="onsite.").values_list("kind", flat=True))


def test_a_visitor_sees_a_message_and_closes_it(site, message):
    page = site()
    box = page.get_by_role("region", name="Ahoj Anno")
    expect(box).to_be_visible()
    expect(box).to_have_attribute("lang", "cs")
    expect(box.get_by_role("heading")).to_have_text("Ahoj Anno")
    expect(box.get_by_role("link", name="sem")).to_be_visible()
    # The page's own style reaches nothing in it, and the page's policy did not stop ours.
    assert box.evaluate("one => getComputedStyle(one).position") == "fixed"
    with page.expect_response("**/v1/onsite/dismissed"):
        box.get_by_role("button", name="Zavřít").click()
    expect(box).to_have_count(0)
    assert kinds() == {"onsite.shown", "onsite.dismissed"}
    message.refresh_from_db()
    assert message.state == "sent"
    with page.expect_response("**/v1/onsite") as answer:
        page.reload()
    assert answer.value.json() == {"message": None}
    expect(page.locator("#journey-onsite")).to_have_count(0)


def test_its_link_leads_on_by_way_of_ours(site, message):
    page = site()
    link = page.get_by_role("region", name="Ahoj Anno").get_by_role("link", name="sem")
    expect(link).to_be_visible()
    link.focus()
    with page.expect_request("**/t/c/*"):
        page.keyboard.press("Enter")
    page.wait_for_url("**/admin/login/")
    assert Hit.objects.filter(message_id=message.pk, link_id__isnull=False).count() == 1


def test_the_keyboard_closes_it(site, message):
    page = site()
    box = page.get_by_role("region", name="Ahoj Anno")
    expect(box).to_be_visible()
    box.get_by_role("button").focus()
    with page.expect_response("**/v1/onsite/dismissed"):
        page.keyboard.press("Escape")
    expect(box).to_have_count(0)


def test_without_consent_nothing_is_asked_and_nothing_shown(site, page, message):
    asked = []
    page.on("request", lambda request: asked.append(request.url) if "/v1/" in request.url else None)
    site(consent="required")
    page.evaluate("journey.track('looked')")
    assert asked == []
    with page.expect_response("**/v1/onsite/shown"):
        page.evaluate("journey.consent(true)")
    expect(page.get_by_role("region", name="Ahoj Anno")).to_be_visible()
    page.evaluate("journey.consent(false)")
    expect(page.locator("#journey-onsite")).to_have_count(0)


def test_a_page_may_want_no_messages(site, page, message):
    asked = []
    page.on("request", lambda request: asked.append(request.url) if "/onsite" in request.url else None)
    with page.expect_response("**/v1/page"):
        site(more='data-onsite="off"')
    assert asked == []
    message.refresh_from_db()
    assert message.state == "ready"
