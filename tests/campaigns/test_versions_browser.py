"""The impact sheet in a real browser: a choice that must be made, at every width."""

import pytest
from django.contrib.auth.models import User

from campaigns import publishing
from campaigns.models import Enrolment
from tests.browser import log_in
from tests.campaigns.world import did, journey, person, tick

pytestmark = pytest.mark.django_db(transaction=True)

STEPS = [{"key": "rest", "wait": "2d"}, {"key": "think", "wait": "3d"}, {"key": "hello", "send": "hello"}]


def test_a_publish_asks_where_people_of_a_removed_step_go_and_sends_them_there(page, complaints, now):
    one = journey(now, name="Trial to paid", steps=STEPS)
    did(person(), "trial.started", now)
    tick(now)
    publishing.save_draft(journey=one, definition={**publishing.draft_of(one), "steps": STEPS[1:]}, by=None, now=now)
    log_in(page, User.objects.create_superuser("karel"))
    address = f"/admin/campaigns/onboardingsequence/{one.pk}"
    for width in (1440, 390):
        page.set_viewport_size({"width": width, "height": 900})
        for name in ("publish", "versions"):
            page.goto(f"{address}/{name}/")
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), (name, width)
    page.goto(f"{address}/publish/")
    page.get_by_label("Move to version 2 where they stand").check()
    page.get_by_role("button", name="Publish").click()
    page.get_by_text("1 person stands at this step, which is gone").wait_for()
    complaints.forgive("422")
    assert page.get_by_label("Whoever is here").input_value() == "move:think"
    page.get_by_label("Whoever is here").select_option("release")
    page.get_by_role("button", name="Publish").click()
    page.get_by_text("Version 2 is published.").wait_for()
    assert Enrolment.objects.get().version.number == 2
