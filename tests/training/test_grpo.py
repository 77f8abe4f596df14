"""GRPO with TRL's real trainer: a step checked by hand, the best step, resuming, refusals."""

import json
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from roboalign_policy.models.loading import extend_vocabulary, load_mllm
from roboalign_training import grpo
from roboalign_training.learning import keep_best
from roboalign_training.learning.arguments import ConfigError
from roboalign_training.learning.collate import PromptCollator
from roboalign_training.learning.dev_score import DevScore, dev_frames, greedy_texts
from roboalign_training.learning.keep_best import agreeing
from roboalign_training.learning.mixture import action_prompt, request
from roboalign_training.learning.run_folder import RunFolder

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


def scored(prefix, tags):
    """A score of two frames."""
    found = {"format": np.full(2, tags), "prefix": np.full(2, prefix)}
    return DevScore(found, {"format": 0.5, "prefix": 0.5})


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


def test_the_best_step_on_held_out_frames_is_kept(run, monkeypatch, tmp_path):
    seen = []

    def score(model, *args, **kwargs):
        seen.append({name: value.clone() for name, value in model.state_dict().items()})
        return scored([0.2, 0.6, 0.6, 0.4][len(seen) - 1], 0.0)

    monkeypatch.setattr(keep_best, "score_frames", score)
    policy = run("--samples", "6", "--learning_rate", "1e-3", "--beta", "0.1")
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["dev_scores"] == {"0": 0.1, "1": 0.3, "2": 0.3, "3": 0.2}
    assert result["best_step"] == 1  # of equals the first: nearest to the base
    assert json.loads((policy / "roboalign.json").read_text())["steps"] == 1
    kept = load_file(policy / "model.safetensors")
    for name, value in kept.items():
        torch.testing.assert_close(value, seen[1][name], rtol=0, atol=0)


def test_untrained_base_is_kept_when_nothing_beats_it(run, policy, monkeypatch):
    scores = iter([0.5, 0.1])
    monkeypatch.setattr(keep_best, "score_frames", lambda *a, **k: scored(next(scores), 1.0))
    kept = load_file(run("--learning_rate", "1e-2") / "model.safetensors")
    base = load_file(policy / "model.safetensors")
    for name, value in base.items():
        torch.testing.assert_close(kept[name], value, rtol=0, atol=0)


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


def test_a_base_of_another_data_set_is_refused(run, policy):
    meta = json.loads((policy / "roboalign.json").read_text())
    meta["hashes"]["tokenizer"] = "0" * 64
    (policy / "roboalign.json").write_text(json.dumps(meta))
    with pytest.raises(ConfigError, match="hash of the tokenizer: found 000000000000"):
        run()
    (policy / "roboalign.json").unlink()
    with pytest.raises(ConfigError, match="expected a policy folder"):
        run()


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

    def scores_of(values):
        left = iter(values)
        return lambda *a, **k: scored(2 * next(left), 0.0)

    options = "--samples 6 --learning_rate 1e-3 --save_strategy steps --save_steps 1".split()
    options += ["--save_total_limit", "5"]
    monkeypatch.setattr(keep_best, "score_frames", scores_of([0.1, 0.3, 0.6]))
    with pytest.raises(StopIteration):
        run(*options)
    (tmp_path / "run" / "checkpoint-2" / "trainer_state.json").unlink()
    monkeypatch.setattr(keep_best, "score_frames", scores_of(again))
    policy = run(*options)
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    record = json.loads((policy / "roboalign.json").read_text())
    assert (result["best_step"], record["steps"]) == (best, best)
    assert result["dev_scores"] == pytest.approx(scores)
    assert record["dev_score"] == pytest.approx(scores[str(best)])


def test_scores_agree_with_the_policy_that_is_there():
    scores = {0: 0.1, 5: 0.3, 10: 0.3}
    assert agreeing(scores, {"steps": 5, "dev_score": 0.3}) == scores
    lost = {"steps": 20, "dev_score": 0.5}
    assert agreeing(scores, lost) == {**scores, 20: 0.5}, "the line is lost"
    assert agreeing(scores, {"steps": 0, "dev_score": 0.1}) == {0: 0.1}, "the policy is lost"
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
