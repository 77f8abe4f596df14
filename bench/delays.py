"""Closed loop in real time when answers are late: with and without real-time chunking.

    python bench/delays.py OUT --policy FOLDER --delays 0 300 --chunking fresh guided

For each delay and each way to continue a chunk, `roboalign up --sim` drives the simulated arm
through policy_node and the safety gate, with the policy behind `bench/delayed_server.py`. The same
seeds for all; `bench/realtime.py` says how an episode is driven and judged. The arm goes on while
the model computes (`--mode async_blend`), or waits for it (`--mode sync`, with `fresh` alone).
Results go to OUT/<chunking>-<delay>/, one line an episode; a repeated call drives what is missing,
and is refused where OUT was begun with another policy or in another way. OUT/summary.json and the
table have, for each setting, successes with Wilson 95 % intervals, how many also count the time of
rests, pairs against the first setting (exact McNemar), the jerk of what was commanded, and the
chunk's time.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from realtime import BenchError, Robot, Started
from scipy.stats import binomtest

from roboalign_policy.core.policy.options import CHUNKING
from roboalign_policy.sim import SUITES
from roboalign_training.evaluate.closed_loop import (
    DrivenEpisode,
    DrivingOptions,
    describe_run,
    episodes_of_suites,
    read_results,
)
from roboalign_training.evaluate.seeds import CLOSED_LOOP_SEED
from roboalign_training.shared.differences import differences
from roboalign_training.shared.statistics import wilson_interval

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Setting:
    """One way to drive: ``delay_ms`` more for each answer, and one of `CHUNKING`."""

    delay_ms: float
    chunking: str

    @property
    def name(self) -> str:
        """Of its folder."""
        return f"{self.chunking}-{self.delay_ms:g}"


def drive(
    setting: Setting, options: argparse.Namespace, episodes: list[DrivenEpisode]
) -> list[dict]:
    """Drive what is missing of a setting; the records of all episodes."""
    out = options.out / setting.name
    out.mkdir(parents=True, exist_ok=True)
    found = read_results(out)
    missing = [episode for episode in episodes if episode not in found]
    if missing:
        server = _serve(setting, options, out)
        try:
            url = server.stdout.readline().strip()
            if not url.startswith("ws://"):
                raise BenchError(f"{setting.name}: no server, see {out / 'server.log'}")
            params = out / "policy.yaml"
            params.write_text(_parameters(setting, options))
            command = f"roboalign up --sim --remote {url} --contract sim_panda --params {params}"
            started, robot = Started(command, out / "nodes.log"), Robot()
            try:
                robot.connect()
                with (out / "results.jsonl").open("a") as file:
                    for number, episode in enumerate(missing, 1):
                        record = robot.drive(episode)
                        file.write(json.dumps(record) + "\n")
                        file.flush()
                        found[episode] = record
                        print(
                            f"{setting.name} {number}/{len(missing)} {episode.name}: "
                            f"{'success' if record['success'] else 'not'}, "
                            f"{record['steps']} steps {record['gate_stops'] or ''}",
                            flush=True,
                        )
            finally:
                robot.close()
                started.close()
        finally:
            server.terminate()
            server.wait(20.0)
    return [found[episode] for episode in episodes]


def _way(options: argparse.Namespace) -> dict:
    """What all results of a folder have in common."""
    names = ("decoder", "mode", "replan_after_steps", "overtake_steps", "reasoning")
    return {name: getattr(options, name) for name in names}


def _begun_otherwise(options: argparse.Namespace) -> str:
    """Why results cannot be added to those in OUT; notes the way where there are none."""
    path, way = options.out / "run.json", _way(options)
    driven_by = describe_run(Path(options.policy), DrivingOptions(decoder=options.decoder))
    way["policy_hash"] = driven_by["policy_hash"]
    if path.is_file():
        if other := "; ".join(differences(json.loads(path.read_text()), way)):
            return f"{path}: begun in another way ({other}): choose another OUT"
        return ""
    options.out.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(way, indent=1) + "\n")
    return ""


def _serve(setting: Setting, options: argparse.Namespace, out: Path) -> subprocess.Popen:
    command = [
        sys.executable, str(HERE / "delayed_server.py"), "--policy", options.policy,
        "--delay-ms", str(setting.delay_ms), "--chunking", setting.chunking,
        "--decoder", options.decoder,
    ]  # fmt: skip
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    with (out / "server.log").open("a") as log:
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, env=env)


def _parameters(setting: Setting, options: argparse.Namespace) -> str:
    return (
        "/**:\n  ros__parameters:\n"
        f"    chunking: {setting.chunking}\n"
        f"    mode: {options.mode}\n"
        f"    overtake_steps: {options.overtake_steps}\n"
        f"    replan_after_steps: {options.replan_after_steps}\n"
        f"    reasoning: {options.reasoning}\n"
    )


def summarise(setting: Setting, records: list[dict], first: list[dict]) -> dict:
    """Figures of one setting; ``first``: records of the setting that it is paired with."""
    won, n = sum(r["success"] for r in records), len(records)
    pairs = [(r["success"], f["success"]) for r, f in zip(records, first, strict=True)]
    more, less = sum(a and not b for a, b in pairs), sum(b and not a for a, b in pairs)
    seconds = [s for r in records for s in r["inference_s"]]
    jerks = [r["jerk_m_s3"] for r in records if r["jerk_m_s3"] is not None]
    return {
        "delay_ms": setting.delay_ms,
        "chunking": setting.chunking,
        "successes": won,
        "n": n,
        "interval": list(wilson_interval(won, n)),
        "in_time": sum(r["in_time"] for r in records),
        "by_suite": {
            suite: sum(r["success"] for r in records if r["suite"] == suite) for suite in SUITES
        },
        "only_here": more,
        "only_first": less,
        "mcnemar_p": float(binomtest(more, more + less, 0.5).pvalue) if more + less else 1.0,
        "stopped_by_gate": sum(bool(r["gate_stops"]) for r in records),
        "jerk_m_s3_median": float(np.median(jerks)) if jerks else None,
        "answer_s_p50": float(np.percentile(seconds, 50)) if seconds else None,
        "answer_s_p99": float(np.percentile(seconds, 99)) if seconds else None,
    }


def shown(rows: list[dict]) -> str:
    """A Markdown table."""
    lines = [
        "| delay | chunking | successes | waiting counted | only here / only first | p | "
        "stopped by the gate | jerk, RMS, median m/s³ | answer p50, p99 ms |",
        "|---:|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        low, high = row["interval"]
        jerk = row["jerk_m_s3_median"]
        lines.append(
            f"| {row['delay_ms']:g} ms | {row['chunking']} | {row['successes']}/{row['n']} "
            f"({100 * low:.0f}-{100 * high:.0f} %) | {row['in_time']} | {row['only_here']} / "
            f"{row['only_first']} | {row['mcnemar_p']:.2f} | {row['stopped_by_gate']} | "
            f"{'' if jerk is None else f'{jerk:.1f}'} | {1e3 * row['answer_s_p50']:.0f}, "
            f"{1e3 * row['answer_s_p99']:.0f} |"
        )
    return "\n".join(lines)


def main() -> int:
    """Drive, write, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="folder of the results")
    parser.add_argument("--policy", required=True, help="folder of the checkpoint")
    parser.add_argument("--delays", nargs="+", type=float, default=[0, 100, 200, 400], help="ms")
    parser.add_argument("--chunking", nargs="+", choices=CHUNKING, default=["fresh", "guided"])
    parser.add_argument("--decoder", choices=("auto", "fast", "flow"), default="auto")
    parser.add_argument("--per-suite", type=int, default=12, help="episodes a suite")
    parser.add_argument("--seed", type=int, default=CLOSED_LOOP_SEED, help="the first")
    parser.add_argument("--replan-after-steps", type=int, default=4)
    parser.add_argument("--mode", choices=("async_blend", "sync"), default="async_blend")
    parser.add_argument("--overtake-steps", type=int, default=8)
    parser.add_argument("--reasoning", default="always", help="as policy_node's parameter")
    options = parser.parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if options.mode == "sync" and options.chunking != ["fresh"]:
        found = " ".join(options.chunking)
        parser.error(f"--chunking: found {found}, expected fresh with --mode sync: it waits")
    if fault := _begun_otherwise(options):
        parser.error(fault)
    episodes = episodes_of_suites(SUITES, options.per_suite, options.seed)
    settings = [Setting(delay, way) for delay in options.delays for way in options.chunking]
    first, rows = None, []
    for setting in settings:
        records = drive(setting, options, episodes)
        first = first or records
        rows.append(summarise(setting, records, first))
        report = {
            "policy": options.policy,
            "cores": len(os.sched_getaffinity(0)),
            **_way(options),
            "settings": rows,
        }
        (options.out / "summary.json").write_text(json.dumps(report, indent=1) + "\n")
    print(shown(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
