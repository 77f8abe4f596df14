"""The two ways in time in which a policy drives a robot, behind one interface.

In real time (`realtime_loop`) a timer steps, and the model is never waited for; in lock step
(`lockstep_loop`) every complete observation is one step, and the world waits for the command.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable

from rclpy.node import Node

from roboalign_policy.core.drive.chunk_buffer import Chunk
from roboalign_policy.core.drive.drive import Drive
from roboalign_policy.core.drive.parameters import PolicyParameters
from roboalign_policy.core.drive.types import Asked, ModelRequest
from roboalign_policy.core.frames.frames import Sample
from roboalign_policy.core.frames.live_frames import LiveFrames, Pushed
from roboalign_policy.core.latency import RateWindow
from roboalign_policy.core.policy.protocol import Policy
from roboalign_policy.nodes.policy.inference_worker import WorkerAnswer
from roboalign_policy.nodes.policy.robot_io import RobotIo


class DriveLoop(ABC):
    """Connects a drive to a robot's topics.

    Attributes:
        lossless: every message of the observations is needed.
        observed: counts complete frames.
        commanded: counts motions sent.
    """

    lossless: bool

    def __init__(
        self,
        node: Node,
        policy: Policy,
        drive: Drive,
        parameters: PolicyParameters,
        *,
        ask: Callable[[Asked], None],
        on_task: Callable[[str], None],
        on_event: Callable[[], None],
    ) -> None:
        """Subscribe and advertise.

        Args:
            node: owner of timers and topics.
            policy: its contract and hash.
            drive: decides step by step.
            parameters: of the node.
            ask: puts requests to the model.
            on_task: called with every instruction.
            on_event: called after everything that may have changed the drive.
        """
        self._node, self._drive, self._ask, self._on_event = node, drive, ask, on_event
        self.observed, self.commanded = RateWindow(), RateWindow()
        self._live = LiveFrames(policy.contract, self.silence_s(parameters))
        self._io = RobotIo(
            node,
            policy.contract,
            lossless=self.lossless,
            commands=parameters.output == "command",
            on_sample=self._on_sample,
            on_unreadable=self._live.refuse,
            on_note=self._live.note,
            on_task=on_task,
        )

    @staticmethod
    @abstractmethod
    def silence_s(parameters: PolicyParameters) -> float:
        """Return after how many s without a message a stream counts as silent."""

    @abstractmethod
    def start(self, instruction: str, max_chunks: int, patient: bool) -> None:
        """Begin a run; see `Drive.start`."""

    @abstractmethod
    def now_ns(self, request: ModelRequest) -> int:
        """Return the present in the clock of the observations, for the answer to ``request``."""

    @abstractmethod
    def answer(self, answer: WorkerAnswer, now_ns: int, steady_s: float) -> Chunk | None:
        """Take an answer of the model; see `Drive.answer`. `go_on` follows."""

    @abstractmethod
    def thought(self, answer: WorkerAnswer, steady_s: float) -> None:
        """Take a thought of the model; see `Drive.thought`. `go_on` follows."""

    @abstractmethod
    def go_on(self) -> None:
        """Go on after an answer was taken, or the model failed."""

    def stop(self, reason: str, message: str) -> None:
        """End the run at once; see `Drive.stop`."""
        self._drive.stop(reason, message)
        self._settle()

    def watch(self) -> None:
        """End a run that hears nothing; see `Drive.watch`."""
        self._drive.watch(time.monotonic())
        self._settle()

    def close(self) -> None:
        """Remove timers and topics."""
        self._io.close()

    def _on_sample(self, sample: Sample) -> None:
        pushed = self._live.push(sample, time.monotonic())
        if pushed.jumped:
            self._drive.forget_frames("the clock of the observations went back")
        self._sample(sample, pushed)

    @abstractmethod
    def _sample(self, sample: Sample, pushed: Pushed) -> None:
        """Do what is due with a sample that frames can be made of, ``pushed`` says which."""

    @abstractmethod
    def _settle(self) -> None:
        """Say the last word of a run that has ended, where somebody listens to it."""
