"""A data set of ours as a LeRobot data set v3.0: an episode at a time, complete or not there.

What an interrupted export has done is taken up by the next one.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from roboalign_training.bags.errors import DatasetError, RefusedError
from roboalign_training.data.index import DatasetIndex, load_index
from roboalign_training.images.video import CODECS
from roboalign_training.lerobot.assembly import Assembly
from roboalign_training.lerobot.finished import check_only_ours, check_whole
from roboalign_training.lerobot.layout import PNG
from roboalign_training.lerobot.partial import partial_folder, partial_path
from roboalign_training.lerobot.passport import load_passport
from roboalign_training.shared.differences import differences
from roboalign_training.shared.left_out import LeftOut
from roboalign_training.shared.outputs import refuse_link
from roboalign_training.shared.places import LEROBOT, check_place

_REPLACED = "replaced"
_GAP = "for which LeRobot has no place"


@dataclass
class Exported:
    """What came of an export.

    Attributes:
        folder: The LeRobot data set.
        episodes, frames: How many are in it.
        existed: The same export was there already, and was left as it is.
        notes: What a user should know.
        left_out: What LeRobot's own files have no place for.
    """

    folder: Path
    episodes: int
    frames: int
    existed: bool = False
    notes: list[str] = field(default_factory=list)
    left_out: LeftOut = field(default_factory=LeftOut)


def export_dataset(
    folder: str | Path,
    out: str | Path,
    *,
    images: str = "h264",
    crf: int | None = None,
    overwrite: bool = False,
    on_frame: Callable[[int], None] | None = None,
    on_filed: Callable[[int], None] | None = None,
) -> Exported:
    """Writes a data set as a LeRobot data set v3.0.

    Args:
        folder: The data set.
        out: The folder to make. Until it is complete there is `.<name>.partial` beside it, and
            what an interrupted export of the same data set left in there is not made again.
        images: `h264` or `av1` for videos, `png` for images in the data files, bit for bit.
        crf: Quality of videos, lower is better; None for the codec's default.
        overwrite: Whether another export of ours at `out`, or one that lacks files, is replaced
            once the new one is done. Where files of somebody else are in it, it is not.
        on_frame: Called with how many images of frames were done since the last call: one, or
            all of an episode that was done before.
        on_filed: Called with how many frames stand in a file that is complete, for every kind of
            file: data, and the video of each stream.

    Raises:
        OutputError: When `out` and the data set lie in each other, when it is another result, or
            a link to where nothing is made yet.
        DatasetError: When the data set is damaged or cannot be said in LeRobot's format, or `out`
            is there and is anything but the same export, whole, or with `overwrite` no export of
            ours, or one with other files in it.
    """
    index, out = load_index(Path(folder)), Path(out).absolute()
    check_place("--out", out, LEROBOT, [("data set", folder)])
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
    done = Exported(out, len(index.episodes), index.frames)
    done.existed = _is_there(out, identity, overwrite)
    if done.existed and not partial_path(out).exists():
        _count_gaps(index, done)
        return done
    refuse_link(out)
    with partial_folder(out) as folder:
        # Perhaps it was made in between.
        done.existed = _is_there(out, identity, overwrite)
        if not done.existed:
            assembly = Assembly(folder, index, storage)
            assembly.make_parts(on_frame or (lambda count: None))
            done.notes += assembly.finish(on_filed or (lambda count: None))
            _is_there(out, identity, overwrite)  # something may have come in meanwhile
            _put(assembly.tree, out, folder / _REPLACED)
    _count_gaps(index, done)
    return done


def _put(tree: Path, out: Path, aside: Path) -> None:
    """Gives a finished export its place; what was there goes when the new one stands there."""
    there = out.exists() and any(out.iterdir())
    if there:
        os.replace(out, aside)
    try:
        os.replace(tree, out)
    except OSError:
        if there:
            os.replace(aside, out)
        raise


def _count_gaps(index: DatasetIndex, done: Exported) -> None:
    """Counts the stretches of missing frames inside episodes."""
    for entry in index.episodes.values():
        path = index.folder / entry["file"]
        try:
            column = pq.ParquetFile(path).read(columns=["frame_index"])["frame_index"]
        except (OSError, pa.ArrowException, KeyError) as error:
            raise DatasetError(path, f"cannot be read: {error}") from error
        steps = np.diff(column.to_numpy())
        done.left_out.add("gap", _GAP, int(np.count_nonzero(steps > 1)))


def _check(index: DatasetIndex, images: str) -> None:
    """Makes sure that LeRobot's format has words for the data set."""
    contract = index.contract
    if not index.episodes:
        raise DatasetError(index.folder, "has no episode to export")
    if contract.rate_hz != int(contract.rate_hz):
        raise RefusedError(
            index.folder,
            f"rate_hz: found {contract.rate_hz:g}, expected a whole number: LeRobot's fps is one",
        )
    odd = [s for s in contract.images if s.value_shape[0] % 2 or s.value_shape[1] % 2]
    if images != PNG and odd:
        raise RefusedError(
            index.folder,
            f"{odd[0].key}: {odd[0].value_shape[:2]} pixels, but videos take even numbers: "
            f"export images as {PNG}",
        )


def _is_there(out: Path, identity: dict, overwrite: bool) -> bool:
    """Whether the same export is at `out`; what else is there is an error, or to be replaced."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return False
    found = load_passport(out) if out.is_dir() else None
    if found is None:
        raise RefusedError(out, "exists and is no export of a RoboAlign data set: choose another")
    try:
        if found.identity != identity:
            differing = "; ".join(differences(found.identity, identity, all_keys=True))
            raise RefusedError(
                out,
                f"exists and is another export: {differing}; nothing was changed: choose another "
                "folder, or replace it with --overwrite",
            )
        check_whole(out, found)
    except DatasetError:
        if not overwrite:
            raise
        check_only_ours(out, found)
        return False
    return True
