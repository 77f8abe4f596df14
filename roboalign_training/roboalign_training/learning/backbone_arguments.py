"""Whether stage 3 trains the model below the action head too, and how."""

from __future__ import annotations

import importlib.util
import math
from dataclasses import dataclass, fields

from roboalign_training.learning.option import option, require

FROZEN, LORA, FULL = "frozen", "lora", "full"
BACKBONES = (FROZEN, LORA, FULL)
LEARNING_RATES = {LORA: 1e-4, FULL: 1e-5}
"""Of the model's weights unless it is said."""
_GROUP = "the model below the head"


@dataclass
class BackboneArguments:
    """Options of the model that the head reads; the help of each field says what it is."""

    backbone: str = option(
        FROZEN, _GROUP, "What of the model is trained with the head, by the head's loss: nothing, "
        "low-rank changes of the language model's linear layers (lora), or all weights of the "
        "language model up to the layer that is read (full). The vision encoder stays as it is.",
        choices=BACKBONES,
    )  # fmt: skip
    backbone_learning_rate: float | None = option(
        None, _GROUP, "Greatest learning rate of the model's weights; that of the head is "
        "learning_rate.",
        shown=f"{LEARNING_RATES[LORA]:g} with lora, {LEARNING_RATES[FULL]:g} with full",
    )  # fmt: skip
    lora_rank: int = option(16, _GROUP, "Rank of the changes (--backbone lora).")
    lora_alpha: int = option(
        32, _GROUP, "The changes are scaled by lora_alpha / lora_rank (--backbone lora)."
    )
    lora_dropout: float = option(
        0.0, _GROUP, "Dropout of what the changes are made of, in training (--backbone lora)."
    )
    keep_fast: bool | None = option(
        None, _GROUP, "Keep what the policy needs to be driven by FAST tokens, too; a trained "
        "model no longer gives the tokens that it was taught.",
        shown="true where the model is frozen",
    )  # fmt: skip

    def check_backbone(self) -> None:
        """Refuse what cannot be; sets `keep_fast` where it was not given.

        Raises:
            ConfigError: a value is impossible, or an option has no effect with this backbone.
        """
        require("backbone", self.backbone, self.backbone in BACKBONES,
                f"one of {', '.join(BACKBONES)}")  # fmt: skip
        is_there = self.backbone != LORA or importlib.util.find_spec("peft") is not None
        require("backbone", self.backbone, is_there, f"{FROZEN} or {FULL}, or that the Python "
                "package peft is installed (requirements/suite.txt)")  # fmt: skip
        rate = self.backbone_learning_rate
        expected = "a number above 0, below 1"
        require("backbone_learning_rate", rate, rate is None or 0 < rate < 1, expected)
        require("lora_rank", self.lora_rank, self.lora_rank >= 1, "at least 1")
        require("lora_alpha", self.lora_alpha, self.lora_alpha >= 1, "at least 1")
        dropout = self.lora_dropout
        require("lora_dropout", dropout, 0 <= dropout < 1 and math.isfinite(dropout),
                "from 0 to below 1")  # fmt: skip
        require(
            "backbone_learning_rate", rate, rate is None or self.trains_backbone,
            f"nothing: with backbone {FROZEN} the model learns nothing; or --backbone {LORA} or "
            f"{FULL}",
        )  # fmt: skip
        defaults = {item.name: item.default for item in fields(BackboneArguments)}
        for name in ("lora_rank", "lora_alpha", "lora_dropout"):
            value, usual = getattr(self, name), defaults[name]
            require(
                name, value, value == usual or self.backbone == LORA,
                f"{usual!r}, the default: with backbone {self.backbone} it has no effect; or "
                f"--backbone {LORA}",
            )  # fmt: skip
        require(
            "keep_fast", self.keep_fast, not (self.keep_fast and self.trains_backbone),
            f"false, or left out: with backbone {self.backbone} the model's weights change by the "
            "head's loss alone, so its FAST tokens would not be those that it was taught; "
            f"--backbone {FROZEN} keeps them, and the base's folder has them still",
        )  # fmt: skip
        if self.keep_fast is None:
            self.keep_fast = not self.trains_backbone

    @property
    def trains_backbone(self) -> bool:
        """Whether weights of the model are trained."""
        return self.backbone != FROZEN

    @property
    def backbone_rate(self) -> float:
        """Learning rate of the model's weights: as it was given, else that of the mode."""
        return self.backbone_learning_rate or LEARNING_RATES[self.backbone]
