"""What a journey did: whom it was for against whom it holds out, and the paths of its splits, with how sure that is."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.core.cache import cache
from django.utils.translation import get_language, ngettext
from django.utils.translation import gettext as _

from campaigns import statistics
from campaigns.experiments import (
    FEWEST_HITS,
    UNEVEN,
    measure_split,
    shares_of,
    stand,
    standing_in_words,
    verdict_in_words,
    verdicts_of,
    winner_of,
)
from campaigns.measuring import Arm, currency, treated_and_held_out
from campaigns.models import Enrolment, Journey, Node

# Fewer people on a side say nothing.
FEWEST = 100
# Of so many people the results are counted for a page; of more, only when somebody asks for them.
AT_ONCE = 20_000
REMEMBERED = 300


def results(journey: Journey) -> dict[str, Any]:
    """People, messages, human opens and clicks, goals and revenue of each arm and path, the lift, and how sure it is.

    People count in the arm they belong to, whatever they got (intention to treat). As plain values.
    """
    treated, held_out = treated_and_held_out(journey)
    metric = _metric(journey)
    answer: dict[str, Any] = {
        "journey": journey.key,
        "metric": metric,
        "currency": currency(),
        "treated": _arm(treated, metric),
        "held_out": _arm(held_out, metric),
        "lift": None,
        "sample_ratio": None,
        "sentence": "",
        "splits": [_split(node) for node in _splits(journey)],
    }
    holdout = _holdout(journey)
    if not holdout and not held_out.people:
        return answer | {"sentence": _("Nobody is held out, so what the journey does cannot be told.")}
    answer["lift"], answer["sentence"] = _lift(treated, held_out, metric)
    if holdout:
        ratio = statistics.sample_ratio([treated.people, held_out.people], [100 - holdout, holdout])
        answer["sample_ratio"] = {"probability": ratio, "is_even": ratio >= UNEVEN}
    return answer


def results_of_page(journey: Journey) -> dict[str, Any] | None:
    """The same for a page that many open: as of up to five minutes ago; None where counting would make them wait."""
    name = f"results:{journey.pk}:{journey.version_id}:{get_language()}"
    if (found := cache.get(name)) is None:
        if Enrolment.objects.filter(journey=journey)[: AT_ONCE + 1].count() > AT_ONCE:
            return None
        found = results(journey)
        cache.set(name, found, REMEMBERED)
    return found


def _metric(journey: Journey) -> str:
    """What the journey is for: its goal, else what people buy."""
    return "goal" if journey.version and journey.version.definition.get("goal") else "revenue"


def _holdout(journey: Journey) -> int:
    said = journey.version.definition.get("holdout", 0) if journey.version else 0
    return int(str(said).removesuffix("%").strip())


def _splits(journey: Journey) -> Sequence[Node]:
    if journey.version is None:
        return []
    return list(
        Node.objects.filter(version=journey.version, kind="split")
        .select_related("version__journey")
        .order_by("position")
    )


def _arm(arm: Arm, metric: str) -> dict[str, Any]:
    hits = arm.hits(metric)
    interval = statistics.wilson(hits, arm.people)
    return {
        "name": arm.name,
        "people": arm.people,
        "sent": arm.sent,
        "opened": arm.opened,
        "clicked": arm.clicked,
        "goals": arm.goals,
        "buyers": arm.buyers,
        "revenue": round(arm.revenue, 2),
        "revenue_a_head": round(arm.revenue / arm.people, 4) if arm.people else 0.0,
        "rate": {"value": interval.value, "low": interval.low, "high": interval.high},
    }


def _lift(treated: Arm, held_out: Arm, metric: str) -> tuple[dict[str, Any] | None, str]:
    """By how much more of the treated did it, with Newcombe's interval at 95 %, and what that means in words."""
    fewer = min(treated.people, held_out.people)
    if fewer < FEWEST:
        return None, ngettext(
            "Not enough data yet: %(people)d person is on one side; it takes %(least)d.",
            "Not enough data yet: %(people)d people are on one side; it takes %(least)d.",
            fewer,
        ) % {"people": fewer, "least": FEWEST}
    hits, others = treated.hits(metric), held_out.hits(metric)
    if hits + others < FEWEST_HITS:
        return None, _("Not enough data yet: %(hits)d did it so far, on both sides; it takes %(least)d.") % {
            "hits": hits + others, "least": FEWEST_HITS,
        }  # fmt: skip
    found = statistics.newcombe(hits, treated.people, others, held_out.people)
    told = {
        "points": round(100 * found.value, 1),
        "low": round(100 * found.low, 1),
        "high": round(100 * found.high, 1),
    }
    if found.low > 0:
        said = _("The journey works: %(points)+.1f points more do it; between %(low)+.1f and %(high)+.1f, 95 %% sure.")
    elif found.high < 0:
        said = _("The journey does harm: %(points)+.1f points; between %(low)+.1f and %(high)+.1f, 95 %% sure.")
    else:
        said = _("No effect can be told yet: %(points)+.1f points, but between %(low)+.1f and %(high)+.1f.")
    return {"difference": found.value, "low": found.low, "high": found.high}, said % told


def _split(node: Node) -> dict[str, Any]:
    rule, arms = winner_of(node), measure_split(node)
    metric, least = rule["metric"], rule["min"]
    standing = stand(arms, metric, least, rule["confidence"], shares_of(node))
    verdict = verdicts_of(node.version.journey).get(node.key)
    best = max(arms, key=lambda arm: arm.rate(metric))
    return {
        "step": node.key,
        "metric": metric,
        "leader": standing.leader,
        "sure": standing.sure,
        "more_people": standing.more,
        "sample_ratio": {"probability": standing.ratio, "is_even": standing.ratio >= UNEVEN},
        "sentence": (verdict and verdict_in_words(verdict)) or standing_in_words(standing, arms, metric, least),
        "verdict": _verdict(verdict) if verdict and verdict.decided_at else None,
        "paths": [_arm(arm, metric) | {"behind": _behind(best, arm, metric)} for arm in arms],
    }


def _behind(best: Arm, arm: Arm, metric: str) -> dict[str, float] | None:
    """By how much a path is behind the best one; None for that one itself."""
    if arm is best:
        return None
    found = statistics.newcombe(best.hits(metric), best.people, arm.hits(metric), arm.people)
    return {"difference": found.value, "low": found.low, "high": found.high}


def _verdict(verdict: Any) -> dict[str, Any]:
    decided_at: datetime = verdict.decided_at
    return {
        "outcome": verdict.outcome,
        "winner": verdict.winner,
        "decided_at": decided_at,
        "decided_by": _("the rule of the split"),
        "numbers": verdict.numbers,
    }
