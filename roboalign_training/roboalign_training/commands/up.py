"""`roboalign up`: starts what real_robot.launch.py starts, where launch is not installed.

Each node is a process in a group of its own, so that ctrl-C reaches this program alone, which
then ends them in order: SIGTERM, at last SIGKILL. When one node ends, all end. Should this program
itself be killed, its nodes notice and end by themselves, the gate with the safe action.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import functools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from roboalign_policy.core.contract.contract import ContractError, load_contract
from roboalign_policy.core.contract.files import CONTRACT, find_contract
from roboalign_policy.core.host.ending import ENDS_WITH, EndRequest, ends_with_this_process
from roboalign_policy.core.parameters.declared import ParameterError
from roboalign_policy.core.parameters.files import find_parameter_file
from roboalign_policy.core.policy.default_place import (
    BEST,
    DEMO,
    BestPolicyError,
    find_policy,
)

STOP_TIMEOUT_S = 40.0  # a gate ends in less than a second; a recorder brings its bag to the disk
_PR_SET_PDEATHSIG = 1  # Source: prctl(2), <linux/prctl.h>
_LIBC = ctypes.CDLL(None)  # loaded here: between fork and exec nothing may be loaded
_POLL_S = 0.1


@dataclass(frozen=True)
class Program:
    """One node to start: executable name, as in a launch file, and its parameters."""

    executable: str
    parameters: dict[str, bool | int | float | str]
    params_file: str = ""

    def command(self, namespace: str) -> list[str]:
        """Command line that runs the node's module with this interpreter."""
        command = [sys.executable, "-m", "roboalign_policy.nodes.start", self.executable]
        command += ["--ros-args"]
        if namespace:
            command += ["-r", f"__ns:=/{namespace.strip('/')}"]
        if self.params_file:
            command += ["--params-file", self.params_file]
        for name, value in self.parameters.items():
            # JSON is YAML in which a text stays a text, also when it looks like a number.
            command += ["-p", f"{name}:={json.dumps(value, ensure_ascii=False)}"]
        return command


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    p = argparse.ArgumentParser(prog="roboalign up", description=__doc__.splitlines()[0])
    p.add_argument(
        "--policy",
        default="",
        help="folder of the checkpoint that drives (default: $ROBOALIGN_POLICY, else the "
        f"one that the demo chose, {DEMO}/{BEST}, here or in the checkout)",
    )
    p.add_argument(
        "--contract",
        default="",
        help="robot contract, path or packaged name (default: the one stored in the checkpoint)",
    )
    p.add_argument(
        "--remote",
        default="",
        metavar="URL",
        help="address of `roboalign serve` instead of a checkpoint here; needs --contract",
    )
    p.add_argument(
        "--decoder",
        choices=("auto", "fast", "flow"),
        default="auto",
        help="tokens or action head, where the checkpoint has both (default: as it says)",
    )
    p.add_argument("--sim", action="store_true", help="simulated arm instead of a robot")
    p.add_argument(
        "--enabled",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="enable the gate, and drive as soon as there is an instruction "
        "(default: only with --sim)",
    )
    p.add_argument(
        "--dry-run",
        action="store_true",
        help="send what passes the safety gate to dry_run/... topics, not to the controllers",
    )
    p.add_argument("--namespace", default="", help="of all nodes and topics; one a robot")
    p.add_argument("--params", default="", help="parameter file of policy_node")
    p.add_argument("--gate-params", default="", help="parameter file of safety_gate_node")
    p.add_argument(
        "--suite",
        choices=("object", "spatial", "goal", "long"),
        help="with --sim: suite of the simulated task (default: object)",
    )
    p.add_argument("--task", help="with --sim: default is the suite's first")
    p.add_argument("--seed", type=int, help="with --sim: of scene and start pose (default: 0)")
    p.add_argument("--record", default="", metavar="FOLDER", help="also start the recorder")
    return p


def parse_options(argv: Sequence[str] | None) -> argparse.Namespace:
    """Options of the command line; exits with a message where they are not usable."""
    known = parser()
    options = known.parse_args(argv)
    if options.remote:
        if not options.contract:
            known.error("--remote: found no --contract, expected the contract that is served")
        if options.policy:
            known.error("--policy: found beside --remote, expected one of them")
        if options.decoder != "auto":
            known.error("--decoder: found beside --remote, expected it with `roboalign serve`")
    else:
        try:
            options.policy = str(find_policy(options.policy))
        except (FileNotFoundError, BestPolicyError) as error:
            known.error(f"--policy: {error}")
    for option in ("params", "gate_params"):
        flag = f"--{option.replace('_', '-')}"
        if text := getattr(options, option):
            try:
                setattr(options, option, str(find_parameter_file(text, flag)))
            except ParameterError as error:
                known.error(str(error))
    if options.namespace:
        from roboalign_policy.nodes.graph_endpoints import checked_namespace

        try:
            checked_namespace(options.namespace)
        except ValueError as error:
            known.error(f"--{error}")
    for option in ("suite", "task", "seed"):
        if not options.sim and (value := getattr(options, option)) is not None:
            known.error(f"--{option}: found {value} without --sim, expected both or none")
    options.suite, options.task = options.suite or "object", options.task or ""
    options.seed = options.seed or 0
    if options.task:
        from roboalign_policy.sim import find_task

        try:
            find_task(options.suite, options.task)
        except ValueError as error:
            known.error(f"--task: {error}")
    if options.contract:
        try:
            load_contract(find_contract(options.contract))
        except ContractError as error:
            known.error(f"--contract: {error}")
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
        own = Path(options.policy) / CONTRACT if options.policy else ""
        recorder = {"bag_dir": options.record, "contract": options.contract or str(own)}
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
    if options.decoder != "auto":  # what a parameter file says is not overwritten unasked
        policy["decoder"] = options.decoder
    if options.remote:
        policy |= {"inference": "remote", "remote_url": options.remote}
    programs.append(Program("policy_node", policy, options.params))
    return programs


def _follow(parent: int) -> None:
    """Runs in the child before exec: SIGTERM from the kernel when the parent dies.

    The nodes look for it themselves too (`core.host.ending`), once they have come so far. The
    signal comes with the end of the *thread* that started the child: here that is the main one.

    Source: prctl(2), PR_SET_PDEATHSIG.
    """
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        os._exit(0)  # it died before it was asked to be told


def _say(text: str) -> None:
    """A line on the terminal, if that is still there."""
    with contextlib.suppress(OSError):
        print(f"roboalign up: {text}", file=sys.stderr, flush=True)


class Processes:
    """The started nodes."""

    def __init__(self) -> None:
        self._running: list[tuple[str, subprocess.Popen]] = []

    def start(self, name: str, command: Sequence[str]) -> None:
        """Start one; it writes to this terminal."""
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            env={**os.environ, ENDS_WITH: ends_with_this_process()},
            preexec_fn=functools.partial(_follow, os.getpid()),
        )
        self._running.append((name, process))

    def ended(self) -> tuple[str, int] | None:
        """Name and exit code of a process that has ended, if any has."""
        for name, process in self._running:
            if (code := process.poll()) is not None:
                return name, code
        return None

    def stop(self, timeout_s: float) -> None:
        """End all, none is left: SIGTERM, and SIGKILL after ``timeout_s``."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            for name, process in reversed(self._running):
                if process.poll() is None:
                    if number == signal.SIGKILL:
                        _say(f"{name} did not end within {timeout_s:g} s: killed")
                    os.killpg(process.pid, number)
            until_s = time.monotonic() + timeout_s
            while self._alive() and time.monotonic() < until_s:
                time.sleep(_POLL_S / 2)
            if not self._alive():
                return

    def _alive(self) -> bool:
        return any(process.poll() is None for _, process in self._running)


def supervise(
    commands: Sequence[tuple[str, Sequence[str]]], stop_timeout_s: float = STOP_TIMEOUT_S
) -> int:
    """Run named commands until a signal comes or one of them ends.

    Args:
        commands: name and command line of each.
        stop_timeout_s: s; time to end in order.

    Returns:
        0 when stopped by a signal; else the exit code of the one that ended, 1 if that was 0.
    """
    request, processes = EndRequest(), Processes()
    try:
        for name, command in commands:
            processes.start(name, command)
            _say(f"started {name}")
        while not (why := request.wait(_POLL_S)):
            if (ended := processes.ended()) is not None:
                name, code = ended
                _say(f"{name} ended with code {code}; stopping")
                return code if code > 0 else 1
        _say(f"stopping: {why}")
        return 0
    finally:
        processes.stop(stop_timeout_s)


def main(argv: Sequence[str] | None = None) -> int:
    """Run `roboalign up`."""
    options = parse_options(argv)
    programs = programs_from_options(options)
    return supervise([(p.executable, p.command(options.namespace)) for p in programs])


if __name__ == "__main__":
    sys.exit(main())
