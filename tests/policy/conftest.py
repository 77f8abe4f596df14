"""Fixtures of the policy tests: a very small random base, and checkpoint folders made of it."""

import json
from pathlib import Path

import hypothesis
import numpy as np
import pytest

# No test of a property is a test of speed: on a busy machine any call may take long.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")

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


@pytest.fixture(scope="session")
def tiny_size():
    """Dimensions of some ten thousand parameters."""
    from roboalign_policy.models.tiny import TinySize

    return TinySize(hidden=48, layers=2, heads=4, vision_hidden=32, vision_depth=1, image_px=32)


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory, tiny_size):
    """Folder of a very small random base without action vocabulary."""
    from roboalign_policy.models.tiny import make_tiny_model, make_tiny_processor

    folder = tmp_path_factory.mktemp("tiny_base")
    processor = make_tiny_processor(tiny_size)
    make_tiny_model(processor, tiny_size).save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory, tiny_base):
    """Checkpoint folder whose every chunk is small; not to be changed."""
    return write_checkpoint(tmp_path_factory.mktemp("checkpoint"), tiny_base)


@pytest.fixture(scope="session")
def wild_checkpoint(tmp_path_factory, tiny_base):
    """Checkpoint folder whose chunks leave the limits; not to be changed."""
    return write_checkpoint(tmp_path_factory.mktemp("wild"), tiny_base, MOVING)


@pytest.fixture(scope="session")
def universal():
    """The universal FAST tokenizer, from the data beside this checkout."""
    from roboalign_policy.fast import FastTokenizer

    for parent in Path(__file__).resolve().parents:
        if (parent / "shared" / "data" / "fast_universal").exists():
            return FastTokenizer.load(parent / "shared" / "data" / "fast_universal")
    pytest.skip("shared/data/fast_universal is not beside this checkout")
