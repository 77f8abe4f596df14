"""Closed-loop episodes over ROS: resets the simulator, sends the goal, waits for the outcome.

Needs a running sim_robot_node and a running, active policy_node, both in lock step. Between
episodes nothing survives: the policy forgets its chunk with every new goal, and messages stamped
before the reset are not counted.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from rclpy.action import ActionClient
from roboalign_msgs.action import RunPolicy
from roboalign_msgs.msg import ActionChunk
from roboalign_msgs.srv import GetOutcome
from std_msgs.msg import String

from roboalign_policy.core.contract.contract import Contract, load_contract
from roboalign_policy.core.messages.images import stream_image
from roboalign_policy.core.messages.selectors import stamp_ns_from_msg
from roboalign_policy.core.policy.prediction import ChunkStatus
from roboalign_policy.core.rollout import MOVED_M, RolloutJob, RolloutResult
from roboalign_policy.nodes.clients.sim_client import SimClient
from roboalign_policy.ros.chunk_msgs import status_from_msg
from roboalign_policy.ros.definitions import message_class
from roboalign_policy.ros.qos import lossless_qos, reliable_qos
from roboalign_policy.ros.stamps import stamp_to_ns
from roboalign_policy.sim import SUITES

#: Ends of a run that say something about the policy; every other one: the set-up is broken.
_POLICY_ENDS = (
    RunPolicy.Result.REASON_MAX_CHUNKS,
    RunPolicy.Result.REASON_CANCELLED,
    RunPolicy.Result.REASON_CHUNK_FAULT,
)


class RolloutError(RuntimeError):
    """Simulator or policy node is not there, not active or has stopped answering."""


def run_rollouts(
    jobs: Iterable[RolloutJob],
    *,
    namespace: str = "",
    contract: str = "sim_panda",
    keep_every: int = 0,
    chunk_steps: int = 0,
    domain_id: int | None = None,
    connect_s: float = 60.0,
    stall_s: float = 60.0,
) -> Iterator[RolloutResult]:
    """Run episodes one after the other and yield each result as it comes.

    Args:
        jobs: what to run.
        namespace: of both nodes.
        contract: the robot's contract, path or packaged name.
        keep_every: keep the image of every k-th step; 0: none.
        chunk_steps: `replan_after_steps` of the policy node, so that it is not asked once more
            after the last step of an episode; 0: the whole chunk.
        domain_id: ROS domain; None: that of the environment.
        connect_s: s; how long to wait for the nodes to appear.
        stall_s: s; an episode without progress for so long is an error.

    Raises:
        RolloutError: the nodes are missing, refuse the work or stop answering.
    """
    robot = load_contract(contract)
    with RolloutClient(namespace, domain_id, stall_s, robot, keep_every, chunk_steps) as client:
        client.connect(connect_s)
        for job in jobs:
            yield client.run(job)


class RolloutClient(SimClient):
    """Takes a policy through episodes."""

    error = RolloutError

    def __init__(
        self,
        namespace: str,
        domain_id: int | None,
        stall_s: float,
        contract: Contract,
        keep_every: int,
        chunk_steps: int,
    ) -> None:
        """Make clients and subscriptions; arguments as for `run_rollouts`.

        Raises:
            DefinitionError: the image's type is not installed.
        """
        super().__init__("rollout_client", namespace, domain_id, stall_s)
        self._contract, self._keep_every = contract, keep_every
        self._chunk_steps = chunk_steps or contract.action.horizon
        self._begun_ns = 0
        self._scene: dict[str, Any] = {}  # the newest of the episode
        self._places: dict[str, Any] = {}  # objects of its first one
        self._chunks: list[ActionChunk] = []
        self._frames: dict[int, np.ndarray] = {}
        with self._closed_on_failure():
            self._join()

    def _join(self) -> None:
        """Make what listens and what is asked."""
        node = self.node
        self._policy = ActionClient(node, RunPolicy, "policy_node/run_policy")
        self._servers["policy_node/run_policy"] = self._policy.wait_for_server
        node.create_subscription(String, "scene", self._on_scene, reliable_qos(100))
        node.create_subscription(ActionChunk, "action_chunk", self._on_chunk, reliable_qos(100))
        if self._keep_every:
            image = self._contract.images[0]
            node.create_subscription(
                message_class(image.type),
                image.topic,
                self._on_image,
                lossless_qos(),
            )

    def run(self, job: RolloutJob) -> RolloutResult:
        """Run one episode.

        Raises:
            RolloutError: see `run_rollouts`.
        """
        started_s = time.monotonic()
        reset = self._set_up(job)
        self._begun_ns = stamp_to_ns(reset.stamp)
        self._scene, self._places = {}, {}
        self._frames = {k: v for k, v in self._frames.items() if k >= self._begun_ns}
        self._chunks.clear()
        limit, reason, end = self._drive(job, reset.instruction)
        outcome = self._call(self._outcome, GetOutcome.Request())
        if self._keep_every and outcome.steps % self._keep_every == 0:
            late_ns = self._begun_ns + round((outcome.steps - 0.5) * self._contract.period_ns)
            self._while_moving(
                lambda: max(self._frames, default=0) > late_ns, f"last image of {job}"
            )
        statuses = [status_from_msg(chunk) for chunk in self._chunks]
        refused = [str(status) for status in statuses if status is not ChunkStatus.OK]
        seconds = [chunk.inference_s for chunk in self._chunks]
        return RolloutResult(
            job=job,
            instruction=reset.instruction,
            success=outcome.success,
            steps=outcome.steps,
            chunks=len(self._chunks),
            valid_chunks=len(self._chunks) - len(refused),
            faults=tuple(refused),
            reasonings=tuple(chunk.reasoning for chunk in self._chunks),
            mean_inference_s=float(np.mean(seconds)) if seconds else math.nan,
            wall_s=time.monotonic() - started_s,
            end=end,
            frames=self._kept_frames(),
            limit=limit,
            refused_run=reason == RunPolicy.Result.REASON_CHUNK_FAULT,
            answer_steps=tuple(self._step_of(chunk.observation_stamp) for chunk in self._chunks),
            answer_faults=tuple("" if s is ChunkStatus.OK else str(s) for s in statuses),
            goals=self._scene.get("goals", {}),
            moved=self._moved(),
        )

    def _kept_frames(self) -> tuple[tuple[int, np.ndarray], ...]:
        """Every k-th image of the episode with its step."""
        period_ns = self._contract.period_ns
        steps = {round((ns - self._begun_ns) / period_ns): ns for ns in self._frames}
        kept = (s for s in sorted(steps) if self._keep_every and s % self._keep_every == 0)
        return tuple((step, self._frames[steps[step]]) for step in kept)

    def _step_of(self, stamp: Any) -> int:
        """Step of the episode at which an observation was made."""
        return round((stamp_to_ns(stamp) - self._begun_ns) / self._contract.period_ns)

    def _moved(self) -> tuple[str, ...]:
        """Objects that are no longer where they were at the beginning."""
        now = {name: item["position"] for name, item in self._scene.get("objects", {}).items()}
        return tuple(
            name for name, place in now.items() if math.dist(place, self._places[name]) > MOVED_M
        )

    def _drive(self, job: RolloutJob, instruction: str) -> tuple[int, int, str]:
        """Let the policy drive until the episode is over.

        Returns:
            Steps after which it is over in any case, and reason and words of policy_node's end.
        """
        tasks = {task.name: task for task in SUITES[job.suite]}
        limit = tasks[job.task or next(iter(tasks))].max_steps
        chunks = math.ceil(limit / self._chunk_steps)
        goal = RunPolicy.Goal(instruction=instruction, max_chunks=chunks)
        handle = self._result(self._policy.send_goal_async(goal), "policy_node to take the goal")
        if not handle.accepted:
            raise RolloutError(f"{job}: policy_node rejected the goal")
        ended = handle.get_result_async()

        def over() -> bool:
            done = self._scene.get("success", False) or self._scene.get("step", 0) >= limit
            return ended.done() or done

        self._while_moving(over, f"progress of {job}")
        if not ended.done():
            self._result(handle.cancel_goal_async(), "policy_node to cancel")
        result = self._result(ended, "policy_node to end").result
        if result.reason not in _POLICY_ENDS:
            raise RolloutError(f"{job}: policy_node ended the run: {result.message}")
        if result.reason == RunPolicy.Result.REASON_MAX_CHUNKS and result.steps < limit:
            raise RolloutError(
                f"{job}: {chunks} chunks were {result.steps} of {limit} steps: either chunk_steps "
                f"({self._chunk_steps}) is not the policy node's replan_after_steps, or another "
                f"simulator or policy answers in this ROS domain ({result.message})"
            )
        return limit, result.reason, result.message

    def _on_scene(self, msg: String) -> None:
        scene = json.loads(msg.data)
        if scene["stamp_ns"] >= self._begun_ns:
            # The simulator repeats its observation while no command comes: that is no progress.
            if scene["stamp_ns"] > self._scene.get("stamp_ns", -1):
                self._progress_s = time.monotonic()
            self._scene = scene
            if not self._places:
                self._places = {n: item["position"] for n, item in scene["objects"].items()}

    def _on_chunk(self, msg: ActionChunk) -> None:
        if stamp_to_ns(msg.observation_stamp) >= self._begun_ns:
            self._chunks.append(msg)

    def _on_image(self, msg: Any) -> None:
        self._frames[stamp_ns_from_msg(msg)] = stream_image(msg, self._contract.images[0])
