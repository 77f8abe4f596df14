"""Drive an arm step by step: when to command, to ask the model, to stop. No ROS, no threads.

`Drive` is fed complete frames and finished predictions and answers with what to do. The order of
one step:

1. an observation that is missing, stale or non-finite clears the buffer: nothing is commanded;
2. when the chunk is used up (or nearly, in real time), a `ModelRequest` for the next one is
   handed out;
3. the action that belongs to this step, if there is one, is handed out.

In lock step and in mode `sync` 2 and 3 exclude each other: nothing is commanded until the chunk
has come (in lock step the caller then repeats the step with the same frame). In `async_blend` the
old chunk is consumed while the next one is computed.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from roboalign_policy.core.drive.chunk_buffer import ActionSpace, Chunk, ChunkAction, ChunkBuffer
from roboalign_policy.core.drive.thoughts import Thought, ThoughtRequest, Thoughts
from roboalign_policy.core.drive.types import (
    Asked,
    Decision,
    DriveCounters,
    DriveSettings,
    End,
    ModelRequest,
    State,
)
from roboalign_policy.core.latency import LatencyWindow
from roboalign_policy.core.policy.accept import ChunkError
from roboalign_policy.core.policy.prediction import ChunkStatus

if TYPE_CHECKING:
    import numpy as np

    from roboalign_policy.core.drive.cross_fade import Fade
    from roboalign_policy.core.frames.frames import Frame, Missing

_RUNNING = (State.RUNNING, State.OBSERVATION_HOLD, State.CHUNK_HOLD, State.GATE_HOLD)


class Drive:
    """State of one policy driving one arm."""

    def __init__(
        self, space: ActionSpace, settings: DriveSettings, fade: Fade | None = None
    ) -> None:
        """Start idle; ``fade``: see `ChunkBuffer`."""
        self.space, self.settings = space, settings
        self.buffer = ChunkBuffer(space, settings.max_chunk_age_s, fade)
        self.latency = LatencyWindow()
        self.thoughts = Thoughts(
            settings.reasoning, space.switch_positions, beside=not settings.lockstep
        )
        self._replan_after = min(settings.replan_after_steps or space.horizon, space.horizon)
        self.counters = DriveCounters()
        self.state, self.reason = State.IDLE, "no run was started"
        self.instruction = ""
        self.end: End | None = None
        self.sequence = 0  # of the last answer, accepted or refused
        self.run_chunks = self.run_steps = 0
        self.patient = False
        self._max_chunks = self._epoch = 0
        self._executed_sequence = self._invalid_in_a_row = 0
        self._in_flight: ModelRequest | None = None
        self._thinking: ThoughtRequest | None = None
        self._thinking_s = 0.0
        self._acted_on: Thought | None = None  # what the accepted chunk was made with
        self._last_good_s = self._asked_s = 0.0
        self._last_frame_ns: int | None = None
        self._commanded_ns: int | None = None

    def activate(self) -> None:
        """Count anew; called when the node becomes active."""
        self.counters = DriveCounters()
        self.state, self.reason = State.IDLE, "waiting for an instruction or a goal"

    @property
    def running(self) -> bool:
        """True between `start` and the end of the run."""
        return self.end is None and self.state in _RUNNING

    @property
    def waiting(self) -> bool:
        """True while an answer of the model is outstanding."""
        return self._in_flight is not None

    @property
    def idle(self) -> bool:
        """True while no action can come before the next chunk does."""
        return self.used_up or (self.settings.sync and self.waiting)

    @property
    def held_back(self) -> bool:
        """Whether the old chunk has gone as far as it may while the next one is on its way."""
        if self.settings.sync or self._in_flight is None:
            return False
        return self.buffer.commanded - self._in_flight.place >= self.settings.overtake_steps

    @property
    def used_up(self) -> bool:
        """Whether no further action may be taken from the present chunk."""
        if self.settings.sync:
            return self._used >= self._replan_after
        return self.buffer.remaining == 0

    def upcoming(self) -> np.ndarray:
        """Return the actions that will follow if no other chunk comes, (R, A) float32."""
        rest = self.buffer.rest()
        return rest[: max(0, self._replan_after - self._used)] if self.settings.sync else rest

    def start(
        self, instruction: str, steady_s: float, max_chunks: int = 0, patient: bool = False
    ) -> None:
        """Begin a run: forget chunks of an earlier one.

        Args:
            instruction: what the robot shall do.
            steady_s: s; steady clock.
            max_chunks: end after so many executed chunks; 0 = no limit.
            patient: hold for as long as observations are missing, or the gate is closed, instead
                of ending the run.
        """
        self._restart("a new run began")
        self.instruction, self._max_chunks, self.patient = instruction, max_chunks, patient
        self.state, self.reason, self.end = State.RUNNING, "", None
        self.run_chunks = self.run_steps = self._invalid_in_a_row = 0
        self._last_good_s = steady_s
        self._last_frame_ns = self._commanded_ns = None

    def stop(self, reason: str, message: str) -> None:
        """End the run at once: nothing more is commanded, an outstanding answer is dropped."""
        self._restart(message)
        if self.state is not State.FAULT:
            self.state = State.IDLE
        self.reason = message
        self.end = End(reason, message, self.run_chunks, self.run_steps)

    def set_instruction(self, instruction: str) -> bool:
        """Change the instruction while running; chunks made for another go. True when changed."""
        if instruction == self.instruction:
            return False
        self.instruction = instruction
        self._restart("the instruction changed")
        return True

    def step(
        self,
        frame: Frame | Missing,
        now_ns: int,
        steady_s: float,
        *,
        seen_ns: int | None = None,
        ask: bool = True,
        take: bool = True,
    ) -> Decision:
        """Take one control step.

        Args:
            frame: the observation of this step, or why there is none.
            now_ns: present time in the clock of the observations; in lock step the frame's stamp.
            steady_s: s; steady clock.
            seen_ns: when the newest image of the frame was taken, in the same clock as
                ``now_ns``; None: when the frame was made.
            ask: a request may be handed out.
            take: an action may be handed out; False between two steps, to ask earlier.
        """
        if not self.running:
            return Decision()
        reasons = getattr(frame, "reasons", None)
        if reasons is not None:
            self.hold(reasons)
            return Decision()
        self._last_good_s = steady_s
        if self.state is State.OBSERVATION_HOLD:
            self.state, self.reason = State.RUNNING, ""
        self._drop_after_jump(frame.stamp_ns)
        acted_on = None if self.used_up else self._acted_on  # else the thought that is there
        if fault := self.thoughts.fault(acted_on, now_ns):
            if not self.thoughts.before_acting:
                self.hold({"thought": fault})
                return Decision()
            self._restart(f"thought: {fault}")  # the world waits: the policy thinks anew
        place = self.buffer.place_at(frame.stamp_ns if seen_ns is None else seen_ns)
        asked = self._ask(frame, place, now_ns, steady_s) if ask else Asked()
        if not take:
            return Decision(asked=asked)
        if self._finished(asked.chunk):
            self.stop("max_chunks", f"{self.run_chunks} chunks were executed")
            return Decision()
        if (self.settings.sync and self.idle) or self.held_back:
            return Decision(asked=asked)
        action = self.buffer.take(now_ns)
        if action is not None:
            self._count(action, frame.stamp_ns)
        return Decision(action, asked)

    def hold(self, reasons: dict[str, str]) -> None:
        """Stop commanding because the observation is not usable. `reasons`: stream to reason."""
        text = "; ".join(f"{key}: {reason}" for key, reason in sorted(reasons.items()))
        self.counters.stale += 1
        self.counters.refused += 1
        self.state, self.reason = State.OBSERVATION_HOLD, text
        self._restart(f"observation refused: {text}")

    def gate_hold(self, reason: str, steady_s: float, taken: bool = False) -> None:
        """Command and ask nothing because of the safety gate (``reason``), forget the chunk.

        ``steady_s``: steady clock; ``taken``: somebody else drives, so the wait has no limit.
        """
        if entered := self.state is not State.GATE_HOLD:
            self.counters.refused += 1
            self._restart(reason)
        if entered or taken:
            self._last_good_s = steady_s
        self.state, self.reason = State.GATE_HOLD, reason

    def gate_opened(self, steady_s: float) -> None:
        """Go on with a fresh observation where the gate was what held the run."""
        if self.state is State.GATE_HOLD:
            self.state, self.reason, self._last_good_s = State.RUNNING, "", steady_s
            self._last_frame_ns = self._commanded_ns = None

    def note(self, text: str) -> None:
        """Say in the status how it runs; ``text`` is empty when all is well."""
        if self.state is State.RUNNING:
            self.reason = text

    def answer(
        self,
        request: ModelRequest,
        prediction: Any,
        now_ns: int,
        elapsed_s: float,
        steady_s: float,
    ) -> Chunk | None:
        """Take the model's answer to ``request``.

        Args:
            request: what was asked.
            prediction: a `Prediction` (actions, status, detail).
            now_ns: present time in the clock of the observations.
            elapsed_s: s; from request to answer on the steady clock.
            steady_s: s; steady clock.

        Returns:
            The accepted chunk; None when the answer is no longer wanted, be it that its thought
            was fulfilled meanwhile.

        Raises:
            ChunkError: the answer is not acceptable; commanding has stopped (state CHUNK_HOLD).
        """
        self._in_flight = None
        self.latency.add(elapsed_s)
        self._last_good_s = steady_s
        if request.epoch != self._epoch or not self.running:
            return None
        beside = request.thought if self.thoughts.beside else None
        if beside is not None and self.thoughts.fulfilled(beside):
            return None
        self.sequence += 1
        try:
            if beside is not None and (fault := self.thoughts.fault(beside, now_ns)):
                raise ChunkError(ChunkStatus.TOO_OLD, f"thought: {fault}")
            if prediction.status != ChunkStatus.OK:
                raise ChunkError(prediction.status, prediction.detail)
            chunk = Chunk(self.sequence, request.observation_ns, request.place, prediction.actions)
            chunk = self.buffer.offer(chunk, now_ns)
        except ChunkError as fault:
            self._refuse(fault)
            raise
        self._invalid_in_a_row = 0
        self.counters.chunks += 1
        self.state, self.reason = State.RUNNING, ""
        self._acted_on = request.thought
        if self.thoughts.before_acting and request.thought is None:
            made = Thought(prediction.reasoning, request.observation_ns, request.place)
            self.thoughts.take(made, chunks=1)
            self._acted_on = made
        return chunk

    def thought(self, request: ThoughtRequest, text: str, now_ns: int, steady_s: float) -> None:
        """Take the thought that answers ``request``; one of an earlier run goes.

        Args:
            request: what was asked.
            text: the thought.
            now_ns: present time in the clock of the observations.
            steady_s: s; steady clock.

        Raises:
            ChunkError: it is too old already; commanding has stopped (state CHUNK_HOLD).
        """
        self._thinking = None
        self._last_good_s = steady_s
        if request.epoch != self._epoch or not self.running:
            return
        thought = Thought(text, request.observation_ns, request.place)
        if fault := self.thoughts.fault(thought, now_ns):
            refused = ChunkError(ChunkStatus.TOO_OLD, f"thought: {fault}")
            self._refuse(refused)
            raise refused
        self.thoughts.take(thought)

    def fail(self, message: str) -> None:
        """The model raised an error: end the run and stay in FAULT until configured again."""
        self._in_flight = self._thinking = None
        self.counters.refused += 1
        self.state = State.FAULT
        self.stop("inference_fault", message)

    def watch(self, steady_s: float) -> None:
        """End a run that waits for too long, for the model, a usable frame or the safety gate.

        Call it at a few Hz; ``steady_s``: steady clock.
        """
        if not self.running:
            return
        silent_s, gate = steady_s - self._last_good_s, self.state is State.GATE_HOLD
        thinks_s = 0.0
        if not self.settings.lockstep:
            thinks_s = max(
                steady_s - self._asked_s if self.waiting else 0.0,
                steady_s - self._thinking_s if self._thinking is not None else 0.0,
            )
        if thinks_s > (limit_s := self.settings.inference_timeout_s):
            self.fail(f"the model has not answered for {thinks_s:.1f} s, limit {limit_s:g} s")
        elif self.patient or (self.waiting and not gate):
            return
        elif silent_s > self.settings.observation_timeout_s:
            why = self.reason or "no complete frame arrived"
            text = "waited for the gate" if gate else "no usable observation"
            end = "gate_stop" if gate else "observation_fault"
            self.stop(end, f"{text} for {silent_s:.1f} s: {why}")

    def forget_frames(self, reason: str) -> None:
        """Drop everything that came from frames before a jump of the clock."""
        self._restart(reason)
        self.buffer.forget_times()
        self._last_frame_ns = self._commanded_ns = None

    @property
    def _used(self) -> int:
        """Steps of the present chunk that were commanded or overtaken."""
        return self.space.horizon - self.buffer.remaining

    def _wanted(self, unseen: int) -> bool:
        """Whether the next chunk is to be asked for now.

        Args:
            unseen: steps commanded since the present observation was taken. With what will be
                commanded of this chunk they overtake the next one, which must be longer.
        """
        settings, horizon, remaining = self.settings, self.space.horizon, self.buffer.remaining
        if unseen + (0 if settings.sync else remaining) >= horizon:
            return False
        if settings.sync:
            return self.used_up
        # Early enough that the next chunk is there when this one ends, but never so early that
        # steps of this one are given up, or that all of the next one would be overtaken.
        lead = min(self._expected_steps + 1, horizon // 2, max(1, settings.overtake_steps))
        return remaining <= lead or self._used >= self._replan_after

    @property
    def _expected_steps(self) -> int:
        """Steps that pass until an answer is there, by the times that answers have taken."""
        expected_s = self.latency.percentile(95) if len(self.latency) else 0.0
        return math.ceil(expected_s / self.settings.step_s)

    def _ask(self, frame: Frame, place: int, now_ns: int, steady_s: float) -> Asked:
        """Ask what is to be asked with a frame."""
        if self._max_chunks and self.run_chunks >= self._max_chunks:
            return Asked()
        request, thought = None, self.thoughts.acted_on(now_ns)
        ready = thought is not None or not self.thoughts.beside
        if ready and not self.waiting and self._wanted(self.buffer.commanded - place):
            request = self._request(frame, place, thought, steady_s)
        if self._thinking is not None or not self.thoughts.wanted(now_ns):
            return Asked(request)
        asked = (frame.stamp_ns, frame.values, self.instruction)
        self._thinking, self._thinking_s = ThoughtRequest(self._epoch, place, *asked), steady_s
        return Asked(request, self._thinking)

    def _request(
        self, frame: Frame, place: int, thought: Thought | None, steady_s: float
    ) -> ModelRequest:
        self._asked_s = steady_s
        rest = self.buffer.rest_from(place)
        unseen, settings = self.buffer.commanded - place, self.settings
        ahead = 0 if settings.sync else max(1, self._expected_steps)
        frozen = max(unseen, min(unseen + ahead, settings.overtake_steps))
        asked = (frame.stamp_ns, frame.values, self.instruction, rest)
        self._in_flight = ModelRequest(
            self._epoch, place, *asked, frozen=min(frozen, len(rest)), thought=thought
        )
        if thought is not None:
            self.thoughts.asked()
        return self._in_flight

    def _finished(self, request: ModelRequest | None) -> bool:
        if not self._max_chunks or self.run_chunks < self._max_chunks or request is not None:
            return False
        return self.used_up and not (self.settings.sync and self.waiting)

    def _drop_after_jump(self, stamp_ns: int) -> None:
        """Drop the chunk when time went back, or in lock step did anything but one step."""
        step_ns = self.settings.step_s * 1e9
        jumped = self._last_frame_ns is not None and stamp_ns < self._last_frame_ns
        if self.settings.lockstep and self._commanded_ns is not None:
            jumped |= abs(stamp_ns - self._commanded_ns - step_ns) > 0.5 * step_ns
        if self.settings.lockstep and self._in_flight is not None:
            jumped |= stamp_ns != self._in_flight.observation_ns
        if jumped:
            self._restart("the clock of the observations jumped")
            self.buffer.forget_times()
            self._commanded_ns = None
        self._last_frame_ns = stamp_ns

    def _count(self, action: ChunkAction, stamp_ns: int) -> None:
        self.thoughts.commanded(action.values, self.buffer.commanded - 1)
        self.counters.commands += 1
        self.run_steps += 1
        self._commanded_ns = stamp_ns
        if self._executed_sequence != action.sequence:
            self._executed_sequence = action.sequence
            self.run_chunks += 1

    def _refuse(self, fault: ChunkError) -> None:
        self.counters.refused += 1
        self.counters.undecodable += fault.kind is not ChunkStatus.TOO_OLD
        self._invalid_in_a_row += 1
        self.state, self.reason = State.CHUNK_HOLD, str(fault)
        self._restart(f"chunk refused: {fault}")
        if self._invalid_in_a_row >= self.settings.max_invalid_chunks:
            text = f"{self._invalid_in_a_row} invalid chunks in a row, the last one {fault}"
            self.stop("chunk_fault", text)

    def _restart(self, reason: str) -> None:
        self._epoch += 1
        self.buffer.clear(reason)
        self.thoughts.forget()
        self._acted_on = None
