"""The stage funnel: how far the people of a period came, and where most of them are lost."""

from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

from contacts.sql import load
from contacts.stages import LADDER, STAGES

SQL = load(__file__)
_LABELS = dict(STAGES)
# Below so many people a rate is noise, and so is calling it the worst.
_ENOUGH = 30


@dataclass(frozen=True)
class Rung:
    """One stage, and the people who came to it or above it.

    `share` is of all people of the period and `rate` of the rung before, in per cent (`rate` is None at the top and
    below nobody); `lost` is how many of the rung before did not come so far; `days` is the median time from a person's
    first hit, None at the top and where nobody came.
    """

    stage: str
    label: str
    people: int
    share: float
    rate: float | None = None
    lost: int = 0
    days: float | None = None
    is_worst: bool = False


def funnel(since: datetime, now: datetime) -> list[Rung]:
    """The ladder from visitor to ambassador for everybody whose first hit fell between two moments."""
    rows = SQL["count_funnel"].rows(since=since, now=now, ladder=LADDER)
    counts = [people for _, people, _ in rows]
    rates: list[float | None] = [None, *(after / before if before else None for before, after in pairwise(counts))]
    # A stage that nobody reached is one that the company does not use, or does not use yet.
    weighed = [rate for rate, before in zip(rates[1:], counts, strict=False) if rate and before >= _ENOUGH]
    worst = min(weighed, default=None)
    return [
        Rung(
            stage=stage,
            label=str(_LABELS[stage]),
            people=counts[place],
            share=round(100 * counts[place] / (counts[0] or 1), 2),
            rate=None if (rate := rates[place]) is None else round(100 * rate, 1),
            lost=counts[place - 1] - counts[place] if place else 0,
            days=rows[place][2],
            is_worst=worst is not None and rate == worst and counts[place - 1] >= _ENOUGH,
        )
        for place, stage in enumerate(LADDER)
    ]
