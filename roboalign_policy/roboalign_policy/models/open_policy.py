"""The way to a policy: the folder of a checkpoint in, what answers out."""

from __future__ import annotations

from pathlib import Path

import torch

from roboalign_policy.core.contract.contract import Contract
from roboalign_policy.core.policy.options import PolicyOptions
from roboalign_policy.models.checkpoint import check_same_robot, read_checkpoint
from roboalign_policy.models.loading import load_mllm
from roboalign_policy.models.policy import MLLMPolicy


def open_policy(
    folder: str | Path,
    contract: Contract | None = None,
    options: PolicyOptions | None = None,
) -> MLLMPolicy:
    """Open a checkpoint folder written by a training of the suite.

    Args:
        folder: of the checkpoint.
        contract: the robot's contract; what it says of observations the policy sees, of the
            action and of the prompt must equal the checkpoint's own. None: the checkpoint's.
        options: how it is to answer; None: the defaults.

    Raises:
        ModelError: a file is missing, changed since it was written, or does not fit the contract.
    """
    options = options or PolicyOptions()
    if options.num_threads:
        torch.set_num_threads(options.num_threads)
    parts = read_checkpoint(folder, options.decoder)
    if contract is not None:
        check_same_robot(parts.folder, parts.contract, contract, parts.images)
    return MLLMPolicy(
        load_mllm(parts.folder, options.device, options.dtype),
        contract or parts.contract,
        parts.decoder,
        hash=parts.hash,
        images=parts.images,
        options=options,
    )
