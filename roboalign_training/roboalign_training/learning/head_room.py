"""Whether an action head fits into the memory that there is, before hours go into its inputs."""

from __future__ import annotations

import os

import torch

from roboalign_policy.models.flow_head.config import FlowHeadConfig
from roboalign_policy.models.flow_head.network import FlowHead
from roboalign_training.shared.run_layout import ConfigError

COPIES = 5
"""Of each weight in training: itself, its gradient, two moments of AdamW, its moving average."""
_BYTES, _GB = 4, 1e9  # float32


def count_parameters(config: FlowHeadConfig) -> int:
    """Parameters of a head, without the memory for one."""
    with torch.device("meta"):
        return sum(value.numel() for value in FlowHead(config).parameters())


def check_room(config: FlowHeadConfig, device: torch.device) -> None:
    """Refuse a head whose training cannot fit.

    Args:
        config: of the head.
        device: that it is trained on.

    Raises:
        ConfigError: its weights alone take more than all memory of the device.
    """
    parameters = count_parameters(config)
    needed, there = COPIES * _BYTES * parameters, _memory(device)
    if needed > there:
        raise ConfigError(
            f"width, blocks: found {config.width} and {config.blocks}, a head of {parameters:,} "
            f"parameters, whose training takes {needed / _GB:.0f} GB or more; expected one that "
            f"fits into the {there / _GB:.0f} GB of {device.type}"
        )


def _memory(device: torch.device) -> int:
    """All memory of a device, bytes."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[1]
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
