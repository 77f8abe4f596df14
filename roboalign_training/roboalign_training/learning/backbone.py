"""The model below an action head while the head is trained: read as it is, or trained with it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from roboalign_training.learning.backbone_arguments import FROZEN, FULL, LORA, BackboneArguments


class Backbone(nn.Module):
    """A model up to the layer that a head reads.

    Attributes:
        model: the whole model, with what is trained in it.
        trained: names of its trained parameters, in order; those of the vision encoder, and of
            what comes behind the layer, are never among them.
    """

    def __init__(self, model: Any, layer: int, arguments: BackboneArguments) -> None:
        """Prepare a model; changes it in place.

        Args:
            model: of Qwen2.5-VL or Qwen3-VL kind.
            layer: how many of its layers are behind the hidden states; 1 or more where it is
                trained.
            arguments: what of it is trained.
        """
        super().__init__()
        self._layer, self._mode = layer, arguments.backbone
        self._dtype = model.dtype
        self._adapted: tuple[Any, ...] = ()  # in a tuple, so that it is no second child
        model.requires_grad_(False)
        if self._mode == LORA:
            self._adapted = (_with_lora(model, layer, arguments),)
        elif self._mode == FULL:
            for part in _read_parts(model, layer):
                # Steps of 1e-5 are lost in bfloat16; `merged` rounds once, at the end.
                part.to(torch.float32).requires_grad_(True)
        self.model = model
        self.trained = tuple(n for n, p in model.named_parameters() if p.requires_grad)
        self.train()

    @property
    def parameters_trained(self) -> list[nn.Parameter]:
        """The trained parameters, in the order of `trained`."""
        named = dict(self.model.named_parameters())
        return [named[name] for name in self.trained]

    def train(self, mode: bool = True) -> Backbone:
        """Training mode; a frozen model stays in evaluation mode."""
        return super().train(mode and self._mode != FROZEN)

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """The hidden states, with gradients where the model is trained.

        Args:
            inputs: of the model, on its device: B sequences.

        Returns:
            (B, L, hidden size): the same as `hidden_states` gives.
        """
        grad = torch.is_grad_enabled() and self._mode != FROZEN
        with torch.set_grad_enabled(grad), _up_to(self.model, self._layer):
            return self.model.model(**inputs, use_cache=False).last_hidden_state

    @torch.no_grad()
    def merged(self) -> Any:
        """The plain model with what was learnt in its weights, in the dtype that it had.

        Nothing can be trained any more.
        """
        if self._mode == LORA:
            self.model = self._adapted[0].merge_and_unload()
            self._adapted = ()
        elif self._mode == FULL:
            for part in _read_parts(self.model, self._layer):
                part.to(self._dtype)
        self.model.requires_grad_(False)
        self.trained = ()
        return self.model.eval()


def _read_parts(model: Any, layer: int) -> list[nn.Module]:
    """What of the language model is behind the hidden states of a layer."""
    language = model.model.language_model
    last = [language.norm] if layer == len(language.layers) else []
    return [language.embed_tokens, *language.layers[:layer], *last]


def _with_lora(model: Any, layer: int, arguments: BackboneArguments) -> Any:
    """Put low-rank changes beside the linear layers of attention and MLP, up to a layer.

    Source: LoRA, arXiv 2106.09685; the layers are those that QLoRA, arXiv 2305.14314, changes.
    """
    from peft import LoraConfig, get_peft_model

    language = model.model.language_model
    within = {id(m) for part in language.layers[:layer] for m in part.modules()}
    names = [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and id(module) in within
    ]
    config = LoraConfig(
        r=arguments.lora_rank,
        lora_alpha=arguments.lora_alpha,
        lora_dropout=arguments.lora_dropout,
        target_modules="|".join(map(re.escape, names)),
        bias="none",
    )
    return get_peft_model(model, config)


@contextmanager
def _up_to(model: Any, layer: int) -> Iterator[None]:
    """Inside, the language model ends behind a layer, without the norm that belongs to the last.

    An exception in a hook, by which `models.hidden_states` stops, would come out of the middle of
    a checkpoint of activations.
    """
    language = model.model.language_model
    layers, norm = language.layers, language.norm
    if layer == len(layers):
        yield
        return
    language.layers, language.norm = layers[:layer], nn.Identity()
    try:
        yield
    finally:
        language.layers, language.norm = layers, norm
