"""A training that would be another arm's once more is taken from there; no other one is."""

import json
import os
from dataclasses import replace
from types import SimpleNamespace

import pytest
from rich.console import Console

from roboalign_training.demo import equal_policies, equal_training, stages
from roboalign_training.demo.experiment import load_experiment, packaged_experiment
from roboalign_training.demo.stages import stages_of
from roboalign_training.shared.outputs import content_hash

QUIET = Console(quiet=True)
DEMO = load_experiment(packaged_experiment("demo"))


@pytest.fixture
def heads(tmp_path, monkeypatch):
    """Stages of two heads, whose commands leave a policy."""
    state = SimpleNamespace(out=tmp_path, trained=[], hashes={"sft": "s", "grpo": "s"})

    def describe(folder, options):
        return {"policy_hash": state.hashes[folder.parent.name]}

    def start(command, *words, log, **how):
        folder = words[words.index("--out") + 1]
        state.trained.append(folder.name)
        policy = folder / "policy"
        policy.mkdir(parents=True)
        (policy / "model.safetensors").write_text(folder.name)
        (policy / "roboalign.json").write_text(folder.name)
        (folder / "run.json").write_text("{}")
        result = {"steps": 9, "samples": 4, "left_out": {"frame": {"dark": 2}}}
        (folder / "result.json").write_text(json.dumps(result))

    monkeypatch.setattr(equal_policies, "describe_run", describe)
    monkeypatch.setattr(stages, "_roboalign", start)
    state.make = lambda name, experiment=DEMO: stages_of(experiment)[name](
        experiment, tmp_path, QUIET
    )
    return state


def test_a_head_on_an_equal_policy_is_the_same_head(heads):
    first, second = heads.make("sft_head"), heads.make("grpo_head")
    assert heads.trained == ["sft_head"]
    assert second == {**first, "left_out": {}, "same_as": "sft_head"}
    assert json.loads((heads.out / "grpo_head/result.json").read_text()) == second
    one, other = (heads.out / name / "policy" for name in ("sft_head", "grpo_head"))
    assert content_hash(one) == content_hash(other)
    weights, record = (os.stat(other / name) for name in ("model.safetensors", "roboalign.json"))
    assert (weights.st_nlink, record.st_nlink) == (2, 1), "a record may be written into"


def other_options(arms):
    return {**arms, "grpo_head": replace(arms["grpo_head"], options={"max_steps": 7})}


def other_seed(arms):
    """Both seeds of what it starts from; another one of the head."""
    trained = {n: replace(arms[n], seeds=(1, 2)) for n in ("sft", "grpo")}
    return {**arms, **trained, "grpo_head": replace(arms["grpo_head"], seeds=(2,))}


def other_steps(arms):
    return {**arms, "grpo_head": replace(arms["grpo_head"], replan_after_steps=2)}


def same_start(arms):
    """Two arms of one start: both were asked for."""
    return {**arms, "grpo_head": replace(arms["grpo_head"], start="sft")}


@pytest.mark.parametrize("change", [other_options, other_seed, other_steps, same_start])
def test_what_differs_is_trained(heads, change):
    heads.hashes |= {"sft-1": "s", "grpo-2": "s"}
    experiment = replace(DEMO, arms=change(dict(DEMO.arms)))
    heads.make("sft_head", replace(experiment, arms=DEMO.arms))
    assert "same_as" not in heads.make("grpo_head", experiment)
    assert heads.trained == ["sft_head", "grpo_head"]


def test_a_head_on_another_policy_is_trained(heads):
    heads.hashes["grpo"] = "g"
    heads.make("sft_head")
    assert "same_as" not in heads.make("grpo_head")
    assert heads.trained == ["sft_head", "grpo_head"]


def test_a_training_that_was_begun_is_gone_on_with(heads):
    heads.make("sft_head")
    (heads.out / "grpo_head").mkdir()
    (heads.out / "grpo_head/run.json").write_text("{}")
    heads.make("grpo_head")
    assert heads.trained == ["sft_head", "grpo_head"]


def test_a_killed_copy_is_made_again(heads, monkeypatch):
    heads.make("sft_head")
    copy = equal_training.shutil.copytree

    def killed(*of, **how):
        copy(*of, **how)
        raise KeyboardInterrupt

    monkeypatch.setattr(equal_training.shutil, "copytree", killed)
    with pytest.raises(KeyboardInterrupt):
        heads.make("grpo_head")
    monkeypatch.setattr(equal_training.shutil, "copytree", copy)
    assert heads.make("grpo_head")["same_as"] == "sft_head"
    names = sorted(path.name for path in (heads.out / "grpo_head").iterdir())
    assert names == ["policy", "result.json"]
