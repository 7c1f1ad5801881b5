"""“What would this change?” in a real browser, on a phone: asked, answered beside the form, and nothing is saved."""

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.contrib.auth.models import User
from django.utils import timezone
from playwright.sync_api import expect

from scoring.models import ContactScore, GradeMatrix, ScoreModel
from tests.browser import log_in
from tests.scoring.world import did, known, model, rule, tick

pytestmark = pytest.mark.django_db(transaction=True)


def nothing_hinders(page, complaints):
    complaints.forgive("422")
    assert complaints.found == []
    found = Axe().run(page, options={"runOnly": ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa"]}).response
    assert [(rule["id"], node["html"]) for rule in found["violations"] for node in rule["nodes"]] == []
    complaints.found.clear()  # axe itself writes an inline style


def test_a_lower_line_is_weighed_on_a_phone_and_the_reasons_are_a_tap_away(page, complaints):
    now = timezone.now()
    engagement, fit = model("engagement", qualify_at=50, name="Engagement"), model("fit", kind="fit", name="Fit")
    rule(engagement, "page.viewed", 20, days=14, key="page")
    GradeMatrix.objects.create(key="product", fit=fit, engagement=engagement, fit_from=[10], engagement_from=[50, 15])
    jana = known("jana@example.com", first_name="Jana")
    did(jana, "page.viewed", now)
    tick(now)
    log_in(page, User.objects.create_superuser("boss"))
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(f"/admin/scoring/scoremodel/{engagement.pk}/change/")
    page.fill("#id_qualify_at", "15")
    page.get_by_role("button", name="What would this change?").click()
    result = page.locator("#whatif [data-result]")
    expect(result).to_contain_text("1 person rises over the line, 1 of them becomes qualified")
    expect(result).to_contain_text("The same: a recount would change nothing more.")
    assert ScoreModel.objects.get(pk=engagement.pk).qualify_at == 50
    assert not page.evaluate("document.documentElement.scrollWidth > innerWidth")
    nothing_hinders(page, complaints)
    page.fill("#id_qualify_at", "")
    page.fill("#id_rules-0-points", "")
    page.get_by_role("button", name="What would this change?").click()
    expect(result).to_contain_text("Points · This field is required.")
    page.goto(f"/admin/contacts/contact/{jana.pk}/change/")
    expect(page.locator("#scores")).to_contain_text("Why Engagement is 20")
    nothing_hinders(page, complaints)
    page.fill("#score-at-instant", "2020-01-01T10:00")
    page.get_by_role("button", name="Look").click()
    expect(page.locator("#scores")).to_contain_text("Why Engagement is 0")
    page.goto(f"/admin/scoring/gradematrix/{GradeMatrix.objects.get().pk}/change/")
    nothing_hinders(page, complaints)
    assert ContactScore.objects.get(model=engagement).is_over is False
