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
