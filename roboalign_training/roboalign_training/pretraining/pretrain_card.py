"""Held-out accuracy of roboalign-tiny by question type, and the model card that states it."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import torch
from rich.progress import track

from roboalign_policy.sim.task_moment import random_moment
from roboalign_training.pretraining import moment_questions
from roboalign_training.pretraining.grounding import KINDS, make_question
from roboalign_training.pretraining.scene_cache import shrunk
from roboalign_training.shared.statistics import wilson_interval

QUESTIONS_PER_KIND = 500
TOLERANCE_CM = 2
HELD_OUT_MOMENT_SEED = 2_000_000_000
"""Above those of moments that are learnt from."""


@torch.no_grad()
def answer_questions(
    model, processor, images, questions: list[str], batch: int = 64, max_new_tokens: int = 40
) -> list[str]:
    """Greedy answers to one question an image.

    Args:
        model: a Qwen-VL model.
        processor: its processor.
        images: (N, H, W, 3) uint8, or a sequence of such images.
        questions: N questions.
        batch: questions at a time.
        max_new_tokens: longest answer.
    """
    was_training, answers = model.training, []
    model.eval()
    for at in range(0, len(questions), batch):
        messages = [
            [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": q}]}]
            for q in questions[at : at + batch]
        ]
        texts = [
            processor.apply_chat_template(m, tokenize=False, add_generation_prompt=True)
            for m in messages
        ]
        inputs = processor(
            images=list(images[at : at + batch]), text=texts, padding=True, return_tensors="pt"
        ).to(model.device)
        out = model.generate(**inputs, max_new_tokens=max_new_tokens, do_sample=False)
        answers += processor.tokenizer.batch_decode(
            out[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True
        )
    model.train(was_training)
    return [a.strip() for a in answers]


def score_answers(kinds: list[str], expected: list[str], found: list[str]) -> dict:
    """Accuracy by kind with Wilson 95 % intervals.

    Coordinates also within ``TOLERANCE_CM`` and as mean error, cm, of the answers that hold any.
    """
    by_kind: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for kind, want, got in zip(kinds, expected, found, strict=True):
        by_kind[kind].append((want, got))
    report = {}
    for kind, pairs in by_kind.items():
        exact = sum(want == got for want, got in pairs)
        entry = {"exact": exact, "n": len(pairs), "interval": wilson_interval(exact, len(pairs))}
        if kind in ("where", "offset", "gripper", "next"):
            errors = [e for pair in pairs if (e := _distance_cm(*pair)) is not None]
            unreadable = sum(
                _distance_cm(w, g) is None for w, g in pairs if _coordinates(w) is not None
            )
            near = sum(e <= TOLERANCE_CM for e in errors)
            entry |= {
                "within_2_cm": near,
                "n_coordinates": len(errors) + unreadable,
                "mean_error_cm": float(np.mean(errors)) if errors else None,
            }
        report[kind] = entry
    return report


def evaluate_and_write_card(
    model, processor, held_out, folder: Path, config, samples: int
) -> dict:
    """Ask held-out scenes ``QUESTIONS_PER_KIND`` questions a kind; write the card to ``folder``.

    The card is ``card.json`` for programs and ``README.md`` for people.
    """
    images, questions, expected, kinds = [], [], [], []
    for k, kind in enumerate(KINDS):
        made, attempt = 0, 0
        while made < QUESTIONS_PER_KIND and attempt < 20 * QUESTIONS_PER_KIND:
            scene = attempt % len(held_out)
            q = make_question(
                held_out.facts(scene), np.random.default_rng((config.seed, 7, k, attempt)), kind
            )
            attempt += 1
            if q.kind == kind:
                made += 1
                images.append(held_out.images[scene])
                questions.append(q.question)
                expected.append(q.answer)
                kinds.append(kind)
    for k, kind in enumerate(moment_questions.KINDS):
        for number in range(QUESTIONS_PER_KIND):
            moment = random_moment(HELD_OUT_MOMENT_SEED + k * QUESTIONS_PER_KIND + number)
            q = moment_questions.moment_question(moment, kind)
            images.append(shrunk(moment.scene.image, held_out.images.shape[1]))
            questions.append(q.question)
            expected.append(q.answer)
            kinds.append(kind)
    found: list[str] = []
    for at in track(range(0, len(questions), 250), "held-out questions"):
        found += answer_questions(
            model, processor, images[at : at + 250], questions[at : at + 250]
        )
    report = score_answers(kinds, expected, found)
    card = {
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "parameters": sum(p.numel() for p in model.parameters()),
        "question_answer_samples": samples,
        "held_out_scenes": len(held_out),
        "config": asdict(config),
        "accuracy": report,
    }
    (folder / "card.json").write_text(json.dumps(card, indent=1))
    (folder / "README.md").write_text(card_text(card))
    return card


def card_text(card: dict) -> str:
    """The model card in Markdown."""
    rows = []
    for kind, entry in card["accuracy"].items():
        low, high = entry["interval"]
        near = ""
        if entry.get("n_coordinates"):
            near = f"{100 * entry['within_2_cm'] / entry['n_coordinates']:.1f}"
            if entry["mean_error_cm"] is not None:
                near += f" (mean error {entry['mean_error_cm']:.2f} cm)"
        exact = 100 * entry["exact"] / entry["n"]
        interval = f"{100 * low:.1f} - {100 * high:.1f}"
        rows.append(f"| {kind} | {entry['n']} | {exact:.1f} | {interval} | {near} |")
    config = card["config"]
    share = config.get("moments", 0.0)
    moments = f" and, in {share:.0%} of the pictures, moments of tasks" if share else ""
    begun = " from the weights of the model before" if config.get("base") else ""
    return f"""# roboalign-tiny

A Qwen3-VL of {card["parameters"] / 1e6:.2f} M parameters with its own word-level tokenizer,
pretrained by this project with language only on rendered scenes of the embedded tabletop:
captions, grounding and spatial questions in robot coordinates (integer centimetres, x forward,
y left, z up), and what is next in moments of tasks. No actions. It stands in for a pretrained MLLM
where no weights can be downloaded; it knows nothing but this table.

{card["question_answer_samples"]:,} question-answer samples over {config["scenes"]:,} rendered
scenes{moments}, {config["steps"]:,} steps{begun}.
Made {card["created"]} by `roboalign pretrain-tiny`;
`card.json` holds the whole configuration.

Held-out accuracy (greedy decoding, {card["held_out_scenes"]:,} scenes with seeds never trained
on; exact match, Wilson 95 %):

| question | n | exact % | interval | within {TOLERANCE_CM} cm % |
|---|---|---|---|---|
{chr(10).join(rows)}
"""


def _coordinates(text: str) -> np.ndarray | None:
    """The integers of a place, or None: `45 -12 2 : forward 3` gives [45, -12, 2].

    So does `grasp at 45 -12 2 : move forward 3`.
    """
    numbers = []
    for word in text.rpartition(" at ")[2].split():
        if not word.lstrip("-").isdigit():
            break
        numbers.append(int(word))
    return np.array(numbers, float) if len(numbers) >= 2 else None


def _distance_cm(want: str, got: str) -> float | None:
    a, b = _coordinates(want), _coordinates(got)
    if a is None or b is None or len(a) != len(b):
        return None
    return float(np.linalg.norm(a - b))
