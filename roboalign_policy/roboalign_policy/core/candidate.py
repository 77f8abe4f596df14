"""What somebody who drives (a policy, a person) wants the arm to do; the safety gate decides."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np


class CandidateKind(Enum):
    """What a candidate says; the names are those of Candidate.KIND_*."""

    ALIVE = "alive"
    MOTION = "motion"
    HOLD = "hold"
    END = "end"
    FAULT = "fault"


@dataclass(frozen=True, eq=False)
class Candidate:
    """One message of a sender that drives.

    Attributes:
        kind: what it says.
        sequence: counts up by one with every message of a sender, from 1.
        source: who wants it: SHA-256 (hex) of the checkpoint, or "teleoperation".
        stamp_ns: ns, ROS clock; when it was sent.
        reason: of a FAULT, what is wrong; empty otherwise.
        chunk_id: number of the chunk that the data comes from; 0 without one.
        names: A dimension names, contract order.
        step_s: s; time between two steps, and from ``stamp_ns`` to the first.
        data: (T, A) float64, units of the contract; None without data.
        observation_ns: ns, ROS clock; newest image stamp of the observation that it answers.
        received_ns: ns, ROS clock; when that image had been received.
        requested_ns: ns, ROS clock; when the model was asked.
        answered_ns: ns, ROS clock; when the model had answered.
    """

    kind: CandidateKind
    sequence: int
    source: str
    stamp_ns: int
    reason: str = ""
    chunk_id: int = 0
    names: tuple[str, ...] = ()
    step_s: float = 0.0
    data: np.ndarray | None = None
    observation_ns: int = 0
    received_ns: int = 0
    requested_ns: int = 0
    answered_ns: int = 0
