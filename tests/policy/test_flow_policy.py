"""A policy that drives by an action head: what it answers, and what it refuses."""

import json
import shutil
import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from checkpoints import MOVING, write_flow_checkpoint
from safetensors.torch import load_file, save_file

from roboalign_policy.core.contract.contract import load_contract
from roboalign_policy.core.hashing import sha256_json
from roboalign_policy.core.policy.options import PolicyOptions
from roboalign_policy.core.policy.prediction import ChunkStatus
from roboalign_policy.models.checkpoint import model_weights, read_checkpoint
from roboalign_policy.models.flow_head.config import CONDITIONS, FlowHeadConfig
from roboalign_policy.models.loading import ModelError
from roboalign_policy.models.open_policy import open_policy

CPU = PolicyOptions(device="cpu", max_think_tokens=6)


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
def folder(tmp_path_factory, tiny_base):
    """Folder of a policy with both decoders; not to be changed."""
    return write_flow_checkpoint(tmp_path_factory.mktemp("flow"), tiny_base)


@pytest.fixture
def copy(folder, tmp_path):
    """The same, to be spoilt."""
    return shutil.copytree(folder, tmp_path / "copy")


def test_a_policy_says_how_it_makes_actions(tmp_path, tiny_base):
    folder = write_flow_checkpoint(tmp_path / "p", tiny_base, replan_after_steps=4)
    texts = {
        name: open_policy(folder, options=PolicyOptions(device="cpu", decoder=name)).describe()
        for name in ("flow", "fast")
    }
    assert texts["flow"].startswith("decoder flow: an action head after a thought; 4 of a chunk's")
    assert texts["fast"].startswith("decoder fast: tokens after a thought; 8 of a chunk's 8 steps")


def rewrite(path, change):
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


@pytest.mark.parametrize("condition", CONDITIONS)
def test_it_thinks_and_acts_within_the_limits(tiny_base, tmp_path, condition):
    policy = open_policy(
        write_flow_checkpoint(tmp_path / "flow", tiny_base, condition=condition), options=CPU
    )
    low, high = policy.contract.action.low, policy.contract.action.high
    found = []
    for seed in range(4):
        answer = policy.act(values(seed), "grasp the red cube")
        assert (answer.status, answer.detail) == (ChunkStatus.OK, "")
        assert answer.actions.shape == (8, 7) and answer.actions.dtype == np.float32
        assert (answer.actions >= low).all() and (answer.actions <= high).all()
        assert answer.tokens == []
        assert bool(answer.reasoning) == (condition != "prompt")
        assert len(answer.reasoning.split()) <= 6 and "<" not in answer.reasoning
        found.append(answer.actions)
    assert len({chunk.tobytes() for chunk in found}) == 4
    again = policy.act(values(0), "grasp the red cube")
    np.testing.assert_array_equal(again.actions, found[0])
    assert policy.tokens_of(found[0][None]) is None


def test_image_state_and_instruction_all_count(folder):
    policy = open_policy(folder, options=CPU)
    plain = policy.act(values(), "grasp the red cube").actions
    image, state = values(), values()
    image["image.front"] = 255 - image["image.front"]
    state["state.ee"] = state["state.ee"] + np.float32(1e-3)  # no centimetre is rounded
    others = {
        "image": policy.act(image, "grasp the red cube"),
        "state": policy.act(state, "grasp the red cube"),
        "instruction": policy.act(values(), "put the blue cube on the plate"),
    }
    for name, other in others.items():
        assert float(np.abs(other.actions - plain).max()) > 1e-7, name


def test_one_folder_two_decoders(folder):
    flow = open_policy(folder, options=CPU)
    fast = open_policy(folder, options=PolicyOptions(device="cpu", decoder="fast"))
    assert flow.act(values(), "grasp the red cube").tokens == []
    assert len(fast.act(values(), "grasp the red cube").tokens) >= 1
    assert flow.hash != fast.hash
    with pytest.raises(ModelError, match="decoder: found flow, fast, expected act among them"):
        read_checkpoint(folder, "act")


def test_a_folder_of_the_head_alone_needs_no_fast_files(copy):
    shutil.rmtree(copy / "fast")

    def change(record):
        record["decoders"] = ["flow"]
        del record["hashes"]["tokenizer"]

    rewrite(copy / "roboalign.json", change)
    answer = open_policy(copy, options=CPU).act(values(), "grasp the red cube")
    assert answer.status == ChunkStatus.OK
    with pytest.raises(ModelError, match="found flow, expected fast among them: the model was"):
        open_policy(copy, options=PolicyOptions(device="cpu", decoder="fast"))


def test_tokens_too_are_refused_beside_another_model(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    other_backbone(copy)
    for decoder in ("flow", "fast"):
        with pytest.raises(ModelError, match="backbone: found hash .*, expected .* as in robo"):
            open_policy(copy, options=PolicyOptions(device="cpu", decoder=decoder))


def test_a_chunk_out_of_limits_is_refused_not_clipped(tiny_base, tmp_path):
    policy = open_policy(write_flow_checkpoint(tmp_path / "wild", tiny_base, MOVING), options=CPU)
    answers = [policy.act(values(seed), "grasp the red cube") for seed in range(4)]
    refused = [a for a in answers if a.status == ChunkStatus.OUT_OF_LIMITS]
    assert refused and all(a.actions is None and a.detail for a in refused)


def test_weights_that_are_not_finite_move_nothing(copy):
    weights = load_file(copy / "flow_head.safetensors")
    weights["action_out.bias"][:] = float("nan")
    save_file(weights, copy / "flow_head.safetensors")
    from roboalign_policy.core.hashing import sha256_file

    def change(record):
        head = json.loads((copy / "flow_head.json").read_text())
        hashes = [head, sha256_file(copy / "flow_head.safetensors")]
        record["hashes"]["head"] = sha256_json(hashes)

    rewrite(copy / "roboalign.json", change)
    answer = open_policy(copy, options=CPU).act(values(), "grasp the red cube")
    assert answer.status == ChunkStatus.NON_FINITE and answer.actions is None


def other_backbone(copy):
    weights = load_file(copy / "model.safetensors")
    next(iter(weights.values())).view(-1)[0] += 1
    save_file(weights, copy / "model.safetensors", {"format": "pt"})


def other_robot(copy):
    rewrite(copy / "flow_head.json", lambda head: head["robots"][0].update(name="other"))


@pytest.mark.parametrize(
    ("spoil", "text"),
    [
        (other_backbone, "backbone: found hash .*, expected .* as in roboalign.json"),
        (lambda c: rewrite(c / "stats.json", lambda s: s["state"]["state.ee"].update(count=7)),
         "stats: found hash .*, expected .* as in roboalign.json"),
        (lambda c: rewrite(c / "roboalign.json", lambda r: r["hashes"].update(contract="0" * 64)),
         "contract: found hash .*, expected 000000000000 as in roboalign.json"),
        (lambda c: rewrite(c / "flow_head.json", lambda h: h.update(steps=9)),
         "head: found hash .*, expected .* as in roboalign.json"),
        (lambda c: rewrite(c / "roboalign.json", lambda r: r["hashes"].pop("backbone")),
         "hashes: found no .'backbone'., expected contract, stats, head, backbone"),
        (other_robot, "flow_head.json: robots: found other, expected sim_panda among them"),
        (lambda c: rewrite(c / "flow_head.json", lambda h: h.update(horizon=9)),
         "flow_head.json: Error.s. in loading state_dict"),
        (lambda c: rewrite(c / "flow_head.json", lambda h: h.pop("width")),
         "flow_head.json: action head: found no width"),
        (lambda c: (c / "flow_head.safetensors").write_bytes(b"weights"), "flow_head.json: "),
        (lambda c: (c / "flow_head.safetensors").unlink(), "found no flow_head.safetensors"),
        (lambda c: (c / "flow_head.json").write_text("{"), "flow_head.json: found no JSON"),
        (lambda c: rewrite(c / "stats.json", lambda s: s.pop("state")),
         "stats.json: found no statistics: 'state'"),
        (lambda c: rewrite(c / "stats.json", lambda s: s["state"].pop("state.ee")),
         "flow_head.json: state state.ee: found none, expected 7 fields"),
    ],
)  # fmt: skip
def test_what_does_not_belong_to_the_head_is_refused(copy, spoil, text):
    spoil(copy)
    with pytest.raises(ModelError, match=text):
        open_policy(copy, options=CPU)


def test_the_model_must_have_the_layer_and_the_width(copy):
    def rewritten(**given):
        rewrite(copy / "flow_head.json", lambda head: head.update(given))
        from roboalign_policy.core.hashing import sha256_file

        head = json.loads((copy / "flow_head.json").read_text())
        hashes = [head, sha256_file(copy / "flow_head.safetensors")]
        rewrite(
            copy / "roboalign.json",
            lambda record: record["hashes"].update(head=sha256_json(hashes)),
        )

    rewritten(layer=3)
    with pytest.raises(ModelError, match="layer: found 3, expected at most 2, the layers of the"):
        open_policy(copy, options=CPU)


def test_weights_of_the_head_are_not_the_models(folder):
    assert set(model_weights(folder)) == {"model.safetensors"}


def test_a_state_that_is_not_finite_or_missing_is_refused(folder):
    policy = open_policy(folder, options=CPU)
    bad = values()
    bad["state.gripper"][:] = np.nan
    with pytest.raises(ValueError, match="gripper"):
        policy.act(bad, "grasp the red cube")
    missing = values()
    del missing["state.ee"]
    with pytest.raises(KeyError, match="state.ee: not in the values"):
        policy.act(missing, "grasp the red cube")
    with pytest.raises(ValueError, match="instruction: "):
        policy.act(values(), " ")


def test_torch_has_the_same_random_numbers_afterwards(folder):
    policy = open_policy(folder, options=CPU)
    torch.manual_seed(3)
    wanted = torch.rand(4)
    torch.manual_seed(3)
    policy.act(values(), "grasp the red cube")
    torch.testing.assert_close(torch.rand(4), wanted)


@pytest.mark.parametrize("decoder", ["flow", "fast"])
def test_a_thought_may_be_given(folder, decoder):
    policy = open_policy(
        folder, options=PolicyOptions(device="cpu", max_think_tokens=6, decoder=decoder)
    )
    own = policy.act(values(), "grasp the red cube")
    assert policy.think(values(), "grasp the red cube") == own.reasoning
    found = {}
    for text in ("grasp at 52 -10 2 : stay", "release at 40 20 4 : move left 20", ""):
        answer = policy.act(values(), "grasp the red cube", thought=text)
        assert (answer.status, answer.reasoning) == (ChunkStatus.OK, text)
        assert bool(answer.tokens) == (decoder == "fast")
        again = policy.act(values(), "grasp the red cube", thought=text)
        np.testing.assert_array_equal(again.actions, answer.actions)
        found[text] = answer.actions
    if decoder == "flow":  # random tokens of random weights may be alike
        first, *others = found.values()
        assert all(np.abs(other - first).max() > 1e-7 for other in others)


def test_a_thought_is_made_while_another_thread_acts(folder):
    """With the same weights in memory, and the same answers as one after the other."""
    policy = open_policy(folder, options=CPU)
    wanted = [policy.act(values(seed), "grasp the red cube") for seed in range(4)]
    found, failed = [], []

    def think():
        try:
            for seed in range(4):
                found.append(policy.think(values(seed), "grasp the red cube"))
        except Exception as error:  # noqa: BLE001 - whatever it is, the test fails with it
            failed.append(error)

    thinking = threading.Thread(target=think)
    thinking.start()
    acted = []
    while thinking.is_alive() or len(acted) < 4:
        seed = len(acted) % 4
        answer = policy.act(values(seed), "grasp the red cube", thought=wanted[seed].reasoning)
        acted.append((seed, answer))
    thinking.join()
    assert failed == []
    assert found == [answer.reasoning for answer in wanted]
    for seed, answer in acted:
        np.testing.assert_allclose(answer.actions, wanted[seed].actions, atol=1e-6)
    own = {id(p) for p in policy._mllm.model.parameters()}
    assert {id(p) for p in policy._thinker.model.parameters()} == own


HALF_RANGE = 0.2  # of the actions: far from the limits


def rest_of(seed=5):
    """Six actions that no answer of the policy begins with."""
    return np.random.default_rng(seed).uniform(-HALF_RANGE, HALF_RANGE, (6, 7)).astype(np.float32)


@pytest.mark.parametrize("chunking", ["guided", "constant", "prefix"])
def test_a_chunk_continues_the_one_that_is_executed(tiny_base, tmp_path, chunking):
    checkpoint = write_flow_checkpoint(tmp_path / "flow", tiny_base, HALF_RANGE, given_prefix=4)
    free = open_policy(checkpoint, options=CPU)
    bound = open_policy(checkpoint, options=replace(CPU, chunking=chunking))
    assert (free.chunking, bound.chunking) == ("fresh", chunking)
    rest, task = rest_of(), "grasp the red cube"
    alone = bound.act(values(), task)
    np.testing.assert_allclose(
        alone.actions, free.act(values(), task).actions, atol=1e-6
    )  # nothing remains
    plain = free.act(values(), task, remaining=rest, frozen=3).actions
    found = bound.act(values(), task, remaining=rest, frozen=3)
    assert found.status is ChunkStatus.OK
    before = np.abs(plain[:3] - rest[:3]).mean()
    after = np.abs(found.actions[:3] - rest[:3]).mean()
    assert after < (1e-5 if chunking == "prefix" else 0.35 * before)
    assert np.abs(found.actions[6:] - rest.mean()).max() > 1e-3
    none = np.empty((0, 7), np.float32)
    np.testing.assert_array_equal(bound.act(values(), task, remaining=none).actions, alone.actions)


def test_a_policy_that_cannot_continue_chunks_is_refused(folder):
    with pytest.raises(ModelError, match="chunking: found prefix, but given_prefix is 0"):
        open_policy(folder, options=replace(CPU, chunking="prefix"))
    with pytest.raises(ModelError, match="chunking: found guided, expected fresh: tokens cannot"):
        open_policy(folder, options=replace(CPU, chunking="guided", decoder="fast"))
    with pytest.raises(ValueError, match="chunking: found 'half', expected one of fresh, guided"):
        PolicyOptions(chunking="half")


def test_a_head_of_before_the_key_is_given_no_prefix(copy):
    record = json.loads((copy / "flow_head.json").read_text())
    assert record["given_prefix"] == 0
    del record["given_prefix"]
    assert FlowHeadConfig.from_dict(record).given_prefix == 0
