"""The SFT mixture: actions without a thought, actions after a thought, and grounding questions.

Grounding is not decoration: a small model trained on actions alone never learned to look at the
image. Everything is a function of (seed, index), so a run stopped at any step resumes with the
same samples.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from PIL import Image

from roboalign_policy.core.policy.prompt import (
    build_prompt,
    format_answer,
    state_text,
    user_content,
)
from roboalign_training.bags.errors import DatasetError
from roboalign_training.learning.demonstrations import Demonstrations
from roboalign_training.learning.reasoning import grasp_place, reasoning_text
from roboalign_training.learning.rewards import Wanted
from roboalign_training.learning.weights import KINDS, Weights

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = ["KINDS", "Mixture", "QuestionSource", "Sample", "Weights"]


@dataclass(frozen=True)
class Sample:
    """One thing to learn.

    Attributes:
        images: an (H, W, 3) uint8 rgb or more.
        prompt: chat messages, with a place for each image.
        completion: text it is to write.
        kind: a field of `Weights`.
    """

    images: tuple[np.ndarray, ...]
    prompt: list[dict]
    completion: str
    kind: str


class QuestionSource(Protocol):
    """Questions about images, by index."""

    def __len__(self) -> int:
        """How many there are."""

    def __getitem__(self, index: int) -> tuple[np.ndarray, str, str]:
        """Image ((H, W, 3) uint8 rgb), question and answer."""


class Mixture:
    """A fixed, seeded sequence of samples; each kind uses all it has before it repeats any."""

    def __init__(
        self,
        data: Demonstrations,
        frames: np.ndarray,
        size: int,
        *,
        weights: Weights,
        seed: int,
        questions: QuestionSource | None = None,
    ) -> None:
        """Draws the plan; the samples themselves are made when asked for.

        Args:
            data: the demonstrations.
            frames: (F,) int, the frames of `data` to train on.
            size: number of samples.
            weights: shares of the kinds.
            seed: of the draw.
            questions: source of `scene` samples.

        Raises:
            DatasetError: when a kind with a weight above zero has nothing to draw from.
        """
        self.data, self.questions = data, questions
        with_grasp = grasp_frames(data, frames) if weights.grasp else frames
        scenes = np.arange(0 if questions is None else len(questions))
        pools = {"act": frames, "think": frames, "scene": scenes, "grasp": with_grasp}
        for kind, share in zip(KINDS, weights.shares(), strict=True):
            if share and not len(pools[kind]):
                raise DatasetError(
                    data.folder,
                    f"weight_{kind}: found {share:g}, expected 0: there is nothing of this kind "
                    "to draw from",
                )
        rng = np.random.default_rng(seed)
        shares = np.array(weights.shares())
        self.kinds = rng.choice(len(KINDS), size=size, p=shares / shares.sum())
        self.items = np.zeros(size, dtype=np.int64)
        for number, kind in enumerate(KINDS):
            places = np.flatnonzero(self.kinds == number)
            if places.size:
                rounds = -(-places.size // len(pools[kind]))
                order = np.concatenate([rng.permutation(pools[kind]) for _ in range(rounds)])
                self.items[places] = order[: places.size]

    def __len__(self) -> int:
        return len(self.kinds)

    def __getitem__(self, index: int) -> Sample:
        kind, item = KINDS[self.kinds[index]], int(self.items[index])
        if kind == "scene":
            image, question, answer = self.questions[item]
            return Sample((image,), request(question), answer, kind)
        images, cameras = self.data.images(item), self.data.cameras
        if kind == "grasp":
            question = f"where does the arm grasp to {self.data.instruction(item)} ?"
            return Sample(images, request(question, cameras), grasp_at(self.data, item), kind)
        prompt = request(action_prompt(self.data, item, think=kind == "think"), cameras)
        return Sample(images, prompt, action_answer(self.data, item, think=kind == "think"), kind)

    def counts(self) -> dict[str, int]:
        """How many samples of each kind there are."""
        return {kind: int((self.kinds == number).sum()) for number, kind in enumerate(KINDS)}


def validation_mixture(
    data: Demonstrations, frames: np.ndarray, *, weights: Weights, seed: int
) -> Mixture | None:
    """Actions of held-out frames, with and without a thought; of either kind no frame twice.

    None where no actions are learnt: no question about a scene is held out.

    Raises:
        DatasetError: there are no such frames.
    """
    if not len(frames):
        raise DatasetError(
            data.folder,
            "held_out_episodes: found no frame with a whole chunk of actions in those held out, "
            "expected some: hold out more, or record longer episodes",
        )
    if not (weights.act or weights.think):
        return None
    actions = Weights(weights.act, weights.think, 0.0, 0.0)
    return Mixture(data, frames, len(frames), weights=actions, seed=seed)


def grasp_at(data: Demonstrations, frame: int) -> str | None:
    """Where the arm next closes its gripper after a frame; None where it does not."""
    states, at = data.episode_states(frame)
    return grasp_place(data.contract, states, at)


def grasp_frames(data: Demonstrations, frames: np.ndarray) -> np.ndarray:
    """(G,) int, those of the frames after which the arm closes its gripper somewhere."""
    return np.array([i for i in frames if grasp_at(data, int(i)) is not None], dtype=int)


def request(words: str, cameras: Sequence[str] = ("image",)) -> list[dict]:
    """Chat messages that ask: a place for the picture of each camera, then the words."""
    return [{"role": "user", "content": user_content(words, cameras)}]


def action_prompt(data: Demonstrations, frame: int, think: bool) -> str:
    """The prompt that asks for the action of a frame, as the policy asks when it drives."""
    state = state_text(data.contract, data.values(frame))
    return build_prompt(data.instruction(frame), state, think=think)


def action_answer(data: Demonstrations, frame: int, think: bool) -> str:
    """The demonstrated answer: FAST tokens of the frame's chunk, after a thought when `think`."""
    reasoning = None
    if think:
        states, at = data.episode_states(frame)
        reasoning = reasoning_text(data.contract, states, at)
    return format_answer(data.tokens(frame), reasoning)


def wanted_of(data: Demonstrations, frame: int, think: bool) -> Wanted:
    """What an answer to `action_prompt` is measured against: the rest of its demonstration."""
    thought = None
    if think and data.contract.prompt_state:
        thought = reasoning_text(data.contract, *data.episode_states(frame))
    return Wanted(data.tokens(frame), data.chunk(frame), data.ranges, think, thought)


def split_episodes(
    data: Demonstrations, held_out: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Frames to train on and frames of `held_out` whole episodes, the development set.

    Which episodes are held out follows from their ids and the seed alone, so SFT and GRPO hold
    out the same ones.

    Returns:
        (F,) and (G,) int64 frame numbers, ascending; frames without a whole chunk are in neither.

    Raises:
        DatasetError: when fewer episodes than `held_out` + 1 are there.
    """
    if not 0 <= held_out < len(data.episodes):
        expected = f"expected 0 .. {len(data.episodes) - 1}, less than there are"
        raise DatasetError(data.folder, f"held_out_episodes: found {held_out}, {expected}")
    ranked = sorted(
        data.episodes, key=lambda e: hashlib.sha256(f"{seed}:{e.id}".encode()).digest()
    )
    out = {episode.id for episode in ranked[:held_out]}
    is_held = np.repeat(
        [e.id in out for e in data.episodes], [e.stop - e.start for e in data.episodes]
    )
    return np.flatnonzero(~is_held & data.usable), np.flatnonzero(is_held & data.usable)


def as_dataset(size: int, make: Callable[[int], dict]) -> Dataset:
    """A `datasets.Dataset` whose rows are made when read: what TRL's trainers insist on."""
    from datasets import Dataset

    def rows(batch: dict[str, Sequence[int]]) -> dict[str, list]:
        made = [make(int(index)) for index in batch["index"]]
        return {name: [row[name] for row in made] for name in made[0]}

    return Dataset.from_dict({"index": list(range(size))}).with_transform(rows)


def sft_dataset(mixture: Mixture) -> Dataset:
    """Rows of a mixture, see `row_of`."""
    return as_dataset(len(mixture), lambda index: row_of(mixture[index]))


def row_of(sample: Sample) -> dict:
    """Columns `images`, `prompt` (chat messages) and `completion`, as `PromptCollator` reads."""
    return {"images": sample.images, "prompt": sample.prompt, "completion": sample.completion}


def grpo_dataset(data: Demonstrations, frames: np.ndarray, think: bool) -> Dataset:
    """Columns `prompt` (chat messages), `images` (PIL) and `wanted`, which the rewards read."""

    def row(index: int) -> dict:
        frame = int(frames[index])
        return {
            "prompt": request(action_prompt(data, frame, think), data.cameras),
            "images": [Image.fromarray(image) for image in data.images(frame)],
            "wanted": wanted_of(data, frame, think),
        }

    return as_dataset(len(frames), row)
