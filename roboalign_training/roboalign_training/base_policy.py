"""A checkpoint folder of a base model with the action vocabulary that has learnt no action yet."""

from __future__ import annotations

import json
import shutil
from datetime import datetime, timezone
from pathlib import Path

from roboalign_policy.core.contract import load_contract
from roboalign_policy.core.prompt import PROMPT_VERSION
from roboalign_policy.fast import FastTokenizer
from roboalign_policy.models.loading import extend_vocabulary, load_mllm
from roboalign_training.data.errors import DatasetError
from roboalign_training.data.frame_dataset import load_frames
from roboalign_training.provenance import write_origin


def make_base_policy(base: str, dataset: Path, out: Path, seed: int = 0) -> Path:
    """Write the base model as a policy of a data set's robot: the comparator of every trained one.

    Args:
        base: name or folder of the MLLM.
        dataset: data set folder with fitted statistics and tokenizer.
        out: checkpoint folder to write; replaced when it exists.
        seed: of the new embedding rows.

    Raises:
        ModelError: the base cannot be loaded.
        DatasetError: the data set is not fitted.
    """
    hashes = load_frames(dataset).hashes
    if not {"stats", "tokenizer"} <= hashes.keys():
        raise DatasetError(
            dataset, "has no statistics and tokenizer yet: run `roboalign fit-tokenizer` on it"
        )
    mllm = load_mllm(base, device="cpu")
    fast = FastTokenizer.load(dataset / "fast")
    extend_vocabulary(mllm, fast.vocab_size, seed)
    shutil.rmtree(out, ignore_errors=True)
    mllm.model.save_pretrained(out)
    mllm.processor.save_pretrained(out)
    shutil.copytree(dataset / "fast", out / "fast")
    for name in ("stats.json", "contract.yaml"):
        shutil.copy2(dataset / name, out / name)
    contract = load_contract(out / "contract.yaml")
    record = {
        "kind": "base",
        "base": base,
        "horizon": contract.action.horizon,
        "dims": len(contract.action.dims),
        "hashes": dict(hashes),
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "prompt_version": PROMPT_VERSION,
    }
    (out / "roboalign.json").write_text(json.dumps(record, indent=1))
    write_origin(out, "base", base, dataset, (), "")
    return out
