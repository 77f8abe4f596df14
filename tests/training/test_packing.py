"""Packed questions: the same logits and the same loss as asking one by one."""

import numpy as np
import pytest
import torch

from roboalign_policy.models.tiny import TinySize, make_tiny_model, make_tiny_processor
from roboalign_training.pretraining.packing import IGNORE, pack_questions

ROWS = [
    [("red cube ?", "40 10"), ("how many cubes ?", "2"), ("is the gripper open ?", "yes")],
    [("where is the plate ?", "45 -5")],
    [("colour at 55 -20 ?", "blue"), ("describe the scene .", "a red cube and a closed drawer")],
]


@pytest.fixture(scope="module")
def parts():
    """Processor, model and three images, as patches and as arrays."""
    size = TinySize(hidden=48, layers=2, heads=4, vision_hidden=32, vision_depth=1, image_px=32)
    processor = make_tiny_processor(size)
    images = list(np.random.default_rng(0).integers(0, 255, (3, 64, 64, 3), dtype=np.uint8))
    vision = processor.image_processor(images, return_tensors="pt")
    model = make_tiny_model(processor, size).eval()
    return processor, model, images, vision["pixel_values"], vision["image_grid_thw"]


def asked_alone(processor, model, image, question, answer):
    """Logits (n, V) of an answer and its end, asked in the usual way."""
    message = [
        {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": question}]}
    ]
    prompt = processor.apply_chat_template(message, tokenize=False, add_generation_prompt=True)
    inputs = processor([image], [prompt + answer + "<|im_end|>"], return_tensors="pt")
    n = len(processor.tokenizer(answer)["input_ids"]) + 1
    with torch.no_grad():
        return model(**inputs).logits[0, -n - 1 : -1]


def packed_logits(model, batch):
    """Logits (n, V) at every labelled position, row after row."""
    with torch.no_grad():
        logits = model(**{k: v for k, v in batch.items() if k != "labels"}).logits
    return logits[:, :-1][batch["labels"][:, 1:] != IGNORE]


def test_packed_logits_equal_asking_one_by_one(parts):
    processor, model, images, pixels, grid = parts
    found = packed_logits(model, pack_questions(processor, model, pixels, grid, ROWS))
    wanted = torch.cat(
        [
            asked_alone(processor, model, image, question, answer)
            for image, row in zip(images, ROWS, strict=True)
            for question, answer in row
        ]
    )
    assert found.shape == wanted.shape
    torch.testing.assert_close(found, wanted, atol=2e-5, rtol=1e-4)


def test_another_question_in_the_row_changes_nothing(parts):
    processor, model, _, pixels, grid = parts
    other = [[ROWS[0][0], ("is there a blue cube ?", "no"), ROWS[0][2]], *ROWS[1:]]
    first, second = (
        packed_logits(model, pack_questions(processor, model, pixels, grid, rows))
        for rows in (ROWS, other)
    )
    kept = [0, 1, 2, *range(5, len(first))]  # but for "2" and its end
    torch.testing.assert_close(first[kept], second[kept], atol=2e-5, rtol=1e-4)
    assert not torch.allclose(first[3], second[3], atol=1e-3)


def test_the_image_is_seen(parts):
    processor, model, _, pixels, grid = parts
    first = packed_logits(model, pack_questions(processor, model, pixels, grid, ROWS))
    second = packed_logits(model, pack_questions(processor, model, pixels.flip(0), grid, ROWS))
    assert not torch.allclose(first, second, atol=1e-3)


def test_labels_are_the_answers_and_their_ends(parts):
    processor, model, _, pixels, grid = parts
    batch = pack_questions(processor, model, pixels, grid, ROWS)
    tokenizer = processor.tokenizer
    for labels, ids, row in zip(batch["labels"], batch["input_ids"], ROWS, strict=True):
        labelled = labels != IGNORE
        assert torch.equal(labels[labelled], ids[labelled])
        answers = tokenizer.decode(labels[labelled]).split("<|im_end|>")
        assert [answer.strip() for answer in answers] == [*(answer for _, answer in row), ""]
    starts = (batch["labels"][:, 1:] != IGNORE) & (batch["labels"][:, :-1] == IGNORE)
    assert int(starts.sum()) == 6, "how many questions there are can be read off the labels"


def test_the_mask_separates_questions(parts):
    processor, model, _, pixels, grid = parts
    batch = pack_questions(processor, model, pixels, grid, ROWS[:1] * 3)
    mask = batch["attention_mask"][0, 0]
    length = mask.shape[0]
    assert mask.dtype == torch.bool
    assert not mask.triu(1).any(), "nobody sees what comes later"
    head = 2 + 4  # vision start and end, four image tokens
    assert mask[:, 0].all(), "everybody sees the image"
    ends = np.flatnonzero(batch["input_ids"][0] == processor.tokenizer.eos_token_id).tolist()
    starts = [head, *(end + 1 for end in ends[:-1])]
    for start, end in zip(starts, ends, strict=True):
        seen = np.flatnonzero(mask[end]).tolist()
        assert seen == [*range(head), *range(start, end + 1)]
    assert ends[-1] == length - 1


def test_questions_that_do_not_fit_are_left_out_from_the_end(parts):
    processor, model, _, pixels, grid = parts
    whole = pack_questions(processor, model, pixels, grid, [ROWS[0]] * 3)
    ends = np.flatnonzero(whole["input_ids"][0] == processor.tokenizer.eos_token_id).tolist()
    for room, count in ((ends[1] + 1, 2), (ends[1], 1), (ends[2] + 1, 3), (1000, 3)):
        batch = pack_questions(processor, model, pixels, grid, [ROWS[0]] * 3, max_tokens=room)
        assert batch["input_ids"].shape[1] == ends[count - 1] + 1 <= room
        assert torch.equal(batch["input_ids"], whole["input_ids"][:, : ends[count - 1] + 1])


def test_images_of_different_sizes_are_refused(parts):
    processor, model, _, pixels, grid = parts
    uneven = grid.clone()
    uneven[1, 1] *= 2
    with pytest.raises(ValueError, match="grid_thw: found .* expected equal rows"):
        pack_questions(processor, model, pixels, uneven, ROWS)


def test_a_template_with_the_image_behind_the_question_is_refused(parts, monkeypatch):
    processor, model, _, pixels, grid = parts
    behind = "{% for m in messages %}{{ m.content[1].text }}<|image_pad|>{% endfor %}"
    monkeypatch.setattr(processor, "chat_template", behind)
    with pytest.raises(ValueError, match="expected the image before the question"):
        pack_questions(processor, model, pixels, grid, ROWS)
