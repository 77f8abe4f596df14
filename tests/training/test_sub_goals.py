"""Sub-goals of instructions, in their own words."""

import pytest

from roboalign_policy.sim.tasks import SUITES
from roboalign_training.thoughts.sub_goals import sub_goals


@pytest.mark.parametrize(
    ("instruction", "expected"),
    [
        ("put the red cube on the plate", [("red cube", "on plate")]),
        ("put the left red cube on the plate", [("left red cube", "on plate")]),
        ("open the drawer", [("drawer", "")]),
        (
            "put the red cube on the blue plate and the green cube on the red cube",
            [("red cube", "on blue plate"), ("green cube", "on red cube")],
        ),
        (
            "open the drawer and put the red cube in the drawer",
            [("drawer", ""), ("red cube", "in drawer")],
        ),
        ("Pick the mug up, then put it in the sink.", [("mug", "in sink")]),
        ("pick up a cube and place it on the plate", [("cube", "on plate")]),
        ("put the salt and the pepper on the tray", [("salt", "on tray"), ("pepper", "on tray")]),
        (
            "put both the alphabet soup and the tomato sauce in the basket",
            [("alphabet soup", "in basket"), ("tomato sauce", "in basket")],
        ),
        ("take the cup of tea from the table and hand it to me", [("cup of tea", "to me")]),
        ("turn on the stove; go home", [("stove", ""), ("home", "")]),
        ("put the bowl on the stove next to the plate", [("bowl", "on stove next to plate")]),
        ("pull the drawer open", [("drawer", "")]),
        ("grasp", [("", "")]),
    ],
)
def test_things_and_places(instruction, expected):
    assert [(goal.thing, goal.place) for goal in sub_goals(instruction)] == expected


def test_a_part_is_told_in_whole_words():
    first, second = sub_goals("put A on B and the C on D")
    assert (first.words, second.words) == ("put a on b", "put the c on d")


def test_every_task_of_the_suites_has_as_many_as_goals():
    for task in (task for tasks in SUITES.values() for task in tasks):
        found = sub_goals(task.instruction)
        assert len(found) == len(task.goals), task.instruction
        for goal, part in zip(task.goals, found, strict=True):
            assert part.thing.split()[-1] in str(goal)


@pytest.mark.parametrize("instruction", ["", "  ", " . "])
def test_no_words(instruction):
    with pytest.raises(ValueError, match="expected words"):
        sub_goals(instruction)
