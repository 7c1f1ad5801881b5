"""The drawing in a real browser, under the strict Content-Security-Policy."""

import pytest
from django.contrib.auth.models import User

from campaigns import publishing
from tests.browser import log_in
from tests.campaigns.world import did, journey, person, tick

pytestmark = pytest.mark.django_db(transaction=True)

STEPS = [
    {"key": "hello", "send": "hello"},
    {"key": "rest", "wait": "2d"},
    {
        "key": "asked",
        "ask": {"did": "project.created"},
        "then": [{"key": "bravo", "send": "bravo"}],
        "else": [{"key": "call", "handoff": {"reason": "no project"}}],
    },
    {"key": "end", "exit": "done"},
]


def test_a_step_is_selected_changed_and_published(page, now, tmp_path):
    one = journey(now, name="Trial to paid", steps=STEPS)
    did(person(), "trial.started", now)
    tick(now)
    log_in(page, User.objects.create_superuser("karel"))
    page.goto(f"/admin/campaigns/onboardingsequence/{one.pk}/change/")
    page.locator('a.step[href="?step=rest"], a.step[href$="?step=rest"]').click()
    page.get_by_label("How long").fill("5d")
    page.screenshot(path=tmp_path / "drawing.png")
    page.get_by_role("button", name="Save step").click()
    one.refresh_from_db()
    assert publishing.draft_of(one)["steps"][1]["wait"] == "5d"
    page.get_by_role("link", name="Publish").click()
    page.screenshot(path=tmp_path / "publish.png")
    page.get_by_role("button", name="Publish").click()
    page.get_by_text("Version 2 is published.").wait_for()
    one.refresh_from_db()
    assert one.version.number == 2
