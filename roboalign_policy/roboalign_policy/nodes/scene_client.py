"""What a simulated arm says of its scene, and a new scene of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from rclpy.node import Node
from roboalign_msgs.srv import ResetSim
from std_msgs.msg import String

from roboalign_policy.nodes.run_words import RunError
from roboalign_policy.ros.qos import reliable_qos

SIM = "sim_robot_node"
FOUND_S, FIRST_S, ANSWER_S = 0.5, 1.0, 10.0


class SceneClient:
    """Hears the scene topic; where no simulator is, nothing judges a task."""

    def __init__(self, node: Node, until: Callable[[Callable[[], Any], float], Any]) -> None:
        """Subscribe.

        Args:
            node: owner of subscription and client.
            until: spins until a condition holds, at most so many seconds; what it returned.
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

    def look(self) -> None:
        """Wait for the first word of a simulator, where there is one."""
        if self._until(lambda: self._node.count_publishers("scene"), FOUND_S):
            self._until(lambda: self._scene, FIRST_S)

    def reset(self, instruction: str, seed: int) -> None:
        """Set up a new scene: of the task with this instruction, else of the present task.

        Raises:
            RunError: there is no simulated arm, or it refuses.
        """
        from roboalign_policy.sim import SUITES

        self.look()
        if not self._until(self._reset.service_is_ready, FIRST_S):
            raise RunError(f"--scene: found no {SIM}, expected a simulated arm")
        named = {t.instruction: (t.suite, t.name) for tasks in SUITES.values() for t in tasks}
        suite, task = self._scene.get("suite", "object"), self._scene.get("task", "")
        if not self.judges(instruction):
            suite, task = named.get(instruction, (suite, task))
        request = ResetSim.Request(suite=suite, task=task, seed=seed)
        future = self._reset.call_async(request)
        if not self._until(future.done, ANSWER_S):
            raise RunError(f"{SIM} does not answer")
        if not future.result().ok:
            raise RunError(f"{SIM}: {future.result().message}")
        self._scene = {}
        self._until(lambda: self._scene.get("seed") == seed, FIRST_S)

    def _on_scene(self, msg: String) -> None:
        try:
            scene = json.loads(msg.data)
        except ValueError:
            scene = None  # a topic of another meaning: nobody judges the task
        self._scene = scene if isinstance(scene, dict) else {}
