"""The builder of rules in a real browser: by keys alone, by dragging, without script, for everybody's eyes."""

import json

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.contrib.auth.models import User

from contacts.models import Contact, Segment
from contacts.rule_widget import read_rule
from tests.browser import log_in

pytestmark = pytest.mark.django_db(transaction=True)

CZECH = {"field": "country", "op": "in", "value": ["CZ"]}
LEAD = {"field": "stage", "op": "in", "value": ["lead"]}
NAMED = {"field": "first_name", "op": "contains", "value": "a"}


@pytest.fixture
def boss():
    return User.objects.create_superuser("boss")


@pytest.fixture
def segment():
    for country, stage in [("CZ", "lead"), ("CZ", "customer"), ("PL", "lead")]:
        Contact.objects.create(first_name="Jana", last_name=country, country=country, stage=stage)
    return Segment.objects.create(key="s", name="S", rule={"all": [CZECH, LEAD, {"any": [NAMED]}]})


def goto(page, user, segment=None):
    log_in(page, user)
    page.goto(f"/admin/contacts/segment/{f'{segment.pk}/change' if segment else 'add'}/")
    page.locator(".rule-root").wait_for()


def settled(page) -> dict | None:
    """The rule once all operations are answered."""
    page.evaluate("document.querySelector('rule-builder').settle()")
    return read_rule(page.input_value("#id_rule"))


def focused(page) -> str:
    return page.evaluate("document.activeElement.id.replace('id_rule-', '')")


def press(page, *keys) -> dict | None:
    for key in keys:
        page.keyboard.press(key)
        rule = settled(page)
    return rule


def test_a_segment_is_built_by_keys_alone(page, boss, segment):
    goto(page, boss)
    page.fill("#id_name", "Czech leads")
    page.locator(".rule-none .button").focus()
    assert press(page, "Enter") == {"all": [{}]} and focused(page) == "r-0-what"
    assert page.locator(".rule-row.is-warn").count() == 1
    page.keyboard.type("Country")
    settled(page)
    page.locator("[name='value.add']").focus()
    page.keyboard.type("Czechia")
    assert press(page, "Enter") == CZECH
    assert page.locator(".rule-say").first.inner_text() == "Country is any of Czechia"
    press(page, "Escape")
    assert focused(page) == "r-0-say"
    assert press(page, "d") == {"all": [CZECH, CZECH]} and focused(page) == "r-1-say"
    assert press(page, "Alt+ArrowRight") == {"all": [CZECH, {"any": [CZECH]}]} and focused(page) == "r-1-0-say"
    assert press(page, "n") == {"all": [CZECH, {"any": [{"not": CZECH}]}]}
    assert press(page, "Alt+ArrowLeft") == {"all": [CZECH, {"not": CZECH}]} and focused(page) == "r-1-say"
    assert press(page, "Alt+ArrowUp") == {"all": [{"not": CZECH}, CZECH]} and focused(page) == "r-0-say"
    assert page.locator("[data-live]").inner_text() == "Moved up."
    assert press(page, "Delete") == CZECH and focused(page) == "r-0-say"
    assert press(page, "Control+z") == {"all": [{"not": CZECH}, CZECH]} and focused(page) == "r-0-say"
    assert press(page, "Control+Shift+z") == CZECH
    page.locator(".rule-count", has_text="2 people").wait_for()
    page.fill("#id_name", "Czechs")
    page.keyboard.press("Enter")
    page.wait_for_url("**/segment/")
    assert Segment.objects.get(name="Czechs").rule == CZECH


def test_a_condition_is_dragged_and_the_deleted_comes_back(page, boss, segment):
    goto(page, boss, segment)
    grips = page.locator(".rule-row .rule-grip")
    grips.nth(0).drag_to(page.locator(".rule-group .rule-row .rule-line"), target_position={"x": 100, "y": 35})
    assert settled(page) == {"all": [LEAD, {"any": [NAMED, CZECH]}]}
    page.locator(".rule-group > .rule-frame > .rule-head .rule-menu summary").click()
    page.locator(".rule-menu[open] [data-op=delete]").click()
    page.locator(".toast", has_text="The group was deleted.").get_by_role("button", name="Undo").click()
    assert settled(page) == {"all": [LEAD, {"any": [NAMED, CZECH]}]}
    page.locator(".rule-join").first.click()
    assert settled(page) == {"any": [LEAD, {"any": [NAMED, CZECH]}]}


def test_what_is_typed_stays_while_the_server_draws(page, boss, segment):
    goto(page, boss, segment)
    page.locator(".rule-say", has_text="First name").click()
    field = page.locator(".rule-editor [name=value]")
    field.fill("")
    field.press_sequentially("Ja", delay=20)
    page.wait_for_timeout(500)  # longer than the pause after which it is sent
    field.press_sequentially("na", delay=20)
    page.locator(".rule-say strong", has_text="Jana").wait_for()
    assert focused(page) == "r-2-0-value" and field.input_value() == "Jana"
    assert settled(page)["all"][2] == {"any": [NAMED | {"value": "Jana"}]}
    page.locator("[data-undo].bar-button").click()
    assert settled(page)["all"][2] == {"any": [NAMED]}, "what was typed at one go is undone at one go"


def test_a_person_is_tried_and_the_text_goes_both_ways(page, boss, segment, complaints):
    goto(page, boss, segment)
    page.fill("[data-search]", "jana pl")
    page.locator("[data-found] button").click()
    page.locator("[data-person]", has_text="Jana PL does not belong here.").wait_for()
    assert page.locator(".rule-mark.is-good").count() == 2 and page.locator(".rule-mark.is-bad").count() == 1
    page.get_by_role("button", name="Text").click()
    page.fill("#id_rule", "{any: [")
    page.get_by_role("button", name="Builder").click()
    page.locator("[data-problem]", has_text="line 1").wait_for()
    complaints.forgive("422")
    page.fill("#id_rule", json.dumps({"any": [{"all": [{"any": [{"all": [CZECH]}]}]}, LEAD]}))
    page.get_by_role("button", name="Builder").click()
    page.locator(".rule-say", has_text="A group with 1 condition, changed as text").wait_for()
    page.locator("[data-person]", has_text="Jana PL belongs here.").wait_for()


def test_without_script_the_rule_is_a_text(browser, live_server, boss, segment):
    page = browser.new_context(java_script_enabled=False, base_url=live_server.url).new_page()
    page.base_origin = live_server.url
    log_in(page, boss)
    page.goto(f"/admin/contacts/segment/{segment.pk}/change/")
    assert not page.locator(".rule-tree").is_visible() and not page.locator(".rule-panel").is_visible()
    page.fill("#id_rule", "{field: country, op: in, value: [CZ]}")
    page.click("[name=_save]")
    page.context.close()
    segment.refresh_from_db()
    assert segment.rule == CZECH


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_accessible_and_fits_every_window(browser, live_server, complaints, boss, segment, scheme):
    viewed = {"did": "page.viewed", "where": [{"field": "url", "op": "eq", "value": ""}]}
    deep = {"any": [{"all": [{"any": [{"all": [LEAD]}]}]}]}
    rule = {"all": [CZECH, {"any": [NAMED, viewed]}, {}, {"field": "gone", "op": "is_set"}, deep]}
    Segment.objects.filter(pk=segment.pk).update(rule=rule)
    context = browser.new_context(color_scheme=scheme, reduced_motion="reduce", base_url=live_server.url)
    complaints.watch(context)
    page = context.new_page()
    page.base_origin = live_server.url
    goto(page, boss, segment)
    for opened, width in ((0, 1440), (2, 390), (2, 320)):
        page.set_viewport_size({"width": width, "height": 900})
        page.locator(".rule-say").nth(opened).click()
        page.locator(".rule-row.is-open").wait_for()
        settled(page)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), width
        assert complaints.found == []
        found = Axe().run(page, options={"runOnly": ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa"]}).response
        assert [(one["id"], node["html"]) for one in found["violations"] for node in one["nodes"]] == []
        complaints.found.clear()  # axe itself writes an inline style
        page.keyboard.press("Escape")
        settled(page)
    context.close()
