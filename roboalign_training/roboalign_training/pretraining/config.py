"""What `roboalign pretrain-tiny` can be told, and the names of what it makes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

RUN, MODEL, LOG, CHECKPOINTS = "run.json", "model", "log.json", "checkpoints"
PRODUCTS = (RUN, MODEL, f".{MODEL}.new", LOG, CHECKPOINTS)
IGNORED = ("out", "install", "threads", "render_workers", "save_every", "overwrite")


def _option(default: Any, text: str) -> Any:
    return field(default=default, metadata={"help": text})


@dataclass
class PretrainConfig:
    """What `roboalign pretrain-tiny` can be told; the help of each field says what it is.

    Attributes:
        size: dimensions of the model (`TinySize`) that differ from the packaged one's; only in
            the file of `--config`.
    """

    out: str = _option("out/pretrain-tiny", "Folder of checkpoints, scenes and the model.")
    install: bool = _option(
        False, "Put the finished model into the package as roboalign-tiny; needs --overwrite."
    )
    scenes: int = _option(80_000, "Rendered training scenes.")
    held_out_scenes: int = _option(1_000, "Rendered scenes for the card.")
    row_tokens: int = _option(
        200, "Tokens of a row: an image and as many questions about it as fit."
    )
    moments: float = _option(
        0.5,
        "Share of pictures that are moments of tasks, with questions what is next; from step "
        "--short_steps on.",
    )
    base: str = _option(
        "", "Folder of a model of this size whose weights it begins with; empty: random ones."
    )
    short_row_tokens: int = _option(
        64,
        "The same in the first --short_steps steps: what a place is is learnt from many images, "
        "not from many questions about few.",
    )
    short_steps: int = _option(1_500, "Steps with short rows.")
    steps: int = _option(3_900, "Optimiser steps in all.")
    batch: int = _option(32, "Images a step.")
    learning_rate: float = _option(
        1e-3, "Peak of the cosine schedule, AdamW on embeddings, norms and biases."
    )
    muon_learning_rate: float = _option(3e-3, "The same, Muon on the weight matrices.")
    weight_decay: float = _option(0.02, "Weight decay of AdamW.")
    seed: int = _option(0, "Of weights, order and questions.")
    threads: int = _option(0, "Torch threads; 0: torch's own choice.")
    render_workers: int = _option(2, "Processes that render scenes.")
    save_every: int = _option(250, "Steps between checkpoints.")
    overwrite: bool = _option(False, "Remove an earlier result that is in the way.")
    size: dict = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("scenes", "held_out_scenes", "row_tokens", "short_row_tokens", "steps",
                     "batch", "render_workers", "save_every"):  # fmt: skip
            if (value := getattr(self, name)) < 1:
                raise ValueError(f"{name}: found {value}, expected at least 1")
        for name in ("learning_rate", "muon_learning_rate"):
            if not 0 < (value := getattr(self, name)) < 1:
                raise ValueError(f"{name}: found {value}, expected above 0 and below 1")
        if not 0 <= self.moments <= 1:
            raise ValueError(f"moments: found {self.moments}, expected 0 .. 1")
        for name in ("short_steps", "weight_decay", "seed", "threads"):
            if (value := getattr(self, name)) < 0:
                raise ValueError(f"{name}: found {value}, expected 0 or more")
