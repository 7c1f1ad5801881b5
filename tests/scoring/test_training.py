"""Training alone: what is known of a person, history that tells nothing, and two at once."""

import math
from datetime import timedelta
from threading import Barrier, Event

import pytest

from contacts.models import Contact, Touchpoint
from scoring import training
from scoring.history import SQL, looked_at, parts
from scoring.models import PredictionModel, StageChange
from scoring.points import rebuild
from scoring.training import Refused, train
from tests.contacts.test_stream import in_threads
from tests.scoring.past import act, made_history, people, won
from tests.scoring.test_prediction import WINDOW, truth
from tests.scoring.world import NOW, known, model, rule

pytestmark = pytest.mark.django_db


def test_what_is_known_of_a_person_is_what_they_did_and_what_had_been_told_by_then():
    jana = known()
    Contact.objects.filter(pk=jana.pk).update(created_at=NOW - timedelta(days=30), stage="lead", source="fair")
    StageChange.objects.create(
        contact=jana, from_stage="known", to_stage="lead", reason="x", changed_at=NOW - timedelta(days=7)
    )
    interest = model("interest")
    rule(interest, "prices.viewed", 5, key="prices")
    day = timedelta(days=1)
    done = [act(jana, "prices.viewed", NOW - day * days) for days in (2, 3, 20)]
    done += [
        act(jana, "prices.viewed", NOW - day * 4, received=NOW + day),  # told later
        act(jana, "prices.viewed", NOW + day),  # happened later
        act(jana, "prices.viewed", NOW - day * 95),  # long ago
        act(jana, "lead.claimed", NOW - day),  # sales' doing
        act(jana, "email.sent", NOW - day),  # ours
        act(jana, "order.placed", NOW - day),  # the outcome itself
    ]
    machine = act(jana, "email.opened", NOW - day)
    machine.is_machine = True
    Touchpoint.objects.bulk_create([*done, machine])
    rebuild(interest, NOW)
    rows = SQL["contact_features"].rows(
        fragments=parts("feature_values", "observations", "observed_scores"), model=None, **training.OWN,
        **looked_at([NOW], WINDOW, first=jana.pk, last=jana.pk),
    )  # fmt: skip
    log = math.log
    assert dict(rows) == pytest.approx({
        "did prices.viewed 14": log(3), "did prices.viewed 90": log(4),
        "rule interest/prices 14": log(3), "rule interest/prices 90": log(4),
        # Points never fade here: the old one counts, what was told later does not.
        "score interest": log(21), "fresh": log(91) - log(3), "stage lead": 1, "in stage": log(8), "age": log(31),
        "source fair": 1,
    })  # fmt: skip


def test_what_tells_nothing_is_refused():
    made_history(300, lambda number, lots: ([("page.viewed", lots.uniform(0, 9))], 0.3), windows=3)
    with pytest.raises(Refused, match="reached an AUC of 0.[45]"):
        train(NOW)
    assert PredictionModel.objects.get().refusal["why"] == "auc"


@pytest.mark.django_db(transaction=True)
def test_two_trainings_at_once_leave_one_new_version(monkeypatch):
    made_history(330, truth, windows=2)
    begun, tried, fit = Barrier(2), Event(), training._fit

    def fit_slowly(*args):
        # Not done before the other has tried.
        assert tried.wait(60)
        return fit(*args)

    def one_of_two():
        begun.wait()
        try:
            train(NOW)
        except training.Busy:
            tried.set()

    monkeypatch.setattr(training, "_fit", fit_slowly)
    assert in_threads(one_of_two, one_of_two) == []
    assert tried.is_set() and [one.version for one in PredictionModel.objects.all()] == [1]


def test_history_whose_customers_all_came_of_late_is_refused_with_a_sentence():
    changes = [won(one, NOW - timedelta(days=80)) for one in people(600)[:300]]
    StageChange.objects.bulk_create(changes)
    with pytest.raises(Refused, match="too little history to learn from: before the part that judges 0 were won"):
        train(NOW, window=timedelta(days=90))
    assert PredictionModel.objects.get().state == "refused"
