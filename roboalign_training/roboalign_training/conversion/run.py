"""All bags of a conversion: small ones side by side, of large ones their parts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from os.path import relpath
from pathlib import Path

from roboalign_training.bags.folders import as_text
from roboalign_training.conversion.bag_job import SmallBagJob, convert_bag
from roboalign_training.conversion.memory import NoRoomError
from roboalign_training.conversion.pool import Pool
from roboalign_training.conversion.target import Converted, Target


def converted_bags(
    bags: Sequence[Path],
    target: Target,
    on_progress: Callable[[Path, float], None] | None = None,
) -> Iterator[Converted]:
    """Converts bags; results come in the order of the bags, whoever did the work.

    Args:
        bags: Bag folders or files.
        target: The data set.
        on_progress: Called with a bag and the share of it that is done, 0 .. 1.
    """
    tell = on_progress or (lambda path, share: None)
    with Pool(target.budget.processes) as pool:
        at_once = min(pool.processes, target.budget.bags_at_once)
        small = [at_once > 1 and bag_bytes(path) < target.budget.segment_bytes for path in bags]
        for side_by_side, group in groupby(zip(bags, small, strict=True), lambda item: item[1]):
            paths = [path for path, _ in group]
            if side_by_side and len(paths) > 1:
                part = replace(target, budget=replace(target.budget, workers=1, split=at_once + 1))
                jobs = [SmallBagJob(path, part) for path in paths]
                results = pool.results(jobs, at_once)
            else:
                results = (None for _ in paths)
            for path, done in zip(paths, results, strict=True):
                if done is None:
                    done = _converted(path, target, pool, tell)
                tell(path, 1.0)
                yield done


def _converted(
    path: Path, target: Target, pool: Pool, tell: Callable[[Path, float], None]
) -> Converted:
    """Converts one bag with all processes."""
    source = as_text(relpath(path, target.out))
    if bag_bytes(path) >= target.budget.segment_bytes and source not in target.sources:
        pool.warm_up()
    try:
        return convert_bag(path, target, pool, lambda share: tell(path, share))
    except NoRoomError as error:
        return Converted(path, error=str(error))


def bag_bytes(path: Path) -> int:
    """Bytes of a bag's files, as far as they can be seen; 0 where there are none."""
    files = path.iterdir() if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())
