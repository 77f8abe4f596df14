"""Writes the policy folder of an action head: the model beside it, and what both were."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from roboalign_policy.core.hashing import sha256_file, sha256_json
from roboalign_policy.core.policy.prompt import PROMPT_VERSION
from roboalign_policy.models.checkpoint import RECORD, model_settings, model_weights
from roboalign_policy.models.decoders import FAST, FLOW
from roboalign_policy.models.flow_decoder import HEAD, WEIGHTS
from roboalign_policy.models.flow_head.network import FlowHead
from roboalign_training.learning.demonstrations import Demonstrations
from roboalign_training.learning.policy_card import CARD, write_card
from roboalign_training.learning.run_folder import RunFolder
from roboalign_training.learning.run_record import git_state, write_json
from roboalign_training.origins.provenance import FILE, write_origin
from roboalign_training.shared.linking import link_weights
from roboalign_training.shared.outputs import OutputError
from roboalign_training.shared.run_layout import POLICY
from roboalign_training.shared.write_errors import writing
from roboalign_training.thoughts.style import THOUGHT_STYLE

_OF_THE_BASE = (RECORD, FILE, CARD, "fast", "stats.json", "contract.yaml", HEAD, WEIGHTS)
"""What is not taken from it: written anew, and never into a file that both folders share."""
_OF_A_MODEL = ("*.safetensors", "*.safetensors.index.json", "config.json")
"""Of a model that was trained, as well."""


def save_vla(
    run: RunFolder,
    base: Path,
    head: FlowHead,
    data: Demonstrations,
    facts: Mapping[str, Any],
    held_out: Sequence[int],
    keep_fast: bool,
    weights: Mapping[str, str],
    settings: Mapping[str, str],
    trained: Any | None = None,
) -> Path:
    """Write `<run>/policy` whole or not at all.

    A frozen base's weights are linked where the file system can, else copied as all other files
    are; those of a model that was trained with the head are written anew.

    Args:
        run: the run.
        base: policy folder whose model the head was put on.
        head: with the weights that drive.
        data: the demonstrations.
        facts: further entries of `roboalign.json`.
        held_out: frames of the episodes that were not trained on.
        keep_fast: whether the policy can be driven by FAST tokens, too.
        weights: `model_weights` of the base when the training began.
        settings: its `model_settings` then.
        trained: the model with what it learnt in its weights; None: it is the base's.

    Raises:
        OutputError: a frozen base is not what it was when the training began.
        OSError: the disk is full; an earlier policy is as it was.
    """
    fresh = run.path / f"{POLICY}.new"
    shutil.rmtree(fresh, ignore_errors=True)
    with writing(fresh, "the policy"):
        left = (*_OF_THE_BASE, *(() if trained is None else _OF_A_MODEL))
        shutil.copytree(
            base, fresh, copy_function=link_weights, ignore=shutil.ignore_patterns(*left)
        )
        found, began = model_settings(fresh), dict(settings)
        if trained is None:
            same = (model_weights(fresh), found) == (dict(weights), began)
        else:  # its weights and their configuration are written anew
            same = found == _without(began, "config.json")
        if not same:
            shutil.rmtree(fresh)
            raise OutputError(
                f"--base: found another model in {base} than when the training began, expected "
                "the one whose hidden states the head reads; no policy was written: put it back "
                "and give the same command again, or train anew with another --out"
            )
        if trained is not None:
            trained.save_pretrained(fresh)
        names = ["stats.json", "contract.yaml"]
        for name in names:
            shutil.copy2(data.folder / name, fresh / name)
        if keep_fast:
            shutil.copytree(data.folder / "fast", fresh / "fast")
        weights = {n: v.detach().cpu().contiguous() for n, v in head.state_dict().items()}
        save_file(weights, fresh / WEIGHTS)
        write_json(fresh / HEAD, head.config.to_dict())
        hashes = dict(data.hashes) if keep_fast else _without(data.hashes, "tokenizer")
        hashes["head"] = sha256_json([head.config.to_dict(), sha256_file(fresh / WEIGHTS)])
        hashes["backbone"] = sha256_json(model_weights(fresh))
        record = {
            "horizon": data.horizon,
            "dims": data.dims,
            "hashes": hashes,
            "git": git_state(),
            "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "prompt_version": PROMPT_VERSION,
            "decoder": FLOW,
            "decoders": [FLOW, FAST] if keep_fast else [FLOW],
            "images": list(data.image_keys),
            THOUGHT_STYLE: data.thought_style,
            **facts,
            "settings": model_settings(fresh),
        }
        write_json(fresh / RECORD, record)
        apart = {data.episode(int(frame)).id for frame in held_out}
        write_origin(fresh, facts["kind"], facts["base"], data.folder, apart, git_state())
        write_card(fresh)
    return run.put(POLICY)


def _without(values: Mapping[str, str], name: str) -> dict[str, str]:
    return {key: value for key, value in values.items() if key != name}
