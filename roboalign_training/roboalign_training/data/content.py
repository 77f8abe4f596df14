"""The content hash of an episode: over everything a model can see of it, before any encoding.

It is made of one digest a frame, and these of one digest an image, so that several processes can
work on one episode. The bytes of files depend on the versions of Parquet and ISA-L; this does not.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from roboalign_training.episodes.episodes import EpisodeFrames

CONTENT_VERSION = "frames/2"
"""What entries made now say of their hash; those without a word have the hash of `whole_hash`."""
DIGEST_BYTES = 32


def image_digest(image: np.ndarray) -> bytes:
    """SHA-256 of an image, (H, W, 3) uint8, and its size."""
    digest = hashlib.sha256(np.array(image.shape, "<u4").tobytes())
    digest.update(np.ascontiguousarray(image))
    return digest.digest()


class ContentHash:
    """Takes in the frames of an episode one after the other."""

    def __init__(
        self,
        instruction: str,
        outcome: str,
        widths: Mapping[str, int],
        images: Sequence[str],
        lossy: dict | None = None,
    ) -> None:
        """Starts an episode.

        Args:
            instruction: What was asked for.
            outcome: As in `Span`.
            widths: State stream key -> D; of the action too, as `action`.
            images: Image stream keys.
            lossy: How images are stored where that changes them, else None.
        """
        self._states = sorted(key for key in widths if key != "action")
        self._images = sorted(images)
        head = [CONTENT_VERSION, instruction, outcome, sorted(widths.items()), self._images, lossy]
        self._digest = hashlib.sha256(json.dumps(head, sort_keys=True).encode())

    def add(
        self,
        index: int,
        stamp_ns: int,
        states: Mapping[str, np.ndarray],
        images: Mapping[str, bytes],
        action: np.ndarray,
    ) -> None:
        """Takes the next frame.

        Args:
            index: Its position on the grid of frame times.
            stamp_ns: Its time.
            states: State stream key -> (D,) float32.
            images: Image stream key -> `image_digest`.
            action: (A,) float32.
        """
        parts = [index.to_bytes(4, "little", signed=True), stamp_ns.to_bytes(8, "little")]
        parts += [np.asarray(states[key]).astype("<f4").tobytes() for key in self._states]
        parts += [images[key] for key in self._images]
        parts.append(np.asarray(action).astype("<f4").tobytes())
        self._digest.update(hashlib.sha256(b"".join(parts)).digest())

    def hexdigest(self) -> str:
        """The hash of what came so far, hex."""
        return self._digest.hexdigest()


def content_hash(
    frames: EpisodeFrames, lossy: dict | None = None, version: str | None = CONTENT_VERSION
) -> str:
    """The content hash of an episode, hex.

    Args:
        frames: The episode; its images, which have four dimensions, may come one at a time.
        lossy: As for `ContentHash`.
        version: `CONTENT_VERSION`, or None for the hash that older data sets have.

    Raises:
        ValueError: When the version is not known.
    """
    if version is None:
        return whole_hash(frames)
    if version != CONTENT_VERSION:
        raise ValueError(f"content_hash: found {version!r}, expected {CONTENT_VERSION!r}")
    shapes = {key: values.shape for key, values in frames.values.items()}
    images = {key: frames.values[key] for key in sorted(shapes) if len(shapes[key]) == 4}
    states = {key: frames.values[key] for key in shapes if key not in images}
    widths = {key: rows.shape[1] for key, rows in states.items()}
    widths["action"] = frames.actions.shape[1]
    digests = {key: list(map(image_digest, rows)) for key, rows in images.items()}
    found = ContentHash(frames.instruction, frames.outcome, widths, list(images), lossy)
    for row in range(len(frames.stamps_ns)):
        found.add(
            int(frames.indices[row]),
            int(frames.stamps_ns[row]),
            {key: rows[row] for key, rows in states.items()},
            {key: rows[row] for key, rows in digests.items()},
            frames.actions[row],
        )
    return found.hexdigest()


def whole_hash(frames: EpisodeFrames) -> str:
    """The content hash of data sets made before `CONTENT_VERSION`: stream after stream."""
    digest = hashlib.sha256()
    digest.update(json.dumps([frames.instruction, frames.outcome]).encode())
    for name, array in _columns(frames):
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        for row in array:  # images may come one at a time
            digest.update(np.ascontiguousarray(row))
    return digest.hexdigest()


def _columns(frames: EpisodeFrames) -> Iterator[tuple[str, Iterable]]:
    yield "index", frames.indices.astype("<i4")
    yield "stamp", frames.stamps_ns.astype("<i8")
    yield from ((key, frames.values[key]) for key in sorted(frames.values))
    yield "action", frames.actions.astype("<f4")
