"""How processes end: signals and the death of who started them, in every state, many times.

An end is clean where everything that was started has ended in time, with status 0 and without a
traceback, nothing is left in shared memory, the last command that the controllers heard is the
safe one, and an episode that was recorded is in its data set.

    python bench/ends.py --repeats 50 --policy out/demo/grpo/policy --out out/bench/ends
    python bench/ends.py --states driving,append --repeats 5

Exit status 0: all ends were clean; 1: some were not, see the table and ends.json.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from end_processes import Watcher, patient_contract
from end_trial import Trial
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from roboalign_policy.core.host.facts import free_domains
from roboalign_policy.nodes.start import module_of
from roboalign_training.shared.statistics import wilson_interval

HERE = Path(__file__).resolve()
START_S = 180.0  # a busy machine is slow, not unclean
#: Ways to end: to the process that starts the nodes, or to the nodes themselves.
WAYS = ("SIGINT", "SIGTERM", "SIGHUP", "starter SIGKILL", "starter SIGTERM")


@dataclass(frozen=True)
class State:
    """What the nodes are at when they are told to end.

    Attributes:
        text: in the table.
        commands: of the nodes to start, by name.
        ready: waits until the state is reached.
        check: what must hold afterwards besides the clean end; an empty text where it does.
    """

    text: str
    commands: Callable[[Path], dict[str, list[str]]]
    ready: Callable[[Trial], None]
    check: Callable[[Trial], str] = lambda _: ""


def _pairs(parameters: dict[str, Any]) -> list[str]:
    pairs = (("-p", f"{k}:={json.dumps(v)}") for k, v in parameters.items())
    return list(itertools.chain(*pairs))


def node(name: str, **parameters: Any) -> list[str]:
    """Command line of a node."""
    return [sys.executable, "-m", module_of(name), "--ros-args", *_pairs(parameters)]


def _own(what: str, **parameters: Any) -> list[str]:
    return [sys.executable, str(HERE.with_name("end_processes.py")), what, *_pairs(parameters)]


def _waiting(name: str, says: str, **parameters: Any) -> State:
    """A node that has nothing to do; ``says``: in its log then."""

    def ready(trial: Trial) -> None:
        trial.until(lambda: says in trial.log(), START_S, says)
        trial.watcher.spin(float(trial.rng.uniform(0.0, 0.5)))

    def commands(folder: Path) -> dict[str, list[str]]:
        given = {k: str(folder / v) if k == "bag_dir" else v for k, v in parameters.items()}
        return {name: node(name, **given)}

    return State(f"{name} waits", commands, ready)


def _loading(policy: str) -> State:
    def ready(trial: Trial) -> None:
        trial.until(lambda: "loading the policy" in trial.log(), START_S, "the loading")
        trial.watcher.spin(float(trial.rng.uniform(0.0, 2.0)))

    command = node("policy_node", policy=policy, autostart=True)
    return State("policy_node loads", lambda _: {"policy_node": command}, ready)


def _driving(patience: float) -> State:
    def commands(folder: Path) -> dict[str, list[str]]:
        contract = patient_contract(folder / "contract.yaml", patience)
        gate = {"contract": contract, "candidate_timeout_s": 0.15 * patience}
        return {
            "sim": node("sim_robot_node"),
            "gate": node("safety_gate_node", enabled=True, **gate),
            "policy": _own("policy", contract=contract, observation_timeout_s=2.0 * patience),
        }

    def ready(trial: Trial) -> None:
        trial.until(lambda: trial.watcher.motions() >= 5, START_S, "motion")
        trial.watcher.spin(float(trial.rng.uniform(0.0, 0.5)))

    def check(trial: Trial) -> str:
        trial.watcher.spin(0.3)
        return "" if trial.watcher.still() else "the last command moves the arm"

    return State("all drive", commands, ready, check)


def _append() -> State:
    def commands(folder: Path) -> dict[str, list[str]]:
        places = {"bag_dir": str(folder / "bags"), "dataset_dir": str(folder / "data")}
        return {
            "sim": node("sim_robot_node", mode="lockstep", demonstrator="expert"),
            "recorder": node("recorder_node", lossless=True, log_time="header", **places),
        }

    def ready(trial: Trial) -> None:
        trial.watcher.record(START_S)
        trial.watcher.spin(float(trial.rng.uniform(0.0, 1.0)))

    def check(trial: Trial) -> str:
        # After a kill of its starter the recorder lets the conversion end as well.
        index = trial.folder / "data" / "dataset.json"
        if not index.exists() or len(json.loads(index.read_text())["episodes"]) != 1:
            return "the episode is not in the data set"
        return ""

    return State("the last episode is appended", commands, ready, check)


def states(policy: str, patience: float) -> dict[str, State]:
    """All states; without a checkpoint none of loading one."""
    found = {
        "gate": _waiting("safety_gate_node", "disabled", contract="sim_panda"),
        "policy": _waiting("policy_node", "waiting to be configured"),
        "sim": _waiting("sim_robot_node", "realtime, demonstrator"),
        "recorder": _waiting("recorder_node", "topics of", bag_dir="bags"),
        "loading": _loading(policy),
        "driving": _driving(patience),
        "append": _append(),
    }
    return {name: state for name, state in found.items() if policy or name != "loading"}


def run(state: State, repeats: int, seed: int, out: Path) -> Iterator[dict[str, Any]]:
    """Trials of one state, the ways to end in turn.

    Yields:
        ``way``, ``wrong`` (empty: a clean end), ``seconds`` from the asking to the end, and
        ``not_reached``, why the state was not reached; such a trial counts neither way.
    """
    rng = np.random.default_rng([seed, *state.text.encode()])
    with Watcher() as watcher, tempfile.TemporaryDirectory(prefix="ends-") as folder:
        for number in range(repeats):
            way = WAYS[number % len(WAYS)]
            place = Path(folder) / f"{number}"
            place.mkdir()
            trial = Trial(state.commands(place), place, watcher, rng)
            try:
                try:
                    state.ready(trial)
                except (TimeoutError, RuntimeError) as error:
                    yield {"way": way, "wrong": "", "seconds": 0.0, "not_reached": str(error)}
                    continue
                asked_s = time.monotonic()
                wrong = trial.end(way)
                seconds = time.monotonic() - asked_s
                wrong = wrong or state.check(trial)
            finally:
                trial.close()
            if wrong:
                out.with_suffix(f".{number}.log").write_text(trial.log(), encoding="utf-8")
            yield {"way": way, "wrong": wrong, "seconds": seconds, "not_reached": ""}


def table(records: dict[str, list[dict[str, Any]]], known: dict[str, State]) -> str:
    """Markdown: a row a state and way, and one of all."""
    rows = [
        "| state | told to end by | clean | 95 % | seconds p50 / max |",
        "|---|---|---|---|---|",
    ]
    every, missed = [], 0
    for name, found in records.items():
        trials = [t for t in found if not t["not_reached"]]
        every, missed = every + trials, missed + len(found) - len(trials)
        for way in WAYS:
            if some := [t for t in trials if t["way"] == way]:
                rows.append(_row(known[name].text, way, some))
    rows += [_row("all", "", every)] if every else []
    return "\n".join([*rows, *([f"\nNot reached, not counted: {missed}."] if missed else [])])


def _row(text: str, way: str, trials: list[dict[str, Any]]) -> str:
    clean, n = sum(not t["wrong"] for t in trials), len(trials)
    low, high = wilson_interval(clean, n)
    took = sorted(t["seconds"] for t in trials)
    share = f"{100 * low:.0f} to {100 * high:.0f} %"
    return f"| {text} | {way} | {clean} of {n} | {share} | {took[n // 2]:.1f} / {took[-1]:.1f} |"


def main(arguments: list[str] | None = None) -> int:
    """Run all trials; exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=50, help="of each state")
    parser.add_argument("--policy", default="", help="checkpoint for the state of loading one")
    parser.add_argument("--states", default="", help="names, comma between; all")
    parser.add_argument("--seed", type=int, default=0, help="of the phases")
    parser.add_argument(
        "--patience",
        type=float,
        default=1.0,
        help="1 to 30: the arm drives on with messages so many times later, for a busy machine",
    )
    parser.add_argument("--out", type=Path, default=Path("out/bench/ends"))
    options = parser.parse_args(arguments)
    if not 1.0 <= options.patience <= 30.0:
        parser.error(f"--patience: found {options.patience:g}, expected 1 to 30")
    known = states(options.policy, options.patience)
    names = options.states.split(",") if options.states else list(known)
    if unknown := [name for name in names if name not in known]:
        parser.error(f"--states: found {', '.join(unknown)}, expected some of {', '.join(known)}")
    os.environ["ROS_DOMAIN_ID"] = str(free_domains(range(11, 101), 1)[0])
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    # Under nohup, or in the background of a shell, they are ignored, and children inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    options.out.mkdir(parents=True, exist_ok=True)
    console, records = Console(), {}
    columns = (TextColumn("{task.description:10}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console) as progress:
        for name in names:
            task, records[name] = progress.add_task(name, total=options.repeats), []
            for result in run(known[name], options.repeats, options.seed, options.out / name):
                records[name].append(result)
                progress.advance(task)
                if said := result["wrong"] or result["not_reached"]:
                    console.print(f"{name}, {result['way']}: {said}", markup=False)
            text = json.dumps(records, indent=1)
            (options.out / "ends.json").write_text(text, encoding="utf-8")
    text = table(records, known)
    (options.out / "ends.md").write_text(text + "\n", encoding="utf-8")
    print(text)
    return int(any(trial["wrong"] for trials in records.values() for trial in trials))


if __name__ == "__main__":
    sys.exit(main())
