"""roboalign-tiny: a Qwen3-VL of 1.6 million parameters, in place of a pretrained MLLM."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from roboalign_policy.models.processor import ImageTextProcessor
from roboalign_policy.models.tiny_init import grid_positions, number_embeddings
from roboalign_policy.models.tiny_vocabulary import (
    BOS,
    EOS,
    IMAGE_PAD,
    NUMBERS,
    PAD,
    VIDEO_PAD,
    VISION_END,
    VISION_START,
    make_tiny_tokenizer,
)

PACKAGED = Path(__file__).with_name("roboalign_tiny")


@dataclass(frozen=True)
class TinySize:
    """Dimensions of roboalign-tiny; the defaults are those of the packaged weights.

    Attributes:
        hidden: width of the language model.
        layers: layers of the language model.
        heads: attention heads of both towers.
        vision_hidden: width of the vision tower.
        vision_depth: layers of the vision tower.
        image_px: side of the square the image is resized to.
        patch_px: side of a vision patch.
        initializer_range: 0.04 learns where transformers' default 0.02 stalls at this size.
    """

    hidden: int = 128
    layers: int = 4
    heads: int = 4
    vision_hidden: int = 128
    vision_depth: int = 4
    image_px: int = 64
    patch_px: int = 8
    initializer_range: float = 0.04


def make_tiny_processor(size: TinySize = TinySize()) -> ImageTextProcessor:
    """Image processor and tokenizer of roboalign-tiny.

    One temporal patch: the reference duplicates a still image in time, which only doubles the
    input.
    """
    image_processor = Qwen2VLImageProcessorPil(
        size={"shortest_edge": size.image_px**2, "longest_edge": size.image_px**2},
        patch_size=size.patch_px,
        temporal_patch_size=1,
        merge_size=2,
        resample=4,  # PIL BOX: an exact average of 2x2 pixels, which keeps sub-pixel edges
        image_mean=[0.5, 0.5, 0.5],
        image_std=[0.5, 0.5, 0.5],
    )
    tokenizer = make_tiny_tokenizer()
    return ImageTextProcessor(image_processor, tokenizer, chat_template=tokenizer.chat_template)


def make_tiny_model(processor: ImageTextProcessor, size: TinySize = TinySize(), seed: int = 0):
    """A randomly initialised roboalign-tiny.

    Args:
        processor: its tokenizer gives the vocabulary size and the ids of the special tokens.
        size: dimensions.
        seed: of the initial weights.

    Returns:
        A ``Qwen3VLForConditionalGeneration`` in float32 with tied embeddings.
    """
    tokenizer = processor.tokenizer
    token = {
        name: tokenizer.convert_tokens_to_ids(name)
        for name in (PAD, EOS, BOS, IMAGE_PAD, VIDEO_PAD)
    }
    head_dim = size.hidden // size.heads
    third = head_dim // 2 // 3
    config = Qwen3VLConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": size.hidden,
            "intermediate_size": 2 * size.hidden,
            "num_hidden_layers": size.layers,
            "num_attention_heads": size.heads,
            "num_key_value_heads": size.heads,
            "head_dim": head_dim,
            "max_position_embeddings": 1024,
            "initializer_range": size.initializer_range,
            "tie_word_embeddings": True,
            "pad_token_id": token[PAD],
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 10000.0,
                "mrope_section": [head_dim // 2 - 2 * third, third, third],
                "mrope_interleaved": True,
            },
        },
        vision_config={
            "depth": size.vision_depth,
            "hidden_size": size.vision_hidden,
            "intermediate_size": 2 * size.vision_hidden,
            "num_heads": size.heads,
            "patch_size": size.patch_px,
            "spatial_merge_size": 2,
            "temporal_patch_size": 1,
            "out_hidden_size": size.hidden,
            "num_position_embeddings": (size.image_px // size.patch_px) ** 2,
            "deepstack_visual_indexes": [],
            "initializer_range": size.initializer_range,
        },
        image_token_id=token[IMAGE_PAD],
        video_token_id=token[VIDEO_PAD],
        vision_start_token_id=tokenizer.convert_tokens_to_ids(VISION_START),
        vision_end_token_id=tokenizer.convert_tokens_to_ids(VISION_END),
        tie_word_embeddings=True,
    )
    torch.manual_seed(seed)
    model = Qwen3VLForConditionalGeneration(config)
    numbers = tokenizer.convert_tokens_to_ids([str(n) for n in NUMBERS])
    with torch.no_grad():
        positions = model.model.visual.pos_embed.weight
        positions.copy_(grid_positions(size.image_px // size.patch_px, size.vision_hidden))
        embeddings = model.get_input_embeddings().weight
        embeddings[numbers] = number_embeddings(NUMBERS, size.hidden, size.initializer_range, seed)
    model.generation_config.pad_token_id = token[PAD]
    model.generation_config.eos_token_id = token[EOS]
    return model
