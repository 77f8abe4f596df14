"""One configured policy on one robot: what policy_node holds between configure and cleanup.

Samples (`robot_io`) become frames (`core.frames.live_frames`); each step asks
`core.drive.drive.Drive` what to do with the frame; requests go to the inference thread
(`inference_worker`), whose answers come back through a guard condition. In real time
`realtime_loop` steps and sends; in lock step the
observations do, here. Everything runs in the executor's thread and nothing waits.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

from rclpy.node import Node
from roboalign_msgs.msg import ActionChunk

from roboalign_policy.core.drive.parameters import PolicyParameters
from roboalign_policy.core.frames.frames import Frame, Missing, Sample
from roboalign_policy.core.frames.live_frames import LiveFrames
from roboalign_policy.core.latency import RateWindow
from roboalign_policy.core.policy.accept import ChunkError
from roboalign_policy.core.policy.protocol import Policy
from roboalign_policy.nodes.policy.inference_worker import Answer, InferenceWorker
from roboalign_policy.nodes.policy.policy_setup import check_together, drive_from_policy
from roboalign_policy.nodes.policy.realtime_loop import RealtimeLoop
from roboalign_policy.nodes.policy.robot_io import RobotIo
from roboalign_policy.nodes.policy.thought_log import ThoughtLog
from roboalign_policy.ros.chunk_msgs import chunk_to_msg

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
        self._lockstep = parameters.execution == "lockstep"
        self.active, self.reasoning, self.inference_s = False, "", math.nan
        self._observed, self._accepted, self._commanded = RateWindow(), RateWindow(), RateWindow()
        self._frame_ns: int | None = None  # lock step: stamp of the newest complete frame
        self._answered_ns: int | None = None  # lock step: stamp of the frame commanded last
        self._guard = node.create_guard_condition(self._on_answer)
        self._worker = InferenceWorker(self._guard.trigger)
        self._io: RobotIo | None = None
        self._loop: RealtimeLoop | None = None
        try:
            check_together(parameters)
            self.policy = self._worker.load(lambda: load(parameters))
            self.drive = drive_from_policy(self.policy, parameters)
            self._contract = self.policy.contract
            self._thoughts = ThoughtLog(node.get_logger(), self._contract)
            # In lock step the world stands still while nobody commands, so silence says nothing
            # there.
            silence_s = math.inf if self._lockstep else parameters.observation_timeout_s
            self._live = LiveFrames(self._contract, silence_s)
            self._io = RobotIo(
                node,
                self._contract,
                lossless=self._lockstep,
                commands=parameters.output == "command",
                on_sample=self._on_sample,
                on_unreadable=self._live.refuse,
                on_note=self._live.note,
                on_task=on_task,
            )
            if not self._lockstep:
                self._loop = RealtimeLoop(
                    node,
                    self.policy,
                    self.drive,
                    parameters,
                    live=self._live,
                    io=self._io,
                    ask=self._worker.submit,
                    on_event=on_event,
                    observed=self._observed,
                    commanded=self._commanded,
                )
        except BaseException:
            self.close()
            raise

    def rates_hz(self) -> tuple[float, float, float]:
        """Return the rates of frames, valid chunks and commands in Hz."""
        now_s = time.monotonic()
        return tuple(r.rate_hz(now_s) for r in (self._observed, self._accepted, self._commanded))

    @property
    def stopped_by_gate(self) -> bool:
        """Whether the gate ended a run that was to go on for as long as the node is enabled."""
        end = self.drive.end
        return self.drive.patient and end is not None and end.reason == "gate_stop"

    def begin(self, instruction: str, max_chunks: int = 0, patient: bool = False) -> None:
        """Start a run; see `Drive.start`."""
        if self._loop is not None:
            self._loop.start(instruction, max_chunks, patient)
            return
        self.drive.start(instruction, time.monotonic(), max_chunks, patient)
        self._answered_ns = None
        if self._frame_ns is not None:
            frame = self._live.frame(self._frame_ns, None, time.monotonic())
            # Where the next episode has begun to arrive the newest complete frame is gone already;
            # the run then begins with the first complete one.
            if isinstance(frame, Frame):
                self._step(frame)

    def stop(self, reason: str, message: str) -> None:
        """End the run at once; see `Drive.stop`."""
        self.drive.stop(reason, message)
        self._settle()

    def watch(self) -> None:
        """End a run that hears nothing; call it at a few Hz."""
        self.drive.watch(time.monotonic())
        self._settle()

    def close(self) -> bool:
        """Disconnect and end the thread; False while the thread is still answering."""
        if self._io is not None:
            self._io.close()
        if self._loop is not None:
            self._loop.close()
        # The thread first: what it notifies must be there until it has ended.
        ended = self._worker.close()
        if ended:
            self._node.destroy_guard_condition(self._guard)
        return ended

    def _on_sample(self, sample: Sample) -> None:
        pushed = self._live.push(sample, time.monotonic())
        if pushed.jumped:
            self.drive.forget_frames("the clock of the observations went back")
            self._frame_ns = self._answered_ns = None
        if self._loop is not None:
            self._loop.sample(sample)
            return
        if pushed.complete_ns is None:
            return
        if pushed.complete_ns == self._answered_ns and self.drive.running:
            self._io.repeat()  # the observation was sent again: the command did not arrive
            return
        self._frame_ns = pushed.complete_ns
        self._step(self._live.frame(pushed.complete_ns, None, time.monotonic()))

    def _settle(self) -> None:
        if self._loop is not None:
            self._loop.settle()

    def _step(self, frame: Frame | Missing) -> None:
        """Take a step of lock step."""
        steady_s = time.monotonic()
        if not isinstance(frame, Missing):
            self._observed.add(steady_s)
        if not self.active:
            return
        step = self.drive.step(frame, frame.stamp_ns, steady_s)
        if step.request is not None:
            self._worker.submit(step.request)
        if step.action is not None:
            self._io.command(step.action.values, frame.stamp_ns)
            self._answered_ns = frame.stamp_ns
            self._commanded.add(steady_s)
        self._on_event()

    def _on_answer(self) -> None:
        answer = self._worker.poll()
        if answer is None:
            return
        if answer.error:
            self._node.get_logger().error(f"inference failed:\n{answer.error}")
            self.drive.fail(answer.error.strip().splitlines()[-1])
        else:
            self._take(answer)
        if self._lockstep and self.drive.running and self._frame_ns is not None:
            self._step(self._live.frame(self._frame_ns, None, time.monotonic()))
        self._settle()
        self._on_event()

    def _take(self, answer: Answer) -> None:
        request, prediction, steady_s = answer.request, answer.prediction, time.monotonic()
        now_ns = self._node.get_clock().now().nanoseconds
        if self._lockstep:
            now_ns = request.observation_ns if self._frame_ns is None else self._frame_ns
        commanded = self.drive.buffer.commanded
        try:
            if self._loop is not None:
                chunk = self._loop.answer(answer)
            else:
                chunk = self.drive.answer(request, prediction, now_ns, answer.elapsed_s, steady_s)
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
