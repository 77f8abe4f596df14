"""Feeds a recorded episode to a policy_node of its own, in lock step, and writes its answers.

For every frame of the data pipeline it publishes the very messages that the frame was made of,
stamped with the frame's time, and waits for the chunk before it goes on: nothing is dropped. The
node runs in a ROS domain where nobody else is, so that what it commands reaches no robot.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import rclpy
from rclpy.node import Node
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from roboalign_policy.core.contract.contract import contract_from_yaml
from roboalign_policy.core.drive.thoughts import ALWAYS, NEVER
from roboalign_policy.nodes.node_process import NodeProcess, NodeProcessError
from roboalign_policy.ros.definitions import DefinitionError
from roboalign_training.bags.bags import read_bag
from roboalign_training.evaluate.replay import (
    ANSWERS,
    JOB,
    ReplaySettings,
    lockstep_contract,
    make_recording,
)
from roboalign_training.nodes.replay_client import ReplayClient, other_nodes
from roboalign_training.nodes.replay_messages import ReplayError, selected_messages

NODE = "roboalign_policy.nodes.policy.policy_node"
# Above the ports that the Linux kernel gives away, and away from the numbers that robots, tests
# and closed-loop runs take. Source: docs.ros.org, "The ROS_DOMAIN_ID".
DOMAINS = range(215, 233)
TRIES = 5
# Fast DDS announces a participant anew every 3 s; it often takes that long until two know each
# other.
QUIET_S = 4.0


def main(argv: Sequence[str] | None = None) -> int:
    """Replay what ``<folder>/job.json`` says; the only argument is the folder."""
    (name,) = sys.argv[1:] if argv is None else argv
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"  # read when a context begins
    try:
        replay(Path(name))
    except (ReplayError, NodeProcessError, DefinitionError, OSError, ValueError) as error:
        print(f"roboalign replay: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def replay(out: Path) -> None:
    """Replay the job of a folder; the answers come there line by line.

    Raises:
        ReplayError, NodeProcessError, DefinitionError, ValueError: it cannot be done.
    """
    job = json.loads((out / JOB).read_text("utf-8"))
    settings = ReplaySettings(**job["settings"])
    contract = contract_from_yaml(job["contract"], source=str(out / JOB))
    recording = make_recording(read_bag(job["bag"]), contract)
    rows = recording.chosen(settings)
    frames = selected_messages(recording, rows)
    (out / "contract.yaml").write_text(lockstep_contract(contract).to_yaml(), "utf-8")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
               TimeRemainingColumn())  # fmt: skip
    progress = Progress(*columns, console=Console(stderr=True))
    with ExitStack() as stack:
        node = _node_alone(stack)
        process = stack.enter_context(_policy_process(job, out, settings, node.context))
        file = stack.enter_context((out / ANSWERS).open("w", encoding="utf-8"))
        stack.enter_context(progress)
        bar = progress.add_task("loading the policy", total=len(rows))
        client = ReplayClient(node, recording, job["policy_hash"], process.check, settings.stall_s)
        client.connect()
        progress.update(bar, description="live")
        for row, messages in zip(rows, frames, strict=True):
            file.write(client.ask(row, messages).to_json() + "\n")
            file.flush()
            progress.advance(bar)


def _node_alone(stack: ExitStack) -> Node:
    """A node in a ROS domain where no other node is; the stack ends it.

    Raises:
        ReplayError: every domain tried has somebody.
    """
    tried = random.SystemRandom().sample(DOMAINS, min(TRIES, len(DOMAINS)))
    for domain in tried:
        context = rclpy.Context()
        rclpy.init(context=context, domain_id=domain)
        node = Node("replay_client", context=context, enable_rosout=False)
        until_s = time.monotonic() + QUIET_S
        while not (others := other_nodes(node)) and time.monotonic() < until_s:
            time.sleep(0.1)
        if not others:
            stack.callback(rclpy.try_shutdown, context=context)
            stack.callback(node.destroy_node)
            return node
        node.destroy_node()
        rclpy.try_shutdown(context=context)
    raise ReplayError(f"ROS domains {tried}: found nodes in each, expected one without")


def _policy_process(
    job: dict[str, Any], out: Path, settings: ReplaySettings, context: rclpy.Context
) -> NodeProcess:
    """The policy node in the domain of ``context``."""
    node_options = asdict(settings.policy_options())
    del node_options["dtype"]  # the node has no parameter of it: auto
    node_options["reasoning"] = ALWAYS if node_options.pop("think") else NEVER
    parameters = {
        "policy": job["policy"],
        "contract": str((out / "contract.yaml").resolve()),
        "execution": "lockstep",
        "output": "command",
        "autostart": True,
        "replan_after_steps": 1,
        "max_invalid_chunks": 1,
        # The steady clock says nothing here: a frame comes when the one before is answered.
        "observation_timeout_s": 600.0,
        **node_options,
    }
    threads = str(settings.threads)
    env = {"ROS_DOMAIN_ID": str(context.get_domain_id()), "OMP_NUM_THREADS": threads}
    return NodeProcess(NODE, parameters, out / "policy_node.log", env=env)


if __name__ == "__main__":
    raise SystemExit(main())
