"""Backtest: the curve is scikit-learn's, the proposed threshold is the best there is, and nothing of later leaks in."""

import random
from datetime import timedelta

import numpy
import pytest
from sklearn.metrics import roc_auc_score, roc_curve

from contacts.models import Contact, Touchpoint
from scoring.backtest import HANDOFF, backtest, comparison, plain_threshold, too_little, verdict
from scoring.history import moments_before
from scoring.models import ScoreModel, StageChange
from scoring.points import rebuild, score_at
from tests.scoring.past import BEGIN, act, made_history, people, won
from tests.scoring.world import NOW, model, rule

pytestmark = pytest.mark.django_db
WINDOW = timedelta(days=90)
AT = NOW - WINDOW


def eager(number: int, lots: random.Random) -> tuple[list[tuple[str, float]], float]:
    """The more often, and the later, the likelier: a known truth."""
    visits = min(9, int(lots.expovariate(0.5)))
    return [("page.viewed", lots.uniform(0, 10)) for _visit in range(visits)], min(0.9, 0.03 + 0.07 * visits)


def scored(days: float | None = 14, cap: float | None = None) -> ScoreModel:
    one = model(qualify_at=30)
    rule(one, "page.viewed", 10, days=days, cap=cap)
    return one


def points(one: ScoreModel) -> tuple[numpy.ndarray, numpy.ndarray]:
    """The same points for the judge, asked person by person from the ledger: (won, score)."""
    customers = set(
        StageChange.objects.filter(to_stage="customer", changed_at__gt=AT).values_list("contact", flat=True)
    )
    everybody = list(Contact.objects.values_list("pk", flat=True))
    scores = score_at(one, everybody, AT)
    return numpy.array([pk in customers for pk in everybody]), numpy.array([round(scores[pk], 9) for pk in everybody])


@pytest.mark.parametrize("half_life", [14, None], ids=["fading points", "many ties"])
def test_area_and_curve_are_those_of_scikit_learn(half_life):
    made_history(700, eager)
    one = scored(half_life)
    rebuild(one, NOW)
    found = backtest(one, NOW, window=WINDOW, period=WINDOW)
    is_won, scores = points(one)
    assert found.auc == pytest.approx(roc_auc_score(is_won, scores), abs=1e-12)
    assert (found.won, found.lost) == (is_won.sum(), (~is_won).sum())
    alarms, recalls, thresholds = roc_curve(is_won, scores)
    assert [step.score for step in found.corners] == list(thresholds[1:])
    assert [found.false_alarms(step) for step in found.corners] == pytest.approx(list(alarms[1:]), abs=1e-12)
    assert [found.recall(step) for step in found.corners] == pytest.approx(list(recalls[1:]), abs=1e-12)


def test_the_proposed_threshold_is_the_best_of_all():
    made_history(700, eager)
    one = scored()
    rebuild(one, NOW)
    found = backtest(one, NOW, window=WINDOW, period=WINDOW)
    is_won, scores = points(one)
    gains = {
        line: (scores[is_won] >= line).mean() - (scores[~is_won] >= line).mean() for line in sorted(set(scores))
    }  # fmt: skip
    best = max(gains.values())
    assert gains[found.best.score] == pytest.approx(best, abs=1e-12)
    # The plain number lets in the same people.
    assert ((scores >= found.best.at) == (scores >= found.best.score)).all()
    assert found.best.won_over == (scores[is_won] >= found.best.at).sum()
    tenth = numpy.sort(scores)[::-1][len(scores) // 10 - 1]
    assert found.tenths[1].score == tenth
    # Today's line, and what sales can take.
    assert found.today.people == (scores >= 30).sum()
    for per_week in (1, 5, 20):
        within = backtest(one, NOW, window=WINDOW, period=WINDOW, per_week=per_week).proposed
        most = int(per_week * 90 / 7)
        assert within.people == max((scores >= line).sum() for line in gains if (scores >= line).sum() <= most)


def test_ties_count_half_and_equal_scores_share_the_edge_of_the_first_tenth():
    one = scored(None)
    everybody = people(100)
    Touchpoint.objects.bulk_create([act(one_, "page.viewed", AT - timedelta(days=1)) for one_ in everybody[:40]])
    StageChange.objects.bulk_create([won(one_, AT + timedelta(days=5)) for one_ in everybody[20:60]])
    rebuild(one, NOW)
    found = backtest(one, NOW, window=WINDOW, period=WINDOW)
    # 20 won and 20 lost have 10 points, 20 won and 40 lost have none.
    assert found.auc == pytest.approx((20 * 40 + 0.5 * (20 * 20 + 20 * 40)) / (40 * 60))
    # The first tenth is any 10 of the 40: half of them won, of all 0.4.
    assert found.lift == pytest.approx(0.5 / 0.4)


def test_what_happened_or_was_told_after_the_moment_does_not_count():
    one = scored(14, cap=20)
    everybody = people(60)
    before, after = AT - timedelta(days=3), AT + timedelta(days=1)
    honest = [act(one_, "page.viewed", before) for one_ in everybody[10:40]]
    Touchpoint.objects.bulk_create(honest)
    StageChange.objects.bulk_create([won(one_, AT + timedelta(days=5)) for one_ in everybody[:30]])
    rebuild(one, NOW)
    alone = backtest(one, NOW, window=WINDOW, period=WINDOW)
    # Every customer looked at pages later, and told late what they had done before.
    leaks = [act(one_, "page.viewed", after) for one_ in everybody[:30]]
    leaks += [act(one_, "page.viewed", before + timedelta(hours=1), received=after) for one_ in everybody[:30]]
    Touchpoint.objects.bulk_create(leaks)
    rebuild(one, NOW)
    again = backtest(one, NOW, window=WINDOW, period=WINDOW)
    assert again.auc == pytest.approx(alone.auc, abs=1e-12) and again.auc == pytest.approx(0.5 + 0.5 * (2 / 3 - 1 / 3))
    # From the next day on they count.
    later = backtest(one, NOW + timedelta(days=2), window=timedelta(days=89), period=timedelta(days=89))
    assert later.auc > again.auc


def test_who_was_no_open_question_at_the_moment_is_not_looked_at():
    one = scored()
    everybody = people(50)
    StageChange.objects.bulk_create([won(one_, AT + timedelta(days=5)) for one_ in everybody[:25]])
    others = people(6, BEGIN)
    for number, other in enumerate(others):
        Contact.objects.filter(pk=other.pk).update(email=f"other{number}@example.com")
    customer, visitor, young, erased, merged, twice = others
    won(customer, AT - timedelta(days=1)).save()
    StageChange.objects.create(
        contact=visitor, from_stage="visitor", to_stage="known", reason="x", changed_at=AT + timedelta(days=1)
    )
    Contact.objects.filter(pk=young.pk).update(created_at=AT + timedelta(days=1))
    Contact.objects.filter(pk=erased.pk).update(erased_at=NOW)
    Contact.objects.filter(pk=merged.pk).update(merged_into=twice)
    # After the window is over is too late.
    won(twice, NOW + timedelta(seconds=1)).save()
    found = backtest(one, NOW, window=WINDOW, period=WINDOW)
    assert (found.won, found.lost) == (25, 26)


def test_several_dates_look_at_each_person_once_a_window_until_they_are_customers():
    one = scored()
    everybody = people(60)
    second = moments_before(NOW, WINDOW, 2 * WINDOW)[1]
    StageChange.objects.bulk_create([won(one_, second + timedelta(days=5)) for one_ in everybody[:20]])
    StageChange.objects.bulk_create([won(one_, AT + timedelta(days=5)) for one_ in everybody[20:30]])
    found = backtest(one, NOW, window=WINDOW, period=2 * WINDOW)
    assert (found.won, found.lost) == (30, 40 + 30)


def test_at_the_hand_off_each_person_is_looked_at_at_the_first_one():
    one = scored(None)
    everybody = people(80)
    handed = [NOW - timedelta(days=100 + number) for number in range(80)]
    told = []
    for contact, at in zip(everybody, handed, strict=True):
        told += [act(contact, "lead.qualified", at), act(contact, "lead.qualified", at + timedelta(days=1))]
    # Half looked at pages before; the rest only afterwards.
    told += [act(one_, "page.viewed", at - timedelta(1)) for one_, at in list(zip(everybody, handed, strict=True))[:40]]
    told += [act(one_, "page.viewed", at + timedelta(1)) for one_, at in list(zip(everybody, handed, strict=True))[40:]]
    # Sales' own word is enough.
    told += [
        act(one_, "lead.converted", at + timedelta(9)) for one_, at in list(zip(everybody, handed, strict=True))[:40]
    ]
    Touchpoint.objects.bulk_create(told)
    rebuild(one, NOW)
    found = backtest(one, NOW, by=HANDOFF, window=WINDOW, period=timedelta(days=200))
    assert (found.won, found.lost, found.auc) == (40, 40, 1.0)
    assert found.best.at == 10 and found.best.won_over == 40 and found.best.lost_over == 0


def test_a_threshold_is_proposed_in_plain_numbers():
    assert plain_threshold(43.27, 41.9) == 43
    assert plain_threshold(43.27, 43.1) == 43.2
    assert plain_threshold(43.27, None) == 43
    assert plain_threshold(43.0000001, 43.0) == 43.0000001


def test_what_it_would_have_changed_is_said_in_sentences():
    one = model(qualify_at=10)
    rule(one, "page.viewed", 10)
    everybody = people(100)
    seen = [act(one_, "page.viewed", AT - timedelta(days=1)) for one_ in everybody[:60]]
    seen += [act(one_, "page.viewed", AT - timedelta(days=2)) for one_ in everybody[:30]]
    Touchpoint.objects.bulk_create(seen)
    StageChange.objects.bulk_create(
        [won(one_, AT + timedelta(days=5)) for one_ in [*everybody[:22], *everybody[58:60]]]
    )
    rebuild(one, NOW)
    found = backtest(one, NOW, window=WINDOW, period=WINDOW)
    assert comparison(found) == [
        "At 20 instead of 10 you would have handed over 30 fewer people.",
        "2 of 24 customers would have been missed by it.",
    ]
    assert "puts the customer first 93 times" in verdict(found)
    one.qualify_at = 25
    assert comparison(backtest(one, NOW, window=WINDOW, period=WINDOW)) == [
        "At 20 instead of 25 you would have handed over 30 more people.", "22 of them became customers.",
    ]  # fmt: skip
    one.qualify_at = 20
    assert "the same people" in comparison(backtest(one, NOW, window=WINDOW, period=WINDOW))[0]
    one.qualify_at = None
    assert comparison(backtest(one, NOW, window=WINDOW, period=WINDOW))[0].startswith("From 20 points on")


def test_too_little_history_is_said_and_nothing_is_proposed():
    one = scored()
    everybody = people(60)
    StageChange.objects.bulk_create([won(one_, AT + timedelta(days=5)) for one_ in everybody[:19]])
    found = backtest(one, NOW, window=WINDOW, period=WINDOW)
    assert found.auc is None and found.proposed is None and comparison(found) == []
    assert too_little(found) == verdict(found)
    assert "19 won and 41 lost" in verdict(found) and "20 of each" in verdict(found)
    assert backtest(model("empty"), NOW, period=WINDOW).won == 19
    Contact.objects.all().delete()
    assert backtest(one, NOW).won == 0
