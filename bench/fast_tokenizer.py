"""FAST tokenizer throughput beside a straightforward implementation of the published algorithm.

The comparator takes one chunk after the other: scipy DCT, round, `chr`, one BPE call; and back:
one BPE decode, `ord`, scipy inverse DCT. Both sides run here, on the same chunks and the same
vocabulary, alternating. Given are the median of the repeats and the least and greatest ratio of
one repeat, in wall time (ours uses several cores for large batches), and the median ratio of CPU
seconds. A repeat goes through several different batches, so that neither side meets a chunk again
while the processor remembers it. Tokens must be identical and values equal to 1e-9, or the run
fails. The chunks are smooth motion with sensor noise, within [-1, 1].

    python bench/fast_tokenizer.py                    # a vocabulary of 2048 fitted on the spot
    python bench/fast_tokenizer.py --tokenizer FOLDER # for instance the universal one
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy.fft import dct, idct
from tokenizers import Tokenizer

from roboalign_policy.fast import FastTokenizer

SHAPES = ((50, 14), (16, 7))
# Size of a batch, and how many different ones a repeat goes through.
BATCHES = {1: 200, 64: 24, 4096: 1}


def motion(count: int, horizon: int, dims: int, seed: int) -> np.ndarray:
    """Smooth chunks (count, horizon, dims) within [-1, 1]: four harmonics and 1 % noise."""
    rng = np.random.default_rng(seed)
    phase = np.linspace(0, np.pi, horizon)[None, :, None]
    total = rng.normal(scale=0.01, size=(count, horizon, dims))
    for harmonic in range(1, 5):
        amplitude = rng.normal(size=(count, 1, dims)) / harmonic
        offset = rng.uniform(0, 2 * np.pi, size=(count, 1, dims))
        total += amplitude * np.sin(harmonic * phase + offset)
    return np.clip(total, -1, 1)


class Straightforward:
    """The published algorithm, chunk by chunk, from the files of a tokenizer folder."""

    def __init__(self, folder: Path) -> None:
        config = json.loads((folder / "processor_config.json").read_text(encoding="utf-8"))
        self.scale, self.min_token = config["scale"], config["min_token"]
        self.bpe = Tokenizer.from_file(str(folder / "tokenizer.json"))

    def encode(self, actions: np.ndarray) -> list[list[int]]:
        """Tokens of chunks (N, T, D)."""
        tokens = []
        for chunk in actions:
            values = np.around(dct(chunk, axis=0, norm="ortho") * self.scale).astype(int)
            codes = np.maximum(values.flatten() - self.min_token, 0)
            tokens.append(self.bpe.encode("".join(map(chr, codes))).ids)
        return tokens

    def decode(self, tokens: list[list[int]], horizon: int, dims: int) -> np.ndarray:
        """Actions (N, T, D) of token lists."""
        chunks = []
        for row in tokens:
            values = np.array(list(map(ord, self.bpe.decode(row)))) + self.min_token
            chunks.append(idct(values.reshape(horizon, dims) / self.scale, axis=0, norm="ortho"))
        return np.stack(chunks)


def spent(calls: list[Callable[[object], object]], batches: list, repeats: int) -> np.ndarray:
    """Seconds (repeats, calls, [wall, CPU]) of each call on all batches, alternating."""
    seconds = np.empty((repeats, len(calls), 2))
    for call in calls:
        call(batches[0])
    for repeat in range(repeats):
        for index, call in enumerate(calls):
            begin = time.perf_counter(), time.process_time()
            for batch in batches:
                call(batch)
            seconds[repeat, index] = np.array((time.perf_counter(), time.process_time())) - begin
    return seconds


def measure(folder: Path, repeats: int, largest: int) -> list[dict]:
    """One row for each shape and batch: chunks per second of both, and their ratio."""
    ours, theirs = FastTokenizer.load(folder), Straightforward(folder)
    # What is loaded once in a process is not part of the speed.
    ours.encode(motion(64, *SHAPES[0], seed=1), out_of_range="clip")
    rows = []
    for horizon, dims in SHAPES:
        for batch, several in ((b, n) for b, n in BATCHES.items() if b <= largest):
            print(f"({horizon}, {dims}) x {batch} ...", end="\r", file=sys.stderr, flush=True)
            actions = [motion(batch, horizon, dims, seed=batch + i) for i in range(several)]
            tokens = [ours.encode(a, out_of_range="clip") for a in actions]
            for part, written in zip(actions, tokens, strict=True):
                values = ours.decode(written, horizon=horizon, dims=dims)
                if written != theirs.encode(part):
                    raise SystemExit(f"tokens differ at {(horizon, dims)} x {batch}")
                plain = theirs.decode(written, horizon, dims)
                if not np.allclose(values, plain, rtol=0, atol=1e-9):
                    raise SystemExit(f"values differ at {(horizon, dims)} x {batch}")
            runs = {
                "encode": (
                    [lambda a: ours.encode(a, out_of_range="clip"), theirs.encode],
                    actions,
                ),
                "decode": (
                    [
                        lambda t, h=horizon, d=dims: ours.decode(t, horizon=h, dims=d),
                        lambda t, h=horizon, d=dims: theirs.decode(t, h, d),
                    ],
                    tokens,
                ),
            }
            row = {"horizon": horizon, "dims": dims, "batch": batch, "repeats": repeats}
            row["tokens_per_chunk"] = round(float(np.mean([len(t) for p in tokens for t in p])), 1)
            for name, (calls, batches) in runs.items():
                seconds = spent(calls, batches, repeats)
                ratios = seconds[:, 1] / seconds[:, 0]
                mine, peer = np.median(seconds[:, :, 0], axis=0) / several
                row[f"{name}_per_s"] = round(batch / mine)
                row[f"{name}_straightforward_per_s"] = round(batch / peer)
                row[f"{name}_ratio"] = round(float(np.median(ratios[:, 0])), 2)
                row[f"{name}_ratio_least"] = round(float(ratios[:, 0].min()), 2)
                row[f"{name}_ratio_greatest"] = round(float(ratios[:, 0].max()), 2)
                row[f"{name}_cpu_ratio"] = round(float(np.median(ratios[:, 1])), 2)
            rows.append(row)
    return rows


def main(argv: list[str] | None = None) -> int:
    """Runs the benchmark and prints its table; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokenizer", type=Path, help="folder; without it one is fitted")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--largest", type=int, default=4096, help="largest batch to run")
    parser.add_argument("--json", type=Path, help="writes machine, versions and rows there")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as scratch:
        folder = args.tokenizer
        if folder is None:
            folder = Path(scratch)
            chunks = [c for h, d in SHAPES for c in motion(500, h, d, seed=0)]
            FastTokenizer.fit(chunks, vocab_size=2048).save(folder)
        rows = measure(folder, args.repeats, args.largest)
    heads = "".join(
        f" | {name}/s   plain/s  ratio  least to most    CPU" for name in ("encode", "decode")
    )
    print(f"{'shape':>9} {'batch':>5} {'tokens':>6}{heads}")
    for row in rows:
        line = f"({row['horizon']:>3}, {row['dims']:>2}) {row['batch']:>5}"
        line += f" {row['tokens_per_chunk']:>6}"
        for name in ("encode", "decode"):
            line += f" | {row[f'{name}_per_s']:>8} {row[f'{name}_straightforward_per_s']:>9}"
            line += f" {row[f'{name}_ratio']:>6} {row[f'{name}_ratio_least']:>6} to"
            line += f" {row[f'{name}_ratio_greatest']:>5} {row[f'{name}_cpu_ratio']:>6}"
        print(line)
    if args.json:
        machine = {
            "cpus": os.cpu_count(),
            "load_1min": os.getloadavg()[0],
            "machine": platform.machine(),
            "python": platform.python_version(),
            "tokenizer": str(args.tokenizer or "fitted, vocab_size 2048"),
        }
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps({**machine, "rows": rows}, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
