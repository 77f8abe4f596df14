"""A checkpoint that moves the arm without having learnt anything: random weights, valid chunks."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from roboalign_policy.core.contract.contract import load_contract
from roboalign_policy.core.hashing import sha256_json
from roboalign_policy.core.policy.normalise import QuantileStats
from roboalign_policy.fast import FastTokenizer
from roboalign_policy.models.loading import extend_vocabulary, load_mllm
from roboalign_policy.models.tiny import TinySize, make_tiny_model, make_tiny_processor


def make_untrained_policy(folder: Path) -> Path:
    """Write a checkpoint folder for contract sim_panda whose actions are small and arbitrary."""
    contract = load_contract("sim_panda")
    horizon, dims = contract.action.horizon, len(contract.action.dims)
    size = TinySize(hidden=48, layers=2, heads=4, vision_hidden=32, vision_depth=1, image_px=32)
    processor = make_tiny_processor(size)
    base = folder.with_name(f"{folder.name}-base")
    make_tiny_model(processor, size).save_pretrained(base)
    processor.save_pretrained(base)

    random = np.random.default_rng(0)
    chunks = random.uniform(-1.0, 1.0, (200, horizon, dims))
    fast = FastTokenizer.fit(chunks, vocab_size=300)
    mllm = load_mllm(base, device="cpu")
    extend_vocabulary(mllm, fast.vocab_size)
    mllm.model.save_pretrained(folder)
    mllm.processor.save_pretrained(folder)
    fast.save(folder / "fast")
    # So narrow that even the largest coefficients stay within the limits.
    stats = QuantileStats.from_samples(random.uniform(-0.03, 0.03, (1000, dims)))
    document = {"action": stats.to_dict()}
    (folder / "stats.json").write_text(json.dumps(document))
    (folder / "contract.yaml").write_text(contract.to_yaml())
    hashes = {
        "contract": contract.hash,
        "tokenizer": FastTokenizer.load(folder / "fast").hash,
        "stats": sha256_json(document),
    }
    record = {"kind": "untrained", "horizon": horizon, "dims": dims, "hashes": hashes}
    (folder / "roboalign.json").write_text(json.dumps(record))
    return folder
