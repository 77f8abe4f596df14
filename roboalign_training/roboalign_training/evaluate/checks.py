"""What driving a policy takes: looked at before any result is touched."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from roboalign_policy.core.contract.contract import find_contract, load_contract
from roboalign_training.evaluate.seeds import MOST_WORKERS
from roboalign_training.evaluate.simulated_arm import SIMULATED
from roboalign_training.shared.fields import require

if TYPE_CHECKING:
    from roboalign_training.evaluate.closed_loop import DrivenEpisode, DrivingOptions

MOST_SEED = 2**64 - 1
"""As `ResetSim.srv` has it."""
_PACKAGES = ("rclpy", "roboalign_msgs")


def check_driving(episodes: Sequence[DrivenEpisode], settings: DrivingOptions) -> None:
    """Refuse what the simulator, the policy node or their number would not allow.

    Raises:
        ValueError: naming option, value and what was expected.
    """
    contract = settings.contract or SIMULATED[0]  # which one, the policy decides
    horizon = load_contract(find_contract(contract)).action.horizon
    steps = settings.replan_after_steps
    expected = f"0 to {horizon}, the steps of a chunk"
    require("replan_after_steps", steps, 0 <= steps <= horizon, expected)
    for episode in episodes:
        holds = 0 <= episode.seed <= MOST_SEED
        require("seed", episode.seed, holds, f"0 to {MOST_SEED}")
    pairs = min(settings.workers, len(episodes))
    expected = f"at most {MOST_WORKERS}: each pair of nodes has a ROS domain of its own"
    require("workers", settings.workers, pairs <= MOST_WORKERS, expected)


def check_ros() -> None:
    """Refuse to begin where no node could be started.

    Raises:
        RuntimeError: naming the package that is missing.
    """
    for name in _PACKAGES:
        if importlib.util.find_spec(name) is None:
            raise RuntimeError(
                f"{name}: found no such package in {sys.executable}, expected that of ROS 2; "
                "nothing was changed: source scripts/env.sh, or the set-up file of ROS 2"
            )
