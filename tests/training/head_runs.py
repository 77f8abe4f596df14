"""What tests of stage 3 share: a base policy with random weights, runs on it, and stops."""

from __future__ import annotations

import json
from contextlib import contextmanager
from pathlib import Path

from roboalign_policy.core.policy.prompt import PROMPT_VERSION
from roboalign_policy.models.loading import extend_vocabulary, load_mllm
from roboalign_training import vla
from roboalign_training.learning.policy_card import write_card
from roboalign_training.learning.run_record import copy_robot
from roboalign_training.origins.provenance import write_origin


def make_base(demonstrations, tiny_base: Path, folder: Path) -> Path:
    """An SFT policy folder with random weights."""
    mllm = load_mllm(tiny_base)
    extend_vocabulary(mllm, demonstrations.fast.vocab_size)
    mllm.model.save_pretrained(folder)
    mllm.processor.save_pretrained(folder)
    copy_robot(demonstrations.folder, folder)
    record = {
        "kind": "sft", "base": str(tiny_base), "hashes": demonstrations.hashes,
        "horizon": 8, "dims": 7, "prompt_version": PROMPT_VERSION, "decoder": "fast",
        "images": list(demonstrations.image_keys), "created": "now",
    }  # fmt: skip
    (folder / "roboalign.json").write_text(json.dumps(record))
    write_origin(folder, "sft", str(tiny_base), demonstrations.folder, (), "")
    write_card(folder)
    return folder


def runs_of(demonstrations, base: Path, tmp_path: Path, monkeypatch):
    """A function that trains a head on demonstrations; options as on the command line."""
    monkeypatch.setattr(vla, "load_demonstrations", lambda *given: demonstrations)
    monkeypatch.setattr(vla, "dataset_hashes", lambda folder: demonstrations.hashes)

    def start(*options, folder="run"):
        think = "" if "prompt" in options else "--max_think_tokens 6"  # it would not be read
        given = (
            f"--dataset x --base {base} --out {tmp_path / folder} --width 32 --blocks 1 "
            "--max_steps 6 --per_device_train_batch_size 8 --logging_steps 1 "
            f"--held_out_episodes 2 --dev_frames 6 {think}"
        )
        return vla.train([*given.split(), *options])

    return start


def stopping_after(count: int):
    """A stand-in for the signal: asks for a stop when it was asked so often."""

    @contextmanager
    def stop():
        asked = iter(range(1, 10**6))
        yield lambda: next(asked) >= count

    return stop
