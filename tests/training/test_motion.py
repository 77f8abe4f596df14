"""The contract's limits, rates and jumps in recordings, by the figures of the safety gate."""

from __future__ import annotations

import json

import numpy as np
import pytest
from joint_bags import joint_contract, pose, write_arm

from roboalign_policy.core.gate.bounds import GateBounds
from roboalign_policy.core.gate.types import GateFault, Reason
from roboalign_training.conversion import convert_cli
from roboalign_training.conversion.build import load_frames
from roboalign_training.episodes.framed import Frames
from roboalign_training.episodes.motion import lone_jumps, notes, too_fast, unsafe
from roboalign_training.look import inspect_cli

RATES = np.array([3.3, 3.3])


@pytest.fixture(autouse=True)
def wide_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "400")


@pytest.fixture
def run(tmp_path, capsys):
    """Converts a bag and looks at it: (status, stdout, stderr) and (status, stdout)."""
    file = tmp_path / "arm.yaml"
    file.write_text(joint_contract().to_yaml())

    def convert_and_inspect(bag, *options):
        words = [str(bag), "--contract", str(file)]
        status = convert_cli.main([*words, "--out", str(tmp_path / "set"), *options])
        said = capsys.readouterr()
        looked = inspect_cli.main(words)
        return (status, said.out, said.err), (looked, capsys.readouterr().out)

    return convert_and_inspect


def two_nodes(n, t):
    """Another node's zeros between the joint states."""
    return np.zeros(2) if np.random.default_rng(n).random() < 0.5 else pose(t)


def wrapped(t):
    """An angle that goes from pi to -pi."""
    return np.array([0.0, (3.0 + 0.1 * t + np.pi) % (2 * np.pi) - np.pi])


@pytest.mark.parametrize(
    ("moves", "cause"),
    [
        ({"state": two_nodes}, "state.joints shoulder jumps by "),
        ({"command": lambda n, t: pose(t) - [0, 2.0 * (n % 20 == 9)]}, "action elbow jumps by 2"),
        ({"state": lambda n, t: wrapped(t), "command": lambda n, t: wrapped(t)},
         "(an angle that wraps?)"),
        ({"state": lambda n, t: pose(t) + [2.2, 0]}, "state.joints shoulder of frame "),
    ],
)  # fmt: skip
def test_what_the_gate_stops_is_no_demonstration(tmp_path, run, moves, cause):
    bag = write_arm(tmp_path / "a.mcap", **moves)
    (status, out, err), (looked, shown) = run(bag)
    assert (status, looked) == (1, 1)
    assert f"unsafe: {cause}" in err or cause in err
    assert "unsafe: " in shown and cause in shown
    assert out.splitlines()[-1] == "left out: 1 episode (unsafe)"
    assert not (tmp_path / "set").exists()


def test_jumps_are_kept_with_a_note_where_that_is_wanted(tmp_path, run):
    bag = write_arm(tmp_path / "a.mcap", command=lambda n, t: pose(t) - [0, 2.0 * (n == 9)])
    (status, out, err), _ = run(bag, "--jumps", "keep")
    assert (status, out.splitlines()[-1]) == (0, "left out: nothing")
    assert "noted: " in err and "action elbow jumps by 2.023 in 0.10 s after frame 8" in err
    (entry,) = json.loads((tmp_path / "set/dataset.json").read_text())["episodes"]
    assert len(entry["notes"]) == 1 and "(2 frames)" in entry["notes"][0]


def test_one_state_of_zeros_costs_its_frame(tmp_path, run):
    bag = write_arm(tmp_path / "a.mcap", state=lambda n, t: pose(t) * (n not in range(98, 103)))
    (status, out, _), (looked, shown) = run(bag)
    assert (status, looked) == (0, 0)
    assert out.splitlines()[-1] == "left out: 1 frame (state.joints: jump)"
    assert "state.joints: jump: 1" in shown
    states = load_frames(tmp_path / "set").states["state.joints"]
    assert len(states) == 39 and not (states == 0).all(1).any()


def test_a_smooth_motion_at_the_limit_is_fit(tmp_path, run):
    bag = write_arm(
        tmp_path / "a.mcap", 1.0, state=lambda n, t: pose(0) - [2.9 * t, 0],
        command=lambda n, t: pose(0) - [2.9 * t, 0],
    )  # fmt: skip
    (status, out, _), (looked, _) = run(bag)
    assert (status, looked, out.splitlines()[-1]) == (0, 0, "left out: nothing")


def frames_of(actions, states=None, indices=None) -> Frames:
    indices = np.arange(len(actions)) if indices is None else np.array(indices)
    states = actions if states is None else states
    values = {"state.joints": np.asarray(states, np.float32)}
    return Frames(indices, indices * 10**8, values, np.asarray(actions, np.float32))


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("limit", ["max_rate", "max_per_second", "max_acceleration"])
def test_actions_are_judged_as_by_the_gate(seed, limit):
    """Each action of a demonstration, sent at the contract's rate, passes or stops the gate."""
    most = {"max_rate": 3.0, "max_per_second": 1.5, "max_acceleration": 40.0}[limit]
    none = {"max_rate": 1000.0}
    contract = joint_contract(**{**none, limit: most})
    rng = np.random.default_rng(seed)
    scale = {"max_rate": 0.13, "max_per_second": 0.08, "max_acceleration": 0.12}[limit]
    actions = np.cumsum(rng.normal(0, scale, (12, 2)), axis=0).clip(-3, 3)
    bounds, stops = GateBounds(contract), 0
    for number, action in enumerate(actions):
        try:
            bounds.check_motion(action[None], 0.1, number * 0.1)
        except GateFault as fault:
            # The gate takes the time before the first action for a rest there.
            stops += not (fault.reason == Reason.ACCELERATION and number < 2)
        bounds.sent(action[None], 0.1, number * 0.1)
    frames = frames_of(actions, np.zeros_like(actions))
    found = too_fast(frames, contract) if limit == "max_rate" else notes(frames, contract)
    assert bool(found) == bool(stops)
    if stops:
        assert f"({stops} frame{'s' * (stops > 1)})" in found[0]


def test_a_hole_gives_time_to_move():
    contract = joint_contract()
    actions = np.array([[0.0, 0], [0.0, 0], [1.2, 0], [1.2, 0]])
    assert too_fast(frames_of(actions), contract)
    assert not too_fast(frames_of(actions, indices=[0, 1, 6, 7]), contract)


def test_values_outside_of_the_limits_are_counted():
    contract = joint_contract()
    states = np.zeros((5, 2))
    states[3:, 1] = 3.3
    assert unsafe(frames_of(np.zeros((5, 2)), states), contract) == [
        "state.joints elbow of frame 3 is 3.3, limits [-3.2, 3.2] (2 frames outside)"
    ]
    states[3:, 1] = 3.25  # an encoder stands a little outside
    assert not unsafe(frames_of(np.zeros((5, 2)), states), contract)


@pytest.mark.parametrize(
    ("away", "alone"),
    [
        ([], []),
        ([7], [7]),
        ([7, 8, 30], [7, 8, 30][:2] + [30]),
        ([0], [0]),
        ([59], [59]),
        ([5, 6, 7, 8], []),  # not for a moment
        (list(range(2, 60, 4)), []),  # no accident
    ],
)
def test_jumps_that_come_back(away, alone):
    states = np.linspace([1.0, 1.0], [2.0, 1.5], 60)
    states[away] = 0.0
    found = lone_jumps(states, np.arange(60) / 10, RATES)
    assert np.flatnonzero(found).tolist() == alone


def test_a_jump_that_stays_is_no_lone_one():
    states = np.ones((40, 2))
    states[25:] += 2 * np.pi
    assert not lone_jumps(states, np.arange(40) / 10, RATES).any()
