"""Which policy GRPO keeps: noise never, a difference beyond it, by both rules; the intervals."""

import json

import numpy as np
import pytest

from roboalign_training.learning.choice import by_driving, by_held_out, choice_of
from roboalign_training.shared.statistics import mcnemar_p, paired_interval


def test_a_difference_of_every_episode_is_beyond_noise():
    base = np.linspace(0.4, 0.8, 16)
    better = base + np.linspace(0.01, 0.03, 16)
    choice = by_held_out(10, base.tolist(), better.tolist(), 3)
    assert (choice.kept, choice.candidate, choice.n) == (10, 10, 16)
    assert choice.difference == pytest.approx(0.02)
    worse = by_held_out(10, better.tolist(), base.tolist(), 3)
    assert (worse.kept, worse.interval[1] < 0) == (0, True), "beyond noise, not in its favour"
    assert worse.worse and not choice.worse
    assert worse.text("sft", 12).endswith("worse beyond noise")


def test_the_interval_is_students_over_the_episodes_differences():
    base, candidate = [0.5, 0.5, 0.5, 0.5], [0.5, 0.6, 0.7, 0.8]
    spread = np.std([0.0, 0.1, 0.2, 0.3], ddof=1) / 2
    low, high = by_held_out(1, base, candidate, 1).interval
    assert (low, high) == pytest.approx((0.15 - 3.182446 * spread, 0.15 + 3.182446 * spread))
    wider = by_held_out(1, base, candidate, 3).interval
    assert wider[0] < low < high < wider[1], "the best of three has been lucky"


def test_noise_is_taken_for_a_gain_no_more_often_than_the_level():
    """Best of three steps, none of which differs from the base."""
    rng, taken = np.random.default_rng(0), 0
    for _ in range(2000):
        base = rng.uniform(0.4, 0.8, 16)
        steps = base + rng.normal(0.0, 0.05, (3, 16))
        best = steps[np.argmax(steps.mean(axis=1))]
        taken += by_held_out(5, base.tolist(), best.tolist(), 3).kept > 0
    assert taken / 2000 < 0.04, "half of 5 %: only gains count"


def test_noise_of_few_episodes_and_few_values_is_not_taken_for_a_gain_either():
    """A token of fifteen more or less right in some episodes: gains that are often equal."""
    rng, values = np.random.default_rng(0), np.array([-1, 0, 1]) / 30
    for n in (1, 2, 3, 4):
        changes = rng.choice(values, p=[0.15, 0.7, 0.15], size=(2000, 3, n))
        best = [steps[np.argmax(steps.mean(axis=1))] for steps in changes]
        taken = sum(by_held_out(5, [0.0] * n, list(b), 3).kept > 0 for b in best)
        assert taken / 2000 < 0.025, n


def test_fewer_than_three_episodes_tell_nothing():
    choice = by_held_out(5, [0.1], [0.9], 1)
    assert (choice.kept, choice.interval) == (0, None)
    assert choice.undecided == "found 1 held-out episode, expected 3 or more"
    assert "(no interval), not to be told from noise: found 1 held-out" in choice.text("sft", 9)
    for base, better in (([0.5, 0.625], [0.5078125, 0.6328125]), ([0.5, 0.5], [0.9, 0.9001])):
        choice = by_held_out(5, base, better, 1)
        assert choice.kept == 0
        assert choice.undecided == "found 2 held-out episodes, expected 3 or more"


def test_differences_without_spread_tell_nothing():
    choice = by_held_out(5, [0.3, 0.5, 0.6], [0.4, 0.6, 0.7], 1)  # equal but for rounding
    assert (choice.kept, choice.interval) == (0, None)
    assert choice.undecided.startswith("every episode has the same difference")
    assert choice_of(json.loads(json.dumps(choice.record()))) == choice
    assert (
        "step 5 of 9 scores 0.5667, the base 0.4667; difference +0.1000 (no interval), not to"
        in (choice.text("sft", 9))
    )
    spread = by_held_out(5, [0.3, 0.5, 0.6], [0.4, 0.6, 0.701], 1)
    assert (spread.kept, spread.undecided) == (5, "")


@pytest.mark.parametrize(
    ("lost", "won", "kept"), [(0, 5, 0), (0, 6, 10), (1, 8, 10), (2, 9, 0), (6, 0, 0), (0, 0, 0)]
)
def test_driven_episodes_keep_the_candidate_by_mcnemars_exact_test(lost, won, kept):
    pairs = [(True, False)] * lost + [(False, True)] * won
    pairs += [(True, True)] * 10 + [(False, False)] * (38 - lost - won)
    choice = by_driving(10, pairs, 3)
    assert choice.kept == kept
    assert (choice.only_base, choice.only_candidate, choice.n) == (lost, won, 48)
    assert choice.p == mcnemar_p(lost, won)
    assert choice.difference == pytest.approx((won - lost) / 48)
    assert choice.score - choice.base == pytest.approx(choice.difference)


def test_a_choice_stands_in_a_record():
    for choice in (by_held_out(5, [0.1, 0.2], [0.3, 0.2], 2), by_driving(5, [(True, False)])):
        assert choice_of(json.loads(json.dumps(choice.record()))) == choice


def test_the_interval_of_a_paired_difference():
    low, high = paired_interval(4, 12, 50)
    # (12 - 4) / 52 -+ 1.96 sqrt(12.5 + 4.5 - 8^2 / 52) / 52
    assert (low, high) == pytest.approx((0.00425, 0.30344), abs=1e-4)
    low, high = paired_interval(0, 0, 48)
    assert low == -high and high > 0.03, "two that never differ may still differ a little"
    for counts in ((-1, 0, 5), (3, 3, 5), (0, 0, 0)):
        with pytest.raises(ValueError, match="expected counts of 0 or more"):
            paired_interval(*counts)


def test_the_interval_of_a_paired_difference_covers():
    rng, held = np.random.default_rng(1), 0
    for _ in range(2000):
        both = rng.multinomial(48, [0.5, 0.1, 0.2, 0.2])
        low, high = paired_interval(both[1], both[2], 48)
        held += low <= 0.1 <= high
    assert held / 2000 > 0.93
