"""One configured policy on one robot: the chain from image to command, from top to bottom.

    message of a camera, of joints ...
      -> sample    `robot_io.RobotIo` reads it by the contract
      -> frame     `core.frames.live_frames.LiveFrames`, or what is missing, silent or unreadable
      -> request   `core.drive.drive.Drive.step`, asked by the loop: `lockstep_loop` at every
                   complete observation, `realtime_loop` at the ticks of a timer
      -> prompt    `inference_worker`, a thread: `Policy.act`; with a checkpoint here that is
                   `models.policy`: `core.policy.prompt.build_prompt`, the MLLM, a decoder. Where
                   thoughts are kept a second thread makes them: `Policy.think`
      -> answer    `core.policy.prediction.Prediction`; `_on_answer`, woken by a guard condition
      -> chunk     `Drive.answer`: `core.policy.accept` checks, `ChunkBuffer.offer` fades in; its
                   message says so, also of a refused one
      -> step      `Drive.step` again: which action of which chunk is next
      -> command   lock step: `RobotIo.command`. Real time: `core.drive.setpoints` at the
                   controller's rate, `core.drive.realtime` what goes out at every tick
      -> candidate `gate_link.GateLink.send`; safety_gate_node makes motion of it

Everything but these threads runs in the executor's thread, and nothing waits.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

from rclpy.node import Node
from roboalign_msgs.msg import ActionChunk

from roboalign_policy.core.drive.parameters import PolicyParameters
from roboalign_policy.core.drive.types import Asked
from roboalign_policy.core.latency import RateWindow
from roboalign_policy.core.policy.accept import ChunkError
from roboalign_policy.core.policy.protocol import Policy
from roboalign_policy.nodes.policy.drive_loop import DriveLoop
from roboalign_policy.nodes.policy.inference_worker import (
    InferenceWorker,
    WorkerAnswer,
    ask_thought,
)
from roboalign_policy.nodes.policy.lockstep_loop import LockstepLoop
from roboalign_policy.nodes.policy.policy_setup import check_together, drive_from_policy
from roboalign_policy.nodes.policy.realtime_loop import RealtimeLoop
from roboalign_policy.nodes.policy.thought_log import ThoughtLog
from roboalign_policy.ros.chunk_msgs import chunk_to_msg

_LOOPS: dict[str, type[DriveLoop]] = {"lockstep": LockstepLoop, "realtime": RealtimeLoop}
_LOG_PERIOD_S = 2.0


class PolicySession:
    """Connects one policy, one drive and one robot.

    Attributes:
        policy: the loaded policy.
        drive: decides step by step; its counters and reasons are the node's status.
        active: while False frames are received and nothing is done with them.
        reasoning: of the last answer.
        inference_s: s; of the last answer, NaN before the first.
    """

    def __init__(
        self,
        node: Node,
        parameters: PolicyParameters,
        load: Callable[[PolicyParameters], Policy],
        *,
        on_chunk: Callable[[ActionChunk | None], None],
        on_task: Callable[[str], None],
        on_event: Callable[[], None],
    ) -> None:
        """Load the policy in its thread (seconds) and connect to the robot's topics.

        Args:
            node: owner of topics and timers.
            parameters: of the node.
            load: makes the policy; runs in the inference thread.
            on_chunk: called with every answer's message; None for one refused for its age.
            on_task: called with every instruction.
            on_event: called after everything that may have changed the drive.

        Raises:
            Exception: whatever is wrong with checkpoint, contract or parameters; nothing is left
                behind then.
        """
        self._node, self._on_chunk, self._on_event = node, on_chunk, on_event
        self.active, self.reasoning, self.inference_s = False, "", math.nan
        self._accepted = RateWindow()
        self._guard = node.create_guard_condition(self._on_answer)
        self._worker = InferenceWorker(self._guard.trigger)
        self._thought_guard = node.create_guard_condition(self._on_thought)
        self._thinker = InferenceWorker(self._thought_guard.trigger, ask_thought, "thought")
        self._loop: DriveLoop | None = None
        try:
            check_together(parameters)
            self.policy = self._worker.load(lambda: load(parameters))
            self._thinker.share(self.policy)
            self.drive = drive_from_policy(self.policy, parameters)
            self._contract = self.policy.contract
            self._thoughts = ThoughtLog(node.get_logger(), self._contract)
            self._loop = _LOOPS[parameters.execution](
                node,
                self.policy,
                self.drive,
                parameters,
                ask=self._ask,
                on_task=on_task,
                on_event=on_event,
            )
        except BaseException:
            self.close()
            raise

    def rates_hz(self) -> tuple[float, float, float]:
        """Return the rates of frames, valid chunks and commands in Hz."""
        now_s, loop = time.monotonic(), self._loop
        return tuple(r.rate_hz(now_s) for r in (loop.observed, self._accepted, loop.commanded))

    @property
    def stopped_by_gate(self) -> bool:
        """Whether the gate ended a run that was to go on for as long as the node is enabled."""
        end = self.drive.end
        return self.drive.patient and end is not None and end.reason == "gate_stop"

    def begin(self, instruction: str, max_chunks: int = 0, patient: bool = False) -> None:
        """Start a run; see `Drive.start`."""
        self._loop.start(instruction, max_chunks, patient)

    def stop(self, reason: str, message: str) -> None:
        """End the run at once; see `Drive.stop`."""
        self._loop.stop(reason, message)

    def watch(self) -> None:
        """End a run that hears nothing; call it at a few Hz."""
        self._loop.watch()

    def close(self) -> bool:
        """Disconnect and end the threads; False while one is still answering."""
        if self._loop is not None:
            self._loop.close()
        # The threads first: what they notify must be there until they have ended.
        ended = True
        for worker, guard in (
            (self._thinker, self._thought_guard),
            (self._worker, self._guard),
        ):
            if worker.close():
                self._node.destroy_guard_condition(guard)
            else:
                ended = False
        return ended

    def _ask(self, asked: Asked) -> None:
        if asked.chunk is not None:
            self._worker.submit(asked.chunk)
        if asked.thought is not None:
            self._thinker.submit(asked.thought)

    def _on_answer(self) -> None:
        """The model has answered, or failed."""
        answer = self._worker.poll()
        if answer is None:
            return
        if not self._failed(answer):
            self._take(answer)
        self._loop.go_on()
        self._on_event()

    def _on_thought(self) -> None:
        """The model has thought, or failed."""
        answer = self._thinker.poll()
        if answer is None:
            return
        if not self._failed(answer):
            try:
                self._loop.thought(answer, time.monotonic())
            except ChunkError as fault:
                self._node.get_logger().warning(
                    f"thought refused: {fault.detail}", throttle_duration_sec=_LOG_PERIOD_S
                )
        self._loop.go_on()
        self._on_event()

    def _failed(self, answer: WorkerAnswer) -> bool:
        if answer.error:
            self._node.get_logger().error(f"inference failed:\n{answer.error}")
            self.drive.fail(answer.error.strip().splitlines()[-1])
        return bool(answer.error)

    def _take(self, answer: WorkerAnswer) -> None:
        request, prediction, steady_s = answer.request, answer.result, time.monotonic()
        now_ns, commanded = self._loop.now_ns(request), self.drive.buffer.commanded
        try:
            chunk = self._loop.answer(answer, now_ns, steady_s)
            if chunk is None:
                return
            outcome: Any = chunk.actions
            overtaken = commanded - chunk.place
            self._accepted.add(steady_s)
        except ChunkError as fault:
            self._node.get_logger().warning(
                f"chunk refused: {fault}", throttle_duration_sec=_LOG_PERIOD_S
            )
            outcome, overtaken = fault, commanded - request.place
        self.reasoning, self.inference_s = prediction.reasoning or "", answer.elapsed_s
        self._thoughts.think(request.values, self.reasoning, steady_s)
        if isinstance(outcome, ChunkError) and outcome.kind == "too_old":
            self._on_chunk(None)  # it decoded well: no refused chunk in the message's sense
            return
        self._on_chunk(
            chunk_to_msg(
                self._contract,
                request,
                prediction,
                outcome,
                sequence=self.drive.sequence,
                stamp_ns=max(0, now_ns - round(overtaken * 1e9 / self._contract.rate_hz)),
                policy_hash=self.policy.hash,
                inference_s=answer.elapsed_s,
            )
        )
