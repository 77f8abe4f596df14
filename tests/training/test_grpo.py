"""GRPO with TRL's real trainer: a step checked by hand, the best step, resuming, refusals."""

import importlib.util
import json
import os
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from roboalign_policy.core.contract.contract import find_contract, load_contract
from roboalign_policy.core.hashing import sha256_file
from roboalign_policy.models.checkpoint import model_settings
from roboalign_policy.models.loading import ModelError, extend_vocabulary, load_mllm
from roboalign_training import grpo
from roboalign_training.evaluate import development
from roboalign_training.learning import keep_best
from roboalign_training.learning.action_source import action_prompt
from roboalign_training.learning.arguments import ConfigError
from roboalign_training.learning.collate import PromptCollator
from roboalign_training.learning.dev_score import DevScore, dev_frames, greedy_texts
from roboalign_training.learning.keep_best import agreeing
from roboalign_training.learning.run_folder import RunFolder
from roboalign_training.learning.source import request
from roboalign_training.shared.outputs import OutputError
from roboalign_training.shared.progress import ChildFailed

TARGET = [1, 2, 3, 4]


def tokens(*numbers):
    return "<ACTION_START>" + "".join(f"<fast_{n}>" for n in numbers) + "<ACTION_END>"


# Five completions of one prompt whose target is 1 2 3 4, with what they deserve.
SCRIPT = [
    # completion, r_f, r_a, (r_f + r_a) / 2
    (f"<think>grasp</think><answer>{tokens(1, 2, 3, 4)}</answer>", 1.0, 1.0, 1.0),
    (f"<think>grasp</think><answer>{tokens(1, 2, 9, 4)}</answer>", 1.0, 0.5, 0.75),
    (f"<think>grasp<answer>{tokens(1, 2, 3, 4)}</answer>", 0.0, 1.0, 0.5),
    (f"<think>grasp<answer>{tokens(1, 2)}</answer>", 0.0, 0.5, 0.25),
    ("grasp the red cube", 0.0, 0.0, 0.0),
]
# (r - mean) / std with mean 0.5 and sample std sqrt(0.625 / 4) = 0.39528
ADVANTAGES = [1.26491, 0.63246, 0.0, -0.63246, -1.26491]


@pytest.fixture
def policy(demonstrations, tiny_base, tmp_path):
    """An SFT policy folder with random weights."""
    mllm = load_mllm(tiny_base)
    extend_vocabulary(mllm, demonstrations.fast.vocab_size)
    folder = tmp_path / "sft"
    mllm.model.save_pretrained(folder)
    mllm.processor.save_pretrained(folder)
    (folder / "roboalign.json").write_text(json.dumps({"hashes": demonstrations.hashes}))
    return folder


class Spy(grpo.GRPOTrainer):
    """Keeps what the trainer computed."""

    made = []

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.batches = []
        Spy.made.append(self)

    def _generate_and_score_completions(self, inputs):
        batch = super()._generate_and_score_completions(inputs)
        self.batches.append(batch)
        return batch


@pytest.fixture
def run(demonstrations, policy, tmp_path, monkeypatch):
    """Runs GRPO; every target is TARGET, so that rewards can be worked out by hand."""
    data = replace(demonstrations, chunk_tokens=[list(TARGET)] * len(demonstrations))
    monkeypatch.setattr(grpo, "load_demonstrations", lambda *given: data)
    monkeypatch.setattr(grpo, "dataset_hashes", lambda folder: data.hashes)
    monkeypatch.setattr(grpo, "GRPOTrainer", Spy)
    monkeypatch.setattr(Spy, "made", [])

    def start(*options):
        given = (
            f"--dataset x --base {policy} --out {tmp_path / 'run'} --samples 2 "
            "--per_device_train_batch_size 10 --held_out_episodes 1 --dev_frames 2 --dev_every 1 "
            "--max_completion_length 24"
        )
        return grpo.train([*given.split(), *options])

    return start


def script_rollouts(monkeypatch, tokenizer):
    """Makes sampling give SCRIPT, five completions a prompt; greedy decoding stays real."""
    from transformers import Qwen3VLForConditionalGeneration as Model

    real = Model.generate
    rows = [
        tokenizer(row[0] + tokenizer.eos_token, add_special_tokens=False)["input_ids"]
        for row in SCRIPT
    ]
    width = max(map(len, rows))
    padded = torch.tensor([row + [tokenizer.pad_token_id] * (width - len(row)) for row in rows])

    def generate(self, *args, generation_config=None, **inputs):
        if generation_config is None:
            return real(self, *args, **inputs)
        prompts = inputs["input_ids"]
        return torch.cat([prompts, padded.repeat(len(prompts) // len(rows), 1)], dim=1)

    monkeypatch.setattr(Model, "generate", generate)
    return rows


def log_probability(model, collator, sample, completion):
    """Sum of the log-probabilities of a completion's tokens."""
    inputs = collator.prompts([sample])
    answer = torch.tensor([completion])
    ids = torch.cat([inputs["input_ids"], answer], dim=1)
    kinds = torch.cat([inputs["mm_token_type_ids"], torch.zeros_like(answer)], dim=1)
    given = {
        **inputs,
        "input_ids": ids,
        "mm_token_type_ids": kinds,
        "attention_mask": torch.ones_like(ids),
    }
    with torch.no_grad():
        logits = model(**given).logits[:, :-1].log_softmax(-1)
    return float(logits.gather(2, ids[:, 1:, None])[0, -len(completion) :].sum())


def test_a_step_whose_rewards_are_worked_out_by_hand(
    run, policy, demonstrations, monkeypatch, tmp_path
):
    before = load_mllm(policy)
    collator = PromptCollator(before.processor)
    rows = script_rollouts(monkeypatch, before.tokenizer)
    run("--learning_rate", "1e-3", "--beta", "0.01")
    trainer = Spy.made[0]

    assert trainer.reward_weights.tolist() == [0.5, 0.5]
    assert trainer.state.global_step == 1
    batch = trainer.batches[0]
    np.testing.assert_allclose(batch["advantages"].numpy(), ADVANTAGES * 2, atol=1e-3)
    logged = [line for line in RunFolder(tmp_path / "run").metrics() if "reward" in line][0]
    assert logged["rewards/format_reward/mean"] == pytest.approx(
        np.mean([row[1] for row in SCRIPT])
    )
    assert logged["rewards/prefix_accuracy_reward/mean"] == pytest.approx(
        np.mean([row[2] for row in SCRIPT])
    )
    assert logged["reward"] == pytest.approx(0.5)
    assert [row[3] for row in SCRIPT] == [(row[1] + row[2]) / 2 for row in SCRIPT]
    assert logged["frac_reward_zero_std"] == 0.0

    # An image's tokens are expanded once: as many as there are merged patches, and all of them
    # seen by the model.
    image_id = before.processor.image_token_id
    merged = batch["image_grid_thw"].prod(dim=1) // before.processor.image_processor.merge_size**2
    assert (batch["prompt_ids"] == image_id).sum(dim=1).tolist() == merged.tolist()
    assert batch["mm_token_type_ids"].sum(dim=1).tolist() == merged.tolist()

    # The better a completion was, the more the step raised its probability against that of the
    # worst one.
    frame = int(
        np.sort(
            np.random.default_rng(1).choice(train_frames(demonstrations), size=2, replace=False)
        )[0]
    )
    sample = {
        "images": demonstrations.images(frame),
        "prompt": request(action_prompt(demonstrations, frame, think=True)),
    }
    trainer.model.eval()
    change = [
        log_probability(trainer.model, collator, sample, row)
        - log_probability(before.model, collator, sample, row)
        for row in rows
    ]
    assert change[0] > 0 > change[4]
    assert change[0] > change[3]


def score_of(each):
    """A score of these frames."""
    return DevScore(
        {"format": np.array(each), "prefix": np.array(each)}, {"format": 0.5, "prefix": 0.5}
    )


def train_frames(data):
    from roboalign_training.learning.mixture import split_episodes

    return split_episodes(data, 1, seed=1)[0]


def test_no_difference_in_a_group_gives_no_step(run, policy, monkeypatch, tmp_path):
    before = load_file(policy / "model.safetensors")
    monkeypatch.setitem(globals(), "SCRIPT", [SCRIPT[0]] * 5)
    script_rollouts(monkeypatch, load_mllm(policy).tokenizer)
    run("--learning_rate", "1e-2", "--beta", "0.0", "--weight_decay", "0.0")
    logged = [line for line in RunFolder(tmp_path / "run").metrics() if "reward" in line][0]
    assert logged["frac_reward_zero_std"] == 1.0
    assert logged["reward"] == 1.0
    after = Spy.made[0].model.state_dict()
    for name, value in before.items():
        torch.testing.assert_close(after[name], value, rtol=0, atol=0)


def scored(*values):
    """Stands in for `score_frames`: the scores one after another, of two frames an episode.

    The two differ from a mean by as much, so that it is the episode's. Of three episodes the last
    scores more than a value by a hundredth of it, and the first as much less: a spread.
    """
    left = iter(values)

    def score(model, collator, data, frames, **how):
        value = next(left)
        shift = value / 100 if len(frames) == 6 else 0.0
        each = [value + (0.01 if at % 2 else -0.01) for at in range(len(frames))]
        return score_of(tuple(v + shift * (at // 2 - 1) for at, v in enumerate(each)))

    return score


THREE = "--held_out_episodes 3 --dev_frames 6".split()


def weights_of(folder):
    return load_file(folder / "model.safetensors")


def same(first, second):
    return all(torch.equal(first[name], second[name]) for name in first)


def test_the_best_step_is_kept_where_it_beats_the_base_beyond_the_interval(
    run, monkeypatch, tmp_path
):
    seen = []
    score = scored(0.1, 0.3, 0.3, 0.2)

    def look(model, *args, **kwargs):
        seen.append({name: value.clone() for name, value in model.state_dict().items()})
        return score(model, *args, **kwargs)

    monkeypatch.setattr(keep_best, "score_frames", look)
    policy = run("--samples", "6", "--learning_rate", "1e-3", "--beta", "0.1", *THREE)
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["dev_scores"] == pytest.approx({"0": 0.1, "1": 0.3, "2": 0.3, "3": 0.2})
    assert result["best_step"] == 1  # of equals the first: nearest to the base
    choice = result["choice"]
    assert (choice["rule"], choice["kept"], choice["candidate"]) == ("held_out", 1, 1)
    assert (choice["n"], choice["chosen_from"]) == (3, 3)
    assert choice["interval"] == pytest.approx([0.2 - 0.0088, 0.2 + 0.0088], abs=1e-4)
    assert json.loads((policy / "roboalign.json").read_text())["steps"] == 1
    kept = weights_of(policy)
    assert all(torch.equal(value, seen[1][name]) for name, value in kept.items())
    assert not {"candidate", "policy.old", "trained.json"} & set(os.listdir(tmp_path / "run"))


@pytest.mark.parametrize("scores", [(0.5, 0.1), (0.5, 0.5004)])
def test_the_base_is_kept_where_the_candidate_is_not_beyond_noise(
    run, policy, learns, monkeypatch, scores, tmp_path
):
    def score(model, collator, data, frames, **how):
        value = next(left)
        shift = 0.0 if value == 0.5 else 0.05  # one episode is better, another worse
        return score_of(tuple(value + shift * (at // 2 - 1) for at in range(len(frames))))

    left = iter(scores)
    monkeypatch.setattr(keep_best, "score_frames", score)
    kept = run("--learning_rate", "1e-2", *THREE)
    trained = Spy.made[0].model.state_dict()
    assert not same(weights_of(policy), trained)
    assert same(weights_of(policy), weights_of(kept))
    hashes = {sha256_file(folder / "model.safetensors") for folder in (policy, kept)}
    assert len(hashes) == 1, "the same file, so that it need not be driven twice"
    assert json.loads((kept / "roboalign.json").read_text())["steps"] == 0
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert (result["best_step"], result["choice"]["candidate"]) == (0, 1)
    assert result["choice"]["interval"][0] < 0
    text = grpo.result_lines(result, tmp_path / "run")[1]
    assert text.endswith("; candidate/ has that step")
    assert "candidate/" not in grpo.result_lines(result, tmp_path)[1]
    assert f"kept the base {policy} as it was, by 3 held-out episodes: step 1 of 1 scores" in text
    # What was trained is the user's: it stays, beside the policy that is kept.
    assert same(weights_of(tmp_path / "run" / "candidate"), trained)
    assert not (tmp_path / "run" / "trained.json").exists()


def test_one_held_out_episode_tells_no_interval_and_the_base_is_kept(
    run, monkeypatch, tmp_path, capsys
):
    monkeypatch.setattr(keep_best, "score_frames", scored(0.1, 0.9))
    run("--learning_rate", "1e-2")
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert (result["best_step"], result["choice"]["interval"]) == (0, None)
    fault = "found 1 held-out episode, expected 3 or more"
    assert result["choice"]["undecided"] == fault
    said = f"grpo: the base will be kept: held_out_episodes: {fault}"
    assert said in capsys.readouterr().out, "said before the time is spent"


DRIVEN = ["--choose", "driven", "--develop_episodes", "2"]


@pytest.fixture
def learns(monkeypatch, policy):
    """Rollouts that differ, so that a step changes the policy."""
    script_rollouts(monkeypatch, load_mllm(policy).tokenizer)


@pytest.fixture
def driver(monkeypatch, learns):
    """Stands in for the simulator: notes who drives, lets the candidate win; may be killed."""
    state = SimpleNamespace(drove=[], wins={"base": 0, "candidate": 8}, fail=None, checked=0)

    def drive(policy, episodes, out, options):
        state.drove.append((out.name, weights_of(policy), len(episodes)))
        if state.fail == out.name:
            raise ChildFailed("worker", -9, out / "log")
        return [{"success": at < state.wins[out.name]} for at in range(len(episodes))]

    def check(base, arguments):
        state.checked += 1

    monkeypatch.setattr(development, "run_closed_loop", drive)
    monkeypatch.setattr(grpo, "check_development", check)
    return state


def test_driven_episodes_decide_which_policy_is_kept(run, policy, driver, monkeypatch, tmp_path):
    monkeypatch.setattr(keep_best, "score_frames", scored(0.5, 0.1))
    kept = run("--learning_rate", "1e-2", *DRIVEN)
    assert [(name, count) for name, _, count in driver.drove] == [("base", 8), ("candidate", 8)]
    base, candidate = (weights for _, weights, _ in driver.drove)
    assert same(base, weights_of(policy)) and not same(base, candidate)
    assert same(weights_of(kept), candidate), "whatever the held-out score says"
    choice = json.loads((tmp_path / "run" / "result.json").read_text())["choice"]
    assert (choice["rule"], choice["kept"], choice["n"]) == ("driven", 1, 8)
    assert (choice["only_base"], choice["only_candidate"]) == (0, 8)
    assert choice["p"] == pytest.approx(2 * 0.5**8)
    assert driver.checked == 1


def test_the_base_is_kept_where_driving_tells_no_difference(run, policy, driver, monkeypatch):
    driver.wins = {"base": 3, "candidate": 8}  # five to none: p = 0.0625
    monkeypatch.setattr(keep_best, "score_frames", scored(0.1, 0.5))
    assert same(weights_of(run("--learning_rate", "1e-2", *DRIVEN)), weights_of(policy))
    assert not same(driver.drove[1][1], weights_of(policy))


@pytest.mark.parametrize("killed", ["base", "candidate"])
def test_a_run_that_was_killed_while_driving_goes_on_there(
    run, driver, monkeypatch, tmp_path, killed
):
    driver.fail = killed
    monkeypatch.setattr(keep_best, "score_frames", scored(0.1, 0.5))
    with pytest.raises(ChildFailed):
        run("--learning_rate", "1e-2", *DRIVEN)
    candidate = weights_of(tmp_path / "run" / "candidate")
    driver.fail, driver.drove = None, []
    kept = run("--learning_rate", "1e-2", *DRIVEN)
    assert len(Spy.made) == 1, "nothing is trained again"
    assert same(weights_of(kept), candidate)
    assert [name for name, *_ in driver.drove] == ["base", "candidate"]
    lines = RunFolder(tmp_path / "run").metrics()
    assert [line["best_step"] for line in lines if line.get("stage") == "finished"] == [1]


@pytest.mark.parametrize("moved", [False, True])
def test_a_run_that_was_killed_while_the_kept_policy_moved_ends_the_move(
    run, driver, monkeypatch, tmp_path, moved
):
    folder = tmp_path / "run"
    keep = RunFolder.keep_candidate

    def half(self):
        (folder / "policy").rename(folder / "policy.old")
        if moved:
            (folder / "candidate").rename(folder / "policy")
        raise KeyboardInterrupt

    monkeypatch.setattr(keep_best, "score_frames", scored(0.1, 0.5))
    monkeypatch.setattr(RunFolder, "keep_candidate", half)
    with pytest.raises(KeyboardInterrupt):
        run("--learning_rate", "1e-2", *DRIVEN)
    monkeypatch.setattr(RunFolder, "keep_candidate", keep)
    driver.drove = []
    kept = run("--learning_rate", "1e-2", *DRIVEN)
    assert not driver.drove, "the choice stands"
    assert json.loads((kept / "roboalign.json").read_text())["steps"] == 1
    assert not {"candidate", "policy.old", "trained.json"} & set(os.listdir(folder))


@pytest.mark.parametrize("at", ["before", "between", "behind"])
def test_a_chosen_candidate_is_never_taken_for_the_base(run, driver, monkeypatch, tmp_path, at):
    """Killed around the move of it; then with other ends. With its own it ends as it was."""
    folder, keep = tmp_path / "run", RunFolder.keep_candidate

    def cut(self):
        if at == "between":
            (folder / "policy").rename(folder / "policy.old")
        elif at == "behind":
            keep(self)
        raise KeyboardInterrupt

    monkeypatch.setattr(keep_best, "score_frames", scored(0.1, 0.5))
    monkeypatch.setattr(RunFolder, "keep_candidate", cut)
    options = ["--samples", "6", "--max_steps", "1", *DRIVEN]
    with pytest.raises(KeyboardInterrupt):
        run(*options)
    monkeypatch.setattr(RunFolder, "keep_candidate", keep)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    said = "training has ended here, and step 1 was chosen over the base; .*max_steps 1, num_train"
    with pytest.raises(OutputError, match=said):
        run("--samples", "6", "--max_steps", "2", "--resume", "true", *DRIVEN)
    after = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    assert before == after
    kept = run(*options)
    assert json.loads((kept / "roboalign.json").read_text())["steps"] == 1


def test_a_policy_that_is_not_the_base_is_not_compared_with(run, monkeypatch, tmp_path):
    """As a run from before this was looked at may have left it, without `trained.json`."""
    monkeypatch.setattr(keep_best, "score_frames", scored(0.1, 0.5))
    options = "--samples 6 --save_strategy steps --save_steps 1".split()
    with pytest.raises(StopIteration):
        run(*options)
    record = tmp_path / "run" / "policy" / "roboalign.json"
    record.write_text(json.dumps({**json.loads(record.read_text()), "steps": 1}))
    with pytest.raises(OutputError, match="policy: steps: found 1, expected 0, the base"):
        run(*options)


def test_a_trained_run_with_another_end_trains_on(run, driver, monkeypatch, tmp_path):
    driver.fail = "base"
    monkeypatch.setattr(keep_best, "score_frames", scored(0.1, 0.5))
    with pytest.raises(ChildFailed):
        run("--samples", "6", "--max_steps", "1", *DRIVEN)
    driver.fail = None
    monkeypatch.setattr(keep_best, "score_frames", scored(0.1, 0.5, 0.4))
    run("--samples", "6", "--max_steps", "2", "--resume", "true", *DRIVEN)
    assert len(Spy.made) == 2
    assert json.loads((tmp_path / "run" / "result.json").read_text())["steps"] == 2


def test_driving_that_cannot_be_is_refused_before_training(run, policy, monkeypatch, tmp_path):
    for name, count in (("develop_episodes", 10**7), ("workers", 101)):
        with pytest.raises(ConfigError, match=f"choose: found 'driven', .*{name}: found {count}"):
            run("--choose", "driven", "--develop_episodes", "30", f"--{name}", str(count))
    monkeypatch.setattr(development, "check_driving", lambda *given: None)
    find = importlib.util.find_spec
    absent = lambda name, *more: None if name == "rclpy" else find(name, *more)  # noqa: E731
    monkeypatch.setattr(importlib.util, "find_spec", absent)
    with pytest.raises(ConfigError, match="choose by held_out: rclpy: found no such package"):
        run(*DRIVEN)
    assert not (tmp_path / "run").exists()


def test_stopped_and_resumed(run, monkeypatch, tmp_path):
    @contextmanager
    def stop():
        yield lambda: True

    with monkeypatch.context() as patch:
        patch.setattr(grpo, "stop_on_signal", stop)
        with pytest.raises(grpo.Stopped, match="after step 1"):
            run("--samples", "6")
    run("--samples", "6")
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["steps"] == 3
    assert list(result["dev_scores"]) == ["0", "1", "2", "3"]


def test_a_run_that_was_stopped_has_the_scores_of_one_in_one_piece(run, monkeypatch, tmp_path):
    options, stops = ["--samples", "6", "--dev_every", "2"], iter([True])

    @contextmanager
    def stop():
        yield lambda: next(stops, False)

    monkeypatch.setattr(keep_best, "score_frames", scored(0.1, 0.4, 0.3))
    with monkeypatch.context() as patch:
        patch.setattr(grpo, "stop_on_signal", stop)
        with pytest.raises(grpo.Stopped, match="after step 1"):
            run(*options)
    run(*options)
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["dev_scores"] == pytest.approx({"0": 0.1, "2": 0.4, "3": 0.3})


def test_a_run_that_was_stopped_at_its_last_step_is_scored_when_it_goes_on(
    run, monkeypatch, tmp_path
):
    options, stops = ["--samples", "6", "--dev_every", "2"], iter([False, False, True])

    @contextmanager
    def stop():
        yield lambda: next(stops, False)

    monkeypatch.setattr(keep_best, "score_frames", scored(0.1, 0.4, 0.3))
    monkeypatch.setattr(grpo, "stop_on_signal", stop)
    with pytest.raises(grpo.Stopped, match="after step 3"):
        run(*options)
    run(*options)
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["dev_scores"] == pytest.approx({"0": 0.1, "2": 0.4, "3": 0.3})


def test_a_base_of_another_data_set_is_refused(run, policy):
    meta = json.loads((policy / "roboalign.json").read_text())
    meta["hashes"]["tokenizer"] = "0" * 64
    (policy / "roboalign.json").write_text(json.dumps(meta))
    with pytest.raises(ConfigError, match="hash of the tokenizer: found 000000000000"):
        run()
    del meta["hashes"]["tokenizer"]  # as of a head on a model that was trained with it
    (policy / "roboalign.json").write_text(json.dumps({**meta, "decoders": ["flow"]}))
    with pytest.raises(ConfigError, match=r"decoders: found \['flow'\], expected fast among them"):
        run()
    (policy / "roboalign.json").unlink()
    with pytest.raises(ConfigError, match="expected a policy folder"):
        run()


FRONT, WRIST = "image.front", "image.wrist"


def two_cameras(data):
    """The same demonstrations, with a second camera that the model sees."""
    return replace(data, contract=load_contract(find_contract("sim_panda_wrist")))


def test_a_base_that_sees_other_cameras_is_refused(policy, demonstrations):
    data, record = two_cameras(demonstrations), policy / "roboalign.json"
    grpo.check_base(str(policy), demonstrations)
    for images in ({}, {"images": [FRONT]}):
        record.write_text(json.dumps({"hashes": data.hashes, **images}))
        said = f"^base: {record}: found one that sees {FRONT}, expected {FRONT}, {WRIST} as in "
        with pytest.raises(ConfigError, match=said + ".*: train SFT again, or name prompt.images"):
            grpo.check_base(str(policy), data)
    record.write_text(json.dumps({"hashes": data.hashes, "images": [FRONT, WRIST]}))
    grpo.check_base(str(policy), data)
    with pytest.raises(ModelError, match="images: found .*, expected a list of image.front as in"):
        grpo.check_base(str(policy), demonstrations)


def test_a_base_that_was_changed_after_its_training_is_refused(policy):
    record, config = policy / "roboalign.json", policy / "config.json"
    values = json.loads(record.read_text())
    record.write_text(json.dumps({**values, "settings": model_settings(policy)}))
    grpo.check_base(str(policy), None)
    config.write_text(config.read_text() + " ")
    with pytest.raises(ModelError, match=f"{config}: found hash .*: it was changed after"):
        grpo.check_base(str(policy), None)


def test_a_run_that_saw_other_cameras_is_not_gone_on_with(
    run, driver, demonstrations, monkeypatch, tmp_path
):
    """Also where it is from before the record said which, and where its training has ended."""
    driver.fail = "base"
    monkeypatch.setattr(keep_best, "score_frames", scored(0.1, 0.5))
    with pytest.raises(ChildFailed):
        run(*DRIVEN)
    record = tmp_path / "run" / "run.json"
    values = json.loads(record.read_text())
    assert values["images"] == [FRONT]
    with monkeypatch.context() as patch:
        patch.setattr(grpo, "load_demonstrations", lambda *given: two_cameras(demonstrations))
        patch.setattr(grpo, "check_base", lambda base, data: None)
        with pytest.raises(OutputError, match='images: found ."image.front".,') as refused:
            run(*DRIVEN)
        assert f'now ["{FRONT}", "{WRIST}"]' in str(refused.value)
    del values["images"]
    record.write_text(json.dumps(values))
    driver.fail = None
    assert run(*DRIVEN).is_dir(), "of one camera it goes on as before"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("{", "roboalign.json: cannot be read: "),
        ("[1]", "roboalign.json: hashes: found None, expected an object"),
        ("{}", "roboalign.json: hashes: found None, expected an object"),
        ('{"hashes": {"tokenizer": 3}}', "hashes.tokenizer: found 3, expected a SHA-256"),
        ('{"hashes": {"tokenizer": "a"}}', "hashes.stats: found None, expected a SHA-256"),
    ],
)
def test_a_base_with_a_damaged_record_is_refused(policy, demonstrations, text, fault):
    (policy / "roboalign.json").write_text(text)
    with pytest.raises(ConfigError, match=f"^base: {policy}/roboalign.json: ") as refused:
        grpo.check_base(str(policy), None)  # before bags change the data set
    assert fault in str(refused.value)


@pytest.mark.parametrize(
    ("again", "best", "scores"),
    [
        ([0.2, 0.25], 2, {"0": 0.1, "1": 0.3, "2": 0.6, "3": 0.25}),
        ([0.2, 0.7], 3, {"0": 0.1, "1": 0.3, "2": 0.6, "3": 0.7}),
        ([0.65, 0.1], 2, {"0": 0.1, "1": 0.3, "2": 0.65, "3": 0.1}),
    ],
)
def test_a_policy_behind_the_last_checkpoint_is_the_one_that_the_result_names(
    run, monkeypatch, tmp_path, again, best, scores
):
    """Killed at step 3, when step 2 was the best and its checkpoint not whole yet."""
    options = "--samples 6 --learning_rate 1e-3 --save_strategy steps --save_steps 1".split()
    options += ["--save_total_limit", "5", *THREE]
    monkeypatch.setattr(keep_best, "score_frames", scored(0.1, 0.3, 0.6))
    with pytest.raises(StopIteration):
        run(*options)
    (tmp_path / "run" / "checkpoint-2" / "trainer_state.json").unlink()
    monkeypatch.setattr(keep_best, "score_frames", scored(*again))
    policy = run(*options)
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    record = json.loads((policy / "roboalign.json").read_text())
    assert (result["best_step"], record["steps"]) == (best, best)
    assert result["dev_scores"] == pytest.approx(scores)
    assert record["dev_score"] == pytest.approx(scores[str(best)])


def test_scores_agree_with_the_policy_that_is_there():
    scores = {1: 0.1, 5: 0.3, 10: 0.3}
    assert agreeing(scores, {"steps": 5, "dev_score": 0.3}) == scores
    lost = {"steps": 20, "dev_score": 0.5}
    assert agreeing(scores, lost) == {**scores, 20: 0.5}, "the line is lost"
    assert agreeing(scores, {"steps": 1, "dev_score": 0.1}) == {1: 0.1}, "the policy is lost"
    assert agreeing(scores, {}) == {}, "begun anew with the next score"


def test_more_prompts_than_frames_are_refused(run):
    with pytest.raises(ConfigError, match="samples: found 999, expected at most 60"):
        run("--samples", "999")


def test_fewer_prompts_than_a_batch_of_generations_are_refused(run):
    """TRL would drop the batch that is not full, and fail for want of steps."""
    with pytest.raises(ConfigError, match="samples: found 1, expected at least 2, the prompts"):
        run("--samples", "1")


def test_greedy_answers_do_not_depend_on_the_batch(policy, demonstrations):
    mllm = load_mllm(policy)
    collator = PromptCollator(mllm.processor)
    samples = [
        {
            "images": demonstrations.images(f),
            "prompt": request(action_prompt(demonstrations, f, think=f % 2 == 0)),
        }
        for f in range(5)
    ]
    together = greedy_texts(mllm.model, collator, samples, max_new_tokens=8)
    alone = [
        greedy_texts(mllm.model, collator, [sample], max_new_tokens=8)[0] for sample in samples
    ]
    assert together == alone


def test_dev_frames_are_spread_over_the_held_out_ones():
    assert dev_frames(np.arange(100, 200), 3).tolist() == [100, 150, 199]
    assert dev_frames(np.arange(4), 9).tolist() == [0, 1, 2, 3]
