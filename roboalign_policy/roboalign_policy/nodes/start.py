"""Entry points of the nodes: a signal is an ordinary end from the first instant on.

What a node imports takes seconds. Nothing has been started until then, so there is nothing to end
in order, and no traceback of an import to show.
"""

from __future__ import annotations

import functools
import importlib
import os
import signal
import sys

NODES = {
    "policy_node": "policy.policy_node",
    "recorder_node": "recorder.recorder_node",
    "safety_gate_node": "gate.safety_gate_node",
    "sim_robot_node": "sim.sim_robot_node",
}


def module_of(node: str) -> str:
    """Full name of the module of a node."""
    return f"roboalign_policy.nodes.{NODES[node]}"


def start(name: str) -> int:
    """Run a node; exit status."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda *_: os._exit(0))
    return importlib.import_module(module_of(name)).main()


# Entry points of the package.
policy_node, recorder_node, safety_gate_node, sim_robot_node = (
    functools.partial(start, name) for name in NODES
)


if __name__ == "__main__":
    sys.exit(start(sys.argv.pop(1)))
