"""Iterating a data set as training does, beside `datasets` reading the same Parquet file.

A seeded bag (3 cameras of 640x480 JPEG, joint states) is converted, images `auto` and `png`. Ours:
`FrameDataset`, each frame with all images decoded, states and the action chunk. Theirs:
`Dataset.from_parquet`, rows with its own decoding of images, no transformation, no chunks; and
the same with these images (of Pillow) made arrays, which ours are and a model wants. Each
round goes through all frames in order, in turns; samples per second by the clock, the median of
the rounds with its 95 % interval by the bootstrap. Wanted is 90 % of theirs.

    python bench/dataset_iteration.py --megabytes 150 --repeats 7 --out out/bench
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import datasets
import numpy as np
from intervals import interval, shown
from large_bags import JPEG, bench_contract, write_bag

from roboalign_training.conversion.build import build_dataset
from roboalign_training.data.frame_dataset import FrameDataset, load_frames
from roboalign_training.episodes.recipe import Recipe

WANTED = 0.9


def main(argv: Sequence[str] | None = None) -> int:
    """Measures and prints a table."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    p.add_argument("--megabytes", type=int, default=150, help="size of the bag; default: 150")
    p.add_argument("--repeats", type=int, default=7, help="rounds; default: 7")
    p.add_argument("--quick", action="store_true", help="30 MB, two rounds")
    p.add_argument("--out", type=Path, help="folder for dataset_iteration.json")
    args = p.parse_args(argv)
    if args.quick:
        args.megabytes, args.repeats = 30, 2
    results = []
    with tempfile.TemporaryDirectory(prefix="bench-iteration-") as name:
        folder = Path(name)
        bag = folder / "bag.mcap"
        write_bag(bag, JPEG, args.megabytes)
        for images in ("auto", "png"):
            out = folder / images
            build_dataset([bag], bench_contract(JPEG), out, recipe=Recipe(images=images))
            results.append({"images": images, **compare(out, folder / "cache", args.repeats)})
    print(
        f"{'images':8}{'ours, samples/s':>26}{'datasets':>26}{'ours / theirs':>24}"
        f"{'to theirs as arrays':>24}"
    )
    for result in results:
        ours, theirs = result["ours"], result["datasets"]
        share = [a / b for a, b in zip(ours, theirs, strict=True)]
        alike = [a / b for a, b in zip(ours, result["arrays"], strict=True)]
        verdict = "reached" if interval(share)[0] >= WANTED else "MISSED"
        print(
            f"{result['images']:8}{shown(ours, 0):>26}{shown(theirs, 0):>26}{shown(share, 2):>24}"
            f"{shown(alike, 2):>24}"
            f"   (wanted: {WANTED}, {verdict}; {result['frames']} frames of "
            f"{result['images_per_frame']} images, n = {args.repeats})"
        )
    if args.out:
        args.out.mkdir(parents=True, exist_ok=True)
        (args.out / "dataset_iteration.json").write_text(json.dumps(results, indent=1) + "\n")
    return 0


def compare(folder: Path, cache: Path, repeats: int) -> dict:
    """Samples per second of both sides, round by round."""
    ours = load_frames(folder)
    files = [str(path) for path in sorted((folder / "data").glob("*.parquet"))]
    theirs = datasets.Dataset.from_parquet(files, cache_dir=str(cache / folder.name))
    sides: dict[str, Callable[[], int]] = {
        "ours": lambda: iterate_ours(ours),
        "datasets": lambda: iterate_theirs(theirs),
        "arrays": lambda: iterate_arrays(theirs, ours.image_keys),
    }
    found: dict[str, list[float]] = {side: [] for side in sides}
    for number in range(repeats + 1):  # the first round fills the page cache
        for side, iterate in sides.items():
            began = time.perf_counter()
            count = iterate()
            seconds = time.perf_counter() - began
            assert count == len(ours), f"{side} does not give every frame"
            if number:
                found[side].append(count / seconds)
    return {"frames": len(ours), "images_per_frame": len(ours.image_keys), **found}


def iterate_ours(data: FrameDataset) -> int:
    """All frames with decoded images, states and chunk."""
    count = 0
    for index in range(len(data)):
        sample = data[index]
        images = [sample.images[key] for key in sample.images]
        count += bool(images and sample.states and len(sample.action_chunk))
    return count


def iterate_theirs(data: datasets.Dataset) -> int:
    """All rows, as `datasets` decodes them."""
    return sum(bool(row) for row in data)


def iterate_arrays(data: datasets.Dataset, keys: Sequence[str]) -> int:
    """All rows, images as arrays."""
    count = 0
    for row in data:
        images = [np.asarray(row[key]) for key in keys]
        count += bool(images)
    return count


if __name__ == "__main__":
    sys.exit(main())
