"""Options of the demo: what a stage would refuse is refused before the first one begins."""

import numpy as np
import pytest
from demo_bags import write_demo
from rich.console import Console

from roboalign_policy.fast import FastTokenizer
from roboalign_policy.fast.errors import FitError
from roboalign_policy.sim import SUITES, make_env
from roboalign_training.conversion.build import build_dataset, find_bags
from roboalign_training.data.fit import fit_dataset
from roboalign_training.demo import stages
from roboalign_training.demo.checks import check_options
from roboalign_training.demo.experiment import demo_experiment
from roboalign_training.demo.plan import DemoConfig
from roboalign_training.demo.run import run_stages
from roboalign_training.demo.stage_keys import prompts_of_a_batch
from roboalign_training.demo.stages import stages_of
from roboalign_training.evaluate.seeds import MOST_WORKERS

QUIET = Console(quiet=True)


def sft(config, out):
    """The stage of SFT."""
    experiment = demo_experiment(config)
    stages_of(experiment)["sft"](experiment, out, QUIET)


@pytest.mark.parametrize(
    ("option", "text"),
    [
        ({"episodes": 1}, "episodes: found 1, expected at least 2: one is held out"),
        ({"workers": 0}, "workers: found 0, expected at least 1"),
        ({"sft_seconds": -1.0}, "sft_seconds: found -1.0, expected a number above 0"),
        ({"grpo_seconds": float("inf")}, "grpo_seconds: found inf, expected a number above 0"),
        ({"head_seconds": 0.0}, "head_seconds: found 0.0, expected a number above 0"),
        ({"head_steps": 0}, "head_steps: found 0, expected at least 1"),
        ({"develop_episodes": 0}, "develop_episodes: found 0, expected at least 1"),
        (
            {"develop_episodes": 1_000_001},
            "develop_episodes: found 1000001, expected at most 1000",
        ),
        ({"scale": float("nan")}, "scale: found nan, expected a number above 0"),
        ({"scale": 1e6}, "scale: found 1000000.0, expected at most"),
        ({"action_noise": 1.5}, "action_noise: found 1.5, expected 0 to 1"),
        ({"episodes": 1_000_001}, "episodes: found 1000001, expected at most 1000000"),
        ({"workers": 101}, "workers: found 101, expected at most 100"),
        ({"replan_after_steps": 9}, "replan_after_steps: found 9, expected 0 to 8"),
        ({"vocab_size": 44}, "vocab_size: found 44, expected at least 45: .* with scale 5"),
        ({"scale": 50.0}, "vocab_size: found 256, expected at least 427: .* with scale 50"),
        ({"grpo_samples": 15}, "grpo_samples: found 15, expected at least 16"),
        ({"grpo_samples": 98, "episodes": 2}, "grpo_samples: found 98, expected at most 97"),
    ],
)
def test_options_that_a_stage_would_refuse_are_refused_before_the_first_one(
    tmp_path, option, text
):
    with pytest.raises(ValueError, match=f"^{text}"):
        run_stages(demo_experiment(DemoConfig(**option)), tmp_path / "demo", [], QUIET)
    assert not (tmp_path / "demo").exists()


def test_the_bounds_of_options_are_those_of_what_takes_them():
    domains = pytest.importorskip("roboalign_training.nodes.closed_loop_worker", reason="no ROS")
    assert len(domains.DOMAINS) == MOST_WORKERS
    demo_run = DemoConfig(grpo_samples=16, vocab_size=45, replan_after_steps=8, episodes=2)
    experiment = demo_experiment(demo_run)
    assert prompts_of_a_batch(experiment.arms["grpo"].options) == 16
    check_options(experiment)
    chunks = np.random.default_rng(0).uniform(-1, 1, (50, 8, 7))
    assert FastTokenizer.fit(chunks, vocab_size=45, scale=5.0).vocab_size == 45
    with pytest.raises(FitError, match="need 45 tokens, more than vocab_size 44"):
        FastTokenizer.fit(chunks, vocab_size=44, scale=5.0)
    with pytest.raises(ValueError, match="action_noise"):
        make_env("object", SUITES["object"][0].name, 0, action_noise=1.5)


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        ({"grpo_samples": 41}, "grpo_samples: found 41, expected at most 40, the frames"),
        ({"grpo_samples": 40}, None),
        ({}, None),
    ],
)
def test_more_prompts_than_frames_are_refused_before_sft(tmp_path, monkeypatch, asked, text):
    for number in range(3):
        write_demo(tmp_path / f"bags/ep{number}", seed=number, count=20)
    build_dataset(find_bags([tmp_path / "bags"]), None, tmp_path / "data")
    fit_dataset(tmp_path / "data", vocab_size=256, scale=5.0)
    started = []
    monkeypatch.setattr(stages, "_roboalign", lambda *words, **how: started.append(words))
    (tmp_path / "sft").mkdir()
    (tmp_path / "sft/result.json").write_text("{}")
    if text is None:
        sft(DemoConfig(**asked), tmp_path)
        assert started
        return
    with pytest.raises(ValueError, match=text):
        sft(DemoConfig(**asked), tmp_path)
    assert not started


def test_too_few_frames_for_a_batch_of_grpo_are_refused_before_sft(tmp_path):
    for number in range(2):
        write_demo(tmp_path / f"bags/ep{number}", seed=number, count=12)
    build_dataset(find_bags([tmp_path / "bags"]), None, tmp_path / "data")
    fit_dataset(tmp_path / "data", vocab_size=256, scale=5.0)
    with pytest.raises(ValueError, match="episodes: found 2, expected more: their 12 frames"):
        sft(DemoConfig(episodes=2), tmp_path)
