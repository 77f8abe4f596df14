"""The collator against the processor itself, and what its labels cover."""

import numpy as np
import pytest
import torch
from PIL import Image

from roboalign_policy.models.tiny import make_tiny_processor
from roboalign_training.learning.collate import IGNORED, PromptCollator
from roboalign_training.learning.source import request


@pytest.fixture(scope="module")
def processor():
    return make_tiny_processor()


@pytest.fixture(scope="module")
def samples():
    rng = np.random.default_rng(0)
    prompts = [
        "where is the red cube ?",
        "task : put the red cube on the plate . state : x 45 y -12 . act .",
    ]
    answers = ["52 -10", "<think>grasp at 52 -10 2 : stay</think><answer>left</answer>"]
    return [
        {
            "images": (rng.integers(0, 255, (128, 128, 3), dtype=np.uint8),),
            "prompt": request(p),
            "completion": a,
        }
        for p, a in zip(prompts, answers, strict=True)
    ]


def reference(processor, sample):
    """What the processor makes of one prompt."""
    text = processor.apply_chat_template(
        sample["prompt"], tokenize=False, add_generation_prompt=True
    )
    return processor(images=list(sample["images"]), text=[text], return_tensors="pt")


def test_prompts_are_what_the_processor_makes(processor, samples):
    batch = PromptCollator(processor).prompts(samples)
    pixels = []
    for row, sample in enumerate(samples):
        expected = reference(processor, sample)
        ids = batch["input_ids"][row][batch["attention_mask"][row].bool()]
        assert ids.tolist() == expected["input_ids"][0].tolist()
        kinds = batch["mm_token_type_ids"][row][batch["attention_mask"][row].bool()]
        assert kinds.tolist() == expected["mm_token_type_ids"][0].tolist()
        assert batch["attention_mask"][row, -1] == 1  # padded on the left
        pixels.append(expected["pixel_values"])
    torch.testing.assert_close(batch["pixel_values"], torch.cat(pixels), rtol=0, atol=0)
    assert batch["image_grid_thw"].tolist() == [[1, 8, 8]] * 2


def test_image_tokens_are_expanded_once(processor, samples):
    batch = PromptCollator(processor)(samples)
    found = (batch["input_ids"] == processor.image_token_id).sum(dim=1)
    assert found.tolist() == [16, 16]  # 8 x 8 patches merged 2 x 2
    assert batch["mm_token_type_ids"].sum(dim=1).tolist() == [16, 16]


def test_labels_are_the_completion_and_the_end_of_turn(processor, samples):
    batch = PromptCollator(processor)(samples)
    for row, sample in enumerate(samples):
        counted = batch["labels"][row] != IGNORED
        ids = batch["input_ids"][row][counted]
        assert ids.tolist() == batch["labels"][row][counted].tolist()
        assert processor.tokenizer.decode(ids) == processor.tokenizer.decode(
            processor.tokenizer(
                sample["completion"] + processor.tokenizer.eos_token, add_special_tokens=False
            )["input_ids"]
        )
        assert ids[-1] == processor.tokenizer.eos_token_id
        prompt = reference(processor, sample)["input_ids"].shape[1]
        assert torch.nonzero(counted)[0, 0] == prompt
        assert not (counted & (batch["attention_mask"][row] == 0)).any()


def test_pil_and_array_images_give_the_same(processor, samples):
    collator = PromptCollator(processor)
    as_pil = [
        {**sample, "images": [Image.fromarray(image) for image in sample["images"]]}
        for sample in samples
    ]
    torch.testing.assert_close(
        collator(as_pil)["pixel_values"], collator(samples)["pixel_values"], rtol=0, atol=0
    )


def test_nothing_is_cut(processor, samples):
    longest = int(PromptCollator(processor)(samples)["attention_mask"].sum(dim=1).max())
    PromptCollator(processor, max_length=longest)(samples)
    with pytest.raises(
        ValueError, match=f"found a sequence of {longest} tokens, expected at most {longest - 1}"
    ):
        PromptCollator(processor, max_length=longest - 1)(samples)


def test_image_tokens_in_the_text_are_refused(processor, samples):
    with pytest.raises(ValueError, match="found 2 image tokens, expected 1"):
        PromptCollator(processor)([{**samples[0], "prompt": request("what is <|image_pad|> ?")}])


def test_images_and_their_places_are_as_many(processor, samples):
    with pytest.raises(ValueError, match="found 1 image tokens, expected 2, one an image"):
        PromptCollator(processor)([{**samples[0], "images": samples[0]["images"] * 2}])


def test_a_batch_may_mix_one_camera_and_two_of_other_sizes(processor, samples):
    rng = np.random.default_rng(1)
    two = {
        "images": (
            rng.integers(0, 255, (128, 128, 3), dtype=np.uint8),
            rng.integers(0, 255, (48, 96, 3), dtype=np.uint8),
        ),
        "prompt": request("task : lift . act .", ("front", "left wrist")),
        "completion": "up",
    }
    collator = PromptCollator(processor)
    mixed = [samples[0], two, samples[1]]
    batch = collator.prompts(mixed)
    expected = [reference(processor, sample) for sample in mixed]
    for row, one in enumerate(expected):
        ids = batch["input_ids"][row][batch["attention_mask"][row].bool()]
        assert ids.tolist() == one["input_ids"][0].tolist()
    pixels = torch.cat([one["pixel_values"] for one in expected])
    torch.testing.assert_close(batch["pixel_values"], pixels, rtol=0, atol=0)
    assert len(batch["image_grid_thw"]) == 4
    text = processor.tokenizer.decode(expected[1]["input_ids"][0])
    assert text.index("front :") < text.index("left wrist :") < text.index("task :")
    assert collator(mixed)["input_ids"].shape[0] == 3
