"""Parts to an episode's file: rows in order as soon as their images are there, in row groups."""

from __future__ import annotations

import os
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import numpy as np
import pyarrow as pa

from roboalign_policy.core.contract.contract import Contract
from roboalign_training.conversion.parts import TEMPORARY, PartFile
from roboalign_training.data.content import ContentHash
from roboalign_training.data.table import EpisodeFile, episode_writer, frame_columns
from roboalign_training.episodes.episodes import EpisodeFrames
from roboalign_training.episodes.frame_plan import FramePlan
from roboalign_training.images.image_storage import VIDEO, ImageStorage, video_rate

GROUP_BYTES = 16 << 20
"""About as many bytes of images are one row group."""
GROUP_ROWS = 1024


@dataclass
class _Images:
    """The encoded images of one stream that came so far, in order of their places."""

    places: list[np.ndarray] = field(default_factory=list)
    where: list[np.ndarray] = field(default_factory=list)  # (N, 3): part, offset, length
    digests: list[np.ndarray] = field(default_factory=list)
    passed: int = 0

    def join(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Places (N,), where each is (N, 3), digests (N, 32)."""
        for column in (self.places, self.where, self.digests):
            if len(column) > 1:
                column[:] = [np.concatenate(column)]
        return self.places[0], self.where[0], self.digests[0]


class EpisodeAssembly:
    """Writes one episode from the parts of its images, which come in order."""

    def __init__(
        self,
        path: Path,
        frames: EpisodeFrames,
        plan: FramePlan,
        contract: Contract,
        storage: ImageStorage,
        video_names: dict[str, str],
    ) -> None:
        """Of an episode whose file is to be `path`.

        Args:
            path: The Parquet file; it appears when all is written.
            frames: What the episode is, and its numbers; no images.
            plan: Which image each frame shows.
            contract: The robot.
            storage: How images are stored.
            video_names: Image stream key -> the video's file as the table names it.
        """
        self._path, self._frames, self._plan, self._contract = path, frames, plan, contract
        self._storage, self._names = storage, video_names
        self._keys = [stream.key for stream in contract.images]
        self._images = {key: _Images() for key in self._keys}
        # Frames may show an older image than the frame before, after stamps out of order.
        self._upto = {key: np.maximum.accumulate(plan.pictures[key]) for key in self._keys}
        self._limits = dict.fromkeys(self._keys, -1)
        self._parts: list[PartFile] = []
        self._videos: dict[str, list[tuple[PartFile, list[int]]]] = {key: [] for key in self._keys}
        self._row = 0
        self._stack = ExitStack()
        self._file: EpisodeFile | None = None
        self._sources: dict[str, tuple[int, IO[bytes]]] = {}
        widths = {s.key: len(s.fields) for s in contract.states}
        widths["action"] = len(contract.action.dims)
        self._hash = ContentHash(
            frames.instruction, frames.outcome, widths, self._keys, storage.lossy
        )

    def __enter__(self) -> EpisodeAssembly:
        self._file = self._stack.enter_context(
            episode_writer(self._path, self._contract, self._storage.choice)
        )
        return self

    def __exit__(self, *error: object) -> None:
        for _, stream in self._sources.values():
            stream.close()
        self._stack.__exit__(*error)

    def add(self, part: PartFile, limits: dict[str, int]) -> None:
        """Takes the next part; up to `limits`, the greatest place by stream, all images came."""
        number = len(self._parts)
        self._parts.append(part)
        for key in self._keys:
            rows = part.arrays.get(f"{key}/rows")
            if rows is not None and len(rows):
                found = self._images[key]
                found.places.append(rows[:, 0])
                where = np.column_stack([np.full(len(rows), number), rows[:, 1:3]])
                found.where.append(where)
                found.digests.append(part.arrays[f"{key}/digests"])
                found.passed += int(rows[:, 3].sum())
            if key in part.facts["videos"]:
                self._videos[key].append((part, part.facts["videos"][key]))
        self._limits = limits
        self._write(final=False)

    def finish(self, entry: dict) -> dict:
        """Writes what is left; gives the entry with what is known now, which the footer has too.

        Returns:
            The entry with `content_sha256`, and with videos `videos`: key -> file here.
        """
        self._write(final=True)
        if self._row != len(self._plan):
            raise AssertionError(f"{self._row} of {len(self._plan)} frames were written")
        entry = {**entry, "content_sha256": self._hash.hexdigest()}
        self._file.finish(entry)
        return entry

    def counts(self) -> dict[str, int]:
        """How many images came, and how many of them are the camera's own bytes."""
        decoded = sum(len(rows) for f in self._images.values() for rows in f.places)
        passed = sum(found.passed for found in self._images.values())
        return {"decoded": decoded, "passed_through": passed, "encoded": decoded - passed}

    def join_videos(self, targets: dict[str, Path]) -> None:
        """Makes the videos of the episode: image stream key -> file to write."""
        from roboalign_training.images.video_joining import join_videos

        for key, target in targets.items():
            with tempfile.TemporaryDirectory(TEMPORARY, ".join-", target.parent) as folder:
                pieces = []
                for number, (part, (at, size, count)) in enumerate(self._videos[key]):
                    piece = Path(folder, f"{number:06d}.mp4")
                    with part.path.open("rb") as source, piece.open("wb") as sink:
                        source.seek(at)
                        left = size
                        while left:
                            block = source.read(min(1 << 20, left))
                            sink.write(block)
                            left -= len(block)
                    pieces.append((piece, count))
                whole = Path(folder, "whole.mp4")
                join_videos(pieces, video_rate(self._contract), whole)
                os.replace(whole, target)

    def _write(self, *, final: bool) -> None:
        """Writes the row groups that are complete."""
        total = len(self._plan)
        ready = total if final else self._ready()
        if self._row >= ready:
            return
        tables = {key: self._images[key].join() for key in self._keys}
        at = {
            key: np.searchsorted(places, self._plan.pictures[key][self._row : ready])
            for key, (places, _, _) in tables.items()
        }
        sizes = np.zeros(ready - self._row, np.int64)
        for key, (_, where, _) in tables.items():
            sizes += where[at[key], 2]
        base = self._row
        while self._row < ready:
            begin = self._row - base
            held = np.cumsum(sizes[begin : begin + GROUP_ROWS])
            count = min(int(np.searchsorted(held, GROUP_BYTES)) + 1, len(held))
            whole = count == GROUP_ROWS or held[count - 1] >= GROUP_BYTES
            if not whole and not final:
                return
            self._write_group(
                slice(self._row, self._row + count),
                {key: rows[begin : begin + count] for key, rows in at.items()},
                tables,
            )
            self._row += count

    def _ready(self) -> int:
        """Row up to which all images came."""
        return min(
            (
                int(np.searchsorted(self._upto[key], self._limits[key], side="right"))
                for key in self._keys
            ),
            default=0,
        )

    def _write_group(self, rows: slice, at: dict[str, np.ndarray], tables: dict) -> None:
        columns = frame_columns(self._frames, rows, self._contract)
        digests = {}
        for key, (_, where, found) in tables.items():
            chosen = at[key]
            digests[key] = found[chosen]
            if self._storage.choice == VIDEO:
                count = len(chosen)
                columns[key] = pa.StructArray.from_arrays(
                    [pa.array([self._names[key]] * count), pa.array(chosen.astype(np.int32))],
                    ["path", "frame"],
                )
                continue
            encoded = pa.array([self._bytes(key, *where[n]) for n in chosen], pa.binary())
            columns[key] = pa.StructArray.from_arrays(
                [encoded, pa.nulls(len(chosen), pa.string())], ["bytes", "path"]
            )
        self._file.write(columns)
        frames, states = self._frames, [stream.key for stream in self._contract.states]
        for number, row in enumerate(range(rows.start, rows.stop)):
            self._hash.add(
                int(frames.indices[row]),
                int(frames.stamps_ns[row]),
                {key: frames.values[key][row] for key in states},
                {key: bytes(found[number]) for key, found in digests.items()},
                frames.actions[row],
            )

    def _bytes(self, key: str, part: int, at: int, length: int) -> bytes:
        """An image's bytes; the file of the last one stays open."""
        number, stream = self._sources.get(key, (-1, None))
        if number != part:
            if stream is not None:
                stream.close()
            stream = self._parts[part].path.open("rb", buffering=0)
            self._sources[key] = (int(part), stream)
        return os.pread(stream.fileno(), int(length), int(at))
