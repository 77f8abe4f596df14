"""How a new chunk is joined to what the arm did and would do while it was computed."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roboalign_policy.core.drive.cross_fade import Overtaken, make_fade

NAMES = ("dx", "gripper")
LOW, HIGH = np.array([-1.0, -1.0]), np.array([1.0, 1.0])
NONE = np.empty((0, 2), np.float32)


def fade(mode="ee_delta", steps=0):
    return make_fade(NAMES, mode, steps, LOW, HIGH)


def rows(dx, gripper=-1.0):
    """(len(dx), 2) float32."""
    dx = np.asarray(dx, np.float32)
    return np.stack([dx, np.broadcast_to(np.float32(gripper), dx.shape)], axis=1)


def joined(fade_, new, sent=NONE, old=NONE):
    overtaken = Overtaken(sent, old)
    index = fade_.first(new, overtaken)
    result = fade_.join(new, overtaken, index)
    assert result.dtype == np.float32
    np.testing.assert_array_equal(result[:index], new[:index])
    return index, result[index:, 0], result[index:, 1]


def test_positions_fade_from_old_to_new_and_no_longer_than_the_old_chunk_is():
    index, dx, _ = joined(fade("joint_position", 3), rows([0.5, 0.6, 0.7, 0.8]), old=rows([0.3]))
    assert index == 0
    np.testing.assert_allclose(dx, [0.4, 0.6, 0.7, 0.8], atol=1e-6)


def test_of_positions_as_many_are_left_out_as_were_commanded():
    new, old = rows([0.5, 0.6, 0.7, 0.8]), rows([0.2, 0.3])
    index, dx, _ = joined(fade("joint_position", 2), new, sent=rows([0.1]), old=old)
    assert index == 1
    np.testing.assert_allclose(dx, [0.2 + 0.4 / 3, 0.3 + 0.8 / 3, 0.8], atol=1e-6)


def test_steps_lead_onto_the_path_of_the_new_chunk():
    """The sum is where the arm is: after the fade it is where the new chunk wants it."""
    new, sent, old = rows([0.1, 0.1, 0.1, 0.1, 0.1]), rows([0.3]), rows([0.3, 0.3])
    for steps in (0, 1, 2, 3):
        index, dx, _ = joined(fade(steps=steps), new, sent, old)
        assert index == 1
        places = np.sum(sent[:, 0]) + np.cumsum(dx)
        np.testing.assert_allclose(places[steps:], [0.2, 0.3, 0.4, 0.5][steps:], atol=1e-6)
    # Three steps: one third of the way from the old path to the new one, two thirds, all.
    _, dx, _ = joined(fade(steps=2), new, sent, old)
    places = 0.3 + np.cumsum(dx)
    old_path, new_path = np.array([0.6, 0.9]), np.array([0.2, 0.3])
    np.testing.assert_allclose(
        places[:2], old_path + np.array([1, 2]) / 3 * (new_path - old_path), atol=1e-6
    )


def test_an_agreeing_chunk_is_driven_as_it_is():
    new = rows([0.1, 0.2, 0.3, 0.4])
    _, dx, _ = joined(fade(steps=2), new, sent=new[:1], old=new[1:3])
    np.testing.assert_allclose(dx, [0.2, 0.3, 0.4], atol=1e-6)


def test_what_a_step_cannot_hold_goes_into_the_next():
    index, dx, _ = joined(fade(), rows([0.9, 0.9, 0.2, 0.0, 0.0]), sent=rows([-0.2, -0.3]))
    assert index == 2
    np.testing.assert_allclose(dx, [1.0, 1.0, 0.5], atol=1e-6)


def test_a_gripper_switches_at_once_and_is_no_path():
    new = np.float32([[0, 1], [0, 1], [0, 1]])
    old = np.float32([[0, -1], [0, -1]])
    _, _, gripper = joined(fade(steps=2), new, old=old)
    np.testing.assert_array_equal(gripper, [1, 1, 1])


@pytest.mark.parametrize(
    ("gripper", "commanded", "index"),
    [
        ([-1, -1, -1, -1], [-1, -1], 2),
        ([-1, 1, 1, 1], [-1, -1], 1),
        ([1, 1, 1, 1], [-1, -1], 0),
        ([-1, -1, 1, 1], [-1, -1], 2),
        ([1, 1, 1, 1], [-1, 1], 2),  # the arm has made it
        ([1, -1, -1, -1], [1, 1], 1),
        ([-1, 1, 1, 1], [-1, 1], 2),  # at the same step as the arm
        ([-1, -1, 1, 1], [-1, 1], 2),  # the arm has made it earlier: no way back
    ],
)
def test_no_step_is_left_out_from_a_switch_on_that_was_not_made(gripper, commanded, index):
    new = rows([0.1] * 4, np.float32(gripper))
    sent = rows([0.1] * 2, np.float32(commanded))
    assert fade().first(new, Overtaken(sent, NONE)) == index


@pytest.mark.parametrize(("before", "index"), [(-1, 2), (1, 0), (None, 0)])
def test_what_the_arm_switched_right_after_the_observation_is_no_switch_that_is_owed(
    before, index
):
    new, sent = rows([0.1] * 4, np.float32([-1] * 4)), rows([0.1] * 2, np.float32([1, 1]))
    last = None if before is None else np.float32([0.1, before])
    assert fade().first(new, Overtaken(sent, NONE, last)) == index


def test_a_gripper_that_is_open_at_zero_switches_at_the_middle_of_its_range():
    to_closed = make_fade(NAMES, "ee_delta", 0, np.array([-1.0, 0.0]), np.array([1.0, 0.8]))
    new = rows([0.1] * 3, np.float32([0.1, 0.7, 0.8]))
    assert to_closed.first(new, Overtaken(rows([0.1] * 2, 0.1), NONE)) == 1
    assert to_closed.first(new, Overtaken(rows([0.1] * 2, np.float32([0.1, 0.7])), NONE)) == 2


@given(
    new=st.lists(st.floats(-1, 1, width=32), min_size=6, max_size=6),
    sent=st.lists(st.floats(-1, 1, width=32), min_size=0, max_size=5),
    old=st.lists(st.floats(-1, 1, width=32), min_size=0, max_size=5),
    steps=st.integers(0, 6),
    mode=st.sampled_from(["ee_delta", "joint_position"]),
)
def test_joined_chunks_stay_within_the_limits(new, sent, old, steps, mode):
    sent, old = rows(sent).reshape(-1, 2), rows(old).reshape(-1, 2)
    _, dx, _ = joined(fade(mode, steps), rows(new), sent, old)
    assert np.all(np.abs(dx) <= 1.0)
    assert len(dx) == 6 - len(sent)


def test_impossible_steps_are_refused():
    with pytest.raises(ValueError, match="steps: found -1, expected 0 or more"):
        fade(steps=-1)
