"""Muon for weight matrices and AdamW for the rest, as one optimiser that trainers can hold.

A model of a few million parameters that starts from random weights takes far fewer steps with Muon
than with AdamW alone (docs/decisions/0010).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn


class MuonAdamW(torch.optim.Optimizer):
    """`torch.optim.Muon` on hidden weight matrices, `torch.optim.AdamW` on everything else.

    Hidden matrices are the two-dimensional parameters that are neither an embedding nor the output
    layer. Both optimisers are torch's own; this class only shows their parameter groups as one
    list, which schedulers, trainers and checkpoints work on.

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
        self.muon = torch.optim.Muon(
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
