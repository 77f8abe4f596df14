"""`roboalign up`: starts what real_robot.launch.py starts, where launch is not installed.

Each node is a process in a group of its own, so that ctrl-C reaches this program alone, which
then ends them in order: SIGINT, in time SIGTERM, at last SIGKILL. When one node ends, all end.
Should this program itself be killed, the kernel sends its nodes SIGINT.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_PR_SET_PDEATHSIG = 1  # Source: prctl(2), <linux/prctl.h>
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_POLL_S = 0.1


@dataclass(frozen=True)
class Program:
    """One node to start: executable name, as in a launch file, and its parameters."""

    executable: str
    parameters: dict[str, bool | int | float | str]
    params_file: str = ""

    def command(self, namespace: str) -> list[str]:
        """Command line that runs the node's module with this interpreter."""
        command = [sys.executable, "-m", f"roboalign_policy.nodes.{self.executable}", "--ros-args"]
        if namespace:
            command += ["-r", f"__ns:=/{namespace.strip('/')}"]
        if self.params_file:
            command += ["--params-file", self.params_file]
        for name, value in self.parameters.items():
            # JSON is YAML in which a text stays a text, also when it looks like a number.
            command += ["-p", f"{name}:={json.dumps(value, ensure_ascii=False)}"]
        return command


def parse_options(argv: Sequence[str] | None) -> argparse.Namespace:
    """Options of the command line; exits with a message where they are not usable."""
    parser = argparse.ArgumentParser(prog="roboalign up", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--policy",
        default=os.environ.get("ROBOALIGN_POLICY", "out/demo/grpo/policy"),
        help="folder of the checkpoint that drives (default: $ROBOALIGN_POLICY, else %(default)s)",
    )
    parser.add_argument(
        "--contract",
        default="",
        help="robot contract, path or packaged name (default: the one stored in the checkpoint)",
    )
    parser.add_argument(
        "--remote",
        default="",
        metavar="URL",
        help="address of `roboalign serve` instead of a checkpoint here; takes --contract too",
    )
    parser.add_argument("--sim", action="store_true", help="simulated arm instead of a robot")
    parser.add_argument(
        "--enabled",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="enable the gate, and drive as soon as there is an instruction "
        "(default: only with --sim)",
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="send what passes the safety gate to dry_run/... topics, not to the controllers",
    )
    parser.add_argument("--namespace", default="", help="of all nodes and topics; one a robot")
    parser.add_argument("--params", default="", help="parameter file of policy_node")
    parser.add_argument("--gate-params", default="", help="parameter file of safety_gate_node")
    parser.add_argument(
        "--suite",
        default="object",
        choices=("object", "spatial", "goal", "long"),
        help="with --sim: suite of the simulated task (default: %(default)s)",
    )
    parser.add_argument("--task", default="", help="with --sim: default is the suite's first")
    parser.add_argument("--seed", type=int, default=0, help="with --sim: of scene and start pose")
    parser.add_argument("--record", default="", metavar="FOLDER", help="also start the recorder")
    options = parser.parse_args(argv)
    if options.remote:
        if not options.contract:
            parser.error("--remote: found no --contract, expected the contract that is served")
        options.policy = ""
    elif not Path(options.policy).is_dir():
        parser.error(f"--policy: found no folder {options.policy!r}, expected a checkpoint")
    for option in ("params", "gate_params"):
        path = getattr(options, option)
        if path and not Path(path).is_file():
            flag = f"--{option.replace('_', '-')}"
            parser.error(f"{flag}: found no file {path!r}, expected a parameter file")
    if options.enabled is None:
        options.enabled = options.sim
    return options


def programs_from_options(options: argparse.Namespace) -> list[Program]:
    """Nodes to start, in order: those of real_robot.launch.py, and the recorder on request."""
    programs = []
    if options.sim:
        episode = {"suite": options.suite, "task": options.task, "seed": options.seed}
        programs.append(Program("sim_robot_node", {"mode": "realtime", **episode}))
    if options.record:
        recorder = {"bag_dir": options.record}
        if options.contract:
            recorder["contract"] = options.contract
        programs.append(Program("recorder_node", recorder))
    gate = {
        "policy": options.policy,
        "contract": options.contract,
        "enabled": options.enabled,
        "dry_run": options.dry_run,
    }
    programs.append(Program("safety_gate_node", gate, options.gate_params))
    policy = {
        "policy": options.policy,
        "contract": options.contract,
        "execution": "realtime",
        "output": "candidate",
        "autostart": True,
        "enabled": options.enabled,
    }
    if options.remote:
        policy |= {"inference": "remote", "remote_url": options.remote}
    programs.append(Program("policy_node", policy, options.params))
    return programs


def _follow_parent() -> None:
    """Runs in the child before exec: SIGINT from the kernel when the parent dies.

    Source: prctl(2), PR_SET_PDEATHSIG.
    """
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGINT)


class Processes:
    """The started nodes."""

    def __init__(self) -> None:
        self._running: list[tuple[str, subprocess.Popen]] = []

    def start(self, name: str, command: Sequence[str]) -> None:
        """Start one; it writes to this terminal."""
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, start_new_session=True, preexec_fn=_follow_parent
        )
        self._running.append((name, process))

    def ended(self) -> tuple[str, int] | None:
        """Name and exit code of a process that has ended, if any has."""
        for name, process in self._running:
            if (code := process.poll()) is not None:
                return name, code
        return None

    def stop(self, timeout_s: float = 10.0) -> None:
        """End all, none is left: SIGINT, then SIGTERM, then SIGKILL, each after ``timeout_s``."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
            for _, process in reversed(self._running):
                if process.poll() is None:
                    os.killpg(process.pid, number)
            until_s = time.monotonic() + timeout_s
            while self._alive() and time.monotonic() < until_s:
                time.sleep(_POLL_S / 2)
            if not self._alive():
                return

    def _alive(self) -> bool:
        return any(process.poll() is None for _, process in self._running)


def supervise(commands: Sequence[tuple[str, Sequence[str]]], stop_timeout_s: float = 10.0) -> int:
    """Run named commands until a signal comes or one of them ends.

    Args:
        commands: name and command line of each.
        stop_timeout_s: s; time for each of the three signals when stopping.

    Returns:
        0 when stopped by a signal; else the exit code of the one that ended, 1 if that was 0.
    """
    asked = threading.Event()
    before = {number: signal.signal(number, lambda *_: asked.set()) for number in _SIGNALS}
    processes = Processes()
    try:
        for name, command in commands:
            processes.start(name, command)
            print(f"roboalign up: started {name}", flush=True)
        while not asked.wait(_POLL_S):
            if (ended := processes.ended()) is not None:
                name, code = ended
                print(f"roboalign up: {name} ended with code {code}; stopping", file=sys.stderr)
                return code if code > 0 else 1
        print("roboalign up: stopping", flush=True)
        return 0
    finally:
        processes.stop(stop_timeout_s)
        for number, handler in before.items():
            signal.signal(number, handler)


def main(argv: Sequence[str] | None = None) -> int:
    """Run `roboalign up`."""
    options = parse_options(argv)
    programs = programs_from_options(options)
    return supervise([(p.executable, p.command(options.namespace)) for p in programs])


if __name__ == "__main__":
    sys.exit(main())
