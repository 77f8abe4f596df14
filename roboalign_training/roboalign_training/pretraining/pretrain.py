"""Pretrain roboalign-tiny with language only on rendered scenes: `roboalign pretrain-tiny`.

Language-only: captions, grounding and spatial questions in robot coordinates (``grounding.py``),
and what is next in moments of tasks (``moment_questions.py``); no action, no trajectory. Scenes of
training, and held-out scenes that the card reports, have disjoint seeds.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from transformers import Trainer, TrainingArguments
from transformers.trainer_utils import get_last_checkpoint

from roboalign_policy.models.loading import load_mllm
from roboalign_policy.models.tiny import PACKAGED, TinySize, make_tiny_model, make_tiny_processor
from roboalign_policy.sim.task_moment import random_moment
from roboalign_training.data.index import write_json
from roboalign_training.pretraining.config import CHECKPOINTS, LOG, MODEL, RUN, PretrainConfig
from roboalign_training.pretraining.grounding import make_question
from roboalign_training.pretraining.moment_questions import moment_questions
from roboalign_training.pretraining.muon import MuonAdamW
from roboalign_training.pretraining.packing import IGNORE, pack_questions
from roboalign_training.pretraining.pretrain_card import evaluate_and_write_card
from roboalign_training.pretraining.scene_cache import SceneCache, shrunk

TRAIN_SEED, HELD_OUT_SEED = 10_000_000, 90_000_000
MOMENT_SEED, MOMENTS_A_SEED = 1_000_000_000, 2_000_000
"""Seeds of moments: those of mixtures lie below the first."""
QUESTIONS_DRAWN, OTHERS = 24, 4


class SceneQuestions(torch.utils.data.Dataset):
    """Index to (image, questions, room): every visit to a scene draws new questions.

    Some indices are moments of tasks instead, each rendered when it is asked for and never again.
    The same index gives the same ones.
    """

    def __init__(self, cache: SceneCache, config: PretrainConfig, image_px: int):
        self.cache, self.seed, self.image_px = cache, config.seed, image_px
        short = min(config.short_steps, config.steps) * config.batch
        length = config.steps * config.batch
        self.order = _visits(np.random.default_rng(config.seed), len(cache), length)
        drawn = np.random.default_rng((config.seed, 1)).random(length) < config.moments
        self.is_moment = drawn & (np.arange(length) >= short)
        self.room = np.where(np.arange(length) < short, config.short_row_tokens, config.row_tokens)

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, index: int) -> dict:
        rng = np.random.default_rng((self.seed, index))
        if self.is_moment[index]:
            return self._moment(MOMENT_SEED + self.seed * MOMENTS_A_SEED + index, index, rng)
        scene = int(self.order[index])
        facts = self.cache.facts(scene)
        drawn = (make_question(facts, rng) for _ in range(QUESTIONS_DRAWN))
        return {
            "image": self.cache.images[scene],
            "questions": [(q.question, q.answer) for q in drawn],
            "room": int(self.room[index]),
        }

    def _moment(self, seed: int, index: int, rng: np.random.Generator) -> dict:
        moment = random_moment(seed, others=OTHERS)
        return {
            "image": shrunk(moment.scene.image, self.image_px),
            "questions": [(q.question, q.answer) for q in moment_questions(moment, rng)],
            "room": int(self.room[index]),
        }


def _visits(rng: np.random.Generator, scenes: int, n: int) -> np.ndarray:
    """``n`` visits: every scene once in random order, then again."""
    rounds = -(-n // scenes)
    return np.concatenate([rng.permutation(scenes) for _ in range(rounds)])[:n]


class InOrderTrainer(Trainer):
    """Reads the data set in order: it is shuffled, and resuming goes on where it stopped."""

    def _get_train_sampler(self, *args, **kwargs):
        return torch.utils.data.SequentialSampler(self.train_dataset)


def begin_with(model: torch.nn.Module, base: str) -> None:
    """Gives a new model the weights of another one of the same size.

    Raises:
        ModelError: there is no model, or weights are missing.
        ValueError: it is of another size or vocabulary.
    """
    try:
        model.load_state_dict(load_mllm(base).model.state_dict())
    except RuntimeError as error:
        raise ValueError(f"base: found {base}, expected a model of this size: {error}") from error


def count_questions(dataset: SceneQuestions, collate, batch: int, batches: int = 64) -> int:
    """Questions in all rows, from the mean of evenly spread batches of each row length."""
    total = 0.0
    for room in np.unique(dataset.room):
        starts = np.flatnonzero(dataset.room == room)[::batch]
        chosen = starts[np.linspace(0, len(starts) - 1, min(batches, len(starts))).astype(int)]
        answers = 0
        for at in chosen.tolist():
            rows = [dataset[i] for i in range(at, min(at + batch, len(dataset)))]
            labels = collate(rows)["labels"]
            answers += int(((labels[:, 1:] != IGNORE) & (labels[:, :-1] == IGNORE)).sum())
        total += answers / len(chosen) * len(starts)
    return round(total)


def pretrain(config: PretrainConfig) -> Path:
    """Render, train, evaluate on held-out scenes, write the model and its card.

    Returns:
        The folder of the model.
    """
    if config.threads:
        torch.set_num_threads(config.threads)
    out = Path(config.out)
    size = TinySize(**config.size)
    write_json(out / RUN, asdict(config))
    processor = make_tiny_processor(size)
    model = make_tiny_model(processor, size, config.seed)
    if config.base:
        begin_with(model, config.base)
    cache = SceneCache(
        out / "scenes", TRAIN_SEED, config.scenes, size.image_px, config.render_workers
    )
    dataset = SceneQuestions(cache, config, size.image_px)

    def collate(rows: list[dict]) -> dict[str, torch.Tensor]:
        vision = processor.image_processor([row["image"] for row in rows], return_tensors="pt")
        grid = vision["image_grid_thw"]
        questions = [row["questions"] for row in rows]
        return pack_questions(
            processor, model, vision["pixel_values"], grid, questions, rows[0]["room"]
        )

    arguments = TrainingArguments(
        output_dir=str(out / CHECKPOINTS),
        max_steps=config.steps,
        per_device_train_batch_size=config.batch,
        lr_scheduler_type="cosine",
        warmup_steps=min(100, config.steps // 10),
        max_grad_norm=1.0,
        logging_steps=25,
        save_steps=config.save_every,
        save_total_limit=2,
        seed=config.seed,
        report_to=[],
        remove_unused_columns=False,
        dataloader_pin_memory=False,
        use_cpu=not torch.cuda.is_available(),
    )
    optimizer = MuonAdamW(
        model,
        muon_learning_rate=config.muon_learning_rate,
        learning_rate=config.learning_rate,
        weight_decay=config.weight_decay,
    )
    trainer = InOrderTrainer(
        model=model,
        args=arguments,
        train_dataset=dataset,
        data_collator=collate,
        optimizers=(optimizer, None),
    )
    trainer.train(resume_from_checkpoint=get_last_checkpoint(arguments.output_dir))
    (out / LOG).write_text(json.dumps(trainer.state.log_history))
    target = PACKAGED if config.install else out / MODEL
    fresh = target.with_name(f".{target.name}.new")
    model.save_pretrained(fresh, safe_serialization=True)
    processor.save_pretrained(fresh)
    held_out = SceneCache(
        out / "held_out",
        HELD_OUT_SEED,
        config.held_out_scenes,
        size.image_px,
        config.render_workers,
    )
    samples = count_questions(dataset, collate, config.batch)
    evaluate_and_write_card(model, processor, held_out, fresh, config, samples)
    shutil.rmtree(target, ignore_errors=True)
    fresh.rename(target)
    return target
