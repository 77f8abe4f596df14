"""Has the expert of the simulated arm demonstrate what the operator of a recording begins."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from rclpy.node import Node
from roboalign_msgs.srv import ResetSim
from std_srvs.srv import Trigger

AGAIN_S = 0.2
LOST_S = 5.0  # an answer that has not come by then is asked for again
PATIENCE_S = 20.0  # for the simulator to see that somebody listens

Answered = Callable[[str], None]
"""Called with an empty text, or with what was wrong."""


def next_seed(suite: str, episodes: Iterable[str], first: int) -> int:
    """The seed after those of the episodes of a suite that are there, at least ``first``.

    Args:
        suite: of the tasks.
        episodes: names of what is there.
        first: of the first scene.
    """
    found = (re.fullmatch(rf"{re.escape(suite)}-.+-(\d+)", name) for name in episodes)
    return max([first, *(int(match[1]) + 1 for match in found if match)])


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
        self._number = 0
        self._until_s = self._next_s = 0.0

    @property
    def ready(self) -> bool:
        """Whether the simulated arm is there."""
        return self._reset.service_is_ready() and self._demonstrate.service_is_ready()

    def episode_id(self, instruction: str) -> str:
        """Name of the next scene's episode: suite, task and seed; see :func:`next_seed`."""
        return f"{self._suite}-{self._tasks[instruction]}-{self.seed}"

    def prepare(self, instruction: str, answered: Answered) -> None:
        """Set up the next scene for an instruction."""
        self.cancel()
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
        self.cancel()
        now_s = time.monotonic()
        self._wanted, self._until_s, self._next_s = answered, now_s + PATIENCE_S, now_s

    def cancel(self) -> None:
        """The expert is no longer wanted; an answer that is under way counts no more."""
        self._wanted, self._number = None, self._number + 1

    def tick(self) -> None:
        """Ask the expert where it has not begun yet; to be called a few times a second."""
        now_s, number = time.monotonic(), self._number
        if self._wanted is None or now_s < self._next_s:
            return
        if now_s > self._until_s:
            answered, self._wanted = self._wanted, None
            answered("the expert does not begin: sim_robot_node does not answer")
            return
        self._next_s = now_s + LOST_S
        future = self._demonstrate.call_async(Trigger.Request())
        future.add_done_callback(lambda done: self._on_answer(done.result(), number))

    def _on_answer(self, answer: Trigger.Response, number: int) -> None:
        now_s = time.monotonic()
        if self._wanted is None or number != self._number:
            return
        if not answer.success and now_s < self._until_s:
            self._next_s = now_s + AGAIN_S
            return
        answered, self._wanted = self._wanted, None
        answered("" if answer.success else f"the expert does not begin: {answer.message}")
