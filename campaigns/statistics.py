"""How sure numbers make us: intervals, tests and sample sizes for experiments. Pure: plain numbers in and out.

People are counted by the arm they were drawn into, whatever they got (intention to treat). Confidence is two-sided.
Sources: Wilson 1927; Newcombe 1998 (Statistics in Medicine 17, method 10, without continuity correction); Fleiss 1981.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, erfc, exp, gamma, sqrt
from statistics import NormalDist

_NORMAL = NormalDist()
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Interval:
    """A figure with the bounds between which the true one lies, as far as the confidence goes."""

    value: float
    low: float
    high: float


def critical(confidence: float = CONFIDENCE) -> float:
    """How many standard errors a difference must be away from nothing; 1.96 at 95 %."""
    return _NORMAL.inv_cdf(0.5 + confidence / 2)


def sure_of(z: float) -> float:
    """How sure a difference of so many standard errors makes us that there is one; 0 … 1.

    Of several paths, the leader must differ so from each other one. That which one leads was not known before costs
    nothing: where two are equal and the rest is far behind, either is wrongly the winner in 1 of 20 cases at 95 %, and
    where all are equal, more seldom still.
    """
    return 1 - erfc(abs(z) / sqrt(2))


def wilson(hits: int, people: int, confidence: float = CONFIDENCE) -> Interval:
    """A share with its interval; nothing is known of nobody."""
    if not people:
        return Interval(0.0, 0.0, 1.0)
    z, share = critical(confidence), hits / people
    middle = (share + z * z / (2 * people)) / (1 + z * z / people)
    reach = z / (1 + z * z / people) * sqrt(share * (1 - share) / people + z * z / (4 * people * people))
    return Interval(share, max(middle - reach, 0.0), min(middle + reach, 1.0))


def newcombe(hits: int, people: int, other_hits: int, others: int, confidence: float = CONFIDENCE) -> Interval:
    """How much larger the first share is than the second, with its interval."""
    one, two = wilson(hits, people, confidence), wilson(other_hits, others, confidence)
    difference = one.value - two.value
    return Interval(
        difference,
        max(difference - sqrt((one.value - one.low) ** 2 + (two.high - two.value) ** 2), -1.0),
        min(difference + sqrt((one.high - one.value) ** 2 + (two.value - two.low) ** 2), 1.0),
    )


def two_proportions(hits: int, people: int, other_hits: int, others: int) -> float:
    """The z of two shares, pooled: positive where the first is larger, 0 where nothing can be told."""
    if not people or not others:
        return 0.0
    pooled = (hits + other_hits) / (people + others)
    error = sqrt(pooled * (1 - pooled) * (1 / people + 1 / others))
    return (hits / people - other_hits / others) / error if error else 0.0


def two_means(sum_: float, squares: float, people: int, other_sum: float, other_squares: float, others: int) -> float:
    """The z of two means (Welch, for large samples) from sums and sums of squares, people with nothing included."""
    if people < 2 or others < 2:
        return 0.0
    error = sqrt(_variance(sum_, squares, people) / people + _variance(other_sum, other_squares, others) / others)
    return (sum_ / people - other_sum / others) / error if error else 0.0


def _variance(sum_: float, squares: float, people: int) -> float:
    return max((squares - sum_ * sum_ / people) / (people - 1), 0.0)


def more_people(z: float, people: int, confidence: float = CONFIDENCE) -> int:
    """About how many more people decide it, if the rates stay as they are; 0 where it is decided, or never will be."""
    return max(ceil(people * ((critical(confidence) / z) ** 2 - 1)), 0) if z else 0


def needed(share: float, other: float, power: float = 0.8, confidence: float = CONFIDENCE) -> int:
    """How many people each of two paths needs so that a difference of this size is found with this power."""
    if share == other:
        raise ValueError("Two equal shares cannot be told apart.")
    middle = (share + other) / 2
    reach = critical(confidence) * sqrt(2 * middle * (1 - middle))
    reach += _NORMAL.inv_cdf(power) * sqrt(share * (1 - share) + other * (1 - other))
    return ceil((reach / (share - other)) ** 2)


def sample_ratio(counts: Sequence[int], weights: Sequence[float]) -> float:
    """How likely people were parted like this by chance (chi-square); under 0.001 something lost people on the way."""
    people, total = sum(counts), sum(weights)
    if not people:
        return 1.0
    expected = [people * weight / total for weight in weights]
    square = sum((count - wish) ** 2 / wish for count, wish in zip(counts, expected, strict=True))
    return chi_square_tail(square, len(counts) - 1)


def chi_square_tail(square: float, degrees: int) -> float:
    """The probability of a chi-square at least as large, for whole degrees of freedom."""
    half = square / 2
    if degrees % 2:
        tail, begin = erfc(sqrt(half)), 0.5
    else:
        tail, begin = exp(-half), 1.0
    steps = (degrees - 1) // 2
    return min(tail + sum(half ** (begin + step) / gamma(begin + step + 1) for step in range(steps)) * exp(-half), 1.0)
