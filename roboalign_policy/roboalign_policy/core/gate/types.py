"""The values that `safety_gate.SafetyGate` takes and gives: states, reasons, what passed."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np


class GateState(Enum):
    """States of the gate; the names are those of GateStatus.STATE_*."""

    DISABLED = "disabled"
    READY = "ready"
    ACTIVE = "active"
    STOPPED = "stopped"
    ESTOP = "estop"

    @property
    def latched(self) -> bool:
        """True where only a reset leads on."""
        return self in (GateState.STOPPED, GateState.ESTOP)


class Reason(Enum):
    """Why nothing passes; the names are those of GateStatus.REASON_*."""

    NONE = "none"
    NOT_ENABLED = "not enabled"
    ESTOP = "emergency stop"
    DEADMAN = "dead-man input"
    OBSERVATION_STALE = "stale observation"
    OBSERVATION_FROZEN = "frozen camera"
    OBSERVATION_NON_FINITE = "observation not finite"
    OBSERVATION_UNREADABLE = "unreadable observation"
    CLOCK_JUMP = "clock jump"
    CANDIDATE_SILENT = "sender silent"
    CANDIDATE_STALE = "candidate too old"
    SEQUENCE = "candidates out of order"
    WRONG_NAMES = "wrong dimension names"
    WRONG_SHAPE = "wrong shape"
    NON_FINITE = "candidate not finite"
    OUT_OF_LIMITS = "out of limits"
    STEP_TOO_LARGE = "step too large"
    TOO_FAR_IN_A_SECOND = "too far in a second"
    ACCELERATION = "acceleration"
    JOINT_LIMIT = "joint limit"
    JOINT_VELOCITY = "joint velocity"
    WORKSPACE = "workspace"
    FIRST_POSE = "first pose"
    SENDER_FAULT = "fault of the sender"
    TWO_SENDERS = "two senders"
    NO_CONTROLLER = "no controller"
    UNREACHABLE = "unreachable"
    INTERNAL = "the gate itself"


class GateFault(Exception):
    """Something that must not become motion.

    Attributes:
        reason: its kind.
        detail: what was found and what was expected.
    """

    def __init__(self, reason: Reason, detail: str) -> None:
        """Store both; ``str()`` gives them in one line."""
        super().__init__(f"{reason.value}: {detail}")
        self.reason, self.detail = reason, detail


@dataclass(frozen=True, eq=False)
class Passed:
    """What may go to the arm.

    Attributes:
        steps: (T, A) float64, units of the contract.
        step_s: s; time between two steps.
    """

    steps: np.ndarray
    step_s: float
