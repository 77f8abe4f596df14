"""Lock step: every complete observation is one step, and the world waits for its command."""

from __future__ import annotations

import math
import time

from roboalign_policy.core.drive.chunk_buffer import Chunk
from roboalign_policy.core.drive.parameters import PolicyParameters
from roboalign_policy.core.drive.types import ModelRequest
from roboalign_policy.core.frames.frames import Frame, Missing, Sample
from roboalign_policy.core.frames.live_frames import Pushed
from roboalign_policy.nodes.policy.drive_loop import DriveLoop
from roboalign_policy.nodes.policy.inference_worker import WorkerAnswer


class LockstepLoop(DriveLoop):
    """Drives one robot in lock step."""

    lossless = True
    _frame_ns: int | None = None  # stamp of the newest complete frame
    _commanded_ns: int | None = None  # stamp of the frame commanded last

    @staticmethod
    def silence_s(parameters: PolicyParameters) -> float:
        """The world stands still while nobody commands, so silence says nothing here."""
        return math.inf

    def start(self, instruction: str, max_chunks: int, patient: bool) -> None:
        """Begin a run with the newest complete frame, where that is still there.

        Where the next episode has begun to arrive it is gone already; the run then begins with
        the first complete one.
        """
        self._drive.start(instruction, time.monotonic(), max_chunks, patient)
        self._commanded_ns = None
        if self._frame_ns is not None:
            frame = self._frame(self._frame_ns)
            if isinstance(frame, Frame):
                self._step(frame)

    def now_ns(self, request: ModelRequest) -> int:
        """The world's time is that of its newest complete observation."""
        return request.observation_ns if self._frame_ns is None else self._frame_ns

    def answer(self, answer: WorkerAnswer, now_ns: int, steady_s: float) -> Chunk | None:
        """Take an answer of the model."""
        return self._drive.answer(
            answer.request, answer.result, now_ns, answer.elapsed_s, steady_s
        )

    def thought(self, answer: WorkerAnswer, steady_s: float) -> None:
        """The world waits, so the policy thinks before it acts, and no thought comes alone."""
        raise RuntimeError(f"lock step: found a thought, {answer.result!r}, expected none")

    def go_on(self) -> None:
        """Repeat the step that waited for the answer."""
        if self._drive.running and self._frame_ns is not None:
            self._step(self._frame(self._frame_ns))

    def _sample(self, sample: Sample, pushed: Pushed) -> None:
        """Take a step where the sample completes an observation."""
        if pushed.jumped:
            self._frame_ns = self._commanded_ns = None
        if pushed.complete_ns is None:
            return
        if pushed.complete_ns == self._commanded_ns and self._drive.running:
            self._io.repeat()  # the observation was sent again: the command did not arrive
            return
        self._frame_ns = pushed.complete_ns
        self._step(self._frame(pushed.complete_ns))

    def _settle(self) -> None:
        """Nobody listens to a last word: commands just end."""

    def _frame(self, stamp_ns: int) -> Frame | Missing:
        return self._live.frame(stamp_ns, None, time.monotonic())

    def _step(self, frame: Frame | Missing) -> None:
        steady_s = time.monotonic()
        if isinstance(frame, Frame):
            self.observed.add(steady_s)
        step = self._drive.step(frame, frame.stamp_ns, steady_s)
        if step.asked:
            self._ask(step.asked)
        if step.action is not None:
            self._io.command(step.action.values, frame.stamp_ns)
            self._commanded_ns = frame.stamp_ns
            self.commanded.add(steady_s)
        self._on_event()
