"""Prediction: it finds the truth that history was made by, says how sure it may be, and is refused below its floors."""

import math
import random
from datetime import timedelta

import numpy
import pytest
from django.db import transaction
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from contacts.erasure import erase
from contacts.merging import merge
from contacts.models import Contact, Heartbeat, Touchpoint
from contacts.rules import matching, parse
from scoring import training
from scoring.history import SQL, looked_at, moments_before, parts
from scoring.models import ContactPrediction, PredictionModel, ScoreModel, StageChange
from scoring.points import rebuild
from scoring.prediction import as_data, predict, predict_if_due, prediction_of
from scoring.training import Refused, choose, foretold, sentence, train, train_if_due
from tests.scoring.past import act, made_history, people, won
from tests.scoring.world import NOW, model, rule

pytestmark = pytest.mark.django_db
WINDOW = timedelta(days=90)
INTERCEPT, VISITS, PRICES, JOBS = -2.0, 0.4, 1.4, -1.2


def truth(number: int, lots: random.Random) -> tuple[list[tuple[str, float]], float]:
    """Log odds that are straight in ln(1 + n): prices speak for a purchase, job offers against it, docs for nothing."""
    done, figure = [], INTERCEPT
    for kind, weight in (("page.viewed", VISITS), ("prices.viewed", PRICES), ("jobs.viewed", JOBS), ("docs.read", 0)):
        times = min(6, int(lots.expovariate(0.7)))
        done += [(kind, lots.uniform(0.1, 9)) for _time in range(times)]
        figure += weight * math.log1p(times)
    return done, 1 / (1 + math.exp(-figure))


@pytest.fixture(scope="module")
def history(django_db_setup, django_db_blocker):
    """One past for all tests that only read it, in the transaction of the module."""
    with django_db_blocker.unblock(), transaction.atomic():
        made_history(450, truth, windows=3)
        interest = model("interest")
        rule(interest, "prices.viewed", 10, days=14, key="prices")
        rebuild(interest, NOW)
        yield
        transaction.set_rollback(True)


@pytest.fixture
def quick(monkeypatch):
    """A training without the work: the numbers of the first one again."""
    made = train(NOW)
    kept = {name: getattr(made, name) for name in ("features", "means", "scales", "coefficients", "intercept")}
    monkeypatch.setattr(
        training, "_fit", lambda now, window: PredictionModel(window=window, made_at=now, auc=0.7, **kept)
    )
    return made


def rows_of():
    """History as the training reads it: (table, won, moments)."""
    asked = looked_at(moments_before(NOW, WINDOW, training.PERIOD), WINDOW)
    known_parts = parts("feature_values", "observations", "observed_scores")
    return training._read(
        SQL["training_rows"].stream(fragments=known_parts, **asked, **training.OWN, model=None, share=10_000)
    )


def test_it_finds_the_signs_of_the_truth_and_knows_how_sure_it_is(history):
    made = train(NOW)
    weights = dict(zip(made.features, made.coefficients, strict=True))

    def of(kind):
        return weights[f"did {kind} 14"] + weights[f"did {kind} 90"]

    # A rule of a score counts the prices, too.
    prices = of("prices.viewed") + weights["rule interest/prices 14"] + weights["rule interest/prices 90"]
    assert prices > 0 > of("jobs.viewed")
    assert abs(of("docs.read")) < 0.5 * min(prices, -of("jobs.viewed"))
    assert made.state == "live" and made.version == 1 and (made.won, made.lost) > (100, 100)
    # Calibrated on people whom it had not seen: what it said came true, in every fifth of them and together.
    assert made.auc > 0.7 and made.brier < 0.2 and made.log_loss < 0.6
    assert sum(group["people"] for group in made.reliability) == made.held_won + made.held_lost
    groups = made.reliability
    assert all(abs(group["foretold"] - group["came"]) < 0.17 for group in groups)
    together = sum(group["people"] * (group["foretold"] - group["came"]) for group in groups)
    assert abs(together / sum(group["people"] for group in groups)) < 0.05
    rows = rows_of()
    assert foretold(made, rows.table).mean() == pytest.approx(rows.won.mean(), abs=0.02)


def judge(rows):
    """scikit-learn's own answer on the same table: the whole of what the training keeps as numbers."""
    model_ = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2_000))
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    figures = cross_val_predict(model_, rows.table, rows.won, cv=folds, method="decision_function")
    line = LogisticRegression(C=numpy.inf, max_iter=2_000).fit(figures.reshape(-1, 1), rows.won)
    model_.fit(rows.table, rows.won)
    return lambda table: line.predict_proba(model_.decision_function(table).reshape(-1, 1))[:, 1]


def test_the_database_says_what_scikit_learn_says_of_everybody(history):
    train(NOW)
    # As of the latest moment of history, when people did something.
    at = NOW - WINDOW
    assert predict(at) == ContactPrediction.objects.count() > 400
    told = list(ContactPrediction.objects.order_by("contact").values_list("contact", "value"))
    rows = rows_of()
    now = [moment == at for moment in rows.moments]
    wanted = judge(rows)(rows.table[now])
    assert [value for _contact, value in told] == pytest.approx(list(wanted), abs=1e-9)
    for pk, value in told[:3]:
        assert prediction_of(Contact.objects.get(pk=pk), at).value == pytest.approx(value, abs=1e-12)


def test_what_speaks_for_a_person_is_said_in_words_and_points(history):
    made = train(NOW)
    keen, cold = people(2, NOW - timedelta(days=20))
    Touchpoint.objects.bulk_create(
        [act(keen, "prices.viewed", NOW - timedelta(hours=1 + number)) for number in range(4)]
        + [act(cold, "jobs.viewed", NOW - timedelta(hours=1 + number)) for number in range(5)]
    )
    rebuild(ScoreModel.objects.get(), NOW)
    found, other = prediction_of(keen, NOW), prediction_of(cold, NOW)
    assert found.value > 0.4 > 0.1 > other.value
    said = [str(one) for one in found.contributions]
    assert any(one.startswith("+") and "pp: prices: 4 times in" in one for one in said), said
    assert any(one.startswith("+") and "prices.viewed: 4 times in" in one for one in said), said
    assert any(one.startswith("−") and "jobs.viewed: 5 times in" in one for one in map(str, other.contributions))
    sizes = [abs(one.points) for one in found.contributions]
    assert sizes == sorted(sizes, reverse=True) and len(sizes) <= 5
    assert found.says == f"{found.percent} % chance to become a customer within 90 days"
    assert as_data(found)["version"] == made.version
    customer = people(1, NOW - timedelta(days=9))[0]
    won(customer, NOW - timedelta(days=2)).save()
    assert prediction_of(customer, NOW) is None and as_data(None) is None


def test_a_rule_asks_how_likely_somebody_is(history):
    train(NOW)
    at = NOW - WINDOW
    predict(at)
    asked = parse({"field": "prediction", "op": "gte", "value": 0.3})
    wanted = set(ContactPrediction.objects.filter(value__gte=0.3).values_list("contact", flat=True))
    assert {one.pk for one in matching(asked, NOW)} == wanted and wanted
    assert Contact.objects.living().count() > len(wanted)


def test_below_the_floor_it_is_refused_with_a_sentence_and_nothing_is_in_use(history):
    StageChange.objects.filter(to_stage="customer", pk__gt=0).exclude(
        pk__in=StageChange.objects.filter(to_stage="customer").order_by("pk")[:99]
    ).delete()
    with pytest.raises(Refused, match="99 won and .* lost, and it takes 100 of each"):
        train(NOW)
    with pytest.raises(Refused):
        train(NOW + timedelta(days=1))
    told = PredictionModel.objects.get()
    assert (told.state, told.version) == ("refused", None) and "99 won" in sentence(told.refusal)
    assert predict(NOW) == 0


def test_a_latest_part_without_outcomes_cannot_judge(history):
    last = NOW - WINDOW
    StageChange.objects.filter(to_stage="customer", changed_at__gt=last - WINDOW).delete()
    with pytest.raises(Refused, match="too little history to judge|too little history to foretell"):
        Contact.objects.filter(email__startswith="w3-").update(created_at=NOW)
        train(NOW)


def test_without_the_extra_a_sentence_says_how_to_install_it_and_what_is_in_use_goes_on(history, monkeypatch):
    train(NOW)
    monkeypatch.setattr(training, "is_installed", lambda: False)
    with pytest.raises(Refused, match="make up EXTRAS=prediction"):
        train(NOW + timedelta(days=1))
    assert predict(NOW - WINDOW) > 400


def test_an_older_version_is_put_back_and_newer_ones_wait_until_they_are_chosen(history, quick, admin_user):
    first, second = quick, train(NOW + timedelta(hours=1))
    first.refresh_from_db()
    assert (first.state, second.state, second.version) == ("retired", "live", 2)
    predict(NOW - WINDOW)
    choose(first, by=admin_user, now=NOW)
    first.refresh_from_db()
    assert first.state == "live" and first.chosen_by == admin_user
    # Everybody is told by it from the next round on.
    assert predict_if_due(NOW - WINDOW) > 0
    assert set(ContactPrediction.objects.values_list("model", flat=True)) == {first.pk}
    third = train(NOW + timedelta(hours=2))
    assert (third.state, PredictionModel.objects.live().get()) == ("draft", first)
    choose(third, by=admin_user, now=NOW)
    fourth = train(NOW + timedelta(hours=3))
    assert fourth.state == "live" and PredictionModel.objects.live().count() == 1


def test_it_trains_once_a_night_and_at_once_when_asked(history, quick):
    assert train_if_due(NOW).version == 2
    assert train_if_due(NOW + timedelta(hours=3)) is None
    training.ask(NOW, window=timedelta(days=60), by=None)
    training.ask(NOW, window=timedelta(days=45), by=None)
    made = train_if_due(NOW + timedelta(hours=3))
    assert (made.version, made.window) == (3, timedelta(days=45))
    assert not PredictionModel.objects.filter(state="asked").exists()
    # One whose worker was ended is not begun again every minute.
    training.ask(NOW, window=timedelta(days=45), by=None)
    assert train_if_due(NOW + timedelta(hours=3, minutes=1)) is None
    assert train_if_due(NOW + timedelta(hours=24)).window == timedelta(days=45)
    assert predict_if_due(NOW) is not None and predict_if_due(NOW + timedelta(minutes=50)) is None
    assert predict_if_due(NOW + timedelta(minutes=61)) is not None
    assert Heartbeat.objects.filter(name=training.TRAINED).exists()


def test_who_is_erased_merged_or_won_has_no_prediction_left(history):
    train(NOW)
    at = NOW - WINDOW
    predict(at)
    gone, survivor, loser, customer = Contact.objects.filter(email__startswith="w1-").order_by("pk")[:4]
    erase(gone, by=None, now=NOW)
    merge(survivor=survivor, loser=loser, reason="test", now=NOW)
    told = ContactPrediction.objects.values_list("contact", flat=True)
    assert not {gone.pk, loser.pk} & set(told) and survivor.pk in told
    StageChange.objects.filter(contact=customer).delete()
    won(customer, at - timedelta(days=1)).save()
    # Erased or merged behind the back of the statement that writes.
    last = Contact.objects.filter(email="w1-9@example.com")
    last.update(erased_at=NOW)
    predict(at)
    told = set(ContactPrediction.objects.values_list("contact", flat=True))
    assert not {gone.pk, loser.pk, customer.pk, last.get().pk} & told and survivor.pk in told
