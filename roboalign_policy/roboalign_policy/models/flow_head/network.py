"""The network of the action head: velocities of noisy actions, given state and hidden states.

A diffusion transformer (arXiv 2212.09748): one token for the state and one for each action attend
to each other and to the model's hidden states; adaptive layer norms take the time of the flow.
Sizes in names of arrays: B samples, K draws of noise on each, T actions, N = 1 + T tokens, A and S
padded dimensions of action and state, L hidden states, W width, R robots.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from roboalign_policy.models.flow_head.config import FlowHeadConfig

_FREQUENCIES = 128
_INIT = 0.02


@dataclass(frozen=True)
class Context:
    """What the head has read of the hidden states: once an observation, for every step and draw.

    Attributes:
        keys, values: of each block (B, heads, L, width / heads).
        mask: (B, 1, 1, L) bool; where there is a hidden state.
    """

    keys: tuple[torch.Tensor, ...]
    values: tuple[torch.Tensor, ...]
    mask: torch.Tensor


@dataclass(frozen=True)
class Modulation:
    """What a time of the flow changes in the head; the same for every observation.

    Attributes:
        blocks: of each block shift, scale and gate of its three parts, (B, K, 1 or N, W) each.
        last: shift and scale behind the last block.
    """

    blocks: tuple[tuple[torch.Tensor, ...], ...]
    last: tuple[torch.Tensor, ...]


class RobotLinear(nn.Module):
    """A linear layer with weights of its own for each robot."""

    def __init__(self, robots: int, inputs: int, outputs: int, zero: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(robots, inputs, outputs))
        self.bias = nn.Parameter(torch.zeros(robots, outputs))
        if not zero:
            nn.init.uniform_(self.weight, -1 / math.sqrt(inputs), 1 / math.sqrt(inputs))

    def forward(self, x: torch.Tensor, robot: torch.Tensor) -> torch.Tensor:
        """(B, ..., inputs) and (B,) int64 to (B, ..., outputs)."""
        rows = x.reshape(len(x), -1, x.shape[-1])
        found = torch.baddbmm(self.bias[robot].unsqueeze(1), rows, self.weight[robot])
        return found.reshape(*x.shape[:-1], -1)


class RobotMLP(nn.Module):
    """Two linear layers with weights of their own for each robot."""

    def __init__(self, robots: int, inputs: int, width: int) -> None:
        super().__init__()
        self.first = RobotLinear(robots, inputs, width)
        self.second = RobotLinear(robots, width, width)

    def forward(self, x: torch.Tensor, robot: torch.Tensor) -> torch.Tensor:
        """(B, ..., inputs) and (B,) int64 to (B, ..., width)."""
        return self.second(F.silu(self.first(x, robot)), robot)


class TimeEmbedding(nn.Module):
    """Sines and cosines of a time from 0 to 1, through an MLP."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(2 * _FREQUENCIES, width), nn.SiLU(), nn.Linear(width, width)
        )
        # Wave lengths from 4e-3 to 4 times the range. Source: pi0 (arXiv 2410.24164, appendix B).
        waves = 4e-3 * (4.0 / 4e-3) ** (torch.arange(_FREQUENCIES) / (_FREQUENCIES - 1))
        self.register_buffer("rates", 2 * math.pi / waves, persistent=False)

    def forward(self, time: torch.Tensor) -> torch.Tensor:
        """(...,) to (..., width)."""
        angle = time.unsqueeze(-1) * self.rates.to(time.dtype)
        waves = torch.cat([angle.sin(), angle.cos()], dim=-1)
        return self.mlp(waves.to(self.mlp[0].weight.dtype))


class Block(nn.Module):
    """Self-attention, attention to the context and an MLP, each modulated by the time."""

    def __init__(self, config: FlowHeadConfig) -> None:
        super().__init__()
        width, inner = config.width, int(config.width * config.mlp_ratio)
        self.heads, self.dropout = config.heads, config.context_dropout
        self.norms = nn.ModuleList(nn.LayerNorm(width, elementwise_affine=False) for _ in range(3))
        self.qkv = nn.Linear(width, 3 * width)
        self.mixed = nn.Linear(width, width)
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.read = nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.Linear(width, inner), nn.GELU(approximate="tanh"), nn.Linear(inner, width)
        )
        # Zero: at the beginning every block passes its input on (adaLN-Zero).
        self.modulation = nn.Linear(width, 9 * width)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    def look(self, context: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values (B, heads, L, d) of a context (B, L, W)."""
        key, value = self.key_value(context).chunk(2, dim=-1)
        return self._split(key), self._split(value)

    def modulate(self, time: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Shift, scale and gate of each part, of a time's embedding (B, K, 1 or N, W)."""
        return self.modulation(F.silu(time)).chunk(9, dim=-1)

    def forward(
        self,
        x: torch.Tensor,
        modulation: tuple[torch.Tensor, ...],
        key: torch.Tensor,
        value: torch.Tensor,
        mask: torch.Tensor,
    ) -> torch.Tensor:
        """One block.

        Args:
            x: (B, K, N, W) tokens.
            modulation: from `modulate`.
            key: (B, heads, L, d) from `look`.
            value: likewise.
            mask: (B, 1, 1, L) bool.
        """
        b, k, n, w = x.shape
        shift_1, scale_1, gate_1, shift_2, scale_2, gate_2, shift_3, scale_3, gate_3 = modulation
        tokens = (self.norms[0](x) * (1 + scale_1) + shift_1).reshape(b * k, n, w)
        query, own_key, own_value = (self._split(part) for part in self.qkv(tokens).chunk(3, -1))
        mixed = self._join(F.scaled_dot_product_attention(query, own_key, own_value))
        x = x + gate_1 * self.mixed(mixed).reshape(b, k, n, w)
        # Draws of noise do not see each other here either: each query looks for itself.
        tokens = (self.norms[1](x) * (1 + scale_2) + shift_2).reshape(b, k * n, w)
        dropout = self.dropout if self.training else 0.0
        found = F.scaled_dot_product_attention(
            self._split(self.query(tokens)), key, value, attn_mask=mask, dropout_p=dropout
        )
        x = x + gate_2 * self.read(self._join(found)).reshape(b, k, n, w)
        return x + gate_3 * self.mlp(self.norms[2](x) * (1 + scale_3) + shift_3)

    def _split(self, x: torch.Tensor) -> torch.Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    @staticmethod
    def _join(x: torch.Tensor) -> torch.Tensor:
        return x.transpose(1, 2).flatten(2)


class FlowHead(nn.Module):
    """Velocities of noisy chunks of actions.

    Attributes:
        config: what it is.
    """

    def __init__(self, config: FlowHeadConfig) -> None:
        super().__init__()
        self.config = config
        robots, width = len(config.robots), config.width
        self.context_norm = nn.LayerNorm(config.context_width)
        self.context_in = nn.Linear(config.context_width, width)
        self.state_in = RobotMLP(robots, config.state_dims, width)
        self.action_in = RobotMLP(robots, config.action_dims, width)
        self.time_in = TimeEmbedding(width)
        self.no_state = nn.Parameter(torch.randn(width) * _INIT)
        self.places = nn.Parameter(torch.randn(1 + config.horizon, width) * _INIT)
        self.stack = nn.ModuleList(Block(config) for _ in range(config.blocks))
        self.last_norm = nn.LayerNorm(width, elementwise_affine=False)
        self.last_modulation = nn.Linear(width, 2 * width)
        self.action_out = RobotLinear(robots, width, config.action_dims, zero=True)
        nn.init.zeros_(self.last_modulation.weight)
        nn.init.zeros_(self.last_modulation.bias)
        dims = [robot.action_dims for robot in config.robots]
        valid = torch.arange(config.action_dims) < torch.tensor(dims).unsqueeze(1)
        self.register_buffer("valid_actions", valid, persistent=False)
        dims = [robot.state_dims for robot in config.robots]
        valid = torch.arange(config.state_dims) < torch.tensor(dims).unsqueeze(1)
        self.register_buffer("valid_states", valid, persistent=False)

    def read(self, hidden: torch.Tensor, mask: torch.Tensor) -> Context:
        """Read the model's hidden states.

        Args:
            hidden: (B, L, context_width) float; what stands where `mask` is false does not matter.
            mask: (B, L) bool or int, where there is a token; each sample has at least one.
        """
        mask = mask.bool()
        # Padding may hold anything, also what is not finite.
        hidden = torch.where(
            mask.unsqueeze(-1), hidden, torch.zeros((), dtype=hidden.dtype, device=hidden.device)
        )
        context = self.context_in(self.context_norm(hidden.to(self.context_in.weight.dtype)))
        pairs = [block.look(context) for block in self.stack]
        keys, values = zip(*pairs, strict=True)
        return Context(keys, values, mask[:, None, None, :])

    def forward(
        self,
        noisy: torch.Tensor,
        time: torch.Tensor,
        state: torch.Tensor,
        context: Context,
        robot: torch.Tensor,
        without_state: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """The velocity of noisy actions.

        Args:
            noisy: (B, K, T, A) float, normalised.
            time: (B, K) float from 0 (noise) to 1, or (B, K, T) a time for each action.
            state: (B, S) float, normalised.
            context: of `read`.
            robot: (B,) int64, index into the config's robots.
            without_state: (B, K) bool, which draws do not see the state; None: all see it.

        Returns:
            (B, K, T, A); 0 in dimensions that a robot does not have.
        """
        first = self.state_token(state, robot).expand(-1, noisy.shape[1], -1, -1)
        if without_state is not None:
            first = torch.where(
                without_state[..., None, None], self.no_state.to(first.dtype), first
            )
        return self.velocity(noisy, self.modulate(time), first, context, robot)

    def modulate(self, time: torch.Tensor) -> Modulation:
        """What times (B, K) or (B, K, T) change."""
        if time.ndim == 2:
            times = time.unsqueeze(-1)
        else:  # the state's token has the time of the actions that are still noise
            times = torch.cat([time.amin(dim=-1, keepdim=True), time], dim=-1)
        times = self.time_in(times)
        blocks = tuple(block.modulate(times) for block in self.stack)
        return Modulation(blocks, self.last_modulation(F.silu(times)).chunk(2, dim=-1))

    def state_token(self, state: torch.Tensor, robot: torch.Tensor) -> torch.Tensor:
        """The token (B, 1, 1, W) of states (B, S)."""
        state = state.masked_fill(~self.valid_states[robot], 0.0)
        return self.state_in(state, robot)[:, None, None, :]

    def velocity(
        self,
        noisy: torch.Tensor,
        modulation: Modulation,
        state: torch.Tensor,
        context: Context,
        robot: torch.Tensor,
    ) -> torch.Tensor:
        """As `forward`, of what `modulate` and `state_token` give; state (B, K, 1, W)."""
        valid = self.valid_actions[robot][:, None, None, :]
        actions = self.action_in(noisy.masked_fill(~valid, 0.0), robot)
        x = torch.cat([state, actions], dim=2) + self.places
        for block, own, key, value in zip(
            self.stack, modulation.blocks, context.keys, context.values, strict=True
        ):
            x = block(x, own, key, value, context.mask)
        shift, scale = modulation.last
        x = self.last_norm(x) * (1 + scale) + shift
        return self.action_out(x[:, :, 1:], robot).masked_fill(~valid, 0.0)
