"""Fixtures of the training tests: synthetic demonstrations and a random, very small base."""

import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest

# Tests run beside each other; torch would take a thread a core and let each spin.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session", autouse=True)
def ctrl_c_arrives():
    """Has the commands that tests start hear SIGINT.

    `make test` runs these tests in the background, where shells have it ignored; children inherit.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)


def make_demonstrations(folder: Path, episodes: int = 6, frames: int = 12):
    """Pick-and-place motions with noise images; `folder` gets what a policy is saved with."""
    from roboalign_policy.core.contract.contract import find_contract, load_contract
    from roboalign_policy.core.hashing import sha256_json
    from roboalign_policy.core.policy.normalise import QuantileStats
    from roboalign_policy.fast import FastTokenizer
    from roboalign_training.data.fit import SCHEMA, state_stats
    from roboalign_training.data.index import DatasetIndex
    from roboalign_training.episodes.recipe import Recipe
    from roboalign_training.learning.demonstrations import Demonstrations, EpisodeSpan

    contract = load_contract(find_contract("sim_panda"))
    rng = np.random.default_rng(7)
    spans, ee, width, chunks = [], [], [], []
    horizon, dims = contract.action.horizon, len(contract.action.dims)
    for number in range(episodes):
        start, goal = rng.uniform(-0.3, 0.3, 3), rng.uniform(-0.3, 0.3, 3)
        path = start + (goal - start) * np.linspace(0, 1, frames)[:, None]
        pose = np.zeros((frames, 7), np.float32)
        pose[:, :3], pose[:, 6] = path, 1.0
        ee.append(pose)
        width.append(
            np.where(np.arange(frames) < frames // 2, 0.08, 0.03).astype(np.float32)[:, None]
        )
        action = np.zeros((frames + horizon, dims), np.float32)
        action[: frames - 1, :3] = np.diff(path, axis=0) / 0.05
        action[:, 6] = np.where(np.arange(frames + horizon) < frames // 2, -1, 1)
        chunks += [action[i : i + horizon] for i in range(frames)]
        colour = ("red", "blue", "green")[number % 3]
        spans.append(
            EpisodeSpan(
                f"e{number}", number * frames, (number + 1) * frames, f"grasp the {colour} cube"
            )
        )
    chunks = np.stack(chunks)
    stats = QuantileStats.from_samples(chunks.reshape(-1, dims))
    normalised = np.clip(stats.normalise(chunks), -1.0, 1.0)
    fast = FastTokenizer.fit(normalised, vocab_size=96, scale=4.0)
    folder.mkdir(parents=True, exist_ok=True)
    fast.save(folder / "fast")
    states = {
        "state.ee": np.concatenate(ee),
        "state.gripper": np.concatenate(width),
        "state.joints": np.zeros((len(chunks), 7), np.float32),
    }
    document = {
        "schema": SCHEMA,
        "action": stats.to_dict(),
        "state": {
            stream.key: state_stats(states[stream.key], stream.names)[0].to_dict()
            for stream in contract.states
        },
    }
    (folder / "stats.json").write_text(json.dumps(document))
    (folder / "contract.yaml").write_text(contract.to_yaml())
    entries = {
        span.id: {
            "id": span.id,
            "file": f"data/{span.id}.parquet",
            "frames": frames,
            "instruction": span.instruction,
            "outcome": "success",
            "source": f"../bags/{span.id}",
            "bag_sha256": span.id * 32,
            "content_sha256": span.id * 32,
        }
        for span in spans
    }
    DatasetIndex(folder, contract, Recipe().to_dict(), entries).save()
    count = episodes * frames
    images = rng.integers(0, 255, (count, *contract.images[0].shape), dtype=np.uint8)
    return Demonstrations(
        folder=folder,
        contract=contract,
        fast=fast,
        hashes={
            "contract": contract.hash,
            "tokenizer": fast.hash,
            "stats": sha256_json(document),
            "dataset": "d" * 64,
        },
        episodes=tuple(spans),
        states=states,
        stats=stats,
        read_chunk=lambda frame: chunks[frame].copy(),
        read_image=lambda frame, key: images[frame],
        chunk_tokens=fast.encode(normalised),
        usable=np.ones(count, bool),
    )


@pytest.fixture(scope="session")
def demonstrations(tmp_path_factory):
    """Six short synthetic episodes."""
    return make_demonstrations(tmp_path_factory.mktemp("demonstrations"))


def make_tiny_base(folder: Path) -> Path:
    """Folder of a randomly initialised base of some hundred thousand parameters."""
    from roboalign_policy.models.tiny import TinySize, make_tiny_model, make_tiny_processor

    size = TinySize(hidden=48, layers=2, heads=4, vision_hidden=32, vision_depth=1, image_px=32)
    processor = make_tiny_processor(size)
    make_tiny_model(processor, size).save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory):
    """Folder of a very small random base."""
    return make_tiny_base(tmp_path_factory.mktemp("tiny_base"))
