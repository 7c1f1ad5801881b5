"""Splits: their paths and weights, and by what a path wins, as they are written and as the engine reads them."""

import re
from collections.abc import Mapping
from math import ceil
from typing import TYPE_CHECKING, Any

from django.utils.translation import gettext as _

from contacts.durations import parse_duration

if TYPE_CHECKING:
    from campaigns.findings import Findings

# Names that a path cannot have, for the engine and the definition mean something else by them.
NO_PATHS = ["key", "name", "ask", "split", "else", "not_sent", "jump"]
OTHER_NAMES = {"names": ", ".join(NO_PATHS)}
# An index holds it.
LONGEST_PATH = 200
METRICS = ["click", "open", "goal", "revenue"]
# What a winner rule means where it does not say.
WINNER = {"metric": "click", "after": "7d", "min": 200, "confidence": "95%"}


def is_path(label: Any) -> bool:
    """Can a path be called so?"""
    return isinstance(label, str) and bool(label.strip()) and len(label) <= LONGEST_PATH and label not in NO_PATHS


def is_long(said: Any) -> bool:
    """Is a split written as {paths: {a: 50, b: 50}, winner: …}, and not as {a: 50, b: 50}?"""
    return isinstance(said, Mapping) and isinstance(said.get("paths"), Mapping)


def weights_of(said: Any) -> Mapping[str, Any]:
    """The paths of a split with their weights, in either form."""
    return said["paths"] if is_long(said) else said if isinstance(said, Mapping) else {}


def check_split(f: "Findings", step: Mapping[str, Any], path: str, key: str) -> None:
    """Adds what is wrong with a split."""
    said, weights, here = step["split"], weights_of(step["split"]), f"{path}.split"
    if is_long(said):
        f.only(said, ["paths", "winner"], here, key)
        here = f"{here}.paths"
    if len(weights) < 2:
        f.say(here, _("Name at least two paths with their weights, such as {a: 50, b: 50}."), key)
        return
    before = len(f.problems)
    for label, weight in weights.items():
        if not is_path(label):
            f.say(here, _("A path needs a name of its own, other than %(names)s.") % OTHER_NAMES, key)
        elif isinstance(weight, bool) or not isinstance(weight, int) or weight < 1:
            f.say(f"{here}.{label}", _("A weight is a whole number from 1."), key)
    if len(f.problems) == before:
        for branch in _bounds(weights):
            if not buckets(branch):
                where = f"{here}.{branch['label']}"
                f.say(where, _("This path would get less than one of a hundred people."), key)
    if is_long(said) and said.get("winner") is not None:
        _check_winner(f, said["winner"], f"{path}.split.winner", key)


def _check_winner(f: "Findings", winner: Any, path: str, key: str) -> None:
    if not isinstance(winner, Mapping):
        f.say(path, _("Say by what a path wins: {metric: click, after: 7d, min: 200, confidence: 95%}."), key)
        return
    f.only(winner, list(WINNER), path, key)
    if winner.get("metric") not in METRICS:
        f.say(f"{path}.metric", _("A path wins by one of: %(known)s.") % {"known": ", ".join(METRICS)}, key)
    if "after" in winner:
        f.span(winner["after"], f"{path}.after", key)
    least = winner.get("min", 200)
    if isinstance(least, bool) or not isinstance(least, int) or not 20 <= least <= 1_000_000:
        f.say(f"{path}.min", _("Say how many people each path needs: a whole number from 20."), key)
    if not re.fullmatch(r"[89][0-9]%?", str(winner.get("confidence", "95%"))):
        f.say(f"{path}.confidence", _("The confidence is a whole per cent from 80% to 99%, such as 95%."), key)


def split_config(said: Mapping[str, Any]) -> dict[str, Any]:
    """What the engine reads of a split: the bounds of its paths, and by what one wins."""
    config: dict[str, Any] = {"branches": _bounds(weights_of(said))}
    if is_long(said) and said.get("winner"):
        winner = WINNER | said["winner"]
        config["winner"] = {
            "metric": winner["metric"],
            "after": int(parse_duration(winner["after"]).total_seconds()),
            "min": winner["min"],
            "confidence": int(str(winner["confidence"]).removesuffix("%")) / 100,
        }
    return config


def _bounds(weights: Mapping[str, int]) -> list[dict[str, Any]]:
    """Each path's share of the hundred buckets, from `lower` up to below `upper`."""
    total, bounds, sum_so_far = sum(weights.values()), [], 0
    for label, weight in weights.items():
        lower, sum_so_far = sum_so_far, sum_so_far + weight
        bounds.append({"label": label, "lower": 100 * lower / total, "upper": 100 * sum_so_far / total})
    return bounds


def buckets(branch: Mapping[str, Any]) -> int:
    """How many of the hundred buckets lead to a path of a split."""
    return ceil(branch["upper"]) - ceil(branch["lower"])
