"""One case: a bag, damage at random places, and what the reader made of it."""

from __future__ import annotations

import resource
import shutil
import signal
import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from bag_damage.bases import Base
from roboalign_training.bags.bags import read_bag
from roboalign_training.bags.errors import BagError
from roboalign_training.bags.rescue.recovery import recover

METADATA_SHARE = 0.15
"""Share of the cases in which metadata.yaml is damaged, where there is one."""
LIMIT_S = 10.0

WHOLE, ALTERED, REFUSED = "whole", "altered", "refused"
FAILURES = ("crash", "hang", "short", "altered despite CRC", "readable part lost")


@dataclass(frozen=True)
class Result:
    """What became of one case.

    Attributes:
        number: The case's.
        base: Name of the bag.
        damage: "cut" or "flip".
        outcome: WHOLE (read and unchanged), ALTERED (where no checksum covers the place), REFUSED,
            or one of FAILURES.
        kept: Share of the messages that reading, or else recovering, gave.
        seconds: s; for reading, and recovering where that was refused.
        rss_mb: MB; the most memory that the process had had by then.
        detail: The reason of the refusal, or what failed.
    """

    number: int
    base: str
    damage: str
    outcome: str
    kept: float
    seconds: float
    rss_mb: float
    detail: str

    def to_dict(self) -> dict:
        """As plain data."""
        return asdict(self)


class TimeUp(BaseException):
    """A case that takes longer than LIMIT_S."""


def run_case(number: int, seed: int, base: Base, cut: bool, folder: Path) -> Result:
    """Damages a copy of a bag and reads it.

    Args:
        number: Which case.
        seed: Together with the number, it determines the damage.
        base: The bag.
        cut: Whether a file is cut off; else 1 to 16 bits are flipped.
        folder: An empty place for the copy.
    """
    rng = np.random.default_rng([seed, number])
    damaged = folder / "bag"
    shutil.copytree(base.folder, damaged)
    keep = _damage(base, damaged, cut, rng)
    began = time.perf_counter()

    def stop(*_: object) -> None:
        raise TimeUp

    signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, LIMIT_S)
    try:
        outcome, kept, detail = _examine(base, damaged, folder / "new", keep)
    except TimeUp:
        outcome, kept, detail = "hang", 0.0, f"more than {LIMIT_S} s"
    except Exception as error:  # noqa: BLE001 - finding these is what this is for
        outcome, kept, detail = "crash", 0.0, repr(error)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    seconds = time.perf_counter() - began
    shutil.rmtree(folder)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    return Result(
        number, base.name, "cut" if cut else "flip", outcome, kept, seconds, memory, detail
    )


def _damage(base: Base, folder: Path, cut: bool, rng: np.random.Generator) -> list:
    """Damages one file of a bag; gives the messages that must be kept whatever happens."""
    files = sorted(folder.iterdir())
    storage = [f for f in files if f.name != "metadata.yaml"]
    metadata = len(storage) < len(files) and rng.random() < METADATA_SHARE
    file = folder / "metadata.yaml" if metadata else storage[rng.integers(len(storage))]
    data = bytearray(file.read_bytes())
    size = len(data)
    if cut:
        length = int(rng.integers(size))
        places = np.arange(length, size)
        del data[length:]
    else:
        count = int(rng.integers(1, 17))
        if rng.random() < 0.5:  # close together
            places = (rng.integers(size) + rng.integers(0, 64, count)) % size
        else:
            places = rng.integers(0, size, count)
        for place in places:
            data[place] ^= 1 << int(rng.integers(8))
    file.write_bytes(data)
    if metadata:
        # What a storage file holds does not depend on it.
        return [row for parts in base.parts.values() for _, _, rows in parts for row in rows]
    keep = []
    for name, parts in base.parts.items():
        if name != file.name:
            keep += [row for _, _, rows in parts for row in rows]
            continue
        # Topics are defined in the first chunk or before the first message, and in the summary.
        first = parts[0][0] if len(parts[0][2]) == 1 else parts[0][1]
        in_summary = base.checked and not cut and places.max() < base.data_ends[name]
        if places.min() >= first or in_summary:
            keep += _untouched(parts, places, base.checked)
    return keep


def _untouched(parts: tuple, places: np.ndarray, checked: bool) -> list:
    """The messages of parts that no damage touched.

    Without CRCs a part counts only when the one before and after it are untouched too: by them it
    is told from noise.
    """
    places = np.sort(places)
    good = [
        bool(np.searchsorted(places, start) == np.searchsorted(places, end))
        for start, end, _ in parts
    ]
    if not checked:
        good = [
            here and before and after
            for here, before, after in zip(good, [False, *good], [*good[1:], False], strict=False)
        ]
    return [row for (_, _, rows), fine in zip(parts, good, strict=True) if fine for row in rows]


def _examine(base: Base, damaged: Path, target: Path, keep: list) -> tuple[str, float, str]:
    """Reads a damaged bag, recovers it where that is refused, and judges what came out."""
    try:
        bag = read_bag(damaged)
        rows = [tuple(message) for message in bag.raw_messages()]
        for _ in bag.messages():
            pass
    except BagError as error:
        reason = str(error)
        assert len(reason) > 20, f"no true reason: {reason!r}"
    else:
        return _judge(base, rows, WHOLE)
    try:
        recovery = recover(damaged, target)
        rows = [tuple(message) for message in read_bag(recovery.folder).raw_messages()]
    except BagError as error:
        if "nothing in it can be read" not in str(error) and "is no recording" not in str(error):
            return "crash", 0.0, f"recovering: {error}"
        rows = []
    lost = Counter(keep) - Counter(rows)
    if lost:
        return "readable part lost", len(rows) / len(base.rows), f"{lost.total()}: {reason}"
    outcome, kept, detail = _judge(base, rows, REFUSED)
    return outcome, kept, detail or reason


def _judge(base: Base, rows: list[tuple], good: str) -> tuple[str, float, str]:
    """Compares messages with those of the whole bag."""
    foreign = Counter(rows) - Counter(base.rows)
    kept = (len(rows) - foreign.total()) / len(base.rows)
    if foreign and base.checked:
        return "altered despite CRC", kept, str(next(iter(foreign)))[:200]
    if good == WHOLE and len(rows) < len(base.rows):
        return "short", kept, f"{len(rows)} of {len(base.rows)} messages and no error"
    if good == WHOLE and foreign:
        return ALTERED, kept, f"{foreign.total()} messages"
    return good, kept, ""
