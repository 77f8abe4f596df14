"""Batches of image, prompt and answer for Qwen-VL models, with one processor call a batch.

TRL's own vision collator runs the whole processor, chat template included, on every sample; here
the template is rendered once and the batch costs a few milliseconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image

from roboalign_training.shared.run_layout import ConfigError

IGNORED = -100
"""Label of positions that do not count in the loss."""
_MARK = "\u241fPROMPT\u241f"


class PromptCollator:
    """Turns samples into model inputs, for training (with labels) and for generation.

    A sample is a dict with `image` ((H, W, 3) uint8 rgb or a PIL image), `prompt` (str) and, for
    training, `completion` (str). The loss counts the completion and the token that ends the turn,
    nothing else.
    """

    def __init__(self, processor: Any, max_length: int | None = None) -> None:
        """Renders the chat template once.

        Args:
            processor: of Qwen2.5-VL or Qwen3-VL kind, with `image_processor`, `tokenizer`, a chat
                template.
            max_length: longest sequence in tokens, image tokens included; None: no limit.

        Raises:
            ValueError: when the chat template does not show the image and the text once each.
        """
        self.processor = processor
        self.tokenizer = processor.tokenizer
        self.max_length = max_length
        self.image_id = int(self.tokenizer.convert_tokens_to_ids(processor.image_token))
        content = [{"type": "image"}, {"type": "text", "text": _MARK}]
        text = processor.apply_chat_template(
            [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
        )
        if text.count(_MARK) != 1 or text.count(processor.image_token) != 1:
            raise ValueError(
                f"chat template: found {text!r}, expected the text and "
                f"{processor.image_token} once each"
            )
        self._before, self._after = text.split(_MARK)

    def __call__(self, samples: Sequence[dict]) -> dict[str, torch.Tensor]:
        """A training batch.

        Returns:
            input_ids, attention_mask, mm_token_type_ids, labels: (B, L) int64, padded right;
            pixel_values: (patches, values) float32; image_grid_thw: (B, 3) int64.

        Raises:
            ConfigError: when a sequence is longer than `max_length`: cut, it would teach half an
                answer.
        """
        pixels, image_tokens = self._images(samples)
        prompts = self._prompt_ids(samples, image_tokens)
        ending = self.tokenizer.eos_token
        answers = self._ids([sample["completion"] + ending for sample in samples])
        rows = [
            np.concatenate([prompt, answer])
            for prompt, answer in zip(prompts, answers, strict=True)
        ]
        self._check_lengths(rows, samples)
        batch = self._padded(rows, left=False)
        labels = torch.full_like(batch["input_ids"], IGNORED)
        for row, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
            labels[row, len(prompt) : len(prompt) + len(answer)] = torch.from_numpy(answer)
        return {**batch, **pixels, "labels": labels}

    def prompts(self, samples: Sequence[dict]) -> dict[str, torch.Tensor]:
        """A batch to generate from: without completion and labels, padded on the left."""
        pixels, image_tokens = self._images(samples)
        rows = self._prompt_ids(samples, image_tokens)
        self._check_lengths(rows, samples)
        return {**self._padded(rows, left=True), **pixels}

    def _images(self, samples: Sequence[dict]) -> tuple[dict[str, torch.Tensor], np.ndarray]:
        """Pixels of the batch and (B,) how many image tokens each sample has."""
        images = [
            image if isinstance(image := sample["image"], Image.Image) else np.asarray(image)
            for sample in samples
        ]
        processor = self.processor.image_processor
        found = processor(images=images, return_tensors="pt")
        grid = found["image_grid_thw"]
        pixels = {"pixel_values": found["pixel_values"], "image_grid_thw": grid}
        return pixels, (grid.prod(dim=1) // processor.merge_size**2).numpy()

    def _prompt_ids(self, samples: Sequence[dict], image_tokens: np.ndarray) -> list[np.ndarray]:
        rows = self._ids([self._before + sample["prompt"] + self._after for sample in samples])
        expanded = []
        for row, count in zip(rows, image_tokens, strict=True):
            at = np.flatnonzero(row == self.image_id)
            if at.size != 1:
                raise ValueError(
                    f"prompt: found {at.size} image tokens, expected 1: the text must not hold any"
                )
            expanded.append(np.insert(row, int(at[0]), np.full(int(count) - 1, self.image_id)))
        return expanded

    def _ids(self, texts: list[str]) -> list[np.ndarray]:
        found = self.tokenizer(texts, add_special_tokens=False, return_attention_mask=False)
        return [np.asarray(row, dtype=np.int64) for row in found["input_ids"]]

    def _check_lengths(self, rows: Sequence[np.ndarray], samples: Sequence[dict]) -> None:
        if self.max_length is None:
            return
        for row, sample in zip(rows, samples, strict=True):
            if len(row) > self.max_length:
                raise ConfigError(
                    f"max_length: found a sequence of {len(row)} tokens, expected at most "
                    f"{self.max_length}; its prompt: {sample['prompt']!r}"
                )

    def _padded(self, rows: Sequence[np.ndarray], left: bool) -> dict[str, torch.Tensor]:
        width = max(len(row) for row in rows)
        ids = np.full((len(rows), width), self.tokenizer.pad_token_id, dtype=np.int64)
        mask = np.zeros((len(rows), width), dtype=np.int64)
        for at, row in enumerate(rows):
            place = slice(width - len(row), width) if left else slice(0, len(row))
            ids[at, place] = row
            mask[at, place] = 1
        return {
            "input_ids": torch.from_numpy(ids),
            "attention_mask": torch.from_numpy(mask),
            "mm_token_type_ids": torch.from_numpy((ids == self.image_id).astype(np.int64) * mask),
        }
