"""How far a head's chunks are from the demonstrated ones, by dimension, over held-out episodes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.stats import t as student

from roboalign_policy.core.policy.accept import Bounds, ChunkError, accept
from roboalign_policy.core.policy.prediction import ChunkStatus
from roboalign_policy.models.flow_head.flow import solve, velocity_of
from roboalign_policy.models.flow_head.network import FlowHead
from roboalign_training.learning.flow_training import FlowSamples, flow_batch
from roboalign_training.shared.statistics import mean_interval

_SEED = 0


@dataclass(frozen=True)
class ActionError:
    """Mean absolute errors of chunks.

    Attributes:
        names: A dimensions.
        errors: (F, A) float64, of each frame over the chunk, in the contract's units.
        ranges: (A,) upper minus lower limit of each dimension.
        episodes: (F,) number of each frame's episode.
        refused: of the F chunks, how many a robot would not be given, by the reason.
    """

    names: tuple[str, ...]
    errors: np.ndarray
    ranges: np.ndarray
    episodes: np.ndarray
    refused: Mapping[str, int]

    @property
    def mean(self) -> float:
        """Over frames and dimensions, in shares of the dimensions' ranges."""
        return float((self.errors / self.ranges).mean())

    def record(self) -> dict[str, Any]:
        """As an entry of `result.json`; intervals are 95 %, over episodes."""
        numbers = np.unique(self.episodes)
        rows = np.stack([self.errors[self.episodes == n].mean(axis=0) for n in numbers])
        z = float(student.ppf(0.975, len(numbers) - 1)) if len(numbers) > 1 else 0.0
        found = {}
        for index, name in enumerate(self.names):
            interval = mean_interval(rows[:, index].tolist(), z)
            found[name] = {
                "mean": float(rows[:, index].mean()),
                "interval": None if interval is None else list(interval),
            }
        return {
            "dev_action_error": self.mean,
            "dev_action_error_by_dimension": found,
            "dev_refused": dict(self.refused),
            "dev_frames": len(self.errors),
            "dev_episodes": len(numbers),
        }


@torch.no_grad()
def action_error(
    head: FlowHead,
    samples: FlowSamples,
    wanted: np.ndarray,
    denormalise: Any,
    bounds: Bounds,
    episodes: Sequence[int],
    device: torch.device,
    batch: int = 64,
) -> ActionError:
    """Let a head answer frames, each with noise of its own that is the same in every call.

    Args:
        head: the action head.
        samples: F frames.
        wanted: (F, T, A) float32, the demonstrated chunks in the contract's units.
        denormalise: of (..., A) arrays, as `QuantileStats.denormalise`.
        bounds: of the actions: what is outside is never driven.
        episodes: of each frame the number of its episode.
        device: where the head is.
        batch: frames answered at once.
    """
    was_training, config = head.training, head.config
    head.eval()
    generator = torch.Generator().manual_seed(_SEED)
    noise = torch.randn(len(samples), 1, config.horizon, config.action_dims, generator=generator)
    found = []
    for start in range(0, len(samples), batch):
        part = [samples[i] for i in range(start, min(start + batch, len(samples)))]
        inputs = {name: value.to(device) for name, value in flow_batch(part).items()}
        context = head.read(inputs["hidden"], inputs["mask"])
        velocity = velocity_of(head, context, inputs["state"], inputs["robot"])
        own = noise[start : start + len(part)].to(device)
        found.append(solve(velocity, own, config.steps, config.solver)[:, 0].cpu().numpy())
    head.train(was_training)
    chunks = denormalise(np.concatenate(found)[..., : wanted.shape[-1]])
    errors = np.abs(chunks.astype(np.float64) - wanted).mean(axis=1)
    ranges = (bounds.high - bounds.low).astype(np.float64)
    refused = Counter(map(str, filter(None, (_fault(chunk, bounds) for chunk in chunks))))
    return ActionError(bounds.names, errors, ranges, np.asarray(episodes), refused)


def _fault(chunk: np.ndarray, bounds: Bounds) -> ChunkStatus | None:
    """Why a chunk would not be driven; None where it would."""
    try:
        accept(chunk, bounds)
    except ChunkError as error:
        return error.kind
    return None
