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
from roboalign_policy.core.drive.realtime import Outgoing, Realtime, Seen
from roboalign_policy.core.drive.setpoints import control_ticks, make_set_points
from roboalign_policy.core.drive.types import Asked, ModelRequest
from roboalign_policy.core.frames.frames import Sample
from roboalign_policy.core.frames.live_frames import Pushed
from roboalign_policy.core.frames.stages import ImageTimes, Stages
from roboalign_policy.core.policy.protocol import Policy
from roboalign_policy.nodes.policy.drive_loop import DriveLoop
from roboalign_policy.nodes.policy.gate_link import GateLink
from roboalign_policy.nodes.policy.inference_worker import WorkerAnswer

_WAITS_PERIOD_S = 10.0


class RealtimeLoop(DriveLoop):
    """Drives one robot in real time."""

    lossless = False

    def __init__(
        self,
        node: Node,
        policy: Policy,
        drive: Drive,
        parameters: PolicyParameters,
        **connections: Callable[..., None],
    ) -> None:
        """Start the timer and, for candidates, listen to the gate; see `DriveLoop`."""
        contract, candidates = policy.contract, parameters.output == "candidate"
        ticks, notice = control_ticks(
            contract, parameters.control_rate_hz, whole_chunks=candidates
        )
        if notice:
            node.get_logger().info(notice)
        pace = Pace(1.0 / contract.rate_hz, ticks)
        points = make_set_points(contract, ticks, whole_chunks=candidates)
        self._realtime = Realtime(drive, points, pace, guarded=candidates)
        super().__init__(node, policy, drive, parameters, **connections)
        self._images = ImageTimes(contract)
        self._underruns, self._waits_told_s = 0, time.monotonic()
        self._asked = self._looked = Stages()
        self._stages: dict[int, Stages] = {}
        self._gate: GateLink | None = None
        if candidates:
            self._gate = GateLink(
                node, contract, policy.hash, parameters.gate_timeout_s, self._on_gate
            )
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._timer = node.create_timer(1.0 / pace.rate_hz, self._on_tick, clock=steady)
        self._beat = BeatWatch(1.0 / pace.rate_hz)

    @staticmethod
    def silence_s(parameters: PolicyParameters) -> float:
        """As long as a run goes on without a usable frame."""
        return parameters.observation_timeout_s

    def start(self, instruction: str, max_chunks: int, patient: bool) -> None:
        """Begin a run; see `Drive.start`."""
        self._settle()
        self._realtime.start(instruction, time.monotonic(), max_chunks, patient)

    def now_ns(self, request: ModelRequest | None = None) -> int:
        """The node's clock is that of the observations."""
        return self._node.get_clock().now().nanoseconds

    def answer(self, answer: WorkerAnswer, now_ns: int, steady_s: float) -> Chunk | None:
        """Take an answer of the model; see `Drive.answer`.

        Where the arm waits for it, its first step goes out at once, and ticks count from here.
        """
        try:
            chunk = self._realtime.answer(
                answer.request, answer.result, now_ns, answer.elapsed_s, steady_s
            )
        finally:
            self._settle()
        if chunk is not None:
            kept = {k: v for k, v in self._stages.items() if k == chunk.sequence - 1}
            self._stages = {**kept, chunk.sequence: replace(self._asked, answered_ns=now_ns)}
        if self._realtime.ready(steady_s):
            self._tick_now()
        return chunk

    def thought(self, answer: WorkerAnswer, steady_s: float) -> None:
        """Take a thought of the model; where the arm waits for it, ask for a chunk at once."""
        try:
            self._realtime.thought(answer.request, answer.result, self.now_ns(), steady_s)
        finally:
            self._settle()
        if self._drive.running:
            self._submit(self._realtime.image(self._view(), self._see, steady_s))
            self._settle()

    def go_on(self) -> None:
        """Say the last word where the answer, or its failure, has ended the run."""
        self._settle()

    def close(self) -> None:
        """Stop the timer and withdraw the topics."""
        super().close()
        self._node.destroy_timer(self._timer)
        if self._gate is not None:
            self._gate.close()

    def _sample(self, sample: Sample, pushed: Pushed) -> None:
        """Ask or step at once where the arm waits for an image, and this is one."""
        if self._images.push(sample) and self._drive.running:
            steady_s = time.monotonic()
            asked = self._realtime.image(self._view(), self._see, steady_s)
            self._submit(asked)
            self._settle()
            if asked:
                self._on_event()
            if self._realtime.begins(steady_s):
                self._tick_now()

    def _settle(self) -> None:
        self._send(self._realtime.settle())

    def _tick_now(self) -> None:
        self._timer.reset()
        self._on_tick()

    def _on_tick(self) -> None:
        if not self._drive.running:
            self._beat.restart()
            return
        steady_s = time.monotonic()
        if late := self._beat.tick(steady_s):
            self._node.get_logger().warning(late, throttle_duration_sec=_WAITS_PERIOD_S)
        tick = self._realtime.tick(self._view(), self._see, steady_s)
        if tick.stepped:
            self.observed.add(steady_s)
        self._tell_waits(steady_s)
        self._send(tick.output)
        self._submit(tick.asked)
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
        self._settle()
        self._on_event()

    def _view(self) -> GateView:
        return NO_GATE if self._gate is None else self._gate.view()

    def _see(self) -> Seen:
        now_ns = self.now_ns()
        frame = self._live.frame(now_ns, now_ns, time.monotonic())
        self._looked = self._images.of(frame)
        return Seen(frame, self._looked.observation_ns, self._images.taken_ns(frame))

    def _submit(self, asked: Asked) -> None:
        if asked.chunk is not None:
            self._asked = replace(self._looked, requested_ns=self.now_ns())
        if asked:
            self._ask(asked)

    def _send(self, output: Outgoing | None) -> None:
        if output is None:
            return
        if output.kind is CandidateKind.MOTION:
            self.commanded.add(time.monotonic())
        if output.kind is CandidateKind.FAULT:
            self._node.get_logger().error(f"fault: {output.reason}")
        if self._gate is not None:
            self._gate.send(output, self._stages.get(output.chunk, Stages()))
        elif output.kind is CandidateKind.MOTION:
            self._io.command(output.data[0], self.now_ns())
