"""The processes around the nodes whose ends `ends.py` measures.

Who starts them and may be killed, a policy without a model, and a node that watches.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from roboalign_policy.core.host.ending import ENDS_WITH, ends_with_this_process

_KEPT = 2000


def starter(commands: dict[str, list[str]], folder: Path) -> subprocess.Popen:
    """A process that starts nodes, writes their pids, waits for all and keeps their statuses."""
    command = [sys.executable, __file__, "starter", json.dumps(commands), str(folder)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def _start(commands: dict[str, list[str]], folder: Path) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # as launch: it does not end what it started
    env = {**os.environ, ENDS_WITH: ends_with_this_process()}
    nodes, bench = {}, os.getppid()
    for name, command in commands.items():
        with (folder / f"{name}.log").open("wb") as log:
            nodes[name] = subprocess.Popen(
                command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=env
            )
    print(json.dumps({name: node.pid for name, node in nodes.items()}), flush=True)
    while any(node.poll() is None for node in nodes.values()):
        if os.getppid() != bench:
            return  # the bench was killed: the nodes end with this process
        time.sleep(0.05)
    statuses = {name: node.returncode for name, node in nodes.items()}
    beside = folder / "statuses.part"
    beside.write_text(json.dumps(statuses), encoding="utf-8")
    beside.replace(folder / "statuses.json")


class Up:
    """A policy that moves the arm up and down, at once."""

    hash, thinks, chunking, replan_after_steps = "a" * 64, False, "fresh", 0

    def __init__(self, parameters: object) -> None:
        """Of the contract that the node was given."""
        from roboalign_policy.core.contract.contract import load_contract

        self.contract = load_contract(parameters.contract)
        self.horizon, self.dims = self.contract.action.horizon, len(self.contract.action.dims)

    def act(self, values: dict, instruction: str, **asked: object) -> object:
        """Answer by the height alone."""
        height_m = values["state.ee"][2]
        actions = np.zeros((self.horizon, self.dims), np.float32)
        actions[:, 2], actions[:, 6] = (-0.1 if height_m > 0.2 else 0.1), -1.0
        said = {"tokens": [], "reasoning": "", "status": "ok", "detail": "", "inference_s": 0.0}
        return SimpleNamespace(actions=actions, **said)


def patient_contract(path: Path, patience: float) -> str:
    """Write sim_panda with streams that may be so many times older; its path."""
    from roboalign_policy.core.contract.contract import contract_from_dict, load_contract

    data = load_contract("sim_panda").to_dict()
    for stream in data["observations"]:
        for key in ("max_age_s", "max_frozen_s"):
            if key in stream:
                stream[key] *= patience
    path.write_text(contract_from_dict(data).to_yaml(), encoding="utf-8")
    return str(path)


def _drive(arguments: list[str]) -> int:
    from roboalign_policy.nodes.policy.policy_node import PolicyNode
    from roboalign_policy.nodes.spinning import run_node

    sys.argv += ["--ros-args", "-p", "autostart:=true", "-p", "enabled:=true", *arguments]
    return run_node(lambda _: PolicyNode(Up))


class Watcher:
    """A node that hears what the controllers hear; a context manager."""

    def __enter__(self) -> Watcher:
        """Join the graph of ROS_DOMAIN_ID."""
        import rclpy
        from geometry_msgs.msg import TwistStamped
        from rclpy.executors import SingleThreadedExecutor
        from rclpy.node import Node

        from roboalign_policy.ros.qos import reliable_qos

        self._context = rclpy.Context()
        rclpy.init(context=self._context)
        self._node = Node("watcher", context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._twists: list[bool] = []
        self._node.create_subscription(
            TwistStamped, "servo_node/delta_twist_cmds", self._hear, reliable_qos(50)
        )
        return self

    def __exit__(self, *_: object) -> None:
        """Leave it."""
        import rclpy

        self._node.destroy_node()
        rclpy.try_shutdown(context=self._context)

    def spin(self, seconds: float) -> None:
        """Listen for a while."""
        until_s = time.monotonic() + seconds
        while (left_s := until_s - time.monotonic()) > 0:
            self._executor.spin_once(timeout_sec=left_s)

    def forget(self) -> None:
        """Begin anew."""
        self._twists.clear()

    def motions(self) -> int:
        """Commands so far that move the arm."""
        return sum(self._twists)

    def still(self) -> bool:
        """Whether the last command moves nothing."""
        return bool(self._twists) and not self._twists[-1]

    def record(self, timeout_s: float) -> None:
        """Record one demonstration; its bag is closed when this returns."""
        from roboalign_policy.core.contract.contract import load_contract
        from roboalign_policy.nodes.clients.record_client import RecordClient, RecordJob

        with RecordClient(load_contract("sim_panda")) as client:
            client.connect(timeout_s)
            client.record(RecordJob("object", "red_cube_on_plate", 0))

    def _hear(self, msg: object) -> None:
        parts = (msg.twist.linear, msg.twist.angular)
        self._twists.append(any(getattr(part, axis) for part in parts for axis in "xyz"))
        if len(self._twists) > _KEPT:
            del self._twists[: _KEPT // 2]


if __name__ == "__main__":
    what, *rest = sys.argv[1:]
    if what == "starter":
        sys.exit(_start(json.loads(rest[0]), Path(rest[1])))
    sys.exit(_drive(rest))
