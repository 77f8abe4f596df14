"""Fixtures of the policy tests: a very small random base, and checkpoint folders made of it."""

import os
from pathlib import Path

import hypothesis
import pytest
from checkpoints import MOVING, write_checkpoint

# Tests run beside each other; torch would take a thread a core and let each spin.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# No test of a property is a test of speed: on a busy machine any call may take long.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


@pytest.fixture(scope="session")
def tiny_size():
    """Dimensions of some ten thousand parameters."""
    from roboalign_policy.models.tiny import TinySize

    return TinySize(hidden=48, layers=2, heads=4, vision_hidden=32, vision_depth=1, image_px=32)


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory, tiny_size):
    """Folder of a very small random base without action vocabulary."""
    from roboalign_policy.models.tiny import make_tiny_model, make_tiny_processor

    folder = tmp_path_factory.mktemp("tiny_base")
    processor = make_tiny_processor(tiny_size)
    make_tiny_model(processor, tiny_size).save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def qwen2_5_folder(tmp_path_factory):
    """A random Qwen2.5-VL with untied embeddings and the chat defaults of the published ones."""
    import torch
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    from roboalign_policy.models.tiny import TinySize, make_tiny_processor
    from roboalign_policy.models.tiny_vocabulary import (
        IMAGE_PAD,
        VIDEO_PAD,
        VISION_END,
        VISION_START,
    )

    folder = tmp_path_factory.mktemp("qwen2_5_vl")
    processor = make_tiny_processor(TinySize(image_px=64))
    tokenizer = processor.tokenizer
    processor.image_processor.temporal_patch_size = 2
    ids = tokenizer.convert_tokens_to_ids
    config = Qwen2_5_VLConfig(
        text_config={
            "vocab_size": 640,  # padded, as the published ones are
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "tie_word_embeddings": False,
            "initializer_range": 0.05,
            "rope_parameters": {
                "rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 1, 1]
            },
        },
        vision_config={
            "depth": 1, "hidden_size": 32, "intermediate_size": 64, "num_heads": 4,
            "patch_size": 8, "temporal_patch_size": 2, "out_hidden_size": 32,
            "fullatt_block_indexes": [0], "window_size": 32,
        },
        image_token_id=ids(IMAGE_PAD),
        video_token_id=ids(VIDEO_PAD),
        vision_start_token_id=ids(VISION_START),
        vision_end_token_id=ids(VISION_END),
        tie_word_embeddings=False,
    )  # fmt: skip
    torch.manual_seed(1)
    model = Qwen2_5_VLForConditionalGeneration(config)
    with torch.no_grad():
        model.lm_head.weight.mul_(10)
    model.generation_config.update(repetition_penalty=1.05, eos_token_id=tokenizer.eos_token_id)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory, tiny_base):
    """Checkpoint folder whose every chunk is small; not to be changed."""
    return write_checkpoint(tmp_path_factory.mktemp("checkpoint"), tiny_base)


@pytest.fixture(scope="session")
def wild_checkpoint(tmp_path_factory, tiny_base):
    """Checkpoint folder whose chunks leave the limits; not to be changed."""
    return write_checkpoint(tmp_path_factory.mktemp("wild"), tiny_base, MOVING)


@pytest.fixture(scope="session")
def universal():
    """The universal FAST tokenizer, from the data beside this checkout."""
    from roboalign_policy.fast import FastTokenizer

    for parent in Path(__file__).resolve().parents:
        if (parent / "shared" / "data" / "fast_universal").exists():
            return FastTokenizer.load(parent / "shared" / "data" / "fast_universal")
    pytest.skip("shared/data/fast_universal is not beside this checkout")
