"""The source `scene_thought`: what is next in moments that no demonstration shows."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from roboalign_policy.core.contract.contract import load_contract
from roboalign_training.learning.moment_source import FIRST_SEED, MomentSource, scene_thoughts
from roboalign_training.learning.source import SourceInputs
from roboalign_training.learning.sources import SourceShare, open_sources
from roboalign_training.learning.thought_error import read_thought
from roboalign_training.pretraining.grounding_source import scene_questions
from roboalign_training.shared.run_layout import ConfigError


def inputs(contract, seed=3, style="place"):
    data = SimpleNamespace(contract=contract, folder="data", thought_style=style)
    return SourceInputs(data, np.arange(0), seed)


def test_thoughts_in_other_styles_say_more_about_the_same_moment():
    contract = load_contract("sim_panda")
    plain, named, plan = (
        scene_thoughts(inputs(contract, style=style), moments=80)
        for style in ("place", "named", "plan")
    )
    starts = set()
    for index in range(80):
        event, rest = plain[index].completion.split(" at ", 1)
        for source in (named, plan):
            assert source[index].completion.endswith(f" at {rest}")
        words = named[index].completion.removesuffix(f" at {rest}")
        assert words.startswith(event)
        starts.add(words)
        head = plan[index].completion.removesuffix(f" at {rest}")
        done, _, count = head.split()[:3]
        assert head.endswith(f" . {event}") and 0 <= int(done) <= int(count) <= 2
        instruction = plan[index].prompt[0]["content"][-1]["text"].split(" . ")[0]
        thing = words.removeprefix(event).split(" on ")[0].split(" in ")[0].strip()
        if thing and thing != "nothing":
            assert thing in instruction and thing in head
    assert {"grasp red cube", "grasp drawer", "release drawer", "retreat"} <= starts
    assert any(start.startswith("release red cube on ") for start in starts)
    assert "release nothing" in starts, "a gripper that closed on nothing"


def test_a_question_is_that_of_the_source_thought_and_is_answered_in_the_same_words():
    source = scene_thoughts(inputs(load_contract("sim_panda")), moments=50)
    assert len(source) == 50
    assert source.origin == {"moment_seeds": [106_000_000, 106_000_049]}
    for index in range(20):
        sample = source[index]
        words = sample.prompt[0]["content"][-1]["text"]
        assert words.startswith("task : ") and words.endswith(" . what is next ?")
        event, place = read_thought(sample.completion)
        assert event in ("grasp", "release", "retreat", "finish") and len(place) == 3
        state = words.partition(". state : ")[2].split()
        here = [int(state[at]) for at in (1, 3, 5)]
        way = dict(
            zip(*[iter(sample.completion.partition(" : ")[2].split()[1:])] * 2, strict=True)
        )
        signs = {"forward": (0, 1), "back": (0, -1), "left": (1, 1), "right": (1, -1),
                 "up": (2, 1), "down": (2, -1)}  # fmt: skip
        for word, length in way.items():
            axis, sign = signs[word]
            here[axis] += sign * int(length)
        assert tuple(here) == place, "place = state + way holds in the text"
        assert f"moment {106_000_000 + index} of " in sample.origin


def test_the_same_index_is_the_same_sample_and_another_seed_has_others():
    contract = load_contract("sim_panda")
    source = MomentSource(contract, 1, 10)
    first, again = source[4], MomentSource(contract, 1, 20)[4]
    assert first.completion == again.completion and first.prompt == again.prompt
    np.testing.assert_array_equal(first.images[0], again.images[0])
    assert not np.array_equal(MomentSource(contract, 2, 10)[4].images[0], first.images[0])
    with pytest.raises(IndexError, match="index: found 10, expected 0 .. 9"):
        source[10]
    for seed, count, said in (
        (400, 1, "seed: found 400, expected 0 .. 399"),
        (0, 0, "moments: found 0, expected 1 .. 2000000"),
        (0, 2_000_001, "moments: found 2000001"),
    ):
        with pytest.raises(ValueError, match=said):
            MomentSource(contract, seed, count)
    assert FIRST_SEED >= 100_000_000, "above the seeds of all other scenes"


def test_two_cameras_are_shown_by_name():
    sample = MomentSource(load_contract("sim_panda_wrist"), 1, 10)[0]
    assert len(sample.images) == 2 and not np.array_equal(*sample.images)
    named = [part["text"] for part in sample.prompt[0]["content"] if part["type"] == "text"]
    assert named[:2] == ["front : ", "wrist : "]


def test_another_robot_is_refused_with_what_to_change():
    arm = load_contract("sim_panda")
    others = {
        "ur5e": load_contract("ur5e"),
        "with another prompt.state": replace(arm, prompt_state=arm.prompt_state[:3]),
    }
    for said, contract in others.items():
        with pytest.raises(ConfigError, match=f"sources.scene_thought: found .*{said}") as refused:
            scene_thoughts(inputs(contract))
        assert str(refused.value).endswith("leave sources.scene_thought out")
    with pytest.raises(ConfigError, match="sources.scene_thought.moments: found 0, expected 1"):
        scene_thoughts(inputs(arm), moments=0)


@pytest.mark.parametrize("name", ["ur5e", "so101", "franka_fr3", "bimanual_so101"])
def test_questions_about_the_simulated_table_are_refused_for_other_robots(name):
    contract = load_contract(name)
    with pytest.raises(ConfigError, match=f"weight_scene: found .* of {contract.name} .*0$"):
        scene_questions(inputs(contract), questions=8)
    assert len(scene_questions(inputs(load_contract("sim_panda_wrist")), questions=8)) == 8


def test_it_is_drawn_from_by_its_name():
    shares = {"scene_thought": SourceShare("sources.scene_thought", 0.5, {"moments": 7})}
    opened = open_sources(shares, inputs(load_contract("sim_panda")))
    assert len(opened["scene_thought"]) == 7
