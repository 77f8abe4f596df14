"""Intervals of reported figures against published values and their own bounds."""

import itertools

import numpy as np
import pytest

from roboalign_training.shared.statistics import (
    clustered_wilson_interval,
    mcnemar_p,
    mean_interval,
    paired_interval,
    paired_mean_interval,
    sign_flip_p,
    wilson_interval,
)


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


def test_the_sign_flip_test_is_the_share_of_all_flips():
    rng = np.random.default_rng(0)
    for _ in range(20):
        sums = rng.integers(-3, 4, 9)
        flips = np.array(list(itertools.product((-1, 1), repeat=9))) @ sums
        assert sign_flip_p(sums) == pytest.approx(np.mean(np.abs(flips) >= abs(sums.sum())))


@pytest.mark.parametrize(("first", "second"), [(0, 0), (3, 3), (0, 6), (1, 6), (16, 19)])
def test_of_one_pair_a_scene_test_and_interval_are_mcnemars_and_agresti_and_mins(first, second):
    differences = [-1] * first + [1] * second + [0] * 10
    assert sign_flip_p(differences) == pytest.approx(mcnemar_p(first, second))
    by_counts = paired_interval(first, second, len(differences))
    assert paired_mean_interval(differences) == pytest.approx(by_counts)


@pytest.mark.parametrize("differences", [[], [1.5], [float("nan")]])
def test_a_mean_difference_is_of_differences(differences):
    with pytest.raises(ValueError, match="expected one or more of -1 to 1"):
        paired_mean_interval(differences)


def test_clusters_that_are_alike_in_themselves_count_once():
    one = wilson_interval(12, 30)
    alone = clustered_wilson_interval([(1, 1)] * 12 + [(0, 1)] * 18)
    assert alone == pytest.approx(one, abs=0.01)
    alike = clustered_wilson_interval([(4, 4)] * 12 + [(0, 4)] * 18)
    assert alike == pytest.approx(alone)
    even = clustered_wilson_interval([(2, 5)] * 30)
    assert even == pytest.approx(wilson_interval(60, 150)), "never more than all trials"
    assert clustered_wilson_interval([(3, 3)] * 10) == wilson_interval(10, 10)
    assert clustered_wilson_interval([(0, 0)]) == (0.0, 1.0)
    with pytest.raises(ValueError, match="successes: found 4, expected 0 .. n = 3"):
        clustered_wilson_interval([(4, 3)])


def test_scenes_driven_with_three_seeds_give_no_more_false_alarms_than_five_percent():
    """A base beside three policies that are as good; and arms that scenes suit differently."""
    rng = np.random.default_rng(1)
    alarms, missed, uncovered, runs, scenes = 0, 0, 0, 300, 100
    for number in range(runs):
        suits = np.clip(0.5 + 0.35 * rng.standard_normal((2, scenes)), 0, 1)
        if number % 2:
            suits = np.full((2, scenes), 0.5)
        base = rng.random(scenes) < suits[0]
        mine = [rng.random(scenes) < suits[1] for _ in range(3)]
        sums = sum(one.astype(int) - base for one in mine)
        alarms += sign_flip_p(sums) <= 0.05
        low, high = paired_mean_interval((sums / 3).tolist())
        missed += not low <= 0 <= high
        won = sum(one.astype(int) for one in mine)
        low, high = clustered_wilson_interval([(int(w), 3) for w in won])
        uncovered += not low <= 0.5 <= high
    assert max(alarms, missed, uncovered) <= 0.085 * runs
