"""Stage 3 with a model that is trained too: LoRA and all weights; saved, resumed, driven."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from head_runs import make_base, runs_of, stopping_after
from safetensors.torch import load_file, safe_open
from transformers import TrainingArguments

from roboalign_policy.core.policy.accept import Bounds
from roboalign_policy.core.policy.options import PolicyOptions
from roboalign_policy.core.policy.prediction import ChunkStatus
from roboalign_policy.models.flow_decoder import FlowDecoder, read_hidden
from roboalign_policy.models.flow_head.config import FlowHeadConfig, RobotShape
from roboalign_policy.models.flow_head.network import FlowHead
from roboalign_policy.models.loading import load_mllm
from roboalign_policy.models.open_policy import open_policy
from roboalign_training import vla
from roboalign_training.learning.action_error import action_error
from roboalign_training.learning.arguments import ConfigError, VlaArguments
from roboalign_training.learning.backbone import Backbone
from roboalign_training.learning.features import ReadFeatures
from roboalign_training.learning.flow_training import MovingAverage
from roboalign_training.learning.head_inputs import flow_samples
from roboalign_training.learning.hidden_reader import HiddenReader
from roboalign_training.learning.live_training import (
    LiveBatches,
    LiveHead,
    LiveSamples,
    LiveTrainer,
)
from roboalign_training.learning.run_folder import RunFolder
from roboalign_training.origins.provenance import load_origin

FAST_RATE = ("--backbone_learning_rate", "1e-3")
FRAMES = (3, 17, 40, 5)


@pytest.fixture(scope="module")
def base(demonstrations, tiny_base, tmp_path_factory):
    """An SFT policy folder with random weights; not to be changed."""
    return make_base(demonstrations, tiny_base, tmp_path_factory.mktemp("base") / "policy")


@pytest.fixture
def run(demonstrations, base, tmp_path, monkeypatch):
    """Trains a head and the model below it; options as on the command line."""
    start = runs_of(demonstrations, base, tmp_path, monkeypatch)
    return lambda *options, **how: start(*FAST_RATE, *options, **how)


def both(policy: Path) -> dict[str, torch.Tensor]:
    """All weights of a policy."""
    model, head = (load_file(policy / f"{n}.safetensors") for n in ("model", "flow_head"))
    return {**model, **{f"head.{name}": value for name, value in head.items()}}


def layer_of(name: str) -> str:
    """`visual`, `embed_tokens`, `layers.0`, ... of a weight's name."""
    if "visual" in name:
        return "visual"
    parts = name.split(".")
    return f"layers.{parts[parts.index('layers') + 1]}" if "layers" in parts else parts[-2]


@pytest.mark.parametrize(
    ("mode", "changed"), [("lora", {"layers.0"}), ("full", {"layers.0", "embed_tokens"})]
)
def test_a_trained_model_is_saved_whole_and_drives(
    run, base, demonstrations, tmp_path, capsys, mode, changed
):
    before = {path.name: path.read_bytes() for path in base.iterdir() if path.is_file()}
    policy = run("--backbone", mode)
    assert f"backbone {mode}: " in (said := capsys.readouterr().out)
    assert "since it is trained" in said and "without FAST tokens" in said
    assert {p.name: p.read_bytes() for p in base.iterdir() if p.is_file()} == before
    old, new = load_file(base / "model.safetensors"), load_file(policy / "model.safetensors")
    assert {n: (v.shape, v.dtype) for n, v in old.items()} == {
        n: (v.shape, v.dtype) for n, v in new.items()
    }
    # The head reads one of two layers.
    assert {layer_of(n) for n in old if not torch.equal(old[n], new[n])} == changed
    record = json.loads((policy / "roboalign.json").read_text())
    assert (record["backbone"], record["decoders"]) == (mode, ["flow"])
    assert "tokenizer" not in record["hashes"] and not (policy / "fast").exists()
    origin, of_base = load_origin(policy), load_origin(base)
    assert origin.base["weights_sha256"] == of_base.weights_sha256 != origin.weights_sha256
    assert ("LoRA" in (policy / "README.md").read_text()) == (mode == "lora")
    assert "frozen" not in (policy / "README.md").read_text()
    assert not list(policy.glob("*adapter*"))
    values = {**demonstrations.values(5), "image.front": demonstrations.images(5)[0]}
    options = PolicyOptions(device="cpu", max_think_tokens=6)
    answer = open_policy(policy, options=options).act(values, "grasp the red cube")
    assert answer.status in (ChunkStatus.OK, ChunkStatus.OUT_OF_LIMITS), answer.detail
    assert not (tmp_path / "run/features/training").exists()


@pytest.mark.parametrize("mode", ["lora", "full"])
def test_stopped_and_resumed_gives_the_same_weights(run, monkeypatch, tmp_path, mode):
    """Over 8 steps of 6 an epoch, with all that is drawn at random in training."""
    options = ("--backbone", mode, "--max_steps", "8", "--augment_crop", "0.1")
    options += ("--lora_dropout", "0.1") if mode == "lora" else ()
    whole = both(run(*options, folder="whole"))
    # Asked once before the thoughts, then after every step.
    for count, text in ((1, "while hidden states are read"), (4, "after step 3"), (8, "step 7")):
        with monkeypatch.context() as patch:
            patch.setattr(vla, "stop_on_signal", stopping_after(count))
            with pytest.raises(vla.Stopped, match=text):
                run(*options, folder=f"parts{count}")
        parts = both(run(*options, folder=f"parts{count}"))
        assert whole.keys() == parts.keys()
        assert [n for n in whole if not torch.equal(whole[n], parts[n])] == []


@pytest.mark.parametrize("mode", ["lora", "full"])
def test_the_error_is_that_of_the_policy_as_it_was_saved(run, demonstrations, tmp_path, mode):
    fast = ("--max_steps", "40", "--learning_rate", "1e-2", "--ema_decay", "0.5")
    policy = run("--backbone", mode, *fast)  # so that the head heeds what it reads
    stored = RunFolder(tmp_path / "run").result()["dev_action_error"]

    def error_with(folder):
        """Of the trained head on a model's hidden states and own thoughts."""
        mllm = load_mllm(folder, device="cpu")
        head = FlowDecoder.read(policy, demonstrations.contract).head
        frames = vla.dev_frames(vla.split_episodes(demonstrations, 2, 1)[1], 6)
        reader = HiddenReader(mllm, demonstrations, "thought", 1, 6, 64)
        read = ReadFeatures(reader.read(frames.tolist(), lambda frame: True))
        return action_error(
            head, flow_samples(demonstrations, read),
            np.stack([demonstrations.chunk(int(f)) for f in frames]),
            demonstrations.stats.denormalise,
            Bounds.of(demonstrations.contract),
            [demonstrations.episode(int(f)).start for f in frames], torch.device("cpu"),
        ).mean  # fmt: skip

    assert error_with(policy) == pytest.approx(stored, rel=1e-5)
    assert error_with(tmp_path_of(policy)) != pytest.approx(stored, rel=1e-5)


def tmp_path_of(policy: Path) -> Path:
    """Folder of the base that a policy was trained from."""
    return (policy / load_origin(policy).base["path"]).resolve()


def test_a_checkpoint_holds_what_is_trained_and_no_more(run, tmp_path):
    for mode in ("lora", "full"):
        run("--backbone", mode, "--save_minutes", "0.000001", folder=mode)
        (checkpoint,) = (tmp_path / mode).glob("checkpoint-*")
        with safe_open(checkpoint / "model.safetensors", "pt") as file:
            names = [name for name in file.keys() if name.startswith("backbone.")]  # noqa: SIM118
        assert names and not [n for n in names if ".layers.1." in n or ".visual." in n]
        assert all("lora_" in name for name in names) == (mode == "lora")


def test_the_averaged_weights_drive(run, tmp_path):
    policy = run("--backbone", "full", "--save_minutes", "0.000001")
    (checkpoint,) = (tmp_path / "run").glob("checkpoint-*")
    state, new = load_file(checkpoint / "model.safetensors"), both(policy)
    names = [n.removeprefix("backbone.model.") for n in state if n.startswith("backbone.model.")]
    averages = [v for n, v in state.items() if n.startswith("backbone_average.")]
    assert len(names) == len(averages) > 0
    name = "model.language_model.layers.0.mlp.up_proj.weight"
    assert not torch.equal(new[name], state[f"backbone.model.{name}"])
    assert any(
        torch.equal(new[name], value) for value in averages if value.shape == new[name].shape
    )


def test_checkpointing_of_activations_changes_nothing(run):
    for mode in ("lora", "full"):
        plain, spared = (
            both(run("--backbone", mode, "--gradient_checkpointing", how, folder=f"{mode}{how}"))
            for how in ("false", "true")
        )
        for name, value in plain.items():
            torch.testing.assert_close(value, spared[name], atol=1e-6, rtol=1e-4)


def live(demonstrations, mllm, condition="thought"):
    """A batch of four frames as it is trained on."""
    targets = np.zeros((4, 3), np.float32), np.zeros((4, 8, 7), np.float32)
    samples = LiveSamples(demonstrations, np.array(FRAMES), condition, {}, targets, None)
    return LiveBatches(mllm.processor, condition)([samples[at] for at in range(4)])


def arguments(mode, **given):
    return VlaArguments(dataset="x", backbone=mode, **given)


@pytest.mark.parametrize("condition", ["thought", "language_thought", "prompt"])
@pytest.mark.parametrize("layer", [1, 2])
@pytest.mark.parametrize("mode", ["frozen", "lora", "full"])
def test_what_is_trained_on_is_what_is_read_when_it_drives(
    base, demonstrations, mode, layer, condition
):
    """The hidden states of a model that has learnt nothing yet are those of the base."""
    mllm = load_mllm(base, device="cpu")
    reader = HiddenReader(mllm, demonstrations, condition, layer, 6, batch=4)
    thoughts = [reader.demonstrated(frame) for frame in FRAMES]
    wanted, mask = read_hidden(mllm, reader._inputs(FRAMES), thoughts, condition, layer)
    inputs = live(demonstrations, mllm, condition)["inputs"]
    backbone = Backbone(mllm.model, layer, arguments(mode))
    found = backbone(inputs)
    torch.testing.assert_close(inputs["attention_mask"], mask)
    torch.testing.assert_close(found.detach(), wanted)
    assert found.requires_grad == backbone.model.training == (mode != "frozen")
    assert len(mllm.model.model.language_model.layers) == 2
    assert not [name for name in backbone.trained if ".visual." in name]
    if mode != "frozen":
        found.square().mean().backward()
        assert all(p.grad is not None for p in backbone.parameters_trained)
        kinds = {name.split(".lora_")[0].rsplit(".", 1)[1] for name in backbone.trained}
        if mode == "lora":
            attention, mlp = {f"{n}_proj" for n in "qkvo"}, {"gate_proj", "up_proj", "down_proj"}
            assert kinds == attention | mlp


@pytest.mark.parametrize("mode", ["lora", "full"])
def test_a_model_in_half_precision_learns_in_float32_and_is_saved_as_it_was(
    base, demonstrations, mode
):
    mllm = load_mllm(base, device="cpu", dtype="bfloat16")
    inputs = live(demonstrations, mllm)["inputs"]
    backbone = Backbone(mllm.model, 1, arguments(mode))
    assert {p.dtype for p in backbone.parameters_trained} == {torch.float32}
    backbone(inputs).float().square().mean().backward()
    with torch.no_grad():
        for parameter in backbone.parameters_trained:
            parameter += 0.01 * torch.ones_like(parameter)
        learnt = backbone.eval()(inputs).float()
        assert backbone.merged() is mllm.model
        saved, _ = read_hidden(
            mllm, HiddenReader(mllm, demonstrations, "thought", 1, 6, 4)._inputs(FRAMES),
            [HiddenReader(mllm, demonstrations, "thought", 1, 6, 4).demonstrated(f)
             for f in FRAMES], "thought", 1,
        )  # fmt: skip
    assert {p.dtype for p in mllm.model.parameters()} == {torch.bfloat16}
    torch.testing.assert_close(saved.float(), learnt, atol=0.05, rtol=0.05)
    assert mllm.model.get_output_embeddings().weight is mllm.model.get_input_embeddings().weight


def test_the_model_has_a_learning_rate_of_its_own(base, tmp_path):
    mllm = load_mllm(base, device="cpu")
    given = arguments("full")
    head = FlowHead(FlowHeadConfig((RobotShape("a", 3, 7),), 8, 48, width=32, blocks=1))
    model = LiveHead(head, 1, 0, Backbone(mllm.model, 1, given))
    training = TrainingArguments(
        str(tmp_path), learning_rate=0.5, weight_decay=0.25, report_to="none", use_cpu=True
    )
    trainer = LiveTrainer(
        model=model, args=training, backbone_rate=given.backbone_rate,
        callbacks=[MovingAverage(model, 0.9)],
    )  # fmt: skip
    groups = trainer.create_optimizer().param_groups
    own = {id(p) for p in model.backbone.parameters_trained}
    rates = [(group["lr"], group["weight_decay"]) for group in groups]
    assert sorted(rates) == [(1e-5, 0.0), (1e-5, 0.25), (0.5, 0.0), (0.5, 0.25)]
    for group in groups:
        assert {id(p) in own for p in group["params"]} == {group["lr"] == 1e-5}
    optimised = {id(p) for group in groups for p in group["params"]}
    assert optimised == {id(p) for p in model.parameters() if p.requires_grad}


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ("--backbone half", "backbone: found 'half', expected one of frozen, lora, full"),
        ("--backbone lora --lora_rank 0", "lora_rank: found 0, expected at least 1"),
        ("--backbone lora --lora_alpha 0", "lora_alpha: found 0, expected at least 1"),
        ("--backbone lora --lora_dropout 1", "lora_dropout: found 1.0, expected from 0 to below"),
        ("--backbone full --lora_rank 8", "lora_rank: found 8, expected 16, the default: with ba"),
        ("--backbone frozen --lora_alpha 8", "lora_alpha: found 8, expected 32, the default: wit"),
        ("--backbone lora --keep_fast true", "keep_fast: found True, expected false, or left out"),
        ("--backbone full --layer 0", "layer: found 0.0, expected at least 1 layer with backbone"),
        ("--backbone_learning_rate 1e-3", "backbone_learning_rate: found 0.001, expected nothing"),
        (
            "--backbone lora --backbone_learning_rate 0",
            "backbone_learning_rate: found 0.0, expected a number above 0",
        ),
        ("--gradient_checkpointing true", "gradient_checkpointing: found True, expected false: w"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(
    demonstrations, base, tmp_path, monkeypatch, options, text
):
    start = runs_of(demonstrations, base, tmp_path, monkeypatch)
    with pytest.raises(ConfigError, match=text):
        start(*options.split())
    assert not (tmp_path / "run").exists()


def test_what_follows_from_the_backbone():
    assert arguments("lora").backbone_rate == 1e-4 and arguments("full").backbone_rate == 1e-5
    assert arguments("full", backbone_learning_rate=0.5).backbone_rate == 0.5
    assert [arguments(mode).keep_fast for mode in ("frozen", "lora", "full")] == [True] + [
        False
    ] * 2
    assert arguments("frozen", keep_fast=False).keep_fast is False
