"""How long each stage from camera stamp to command takes, and how regular everything is."""

from __future__ import annotations

import math
from dataclasses import dataclass

from roboalign_policy.core.candidate import Candidate
from roboalign_policy.core.latency import LatencyWindow

#: Stages of a chunk's first command, in order; they add up to CAMERA_TO_COMMAND.
CAMERA_TO_COMMAND = "camera_to_command"
STAGES = (
    "camera_to_receipt",
    "receipt_to_request",
    "request_to_answer",
    "answer_to_candidate",
    "candidate_to_gate",
    "gate_to_command",
)
_WINDOW = 2000
_OVERRUN = 1.5


@dataclass(frozen=True)
class StageFigures:
    """Durations of one stage in s: of the window, `max_s` since the start; NaN without any."""

    count: int
    p50_s: float
    p95_s: float
    p99_s: float
    max_s: float


class StageLatency:
    """Collects durations by stage, of bounded size.

    Attributes:
        overruns: periods between commands that were longer than 1.5 nominal ones.
    """

    def __init__(self, command_period_s: float) -> None:
        """Start empty; ``command_period_s``: s, nominal time between two commands."""
        self.overruns = 0
        self._period_s = command_period_s
        self._windows: dict[str, LatencyWindow] = {}
        self._greatest: dict[str, float] = {}
        self._chunk: tuple[str, int] | None = None
        self._command_s: float | None = None
        self._arrived: dict[str, float] = {}

    def command(
        self, candidate: Candidate, arrived_ns: int, sent_ns: int, steady_s: float
    ) -> None:
        """Take one candidate that became a command.

        Args:
            candidate: with the stamps of its stages.
            arrived_ns: ns, ROS clock; when the gate had it.
            sent_ns: ns, ROS clock; when the command was published.
            steady_s: s; the same on the steady clock.
        """
        self._cadence(candidate.step_s, steady_s)
        chunk = (candidate.source, candidate.chunk_id)
        if not candidate.observation_ns or chunk == self._chunk:
            return  # later steps of a chunk wait on purpose
        self._chunk = chunk
        times_ns = (
            candidate.observation_ns,
            candidate.received_ns,
            candidate.requested_ns,
            candidate.answered_ns,
            candidate.stamp_ns,
            arrived_ns,
            sent_ns,
        )
        for stage, before_ns, after_ns in zip(STAGES, times_ns[:-1], times_ns[1:], strict=True):
            self._add(stage, (after_ns - before_ns) / 1e9)
        self._add(CAMERA_TO_COMMAND, (sent_ns - candidate.observation_ns) / 1e9)

    def sample(self, key: str, header_ns: int | None, now_ns: int, steady_s: float) -> None:
        """Take the arrival of one message of a stream: how late it is, and how regular."""
        if header_ns:
            self._add(f"age:{key}", (now_ns - header_ns) / 1e9)
        if key in self._arrived:
            self._add(f"period:{key}", steady_s - self._arrived[key])
        self._arrived[key] = steady_s

    def pause(self) -> None:
        """Commands stop on purpose: the time until the next one is no period."""
        self._command_s = None

    def figures(self) -> dict[str, StageFigures]:
        """Figures by stage, in the order of `STAGES`, then what else there is by name."""
        order = {name: index for index, name in enumerate((CAMERA_TO_COMMAND, *STAGES))}
        names = sorted(self._windows, key=lambda name: (order.get(name, math.inf), name))
        return {
            name: StageFigures(
                len(self._windows[name]),
                *self._windows[name].percentiles(50, 95, 99),
                self._greatest[name],
            )
            for name in names
        }

    def record(self) -> dict:
        """As it stands in JSON files: figures by stage in s, and the overruns."""
        stages = {name: vars(figures) for name, figures in self.figures().items()}
        return {"stages": stages, "overruns": self.overruns}

    def _cadence(self, step_s: float, steady_s: float) -> None:
        if self._command_s is not None:
            period_s = steady_s - self._command_s
            self._add("period:command", period_s)
            self.overruns += int(period_s > _OVERRUN * max(step_s, self._period_s))
        self._command_s = steady_s

    def _add(self, name: str, duration_s: float) -> None:
        # Clocks of two machines may disagree: a negative time is shown as such, as zero or less.
        duration_s = max(duration_s, 0.0)
        self._windows.setdefault(name, LatencyWindow(_WINDOW)).add(duration_s)
        self._greatest[name] = max(self._greatest.get(name, 0.0), duration_s)
