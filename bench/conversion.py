"""Converting bags to a data set: memory, speed beside the limit, and what a second process gives.

Two seeded bags of about 2 GB: `jpeg` (3 cameras of 640x480 CompressedImage at 30 Hz, plain
chunks) and `raw` (the same as rgb8, lz4 chunks), each with joint states at 500 Hz; the contract
asks for 10 frames a second, so a third of the images are used.

The limit, in the same run and a process of its own: reading every message with the `mcap` package,
decompression included, and decoding the used images with the decoder that live uses. Nothing is
resized, hashed, encoded or written. `raw` images have to be encoded to be stored, which is no part
of the limit; `limit with encoding` has the encoding of the used images in it too.

Speed is megabytes of bag per CPU second of all processes (user and system), start-up included,
and by the clock. Memory is the greatest sum over the process tree, sampled by psutil: PSS, which
counts shared pages once, and USS; sampling takes a good part of a core, so it has two rounds of
its own, before and after those that are timed. What a second process gives can only be seen where
nothing else runs: rounds in which other processes took more than 0.1 cores are counted apart.

    python bench/conversion.py --megabytes 2000 --repeats 5 --out out/bench
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil
from intervals import interval, shown
from large_bags import CAMERA_HZ, JPEG, RATE_HZ, RAW, Kind, bench_contract, write_bag

_SAMPLE_S = 0.05
_QUIET_CORES = 0.1
LIMIT = """
import sys
from mcap.reader import make_reader
from rosbags.typesys import Stores, get_typestore
from roboalign_policy.core.messages.images import image_from_msg
from roboalign_training.images.png import encode_png
path, every, encode = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "encode"
store, seen, size, used = get_typestore(Stores.ROS2_JAZZY), {}, 0, 0
with open(path, "rb") as stream:
    for schema, channel, message in make_reader(stream).iter_messages():
        size += len(message.data)
        if "mage" in schema.name:
            number = seen[channel.topic] = seen.get(channel.topic, -1) + 1
            if number % every == 0:
                msg = store.deserialize_cdr(message.data, schema.name)
                image = image_from_msg(msg, (480, 640, 3))
                used += 1
                if encode:
                    encode_png(image)
print(size, used)
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Measures and prints tables."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    p.add_argument("--megabytes", type=int, default=2000, help="size of a bag; default: 2000")
    p.add_argument("--repeats", type=int, default=5, help="runs of each; default: 5")
    p.add_argument("--max-memory", default="1000MB", help="as of the command; default: 1000MB")
    p.add_argument("--quick", action="store_true", help="100 MB, two runs")
    p.add_argument(
        "--folder", type=Path, help="where bags and data sets are made; default: TMPDIR"
    )
    p.add_argument("--bags", nargs="+", default=["jpeg", "raw"], help="which; default: both")
    p.add_argument("--sides", nargs="+", help="which of the table's lines; default: all")
    p.add_argument("--out", type=Path, help="folder for conversion.json")
    args = p.parse_args(argv)
    if args.quick:
        args.megabytes, args.repeats = 100, 2
    results = []
    with tempfile.TemporaryDirectory(prefix="bench-conversion-", dir=args.folder) as folder:
        for kind in (k for k in (JPEG, RAW) if k.name in args.bags):
            results.append(measure(kind, Path(folder), args))
            report(results[-1])
    if args.out:
        args.out.mkdir(parents=True, exist_ok=True)
        (args.out / "conversion.json").write_text(json.dumps(results, indent=1) + "\n")
    return 0


def measure(kind: Kind, folder: Path, args: argparse.Namespace) -> dict:
    """All runs of one kind of bag, in turns."""
    bag, contract = folder / f"{kind.name}.mcap", folder / f"{kind.name}.yaml"
    written = write_bag(bag, kind, args.megabytes)
    contract.write_text(bench_contract(kind).to_yaml())
    every = str(CAMERA_HZ // RATE_HZ)

    def convert(workers: int, watch: bool) -> dict:
        out = folder / "set"
        shutil.rmtree(out, ignore_errors=True)
        found = run(
            [sys.executable, "-m", "roboalign_training.cli", "convert", bag, "--contract",
             contract, "--out", out, "--workers", workers, "--max-memory", args.max_memory],
            watch,
        )  # fmt: skip
        entry = json.loads((out / "dataset.json").read_text())
        found["frames"] = entry["frames"]
        found["images"] = entry["balance"][0]["images"]["used"]
        return found

    sides: dict[str, Callable[[bool], dict]] = {
        "limit": lambda watch: run([sys.executable, "-c", LIMIT, bag, every, ""], watch),
        "1 process": lambda watch: convert(1, watch),
        "2 processes": lambda watch: convert(2, watch),
    }
    if kind.jpeg_quality is None:
        encoding = [sys.executable, "-c", LIMIT, bag, every, "encode"]
        sides["limit with encoding"] = lambda watch: run(encoding, watch)
    sides = {side: go for side, go in sides.items() if not args.sides or side in args.sides}
    runs: dict[str, list[dict]] = {side: [] for side in sides}
    memory: dict[str, list[dict]] = {side: [] for side in sides}
    for number in range(args.repeats + 2):  # the first round also fills the page cache
        watch = number in (0, args.repeats + 1)
        for side, go in sides.items():
            (memory if watch else runs)[side].append(go(watch))
    bag.unlink()
    return {"bag": kind.name, **written, "repeats": args.repeats,
            "max_memory": args.max_memory, "runs": runs, "memory": memory}  # fmt: skip


def run(command: Sequence[object], watch: bool) -> dict:
    """Seconds of a command by the clock and of CPU; if watched, the memory of its process tree."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    busy, began = busy_seconds(), time.perf_counter()
    process = subprocess.Popen(
        list(map(str, command)), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    most = {"pss": 0, "uss": 0} if watch else {}
    while watch and process.poll() is None:
        for key, value in memory_of_tree(process.pid).items():
            most[key] = max(most[key], value)
        time.sleep(_SAMPLE_S)
    complaint = process.communicate()[1]
    seconds = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if process.returncode:
        raise RuntimeError(f"{command}: {complaint}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    others = (busy_seconds() - busy - cpu) / seconds
    return {"seconds": seconds, "cpu_seconds": cpu, "others_cores": others, **most}


def busy_seconds() -> float:
    """CPU seconds that this computer has spent on anything."""
    times = psutil.cpu_times()
    return sum(times) - times.idle - times.iowait - times.guest - times.guest_nice


def memory_of_tree(pid: int) -> dict[str, int]:
    """Bytes over a process and all below it."""
    total = {"pss": 0, "uss": 0}
    with contextlib.suppress(psutil.Error):
        root = psutil.Process(pid)
        for process in (root, *root.children(recursive=True)):
            with contextlib.suppress(psutil.Error):
                found = process.memory_full_info()
                total["pss"] += found.pss
                total["uss"] += found.uss
    return total


def ratios(one: Sequence[float], other: Sequence[float]) -> list[float]:
    """Ratios of the runs of one round."""
    return [a / b for a, b in zip(one, other, strict=True)]


def report(result: dict) -> None:
    """Prints one bag's table."""
    megabytes = result["file_bytes"] / 1e6
    runs = result["runs"]
    last = next(found[-1] for side, found in runs.items() if "process" in side)
    print(
        f"\n{result['bag']}: {megabytes:.0f} MB, {result['messages']} messages, "
        f"{result['seconds']:.0f} s; {last['frames']} frames, {last['images']} images used; "
        f"n = {result['repeats']}, median [95 %]"
    )
    print(f"{'':24}{'MB per CPU s':>24}{'MB per s':>24}{'most PSS, MB':>16}{'USS, MB':>10}")
    for side, found in runs.items():
        cpu = shown([megabytes / r["cpu_seconds"] for r in found])
        clock = shown([megabytes / r["seconds"] for r in found])
        watched = result["memory"][side]
        pss, uss = (max(r[key] for r in watched) / 1e6 for key in ("pss", "uss"))
        print(f"{side:24}{cpu:>24}{clock:>24}{pss:16.0f}{uss:10.0f}")
    cpu = {side: [r["cpu_seconds"] for r in found] for side, found in runs.items()}
    clock = {side: [r["seconds"] for r in found] for side, found in runs.items()}
    targets = []
    for limit in ("limit", "limit with encoding"):
        if {limit, "1 process"} <= runs.keys():
            found = ratios(cpu[limit], cpu["1 process"])
            targets.append((f"of the {limit}, 1 process", found, 0.6))
    if {"1 process", "2 processes"} <= runs.keys():
        found = ratios(clock["1 process"], clock["2 processes"])
        targets.append((f"2 processes over 1, all {len(found)} rounds", found, 1.8))
        quiet = [
            share
            for share, one, two in zip(found, runs["1 process"], runs["2 processes"], strict=True)
            if max(one["others_cores"], two["others_cores"]) < _QUIET_CORES
        ]
        name = f"2 processes over 1, the {len(quiet)} rounds of a quiet computer"
        if quiet:
            targets.append((name, quiet, 1.8))
        else:
            print("no round of a quiet computer: what a second process gives is not known")
    for name, values, wanted in targets:
        middle = interval(values)[0]
        verdict = "reached" if middle >= wanted else "MISSED"
        print(f"{shown(values, 2):>24} {name} (wanted: {wanted}, {verdict})")
    load = os.getloadavg()[0]
    print(f"{'':25}load of the computer at the end: {load:.1f} on {os.cpu_count()} cores")


if __name__ == "__main__":
    sys.exit(main())
