"""The processes of one kind of fault: robot, controller, gate, and who drives."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from fault_campaign import contracts
from fault_campaign.control import SOCKET_VARIABLE, Control
from fault_campaign.link import Link
from fault_campaign.load import Load
from fault_campaign.operator_node import Operator
from fault_campaign.patience import patience
from fault_campaign.policy import REMOTE_VARIABLE
from fault_campaign.server import PORT_VARIABLE
from roboalign_policy.core.host.ending import ENDS_WITH
from roboalign_policy.core.host.shared_memory import (
    abandoned,
    files_of,
    remove,
    shared_memory_files,
)
from roboalign_policy.nodes.node_process import NodeProcess, NodeProcessError

GATE_MODULE = "roboalign_policy.nodes.gate.safety_gate_node"
START_S, _END_S = 40.0, 5.0
POLICY_PARAMETERS = {
    "autostart": True,
    "enabled": True,
    "output": "candidate",
    "mode": "async_blend",  # motion without rests, for a fault to end
    "replan_after_steps": 4,
    "inference_timeout_s": 1.0,
    "status_period_s": 0.2,
}


class Rig:
    """One robot with its gate; a context manager.

    Attributes:
        contract: file of the robot's contract.
        operator: the campaign's node.
        link: between policy and policy server; None without a server.
        load: what else the machine has to do.
    """

    def __init__(
        self, robot: str, driver: str, gate: Mapping[str, Any], folder: Path, sockets: Path
    ) -> None:
        """Start everything and wait until it runs.

        Args:
            robot: TWIST_CONTRACT or JOINT_CONTRACT.
            driver: policy (with a silent sender beside it), remote or sender.
            gate: parameters of safety_gate_node that differ from their defaults.
            folder: for logs and the contract.
            sockets: folder for the control sockets; its path must be short.

        Raises:
            NodeProcessError, ControlError, TimeoutError: something does not start.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self.robot, self.driver, self._folder, self._sockets = robot, driver, folder, sockets
        self._gate_parameters = {"candidate_timeout_s": 0.15 * patience(), **gate}
        self.contract = folder / "contract.yaml"
        self.contract.write_text(yaml.safe_dump(contracts.contract(robot)), encoding="utf-8")
        self._processes: dict[str, NodeProcess] = {}
        self._starters: dict[str, subprocess.Popen] = {}
        self._controls: dict[str, Control] = {}
        self._started_ns: dict[str, int] = {}
        self._before = shared_memory_files()
        self.link: Link | None = None
        self.load = Load()
        self.operator = Operator()
        try:
            names = ["controller", "robot", "gate"]
            if driver == "remote":
                self._server_port = _free_port()
                self.link = Link(self._server_port)
                names.append("server")
            names += ["sender"] if driver == "sender" else ["policy", "sender"]
            for name in names:
                self.start(name, wait=driver == "remote" and name == "server")
            for name in names:
                self.wait_for(name)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Rig:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def start(self, name: str, *, wait: bool = True) -> None:
        """Start a process (anew).

        That is controller, robot, gate, server, policy, sender or observer; ``second_`` before the
        name: another one beside it, a gate asking to be enabled.
        """
        control = self._controls.setdefault(name, Control(self._sockets / name))
        control.close()
        kind, second = name.removeprefix("second_"), name.startswith("second_")
        module, parameters = f"fault_campaign.{kind}", {}
        if kind == "gate":
            module, parameters = GATE_MODULE, {"contract": str(self.contract), "enabled": second}
            parameters.update(self._gate_parameters)
        elif kind == "policy":
            parameters = POLICY_PARAMETERS
        env = {
            SOCKET_VARIABLE: str(control.path),
            contracts.CONTRACT_VARIABLE: str(self.contract),
            contracts.ROBOT_VARIABLE: self.robot,
            "PYTHONPATH": os.pathsep.join(
                [str(Path(__file__).resolve().parents[1]), os.environ.get("PYTHONPATH", "")]
            ),
        }
        if self.link is not None:
            env[REMOTE_VARIABLE] = f"ws://127.0.0.1:{self.link.port}"
            env[PORT_VARIABLE] = str(self._server_port)
        if name in ("gate", "policy"):
            env[ENDS_WITH] = str(self._new_starter(name))
        self._started_ns[name] = time.monotonic_ns()
        log = self._folder / f"{name}.log"
        self._processes[name] = NodeProcess(module, parameters, log, env=env)
        if wait:
            self.wait_for(name)

    def _new_starter(self, name: str) -> int:
        """A process in the place of a launch: the node ends with it. Ends when this one does."""
        if name in self._starters:
            self.kill_starter(name)
        waits = [sys.executable, "-c", "import sys; sys.stdin.read()"]
        self._starters[name] = subprocess.Popen(waits, stdin=subprocess.PIPE)
        return self._starters[name].pid

    def kill_starter(self, name: str) -> int:
        """Kill who started gate or policy (SIGKILL); returns the instant before it."""
        t_ns = time.monotonic_ns()
        with self._starters[name] as starter:
            starter.kill()
        return t_ns

    def wait_for(self, name: str) -> None:
        """Wait until a process that was started runs."""
        alive, since_ns = self._processes[name].check, self._started_ns[name]
        if name != "gate" and not (name == "policy" and self.driver == "remote"):
            self._controls[name].connect(START_S * patience(), alive)
        if name in ("gate", "policy"):
            said = self.operator.gate_since if name == "gate" else self.operator.policy_since

            def up() -> bool:
                alive()
                return bool(said(since_ns))

            self.operator.wait(up, START_S * patience(), f"a status of the {name}")

    def runs(self, name: str) -> bool:
        """Whether a process was started and has not ended."""
        try:
            self._processes[name].check()
        except (KeyError, NodeProcessError):
            return False
        return True

    def said(self, name: str) -> str:
        """The last lines that a process printed."""
        return self._processes[name].tail()

    def ask(self, process: str, /, **request: Any) -> dict[str, Any]:
        """Ask a process over its control socket."""
        return self._controls[process].ask(**request)

    def ask_policy(self, **request: Any) -> dict[str, Any]:
        """Ask the scripted policy, wherever it is."""
        return self.ask("server" if self.driver == "remote" else "policy", **request)

    def signal(self, name: str, number: int) -> int:
        """Send a signal to a process; returns the instant before it (ns, monotonic)."""
        t_ns = time.monotonic_ns()
        os.kill(self._processes[name].pid, number)
        return t_ns

    def kill(self, name: str) -> int:
        """End a process at once (SIGKILL); returns the instant before it (ns, monotonic)."""
        t_ns = time.monotonic_ns()
        self._processes[name].kill()
        return t_ns

    def end(self, name: str) -> None:
        """Tell a process to end (SIGINT), if nobody has, and wait until it has."""
        self._processes[name].stop()

    def heard(self, since_ns: int) -> list[dict[str, Any]]:
        """What the controller has heard since an instant (ns, monotonic); one killed: nothing."""
        if not self.runs("controller"):
            return []
        return self.ask("controller", do="fetch", since_ns=since_ns)["heard"]

    def close(self) -> None:
        """End everything in order.

        Where all processes of a rig are killed, Fast DDS leaves ports in shared memory, and who
        takes one over later may stay deaf.
        """
        self.load.stop()
        self.operator.close()
        used = set().union(*(files_of(process.pid) for process in self._processes.values()))
        alive = [process for name, process in self._processes.items() if self.runs(name)]
        for process in alive:
            os.kill(process.pid, signal.SIGCONT)  # what stands still does not hear that it is over
            os.kill(process.pid, signal.SIGINT)
        for process in alive:
            process.stop(_END_S)
        for control in self._controls.values():
            control.close()
        for name in self._starters:
            self.kill_starter(name)
        if self.link is not None:
            self.link.close()
        remove(abandoned(used | shared_memory_files() - self._before))


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]
