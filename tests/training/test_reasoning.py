"""Thoughts told by a demonstration: event, place, way, and that the numbers add up."""

import numpy as np
import pytest

from roboalign_policy.core.contract.contract import (
    contract_from_dict,
    find_contract,
    load_contract,
)
from roboalign_training.learning.reasoning import grasp_place, prompt_states, reasoning_text


@pytest.fixture(scope="module")
def contract():
    return load_contract(find_contract("sim_panda"))


def episode(points_m, widths_m):
    """States of an episode: end-effector positions and gripper widths in m."""
    count = len(points_m)
    ee = np.zeros((count, 7), np.float32)
    ee[:, :3], ee[:, 6] = points_m, 1.0
    return {
        "state.ee": ee,
        "state.gripper": np.asarray(widths_m, np.float32)[:, None],
        "state.joints": np.zeros((count, 7), np.float32),
    }


# Down to a cube at (0.52, -0.10, 0.02), closed there, then up and to the plate, opened there, then
# away.
PICK_AND_PLACE = episode(
    [
        (0.45, -0.07, 0.14), (0.50, -0.09, 0.06), (0.52, -0.10, 0.02), (0.52, -0.10, 0.02),
        (0.50, 0.00, 0.15), (0.40, 0.12, 0.05), (0.40, 0.12, 0.05), (0.40, 0.12, 0.20),
    ],
    [0.08, 0.08, 0.08, 0.04, 0.04, 0.04, 0.08, 0.08],
)  # fmt: skip

THOUGHTS = [
    (0, "grasp at 52 -10 2 : move forward 7 right 3 down 12"),
    (1, "grasp at 52 -10 2 : move forward 2 right 1 down 4"),
    (2, "grasp at 52 -10 2 : stay"),
    (3, "release at 40 12 5 : move back 12 left 22 up 3"),
    (4, "release at 40 12 5 : move back 10 left 12 down 10"),
    (5, "release at 40 12 5 : stay"),
    (6, "retreat at 40 12 20 : move up 15"),
    (7, "finish at 40 12 20 : stay"),
]


@pytest.mark.parametrize(("index", "thought"), THOUGHTS)
def test_thoughts_of_pick_and_place(contract, index, thought):
    assert reasoning_text(contract, PICK_AND_PLACE, index) == thought


def test_place_is_state_plus_way_in_the_numbers_of_the_text(contract):
    rng = np.random.default_rng(0)
    sign = {
        "forward": (0, 1),
        "back": (0, -1),
        "left": (1, 1),
        "right": (1, -1),
        "up": (2, 1),
        "down": (2, -1),
    }
    for _ in range(50):
        states = episode(rng.uniform(-0.6, 0.6, (12, 3)), rng.choice([0.02, 0.08], 12))
        numbers, _ = prompt_states(contract, states)
        for index in range(12):
            place, way = reasoning_text(contract, states, index).split(" : ")
            reached = np.array([numbers[label][index] for label in "xyz"])
            words = way.split()[1:]
            for word, amount in zip(words[::2], words[1::2], strict=True):
                axis, direction = sign[word]
                reached[axis] += direction * int(amount)
            assert reached.tolist() == [int(word) for word in place.split()[2:]]


def test_words_follow_the_bounds_of_the_contract(contract):
    states = episode(
        [(0.4, 0, 0)] * 3, [0.0699, 0.07, 0.0701]
    )  # a word's bound lies above its values
    assert prompt_states(contract, states)[1]["gripper"].tolist() == ["closed", "open", "open"]


def test_grasp_place(contract):
    found = [grasp_place(contract, PICK_AND_PLACE, index) for index in range(8)]
    assert found == ["52 -10 2"] * 3 + [None] * 5
    again = episode([(0.4, 0, 0.1), (0.4, 0, 0.1), (0.3, 0.1, 0.02)], [0.04, 0.08, 0.04])
    assert grasp_place(contract, again, 0) == "30 10 2"  # the opening in between is passed over


def test_contract_with_joints_only(contract):
    document = contract.to_dict()
    document["prompt"]["state"] = [
        {"label": f"joint{i}", "stream": "state.joints", "field": f"joint{i}", "scale": 57.29578}
        for i in range(1, 6)
    ] + [
        {
            "label": "gripper",
            "stream": "state.gripper",
            "field": "width",
            "words": [[0.07, "shut"], [np.inf, "open"]],
        }
    ]
    joints = contract_from_dict(document, source="test")
    states = episode([(0.4, 0, 0)] * 3, [0.08, 0.08, 0.02])
    states["state.joints"] = np.deg2rad(
        np.array(
            [[0, 0, 0, 0, 0, 0, 0], [5, 0, 0, 0, 0, 0, 0], [10, -3, 1, -20, 0, 0, 0]], np.float32
        )
    )
    assert reasoning_text(joints, states, 0) == "shut : move joint1 10 joint2 -3 joint4 -20"
    assert reasoning_text(joints, states, 2) == "finish : stay"
    assert grasp_place(joints, states, 0) is None


def test_faults_name_what_is_wrong(contract):
    with pytest.raises(ValueError, match=r"index: found 8, expected 0 \.\. 7"):
        reasoning_text(contract, PICK_AND_PLACE, 8)
    with pytest.raises(ValueError, match="expected stream state.ee"):
        reasoning_text(contract, {"state.gripper": np.zeros((2, 1))}, 0)
    broken = {key: value.copy() for key, value in PICK_AND_PLACE.items()}
    broken["state.ee"][3, 1] = np.nan
    with pytest.raises(ValueError, match="state.ee.y: found nan in frame 3"):
        reasoning_text(contract, broken, 0)
