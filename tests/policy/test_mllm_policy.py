"""The policy of a checkpoint folder: what it answers, and every reason for which it does not."""

import json
import shutil

import numpy as np
import pytest
import torch

from roboalign_policy.core.contract.contract import contract_from_dict, load_contract
from roboalign_policy.core.policy.accept import Bounds, ChunkError, accept
from roboalign_policy.core.policy.options import PolicyOptions
from roboalign_policy.core.policy.prediction import ChunkStatus
from roboalign_policy.fast import FastTokenizer
from roboalign_policy.fast.dct import quantisation_bound
from roboalign_policy.models.checkpoint import model_settings, read_checkpoint
from roboalign_policy.models.loading import ModelError, extend_vocabulary, load_mllm
from roboalign_policy.models.open_policy import open_policy
from roboalign_policy.models.policy import MLLMPolicy


def values(seed=0):
    """An observation of contract sim_panda."""
    contract, random = load_contract("sim_panda"), np.random.default_rng(seed)
    states = {
        s.key: random.uniform(-0.3, 0.3, s.value_shape).astype(np.float32) for s in contract.states
    }
    states["state.gripper"][:] = 0.08
    image = random.integers(0, 255, contract.images[0].shape, dtype=np.uint8)
    return {contract.images[0].key: image, **states}


@pytest.fixture(scope="module")
def policy(checkpoint):
    return open_policy(checkpoint, options=PolicyOptions(device="cpu", max_think_tokens=6))


@pytest.fixture
def copy(checkpoint, tmp_path):
    """A checkpoint folder that a test may spoil."""
    return shutil.copytree(checkpoint, tmp_path / "copy")


def rewrite(path, change):
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


@pytest.mark.parametrize("think", [True, False])
def test_every_chunk_of_random_weights_decodes(checkpoint, think):
    policy = open_policy(
        checkpoint, options=PolicyOptions(device="cpu", think=think, max_think_tokens=6)
    )
    low, high = policy.contract.action.low, policy.contract.action.high
    for seed in range(8):
        answer = policy.act(values(seed), "grasp the red cube")
        assert (answer.status, answer.detail) == (ChunkStatus.OK, "")
        assert answer.actions.shape == (policy.horizon, policy.dims) == (8, 7)
        assert answer.actions.dtype == np.float32
        assert (answer.actions >= low).all() and (answer.actions <= high).all()
        assert len(answer.tokens) >= 1
        assert len(answer.reasoning.split()) <= (6 if think else 0)
        assert answer.inference_s > 0


def test_the_same_observation_has_the_same_answer(policy):
    first, second = (policy.act(values(3), "grasp the red cube") for _ in range(2))
    assert first.tokens == second.tokens
    np.testing.assert_array_equal(first.actions, second.actions)


def test_actions_are_the_decoded_tokens_in_the_contracts_units(policy, checkpoint):
    answer = policy.act(values(1), "grasp the red cube")
    fast = FastTokenizer.load(checkpoint / "fast")
    (normalised,) = fast.decode([answer.tokens], horizon=8, dims=7)
    stats = json.loads((checkpoint / "stats.json").read_text())["action"]
    q01, q99 = np.array(stats["q01"]), np.array(stats["q99"])
    wanted = (normalised + 1) / 2 * (q99 - q01 + 1e-6) + q01
    np.testing.assert_allclose(answer.actions, wanted, atol=1e-6)


def test_tokens_of_is_the_inverse_of_acting(policy):
    smooth = 0.01 * np.sin(np.linspace(0, 3, 8))[:, None] * np.linspace(-1, 1, 7)
    (tokens,) = policy.tokens_of(smooth[None])
    actions = policy._decoder.actions_of(tokens)
    np.testing.assert_allclose(actions, smooth, atol=quantisation_bound(8, 10) * 0.02)


def test_chat_defaults_of_a_checkpoint_do_not_change_the_answer(copy, policy):
    rewrite(
        copy / "generation_config.json",
        lambda g: g.update(repetition_penalty=20.0, do_sample=True, temperature=5.0, top_k=3),
    )
    other = open_policy(copy, options=PolicyOptions(device="cpu", max_think_tokens=6))
    assert other._mllm.model.generation_config.repetition_penalty == 20.0
    for seed in range(3):
        found, wanted = (p.act(values(seed), "grasp the red cube") for p in (other, policy))
        assert (found.tokens, found.reasoning) == (wanted.tokens, wanted.reasoning)


def test_without_the_grammar_an_undecodable_answer_gives_no_actions(checkpoint):
    policy = open_policy(
        checkpoint, options=PolicyOptions(device="cpu", grammar=False, max_think_tokens=2)
    )
    answer = policy.act(values(), "grasp the red cube")
    assert answer.status == ChunkStatus.UNDECODABLE
    assert answer.actions is None
    assert answer.detail


def test_well_formed_tokens_of_the_wrong_length_give_no_actions(policy):
    (tokens,) = policy.tokens_of(np.zeros((1, 8, 7)))
    with pytest.raises(ChunkError, match="56") as error:
        policy._decoder.actions_of(tokens + tokens)
    assert error.value.kind is ChunkStatus.UNDECODABLE


@pytest.mark.parametrize("shape", [(8, 1), (56,), (0, 7), (1, 8, 7)])
def test_actions_of_another_shape_are_not_accepted(policy, shape):
    bounds = Bounds.of(policy.contract)
    with pytest.raises(ChunkError, match="expected .steps, 7") as error:
        accept(np.zeros(shape), bounds)
    assert error.value.kind is ChunkStatus.WRONG_SHAPE


@pytest.mark.parametrize("grammar", [True, False])
def test_a_model_of_nan_never_moves(checkpoint, grammar):
    policy = open_policy(
        checkpoint, options=PolicyOptions(device="cpu", grammar=grammar, max_think_tokens=6)
    )
    with torch.no_grad():
        policy._mllm.model.model.language_model.layers[0].mlp.up_proj.weight.fill_(torch.nan)
    answer = policy.act(values(), "grasp the red cube")
    assert (answer.status, answer.actions, answer.tokens) == (ChunkStatus.NON_FINITE, None, [])
    assert "found NaN" in answer.detail


def test_actions_outside_the_limits_are_rejected(wild_checkpoint):
    policy = open_policy(wild_checkpoint, options=PolicyOptions(device="cpu", max_think_tokens=2))
    answers = [policy.act(values(seed), "grasp the red cube") for seed in range(4)]
    assert ChunkStatus.OUT_OF_LIMITS in {answer.status for answer in answers}
    for answer in answers:
        assert answer.status in (ChunkStatus.OK, ChunkStatus.OUT_OF_LIMITS)
        assert (answer.actions is None) == (answer.status == ChunkStatus.OUT_OF_LIMITS)
    rejected = next(a for a in answers if a.status == ChunkStatus.OUT_OF_LIMITS)
    assert " at step " in rejected.detail and "limits [-1, 1]" in rejected.detail


def test_a_refused_answer_is_asked_again(policy, monkeypatch):
    accept, asked = policy._decoder.actions_of, []

    def refuse_first(tokens):
        asked.append(list(tokens))
        if len(asked) == 1:
            raise ChunkError(ChunkStatus.OUT_OF_LIMITS, "too far")
        return accept(tokens)

    monkeypatch.setattr(policy._decoder, "actions_of", refuse_first)
    answer = policy.act(values(0), "grasp the red cube")
    assert len(asked) == 2 and asked[0] != asked[1]
    assert (answer.status, answer.tokens) == (ChunkStatus.OK, asked[1])
    asked.clear()
    again = policy.act(values(0), "grasp the red cube")
    assert again.tokens == answer.tokens, "the same observation gives the same answer"


def test_answers_that_are_all_refused_move_nothing(wild_checkpoint):
    policy = open_policy(
        wild_checkpoint, options=PolicyOptions(device="cpu", max_think_tokens=2, attempts=2)
    )
    refused = [policy.act(values(seed), "grasp the red cube") for seed in range(2)]
    assert {a.status for a in refused} == {ChunkStatus.OUT_OF_LIMITS}
    assert all(a.actions is None for a in refused)
    with pytest.raises(ValueError, match="attempts: found 0"):
        open_policy(wild_checkpoint, options=PolicyOptions(device="cpu", attempts=0))


def test_quantisation_bound_is_the_worst_case():
    horizon, scale = 8, 10.0
    k, t = np.arange(horizon)[:, None], np.arange(horizon)
    basis = np.cos(np.pi * (2 * t + 1) * k / (2 * horizon)) * np.sqrt(2 / horizon)
    basis[0] /= np.sqrt(2)
    assert np.allclose(basis @ basis.T, np.eye(horizon))
    worst = np.abs((0.5 / scale * np.sign(basis[:, 3])) @ basis).max()
    assert 0 < worst <= quantisation_bound(horizon, scale)
    signs = [np.abs((0.5 / scale * np.sign(basis[:, i])) @ basis).max() for i in range(horizon)]
    assert quantisation_bound(horizon, scale) == pytest.approx(max(signs))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("image.front", np.zeros((64, 64, 3), np.uint8), r"shape \(64, 64, 3\), expected \(128"),
        ("image.front", np.zeros((128, 128, 3), np.float32), "dtype float32, expected uint8"),
        ("state.gripper", np.zeros(2, np.float32), r"shape \(2,\), expected \(1,\)"),
        ("state.gripper", np.array([None]), "dtype object, expected float32"),
        ("state.gripper", np.array([np.nan], np.float32), "gripper: found nan"),
    ],
)
def test_a_bad_observation_is_named(policy, key, value, message):
    with pytest.raises(ValueError, match=rf"{key.split('.')[1]}.*{message}|{message}") as error:
        policy.act({**values(), key: value}, "grasp the red cube")
    assert key.split(".")[1] in str(error.value)


@pytest.mark.parametrize("key", ["image.front", "state.gripper"])
def test_a_missing_stream_is_named(policy, key):
    given = values()
    del given[key]
    with pytest.raises(KeyError, match=f"{key}: not in the values"):
        policy.act(given, "grasp the red cube")


@pytest.mark.parametrize("instruction", ["", "  \n ", "say <answer> now", "<|im_end|> go"])
def test_an_instruction_that_cannot_stand_in_a_prompt_is_refused(policy, instruction):
    with pytest.raises(ValueError, match="instruction: found"):
        policy.act(values(), instruction)


def test_the_hash_is_of_the_content(checkpoint, copy, policy):
    assert open_policy(copy, options=PolicyOptions(device="cpu")).hash == policy.hash
    mllm = load_mllm(copy, device="cpu")
    with torch.no_grad():
        mllm.model.get_input_embeddings().weight[0, 0] += 1
    mllm.model.save_pretrained(copy)
    assert open_policy(copy, options=PolicyOptions(device="cpu")).hash != policy.hash


def test_reformatted_statistics_are_the_same_statistics(copy):
    path = copy / "stats.json"
    path.write_text(json.dumps(json.loads(path.read_text()), indent=4))
    open_policy(copy, options=PolicyOptions(device="cpu"))


def change_stats(folder):
    rewrite(folder / "stats.json", lambda s: s["action"]["q99"].__setitem__(0, 0.5))


def change_contract(folder):
    path = folder / "contract.yaml"
    path.write_text(path.read_text().replace("rate_hz: 10.0", "rate_hz: 20.0"))


def change_tokenizer(folder):
    chunks = np.random.default_rng(9).uniform(-1, 1, (50, 8, 7))
    shutil.rmtree(folder / "fast")
    FastTokenizer.fit(chunks, vocab_size=150).save(folder / "fast")


@pytest.mark.parametrize(
    ("change", "name"),
    [(change_stats, "stats"), (change_contract, "contract"), (change_tokenizer, "tokenizer")],
)
def test_a_part_that_was_changed_is_refused(copy, change, name):
    change(copy)
    with pytest.raises(ModelError, match=f"{name}: found hash .* expected .* roboalign.json"):
        open_policy(copy, options=PolicyOptions(device="cpu"))


def with_settings(folder):
    """The folder as trainings write it now, with its settings in the record."""
    rewrite(folder / "roboalign.json", lambda r: r.update(settings=model_settings(folder)))
    return folder


@pytest.mark.parametrize("name", ["config.json", "preprocessor_config.json", "tokenizer.json"])
def test_a_setting_that_was_edited_is_refused(copy, name):
    with_settings(copy)
    open_policy(copy, options=PolicyOptions(device="cpu"))
    rewrite(copy / name, lambda c: c.update(edited=1))
    with pytest.raises(ModelError, match=f"{name}: found hash .* expected .* roboalign.json"):
        open_policy(copy)


def test_a_setting_that_was_added_or_lost_is_refused(copy):
    with_settings(copy)
    (copy / "chat_template.json").write_text("{}")
    with pytest.raises(ModelError, match="chat_template.json: found hash .* expected none"):
        open_policy(copy)
    (copy / "chat_template.json").unlink()
    (copy / "preprocessor_config.json").unlink()
    with pytest.raises(ModelError, match="preprocessor_config.json: found hash none, expected"):
        open_policy(copy)
    rewrite(copy / "roboalign.json", lambda r: r.update(settings=[1]))
    with pytest.raises(ModelError, match="roboalign.json: settings: found list, expected an"):
        open_policy(copy)


def test_settings_are_part_of_the_hash_and_older_policies_keep_theirs(copy, checkpoint):
    before = read_checkpoint(checkpoint).hash
    assert read_checkpoint(copy).hash == before
    with_settings(copy)
    once = read_checkpoint(copy).hash
    rewrite(copy / "config.json", lambda c: c.update(edited=1))
    with_settings(copy)
    assert len({before, once, read_checkpoint(copy).hash}) == 3


@pytest.mark.parametrize(
    "name", ["roboalign.json", "contract.yaml", "stats.json", "fast", "config.json"]
)
def test_a_part_that_is_missing_is_named(copy, name):
    path = copy / name
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(ModelError, match=f"found no {name}"):
        open_policy(copy)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("roboalign.json", "{", "roboalign.json: found no JSON"),
        ("roboalign.json", "[]", "roboalign.json: found list, expected an object"),
        ("roboalign.json", "{}", "hashes: found no entry"),
        ("roboalign.json", '{"hashes": {"stats": "a", "contract": "b"}}', "found no .*tokenizer"),
        ("roboalign.json", '{"prompt_version": 99}', "prompt_version: found 99, expected 1"),
        ("roboalign.json", '{"decoder": "act"}', "decoder: found 'act' of .'act'., expected one"),
        (
            "roboalign.json",
            '{"decoders": ["flow"]}',
            "decoder: found 'fast' of .'flow'., expected",
        ),
        ("roboalign.json", '{"decoder": "flow"}', "found no flow_head.json, expected it beside"),
        ("stats.json", "{}", "stats.json: found no 'action'"),
        ("stats.json", '{"action": {"count": 0}}', "stats.json: action: "),
        ("contract.yaml", "schema: other/1", "contract.yaml"),
    ],
)
def test_a_malformed_part_is_named(copy, name, text, message):
    (copy / name).write_text(text)
    with pytest.raises(ModelError, match=message):
        open_policy(copy)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(rate_hz=20.0), "rate_hz: found 20.0, expected 10.0"),
        (lambda c: c["action"].update(horizon=4), "action.horizon: found 4, expected 8"),
        (lambda c: c["prompt"]["state"].pop(), "prompt.state: found"),
        (
            lambda c: c["observations"][0].update(shape=[64, 64, 3]),
            r"observations\[image.front\].shape: found \(64",
        ),
    ],
)
def test_a_contract_of_another_robot_is_refused(checkpoint, change, message):
    data = load_contract("sim_panda").to_dict()
    change(data)
    other = contract_from_dict(data, source="other")
    with pytest.raises(ModelError, match=message):
        open_policy(checkpoint, contract=other)


def test_topics_may_differ_from_the_training_contract(checkpoint):
    data = load_contract("sim_panda").to_dict()
    data["observations"][0]["topic"] = "another/camera"
    policy = open_policy(
        checkpoint,
        contract=contract_from_dict(data, source="x"),
        options=PolicyOptions(device="cpu"),
    )
    assert policy.contract.observations[0].topic == "another/camera"


def test_a_vocabulary_of_another_size_is_refused(tiny_base, checkpoint):
    mllm = load_mllm(tiny_base, device="cpu")
    extend_vocabulary(mllm, 11)
    fine = open_policy(checkpoint, options=PolicyOptions(device="cpu"))
    with pytest.raises(ModelError, match="found 11 FAST tokens .* expected 200"):
        MLLMPolicy(mllm, fine.contract, fine._decoder, hash="x", images=fine.images)
