"""Which command answers which frame."""

from __future__ import annotations

import numpy as np
import pytest
from resample_streams import MS, T, sample

from roboalign_policy.core.contract.parts import Align
from roboalign_policy.core.frames.resample import commands_at


def command(header_ms, *values, receive_ms=None):
    return sample(header_ms, list(values), receive_ms, key="cmd")


def actions_at(samples, times, align):
    """What answers the times among commands, in the order in which they came."""
    stamps = np.array([s.time_ns(align.clock) for s in samples], np.int64)
    return commands_at(stamps, np.array([s.value for s in samples]), times, align)


def test_the_action_is_the_first_command_from_the_frame_on():
    samples = [command(1000, 1, 10), command(1030, 2, 20), command(1100, 3, 30)]
    actions, found = actions_at(
        samples, np.array([1000, 1001, 1060, 1101]) * MS, Align("asof", "header", 0.05)
    )
    assert found.tolist() == [True, True, True, False]
    assert actions.dtype == np.float32 and actions[:3].tolist() == [[1, 10], [2, 20], [3, 30]]
    assert np.isnan(actions[3]).all()


@pytest.mark.parametrize(("after_ms", "inside"), [(50, True), (50.000001, False)])
def test_the_tolerance_is_inclusive(after_ms, inside):
    _, found = actions_at([command(1000 + after_ms, 1)], [T], Align("asof", "header", 0.05))
    assert found.tolist() == [inside]


def test_hold_falls_back_to_the_command_in_force():
    samples = [command(500, 1), command(1030, 2)]
    times = np.array([400, 700, 990, 1040, 9000]) * MS
    actions, found = actions_at(samples, times, Align("hold", "header", 0.05))
    assert found.tolist() == [False, True, True, True, True]
    assert actions[1:, 0].tolist() == [1, 2, 2, 2]


def test_commands_in_any_order_and_equal_stamps():
    samples = [command(1100, 3), command(1000, 1), command(1000, 2)]
    actions, _ = actions_at(samples, [T, T + 100 * MS], Align("asof", "header", 0.05))
    assert actions[:, 0].tolist() == [1, 3]


def test_commands_by_time_of_receipt():
    samples = [command(0, 1, receive_ms=1020)]
    assert actions_at(samples, [T], Align("asof", "receive", 0.05))[1].tolist() == [True]
    assert actions_at(samples, [T], Align("asof", "header", 0.05))[1].tolist() == [False]


def test_commands_that_are_not_finite_are_not_found():
    samples = [command(1000, 1, np.nan), command(1100, np.inf, 1), command(1200, 1e39, 1)]
    actions, found = actions_at(
        samples, np.array([1000, 1100, 1200]) * MS, Align("asof", "header", 0.05)
    )
    assert not found.any() and np.isnan(actions).all()


def test_no_times():
    actions, found = actions_at([command(1, 1, 2)], [], Align("hold", "header", 0.05))
    assert actions.shape == (0, 2) and found.shape == (0,)
