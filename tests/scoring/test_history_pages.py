"""Backtest and prediction as people meet them: pages, buttons, commands and REST."""

import json
import re
from datetime import timedelta
from io import StringIO

import pytest
import time_machine
from django.contrib.admin.models import LogEntry
from django.contrib.auth import get_user_model
from django.core.management import CommandError, call_command
from django.urls import reverse
from django.utils import timezone

from contacts import tokens
from contacts.models import Contact, Touchpoint
from journey_crm.roles import MARKETER, SALES_REP, ensure_roles
from journey_crm.tasks import predict as predict_task
from leads.models import Lead
from scoring import backtest_form, prediction, training
from scoring.models import ContactPrediction, PredictionModel, ScoreModel, StageChange
from scoring.points import rebuild
from tests.scoring.past import act, people, won
from tests.scoring.world import NOW, model, rule

pytestmark = pytest.mark.django_db
AT = NOW - timedelta(days=90)
NUMBERS = {
    "features": ["did prices.viewed 14"], "means": [0.1], "scales": [0.5], "coefficients": [1.2], "intercept": -1.0,
    "won": 150, "lost": 900, "held_won": 40, "held_lost": 300, "auc": 0.81, "brier": 0.1, "log_loss": 0.3,
    "reliability": [{"foretold": 0.1, "came": 0.12, "people": 170}, {"foretold": 0.4, "came": 0.38, "people": 170}],
}  # fmt: skip


@pytest.fixture(autouse=True)
def clock():
    with time_machine.travel(NOW, tick=False):
        yield


def person(name: str, role: str):
    user = get_user_model().objects.create_user(name, is_staff=role == MARKETER)
    user.groups.add(ensure_roles()[role])
    return user


@pytest.fixture
def marketer(client):
    user = person("mark", MARKETER)
    client.force_login(user)
    return user


@pytest.fixture
def score() -> ScoreModel:
    """Today's line is 10 points; 20 part better."""
    one = model(qualify_at=10, name="Interest")
    rule(one, "page.viewed", 10)
    everybody = people(100, AT - timedelta(days=20))
    seen = [act(one_, "page.viewed", AT - timedelta(days=1)) for one_ in everybody[:60]]
    seen += [act(one_, "page.viewed", AT - timedelta(days=2)) for one_ in everybody[:30]]
    Touchpoint.objects.bulk_create(seen)
    StageChange.objects.bulk_create(
        [won(one_, AT + timedelta(days=5)) for one_ in [*everybody[:22], *everybody[58:60]]]
    )
    rebuild(one, NOW)
    return one


def page_of(score: ScoreModel) -> str:
    return reverse("admin:scoring_scoremodel_backtest", args=[score.pk])


def test_the_page_shows_curve_table_and_sentence_and_the_button_takes_the_threshold_and_gives_it_back(
    client, marketer, score
):
    assert page_of(score) in client.get(reverse("admin:scoring_scoremodel_change", args=[score.pk])).content.decode()
    page = client.get(page_of(score)).content.decode()
    assert "At 20 instead of 10 you would have handed over 30 fewer people." in page
    assert "2 of 24 customers would have been missed by it." in page
    points = re.search(r'points="([\d., ]+)"', page)[1].split()
    assert points[0] == "34.0,248.0" and points[-1] == "314.0,8.0" and len(points) == 4
    assert page.count("proposed</span>") == 2 and "style=" not in page
    # The button's own form.
    value = re.search(r'name="threshold" value="([^"]+)"', page)[1]
    use = reverse("admin:scoring_scoremodel_use", args=[score.pk])
    answer = client.post(use, {"threshold": value}, follow=True)
    score.refresh_from_db()
    assert score.qualify_at == 20
    told = answer.content.decode()
    assert "The threshold is 20 now; it was 10." in told
    assert LogEntry.objects.get().object_id == str(score.pk)
    # The toast's form comes first.
    client.post(use, {"threshold": re.search(r'name="threshold" value="([^"]*)"', told)[1]})
    score.refresh_from_db()
    assert score.qualify_at == 10
    for nonsense in ("many", "nan", "1e999"):
        assert "must be a number" in client.post(use, {"threshold": nonsense}, follow=True).content.decode()
    score.refresh_from_db()
    assert score.qualify_at == 10


def test_the_page_asks_by_what_sales_can_take_refuses_nonsense_and_says_when_it_takes_too_long(
    client, marketer, score, monkeypatch
):
    few = client.get(page_of(score), {"by": "dates", "days": "90", "per_week": "1"}).content.decode()
    # One a week, from history's 52 weeks that were asked about.
    assert "instead of 10 you would" in few or "the same people" in few
    assert "Select a valid choice" in client.get(page_of(score), {"by": "x"}).content.decode()
    assert "greater than or equal to 7" in client.get(page_of(score), {"days": "1"}).content.decode()
    monkeypatch.setattr("scoring.backtest_page.LIMIT", timedelta(milliseconds=1))
    assert "manage.py backtest engagement" in client.get(page_of(score)).content.decode()


def test_too_little_history_is_said_and_nothing_can_be_taken(client, marketer):
    one = model(qualify_at=10)
    page = client.get(page_of(one)).content.decode()
    assert "There is too little history: 0 won and 0 lost." in page and 'name="threshold"' not in page
    client.force_login(person("ann", SALES_REP))
    assert client.get(page_of(one)).status_code == 302


def test_the_command_says_the_same_and_refuses_an_unknown_score(score):
    out = StringIO()
    call_command("backtest", "engagement", json=True, stdout=out)
    told = json.loads(out.getvalue())
    assert told["proposed"]["threshold"] == 20 and told["says"][1].startswith("At 20 instead of 10")
    out = StringIO()
    call_command("backtest", "engagement", stdout=out)
    assert "AUC 0." in out.getvalue() and "from 20: 30 people" in out.getvalue()
    with pytest.raises(CommandError, match="no score with the key “x”"):
        call_command("backtest", "x")


def test_rest_tells_a_backtest_and_names_the_parameter_that_is_wrong(client, admin_user, score):
    _token, secret = tokens.issue(user=admin_user, scopes=["read"], now=NOW)

    def get(query):
        return client.get(f"/api/v1/scores/backtest/?{query}", headers={"Authorization": f"Bearer {secret}"})

    told = get("score=engagement&days=90").json()
    assert told["proposed"]["threshold"] == 20 and told["is_enough"] and len(told["curve"]) == 3
    assert [one["field"] for one in get("score=nope").json()["errors"]] == ["score"]
    assert [one["field"] for one in get("score=engagement&days=0").json()["errors"]] == ["days"]
    assert get("score=engagement&colour=red").status_code == 400


# Prediction ----------------------------------------------------------------------------------------------------------


def version(number: int = 1, **more) -> PredictionModel:
    return PredictionModel.objects.create(**{"version": number, "state": "live", "made_at": NOW, **NUMBERS, **more})


def test_the_page_says_why_there_is_none_and_a_worker_does_what_was_asked_for(client, marketer):
    where = reverse("admin:scoring_predictionmodel_changelist")
    assert "Nothing is foretold yet." in client.get(where).content.decode()
    answer = client.post(reverse("admin:scoring_predictionmodel_train"), {"days": "60"}, follow=True)
    assert "A training was asked for." in answer.content.decode()
    assert PredictionModel.objects.get().state == "asked"
    predict_task()
    refused = PredictionModel.objects.get()
    assert (refused.state, refused.window, refused.made_by) == ("refused", timedelta(days=60), marketer)
    assert "too little history to foretell anything: 0 won and 0 lost" in client.get(where).content.decode()
    assert "days" in client.post(
        reverse("admin:scoring_predictionmodel_train"), {"days": "1"}, follow=True
    ).content.decode()  # fmt: skip


def test_the_page_shows_how_well_it_foretells_and_an_older_version_is_put_back(client, marketer, monkeypatch):
    old, new = version(1, state="retired"), version(2)
    where = reverse("admin:scoring_predictionmodel_changelist")
    page = client.get(where).content.decode()
    assert "Version 2 puts a customer before somebody else 81 times out of 100." in page
    assert "40 won and 300 lost, which it had not seen" in page and "prices.viewed</th>" in page
    assert "style=" not in page
    client.post(reverse("admin:scoring_predictionmodel_choose", args=[old.pk]))
    page = client.get(where).content.decode()
    assert "Version 1 puts" in page and "mark chose this version" in page
    assert "Version 2 puts" in client.get(
        reverse("admin:scoring_predictionmodel_change", args=[new.pk])
    ).content.decode()  # fmt: skip
    monkeypatch.setattr(training, "is_installed", lambda: False)
    page = client.get(where).content.decode()
    assert "make up EXTRAS=prediction" in page and "Train now" not in page


def test_the_commands_exit_with_a_sentence_where_there_is_nothing_to_tell_and_say_why_of_one_contact():
    with pytest.raises(CommandError, match="No prediction is trained yet"):
        call_command("predict")
    with pytest.raises(CommandError, match="too little history"):
        call_command("train")
    with pytest.raises(CommandError, match="too little history"):
        call_command("predict")
    version()
    keen = people(1)[0]
    Touchpoint.objects.bulk_create([act(keen, "prices.viewed", NOW - timedelta(hours=1))])
    out = StringIO()
    call_command("predict", stdout=out)
    assert out.getvalue() == "1 people.\n"
    out = StringIO()
    call_command("predict", str(keen.pk), json=True, stdout=out)
    told = json.loads(out.getvalue())
    assert [one["says"] for one in told["contributions"]] == ["prices.viewed: once in 14 days"]
    customer = Contact.objects.create(email="c@example.com", stage="customer", created_at=NOW - timedelta(days=1))
    with pytest.raises(CommandError, match="Nobody asks about this contact"):
        call_command("predict", str(customer.pk))


def test_rest_tells_predictions_to_whom_the_contact_is_shown(client, admin_user):
    version()
    mine, other = people(2)
    prediction.predict(NOW)
    rep = person("ann", SALES_REP)
    Lead.objects.create(contact=mine, state="claimed", owner=rep, claimed_at=NOW, created_at=NOW)

    def get(user, query):
        _token, secret = tokens.issue(user=user, scopes=["read"], now=timezone.now())
        return client.get(f"/api/v1/predictions/{query}", headers={"Authorization": f"Bearer {secret}"})

    assert {one["contact"] for one in get(admin_user, "").json()["results"]} == {mine.pk, other.pk}
    assert [one["contact"] for one in get(rep, "").json()["results"]] == [mine.pk]
    own = ContactPrediction.objects.get(contact=mine)
    why = get(rep, f"{own.pk}/why/").json()
    assert why["value"] == pytest.approx(own.value) and why["version"] == 1
    assert get(rep, f"{ContactPrediction.objects.get(contact=other).pk}/why/").status_code == 404
    told = get(admin_user, "model/").json()
    assert (told["version"], told["auc"], told["refused"]) == (1, 0.81, "")
    assert get(rep, "model/").status_code == 403
    PredictionModel.objects.create(
        state="refused", made_at=NOW, refusal={"why": "floor", "won": 3, "lost": 4, "floor": 100}
    )
    assert "3 won and 4 lost" in get(admin_user, "model/").json()["refused"]


def test_the_limit_of_a_page_is_that_of_rest():
    assert timedelta(seconds=10) <= backtest_form.LIMIT <= timedelta(minutes=1)
