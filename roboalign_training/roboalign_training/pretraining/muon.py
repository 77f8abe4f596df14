"""Muon for weight matrices and AdamW for the rest, as one optimiser that trainers can hold.

A model of a few million parameters that starts from random weights takes far fewer steps with Muon
than with AdamW alone (docs/decisions/0010).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import nn


class Muon(torch.optim.Muon):
    """`torch.optim.Muon`, on a CPU with float32 where torch's own rounds to bfloat16.

    A processor without AVX-512 has no fast product of bfloat16 matrices: there torch's own step
    takes 20 to 50 times as long (docs/decisions/0010). Elsewhere it is torch's own.
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """One step; the state is that of `torch.optim.Muon`."""
        if any(p.device.type != "cpu" for group in self.param_groups for p in group["params"]):
            return super().step(closure)
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, group)
        return loss

    def _update(self, parameter: nn.Parameter, group: dict) -> None:
        gradient, state = parameter.grad, self.state[parameter]
        if not state:
            state["momentum_buffer"] = torch.zeros_like(gradient)
        buffer, momentum, lr = state["momentum_buffer"], group["momentum"], float(group["lr"])
        buffer.lerp_(gradient, 1 - momentum)
        update = gradient.lerp(buffer, momentum) if group["nesterov"] else buffer
        update = orthogonal(
            update.float(), group["ns_coefficients"], group["ns_steps"], group["eps"]
        )
        # As large as AdamW's: "match_rms_adamw".
        size = 0.2 * math.sqrt(max(parameter.shape))
        parameter.mul_(1 - lr * group["weight_decay"]).add_(update, alpha=-lr * size)


def orthogonal(
    matrix: torch.Tensor, coefficients: tuple[float, float, float], steps: int, eps: float
) -> torch.Tensor:
    """A matrix with all singular values near 1, by Newton-Schulz iteration, in its own dtype.

    Args:
        matrix: (N, M).
        coefficients: of the quintic polynomial.
        steps: of the iteration.
        eps: least norm that is divided by.

    Returns:
        (N, M). Source: K. Jordan et al., Muon (2024).
    """
    a, b, c = coefficients
    x = matrix.T if matrix.size(0) > matrix.size(1) else matrix
    x = x / x.norm().clamp(min=eps)
    for _ in range(steps):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.T if matrix.size(0) > matrix.size(1) else x


class MuonAdamW(torch.optim.Optimizer):
    """`Muon` on hidden weight matrices, `torch.optim.AdamW` on everything else.

    Hidden matrices are the two-dimensional parameters that are neither an embedding nor the output
    layer. This class only shows the parameter groups of both as one list, which schedulers,
    trainers and checkpoints work on.

    Source: K. Jordan et al., Muon (2024); scaling of the step to AdamW's: J. Liu et al., Muon is
    scalable for LLM training (arXiv 2502.16982).
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        muon_learning_rate: float,
        learning_rate: float,
        weight_decay: float = 0.0,
        betas: tuple[float, float] = (0.9, 0.98),
    ) -> None:
        """Divides the trainable parameters of a model.

        Args:
            model: its frozen parameters are left out.
            muon_learning_rate: of the hidden matrices, in AdamW's scale of update size.
            learning_rate: of the rest.
            weight_decay: of both.
            betas: of AdamW.

        Raises:
            ValueError: the model has no trainable hidden matrix.
        """
        matrices, others = split_parameters(model)
        if not matrices:
            raise ValueError("model: found no trainable hidden matrix, expected at least one")
        super().__init__([{"params": [*matrices, *others]}], {"lr": learning_rate})
        self.muon = Muon(
            matrices,
            lr=muon_learning_rate,
            weight_decay=weight_decay,
            adjust_lr_fn="match_rms_adamw",
        )
        self.adamw = torch.optim.AdamW(
            others, lr=learning_rate, betas=betas, weight_decay=weight_decay
        )
        self._link()

    def _link(self) -> None:
        """The groups of both, the very same dicts: what a scheduler writes, they read."""
        self.param_groups = [*self.muon.param_groups, *self.adamw.param_groups]

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """One step of both."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self.muon.step()
        self.adamw.step()
        return loss

    def state_dict(self) -> dict:
        """States of both by name."""
        return {"muon": self.muon.state_dict(), "adamw": self.adamw.state_dict()}

    def load_state_dict(self, state_dict: dict) -> None:
        """Inverse of `state_dict`."""
        self.muon.load_state_dict(state_dict["muon"])
        self.adamw.load_state_dict(state_dict["adamw"])
        self._link()


def split_parameters(model: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Trainable parameters of a model: hidden matrices, and everything else."""
    tables = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    output = model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None
    if output is not None:
        tables.add(id(output.weight))
    matrices, others = [], []
    for parameter in model.parameters():
        if parameter.requires_grad:
            hidden = parameter.ndim == 2 and id(parameter) not in tables
            (matrices if hidden else others).append(parameter)
    return matrices, others
