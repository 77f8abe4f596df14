"""Latency of a chunk by decoder: tokens with and without a thought, and the action head.

One policy folder with both decoders answers the same observations of a data set, in turn, in one
process: FAST tokens without a thought, FAST tokens after a thought, the head with a new thought,
and the head with a thought that is kept. Told are p50 and p99 of the time from observation to
chunk, the ratio to thought and tokens on the same observation (median, least and greatest of
blocks of observations), and where the time of the head goes: thought, backbone (reading the
prompt), head, and the rest (picture, words, checks).

    python bench/decoders.py --policy out/vla/policy --dataset out/demo/data-eval --out out/bench
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch

from roboalign_policy.core.policy.options import PolicyOptions
from roboalign_policy.models import flow_decoder
from roboalign_policy.models.open_policy import open_policy
from roboalign_training.conversion.build import load_frames

WAYS = ("fast", "thought + fast", "flow, new thought", "flow, kept thought")
BASE = "thought + fast"
STAGES = {"thought": "generate_thoughts", "backbone": "read_hidden", "head": "solve"}
BLOCKS = 5


class Stages:
    """Seconds within the functions of `flow_decoder`, of the answer under way."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def timed(self, name: str, function: Callable) -> Callable:
        """The function, with its time noted."""

        def call(*given, **named):
            started = time.perf_counter()
            try:
                return function(*given, **named)
            finally:
                self.seconds[name] = time.perf_counter() - started

        return call


def observations(dataset: Path, count: int) -> list[tuple[dict, str]]:
    """Values and instruction of frames spread over a data set."""
    frames = load_frames(dataset)
    found = []
    for index in np.linspace(0, len(frames) - 1, count).round().astype(int):
        index = int(index)
        images = {s.key: frames.image(index, s.key) for s in frames.contract.images}
        states = {key: column[index] for key, column in frames.states.items()}
        found.append(({**images, **states}, frames.episode(index).instruction))
    return found


def measure(folder: Path, seen: list[tuple[dict, str]]) -> dict[str, dict[str, list[float]]]:
    """Seconds of every answer, by way and stage; the ways take turns at each observation."""
    fast, plain, flow = (
        open_policy(folder, options=PolicyOptions(device="auto", decoder=name, think=think))
        for name, think in (("fast", True), ("fast", False), ("flow", True))
    )
    stages = Stages()
    found: dict[str, dict[str, list[float]]] = {way: {} for way in WAYS}
    with ExitStack() as stack:
        for name, function in STAGES.items():
            timed = stages.timed(name, getattr(flow_decoder, function))
            stack.enter_context(patch.object(flow_decoder, function, timed))
        ways = zip(WAYS, (plain, fast, flow, flow), (False, False, False, True), strict=True)
        ways = tuple(ways)
        for values, words in [*seen[:3], *seen]:  # the first ones warm up
            kept = flow.think(values, words)
            for way, policy, keeps in ways:
                stages.seconds.clear()
                started = time.perf_counter()
                policy.act(values, words, thought=kept if keeps else None)
                total = time.perf_counter() - started
                rest = total - sum(stages.seconds.values())
                for name, value in {**stages.seconds, "rest": rest, "total": total}.items():
                    found[way].setdefault(name, []).append(value)
    return {
        way: {name: times[-len(seen) :] for name, times in parts.items()}
        for way, parts in found.items()
    }


def summary(found: dict[str, dict[str, list[float]]]) -> dict[str, dict]:
    """Figures by way."""
    base = np.array(found[BASE]["total"])
    out = {}
    for way, parts in found.items():
        total = np.array(parts["total"])
        ratios = [
            float(np.median(part))
            for part in np.array_split(total / base, min(BLOCKS, len(total)))
        ]
        entry = {
            "n": len(total),
            "p50_ms": float(np.percentile(total, 50) * 1e3),
            "p99_ms": float(np.percentile(total, 99) * 1e3),
            "ratio": float(np.median(total / base)),
            "ratio_blocks": [min(ratios), max(ratios)],
        }
        if way.startswith("flow"):
            entry["shares"] = {
                name: float(np.sum(times) / np.sum(total))
                for name, times in parts.items()
                if name != "total"
            }
        out[way] = entry
    return out


def main() -> int:
    """Run; 0 when the kept thought is a fifth of thought and tokens, a new one less than them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--policy", type=Path, required=True, help="folder with both decoders")
    parser.add_argument("--dataset", type=Path, required=True, help="data set to take frames from")
    parser.add_argument("--frames", type=int, default=100)
    parser.add_argument("--threads", type=int, default=1, help="torch threads")
    parser.add_argument("--out", type=Path, default=Path("out/bench"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    figures = summary(measure(options.policy, observations(options.dataset, options.frames)))
    options.out.mkdir(parents=True, exist_ok=True)
    record = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "threads": options.threads,
        "policy": str(options.policy),
        "decoders": figures,
    }
    (options.out / "decoders.json").write_text(json.dumps(record, indent=1) + "\n")
    print("| way | n | p50 ms | p99 ms | of thought + fast |\n|---|---:|---:|---:|---:|")
    for way, entry in figures.items():
        low, high = entry["ratio_blocks"]
        print(
            f"| {way} | {entry['n']} | {entry['p50_ms']:.1f} | {entry['p99_ms']:.1f} | "
            f"{entry['ratio']:.2f} ({low:.2f}-{high:.2f}) |"
        )
    for way, entry in figures.items():
        if "shares" in entry:
            shares = ", ".join(f"{name} {100 * v:.0f} %" for name, v in entry["shares"].items())
            print(f"{way}: {shares}")
    kept, new = (figures[f"flow, {how} thought"]["ratio"] for how in ("kept", "new"))
    return 0 if kept <= 0.2 and new < 1.0 else 1


if __name__ == "__main__":
    sys.exit(main())
