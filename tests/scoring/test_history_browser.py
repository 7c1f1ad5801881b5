"""The pages of backtest and prediction in a browser: accessible, as wide as the window, and the button's way back."""

from datetime import timedelta

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.contrib.auth.models import User
from django.utils import timezone
from playwright.sync_api import expect

from contacts.models import Touchpoint
from scoring.models import PredictionModel, StageChange
from scoring.points import rebuild
from tests.browser import log_in
from tests.scoring.past import act, people, won
from tests.scoring.test_history_pages import NUMBERS
from tests.scoring.world import model, rule


@pytest.mark.django_db(transaction=True)
def test_both_pages_are_accessible_fit_the_window_and_a_threshold_is_taken_and_given_back(
    page, live_server, complaints
):
    now = timezone.now()
    at = now - timedelta(days=90)
    score = model(qualify_at=5, name="Interest")
    rule(score, "page.viewed", 10)
    everybody = people(60, at - timedelta(days=20))
    Touchpoint.objects.bulk_create([act(one, "page.viewed", at - timedelta(days=1)) for one in everybody[:30]])
    Touchpoint.objects.bulk_create([act(one, "page.viewed", at - timedelta(days=1)) for one in everybody[:20]])
    StageChange.objects.bulk_create([won(one, at + timedelta(days=5)) for one in [*everybody[:20], *everybody[28:32]]])
    rebuild(score, now)
    PredictionModel.objects.create(version=1, state="retired", made_at=now, **NUMBERS)
    PredictionModel.objects.create(version=2, state="live", made_at=now, **NUMBERS)
    log_in(page, User.objects.create_superuser("boss", "boss@example.com", "long enough 1"))
    where = f"{live_server.url}/admin/scoring/scoremodel/{score.pk}/backtest/"
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        for address in (where, f"{live_server.url}/admin/scoring/predictionmodel/"):
            page.goto(address)
            for width in (1440, 390):
                page.set_viewport_size({"width": width, "height": 900})
                assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{address} at {width}"
                found = Axe().run(page, options={"runOnly": ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa"]}).response
                wrong = [(one["id"], node["html"]) for one in found["violations"] for node in one["nodes"]]
                assert wrong == [], f"{address} at {width}, {scheme}"
    complaints.found.clear()  # axe itself writes an inline style
    page.goto(where)
    page.get_by_role("button", name="Use 20 as the threshold").click()
    expect(page.get_by_text("The threshold is 20 now; it was 5.")).to_be_visible()
    page.get_by_role("button", name="Undo").click()
    expect(page.get_by_text("The threshold is 5 now; it was 20.")).to_be_visible()
    score.refresh_from_db()
    assert score.qualify_at == 5
