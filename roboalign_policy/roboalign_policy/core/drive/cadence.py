"""Whether model and machine keep up with the cadence of the arm, and what to change if not."""

from __future__ import annotations

import os
from collections.abc import Callable

#: s; a beat that comes so late is told. The safety gate stops the arm after its
#: `candidate_timeout_s` of silence (0.15 s).
LATE_S = 0.1
#: More threads are taken where they make an answer at least this much faster. Each thread more is
#: one more for which all others wait when another program takes its core.
GAIN = 1.25
#: Fewer threads are no longer tried where an answer takes this many times the best one's time.
_HOPELESS = 1.6


def wait_passively() -> None:
    """Has OpenMP's threads sleep while they wait; call it before torch is loaded.

    By default they spin, on a core that another program could use: with as many threads as cores,
    every answer then waits for whoever lost its core. For a process that answers a robot; training
    takes a fifth longer so. `OMP_WAIT_POLICY` in the environment wins.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def choose_threads(cores: int, answer_s: Callable[[int], float]) -> tuple[int, dict[int, float]]:
    """Choose how many threads a model computes with, by measurement.

    Args:
        cores: most that may be used.
        answer_s: measures one answer with so many threads; s.

    Returns:
        The number chosen, and the time of an answer in s by number of threads, as measured: from
        all cores down by halves.

    Raises:
        ValueError: ``cores`` is below 1.
    """
    if cores < 1:
        raise ValueError(f"cores: found {cores}, expected 1 or more")
    measured: dict[int, float] = {}
    threads = cores
    while threads >= 1:
        measured[threads] = answer_s(threads)
        if measured[threads] > _HOPELESS * min(measured.values()):
            break
        threads //= 2
    chosen = min(measured)
    for count in sorted(measured):
        if measured[chosen] > GAIN * measured[count]:
            chosen = count
    return chosen, measured


def too_slow(answer_s: float, horizon: int, ahead: int, step_s: float) -> str:
    """Say what is wrong where the arm rests longer than it moves; empty: nothing.

    Args:
        answer_s: s; time of an answer.
        horizon: steps of a chunk.
        ahead: steps that the arm takes while the model answers.
        step_s: s; the contract's period.
    """
    rest_s = answer_s - min(ahead, horizon) * step_s
    chunk_s = horizon * step_s
    if rest_s <= chunk_s:
        return ""
    return (
        f"too slow for the cadence: an answer takes {answer_s:.2f} s, so the arm will rest "
        f"{rest_s:.2f} s after each chunk of {chunk_s:.2f} s. {ADVICE_MODEL}"
    )


ADVICE_MODEL = (
    "What helps: device: cuda, inference: remote (`roboalign serve` on a faster machine), a "
    "smaller model, think: false, or a greater overtake_steps, which costs accuracy"
)
ADVICE_MACHINE = (
    "What helps: end other programs, or give policy_node and safety_gate_node cores of their own "
    "(taskset)"
)


def load_note() -> str:
    """How busy this machine is, as ``load 6.1 on 2 cores``."""
    return f"load {os.getloadavg()[0]:.1f} on {usable_cores()} cores"


def usable_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


class BeatWatch:
    """Notices when the ticks of a timer come so late that whoever listens may stop the arm."""

    def __init__(self, period_s: float, late_s: float = LATE_S) -> None:
        """Hear no tick yet.

        Args:
            period_s: s; of the timer.
            late_s: s; longest time between two ticks of which nothing is said.
        """
        self._period_s, self._late_s = period_s, max(late_s, 2 * period_s)
        self._ticked_s: float | None = None

    def restart(self) -> None:
        """Ticks begin anew: the next one is not late."""
        self._ticked_s = None

    def tick(self, steady_s: float) -> str:
        """Register a tick. Returns a warning for the log, empty if the tick was in time."""
        before_s, self._ticked_s = self._ticked_s, steady_s
        gap_s = 0.0 if before_s is None else steady_s - before_s
        if gap_s <= self._late_s:
            return ""
        return (
            f"the machine is too slow: {gap_s:.3f} s between two candidates that are due every "
            f"{self._period_s:.3f} s ({load_note()}); the safety gate stops the arm when its "
            f"sender is silent. {ADVICE_MACHINE}"
        )
