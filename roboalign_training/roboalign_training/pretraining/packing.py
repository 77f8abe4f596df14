"""Several questions about one image in one row: each sees the image and itself, no other one.

The image, most of the tokens and all of the vision tower's work, is computed once for all of them;
the result equals asking them one by one (a test compares the logits).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

IGNORE = -100


def pack_questions(
    processor,
    model,
    pixel_values: torch.Tensor,
    grid_thw: torch.Tensor,
    rows: Sequence[Sequence[tuple[str, str]]],
    max_tokens: int | None = None,
) -> dict[str, torch.Tensor]:
    """Model inputs for B images of equal size with several (question, answer) pairs each.

    Args:
        processor: ``ImageTextProcessor`` of the model, whose chat template puts the image first.
        model: gives the multimodal positions of the image.
        pixel_values: (B * patches, features) float32.
        grid_thw: (B, 3) int64, all rows equal.
        rows: B lists of (question, answer).
        max_tokens: longest row; questions that no longer fit are left out. Rows of about equal
            length waste no time on padding. None: every question stays.

    Returns:
        ``input_ids`` and ``labels`` (B, L), ``attention_mask`` (B, 1, L, L) bool, ``position_ids``
        (4, B, L), ``mm_token_type_ids`` (B, L), and the two image tensors. Labels stand on answers
        and their end alone.

    Raises:
        ValueError: the images differ in size.
    """
    if (grid_thw != grid_thw[:1]).any():
        raise ValueError(f"grid_thw: found {grid_thw.tolist()}, expected equal rows")
    tokenizer = processor.tokenizer
    n_image = int(grid_thw[0].prod()) // processor.image_processor.merge_size**2
    head_text, end_of_prompt = _template_parts(processor)
    head = tokenizer(head_text.replace(processor.image_token, processor.image_token * n_image))[
        "input_ids"
    ]
    head_ids = torch.tensor([head])
    head_types = (head_ids == processor.image_token_id).long()
    head_positions, _ = model.model.get_rope_index(
        input_ids=head_ids,
        mm_token_type_ids=head_types,
        image_grid_thw=grid_thw[:1],
        attention_mask=torch.ones_like(head_ids),
    )
    first = int(head_positions.max()) + 1
    flat = [
        text
        for row in rows
        for question, answer in row
        for text in (question + end_of_prompt, answer)
    ]
    encoded = iter(tokenizer(flat)["input_ids"])
    segments = [
        [(next(encoded), [*next(encoded), tokenizer.eos_token_id]) for _ in row] for row in rows
    ]
    if max_tokens is not None:
        segments = [_fitting(row, max_tokens - len(head)) for row in segments]
    length = len(head) + max(sum(len(q) + len(a) for q, a in row) for row in segments)
    batch = len(rows)
    ids = torch.full((batch, length), tokenizer.pad_token_id)
    labels = torch.full((batch, length), IGNORE)
    segment_of = torch.full((batch, length), -1)
    offsets = torch.zeros((batch, length), dtype=torch.long)
    ids[:, : len(head)] = head_ids
    segment_of[:, : len(head)] = 0
    for b, row in enumerate(segments):
        at = len(head)
        for number, (question, answer) in enumerate(row, start=1):
            n_q, n = len(question), len(question) + len(answer)
            ids[b, at : at + n] = torch.tensor(question + answer)
            labels[b, at + n_q : at + n] = torch.tensor(answer)
            segment_of[b, at : at + n] = number
            offsets[b, at : at + n] = torch.arange(n)
            at += n
    positions = (first + offsets)[None].expand(4, batch, length).clone()
    positions[0, :, : len(head)] = torch.arange(len(head))
    positions[1:, :, : len(head)] = head_positions
    same = segment_of[:, :, None] == segment_of[:, None, :]
    to_head = (segment_of[:, None, :] == 0).expand(-1, length, -1)
    causal = torch.ones(length, length, dtype=torch.bool).tril()
    mask = (same | to_head) & causal
    return {
        "input_ids": ids,
        "labels": labels,
        "attention_mask": mask[:, None],
        "position_ids": positions,
        "mm_token_type_ids": (ids == processor.image_token_id).long(),
        "pixel_values": pixel_values,
        "image_grid_thw": grid_thw,
    }


def _fitting(
    row: list[tuple[list[int], list[int]]], room: int
) -> list[tuple[list[int], list[int]]]:
    """Questions of a row, in order, as long as they fit in ``room`` tokens."""
    kept = []
    for question, answer in row:
        room -= len(question) + len(answer)
        if room < 0:
            break
        kept.append((question, answer))
    return kept


def _template_parts(processor) -> tuple[str, str]:
    """The chat template around a question: the text before it, with the image, and after it."""
    mark = "QUESTION"
    message = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": mark}]}]
    text = processor.apply_chat_template(message, tokenize=False, add_generation_prompt=True)
    before, found, after = text.partition(mark)
    if not found or processor.image_token not in before:
        raise ValueError(f"chat template: found {text!r}, expected the image before the question")
    return before, after
