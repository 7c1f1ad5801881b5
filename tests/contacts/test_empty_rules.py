"""A rule without a condition means something else of a segment, of a team, and of a rep; each form says what."""

import pytest
from django.contrib.auth.models import User
from django.urls import reverse

from tests.browser import log_in

WORDS = {
    "segment": "No condition yet: only people put in by hand belong here.",
    "team": "No condition yet: all that no other team takes.",
    "rep": "No condition yet: all of the team.",
    "": "No condition yet.",
}
FORMS = {
    "segment": "contacts_segment_add",
    "team": "leads_team_add",
    "rep": "leads_rep_add",
    "": "scoring_stagerule_add",
}


@pytest.mark.django_db
@pytest.mark.parametrize("of", WORDS)
def test_a_form_says_what_its_rule_means_without_a_condition_and_so_does_a_rule_drawn_anew(of, admin_client):
    page = admin_client.get(reverse(f"admin:{FORMS[of]}")).content.decode()
    assert f'data-of="{of}"' in page and WORDS[of] in page
    assert [words for words in WORDS.values() if f"<p>{words}</p>" in page] == [WORDS[of]]
    drawn = admin_client.post(reverse("admin:contacts_segment_draw"), {"rule": "", "name": "id_rule", "of": of})
    assert f"<p>{WORDS[of]}</p>" in drawn.json()["html"]
    # What nobody of us wrote says the least.
    drawn = admin_client.post(reverse("admin:contacts_segment_draw"), {"rule": "", "name": "id_rule", "of": "<b>"})
    assert "<p>No condition yet.</p>" in drawn.json()["html"]


@pytest.mark.django_db(transaction=True)
def test_the_last_condition_taken_away_leaves_the_words_of_the_form(page, live_server, complaints):
    boss = User.objects.create_superuser("boss")
    log_in(page, boss)
    page.goto("/admin/leads/team/add/")
    page.locator(".rule-none [data-op=add]").click()
    page.locator(".rule-row").wait_for()
    page.keyboard.press("Escape")
    page.locator("button[data-undo]").click()
    page.get_by_text(WORDS["team"]).wait_for()
    assert complaints.found == [], "the page alone breaks no Content-Security-Policy"
