"""Training: what in our own history foretold who became a customer, as a logistic model that says how sure it is.

scikit-learn fits the numbers and is the extra “prediction”: without it everything else works, and a sentence says how
to install it. The model is judged on the latest part of history, which it has not seen, and refused where history is
too short or tells too little; then it is fitted again to all of it. What is kept are numbers, never objects.
"""

from array import array
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib.util import find_spec
from typing import Any

import structlog
from django.db import connection, transaction
from django.db.models import Max
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from contacts.models import Heartbeat
from contacts.rulewords import say_value
from scoring.history import SQL, WINDOW, looked_at, moments_before, parts
from scoring.models import PredictionModel

log = structlog.get_logger(__name__)

PERIOD = timedelta(days=3 * 360)
# Of each of won and lost: in all of history, and in the part by which the model is judged.
FLOOR, HELD_FLOOR = 100, 20
# What foretells no better than this is not shown.
LEAST_AUC = 0.6
# The latest part of history, by which the model is judged.
HELD = 0.25
# A thing that fewer people did says nothing; of more things than this the rarest are left out.
LEAST_SEEN, MOST_FEATURES = 20, 80
# So many rows are fitted at most; of more people a share is taken.
MOST_ROWS = 100_000
_LOCK = 7_265_021
# Kinds that we or sales write, and those that the outcome brings along: (nouns, verbs).
OWN = {
    "own_nouns": [
        *("alert", "consent", "contact", "enrolment", "handoff", "journey", "lead", "marketing", "milestone"),
        *("onboarding", "order", "score", "segment", "stage", "task", "track", "webhook"),
    ],
    "own_verbs": ["delivered", "failed", "rejudged", "sent", "skipped"],
}
EXTRA = gettext_lazy(
    "The prediction needs scikit-learn, which is not installed. Start by “make up EXTRAS=prediction” once, "
    "or install requirements-prediction.txt."
)
REFUSALS = {
    "extra": EXTRA,
    "floor": gettext_lazy(
        "There is too little history to foretell anything: %(won)d won and %(lost)d lost, and it takes %(floor)d of "
        "each."
    ),
    "held": gettext_lazy(
        "There is too little history to judge a prediction: of the latest part %(won)d were won and %(lost)d lost, "
        "and it takes %(floor)d of each."
    ),
    "learn": gettext_lazy(
        "There is too little history to learn from: before the part that judges %(won)d were won and %(lost)d lost, "
        "and it takes %(floor)d of each."
    ),
    "auc": gettext_lazy(
        "History tells too little of who becomes a customer: on its latest part the prediction reached an AUC of "
        "%(auc)s, and below %(least)s it is not shown."
    ),
}  # fmt: skip


class Busy(Exception):
    """Somebody else is training."""


class Refused(Exception):
    """There is no new version; the text says why."""

    def __init__(self, why: str, **numbers: Any) -> None:
        super().__init__(sentence({"why": why, **numbers}))
        self.refusal = {"why": why, **numbers}


def sentence(refusal: dict[str, Any]) -> str:
    """Why a training was refused."""
    told = {key: say_value(value) if isinstance(value, float) else value for key, value in refusal.items()}
    return str(REFUSALS[refusal["why"]]) % told


def is_installed() -> bool:
    """Whether the extra “prediction” is there."""
    return find_spec("sklearn") is not None


@dataclass(frozen=True)
class _Rows:
    """History as a table: a row for each person and moment, a column for each feature."""

    features: list[str]
    table: Any
    won: Any
    moments: list[datetime]


def train(now: datetime, *, window: timedelta | None = None, by: Any = None) -> PredictionModel:
    """Trains the next version and puts it to use, or lets it wait where a person chose an older one.

    The window is that of the latest training unless told. Raises Refused, which is also written down for the page, and
    Busy while somebody else trains. Minutes, for very long histories.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s)", [_LOCK])
        if not cursor.fetchone()[0]:
            raise Busy(_("Somebody else is training just now; look again in a moment."))
    try:
        asked = PredictionModel.objects.filter(state="asked").first()
        latest = asked or PredictionModel.objects.order_by("-made_at", "-pk").first()
        window = window or (latest.window if latest else WINDOW)
        by = by or (asked and asked.made_by)
        try:
            made = _fit(now, window)
        except Refused as refused:
            with transaction.atomic():
                # Each says the same as the one before it, in newer numbers.
                PredictionModel.objects.filter(state__in=["asked", "refused"]).delete()
                PredictionModel.objects.create(
                    state="refused", window=window, made_at=now, made_by=by, refusal=refused.refusal
                )
            log.info("prediction_refused", why=refused.refusal["why"])
            raise
        made.made_by = by
        return _keep(made)
    finally:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_unlock(%s)", [_LOCK])


@transaction.atomic
def _keep(made: PredictionModel) -> PredictionModel:
    PredictionModel.objects.filter(state__in=["asked", "refused"]).delete()
    live = PredictionModel.objects.select_for_update().live().first()
    made.version = (PredictionModel.objects.aggregate(latest=Max("version"))["latest"] or 0) + 1
    made.state = "draft" if live and live.chosen_at else "live"
    if live and made.state == "live":
        PredictionModel.objects.filter(pk=live.pk).update(state="retired")
    made.save(force_insert=True)
    log.info("prediction_trained", version=made.version, state=made.state, auc=round(made.auc or 0, 3))
    return made


def _fit(now: datetime, window: timedelta) -> PredictionModel:
    if not is_installed():
        raise Refused("extra")
    asked = looked_at(moments_before(now, window, PERIOD), window)
    outcomes = SQL["count_outcomes"].rows(fragments=parts("observations"), **asked)
    won, lost = sum(row[1] for row in outcomes), sum(row[2] for row in outcomes)
    if won < FLOOR or lost < FLOOR:
        raise Refused("floor", won=won, lost=lost, floor=FLOOR)
    since = _held_since(outcomes)
    share = min(10_000, max(1, MOST_ROWS * 10_000 // (won + lost)))
    rows = _read(
        SQL["training_rows"].stream(
            fragments=parts("feature_values", "observations", "observed_scores"),
            **asked,
            **OWN,
            model=None,
            share=share,
        )
    )
    made = PredictionModel(window=window, made_at=now, won=won, lost=lost)
    _judge(made, rows, since)
    if made.auc is None or made.auc < LEAST_AUC:
        raise Refused("auc", auc=round(made.auc or 0, 3), least=LEAST_AUC)
    _fit_numbers(made, rows.features, rows.table, rows.won)
    return made


def _held_since(outcomes: list[tuple[datetime, int, int]]) -> datetime:
    """The moment at which the part begins that judges: the latest quarter, more where it has too few won or lost."""
    people, won, lost = 0, 0, 0
    everybody = sum(row[1] + row[2] for row in outcomes)
    # What judges is never all: the first moment is there to learn from.
    for at, some_won, some_lost in reversed(outcomes[1:]):
        people, won, lost = people + some_won + some_lost, won + some_won, lost + some_lost
        if people >= HELD * everybody and won >= HELD_FLOOR and lost >= HELD_FLOOR:
            return at
    raise Refused("held", won=won, lost=lost, floor=HELD_FLOOR)


def _read(rows: Iterable[tuple]) -> _Rows:
    """The rows of the database as one table, without the features that hardly anybody has."""
    import numpy

    numbers: dict[str, int] = {}
    seen: Counter[int] = Counter()
    places, columns, values = array("l"), array("l"), array("d")
    won, moments = array("b"), []
    for place, (at, is_won, names, amounts) in enumerate(rows):
        moments.append(at)
        won.append(is_won)
        own = [numbers.setdefault(name, len(numbers)) for name in names]
        seen.update(own)
        places.extend([place] * len(own))
        columns.extend(own)
        values.extend(amounts)
    kept = [number for number, count in seen.most_common(MOST_FEATURES) if count >= LEAST_SEEN]
    names = {number: name for name, number in numbers.items()}
    kept.sort(key=names.__getitem__)
    # One column more than there are features takes what was left out.
    to = numpy.full(len(numbers), len(kept))
    to[kept] = range(len(kept))
    table = numpy.zeros((len(moments), len(kept) + 1))
    table[numpy.asarray(places, dtype=int), to[numpy.asarray(columns, dtype=int)]] = numpy.asarray(values)
    return _Rows([names[number] for number in kept], table[:, :-1], numpy.asarray(won, dtype=bool), moments)


def _fit_numbers(made: PredictionModel, features: list[str], table: Any, won: Any) -> None:
    """Fits the model to a table and writes its numbers into `made`."""
    import numpy
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2_000))
    # How sure it may be is learnt from people whom it had not seen: each fifth by a model of the other four.
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    figures = cross_val_predict(model, table, won, cv=folds, method="decision_function")
    line = LogisticRegression(C=numpy.inf, max_iter=2_000).fit(figures.reshape(-1, 1), won)
    model.fit(table, won)
    scaler, logistic = model[0], model[1]
    made.features = features
    made.means, made.scales = scaler.mean_.tolist(), scaler.scale_.tolist()
    made.coefficients, made.intercept = logistic.coef_[0].tolist(), float(logistic.intercept_[0])
    made.slope, made.shift = float(line.coef_[0][0]), float(line.intercept_[0])


def foretold(made: PredictionModel, table: Any) -> Any:
    """The probabilities of the rows of a table, by the numbers of a version."""
    import numpy

    figures = made.intercept + (table - numpy.array(made.means)) / numpy.array(made.scales) @ made.coefficients
    return 1 / (1 + numpy.exp(-numpy.clip(made.slope * figures + made.shift, -500, 500)))


def _judge(made: PredictionModel, rows: _Rows, since: datetime) -> None:
    """Fits a model to what lay before a moment, and measures it on the rest."""
    import numpy
    from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score

    held = numpy.array([at >= since for at in rows.moments])
    # Counted in what was read: of very many people that is a share.
    for why, some in (("held", rows.won[held]), ("learn", rows.won[~held])):
        won, lost = int(some.sum()), int((~some).sum())
        if won < HELD_FLOOR or lost < HELD_FLOOR:
            raise Refused(why, won=won, lost=lost, floor=HELD_FLOOR)
    trial = PredictionModel()
    _fit_numbers(trial, rows.features, rows.table[~held], rows.won[~held])
    chances, won = foretold(trial, rows.table[held]), rows.won[held]
    made.held_won, made.held_lost = int(won.sum()), int((~won).sum())
    made.auc, made.brier = float(roc_auc_score(won, chances)), float(brier_score_loss(won, chances))
    made.log_loss = float(log_loss(won, chances))
    order = numpy.argsort(chances, kind="stable")
    made.reliability = [
        {"foretold": float(chances[some].mean()), "came": float(won[some].mean()), "people": len(some)}
        for some in numpy.array_split(order, max(2, min(10, len(order) // 50)))
    ]


def why_none() -> str:
    """Why the latest training made no version, or why there is none; empty where it did."""
    refused = PredictionModel.objects.filter(state="refused").first()
    if refused:
        return sentence(refused.refusal)
    if PredictionModel.objects.live().exists():
        return ""
    return str(_("No prediction is trained yet.")) if is_installed() else str(EXTRA)


# Asking and the nightly round ----------------------------------------------------------------------------------------


def ask(now: datetime, *, window: timedelta, by: Any) -> None:
    """Asks for a training; the next minute's alarm does it. A second asking changes the window of the first."""
    PredictionModel.objects.update_or_create(state="asked", defaults={"window": window, "made_at": now, "made_by": by})


TRAINED = "prediction_trained"
EVERY = timedelta(hours=20)


def train_if_due(now: datetime) -> PredictionModel | None:
    """Trains what was asked for since the last time, and else once a night; None if not due, refused, or under way."""
    asked = PredictionModel.objects.filter(state="asked").first()
    last = Heartbeat.objects.filter(name=TRAINED).values_list("beat_at", flat=True).first()
    if last is not None and now - last < EVERY and not (asked and asked.made_at >= last):
        return None
    # Noted first: a worker that is ended over a history too long for it must not begin again every minute.
    Heartbeat.objects.update_or_create(name=TRAINED, defaults={"beat_at": now})
    try:
        return train(now)
    except (Refused, Busy):
        return None


def choose(version: PredictionModel, *, by: Any, now: datetime) -> None:
    """Puts a version to use by hand. Newer ones wait until somebody chooses them; the newest is followed again.

    What it says of everybody is written by the next round.
    """
    with transaction.atomic():
        trained = PredictionModel.objects.select_for_update().trained()
        newest = trained.order_by("-version").first()
        trained.live().exclude(pk=version.pk).update(state="retired", chosen_at=None, chosen_by=None)
        is_held = newest is not None and newest.pk != version.pk
        trained.filter(pk=version.pk).update(
            state="live", chosen_at=now if is_held else None, chosen_by=by if is_held else None
        )
