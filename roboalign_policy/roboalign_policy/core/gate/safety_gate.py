"""The safety gate between the sender (policy or person) and the arm.

What passes, what stops it, how it is reset.

No ROS, no threads. Everything that happens is told to it (samples, candidates, buttons, ticks of a
steady clock); `candidate` answers with what may be sent, and after every call `pop_safe` tells
whether the safe action must go out now. Every stop latches: `reset` after the cool-down leads to
DISABLED, `enable` from there on. Values are refused, never clamped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from roboalign_policy.core.candidate import Candidate, CandidateKind
from roboalign_policy.core.gate.blend_in import BlendIn
from roboalign_policy.core.gate.bounds import GateBounds
from roboalign_policy.core.gate.commanded_motion import CommandedMotion
from roboalign_policy.core.gate.inputs import OperatorInputs
from roboalign_policy.core.gate.parameters import GateParameters
from roboalign_policy.core.gate.streams import StreamWatch
from roboalign_policy.core.gate.types import GateFault, GateState, Passed, Reason
from roboalign_policy.core.hashing import short_name

if TYPE_CHECKING:
    from roboalign_policy.core.contract.contract import Contract

TELEOPERATION = "teleoperation"


class SafetyGate:
    """State of the gate of one arm.

    Attributes:
        state, reason, detail: what passes, why not, and what was found.
        source: whose candidates pass; empty when none do.
        passed, refused, stops: counters since the start.
        sequence: of the newest candidate that passed; 0 without one.
        streams: judges the observations; samples are told to it directly.
        inputs: e-stop and dead-man; presses are told to it directly.
    """

    def __init__(self, contract: Contract, settings: GateParameters) -> None:
        """Start disabled."""
        self.settings = settings
        self.streams = StreamWatch(contract, settings.max_skew_s)
        self.inputs = OperatorInputs(settings.deadman_timeout_s, settings.estop_timeout_s)
        self.bounds = GateBounds(contract)
        self.state, self.reason, self.detail = GateState.DISABLED, Reason.NOT_ENABLED, ""
        self.source, self.sequence = "", 0
        self.passed = self.refused = self.stops = 0
        self._contract = contract
        self._blend = BlendIn(contract)
        self._no_controller = "no look at the command topics yet"
        self._other_gate = ""
        self._sequences: dict[str, int] = {}
        self._heard_s = self._motion_until_s = 0.0
        self._stopped_s = 0.0
        self._moving = CommandedMotion(contract)
        self._safe_due = self._standing = False

    def enable(self, now_ns: int, steady_s: float) -> str:
        """Let candidates pass from now on; returns why that is not possible, empty when it is."""
        if self.state.latched:
            return f"{self.reason.value}: {self.detail}; reset first"
        if self.state is not GateState.DISABLED:
            return ""
        try:
            self.inputs.check(steady_s, driving=False)
            if self._other_gate:
                raise GateFault(Reason.TWO_SENDERS, self._other_gate)
            self._check_world(now_ns, steady_s)
        except GateFault as fault:
            self.reason, self.detail = fault.reason, fault.detail
            return str(fault)
        self._become_ready()
        return ""

    def disable(self, detail: str) -> None:
        """Let nothing pass any more; the safe action goes out where something did."""
        if self.state.latched:
            return
        self._safe_due = self._safe_due or self.state is GateState.ACTIVE
        self._end_motion(GateState.DISABLED, Reason.NOT_ENABLED, detail)

    def reset(self, steady_s: float) -> str:
        """Leave a latched stop for DISABLED; returns why that is not possible, else empty."""
        if not self.state.latched:
            return ""
        if self.inputs.pressed:
            return f"the emergency stop is pressed: {self.inputs.pressed}"
        if (left_s := self.cool_down_s(steady_s)) > 0:
            return f"cooling down: possible in {left_s:.1f} s"
        self.streams.forget_jumps()
        self._sequences.clear()
        self._end_motion(GateState.DISABLED, Reason.NOT_ENABLED, "reset; call ~/enable to go on")
        return ""

    def cool_down_s(self, steady_s: float) -> float:
        """Return the seconds until a reset is possible; 0 when it is, or nothing is latched."""
        if not self.state.latched:
            return 0.0
        return max(0.0, self.settings.cool_down_s - (steady_s - self._stopped_s))

    def stop(self, fault: GateFault, steady_s: float) -> None:
        """Stop and latch; the safe action goes out last."""
        emergency = fault.reason in (Reason.ESTOP, Reason.DEADMAN)
        if self.state is GateState.ESTOP or (self.state is GateState.STOPPED and not emergency):
            return  # the first reason is the one that explains
        self.stops += 1
        # An emergency stop reaches the arm whatever the gate believes of it: after a restart of
        # the gate a controller may still be carrying out what an earlier one sent.
        self._safe_due = self._safe_due or emergency or self.state is GateState.ACTIVE
        self._stopped_s = steady_s
        state = GateState.ESTOP if emergency else GateState.STOPPED
        self._end_motion(state, fault.reason, fault.detail)

    def pop_safe(self) -> bool:
        """Tell once that the safe action must be sent now."""
        due, self._safe_due = self._safe_due, False
        return due

    def controllers(self, missing: str, other_gate: str = "") -> None:
        """Note which controllers do not listen, and which other gate is there; empty: none."""
        self._no_controller, self._other_gate = missing, other_gate

    def doubt(self, fault: GateFault, steady_s: float) -> None:
        """Stop with `fault` if the gate is READY or ACTIVE.

        The gate can no longer judge candidates.
        """
        if self.state in (GateState.READY, GateState.ACTIVE):
            self.stop(fault, steady_s)

    def tick(self, now_ns: int, steady_s: float) -> None:
        """Watch the clock; call it at 50 Hz or more.

        Args:
            now_ns: ns; present ROS time.
            steady_s: s; steady clock.
        """
        try:
            self.inputs.check(steady_s, driving=self.state is GateState.ACTIVE)
            if self.state is not GateState.ACTIVE:
                return
            self._check_world(now_ns, steady_s)
            if self.source == TELEOPERATION:
                if steady_s - self._heard_s > self.settings.teleop_release_s:
                    self._safe_due = True
                    self._become_ready()
                return
            if steady_s - self._heard_s > self.settings.candidate_timeout_s:
                raise GateFault(
                    Reason.CANDIDATE_SILENT,
                    f"{short_name(self.source)}: nothing for {steady_s - self._heard_s:.3f} s "
                    f"> {self.settings.candidate_timeout_s:g} s",
                )
            if steady_s > self._motion_until_s:
                raise GateFault(
                    Reason.CANDIDATE_SILENT,
                    f"{short_name(self.source)}: alive, but no step came in time",
                )
        except GateFault as fault:
            self.stop(fault, steady_s)

    def candidate(self, candidate: Candidate, now_ns: int, steady_s: float) -> Passed | None:
        """Judge one candidate.

        Args:
            candidate: as it arrived.
            now_ns: ns; present ROS time.
            steady_s: s; steady clock.

        Returns:
            What may be sent to the arm; None where nothing may.
        """
        try:
            passed = self._judge(candidate, now_ns, steady_s)
        except GateFault as fault:
            if fault.reason is Reason.DEADMAN and self.state is GateState.READY:
                self.reason, self.detail = fault.reason, fault.detail  # not held yet: no stop
            else:
                self.stop(fault, steady_s)
            passed = None
        carries = candidate.kind in (CandidateKind.MOTION, CandidateKind.HOLD)
        self.refused += int(carries and passed is None)
        return passed

    def malformed(self, detail: str, steady_s: float) -> None:
        """A candidate could not even be read."""
        self.refused += 1
        self.doubt(GateFault(Reason.WRONG_SHAPE, detail), steady_s)

    def sent(self, passed: Passed, steady_s: float) -> None:
        """Note that ``passed`` went to the arm, so that what follows is held against it."""
        self.passed += 1
        self.bounds.sent(passed.steps, passed.step_s, steady_s)

    def _judge(self, candidate: Candidate, now_ns: int, steady_s: float) -> Passed | None:
        if self.state is GateState.DISABLED or self.state.latched:
            return None
        human = candidate.source == TELEOPERATION
        driving = self.state is GateState.ACTIVE and candidate.source == self.source
        if self.state is GateState.ACTIVE and not driving and not human:
            if self.source == TELEOPERATION or candidate.kind is CandidateKind.ALIVE:
                return None  # a person has the arm; a second policy only says that it lives
            if candidate.kind in (CandidateKind.END, CandidateKind.FAULT):
                return None
            raise GateFault(
                Reason.TWO_SENDERS,
                f"{short_name(candidate.source)} beside {short_name(self.source)}",
            )
        self._check_order(candidate, now_ns, driving)
        if driving:
            self._heard_s = steady_s
        if candidate.kind is CandidateKind.FAULT and driving:
            raise GateFault(Reason.SENDER_FAULT, candidate.reason)
        if candidate.kind is CandidateKind.END and driving:
            self._safe_due = True
            self._become_ready()
        if candidate.kind not in (CandidateKind.MOTION, CandidateKind.HOLD):
            return None
        if candidate.kind is CandidateKind.HOLD and not driving:
            return None  # nothing moves yet, so there is nothing to hold
        return self._motion(candidate, driving, now_ns, steady_s)

    def _motion(self, candidate: Candidate, driving: bool, now_ns: int, steady_s: float) -> Passed:
        steps = self.bounds.check_values(candidate)
        self.inputs.check(steady_s, driving=True)
        self._check_world(now_ns, steady_s)
        age_s = (now_ns - candidate.observation_ns) / 1e9
        limit_s = self.settings.max_observation_age_s
        if candidate.observation_ns and age_s > limit_s:
            detail = f"its observation is {age_s:.3f} s old > {limit_s:g} s"
            raise GateFault(Reason.CANDIDATE_STALE, detail)
        due = self.bounds.due(steady_s)
        if not driving:
            moving = due if self.state is GateState.ACTIVE else None
            self._blend.start(steps[0], moving, self.streams.position_of, steady_s)
            if moving is None:
                self.bounds.forget()
        elif self._standing and candidate.kind is CandidateKind.MOTION:
            self._blend.resume(steps[0], due, steady_s)
        self._standing = candidate.kind is CandidateKind.HOLD
        steps = self._blend.apply(steps, candidate.step_s, steady_s)
        self.bounds.check_motion(steps, candidate.step_s, steady_s)
        self._check_workspace(steps)
        self.state, self.reason, self.detail = GateState.ACTIVE, Reason.NONE, ""
        self.source, self.sequence = candidate.source, candidate.sequence
        self._heard_s = steady_s
        # A single step is in force until the next one, so its own time counts as waiting, too; a
        # whole chunk ends by itself.
        waited_s = candidate.step_s if len(steps) == 1 else 0.0
        slack_s = max(1.5 * candidate.step_s, self.settings.candidate_timeout_s - waited_s)
        self._motion_until_s = steady_s + len(steps) * candidate.step_s + slack_s
        self._moving.note(steps, candidate.step_s, due, steady_s)
        return Passed(steps, candidate.step_s)

    def _check_order(self, candidate: Candidate, now_ns: int, driving: bool) -> None:
        last = self._sequences.get(candidate.source, 0)
        # A sender that does not drive may have been started anew and count from one again.
        if driving and candidate.sequence <= last:
            raise GateFault(
                Reason.SEQUENCE, f"found {candidate.sequence} after {last}, expected more"
            )
        self._sequences[candidate.source] = candidate.sequence
        age_s = (now_ns - candidate.stamp_ns) / 1e9
        if age_s > self.settings.candidate_timeout_s:
            raise GateFault(
                Reason.CANDIDATE_STALE,
                f"sent {age_s:.3f} s ago > {self.settings.candidate_timeout_s:g} s",
            )
        if -age_s > self.settings.max_skew_s:
            raise GateFault(Reason.CLOCK_JUMP, f"a candidate from {-age_s:.3f} s in the future")

    def _check_world(self, now_ns: int, steady_s: float) -> None:
        """Raise where anything but the operator and the candidate itself forbids motion."""
        if self._no_controller:
            raise GateFault(Reason.NO_CONTROLLER, self._no_controller)
        self.streams.check(now_ns, steady_s, self._moving.since_s)

    def _check_workspace(self, steps: np.ndarray) -> None:
        box = self._contract.action.safety.workspace
        if box is None:
            return
        stream, value = self._contract.stream(box.stream), self.streams.value(box.stream)
        if value is None:
            raise GateFault(Reason.OBSERVATION_STALE, f"{box.stream}: never received")
        position = dict(zip(stream.names, value.tolist(), strict=True))
        self.bounds.check_workspace(steps, position)

    def _become_ready(self) -> None:
        self._end_motion(GateState.READY, Reason.NONE, "")

    def _end_motion(self, state: GateState, reason: Reason, detail: str) -> None:
        self.state, self.reason, self.detail = state, reason, detail
        self.source = ""
        self._moving.stop()
        self._standing = False
        self._blend.stop()
        self.bounds.forget()
