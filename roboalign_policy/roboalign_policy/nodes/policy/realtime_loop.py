"""The timer, the safety gate and the topics around `core.drive.realtime.Realtime`.

Everything runs in the executor's thread: a steady timer ticks, images and answers act at once
where the arm waits for them. What comes out goes to the safety gate as candidates, or, with
``output: command``, straight to the contract's command topics.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.node import Node

from roboalign_policy.core.candidate import CandidateKind
from roboalign_policy.core.drive.cadence import BeatWatch
from roboalign_policy.core.drive.chunk_buffer import Chunk
from roboalign_policy.core.drive.drive import Drive
from roboalign_policy.core.drive.gate_watch import NO_GATE, GateView
from roboalign_policy.core.drive.pacing import Pace
from roboalign_policy.core.drive.parameters import PolicyParameters
from roboalign_policy.core.drive.realtime import Output, Realtime, Seen
from roboalign_policy.core.drive.setpoints import control_ticks, make_set_points
from roboalign_policy.core.drive.types import Request
from roboalign_policy.core.frames.frames import Sample
from roboalign_policy.core.frames.live_frames import LiveFrames
from roboalign_policy.core.frames.stages import ImageTimes, Stages
from roboalign_policy.core.latency import RateWindow
from roboalign_policy.core.policy.protocol import Policy
from roboalign_policy.nodes.policy.candidate_sender import CandidateSender
from roboalign_policy.nodes.policy.gate_link import GateLink
from roboalign_policy.nodes.policy.inference_worker import Answer
from roboalign_policy.nodes.policy.robot_io import RobotIo

_WAITS_PERIOD_S = 10.0


class RealtimeLoop:
    """Drives one robot in real time."""

    def __init__(
        self,
        node: Node,
        policy: Policy,
        drive: Drive,
        parameters: PolicyParameters,
        *,
        live: LiveFrames,
        io: RobotIo,
        ask: Callable[[Request], None],
        on_event: Callable[[], None],
        observed: RateWindow,
        commanded: RateWindow,
    ) -> None:
        """Start the timer and, for candidates, listen to the gate.

        Args:
            node: owner of timer and topics.
            policy: its contract and hash.
            drive: decides step by step.
            parameters: of the node.
            live: makes frames.
            io: the robot's topics.
            ask: puts a request to the model.
            on_event: called after everything that may have changed the drive.
            observed: counts complete frames.
            commanded: counts motions sent.
        """
        self._node, self._drive, self._live, self._io = node, drive, live, io
        self._ask, self._on_event = ask, on_event
        self._observed, self._commanded = observed, commanded
        contract = policy.contract
        candidates = parameters.output == "candidate"
        ticks, notice = control_ticks(
            contract, parameters.control_rate_hz, whole_chunks=candidates
        )
        if notice:
            node.get_logger().info(notice)
        pace = Pace(1.0 / contract.rate_hz, ticks)
        points = make_set_points(contract, ticks, whole_chunks=candidates)
        self._realtime = Realtime(drive, points, pace, guarded=candidates)
        self._images = ImageTimes(contract)
        self._underruns, self._waits_told_s = 0, time.monotonic()
        self._asked = self._looked = Stages()
        self._stages: dict[int, Stages] = {}
        self._sender = CandidateSender(node, contract, policy.hash) if candidates else None
        self._gate = (
            GateLink(node, policy.hash, parameters.gate_timeout_s, self._on_gate)
            if candidates
            else None
        )
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._timer = node.create_timer(1.0 / pace.rate_hz, self._on_tick, clock=steady)
        self._beat = BeatWatch(1.0 / pace.rate_hz)

    def start(self, instruction: str, max_chunks: int, patient: bool) -> None:
        """Begin a run; see `Drive.start`."""
        self.settle()
        self._realtime.start(instruction, time.monotonic(), max_chunks, patient)

    def sample(self, sample: Sample) -> None:
        """Take a sample that `live` has got already."""
        if self._images.push(sample) and self._drive.running:
            steady_s = time.monotonic()
            request = self._realtime.image(self._view(), self._see, steady_s)
            self._submit(request)
            self.settle()
            if request is not None:
                self._on_event()
            if self._realtime.begins(steady_s):
                self._timer.reset()
                self._on_tick()

    def answer(self, answer: Answer) -> Chunk | None:
        """Take an answer of the model; see `Drive.answer`.

        Where the arm waits for it, its first step goes out at once, and ticks count from here.
        """
        now_ns, steady_s = self._now_ns(), time.monotonic()
        try:
            chunk = self._realtime.answer(
                answer.request, answer.prediction, now_ns, answer.elapsed_s, steady_s
            )
        finally:
            self.settle()
        if chunk is not None:
            kept = {k: v for k, v in self._stages.items() if k == chunk.sequence - 1}
            self._stages = {**kept, chunk.sequence: replace(self._asked, answered_ns=now_ns)}
        if self._realtime.ready(steady_s):
            self._timer.reset()
            self._on_tick()
        return chunk

    def settle(self) -> None:
        """Say the last word where a run has ended; call it after every change of the drive."""
        self._send(self._realtime.settle())

    def close(self) -> None:
        """Stop the timer and withdraw the topics."""
        self._node.destroy_timer(self._timer)
        for part in (self._gate, self._sender):
            if part is not None:
                part.close()

    def _on_tick(self) -> None:
        if not self._drive.running:
            self._beat.restart()
            return
        steady_s = time.monotonic()
        if late := self._beat.tick(steady_s):
            self._node.get_logger().warning(late, throttle_duration_sec=_WAITS_PERIOD_S)
        tick = self._realtime.tick(self._view(), self._see, steady_s)
        if tick.stepped:
            self._observed.add(steady_s)
        self._tell_waits(steady_s)
        self._send(tick.output)
        self._submit(tick.request)
        self._on_event()

    def _tell_waits(self, steady_s: float) -> None:
        """Say now and then how often the arm stood still because there was no chunk in time."""
        waits, since_s = self._realtime.underruns - self._underruns, steady_s - self._waits_told_s
        if waits and since_s >= _WAITS_PERIOD_S:
            self._underruns, self._waits_told_s = self._realtime.underruns, steady_s
            text = f"the arm waited for the model {waits} times in {since_s:.0f} s"
            self._node.get_logger().info(text)

    def _on_gate(self) -> None:
        self._realtime.heed(self._view(), time.monotonic())
        self.settle()
        self._on_event()

    def _view(self) -> GateView:
        return NO_GATE if self._gate is None else self._gate.view()

    def _see(self) -> Seen:
        now_ns = self._now_ns()
        frame = self._live.frame(now_ns, now_ns, time.monotonic())
        self._looked = self._images.of(frame)
        return Seen(frame, self._looked.observation_ns, self._images.taken_ns(frame))

    def _submit(self, request: Request | None) -> None:
        if request is not None:
            self._asked = replace(self._looked, requested_ns=self._now_ns())
            self._ask(request)

    def _send(self, output: Output | None) -> None:
        if output is None:
            return
        if output.kind is CandidateKind.MOTION:
            self._commanded.add(time.monotonic())
        if output.kind is CandidateKind.FAULT:
            self._node.get_logger().error(f"fault: {output.reason}")
        if self._sender is not None:
            self._sender.send(output, self._stages.get(output.chunk, Stages()))
            if output.kind is CandidateKind.FAULT:
                self._gate.told_to_stop(output.reason)
        elif output.kind is CandidateKind.MOTION:
            self._io.command(output.data[0], self._now_ns())

    def _now_ns(self) -> int:
        return self._node.get_clock().now().nanoseconds
