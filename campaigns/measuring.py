"""What the people of each arm did: counted in one statement, by people, whatever they got (intention to treat)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from campaigns import statistics
from campaigns.models import Journey
from contacts.sql import Fragment, load

SQL = load(__file__)


@dataclass(frozen=True)
class Arm:
    """The people of one path, or those held out, and what they did since they belong to it."""

    name: str
    people: int
    since: datetime | None = None
    sent: int = 0
    opened: int = 0
    clicked: int = 0
    goals: int = 0
    buyers: int = 0
    revenue: float = 0.0
    squares: float = 0.0

    def hits(self, metric: str) -> int:
        """How many people did what is asked about: click, open, goal or revenue (bought something)."""
        return {"click": self.clicked, "open": self.opened, "goal": self.goals, "revenue": self.buyers}[metric]

    def rate(self, metric: str) -> float:
        """The share of people who did it; of revenue, the sum a head."""
        if not self.people:
            return 0.0
        return (self.revenue if metric == "revenue" else self.hits(metric)) / self.people

    def above(self, other: "Arm", metric: str) -> float:
        """By how many standard errors this arm is ahead of another."""
        if metric == "revenue":
            return statistics.two_means(
                self.revenue, self.squares, self.people, other.revenue, other.squares, other.people
            )
        return statistics.two_proportions(self.hits(metric), self.people, other.hits(metric), other.people)


def currency() -> str:
    """The currency in which revenue is counted: that of most of the newest orders."""
    return SQL["currency_of_orders"].value() or "EUR"


def paths_of_split(journey: Journey, key: str, labels: Sequence[str], steps: Sequence[str]) -> list[Arm]:
    """The people whom chance sent along each path; `steps` are those behind the split, whose messages count."""
    found = _measure(journey, SQL["arms_of_split"].sql, list(steps), scope=f"split:{journey.key}:{key}")
    return [found.get(label) or Arm(label, 0) for label in labels]


def treated_and_held_out(journey: Journey) -> tuple[Arm, Arm]:
    """Whom the journey's messages were for, and whom it holds out."""
    found = _measure(journey, SQL["arms_of_journey"].sql, None)
    return found.get("treated") or Arm("treated", 0), found.get("held_out") or Arm("held_out", 0)


def _measure(journey: Journey, arms: str, steps: list[str] | None, **params: Any) -> dict[str, Arm]:
    rows = SQL["measure"].rows(
        fragments={"arms": Fragment(arms)},
        journey=journey.pk,
        journey_key=journey.key,
        steps=steps,
        currency=currency(),
        **params,
    )
    return {row[0]: _arm(*row) for row in rows}


def _arm(*row: Any) -> Arm:
    name, people, since, sent, opened, clicked, goals, buyers, revenue, squares = row
    return Arm(name, people, since, sent, opened, clicked, goals, buyers, float(revenue), float(squares))
