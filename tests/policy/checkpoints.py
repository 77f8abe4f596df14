"""Checkpoint folders of random weights for the policy tests."""

import json
from pathlib import Path

import numpy as np

STILL, MOVING = 0.02, 5.0
"""Half of q99 - q01: so narrow that any chunk is within the limits, so wide that most are not."""


def write_checkpoint(
    folder: Path, base: Path, half_range: float = STILL, robot: str = "sim_panda"
) -> Path:
    """A checkpoint with random weights and a tokenizer of smooth chunks.

    Its record says nothing of images, as those from before several cameras.
    """
    from roboalign_policy.core.contract.contract import load_contract
    from roboalign_policy.core.hashing import sha256_json
    from roboalign_policy.core.policy.normalise import QuantileStats
    from roboalign_policy.core.policy.prompt import PROMPT_VERSION
    from roboalign_policy.fast import FastTokenizer
    from roboalign_policy.models.loading import extend_vocabulary, load_mllm

    contract = load_contract(robot)
    horizon, dims = contract.action.horizon, len(contract.action.dims)
    random = np.random.default_rng(3)
    steps = random.normal(scale=0.2, size=(120, horizon, dims))
    fast = FastTokenizer.fit(np.clip(np.cumsum(steps, axis=1), -1, 1), vocab_size=200)
    stats = QuantileStats.from_samples(random.uniform(-half_range, half_range, (500, dims)))
    mllm = load_mllm(base, device="cpu")
    extend_vocabulary(mllm, fast.vocab_size)
    mllm.model.save_pretrained(folder)
    mllm.processor.save_pretrained(folder)
    fast.save(folder / "fast")
    document = {"action": stats.to_dict()}
    (folder / "stats.json").write_text(json.dumps(document, indent=1))
    (folder / "contract.yaml").write_text(contract.to_yaml())
    record = {
        "kind": "untrained",
        "base": str(base),
        "horizon": horizon,
        "dims": dims,
        "hashes": {
            "contract": contract.hash,
            "tokenizer": fast.hash,
            "stats": sha256_json(document),
        },
        "prompt_version": PROMPT_VERSION,
    }
    (folder / "roboalign.json").write_text(json.dumps(record))
    return folder


def write_flow_checkpoint(
    folder: Path, base: Path, half_range: float = STILL, robot: str = "sim_panda", **head
) -> Path:
    """A checkpoint of `write_checkpoint` with an action head of random weights beside it.

    Args:
        folder: to write.
        base: model without action vocabulary.
        half_range: of the actions.
        robot: its contract.
        head: further options of the head's configuration.
    """
    import torch
    from safetensors.torch import save_file

    from roboalign_policy.core.contract.contract import load_contract
    from roboalign_policy.core.hashing import sha256_file, sha256_json
    from roboalign_policy.core.policy.normalise import QuantileStats
    from roboalign_policy.core.policy.state_vector import state_fields
    from roboalign_policy.models.checkpoint import model_weights
    from roboalign_policy.models.flow_head.config import FlowHeadConfig, RobotShape
    from roboalign_policy.models.flow_head.network import FlowHead
    from roboalign_policy.models.loading import load_mllm

    write_checkpoint(folder, base, half_range, robot)
    contract, random = load_contract(robot), np.random.default_rng(4)
    document = json.loads((folder / "stats.json").read_text())
    document["state"] = {
        s.key: QuantileStats.from_samples(random.uniform(-1, 1, (99, len(s.names)))).to_dict()
        for s in contract.states
    }
    (folder / "stats.json").write_text(json.dumps(document))
    shape = RobotShape(contract.name, len(state_fields(contract)), len(contract.action.dims))
    width = load_mllm(folder, device="cpu").model.get_input_embeddings().weight.shape[1]
    torch.manual_seed(0)
    config = FlowHeadConfig(
        (shape,), contract.action.horizon, width,
        **{"width": 32, "blocks": 1, "heads": 4, **head},
    )  # fmt: skip
    model = FlowHead(config)
    with torch.no_grad():  # else it answers without looking
        for value in model.parameters():
            if not value.any():
                value.normal_(std=0.1)
    save_file(model.state_dict(), folder / "flow_head.safetensors")
    (folder / "flow_head.json").write_text(json.dumps(config.to_dict()))
    record = json.loads((folder / "roboalign.json").read_text())
    record["hashes"] |= {
        "stats": sha256_json(document),
        "head": sha256_json([config.to_dict(), sha256_file(folder / "flow_head.safetensors")]),
        "backbone": sha256_json(model_weights(folder)),
    }
    record |= {"decoder": "flow", "decoders": ["flow", "fast"]}
    (folder / "roboalign.json").write_text(json.dumps(record))
    return folder
