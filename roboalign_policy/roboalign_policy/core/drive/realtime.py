"""Driving in real time: what to send at every tick, and when to ask the model. No ROS.

A fixed-rate consumer of chunks that never waits for the model. `Realtime` is ticked by one timer
on the steady clock, hears about new images and about answers, and says what to send:

- MOTION at a control tick that belongs to an action, also while the arm comes to rest;
- HOLD at a control tick once it is at rest and waits for the model;
- ALIVE at every other tick;
- END once when a run ended in order, FAULT once when in doubt: then nothing more.

Where a safety gate is asked (``guarded``), nothing is sent and nothing asked while it is not open.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from roboalign_policy.core.candidate import CandidateKind
from roboalign_policy.core.drive.gate_watch import GateView
from roboalign_policy.core.drive.types import Asked, Decision, ModelRequest, State
from roboalign_policy.core.policy.accept import ChunkError

if TYPE_CHECKING:
    from roboalign_policy.core.drive.chunk_buffer import Chunk
    from roboalign_policy.core.drive.drive import Drive
    from roboalign_policy.core.drive.pacing import Pace
    from roboalign_policy.core.drive.setpoints import SetPoints
    from roboalign_policy.core.drive.thoughts import ThoughtRequest
    from roboalign_policy.core.frames.frames import Frame, Missing

_FAULTS = ("observation_fault", "chunk_fault", "inference_fault")
_DOUBT = (State.OBSERVATION_HOLD, State.CHUNK_HOLD)


@dataclass(frozen=True, eq=False)
class Seen:
    """An observation.

    Attributes:
        frame: the frame, or why there is none.
        image_ns: stamp of its newest image, by which images are told apart.
        taken_ns: when that image was taken, on the clock of the commands; 0: not known.
    """

    frame: Frame | Missing
    image_ns: int
    taken_ns: int

    @property
    def complete(self) -> bool:
        """Whether there is a frame."""
        return not hasattr(self.frame, "reasons")


@dataclass(frozen=True, eq=False)
class Outgoing:
    """One thing to send.

    Attributes:
        kind: what it says.
        data: (T, A) float64, units of the contract; None without data.
        step_s: s; time between two steps of the data.
        chunk: number of the chunk that the data comes from; 0 on the way to standstill.
        reason: of a FAULT.
    """

    kind: CandidateKind
    data: np.ndarray | None = None
    step_s: float = 0.0
    chunk: int = 0
    reason: str = ""


ALIVE = Outgoing(CandidateKind.ALIVE)


@dataclass(frozen=True, eq=False)
class Tick:
    """What to do at a tick: send ``output``, ask the model; ``stepped``: with a frame."""

    output: Outgoing | None = None
    asked: Asked = Asked()
    stepped: bool = False


class Realtime:
    """Between a drive, which decides step by step, and a timer, which knows no steps.

    Attributes:
        underruns: times since the start that the arm came to rest because no chunk was there in
            time; not counted where the settings want it so (mode `sync`, `overtake_steps`).
    """

    def __init__(self, drive: Drive, points: SetPoints, pace: Pace, *, guarded: bool) -> None:
        """Start idle.

        Args:
            drive: decides which action belongs to which step.
            points: makes what goes out of the actions.
            pace: counts the ticks.
            guarded: a safety gate decides; in doubt it is told, and the run ends. False: in doubt
                nothing is sent, and the run goes on with the next good observation.
        """
        self._drive, self._points, self._pace, self._guarded = drive, points, pace, guarded
        self.underruns = 0
        self._opened = self._talking = False
        self._forget()

    def start(self, instruction: str, steady_s: float, max_chunks: int, patient: bool) -> None:
        """Begin a run; see `Drive.start`.

        The last word that a run owes which this one takes over from is owed by this one.
        """
        self._drive.start(instruction, steady_s, max_chunks, patient)
        self._opened = False
        self._forget()

    def tick(self, gate: GateView, see: Callable[[], Seen], steady_s: float) -> Tick:
        """Take one tick of the timer.

        Args:
            gate: what the safety gate does.
            see: makes the observation of now, when it is needed.
            steady_s: s; steady clock.
        """
        drive = self._drive
        if not drive.running or not self._heed(gate, steady_s):
            return Tick(ALIVE if drive.running and gate.taken else None)
        due = self._pace.tick(steady_s)
        seen = see() if due.step else None
        asked = self._step(seen, steady_s) if seen else Asked()
        output = self.settle()
        if output is None and drive.running:
            output = self._next(steady_s) if due.control else self._alive()
        return Tick(output, asked, seen is not None and seen.complete)

    def image(self, gate: GateView, see: Callable[[], Seen], steady_s: float) -> Asked:
        """Ask at once, where an image or a thought has come and nothing but a chunk is missing.

        Call `settle` after it. The arguments are those of `tick`.
        """
        drive = self._drive
        if not drive.running or drive.waiting or not drive.idle or not self._heed(gate, steady_s):
            return Asked()
        if not self._pace.step_due(steady_s):
            return Asked()
        return self._ask(see(), steady_s, take=False).asked

    def begins(self, steady_s: float) -> bool:
        """Note that an image has arrived; True where a step begins with it: tick now.

        Call it once an image, after `image`.
        """
        acts = self._drive.running and (self._fresh or not self._starved)
        return self._pace.observed(steady_s, may_begin=acts)

    def answer(
        self,
        request: ModelRequest,
        prediction: Any,
        now_ns: int,
        elapsed_s: float,
        steady_s: float,
    ) -> Chunk | None:
        """Take the model's answer; see `Drive.answer`. Call `settle` after it.

        Where the arm waits for the chunk its first step begins with the next tick, which may then
        come at once: see `ready`. Where the next chunk is computed while this one is driven, and
        steps follow the images, it begins with the next image, or a period later.
        """
        sync = self._drive.settings.sync
        awaited = self._starved or (sync and self._drive.idle)
        try:
            chunk = self._drive.answer(request, prediction, now_ns, elapsed_s, steady_s)
        except ChunkError:
            self._points.forget()
            raise
        if chunk is not None and awaited:
            at_once = sync or self._pace.just_observed(steady_s)
            self._pace.restart(steady_s + (0.0 if at_once else self._drive.settings.step_s))
            self._fresh = True
        return chunk

    def thought(self, request: ThoughtRequest, text: str, now_ns: int, steady_s: float) -> None:
        """Take a thought; see `Drive.thought`. Call `settle` after it, then `image`."""
        try:
            self._drive.thought(request, text, now_ns, steady_s)
        except ChunkError:
            self._points.forget()
            raise

    def ready(self, steady_s: float) -> bool:
        """Whether a chunk has come for which the arm waits: tick now, count ticks from here."""
        return self._drive.running and self._fresh and self._pace.ready(steady_s)

    def heed(self, gate: GateView, steady_s: float) -> None:
        """Hold or end the run according to the state of the gate; call `settle` afterwards."""
        if self._drive.running:
            self._heed(gate, steady_s)

    def settle(self) -> Outgoing | None:
        """Return the last word of a run that has ended or that must: END or FAULT, once.

        Call it after everything that may have changed the drive.
        """
        drive, end = self._drive, self._drive.end
        if end is None and self._guarded and self._moving and drive.state in _DOUBT:
            reason = drive.reason
            drive.stop("gate_stop", f"{reason}; the gate was told to stop")
            return self._last_word(CandidateKind.FAULT, reason)
        if end is None or not self._talking:
            return None
        if end.reason in _FAULTS:
            return self._last_word(CandidateKind.FAULT, end.message)
        return self._last_word(CandidateKind.END) if end.reason != "gate_stop" else self._silence()

    def _forget(self) -> None:
        """Begin anew with the next step: no set-point, no image that was asked about."""
        self._points.forget()
        self._pace.restart()
        self._moving = self._fresh = self._held = False
        self._starved, self._chunk = True, 0
        self._asked_ns: int | None = None

    def _heed(self, gate: GateView, steady_s: float) -> bool:
        """Whether the run may step."""
        drive = self._drive
        if gate.open and not gate.taken:
            self._opened = True
            drive.gate_opened(steady_s)
            return True
        if gate.open:
            # The last word is then no longer this sender's.
            self._opened, self._talking = True, False
            drive.gate_hold(gate.reason, steady_s, taken=True)
        elif self._opened:
            drive.stop("gate_stop", gate.reason)
        else:
            drive.gate_hold(gate.reason, steady_s)
        self._forget()
        return False

    def _step(self, seen: Seen, steady_s: float) -> Asked:
        """Take a step of the contract."""
        step = self._ask(seen, steady_s, take=True)
        self._starved, self._fresh = step.action is None, False
        if step.action is not None:
            self._points.aim(step.action, self._drive.upcoming())
            self._pace.stepped(steady_s)
            self._chunk = step.action.sequence
            if self._held:
                self._held = False
                self._drive.note("")
        else:
            self._points.release()
        return step.asked

    def _ask(self, seen: Seen, steady_s: float, *, take: bool) -> Decision:
        # What waits for nothing but the model begins with an image: never with the same one again,
        # and with one that lies there already only where none has come for a whole step.
        awaited = seen.image_ns != self._asked_ns and (self._starved or not take)
        ask, frame = awaited or not self._drive.idle, seen.frame
        seen_ns = seen.taken_ns or None
        step = self._drive.step(
            frame, frame.stamp_ns, steady_s, seen_ns=seen_ns, ask=ask, take=take
        )
        if step.request is not None:
            self._asked_ns = seen.image_ns
        if self._drive.state in _DOUBT:
            self._points.forget()
        return step

    def _next(self, steady_s: float) -> Outgoing | None:
        point = self._points.advance()
        if point is None:
            return self._alive()
        self._talking = True
        if point.moving:
            self._moving = True
            self._pace.moved(steady_s)
            chunk = self._chunk if point.planned else 0
            return Outgoing(CandidateKind.MOTION, point.data, point.step_s, chunk)
        self._hold()
        return Outgoing(CandidateKind.HOLD, point.data, point.step_s)

    def _hold(self) -> None:
        if self._held:
            return
        self._held = True
        if self._drive.settings.sync or self._drive.held_back:
            self._drive.note("holding: no chunk, the next one is awaited")
            return
        self.underruns += 1
        why = self._drive.buffer.empty_reason
        self._drive.note(f"holding: no chunk, {why} (underrun {self.underruns})")

    def _alive(self) -> Outgoing:
        self._talking = True
        return ALIVE

    def _last_word(self, kind: CandidateKind, reason: str = "") -> Outgoing:
        self._silence()
        return Outgoing(kind, reason=reason)

    def _silence(self) -> None:
        self._talking = self._moving = False
