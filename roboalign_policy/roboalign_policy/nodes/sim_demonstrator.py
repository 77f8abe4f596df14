"""Has the expert of the simulated arm demonstrate what the operator of a recording begins."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from rclpy.node import Node
from roboalign_msgs.srv import ResetSim
from std_srvs.srv import Trigger

AGAIN_S = 0.2
PATIENCE_S = 20.0  # for the simulator to see that somebody listens

Answered = Callable[[str], None]
"""Called with an empty text, or with what was wrong."""


class SimDemonstrator:
    """Client of a sim_robot_node with ``demonstrator: expert``.

    Attributes:
        seed: of the next scene.
    """

    def __init__(self, node: Node, suite: str, tasks: Mapping[str, str], seed: int) -> None:
        """Make the clients.

        Args:
            node: their owner.
            suite: of the tasks.
            tasks: by instruction, the name of the task.
            seed: of the first scene; each further one has the next.
        """
        self._suite, self._tasks, self.seed = suite, dict(tasks), seed
        self._reset = node.create_client(ResetSim, "sim_robot_node/reset")
        self._demonstrate = node.create_client(Trigger, "sim_robot_node/demonstrate")
        self._wanted: Answered | None = None
        self._until_s = self._next_s = 0.0

    @property
    def ready(self) -> bool:
        """Whether the simulated arm is there."""
        return self._reset.service_is_ready() and self._demonstrate.service_is_ready()

    def prepare(self, instruction: str, answered: Answered) -> None:
        """Set up the next scene for an instruction."""
        request = ResetSim.Request(
            suite=self._suite, task=self._tasks[instruction], seed=self.seed
        )
        self.seed += 1

        def done(future: Any) -> None:
            answer = future.result()
            answered("" if answer.ok else f"the simulated arm: {answer.message}")

        self._reset.call_async(request).add_done_callback(done)

    def demonstrate(self, answered: Answered) -> None:
        """Have the expert begin, as soon as the simulator sees who listens: see :meth:`tick`."""
        now_s = time.monotonic()
        self._wanted, self._until_s, self._next_s = answered, now_s + PATIENCE_S, now_s

    def tick(self) -> None:
        """Ask the expert where it has not begun yet; to be called a few times a second."""
        if self._wanted is None or time.monotonic() < self._next_s:
            return
        self._next_s = float("inf")  # until the answer
        self._demonstrate.call_async(Trigger.Request()).add_done_callback(self._on_answer)

    def _on_answer(self, future: Any) -> None:
        answer, now_s = future.result(), time.monotonic()
        if self._wanted is None:
            return
        if not answer.success and now_s < self._until_s:
            self._next_s = now_s + AGAIN_S
            return
        answered, self._wanted = self._wanted, None
        answered("" if answer.success else f"the expert does not begin: {answer.message}")
