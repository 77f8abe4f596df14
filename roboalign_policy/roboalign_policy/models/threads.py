"""How many threads torch computes a policy with: measured at the start."""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING

import numpy as np
import torch

from roboalign_policy.core.drive.cadence import choose_threads, usable_cores

if TYPE_CHECKING:
    from roboalign_policy.models.policy import MLLMPolicy

_REPEATS, _REPEAT_S = 3, 1.0  # answers a measurement; where one takes longer than this, one
_INSTRUCTION = "put the red cube on the plate"


def example_values(policy: MLLMPolicy) -> dict[str, np.ndarray]:
    """An observation as the policy's contract describes it.

    Returns:
        Grey images (H, W, 3) uint8 rgb and states of zeros (D,) float32 by stream key.
    """
    return {
        stream.key: np.full(stream.value_shape, 127, np.uint8)
        if stream.is_image
        else np.zeros(stream.value_shape, np.float32)
        for stream in policy.contract.observations
    }


def measure_threads(policy: MLLMPolicy) -> tuple[int, dict[int, float]]:
    """Set torch's threads in this process to the number with which the policy answers best.

    Call it in the thread that will ask: torch keeps the number by thread.

    Returns:
        The number, and the median time of an answer in s by number of threads.
    """
    values = example_values(policy)
    policy.act(values, _INSTRUCTION)  # the first answer allocates

    def answer_s(threads: int) -> float:
        torch.set_num_threads(threads)
        seconds: list[float] = []
        while len(seconds) < _REPEATS and sum(seconds) < _REPEAT_S:
            started_s = time.perf_counter()
            policy.act(values, _INSTRUCTION)
            seconds.append(time.perf_counter() - started_s)
        return statistics.median(seconds)

    threads, measured = choose_threads(usable_cores(), answer_s)
    torch.set_num_threads(threads)
    policy.threads = threads
    return threads, measured
