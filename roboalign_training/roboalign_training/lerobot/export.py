"""A data set of ours as a LeRobot data set v3.0: an episode at a time, complete or not there."""

from __future__ import annotations

import contextlib
import fcntl
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from roboalign_training.data.errors import DatasetError
from roboalign_training.data.index import DatasetIndex, load_index
from roboalign_training.data.video import CODECS
from roboalign_training.lerobot.layout import PNG
from roboalign_training.lerobot.passport import load_passport
from roboalign_training.lerobot.writer import EpisodeWriter


@dataclass
class Exported:
    """What came of an export.

    Attributes:
        folder: The LeRobot data set.
        episodes, frames: How many are in it.
        existed: The same export was there already, and was left as it is.
        notes: What a user should know.
    """

    folder: Path
    episodes: int
    frames: int
    existed: bool = False
    notes: list[str] = field(default_factory=list)


def export_dataset(
    folder: str | Path,
    out: str | Path,
    *,
    images: str = "h264",
    crf: int | None = None,
    on_frame: Callable[[], None] | None = None,
) -> Exported:
    """Writes a data set as a LeRobot data set v3.0.

    Args:
        folder: The data set.
        out: The folder to make; until it is complete it has the name `.<name>.partial`.
        images: `h264` or `av1` for videos, `png` for images in the data files, bit for bit.
        crf: Quality of videos, lower is better; None for the codec's default.
        on_frame: Called for every image of every frame.

    Raises:
        DatasetError: When the data set is damaged or cannot be said in LeRobot's format, or `out`
            is there and is anything but the same export.
    """
    index, out = load_index(Path(folder)), Path(out).absolute()
    if images not in (PNG, *CODECS):
        raise ValueError(f"images: found {images!r}, expected one of {', '.join((PNG, *CODECS))}")
    if images == PNG:
        if crf is not None:
            raise ValueError(f"crf: found {crf}, but images as {PNG} are stored as they are")
        storage = {"storage": PNG}
    else:
        crf = CODECS[images].crf if crf is None else crf
        if not 0 <= crf <= 51:
            raise ValueError(f"crf: found {crf}, expected 0 .. 51")
        storage = {"storage": images, "crf": crf}
    _check(index, images)
    identity = {"dataset": index.hashes["dataset"], **storage}
    if _is_there(out, identity):
        return Exported(out, len(index.episodes), index.frames, existed=True)
    done = Exported(out, len(index.episodes), index.frames)
    with _whole(out) as part:
        with contextlib.closing(
            EpisodeWriter(part, index, storage, on_frame or (lambda: None))
        ) as w:
            for name in sorted(index.episodes):
                done.notes += w.add(name)
            w.finish()
    return done


def _check(index: DatasetIndex, images: str) -> None:
    """Makes sure that LeRobot's format has words for the data set."""
    contract = index.contract
    if not index.episodes:
        raise DatasetError(index.folder, "has no episode to export")
    if contract.rate_hz != int(contract.rate_hz):
        raise DatasetError(
            index.folder,
            f"rate_hz: found {contract.rate_hz:g}, expected a whole number: LeRobot's fps is one",
        )
    odd = [s for s in contract.images if s.value_shape[0] % 2 or s.value_shape[1] % 2]
    if images != PNG and odd:
        raise DatasetError(
            index.folder,
            f"{odd[0].key}: {odd[0].value_shape[:2]} pixels, but videos take even numbers: "
            f"export images as {PNG}",
        )


def _is_there(out: Path, identity: dict) -> bool:
    """Whether the same export is at `out`; what else is there is an error."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return False
    found = load_passport(out) if out.is_dir() else None
    if found is None:
        raise DatasetError(out, "exists and is no export of a RoboAlign data set: choose another")
    if found.identity != identity:
        raise DatasetError(
            out, f"exists and is another export: found {found.identity}, expected {identity}"
        )
    return True


@contextlib.contextmanager
def _whole(out: Path) -> Iterator[Path]:
    """A folder to write into that gets the name `out` at the end, and is gone after an error."""
    part = out.with_name(f".{out.name}.partial")
    part.mkdir(parents=True, exist_ok=True)
    lock = part / ".lock"
    with lock.open("w") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DatasetError(part, "another export is writing it") from error
        for left in part.iterdir():  # by an export that was killed
            if left != lock:
                shutil.rmtree(left)
        try:
            (part / "meta").mkdir()
            yield part
        except BaseException:
            shutil.rmtree(part)
            raise
        lock.unlink()
        part.rename(out)
