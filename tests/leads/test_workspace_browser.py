"""The sales workspace in a real browser: by keyboard alone, on a phone, without script, for everybody's eyes."""

from datetime import timedelta

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.utils import timezone
from playwright.sync_api import expect

from contacts.models import Company, Contact
from leads import desk
from leads.models import Lead, RejectReason
from messaging.models import Message
from tests.browser import log_in
from tests.leads.test_desk import person
from tests.leads.test_workspace import lead, template_of
from tests.scoring.world import NOW, did, model, rule, tick

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def rep():
    return person("ann")


@pytest.fixture
def leads(rep) -> list[Lead]:
    """Three that wait, furnished like real people."""
    now = timezone.now()
    RejectReason.objects.create(key="no-budget", name="No budget", track_key="education")
    engagement = model(name="Engagement", qualify_at=50)
    rule(engagement, "page.viewed", 5, days=14)
    rule(engagement, "email.complained", -5, key="complaint")
    template = template_of()
    found = [
        lead(name, due_at=now + timedelta(minutes=30 * place - 10), headline=f"Looked at prices {place // 2}")
        for place, name in enumerate(("eva", "filip", "gita"))
    ]
    company = Company.objects.create(name="Holičství Na Rohu", employees=12)
    Contact.objects.update(
        company=company, job_title="Owner", phone="+420601123456", language="cs", zone="Europe/Prague"
    )
    for one in found:
        for days in (0, 0, 3, 8):
            did(one.contact, "page.viewed", NOW - timedelta(days=days), properties={"title": "Pricing"})
        did(one.contact, "email.complained")
        Message.objects.create(
            key=str(one.pk), contact=one.contact, template=template, message_class="marketing", state="skipped",
            reason="capped", created_at=NOW, due_at=NOW, finished_at=NOW,
        )  # fmt: skip
    tick()
    return found


def await_focus(page, start: str) -> None:
    """Waits until what begins so (its id, else its text) has the focus: from then on a new page hears the keys, too."""
    page.wait_for_function(
        "start => (document.activeElement.id || document.activeElement.textContent.trim()).startsWith(start)", arg=start
    )


def test_the_keys_are_shown_and_can_be_switched_off(page, rep, leads):
    log_in(page, rep)
    page.goto("/sales/")
    page.keyboard.press("?")
    page.locator("#keys").get_by_text("Claim").wait_for()
    page.get_by_label("Single keys are on").uncheck()
    page.reload()
    page.keyboard.press("j")
    page.keyboard.press("e")
    assert page.url.endswith("/sales/")
    assert Lead.objects.unclaimed().count() == 3


def test_a_colleague_who_was_faster_is_named(page, rep, leads):
    log_in(page, rep)
    page.goto(f"/sales/{leads[0].pk}/")
    desk.claim(lead=leads[0], by=person("jan"), now=timezone.now())
    page.keyboard.press("e")
    page.get_by_role("alert").get_by_text("Jan Novák has taken this lead.").wait_for()
    expect(page.locator("#person")).to_have_text("Filip")


@pytest.mark.parametrize("browser_context_args", [{"java_script_enabled": False}])
def test_all_moves_work_without_script(page, rep, leads):
    log_in(page, rep)
    page.goto("/sales/")
    page.get_by_role("button", name="Claim").click()
    expect(page.locator(".toast")).to_contain_text("Eva is yours now.")
    page.locator("summary", has_text="Reject").click()
    page.get_by_label("No budget").check()
    page.get_by_role("button", name="Reject the lead").click()
    expect(page.locator(".toast")).to_contain_text("Eva was rejected: No budget.")
    page.locator(".toast").get_by_role("button", name="Undo").click()
    expect(page.locator(".toast")).to_contain_text("Undone: Eva is as before.")


@pytest.mark.parametrize("browser_context_args", [{"viewport": {"width": 390, "height": 800}, "has_touch": True}])
def test_on_a_phone_the_list_leads_to_a_page_with_its_moves_at_hand(page, rep, leads):
    log_in(page, rep)
    page.goto("/sales/")
    assert not page.locator("#person").is_visible()
    page.locator(".sales-list a", has_text="Filip").click()
    page.locator("#person").wait_for()
    assert not page.locator(".sales-list").first.is_visible()
    for top in (0, 600, 10_000):
        page.evaluate(f"scrollTo(0, {top})")
        box = page.get_by_role("button", name="Claim").bounding_box()
        assert box["y"] > 0
        assert box["y"] + box["height"] <= 800
    page.get_by_role("button", name="Claim").click()
    page.locator(".toast", has_text="Filip is yours now.").wait_for()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_accessible_and_fits_every_window(browser, base_url, complaints, rep, leads, scheme):
    desk.claim(lead=leads[1], by=rep, now=timezone.now())
    desk.claim(lead=leads[2], by=rep, now=timezone.now())
    desk.accept(lead=leads[2], by=rep, now=timezone.now())
    context = browser.new_context(base_url=base_url, color_scheme=scheme, reduced_motion="reduce")
    complaints.watch(context)
    page = context.new_page()
    page.base_origin = base_url
    log_in(page, rep)
    paths = ["/sales/?tab=unclaimed", "/sales/?tab=done", *(f"/sales/{one.pk}/" for one in leads[1:])]
    for path in paths:
        page.goto(path)
        for width in (1440, 1000, 390, 320):
            page.set_viewport_size({"width": width, "height": 900})
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{path} at {width} is too wide"
    assert complaints.found == []
    for path in paths:  # a second walk, because axe itself writes an inline style
        page.goto(path)
        page.evaluate("document.querySelectorAll('.sales details').forEach((one) => { one.open = true; })")
        for width in (1440, 390):
            page.set_viewport_size({"width": width, "height": 900})
            found = Axe().run(page, options={"runOnly": ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa"]}).response
            assert [(rule["id"], node["html"]) for rule in found["violations"] for node in rule["nodes"]] == [], path
    context.close()
