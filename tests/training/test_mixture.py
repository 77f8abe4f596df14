"""The SFT mixture: shares, determinism, coverage, and the texts of every kind."""

import numpy as np
import pytest

from roboalign_policy.core.policy.prompt import build_prompt, parse_answer, state_text
from roboalign_training.learning.mixture import (
    KINDS,
    Mixture,
    Weights,
    action_answer,
    action_prompt,
    grpo_dataset,
    request,
    sft_dataset,
    split_episodes,
    validation_mixture,
)
from roboalign_training.learning.reasoning import reasoning_text


class Questions:
    """Three questions about grey pictures."""

    def __len__(self):
        return 3

    def __getitem__(self, index):
        return (
            np.full((32, 32, 3), index, np.uint8),
            f"what is at {index} 0 ?",
            f"red cube {index}",
        )


@pytest.fixture(scope="module")
def make(demonstrations):
    def build(size=600, seed=3, frames=None, questions=None, **shares):
        given = {"act": 1, "think": 1, "scene": 1, "grasp": 1, **shares}
        frames = np.arange(len(demonstrations)) if frames is None else frames
        return Mixture(
            demonstrations,
            frames,
            size,
            weights=Weights(**given),
            seed=seed,
            questions=questions or Questions(),
        )

    return build


def test_shares_follow_the_weights(make):
    counts = make(size=8000, act=1, think=2, scene=4, grasp=1).counts()
    assert counts.keys() == set(KINDS)
    assert {k: round(v / 1000) for k, v in counts.items()} == {
        "act": 1,
        "think": 2,
        "scene": 4,
        "grasp": 1,
    }


def test_sample_depends_on_seed_and_index_alone(make):
    first, again, other = make(seed=3), make(seed=3), make(seed=4)
    for index in (0, 17, 599):
        a, b = first[index], again[index]
        assert (a.prompt, a.completion, a.kind) == (b.prompt, b.completion, b.kind)
        assert np.array_equal(a.images, b.images)
    assert any(first[i].prompt != other[i].prompt for i in range(20))


def test_every_frame_comes_before_any_repeats(make, demonstrations):
    mixture = make(size=len(demonstrations), think=0, scene=0, grasp=0)
    assert sorted(mixture.items.tolist()) == list(range(len(demonstrations)))


def test_action_samples(make, demonstrations):
    for kind, think in (("act", False), ("think", True)):
        shares = {other: 0 for other in KINDS if other != kind}
        mixture = make(size=40, **shares)
        for index in range(40):
            frame, sample = int(mixture.items[index]), mixture[index]
            state = state_text(demonstrations.contract, demonstrations.values(frame))
            words = build_prompt(demonstrations.instruction(frame), state, think=think)
            assert sample.prompt == request(words)
            answer = parse_answer(sample.completion)
            assert answer.well_formed, answer.fault
            assert answer.tokens == demonstrations.tokens(frame)
            expected = (
                reasoning_text(demonstrations.contract, *demonstrations.episode_states(frame))
                if think
                else None
            )
            assert answer.reasoning == expected
            (image,) = sample.images
            assert np.array_equal(image, demonstrations.images(frame)[0])


def test_grounding_samples(make, demonstrations):
    scene = make(size=9, act=0, think=0, grasp=0)
    assert sorted(scene[i].completion for i in range(9)) == sorted(
        [f"red cube {i}" for i in range(3)] * 3
    )
    grasp = make(size=30, act=0, think=0, scene=0)
    for index in range(30):
        sample, frame = grasp[index], int(grasp.items[index])
        episode = demonstrations.episode(frame)
        question = f"where does the arm grasp to {episode.instruction} ?"
        assert sample.prompt == request(question)
        closing = demonstrations.values(episode.start + 6)[
            "state.ee"
        ]  # the frame at which the fixture closes
        assert sample.completion == " ".join(str(round(float(v) * 100)) for v in closing[:3])
        assert frame < episode.start + 6


def test_only_given_frames_are_used(make):
    mixture = make(size=50, frames=np.array([2, 3, 26]), scene=0)
    assert set(mixture.items.tolist()) <= {2, 3, 26}


def test_faults(make, demonstrations):
    with pytest.raises(ValueError, match="weight_scene: found 1, expected 0: there is nothing"):
        Mixture(demonstrations, np.arange(4), 10, weights=Weights(1, 0, 1, 0), seed=0)
    with pytest.raises(ValueError, match="weight_grasp: found"):
        make(frames=np.array([11]))  # the last frame: nothing is grasped any more
    with pytest.raises(ValueError, match="weight_act: found -1"):
        Weights(act=-1)
    with pytest.raises(ValueError, match="found only zeros"):
        Weights(0, 0, 0, 0)


def test_validation_takes_every_held_out_frame_once_and_actions_alone(demonstrations):
    frames = np.arange(4)
    found = validation_mixture(demonstrations, frames, weights=Weights(1, 2, 3, 0), seed=0)
    assert found.counts()["scene"] == found.counts()["grasp"] == 0
    for kind in set(found.kinds):
        items = found.items[found.kinds == kind]
        assert len(set(items)) == len(items) and set(items) <= set(frames)
    assert len(found) == 4
    assert validation_mixture(demonstrations, frames, weights=Weights(0, 0, 1, 0), seed=0) is None
    with pytest.raises(ValueError, match="held_out_episodes: found no frame with a whole chunk"):
        validation_mixture(demonstrations, frames[:0], weights=Weights(1, 0, 0, 0), seed=0)


def test_split_holds_out_whole_episodes_by_id(demonstrations):
    train, held = split_episodes(demonstrations, 2, seed=1)
    assert len(train) == 48
    assert len(held) == 24
    assert not {demonstrations.episode(f).id for f in train} & {
        demonstrations.episode(f).id for f in held
    }
    assert [a.tolist() for a in split_episodes(demonstrations, 2, seed=1)] == [
        train.tolist(),
        held.tolist(),
    ]
    more = split_episodes(demonstrations, 3, seed=1)[1]
    assert set(held.tolist()) < set(more.tolist())
    with pytest.raises(ValueError, match=r"found 6, expected 0 \.\. 5"):
        split_episodes(demonstrations, 6, seed=1)


def test_datasets_have_the_columns_of_the_trainers(make, demonstrations):
    mixture = make()
    rows = sft_dataset(mixture)
    assert len(rows) == 600
    assert rows[17]["prompt"] == mixture[17].prompt
    assert rows[17]["completion"] == mixture[17].completion
    assert rows[:3]["images"][2][0].shape == mixture[2].images[0].shape
    frames = np.array([5, 9])
    prompts = grpo_dataset(demonstrations, frames, think=True)
    wanted = prompts[1]["wanted"]
    assert wanted.tokens == demonstrations.tokens(9)
    assert np.array_equal(wanted.actions, demonstrations.chunk(9))
    limits = [dim.limits for dim in demonstrations.contract.action.dims]
    assert wanted.ranges.tolist() == [high - low for low, high in limits]
    answer = parse_answer(action_answer(demonstrations, 9, think=True))
    assert (wanted.thinks, wanted.thought) == (True, answer.reasoning)
    unasked = grpo_dataset(demonstrations, frames, think=False)[1]["wanted"]
    assert (unasked.thinks, unasked.thought) == (False, None)
    assert prompts[1]["prompt"] == request(action_prompt(demonstrations, 9, think=True))
    (image,) = prompts[0]["images"]
    assert np.array_equal(np.asarray(image), demonstrations.images(5)[0])
