"""Splits that look for a winner: when the window is over and each path has its people, it is decided once.

The moment is fixed before anybody looks (window and numbers), so that looking often makes no false winners. Where no
path leads by enough, the mix stays, and that is said, too.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import structlog
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from campaigns import graph, statistics
from campaigns.measuring import Arm, paths_of_split
from campaigns.models import Journey, Node, Verdict
from campaigns.shape import reach
from campaigns.splits import buckets
from contacts.sql import load

SQL = load(__file__)
log = structlog.get_logger(__name__)

# So many people a path must have done it on average: fewer say nothing.
FEWEST_HITS = 5
# Chance alone parts people so unevenly in one of a thousand experiments.
UNEVEN = 0.001


@dataclass(frozen=True)
class Standing:
    """How an experiment stands: `lacks` says what is missing for a decision (people, hits, evenness), or nothing."""

    leader: str
    sure: float
    more: int
    lacks: str
    ratio: float


def stand(arms: Sequence[Arm], metric: str, least: int, confidence: float, shares: Sequence[float]) -> Standing:
    """How the paths of a split stand to each other; the leader must be ahead of each other path."""
    ranked = sorted(arms, key=lambda arm: arm.rate(metric), reverse=True)
    z = min((ranked[0].above(other, metric) for other in ranked[1:]), default=0.0)
    people = sum(arm.people for arm in arms)
    ratio = statistics.sample_ratio([arm.people for arm in arms], shares)
    lacks = ""
    if any(arm.people < least for arm in arms):
        lacks = "people"
    elif sum(arm.hits(metric) for arm in arms) < FEWEST_HITS * len(arms):
        lacks = "hits"
    elif ratio < UNEVEN:
        lacks = "evenness"
    leader = ranked[0].name if z > 0 else ""
    return Standing(leader, statistics.sure_of(z), statistics.more_people(z, people, confidence), lacks, ratio)


def decide(now: datetime, after: int = 0, upto: int = 0) -> int:
    """A step of the tick: asks each split whose window is over, at most every five minutes; how many were decided."""
    ids = [pk for (pk,) in SQL["ripe_splits"].rows(now=now)]
    decided = 0
    for node in Node.objects.filter(pk__in=ids).select_related("version__journey").order_by("pk"):
        decided += _ask(node, now)
    return decided


def _ask(node: Node, now: datetime) -> bool:
    journey, winner = node.version.journey, node.config["winner"]
    arms = measure_split(node)
    found = stand(arms, winner["metric"], winner["min"], winner["confidence"], shares_of(node))
    outcome = "open"
    if not found.lacks:
        outcome = "winner" if found.leader and found.sure >= winner["confidence"] else "mix"
    numbers = {
        **winner,
        **asdict(found),
        "paths": [
            {"path": arm.name, "people": arm.people, "hits": arm.hits(winner["metric"]), "revenue": arm.revenue}
            for arm in arms
        ],
    }
    Verdict.objects.update_or_create(
        journey=journey,
        node_key=node.key,
        defaults={
            "outcome": outcome,
            "winner": found.leader if outcome == "winner" else "",
            "numbers": numbers,
            "asked_at": now,
            "decided_at": None if outcome == "open" else now,
        },
    )
    if outcome != "open":
        log.info("split_decided", journey=journey.key, step=node.key, outcome=outcome, winner=found.leader)
    return outcome != "open"


def measure_split(node: Node) -> list[Arm]:
    """What the people of each path of a split did, in the order of its paths."""
    spec = {one.key: one for one in graph.nodes(node.version.definition)}
    behind = sorted(reach(spec, node.key) - {node.key})
    return paths_of_split(node.version.journey, node.key, [one["label"] for one in node.config["branches"]], behind)


def shares_of(node: Node) -> list[float]:
    """How many of a hundred people each path gets."""
    return [float(buckets(branch)) for branch in node.config["branches"]]


# In words ------------------------------------------------------------------------------------------------------------


def standing_in_words(found: Standing, arms: Sequence[Arm], metric: str, least: int) -> str:
    """How a split stands, in a sentence or two, for somebody who knows no statistics."""
    if found.lacks == "people":
        arm = min(arms, key=lambda one: one.people)
        return _("Not enough data yet: “%(path)s” has had %(people)d of %(least)d people.") % {
            "path": arm.name, "people": arm.people, "least": least,
        }  # fmt: skip
    if found.lacks == "hits":
        hits = sum(arm.hits(metric) for arm in arms)
        wanted = FEWEST_HITS * len(arms)
        return ngettext(
            "Not enough data yet: %(hits)d person did it so far, on all paths; it takes %(wanted)d.",
            "Not enough data yet: %(hits)d people did it so far, on all paths; it takes %(wanted)d.",
            hits,
        ) % {"hits": hits, "wanted": wanted}
    if found.lacks == "evenness":
        return _(
            "The paths have other numbers of people than their weights say, so no winner can be told. Was the split "
            "changed meanwhile? Give it another key, and it begins anew."
        )
    if not found.leader:
        return _("No path leads.")
    leads = {"path": found.leader, "sure": int(100 * found.sure), "more": found.more}
    if not found.more:
        return _("“%(path)s” leads. %(sure)d %% sure.") % leads
    return (
        ngettext(
            "“%(path)s” leads. %(sure)d %% sure; about %(more)d more person decides it.",
            "“%(path)s” leads. %(sure)d %% sure; about %(more)d more people decide it.",
            found.more,
        )
        % leads
    )


def verdict_in_words(verdict: Verdict) -> str:
    """What was decided, in a sentence; empty where nothing is yet."""
    sure = int(100 * verdict.numbers.get("sure", 0))
    if verdict.outcome == "winner":
        return _("“%(path)s” won: %(sure)d %% sure. Whoever comes new takes it.") % {
            "path": verdict.winner,
            "sure": sure,
        }
    if verdict.outcome == "mix":
        leader = verdict.numbers.get("leader")
        if leader:
            return _("No path leads by enough, so the mix stays. “%(path)s” was ahead, %(sure)d %% sure.") % {
                "path": leader, "sure": sure,
            }  # fmt: skip
        return _("No path leads, so the mix stays.")
    return ""


def verdicts_of(journey: Journey) -> dict[str, Verdict]:
    """What was decided about each split of a journey, by the step's key."""
    return {verdict.node_key: verdict for verdict in Verdict.objects.filter(journey=journey)}


def winner_of(node: Node) -> dict[str, Any]:
    """By what a path of this split wins; without a rule of its own, what its results are shown by."""
    return node.config.get("winner") or {"metric": "click", "min": 100, "confidence": statistics.CONFIDENCE}
