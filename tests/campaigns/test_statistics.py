"""Intervals, tests and sample sizes agree with published values and with independent computation."""

import random
from itertools import product
from math import comb, isclose

import pytest

from campaigns import statistics


@pytest.mark.parametrize(
    ("one", "two", "low", "high"),
    [
        # Newcombe 1998, table II, method 10.
        ((56, 70), (48, 80), 0.0524, 0.3339),
        ((9, 10), (3, 10), 0.1705, 0.8090),
        ((6, 7), (2, 7), 0.0582, 0.8062),
        ((5, 56), (0, 29), -0.0381, 0.1926),
        ((0, 10), (0, 20), -0.1611, 0.2775),
        ((0, 10), (0, 10), -0.2775, 0.2775),
        ((10, 10), (0, 20), 0.6791, 1.0000),
        ((10, 10), (0, 10), 0.6075, 1.0000),
    ],
)
def test_the_interval_of_a_difference_is_that_of_newcombe(one, two, low, high):
    found = statistics.newcombe(*one, *two)
    assert (round(found.low, 4), round(found.high, 4)) == (low, high)
    assert isclose(found.value, one[0] / one[1] - two[0] / two[1])


def test_the_interval_of_a_share_is_that_of_wilson():
    # Newcombe 1998 (one proportion), method 3.
    for hits, people, low, high in [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611)]:
        found = statistics.wilson(hits, people)
        assert (round(found.low, 4), round(found.high, 4)) == (low, high)
    assert statistics.wilson(0, 0) == statistics.Interval(0.0, 0.0, 1.0)


def test_wilsons_interval_holds_the_true_share_about_as_often_as_it_says():
    for share in (0.05, 0.3, 0.5):
        covered = sum(
            comb(60, hits) * share**hits * (1 - share) ** (60 - hits)
            for hits in range(61)
            if statistics.wilson(hits, 60).low <= share <= statistics.wilson(hits, 60).high
        )
        assert 0.92 < covered < 0.98


def test_two_shares_are_compared_by_the_pooled_z():
    # The square of z is the chi-square of the table of four: 100·(30·40 − 20·10)² / (50·50·40·60) = 16.667.
    assert isclose(
        statistics.two_proportions(30, 50, 10, 50) ** 2, 100 * (30 * 40 - 20 * 10) ** 2 / (50 * 50 * 40 * 60)
    )
    assert statistics.two_proportions(10, 50, 30, 50) < 0
    assert statistics.two_proportions(0, 50, 0, 50) == statistics.two_proportions(1, 1, 0, 0) == 0


def test_means_are_compared_with_those_who_bought_nothing_too():
    one, two = [0, 0, 30, 50], [0, 10, 0, 0]
    z = statistics.two_means(sum(one), sum(x * x for x in one), 4, sum(two), sum(x * x for x in two), 4)
    # Means 20 and 2.5, variances 600 and 25: 17.5 / √(150 + 6.25).
    assert isclose(z, 17.5 / 156.25**0.5)
    assert statistics.two_means(5, 25, 1, 0, 0, 9) == statistics.two_means(0, 0, 9, 0, 0, 9) == 0


def test_chi_square_has_the_tails_of_the_tables():
    for square, degrees in [(3.841, 1), (5.991, 2), (7.815, 3), (9.488, 4), (11.070, 5), (18.307, 10)]:
        assert round(statistics.chi_square_tail(square, degrees), 3) == 0.05
    assert round(statistics.chi_square_tail(6.635, 1), 3) == 0.01


def test_the_tail_of_two_degrees_is_what_a_sum_of_squares_does():
    chance = random.Random(7)
    drawn = [chance.gauss(0, 1) ** 2 + chance.gauss(0, 1) ** 2 + chance.gauss(0, 1) ** 2 for _ in range(20_000)]
    for square in (1.0, 3.0, 6.0):
        share = sum(one > square for one in drawn) / len(drawn)
        assert abs(share - statistics.chi_square_tail(square, 3)) < 0.01


def test_a_sample_ratio_that_chance_does_not_make_is_seen():
    assert statistics.sample_ratio([500, 500], [50, 50]) == 1
    assert statistics.sample_ratio([5_000, 5_050], [1, 1]) > 0.5
    # 821,588 and 815,482: the example of Fabijan and others, 2019.
    assert statistics.sample_ratio([821_588, 815_482], [50, 50]) < 0.000002
    assert statistics.sample_ratio([100, 300, 600], [10, 30, 60]) == 1
    assert statistics.sample_ratio([0, 0], [50, 50]) == 1


def test_how_many_people_are_needed_is_known_before():
    # Fleiss 1981: 10 % against 20 %, and 50 % against 60 %, at 95 % and a power of 80 %.
    assert statistics.needed(0.1, 0.2) == 199
    assert statistics.needed(0.6, 0.5) == 388
    with pytest.raises(ValueError):
        statistics.needed(0.2, 0.2)


def test_the_people_still_missing_decide_it_if_the_rates_stay():
    hits, others, people = 60, 45, 300
    z = statistics.two_proportions(hits, people, others, people)
    assert statistics.sure_of(z) < 0.95
    factor = 1 + statistics.more_people(z, 2 * people, 0.95) / (2 * people)
    later = statistics.two_proportions(*(round(factor * one) for one in (hits, people, others, people)))
    assert abs(statistics.sure_of(later) - 0.95) < 0.005
    assert statistics.more_people(5, 600, 0.95) == statistics.more_people(0, 600, 0.95) == 0


def _is_decided(chance: random.Random, people: int, shares: list[float]) -> int | None:
    """One experiment, decided as journeys do: the leader against each other path. Which path won, if one did."""
    hits = [sum(chance.random() < share for _ in range(people)) for share in shares]
    first = max(range(len(hits)), key=lambda path: hits[path])
    z = min(
        statistics.two_proportions(hits[first], people, hits[two], people) for two in range(len(hits)) if two != first
    )
    return first if statistics.sure_of(z) >= 0.95 else None


def test_of_a_thousand_experiments_without_an_effect_about_one_in_twenty_is_decided():
    chance = random.Random(20_270_301)
    decided = sum(_is_decided(chance, 200, [0.3, 0.3]) is not None for _ in range(1_000))
    assert 0.03 < decided / 1_000 < 0.07


@pytest.mark.parametrize("shares", [[0.3, 0.3, 0.3], [0.3, 0.3, 0.1], [0.3, 0.3, 0.1, 0.1]])
def test_more_paths_make_no_more_false_winners(shares):
    chance = random.Random(3)
    assert sum(_is_decided(chance, 200, shares) is not None for _ in range(500)) / 500 < 0.07


def test_ten_points_more_are_found_as_often_as_the_power_says():
    chance = random.Random(11)
    for share, power in product((0.3,), (0.8, 0.9)):
        people = statistics.needed(share, share + 0.1, power)
        won = [_is_decided(chance, people, [share, share + 0.1]) for _ in range(400)]
        assert abs(won.count(1) / 400 - power) < 0.06
        assert won.count(0) == 0
