"""Flow matching: the loss that teaches velocities, and the solvers that follow them.

Time runs from 0, noise, to 1, the actions: `x = (1 - t) noise + t actions`, and the velocity to
learn is `actions - noise` (Source: arXiv 2210.02747 with straight paths, as pi0 and GR00T do).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from roboalign_policy.models.flow_head.config import MIDPOINT, FlowHeadConfig
from roboalign_policy.models.flow_head.network import Context, FlowHead, Modulation

Velocity = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""Noisy actions (B, K, T, A) and a time (B, K) to a velocity (B, K, T, A)."""


@dataclass(frozen=True)
class Draw:
    """What is drawn at random for one loss.

    Attributes:
        noise: (B, K, T, A) standard normal.
        time: (B, K), or (B, K, T) where a prefix is given.
        without_state: (B, K) bool.
        counts: (B, K, T) bool, actions whose loss counts; None: all.
    """

    noise: torch.Tensor
    time: torch.Tensor
    without_state: torch.Tensor
    counts: torch.Tensor | None = None


def draw(
    config: FlowHeadConfig,
    samples: int,
    draws: int,
    longest_prefix: int = 0,
    generator: torch.Generator | None = None,
) -> Draw:
    """Draw noise and times, on the CPU.

    Args:
        config: of the head.
        samples: B.
        draws: K, of noise on each sample.
        longest_prefix: below the horizon; above 0, each draw has a prefix of 0 to so many actions
            that are given without noise, as those are that a robot executes while it computes
            (training-time real-time chunking, arXiv 2512.05964). Their loss does not count.
        generator: of the random numbers; None: torch's own, which a trainer's checkpoint holds.
    """
    if not 0 <= longest_prefix < config.horizon:
        expected = f"0 to {config.horizon - 1}"
        raise ValueError(f"longest_prefix: found {longest_prefix}, expected {expected}")
    shape = (samples, draws)
    noise = torch.randn(*shape, config.horizon, config.action_dims, generator=generator)
    time = _times(config, shape, generator)
    without = torch.rand(shape, generator=generator) < config.state_dropout
    if not longest_prefix:
        return Draw(noise, time, without)
    lengths = torch.randint(0, longest_prefix + 1, shape, generator=generator)
    counts = torch.arange(config.horizon) >= lengths.unsqueeze(-1)
    time = torch.where(counts, time.unsqueeze(-1), torch.ones(()))
    return Draw(noise, time, without, counts)


def _times(
    config: FlowHeadConfig, shape: tuple[int, int], generator: torch.Generator | None
) -> torch.Tensor:
    """Times `s (1 - u)`, u ~ Beta(alpha, beta)."""
    if config.beta_beta == 1.0:  # the inverse of its distribution, u^alpha, is known
        u = torch.rand(shape, generator=generator) ** (1.0 / config.beta_alpha)
    else:
        one = torch._standard_gamma(torch.full(shape, config.beta_alpha), generator=generator)
        other = torch._standard_gamma(torch.full(shape, config.beta_beta), generator=generator)
        u = one / (one + other)
    return config.time_scale * (1.0 - u)


def flow_loss(
    head: FlowHead,
    hidden: torch.Tensor,
    mask: torch.Tensor,
    state: torch.Tensor,
    actions: torch.Tensor,
    robot: torch.Tensor,
    drawn: Draw,
) -> torch.Tensor:
    """Mean squared error of the velocity, over the dimensions that the robots have.

    Args:
        head: the action head.
        hidden: (B, L, context_width) of the model.
        mask: (B, L), where there is a token.
        state: (B, S) normalised.
        actions: (B, T, A) normalised; padded dimensions may hold anything finite.
        robot: (B,) int64.
        drawn: at random, see `draw`.

    Returns:
        Scalar float32.
    """
    target = actions.unsqueeze(1)
    time = drawn.time.to(target)
    noise = drawn.noise.to(target)
    weight = time[..., None, None] if time.ndim == 2 else time[..., None]
    noisy = (1 - weight) * noise + weight * target
    found = head(
        noisy, time, state, head.read(hidden, mask), robot, drawn.without_state.to(target.device)
    )
    error = (found.float() - (target - noise).float()).square()
    counts = head.valid_actions[robot][:, None, None, :].expand_as(error)
    if drawn.counts is not None:
        counts = counts & drawn.counts.to(target.device).unsqueeze(-1)
    return (error * counts).sum() / counts.sum().clamp(min=1)


@torch.no_grad()
def solve(velocity: Velocity, noise: torch.Tensor, steps: int, solver: str) -> torch.Tensor:
    """Follow velocities from noise to actions.

    Args:
        velocity: asked `steps` times, by the midpoint rule twice as often.
        noise: (B, K, T, A).
        steps: of equal length, at least 1.
        solver: one of `config.SOLVERS`.

    Returns:
        (B, K, T, A).
    """
    x, length = noise, 1.0 / steps
    for step in range(steps):
        time = torch.full(x.shape[:2], step * length, dtype=x.dtype, device=x.device)
        if solver == MIDPOINT:
            middle = x + 0.5 * length * velocity(x, time)
            x = x + length * velocity(middle, time + 0.5 * length)
        else:
            x = x + length * velocity(x, time)
    return x


def velocity_of(
    head: FlowHead,
    context: Context,
    state: torch.Tensor,
    robot: torch.Tensor,
    known: dict[float, Modulation] | None = None,
) -> Velocity:
    """The head's velocity for one observation; arguments as in `FlowHead.forward`.

    Args:
        head: the action head.
        context: of `FlowHead.read`.
        state: (B, S) normalised.
        robot: (B,) int64.
        known: what single times change, to be used again while the head and its device stay the
            same, and to be added to; None: nothing is kept.
    """
    with torch.no_grad():
        token = head.state_token(state, robot)

    def modulation(time: torch.Tensor) -> Modulation:
        if known is None or time.numel() != 1:
            return head.modulate(time)
        if (at := float(time)) not in known:
            known[at] = head.modulate(time)
        return known[at]

    def found(noisy: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            changes = modulation(time)
        first = token.expand(-1, noisy.shape[1], -1, -1)
        return head.velocity(noisy, changes, first, context, robot)

    return found
