"""Augmented pictures: drawn by seed, epoch and draw; in training alone; resumed bit for bit."""

import json
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from head_runs import make_base, runs_of, stopping_after
from safetensors.torch import load_file
from trl import GRPOTrainer, SFTTrainer

from roboalign_training import grpo, sft, vla
from roboalign_training.learning import keep_best
from roboalign_training.learning.arguments import (
    ConfigError,
    GrpoArguments,
    SftArguments,
    VlaArguments,
)
from roboalign_training.learning.augmentation import Augmentation, make_augmentation
from roboalign_training.learning.hidden_reader import HiddenReader
from roboalign_training.learning.run_folder import RunFolder
from roboalign_training.shared.outputs import OutputError

ON = ("--augment_crop", "0.1", "--augment_colour", "0.2")


def pictures(count=2, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 255, (24, 32, 3), dtype=np.uint8) for _ in range(count)]


def same(first, second):
    return all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


def test_the_same_draw_gives_the_same_pictures_and_another_does_not():
    images = pictures()
    before = [image.copy() for image in images]
    augment = Augmentation(0.1, 0.2, seed=5)
    first = augment(images, 7)
    assert [(image.shape, image.dtype) for image in first] == [((24, 32, 3), np.uint8)] * 2
    assert same(images, before), "what is read from the data set is not written to"
    assert same(first, Augmentation(0.1, 0.2, seed=5)(images, 7))
    assert not same(first, images)
    assert not same(first, augment(images, 8))
    assert not same(first, Augmentation(0.1, 0.2, seed=6)(images, 7))
    assert not same(first, Augmentation(0.1, 0.2, seed=5, epoch=1)(images, 7))


def test_a_crop_cuts_at_most_its_share_off_each_side():
    ramp = np.tile(np.linspace(0, 255, 256).astype(np.uint8)[None, :, None], (64, 1, 3))
    found = [Augmentation(0.1, 0.0, 1)([ramp], draw)[0] for draw in range(200)]
    left, right = (np.array([int(image[32, at, 0]) for image in found]) for at in (0, -1))
    assert left.min() >= 0 and left.max() <= 0.1 * 255 + 1
    assert right.max() <= 255 and right.min() >= 0.9 * 255 - 1
    assert left.max() > 0.08 * 255 and right.min() < 0.92 * 255, "the whole range is drawn"
    assert all(np.array_equal(image[..., 0], image[..., 2]) for image in found)


def test_each_camera_has_its_own_crop_and_all_have_the_same_colours():
    ramp = np.tile(np.linspace(0, 255, 64).astype(np.uint8)[None, :, None], (8, 1, 3))
    one, two = Augmentation(0.2, 0.0, 1)([ramp, ramp], 3)
    assert not np.array_equal(one, two)
    one, two = Augmentation(0.0, 0.3, 1)([ramp, ramp], 3)
    assert np.array_equal(one, two) and not np.array_equal(one, ramp)


def test_colour_changes_by_at_most_its_share():
    grey = np.full((8, 8, 3), 100, np.uint8)
    levels = [int(Augmentation(0.0, 0.2, 1)([grey], draw)[0][0, 0, 0]) for draw in range(200)]
    # Of one grey, contrast and saturation leave what brightness makes of it.
    assert 80 <= min(levels) < 84 and 116 < max(levels) <= 120


@pytest.mark.parametrize("kind", [SftArguments, GrpoArguments, VlaArguments])
def test_it_is_off_by_default_and_impossible_values_are_refused(kind):
    training = SimpleNamespace(seed=1, dataloader_persistent_workers=False)
    assert make_augmentation(kind(dataset="x"), training) is None
    asked = kind(dataset="x", augment_crop=0.1)
    assert make_augmentation(asked, training) == Augmentation(0.1, 0.0, 1)
    for value in (-0.1, 0.5, float("nan")):
        with pytest.raises(ConfigError, match=r"augment_crop: found .*, expected from 0 to below"):
            kind(dataset="x", augment_crop=value)
    for value in (-0.1, 1.0, float("nan")):
        with pytest.raises(ConfigError, match=r"augment_colour: found .*, expected from 0 to be"):
            kind(dataset="x", augment_colour=value)
    training.dataloader_persistent_workers = True
    with pytest.raises(ConfigError, match="dataloader_persistent_workers: found True, expected f"):
        make_augmentation(asked, training)


def of_one_picture(images, known):
    """Frames whose recorded pictures some pictures are, -1 where they are none of them."""
    by_bytes = {image.tobytes(): frame for frame, image in known.items()}
    return [by_bytes.get(np.asarray(image).tobytes(), -1) for image in images]


@pytest.fixture
def recorded(demonstrations):
    """Frame -> its picture."""
    return {frame: demonstrations.images(frame)[0] for frame in range(len(demonstrations))}


@pytest.fixture
def run_sft(demonstrations, tiny_base, tmp_path, monkeypatch):
    monkeypatch.setattr(sft, "load_demonstrations", lambda *given: demonstrations)

    def start(*options, folder="run"):
        given = (
            f"--dataset x --base {tiny_base} --out {tmp_path / folder} --max_steps 4 "
            "--per_device_train_batch_size 4 --logging_steps 1 --weight_scene 0 "
            "--held_out_episodes 1 --dev_frames 3 --max_answer_tokens 4"
        )
        return sft.train([*given.split(), *options])

    return start


def model_of(policy):
    return load_file(policy / "model.safetensors")


def equal(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[n], second[n]) for n in first)


def test_sft_stopped_and_resumed_with_augmentation_gives_the_same_weights(run_sft, monkeypatch):
    plain, whole = model_of(run_sft(folder="plain")), model_of(run_sft(*ON, folder="whole"))
    assert not equal(plain, whole)
    with monkeypatch.context() as patch:
        patch.setattr(sft, "stop_on_signal", stopping_after(2))
        with pytest.raises(sft.Stopped, match="after step 2"):
            run_sft(*ON, folder="parts")
    with pytest.raises(OutputError, match="augment_crop: found 0.1, now 0.0"):
        run_sft(folder="parts")
    assert equal(whole, model_of(run_sft(*ON, folder="parts")))


def test_sft_augments_training_pictures_alone(run_sft, recorded, demonstrations, monkeypatch):
    made = []

    class Spy(SFTTrainer):
        def __init__(self, *args, train_dataset, eval_dataset, **kwargs):
            made.append((train_dataset, eval_dataset))
            super().__init__(
                *args, train_dataset=train_dataset, eval_dataset=eval_dataset, **kwargs
            )

    calls, before_scoring = [], []
    of, score = Augmentation.__call__, sft.score_frames

    def call(self, images, draw):
        calls.append(draw)
        return of(self, images, draw)

    def scored(*args, **kwargs):
        before_scoring.append(len(calls))
        return score(*args, **kwargs)

    monkeypatch.setattr(sft, "SFTTrainer", Spy)
    monkeypatch.setattr(Augmentation, "__call__", call)
    monkeypatch.setattr(sft, "score_frames", scored)
    run_sft(*ON)
    assert before_scoring == [len(calls)], "no picture is augmented when the result is scored"
    assert set(calls) == set(range(16)), "every place in the mixture by its own number"
    ((train, held),) = made
    assert set(of_one_picture([row["images"][0] for row in train], recorded)) == {-1}
    frames = of_one_picture([row["images"][0] for row in held], recorded)
    assert len(frames) == 3 and -1 not in frames


class Groups(GRPOTrainer):
    """Keeps the pictures of each generation."""

    seen = []

    def _generate_and_score_completions(self, inputs):
        pictures = [np.asarray(example["images"][0]).tobytes() for example in inputs]
        self.seen.append((self.state.global_step, pictures))
        return super()._generate_and_score_completions(inputs)


@pytest.fixture
def run_grpo(demonstrations, tiny_base, tmp_path, monkeypatch):
    base = make_base(demonstrations, tiny_base, tmp_path / "base")
    monkeypatch.setattr(grpo, "load_demonstrations", lambda *given: demonstrations)
    monkeypatch.setattr(grpo, "GRPOTrainer", Groups)

    def start(*options, folder="run"):
        monkeypatch.setattr(Groups, "seen", [])
        given = (
            f"--dataset x --base {base} --out {tmp_path / folder} --samples 4 "
            "--num_generations 2 --per_device_train_batch_size 4 --held_out_episodes 1 "
            "--dev_frames 2 --dev_every 1 --max_completion_length 4 --num_train_epochs 2"
        )
        grpo.train([*given.split(), *options])
        return Groups.seen

    return start


def test_grpo_shows_all_samples_of_a_prompt_the_same_picture(
    run_grpo, recorded, demonstrations, monkeypatch
):
    asked = []
    real = keep_best.score_frames

    def look(model, collator, data, frames, **how):
        prompts = collator.prompts

        def keep(samples):
            asked.extend(image for sample in samples for image in sample["images"])
            return prompts(samples)

        monkeypatch.setattr(collator, "prompts", keep)
        return real(model, collator, data, frames, **how)

    monkeypatch.setattr(keep_best, "score_frames", look)
    seen = run_grpo(*ON)
    assert [step for step, _ in seen] == [0, 1, 2, 3]
    known = {image.tobytes() for image in recorded.values()}
    for _, (one, two, three, four) in seen:
        assert one == two != three == four
        assert not {one, three} & known
    first, second = ({p for _, group in part for p in group} for part in (seen[:2], seen[2:]))
    assert len(first) == len(second) == 4 and not first & second, "an epoch draws anew"
    assert asked and -1 not in of_one_picture(asked, recorded), "held-out frames as recorded"


def test_grpo_stopped_and_resumed_sees_the_same_pictures(run_grpo, monkeypatch):
    whole = run_grpo(*ON, "--num_train_epochs", "1", folder="whole")

    @contextmanager
    def stop():
        yield lambda: True

    with monkeypatch.context() as patch:
        patch.setattr(grpo, "stop_on_signal", stop)
        with pytest.raises(grpo.Stopped, match="after step 1"):
            run_grpo(*ON, "--num_train_epochs", "1", folder="parts")
    first = list(Groups.seen)
    assert first + run_grpo(*ON, "--num_train_epochs", "1", folder="parts") == whole


@pytest.fixture
def run_vla(demonstrations, tiny_base, tmp_path, monkeypatch):
    base = make_base(demonstrations, tiny_base, tmp_path / "base")
    return runs_of(demonstrations, base, tmp_path, monkeypatch)


def head_of(policy):
    return load_file(policy / "flow_head.safetensors")


def test_vla_reads_augmented_pictures_anew_and_resumes_to_the_same_weights(
    run_vla, monkeypatch, tmp_path, capsys
):
    """Over 9 steps of 6 an epoch; the model's own thoughts are made once."""
    nine = ("--max_steps", "9")
    whole = run_vla(*ON, *nine, folder="whole")
    assert "the model reads its frames anew in every step, since pictures are augmented" in (
        capsys.readouterr().out
    )
    kept = {path.name for path in (tmp_path / "whole/features").rglob("*") if path.is_file()}
    assert kept == {
        "thoughts.json", "thoughts-00000.json", "features.json", "hidden-00000.safetensors"
    }  # fmt: skip
    assert not (tmp_path / "whole/features/training").exists()
    thoughts = json.loads((tmp_path / "whole/features/thoughts/thoughts-00000.json").read_text())
    assert len(thoughts["frames"]) == round(0.3 * 48)
    # Asked before each of thoughts and held-out frames, then after every step.
    for count, text in ((1, "while hidden states are read"), (6, "step 4"), (10, "step 8")):
        with monkeypatch.context() as patch:
            patch.setattr(vla, "stop_on_signal", stopping_after(count))
            with pytest.raises(vla.Stopped, match=text):
                run_vla(*ON, *nine, folder=f"parts{count}")
        with monkeypatch.context() as patch:
            if count > 2:
                patch.setattr(HiddenReader, "own_thoughts", None)
                patch.setattr(HiddenReader, "read", None)
            parts = run_vla(*ON, *nine, folder=f"parts{count}")
        assert equal(head_of(whole), head_of(parts)), count


def test_vla_trains_on_other_pictures_and_is_scored_on_the_recorded_ones(
    run_vla, demonstrations, monkeypatch, tmp_path
):
    plain = run_vla(folder="plain")
    draws, of = [], Augmentation.__call__
    monkeypatch.setattr(
        Augmentation,
        "__call__",
        lambda self, images, draw: draws.append((self.epoch, draw)) or of(self, images, draw),
    )
    policy = run_vla(*ON, "--max_steps", "12", folder="augmented")
    assert not equal(head_of(plain), head_of(policy))
    hashes = [json.loads((p / "roboalign.json").read_text())["hashes"] for p in (plain, policy)]
    assert hashes[0]["backbone"] == hashes[1]["backbone"]
    by_epoch = [sorted(draw for epoch, draw in draws if epoch == wanted) for wanted in (0, 1)]
    assert by_epoch[0] == by_epoch[1] and len(set(by_epoch[0])) == 48 == len(by_epoch[0])
    held = [
        load_file(tmp_path / name / "features/held_out/hidden-00000.safetensors")
        for name in ("plain", "augmented")
    ]
    assert equal(*held)
    assert not set(held[0]["frames"].tolist()) & set(by_epoch[0])
    assert RunFolder(tmp_path / "augmented").result()["dev_frames"] == 6


def test_vla_without_thoughts_keeps_none(run_vla, tmp_path):
    run_vla(*ON, "--condition", "prompt", "--max_steps", "1")
    assert [path.name for path in (tmp_path / "run/features").iterdir()] == ["held_out"]


def test_thoughts_of_something_else_are_refused(run_vla, tmp_path):
    kept = ("--features", str(tmp_path / "kept"), "--max_steps", "1")
    run_vla(*ON, *kept, folder="one")
    with pytest.raises(OutputError, match="thoughts of something else.*max_think_tokens: found 6"):
        run_vla(*ON, *kept, "--max_think_tokens", "5", folder="two")
    assert not (tmp_path / "two").exists()


def test_two_cameras_of_a_sample_are_all_augmented(demonstrations):
    from roboalign_policy.core.contract.contract import find_contract, load_contract
    from roboalign_training.learning.live_training import LiveSamples

    two = load_contract(find_contract("sim_panda_wrist"))
    data = replace(demonstrations, contract=two)
    targets = np.zeros((1, 3), np.float32), np.zeros((1, 8, 7), np.float32)
    augment = Augmentation(0.1, 0.2, 1)
    plain, changed = (
        LiveSamples(data, np.array([3]), "prompt", {}, targets, how)[0] for how in (None, augment)
    )
    assert len(plain["images"]) == len(changed["images"]) == 2
    assert not any(map(np.array_equal, plain["images"], changed["images"]))
    assert plain["prompt"] == changed["prompt"]
