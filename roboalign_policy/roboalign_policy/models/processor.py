"""Images and text to inputs of Qwen-VL models, without torchvision and video processor."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from transformers import BatchFeature
from transformers.processing_utils import ProcessorMixin

# Options of transformers' own processors, which callers such as TRL pass to any processor.
_NOT_FOR_THE_TOKENIZER = (
    "images_kwargs",
    "videos_kwargs",
    "audio_kwargs",
    "return_mm_token_type_ids",
)


class ImageTextProcessor(ProcessorMixin):
    """Joins an image processor and a tokenizer the way Qwen2.5-VL and Qwen3-VL expect.

    Transformers' own processors of these models insist on a video processor, which needs
    torchvision. ``mm_token_type_ids`` is always among the outputs: without it the models fall back
    to text-only positions and the loss is three times higher.
    """

    image_processor_class = "AutoImageProcessor"
    tokenizer_class = "AutoTokenizer"

    def __init__(self, image_processor=None, tokenizer=None, chat_template=None):
        super().__init__(image_processor, tokenizer, chat_template=chat_template)
        self.image_token, self.video_token = "<|image_pad|>", "<|video_pad|>"
        self.image_token_id = tokenizer.convert_tokens_to_ids(self.image_token)
        self.video_token_id = tokenizer.convert_tokens_to_ids(self.video_token)

    def __call__(
        self, images=None, text: str | Sequence[str] | None = None, return_tensors=None, **kwargs
    ) -> BatchFeature:
        """Tokenise prompts and patchify their images.

        Args:
            images: one image a placeholder, in order: PIL images, (H, W, 3) uint8 arrays, or lists
                of them.
            text: one prompt or several, each with one ``<|image_pad|>`` an image.
            return_tensors: None for lists, ``"pt"`` or ``"np"``.
            **kwargs: passed to the tokenizer (padding, truncation, max_length ...).

        Returns:
            ``input_ids``, ``attention_mask``, ``mm_token_type_ids`` (1 where an image token
            stands), all (B, L), and with images ``pixel_values`` (patches, C * tp * p * p) float32
            and ``image_grid_thw`` (images, 3) int64.

        Raises:
            ValueError: the prompts hold another number of image placeholders than there are
                images, or there is a video or a sound.
        """
        for name in ("videos", "audio"):
            if kwargs.pop(name, None) is not None:
                raise ValueError(f"{name}: found some, expected images and text alone")
        for name in _NOT_FOR_THE_TOKENIZER:
            kwargs.pop(name, None)
        kwargs.update(kwargs.pop("text_kwargs", None) or {})
        data: dict = {}
        counts: list[int] = []
        if images is not None and len(flat := _flatten(images)):
            vision = self.image_processor(flat, return_tensors="np")
            data["pixel_values"] = np.asarray(vision["pixel_values"], np.float32)
            data["image_grid_thw"] = np.asarray(vision["image_grid_thw"], np.int64)
            counts = [
                int(n)
                for n in data["image_grid_thw"].prod(axis=1) // self.image_processor.merge_size**2
            ]
        if text is not None:
            prompts = [text] if isinstance(text, str) else list(text)
            data = {**self._tokenise(prompts, counts, **kwargs), **data}
        return BatchFeature(data, tensor_type=return_tensors)

    def _tokenise(self, prompts: list[str], counts: list[int], **kwargs) -> dict:
        found = sum(prompt.count(self.image_token) for prompt in prompts)
        if found != len(counts):
            raise ValueError(
                f"text: found {found} {self.image_token} placeholders, expected {len(counts)}, "
                "one an image"
            )
        remaining = iter(counts)
        expanded = []
        for prompt in prompts:
            parts = prompt.split(self.image_token)
            expanded.append(
                parts[0] + "".join(self.image_token * next(remaining) + part for part in parts[1:])
            )
        encoded = dict(self.tokenizer(expanded, **kwargs))
        encoded.pop("token_type_ids", None)
        ids = encoded["input_ids"]
        if isinstance(ids, list):
            encoded["mm_token_type_ids"] = [
                [int(i == self.image_token_id) for i in row] for row in ids
            ]
        else:
            encoded["mm_token_type_ids"] = (ids == self.image_token_id) * 1
        return encoded

    def save_pretrained(self, save_directory, push_to_hub: bool = False, **kwargs):
        """Write ``preprocessor_config.json`` and the tokenizer's files, chat template included."""
        self.image_processor.save_pretrained(save_directory)
        self.tokenizer.chat_template = self.chat_template or self.tokenizer.chat_template
        self.tokenizer.save_pretrained(save_directory)

    @property
    def model_input_names(self) -> list[str]:
        """Names of the arrays the model is called with."""
        return [
            "input_ids",
            "attention_mask",
            "mm_token_type_ids",
            "pixel_values",
            "image_grid_thw",
        ]


def _flatten(images) -> list:
    if isinstance(images, np.ndarray):
        return [images] if images.ndim == 3 else list(images)
    if not isinstance(images, (list, tuple)):
        return [images]
    flat: list = []
    for item in images:
        flat.extend(item) if isinstance(item, (list, tuple)) else flat.append(item)
    return flat
