"""Which demonstrations are good enough to train on, and the reason where one is not."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

from roboalign_policy.core.contract.contract import Contract
from roboalign_policy.core.fitness.episode_fitness import MAX_GAP_S, frames_missing
from roboalign_policy.core.recording.episodes import OUTCOMES
from roboalign_training.episodes.episodes import Span
from roboalign_training.episodes.framed import Frames
from roboalign_training.episodes.motion import notes, too_fast, unsafe
from roboalign_training.episodes.pauses import Pauses
from roboalign_training.images.image_storage import AUTO, ImageStorage

LEAVE_OUT, KEEP = "leave-out", "keep"
JUMPS = (LEAVE_OUT, KEEP)


@dataclass(frozen=True)
class Recipe:
    """Rules by which episodes are taken into a data set.

    Attributes:
        outcomes: Outcomes that are taken.
        min_frames: Least number of frames; None for half a chunk, so that what is trained on is
            not mostly padding.
        max_gap_s: s; longest time between two frames, pauses not counted. Shorter gaps stay in
            the data, and no chunk that crosses one is trained on.
        instruction: What was asked for, for all bags; None takes it from each.
        namespace: Namespace of the recorded topics; None finds it.
        jumps: What becomes of an episode with actions or states that change faster than the
            contract's `max_rate`: leave-out, or keep with a note.
        images: How images are stored: auto, png, jpeg or video; see `image_storage`.
        quality: Of a JPEG or video; None for the usual one.
    """

    outcomes: tuple[str, ...] = ("success", "unknown")
    min_frames: int | None = None
    max_gap_s: float = MAX_GAP_S
    instruction: str | None = None
    namespace: str | None = None
    jumps: str = LEAVE_OUT
    images: str = AUTO
    quality: int | None = None

    def __post_init__(self) -> None:
        for outcome in self.outcomes:
            if outcome not in OUTCOMES:
                raise ValueError(
                    f"outcomes: found {outcome!r}, expected some of {', '.join(OUTCOMES)}"
                )
        if self.min_frames is not None and self.min_frames < 1:
            raise ValueError(f"min_frames: found {self.min_frames}, expected at least 1")
        if not 0 < self.max_gap_s < math.inf:
            raise ValueError(
                f"max_gap_s: found {self.max_gap_s}, expected seconds, more than 0 and finite"
            )
        if self.jumps not in JUMPS:
            raise ValueError(f"jumps: found {self.jumps!r}, expected one of {', '.join(JUMPS)}")
        storage = ImageStorage.checked(self.images, self.quality)
        object.__setattr__(self, "quality", storage.quality)

    @classmethod
    def from_dict(cls, data: dict) -> Recipe:
        """Reads what `to_dict` gave, also that of older versions with fewer rules.

        Raises:
            ValueError: When it is not that.
        """
        try:
            return cls(**{**data, "outcomes": tuple(data["outcomes"])})
        except (KeyError, TypeError) as error:
            raise ValueError(f"recipe: found {data!r}: {error}") from error

    def to_dict(self) -> dict:
        """As plain data for JSON."""
        return {**asdict(self), "outcomes": list(self.outcomes)}


def span_fault(span: Span, recipe: Recipe) -> str | None:
    """Why a demonstration is not wanted, as far as its marks tell; None if it is."""
    if span.outcome not in recipe.outcomes:
        return f"outcome {span.outcome}"
    return span.fault


def frames_fault(
    frames: Frames, contract: Contract, recipe: Recipe, pauses: Pauses = ()
) -> str | None:
    """Why a demonstration's frames are not fit for training; None if they are.

    Args:
        frames: The frames.
        contract: The robot.
        recipe: The rules.
        pauses: Of the demonstration; what was left out in them is no gap.
    """
    missing = frames_missing(
        frames.stamps_ns,
        frames.indices,
        contract,
        {**frames.trimmed, **frames.dropped},
        least=recipe.min_frames,
        max_gap_s=recipe.max_gap_s,
        pauses=pauses,
    )
    if missing:
        return missing
    found = unsafe(frames, contract)
    if recipe.jumps == LEAVE_OUT:
        found += too_fast(frames, contract)
    return f"unsafe: {'; '.join(found)}" if found else None


def frames_notes(frames: Frames, contract: Contract, recipe: Recipe) -> list[str]:
    """What is worth knowing of fit frames: what a policy that did the same would be stopped for.

    Arguments are those of `frames_fault`.
    """
    if not len(frames):
        return []
    kept = too_fast(frames, contract) if recipe.jumps == KEEP else []
    return [*kept, *frames.notes, *notes(frames, contract)]
