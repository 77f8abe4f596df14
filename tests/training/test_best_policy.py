"""Which arm drives by default: the simplest that no other one beats beyond noise."""

import json
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from roboalign_policy.core.policy.default_place import best_policy
from roboalign_policy.sim import SUITES
from roboalign_training.demo import choosing, equal_policies
from roboalign_training.demo.experiment import load_experiment, packaged_experiment
from roboalign_training.demo.stages import stages_of
from roboalign_training.evaluate.seeds import BEST_SEED
from roboalign_training.learning.best_policy import best_of, only_one
from roboalign_training.shared.statistics import mcnemar_p

QUIET = Console(quiet=True)
DEMO = load_experiment(packaged_experiment("demo"))


def wins(count, n=48):
    return [at < count for at in range(n)]


def test_a_policy_that_is_better_within_noise_changes_nothing():
    best = best_of({"sft": wins(36), "head": wins(40)})
    assert (best.name, best.n, best.successes) == ("sft", 48, {"sft": 36, "head": 40})
    (one,) = best.comparisons
    assert (one.only_first, one.only_second, one.p) == (0, 4, mcnemar_p(0, 4))
    assert "head: no difference from sft beyond noise (4 episodes to 0, McNemar p = 0.12)" in (
        best.why
    )


def test_a_policy_that_is_better_beyond_noise_takes_the_place():
    best = best_of({"sft": wins(30), "head": wins(42)})
    assert best.name == "head"
    assert "sft 30, head 42" in best.why and "head: better than sft beyond noise" in best.why


def test_each_is_compared_with_the_one_that_is_kept():
    best = best_of({"a": wins(10), "b": wins(30), "c": wins(33), "d": wins(5)})
    assert best.name == "b", "c has most, and is no better than b beyond noise"
    assert [(c.first, c.second) for c in best.comparisons] == [("a", "b"), ("b", "c"), ("b", "d")]
    assert "d: worse than b beyond noise" in best.why
    best = best_of({"a": wins(20), "b": wins(24), "c": wins(33)})
    assert best.name == "c" and best.comparisons[-1].first == "a"


def test_the_level_is_shared_by_the_comparisons():
    alone = best_of({"a": wins(30), "b": wins(36)})
    assert alone.name == "b" and alone.comparisons[0].p == pytest.approx(2 * 0.5**6)
    assert best_of({"a": wins(30), "b": wins(36), "c": wins(30)}).name == "a"


def test_noise_replaces_the_first_no_more_often_than_the_level():
    rng, replaced = np.random.default_rng(0), 0
    for _ in range(1000):
        won = rng.random((4, 48)) < 0.75
        replaced += best_of({str(n): list(map(bool, of)) for n, of in enumerate(won)}).name != "0"
    assert replaced / 1000 < 0.05


def test_one_alone_needs_no_episode():
    best = only_one("sft")
    assert (best.name, best.record()) == ("sft", {"n": 0, "successes": {}, "comparisons": []})
    assert best.why.startswith("the only trained policy")


@pytest.fixture
def chosen(tmp_path, monkeypatch):
    """The stage, with policies of these hashes that succeed so often."""
    drove = {}

    def run(hashes, successes, demo=DEMO):
        monkeypatch.setattr(
            equal_policies, "describe_run",
            lambda folder, options: {"policy_hash": hashes[folder.parent.name]},
        )  # fmt: skip

        def drive(policy, episodes, out, options, console):
            assert policy == tmp_path / out.name / "policy"
            drove[out.name] = (episodes, options)
            won = wins(successes[out.name], len(episodes))
            return [{"success": success} for success in won]

        monkeypatch.setattr(choosing, "run_closed_loop", drive)
        drove.clear()
        for name in hashes:
            (tmp_path / name / "policy").mkdir(parents=True, exist_ok=True)
        result = stages_of(demo)["choose"](demo, tmp_path, QUIET)
        return result, json.loads((tmp_path / "best.json").read_text())

    run.drove = drove
    run.out = tmp_path
    return run


def test_equal_policies_drive_once_on_development_seeds_as_in_the_report(chosen):
    hashes = {"sft": "s", "grpo": "s", "sft_head": "h", "grpo_head": "h"}
    result, written = chosen(hashes, {"sft": 30, "sft_head": 44})
    assert list(chosen.drove) == ["sft", "sft_head"]
    for name, steps in (("sft", 0), ("sft_head", 4)):
        episodes, options = chosen.drove[name]
        assert {e.seed for e in episodes} == set(range(BEST_SEED, BEST_SEED + 16))
        assert len(episodes) == 16 * len(SUITES)
        assert (options.replan_after_steps, options.keep_every) == (steps, 0)
    assert written == {
        "arm": "sft_head", "policy": "sft_head/policy", "why": result["why"], "hash": "h"
    }  # fmt: skip
    assert result["same_as"] == {"grpo": "sft", "grpo_head": "sft_head"}
    assert (result["name"], result["n"]) == ("sft_head", 64)
    assert result["successes"] == {"sft": 30, "sft_head": 44}
    assert best_policy(chosen.out / "best.json") == chosen.out / "sft_head/policy"


def test_the_earlier_arm_stays_where_nothing_is_better(chosen):
    hashes = {"sft": "s", "grpo": "g", "sft_head": "h", "grpo_head": "i"}
    result, written = chosen(hashes, {"sft": 36, "grpo": 38, "sft_head": 40, "grpo_head": 33})
    assert list(chosen.drove) == list(hashes)
    assert (written["arm"], written["hash"]) == ("sft", "s")
    assert "36" in result["why"] and json.dumps(result)


def test_where_all_are_equal_nothing_is_driven(chosen):
    _, written = chosen(dict.fromkeys(("sft", "grpo"), "s") | {"sft_head": "s", "grpo_head": "s"},
                        {"sft": 0, "sft_head": 0})  # fmt: skip
    assert written["arm"] == "sft"
    assert list(chosen.drove) == ["sft", "sft_head"], "a head drives less of a chunk"
    whole = {n: replace(arm, replan_after_steps=None) for n, arm in DEMO.arms.items()}
    chosen.drove.clear()
    alike = replace(DEMO, arms=whole)
    result = stages_of(alike)["choose"](alike, chosen.out, QUIET)
    assert not chosen.drove
    assert (result["arm"], result["n"]) == ("sft", 0)


@pytest.mark.parametrize(
    ("steps", "options", "said"),
    [
        (None, {}, ""),
        (3, {}, "replan_after_steps: 3"),
        (None, {"weight_think": 0.0}, "reasoning: never"),
        (3, {"weight_think": 0.0}, "reasoning: never and replan_after_steps: 3"),
    ],
)
def test_it_says_what_the_policy_node_must_be_told_to_drive_as_it_did(
    chosen, steps, options, said
):
    sft = replace(DEMO.arms["sft"], replan_after_steps=steps, options=options)
    demo = replace(DEMO, arms={"sft": sft, "sft_head": DEMO.arms["sft_head"]})
    result, written = chosen({"sft": "s", "sft_head": "h"}, {"sft": 40, "sft_head": 40}, demo)
    told = f"; it was driven with {said}, which policy_node has to be told" if said else ""
    assert written["why"] == result["why"] and result["why"].endswith(f"p = 1){told}")
    head, _ = chosen({"sft": "s", "sft_head": "h"}, {"sft": 10, "sft_head": 40}, demo)
    assert head["name"] == "sft_head" and "policy_node" not in head["why"], "it knows its steps"
