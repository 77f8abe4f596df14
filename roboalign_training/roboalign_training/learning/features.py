"""Hidden states of a frozen model on disk: computed once, and read by every step of training.

A folder holds `features.json`, which says of which model, data and prompts they are, and
`hidden-<number>.safetensors`, each with some hundred frames. A part is written whole or not at
all, so that an interrupted computation goes on where it was.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from roboalign_policy.core.hashing import sha256_json
from roboalign_training.learning.hidden_reader import HiddenReader, ReadFrame
from roboalign_training.learning.run_record import write_json
from roboalign_training.shared.differences import differences
from roboalign_training.shared.outputs import OutputError, only_writer, read_record
from roboalign_training.shared.write_errors import writing

INDEX, PART = "features.json", "hidden-{:05d}.safetensors"
FRAMES_A_PART = 256
SPARE = 0.05
"""Share of the free disk that stays free."""


class Features:
    """Hidden states of frames, read from disk when they are asked for.

    Attributes:
        frames: (F,) int64, of the demonstrations.
        thoughts: of each frame, what was read behind its prompt.
    """

    def __init__(self, folder: Path, parts: int) -> None:
        """Open the parts of a folder.

        Raises:
            OutputError: one is damaged.
        """
        self._files = [_opened(folder / PART.format(number)) for number in range(parts)]
        self.frames, self._places, self.thoughts = [], [], []
        for number, file in enumerate(self._files):
            lengths = file.get_tensor("lengths").tolist()
            ends = np.cumsum(lengths)
            self._places += [
                (number, int(end) - n, int(end)) for end, n in zip(ends, lengths, strict=True)
            ]
            self.frames += file.get_tensor("frames").tolist()
            self.thoughts += json.loads(file.metadata()["thoughts"])
        self.frames = np.array(self.frames, np.int64)

    def __len__(self) -> int:
        return len(self._places)

    def hidden(self, index: int) -> torch.Tensor:
        """(L, hidden size) of one frame, as stored."""
        part, start, end = self._places[index]
        return self._files[part].get_slice("hidden")[start:end]


class ReadFeatures:
    """Hidden states of frames that were just read, in memory; otherwise as `Features`."""

    def __init__(self, read: Iterable[ReadFrame]) -> None:
        """Take them."""
        found = list(read)
        self._hidden = [one.hidden for one in found]
        self.frames = np.array([one.frame for one in found], np.int64)
        self.thoughts = [one.thought for one in found]

    def __len__(self) -> int:
        return len(self._hidden)

    def hidden(self, index: int) -> torch.Tensor:
        """(L, hidden size) of one frame, in the model's dtype."""
        return self._hidden[index]


def stored_dtype(dtype: torch.dtype) -> torch.dtype:
    """How hidden states of a dtype are stored: float32 as float16, others as they are."""
    return torch.float16 if dtype == torch.float32 else dtype


def size_bytes(reader: HiddenReader, frames: Sequence[int], own: Callable[[int], bool]) -> int:
    """How large the hidden states of all frames will be, told by a few of them."""
    some = [frames[int(i)] for i in np.linspace(0, len(frames) - 1, min(len(frames), 16))]
    read = list(reader.read(some, own))
    each = sum(found.hidden.numel() for found in read) / len(read)
    item = torch.empty((), dtype=stored_dtype(read[0].hidden.dtype)).element_size()
    return int(each * item * len(frames))


@dataclass(frozen=True)
class FeaturePlan:
    """Hidden states that are wanted in a folder.

    Attributes:
        folder: where they are, or will be.
        key: JSON values that tell whose they are: hashes of model and data, layer and so on.
        frames: (F,) int64, F >= 1, of the demonstrations.
        own: those that are read with the model's own thought.
        index: name of the file that says whose they are.
        part_name: of the others, to be formatted with a number.
        what: they are, for messages.
    """

    folder: Path
    key: Mapping[str, Any]
    frames: np.ndarray
    own: frozenset[int]
    index: str = INDEX
    part_name: str = PART
    what: str = "hidden states"

    @property
    def parts(self) -> int:
        """Files that they stand in."""
        return -(-len(self.frames) // FRAMES_A_PART)

    def part(self, number: int) -> np.ndarray:
        """The frames of one file."""
        return self.frames[number * FRAMES_A_PART : (number + 1) * FRAMES_A_PART]

    def path(self, number: int) -> Path:
        """Where one file stands, or will."""
        return self.folder / self.part_name.format(number)

    def missing(self) -> list[int]:
        """Numbers of the files that are not there yet."""
        return [n for n in range(self.parts) if not self.path(n).is_file()]

    def record(self) -> dict[str, Any]:
        """The content of `features.json`."""
        own = [frame for frame in self.frames.tolist() if frame in self.own]
        digest = sha256_json([self.frames.tolist(), own])
        return {**self.key, "frames": len(self.frames), "frames_sha256": digest}

    def check_owner(self) -> None:
        """Refuse a folder with those of something else; changes nothing.

        Raises:
            OutputError: names what differs.
        """
        found = read_record(self.folder / self.index)
        if found is None and any(self.folder.glob(self.part_name.replace("{:05d}", "*"))):
            raise OutputError(
                f"{self.folder}: found {self.what} without a readable {self.index}, so nobody can "
                "tell whose they are; nothing was changed: choose another folder, or remove them"
            )
        if found is not None and (other := list(differences(found, self.record()))):
            raise OutputError(
                f"{self.folder}: {self.what} of something else are here ({'; '.join(other)}); "
                "nothing was changed: choose another folder"
            )

    def fill(
        self,
        write: Callable[[Path, np.ndarray], None],
        stopped: Callable[[], bool],
        tell: Callable[[int, int], None],
    ) -> bool:
        """Write the files that are missing.

        Args:
            write: writes one of them, whole or not at all, from its frames.
            stopped: whether to stop; asked before every file.
            tell: is told how many frames are done, and of how many.

        Returns:
            False when it was stopped; the same call goes on.

        Raises:
            OutputError: another process is writing there.
            OSError: the disk is full.
        """
        if not self.missing():
            self.check_owner()
            return True
        with writing(self.folder, self.what):
            self.folder.mkdir(parents=True, exist_ok=True)
        with only_writer(self.folder):
            self.check_owner()
            missing, total = self.missing(), len(self.frames)
            write_json(self.folder / self.index, self.record())
            done = total - sum(len(self.part(number)) for number in missing)
            for number in missing:
                if stopped():
                    return False
                write(self.path(number), self.part(number))
                done += len(self.part(number))
                tell(done, total)
        return True


def check_features(plan: FeaturePlan, reader: HiddenReader, given_up: bool = False) -> None:
    """Say how much will be written, and refuse what cannot be; changes nothing.

    Args:
        plan: what is wanted.
        reader: of the model.
        given_up: whether what is in the folder will be removed before anything is written.

    Raises:
        OutputError: the folder has those of another model, data set or prompt, or the disk has
            not enough room.
    """
    if not given_up:
        plan.check_owner()
    if missing := list(range(plan.parts)) if given_up else plan.missing():
        wanted = size_bytes(reader, plan.frames.tolist(), plan.own.__contains__)
        _check_room(plan.folder, wanted * len(missing) // plan.parts)


def make_features(
    plan: FeaturePlan,
    reader: HiddenReader,
    stopped: Callable[[], bool],
    tell: Callable[[int, int], None],
) -> Features | None:
    """Compute what is missing of some frames' hidden states, and open them.

    Args:
        plan: that was checked.
        reader: of the model.
        stopped: whether to stop; asked before every part.
        tell: is told how many frames are done, and of how many.

    Returns:
        None when it was stopped; the same call goes on.

    Raises:
        OutputError: another process is writing there.
        OSError: the disk is full.
        ValueError: a hidden state is not finite, or too large for the stored type.
    """

    def write(path: Path, frames: np.ndarray) -> None:
        _write_part(path, reader, frames, plan.own)

    return Features(plan.folder, plan.parts) if plan.fill(write, stopped, tell) else None


def _write_part(path: Path, reader: HiddenReader, frames: np.ndarray, own: frozenset[int]) -> None:
    read = list(reader.read(frames.tolist(), own.__contains__))
    hidden = torch.cat([found.hidden for found in read])
    stored = hidden.to(stored_dtype(hidden.dtype))
    if not bool(torch.isfinite(stored).all()):
        greatest = float(hidden.abs().max())
        raise ValueError(
            f"hidden states: found {greatest:g}, expected finite numbers up to "
            f"{torch.finfo(stored.dtype).max:g}"
        )
    tensors = {
        "hidden": stored,
        "lengths": torch.tensor([len(found.hidden) for found in read], dtype=torch.int64),
        "frames": torch.from_numpy(frames.astype(np.int64)),
    }
    thoughts = json.dumps([found.thought for found in read])
    fresh = path.with_name(f"{path.name}.new")
    with writing(path, "hidden states"):
        try:
            save_file(tensors, fresh, {"thoughts": thoughts})
            fresh.replace(path)
        finally:
            fresh.unlink(missing_ok=True)


def _opened(path: Path) -> Any:
    try:
        return safe_open(path, "pt")
    except SafetensorError as error:
        raise OutputError(
            f"{path}: found a damaged file ({error}), expected hidden states: remove it, and the "
            "same command reads these frames anew"
        ) from error


def _check_room(folder: Path, wanted: int) -> None:
    """Say how much will be written, and refuse a disk that is too small."""
    place = folder
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    print(
        f"hidden states: about {wanted / 1e6:,.0f} MB in {folder}, {free / 1e9:,.1f} GB are free",
        flush=True,
    )
    if wanted > free * (1 - SPARE):
        raise OutputError(
            f"{folder}: hidden states of about {wanted / 1e6:,.0f} MB, and {free / 1e6:,.0f} MB "
            "are free; nothing was written: choose another disk with --features, or fewer "
            "--samples"
        )
