"""The SFT mixture: shares, determinism, coverage, and the texts of every kind."""

import copy
import gc
import pickle

import numpy as np
import pytest
from torch.utils.data import DataLoader

from roboalign_policy.core.policy.prompt import (
    build_prompt,
    build_question,
    parse_answer,
    state_text,
)
from roboalign_training.learning.action_source import action_answer, action_prompt
from roboalign_training.learning.arguments import MOST_SCENE_QUESTIONS, ConfigError, SftArguments
from roboalign_training.learning.mixture import (
    grpo_dataset,
    sft_dataset,
    split_episodes,
    training_mixture,
    training_row,
    validation_mixture,
)
from roboalign_training.learning.reasoning import reasoning_text
from roboalign_training.learning.source import SourceInputs, TrainingSample, question, request
from roboalign_training.learning.sources import SOURCES, check_sources, open_sources
from roboalign_training.pretraining import grounding_source

OWN = ("act", "think", "scene", "grasp")


class Questions:
    """Three questions about grey pictures."""

    origin = {"questions": 3}

    def __len__(self):
        return 3

    def __getitem__(self, index):
        image = np.full((32, 32, 3), index, np.uint8)
        return question([image], f"what is at {index} 0 ?", f"red cube {index}", "grey pictures")


def shares_of(sources=None, **weights):
    given = {f"weight_{name}": float(weights.get(name, 0)) for name in OWN}
    return SftArguments("x", sources=sources or {}, **given).shares()


@pytest.fixture
def make(demonstrations, monkeypatch):
    monkeypatch.setattr(grounding_source, "GroundingSource", lambda seed, n: Questions())

    def build(size=600, seed=3, frames=None, sources=None, **weights):
        given = {**dict.fromkeys(OWN, 1), **weights}
        frames = np.arange(len(demonstrations)) if frames is None else frames
        inputs = SourceInputs(demonstrations, frames, seed)
        return training_mixture(shares_of(sources, **given), inputs, size)

    return build


def test_shares_follow_the_weights(make):
    counts = make(size=8000, act=1, think=2, scene=4, grasp=1).counts()
    assert counts.keys() == set(OWN)
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
        assert (a.messages, a.origin) == (b.messages, b.origin)
        assert np.array_equal(a.images, b.images)
    assert any(first[i].prompt != other[i].prompt for i in range(20))


def test_the_draw_is_that_of_earlier_versions(make):
    """A run that was begun with one of them is gone on with to the same end."""
    mixture = make(size=12, act=1, think=2, scene=3, grasp=4)
    assert mixture.kinds.tolist() == [0, 1, 3, 2, 0, 2, 2, 1, 3, 1, 2, 2]
    drawn = zip(mixture.kinds, mixture.items, strict=True)
    opened = [(mixture.sources[mixture.names[kind]], item) for kind, item in drawn]
    frames = [int(getattr(s, "frames", np.arange(3))[item]) for s, item in opened]
    assert frames == [36, 27, 24, 2, 28, 1, 0, 53, 41, 38, 2, 1]


def test_the_thought_as_an_answer_in_words(make, demonstrations):
    zero = dict.fromkeys(OWN, 0)
    mixture = make(size=20, sources={"thought": 1.0}, **zero)
    assert mixture.counts() == {**zero, "thought": 20}
    for index in range(20):
        frame, sample = int(mixture.items[index]), mixture[index]
        state = state_text(demonstrations.contract, demonstrations.values(frame))
        words = build_question(demonstrations.instruction(frame), state)
        assert words.endswith(f"state : {state} . what is next ?")
        assert sample.prompt == request(words)
        assert sample.completion == reasoning_text(
            demonstrations.contract, *demonstrations.episode_states(frame)
        )


def test_every_frame_comes_before_any_repeats(make, demonstrations):
    mixture = make(size=len(demonstrations), think=0, scene=0, grasp=0)
    assert sorted(mixture.items.tolist()) == list(range(len(demonstrations)))


def test_action_samples(make, demonstrations):
    for kind, think in (("act", False), ("think", True)):
        shares = {other: 0 for other in OWN if other != kind}
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
        sample = grasp[index]
        frame = int(grasp.sources["grasp"].frames[grasp.items[index]])
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
    frames = {2: "frame 2 of episode e0", 3: "frame 3 of episode e0", 26: "frame 2 of episode e2"}
    for index in range(50):
        source = mixture.sources[mixture.names[mixture.kinds[index]]]
        frame = int(source.frames[mixture.items[index]])
        assert mixture[index].origin.endswith(f": {frames[frame]}")


def test_faults(make, demonstrations, monkeypatch):
    with pytest.raises(ValueError, match="weight_grasp: found 1, expected 0: there is nothing"):
        make(frames=np.array([11]))  # the last frame: nothing is grasped any more
    monkeypatch.setattr(Questions, "__len__", lambda self: 0)
    with pytest.raises(ValueError, match="weight_scene: found 1, expected 0: there is nothing"):
        make()
    with pytest.raises(ConfigError, match="weight_act: found -1"):
        shares_of(act=-1)
    with pytest.raises(ConfigError, match="found only zeros"):
        shares_of()


def test_validation_takes_every_held_out_frame_once_and_actions_alone(demonstrations):
    frames = np.arange(4)
    inputs = SourceInputs(demonstrations, frames, 0)
    found = validation_mixture(shares_of(act=1, think=2, scene=3), inputs)
    assert found.sources.keys() == found.counts().keys() == {"act", "think"}
    for kind in set(found.kinds):
        items = found.items[found.kinds == kind]
        assert len(set(items)) == len(items) and set(items) <= set(frames)
    assert len(found) == 4
    assert validation_mixture(shares_of(scene=1), inputs) is None
    with pytest.raises(ValueError, match="held_out_episodes: found no frame with a whole chunk"):
        validation_mixture(shares_of(act=1), SourceInputs(demonstrations, frames[:0], 0))


def colours(inputs, *, count: int, colour: str = "red"):
    """A source with options."""
    found = Questions()
    found.origin = {"count": count, "colour": colour, "frames": len(inputs.frames)}
    return found


@pytest.fixture
def with_colours(monkeypatch):
    monkeypatch.setitem(SOURCES, "colours", f"{__name__}:colours")


def test_a_further_source_is_drawn_by_its_share(make, with_colours):
    options = {"share": 5, "count": 3, "colour": "blue"}
    mixture = make(size=900, sources={"colours": options})
    assert list(mixture.counts()) == [*OWN, "colours"]
    assert 450 < mixture.counts()["colours"] < 550
    origin = {"count": 3, "colour": "blue", "frames": 72}
    assert mixture.sources["colours"].origin == origin
    alone = make(size=900, sources={"colours": {**options, "share": 0}})
    assert np.array_equal(alone.items, make(size=900).items), "without a share it changes nothing"


def test_another_spelling_of_a_source_is_no_other_configuration(with_colours, monkeypatch):
    monkeypatch.setitem(SOURCES, "more", f"{__name__}:colours")
    texts = [
        SftArguments("x", sources=sources).record()["sources"]
        for sources in (
            {"more": 1, "colours": {"share": 2, "count": 3, "colour": "red"}},
            {"colours": {"colour": "red", "count": 3, "share": 2.0}, "more": {"share": 1.0}},
        )
    ]
    assert texts == [
        "{colours: {share: 2.0, colour: red, count: 3}, more: {share: 1.0}}"
    ] * 2  # fmt: skip


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ({"color": 1},
         "sources: found 'color', expected names of thought, scene_thought, colours; did you"),
        ({"act": 0.3}, "sources: found 'act', expected its share as weight_act"),
        ({"colours": "much"}, "sources.colours: found 'much', expected its share, a number, or"),
        ({"colours": True}, "sources.colours: found True, expected its share, a number, or"),
        ({"colours": {"count": 1}}, "sources.colours: found {'count': 1}, expected its share"),
        ({"colours": -1}, "sources.colours: found -1.0, expected a finite number, 0 or more"),
        ({"colours": 1}, "sources.colours.count: not given, and there is no default"),
        ({"colours": {"share": 1, "count": "two"}}, "sources.colours.count: found 'two', expecte"),
        ({"colours": {"share": 1, "cont": 1}}, "sources.colours: found 'cont', expected keys of "
         "share, count, colour"),
    ],
)  # fmt: skip
def test_what_cannot_be_a_source_is_refused(with_colours, given, fault):
    with pytest.raises(ConfigError) as refused:
        check_sources(shares_of(given, act=1))
    assert fault in str(refused.value)


def untyped(inputs, *, count=3):
    """A source with an option that does not say what it is."""
    return Questions()


def test_an_option_without_a_type_is_named(monkeypatch):
    monkeypatch.setitem(SOURCES, "untyped", f"{__name__}:untyped")
    said = f"^sources.untyped.count: found an option without a type in {__name__}:untyped, expect"
    with pytest.raises(ConfigError, match=said):
        check_sources(shares_of({"untyped": {"share": 1, "count": 2}}, act=1))
    check_sources(shares_of({"untyped": 1}, act=1))


def test_there_are_as_many_scene_questions_as_the_arguments_allow():
    source = grounding_source.GroundingSource(0, MOST_SCENE_QUESTIONS)
    assert len(source) == MOST_SCENE_QUESTIONS
    with pytest.raises(ValueError, match="n: found"):
        grounding_source.GroundingSource(0, MOST_SCENE_QUESTIONS + 1)


def test_the_further_sources_that_come_with_the_suite():
    assert tuple(SOURCES) == (*OWN, "thought", "scene_thought")
    with pytest.raises(
        ConfigError, match="sources: found 'x', expected names of thought, scene_thought$"
    ):
        shares_of({"x": 1}, act=1)


def test_a_sample_is_one_question_with_its_answer_about_an_image():
    image = np.zeros((2, 2, 3), np.uint8)
    asked, told = question([image], "?", "!", "").messages
    with pytest.raises(ValueError, match="line 3: found messages of .*, expected one of user and"):
        TrainingSample((image,), (asked, asked), "line 3")
    for images in ((), (image, image)):
        with pytest.raises(ValueError, match=f"line 3: found {len(images)} images and 1 places"):
            TrainingSample(images, (asked, told), "line 3")
    two = question([image, image], "?", "!", "line 3", ("front", "wrist"))
    assert training_row(two)["prompt"] == request("?", ("front", "wrist"))


def test_only_sources_with_a_share_are_opened(demonstrations, monkeypatch):
    monkeypatch.setitem(SOURCES, "scene", "no.such.module:source")
    inputs = SourceInputs(demonstrations, np.arange(4), 0)
    assert open_sources(shares_of(act=1), inputs).keys() == {"act"}


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


def test_datasets_hash_the_name_of_the_rows_and_not_the_demonstrations(make):
    """Copies and forked workers see the same rows; a process that never had them is told so."""
    rows = sft_dataset(make())
    transform = rows.format["format_kwargs"]["transform"]
    pickled = pickle.dumps(transform)
    assert len(pickled) < 200
    assert pickle.loads(pickled) is transform
    assert copy.deepcopy(rows)[17]["prompt"] == rows[17]["prompt"]
    loader = DataLoader(rows, batch_size=2, num_workers=1, collate_fn=list)
    assert next(iter(loader))[1]["completion"] == rows[1]["completion"]
    del rows, transform, loader
    gc.collect()
    with pytest.raises(ConfigError, match="dataloader_num_workers: .* expected forked ones"):
        pickle.loads(pickled)


def test_datasets_have_the_columns_of_the_trainers(make, demonstrations):
    mixture = make()
    rows = sft_dataset(mixture)
    assert len(rows) == 600
    assert rows[17]["prompt"] == mixture[17].prompt
    assert rows[17]["completion"] == mixture[17].completion
    assert rows[17]["origin"] == mixture[17].origin
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
