"""How far thoughts are from the demonstrations': what is read, counted and told."""

import dataclasses

import pytest

from roboalign_policy.core.contract.contract import load_contract
from roboalign_training.learning.thought_error import ThoughtErrors, read_thought, thought_unit

RIGHT = "grasp at 52 -10 2 : move forward 7 right 3 down 12"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (RIGHT, ("grasp", (52, -10, 2))),
        (" finish at 1 2 3 : stay ", ("finish", (1, 2, 3))),
        ("half open at 4 5 6 : move up 1", ("half open", (4, 5, 6))),
        ("release : joint 1 5", ("release", None)),
        ("grasp at 52 -10 : stay", ("grasp", (52, -10))),
        ("grasp at here : stay", ("grasp at here", None)),
        ("can can can", None),
        ("", None),
    ],
)
def test_a_thought_is_read_as_it_is_written(text, found):
    assert read_thought(text) == found


def test_errors_are_counted_by_frame_and_their_intervals_by_episode():
    errors = ThoughtErrors()
    errors.add("a", RIGHT, RIGHT)
    errors.add("a", "release at 52 -11 2 : stay", RIGHT)
    errors.add("b", "grasp at 54 -10 2 : stay", RIGHT)
    errors.add("b", "grasp at 52 -6 2 : stay", RIGHT)
    errors.add("c", "can can can", RIGHT)
    errors.add("c", "grasp at 52 -10 : stay", RIGHT)
    record = errors.record("cm")
    assert (record["n"], record["episodes"], record["places"]) == (6, 3, 4)
    assert record["unread"] == 2 and record["unit"] == "cm"
    assert record["wrong_event"]["share"] == pytest.approx(2 / 6)
    assert record["error_by_axis"] == pytest.approx({"x": 0.5, "y": 1.25, "z": 0.0})
    assert record["error"] == pytest.approx((0 + 1 + 2 + 4) / 4)
    assert record["beyond_1"]["share"] == 0.5 and record["beyond_3"]["share"] == 0.25
    low, high = record["beyond_1"]["interval"]
    alone = ThoughtErrors()
    for frame in range(4):
        place = (52, -10, 2) if frame < 2 else (54, -10, 2)
        alone.add(frame, f"grasp at {place[0]} -10 2 : stay", RIGHT)
    narrow = alone.record("cm")["beyond_1"]["interval"]
    assert low < narrow[0] < narrow[1] < high, "all of an episode wrong tells less"


def test_thoughts_of_other_styles_are_held_against_both():
    errors = ThoughtErrors()
    named = "grasp red cube at 52 -10 2 : move up 1"
    errors.add("a", named, RIGHT, named)
    errors.add("a", "grasp blue cube at 52 -10 2 : stay", RIGHT, named)
    errors.add("b", "release red cube at 52 -10 2 : stay", RIGHT, named)
    plan = "1 of 2 . put the red cube on the plate . grasp at 52 -10 2 : stay"
    errors.add("b", plan, RIGHT, plan)
    errors.add("b", plan.replace("1 of", "0 of"), RIGHT, plan)
    record = errors.record("cm")
    assert record["unread"] == 0 and record["places"] == 5
    assert record["wrong_event"]["share"] == pytest.approx(1 / 5)
    assert record["wrong_words"]["share"] == pytest.approx(3 / 5)


def test_a_robot_whose_thoughts_name_no_place():
    errors = ThoughtErrors()
    errors.add(0, "release : joint 1 5", "grasp : joint 1 -5")
    errors.add(1, "grasp at 1 2 3 : stay", "grasp : joint 1 -5")
    record = errors.record("")
    assert record["places"] == 0 and record["wrong_event"]["share"] == 1.0
    assert record["unread"] == 1 and "error" not in record
    with pytest.raises(ValueError, match="demonstrated: found 'no', expected a thought"):
        errors.add(0, RIGHT, "no")


def test_the_unit_is_that_of_the_prompt():
    arm = load_contract("sim_panda")
    assert thought_unit(arm) == "cm"
    for scale, unit in ((1000.0, "mm"), (None, "m"), (3.0, "units of the prompt")):
        state = tuple(
            dataclasses.replace(part, scale=scale) if not part.words else part
            for part in arm.prompt_state
        )
        assert thought_unit(dataclasses.replace(arm, prompt_state=state)) == unit
    assert thought_unit(dataclasses.replace(arm, prompt_state=arm.prompt_state[1:])) == ""
