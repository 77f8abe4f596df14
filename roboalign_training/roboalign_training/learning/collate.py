"""Batches of images, prompt and answer for Qwen-VL models, with one processor call a batch.

TRL's own vision collator runs the whole processor, chat template included, on every sample; here
the template is rendered once a layout of pictures and the batch costs a few milliseconds.
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

    A sample is a dict with `images` (each (H, W, 3) uint8 rgb or a PIL image), `prompt` (chat
    messages: one of the user, whose content has a place for each image and ends with text) and,
    for training, `completion` (str); `origin` (str) stands in what is refused. Samples of a batch
    may have different numbers of images. The loss counts the completion and the token that ends
    the turn, nothing else.
    """

    def __init__(self, processor: Any, max_length: int | None = None) -> None:
        """Takes the processor.

        Args:
            processor: of Qwen2.5-VL or Qwen3-VL kind, with `image_processor`, `tokenizer`, a chat
                template.
            max_length: longest sequence in tokens, image tokens included; None: no limit.
        """
        self.processor = processor
        self.tokenizer = processor.tokenizer
        self.max_length = max_length
        self.image_id = int(self.tokenizer.convert_tokens_to_ids(processor.image_token))
        self._layouts: dict[tuple, tuple[str, str]] = {}

    def __call__(self, samples: Sequence[dict]) -> dict[str, torch.Tensor]:
        """A training batch.

        Returns:
            input_ids, attention_mask, mm_token_type_ids, labels: (B, L) int64, padded right;
            pixel_values: (patches, values) float32; image_grid_thw: (images, 3) int64.

        Raises:
            ConfigError: when a sequence is longer than `max_length`: cut, it would teach half an
                answer.
            ValueError: a prompt has not as many places as its sample has images, holds image
                tokens in its words, or the chat template does not show each part once.
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
        """Pixels of the batch and how many image tokens each image has, (images,)."""
        images = [
            image if isinstance(image, Image.Image) else np.asarray(image)
            for sample in samples
            for image in sample["images"]
        ]
        processor = self.processor.image_processor
        found = processor(images=images, return_tensors="pt")
        grid = found["image_grid_thw"]
        pixels = {"pixel_values": found["pixel_values"], "image_grid_thw": grid}
        return pixels, (grid.prod(dim=1) // processor.merge_size**2).numpy()

    def _prompt_ids(self, samples: Sequence[dict], image_tokens: np.ndarray) -> list[np.ndarray]:
        rows = self._ids([self._text(sample["prompt"]) for sample in samples])
        expanded, first = [], 0
        for row, sample in zip(rows, samples, strict=True):
            at, images = np.flatnonzero(row == self.image_id), len(sample["images"])
            if at.size != images:
                raise ValueError(
                    f"prompt: found {at.size} image tokens, expected {images}, one an image: the "
                    f"words must not hold any: {words_of(sample['prompt'])!r}"
                )
            repeats = np.ones(len(row), np.int64)
            repeats[at] = image_tokens[first : first + images]
            expanded.append(np.repeat(row, repeats))
            first += images
        return expanded

    def _text(self, prompt: Sequence[dict]) -> str:
        """The text of a prompt as the chat template shows it."""
        *parts, last = prompt[0]["content"]
        layout = tuple((part["type"], part.get("text", "")) for part in parts)
        if layout not in self._layouts:
            self._layouts[layout] = self._rendered(parts)
        before, after = self._layouts[layout]
        return before + last["text"] + after

    def _rendered(self, parts: list[dict]) -> tuple[str, str]:
        """What the chat template puts before and behind the words that follow some parts."""
        message = {"role": "user", "content": [*parts, {"type": "text", "text": _MARK}]}
        text = self.processor.apply_chat_template(
            [message], tokenize=False, add_generation_prompt=True
        )
        images = sum(part["type"] == "image" for part in parts)
        token = self.processor.image_token
        if text.count(_MARK) != 1 or text.count(token) != images:
            raise ValueError(
                f"chat template: found {text!r}, expected the words once and {token} {images} "
                f"{'time' if images == 1 else 'times'}"
            )
        before, after = text.split(_MARK)
        return before, after

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
                    f"{self.max_length}; its prompt: {words_of(sample['prompt'])!r}"
                    + (f"; from {sample['origin']}" if "origin" in sample else "")
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


def words_of(prompt: Sequence[dict]) -> str:
    """The words of a prompt without its pictures and their names."""
    return prompt[0]["content"][-1]["text"]
