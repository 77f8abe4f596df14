"""Speed of reading every message of a bag, beside the `mcap` package's own reader in the same run.

Bags of cameras (640x480 rgb8, three at 30 Hz, with joint states at 500 Hz), plain and compressed,
and of joint states alone. Both sides hand over topic, time and bytes of every message in order of
time. Runs alternate, CPU seconds are this process's. The suite's reader compares every chunk with
its CRC; the package's does so only when told, and is measured both ways.

    python bench/bag_reading.py --megabytes 300 --repeats 5 --out out/bench
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from mcap.reader import make_reader
from mcap.writer import CompressionType, Writer

from roboalign_training.bags.bags import read_bag

WIDTH, HEIGHT, CAMERAS, CAMERA_HZ, JOINTS_HZ = 640, 480, 3, 30, 500
JOINT_BYTES = 400


def main(argv: Sequence[str] | None = None) -> int:
    """Measures and prints a table."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    p.add_argument("--megabytes", type=int, default=300, help="size of a bag; default: 300")
    p.add_argument("--repeats", type=int, default=5, help="runs of each; default: 5")
    p.add_argument("--out", type=Path, help="folder for bag_reading.json")
    args = p.parse_args(argv)
    sides = {
        "roboalign": read_suite,
        "mcap": lambda path: read_mcap(path, crc=False),
        "mcap with CRC": lambda path: read_mcap(path, crc=True),
    }
    results = []
    with tempfile.TemporaryDirectory(prefix="bag-reading-") as folder:
        for name, compression, cameras in (
            ("cameras", CompressionType.NONE, True),
            ("cameras, zstd", CompressionType.ZSTD, True),
            ("cameras, lz4", CompressionType.LZ4, True),
            ("joint states", CompressionType.ZSTD, False),
        ):
            path = Path(folder, f"{len(results)}.mcap")
            target = args.megabytes << (20 if cameras else 17)
            count, size = write(path, target, compression, cameras)
            results.append({"bag": name, "messages": count, "megabytes": size / 1e6,
                            **compare(path, sides, count, size, args.repeats)})  # fmt: skip
            path.unlink()
    print(f"{'MB of messages per CPU second':32}" + "".join(f"{side:>16}" for side in sides))
    for result in results:
        line = "".join(f"{result[side]:16.0f}" for side in sides)
        print(f"{result['bag']:32}{line}   ({result['messages']} messages)")
    if args.out:
        args.out.mkdir(parents=True, exist_ok=True)
        (args.out / "bag_reading.json").write_text(json.dumps(results, indent=1) + "\n")
    return 0


def write(path: Path, target: int, compression: CompressionType, cameras: bool) -> tuple[int, int]:
    """Writes about `target` bytes of messages; gives their number and exact size."""
    rng = np.random.default_rng(0)
    # Smooth pictures with noise in the low bits, as cameras give.
    ramp = np.add.outer(np.arange(HEIGHT), np.arange(WIDTH))[..., None] // 8
    frames = [
        (ramp + rng.integers(0, 4, (HEIGHT, WIDTH, 3)) + 20 * i).astype(np.uint8).tobytes()
        for i in range(8)
    ]
    joints = rng.integers(0, 256, JOINT_BYTES, np.uint8).tobytes()
    count = size = 0
    with path.open("wb") as stream:
        writer = Writer(stream, chunk_size=1 << 20, compression=compression)
        writer.start(profile="ros2", library="bench")
        text = writer.register_schema("std_msgs/msg/String", "ros2msg", b"string data\n")
        names = [*(f"/camera_{i}" for i in range(CAMERAS if cameras else 0)), "/joint_states"]
        channels = [writer.register_channel(name, "cdr", text, {}) for name in names]
        tick = 0
        while size < target:
            ns = 10**18 + tick * 10**9 // JOINTS_HZ
            due = [(channels[-1], joints)]
            if cameras and tick % (JOINTS_HZ // CAMERA_HZ) == 0:
                due += [(channel, frames[(tick + channel) % 8]) for channel in channels[:-1]]
            for channel, data in due:
                writer.add_message(channel, ns, data, ns)
                count, size = count + 1, size + len(data)
            tick += 1
        writer.finish()
    return count, size


def read_suite(path: Path) -> tuple[int, int]:
    """Number and bytes of all messages, by the suite's reader."""
    count = size = 0
    for _, _, data in read_bag(path).raw_messages():
        count += 1
        size += len(data)
    return count, size


def read_mcap(path: Path, crc: bool) -> tuple[int, int]:
    """As `read_suite`, by the `mcap` package."""
    count = size = 0
    with path.open("rb") as stream:
        for _, _, message in make_reader(stream, validate_crcs=crc).iter_messages():
            count += 1
            size += len(message.data)
    return count, size


def compare(
    path: Path, sides: dict[str, Callable], count: int, size: int, repeats: int
) -> dict[str, float]:
    """MB of messages per CPU second of each side: the median of runs in turns."""
    seconds: dict[str, list[float]] = {side: [] for side in sides}
    for _ in range(repeats + 1):
        for side, read in sides.items():
            began = time.process_time()
            assert read(path) == (count, size), f"{side} does not read every message"
            seconds[side].append(time.process_time() - began)
    # The first run fills the page cache.
    return {side: size / 1e6 / float(np.median(runs[1:])) for side, runs in seconds.items()}


if __name__ == "__main__":
    sys.exit(main())
