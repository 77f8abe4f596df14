"""SFT's loss is computed where there is an answer, and nowhere else.

On a CPU TRL's fused LM head projects every position of a batch to the vocabulary and then drops
those without a label: with pictures and prompts in it, most of them. The numbers stay the same.
"""

from __future__ import annotations

import functools

import torch
from transformers import PreTrainedModel

from roboalign_training.learning.collate import IGNORED


def answer_places(labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Where the next token has a label, and which.

    Args:
        labels: (B, L) int64, `IGNORED` where there is none.

    Returns:
        Positions (B, A) int64 whose next tokens are labelled, A >= 1 the most of a row; their
        labels (B, A) int64, `IGNORED` where a row has fewer.
    """
    following = labels[:, 1:]
    labelled = following != IGNORED
    width = max(int(labelled.sum(dim=1).max()), 1)
    places = labelled.to(torch.uint8).argsort(dim=1, descending=True, stable=True)[:, :width]
    return places, following.gather(1, places)


def score_answers_only(model: PreTrainedModel) -> None:
    """Have `model(..., labels=labels, fused_lm_head=True)` score labelled positions alone.

    Args:
        model: of an `SFTTrainer`, which has given it the fused LM head. The fields of its output
            become (B, A), see `answer_places`. Every other call stays as it is.
    """
    whole = model.forward

    @functools.wraps(whole)
    def forward(*args, **kwargs):
        if not kwargs.get("fused_lm_head") or kwargs.get("labels") is None:
            return whole(*args, **kwargs)
        places, kwargs["shift_labels"] = answer_places(kwargs.pop("labels"))

        def at_answers(_module, _args, output):
            hidden = output.last_hidden_state
            index = places.to(hidden.device)[..., None].expand(-1, -1, hidden.size(-1))
            output.last_hidden_state = hidden.gather(1, index)
            return output

        hook = model.base_model.register_forward_hook(at_answers)
        try:
            return whole(*args, **kwargs)
        finally:
            hook.remove()

    model.forward = forward
