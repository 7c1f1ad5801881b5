"""A broadcast's page in a real browser, under the strict Content-Security-Policy."""

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from campaigns import publishing
from campaigns.models import Sendout
from tests.browser import log_in
from tests.campaigns.world import journey, people, tick

pytestmark = pytest.mark.django_db(transaction=True)

CZECHS = {"field": "country", "op": "eq", "value": "CZ"}


def test_a_broadcast_is_filled_in_scheduled_and_paused(page, tmp_path):
    now = timezone.now()
    people(7, country="CZ")
    one = journey(
        now, key="sale", name="Spring sale", kind="broadcast", trigger=None, publish=False, audience=CZECHS,
        send="sale", at="now",
    )  # fmt: skip
    log_in(page, User.objects.create_superuser("karel"))
    page.goto(f"/admin/campaigns/broadcast/{one.pk}/change/")
    page.get_by_text("As of now the audience is 7 people.").wait_for()
    page.get_by_label("Pace").fill("2/h")
    page.screenshot(path=tmp_path / "form.png", full_page=True)
    page.get_by_role("button", name="Save", exact=True).click()
    page.get_by_role("link", name="Schedule").click()
    page.get_by_text("It is sent at once.").wait_for()
    page.screenshot(path=tmp_path / "schedule.png", full_page=True)
    page.get_by_role("button", name="Publish").click()
    page.get_by_text("Version 1 is published.").wait_for()
    assert Sendout.objects.get().state == "scheduled"
    tick(timezone.now())
    page.reload()
    page.get_by_text("being sent").wait_for()
    page.screenshot(path=tmp_path / "running.png", full_page=True)
    page.get_by_role("button", name="Pause").click()
    page.get_by_text("Paused by karel").wait_for()
    one.refresh_from_db()
    assert one.state == "paused"
    assert publishing.draft_of(one)["throttle"] == "2/h"
    page.get_by_text("Stop…").click()
    page.screenshot(path=tmp_path / "stop.png")
    page.get_by_role("button", name="Stop for good").click()
    page.get_by_text("The journey is archived").wait_for()
    page.goto("/admin/campaigns/broadcast/")
    page.screenshot(path=tmp_path / "list.png", full_page=True)
