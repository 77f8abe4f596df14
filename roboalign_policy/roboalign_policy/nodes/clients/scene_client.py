"""What a simulated arm says of its scene, and a new scene of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from rclpy.node import Node
from roboalign_msgs.srv import ResetSim
from std_msgs.msg import String

from roboalign_policy.nodes.clients.run_words import RunError
from roboalign_policy.ros.qos import reliable_qos
from roboalign_policy.ros.stamps import stamp_to_ns

SIM = "sim_robot_node"
FOUND_S, FIRST_S, ANSWER_S = 0.5, 1.0, 10.0


class SceneClient:
    """Hears the scene topic; where no simulator is, nothing judges a task."""

    def __init__(self, node: Node, until: Callable[..., Any]) -> None:
        """Subscribe.

        Args:
            node: owner of subscription and client.
            until: spins until a condition holds, at most so many seconds, or until it is to
                stop; gives what the condition returned.
        """
        self._node, self._until = node, until
        self._scene: dict[str, Any] = {}
        node.create_subscription(String, "scene", self._on_scene, reliable_qos(10))
        self._reset = node.create_client(ResetSim, f"{SIM}/reset")

    def judges(self, instruction: str) -> bool:
        """Whether a simulator judges just this task."""
        return self._scene.get("instruction") == instruction

    def success(self, instruction: str) -> bool:
        """Whether a simulator that judges this task calls it done now."""
        return self.judges(instruction) and bool(self._scene.get("success"))

    def look(self, stop: Callable[[], bool] = lambda: False) -> None:
        """Wait for the first word of a simulator, where there is one.

        Args:
            stop: asked over and over; True gives up.
        """
        if self._until(lambda: self._node.count_publishers("scene"), FOUND_S, stop):
            self._until(lambda: self._scene, FIRST_S, stop)

    def reset(self, instruction: str, seed: int, stop: Callable[[], bool]) -> None:
        """Set up a new scene: of the task with this instruction, else of the present task.

        Args:
            instruction: what the robot shall do.
            seed: of the scene.
            stop: asked over and over; True gives up.

        Raises:
            RunError: there is no simulated arm, it refuses, or it was given up.
        """
        from roboalign_policy.sim import SUITES

        self.look(stop)
        if not self._until(self._reset.service_is_ready, FIRST_S, stop):
            raise RunError(f"--scene: found no {SIM}, expected a simulated arm")
        named = {t.instruction: (t.suite, t.name) for tasks in SUITES.values() for t in tasks}
        present = self._scene.get("suite"), self._scene.get("task")
        known = present if present in named.values() else None
        found = known if self.judges(instruction) else named.get(instruction, known)
        if found is None:
            raise RunError(
                f"--scene: {instruction!r} is no task of the simulated arm, and {SIM} has not "
                "said which task is set up"
            )
        suite, task = found
        request = ResetSim.Request(suite=suite, task=task, seed=seed)
        future = self._reset.call_async(request)
        if not self._until(future.done, ANSWER_S, stop):
            raise RunError(f"{SIM} does not answer")
        answer = future.result()
        if not answer.ok:
            raise RunError(f"{SIM}: {answer.message}")
        begun_ns = stamp_to_ns(answer.stamp)

        def is_new() -> bool:
            stamp = self._scene.get("stamp_ns")
            return isinstance(stamp, int) and stamp >= begun_ns and self._scene["seed"] == seed

        self._scene = {}
        if not self._until(is_new, ANSWER_S, stop):
            raise RunError(f"{SIM} does not say that the new scene is there")

    def _on_scene(self, msg: String) -> None:
        try:
            scene = json.loads(msg.data)
        except ValueError:
            scene = None  # a topic of another meaning: nobody judges the task
        self._scene = scene if isinstance(scene, dict) else {}
