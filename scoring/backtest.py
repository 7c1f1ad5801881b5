"""Backtest: would a score have told who becomes a customer? By history, at moments when nobody knew.

A person is looked at when the outcome lay ahead, with the points that were known then; won is who became a customer
within the window. From all thresholds at once: the area under the curve, and the threshold that parts best.
"""

import math
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from contacts.rulewords import say_value
from scoring.history import SQL, WINDOW, looked_at, moments_before, parts
from scoring.models import ScoreModel

# Fewer won or fewer lost people than this say nothing.
FLOOR = 20
PERIOD = timedelta(days=360)
# Where people are looked at: everybody at fixed dates, or each at the hand-off to sales.
DATES, HANDOFF = "dates", "handoff"


@dataclass(frozen=True)
class Step:
    """One threshold: `at` is the number to set, `over` of the won and lost had it or more."""

    score: float
    at: float
    won: int
    lost: int
    won_over: int
    lost_over: int

    @property
    def people(self) -> int:
        return self.won_over + self.lost_over

    @property
    def precision(self) -> float:
        """Of those over the line, the share that was won."""
        return self.won_over / self.people


@dataclass(frozen=True)
class Backtest:
    """What history says of a score. Where it is too short, `auc`, `best` and the lists are empty, but not the counts.

    `corners` are the points of the curve from the highest threshold down; `tenths` the thresholds of the first tenth of
    all people, the first two tenths …; `within` the lowest threshold that hands over no more than was asked for.
    """

    score: ScoreModel
    by: str
    window: timedelta
    weeks: float
    won: int
    lost: int
    auc: float | None = None
    corners: list[Step] = field(default_factory=list)
    tenths: dict[int, Step] = field(default_factory=dict)
    today: Step | None = None
    best: Step | None = None
    within: Step | None = None
    per_week: float | None = None
    # How many times as many of the tenth with the highest scores were won as of all.
    lift: float | None = None

    @property
    def is_enough(self) -> bool:
        return self.won >= FLOOR and self.lost >= FLOOR

    @property
    def proposed(self) -> Step | None:
        """The threshold to take: by what sales can take, where that was asked, else the one that parts best."""
        return self.within if self.per_week is not None else self.best

    def recall(self, step: Step) -> float:
        """Of the won, the share over the line."""
        return step.won_over / self.won

    def false_alarms(self, step: Step) -> float:
        """Of the lost, the share over the line."""
        return step.lost_over / self.lost

    def a_week(self, step: Step) -> float:
        """People over the line in a week."""
        return step.people / self.weeks

    def interval(self) -> tuple[float, float]:
        """Where the area under the curve lies in 95 of 100 such histories, by Hanley and McNeil."""
        area = self.auc or 0.0
        first, second = area / (2 - area), 2 * area**2 / (1 + area)
        variance = area * (1 - area) + (self.won - 1) * (first - area**2) + (self.lost - 1) * (second - area**2)
        spread = 1.96 * math.sqrt(max(variance, 0.0) / (self.won * self.lost))
        return max(0.0, area - spread), min(1.0, area + spread)


def backtest(
    score: ScoreModel,
    now: datetime,
    *,
    by: str = DATES,
    window: timedelta = WINDOW,
    period: timedelta = PERIOD,
    per_week: float | None = None,
) -> Backtest:
    """Asks history of one score. `per_week` is how many people sales can take in a week; without it the best is sought.

    Reads the ledger of everybody: seconds, for hundreds of thousands of people.
    """
    if by == HANDOFF:
        ends = now - window
        asked = looked_at([], window, since=ends - period, until=ends)
        weeks = period / timedelta(weeks=1)
    else:
        asked = looked_at(moments_before(now, window, period), window)
        # Who is over the line at a date is handed over once in the window that begins there.
        weeks = len(asked["moments"]) * (window / timedelta(weeks=1))
    rows = SQL["backtest_curve"].rows(
        fragments=parts("observations", "observed_scores"),
        **asked,
        model=score.pk,
        today=score.qualify_at,
        most=None if per_week is None else int(per_week * weeks),
    )
    won, lost = (rows[-1][4], rows[-1][5]) if rows else (0, 0)
    found = Backtest(score, by, window, weeks, won, lost, per_week=per_week)
    return _told(found, rows) if found.is_enough else found


def _told(found: Backtest, rows: list[tuple]) -> Backtest:
    corners: list[Step] = []
    tenths: dict[int, Step] = {}
    marked: dict[str, Step] = {}
    for value, below, won, lost, won_over, lost_over, is_corner, is_best, is_today, is_within, tenth, _area in rows:
        step = Step(value, plain_threshold(value, below), won, lost, won_over, lost_over)
        tenths |= dict.fromkeys(tenth, step)
        if is_corner:
            corners.append(step)
        # A line that hands over everybody, or parts no better than a coin, is no proposal.
        if is_best and won_over * found.lost > lost_over * found.won:
            marked["best"] = step
        if is_today:
            marked["today"] = step
        if is_within:
            marked["within"] = step
    area = rows[0][-1] / (2 * found.won * found.lost)
    return Backtest(
        found.score, found.by, found.window, found.weeks, found.won, found.lost, area, corners, tenths,
        today=marked.get("today"), best=marked.get("best"), within=marked.get("within"), per_week=found.per_week,
        lift=_lift(tenths[1], found.won, found.lost),
    )  # fmt: skip


def _lift(step: Step, won: int, lost: int) -> float:
    """Of the first tenth; where its edge runs through equal scores, these count by their share."""
    size = math.ceil((won + lost) / 10)
    before = step.people - step.won - step.lost
    in_it = step.won_over - step.won + step.won * (size - before) / (step.won + step.lost)
    return in_it / size / (won / (won + lost))


def plain_threshold(score: float, below: float | None) -> float:
    """The number with the fewest decimals that lets in this score and not the next lower one."""
    for decimals in range(9):
        plain = math.floor(score * 10**decimals) / 10**decimals
        if below is None or plain > below:
            return int(plain) if decimals == 0 else plain
    return score


def say_number(value: float) -> str:
    """A threshold as people write it: 50, and not 50.0."""
    return say_value(int(value) if value == int(value) else value)


# In words ------------------------------------------------------------------------------------------------------------


def too_little(found: Backtest) -> str:
    """Why there is nothing to show."""
    return _(
        "There is too little history: %(won)d won and %(lost)d lost. It takes %(floor)d of each to say anything."
    ) % {"won": found.won, "lost": found.lost, "floor": FLOOR}  # fmt: skip


def verdict(found: Backtest) -> str:
    """How well the score tells, in one sentence."""
    if found.auc is None:
        return too_little(found)
    said = {"percent": round(100 * found.auc)}
    low, high = found.interval()
    if low <= 0.5 <= high:
        return _("This score does not tell who becomes a customer: no better than a coin.")
    if found.auc < 0.5:
        return _("This score tells it the wrong way round: who became a customer had fewer points, as a rule.")
    if found.auc < 0.7:
        return _(
            "This score tells a little: of a customer and somebody else, it puts the customer first %(percent)d times "
            "out of 100; a coin would 50 times."
        ) % said  # fmt: skip
    return _(
        "This score tells well: of a customer and somebody else, it puts the customer first %(percent)d times out of "
        "100; a coin would 50 times."
    ) % said  # fmt: skip


def comparison(found: Backtest) -> list[str]:
    """What the proposed threshold would have changed, in sentences; none where there is nothing to propose."""
    step = found.proposed
    if step is None:
        return []
    new, old = say_number(step.at), found.score.qualify_at
    if old is None:
        handed = ngettext(
            "From %(new)s points on you would have handed over %(count)d person.",
            "From %(new)s points on you would have handed over %(count)d people.",
            step.people,
        ) % {"new": new, "count": step.people}
        return [handed, _reached(step.won_over, found.won)]
    before = found.today or Step(old, old, 0, 0, 0, 0)
    moved = abs(step.people - before.people)
    numbers = {"new": new, "old": say_number(old), "count": moved}
    if step.people == before.people:
        return [
            _("%(new)s instead of %(old)s would have handed over the same people.") % numbers,
            _reached(step.won_over, found.won),
        ]
    if step.people < before.people:
        change = ngettext(
            "At %(new)s instead of %(old)s you would have handed over %(count)d person fewer.",
            "At %(new)s instead of %(old)s you would have handed over %(count)d fewer people.",
            moved,
        )
        lost = before.won_over - step.won_over
        and_so = ngettext(
            "%(lost)d of %(won)d customer would have been missed by it.",
            "%(lost)d of %(won)d customers would have been missed by it.",
            before.won_over,
        ) % {"lost": lost, "won": before.won_over}
        return [change % numbers, and_so]
    change = ngettext(
        "At %(new)s instead of %(old)s you would have handed over %(count)d person more.",
        "At %(new)s instead of %(old)s you would have handed over %(count)d more people.",
        moved,
    )
    more = step.won_over - before.won_over
    gained = ngettext(
        "%(more)d of them became a customer.", "%(more)d of them became customers.", more
    ) % {"more": more}  # fmt: skip
    return [change % numbers, gained]


def _reached(won_over: int, won: int) -> str:
    told = ngettext(
        "%(over)d of %(won)d customer would have been among them.",
        "%(over)d of %(won)d customers would have been among them.",
        won,
    )
    return told % {"over": won_over, "won": won}


def as_data(found: Backtest) -> dict[str, Any]:
    """The same for the command and REST."""

    def of(step: Step | None) -> dict[str, Any] | None:
        if step is None:
            return None
        return {
            "threshold": step.at, "people": step.people, "won": step.won_over, "lost": step.lost_over,
            "precision": round(step.precision, 6), "recall": round(found.recall(step), 6),
            "false_alarms": round(found.false_alarms(step), 6), "people_a_week": round(found.a_week(step), 2),
        }  # fmt: skip

    return {
        "score": found.score.key, "by": found.by, "window_days": found.window.days, "won": found.won,
        "lost": found.lost, "is_enough": found.is_enough, "says": [verdict(found), *comparison(found)],
        "auc": found.auc, "auc_interval": None if found.auc is None else list(found.interval()), "lift": found.lift,
        "today": of(found.today), "proposed": of(found.proposed), "best": of(found.best),
        "tenths": [of(step) for _number, step in sorted(found.tenths.items())],
        "curve": [[found.false_alarms(step), found.recall(step), step.score] for step in found.corners],
    }  # fmt: skip
