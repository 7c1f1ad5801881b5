"""The editor of mails in a real browser: by keys alone, live, without script, for everybody's eyes."""

import json
import os
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.contrib.auth.models import User
from playwright.sync_api import expect

from messaging.models import ReusableBlock, Template, TrialMail
from tests.browser import log_in

pytestmark = pytest.mark.django_db(transaction=True)

BODY = [
    {"kind": "heading", "text": "Hello {{ contact.first_name | default: 'you' }}"},
    {"kind": "text", "text": "Some *words*", "show_if": 'contact.country == "CZ"'},
    {"kind": "columns", "columns": [[{"kind": "text", "text": "Left"}], [{"kind": "divider"}]]},
    {"kind": "picture", "url": "https://acme.example/x.png"},
    {"kind": "social", "links": [{"name": "Mastodon", "url": "https://m.example/@a"}]},
]


@pytest.fixture
def boss():
    return User.objects.create_superuser("boss", email="boss@acme.example")


@pytest.fixture
def template(make_template):
    return make_template(
        name="Welcome", body_format="blocks", body=json.dumps(BODY), translations={"cs": {"subject": "Ahoj"}}
    )


def goto(page, user, template=None):
    page.set_default_timeout(15_000)
    log_in(page, user)
    page.goto(f"/admin/messaging/template/{f'{template.pk}/change' if template else 'add'}/")
    page.locator("mail-editor[data-drawn]").wait_for()


def blocks(page) -> list:
    return json.loads(page.input_value("#id_body"))


def kinds(page) -> list:
    return [one["kind"] for one in blocks(page)]


def focused(page) -> str:
    return page.evaluate("document.activeElement.id")


def mail(page):
    """The frame that shows the mail as of the last drawing."""
    return page.frame_locator(".mail-frame iframe:not(.is-coming)")


def add(page, word):
    """Through the palette, by keys."""
    page.locator(".mail-palette input").wait_for()
    page.keyboard.type(word)
    page.keyboard.press("Enter")
    page.locator(".mail-palette").wait_for(state="detached")


def test_a_mail_is_built_by_keys_alone(page, boss, brand, newsletter):
    goto(page, boss)
    page.fill("#id_name", "Hello")
    page.select_option("#id_topic", label="Newsletter")
    page.locator("#mail-subject").focus()
    page.keyboard.type("Hello ")
    # A value cannot be inserted without saying what stands there where it is missing.
    page.locator("[data-field=subject] .mail-chip-button").focus()
    page.keyboard.press("Enter")
    page.locator(".mail-chips").wait_for()
    page.select_option("#chip-field", "contact.first_name")
    page.locator(".mail-chips .is-main").focus()
    page.keyboard.press("Enter")
    expect(page.locator(".mail-chips")).to_be_visible()
    expect(page.locator("#mail-subject")).to_have_value("Hello ")
    page.locator("#chip-fallback").focus()
    page.keyboard.type("you")
    page.keyboard.press("Enter")
    page.locator(".mail-chips").wait_for(state="detached")
    assert page.input_value("#id_subject") == 'Hello {{ contact.first_name | default: "you" }}'
    page.locator(".mail-add").focus()
    page.keyboard.press("Enter")
    add(page, "heading")
    expect(page.locator("#b-0-text")).to_be_focused()
    page.keyboard.type("Welcome")
    page.keyboard.press("Escape")
    expect(page.locator("#b-0")).to_be_focused()
    page.keyboard.press("a")
    add(page, "button")
    expect(page.locator("#b-1-text")).to_be_focused()
    page.keyboard.type("Look")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    expect(page.locator("#b-1-link")).to_be_focused()
    page.keyboard.type("https://acme.example/look")
    page.keyboard.press("Escape")
    page.keyboard.press("a")
    add(page, "line")
    page.keyboard.press("Escape")
    page.locator("#b-2").focus()
    page.keyboard.press("Alt+ArrowUp")
    assert kinds(page) == ["heading", "divider", "button"] and focused(page) == "b-1"
    page.keyboard.press("d")
    assert kinds(page) == ["heading", "divider", "divider", "button"] and focused(page) == "b-2"
    page.keyboard.press("Delete")
    assert kinds(page) == ["heading", "divider", "button"] and focused(page) == "b-2"
    page.keyboard.press("Control+z")
    assert kinds(page) == ["heading", "divider", "divider", "button"]
    page.keyboard.press("Control+Shift+z")
    assert kinds(page) == ["heading", "divider", "button"]
    mail(page).get_by_role("link", name="Look").wait_for()
    page.locator("[name=_save]").focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/template/")
    saved = Template.objects.get(name="Hello")
    assert saved.body_format == "blocks" and json.loads(saved.body)[2] == {
        "kind": "button", "text": "Look", "link": "https://acme.example/look",
    }  # fmt: skip


def test_it_is_drawn_live_as_somebody_and_leads_to_what_is_wrong(page, boss, template, make_contact, complaints):
    make_contact(first_name="Žofie", last_name="Nová", country="CZ")
    goto(page, boss, template)
    mail(page).get_by_text("Hello you").wait_for()
    # The preview can neither run scripts nor reach the page around it.
    frame = page.locator(".mail-frame iframe:not(.is-coming)").first
    expect(frame).to_have_attribute("sandbox", "")
    assert frame.evaluate("frame => { try { return frame.contentDocument } catch (error) { return 'shut' } }") is None
    page.fill("#mail-as", "nov")
    page.locator(".mail-found button").click()
    mail(page).get_by_text("Hello Žofie").wait_for()
    mail(page).get_by_text("Some words").wait_for()
    page.reload()
    page.locator(".mail-panel .chip", has_text="Žofie Nová").wait_for()
    mail(page).get_by_text("Hello Žofie").wait_for()
    # As one types.
    page.locator("#b-0").click()
    page.locator("#b-0-text").fill("Good evening")
    mail(page).get_by_text("Good evening").wait_for()
    template.refresh_from_db()
    assert "Good evening" not in template.body
    # A problem leads to its block and the part of it.
    page.locator(".mail-problems button", has_text="blocks[3].alt").click()
    expect(page.locator("#b-3-alt")).to_be_focused()
    expect(page.locator("[data-at='3'] > .mail-problem")).to_be_visible()
    page.keyboard.type("A bike")
    page.locator(".mail-problems", has_text="blocks[3].alt").wait_for(state="detached")
    page.get_by_role("button", name="360 px").click()
    page.wait_for_function(
        "() => document.querySelector('.mail-frame.is-360 iframe')?.getBoundingClientRect().width === 360"
    )
    page.get_by_role("button", name="Text part").click()
    expect(page.locator(".mail-plain")).to_contain_text("Good evening")
    page.locator("#mail-dark").check()
    page.get_by_role("button", name="600 px").click()
    expect(page.locator(".mail-frame iframe")).to_have_count(1)
    expect(page.locator("#mail-size")).to_contain_text("kB of 102 kB")
    # A test of what is not saved.
    page.locator("#mail-to").fill("a@acme.example")
    page.get_by_role("button", name="Send a test").click()
    page.locator(".mail-told", has_text="On its way to a@acme.example.").wait_for()
    page.locator(".mail-tries [data-state=queued]").first.wait_for()
    assert TrialMail.objects.get().address == "a@acme.example"
    complaints.forgive("acme.example/x.png")  # a picture from outside, which the test does not load


def test_what_was_deleted_comes_back_and_a_block_is_dragged(page, boss, template):
    goto(page, boss, template)
    page.get_by_role("button", name="Delete: Columns").click()
    assert kinds(page) == ["heading", "text", "picture", "social"]
    page.locator(".toast").get_by_role("button", name="Undo").click()
    assert kinds(page) == ["heading", "text", "columns", "picture", "social"]
    page.locator("[data-at='0'] > .mail-line .mail-grip").drag_to(
        page.locator("[data-at='3'] > .mail-line"), target_position={"x": 100, "y": 40}
    )
    assert kinds(page) == ["text", "columns", "picture", "heading", "social"]
    # In a column, too; and the text of a block is never markup.
    page.locator("#b-1").click()
    page.locator("[data-in='1.1']").click()
    expect(page.locator(".mail-palette [data-kind=columns]")).to_have_count(0)
    add(page, "text")
    page.keyboard.type("<img src=x onerror=alert(1)>")
    assert blocks(page)[1]["columns"][1][1]["text"] == "<img src=x onerror=alert(1)>"
    expect(page.locator("mail-editor img")).to_have_count(0)
    # Written another way, and back.
    page.get_by_role("button", name="Markdown").click()
    assert page.input_value("#mail-body").startswith('{% if contact.country == "CZ" %}')
    page.locator(".toast").get_by_role("button", name="Undo").click()
    assert kinds(page)[0] == "text" and page.input_value("#id_body_format") == "blocks"


def test_languages_fall_back_visibly_and_are_copied(page, boss, template):
    goto(page, boss, template)
    page.locator("#mail-tab-cs").click()
    assert page.input_value("#mail-subject") == "Ahoj"
    page.locator(".mail-fallback", has_text="The text is as in English.").wait_for()
    page.fill("#mail-subject", "")
    page.locator("#mail-subject-about", has_text="As in English: Hello").wait_for()
    page.get_by_role("button", name="Copy from English").click()
    page.locator("#b-0").click()
    page.locator("#b-0-text").fill("Dobrý den")
    mail(page).get_by_text("Dobrý den").wait_for()
    page.select_option("#mail-more", "pl")
    page.get_by_role("button", name="Copy from Česky").click()
    told = json.loads(page.input_value("#id_translations"))
    assert set(told) == {"cs", "pl"} and json.loads(told["pl"]["body"])[0]["text"] == "Dobrý den"
    page.get_by_role("button", name="As in English again").click()
    assert "body" not in json.loads(page.input_value("#id_translations"))["pl"]
    page.locator("#mail-tab-en").click()
    expect(page.locator("#b-0")).to_contain_text("Heading")
    page.locator("[name=_save]").click()
    page.wait_for_url("**/change/")  # the picture still has no words
    page.locator(".errornote").wait_for()
    page.locator(".mail-problems button", has_text="blocks[3].alt").first.wait_for()


def test_without_script_the_mail_is_a_text(browser, live_server, boss, template):
    page = browser.new_context(java_script_enabled=False, base_url=live_server.url).new_page()
    page.base_origin = live_server.url
    log_in(page, boss)
    page.goto(f"/admin/messaging/template/{template.pk}/change/")
    assert not page.locator("mail-editor").is_visible()
    page.fill("#id_body", json.dumps(BODY[:1]))
    page.click("[name=_save]")
    page.context.close()
    template.refresh_from_db()
    assert json.loads(template.body) == BODY[:1]


def test_a_reusable_block_is_written_in_the_same_editor_and_offered(page, boss, template):
    page.set_default_timeout(15_000)
    log_in(page, boss)
    page.goto("/admin/messaging/reusableblock/add/")
    page.locator(".mail-add").wait_for()
    page.locator("#id_name").press_sequentially("Signature")  # the key is made of it
    page.locator(".mail-add").click()
    expect(page.locator(".mail-palette [data-kind=reusable]")).to_have_count(0)
    add(page, "text")
    page.keyboard.type("Yours, Eva")
    page.locator("[name=_save]").click()
    page.wait_for_url("**/reusableblock/")
    made = ReusableBlock.objects.get(key="signature")
    assert made.body == '[\n {\n  "kind": "text",\n  "text": "Yours, Eva"\n }\n]', "as an export writes it"
    goto(page, boss, template)
    page.locator(".mail-add").last.click()
    add(page, "reusable")
    page.select_option("#b-5-key", "signature")
    mail(page).get_by_text("Yours, Eva").wait_for()


def is_accessible(page, complaints):
    """By axe; and nothing was wrong until it wrote its own inline style."""
    assert complaints.found == []
    found = Axe().run(page, options={"runOnly": ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa"]}).response
    complaints.found.clear()
    return [(one["id"], node["html"]) for one in found["violations"] for node in one["nodes"]] == []


@pytest.mark.parametrize(("scheme", "width", "opened"), [("light", 1440, "2"), ("dark", 390, "4")])
def test_it_is_accessible_and_fits_every_window(
    browser, live_server, complaints, boss, template, scheme, width, opened
):
    context = browser.new_context(
        color_scheme=scheme, reduced_motion="reduce", base_url=live_server.url,
        viewport={"width": width, "height": 900},
    )  # fmt: skip
    complaints.watch(context)
    page = context.new_page()
    page.base_origin = live_server.url
    goto(page, boss, template)
    page.locator(f"#b-{opened}").click()
    page.locator(f"[data-at='{opened}'].is-open").wait_for()
    assert is_accessible(page, complaints)
    if shots := os.environ.get("EDITOR_SHOTS"):
        page.screenshot(path=Path(shots) / f"editor-{width}-{scheme}.png", full_page=True)
    for narrow in (width, 700, 320):
        page.set_viewport_size({"width": narrow, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), narrow
    page.locator("[data-field=subject] .mail-chip-button").click()
    page.locator(".mail-chips").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    if scheme == "dark":
        assert is_accessible(page, complaints)
    context.close()
