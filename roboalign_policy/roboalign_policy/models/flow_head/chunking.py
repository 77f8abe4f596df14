"""Real-time chunking: a new chunk continues the one that is being executed.

While the head computes, the arm goes on with the old chunk. Its first actions are certain to be
executed and so must be those of the new chunk, too; the further ahead, the freer the new one is.
Source: arXiv 2506.07339, equations 2 to 5 and algorithm 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from roboalign_policy.models.flow_head.flow import Velocity, solve

JACOBIAN, CONSTANT = "jacobian", "constant"
GUIDANCES = (JACOBIAN, CONSTANT)
"""How the error of the estimated actions changes the velocity: through the head's Jacobian, or as
if the velocity did not depend on the actions."""
GREATEST_WEIGHT = 5.0
"""Of the guidance. Source: arXiv 2506.07339, section 4.2."""


@dataclass(frozen=True)
class Guide:
    """The rest of the running chunk, as the new one's beginning.

    Attributes:
        actions: (T, A) normalised; 0 where nothing remains.
        weights: (T,) from 0 to 1, how much each action binds.
    """

    actions: torch.Tensor
    weights: torch.Tensor


def make_guide(remaining: torch.Tensor, horizon: int, frozen: int) -> Guide:
    """A guide towards what remains of the running chunk.

    Args:
        remaining: (R, A) normalised; its first action is that of the observation. More than
            `horizon` are cut off.
        horizon: T, actions of a chunk.
        frozen: actions that are executed before the new chunk can be; they bind wholly. Fewer
            where fewer remain.
    """
    remaining = remaining[:horizon]
    overlap, dims = remaining.shape
    actions = torch.zeros(horizon, dims, dtype=remaining.dtype, device=remaining.device)
    actions[:overlap] = remaining
    weights = soft_mask(horizon, overlap, min(frozen, overlap))
    return Guide(actions, weights.to(remaining))


def soft_mask(horizon: int, overlap: int, frozen: int) -> torch.Tensor:
    """How much each action of a new chunk is bound to the old one, (T,) float32.

    1 for the `frozen` first ones, falling to 0 where the old chunk ends (`overlap`).

    Raises:
        ValueError: not 0 <= frozen <= overlap <= horizon.
    """
    if not 0 <= frozen <= overlap <= horizon:
        found = f"found frozen {frozen}, overlap {overlap}, horizon {horizon}"
        raise ValueError(f"soft mask: {found}, expected them in this order from 0")
    place = torch.arange(horizon, dtype=torch.float64)
    share = ((overlap - place) / (overlap - frozen + 1)).clamp(0.0, 1.0)
    weights = share * torch.expm1(share) / (math.e - 1)
    weights[:frozen] = 1.0
    return weights.float()


def guided(velocity: Velocity, guide: Guide, guidance: str = JACOBIAN) -> Velocity:
    """A velocity that leads to a guide's actions.

    Args:
        velocity: of the head.
        guide: what to continue.
        guidance: one of `GUIDANCES`.

    Raises:
        ValueError: another guidance.
    """
    if guidance not in GUIDANCES:
        raise ValueError(f"guidance: found {guidance!r}, expected one of {', '.join(GUIDANCES)}")
    weights = guide.weights[:, None]

    def found(noisy: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
        left = (1 - time)[..., None, None]
        if guidance == CONSTANT:
            plain = velocity(noisy, time)
            pull = weights * (guide.actions - (noisy + left * plain))
        else:
            with torch.enable_grad():
                noisy = noisy.detach().requires_grad_(True)
                plain = velocity(noisy, time)
                estimate = noisy + left * plain
                error = (weights * (guide.actions - estimate)).detach()
                (pull,) = torch.autograd.grad(estimate, noisy, error)
            plain = plain.detach()
        return plain + _weight(time)[..., None, None] * pull

    return found


def solve_after(
    velocity: Velocity, noise: torch.Tensor, given: torch.Tensor, steps: int, solver: str
) -> torch.Tensor:
    """Follow velocities from noise to actions behind some that are given.

    The head must have been trained so (`flow.draw`, `longest_prefix`): to it, given actions are
    those whose time is 1. Source: arXiv 2512.05964.

    Args:
        velocity: of the head.
        noise: (B, K, T, A).
        given: (P, A) normalised, P below T; they stay as they are.
        steps: of equal length, at least 1.
        solver: one of `config.SOLVERS`.

    Returns:
        (B, K, T, A).
    """
    count = len(given)
    known = torch.arange(noise.shape[2], device=noise.device) < count
    whole = torch.zeros_like(noise[0, 0])
    whole[:count] = given

    def found(noisy: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
        times = torch.where(known, torch.ones_like(time).unsqueeze(-1), time.unsqueeze(-1))
        speed = velocity(torch.where(known[:, None], whole, noisy), times)
        return speed.masked_fill(known[:, None], 0.0)

    chunk = solve(found, noise, steps, solver)
    return torch.where(known[:, None], whole, chunk)


def _weight(time: torch.Tensor) -> torch.Tensor:
    """min(beta, (1 - t) / (t r^2)), r^2 = (1 - t)^2 / (t^2 + (1 - t)^2)."""
    left = 1 - time
    return ((time.square() + left.square()) / (time * left).clamp(min=1e-6)).clamp(
        max=GREATEST_WEIGHT
    )
