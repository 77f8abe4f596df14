"""A checkpoint folder of a base model with the action vocabulary that has learnt no action yet."""

from __future__ import annotations

import json
import shutil
from datetime import datetime, timezone
from pathlib import Path

from roboalign_policy.core.contract.contract import load_contract
from roboalign_policy.core.policy.prompt import PROMPT_VERSION
from roboalign_policy.models.checkpoint import RECORD, model_settings
from roboalign_policy.models.decoders import FAST
from roboalign_policy.models.loading import extend_vocabulary, load_mllm
from roboalign_training.bags.errors import DatasetError
from roboalign_training.data.frame_dataset import load_frames
from roboalign_training.learning.demonstrations import load_fast
from roboalign_training.learning.policy_card import write_card
from roboalign_training.learning.run_record import copy_robot
from roboalign_training.origins.provenance import write_origin
from roboalign_training.shared.write_errors import writing


def make_base_policy(base: str, dataset: Path, out: Path, seed: int = 0) -> Path:
    """Write the base model as a policy of a data set's robot: the comparator of every trained one.

    Args:
        base: name or folder of the MLLM.
        dataset: data set folder with fitted statistics and tokenizer.
        out: checkpoint folder to write, whole or not at all; replaced when it exists.
        seed: of the new embedding rows.

    Raises:
        ModelError: the base cannot be loaded.
        DatasetError: the data set is not fitted, or its tokenizer is damaged.
    """
    hashes = load_frames(dataset).hashes
    if not {"stats", "tokenizer"} <= hashes.keys():
        raise DatasetError(
            dataset, "has no statistics and tokenizer yet: run `roboalign fit-tokenizer` on it"
        )
    mllm = load_mllm(base, device="cpu")
    fast = load_fast(dataset)
    extend_vocabulary(mllm, fast.vocab_size, seed)
    fresh = out.with_name(f".{out.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    contract = load_contract(dataset / "contract.yaml")
    record = {
        "kind": "base",
        "base": base,
        "horizon": contract.action.horizon,
        "dims": len(contract.action.dims),
        "hashes": dict(hashes),
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "prompt_version": PROMPT_VERSION,
        "decoder": FAST,
        "images": [stream.key for stream in contract.seen_images],
    }
    with writing(fresh, "the base policy"):
        mllm.model.save_pretrained(fresh)
        mllm.processor.save_pretrained(fresh)
        copy_robot(dataset, fresh)
        record["settings"] = model_settings(fresh)
        (fresh / RECORD).write_text(json.dumps(record, indent=1))
        # Its paths are relative to the folder, which is beside its place already.
        write_origin(fresh, "base", base, dataset, (), "")
        write_card(fresh)
    shutil.rmtree(out, ignore_errors=True)
    fresh.rename(out)
    return out
