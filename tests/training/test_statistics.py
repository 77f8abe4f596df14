"""Intervals of reported figures against published values and their own bounds."""

import itertools

import numpy as np
import pytest

from roboalign_training.shared.statistics import mcnemar_p, mean_interval, wilson_interval


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [
        # R. G. Newcombe, Two-sided confidence intervals for the single proportion, Statistics in
        # Medicine 17 (1998), table I, method 3 (score, without continuity correction).
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_gives_the_published_intervals(successes, n, low, high):
    assert wilson_interval(successes, n) == pytest.approx((low, high), abs=5e-5)


def test_wilson_is_the_root_of_the_score_test():
    z = 1.959963984540054
    for successes, n in itertools.product((3, 10, 17), (20, 25)):
        for bound in wilson_interval(successes, n):
            score = (successes / n - bound) / np.sqrt(bound * (1 - bound) / n)
            assert abs(score) == pytest.approx(z)


def test_wilson_stays_in_zero_to_one_and_holds_the_share():
    for n in range(1, 60):
        for successes in range(n + 1):
            low, high = wilson_interval(successes, n)
            assert 0 <= low <= successes / n + 1e-12
            assert successes / n - 1e-12 <= high <= 1
            mirrored = wilson_interval(n - successes, n)
            assert (1 - high, 1 - low) == pytest.approx(mirrored, abs=1e-12)


def test_wilson_of_nothing_is_everything():
    assert wilson_interval(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize(("successes", "n"), [(-1, 3), (4, 3), (1, 0)])
def test_wilson_refuses_impossible_counts(successes, n):
    with pytest.raises(ValueError, match=f"found {successes}, expected 0 .. n = {n}"):
        wilson_interval(successes, n)


def test_mean_interval_by_hand():
    # mean 2, standard deviation 1, n 3
    half = 1.95996 / 3**0.5
    assert mean_interval([1, 2, 3]) == pytest.approx((2 - half, 2 + half), abs=1e-5)
    assert mean_interval([0.5] * 10) == (0.5, 0.5)


def test_mean_interval_of_less_than_two_values_is_unknown():
    assert mean_interval([]) is None
    assert mean_interval([0.3]) is None


@pytest.mark.parametrize(
    ("first", "second", "p"),
    [(0, 0, 1.0), (3, 3, 1.0), (0, 6, 2 / 64), (1, 6, 16 / 128), (16, 19, 0.7359)],
)
def test_mcnemar_is_the_binomial_test_of_a_fair_coin(first, second, p):
    assert mcnemar_p(first, second) == pytest.approx(p, abs=5e-5)
    assert mcnemar_p(second, first) == mcnemar_p(first, second)


def test_mcnemar_takes_no_negative_counts():
    with pytest.raises(ValueError, match="found -1 and 3, expected counts of 0 or more"):
        mcnemar_p(-1, 3)
