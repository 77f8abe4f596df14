"""What a source of the SFT mixture is: samples by index, and where they come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from roboalign_policy.core.policy.prompt import user_content

if TYPE_CHECKING:
    from roboalign_training.learning.demonstrations import Demonstrations

USER, ASSISTANT = "user", "assistant"


@dataclass(frozen=True)
class TrainingSample:
    """One thing to learn.

    Attributes:
        images: each (H, W, 3) uint8 rgb, in the order in which the model sees them.
        messages: chat messages: what the user asks, with a place for each image, and what the
            model is to answer.
        origin: where it comes from, for people: episode and frame, file and line.

    Raises:
        ValueError: there is no image, there are not as many places as images, or the messages are
            not one of the user and one of the assistant.
    """

    images: tuple[np.ndarray, ...]
    messages: tuple[dict[str, Any], ...]
    origin: str

    def __post_init__(self) -> None:
        roles = tuple(message["role"] for message in self.messages)
        if roles != (USER, ASSISTANT):
            raise ValueError(
                f"{self.origin}: found messages of {roles}, expected one of {USER} and one of "
                f"{ASSISTANT}"
            )
        places = sum(part["type"] == "image" for part in self.messages[0]["content"])
        if not self.images or places != len(self.images):
            raise ValueError(
                f"{self.origin}: found {len(self.images)} images and {places} places for one, "
                "expected as many, and at least one"
            )

    @property
    def prompt(self) -> list[dict[str, Any]]:
        """The user's message."""
        return [self.messages[0]]

    @property
    def completion(self) -> str:
        """What the model is to write."""
        return self.messages[1]["content"]


def request(words: str, cameras: Sequence[str] = ("image",)) -> list[dict[str, Any]]:
    """Chat messages that ask: a place for the picture of each camera, then the words."""
    return [{"role": USER, "content": user_content(words, cameras)}]


def question(
    images: Sequence[np.ndarray],
    words: str,
    answer: str,
    origin: str,
    cameras: Sequence[str] = ("image",),
) -> TrainingSample:
    """A question about images, with its answer.

    Args:
        images: each (H, W, 3) uint8 rgb.
        words: of the question.
        answer: as it is to be written.
        origin: where it comes from.
        cameras: a name for each image.
    """
    answered = {"role": ASSISTANT, "content": answer}
    return TrainingSample(tuple(images), (*request(words, cameras), answered), origin)


class UnreadableSample(Exception):
    """A sample that cannot be made: its image is missing or broken, or its text is of no use.

    The mixture counts it, names it in the log and draws the next one of its source.

    Args:
        origin: where it comes from, as in `TrainingSample`.
        fault: what was found and what was expected.
    """

    def __init__(self, origin: str, fault: str) -> None:
        super().__init__(f"{origin}: {fault}")
        self.origin, self.fault = origin, fault


class Source(Protocol):
    """Samples by index; the same index always gives the same one.

    Attributes:
        origin: what its samples are made from, JSON values for `run.json`.
    """

    origin: Mapping[str, Any]

    def __len__(self) -> int:
        """How many samples there are; 0 where nothing can be made from what is there."""

    def __getitem__(self, index: int) -> TrainingSample:
        """Sample 0 .. len - 1.

        Raises:
            UnreadableSample: of data from outside that is broken.
        """


@dataclass(frozen=True)
class SourceInputs:
    """What every source may be made from.

    Attributes:
        data: the demonstrations.
        frames: (F,) int, those of its frames that may be used: held-out ones are not among them.
        seed: of the run.
    """

    data: Demonstrations
    frames: np.ndarray
    seed: int
