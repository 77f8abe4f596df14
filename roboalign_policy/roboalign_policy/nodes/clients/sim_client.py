"""What the clients that take a simulated arm through episodes share."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from roboalign_msgs.srv import GetOutcome, ResetSim

from roboalign_policy.nodes.clients.client_node import ClientNode

DISCOVERY_S = 3.0  # discovery is one-way: an answer to a client not yet seen by its server is lost
_TURN_S = 1.0


class SimClient(ClientNode):
    """Resets a sim_robot_node, asks it for the outcome, and waits while there is progress.

    Attributes:
        error: what is raised where somebody is missing, refuses the work or stops answering.
    """

    error: type[RuntimeError] = RuntimeError

    def __init__(
        self, name: str, namespace: str, domain_id: int | None, stall_s: float, **options: Any
    ) -> None:
        """Join the graph as `ClientNode`; ``stall_s``: s; no progress for so long is an error."""
        super().__init__(name, namespace, domain_id, **options)
        self._stall_s, self._progress_s = stall_s, 0.0
        self._reset = self.node.create_client(ResetSim, "sim_robot_node/reset")
        self._outcome = self.node.create_client(GetOutcome, "sim_robot_node/get_outcome")
        #: By name, what waits for a server so many seconds, and says whether it is there.
        self._servers: dict[str, Callable[[float], bool]] = {}
        self._await(self._reset, self._outcome)

    def connect(self, timeout_s: float) -> None:
        """Wait for all servers.

        Raises:
            RuntimeError: `error`, one of them did not appear.
        """
        until_s = time.monotonic() + timeout_s
        for name, wait in self._servers.items():
            if not wait(max(0.1, until_s - time.monotonic())):
                raise self.error(f"{name}: not there after {timeout_s:g} s; is the node running?")
        time.sleep(DISCOVERY_S)

    def _await(self, *clients: Any) -> None:
        """Have `connect` wait for the servers of these service clients, too."""
        self._servers |= {client.srv_name: client.wait_for_service for client in clients}

    def _set_up(self, job: Any) -> ResetSim.Response:
        """Begin the episode of a job, by its suite, task, seed and action_noise."""
        names = ("suite", "task", "seed", "action_noise")
        request = ResetSim.Request(**{name: getattr(job, name) for name in names})
        reset = self._call(self._reset, request)
        if not reset.ok:
            raise self.error(f"{job}: the simulator refused: {reset.message}")
        return reset

    def _call(self, client: Any, request: Any) -> Any:
        """Response of a service."""
        return self._result(client.call_async(request), f"the answer of {client.srv_name}")

    def _result(self, future: Any, what: str) -> Any:
        """Result of a future.

        Not by `spin_until_future_complete`: in Jazzy each turn of it leaves the executor a task
        that the next call has to work off first, so that every call is slower than the last.
        """
        self._while_moving(future.done, what)
        return future.result()

    def _while_moving(self, condition: Callable[[], bool], what: str) -> None:
        """Spin until a condition holds, for as long as callbacks set `_progress_s` anew."""
        self._progress_s = time.monotonic()
        while not condition():
            left_s = self._progress_s + self._stall_s - time.monotonic()
            if left_s <= 0:
                raise self.error(f"waited {self._stall_s:g} s for {what}")
            self._executor.spin_once(timeout_sec=min(_TURN_S, left_s))
