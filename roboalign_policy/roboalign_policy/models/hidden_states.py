"""Hidden states of a model's layer, computed no further than that layer."""

from __future__ import annotations

from typing import Any

import torch
from transformers import BatchFeature


class _EnoughError(Exception):
    """The layer has been reached; what follows is not needed."""


def depth(model: Any) -> int:
    """Layers of the language model."""
    return len(_language(model).layers)


def hidden_states(model: Any, inputs: BatchFeature, layer: int) -> torch.Tensor:
    """Hidden states behind some layers of the language model.

    Args:
        model: of Qwen2.5-VL or Qwen3-VL kind.
        inputs: from the processor, on the model's device.
        layer: how many layers are behind them: 0 is the embeddings with the images in them, the
            depth is the last layer with the final norm.

    Returns:
        (B, L, hidden size), in the model's dtype.

    Raises:
        ValueError: the model has fewer layers.
    """
    language = _language(model)
    if not 0 <= layer <= len(language.layers):
        raise ValueError(f"layer: found {layer}, expected 0 to {len(language.layers)}")
    if layer == len(language.layers):
        return model.model(**inputs, use_cache=False).last_hidden_state
    found: list[torch.Tensor] = []

    def stop(module: Any, given: tuple, named: dict) -> None:
        found.append(given[0] if given else named["hidden_states"])
        raise _EnoughError

    # What goes into the next layer: Qwen3-VL adds image features behind its first ones.
    hook = language.layers[layer].register_forward_pre_hook(stop, with_kwargs=True)
    try:
        model.model(**inputs, use_cache=False)
    except _EnoughError:
        return found[0]
    finally:
        hook.remove()
    raise RuntimeError(f"layer {layer} of the model was never reached")


def with_tokens(inputs: BatchFeature, ids: list[list[int]], pad_id: int) -> BatchFeature:
    """Inputs with further tokens behind them, padded on the right.

    Args:
        inputs: of B prompts, padded on the left.
        ids: further tokens of each.
        pad_id: token that pads.
    """
    width = max(map(len, ids), default=0)
    old = inputs["input_ids"]
    more = torch.full((len(ids), width), pad_id, dtype=old.dtype)
    mask = torch.zeros((len(ids), width), dtype=inputs["attention_mask"].dtype)
    for row, tokens in enumerate(ids):
        more[row, : len(tokens)] = torch.tensor(tokens, dtype=old.dtype)
        mask[row, : len(tokens)] = 1
    longer = {
        "input_ids": torch.cat([old, more.to(old.device)], dim=1),
        "attention_mask": torch.cat([inputs["attention_mask"], mask.to(old.device)], dim=1),
    }
    if "mm_token_type_ids" in inputs:
        kinds = inputs["mm_token_type_ids"]
        longer["mm_token_type_ids"] = torch.cat(
            [kinds, torch.zeros_like(more, dtype=kinds.dtype, device=kinds.device)], dim=1
        )
    return BatchFeature({**inputs, **longer})


def _language(model: Any) -> Any:
    return model.model.language_model
