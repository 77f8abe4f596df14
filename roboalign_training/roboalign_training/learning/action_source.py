"""What demonstrations teach: the action of a frame, with or without a thought, and the grasp."""

from __future__ import annotations

from typing import Any

import numpy as np

from roboalign_policy.core.policy.prompt import (
    build_prompt,
    build_question,
    format_answer,
    state_text,
)
from roboalign_training.learning.demonstrations import Demonstrations
from roboalign_training.learning.reasoning import grasp_place
from roboalign_training.learning.rewards import Wanted
from roboalign_training.learning.source import SourceInputs, TrainingSample, question


class _FrameSource:
    """One sample a frame of the demonstrations."""

    def __init__(self, data: Demonstrations, frames: np.ndarray) -> None:
        self.data, self.frames = data, frames
        self.origin: dict[str, Any] = {
            "dataset": data.hashes["dataset"], "frames": len(frames)
        }  # fmt: skip

    def __len__(self) -> int:
        return len(self.frames)

    def _sample(self, frame: int, prompt: str, completion: str) -> TrainingSample:
        episode = self.data.episode(frame)
        origin = f"{self.data.folder}: frame {frame - episode.start} of episode {episode.id}"
        images, cameras = self.data.images(frame), self.data.cameras
        return question(images, prompt, completion, origin, cameras)


class ActionSource(_FrameSource):
    """Prompt, then action tokens; where `think`, after a thought."""

    def __init__(self, data: Demonstrations, frames: np.ndarray, think: bool) -> None:
        super().__init__(data, frames)
        self.think = think

    def __getitem__(self, index: int) -> TrainingSample:
        frame = int(self.frames[index])
        prompt = action_prompt(self.data, frame, self.think)
        return self._sample(frame, prompt, action_answer(self.data, frame, self.think))


class GraspSource(_FrameSource):
    """Where the demonstration at hand next closes its gripper."""

    def __getitem__(self, index: int) -> TrainingSample:
        frame = int(self.frames[index])
        prompt = f"where does the arm grasp to {self.data.instruction(frame)} ?"
        return self._sample(frame, prompt, grasp_at(self.data, frame))


class ThoughtSource(_FrameSource):
    """The thought alone, as the answer to a question in words."""

    def __getitem__(self, index: int) -> TrainingSample:
        frame, data = int(self.frames[index]), self.data
        state = state_text(data.contract, data.values(frame))
        thought = data.thought(frame)
        return self._sample(frame, build_question(data.instruction(frame), state), thought)


def without_thought(inputs: SourceInputs) -> ActionSource:
    """The source `act`."""
    return ActionSource(inputs.data, inputs.frames, think=False)


def with_thought(inputs: SourceInputs) -> ActionSource:
    """The source `think`."""
    return ActionSource(inputs.data, inputs.frames, think=True)


def thought_questions(inputs: SourceInputs) -> ThoughtSource:
    """The source `thought`."""
    return ThoughtSource(inputs.data, inputs.frames)


def grasp_questions(inputs: SourceInputs) -> GraspSource:
    """The source `grasp`: of the frames after which the arm grasps."""
    return GraspSource(inputs.data, grasp_frames(inputs.data, inputs.frames))


def action_prompt(data: Demonstrations, frame: int, think: bool) -> str:
    """The prompt that asks for the action of a frame, as the policy asks when it drives."""
    state = state_text(data.contract, data.values(frame))
    return build_prompt(data.instruction(frame), state, think=think)


def action_answer(data: Demonstrations, frame: int, think: bool) -> str:
    """The demonstrated answer: FAST tokens of the frame's chunk, after a thought when `think`."""
    thought = data.thought(frame) if think else None
    return format_answer(data.tokens(frame), thought)


def wanted_of(data: Demonstrations, frame: int, think: bool) -> Wanted:
    """What an answer to `action_prompt` is measured against: the rest of its demonstration."""
    thought = None
    if think and data.contract.prompt_state:
        thought = data.thought(frame)
    return Wanted(data.tokens(frame), data.chunk(frame), data.ranges, think, thought)


def grasp_at(data: Demonstrations, frame: int) -> str | None:
    """Where the arm next closes its gripper after a frame; None where it does not."""
    states, at = data.episode_states(frame)
    return grasp_place(data.contract, states, at)


def grasp_frames(data: Demonstrations, frames: np.ndarray) -> np.ndarray:
    """(G,) int, those of the frames after which the arm closes its gripper somewhere."""
    return np.array([i for i in frames if grasp_at(data, int(i)) is not None], dtype=int)
