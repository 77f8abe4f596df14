"""Random access to the frames of a data set: images decoded when asked for, chunks made then."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa

from roboalign_training.data.chunks import make_chunks, safe_action, unbroken
from roboalign_training.data.episode_tables import int_column, read_table, vector_column
from roboalign_training.data.index import DatasetIndex, load_index
from roboalign_training.images.image_storage import VIDEO, decode_image, video_rate
from roboalign_training.images.png import encode_png


@dataclass(frozen=True)
class Episode:
    """One episode and its frames start .. stop - 1 of the data set."""

    id: str
    start: int
    stop: int
    instruction: str
    outcome: str

    def __len__(self) -> int:
        return self.stop - self.start


class LazyImages(Mapping[str, np.ndarray]):
    """Image stream key -> (H, W, 3) uint8 RGB, decoded when it is looked at."""

    def __init__(self, dataset: FrameDataset, index: int) -> None:
        """Images of frame `index` of `dataset`."""
        self._dataset, self._index = dataset, index

    def __getitem__(self, key: str) -> np.ndarray:
        return self._dataset.image(self._index, key)

    def __iter__(self):
        return iter(self._dataset.image_keys)

    def __len__(self) -> int:
        return len(self._dataset.image_keys)


@dataclass(frozen=True)
class FrameSample:
    """One frame of a demonstration.

    Attributes:
        images: Image stream key -> (H, W, 3) uint8 RGB, decoded when looked at.
        states: State stream key -> (D,) float32, in the contract's units.
        instruction: What the demonstrator was asked to do.
        action_chunk: (T, A) float32 from this frame on, in the contract's units, not normalised.
        episode_id: The demonstration.
        frame_index: Position on the demonstration's grid of frame times.
        stamp_ns: Frame time.
    """

    images: Mapping[str, np.ndarray]
    states: dict[str, np.ndarray]
    instruction: str
    action_chunk: np.ndarray
    episode_id: str
    frame_index: int
    stamp_ns: int


@dataclass(frozen=True)
class Future:
    """The rest of a demonstration from a frame on, that frame first.

    Attributes:
        states: State stream key -> (K, D) float32.
        actions: (K, A) float32.
        stamps_ns: (K,) int64.
    """

    states: dict[str, np.ndarray]
    actions: np.ndarray
    stamps_ns: np.ndarray


class FrameDataset:
    """Frames of a data set in memory: arrays for states and actions, encoded bytes for images.

    Attributes:
        folder: The data set's folder.
        contract: The robot.
        index: What `dataset.json` says.
        episodes: By id, one after the other without gaps.
        states: State stream key -> (N, D) float32, in the contract's units.
        actions: (N, A) float32, in the contract's units.
        stamps_ns, frame_indices: (N,) int64.
        usable: (N,) bool; False where the chunk has a missing frame inside: no action sample.
    """

    def __init__(self, index: DatasetIndex, names: Sequence[str]) -> None:
        """Loads the episodes `names` of a data set; `load_frames` is the way to make one.

        Raises:
            DatasetError: When a file is missing, damaged, or not what the index says.
        """
        self.folder, self.contract, self.index = index.folder, index.contract, index
        self.image_keys = tuple(stream.key for stream in self.contract.images)
        tables = [read_table(index, index.episodes[name]) for name in names]
        starts = np.cumsum([0, *(len(table) for table in tables)]).tolist()
        self.episodes = tuple(
            Episode(name, starts[n], starts[n + 1], entry["instruction"], entry["outcome"])
            for n, name in enumerate(names)
            for entry in (index.episodes[name],)
        )
        self._starts = np.array(starts[:-1], np.int64)
        # Encoded bytes of each image, or where it is in a video.
        self._images = {
            key: [_fields(table[key].combine_chunks()) for table in tables]
            for key in self.image_keys
        }
        self._videos = None
        if index.recipe.get("images") == VIDEO:
            from roboalign_training.images.video import VideoReader

            self._videos = VideoReader(video_rate(self.contract))
        self.states = {
            s.key: vector_column(tables, s.key, len(s.fields)) for s in self.contract.states
        }
        self.actions = vector_column(tables, "action", len(self.contract.action.dims))
        self.stamps_ns = int_column(tables, "stamp_ns")
        self.frame_indices = int_column(tables, "frame_index")
        self.usable = np.concatenate(
            [
                unbroken(self.frame_indices[e.start : e.stop], self.contract.action.horizon)
                for e in self.episodes
            ]
            or [np.zeros(0, bool)]
        )

    def __len__(self) -> int:
        return len(self.stamps_ns)

    def __getitem__(self, index: int) -> FrameSample:
        """The frame `index`, 0 .. len - 1.

        Raises:
            IndexError: When there is no such frame.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"frame {index}: the data set has 0 .. {len(self) - 1}")
        episode = self.episode(index)
        return FrameSample(
            images=LazyImages(self, index),
            states={key: column[index] for key, column in self.states.items()},
            instruction=episode.instruction,
            action_chunk=self.chunk(index),
            episode_id=episode.id,
            frame_index=int(self.frame_indices[index]),
            stamp_ns=int(self.stamps_ns[index]),
        )

    def episode(self, index: int) -> Episode:
        """The episode of a frame."""
        return self.episodes[int(np.searchsorted(self._starts, index, side="right")) - 1]

    def encoded_image(self, index: int, key: str | None = None) -> bytes:
        """A frame's image as a JPEG or PNG; `key` None is the contract's first image stream.

        As it is stored; a frame of a video becomes a PNG.
        """
        if self._videos is not None:
            return encode_png(self.image(index, key))
        return self._cell(index, key, "bytes")

    def image(self, index: int, key: str | None = None) -> np.ndarray:
        """A frame's image, (H, W, 3) uint8 RGB; `key` None is the contract's first stream.

        Raises:
            DatasetError: When it is in a video that cannot be decoded.
        """
        if self._videos is not None:
            path = self.folder / self._cell(index, key, "path")
            return self._videos.image(path, self._cell(index, key, "frame"))
        return decode_image(self._cell(index, key, "bytes"))

    def _cell(self, index: int, key: str | None, name: str) -> bytes | str | int:
        """A part of what the table holds of an image."""
        number = int(np.searchsorted(self._starts, index, side="right")) - 1
        column = self._images[key or self.image_keys[0]][number]
        return column[name][index - int(self._starts[number])].as_py()

    def chunk(self, index: int) -> np.ndarray:
        """The action chunk (T, A) float32 that starts at a frame, padded at the episode's end.

        Where `usable` is False, a frame is missing inside and the steps after it come too early.
        """
        episode = self.episode(index)
        horizon = self.contract.action.horizon
        if index + horizon <= episode.stop:
            return self.actions[index : index + horizon].copy()
        actions = self.actions[index : episode.stop]
        padding = safe_action(self.contract, self.actions[episode.stop - 1])
        return make_chunks(actions, horizon, padding)[0]

    def chunks(self) -> np.ndarray:
        """The chunks of all frames, (N, T, A) float32, in the contract's units."""
        horizon, width = self.contract.action.horizon, self.actions.shape[1]
        parts = [np.zeros((0, horizon, width), np.float32)]
        for e in self.episodes:
            actions = self.actions[e.start : e.stop]
            parts.append(make_chunks(actions, horizon, safe_action(self.contract, actions[-1])))
        return np.concatenate(parts)

    def future(self, index: int) -> Future:
        """The rest of the frame's episode, the frame itself first."""
        rest = slice(index, self.episode(index).stop)
        states = {key: column[rest] for key, column in self.states.items()}
        return Future(states, self.actions[rest], self.stamps_ns[rest])

    @cached_property
    def hashes(self) -> dict[str, str]:
        """SHA-256 of contract, data set, and, once fitted, of statistics and tokenizer."""
        return self.index.hashes


def _fields(column: pa.StructArray) -> dict[str, pa.Array]:
    """The fields of a column by name: looking one up costs more than reading a row of it."""
    names = [column.type.field(index).name for index in range(column.type.num_fields)]
    return {name: column.field(name) for name in names}


def load_frames(
    folder: str | Path,
    *,
    split: str = "all",
    held_out: float = 0.1,
    seed: int = 0,
) -> FrameDataset:
    """Loads a data set.

    Args:
        folder: The data set's folder.
        split: "all", "train" or "held_out".
        held_out: Share of the episodes that "held_out" has and "train" has not, 0 .. 1.
        seed: Of the split. Which side an episode falls on depends on its id and the seed alone, so
            appending episodes moves none of those already there.

    Returns:
        The frames, episodes in order of their ids.

    Raises:
        DatasetError: When the folder holds no data set, or one that is damaged.
        ValueError: When `split` or `held_out` is none of the above.
    """
    if split not in ("all", "train", "held_out"):
        raise ValueError(f"split: found {split!r}, expected 'all', 'train' or 'held_out'")
    if not 0.0 <= held_out <= 1.0:
        raise ValueError(f"held_out: found {held_out}, expected 0 .. 1")
    index = load_index(Path(folder))
    names = sorted(index.episodes)
    if split != "all":
        out = [name for name in names if _draw(name, seed) < held_out]
        names = out if split == "held_out" else sorted(set(names) - set(out))
    return FrameDataset(index, names)


def _draw(name: str, seed: int) -> float:
    """A number in [0, 1) that depends on an episode's id and the seed alone."""
    digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


__all__ = ["Episode", "FrameDataset", "FrameSample", "Future", "load_frames"]
