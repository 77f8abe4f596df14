"""The recorder's verdict by times: what a conversion would say of the same episode."""

import numpy as np
import pytest

from roboalign_policy.core.contract.contract import contract_from_dict, load_contract
from roboalign_policy.core.fitness.episode_fitness import TopicTimes, times_fault

S = 1_000_000_000
START = 1_750_000_000 * S
PERIOD = S // 10


def recorded(contract, count=40, **changed):
    """Times of all topics in lock step; `changed` replaces (stamps, receipts) of some."""
    times = {}
    for name in [
        *(s.topic for s in contract.observations),
        *(c.topic for c in contract.action.commands),
    ]:
        stamps = [START + n * PERIOD for n in range(count)]
        stamps, received = changed.get(name, (stamps, [ns + 1000 for ns in stamps]))
        times[name] = TopicTimes()
        for stamp, receive in zip(stamps, received, strict=True):
            times[name].add(stamp, receive)
    return times


@pytest.fixture(scope="module")
def contract():
    """The simulator's contract: commands carry the stamps of the observations they answer."""
    return load_contract("sim_panda")


def test_lock_step_is_fit(contract):
    """Also across a pause."""
    assert times_fault(contract, recorded(contract)) == ""


TWIST = "servo_node/delta_twist_cmds"


@pytest.mark.parametrize(
    ("stamps", "fault"),
    [
        ([START + n * PERIOD + PERIOD * 3 // 4 for n in range(40)], f"{TWIST}: no command (40)"),
        ([START + n * PERIOD - 80 * S for n in range(40)], f"stamps of {TWIST} are 80.000 s"),
        ([0] * 40, f"header.stamp of {TWIST} is 0 in 40 of 40 messages"),
        ([START + n * PERIOD for n in range(0, 40, 10)], "gap of 1.00 s after frame 0"),
        ([START, START + PERIOD], "too short: 2 frames, expected at least 4"),
        ([], f"no frame has every stream and a command: {TWIST}: no command (40)"),
    ],
)
def test_teleoperation_that_is_not_synchronised(contract, stamps, fault):
    """Commands that answer no observation make no frames, though every message was recorded."""
    received = [START + round(n * PERIOD * (40 / max(len(stamps), 1))) for n in range(len(stamps))]
    if stamps and stamps[0] >= START:
        received = [stamp + 2000 for stamp in stamps]
    assert fault in times_fault(contract, recorded(contract, **{TWIST: (stamps, received)}))


def test_a_camera_that_was_silent(contract):
    """A gap longer than allowed, but not where the recording was paused."""
    camera = contract.images[0].topic
    stamps = [START + n * PERIOD for n in range(40) if not 10 <= n < 30]
    times = recorded(contract, **{camera: (stamps, [ns + 1000 for ns in stamps])})
    assert "gap of 1.80 s after frame 12" in times_fault(contract, times)
    pauses = [(START + 10 * PERIOD, START + 29 * PERIOD)]
    assert times_fault(contract, times, pauses) == ""


@pytest.mark.parametrize(("late_s", "fit"), [(0.25, True), (0.5, False)])
def test_a_camera_that_is_too_old_when_it_comes(contract, late_s, fit):
    """Its clock is behind, or it is slow: driven live every frame would be refused."""
    camera = contract.images[0]
    stamps = [START + n * PERIOD for n in range(40)]
    received = [ns + round(late_s * S) for ns in stamps]
    fault = times_fault(contract, recorded(contract, **{camera.topic: (stamps, received)}))
    late = f"late: {camera.key} is 500 ms old when it is received (median of 40 messages), "
    assert fault == "" if fit else fault.startswith(f"{late}expected at most max_age_s 0.3 s")


def test_one_stamp_of_0_is_fit(contract):
    """It costs a frame."""
    camera = contract.images[0].topic
    stamps = [START + n * PERIOD for n in range(40)]
    received = [ns + 1000 for ns in stamps]
    stamps[20] = 0
    assert times_fault(contract, recorded(contract, **{camera: (stamps, received)})) == ""


def test_a_type_without_stamp_where_one_is_wanted(contract):
    """The contract and the robot do not agree."""
    data = contract.to_dict()
    times = recorded(contract_from_dict(data))
    times["joint_states"].add(None, int(np.int64(START)))
    assert "joint_states: no header stamp" in times_fault(contract, times)
