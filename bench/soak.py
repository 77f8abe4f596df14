"""Memory of policy_node and sim_robot_node over an hour of lock-step episodes.

One episode follows the other, with ever new seeds, through the real nodes and a real checkpoint.
The resident memory of both processes is read every few seconds from the kernel. What counts is
the slope after a warm-up (caches fill, allocators settle): least squares over means of a minute,
with a 95 % interval from the same fit. The curve is drawn beside the JSON.

    python bench/soak.py --policy out/demo/sft/policy --minutes 60 --out out/bench/soak
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import threading
import time
from pathlib import Path

import numpy as np
from scipy import stats

from roboalign_policy.core.host.facts import free_domains

SAMPLE_S = 5.0
LIMIT_MB_PER_H = 5.0
NODES = ("policy_node", "sim_robot_node")


def resident_mb(pid: int) -> float:
    """Resident memory of a process, MB; Source: proc(5), VmRSS."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"process {pid} has no VmRSS: it has ended")


def slope(minutes: np.ndarray, mb: np.ndarray, warm_up: float) -> dict:
    """Growth after the warm-up in MB an hour with its 95 % interval, over means of a minute."""
    late = minutes >= warm_up
    bins = minutes[late].astype(int)
    means = np.array([[b, mb[late][bins == b].mean()] for b in np.unique(bins)])
    fit = stats.linregress(means[:, 0], means[:, 1])
    half = stats.t.ppf(0.975, len(means) - 2) * fit.stderr
    return {
        "mb_per_h": fit.slope * 60,
        "interval": [(fit.slope - half) * 60, (fit.slope + half) * 60],
        "first_mb": means[0, 1],
        "last_mb": means[-1, 1],
        "minutes": len(means),
    }


def draw(minutes: np.ndarray, curves: dict[str, np.ndarray], warm_up: float, path: Path) -> None:
    """Draw the curves."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(len(curves), 1, figsize=(8, 5), sharex=True, layout="constrained")
    for ax, (name, mb) in zip(axes, curves.items(), strict=True):
        ax.plot(minutes, mb, linewidth=1)
        ax.axvspan(0, warm_up, color="0.9", label="warm-up")
        ax.set(title=name, ylabel="resident memory, MB")
        ax.set_ylim(mb.min() - 20, mb.max() + 20)
        ax.legend(loc="lower right")
    axes[-1].set_xlabel("minutes of lock-step episodes")
    figure.savefig(path, dpi=120)
    plt.close(figure)


def main() -> int:
    """Run; 0 when neither process grows by more than the limit."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--policy", type=Path, required=True, help="checkpoint folder")
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--warm-up", type=float, default=10.0, help="minutes left out of the fit")
    parser.add_argument("--out", type=Path, default=Path("out/bench/soak"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    os.environ["ROS_DOMAIN_ID"] = str(*free_domains(range(11, 101), 1))
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from roboalign_policy.nodes.clients.rollout_client import RolloutJob, run_rollouts
    from roboalign_policy.nodes.node_process import NodeProcess
    from roboalign_policy.sim import SUITES

    policy = {
        "policy": str(options.policy),
        "execution": "lockstep",
        "output": "command",
        "autostart": True,
        "num_threads": 1,
    }
    package = "roboalign_policy.nodes"
    started = [
        NodeProcess(f"{package}.{NODES[0]}", policy, options.out / "policy.log"),
        NodeProcess(f"{package}.{NODES[1]}", {"mode": "lockstep"}, options.out / "sim.log"),
    ]
    rows: list[list[float]] = []
    begin_s = time.monotonic()
    over = threading.Event()

    def sample() -> None:
        while not over.wait(SAMPLE_S):
            minutes = (time.monotonic() - begin_s) / 60
            rows.append([minutes, *(resident_mb(process.pid) for process in started)])
            (options.out / "rows.json").write_text(json.dumps(rows), encoding="utf-8")

    def jobs():
        tasks = [(suite, task.name) for suite, all_ in SUITES.items() for task in all_]
        seed = 5_000_000  # far from seeds of recording, training and evaluation
        while time.monotonic() - begin_s < options.minutes * 60:
            suite, task = tasks[seed % len(tasks)]
            yield RolloutJob(suite, task, seed)
            seed += 1

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    episodes = steps = 0
    try:
        for result in run_rollouts(jobs()):
            episodes, steps = episodes + 1, steps + result.steps
            if episodes % 50 == 0:
                print(f"{rows[-1][0] if rows else 0:.1f} min, {episodes} episodes", flush=True)
    finally:
        over.set()
        thread.join()
        for process in started:
            process.stop()
    data = np.array(rows)
    curves = dict(zip(NODES, data[:, 1:].T, strict=True))
    growth = {name: slope(data[:, 0], mb, options.warm_up) for name, mb in curves.items()}
    record = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "minutes": float(data[-1, 0]),
        "episodes": episodes,
        "steps": steps,
        "growth": growth,
    }
    (options.out / "soak.json").write_text(json.dumps(record, indent=1), encoding="utf-8")
    draw(data[:, 0], curves, options.warm_up, options.out / "memory.png")
    print(json.dumps(record, indent=1))
    return 0 if all(g["interval"][0] <= LIMIT_MB_PER_H for g in growth.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
