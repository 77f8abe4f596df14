"""Styles of thoughts, and how far an episode has come with its sub-goals."""

import dataclasses

import numpy as np
import pytest

from roboalign_training.learning.base_check import in_style_of
from roboalign_training.shared.run_layout import ConfigError
from roboalign_training.thoughts.segments import goals_done
from roboalign_training.thoughts.style import NAMED, PLACE, PLAN, Progress, style_of, styled_event
from roboalign_training.thoughts.sub_goals import sub_goals

GOALS = sub_goals("put the red cube on the blue plate and the green cube on the red cube")


def word_series(text):
    return np.array([{"o": "open", "c": "closed"}[letter] for letter in text])


@pytest.mark.parametrize(
    ("event", "style", "progress", "expected"),
    [
        ("grasp", PLACE, Progress(GOALS, 0), "grasp"),
        ("grasp", NAMED, Progress(GOALS, 0), "grasp red cube"),
        ("release", NAMED, Progress(GOALS, 1), "release green cube on red cube"),
        ("release", NAMED, Progress(GOALS, 1, holds=False), "release nothing"),
        ("retreat", NAMED, Progress(GOALS, 2), "retreat"),
        ("grasp", NAMED, Progress(sub_goals("open the drawer"), 0), "grasp drawer"),
        ("release", NAMED, Progress(sub_goals("open the drawer"), 0), "release drawer"),
        ("grasp", NAMED, Progress(sub_goals("grasp"), 0), "grasp"),
        ("grasp", NAMED, None, "grasp"),
        ("grasp", PLAN, None, "grasp"),
        ("grasp", PLAN, Progress(GOALS, 1), "1 of 2 . put the green cube on the red cube . grasp"),
        ("finish", PLAN, Progress(GOALS, 2), "2 of 2 . finish"),
    ],
)
def test_what_is_told_before_the_place(event, style, progress, expected):
    assert styled_event(event, style, progress) == expected


def test_a_gripper_ends_sub_goals():
    words = {"gripper": word_series("ooccoooccoo")}
    done = goals_done(words, {}, 2, 10.0)
    assert done.tolist() == [0, 0, 0, 0, 1, 1, 1, 1, 1, 2, 2]
    assert goals_done(words, {}, 1, 10.0) is None, "two grasps for one goal"
    assert goals_done({"gripper": word_series("oocccc")}, {}, 1, 10.0) is None, "never let go"
    both = {"left": word_series("occooooo"), "right": word_series("ooooocoo")}
    assert goals_done(both, {}, 2, 10.0).tolist() == [0, 0, 0, 1, 1, 1, 2, 2]


def test_where_no_gripper_changes_rests_end_sub_goals():
    x = np.array([0, 1, 2, 3, 3, 3, 3, 3, 3, 4, 5, 5, 6, 7, 7, 7])
    words = {"gripper": word_series("o" * len(x))}
    assert goals_done(words, {"x": x}, 2, 10.0).tolist() == [0] * 3 + [1] * 10 + [2] * 3
    assert goals_done({}, {"x": x}, 1, 10.0) is None
    assert goals_done({}, {"x": x}, 1, 20.0).tolist() == [0] * 13 + [1] * 3, "0.3 s is no rest"
    assert goals_done({}, {"x": np.zeros(9, int)}, 1, 10.0) is None, "nothing moves"


def test_frames_of_a_demonstration(demonstrations):
    plan = dataclasses.replace(demonstrations, thought_style=PLAN)
    assert plan.unnamed_episodes() == [e.id for e in plan.episodes], "the gripper only closes"
    assert plan.thought(3) == demonstrations.thought(3)
    states = {key: column.copy() for key, column in demonstrations.states.items()}
    width = states["state.gripper"]
    for span in demonstrations.episodes:
        width[span.stop - 2 : span.stop] = 0.08
    named = dataclasses.replace(demonstrations, states=states, thought_style=NAMED)
    assert named.unnamed_episodes() == []
    plain = dataclasses.replace(named, thought_style=PLACE)
    span = named.episodes[1]
    assert span.instruction == "grasp the blue cube"
    assert named.thought(span.start).startswith("grasp blue cube at ")
    assert named.thought(span.stop - 4).startswith("release blue cube at ")
    assert named.thought(span.stop - 1) == plain.thought(span.stop - 1)
    for frame in range(span.start, span.stop):
        assert named.thought(frame).replace(" blue cube", "") == plain.thought(frame)


def test_a_policy_of_before_there_were_styles_has_places(tmp_path, demonstrations):
    assert style_of({}) == PLACE and style_of({"thought_style": PLAN}) == PLAN
    (tmp_path / "roboalign.json").write_text('{"hashes": {}, "thought_style": "named"}')
    assert in_style_of(demonstrations, str(tmp_path)).thought_style == NAMED
    (tmp_path / "roboalign.json").write_text('{"hashes": {}, "thought_style": "rhyme"}')
    with pytest.raises(ConfigError, match="thought_style: found 'rhyme', expected one of place"):
        in_style_of(demonstrations, str(tmp_path))
